"""The door: who comes in, with which rights, and for how long.

Every way in (WebTransport, raw QUIC, HTTP) asks the same `decide`, here and nowhere else; a refusal
gets an id that both the stranger and the log see. This module must not know QUIC, HTTP, or how
tokens are read.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakSet

from relay.auth.decide import Decision, Request, decide
from relay.auth.facts import Facts
from relay.auth.grant import Grant
from relay.errors import Forbidden, LimitExceeded, RelayError, Unauthorized, Unavailable, Unroutable
from relay.peer.deadlines import Deadlines
from relay.peer.guest import Guest, House
from relay.peer.judgement import (
    HEARING,
    REFUSAL_HEADER,
    Authority,
    Clerk,
    Held,
    Judgement,
    Loan,
    NoClerk,
    Rules,
    address,
    asked,
    ending,
    is_same_holder,
    refusal,
    refuse_to_wait,
    shown,
)
from relay.peer.refusing import Pending, Refusals, shown_path
from relay.quota import Tab
from relay.session.events import Opened
from relay.session.lite import LiteSession
from relay.session.settings import SessionSettings
from relay.session.transport import Knock, Visit
from relay.wire.version import INBAND, choose

SEATING = ("sessions", "sessions_per_second")
"""Quotas that a new session is counted for."""


class Door:
    """Decides, lets in, and shows out when a grant ends."""

    def __init__(
        self,
        house: House,
        rules: Rules,
        sessions: SessionSettings,
        versions: tuple[str, ...],
        wall: Callable[[], float],
        clerk: Clerk | None = None,
        spawn: Callable[[Coroutine[Any, Any, None]], object] = refuse_to_wait,
    ) -> None:
        """``versions`` are the protocol identifiers accepted; ``wall`` tells unix seconds.

        ``spawn`` runs a decision that has to wait, in a task that somebody owns.
        """
        self.house = house
        self.rules = rules
        self.sessions = sessions
        self.versions = versions
        self.wall = wall
        self.clerk = clerk or NoClerk()
        self.authority: Authority | None = None
        """Who decides instead of the relay itself."""
        self._loans: dict[str, Loan] = {}
        self.spawn = spawn
        self.guests: dict[str, Guest] = {}
        self.links: dict[str, Guest] = {}
        """Relays that we dialled."""
        self.admitted = 0
        self.refusals = Refusals(house)
        self.dropped = 0
        """Groups that guests who have left were too slow for."""
        self._deadlines = Deadlines(house.clock, lambda: self.wall())
        self._held: WeakSet[Held] = WeakSet()
        """Grants of those who wait; whoever waits has them."""
        self._parting: dict[str, tuple[float, str]] = {}
        """Relays that will be shown out for their grants, with the time and why."""
        self._closed = False

    @property
    def refused(self) -> dict[str, int]:
        """Refusals by reason code."""
        return self.refusals.counts

    # -- deciding ----------------------------------------------------------------------------

    def _decide(self, request: Request, facts: Facts) -> Decision:
        return decide(request, self.rules.keys, self.rules.settings, self.wall(), facts)

    def _noted(
        self, decision: Decision, request: Request, remote: str, id: str, loan: Loan | None = None
    ) -> Judgement:
        """Write down what deserves it of a decision."""
        if decision.grant is not None:
            self.clerk.admitted(decision.grant)
            self.house.audit(
                "allow", grant=decision.grant, id=id, remote=remote, kind=request.transport
            )
        else:
            self.refusals.decided(decision, request, remote, id)
        for detail in decision.warnings:
            self.house.log("warning", id=id, detail=detail, path=shown_path(request))
        return Judgement(decision, id, loan if decision.grant is not None else None)

    async def consider(
        self, request: Request, remote: str, seen: Facts | None = None, **more: Any
    ) -> Judgement:
        """Decide, by what was ``seen`` or after gathering the facts, however long that takes; a
        refusal is written to the log.

        ``more`` is what else the `Knock` is of. The grant is for what the present task does, an
        answer to an HTTP request: with that it ends.
        """
        bearer = {"authorization": f"Bearer {request.bearer}"} if request.bearer else {}
        knock = Knock(request.transport, request.target, remote=(remote, 0), headers=bearer, **more)
        facts = seen or self.clerk.at_once(request, shown(knock.certificate))
        decision, loan = await self._decided(request, knock, facts)
        judgement = self._noted(decision, request, remote, secrets.token_hex(6), loan)
        if judgement.loan is not None and (task := asyncio.current_task()) is not None:
            task.add_done_callback(lambda _: judgement.forgo("done"))
        return judgement

    async def _decided(
        self, request: Request, knock: Knock, facts: Facts | None
    ) -> tuple[Decision, Loan | None]:
        """Gather what is not known yet, and have whoever decides decide."""
        if facts is None:
            facts = await self.clerk.gather(request, shown(knock.certificate))
        if self.authority is None:
            return self._decide(request, facts), None
        return await self.authority.ask(request, knock, facts)

    def _judge_when_ready(
        self, pending: Pending, knock: Knock, then: Callable[[Judgement], None]
    ) -> None:
        """Judge at once when nothing has to be waited for, else when it is there; not at all who
        was given up by then."""
        request, remote, id = pending.request, pending.remote, pending.id
        facts = self.clerk.at_once(request, shown(knock.certificate))
        if facts is not None and self.authority is None:
            then(self._noted(self._decide(request, facts), request, remote, id))
            return

        async def later() -> None:
            decision, loan = await self._decided(request, knock, facts)
            if not pending.is_given_up:
                then(self._noted(decision, request, remote, id, loan))
            elif loan is not None:
                loan.end("given up")

        self.spawn(later())

    # -- letting in --------------------------------------------------------------------------

    def answer(self, visit: Visit) -> None:
        """Somebody knocked: let them in or turn them away, now or when they are decided on."""
        knock = visit.knock
        if self._closed:
            visit.refuse(503)
            return
        protocol = choose([p for p in knock.offered if p in self.versions])
        if protocol is None and (knock.offered or INBAND not in self.versions):
            visit.refuse(400, ((REFUSAL_HEADER, self.refusals.no_version(knock)),))
            return
        if knock.target is None:
            self._seat(visit, protocol, None, None)
            return

        pending = Pending(secrets.token_hex(6), asked(knock, knock.target), address(knock))
        headers = ((REFUSAL_HEADER, pending.id),)

        def late() -> tuple[tuple[str, str], ...]:
            self.refusals.give_up(pending, "limits.visit_timeout")
            return headers

        def decided(judgement: Judgement) -> None:
            if judgement.grant is None:
                visit.refuse(judgement.decision.status, headers)
                return

            def seat(grant: Grant) -> None:
                try:
                    tab = self._tab(grant, judgement.id, address(knock))
                except LimitExceeded as error:
                    judgement.forgo("over_quota")
                    visit.refuse(error.status, (*headers, *error.headers.items()))
                else:
                    self._seat(visit, protocol, judgement, tab)

            def struck(error: RelayError) -> None:
                visit.refuse(error.status, headers)

            held = self.hold(judgement.grant, judgement.id, address(knock))
            self._when_known(pending, judgement, held, seat, struck)

        visit.too_late = late
        self._judge_when_ready(pending, knock, decided)

    def _when_known(
        self,
        pending: Pending,
        judgement: Judgement,
        held: Held,
        seat: Callable[[Grant], None],
        struck: Callable[[RelayError], None],
    ) -> None:
        """Call ``seat`` once it can be told whether its tenant may have one more session, or
        ``struck`` when the grant lets nobody in by then; neither for who was given up."""

        def told() -> None:
            if pending.is_given_up:
                judgement.forgo("given up")
                return
            try:
                if self._closed:
                    raise Unavailable("the relay is stopping")
                self.require(held)
            except (Unauthorized, Unavailable) as error:
                judgement.forgo("stopping" if self._closed else "revoked")
                struck(error)
            else:
                seat(held.grant)

        if not held.grant.cluster:
            try:
                account = self.house.ledger.account(held.grant.tenant)
            except LimitExceeded:
                pass  # it will be told so
            else:
                account.when_known(SEATING, self.house.clock(), told)
                return
        told()

    def hold(self, grant: Grant, id: str, remote: str) -> Held:
        """A grant for somebody who waits; `recheck` strikes it as it does those of sessions."""
        held = Held(grant, id, remote)
        self._held.add(held)
        return held

    def require(self, held: Held) -> None:
        """Raises `Unauthorized` when it is in force no longer; that is noted."""
        if why := held.over(self.wall()):
            self.refusals.granted("revoked", Unauthorized.status, why, held)
            raise Unauthorized(f"revoked (id {held.id})")

    def _tab(self, grant: Grant, id: str, remote: str) -> Tab:
        """What the new session uses goes on it; another relay is no tenant, and none is charged.

        Raises `LimitExceeded` when the tenant may have no more, or not so soon.
        """
        if grant.cluster:
            return Tab.free()
        try:
            return self.house.ledger.enter(grant.tenant, self.house.clock())
        except LimitExceeded as error:
            self.refusals.granted("over_quota", error.status, str(error), Held(grant, id, remote))
            raise

    def _seat(
        self,
        visit: Visit,
        protocol: str | None,
        judgement: Judgement | None,
        tab: Tab | None,
    ) -> None:
        """Open the session; undecided, the peer is decided on when it introduces itself."""
        id = judgement.id if judgement is not None else secrets.token_hex(6)
        grant = judgement.grant if judgement is not None else None
        session = LiteSession(
            visit.transport, protocol, origin=self.house.origin.id, settings=self.sessions
        )
        guest = Guest(
            self.house,
            visit.transport,
            session,
            id=id,
            grant=grant,
            tab=tab,
            remote=address(visit.knock),
            via=visit.knock.transport,
            certificate=visit.knock.certificate,
            admit=self._admit(visit.knock),
            welcomed=self._welcomed,
            unfit=self._unfit,
            left=self._left,
        )
        self.guests[id] = guest
        if judgement is not None and grant is not None:
            self._deadlines.note(id, grant.expires)
            self._borrow(guest, judgement.loan)
        visit.accept(guest, protocol)
        guest.start()

    def _admit(self, knock: Knock) -> Callable[[Guest, Opened], None]:
        """How a guest is decided on whose target comes in SETUP, or not at all."""

        def admit(guest: Guest, opened: Opened) -> None:
            request = asked(knock, opened.target or "/")
            request = replace(request, publishes=opened.publishes, subscribes=opened.subscribes)
            pending = Pending(guest.id, request, guest.remote)
            guest.too_late = partial(self.refusals.give_up, pending, "peer.setup_timeout")

            def decided(judgement: Judgement) -> None:
                if judgement.grant is None:
                    guest.close(refusal(judgement))
                else:
                    held = self.hold(judgement.grant, guest.id, guest.remote)
                    then = partial(seat, judgement)
                    self._when_known(pending, judgement, held, then, guest.close)

            def seat(judgement: Judgement, grant: Grant) -> None:
                if guest.gone:
                    judgement.forgo("gone")
                    return
                try:
                    guest.sit(self._tab(grant, guest.id, guest.remote))
                except LimitExceeded as error:
                    judgement.forgo("over_quota")
                    error.args = (f"{error} (id {guest.id})",)
                    guest.close(error)
                    return
                self._deadlines.note(guest.id, grant.expires)
                self._borrow(guest, judgement.loan)
                guest.welcome(grant)

            self._judge_when_ready(pending, knock, decided)

        return admit

    def _borrow(self, guest: Guest, loan: Loan | None) -> None:
        """Have the session follow what somebody else says of its grant."""
        if loan is None:
            return

        def changed(grant: Grant) -> None:
            self._deadlines.note(guest.id, grant.expires)
            guest.regrant(grant)

        def over(reason: str, why: str) -> None:
            self.house.log("no longer granted", id=guest.id, reason=reason, why=why)
            self._tell(ending(reason), guest, reason=reason, why=why)
            guest.close(Unauthorized(f"{reason} (id {guest.id})"))

        self._loans[guest.id] = loan
        loan.begin(changed, over)

    def _welcomed(self, guest: Guest, grant: Grant) -> None:
        self.admitted += 1
        self.house.log("welcome", **guest.described(grant))

    def _unfit(self, guest: Guest, grant: Grant) -> None:
        why = "nothing that it came for is granted"
        held = Held(grant, guest.id, guest.remote)
        self.refusals.granted("role_not_granted", Forbidden.status, why, held)

    def _left(self, guest: Guest, reason: str) -> None:
        self.guests.pop(guest.id, None)
        self._deadlines.forget(guest.id)
        self.dropped += guest.watching.queue.dropped
        if (loan := self._loans.pop(guest.id, None)) is not None:
            loan.end(reason)
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
        for id in self._deadlines.take_due(now):
            if (guest := self.guests.get(id)) is not None:
                self._tell("expire", guest, reason="expired")
                guest.close(Unauthorized(f"the token expired (id {id})"))
        for id, (due, why) in tuple(self._parting.items()):
            if now >= due:
                del self._parting[id]
                if id in self.guests:
                    self._show_out(self.guests[id], why)
        for guest in (*self.guests.values(), *self.links.values()):
            try:
                guest.tick(now)
            except Exception as error:  # one guest's trouble must not stop the clock for all
                self.house.log("internal error", id=guest.id, error=repr(error))
                guest.close(RelayError("internal error"))

    def recheck(self, struck: Callable[[Grant], str | None]) -> int:
        """End every session whose grant ``struck`` gives a reason against; answers how many.

        A relay hears the news first, or whatever strikes a link never gets beyond it.
        """
        ended = 0
        for held in tuple(self._held):
            held.why = held.why or struck(held.grant) or ""
        for guest in tuple(self.guests.values()):
            reason = struck(guest.grant) if guest.grant is not None else None
            if reason is not None:
                ended += 1
                if guest.grant is not None and guest.grant.cluster:
                    self._parting.setdefault(guest.id, (self.house.clock() + HEARING, reason))
                else:
                    self._show_out(guest, reason)
        return ended

    def _show_out(self, guest: Guest, why: str) -> None:
        self.house.log("revoked", id=guest.id, why=why)
        self._tell("revoke", guest, reason="revoked", why=why)
        guest.close(Unauthorized(f"revoked (id {guest.id})"))

    def _tell(self, action: str, guest: Guest, **facts: Any) -> None:
        """Have it kept what became of a guest."""
        self.house.audit(action, grant=guest.grant, id=guest.id, remote=guest.remote, **facts)

    async def refresh(self, id: str, bearer: str, remote: str) -> Judgement:
        """Decide anew on a running session with another credential of the same holder.

        The new rights are in force when this returns, as far as the operator narrowed nothing.
        Raises `Unroutable` when there is no such session, `Forbidden` when the credential is
        somebody else's or for another place.
        """
        guest = self.guests.get(id)
        if guest is None or guest.grant is None:
            raise Unroutable(f"no session {id!r}")
        if self.authority is not None:
            self.house.log("refresh refused", id=id, why="an authorization server decides")
            raise Forbidden("the authorization server refreshes sessions, not their holders")
        old = guest.grant
        request = Request(target=f"/{old.root}", bearer=bearer, transport="refresh")
        judgement = await self.consider(request, remote, certificate=guest.certificate)
        grant = judgement.grant
        if grant is None:
            return judgement
        if guest.gone:
            raise Unroutable(f"no session {id!r} any more")
        if not is_same_holder(old, grant):
            self.house.log("refresh refused", id=id, why="not known to be the same holder's")
            raise Forbidden("a session is refreshed by a credential of the same subject or jti")
        self._deadlines.note(id, grant.expires)
        grant = guest.ceiling.over(grant)
        guest.regrant(grant)
        self._tell("refresh", guest)
        self.house.log(
            "refreshed", id=id, publish=list(grant.publish), subscribe=list(grant.subscribe)
        )
        return replace(judgement, decision=replace(judgement.decision, grant=grant))

    @property
    def visitors(self) -> int:
        """Sessions of those who are no relays of the cluster."""
        return sum(not (guest.grant and guest.grant.cluster) for guest in self.guests.values())

    def adopt(self, guest: Guest) -> None:
        """A relay that we dialled: it was decided on by whoever configured it."""
        self.links[guest.id] = guest

    def release(self, guest: Guest, reason: str) -> None:
        """It is gone."""
        self.links.pop(guest.id, None)
        self.dropped += guest.watching.queue.dropped

    def close(self, uri: str = "", near: Collection[int] = ()) -> None:
        """Let nobody in any more and tell everybody that we are leaving; relays find other ways.
        Our other processes, whose numbers are ``near``, leave when we do."""
        self._closed = True
        for guest in (*self.guests.values(), *self.links.values()):
            if not guest.is_near:
                guest.session.goaway(uri)
                guest.withdraw(near)

    def empty(self, error: RelayError) -> None:
        """Show everybody out."""
        for guest in (*self.guests.values(), *self.links.values()):
            guest.close(error)
