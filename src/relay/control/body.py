"""The body of a request, whole, or as the JSON object that it must be.

The law: it is read no further than it may be long, and waited for no longer than it may take, since
some of those who ask are strangers. This module must not know what it asks for.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import ClientDisconnect, Request

from relay.auth.compact import parse_object
from relay.errors import BadRequest, LimitExceeded

MAX_BODY = 65_536
"""Bytes of one question; more is refused."""

SECONDS = 10.0
"""Seconds for it to arrive."""


class TooLong(LimitExceeded):
    """The body is longer than it may be."""

    status = 413

    def __init__(self, most: int) -> None:
        super().__init__(f"a body of more than {most} bytes")


class TooSlow(BadRequest):
    """The body did not come in time."""

    status = 408


async def members(request: Request, empty: bool = False) -> dict[str, Any]:
    """The JSON object in the body, read as strictly as a token; ``empty`` takes no body at all for
    an object without members.

    Raises `BadRequest` or `LimitExceeded`.
    """
    body = await whole(request, MAX_BODY, SECONDS)
    if empty and not body:
        return {}
    try:
        return parse_object(body)
    except ValueError as error:
        raise BadRequest(f"the body is {error}") from None


async def whole(request: Request, most: int, seconds: float) -> bytes:
    """The bytes of the body. Raises `TooLong`, `TooSlow`, or `BadRequest` when it breaks off."""
    length = request.headers.get("content-length", "")
    if length.isdigit() and (len(length) > 18 or int(length) > most):
        raise TooLong(most)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.stream():
                body += piece
                if len(body) > most:
                    raise TooLong(most)
    except TimeoutError:
        raise TooSlow("the body took too long") from None
    except ClientDisconnect:
        raise BadRequest("the body broke off") from None
    return bytes(body)
