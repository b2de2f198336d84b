"""Answers that may be long, and how many of them there may be at a time.

Its law: an answer is held whole until its client has read it, so it has one of a few seats from
before it is made until then. This module must not know what is answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from relay.errors import LimitExceeded

PIECE = 1 << 18
"""Bytes of an answer handed over at a time."""

Whole = tuple[bytes, dict[str, str]]
"""Body and headers."""


class Seats:
    """Answers of one kind in progress."""

    def __init__(self, limit: int, kind: str) -> None:
        """``kind`` says in the plural of what there may be ``limit`` (`max_fetches`)."""
        self._limit = self._free = limit
        self._kind = kind

    async def answered(self, make: Callable[[], Awaitable[Whole]], media_type: str) -> Response:
        """One more answer. Raises `LimitExceeded`."""
        if not self._free:
            raise LimitExceeded(f"more than {self._limit} {self._kind} at a time (max_fetches)")
        self._free -= 1
        try:
            return _Seated(*await make(), media_type, self)
        except BaseException:
            self.give()
            raise

    def give(self) -> None:
        """One answer is over."""
        self._free += 1


class _Seated(Response):
    """An answer on its way to a client that may read slowly; it keeps its seat until then."""

    def __init__(self, body: bytes, headers: dict[str, str], media_type: str, seats: Seats) -> None:
        super().__init__(body, 200, headers, media_type)
        self._seats = seats

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand over a piece when the one before it has left."""
        start = {"status": self.status_code, "headers": self.raw_headers}
        try:
            await send({"type": "http.response.start", **start})
            for at in range(0, len(self.body), PIECE):
                piece = bytes(self.body[at : at + PIECE])
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._seats.give()
