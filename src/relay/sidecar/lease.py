"""A grant on loan: asked for again on the server's cadence, and over when the server says so.

The law: a refusal or an answer that cannot be honoured ends it at once, an outage lets it stand
until the end it was given, by a clock that nobody sets; one question is under way at a time. This
module must not know what a session is: it tells its owner of changes and of the end.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Literal

from relay.auth.facts import NO_FACTS, Facts
from relay.auth.grant import Grant
from relay.sidecar.client import INVALID, Admission, AuthClient
from relay.sidecar.inquiry import Ending, Inquiry

Reason = Literal["expired", "refused", "invalid", "narrowed"]
"""Why a lease ended by itself, in the contract's words."""

MAX_PAUSE = 60.0
"""Longest wait in seconds after a question that got no answer."""

SPREAD = 0.25
"""How far such a wait varies either way, so that many relays do not ask in step."""


class Lease:
    """What one session was granted. `run` it in a task of the owner's; that task ends with it.

    ``changed`` is called with each new grant that differs from the one before.
    """

    def __init__(
        self,
        client: AuthClient,
        inquiry: Inquiry,
        admission: Admission,
        changed: Callable[[Grant], None],
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        facts: Facts = NO_FACTS,
        heard: Callable[[Admission], None] = lambda admission: None,
    ) -> None:
        """``facts`` are what the admission was made with: whoever decides anew knows no less.
        ``heard`` is told each answer, and each time that none came."""
        assert admission.grant is not None
        self.inquiry = inquiry
        self.grant: Grant = admission.grant
        self.why = ""
        """What the server said when it took the grant back, for the log."""
        self._client = client
        self._facts = facts
        self._changed = changed
        self._heard = heard
        self._wall = wall
        self._clock = clock
        self._began = clock()
        self._asked = asyncio.Event()
        self._failures = 0
        self._deadline: float | None = None
        self._due: float | None = None
        self._cadence: float | None = None
        self._follow(admission)

    def nudge(self) -> None:
        """Have the server asked again now; several nudges together are one question."""
        self._asked.set()

    async def run(self) -> Reason:
        """Keep the grant fresh until it ends; answers why. Cancel it when the session ends."""
        while True:
            if self._past(self._deadline):
                return "expired"
            if await self._wait():
                self._asked.clear()
                ended = await self._renew()
                if ended is not None:
                    return ended

    async def close(self, reason: str, sent: int, received: int) -> None:
        """Tell the server that the session ended, and the bytes to and from the guest. Raises
        `Unreachable` when nobody listened."""
        ending = Ending(reason, max(0.0, self._clock() - self._began), sent, received)
        await self._client.end(self.inquiry, ending)

    async def _wait(self) -> bool:
        """Until the server is to be asked; False when the grant's end came first."""
        moments = [moment for moment in (self._due, self._deadline) if moment is not None]
        left = max(0.0, min(moments) - self._clock()) if moments else None
        try:
            async with asyncio.timeout(left):
                await self._asked.wait()
        except TimeoutError:
            return not self._past(self._deadline)
        return True

    async def _renew(self) -> Reason | None:
        """Ask once, no longer than the grant lasts; answers why the lease ended, if it did."""
        left = None if self._deadline is None else self._deadline - self._clock()
        try:
            async with asyncio.timeout(left):
                admission = await self._client.revalidate(self.inquiry, self._facts)
        except TimeoutError:
            return "expired"
        self._heard(admission)
        if admission.is_outage:
            self._failures += 1
            self._due = self._clock() + pause(self._failures, self._cadence, random.uniform(-1, 1))
            return None
        if admission.grant is None:
            self.why = admission.decision.reason.text
            return "invalid" if admission.decision.reason.code == INVALID else "refused"
        fixed = ("root", "cluster", "tenant")  # what a running session cannot change
        if any(getattr(admission.grant, each) != getattr(self.grant, each) for each in fixed):
            self.why = f"another of {', '.join(fixed)}, which a running session cannot change"
            return "narrowed"
        before = self.grant
        self._follow(admission)
        if before != self.grant:
            self._changed(self.grant)
        return None

    def _follow(self, admission: Admission) -> None:
        """Take over a fresh admission: from now on its grant, its end and its cadence hold."""
        assert admission.grant is not None
        now = self._clock()
        self.grant = admission.grant
        self._failures = 0
        self._cadence = admission.revalidate
        self._due = None if self._cadence is None else now + self._cadence
        expires = admission.grant.expires
        self._deadline = None if expires is None else now + expires - self._wall()

    def _past(self, moment: float | None) -> bool:
        return moment is not None and self._clock() >= moment


def pause(failures: int, cadence: float | None, lot: float) -> float:
    """Seconds until the next question after ``failures`` in a row; ``lot`` is drawn from -1 to 1.

    Doubles from one second, no longer than the cadence or `MAX_PAUSE`, `SPREAD` apart.
    """
    longest = min(MAX_PAUSE, MAX_PAUSE if cadence is None else cadence)
    return float(min(2.0 ** min(failures - 1, 16), longest) * (1 + SPREAD * lot))
