"""Tenants' quotas over all workers: the first one lends, each goes by what it was lent.

The law: nothing that moves waits here; a worker reports a few times a second, and at once when
somebody needs more than it holds. Who does not answer keeps what it holds, and costs the others
nothing else. This module must not know what is limited.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

from relay.beat import rest
from relay.errors import RelayError, Unavailable
from relay.peer.house import House
from relay.quota import Account, Borrower, Ledger, Lender, portion
from relay.quota.lending import Short
from relay.quota.purse import INTERVAL
from relay.server.colleagues import PATIENCE, Answer, Colleagues

RECALL = 0.25
"""Seconds that a worker may take to give up what it does not use."""

GAP = 0.01
"""Seconds between two reports at least, however much is needed."""

QUIET = 0.5
"""Seconds after which a worker that has nothing to tell says so, and learns of a new lender."""

FIRST = 0
"""The worker that lends."""


class Shares:
    """One worker's share of the quotas, and in the first worker who has which."""

    def __init__(
        self,
        ledger: Ledger,
        colleagues: Colleagues,
        clock: Callable[[], float],
        escaped: Callable[[BaseException], None],
    ) -> None:
        """``clock`` is monotonic seconds; ``escaped`` is told of errors that nobody foresaw."""
        self.lender = Lender(lambda: ledger.limits, colleagues.share.count)
        self._own = colleagues.share.index
        self._colleagues = colleagues
        self._clock = clock
        self._borrower = Borrower(ledger, escaped)
        self._pressed = asyncio.Event()
        self._told_at = -QUIET
        self._lending = asyncio.Lock()
        ledger.pressed = self._pressed.set

    @property
    def answers(self) -> dict[str, Answer]:
        """What colleagues may ask."""
        return {"borrow": self._borrow, "recall": self._recall}

    @property
    def life(self) -> str:
        """Names this worker until it ends."""
        return self._borrower.life

    def lost(self, worker: int, life: str) -> None:
        """A worker has died: what it held is free, before another takes its place."""
        self.lender.lost(worker, life)

    async def run(self) -> None:
        """Report for ever. Whoever calls owns the task."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest(INTERVAL)):
                    await self._pressed.wait()
            self._pressed.clear()
            if await self._turn():
                await asyncio.sleep(GAP)

    async def _turn(self) -> bool:
        """One report and its answer, if there is anything to tell; whether there was."""
        now = self._clock()
        report = self._borrower.report()
        is_quiet = not (report["full"] or report["counts"] or report["rates"])
        if is_quiet and now - self._told_at < QUIET:
            return False
        self._told_at = now
        try:
            if self._own == FIRST:
                answer = await self._borrow(FIRST, report)
            else:
                answer = await self._colleagues.ask(
                    FIRST, "borrow", self._own, report, patience=PATIENCE
                )
        except RelayError:
            self._borrower.fail(self._clock())  # whoever asks all workers says that it is silent
            return True
        if not self._borrower.settle(answer, self._clock()):
            self._pressed.set()
        return True

    async def _borrow(self, worker: int, report: dict[str, Any]) -> Any:
        """A worker reports, to us who lend."""
        async with self._lending:
            answer, short = self.lender.hear(worker, report, self._clock())
            if short and (holders := self.lender.holders(worker, short)):
                await asyncio.gather(*(self._take_back(*each) for each in holders.items()))
                self.lender.again(worker, answer, short)
            return answer

    async def _take_back(self, worker: int, kinds: Short) -> None:
        """Have a worker give up what it does not use; if it cannot be asked, it goes on holding."""
        with contextlib.suppress(Unavailable):
            if worker == self._own:
                told = self._borrower.recall(kinds)
            else:
                told = await self._colleagues.ask(worker, "recall", kinds, patience=RECALL)
            self.lender.recalled(worker, told)

    async def _recall(self, kinds: Short) -> Any:
        """Somebody else needs what is not used here."""
        return self._borrower.recall(kinds)


async def known(account: Account, needs: tuple[str, ...], clock: Callable[[], float]) -> None:
    """Wait until it can be told whether there is one more of each limit named: as a rule, not."""
    latest = clock() + portion.PATIENCE
    while account.lacks(needs, clock()) and clock() < latest:
        # Others who waited, too, may have taken what came: then it is asked for again.
        done = asyncio.get_running_loop().create_future()
        account.when_known(needs, clock(), partial(_set, done))
        await done


def _set(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


async def arrive(house: House, tenant: str | None, needs: tuple[str, ...] = ()) -> None:
    """One more HTTP request of a tenant's, which is about to use what is named of its quotas.

    Raises `OverQuota` for one too many, `LimitExceeded`.
    """
    await may_arrive(house, tenant, needs)
    house.ledger.arrive(tenant, house.clock())


async def may_arrive(house: House, tenant: str | None, needs: tuple[str, ...] = ()) -> None:
    """Wait until it can be told whether that may be, for whoever counts it then.

    Raises `LimitExceeded`.
    """
    await known(house.ledger.account(tenant), ("sessions_per_second", *needs), house.clock)
