"""Which sessions somebody means: the filter of ``/sessions`` and ``/sessions/revalidate``.

Every field given must match; an empty filter means all. The law: an unknown field is an error, so
that a misspelt filter never means everybody, and a query or a token can neither be asked for nor
shown. This module must not know where sessions are kept.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from relay.errors import BadRequest
from relay.path import Path
from relay.sidecar.inquiry import Inquiry
from relay.sidecar.pattern import Pattern

FIELDS = (
    *("id", "node", "transport", "role", "local", "server_name", "alpn"),
    *("tls.name", "tls.fingerprint", "tls.issuer"),
)
"""Fields that are compared letter by letter."""

MAX_FIELDS = 16
"""Fields of one filter."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Selector:
    """A filter over sessions."""

    exact: tuple[tuple[str, str], ...] = ()
    path: Pattern | None = None
    remote: Network | None = None

    def matches(self, inquiry: Inquiry) -> bool:
        """Whether the session that ``inquiry`` describes is meant."""
        if any(_fact(inquiry, name) != value for name, value in self.exact):
            return False
        if self.path is not None and not _lies_in(inquiry.path, self.path):
            return False
        return self.remote is None or _comes_from(inquiry.remote, self.remote)


def read_selector(query: str) -> Selector:
    """Read a filter from a query. Raises `BadRequest` for an unknown or malformed field."""
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=MAX_FIELDS
        )
    except ValueError:
        raise BadRequest("the filter is malformed") from None
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise BadRequest("a field is given twice")
    given = dict(pairs)
    path, remote = given.pop("path", None), given.pop("remote", None)
    if unknown := sorted(set(given) - set(FIELDS)):
        raise BadRequest(f"no field is called {unknown[0][:40]!r}")
    try:
        return Selector(
            exact=tuple(given.items()),
            path=None if path is None else Pattern.parse(path.strip("/")),
            remote=None if remote is None else _network(remote),
        )
    except ValueError as error:
        raise BadRequest(f"the filter holds {error}") from None


def shown(inquiries: Sequence[Inquiry]) -> list[dict[str, Any]]:
    """Sessions as they may be listed: without what could be used to come in again."""
    told = [inquiry.dump() for inquiry in inquiries]
    hidden = ("query", "token", "event")
    return [{k: v for k, v in members.items() if k not in hidden} for members in told]


def _fact(inquiry: Inquiry, name: str) -> object:
    tls, _, inner = name.partition(".")
    if tls == "tls":
        return None if inquiry.certificate is None else getattr(inquiry.certificate, inner)
    return getattr(inquiry, name)


def _lies_in(path: str, pattern: Pattern) -> bool:
    try:
        return pattern.matches(Path(path))
    except BadRequest:
        return False


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("a remote that is no address or network") from None


def _comes_from(remote: str | None, network: Network) -> bool:
    """Whether an address and port lie in ``network``; IPv4 inside IPv6 counts as IPv4."""
    if remote is None:
        return False
    try:
        address = ipaddress.ip_address(remote.rpartition(":")[0].strip("[]"))
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address in network
