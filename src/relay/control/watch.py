"""Reading a track as server-sent events, for as long as the reader may and stays.

The law: a frame's data is text as it is, or ``base64:`` and the letters, never in doubt; nothing is
sent before the decision. This module must not know where frames come from.
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from typing import Any, NamedTuple, Protocol

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from relay.control.asking import Addresses, asked, below, parameter, readings
from relay.control.credentials import Face
from relay.control.problems import PRIVATE, Denied, problem
from relay.errors import BadRequest, RelayError, RemoteError, Unroutable

EVENTS = "text/event-stream"

LATER = frozenset((404, 503))
"""What may be otherwise in a moment: a reader that comes back is told so in a stream that ends.
Browsers come again after the end of one, and never after any other answer (HTML, 9.2.3)."""

MAX_LINES = 4096
"""Lines of text in one event. Each is written with six letters before it, so that a frame of line
ends would be seven times as long, and as many objects as it has bytes."""


class Seen(NamedTuple):
    """What somebody saw last who comes back."""

    resume: int
    """The group at which to go on."""
    publisher: int
    """0 = not said: then it is believed to be the same still."""
    edition: int = 0
    """Which broadcast of that publisher; 0 = not said, as well."""


class Reading(Protocol):
    """One track being read."""

    publisher: int
    """Who numbers its groups; 0 = unknown."""
    edition: int
    """Which broadcast of that publisher it is, which may count anew with each."""

    @property
    def resume(self) -> int:
        """The group at which whoever has read so far goes on: earlier ones will not come any more.
        It is behind the last one, unless that came before its time."""

    def frames(self) -> AsyncIterator[Any]:
        """(group, number, payload) of frames; (group, ``None``, b"") for a group that was dropped;
        ``None`` for a while of silence. Raises what ended it, unless the track completed."""

    def leave(self) -> None:
        """The reader is gone."""


class Lookout(Addresses, Protocol):
    """What these routes may ask of the relay."""

    async def watch(self, grant: Any, address: Any, seen: Seen | None) -> Reading:
        """Begin to read, where the reader left off. Raises `Gone` when there is no such broadcast
        or track."""


def watch_routes(lookout: Lookout, face: Face) -> list[Route]:
    """The route; ``face`` adds what every answer has."""

    async def watched(request: Request) -> Response:
        path = below(request, "watch")
        broadcast, address = lookout.place(path, parameter(request, "track"))
        seen = _seen(request.headers.get("last-event-id"))
        reading = await _begun(lookout, request, broadcast, address, seen)
        headers = PRIVATE | {"x-accel-buffering": "no"}
        if request.method == "HEAD":  # the answer has no body that could be waited for
            reading.leave()
            answer = Response(None, 200, headers, EVENTS)
            del answer.headers["content-length"]  # nobody knows
            return answer
        return _Stream(reading, headers)

    async def answered(request: Request) -> Response:
        try:
            return await watched(request)
        except RelayError as error:
            if error.status in LATER and request.headers.get("last-event-id"):
                why = "not there" if error.status == 404 else "not now"
                told = f"{why}, id {error.denial_id}" if error.denial_id else why
                return Response(_ended(told), 200, PRIVATE, EVENTS)
            return problem(error)

    return [Route("/watch/{target:rest}", face(answered), methods=["GET", "OPTIONS"])]


async def _begun(
    lookout: Lookout, request: Request, broadcast: str, address: Any, seen: Seen | None
) -> Reading:
    """The first of the broadcasts that the address may mean and that is there."""
    nowhere: RelayError | None = None
    for path in readings(broadcast):
        try:
            grant = await lookout.admit(asked(request, f"/{path}"), False)
            return await lookout.watch(grant, address, seen)
        except Denied as denied:
            raise nowhere or denied from None
        except (RemoteError, Unroutable) as error:
            nowhere = nowhere or error
    assert nowhere is not None
    raise nowhere


class _Stream(StreamingResponse):
    """The answer; however it ends, the reading ends with it."""

    def __init__(self, reading: Reading, headers: dict[str, str]) -> None:
        super().__init__(_events(reading), 200, headers, EVENTS)
        self._reading = reading

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write until somebody has had enough."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._reading.leave()


def _seen(last: str | None) -> Seen | None:
    """What a reader saw last. Raises `BadRequest`."""
    if not last:
        return None
    number = "([0-9]{1,18})"
    whose = "([0-9a-f]{1,16})"
    found = re.fullmatch(rf"{number}:{number}(?::{whose}(?:\.{whose})?)?(?:/{number})?", last)
    if not found:
        raise BadRequest("Last-Event-ID is group:frame:publisher.edition, or that and /group")
    resume = int(found[1]) + 1 if found[5] is None else int(found[5])
    return Seen(resume, int(found[3] or "0", 16), int(found[4] or "0", 16))


async def _events(reading: Reading) -> AsyncIterator[bytes]:
    """The stream; how it ended is its last event."""
    # Groups of the next broadcast may have lower numbers than those that were seen of this one.
    whose = f":{reading.publisher:x}.{reading.edition:x}"
    yield b": welcome\n\n"
    try:
        async for item in reading.frames():
            if item is None:
                yield b": still here\n\n"
                continue
            group, number, payload = item
            if number is None:
                yield f"event: dropped\ndata: {group}\n\n".encode()
            else:
                early = f"/{reading.resume}" if reading.resume <= group else ""
                name = f"{group}:{number}{whose}{early}"
                yield f"event: frame\nid: {name}\n".encode() + data_lines(payload)
    except RelayError as error:  # with an id it is about the reader, who may know it
        why = str(error) if error.denial_id else "broken off"
        yield _ended(why)
        return
    yield _ended("complete")


def _ended(why: str) -> bytes:
    """The last event of a stream."""
    return f"event: end\ndata: {why}\n\n".encode()


def data_lines(payload: bytes) -> bytes:
    """A payload as ``data`` lines. What event streams cannot carry unchanged is base64, and so is
    what has too many lines."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        text = "base64:"
    is_long = payload.count(b"\n") >= MAX_LINES
    if is_long or text.startswith("base64:") or "\r" in text or "\0" in text:
        text = f"base64:{base64.b64encode(payload).decode()}"
    return "".join(f"data: {line}\n" for line in text.split("\n")).encode() + b"\n"
