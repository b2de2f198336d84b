"""What relays tell each other beside broadcasts: who is revoked.

Each relay publishes all it knows, its own and what it heard, as a track below ``.internal/relays``,
and reads the tracks of all others: so nothing depends on who was reachable when it happened. A
group begins with everything and goes on with what is new. This module must not know who acts on the
news, nor where it is kept.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from relay.auth.revocation import Key, Revocation, key_of
from relay.errors import BadRequest, LimitExceeded, RelayError
from relay.model.board import Way
from relay.model.demand import Demand, TrackInfo
from relay.model.origin import Origin
from relay.path import Path
from relay.peer.local import LocalBroadcast
from relay.peer.reading import Collector, ReadFrame
from relay.reserve import NEWS

REVOCATIONS = "revocations"
"""The track of who is revoked."""

LINES = 512
"""Additions to one group; then a new one begins with everything."""

PAGE = 48
"""Entries of one frame, which stays below `MAX_FRAME` however they are written."""

MAX_FRAME = 1 << 20
"""Bytes of one frame of news; longer ones are not read."""

MAX_READERS = 1024
"""Relays whose news are read at a time."""

RETRY = 0.2
"""Seconds until the news of a relay are asked for again after they broke off."""

KEEP_WITHDRAWN = 86_400.0
"""Seconds for which a withdrawal is told, so that nobody brings back what it took away."""

AFTER = 0.001
"""Seconds by which what is revoked anew is later than the withdrawal before it, at least."""

MAX_MADE = 64
"""Times of one revocation that are remembered; the earliest are forgotten first."""

URGENT = Demand(priority=255, max_latency=60_000)


class Register:
    """The revocations and withdrawals that this relay knows. ``now`` is unix seconds."""

    def __init__(self) -> None:
        self.entries: dict[Key, Revocation] = {}
        self.withdrawn: dict[Key, float] = {}
        """When each was taken back."""
        self._made: dict[Key, set[float]] = {}
        """When each was made, however often, as far as that was heard of."""

    def anew(self, entry: Revocation) -> Revocation:
        """The entry as it has to be told: later than the withdrawal before it, also when that was
        by a clock that was ahead, unless it is an echo of what was taken back."""
        key = key_of(entry)
        at = self.withdrawn.get(key)
        if at is None or entry.created > at or entry.created in self._made.get(key, ()):
            return entry
        self._note(key, entry.created)
        return replace(entry, created=at + AFTER)

    def add(self, entry: Revocation) -> bool:
        """Note a revocation; False when nothing is new."""
        key = key_of(entry)
        self._note(key, entry.created)
        if self.withdrawn.get(key, float("-inf")) >= entry.created:
            return False
        known = self.entries.get(key)
        if known is not None and known.created >= entry.created:
            return False
        self.entries[key] = entry
        return True

    def _note(self, key: Key, made: float) -> None:
        times = self._made.setdefault(key, set())
        times.add(made)
        if len(times) > MAX_MADE:
            times.remove(min(times))

    def withdraw(self, key: Key, at: float) -> bool:
        """Note that one was taken back; False when nothing is new."""
        if self.withdrawn.get(key, float("-inf")) >= at:
            return False
        self.withdrawn[key] = at
        entry = self.entries.get(key)
        if entry is not None and entry.created <= at:
            del self.entries[key]
        return True

    def forget(self, now: float) -> None:
        """Forget what has ended."""
        for key, entry in tuple(self.entries.items()):
            if not entry.is_active(now):
                del self.entries[key]
        for key, at in tuple(self.withdrawn.items()):
            if now - at > KEEP_WITHDRAWN:
                del self.withdrawn[key]
        for key in self._made.keys() - self.entries.keys() - self.withdrawn.keys():
            del self._made[key]


def dump(entries: Iterable[Revocation], withdrawn: Iterable[tuple[Key, float]] = ()) -> bytes:
    """One frame of news."""
    lines = [
        {
            "dimension": entry.dimension,
            "value": entry.value,
            "issued_before": entry.issued_before,
            "expires": entry.expires,
            "reason": entry.reason,
            "created": entry.created,
        }
        for entry in entries
    ]
    gone = [[*key, at] for key, at in withdrawn]
    return json.dumps({"revoked": lines, "withdrawn": gone}, separators=(",", ":")).encode()


def load(frame: bytes) -> tuple[list[Revocation], list[tuple[Key, float]]]:
    """The news of a frame. Raises `BadRequest` for anything that is none."""
    try:
        said = json.loads(frame)
        revoked = [_entry(line) for line in said["revoked"]]
        withdrawn = [(_key(line[:4]), _time(line[4])) for line in said["withdrawn"]]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError, OverflowError) as error:
        raise BadRequest(f"news that make no sense: {type(error).__name__}") from None
    for entry in (*revoked, *(Revocation(*key) for key, _ in withdrawn)):
        entry.require_sense()
    return revoked, withdrawn


def _is_same(one: Revocation, other: Revocation) -> bool:
    """Whether both are the same act, whenever they end."""
    return (one.created, *key_of(one)[:3]) == (other.created, *key_of(other)[:3])


def _pages(entries: list[Revocation], withdrawn: list[tuple[Key, float]]) -> int:
    """Frames that so many entries take."""
    return max(1, math.ceil(max(len(entries), len(withdrawn)) / PAGE))


def _number(value: Any) -> float | None:
    if value is None:
        return None
    return _time(value)


def _time(value: Any) -> float:
    """A time that can be compared: what is none, or without end, would hold for ever."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("no number")
    return float(value)


def _text(value: Any) -> str:
    """A text that can be kept: JSON has half surrogate pairs as well, which nobody can write."""
    if not isinstance(value, str):
        raise ValueError("no text")
    value.encode()
    return value


def _key(line: Any) -> Key:
    dimension, value, issued_before, expires = line
    return _text(dimension), _text(value), _number(issued_before), _number(expires)


def _entry(line: Any) -> Revocation:
    return Revocation(
        *_key([line[name] for name in ("dimension", "value", "issued_before", "expires")]),
        reason=_text(line["reason"]),
        created=_number(line["created"]) or 0.0,
    )


class News:
    """This relay's news, and those of the others.

    ``learn`` is called with each revocation that others told and we did not know, or that is of
    another time than we knew, ``unlearn`` with what they took back.
    """

    def __init__(
        self,
        origin: Origin,
        clock: Callable[[], float],
        wall: Callable[[], float],
        log: Callable[..., None],
        learn: Callable[[Revocation], None],
        unlearn: Callable[[Key, float], None],
    ) -> None:
        self.register = Register()
        self._origin = origin
        self._clock = clock
        self._wall = wall
        self._log = log
        self._learn = learn
        self._unlearn = unlearn
        self._broadcast = LocalBroadcast(clock)
        self._track = self._broadcast.create_track(REVOCATIONS, TrackInfo(priority=255), keep=1)
        self._lines = LINES
        self._readers: dict[Path, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None

    # -- ours ----------------------------------------------------------------------------------

    async def run(self, known: Iterable[Revocation]) -> None:
        """Publish what is known and read what others know, for ever."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for entry in known:
                self.register.add(entry)
            self._tell_all()
            own = NEWS.join(str(self._origin.id))
            self._origin.announce(own, self._broadcast, self._broadcast.hops, self._clock())
            watch = self._origin.watch(NEWS, self)
            try:
                await asyncio.Event().wait()
            finally:
                watch.cancel()  # nobody reads who may still come

    def revoked(self, entry: Revocation) -> None:
        """A revocation came into force here."""
        later = self.register.anew(entry)
        if self.register.add(later):
            self._tell([later], [])
        if later is not entry:
            self._learn(later)  # kept as it was told, or nobody could take it back

    def withdrawn(self, entry: Revocation, at: float) -> None:
        """A revocation was taken back here; the records may have given it another end since.

        Silent when that is known, or when the same was revoked again since: otherwise each relay
        that follows would withdraw anew, at a later time. A clock may have been turned back
        between a revocation and its end, which comes after it all the same.
        """
        at = max(at, entry.created)
        meant = [key for key, known in self.register.entries.items() if _is_same(known, entry)]
        gone = [(key, at) for key in meant if self.register.withdraw(key, at)]
        if gone:
            self._tell([], gone)

    def _tell(self, entries: list[Revocation], withdrawn: list[tuple[Key, float]]) -> None:
        self._lines += _pages(entries, withdrawn)
        if self._lines > LINES:
            self._tell_all()
        else:
            self._write_pages(entries, withdrawn)

    def _tell_all(self) -> None:
        self.register.forget(self._wall())
        self._lines = 0
        self._track.append_group()
        known = self.register
        self._write_pages(list(known.entries.values()), list(known.withdrawn.items()))

    def _write_pages(self, entries: list[Revocation], withdrawn: list[tuple[Key, float]]) -> None:
        at = round(self._wall() * 1000)
        for number in range(_pages(entries, withdrawn)):
            page = slice(number * PAGE, (number + 1) * PAGE)
            frame = dump(entries[page], withdrawn[page])
            try:
                self._track.write_frame(frame, at)
            except LimitExceeded:  # who comes later hears only what the next group has
                self._log("warning", detail="more revocations than others can be told at once")
                self._track.append_group()
                self._track.write_frame(frame, at)

    # -- theirs (the model's `Watcher`) ----------------------------------------------------------

    def announced(self, path: Path, way: Way) -> None:
        """A relay publishes news."""
        is_ours = path == NEWS.join(str(self._origin.id))
        if is_ours or path in self._readers or self._tasks is None:
            return
        if len(self._readers) < MAX_READERS:
            self._readers[path] = self._tasks.create_task(self._read(path))

    def unannounced(self, path: Path) -> None:
        """A relay is gone."""
        if (reader := self._readers.pop(path, None)) is not None:
            reader.cancel()

    async def _read(self, path: Path) -> None:
        """Read a relay's news until it is gone."""
        while True:
            try:
                if (broadcast := self._origin.find(path)) is not None:
                    track = broadcast.track(REVOCATIONS)
                    reading = Collector(track, URGENT, self._clock)
                    async for item in reading.frames():
                        if isinstance(item, ReadFrame):
                            self._heard(path, item.payload)
            except RelayError:
                pass  # it broke off: asked for again, and told from the beginning
            await asyncio.sleep(RETRY)

    def _heard(self, path: Path, frame: bytes) -> None:
        try:
            if len(frame) > MAX_FRAME:
                raise BadRequest(f"a frame of news of more than {MAX_FRAME} bytes")
            revoked, withdrawn = load(frame)
        except BadRequest as error:
            self._log("warning", detail=f"news of {path} not understood: {error}")
            return
        fresh = [entry for entry in revoked if self.register.add(entry)]
        gone = [(key, at) for key, at in withdrawn if self.register.withdraw(key, at)]
        now = self._wall()
        for entry in fresh:
            if entry.is_active(now):
                self._learn(entry)
        for key, at in gone:
            self._unlearn(key, at)
        if fresh or gone:
            self._tell(fresh, gone)
