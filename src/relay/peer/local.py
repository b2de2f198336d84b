"""Publishing without a connection: a source like a guest's, fed by plain calls.

The command line, the HTTP faces and tests use it. This module must not know why somebody publishes.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from relay.errors import LimitExceeded, NotFound
from relay.model.group import Group
from relay.model.track import Track, TrackInfo
from relay.wire.frame import Layout, encode_frame

LAYOUT = Layout.TIMED

MAX_GROUP = 33_554_432
"""Bytes of one published group, which is kept whole for viewers that come late."""


class LocalGroup:
    """A group being published: encoded frames, kept for viewers that come later."""

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence
        self.chunks: list[bytes] = []
        self.size = 0
        self.first: int | None = None
        """Timestamp of its first frame."""
        self.previous = 0
        self.finished = False


class LocalTrack:
    """A track published from within. ``keep`` groups stay for viewers that join late, the
    sequences begin with ``first``."""

    def __init__(self, info: TrackInfo, clock: Callable[[], float], keep: int, first: int) -> None:
        self.info = info
        self.clock = clock
        self.keep = keep
        self.groups: list[LocalGroup] = []
        self.finished = False
        self.track: Track | None = None
        self._handed = 0
        """The first group that is handed over to whoever watches, and all after it are."""
        self._open: dict[int, Group] = {}
        self._fetched: dict[int, Group] = {}
        """What somebody asked for by number while it was being published."""
        self._next = first

    def append_group(self) -> int:
        """Begin the next group (ending the one before); answers its sequence."""
        self.finish_group()
        self.groups.append(LocalGroup(self._next))
        del self.groups[: -self.keep]
        self._next += 1
        self._feed(self.groups[-1])
        return self._next - 1

    def write_frame(self, payload: bytes, timestamp: int) -> None:
        """One frame into the current group; ``timestamp`` in the track's timescale.

        Raises `LimitExceeded` when the group would grow beyond `MAX_GROUP`.
        """
        group = self.groups[-1]
        chunk = encode_frame(LAYOUT, payload, timestamp, group.previous)
        if group.size + len(chunk) > MAX_GROUP:
            raise LimitExceeded(f"a group of more than {MAX_GROUP} bytes: begin a new one earlier")
        group.size += len(chunk)
        group.first = timestamp if group.first is None else group.first
        group.previous = timestamp
        group.chunks.append(chunk)
        for written in (self._open, self._fetched):
            if (live := written.get(group.sequence)) is not None:
                live.write(chunk, self.clock())

    def finish_group(self) -> None:
        """The current group is complete."""
        if self.groups and not self.groups[-1].finished:
            group = self.groups[-1]
            group.finished = True
            for written in (self._open, self._fetched):
                if (live := written.pop(group.sequence, None)) is not None:
                    live.finish(self.clock())

    def finish(self) -> None:
        """The track is complete."""
        self.finish_group()
        self.finished = True
        if self.track is not None:
            self.track.finish(self.clock())

    def open(self, track: Track) -> None:
        """Somebody watches: hand over what they asked for, then everything that comes."""
        self.track = track
        self._handed = self._next
        track.accept(self.info)
        self.update(track)
        if self.finished:
            track.finish(self.clock())

    def update(self, track: Track) -> None:
        """They ask for something else: hand over what they had not asked for before."""
        start = track.start_at
        if start is None and track.demand is not None:
            start = track.demand.start
        if start is None:
            start = self._next - 1
        handed = self._handed
        self._handed = min(start, handed)
        for group in tuple(self.groups):
            if start <= group.sequence < handed:
                self._feed(group)

    def oldest_fresh(self, floor: int, max_age: int) -> int | None:
        """The oldest group kept, from ``floor`` on, that is younger than ``max_age`` milliseconds,
        at most what the track is kept for; see `relay.peer.reach`. ``None`` where there is none."""
        newest = next((each.previous for each in reversed(self.groups) if each.chunks), 0)
        due = newest - min(max_age, self.info.max_latency) * self.info.timescale // 1000
        found: int | None = None
        reach = due + 1
        for group in reversed(self.groups):
            if group.sequence < floor or (reach <= due and found is not None):
                break
            found = group.sequence
            reach = reach if group.first is None else group.first
        return found

    def fetch(self, track: Track, sequence: int) -> None:
        """Somebody wants one group: it is there if it is kept."""
        group = next((each for each in self.groups if each.sequence == sequence), None)
        if group is None:
            track.fetch_failed(sequence, NotFound(f"group {sequence} is not kept"))
        elif (fetched := track.open_fetched(sequence, LAYOUT, self.clock())) is not None:
            self._fill(group, fetched, self._fetched)

    def cancel_fetch(self, sequence: int) -> None:
        """Nobody wants that group any more."""
        self._fetched.pop(sequence, None)

    def close(self) -> None:
        """Nobody watches."""
        self.track = None
        self._open.clear()

    def _feed(self, group: LocalGroup) -> None:
        if self.track is None:
            return
        live = self.track.open_group(group.sequence, LAYOUT, self.clock())
        if live is not None:
            self._fill(group, live, self._open)

    def _fill(self, group: LocalGroup, live: Group, written: dict[int, Group]) -> None:
        """Write what there is of a group, and have it among the ``written`` until it is complete;
        whoever reads may end that at any time."""
        now = self.clock()
        written[group.sequence] = live
        for chunk in group.chunks:
            live.write(chunk, now)
        if group.finished:
            written.pop(group.sequence, None)
            live.finish(now)


class LocalBroadcast:
    """A broadcast published from within (the model's `FetchSource`)."""

    can_fetch = True

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.hops = (secrets.randbelow(2**53 - 1) + 1,)
        """The chain to announce it with: a publisher of its own, as each session is one. Under the
        number of the relay alone its groups would be taken for those of the broadcast before it,
        in a relay that was started again and counts from the beginning."""
        self.tracks: dict[str, LocalTrack] = {}

    def create_track(
        self, name: str, info: TrackInfo, keep: int = 16, first: int = 0
    ) -> LocalTrack:
        """A track to publish on."""
        track = self.tracks[name] = LocalTrack(info, self.clock, keep, first)
        return track

    def learn(self, track: Track) -> None:
        """Somebody wants to know the track's properties."""
        if (local := self.tracks.get(track.name)) is not None:
            track.accept(local.info)
        else:
            track.fail(NotFound(f"no track {track.name!r}"))

    def open(self, track: Track) -> None:
        """Somebody watches the track."""
        if (local := self.tracks.get(track.name)) is not None:
            local.open(track)
        else:
            track.fail(NotFound(f"no track {track.name!r}"))

    def update(self, track: Track) -> None:
        """The viewers' wishes changed."""
        if (local := self.tracks.get(track.name)) is not None:
            local.update(track)

    def close(self, track: Track) -> None:
        """Nobody watches the track any more."""
        if (local := self.tracks.get(track.name)) is not None:
            local.close()

    def oldest_fresh(self, track: Track, floor: int, max_age: int) -> int | None:
        """As `LocalTrack.oldest_fresh`."""
        local = self.tracks.get(track.name)
        return None if local is None or track.below else local.oldest_fresh(floor, max_age)

    def fetch(self, track: Track, sequence: int, priority: int) -> None:
        """Somebody wants one group of the track."""
        if (local := self.tracks.get(track.name)) is not None:
            local.fetch(track, sequence)
        else:
            track.fetch_failed(sequence, NotFound(f"no track {track.name!r}"))

    def cancel_fetch(self, track: Track, sequence: int) -> None:
        """Nobody wants the group any more."""
        if (local := self.tracks.get(track.name)) is not None:
            local.cancel_fetch(sequence)
