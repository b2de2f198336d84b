"""What somebody at the door says, and how it is read: the path, and the one credential.

The law: reading believes nothing; a path is literal or refused, and two credentials that differ are
refused, since whoever logs or forwards the request might have read the other one. This module must
not know keys, grants, or what is decided.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qsl

from relay.auth.credentials import Kind, looks_like_token
from relay.auth.reason import Refusal, quoted
from relay.auth.settings import AuthSettings
from relay.errors import BadRequest
from relay.path import Path, named

MAX_QUERY = 64 * 1024
"""Characters of a query that are looked at: the longest token with every letter escaped fits."""

MAX_PARAMETERS = 64
"""Parameters of one query."""

_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\\\\\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody at the door says. Nothing of it has been believed."""

    target: str = ""
    """Path and query as dialled: ``/demo?jwt=…``; percent-escapes as they came."""
    query: str = ""
    """More of the query, without ``?``, where a surface has split it off already."""
    bearer: str | None = None
    """The value of ``Authorization: Bearer``, without that word."""
    transport: str = "webtransport"
    """How the guest came: as `Knock.transport`, or ``http``, and ``refresh``: over HTTP, about a
    session."""
    publishes: bool = True
    """False when the guest said that it will only subscribe."""
    subscribes: bool = True
    """False when the guest said that it will only publish."""
    is_address: bool = False
    """Whether the path is that of an HTTP address: it names a broadcast without its escapes."""

    @property
    def dialled(self) -> str:
        """The path as it was dialled."""
        return self.target.partition("?")[0]

    @property
    def queries(self) -> tuple[str, str]:
        """Both halves of the query."""
        return self.target.partition("?")[2], self.query

    def path(self, literal: Iterable[Path] = ()) -> Path:
        """The path that is asked for; ``literal`` is what an address may name as it stands.

        Raises `Refusal`.
        """
        if not self.is_address:
            return read_path(self.dialled)
        try:
            return read_path(named(self.dialled, literal))
        except BadRequest as error:
            raise Refusal("bad_path", str(error)) from None


class Credential(NamedTuple):
    """The one credential of a request. Its text is secret."""

    kind: Kind | None
    """What it is, going by its form; ``None`` for a ticket."""
    text: str
    where: str
    """``header`` or ``query``."""

    @property
    def is_ticket(self) -> bool:
        """Whether it is a one-time ticket."""
        return self.kind is None


def read_path(text: str) -> Path:
    """The connection path. Nothing in it is resolved or unescaped. Raises `Refusal`."""
    if _FORBIDDEN.search(text):
        raise Refusal("bad_path", f"control characters or a backslash in {quoted(text)}")
    try:
        path = Path(text)
    except BadRequest as error:
        raise Refusal("bad_path", str(error)) from None
    if any(segment in (".", "..") for segment in path.segments):
        raise Refusal("bad_path", f"a dot segment in {quoted(text)}")
    return path


def find_credential(request: Request, settings: AuthSettings) -> Credential | None:
    """The one credential of a request; empty ones are none. Raises `Refusal`."""
    tokens, tickets = _parameters(request)
    if len(tokens) > 1:
        raise Refusal("token_conflict", "two different tokens in the query")
    token = next(iter(tokens), None)
    if request.bearer and token and request.bearer != token:
        raise Refusal("token_conflict", "different tokens in the query and in the header")
    text = token or request.bearer
    if tickets and (text or len(tickets) > 1):
        raise Refusal("token_conflict", "a ticket and another credential")
    if tickets:
        return Credential(None, tickets.pop(), "query")
    if not text:
        return None
    return Credential(kind_of(text, settings), text, "query" if token else "header")


def kind_of(text: str, settings: AuthSettings) -> Kind:
    """What a credential is, going by its form; a text with one dot is an API key where any are."""
    if looks_like_token(text):
        return "token"
    return "api_key" if settings.api_keys and text.count(".") == 1 else "jwt"


def _parameters(request: Request) -> tuple[set[str], set[str]]:
    """Tokens and tickets of the query, without empty ones."""
    tokens: set[str] = set()
    tickets: set[str] = set()
    for query in request.queries:
        if len(query) > MAX_QUERY:
            text = f"a query of {len(query)} characters (at most {MAX_QUERY})"
            raise Refusal("token_too_long", text)
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
        except ValueError:
            text = f"a query of more than {MAX_PARAMETERS} parameters"
            raise Refusal("bad_query", text) from None
        tokens.update(value for name, value in pairs if name == "jwt" and value)
        tickets.update(value for name, value in pairs if name == "ticket" and value)
    return tokens, tickets
