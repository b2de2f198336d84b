"""How the tables came to be, step by step; Alembic walks the steps when a store is opened."""
