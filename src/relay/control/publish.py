"""Publishing over HTTP: one request, one decision, one answer about every record.

The law: nothing of a body is read before the decision, and no more of it than the limits allow.
This module must not know broadcasts, schemas or tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from relay.control.asking import Addresses, asked, below, parameter, remote
from relay.control.body import whole
from relay.control.credentials import Face
from relay.control.places import Places
from relay.control.problems import PRIVATE, problem
from relay.errors import BadRequest, RelayError


class Unreadable(BadRequest):
    """The body is in a form that is not understood."""

    status = 415


class Press(Addresses, Protocol):
    """What this route may ask of the relay."""

    async def publish(
        self, grant: Any, address: Any, body: bytes, is_json: bool, one_group: bool
    ) -> tuple[Sequence[Any], bool]:
        """What became of each record (track, group, frame, error), and whether they were many."""

    @property
    def body_limits(self) -> tuple[int, float]:
        """Bytes of a body, seconds for it to arrive."""

    @property
    def bodies(self) -> Places:
        """For those that are arriving."""


def publish_routes(press: Press, face: Face) -> list[Route]:
    """The route; ``face`` adds what every answer has."""

    async def published(request: Request) -> Response:
        path, given = below(request, "publish"), parameter(request, "track")
        grouping = parameter(request, "group")
        if grouping not in (None, "one"):
            raise BadRequest("group is one or not given")
        broadcast, address = press.place(path, given)
        grant = await press.admit(asked(request, f"/{broadcast}"), True)
        is_json = _is_json(request)
        where = remote(request)
        press.bodies.take(where)
        try:
            body = await whole(request, *press.body_limits)
        finally:
            press.bodies.give(where)
        sent, many = await press.publish(grant, address, body, is_json, grouping == "one")
        return JSONResponse(_told(sent, many), 202, PRIVATE)

    async def answered(request: Request) -> Response:
        try:
            return await published(request)
        except RelayError as error:
            errors = getattr(error, "errors", None)
            if errors is None:
                return problem(error)
            said = [{"record": at, "error": text} for at, text in errors.items()]
            return problem(error, records=said)

    return [Route("/publish/{target:rest}", face(answered), methods=["POST", "OPTIONS"])]


def _told(sent: Sequence[Any], many: bool) -> dict[str, Any]:
    records = [
        {"status": "dead_letter" if error else "published", "track": track, "group": group}
        | {"frame": frame}
        | ({"error": error} if error else {})
        for track, group, frame, error in sent
    ]
    groups = list(dict.fromkeys(each["group"] for each in records if "error" not in each))
    return {"groups": groups, "records": records} if many else {"groups": groups} | records[0]


def _is_json(request: Request) -> bool:
    """Whether the body is JSON. Raises `Unreadable`."""
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise Unreadable("the body must not be compressed")
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    if kind.strip().lower() != "application/json":
        return False
    charset = parameters.lower().replace('"', "").replace(" ", "")
    if "charset=" in charset and "charset=utf-8" not in charset:
        raise Unreadable("JSON is UTF-8")
    return True
