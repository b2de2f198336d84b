"""What only this machine may ask: the mesh, an end in good order, sessions on another's word.

It is unauthenticated and therefore listens on loopback only, and what changes anything is refused
to pages in a browser; an authorization server beside the relay uses it to have grants looked at
again at once. This module must not know what a grant is, or a link.
"""

from __future__ import annotations

from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from relay.errors import BadRequest, Forbidden, RelayError


class Ward(Protocol):
    """Who watches over those sessions."""

    def sessions(self, query: str) -> list[dict[str, Any]]:
        """Those that the filter means. Raises `BadRequest` for one that makes no sense."""

    def revalidate(self, query: str) -> int:
        """Ask about those again, now; how many they are. Raises `BadRequest`."""

    def nodes(self) -> dict[str, Any]:
        """The mesh as this relay sees it."""

    def drain(self) -> int:
        """Have the relay stop in good order; how many sessions it still has."""

    @property
    def is_leaving(self) -> bool:
        """Whether it is about to stop."""


def internal_app(ward: Ward) -> Starlette:
    """The ASGI application of the internal face."""

    def query(request: Request) -> str:
        return str(request.scope["query_string"].decode("latin-1"))

    async def health(request: Request) -> Response:
        if ward.is_leaving:
            return PlainTextResponse("draining\n", status_code=503)
        return PlainTextResponse("ok\n")

    async def nodes(request: Request) -> Response:
        return JSONResponse(ward.nodes())

    async def drain(request: Request) -> Response:
        require_no_page(request)
        return JSONResponse({"sessions": ward.drain()}, status_code=202)

    async def sessions(request: Request) -> Response:
        return JSONResponse(ward.sessions(query(request)))

    async def revalidate(request: Request) -> Response:
        require_no_page(request)
        return JSONResponse({"sessions": ward.revalidate(query(request))}, status_code=202)

    async def refused(request: Request, error: Exception) -> Response:
        status = error.status if isinstance(error, RelayError) else 400
        return PlainTextResponse(f"{error}\n", status_code=status)

    routes = [
        Route("/health", health),
        Route("/sessions", sessions),
        Route("/sessions/revalidate", revalidate, methods=["POST"]),
        Route("/nodes", nodes),
        Route("/drain", drain, methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers={BadRequest: refused, Forbidden: refused})


def require_no_page(request: Request) -> None:
    """A page may send such a request without being asked, so it is refused to all of them."""
    if "origin" in request.headers or "sec-fetch-site" in request.headers:
        raise Forbidden("not from a page in a browser")
