"""Audit entries: a word for the reason, the id of the decision and the tenant apart.

The law: a step that was released is never changed; what comes later is a step of its own. Entries
that are there stay as they were hashed, and say so: they are of the first format.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns."""
    for name in ("tenant", "id"):
        op.add_column("audit", sa.Column(name, sa.Text, nullable=False, server_default=""))
    op.add_column("audit", sa.Column("format", sa.BigInteger, nullable=False, server_default="1"))
