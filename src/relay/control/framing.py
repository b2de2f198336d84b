"""What RFC 9112 asks of whoever takes requests, beyond what the HTTP parser sees to.

The law: a request for a whole address is one for its path, at the host that the address names; and
after one whose length was said in two ways nothing is read from that connection, since somebody on
the way may have read the other. This module must not know what a face answers.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ABSOLUTE = re.compile(rb"https?://(?:[^/?#@]*@)?([^/?#]*)", re.IGNORECASE)


def framed(app: ASGIApp) -> ASGIApp:
    """``app`` behind both rules."""

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        _to_origin_form(scope)
        if _has_two_lengths(scope):
            send = _last(send)
        await app(scope, receive, send)

    return served


def _to_origin_form(scope: Scope) -> None:
    """``GET http://here/x`` as ``GET /x`` with that ``Host``, whatever the header said (3.2.2)."""
    raw: bytes = scope["raw_path"]
    found = _ABSOLUTE.match(raw)
    if found is None:
        return
    path = raw[found.end() :] or b"/"
    scope["raw_path"], scope["path"] = path, unquote(path.decode("latin-1"))
    others = [(name, value) for name, value in scope["headers"] if name != b"host"]
    scope["headers"] = [(b"host", found[1]), *others]


def _has_two_lengths(scope: Scope) -> bool:
    """Whether the request has both fields that say where its body ends (6.1)."""
    return {b"content-length", b"transfer-encoding"} <= {name for name, _ in scope["headers"]}


def _last(send: Send) -> Send:
    """``send``, for the last answer of a connection."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), (b"connection", b"close")]
            message = {**message, "headers": headers}
        await send(message)

    return sent
