"""Credentials over HTTP: a one-time ticket for a URL, new rights for a running session.

Both take the reusable credential in the ``Authorization`` header, where no log or history keeps it.
The law: a stranger learns a status and an id. This module must not know what a credential is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from relay.control.asking import NoBearer, bearer, remote
from relay.control.body import members
from relay.control.problems import PRIVATE
from relay.control.silence import named

SHOWN_SECONDS = 60
"""Seconds that others may keep the relay's public keys: a key is shown long before it signs."""


class Desk(Protocol):
    """What these routes may ask of the relay."""

    async def ticket(self, bearer: str, remote: str) -> dict[str, Any]:
        """A one-time ticket: ``{ticket, expires}``. Raises `Refused`."""

    def jwks(self) -> dict[str, Any]:
        """The public halves of the relay's own signing keys. Raises `Gone` where it has none."""

    async def login(self, bearer: str, wished: Mapping[str, Any], remote: str) -> dict[str, Any]:
        """A token for what a credential allows, or for what of it is ``wished``: ``{token, expires,
        …}``. Raises `Refused`, `BadRequest`, `Gone` where no tokens are made."""

    async def sessions(self, bearer: str, remote: str) -> tuple[list[dict[str, Any]], list[int]]:
        """The running sessions of the credential's holder: ``{id, root, …}``, and which workers did
        not answer. Raises `Refused`."""

    async def refresh(self, id: str, bearer: str, remote: str) -> dict[str, Any]:
        """New rights for session ``id``: ``{publish, subscribe, expires}``.

        Raises `Refused`, or `Unroutable` when there is no such session.
        """


Face = Callable[[Callable[[Request], Awaitable[Response]]], Callable[..., Awaitable[Response]]]


def credential_routes(desk: Desk, face: Face) -> list[Route]:
    """The routes; ``face`` turns errors into answers, as for the other routes."""

    def credential(request: Request) -> str:
        found = bearer(request)
        if not found:
            raise NoBearer("the credential belongs in the Authorization header")
        return found

    async def ticket(request: Request) -> Response:
        made = await desk.ticket(credential(request), remote(request))
        return JSONResponse(made, status_code=201, headers=PRIVATE)

    async def jwks(request: Request) -> Response:
        cached = {"cache-control": f"public, max-age={SHOWN_SECONDS}"}
        return JSONResponse(desk.jwks(), headers=cached, media_type="application/jwk-set+json")

    async def login(request: Request) -> Response:
        given = credential(request)
        made = await desk.login(given, await members(request, empty=True), remote(request))
        return JSONResponse(made, status_code=201, headers=PRIVATE)

    async def sessions(request: Request) -> Response:
        found, silent = await desk.sessions(credential(request), remote(request))
        return JSONResponse({"sessions": found}, headers=PRIVATE | named(silent))

    async def refresh(request: Request) -> Response:
        id = request.path_params["id"]
        made = await desk.refresh(id, credential(request), remote(request))
        return JSONResponse(made, headers=PRIVATE)

    return [
        Route("/ticket", face(ticket), methods=["POST", "OPTIONS"]),
        Route("/auth/login", face(login), methods=["POST", "OPTIONS"]),
        Route("/.well-known/jwks.json", face(jwks), methods=["GET", "HEAD", "OPTIONS"]),
        Route("/session", face(sessions), methods=["GET", "HEAD", "OPTIONS"]),
        Route("/session/{id}/refresh", face(refresh), methods=["POST", "OPTIONS"]),
    ]
