"""Answers that may be long, each of which has a place for as long as it is there.

Its law: an answer is held whole until its client has read it, so it has one of a few places from
before it is made until then. This module must not know what is answered.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from relay.control.places import Places

PIECE = 1 << 18
"""Bytes of an answer handed over at a time."""

Whole = tuple[bytes, dict[str, str]]
"""Body and headers."""


class Seats:
    """Answers of one kind in progress."""

    def __init__(self, places: Places) -> None:
        self._places = places

    async def answered(
        self,
        make: Callable[[], Awaitable[Whole]],
        media_type: str,
        remote: str,
        over: Callable[[], None] = lambda: None,
    ) -> Response:
        """One more answer, to ``remote``; ``over`` is called when it is gone. Raises `Crowded`."""
        self._places.take(remote)

        def give() -> None:
            self._places.give(remote)
            over()

        try:
            return _Seated(*await make(), media_type, give)
        except BaseException:
            give()
            raise


class _Seated(Response):
    """An answer on its way to a client that may read slowly; it keeps its seat until then."""

    def __init__(
        self, body: bytes, headers: dict[str, str], media_type: str, give: Callable[[], None]
    ) -> None:
        """``give`` gives its seat back."""
        super().__init__(body, 200, headers, media_type)
        self._give = give

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
            self._give()
