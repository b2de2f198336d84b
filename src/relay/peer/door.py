"""The door: who comes in for a session, and for how long.

Whoever the judge grants something is let in when their tenant has room, and shown out when the
grant ends. This module must not know QUIC, HTTP, or how anything is decided.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from typing import Any

from relay.auth.decide import Request
from relay.auth.domains import placed
from relay.auth.grant import Grant
from relay.errors import Forbidden, LimitExceeded, RelayError, Unauthorized, Unavailable, Unroutable
from relay.peer.deadlines import Deadlines
from relay.peer.guest import Guest
from relay.peer.house import House
from relay.peer.judge import Judge
from relay.peer.judgement import (
    HEARING,
    REFUSAL_HEADER,
    Held,
    Judgement,
    Loan,
    address,
    asked,
    ending,
    is_same_holder,
    refusal,
    what_ends,
)
from relay.peer.refusing import LEAVING, STOPPING, Pending
from relay.quota import Tab
from relay.session.events import Opened
from relay.session.lite import LiteSession
from relay.session.settings import SessionSettings
from relay.session.transport import Knock, Visit
from relay.wire.version import INBAND, choose

SEATING = ("sessions", "sessions_per_second")
"""Quotas that a new session is counted for."""


class Door:
    """Lets in, and shows out when a grant ends."""

    def __init__(
        self, house: House, judge: Judge, sessions: SessionSettings, versions: tuple[str, ...]
    ) -> None:
        """``versions`` are the protocol identifiers accepted."""
        self.house = house
        self.sessions = sessions
        self._judge = judge
        self._refusals = judge.refusals
        self._versions = versions
        self._loans: dict[str, Loan] = {}
        self.guests: dict[str, Guest] = {}
        self.links: dict[str, Guest] = {}
        """Relays that we dialled."""
        self.admitted = 0
        self.dropped = 0
        """Groups that guests who have left were too slow for."""
        self._deadlines = Deadlines(house.clock, lambda: judge.wall())
        self._parting: dict[str, tuple[float, str]] = {}
        """Relays that will be shown out for their grants, with the time and why."""
        self._closed = False

    # -- letting in --------------------------------------------------------------------------

    def answer(self, visit: Visit) -> None:
        """Somebody knocked: let them in or turn them away, now or when they are decided on."""
        knock = visit.knock
        if self._closed:
            visit.refuse(503, ((REFUSAL_HEADER, self._refusals.leaving(knock)),))
            return
        protocol = choose([p for p in knock.offered if p in self._versions])
        if protocol is None and (knock.offered or INBAND not in self._versions):
            visit.refuse(400, ((REFUSAL_HEADER, self._refusals.no_version(knock)),))
            return
        if knock.target is None:
            self._seat(visit, protocol, None, None)
            return

        target = placed(knock.target, knock.authority, self._judge.rules.settings.domains)
        pending = Pending(secrets.token_hex(6), asked(knock, target), address(knock))
        headers = ((REFUSAL_HEADER, pending.id),)

        def late() -> tuple[tuple[str, str], ...]:
            self._refusals.give_up(pending, "limits.visit_timeout")
            return headers

        def decided(judgement: Judgement) -> None:
            if judgement.grant is None:
                visit.refuse(judgement.decision.status, headers)
                return
            held = self._judge.hold(judgement.grant, pending.id, pending.remote)

            def seat() -> None:
                try:
                    tab = self._tab(held)
                except LimitExceeded as error:
                    judgement.forgo("over_quota")
                    visit.refuse(error.status, (*headers, *error.headers.items()))
                else:
                    self._seat(visit, protocol, judgement, tab)

            def struck(error: RelayError) -> None:
                visit.refuse(error.status, headers)

            self._when_known(pending, judgement, held, seat, struck)

        visit.too_late = late
        self._judge.decide_on(pending, knock, decided)

    def _when_known(
        self,
        pending: Pending,
        judgement: Judgement,
        held: Held,
        seat: Callable[[], None],
        struck: Callable[[RelayError], None],
    ) -> None:
        """Call ``seat`` once it can be told whether its tenant may have one more session, or
        ``struck`` when the grant lets nobody in by then; neither for who was given up."""

        def told() -> None:
            if pending.is_given_up:
                judgement.forgo("given up")
            elif self._closed:
                self._refusals.granted(LEAVING, Unavailable.status, STOPPING, held)
                judgement.forgo("stopping")
                struck(Unavailable(STOPPING))
            else:
                try:
                    self._judge.require(held)
                except Unauthorized as error:
                    judgement.forgo("revoked")
                    struck(error)
                else:
                    seat()

        if not held.grant.cluster:
            try:
                account = self.house.ledger.account(held.grant.tenant)
            except LimitExceeded:
                pass  # it will be told so
            else:
                account.when_known(SEATING, self.house.clock(), told)
                return
        told()

    def _tab(self, held: Held) -> Tab:
        """What the new session uses goes on it; another relay is no tenant, and none is charged.

        Raises `LimitExceeded` when the tenant may have no more, or not so soon.
        """
        if held.grant.cluster:
            return Tab.free()
        try:
            return self.house.ledger.enter(held.grant.tenant, self.house.clock())
        except LimitExceeded as error:
            self._refusals.granted("over_quota", error.status, str(error), held)
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
            self._let_in(guest, grant, judgement.loan)
        visit.accept(guest, protocol)
        guest.start()

    def _admit(self, knock: Knock) -> Callable[[Guest, Opened], None]:
        """How a guest is decided on whose target comes in SETUP, or not at all."""

        def admit(guest: Guest, opened: Opened) -> None:
            request = asked(knock, opened.target or "/")
            request = replace(request, publishes=opened.publishes, subscribes=opened.subscribes)
            pending = Pending(guest.id, request, guest.remote)
            guest.too_late = partial(self._refusals.give_up, pending, "peer.setup_timeout")

            def decided(judgement: Judgement) -> None:
                if judgement.grant is None:
                    guest.close(refusal(judgement))
                    return
                held = self._judge.hold(judgement.grant, pending.id, pending.remote)

                def seat() -> None:
                    if guest.gone:
                        judgement.forgo("gone")
                        return
                    try:
                        guest.sit(self._tab(held))
                    except LimitExceeded as error:
                        judgement.forgo("over_quota")
                        error.args = (f"{error} (id {guest.id})",)
                        guest.close(error)
                        return
                    self._let_in(guest, held.grant, judgement.loan)
                    guest.welcome(held.grant)

                self._when_known(pending, judgement, held, seat, guest.close)

            self._judge.decide_on(pending, knock, decided)

        return admit

    def _let_in(self, guest: Guest, grant: Grant, loan: Loan | None) -> None:
        """The session has this grant, past everything that might refuse it."""
        self._deadlines.note(guest.id, grant.expires)
        if loan is not None:
            self._borrow(guest, loan)
        self._judge.let_in(grant, guest.id, guest.remote, guest.via)

    def _borrow(self, guest: Guest, loan: Loan) -> None:
        """Have the session follow what somebody else says of its grant."""

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
        self._refusals.granted("role_not_granted", Forbidden.status, why, held)

    def _left(self, guest: Guest, reason: str) -> None:
        self.guests.pop(guest.id, None)
        self._deadlines.forget(guest.id)
        self.dropped += guest.watching.queue.dropped
        if (loan := self._loans.pop(guest.id, None)) is not None:
            loan.end(reason, *guest.transport.traffic())
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
                why = f"{what_ends(guest.grant, guest.certificate)} expired"
                self._tell("expire", guest, reason="expired", why=why)
                guest.close(Unauthorized(f"{why} (id {id})"))
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
        self.house.orphans.tick(now)

    def recheck(self, struck: Callable[[Grant], str | None]) -> None:
        """End every session whose grant ``struck`` gives a reason against.

        A relay hears the news first, or whatever strikes a link never gets beyond it.
        """
        self._judge.strike(struck)
        for guest in tuple(self.guests.values()):
            grant = guest.grant
            if grant is None or (reason := struck(grant)) is None:
                continue
            if grant.cluster:
                self._parting.setdefault(guest.id, (self.house.clock() + HEARING, reason))
            else:
                self._show_out(guest, reason)

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
        somebody else's or for another place, `OverQuota`: it is one more HTTP request.
        """
        guest = self.guests.get(id)
        if guest is None or guest.grant is None:
            raise Unroutable(f"no session {id!r}")
        if self._judge.authority is not None:
            self.house.log("refresh refused", id=id, why="an authorization server decides")
            raise Forbidden("the authorization server refreshes sessions, not their holders")
        old = guest.grant
        request = Request(target=f"/{old.root}", bearer=bearer, transport="refresh")
        judgement = await self._judge.consider(request, remote, certificate=guest.certificate)
        grant = judgement.grant
        if grant is None:
            return judgement
        if guest.gone:
            raise Unroutable(f"no session {id!r} any more")
        held = Held(grant, judgement.id, remote)
        # A key that reaches one part of the tree may name any tenant in its tokens: whose part it
        # is counts as well.
        if not is_same_holder(old, grant) or old.home != grant.home:
            self._not_theirs(id, held)
        try:
            self.house.ledger.arrive(grant.tenant, self.house.clock())
        except LimitExceeded as error:
            self._refusals.granted("over_quota", error.status, str(error), held, via="refresh")
            raise error.known_as(held.id) from None
        self._deadlines.note(id, grant.expires)
        grant = guest.ceiling.over(grant)
        guest.regrant(grant)
        self._tell("refresh", guest)
        self.house.log(
            "refreshed", id=id, publish=list(grant.publish), subscribe=list(grant.subscribe)
        )
        return replace(judgement, decision=replace(judgement.decision, grant=grant))

    def _not_theirs(self, id: str, held: Held) -> None:
        """Somebody with a good credential wants a session that is another's. Raises `Forbidden`."""
        why = f"the session {id} is not known to be the same holder's"
        hint = "refresh it with a credential of the same subject, or jti, and tenant"
        said = {"via": "refresh", "hint": hint}
        self._refusals.granted("not_the_holder", Forbidden.status, why, held, **said)
        raise Forbidden(f"forbidden (id {held.id})").known_as(held.id)

    @property
    def visitors(self) -> int:
        """Sessions of those who are no relays of the cluster."""
        return sum(not (guest.grant and guest.grant.cluster) for guest in self.guests.values())

    @property
    def staying(self) -> int:
        """Those who are given time to leave: visitors, and relays that have something through us
        still and need a moment to have it another way."""
        everybody = (*self.guests.values(), *self.links.values())
        relays = (guest for guest in everybody if guest.is_relay and not guest.is_near)
        return self.visitors + sum(relay.watching.is_passed_on_to for relay in relays)

    def adopt(self, guest: Guest) -> None:
        """A relay that we dialled: it was decided on by whoever configured it."""
        self.links[guest.id] = guest

    def release(self, guest: Guest) -> None:
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
