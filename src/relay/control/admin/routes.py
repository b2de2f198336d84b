"""The counter over HTTP: routes from the table, questions read strictly, answers as JSON.

The law: who asks is known before anything that was said is read; no cookie means anything here and
no other origin is invited, so a page elsewhere can do nothing in the operator's name; an error is a
problem document (RFC 9457), which to a stranger says nothing but its status. This module must not
know what an operation does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from relay.control.admin.counter import BASE, OPERATIONS, Counter, Operation
from relay.control.admin.guard import Guard
from relay.control.admin.openapi import document
from relay.control.admin.shape import MEANT
from relay.control.asking import bearer, below, remote
from relay.control.body import members
from relay.control.problems import PRIVATE, details
from relay.errors import BadRequest, RelayError
from relay.records.office import Operator

ACTOR = "admin"
"""The name under which the audit log knows whoever holds the operator's key."""


def counter_routes(counter: Counter, guard: Guard) -> list[BaseRoute]:
    """Every operation at its place."""

    async def admitted(request: Request) -> Operator:
        below(request, "admin")  # as a rule of a proxy would have it, that lets nobody in there
        await guard.require(bearer(request), remote(request))
        return Operator(ACTOR, remote(request))

    def at(place: str, found: dict[str, Operation]) -> Route:
        async def answered(who: Operator, request: Request) -> Response:
            operation = found.get("GET" if request.method == "HEAD" else request.method)
            if operation is None:
                allowed = sorted({*found, *({"HEAD"} if "GET" in found else ())})
                return details(405, headers={"allow": ", ".join(allowed)})
            return await _answer(counter, operation, who, request)

        return Route(BASE + place, _Place(admitted, answered))

    async def described(who: Operator, request: Request) -> Response:
        return JSONResponse(document(), headers=PRIVATE)

    async def nowhere(who: Operator, request: Request) -> Response:
        return details(404, "there is no such place")

    places: dict[str, dict[str, Operation]] = {}
    for operation in OPERATIONS:
        places.setdefault(operation.place, {})[operation.method] = operation
    # Places without a variable come first, so that a variable cannot take their name.
    ordered = sorted(places, key=lambda place: "{" in place)
    return [
        Route(BASE + "/openapi.json", _Place(admitted, described)),
        *(at(place, places[place]) for place in ordered),
        Route(BASE + "/{rest:rest}", _Place(admitted, nowhere)),
    ]


class _Place:
    """An ASGI application, so that methods that nobody has heard of are answered here as well."""

    def __init__(
        self,
        admitted: Callable[[Request], Awaitable[Operator]],
        answered: Callable[[Operator, Request], Awaitable[Response]],
    ) -> None:
        self._admitted = admitted
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request: who asks, then what; every error of ours becomes a problem here."""
        request = Request(scope, receive)
        is_operator = False
        try:
            who = await self._admitted(request)
            is_operator = True
            response = await self._answered(who, request)
        except RelayError as error:
            response = problem(error, is_operator)
        await response(scope, receive, send)


async def _answer(
    counter: Counter, operation: Operation, who: Operator, request: Request
) -> Response:
    asked = await _asked(operation, request)
    method: Callable[[Operator, BaseModel], Awaitable[Any]] = getattr(counter, operation.name)
    answer = await method(who, asked)
    told = answer.model_dump(mode="json") if isinstance(answer, BaseModel) else answer
    return JSONResponse(told, operation.status, PRIVATE)


def problem(error: RelayError, is_operator: bool) -> Response:
    """An error of ours as the operator sees it; whoever is not the operator sees its status."""
    if error.headers:
        return details(429, "", error.headers)
    if error.status == 401:
        return details(401, "", {"www-authenticate": "Bearer"})
    return details(error.status, str(error) if is_operator else "")


async def _asked(operation: Operation, request: Request) -> BaseModel:
    """The question, from path, query and body. Raises `BadRequest`, `LimitExceeded`."""
    said: dict[str, Any] = {}
    kinds = operation.kinds
    if operation.takes_body:
        said = await members(request, empty=True)
        if request.url.query:
            raise BadRequest("this question is asked in the body")
    else:
        if operation.method != "GET" and await members(request, empty=True):
            raise BadRequest("this question is asked in the address, not in the body")
        for name, value in request.query_params.multi_items():
            if name in said:
                raise BadRequest(f"{name[:80]} is said twice")
            said[name] = _read(value, kinds.get(name, frozenset()))
    for name in operation.in_place:
        if name in said:
            raise BadRequest(f"{name} stands in the path")
        said[name] = _read(request.path_params[name], kinds[name])
    try:
        return operation.asked.model_validate_json(json.dumps(said), strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))[:120]
        text = "no such field" if first["type"] == "extra_forbidden" else first["msg"]
        if first["type"] == "string_pattern_mismatch":
            text = f"expected {MEANT[first['ctx']['pattern']]}"
        raise BadRequest(f"{where}: {text}" if where else text) from None


def _read(text: str, kinds: frozenset[str]) -> Any:
    """The text of a query or a path as the kind of value that is wanted, where it reads as one."""
    if "boolean" in kinds and text in ("true", "false"):
        return text == "true"
    if "integer" in kinds and re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", text):
        return int(text)
    return text
