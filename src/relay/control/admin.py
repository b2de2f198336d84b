"""What only an operator may ask over HTTP. Closed unless ``[admin] api_key`` is set.

The law: the operator's key is checked before the body is read, and the answer holds no secret.
This module must not know how decisions are made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from relay.control.body import members
from relay.control.credentials import Face
from relay.errors import BadRequest, Unauthorized


class Office(Protocol):
    """What these routes may ask of the relay."""

    async def is_admin(self, bearer: str) -> bool:
        """Whether that is the operator's key. Never so when none is configured."""

    async def explain(
        self, target: str, bearer: str | None, publish: list[str], subscribe: list[str]
    ) -> dict[str, Any]:
        """What the relay would decide on somebody, step by step."""


def admin_routes(
    office: Office, face: Face, bearer: Callable[[Request], str | None]
) -> list[Route]:
    """The routes; ``face`` turns errors into answers, as for the public ones."""

    async def explain(request: Request) -> Response:
        given = bearer(request)
        if not given or not await office.is_admin(given):
            raise Unauthorized("not the operator")
        asked = await members(request)
        answer = await office.explain(
            _text(asked, "url") or "/",
            _text(asked, "token"),
            _texts(asked, "publish"),
            _texts(asked, "subscribe"),
        )
        return JSONResponse(answer, headers={"cache-control": "no-store"})

    return [Route("/admin/explain", face(explain), methods=["POST"])]


def _text(asked: dict[str, Any], name: str) -> str | None:
    value = asked.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"{name} is not text")
    return value


def _texts(asked: dict[str, Any], name: str) -> list[str]:
    value = asked.get(name, [])
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadRequest(f"{name} is not a list of texts")
    return value
