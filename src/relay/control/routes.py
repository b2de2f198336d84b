"""What there is to publish and to read, as far as a caller may know. Must not know what that is."""

from __future__ import annotations

from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from relay.control.asking import asked, raw_path
from relay.control.credentials import Face
from relay.control.problems import Denied, problem
from relay.errors import RelayError


class Map(Protocol):
    """What this route may ask of the relay."""

    async def routes(self, asked: tuple[Any, ...]) -> tuple[int, str, dict[str, Any]]:
        """Status (200 = yes) and id of the decision, and what the caller may see."""


def map_routes(map: Map, face: Face) -> list[Route]:
    """The route; ``face`` adds what every answer has."""

    async def answered(request: Request) -> Response:
        try:
            path = raw_path(request)[len("/routes") :] or "/"
            status, id, found = await map.routes(asked(request, path))
            if status != 200:
                raise Denied(status, id)
        except RelayError as error:
            return problem(error)
        return JSONResponse(found, headers={"cache-control": "no-store"})

    methods = ["GET", "OPTIONS"]
    return [
        Route("/routes", face(answered), methods=methods),
        Route("/routes/{prefix:path}", face(answered), methods=methods),
    ]
