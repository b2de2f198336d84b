"""Subscriptions of a guest's to what nobody publishes yet, and that are ready to wait for it.

The law: nobody waits who may not watch it, and none longer than he said nor than the house lets
anybody. This module must not know how a subscription is served, nor who publishes.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from relay.errors import Expired, LimitExceeded, RelayError, Unroutable
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


class Awaiting:
    """Those of one guest. Whether somebody publishes by now is looked at some times a second, and
    only after anything has been announced anywhere."""

    def __init__(self, host: Watching) -> None:
        self._host = host
        self._waits: dict[int, tuple[Subscribed, float]] = {}
        """By their ids, with the time until which they do."""
        self._unseen: dict[int, None] = {}
        """Those to be looked at, the next one first."""
        self._changes = 0
        """How much had been announced when that was decided."""

    def __len__(self) -> int:
        return len(self._waits)

    def begin(self, event: Subscribed) -> bool:
        """Have one wait whose publisher is not there; False where it does not, or may not watch.
        Raises `LimitExceeded`, `BadRequest`."""
        guest, scope = self._host.guest, self._host.guest.scope
        if not event.patience or scope is None or self._is_there(scope, event):
            return False
        if not scope.allows_subscribe(Path(event.broadcast)):
            return False
        if len(self._waits) >= MAX_AWAITED:
            raise LimitExceeded(f"more than {MAX_AWAITED} subscriptions wait for a publisher")
        patience = min(event.patience / 1000, guest.settings.rendezvous_timeout)
        self._waits[event.id] = event, guest.clock() + patience
        return True

    def _is_there(self, scope: Scope, event: Subscribed) -> bool:
        """Whether somebody publishes it. What lingers has nobody, and may not be heard of again."""
        seat = scope.seek(Path(event.broadcast), self._host.peer)
        return seat is not None and not seat.broadcast.is_lingering

    def update(self, event: SubscribeUpdated) -> None:
        """The peer changed what it wants; harmless where that does not wait."""
        if (entry := self._waits.get(event.id)) is not None:
            self._waits[event.id] = entry[0]._replace(**event._asdict()), entry[1]

    def forget(self, id: int) -> None:
        """The peer wants it no longer; harmless where it does not wait."""
        self._waits.pop(id, None)
        self._unseen.pop(id, None)

    def clear(self) -> None:
        """The guest is gone."""
        self._waits.clear()
        self._unseen.clear()

    def regranted(self, scope: Scope) -> None:
        """The rights changed: what is no longer covered is not there."""
        for event, _ in tuple(self._waits.values()):
            if not scope.allows_subscribe(Path(event.broadcast)):
                self._refuse(event, Unroutable("the right to watch it was taken away"))

    def tick(self, now: float) -> None:
        """Serve what is there by now, and refuse what has waited for long enough."""
        host, scope = self._host, self._host.guest.scope
        if not self._waits or scope is None:
            return
        if self._changes != scope.origin.board.changes:
            self._changes = scope.origin.board.changes
            self._unseen.update(dict.fromkeys(self._waits))
        for id in tuple(islice(self._unseen, MAX_LOOKED)):
            del self._unseen[id]
            event, _ = self._waits[id]
            if self._is_there(scope, event):
                self.forget(id)
                host.subscribed(event._replace(patience=0))
        for event, until in tuple(self._waits.values()):
            if now >= until:
                self._refuse(event, Expired("nobody came in time who publishes it"))

    def _refuse(self, event: Subscribed, error: RelayError) -> None:
        self.forget(event.id)
        self._host.refuse(event, error)
