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
        self,
        demand: Demand,
        latest: int | None,
        since: int | None,
        cached: Iterable[int],
        fetched: Iterable[int],
    ) -> None:
        self.demand = demand
        self.since = since
        # First group to hand over: without an explicit start the latest of the moment. Where that
        # is not known, whatever the source sends is wanted: it knows its latest group, and with the
        # newest sent first that one need not be the first to arrive.
        self.doubts = self.is_open = demand.start is None and latest is None
        self.floor = demand.start or 0
        if demand.start is None and latest is not None:
            self.floor = self._first(latest)
        # In range, but perhaps no longer the latest, or never sent by the feed; the others are out
        # of range so far.
        self.withheld = set(cached if self.doubts else fetched) if demand.start is None else set()
        self.parked = set(cached) - self.withheld

    def takes(self, sequence: int) -> bool:
        end = self.demand.end
        return sequence >= self.floor and (end is None or sequence <= end)

    def know(self, latest: int, fetched: set[int]) -> None:
        """The latest group is known by now. Where it was held back, it need not be, nor what was to
        come with it; what comes with a newer one the source says."""
        self.doubts = False
        held = self.withheld - fetched
        is_cached = latest in held
        self.is_open = not is_cached
        self.floor = self._first(latest if is_cached else max(held, default=-1) + 1)
        known = held if is_cached else {each for each in held if each < self.floor}
        self.withheld -= known
        self.parked |= known

    def settle(self, groups: set[int]) -> None:
        """Others will ask for more than the latest: what has come by now is the beginning."""
        had = groups - self.parked - self.withheld
        if had:
            self.floor = max(self.floor, min(had))
            self.is_open = False

    def reaches(self, sequence: int) -> bool:
        """Whether a cached group is wanted that the source has as well, if not as its latest."""
        return not self.doubts or (self.since is not None and sequence >= self.since)

    def _first(self, latest: int) -> int:
        return latest if self.since is None else min(latest, self.since)

    def change(self, demand: Demand) -> None:
        had, self.demand = self.demand, demand
        if demand.start is None and had.start is not None:
            self.floor = min(self.floor, max(self.parked, default=0))  # the latest, from now on
        elif demand.start is not None:
            self.doubts = self.is_open = False
            self.floor = demand.start
            self.parked |= self.withheld
            self.withheld.clear()


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

    def join(self, viewer: Viewer, latest: int | None, since: int | None = None) -> None:
        """Seat a viewer, all cached groups parked; ``latest`` is where "the latest" starts, as soon
        as that is known, or ``since`` where that is before it."""
        shelf = self._shelf
        if viewer.demand.start is not None:
            self._settle()
        self._seats[viewer] = _Seat(viewer.demand, latest, since, shelf.groups, shelf.fetched)
        self._tally.add(viewer.demand)

    def know(self, latest: int) -> None:
        """The latest group is known by now: hand over what was held back until then."""
        for viewer, seat in tuple(self._seats.items()):
            if seat.doubts:
                seat.know(latest, self._shelf.fetched)
                self.hand_parked(viewer)

    def change(self, viewer: Viewer) -> None:
        """Take over the viewer's new demand and hand over what it now includes."""
        seat = self._seats[viewer]
        self._tally.remove(seat.demand)
        seat.change(viewer.demand)
        if viewer.demand.start is not None:
            self._settle()
        self._tally.add(seat.demand)
        self.hand_parked(viewer)

    def _settle(self) -> None:
        for seat in self._seats.values():
            if seat.is_open and not seat.doubts:
                seat.settle(set(self._shelf.groups))

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

    def offer(self, group: Group) -> None:
        """Hand a new group to everybody whose range it is in, park it for the others."""
        log = group.native
        for viewer in tuple(self._seats):
            seat = self._seats.get(viewer)
            if log.error is not None:
                return
            if seat is None:
                continue
            if seat.takes(group.sequence):
                self._hand(viewer, seat, group)
            else:
                self._note(seat.parked, group.sequence)

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
        viewer.group_opened(group)

    def _note(self, numbers: set[int], sequence: int) -> None:
        numbers.add(sequence)
        if len(numbers) > 2 * len(self._shelf.groups) + PARKED_SLACK:
            numbers.intersection_update(self._shelf.groups)
