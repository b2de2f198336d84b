"""What the operator says about rights: the names of the key files and what is public.

The law: every setting has its unit, its default and its ceiling here and nowhere else; a value that
cannot be obeyed is refused when it is read. This module must not know files, the environment, or
what a decision does with a setting.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from relay.errors import BadRequest
from relay.path import Path, covering

MAX_TOKEN_BYTES = 16 * 1024
"""Ceiling of `AuthSettings.max_token_bytes`: what any HTTP front will still carry in a URL."""

MAX_LEEWAY = 3600.0
"""Ceiling of `AuthSettings.leeway` in seconds; clocks that differ by more need mending."""


def _prefixes(value: Any) -> tuple[Path, ...]:
    """One prefix or a list of them, without those that lie under another."""
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not all(isinstance(item, str) for item in listed):
        raise ValueError("expected a prefix or a list of prefixes")
    try:
        return covering(Path(item) for item in listed)
    except BadRequest as error:
        raise ValueError(str(error)) from error


Prefixes = Annotated[tuple[Path, ...], BeforeValidator(_prefixes)]

_CLOSED = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class PublicPrefixes(BaseModel):
    """What guests without a token may do. Written as one prefix, a list, or one list per role."""

    model_config = _CLOSED

    subscribe: Prefixes = ()
    """Prefixes anybody may subscribe below; ``""`` is everything."""

    publish: Prefixes = ()
    """Prefixes anybody may publish below; ``""`` is everything."""

    @model_validator(mode="before")
    @classmethod
    def _both_roles(cls, value: Any) -> Any:
        if isinstance(value, str | list | tuple):
            return {"subscribe": value, "publish": value}
        return value

    def __bool__(self) -> bool:
        return bool(self.subscribe or self.publish)


class AuthSettings(BaseModel):
    """The ``[auth]`` settings. The files named here are read by whoever assembles the relay."""

    model_config = _CLOSED

    key: str | None = None
    """File of the key that vouches for tokens (JWK, JWK set or PEM public key); default none."""

    keys: tuple[str, ...] = ()
    """More key files, for rotation; with several keys each needs a ``kid`` of its own."""

    public: PublicPrefixes = PublicPrefixes()
    """What needs no token: ``"demo"`` opens ``demo`` and all below it, both ways; default none."""

    leeway: float = Field(default=0.0, ge=0.0, le=MAX_LEEWAY, allow_inf_nan=False)
    """Seconds by which ``exp`` may be past and ``nbf`` ahead; sessions end at ``exp`` + leeway."""

    max_token_bytes: int = Field(default=8192, ge=256, le=MAX_TOKEN_BYTES)
    """Longest token in bytes; longer ones are refused unread."""

    audience: str | None = None
    """What ``aud`` of every token must name; default none: a token with ``aud`` is refused."""

    @property
    def key_files(self) -> tuple[str, ...]:
        """All key files in the order they were named."""
        return ((self.key,) if self.key is not None else ()) + self.keys
