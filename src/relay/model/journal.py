"""What has changed below one prefix, for those who are told of it in their turn.

A change is noted once, however many have to be told; whoever comes to a note is told at once what
has become of that path until then. The law: a note costs what it would if nobody read it, and those
are forgotten that nobody needs: to go by what he knows, a reader has to find the first one at each
path that he has not read. This module must not know what a way is, nor whose turn it is.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Protocol

from relay.path import Path

if TYPE_CHECKING:
    from relay.model.board import Ways

MAX_NOTES = 131_072
"""Notes of one journal that wait to be read. More: whoever has not come to the later half of them
reads no more."""

MAX_KEPT = 524_288
"""Notes of all journals of one board together: a change is noted at every prefix above it that is
listened at. More: of no journal more are kept than if all had the same."""

_FEW = 64
"""Notes that are not worth looking through."""


class Reader(Protocol):
    """Who reads a journal."""

    read: int
    """The last note it has read."""
    ahead: dict[Path, Note]
    """What it knows of paths at which there are notes that it has not come to yet."""
    is_lost: bool
    """Whether it is so far behind that it cannot read on."""

    def wake(self) -> None:
        """There is something to read, after there was nothing. Nothing may change meanwhile."""


class Note:
    """One change."""

    __slots__ = ("before", "broke", "is_latest", "now", "number", "path", "prior")

    def __init__(self, number: int, path: Path, before: Ways, now: Ways) -> None:
        self.number = number
        self.path = path
        self.before = before
        self.now = now
        self.prior = 0
        """The note before it at this path; 0 = none that is not known to everybody."""
        self.broke = 0
        """The last one, up to this, at which the publisher changed; 0 as there."""
        self.is_latest = True


class Room:
    """What all journals of one board keep together."""

    __slots__ = ("journals", "notes")

    def __init__(self) -> None:
        self.notes = 0
        self.journals = 0
        """Those in which there are any."""

    @property
    def is_full(self) -> bool:
        """Whether those that have more than their share have to do with less."""
        return self.notes > MAX_KEPT

    @property
    def share(self) -> int:
        """Notes that one journal may keep."""
        return max(_FEW, MAX_KEPT // self.journals) if self.is_full else MAX_NOTES


class Journal:
    """The notes below one prefix, kept until all its readers have read them."""

    def __init__(self, room: Room | None = None) -> None:
        self._room = room or Room()
        self._notes: list[Note] = []
        self._latest: dict[Path, Note] = {}
        self._last = 0
        self._idle: dict[Reader, None] = {}
        self._behind: dict[Reader, None] = {}
        self._lost: dict[Reader, None] = {}
        self._tidy_at = _FEW

    def __len__(self) -> int:
        return len(self._notes)

    @property
    def is_read(self) -> bool:
        """Whether anybody reads it."""
        return bool(self._idle or self._behind)

    @property
    def is_left(self) -> bool:
        """Whether nobody is here any more, not even such as cannot read on."""
        return not (self.is_read or self._lost)

    def join(self, reader: Reader) -> None:
        """It knows everything up to now, and reads what comes."""
        reader.read = self._last
        self._idle[reader] = None

    def leave(self, reader: Reader) -> None:
        """It reads no more."""
        self._idle.pop(reader, None)
        self._behind.pop(reader, None)
        self._lost.pop(reader, None)
        if not self._behind:
            self._clear()

    def note(self, path: Path, before: Ways, now: Ways, replaced: bool) -> None:
        """Something changed; ``replaced``: the publisher."""
        if not self.is_read:
            return
        self._last += 1
        note = Note(self._last, path, before, now)
        if (old := self._latest.get(path)) is not None:
            old.is_latest = False
            note.prior, note.broke = old.number, old.broke
        if replaced:
            note.broke = note.number
        self._latest[path] = note
        self._room.notes += 1
        self._room.journals += not self._notes
        self._notes.append(note)
        kept = len(self._notes)
        if kept >= self._tidy_at or (self._room.is_full and kept > self._room.share):
            self._tidy()
        idle, self._idle = self._idle, {}
        self._behind.update(idle)
        for reader in idle:
            reader.wake()

    def look_ahead(self, reader: Reader, path: Path) -> bool:
        """It is told what is true at that path, whatever it has not read of it; answers whether
        the publisher is another than by what it has read."""
        latest = self._latest.get(path)
        if latest is None or latest.number <= reader.read:
            return False
        known = reader.ahead.get(path)
        reader.ahead[path] = latest
        return latest.broke > (reader.read if known is None else known.number)

    def next_for(self, reader: Reader, limit: int) -> list[Note]:
        """What it reads next, at most ``limit`` notes."""
        at = bisect_right(self._notes, reader.read, key=lambda note: note.number)
        return self._notes[at : at + limit]

    def open(self, reader: Reader, note: Note) -> tuple[Ways, Ways, bool]:
        """It reads a note: what it knows of the path, what is true, and whether the publisher has
        changed in between. The same twice and False: it knows already."""
        reader.read, latest = note.number, self._latest[note.path]
        known = reader.ahead.pop(note.path, None)
        if latest is not note:
            reader.ahead[note.path] = latest
        if note.number >= self._last:
            self._behind.pop(reader, None)
            self._idle[reader] = None
            reader.ahead.clear()
            if not self._behind:
                self._clear()
        if known is None:
            return note.before, latest.now, latest.broke >= note.number
        return known.now, latest.now, latest.broke > known.number

    def is_behind(self, reader: Reader) -> bool:
        """Whether there is something it has not read."""
        return reader in self._behind

    def _tidy(self) -> None:
        """Forget what is known to everybody who needs to know it."""
        places = sorted({reader.read for reader in self._behind}) or [self._last - 1]
        kept, share = len(self._notes), min(MAX_NOTES, self._room.share)
        if kept > share:
            far = self._notes[-share // 2].number
            for reader in [each for each in self._behind if each.read < far]:
                reader.is_lost = True
                del self._behind[reader]
                self._lost[reader] = None
            places = [place for place in places if place >= far] or [self._last - 1]

        def is_needed(note: Note) -> bool:
            """Whether somebody is told of it, or is to know it when he comes to one before."""
            if note.is_latest:
                return note.number > places[0]
            at = bisect_left(places, note.prior)
            return at < len(places) and places[at] < note.number

        self._notes = [note for note in self._notes if is_needed(note)]
        self._room.notes -= kept - len(self._notes)
        self._latest = {note.path: note for note in self._notes if note.is_latest}
        self._tidy_at = len(self._notes) + max(_FEW, min(len(self._notes), MAX_NOTES // 8))

    def _clear(self) -> None:
        self._room.notes -= len(self._notes)
        self._room.journals -= bool(self._notes)
        self._notes.clear()
        self._latest.clear()
        self._tidy_at = _FEW
