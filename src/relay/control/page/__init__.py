"""The dashboard: files that a browser gets as they are, and the headers that keep it in bounds.

The law: the page holds nothing secret and nothing of anybody else's, so whoever asks may have it;
what it may load and whom it may talk to is this relay and nobody else; the files are read once, at
the start, so that no request names a file. This module must not know what the page shows: that
comes over the counter, to whoever has the operator's key.
"""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

BASE = "/admin/"
"""Where the page is."""

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
"""Media types by the end of a name; files of other kinds are not served."""

POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'{quic}",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    # Text cannot become markup or a script, not even by a mistake in the page.
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
"""The Content-Security-Policy; ``{quic}`` is where this relay takes WebTransport."""

HEADERS = {
    "cache-control": "no-cache",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}

_HOST = re.compile(r"([A-Za-z0-9.-]{1,255})(:[0-9]{1,5})?")


def page_routes(quic_port: int) -> list[BaseRoute]:
    """Every file of the page at its place; ``quic_port`` is where this relay takes WebTransport."""
    served = {name: _read(name) for name in names()}

    async def slash(request: Request) -> Response:
        return RedirectResponse(BASE, 308, HEADERS)

    def at(name: str) -> Route:
        body, tag = served[name]
        media = TYPES[name.rpartition(".")[2]]

        async def answer(request: Request) -> Response:
            headers = HEADERS | {"etag": tag, "content-security-policy": policy(request, quic_port)}
            if request.headers.get("if-none-match") == tag:
                return Response(status_code=304, headers=headers)
            return Response(body, headers=headers, media_type=media)

        return Route(BASE + ("" if name == "index.html" else name), answer, methods=["GET"])

    return [Route(BASE.rstrip("/"), slash, methods=["GET"]), *map(at, sorted(served))]


def names() -> list[str]:
    """The files of the page."""
    found = (each.name for each in files(__name__).iterdir() if each.is_file())
    return sorted(name for name in found if name.rpartition(".")[2] in TYPES)


def policy(request: Request, quic_port: int) -> str:
    """The policy for whoever came by this name. An address that a policy cannot name (IPv6) is
    left to ``'self'``, which means WebTransport on the same port number as well."""
    host = _HOST.fullmatch(request.headers.get("host", ""))
    quic = f" https://{host[1]}:{quic_port}" if host else ""
    return "; ".join(POLICY).replace("{quic}", quic)


def _read(name: str) -> tuple[bytes, str]:
    body = files(__name__).joinpath(name).read_bytes()
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'
