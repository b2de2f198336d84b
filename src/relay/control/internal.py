"""What only this machine may ask: which sessions run on another's word, and to ask that one again.

It is unauthenticated and therefore listens on loopback only; an authorization server beside the
relay uses it to have grants looked at again at once. This module must not know what a grant is.
"""

from __future__ import annotations

from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from relay.errors import BadRequest


class Ward(Protocol):
    """Who watches over those sessions."""

    def sessions(self, query: str) -> list[dict[str, Any]]:
        """Those that the filter means. Raises `BadRequest` for one that makes no sense."""

    def revalidate(self, query: str) -> int:
        """Ask about those again, now; how many they are. Raises `BadRequest`."""


def internal_app(ward: Ward) -> Starlette:
    """The ASGI application of the internal face."""

    def query(request: Request) -> str:
        return str(request.scope["query_string"].decode("latin-1"))

    async def health(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def sessions(request: Request) -> Response:
        return JSONResponse(ward.sessions(query(request)))

    async def revalidate(request: Request) -> Response:
        return JSONResponse({"sessions": ward.revalidate(query(request))}, status_code=202)

    async def refused(request: Request, error: Exception) -> Response:
        return PlainTextResponse(f"{error}\n", status_code=400)

    routes = [
        Route("/health", health),
        Route("/sessions", sessions),
        Route("/sessions/revalidate", revalidate, methods=["POST"]),
    ]
    return Starlette(routes=routes, exception_handlers={BadRequest: refused})
