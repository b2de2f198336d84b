"""What the operator says about deciding for other relays.

The law: every setting has its unit, its default and its ceiling here; terms that are to be renewed
have an end. This module must not know addresses to listen on, which the configuration spells.
"""

from __future__ import annotations

from pathlib import Path as File

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_SECONDS = 10 * 365 * 86_400
"""Ceiling of spans of time: ten years."""


class SidecarSettings(BaseModel):
    """``[sidecar]``: what ``relay sidecar`` obeys beside ``[auth]``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cert: File | None = None
    """Certificate chain (PEM) to serve HTTPS with; unset: plain HTTP."""

    key: File | None = None
    """Its private key (PEM)."""

    listen_public: bool = False
    """Whether an address that others can reach may be listened on: whoever can ask is answered."""

    expires: int | None = Field(default=None, ge=1, le=MAX_SECONDS)
    """Seconds that a grant lasts when the credential sets no end; unset: as long as the session."""

    revalidate: int | None = Field(default=None, ge=1, le=MAX_SECONDS)
    """Seconds after which relays ask again about a session; unset: never. Needs ``expires``."""

    tier: str | None = Field(default=None, max_length=256)
    """Label on every grant, for the asking relay's accounts; unset: none."""

    relays: tuple[str, ...] = ()
    """Internal listeners of relays that are told to ask again when a key is removed or something is
    revoked, and when the sidecar starts; default none."""

    share_secrets: bool = False
    """Whether the GET contract may answer with shared secrets; public halves it always may."""

    max_body: int = Field(default=262_144, ge=1024)
    """Bytes of one question. More: 413."""

    request_timeout: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    """Seconds for one question to arrive and be decided. Longer: 408."""

    @model_validator(mode="after")
    def _bounded(self) -> SidecarSettings:
        if self.revalidate is not None and self.expires is None:
            raise ValueError("expected expires beside revalidate, or an outage would have no end")
        if (self.cert is None) != (self.key is None):
            raise ValueError("expected cert and key together, or neither")
        return self
