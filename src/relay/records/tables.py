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
    Column("decrypt", Text, nullable=False, server_default="[]"),
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

quotas = Table(
    "quotas",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("said", Text, nullable=False),
)

secrets = Table(
    "secrets",
    metadata,
    Column("purpose", String(64), primary_key=True),
    Column("name", String(256), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("text", Text, nullable=False),
    Column("created", Double, nullable=False),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", String(128), primary_key=True),
    Column("algorithm", String(16), nullable=False),
    Column("public", Text, nullable=False),
    Column("sealed", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created", Double, nullable=False),
    Column("activated", Double),
    Column("ends", Double),
    Column("compromised", Boolean, nullable=False, server_default=false()),
)

audit = Table(
    "audit",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False, index=True),
    Column("node", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("kid", Text, nullable=False),
    Column("jti", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("tenant", Text, nullable=False, server_default=""),
    Column("id", Text, nullable=False, server_default=""),
    Column("format", BigInteger, nullable=False, server_default="1"),
)
