"""What only this machine may ask: the mesh, an end in good order, sessions on another's word.

It is unauthenticated: other machines, where its address lets them in, may read the numbers and the
mesh, as upstream has it, and no more, and a page in a browser gets nothing. An authorization server
beside the relay uses it to have grants looked at again at once. Sessions are told as upstream's
relay tells them, to whose tools this one is another. This module must not know what a grant is, or
a link.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from relay.auth.browser import is_loopback, may_be_a_page
from relay.control.asking import below, exact, raw_query
from relay.control.silence import named
from relay.errors import BadRequest, Forbidden, RelayError

METRICS = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of the numbers."""

Answer = Callable[[Request], Awaitable[Response]]


class Ward(Protocol):
    """Who watches over those sessions."""

    async def sessions(self, query: str) -> tuple[list[dict[str, Any]], list[int]]:
        """Those that the filter means, and which workers did not answer. Raises `BadRequest` for
        one that makes no sense."""

    async def revalidate(self, query: str) -> list[str]:
        """Ask about those again, now; which they are, by id. Raises `BadRequest`."""

    async def nodes(self) -> dict[str, Any]:
        """The mesh as this relay sees it."""

    async def metrics(self) -> bytes:
        """The relay in numbers, in Prometheus' text format."""

    async def routes(self, prefix: str) -> dict[str, Any]:
        """What there is to publish to and to read below a prefix. Raises `BadRequest`."""

    async def drain(self) -> int:
        """Have the relay stop in good order; how many sessions it still has."""

    @property
    def is_leaving(self) -> bool:
        """Whether it is about to stop."""


def internal_app(ward: Ward) -> Starlette:
    """The ASGI application of the internal face."""

    async def health(request: Request) -> Response:
        if ward.is_leaving:
            return PlainTextResponse("draining\n", status_code=503)
        return PlainTextResponse("ok\n")

    async def nodes(request: Request) -> Response:
        return JSONResponse(await ward.nodes())

    async def metrics(request: Request) -> Response:
        return Response(await ward.metrics(), media_type=METRICS)

    async def routes(request: Request) -> Response:
        return JSONResponse(await ward.routes(below(request, "routes")))

    async def drain(request: Request) -> Response:
        return JSONResponse({"sessions": await ward.drain()}, status_code=202)

    async def sessions(request: Request) -> Response:
        found, silent = await ward.sessions(raw_query(request))
        return JSONResponse({"sessions": found}, headers=named(silent))

    async def revalidate(request: Request) -> Response:
        ids = await ward.revalidate(raw_query(request))
        return JSONResponse({"ids": ids}, status_code=202 if ids else 200)

    async def refused(request: Request, error: Exception) -> Response:
        status = error.status if isinstance(error, RelayError) else 400
        return PlainTextResponse(f"{error}\n", status_code=status)

    addresses = [
        Route("/health", _for_programs(health)),
        Route("/sessions", _from_here(sessions)),
        Route("/sessions/revalidate", _from_here(revalidate), methods=["POST"]),
        Route("/nodes", _for_programs(nodes)),
        Route("/metrics", _for_programs(metrics)),
        Route("/routes", _from_here(routes)),
        Route("/routes/{prefix:rest}", _from_here(routes)),
        Route("/drain", _from_here(drain), methods=["POST"]),
    ]
    refusals: dict[Any, Any] = {BadRequest: refused, Forbidden: refused}
    return Starlette(routes=exact(addresses), exception_handlers=refusals)


def _for_programs(answer: Answer) -> Answer:
    """``answer``, refused to pages: they ask without anybody's having wanted it."""

    async def answered(request: Request) -> Response:
        if may_be_a_page(request.headers, (request.scope.get("server") or ("",))[0]):
            raise Forbidden("not for a page in a browser, nor under a name but localhost")
        return await answer(request)

    return answered


def _from_here(answer: Answer) -> Answer:
    """The same, refused to other machines as well."""

    async def answered(request: Request) -> Response:
        if request.client is None or not is_loopback(request.client.host):
            raise Forbidden("for this machine alone; others may ask /health, /metrics and /nodes")
        return await answer(request)

    return _for_programs(answered)
