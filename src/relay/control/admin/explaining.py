"""``POST /admin/explain``: why somebody is let in or not, at the place where it has always been.

The law: the operator's key is checked before the body is read, and the answer holds no secret.
This module must not know how decisions are made.
"""

from __future__ import annotations

from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from relay.auth.reason import quoted
from relay.control.admin.shapes import TRANSPORTS
from relay.control.asking import bearer, below, remote
from relay.control.body import members
from relay.control.credentials import Face
from relay.control.problems import PRIVATE
from relay.errors import BadRequest

MEMBERS = ("url", "token", "publish", "subscribe", "transport")
"""What a question may say."""

SHOWN = 4
"""Members that are none of those and are named in an answer."""


class Office(Protocol):
    """What these routes may ask of the relay."""

    async def require_operator(self, bearer: str | None, remote: str) -> None:
        """Raises `Unauthorized` unless that is the operator's key, `OverQuota` when wrong ones came
        too often."""

    async def explain(
        self,
        url: str,
        token: str | None,
        publish: list[str],
        subscribe: list[str],
        transport: str,
    ) -> dict[str, Any]:
        """What the relay would decide on somebody who comes by ``transport``, step by step. Raises
        `BadRequest`."""


def explain_routes(office: Office, face: Face) -> list[Route]:
    """The routes; ``face`` turns errors into answers, as for the public ones."""

    async def explain(request: Request) -> Response:
        below(request, "admin")
        await office.require_operator(bearer(request), remote(request))
        asked = await members(request)
        # A slip must not be explained as a guest without that member.
        if unknown := sorted(set(asked).difference(MEMBERS)):
            named = ", ".join(map(quoted, unknown[:SHOWN]))
            raise BadRequest(f"a question is {', '.join(MEMBERS)}, and not {named}")
        answer = await office.explain(
            _text(asked, "url") or "/",
            _text(asked, "token"),
            _texts(asked, "publish"),
            _texts(asked, "subscribe"),
            _transport(asked),
        )
        return JSONResponse(answer, headers=PRIVATE)

    return [Route("/admin/explain", face(explain), methods=["POST"])]


def _text(asked: dict[str, Any], name: str) -> str | None:
    value = asked.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"{name} is not text")
    return value


def _transport(asked: dict[str, Any]) -> str:
    value = _text(asked, "transport") or TRANSPORTS[0]
    if value not in TRANSPORTS:
        raise BadRequest(f"transport is one of {', '.join(TRANSPORTS)}")
    return value


def _texts(asked: dict[str, Any], name: str) -> list[str]:
    value = asked.get(name, [])
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadRequest(f"{name} is not a list of texts")
    return value
