"""One link to another relay: dialled again for ever, replaced without a gap when it is renewed.

The law: a dial that fails is said aloud each time and tried again after a wait that grows to a few
seconds, with jitter; a session that is replaced takes back what it announced and serves on until
the new one delivers. This module must not know what travels over the link.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any, Protocol

from relay.cluster.address import Address
from relay.errors import ConfigError, RelayError, SessionLost, first_of
from relay.peer.guest import Guest

FIRST_WAIT = 0.5
"""Seconds before a link is dialled again the first time."""

LONGEST_WAIT = 8.0
"""Seconds to which the wait grows."""

RENEW_AGAIN = 2.0
"""Seconds until a renewal that failed is tried again, while the old session serves on."""

OVERLAP = 0.5
"""Seconds for which the other relay may tell a new session what it told the old one, before the
old one takes back what was told."""

NEAR_WAIT = 0.25
"""Seconds between dials of another process of this relay: it is being started."""

STABLE = 10.0
"""Seconds for which a session must have lasted for the waits to begin anew."""

RETIRE = 6.0
"""Seconds that a replaced session goes on serving what it began, at least."""

FINISH = 30.0
"""Seconds that it goes on longer at most, while groups that it began have not ended. Together well
below `twins.PATIENCE`, or the other relay would take us for two."""

LOOK = 0.25
"""Seconds between two looks whether they have."""

MAX_TOKEN = 65_536
"""Bytes of a token file."""


class Replaced(RelayError):
    """Nothing is wrong: another session has taken the place of this one."""

    code = 0
    session_code = 0


class Session(Protocol):
    """A running session of a link."""

    guest: Guest
    lost: asyncio.Future[str]
    """Why it ended."""

    async def close(self) -> None:
        """Let go of the connection; the guest has left before."""


Open = Callable[[str, int | None], Awaitable[Session]]
"""Dial a URL at a price and answer a session that has begun. Raises `SessionLost`,
`ConfigError`."""


@dataclass(slots=True)
class State:
    """What a link is doing, for whoever looks."""

    session: Session | None = None
    since: float = 0.0
    """Monotonic seconds at which it began to be up, or down."""
    attempts: int = 0
    """Dials since it was last up."""
    trouble: str = ""
    """Why the last one failed or ended."""


class Link:
    """A relay that is dialled."""

    def __init__(
        self,
        address: Address,
        open: Open,
        token: File | None,
        clock: Callable[[], float],
        log: Callable[..., None],
    ) -> None:
        """``token`` is the file of the token for an address that brings none."""
        self.address = address
        self.state = State(since=clock())
        self._open = open
        self._token = token
        self._clock = clock
        self._log = log
        self._renew = asyncio.Event()

    def renew(self, address: Address | None = None) -> None:
        """Replace the running session by a new one, with the token or the address of now."""
        self.address = address or self.address
        self._renew.set()

    @property
    def uses_token_file(self) -> bool:
        """Whether a new token in the file is a reason to renew."""
        return self._token is not None and not self.address.has_token

    async def run(self) -> None:
        """Keep the link up until cancelled; what nobody foresaw costs its own sessions alone."""
        while True:
            try:
                await self._stay()
            except Exception as error:
                self._log("internal error", peer=self.address.key, error=repr(first_of(error)))
            await asyncio.sleep(NEAR_WAIT if self.address.is_near else LONGEST_WAIT)

    async def _stay(self) -> None:
        first, longest = FIRST_WAIT, LONGEST_WAIT
        if self.address.is_near:
            first = longest = NEAR_WAIT
        wait = first
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._renew.clear()
                session = await self._dial()
                if session is not None:
                    began = self._clock()
                    await self._keep(session, tasks)
                    if self._clock() - began >= STABLE:
                        wait = first
                with contextlib.suppress(TimeoutError):  # a new token or address need not wait
                    async with asyncio.timeout(wait * random.uniform(0.5, 1.0)):
                        await self._renew.wait()
                wait = min(wait * 2, longest)

    async def _dial(self) -> Session | None:
        """One try, said aloud when it fails."""
        self.state.attempts += 1
        try:
            session = await self._open(self.address.with_token(self._read()), self.address.cost)
        except (SessionLost, ConfigError) as error:
            self._refused(str(error))
            return None
        except Exception as error:  # nobody foresaw it; it must not cost the other links
            self._log("internal error", peer=self.address.key, error=repr(error))
            self._refused("internal error")
            return None
        self.state.session, self.state.since, self.state.trouble = session, self._clock(), ""
        self.state.attempts = 0
        self._log("link up", peer=self.address.key, id=session.guest.id, cost=self.address.cost)
        return session

    def _refused(self, why: str) -> None:
        self.state.trouble = why
        # Another worker of this relay is only being started, as a rule.
        event = "link waits" if self.address.is_near else "link refused"
        self._log(event, peer=self.address.key, why=why, attempt=self.state.attempts)

    async def _keep(self, session: Session, tasks: asyncio.TaskGroup) -> None:
        """Stay until the session is lost; replace it when asked to."""
        again: float | None = None
        try:
            while True:
                renewal = tasks.create_task(self._renew.wait())
                try:
                    await asyncio.wait(
                        (renewal, session.lost),
                        timeout=again,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                finally:
                    renewal.cancel()
                if session.lost.done():
                    return
                self._renew.clear()
                fresh = await self._dial()
                if fresh is not None:
                    tasks.create_task(self._retire(session))
                    session = fresh
                # Otherwise the old one goes on as long as it is let.
                again = RENEW_AGAIN if fresh is None else None
        finally:
            self.state.session, self.state.since = None, self._clock()
            await self._end(session)

    async def _end(self, session: Session) -> None:
        if session.lost.done():
            self.state.trouble = session.lost.result()
            # Another worker of this relay ends with it, and one that dies is told of by its crew.
            event = "link to worker down" if self.address.is_near else "link down"
            self._log(event, peer=self.address.key, why=self.state.trouble)
        else:
            session.guest.close(Replaced("the link is taken down"))
        await session.close()

    async def _retire(self, session: Session) -> None:
        """The session was replaced: what it serves moves to the new one in peace."""
        try:
            await asyncio.wait((session.lost,), timeout=OVERLAP)
            session.guest.retire()
            await asyncio.wait((session.lost,), timeout=RETIRE)
            until = self._clock() + FINISH
            while session.guest.has_under_way and not session.lost.done() and self._clock() < until:
                await asyncio.wait((session.lost,), timeout=LOOK)
        finally:
            if not session.lost.done():
                session.guest.close(Replaced("the link was renewed"))
            await session.close()

    def _read(self) -> str:
        """The token for the next dial. Raises `ConfigError`."""
        if self._token is None or self.address.has_token:
            return ""
        try:
            text = self._token.read_text(encoding="ascii")
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"cluster.token: {self._token.name} cannot be read: {error}"
            ) from None
        if len(text) > MAX_TOKEN:
            raise ConfigError(f"cluster.token: {self._token.name} is too large")
        if not (token := text.strip()):  # it is being written, perhaps; a link without is another
            raise ConfigError(f"cluster.token: {self._token.name} is empty")
        return token


def facts(link: Link, now: float) -> dict[str, Any]:
    """What a link is doing, for ``/nodes``."""
    state = link.state
    return {
        "peer": link.address.key,
        "cost": link.address.cost,
        "up": state.session is not None,
        "seconds": round(max(0.0, now - state.since), 1),
        "attempts": state.attempts,
        "trouble": state.trouble,
    }
