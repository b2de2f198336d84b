"""What Alembic runs to take the steps: on a connection that was opened for it, in its transaction.

The law: it opens nothing and reads no settings, so that a store is migrated exactly where it is
used. This module must not know which steps there are.
"""

from alembic import context

from relay.records.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
