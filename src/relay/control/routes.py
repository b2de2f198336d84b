"""What there is to publish and to read, as far as a caller may know. Must not know what that is."""

from __future__ import annotations

from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from relay.control.asking import Asked, asked, below, readings, remote
from relay.control.credentials import Face
from relay.control.problems import PRIVATE, Denied, problem
from relay.control.seats import Seats, Whole
from relay.errors import RelayError


class Map(Protocol):
    """What this route may ask of the relay."""

    async def routes(self, asked: Asked) -> dict[str, Any]:
        """What the caller may see. Raises `Denied`."""


def map_routes(map: Map, face: Face, seats: Seats) -> list[Route]:
    """The route; ``face`` adds what every answer has, which takes one of ``seats``."""

    async def answered(request: Request) -> Response:
        try:
            where = remote(request)
            return await seats.answered(lambda: _written(map, request), "application/json", where)
        except RelayError as error:
            return problem(error)

    methods = ["GET", "OPTIONS"]
    return [
        Route("/routes", face(answered), methods=methods),
        Route("/routes/{prefix:rest}", face(answered), methods=methods),
    ]


async def _written(map: Map, request: Request) -> Whole:
    """What is found, as JSON."""
    found = JSONResponse(await _found(map, request))
    return bytes(found.body), PRIVATE


async def _found(map: Map, request: Request) -> dict[str, Any]:
    """What is below the first of the paths that the address may mean and where there is anything.

    Raises `Denied`.
    """
    found: dict[str, Any] = {}
    for path in readings(below(request, "routes") or "/"):
        try:
            there = await map.routes(asked(request, path))
        except Denied:
            if not found:
                raise
            break
        is_there = there["announced"] or there["published"]
        if is_there or not found:
            found = there
        if is_there:
            break
    return found
