"""The judge: one place that decides, for every way in.

WebTransport, raw QUIC, HTTP and refreshes all ask the same `decide`, here and nowhere else; a
refusal gets an id that both the stranger and the log see, and what was granted may be taken back
from whoever still waits. This module must not know sessions, QUIC, HTTP, or how tokens are read.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any
from weakref import WeakSet

from relay.auth.certificate import Certificate
from relay.auth.decide import Decision, Request, decide
from relay.auth.facts import Facts
from relay.auth.grant import Grant
from relay.errors import Unauthorized, Unavailable
from relay.peer.house import House
from relay.peer.judgement import Authority, Clerk, Held, Judgement, Loan, NoClerk, Rules, shown
from relay.peer.refusing import Pending, Refusals, shown_path
from relay.session.transport import Knock, PeerCertificate


def refuse_to_wait(decision: Coroutine[Any, Any, None]) -> None:
    """For judges that nobody gave tasks to: their clerk always answers at once."""
    decision.close()
    raise RuntimeError("this judge has nobody to wait for it")


class Judge:
    """Decides on whoever comes, by what the clerk knows and the rules say, or has it decided."""

    def __init__(self, house: House, rules: Rules, wall: Callable[[], float]) -> None:
        """``wall`` tells unix seconds."""
        self.rules = rules
        self.wall = wall
        self.clerk: Clerk = NoClerk()
        self.authority: Authority | None = None
        """Who decides instead of the relay itself."""
        self.spawn: Callable[[Coroutine[Any, Any, None]], object] = refuse_to_wait
        """Runs a decision that has to wait, in a task that somebody owns."""
        self.refusals = Refusals(house)
        self._house = house
        self._held: WeakSet[Held] = WeakSet()
        """Grants of those who wait; whoever waits has them."""

    async def facts(self, request: Request, certificate: Certificate | None = None) -> Facts:
        """What a decision needs to know, however long it takes to gather."""
        known = self.clerk.at_once(request, certificate)
        return known or await self.clerk.gather(request, certificate)

    async def consider(
        self,
        request: Request,
        remote: str,
        seen: Facts | None = None,
        certificate: PeerCertificate | None = None,
    ) -> Judgement:
        """Decide, by what was ``seen`` or after gathering the facts, however long that takes; a
        refusal is written to the log.

        The grant is for what the present task does, an answer to an HTTP request: with that it
        ends.
        """
        headers = {"authorization": f"Bearer {request.bearer}"} if request.bearer else {}
        knock = Knock(
            request.transport,
            request.target,
            remote=(remote, 0),
            headers=headers,
            certificate=certificate,
        )
        facts = seen or await self.facts(request, shown(certificate))
        decision, loan = await self._decided(request, knock, facts)
        judgement = self._noted(decision, request, remote, secrets.token_hex(6), loan)
        if judgement.loan is not None and (task := asyncio.current_task()) is not None:
            task.add_done_callback(lambda _: judgement.forgo("done"))
        return judgement

    def decide_on(self, pending: Pending, knock: Knock, then: Callable[[Judgement], None]) -> None:
        """Decide at once when nothing has to be waited for, else when it is there; not at all who
        was given up by then."""
        request, remote, id = pending.request, pending.remote, pending.id
        certificate = shown(knock.certificate)
        facts = self.clerk.at_once(request, certificate)
        if facts is not None and self.authority is None:
            then(self._noted(self._decide(request, facts), request, remote, id))
            return

        async def later() -> None:
            known = facts or await self.clerk.gather(request, certificate)
            decision, loan = await self._decided(request, knock, known)
            if pending.is_given_up or decision.status == Unavailable.status:
                await self.clerk.give_back(request, known)
                restore = None
            else:
                restore = self._restoring(request, known)
            if not pending.is_given_up:
                judgement = self._noted(decision, request, remote, id, loan)
                then(replace(judgement, restore=restore))
            elif loan is not None:
                loan.end("given up")

        self.spawn(later())

    def _restoring(self, request: Request, facts: Facts) -> Callable[[], object] | None:
        """How what was spent on a request is made good again, if anything was."""
        if facts.ticket is None:
            return None
        return lambda: self.spawn(self.clerk.give_back(request, facts))

    def _decide(self, request: Request, facts: Facts) -> Decision:
        return decide(request, self.rules.keys, self.rules.settings, self.wall(), facts)

    async def _decided(
        self, request: Request, knock: Knock, facts: Facts
    ) -> tuple[Decision, Loan | None]:
        """Have whoever decides decide."""
        if self.authority is None:
            return self._decide(request, facts), None
        return await self.authority.ask(request, knock, facts)

    def _noted(
        self, decision: Decision, request: Request, remote: str, id: str, loan: Loan | None = None
    ) -> Judgement:
        """Write down what deserves it of a decision."""
        if decision.grant is not None:
            self.clerk.admitted(decision.grant)
        else:
            self.refusals.decided(decision, request, remote, id)
        for detail in decision.warnings:
            self._house.log("warning", id=id, detail=detail, path=shown_path(request))
        return Judgement(decision, id, loan if decision.grant is not None else None)

    # -- while they wait -------------------------------------------------------------------------

    def hold(self, grant: Grant, id: str, remote: str) -> Held:
        """A grant for somebody who waits; `strike` takes it back as sessions lose theirs."""
        held = Held(grant, id, remote)
        self._held.add(held)
        return held

    def strike(self, struck: Callable[[Grant], str | None]) -> None:
        """Take back every grant held that ``struck`` gives a reason against."""
        for held in tuple(self._held):
            held.why = held.why or struck(held.grant) or ""

    def require(self, held: Held) -> None:
        """Raises `Unauthorized` when it is in force no longer; that is noted."""
        if why := held.over(self.wall()):
            self.refusals.granted("revoked", Unauthorized.status, why, held)
            raise Unauthorized(f"revoked (id {held.id})").known_as(held.id)

    def let_in(self, grant: Grant, id: str, remote: str, via: str) -> None:
        """Have it kept that somebody came in on a grant, past everything that might refuse them."""
        self._house.audit("allow", grant=grant, id=id, remote=remote, kind=via)
