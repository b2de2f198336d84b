"""Deciding by somebody else's word: the relay as a client of an authorization server.

It brings the sidecar's client and the judge together: one question at the door, then a lease per
session that is asked for again on the server's cadence. Its law: without a clear yes there is no
session, and a session never outlives what was granted. This module must not know connections.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from relay.auth.decide import Decision
from relay.auth.facts import Facts
from relay.auth.grant import Grant
from relay.auth.request import Request
from relay.path import named
from relay.session.transport import Knock
from relay.sidecar.client import Admission, AuthClient
from relay.sidecar.inquiry import Ending, Inquiry, Role, fresh_id, inquire, tell_certificate
from relay.sidecar.lease import Lease
from relay.sidecar.link import Unreachable
from relay.sidecar.select import read_selector, shown

FAREWELL = 2.0
"""Seconds in which the server should take in that a session is over."""

Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Loan:
    """What one session was granted by the server (see `relay.peer.judgement.Loan`)."""

    def __init__(
        self, authority: Authority, inquiry: Inquiry, admission: Admission, facts: Facts
    ) -> None:
        self._authority = authority
        self.inquiry = inquiry
        """What the server was asked."""
        self.started = authority.wall()
        self._admission = admission
        self._facts = facts
        self._lease: Lease | None = None
        self._running: asyncio.Task[None] | None = None
        self._reason = ""
        self._is_over = False

    def begin(self, changed: Callable[[Grant], None], over: Callable[[str, str], None]) -> None:
        """The session begins: keep the grant fresh, tell of changes and of its end."""
        authority = self._authority
        self._lease = Lease(
            authority.client,
            self.inquiry,
            self._admission,
            changed,
            authority.wall,
            facts=self._facts,
            heard=authority.heard,
        )
        authority.loans.add(self)
        authority.spawn(self._run(over))

    def nudge(self) -> None:
        """Have the server asked again now."""
        if self._lease is not None:
            self._lease.nudge()

    def end(self, reason: str, sent: int = 0, received: int = 0) -> None:
        """The session is over, if there ever was one: stop asking, tell the server, once."""
        if self._is_over or self._admission.grant is None:
            return
        self._authority.loans.discard(self)
        self._is_over = True
        if self._running is not None:
            self._running.cancel()
        self._authority.spawn(self._tell(_word(self._reason or reason), sent, received))

    async def _run(self, over: Callable[[str, str], None]) -> None:
        assert self._lease is not None
        if self._is_over:
            return  # the session ended before this task's first turn: it could not be cancelled
        self._running = asyncio.current_task()
        try:
            self._reason = await self._lease.run()
        except Exception as error:  # nobody would ask about the session any more
            self._running, self._reason = None, "invalid"
            over(self._reason, f"internal error: {error!r}")
            raise
        finally:
            self._running = None
        over(self._reason, self._lease.why)

    async def _tell(self, reason: str, sent: int, received: int) -> None:
        with contextlib.suppress(Unreachable, TimeoutError):
            async with asyncio.timeout(FAREWELL):
                if self._lease is not None:
                    await self._lease.close(reason, sent, received)
                else:
                    seconds = max(0.0, self._authority.wall() - self.started)
                    ending = Ending(reason, seconds, sent, received)
                    await self._authority.client.end(self.inquiry, ending)


class Authority:
    """An authorization server, as the judge asks it (see `relay.peer.judgement.Authority`)."""

    def __init__(
        self,
        client: AuthClient,
        node: str,
        wall: Callable[[], float],
        spawn: Spawn,
        log: Callable[..., None] = lambda event, **facts: None,
    ) -> None:
        self.client = client
        self._log = log
        self._is_silent = False
        self.node = node
        self.wall = wall
        self.spawn = spawn
        self.loans: set[Loan] = set()
        """Sessions that run on the server's word."""

    def heard(self, admission: Admission) -> None:
        """What came of asking again about a session; the log is told when that begins to fail, and
        when it works again."""
        if admission.is_outage and not self._is_silent:
            why = admission.decision.reason.text
            detail = f"auth.url does not answer, sessions stay until the end they have: {why}"
            self._log("warning", detail=detail)
        if self._is_silent and not admission.is_outage:
            self._log("auth.url answers again")
        self._is_silent = admission.is_outage

    def sessions(self, query: str) -> list[dict[str, Any]]:
        """Sessions that run on the server's word and that a filter means; no secrets."""
        meant = self.meant(query)
        told = shown([loan.inquiry for loan in meant])
        return [
            view | {"started": int(loan.started)} for view, loan in zip(told, meant, strict=True)
        ]

    def revalidate(self, query: str) -> list[str]:
        """Have the server asked again about those; which they are."""
        meant = self.meant(query)
        for loan in meant:
            loan.nudge()
        return [loan.inquiry.id for loan in meant]

    def meant(self, query: str) -> list[Loan]:
        """Those that a filter means. Raises `BadRequest` for one that makes no sense."""
        selector = read_selector(query)
        return [loan for loan in self.loans if selector.matches(loan.inquiry)]

    async def ask(self, request: Request, knock: Knock, facts: Facts) -> tuple[Decision, Loan]:
        """The server's decision, and the loan to begin if it is a yes.

        Raises nothing but `BadRequest`, for an HTTP address that can mean nothing.
        """
        inquiry = inquire(knock, request.target, fresh_id(), self.node)
        if request.is_address:  # other relays take off escapes before they ask, too
            inquiry = replace(inquiry, path=f"/{named(request.dialled)}")
        role: Role | None = None
        if request.publishes != request.subscribes:
            role = "publisher" if request.publishes else "subscriber"
        fact = facts.certificate
        certificate = tell_certificate(fact) if fact is not None else None
        inquiry = replace(inquiry, role=role, certificate=certificate)
        admission = await self.client.connect(inquiry, facts)
        return admission.decision, Loan(self, inquiry, admission, facts)


def _word(reason: str) -> str:
    """A reason as a server takes it: it may be a peer's own, with anything in it."""
    return "".join(each if each.isprintable() else "\ufffd" for each in reason[:64])
