"""What the operator says about publishing and watching without a session.

The law: every setting has its unit, its default and its ceiling here. This module must not know how
a record comes in.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from relay.auth.cipher_names import read_names
from relay.ingest.cipher import read_pointer
from relay.ingest.route import Declared


class TrackRules(BaseModel):
    """One ``[ingest.tracks."<broadcast pattern>/<track>[/<version>]"]``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_file: Path | None = Field(default=None, alias="schema")
    """JSON Schema that every record must fit; unset: any JSON object, and raw bytes."""

    dead_letters: bool = False
    """Whether what does not fit goes to the track ``<track>.dlq`` instead of being answered 400."""

    encrypt: dict[str, str] = Field(default={}, max_length=64)
    """JSON pointer (RFC 6901) of a field to the name of the cipher key it is encrypted with."""

    @field_validator("encrypt")
    @classmethod
    def _pointers(cls, value: dict[str, str]) -> dict[str, str]:
        for pointer, name in value.items():
            read_pointer(pointer)
            read_names([name])
        return value


class IngestSettings(BaseModel):
    """``[ingest]``: broadcasts that the relay owns because they are published by HTTP."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    linger: float = Field(default=60.0, gt=0.0, le=86_400.0, allow_inf_nan=False)
    """Seconds without publishing after which a broadcast is withdrawn."""

    max_broadcasts: int = Field(default=1024, ge=1)
    """Broadcasts at a time. More: 429."""

    max_tenant_broadcasts: int | None = Field(default=None, ge=1)
    """Those of them that may be one tenant's; unset: half. Beyond: the same."""

    max_tracks: int = Field(default=64, ge=1)
    """Tracks of one broadcast, those of dead letters included. More: 429."""

    max_body_bytes: int = Field(default=1_048_576, ge=1, le=33_554_432)
    """Bytes of one body. More: 413."""

    max_records: int = Field(default=1000, ge=1)
    """Records of one body. More: 413."""

    body_timeout: float = Field(default=10.0, gt=0.0, le=600.0, allow_inf_nan=False)
    """Seconds in which a body must have arrived. Longer: 408."""

    max_requests: int = Field(default=64, ge=1)
    """Bodies that may be arriving at a time. More: 429."""

    max_requests_per_address: int | None = Field(default=None, ge=1)
    """The same of one IPv4 address or one IPv6 /64; unset: a quarter. Beyond: the same."""

    keep_groups: int = Field(default=16, ge=1)
    """Groups of one track kept for viewers that come late. More: the oldest goes."""

    max_kept_bytes: int = Field(default=67_108_864, ge=1)
    """Bytes of all groups kept together. More: 429 until some are withdrawn."""

    max_tenant_kept_bytes: int = Field(default=16_777_216, ge=1)
    """Bytes of those that may be one tenant's. More: 429 until some are withdrawn."""

    max_watchers: int = Field(default=256, ge=1)
    """Readers of ``/watch`` at a time. More: 429."""

    max_watchers_per_address: int | None = Field(default=None, ge=1)
    """The same of one IPv4 address or one IPv6 /64; unset: a quarter. Beyond: the same."""

    watch_backlog_bytes: int = Field(default=4_194_304, ge=1024)
    """Bytes that may wait for one reader of ``/watch``. More: its oldest groups are dropped."""

    watch_keep_alive: float = Field(default=15.0, gt=0.0, le=600.0, allow_inf_nan=False)
    """Seconds of silence after which a reader of ``/watch`` gets a comment."""

    tracks: dict[str, TrackRules] = Field(default={}, max_length=1024)
    """Routes that are declared, by ``<broadcast pattern>/<track>[/<version>]``, or with a colon
    before the track; default none."""

    @field_validator("tracks")
    @classmethod
    def _routes(cls, value: dict[str, TrackRules]) -> dict[str, TrackRules]:
        known: dict[Declared, str] = {}
        for name in value:
            if (other := known.setdefault(Declared.parse(name), name)) != name:
                raise ValueError(f"expected each route once, and {name!r} is {other!r}")
        return value
