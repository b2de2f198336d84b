"""What a guest asks to hear of: its announce requests, answered from what there is.

Everything is looked up in the guest's scope, where what it may not see does not exist. Whose turn
it is to be told decides `relay.peer.listing`. This module must not know what the guest watches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from relay.errors import LimitExceeded, RelayError
from relay.model.board import Hops, Way
from relay.model.scope import ScopeWatch
from relay.path import Path
from relay.reserve import NEWS
from relay.session import events
from relay.session.events import Cost

if TYPE_CHECKING:
    from relay.peer.guest import Guest


class Hearing:
    """One announce request of the peer's (the model's `Watcher`)."""

    __slots__ = ("host", "initial", "prefix", "request", "told")

    def __init__(self, host: Hearings, request: int, prefix: Path, is_relay: bool) -> None:
        self.host = host
        self.told: dict[Path, Hops] | None = {} if is_relay else None
        """What a relay was told of, and the way to it."""
        self.request = request
        self.prefix = prefix
        self.initial: list[tuple[str, tuple[int, ...], Cost]] | None = []
        """What exists already, until it has been told in one go."""

    def announced(self, path: Path, way: Way) -> None:
        """A broadcast appeared, or the way to it changed."""
        if self.told is not None:
            near = self.host.near
            if self._is_retold(path) or (near is not None and _leads_on(way.hops, near)):
                self.unannounced(path)
                return
            self.told[path] = way.hops
        since = round(way.since * 1e6) if self.host.guest.is_near else 0
        cost = Cost(0 if way.is_warm else way.cost, way.cost, since)
        if self.initial is not None:
            self.initial.append((path, way.hops, cost))
        else:
            self.host.session.announce(self.request, path, way.hops, cost)

    def _is_retold(self, path: Path) -> bool:
        """Whether it is another relay's news, where no chain would say so: it would come back as if
        it were told anew, and be read in circles. What we heard is in our own."""
        if self.host.session.dialect.stamps_hop is not None:
            return False
        own = str(self.host.guest.house.origin.id)
        return path.is_under(NEWS) and path != NEWS.join(own)

    def unannounced(self, path: Path) -> None:
        """A broadcast disappeared."""
        if self.told is not None:
            self.told.pop(path, None)
        if self.initial is None:
            self.host.session.unannounce(self.request, path)

    def known(self) -> Iterable[Path]:
        """See `relay.model.scope.Hearer`."""
        told = self.host.session.announcers.get(self.request)
        return map(self.prefix.join, () if told is None else list(told.active))

    def withhold_transit(self, near: Collection[int]) -> None:
        """Take back what is published elsewhere."""
        for path, hops in tuple((self.told or {}).items()):
            if _leads_on(hops, near):
                self.unannounced(path)

    def tell(self) -> int:
        """Everything that exists has been collected: answer, and say how much it is."""
        initial, self.initial = self.initial or [], None
        self.host.session.answer_announce(self.request, initial)
        return len(initial)


def _leads_on(hops: Hops, near: Collection[int]) -> bool:
    """Whether it leads to another relay than ours, whose other processes are ``near``."""
    return any(hop not in near for hop in hops[1:])


class Hearings:
    """All announce requests of one guest."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.session = guest.session
        self.requested: dict[int, events.AnnounceRequested] = {}
        """Those whose turn to be answered has not come."""
        self.near: Collection[int] | None = None
        """Our other processes, by number, once a relay is told of nothing published elsewhere."""
        self.answered: dict[int, tuple[Hearing, ScopeWatch]] = {}
        """Those that have had their first answer, and hear of changes."""
        self.behind: dict[int, None] = {}
        """Those of them whose turn to be told of changes has not come, the next one first."""
        self.named = 0
        """The number that the peer gave when it asked what there is, if it did."""
        self.hears: dict[type, Callable[[Any], None]] = {
            events.AnnounceRequested: self.announce_requested,
            events.AnnounceCancelled: self.announce_cancelled,
        }

    def leave(self) -> None:
        """The guest is gone, and told nothing more."""
        for _, watch in tuple(self.answered.values()):
            watch.cancel()
        self.guest.house.listings.forget(self)
        for table in (self.answered, self.requested, self.behind):
            table.clear()

    def announce_requested(self, event: events.AnnounceRequested) -> None:
        """The peer wants to hear of broadcasts, and does when its turn has come."""
        self.requested[event.request] = event
        self.guest.house.listings.ask(self, self.guest.clock())

    @property
    def is_relay(self) -> bool:
        """See `relay.peer.listing.Asker`."""
        return self.guest.is_relay

    @property
    def is_asking(self) -> bool:
        """See `relay.peer.listing.Asker`."""
        return bool(self.requested)

    @property
    def untold(self) -> int:
        """See `relay.peer.listing.Asker`."""
        return self.session.count_untold()

    def tell_next(self) -> int:
        """See `relay.peer.listing.Asker`; trouble is this guest's alone, whoever's turn it is."""
        event = self.requested.pop(next(iter(self.requested)))
        return self._guarded(lambda: self._tell(event))

    def changed(self, request: int) -> None:
        """Something is there to be told under a prefix that the peer has asked about."""
        if not self.behind:
            self.guest.house.listings.change(self)
            self.guest.transport.wake()
        self.behind[request] = None

    @property
    def is_behind(self) -> bool:
        """See `relay.peer.listing.Asker`."""
        return bool(self.behind)

    def tell_changes(self, limit: int) -> int:
        """See `relay.peer.listing.Asker`."""
        return self._guarded(lambda: self._catch_up(limit))

    def _catch_up(self, limit: int) -> int:
        """Tell so many changes of one request or of several, and how many that were. Raises
        `LimitExceeded`."""
        told = 0
        while self.behind and told < limit:
            request = next(iter(self.behind))
            del self.behind[request]
            if (entry := self.answered.get(request)) is not None:
                count, has_more = entry[1].catch_up(limit - told)
                told += 1 + count
                if has_more:
                    self.behind[request] = None
        return told

    def _guarded(self, tell: Callable[[], int]) -> int:
        """Tell something at whoever's turn; what goes wrong with it ends this guest only."""
        try:
            return tell()
        except LimitExceeded as error:
            self.guest.close(error)
        except Exception as error:
            self.guest.house.log("internal error", id=self.guest.id, error=repr(error))
            self.guest.close(RelayError("internal error"))
        return 0

    def _tell(self, event: events.AnnounceRequested) -> int:
        """Tell the peer of what exists, and how many that are; it is never told of its own."""
        if (scope := self.guest.scope) is None:
            return 0
        prefix = Path(event.prefix)
        hearing = Hearing(self, event.request, prefix, scope.is_relay)
        self.named = event.exclude or self.named
        wake = partial(self.changed, event.request)
        watch = scope.watch(prefix, hearing, event.exclude or self.guest.hop, wake)
        self.answered[event.request] = (hearing, watch)
        return hearing.tell()

    def withdraw(self) -> None:
        """Tell the peer that all broadcasts are gone."""
        for request in self.requested:
            self.session.answer_announce(request, ())
        self.requested.clear()
        for hearing, watch in tuple(self.answered.values()):
            watch.cancel()
            self.session.unannounce_all(hearing.request)

    def withhold_transit(self, near: Collection[int]) -> None:
        """Tell the peer, if it is a relay, that broadcasts are gone which are published neither
        here nor with our other processes, whose numbers are ``near``."""
        self.near = near
        for hearing, _ in tuple(self.answered.values()):
            hearing.withhold_transit(near)

    def announce_cancelled(self, event: events.AnnounceCancelled) -> None:
        """The peer no longer listens."""
        self.requested.pop(event.request, None)
        self.behind.pop(event.request, None)
        if (entry := self.answered.pop(event.request, None)) is not None:
            entry[1].cancel()
