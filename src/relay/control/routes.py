"""What there is to publish and to read, as far as a caller may know. Must not know what that is."""

from __future__ import annotations

from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from relay.control.asking import Asked, asked, below, readings
from relay.control.credentials import Face
from relay.control.problems import Denied, problem
from relay.errors import RelayError


class Map(Protocol):
    """What this route may ask of the relay."""

    async def routes(self, asked: Asked) -> tuple[int, str, dict[str, Any]]:
        """Status (200 = yes) and id of the decision, and what the caller may see."""


def map_routes(map: Map, face: Face) -> list[Route]:
    """The route; ``face`` adds what every answer has."""

    async def answered(request: Request) -> Response:
        try:
            found = await _found(map, request)
        except RelayError as error:
            return problem(error)
        return JSONResponse(found, headers={"cache-control": "no-store"})

    methods = ["GET", "OPTIONS"]
    return [
        Route("/routes", face(answered), methods=methods),
        Route("/routes/{prefix:rest}", face(answered), methods=methods),
    ]


async def _found(map: Map, request: Request) -> dict[str, Any]:
    """What is below the first of the paths that the address may mean and where there is anything.

    Raises `Denied`.
    """
    found: dict[str, Any] = {}
    for path in readings(below(request, "routes") or "/"):
        status, id, there = await map.routes(asked(request, path))
        if status != 200:
            if found:
                break
            raise Denied(status, id)
        is_there = there["announced"] or there["published"]
        if is_there or not found:
            found = there
        if is_there:
            break
    return found
