"""Refusals as problem details (RFC 9457). Must not know what was asked."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse, Response

from relay.control.asking import NoBearer
from relay.errors import Gone, OverQuota, RelayError


class Denied(RelayError):
    """A decision against the stranger, who learns the status and the id."""

    def __init__(self, status: int, id: str) -> None:
        super().__init__("")
        self.status = status
        self.id = id


class Problem(RelayError):
    """A request that cannot be served, and what its sender may know of the reason."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def problem(error: RelayError, **more: Any) -> Response:
    """The answer to an error; a refusal by decision keeps its reason to itself."""
    status = 404 if isinstance(error, Gone) else error.status
    body: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase}
    body["status"] = status
    headers = {"cache-control": "no-store"}
    if isinstance(error, Denied):
        body["id"] = error.id
        headers["x-request-id"] = error.id
    elif status in (400, 408, 413, 415, 429) or isinstance(error, NoBearer):
        body["detail"] = str(error)
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, OverQuota) and error.wait > 0.0:
        headers["retry-after"] = str(math.ceil(error.wait))
    return JSONResponse(body | more, status, headers, media_type="application/problem+json")
