"""The decision service: both contracts over HTTP, and the word to ask again.

``POST /`` answers a session event with terms, ``GET /`` a path with a key and what is public,
``POST /revalidate`` has the relays ask again, ``GET /metrics`` counts for this machine alone. The
law: every answer comes from the one decision, a refusal carries one word and the id under which the
log explains it, or no id where it does not, and a page in a browser gets nothing. This module must
not know where keys are kept, nor sockets.
"""

from __future__ import annotations

import asyncio
import math
import re
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from relay.auth.browser import is_loopback, may_be_a_page
from relay.auth.certificate import Certificate
from relay.auth.compact import parse_object
from relay.auth.mending import mending
from relay.auth.request import Request as Asked
from relay.errors import BadRequest, RelayError, Unavailable
from relay.net.udp import plain
from relay.path import Path
from relay.sidecar import lookup
from relay.sidecar.bench import Bench
from relay.sidecar.inquiry import Inquiry, read_inquiry
from relay.sidecar.select import read_selector
from relay.sidecar.settings import SidecarSettings
from relay.sidecar.terms import Fault, offer

PRIVATE = {"cache-control": "no-store"}
"""Answers are about one session at one moment; nobody in between may keep them."""

TOLD_SECONDS = 5.0
"""Seconds between two lines about requests that nobody looked at, for each word they are told."""

A_PAGE = "it may be from a page in a browser: Origin, Sec-Fetch-Site, or another Host than here"

_WORD = re.compile(r"[a-z0-9]{1,32}")


class _No(RelayError):
    """A request that is not answered: status, one word, and why, for the log."""

    def __init__(self, status: int, word: str, why: str = "") -> None:
        super().__init__(why)
        self.status = status
        self.word = word
        self.id = ""
        """Under which the log explains it; empty where it does not."""

    def known(self) -> _No:
        """The same with an id; whoever asks for one writes it to the log."""
        self.id = secrets.token_hex(6)
        return self


class _Unheard:
    """Requests that were turned away before they were looked at: whoever comes ever so often costs
    one line in `TOLD_SECONDS`. Who has none is told no id."""

    def __init__(self, log: Callable[..., None]) -> None:
        self._log = log
        self._told_at: dict[str, float] = {}
        self._untold: Counter[str] = Counter()

    def tell(self, no: _No, remote: str) -> None:
        """One more, if it is time; with how many there were since the last line."""
        now = asyncio.get_running_loop().time()
        self._untold[no.word] += 1
        if now - self._told_at.get(no.word, -TOLD_SECONDS) < TOLD_SECONDS:
            return
        self._told_at[no.word] = now
        said = {"id": no.known().id, "status": no.status, "reason": no.word, "why": str(no)}
        self._log("refused", **said, remote=remote, count=self._untold.pop(no.word))


def sidecar_app(bench: Bench, settings: SidecarSettings) -> Starlette:
    """The ASGI application of the decision service."""
    unheard = _Unheard(bench.log)

    async def event(request: Request) -> Response:
        return await _decided(bench, settings, await _read(request, settings))

    async def question(request: Request) -> Response:
        return await _looked_up(bench, settings, request)

    async def revalidate(request: Request) -> Response:
        query = request.scope["query_string"].decode("latin-1")
        read_selector(query)
        return JSONResponse({"relays": await bench.push(query)}, 202, PRIVATE)

    async def health(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def metrics(request: Request) -> Response:
        if not is_loopback(_remote(request)):  # nobody is authenticated here
            raise _No(403, "not_from_here", "the counts are for this machine alone")
        return Response(bench.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")

    def face(answer: Callable[[Request], Awaitable[Response]]) -> Any:
        async def answered(request: Request) -> Response:
            try:
                return await _answered(answer, request, bench, settings)
            except _No as no:
                if not no.id:
                    unheard.tell(no, _remote(request))
                return _refusal(no)

        return answered

    routes = [
        Route("/", face(event), methods=["POST"]),
        Route("/", face(question), methods=["GET"]),
        Route("/revalidate", face(revalidate), methods=["POST"]),
        Route("/health", face(health), methods=["GET"]),
        Route("/metrics", face(metrics), methods=["GET"]),
    ]
    strangers: dict[Any, Any] = {404: _turned_away, 405: _turned_away, 500: _turned_away}
    app = Starlette(routes=routes, exception_handlers=strangers)
    app.router.redirect_slashes = False
    return app


async def _answered(
    answer: Callable[[Request], Awaitable[Response]],
    request: Request,
    bench: Bench,
    settings: SidecarSettings,
) -> Response:
    """One request within its time; every error of ours becomes a `_No` here and only here."""
    if may_be_a_page(request.headers, (request.scope.get("server") or ("",))[0]):
        raise _No(403, "browser", A_PAGE)
    try:
        async with asyncio.timeout(settings.request_timeout):
            return await answer(request)
    except _No:
        raise
    except ClientDisconnect:
        return Response(status_code=400)
    except TimeoutError:
        raise _No(408, "timeout", "longer than sidecar.request_timeout") from None
    except RelayError as error:
        odd = _No(400, "malformed").known()
        bench.log("malformed", id=odd.id, why=str(error), remote=_remote(request))
        raise odd from None


async def _read(request: Request, settings: SidecarSettings) -> Inquiry:
    """The question of a POST, no longer than allowed. Raises `BadRequest` for anything else."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise BadRequest("the body is not application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > settings.max_body:
            raise _No(413, "too_large", "more than sidecar.max_body")
    try:
        return read_inquiry(parse_object(bytes(body)))
    except ValueError as error:
        raise BadRequest(f"the question is malformed: {error}") from None


async def _decided(bench: Bench, settings: SidecarSettings, inquiry: Inquiry) -> Response:
    """One session event: terms, a refusal, or nothing to say at the end."""
    told = _facts(inquiry)
    if inquiry.ending is not None:
        ending = inquiry.ending
        told |= {"reason": ending.reason, "seconds": ending.duration}
        bench.log("end", **told, sent=ending.sent, received=ending.received)
        return Response(status_code=204, headers=PRIVATE)
    try:
        request = inquiry.request()
    except ValueError as error:
        raise _denied(bench, told, 403, "unsupported_token", str(error)) from None
    decision = await bench.judge(request, inquiry.fact())
    if decision.grant is None:
        # To the relay anything but 401 and 403 is an outage, and a session lives on: so it should
        # where we could not find out, and nowhere else.
        status = decision.status if decision.status in (401, 503) else 403
        reason = decision.reason
        raise _denied(bench, told, status, reason.code, reason.text, mending(reason))
    grant = decision.grant
    try:
        terms, unsaid = offer(
            grant, bench.wall(), settings.expires, settings.revalidate, settings.tier
        )
    except Fault as fault:
        raise _denied(bench, told, 403, fault.code, str(fault)) from None
    event = "allow" if inquiry.event == "connect" else "renew"
    bench.note(event, told, grant)
    bench.log(
        event,
        **told,
        publish=list(terms.publish),
        subscribe=list(terms.subscribe),
        expires=terms.expires,
        kid=grant.kid,
        subject=grant.subject,
        jti=grant.jti,
        anonymous=grant.anonymous,
        **({"unsaid": list(unsaid)} if unsaid else {}),
        **({"warnings": list(decision.warnings)} if decision.warnings else {}),
    )
    return JSONResponse(terms.dump(), headers=PRIVATE)


async def _looked_up(bench: Bench, settings: SidecarSettings, request: Request) -> Response:
    """One path and key id: the key's public half and what is public there."""
    asked = _query(request)
    path = asked.get("root", "")
    transport = asked.get("transport", "quic")
    mtls = asked.get("mtls", "false")
    if "?" in path or not _WORD.fullmatch(transport) or mtls not in ("true", "false"):
        raise BadRequest("root, transport or mtls is malformed")
    told = {"asked": "lookup", "path": "/" + path.strip("/")[:256], "transport": transport}
    told |= {"kid": asked.get("kid", "")[:128], "remote": _remote(request)}
    # In this contract a certificate that is not refused has every right below the path.
    shown = Certificate("", math.inf) if mtls == "true" else None
    decision = await bench.judge(Asked(target="/" + path, transport=transport), shown)
    if decision.status == 400:
        raise BadRequest(decision.reason.text)
    if decision.status == 503:
        reason = decision.reason
        raise _denied(bench, told, 503, reason.code, reason.text, mending(reason))
    if shown is not None and not lookup.is_everything(decision.grant):
        why = "the certificate alone, of which nothing is known, is not granted everything"
        raise _denied(bench, told, 403, "certificate", why)
    subscribe, publish = lookup.public_of(decision.grant)
    try:
        key = await bench.find(asked["kid"], Path(path)) if asked.get("kid") else None
    except Unavailable as error:
        raise _denied(bench, told, 503, "unavailable", str(error)) from None
    shared = lookup.shareable(key, settings.share_secrets)
    if key is not None and shared is None:
        bench.log("warning", **told, why="a shared secret is not told; see sidecar.share_secrets")
    bench.note("lookup", told | {"key": shared is not None})
    bench.log("answer", **told, key=shared is not None, subscribe=subscribe, publish=publish)
    answer = lookup.Answer(None, subscribe, publish, shared, settings.tier)
    return JSONResponse(answer.dump(), headers=PRIVATE)


def _facts(inquiry: Inquiry) -> dict[str, Any]:
    """What of a question is written to the log: who, where and when in its life."""
    told: dict[str, Any] = {"session": inquiry.id, "asked": inquiry.event, "node": inquiry.node}
    told |= {"path": inquiry.path[:256], "transport": inquiry.transport, "remote": inquiry.remote}
    if inquiry.certificate is not None:
        told["certificate"] = inquiry.certificate.fingerprint
    return told


def _denied(
    bench: Bench, told: dict[str, Any], status: int, word: str, why: str, hint: str = ""
) -> _No:
    """A refusal, written to the log under the id that it carries."""
    no = _No(status, word).known()
    bench.note("deny", told | {"id": no.id, "reason": word})
    bench.log("deny", **told, id=no.id, status=status, reason=word, why=why, hint=hint)
    return no


def _query(request: Request) -> dict[str, str]:
    """The parameters of a GET, each at most once; unknown ones mean nothing."""
    pairs = request.query_params.multi_items()
    if len({name for name, _ in pairs}) < len(pairs):
        raise BadRequest("a parameter is given twice")
    return dict(pairs)


def _remote(request: Request) -> str:
    return plain(request.client)[0] if request.client else ""


def _refusal(no: _No) -> Response:
    """One word, and an id where the reason stands in the log."""
    headers = PRIVATE | ({"x-request-id": no.id} if no.id else {})
    return PlainTextResponse(f"{no.word} {no.id}".rstrip() + "\n", no.status, headers)


async def _turned_away(request: Request, error: Exception) -> Response:
    """What Starlette itself turns away, and bugs of ours: nothing about them is told."""
    status = getattr(error, "status_code", 500)
    words = {404: "not_found", 405: "method_not_allowed"}
    return _refusal(_No(status, words.get(status, "internal_error")))
