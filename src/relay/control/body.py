"""The body of a request, as the JSON object that it must be.

The law: it is read no further than it may be long, and waited for no longer than `SECONDS`, since
some of those who ask are strangers. This module must not know what it asks for.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import ClientDisconnect, Request

from relay.errors import BadRequest, LimitExceeded

MAX_BODY = 65_536
"""Bytes of one question; more is refused."""

SECONDS = 10.0
"""Seconds for it to arrive."""


class TooLong(LimitExceeded):
    """The body is longer than any question."""

    status = 413


class TooSlow(BadRequest):
    """The body did not come in time."""

    status = 408


async def members(request: Request, empty: bool = False) -> dict[str, Any]:
    """The JSON object in the body; ``empty`` takes no body at all for an object without members.

    Raises `BadRequest` or `LimitExceeded`.
    """
    try:
        async with asyncio.timeout(SECONDS):
            body = await _read(request)
    except TimeoutError:
        raise TooSlow("the body took too long") from None
    except ClientDisconnect:
        raise BadRequest("the body broke off") from None
    if empty and not body:
        return {}
    try:
        found = json.loads(body)
        json.dumps(found, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(found, dict):
        raise BadRequest("the body is not a JSON object")
    return found


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BODY:
            raise TooLong(f"a body of more than {MAX_BODY} bytes")
    return bytes(body)
