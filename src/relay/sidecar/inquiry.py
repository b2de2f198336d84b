"""The question a relay asks about a session: what it knows of it, at one moment of its life.

One flat JSON object per event, ``connect``, ``revalidate`` or ``end`` (moq-auth 0.2, Request). The
law: nothing in it has been believed, and what cannot be read exactly is malformed. This module must
not know how a question is carried or answered.
"""

from __future__ import annotations

import ipaddress
import math
import re
import secrets
from dataclasses import dataclass
from typing import Any, Literal

from relay.auth.certificate import Certificate
from relay.auth.compact import from_base64url, to_base64url
from relay.auth.request import MAX_QUERY, Request
from relay.hosts import with_port
from relay.path import MAX_LENGTH
from relay.session.transport import Knock
from relay.sidecar import members as read
from relay.sidecar.members import Members

Event = Literal["connect", "revalidate", "end"]
Role = Literal["publisher", "subscriber"]

JWT = 0
"""The kind of SETUP token that is a JWT (moq-transport, token type 0: out of band)."""

MAX_PATH = 3 * MAX_LENGTH
"""Characters of a dialled path; every one of a path's letters may be escaped."""

MAX_TOKEN = 64 * 1024
"""Characters of a SETUP token as base64url."""

_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_WORD = re.compile(r"[a-z0-9]{1,32}")
_CARRIERS = {"webtransport": "quic"}
"""What the contract calls a transport of ours, where the names differ."""


@dataclass(frozen=True, slots=True)
class SetupToken:
    """A credential that came in the session's SETUP rather than in its address."""

    kind: int
    value: bytes


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A client certificate that the asking relay has verified. It grants nothing by itself."""

    name: str
    """First DNS name, else common name, else fingerprint; which of them nobody can tell."""
    fingerprint: str
    """SHA-256 of the certificate, hex."""
    issuer: str
    expires: int | None = None
    """Unix seconds of its notAfter."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a session ended."""

    reason: str
    """``expired``, ``refused``, ``invalid``, ``dropped``, or the session's own word."""
    duration: float
    """Seconds since it was admitted."""
    sent: int = 0
    """Bytes from the relay to the guest."""
    received: int = 0
    """Bytes from the guest to the relay."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Everything a relay knows of a session, the same at every event of its life."""

    id: str
    """One session, one id: all its events share it."""
    node: str
    """The asking relay's name."""
    transport: str
    """``quic``, ``websocket``, ``tcp``, ``unix``, ``iroh``, ``http``…"""
    path: str
    """As dialled, without the query."""
    event: Event = "connect"
    query: str | None = None
    """As dialled, without ``?``."""
    remote: str | None = None
    """The guest's address and port."""
    local: str | None = None
    server_name: str | None = None
    alpn: str | None = None
    token: SetupToken | None = None
    role: Role | None = None
    """What the guest said it will do; ``None`` is both."""
    certificate: ClientCertificate | None = None
    ending: Ending | None = None
    """Present exactly at ``end``."""

    def dump(self) -> dict[str, Any]:
        """The JSON members, without absent ones, in the order upstream writes them."""
        told: dict[str, Any] = {"id": self.id, "event": self.event}
        if self.ending is not None:
            told["reason"] = self.ending.reason
            told["duration"] = self.ending.duration
            told["bytes"] = {"sent": self.ending.sent, "received": self.ending.received}
        told |= {"node": self.node, "transport": self.transport}
        told |= {"remote": self.remote, "local": self.local, "server_name": self.server_name}
        told |= {"alpn": self.alpn, "path": self.path, "query": self.query}
        if self.token is not None:
            told["token"] = {"kind": self.token.kind, "value": to_base64url(self.token.value)}
        told["role"] = self.role
        if (found := self.certificate) is not None:
            tls = {"name": found.name, "fingerprint": found.fingerprint}
            told["tls"] = tls | _given(expires=found.expires) | {"issuer": found.issuer}
        return _given(**told)

    def request(self) -> Request:
        """What is to be decided.

        Raises `ValueError` for a SETUP token that is no JWT, and for a path that could be taken
        for one with a query.
        """
        if "?" in self.path:
            raise ValueError("a path with a question mark in it")
        return Request(
            target=f"{self.path}?{self.query}" if self.query else self.path,
            bearer=self._bearer(),
            transport=self.transport,
            publishes=self.role != "subscriber",
            subscribes=self.role != "publisher",
        )

    def fact(self) -> Certificate | None:
        """The client certificate as a decision sees it.

        Its name is no alternative name there: nobody can tell whether it was one.
        """
        found = self.certificate
        if found is None:
            return None
        return Certificate(
            fingerprint=found.fingerprint,
            not_after=math.inf if found.expires is None else found.expires,
            subject=found.name,
            issuer=found.issuer,
        )

    def _bearer(self) -> str | None:
        if self.token is None:
            return None
        if self.token.kind != JWT:
            raise ValueError(f"a SETUP token of kind {self.token.kind}")
        try:
            return self.token.value.decode("ascii")
        except UnicodeDecodeError:
            raise ValueError("a SETUP token that is no text") from None


def read_inquiry(members: Members) -> Inquiry:
    """Read a question. Raises `ValueError`, one sentence, when it is malformed."""
    event = read.text(members, "event")
    if event not in ("connect", "revalidate", "end"):
        raise ValueError("event is not connect, revalidate or end")
    role = read.maybe_text(members, "role")
    if role not in (None, "publisher", "subscriber"):
        raise ValueError("role is not publisher or subscriber")
    path = read.text(members, "path", MAX_PATH)
    if "?" in path:
        raise ValueError("path holds a query")
    return Inquiry(
        id=_shaped("id", read.text(members, "id"), _ID),
        node=_printable("node", read.text(members, "node")),
        transport=_shaped("transport", read.text(members, "transport"), _WORD),
        path=path,
        event=event,  # type: ignore[arg-type]
        query=read.maybe_text(members, "query", MAX_QUERY),
        remote=_socket(members, "remote"),
        local=_socket(members, "local"),
        server_name=read.maybe_text(members, "server_name"),
        alpn=read.maybe_text(members, "alpn"),
        token=_setup_token(read.maybe_object(members, "token")),
        role=role,  # type: ignore[arg-type]
        certificate=_certificate(read.maybe_object(members, "tls")),
        ending=_ending(members) if event == "end" else None,
    )


def inquire(knock: Knock, target: str, id: str, node: str) -> Inquiry:
    """The question that somebody at the door gives rise to; ``target`` is path and query.

    A credential in ``Authorization: Bearer`` travels as if it had come in SETUP.
    """
    path, _, query = target.partition("?")
    scheme, _, bearer = knock.headers.get("authorization", "").partition(" ")
    bearer = bearer.strip() if scheme.lower() == "bearer" else ""
    return Inquiry(
        id=id,
        node=node,
        transport=_CARRIERS.get(knock.transport, knock.transport),
        path=path,
        query=query or None,
        remote=with_port(*knock.remote) if knock.remote[0] else None,
        server_name=_host(knock.authority),
        alpn=knock.offered[0] if len(knock.offered) == 1 else None,
        token=SetupToken(JWT, bearer.encode(errors="replace")) if bearer else None,
    )


def tell_certificate(fact: Certificate) -> ClientCertificate:
    """A client certificate as the other side is told of it."""
    return ClientCertificate(
        name=fact.name or fact.fingerprint,
        fingerprint=fact.fingerprint,
        issuer=fact.issuer,
        expires=int(fact.not_after) if math.isfinite(fact.not_after) else None,
    )


def fresh_id() -> str:
    """A session's id: 128 random bits, hex."""
    return secrets.token_hex(16)


def _given(**told: Any) -> dict[str, Any]:
    return {name: value for name, value in told.items() if value is not None}


def _shaped(name: str, value: str, shape: re.Pattern[str]) -> str:
    if not shape.fullmatch(value):
        raise ValueError(f"{name} is not of the form {shape.pattern}")
    return value


def _printable(name: str, value: str) -> str:
    if not value.isprintable():
        raise ValueError(f"{name} holds characters that cannot be shown")
    return value


def _socket(members: Members, name: str) -> str | None:
    """An address with its port. Raises `ValueError`."""
    value = read.maybe_text(members, name)
    if value is None:
        return None
    host, _, port = value.rpartition(":")
    try:
        if host[:1] == "[" and host[-1:] == "]":
            ipaddress.IPv6Address(host[1:-1])
        else:
            ipaddress.IPv4Address(host)
    except ValueError:
        raise ValueError(f"{name} is not an address and a port") from None
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(f"{name} is not an address and a port")
    return value


def _setup_token(members: Members | None) -> SetupToken | None:
    if members is None:
        return None
    value = read.text(members, "value", MAX_TOKEN)
    try:
        return SetupToken(read.whole(members, "kind"), from_base64url(value))
    except ValueError as error:
        raise ValueError(f"token: {error}") from None


def _certificate(members: Members | None) -> ClientCertificate | None:
    if members is None:
        return None
    fingerprint = read.text(members, "fingerprint").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", fingerprint):
        raise ValueError("tls.fingerprint is not the hex of a SHA-256")
    return ClientCertificate(
        name=_printable("tls.name", read.text(members, "name")),
        fingerprint=fingerprint,
        issuer=_printable("tls.issuer", read.text(members, "issuer", 4096)),
        expires=read.maybe_whole(members, "expires"),
    )


def _ending(members: Members) -> Ending:
    bytes = read.maybe_object(members, "bytes")
    if bytes is None:
        raise ValueError("bytes is missing")
    return Ending(
        reason=_printable("reason", read.text(members, "reason")),
        duration=read.seconds(members, "duration"),
        sent=read.whole(bytes, "sent"),
        received=read.whole(bytes, "received"),
    )


def _host(authority: str) -> str | None:
    """The name in an authority, without a port."""
    if authority.startswith("["):
        return authority[1:].partition("]")[0] or None
    return authority.partition(":")[0] or None
