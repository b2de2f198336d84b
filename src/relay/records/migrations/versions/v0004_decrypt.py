"""API tokens: the cipher keys whose fields they read in the clear.

The law: a step that was released is never changed; what comes later is a step of its own. Tokens
that are there decrypt nothing, as before.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the column."""
    added = sa.Column("decrypt", sa.Text, nullable=False, server_default="[]")
    op.add_column("api_tokens", added)
