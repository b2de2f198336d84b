"""The public HTTP face, put together; its own are health, certificate hash, lists and fetches.

Its law: nothing about a broadcast leaves without a decision made for exactly that path, and a
stranger learns a status and an id, never a reason. What was decided about is what is answered for:
the path comes in escaped, and its broadcast is the one at the grant's root. This module must not
know tokens, sessions or where groups are kept; a `House` answers for all of that.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from relay.control.admin.explaining import Office, explain_routes
from relay.control.asking import (
    Asked,
    NoBearer,
    asked,
    below,
    exact,
    parameter,
    raw_path,
    readings,
    remote,
)
from relay.control.credentials import Desk, credential_routes
from relay.control.places import Crowded, Hold, Places, Told
from relay.control.problems import PRIVATE, Denied, details
from relay.control.publish import Press, publish_routes
from relay.control.routes import Map, map_routes
from relay.control.seats import Seats, Whole
from relay.control.settings import PublicLimits
from relay.control.silence import SILENT
from relay.control.watch import Lookout, watch_routes
from relay.errors import (
    BadRequest,
    NotFound,
    OverQuota,
    RelayError,
    RemoteError,
    TooLarge,
    Unroutable,
)
from relay.path import on_one_line, unescaped
from relay.wire.messages import MAX_SEQUENCE

CORS = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "x-request-id, x-moq-group, x-moq-frames, retry-after, "
    + SILENT,
}
PREFLIGHT = CORS | {
    "access-control-allow-methods": "GET, HEAD, POST, OPTIONS",
    "access-control-allow-headers": "authorization, content-type, last-event-id, *",
    "access-control-max-age": "86400",
}
WORDS = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "too_large",
    414: "uri_too_long",
    429: "too_many_requests",
    431: "headers_too_large",
    503: "unavailable",
    504: "timeout",
}
"""What a stranger is told, by status; every other status reads ``internal_error``."""


_Answer = Callable[[Request], Awaitable[Response]]


class House(Desk, Office, Protocol):
    """What this face may ask of the relay."""

    def certificate_hash(self, host: str) -> str:
        """Lower-case hex SHA-256 of the certificate that new QUIC connections get; ``host`` is what
        was asked, with its port."""

    async def decide(self, asked: Asked) -> Any:
        """The grant for the path that is asked for, decided as if a session had dialled it. Raises
        `Denied`."""

    def require(self, asked: Asked) -> None:
        """Raises `Unauthorized` when what was decided last about this request is in force no more:
        to answer it may have taken a while."""

    async def announced(self, grant: Any) -> Sequence[str]:
        """Every broadcast the grant may see, relative to the grant's root, in order."""

    async def fetch(
        self, grant: Any, track: str, group: int | None, hold: Callable[[int], None]
    ) -> tuple[int, Sequence[bytes]]:
        """One whole group of the broadcast *at* the grant's root; ``None`` asks for the latest.

        Answers its sequence and its frame payloads, of whose bytes ``hold`` hears before they are
        kept and may raise. Raises `Gone` when there is no such broadcast, track or group. It is
        cancelled when it takes longer than `PublicLimits.fetch_timeout`.
        """

    def sent(self, grant: Any, size: int) -> None:
        """So many bytes of what was fetched are the answer's."""

    def crowded(self, why: str, remote: str) -> None:
        """Somebody found no place."""


class Newsroom(Press, Lookout, Map, Protocol):
    """What publishing and watching without a session may ask of the relay."""

    async def decrypted(self, grant: Any, frames: Sequence[bytes], remote: str) -> Sequence[bytes]:
        """Frames with the fields in the clear that the grant opens."""

    def resolved(self, grant: Any, address: Any) -> str:
        """The name of the track that an address means in the broadcast at the grant's root."""


def public_app(
    house: House, news: Newsroom, limits: PublicLimits, counter: Sequence[BaseRoute] = ()
) -> Starlette:
    """The ASGI application of the public face; ``counter`` is what operators have beside it."""
    each, setting = limits.max_fetches_per_address, "web.limits.max_fetches"

    def seated(kind: str) -> Seats:
        return Seats(Places(limits.max_fetches, each, kind, setting, house.crowded))

    seats, lists = seated("fetches"), seated("lists")
    room = _room(limits, house.crowded)

    async def health(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def certificate(request: Request) -> Response:
        return PlainTextResponse(house.certificate_hash(request.headers.get("host", "")))

    async def announced(request: Request) -> Response:
        where = remote(request)
        return await lists.answered(lambda: _lines(house, request), "text/plain", where)

    async def fetch(request: Request) -> Response:
        group, decrypts = _asked_group(request), parameter(request, "decrypt") == "1"
        where = remote(request)
        hold = Hold(room, where)
        seeking = _Seeking(house, news, request, group, hold)
        await seeking.begin()
        opened = news.decrypted if decrypts else _as_is
        return await seats.answered(
            lambda: _fetched(seeking, limits, opened), BYTES, where, hold.give
        )

    def face(answer: _Answer) -> _Answer:
        async def answered(request: Request) -> Response:
            return await _answered(answer, request, limits)

        return answered

    methods = ["GET", "HEAD", "OPTIONS"]
    routes: list[BaseRoute] = [
        Route("/health", face(health), methods=methods),
        Route("/certificate.sha256", face(certificate), methods=methods),
        Route("/announced", face(announced), methods=methods),
        Route("/announced/{prefix:rest}", face(announced), methods=methods),
        Route("/fetch/{target:rest}", face(fetch), methods=methods),
    ]
    routes += [*credential_routes(house, face), *explain_routes(house, face), *counter]
    routes += [*publish_routes(news, face), *watch_routes(news, face)]
    routes += map_routes(news, face, lists)
    strangers: dict[Any, Any] = {404: _plain_refusal, 405: _plain_refusal, 500: _plain_refusal}
    app = Starlette(routes=exact(routes), exception_handlers=strangers)
    app.router.redirect_slashes = False
    return app


FRAMES = 1 << 24
"""Bytes that the most frames of a group are counted for beside their payloads."""


def _room(limits: PublicLimits, told: Told) -> Places:
    """For the bytes of fetched groups."""
    most = limits.max_fetched_bytes or 4 * (limits.max_fetch_bytes + FRAMES)
    each = limits.max_fetched_bytes_per_address or most // 2
    return Places(most, each, "bytes of groups", "web.limits.max_fetched_bytes", told)


LINES = 4096
"""Names that are written in one turn."""

BYTES = "application/octet-stream"


async def _answered(answer: _Answer, request: Request, limits: PublicLimits) -> Response:
    """One request from limits to CORS; every error of ours becomes a status here and only here."""
    if request.method == "OPTIONS":
        return Response(status_code=204, headers=PREFLIGHT)
    if len(raw_path(request)) + len(request.scope["query_string"]) > limits.max_url:
        return _turned_away(request, 414)
    try:
        response = await answer(request)
    except TimeoutError:
        return _turned_away(request, 504)
    except RelayError as error:
        told = BadRequest | NoBearer | OverQuota | Crowded
        is_told = isinstance(error, told) and not error.denial_id
        refusal = _refusal(error.status, error.denial_id, str(error) if is_told else "")
        refusal.headers.update(error.headers)
        return refusal
    response.headers.update(CORS)
    return response


async def _listed(house: House, request: Request) -> Sequence[str]:
    """What is announced below the first of the paths that the address may mean and where there is
    anything. Raises `Denied`."""
    first, *others = readings(below(request, "announced") or "/")
    names = await _listed_at(house, asked(request, first))
    for path in () if names else others:
        with contextlib.suppress(Denied):
            names = await _listed_at(house, asked(request, path))
    return names


async def _listed_at(house: House, about: Asked) -> Sequence[str]:
    names = await house.announced(await house.decide(about))
    house.require(about)
    return names


async def _lines(house: House, request: Request) -> Whole:
    """What is announced, one a line."""
    lines = []
    for at, name in enumerate(await _listed(house, request), 1):
        lines.append(f"{on_one_line(name)}\n")
        if not at % LINES:
            await asyncio.sleep(0)  # everybody else has a turn
    return "".join(lines).encode(), PRIVATE


def _asked_group(request: Request) -> int | None:
    """The ``group`` of the query: a sequence, or ``None`` for the latest. Raises `BadRequest`."""
    text = parameter(request, "group")
    if text in (None, "latest"):
        return None
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) > MAX_SEQUENCE:
        raise BadRequest("group is one number or latest")
    return int(text)


async def _as_is(grant: Any, frames: Sequence[bytes], remote: str) -> Sequence[bytes]:
    return frames


class _Seeking:
    """One fetch: what its address means, and the group there.

    Its law: ``track`` in the query says it all; else the last segment is the track, and where that
    finds nothing the address means what it does to ``/publish`` and ``/watch``; and where that
    finds nothing either, the same with the broadcast's path as it stands.
    """

    def __init__(
        self,
        house: House,
        news: Newsroom,
        request: Request,
        group: int | None,
        hold: Hold,
    ) -> None:
        self.house = house
        self.hold = hold
        self.news = news
        self.request = request
        self.group = group
        self.path = below(request, "fetch")
        self.broadcast = ""
        self.track = ""
        self.grant: Any = None
        self.asked: Asked
        """What was decided last."""

    async def begin(self) -> None:
        """Decide about the first reading. Raises `BadRequest` and `Denied`."""
        named = parameter(self.request, "track")
        if named is not None:
            await self._place(named)
            return
        self.broadcast, _, track = self.path.rpartition("/")
        if not track or not self.broadcast.strip("/"):
            raise BadRequest("a fetch names a broadcast and a track")
        self.track = unescaped(track)
        await self._decide(self.broadcast)

    async def frames(self) -> tuple[int, Sequence[bytes]]:
        """The group by the first reading, or else by the others."""
        try:
            return await self._found(self.track)
        except (NotFound, Unroutable, RemoteError) as error:
            nothing = error
        seen = [(self.broadcast.strip("/"), self.track)]
        if await self._differs():
            seen.append((self.broadcast.strip("/"), self.track))
            try:
                return await self._found(self.track)
            except (NotFound, Unroutable, RemoteError) as error:
                nothing = error
        for broadcast, track in seen:
            for path in readings(broadcast)[1:]:
                with contextlib.suppress(NotFound, Unroutable, RemoteError, Denied):
                    await self._decide(f"/{path}")
                    return await self._found(track)
        raise nothing

    async def _decide(self, path: str) -> None:
        """Whoever asks may read there, or `Denied` is raised."""
        self.asked = asked(self.request, path)
        self.grant = await self.house.decide(self.asked)

    async def _found(self, track: str) -> tuple[int, Sequence[bytes]]:
        """The group of that track, below what was decided last."""
        try:
            return await self.house.fetch(self.grant, track, self.group, self.hold.take)
        except RelayError:
            self.hold.give()  # what came of it is gone, and another reading begins anew
            raise

    async def _differs(self) -> bool:
        """Go over to the other reading; False where that is the same, or is none, or denied."""
        before = self.broadcast.strip("/"), self.track
        if parameter(self.request, "track") is not None:
            return False
        try:
            await self._place(None)
        except (BadRequest, Denied):
            return False
        return (self.broadcast.strip("/"), self.track) != before

    async def _place(self, named: str | None) -> None:
        """Read the address as ``/watch`` does, and decide about the broadcast it means."""
        broadcast, address = self.news.place(self.path, named)
        if broadcast != self.broadcast.strip("/"):
            self.broadcast = f"/{broadcast}"
            await self._decide(self.broadcast)
        self.track = self.news.resolved(self.grant, address)


async def _fetched(
    seeking: _Seeking,
    limits: PublicLimits,
    opened: Callable[[Any, Sequence[bytes], str], Awaitable[Sequence[bytes]]],
) -> Whole:
    """The group as one body, no longer and no later than the limits allow."""
    async with asyncio.timeout(limits.fetch_timeout):
        sequence, frames = await seeking.frames()
    frames = await opened(seeking.grant, frames, remote(seeking.request))
    seeking.house.require(seeking.asked)
    if sum(map(len, frames)) > limits.max_fetch_bytes:
        raise TooLarge(f"a group larger than max_fetch_bytes ({limits.max_fetch_bytes})")
    headers = PRIVATE | {"x-moq-group": str(sequence), "x-moq-frames": str(len(frames))}
    whole = b"".join(frames)
    if seeking.request.method != "HEAD":  # the answer to which has no body
        seeking.house.sent(seeking.grant, len(whole))
    return whole, headers


def _refusal(status: int, denial_id: str = "", detail: str = "") -> Response:
    """A refusal as a stranger sees it: the word for the status, the id if there is one, and what
    is wrong with the request where nothing but its form is."""
    body = {"error": WORDS.get(status, "internal_error")}
    if detail:
        body["detail"] = detail
    headers = dict(CORS) | PRIVATE
    if denial_id:
        body["id"] = denial_id
        headers["x-request-id"] = denial_id
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return JSONResponse(body, status, headers)


async def _plain_refusal(request: Request, error: Exception) -> Response:
    """What Starlette itself turns away: no such address, a wrong method, a bug of ours."""
    status = getattr(error, "status_code", 500)
    if status == 404 and request.headers.get("upgrade", "").lower() == "websocket":
        # Upstream's clients try WebSocket beside QUIC. To them 404 is final and more telling than
        # what QUIC answered, so that a refused token reads as a missing page; 403 leaves the word
        # to QUIC.
        status = 403
    if status == 404 and request.method == "OPTIONS":
        # A preflight that is refused tells a page only that something failed; so it asks, and reads
        # what did.
        return Response(status_code=204, headers=PREFLIGHT)
    refusal = _turned_away(request, status)
    if allowed := (getattr(error, "headers", None) or {}).get("Allow"):
        refusal.headers["allow"] = allowed
    return refusal


def _turned_away(request: Request, status: int) -> Response:
    """A refusal that no route made, in the form that routes of such a name make theirs."""
    if raw_path(request).removeprefix("/").partition("/")[0] not in ("publish", "watch", "routes"):
        return _refusal(status)
    refusal = details(status)
    refusal.headers.update(CORS)
    return refusal
