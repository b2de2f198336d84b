"""Ceilings of the HTTP faces. This module must not know what is served over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True, slots=True)
class PublicLimits:
    """Limits of the public HTTP face, each with its unit and what happens when it is hit."""

    max_url: int = 16_384
    """Bytes of path and query together. More: 414."""

    max_fetch_bytes: int = 67_108_864
    """Bytes of one fetched group, which has 262,144 frames at most. More: 413."""

    fetch_timeout: float = 5.0
    """Seconds until a group must be complete. Longer: 504."""

    max_fetched_bytes: Annotated[int, Field(ge=1)] | None = None
    """Bytes of all fetched groups that are there at a time, until their answers have been read, and
    64 more for each frame; unset: room for four that are as large as one may be, four times
    ``max_fetch_bytes`` and 64 MiB. More: 429, but 413 for one that has more by itself."""

    max_fetched_bytes_per_address: Annotated[int, Field(ge=1)] | None = None
    """The same of one IPv4 address or one IPv6 /64; unset: half. Beyond: the same."""

    max_fetches: int = 64
    """Fetches at a time, answers that are being read included, and as many lists of what is
    announced. More: 429."""

    max_fetches_per_address: Annotated[int, Field(ge=1)] | None = None
    """The same of one IPv4 address or one IPv6 /64; unset: a quarter. Beyond: the same."""

    max_connections: int = 512
    """TCP connections at a time, on each listener, without sessions over WebSocket. More: 503;
    twice as many: closed unanswered."""

    max_connections_per_address: Annotated[int, Field(ge=1)] | None = None
    """The same of one IPv4 address or one IPv6 /64 that is no trusted proxy; unset: half. Beyond:
    the same."""

    request_timeout: float = 10.0
    """Seconds until a request must be there, of a later one from its first byte on. Longer: the
    connection is cut."""

    answer_timeout: float = 60.0
    """Seconds in which a client must read what waits for it. Longer: the connection is cut."""

    keep_alive: int = 5
    """Seconds an idle connection is kept after an answer; then it is closed."""

    drain: int = 2
    """Seconds that answers in progress may still take when the relay stops; then they are cut."""
