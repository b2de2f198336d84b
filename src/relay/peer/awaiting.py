"""Subscriptions of a guest's to what nobody publishes yet, and that are ready to wait for it.

The law: nobody waits who may not watch it, and none longer than he said nor than the house lets
anybody. This module must not know how a subscription is served, nor who publishes.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from relay.errors import Dropped, Expired, LimitExceeded, RelayError, Unroutable
from relay.path import Path
from relay.session.events import Subscribed, SubscribeUpdated

if TYPE_CHECKING:
    from relay.model.scope import Scope
    from relay.peer.watching import Watching

MAX_AWAITED = 256
"""Subscriptions of one session that wait. More: the new one is refused."""

MAX_LOOKED = 32
"""Those that are looked at in one go, since there may be news all the time; the next ones are then.
"""

AGAIN = 1.0
"""Seconds after which somebody is asked again who publishes there, but not this; each time it is
twice as long, since there are publishers that grant a number of requests for ever."""

NOBODY = frozenset((Unroutable.code, Dropped.code))
"""Why a track cannot be had that nobody publishes, or not any more."""


class _Wait(NamedTuple):
    """One of them."""

    event: Subscribed
    until: float
    again: float = 0.0
    """When it is looked at again; 0 = once something has been announced."""
    pause: float = AGAIN
    """Seconds that it waits the next time that it came to nothing."""


class Awaiting:
    """Those of one guest. Whether somebody publishes by now is looked at some times a second, and
    only after anything has been announced anywhere."""

    def __init__(self, host: Watching) -> None:
        self._host = host
        self._waits: dict[int, _Wait] = {}
        """By their ids."""
        self._tried: dict[int, _Wait] = {}
        """Those whose publisher is there, and has not accepted them yet."""
        self._unseen: dict[int, None] = {}
        """Those to be looked at, the next one first."""
        self._changes = 0
        """How much had been announced when that was decided."""

    def __len__(self) -> int:
        """Those that wait, or are ready to wait on."""
        return len(self._waits) + len(self._tried)

    def begin(self, event: Subscribed) -> bool:
        """Have one wait whose publisher is not there; False where it does not, or may not watch.
        Raises `LimitExceeded`, `BadRequest`."""
        guest, scope = self._host.guest, self._host.guest.scope
        if not event.patience or not self._is_allowed(scope, event):
            return False
        patience = min(event.patience / 1000, guest.settings.rendezvous_timeout)
        wait = self._tried.pop(event.id, None) or _Wait(event, guest.clock() + patience)
        if self._is_there(scope, event):
            self._tried[event.id] = wait
            return False
        if len(self._waits) >= MAX_AWAITED:
            raise LimitExceeded(f"more than {MAX_AWAITED} subscriptions wait for a publisher")
        self._waits[event.id] = wait
        return True

    def resume(self, id: int, error: RelayError) -> bool:
        """Have one wait on that was served and came to nothing with ``error``; False where it does
        not. What is there may be another track of the same broadcast, or a broadcast above it."""
        wait = self._tried.pop(id, None)
        if wait is None or error.code not in NOBODY or len(self._waits) >= MAX_AWAITED:
            return False
        again = self._host.guest.clock() + wait.pause
        self._waits[id] = wait._replace(again=again, pause=2 * wait.pause)
        return True

    def settle(self, id: int) -> None:
        """It is accepted; harmless where it never waited."""
        self._tried.pop(id, None)

    def _is_allowed(self, scope: Scope | None, event: Subscribed) -> bool:
        return scope is not None and scope.allows_subscribe(Path(event.broadcast))

    def _is_there(self, scope: Scope | None, event: Subscribed) -> bool:
        """Whether somebody publishes it. What lingers has nobody, and may not be heard of again."""
        seat = (
            scope.seek(Path(event.broadcast), self._host.guest.hop) if scope is not None else None
        )
        return seat is not None and not seat.broadcast.is_lingering

    def update(self, event: SubscribeUpdated) -> None:
        """The peer changed what it wants; harmless where that does not wait."""
        for waits in (self._waits, self._tried):
            if (wait := waits.get(event.id)) is not None:
                changed = wait.event._replace(**event._asdict())
                waits[event.id] = wait._replace(event=changed)

    def forget(self, id: int) -> None:
        """The peer wants it no longer; harmless where it does not wait."""
        self._waits.pop(id, None)
        self._tried.pop(id, None)
        self._unseen.pop(id, None)

    def clear(self) -> None:
        """The guest is gone."""
        self._waits.clear()
        self._tried.clear()
        self._unseen.clear()

    def regranted(self, scope: Scope) -> None:
        """The rights changed: what is no longer covered is not there."""
        for wait in tuple(self._waits.values()):
            if not self._is_allowed(scope, wait.event):
                self._refuse(wait, Unroutable("the right to watch it was taken away"))

    def tick(self, now: float) -> None:
        """Serve what is there by now, and refuse what has waited for long enough."""
        host, scope = self._host, self._host.guest.scope
        if not self._waits or scope is None:
            return
        changes = scope.origin.board.changes
        is_news, self._changes = changes != self._changes, changes
        for id, wait in self._waits.items():
            if now >= wait.again if wait.again else is_news:
                self._unseen[id] = None
        for id in tuple(islice(self._unseen, MAX_LOOKED)):
            del self._unseen[id]
            wait = self._waits[id]._replace(again=0.0)
            if self._is_there(scope, wait.event):
                del self._waits[id]
                self._tried[id] = wait
                host.subscribed(wait.event)
            else:
                self._waits[id] = wait
        for wait in tuple(self._waits.values()):
            if now >= wait.until:
                self._refuse(wait, Expired("nobody came in time who publishes it"))

    def _refuse(self, wait: _Wait, error: RelayError) -> None:
        self.forget(wait.event.id)
        self._host.refuse(wait.event, error)
