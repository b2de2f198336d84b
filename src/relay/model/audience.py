"""The viewers of one track: who gets which group, once, and what they want together.

A group outside a viewer's range is parked for it by number and handed over when its demand widens.
This module must not know where groups come from or how long they are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from relay.errors import RelayError
from relay.model.demand import Demand, Tally, TrackInfo
from relay.model.group import Group
from relay.model.shelf import Shelf

PARKED_SLACK = 64
"""Parked numbers a viewer may have beyond twice the cached groups before stale ones are dropped."""


class Viewer(Protocol):
    """Who watches a track; hashed by identity. May call the track back from within any call."""

    demand: Demand
    """What it wants; after a change the owner calls `Track.rewatch`."""

    def track_accepted(self, info: TrackInfo) -> None:
        """The properties are known; comes before the first group, once."""

    def group_opened(self, group: Group) -> None:
        """A group of the demanded range, live or cached, from its first byte.

        The same sequence comes again only after the earlier incarnation was aborted.
        """

    def datagram_received(self, sequence: int, timestamp: int, payload: bytes) -> None:
        """A group of one small frame, best effort, never cached."""

    def track_ended(self, error: RelayError | None) -> None:
        """The track is complete (``None``) or cannot be had. The viewer is no longer registered;
        groups handed over before still run to their own end."""


class _Seat:
    """One viewer's range, and what lies outside it."""

    __slots__ = ("demand", "doubts", "floor", "is_open", "parked", "since", "withheld")

    def __init__(
        self, demand: Demand, latest: int | None, since: int | None, is_certain: bool, shelf: Shelf
    ) -> None:
        self.demand = demand
        self.since = since
        # First group to hand over: without an explicit start the latest of the moment. Where that
        # is not known, whatever the source sends is wanted: it knows its latest group, and with the
        # newest sent first that one need not be the first to arrive.
        self.is_open = demand.start is None and latest is None
        self.doubts = self.is_open and not is_certain
        self.floor = demand.start or 0
        if demand.start is None and latest is not None:
            self.floor = latest if since is None else min(latest, since)
        # In range, but perhaps no longer the latest, or never sent by the feed; the others are out
        # of range so far.
        self.withheld: set[int] = set()
        if demand.start is None:
            self.withheld.update(shelf.groups if self.is_open else shelf.fetched)
        self.parked = shelf.groups.keys() - self.withheld

    def takes(self, sequence: int) -> bool:
        end = self.demand.end
        return sequence >= self.floor and (end is None or sequence <= end)

    def know(self, latest: int, now: float, shelf: Shelf, is_mixed: bool) -> None:
        """The latest group is known by now, and so is what else of the cache is wanted; what comes
        after it may be what others want if it ``is_mixed``."""
        known = held = self.withheld - shelf.fetched
        is_cached = latest in held
        begins = is_cached or (is_mixed and not self.demand.max_latency)
        floor = latest if begins else max(held, default=-1) + 1
        if self.since is not None:
            floor = min(floor, self.since)
            if not is_cached:  # they have a successor that nobody knew of, and may be too old now
                due = now - self.demand.max_latency / 1000
                known = held - {n for n in held if n >= floor and not shelf.is_younger(n, due)}
        self.floor = max(self.floor, floor)
        self.doubts, self.is_open = False, self.is_open and not begins
        self.withheld -= known
        self.parked |= known

    def settle(self, groups: Iterable[int]) -> None:
        """Others ask for more than the latest: what has come by now is the beginning."""
        had = set(groups) - self.parked - self.withheld
        if had:
            self.floor = max(self.floor, min(had))
            self.is_open = False

    def reaches(self, sequence: int) -> bool:
        """Whether a group is wanted that the source has, if not as its latest."""
        return not self.doubts or (self.since is not None and sequence >= self.since)

    def begin_anew(self, gone: set[int]) -> None:
        """Those groups are of before, and what has their numbers now is something else."""
        self.withheld -= gone
        self.parked -= gone
        if self.demand.start is None:
            self.floor, self.doubts, self.is_open = 0, True, True

    def change(self, demand: Demand, latest: int | None, is_certain: bool) -> None:
        had, self.demand = self.demand, demand
        if demand.start is not None:
            self.doubts = self.is_open = False
            self.floor = demand.start
            self.parked |= self.withheld
            self.withheld.clear()
        elif had.start is not None and latest is not None:
            self.floor = min(self.floor, latest)
        elif had.start is not None:
            self.since, self.floor = None, 0
            self.is_open, self.doubts = True, not is_certain
            self.withheld |= self.parked
            self.parked.clear()


class Audience:
    """All viewers of one track."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._seats: dict[Viewer, _Seat] = {}
        self._tally = Tally()

    def __len__(self) -> int:
        return len(self._seats)

    def __contains__(self, viewer: Viewer) -> bool:
        return viewer in self._seats

    def total(self, max_latency: int | None, latest: int | None = None) -> Demand | None:
        """What all of them want together; see `Tally.total`."""
        return self._tally.total(max_latency, latest)

    @property
    def names_start(self) -> bool:
        """Whether the source may be asked for more than the latest group and what follows."""
        return self._tally.names_start

    def begins_at(self, viewer: Viewer) -> int:
        """The first group that a viewer may still get, as far as that is known."""
        seat = self._seats.get(viewer)
        return 0 if seat is None else seat.floor

    def join(self, viewer: Viewer, latest: int | None, since: int | None, is_certain: bool) -> None:
        """Seat a viewer, all cached groups parked.

        ``latest`` is where "the latest" starts, or ``since`` where that is before it; unless it
        ``is_certain`` that nothing cached is, that will be known.
        """
        if viewer.demand.start is not None:
            self._settle()
        self._seats[viewer] = _Seat(viewer.demand, latest, since, is_certain, self._shelf)
        self._tally.add(viewer.demand)

    def know(self, latest: int, now: float, is_new: bool) -> None:
        """The latest group is known by now, which may be new and then is still to be offered: hand
        over what else was held back until then."""
        is_mixed = self.names_start
        for viewer, seat in tuple(self._seats.items()):
            if not seat.doubts:
                continue
            if is_new:  # one that was here under its number has left
                seat.withheld.discard(latest)
                seat.parked.discard(latest)
            seat.know(latest, now, self._shelf, is_mixed)
            self.hand_parked(viewer)

    def begin_anew(self, gone: set[int]) -> None:
        """The source counts from the beginning, and those groups have left: what the latest is will
        be known anew."""
        for seat in self._seats.values():
            seat.begin_anew(gone)

    def change(self, viewer: Viewer, latest: int | None, is_certain: bool) -> None:
        """Take over the viewer's new demand and hand over what it now includes; see `join`."""
        seat = self._seats[viewer]
        self._tally.remove(seat.demand)
        seat.change(viewer.demand, latest, is_certain)
        self._tally.add(seat.demand)
        if viewer.demand.start is not None:
            self._settle()
        self.hand_parked(viewer)

    def begin(self, sequence: int) -> None:
        """The first group of all comes, and what others ask for may follow: whoever wants the
        latest alone begins with it."""
        if self.names_start:
            for seat in self._seats.values():
                if seat.is_open and not seat.demand.max_latency:
                    seat.floor, seat.is_open = sequence, False

    def _settle(self) -> None:
        for seat in self._seats.values():
            if seat.is_open and not seat.doubts:
                seat.settle(self._shelf.groups)

    def leave(self, viewer: Viewer) -> bool:
        """Unseat a viewer; False when it has no seat."""
        seat = self._seats.pop(viewer, None)
        if seat is not None:
            self._tally.remove(seat.demand)
        return seat is not None

    def hand_parked(self, viewer: Viewer) -> None:
        """Hand over every parked group in range that is still cached, in sequence order."""
        seat = self._seats.get(viewer)
        if seat is None:
            return
        for sequence in sorted(number for number in seat.parked if seat.takes(number)):
            group = self._shelf.groups.get(sequence)
            if group is not None and self._seats.get(viewer) is seat:
                self._hand(viewer, seat, group)

    def offer(self, group: Group, is_certain: bool) -> None:
        """Hand a new group to everybody whose range it is in, park it for the others. Unless it
        ``is_certain`` what the latest is, it may be what somebody else reaches back for."""
        log = group.native
        holds = not is_certain and self.names_start
        for viewer in tuple(self._seats):
            seat = self._seats.get(viewer)
            if log.error is not None:
                return
            if seat is None:
                continue
            if not seat.takes(group.sequence):
                self._note(seat.parked, group.sequence)
            elif holds and not seat.reaches(group.sequence):
                self._note(seat.withheld, group.sequence)
            else:
                self._hand(viewer, seat, group)

    def confirm(self, group: Group) -> None:
        """The source sent a cached group again: hand it to those it was held back from."""
        for viewer in tuple(self._seats):
            seat = self._seats.get(viewer)
            if seat is None:
                continue
            if group.sequence in seat.withheld and seat.reaches(group.sequence):
                seat.withheld.discard(group.sequence)
                seat.parked.add(group.sequence)
            if group.sequence in seat.parked and seat.takes(group.sequence):
                self._hand(viewer, seat, group)

    def park(self, sequence: int) -> None:
        """A fetch brought a group: it is for those who named a start, once they ask again."""
        for seat in self._seats.values():
            self._note(seat.withheld if seat.demand.start is None else seat.parked, sequence)

    def datagram(self, sequence: int, timestamp: int, payload: bytes) -> None:
        """Pass a datagram to everybody whose range it is in."""
        for viewer in tuple(self._seats):
            seat = self._seats.get(viewer)
            if seat is not None and seat.takes(sequence):
                viewer.datagram_received(sequence, timestamp, payload)

    def accepted(self, info: TrackInfo) -> None:
        """Tell everybody the properties."""
        for viewer in tuple(self._seats):
            if viewer in self._seats:
                viewer.track_accepted(info)

    def dismiss(self, error: RelayError | None) -> None:
        """Unseat everybody and say why."""
        viewers = tuple(self._seats)
        self._seats.clear()
        self._tally = Tally()
        for viewer in viewers:
            viewer.track_ended(error)

    def _hand(self, viewer: Viewer, seat: _Seat, group: Group) -> None:
        seat.parked.discard(group.sequence)
        seat.withheld.discard(group.sequence)  # a copy that a fetch brought may have left
        viewer.group_opened(group)

    def _note(self, numbers: set[int], sequence: int) -> None:
        numbers.add(sequence)
        if len(numbers) > 2 * len(self._shelf.groups) + PARKED_SLACK:
            numbers.intersection_update(self._shelf.groups)
