"""What the operator says about where copies go.

The law: a secret is named by a variable or a file and never stands in the settings. This module
must not know how anything is sent.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from relay.sinks.choice import Choice

FIELDS = {"tenant", "broadcast", "track"}
"""What a topic may be made of."""

_FIELD = re.compile(r"\{([^{}]*)\}")
_PLAIN = re.compile(r"[A-Za-z0-9._-]*")


class Part(BaseModel):
    """Part of a sink's settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SinkTls(Part):
    """TLS to the brokers."""

    root: Path | None = None
    """Authorities (PEM); unset: the system's."""

    cert: Path | None = None
    """Client certificate (PEM)."""

    key: Path | None = None
    """Its private key (PEM)."""


class Sasl(Part):
    """How the relay says who it is."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]

    username: str = Field(min_length=1)

    password_env: str | None = None
    """The environment variable that holds the password."""

    password_file: Path | None = None
    """The file that holds it; a newline at its end does not belong to it."""

    @model_validator(mode="after")
    def _one_password(self) -> Sasl:
        if (self.password_env is None) == (self.password_file is None):
            raise ValueError("expected password_env or password_file")
        return self


class SinkSettings(Part):
    """One ``[sinks.<name>]``."""

    kind: Literal["kafka"]
    """What takes the copies: Kafka, or Redpanda, which speaks the same."""

    brokers: tuple[str, ...] = Field(min_length=1, max_length=64)
    """host:port of brokers to begin with."""

    tracks: tuple[str, ...] = Field(min_length=1, max_length=1024)
    """What is copied: ``<broadcast pattern>:<track>``."""

    topic: str = Field(default="{tenant}.{track}", min_length=1, max_length=249)
    """Where to: {tenant}, {broadcast} and {track} are filled in; characters that topics cannot have
    become a dot (slashes) or an underscore."""

    acks: Literal["all", "1", "0"] = "all"
    """Who must have a record before it counts as delivered: all replicas that are in sync, their
    leader, or nobody (then it may be lost)."""

    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "none"

    buffer_bytes: int = Field(default=67_108_864, ge=1_048_576, le=2_147_483_648)
    """Bytes that may wait for the brokers. More: what comes is not copied, until there is room."""

    max_message_bytes: int = Field(default=1_000_000, ge=1000, le=33_554_432)
    """Bytes of one record. Longer frames are not copied."""

    max_tracks: int = Field(default=1024, ge=1, le=65_536)
    """Tracks copied at a time. More: they are copied once others have ended."""

    drain: float = Field(default=5.0, ge=0.0, le=600.0, allow_inf_nan=False)
    """Seconds that the brokers get for what still waits when the relay stops."""

    tls: SinkTls | None = None
    """Unset: no TLS."""

    sasl: Sasl | None = None
    """Unset: the relay says nothing."""

    @field_validator("brokers")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            host, _, port = each.rpartition(":")
            if not host or "," in each or not port.isascii() or not port.isdecimal():
                raise ValueError("expected host:port")
        return value

    @field_validator("tracks")
    @classmethod
    def _choices(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            Choice.parse(each)
        return value

    @field_validator("topic")
    @classmethod
    def _template(cls, value: str) -> str:
        if not set(_FIELD.findall(value)) <= FIELDS or not _PLAIN.fullmatch(_FIELD.sub("", value)):
            raise ValueError("expected letters, digits, . _ - and {tenant}, {broadcast}, {track}")
        return value
