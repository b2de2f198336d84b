"""What an HTTP request says, read the same way on every route. Must not know what is decided."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qs

from starlette.convertors import Convertor, register_url_convertor
from starlette.requests import Request
from starlette.routing import BaseRoute, Route

from relay.errors import BadRequest, Unauthorized
from relay.net.udp import plain
from relay.path import MAX_LENGTH, unescaped


class _Rest(Convertor[str]):
    """The rest of a path, whatever is in it; Starlette's own finds no address with a line end."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        """Nobody looks at it: see `below`."""
        return value

    def to_string(self, value: str) -> str:
        """The same."""
        return value


register_url_convertor("rest", _Rest())


def exact(routes: Sequence[BaseRoute]) -> Sequence[BaseRoute]:
    """The same routes, for addresses that end where theirs do: to Starlette one line end more is
    the same address."""
    for route in routes:
        if isinstance(route, Route):
            route.path_regex = re.compile(route.path_regex.pattern.removesuffix("$") + r"\Z")
    return routes


class NoBearer(Unauthorized):
    """No credential where one has to be, or not as a bearer token: nothing but the request's form,
    so its sender is told."""


def bearer(request: Request) -> str | None:
    """The bearer token (RFC 6750, 2.1), ``None`` without one; two different ones are malformed."""
    found = set()
    for value in request.headers.getlist("authorization"):
        scheme, _, credentials = value.partition(" ")
        if scheme.lower() != "bearer":
            raise NoBearer("an Authorization header that is no bearer token")
        found.add(credentials.strip(" "))
    if len(found) > 1:
        raise BadRequest("two different bearer tokens")
    return found.pop() if found else None


def remote(request: Request) -> str:
    """The client's address, written as that of a session is."""
    return plain(request.client)[0] if request.client else ""


def raw_path(request: Request) -> str:
    """The path with its percent escapes as they came, so that it is decided as it is routed."""
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    return str(raw.decode("latin-1"))


def raw_query(request: Request) -> str:
    """The query as it came."""
    return str(request.scope["query_string"].decode("latin-1"))


def below(request: Request, route: str) -> str:
    """What the path says after the name of the route, escapes and all. Raises `BadRequest`."""
    first, slash, rest = raw_path(request).removeprefix("/").partition("/")
    if first != route:  # it was routed by what the escapes mean
        raise BadRequest(f"the address begins with /{route}, without escapes")
    return slash + rest


def readings(path: str) -> tuple[str, ...]:
    """Whose an escaped path may be, as far as a reader cares, in the order in which to look.

    It is a broadcast's without the escapes; where there is none, that of a session that dialled
    the path with them. Each is decided about by itself.
    """
    if "%" not in path or len(path) > MAX_LENGTH:  # no session can have dialled such a one
        return (path,)
    return path, path.replace("%", "%25")


class Asked(NamedTuple):
    """What a decision about an address takes."""

    target: str
    """Path and query, still escaped: what of it is meant as it stands depends on who asks."""
    bearer: str | None
    remote: str
    again: bool
    """Whether the same request has been decided about before, for what else its address means: it
    counts against quotas once."""
    memory: dict[str, Any]
    """What whoever decides keeps for the next decision about the same request."""


class Addresses(Protocol):
    """What the relay makes of the address of a broadcast and a track."""

    def place(self, path: str, track: str | None) -> tuple[str, Any]:
        """The broadcast that an address means, and the address. Raises `BadRequest`."""

    async def admit(self, asked: Asked, publishes: bool) -> Any:
        """The grant for that broadcast, decided as for a session. Raises `Denied`."""


def asked(request: Request, path: str) -> Asked:
    """What a decision about ``path`` takes. Raises `BadRequest` for escapes that mean nothing,
    whoever asks."""
    for segment in path.split("/"):
        unescaped(segment)
    query = raw_query(request)
    target = f"{path}?{query}" if query else path
    again = hasattr(request.state, "memory")
    if not again:
        request.state.memory = {}
    return Asked(target, bearer(request), remote(request), again, request.state.memory)


def parameter(request: Request, name: str) -> str | None:
    """A query field that may be given once; bytes that are no UTF-8 are no letters in it, but lone
    surrogates. Raises `BadRequest`."""
    kept: dict[str, Any] = {"keep_blank_values": True, "errors": "surrogateescape"}
    try:
        fields: dict[str, Any] = parse_qs(raw_query(request), max_num_fields=64, **kept)
    except ValueError:
        raise BadRequest("too many query fields") from None
    values = set(fields.get(name, ()))
    if len(values) > 1:
        raise BadRequest(f"{name} is given twice")
    return values.pop() if values else None
