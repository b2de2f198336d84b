"""What a worker has counted of broadcasts, and who is here: its part of the relay's numbers.

The law: a part is what JSON can say, and numbers of all workers are put together so that each group
that left is counted where it left, and each that came once, however many workers passed it on. This
module must not know who is told, nor in which words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from relay.model.group import Encoding
from relay.model.traffic import Moved, Side, Traffic
from relay.path import Path
from relay.peer.door import Door
from relay.reserve import INTERNAL
from relay.server.colleagues import Colleagues
from relay.wire import frame

MAX_ENTRIES = 10_000
"""Paths of one part, the first in order."""

MAX_LETTERS = 8 << 20
"""Bytes of these paths: JSON may take twice as many, and a group holds that and their numbers."""

Numbers = dict[str, int]


class Entry(NamedTuple):
    """What is counted of one broadcast."""

    came: Numbers
    went: Numbers
    stale: Numbers


class Part(NamedTuple):
    """What one worker knows."""

    entries: dict[str, Entry]
    """By path: the broadcasts that are there, and those that were at the last look."""
    sessions: dict[str, str]
    """Root by session."""

    @classmethod
    def of(cls, said: list[object]) -> Part:
        """As JSON told it."""
        entries, sessions = cls(*said)  # type: ignore[arg-type]
        return cls({path: Entry(*entry) for path, entry in entries.items()}, sessions)


class Census:
    """The counting of one worker. ``prefix`` is where numbers are published: not counted."""

    def __init__(self, door: Door, prefix: Path) -> None:
        self._door = door
        self._prefix = prefix
        self._known: dict[Path, Traffic] = {}

    def look(self, is_watched: bool) -> Part:
        """What is so now; nothing of broadcasts unless anybody watches the numbers."""
        sessions = {
            id: str(guest.grant.root)
            for id, guest in self._door.guests.items()
            if guest.grant is not None and guest.opened
        }
        entries: dict[str, Entry] = {}
        if is_watched:
            here = on_air(self._door, self._prefix)
            known, self._known = self._known | here, here
            named = {str(path): traffic for path, traffic in known.items()}
            entries = {path: entry(named[path]) for path in first(named)}
        else:
            self._known = {}
        return Part(entries, sessions)


def weighed(
    encoding: Encoding, chunks: Sequence[bytes], size: int, marks: list[Any]
) -> tuple[int, int]:
    """Frames and payload of a group (see `relay.model.traffic.Weigh`)."""
    if isinstance(encoding, frame.Encoding):
        return frame.weigh(encoding, chunks, size, marks)
    return 0, size


async def take(own: Census, colleagues: Colleagues, is_watched: bool) -> dict[int, Part]:
    """The parts of all workers that answer, by their numbers."""
    here = {colleagues.share.index: own.look(is_watched)}
    answers = await colleagues.ask_all("census", is_watched)
    return here | {worker: Part.of(said) for worker, said in answers.by_worker.items()}


def first(paths: Iterable[str]) -> list[str]:
    """Those that are told of, in order."""
    kept, size = [], 0
    for path in sorted(paths)[:MAX_ENTRIES]:
        size += len(path.encode())
        if size > MAX_LETTERS:
            break
        kept.append(path)
    return kept


def on_air(door: Door, prefix: Path) -> dict[Path, Traffic]:
    """The broadcasts that are there, without the relay's own below ``prefix``."""
    return {
        each.path: each.traffic
        for each in door.house.origin.on_air()
        if not (each.path.is_under(prefix) or each.path.is_under(INTERNAL))
    }


def entry(traffic: Traffic) -> Entry:
    """The numbers of one broadcast."""
    return Entry(counted(traffic.came), counted(traffic.went), moved(traffic.stale))


def counted(side: Side) -> Numbers:
    """The numbers of one direction."""
    return {
        "broadcasts": side.broadcasts,
        "broadcasts_ended": side.broadcasts_ended,
        "subscriptions": side.subscriptions,
        "subscriptions_ended": side.subscriptions_ended,
        "fetches": side.fetches,
        **moved(side.moved),
    }


def moved(found: Moved) -> Numbers:
    """What moved."""
    return {
        "bytes": found.bytes,
        "frames": found.frames,
        "groups": found.groups,
        "datagrams": found.datagrams,
    }


def together(parts: Iterable[Entry]) -> Entry:
    """One broadcast as several workers count it.

    What came to one of them came to the relay, and the others have it from there; so the most that
    one has is all there is.
    """
    came, went, stale = counted(Side()), Counter(counted(Side())), Counter(moved(Moved()))
    for part in parts:
        came = {name: max(came[name], value) for name, value in part.came.items()}
        went.update(part.went)
        stale.update(part.stale)
    return Entry(came, dict(went), dict(stale))
