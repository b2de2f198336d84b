"""Refusals as problem details (RFC 9457). Must not know what was asked."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse, Response

from relay.control.asking import NoBearer
from relay.errors import RelayError

PRIVATE = {"cache-control": "no-store"}
"""Answers that depend on a credential must not be kept by anybody in between."""


class Denied(RelayError):
    """A decision against the stranger, who learns the status and the id."""

    def __init__(self, status: int, id: str) -> None:
        super().__init__("")
        self.status = status
        self.denial_id = id


def problem(error: RelayError, **more: Any) -> Response:
    """The answer to an error; a refusal by decision keeps its reason to itself."""
    headers, detail = error.headers, ""
    if error.denial_id:
        more = {"id": error.denial_id} | more
        headers["x-request-id"] = error.denial_id
    if error.status in (400, 408, 413, 415, 429) or isinstance(error, NoBearer):
        detail = str(error)
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    return details(error.status, detail, headers, **more)


def details(
    status: int, detail: str = "", headers: Mapping[str, str] = {}, **more: Any
) -> Response:
    """Problem details, which nobody in between may keep."""
    said = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if detail:
        said["detail"] = detail
    private = {**PRIVATE, **headers}
    return JSONResponse(said | more, status, private, media_type="application/problem+json")
