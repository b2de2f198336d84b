"""API tokens, revocations and tickets.

The law: a step that was released is never changed; what comes later is a step of its own. This
module must not know the tables of today.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the first tables."""
    counters = op.create_table(
        "counters",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    assert counters is not None
    op.bulk_insert(counters, [{"name": "revocations", "value": 0}])
    op.create_table(
        "api_tokens",
        sa.Column("prefix", sa.String(32), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("root", sa.Text, nullable=False),
        sa.Column("publish", sa.Text, nullable=False),
        sa.Column("subscribe", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("expires", sa.Double),
        sa.Column("last_used", sa.Double),
        sa.Column("revoked", sa.Double),
    )
    op.create_table(
        "revocations",
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("changed", sa.BigInteger, nullable=False, unique=True),
        sa.Column("dimension", sa.String(16), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("issued_before", sa.Double),
        sa.Column("expires", sa.Double, index=True),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("withdrawn", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.create_table(
        "tickets",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("grant", sa.Text, nullable=False),
        sa.Column("expires", sa.Double, nullable=False, index=True),
    )
