"""The door: who comes in, with which rights, and for how long.

Every way in (WebTransport, raw QUIC, HTTP) asks the same `decide`, here and nowhere else; a refusal
gets an id that both the stranger and the log see. This module must not know QUIC, HTTP, or how
tokens are read.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace

from relay.auth.decide import Decision, Request, decide
from relay.auth.grant import Grant
from relay.auth.keys import KeySet
from relay.auth.settings import AuthSettings
from relay.errors import BadRequest, Forbidden, Refused, RelayError, Unauthorized
from relay.peer.guest import Guest, House
from relay.session.events import Opened
from relay.session.lite import LiteSession
from relay.session.settings import SessionSettings
from relay.session.transport import Knock, Visit
from relay.wire.version import INBAND, choose

REFUSAL_HEADER = "x-request-id"
"""Where an HTTP answer names the refusal."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What decisions are made by; replaced as a whole when keys or settings change."""

    keys: KeySet
    settings: AuthSettings


@dataclass(frozen=True, slots=True)
class Judgement:
    """A decision and the id under which the log knows it."""

    decision: Decision
    id: str

    @property
    def grant(self) -> Grant | None:
        """The rights, when there are any."""
        return self.decision.grant


class Door:
    """Decides, lets in, and shows out when a grant ends."""

    def __init__(
        self,
        house: House,
        rules: Rules,
        sessions: SessionSettings,
        versions: tuple[str, ...],
        wall: Callable[[], float],
    ) -> None:
        """``versions`` are the protocol identifiers accepted; ``wall`` tells unix seconds."""
        self.house = house
        self.rules = rules
        self.sessions = sessions
        self.versions = versions
        self.wall = wall
        self.guests: dict[str, Guest] = {}
        self.admitted = 0
        self.refused: dict[str, int] = {}
        """Refusals by reason code."""
        self._deadlines: dict[str, float] = {}
        self._closed = False

    # -- deciding ------------------------------------------------------------------------------

    def judge(self, request: Request, remote: str) -> Judgement:
        """The one decision, written to the log when it is a refusal."""
        decision = decide(request, self.rules.keys, self.rules.settings, self.wall())
        id = secrets.token_hex(6)
        path = request.target.partition("?")[0][:256]
        if not decision:
            reason = decision.reason
            self.refused[reason.code] = self.refused.get(reason.code, 0) + 1
            self.house.log(
                "refused",
                id=id,
                status=decision.status,
                reason=reason.code,
                why=reason.text,
                hint=reason.hint,
                path=path,
                transport=request.transport,
                remote=remote,
            )
        for step in decision.steps:
            if step.warning:
                self.house.log("warning", id=id, step=step.name, detail=step.detail, path=path)
        return Judgement(decision, id)

    # -- letting in ----------------------------------------------------------------------------

    def answer(self, visit: Visit) -> None:
        """Somebody knocked: let them in or turn them away."""
        knock = visit.knock
        if self._closed:
            visit.refuse(503)
            return
        protocol = choose([p for p in knock.offered if p in self.versions])
        if knock.offered and protocol is None:
            self.house.log(
                "refused",
                status=400,
                reason="version",
                offered=list(knock.offered)[:16],
                remote=address(knock),
            )
            visit.refuse(400)
            return
        if not knock.offered and INBAND not in self.versions:
            visit.refuse(400)
            return
        grant: Grant | None = None
        id = secrets.token_hex(6)
        if knock.target is not None:
            judgement = self.judge(asked(knock, knock.target), address(knock))
            id, grant = judgement.id, judgement.grant
            if grant is None:
                visit.refuse(judgement.decision.status, ((REFUSAL_HEADER, id),))
                return
        session = LiteSession(
            visit.transport, protocol, origin=self.house.origin.id, settings=self.sessions
        )
        guest = Guest(
            self.house,
            visit.transport,
            session,
            id=id,
            grant=grant,
            admit=self._admit(knock),
            welcomed=self._welcomed(knock),
            left=self._left,
        )
        self.guests[id] = guest
        if grant is not None:
            self._limit(guest, grant)
        visit.accept(guest, protocol)
        guest.start()

    def _admit(self, knock: Knock) -> Callable[[Guest, Opened], None]:
        """How a guest is decided on whose target comes in SETUP, or not at all."""

        def admit(guest: Guest, opened: Opened) -> None:
            request = asked(knock, opened.target or "/")
            request = replace(request, publishes=opened.publishes, subscribes=opened.subscribes)
            judgement = self.judge(request, address(knock))
            if judgement.grant is None:
                guest.close(refusal(judgement))
                return
            self._limit(guest, judgement.grant)
            guest.welcome(judgement.grant)

        return admit

    def _limit(self, guest: Guest, grant: Grant) -> None:
        """Note when the grant ends, by a clock that nobody can turn back."""
        if grant.expires is not None:
            self._deadlines[guest.id] = self.house.clock() + grant.expires - self.wall()

    def _welcomed(self, knock: Knock) -> Callable[[Guest, Grant], None]:
        """What is written when a session begins."""

        def welcomed(guest: Guest, grant: Grant) -> None:
            self.admitted += 1
            self.house.log(
                "welcome",
                id=guest.id,
                transport=knock.transport,
                version=guest.session.version,
                remote=address(knock),
                root=grant.root,
                publish=list(grant.publish),
                subscribe=list(grant.subscribe),
                kid=grant.kid,
                anonymous=grant.anonymous,
            )

        return welcomed

    def _left(self, guest: Guest, reason: str) -> None:
        self.guests.pop(guest.id, None)
        self._deadlines.pop(guest.id, None)
        self.house.log(
            "left",
            id=guest.id,
            reason=reason,
            seconds=round(self.house.clock() - guest.began, 3),
            dropped=guest.watching.queue.dropped,
        )

    # -- showing out ---------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """A few times a second: grants that ended, by either clock, end their sessions."""
        if self._deadlines:
            wall = self.wall()
            for id, deadline in tuple(self._deadlines.items()):
                guest = self.guests[id]
                expires = guest.grant.expires if guest.grant else None
                if now >= deadline or (expires is not None and wall >= expires):
                    self._deadlines.pop(id, None)
                    guest.close(Unauthorized(f"the token expired (id {id})"))
        for guest in tuple(self.guests.values()):
            guest.tick(now)

    def close(self, uri: str = "") -> None:
        """Let nobody in any more and tell the guests that we are leaving."""
        self._closed = True
        for guest in tuple(self.guests.values()):
            guest.session.goaway(uri)

    def empty(self, error: RelayError) -> None:
        """Show everybody out."""
        for guest in tuple(self.guests.values()):
            guest.close(error)


def asked(knock: Knock, target: str) -> Request:
    """The request that a knock makes."""
    bearer = knock.headers.get("authorization", "")
    scheme, _, credential = bearer.partition(" ")
    return Request(
        target=target,
        bearer=credential.strip() if scheme.lower() == "bearer" else None,
        transport=knock.transport,
        origin=knock.origin,
    )


def address(knock: Knock) -> str:
    """The peer's address for the log."""
    host, port = knock.remote
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def refusal(judgement: Judgement) -> Refused:
    """What a session is closed with: the status's word and the id, nothing more."""
    kinds: dict[int, type[Refused]] = {400: BadRequest, 403: Forbidden}
    kind = kinds.get(judgement.decision.status, Unauthorized)
    return kind(f"{kind.__name__.lower()} (id {judgement.id})")
