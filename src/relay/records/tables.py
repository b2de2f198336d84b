"""The tables, as the code of today reads and writes them.

The law: a change here comes with a migration that makes it, and a test compares the two. This
module must not know what the columns mean to anybody else.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    MetaData,
    String,
    Table,
    Text,
    false,
)

metadata = MetaData()

counters = Table(
    "counters",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""Numbers that only grow. Taking one locks its row until the transaction ends, so that numbers
become visible in their order, which sequences do not promise."""

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("prefix", String(32), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("root", Text, nullable=False),
    Column("publish", Text, nullable=False),
    Column("subscribe", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("expires", Double),
    Column("last_used", Double),
    Column("revoked", Double),
)

revocations = Table(
    "revocations",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("changed", BigInteger, nullable=False, unique=True),
    Column("dimension", String(16), nullable=False),
    Column("value", Text, nullable=False),
    Column("issued_before", Double),
    Column("expires", Double, index=True),
    Column("reason", Text, nullable=False),
    Column("created", Double, nullable=False),
    Column("withdrawn", Boolean, nullable=False, server_default=false()),
)

tickets = Table(
    "tickets",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("grant", Text, nullable=False),
    Column("expires", Double, nullable=False, index=True),
)
