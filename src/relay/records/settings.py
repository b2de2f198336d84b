"""What the operator says about the store.

The law: every setting has its unit, its default and its ceiling here. This module must not know how
anything is stored.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from relay.errors import ConfigError
from relay.records.address import read_address


class RecordsSettings(BaseModel):
    """``[records]``: where API tokens and revocations are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str | None = Field(default=None, repr=False)
    """``sqlite:///relay.db`` (a file) or ``postgresql://user:password@host/database``; unset: no
    API tokens, and revocations live only as long as the process."""

    poll: float = Field(default=0.25, ge=0.05, le=0.5, allow_inf_nan=False)
    """Seconds between looks for what other relays on the same store have revoked."""

    max_stale: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    """Seconds the store may be out of reach before every credential is refused with 503, since
    nobody knows any more who is revoked; unset: what is known so far goes on being believed."""

    timeout: float = Field(default=2.0, gt=0.0, le=60.0, allow_inf_nan=False)
    """Seconds the store may take to answer for a guest at the door. Longer: 503."""

    max_lookups: int = Field(default=64, ge=1, le=4096)
    """Guests at the door that may wait for the store at a time. More: 503."""

    max_derivations: int = Field(default=8, ge=1, le=256)
    """API keys that may be under way to being checked, each of which takes a core for 0.2 s. More:
    503."""

    ticket_seconds: float = Field(default=30.0, gt=0.0, le=300.0, allow_inf_nan=False)
    """Seconds a one-time ticket may be used in."""

    @field_validator("url")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                read_address(value)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return value


class AuditSettings(BaseModel):
    """``[audit]``: the log of who was let in, turned away and shown out, and of what operators did.
    It is in the store, and without one in memory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_queue: int = Field(default=10_000, ge=1, le=1_000_000)
    """Entries that may wait to be written. More: they are counted, and an entry says how many."""

    max_strangers: int = Field(default=10, ge=0, le=100_000)
    """Entries a second, over a while, about those who are turned away or let in without a
    credential, who could fill the store; a thousand at once. More: they are counted, and an entry
    says how many. The log has all of them. 0: no limit."""

    flush: float = Field(default=0.2, ge=0.0, le=5.0, allow_inf_nan=False)
    """Seconds that entries are gathered before they are written together. What an operator does is
    written before it is done."""

    keep_days: int = Field(default=90, ge=0, le=36_500)
    """Days after which entries are deleted, which leaves an entry that says so; 0: never."""

    webhook: str | None = None
    """``https://`` address that gets each entry this relay writes, by POST; default none."""

    webhook_secret: str | None = Field(default=None, repr=False, min_length=16)
    """What POSTs are signed with (HMAC-SHA256), 16 characters or more; better given as
    ``MOQ_AUDIT__WEBHOOK_SECRET``."""

    webhook_secret_file: Path | None = None
    """File of that secret, in its place."""

    webhook_private: bool = False
    """Whether the address may be one of a private network, and plain ``http://`` there."""

    webhook_queue: int = Field(default=1_000, ge=1, le=100_000)
    """Entries that may wait for the webhook. More: the oldest are left out, and counted."""

    webhook_timeout: float = Field(default=10.0, gt=0.0, le=60.0, allow_inf_nan=False)
    """Seconds that one POST may take. It is tried eight times, longer and longer apart, for a
    minute and as long as they took, or as ``Retry-After`` says, up to a minute each time; then its
    entries are left out, and counted."""
