"""The body of a request, as the JSON object that it must be.

The law: it is read no further than it may be long. This module must not know what it asks for.
"""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from relay.errors import BadRequest, LimitExceeded

MAX_BODY = 65_536
"""Bytes of one question; more is refused."""


async def members(request: Request, empty: bool = False) -> dict[str, Any]:
    """The JSON object in the body; ``empty`` takes no body at all for an object without members.

    Raises `BadRequest` or `LimitExceeded`.
    """
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            raise LimitExceeded(f"a body of more than {MAX_BODY} bytes")
    if empty and not body:
        return {}
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(found, dict):
        raise BadRequest("the body is not a JSON object")
    return found
