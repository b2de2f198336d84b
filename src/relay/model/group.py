"""One group: bytes that arrive once and leave to everybody who reads along.

A chunk is stored as it came and told to each reader by one plain call; nothing is allocated per
reader, and another layout is derived once, not per reader, of a group that is there already in
steps. This module must not know what the bytes mean, who reads them, or where readers got to.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from relay.errors import Expired, Lagged, RelayError

if TYPE_CHECKING:
    from relay.model.cache import Cache, Share
    from relay.model.demand import TrackInfo
    from relay.model.track import Track

Encoding = Hashable
"""How the bytes inside a group are laid out; opaque here, only compared."""

Transcode = Callable[[Encoding, Encoding, "TrackInfo"], Callable[[bytes, float], bytes]]
"""``(layout it has, layout wanted, track) -> feed``; ``feed(chunk, written_at)`` answers the bytes
that are complete by now (maybe none) and raises `RelayError` on bytes it cannot understand."""

MAX_CHUNKS = 1 << 19
"""Chunks of one group; the write past it aborts the group with `Lagged` (a chunk costs memory of
its own, however short it is)."""

GROUP_COST = 1024
"""Bytes the cache budget is charged for a group, besides what was written into it."""

CHUNK_COST = 64
"""Bytes the cache budget is charged for a chunk, besides its length."""


STEP = 4096
"""Bytes that are written in another layout at a time, of a group that is there: thousands of the
smallest frames, of which a group has millions."""


class Reader(Protocol):
    """Who reads one `Log`; hashed by identity, keeps its own cursor into ``log.chunks``.

    A reader may detach, or end the group, from within any of these calls; it must not raise.
    """

    def written(self, size: int) -> None:
        """One chunk of ``size`` bytes was appended."""

    def ended(self) -> None:
        """Nothing will follow: complete, or aborted when ``log.error`` is set."""

    def evicted(self) -> None:
        """The complete group left the cache: unsent bytes now live at the reader's expense."""


class Log:
    """The bytes of one group in one encoding, in arrival order."""

    __slots__ = (
        "_audience",
        "_readers",
        "chunks",
        "ended",
        "error",
        "finished",
        "marks",
        "size",
        "weight",
    )

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        """All bytes so far, cut anywhere. Readers must not change it."""
        self.size = 0
        """Bytes in ``chunks``."""
        self.finished = False
        """Complete: nothing will follow."""
        self.error: RelayError | None = None
        """Why the log broke off, if it did."""
        self.ended = False
        """Whether nothing will follow, complete or not."""
        self.weight: tuple[int, int, int] | None = None
        """What it was last weighed at: bytes, frames, payload (see `Traffic.weigh`)."""
        self.marks: list[Any] | None = None
        """From where whoever weighs it may go on."""
        self._readers: dict[Reader, None] = {}
        # The tuple that writes walk over. Built again only after somebody came or left, so that a
        # steady audience costs no allocation and may change while it is being told.
        self._audience: tuple[Reader, ...] | None = ()

    def attach(self, reader: Reader) -> None:
        """Tell ``reader`` what happens from now on.

        Nothing is called for what is there already: look at ``chunks``, ``finished`` and ``error``
        after attaching. A complete log still tells of its eviction; an aborted one tells nothing.
        """
        if self.error is None:
            self._readers[reader] = None
            self._audience = None

    def detach(self, reader: Reader) -> None:
        """Tell ``reader`` nothing any more; harmless when it was not attached."""
        if self._readers.pop(reader, self) is None:
            self._audience = None

    @property
    def is_read(self) -> bool:
        """Whether anybody is attached."""
        return bool(self._readers)

    def append(self, chunk: bytes) -> None:
        """Add a chunk and tell every reader. For `Group` only."""
        self.chunks.append(chunk)
        size = len(chunk)
        self.size += size
        readers = self._audience if self._audience is not None else self._snapshot()
        for reader in readers:
            if self._audience is readers or reader in self._readers:
                reader.written(size)

    def end(self, error: RelayError | None) -> None:
        """Complete it (``None``) or break it off, once. For `Group` only."""
        if self.ended:
            return
        readers = self._snapshot()
        self.ended = True
        if error is None:
            self.finished = True
        else:
            self.error = error
            self._clear()
        for reader in readers:
            if error is not None or self._audience is readers or reader in self._readers:
                reader.ended()

    def evict(self) -> None:
        """Say that the cache let go of these bytes. For `Group` only."""
        readers = self._snapshot()
        self._clear()
        for reader in readers:
            reader.evicted()

    def _snapshot(self) -> tuple[Reader, ...]:
        readers = self._audience
        if readers is None:
            readers = self._audience = tuple(self._readers)
        return readers

    def _clear(self) -> None:
        self._readers.clear()
        self._audience = ()


class _Derived:
    """A log kept up to date in another encoding."""

    __slots__ = ("feed", "is_behind", "is_let_go", "log")

    def __init__(self, feed: Callable[[bytes, float], bytes]) -> None:
        self.feed = feed
        self.log = Log()
        self.is_behind = True
        """Whether there is more in the native log; until there is not, that is all that is read."""
        self.is_let_go = False
        """Whether the group has left the cache meanwhile."""

    def write(self, chunk: bytes, now: float) -> int:
        """Follow the native log by one chunk; answers the bytes charged to the cache."""
        if self.log.ended:
            return 0
        try:
            translated = self.feed(chunk, now)
        except RelayError as error:
            self.log.end(error)
            return 0
        if not translated:
            return 0
        self.log.append(translated)
        return len(translated) + CHUNK_COST


class Group:
    """One group of a track. Created by the track; written by the source; read through logs."""

    __slots__ = (
        "_derived",
        "_limit",
        "_times",
        "cache",
        "charge",
        "encoding",
        "native",
        "opened_at",
        "sequence",
        "share",
        "touched_at",
        "track",
    )

    def __init__(
        self, track: Track, sequence: int, encoding: Encoding, limit: int, now: float
    ) -> None:
        self.track = track
        self.sequence = sequence
        self.encoding = encoding
        """The layout it is written in."""
        self.opened_at = now
        self.touched_at = now
        """Monotonic seconds of the last write, or of the opening or the completion."""
        self.cache: Cache | None = None
        """Who counts its bytes; ``None`` once it has left the cache."""
        self.share: Share | None = None
        """The same for its tenant."""
        self.charge = 0
        """Bytes counted there, derived encodings and bookkeeping included."""
        self._limit = limit
        self.native = Log()
        """The bytes as they were written."""
        self._times: list[float] = []
        self._derived: dict[Encoding, _Derived] = {}

    @property
    def size(self) -> int:
        """Bytes written so far, in the native encoding."""
        return self.native.size

    @property
    def chunks(self) -> list[bytes]:
        """All bytes so far as they were written, cut anywhere; read only."""
        return self.native.chunks

    @property
    def ended(self) -> bool:
        """Whether nothing will follow, complete or not."""
        return self.native.ended

    @property
    def error(self) -> RelayError | None:
        """Why it broke off, if it did."""
        return self.native.error

    @property
    def is_read(self) -> bool:
        """Whether anybody reads it, in any encoding."""
        return self.native.is_read or any(each.log.is_read for each in self._derived.values())

    def fill(self, data: bytes) -> None:
        """All of it is at hand, before anybody holds or reads it."""
        native = self.native
        native.chunks.append(data)
        native.size = len(data)
        native.ended = native.finished = True
        self._times.append(self.touched_at)

    def write(self, chunk: bytes, now: float) -> bool:
        """Append bytes cut anywhere; False (and nothing else) once the group has ended.

        Past `CacheSettings.max_group_bytes` or `MAX_CHUNKS` the group is aborted with `Lagged`.
        """
        native = self.native
        if native.ended:
            return False
        if not chunk:
            return True
        if native.size + len(chunk) > self._limit or len(native.chunks) >= MAX_CHUNKS:
            self.abort(Lagged(f"group {self.sequence} is over max_group_bytes ({self._limit})"))
            return False
        self.touched_at = now
        self._times.append(now)
        # Taken before anybody is told: a layout first asked for meanwhile has this chunk already.
        derived = self._derived
        others = [each for each in derived.values() if not each.is_behind] if derived else ()
        native.append(chunk)
        charge = len(chunk) + CHUNK_COST
        for each in others:
            charge += each.write(chunk, now)
        if self.cache is not None:
            self.cache.add(self, charge)
        return native.error is None

    def finish(self, now: float) -> None:
        """The group is complete. Harmless when it has ended already."""
        if not self.native.ended:
            self.touched_at = now
            self._end(None)

    def abort(self, error: RelayError) -> None:
        """The group breaks off; it leaves the cache at once. Harmless when it has ended already."""
        if not self.native.ended:
            self._end(error)

    def evict(self, error: RelayError | None = None) -> None:
        """Leave the cache: abort if unfinished (default `Expired`), else tell the readers."""
        if not self.native.ended:
            self.abort(error or Expired(f"group {self.sequence} is too old"))
        elif self.cache is not None:
            self.track.shelf.remove(self)
            self.native.evict()
            for derived in tuple(self._derived.values()):
                if derived.is_behind:
                    derived.is_let_go = True
                else:
                    derived.log.evict()

    def log(self, encoding: Encoding, transcode: Transcode) -> Log:
        """The bytes in ``encoding``, from the first one, kept up to date; of those that are there
        already some may come a little later (`Errands`).

        ``transcode`` is asked once per group and encoding. What it cannot understand ends the
        derived log with that error and nothing else.
        """
        if encoding == self.encoding:
            return self.native
        derived = self._derived.get(encoding)
        if derived is None:
            derived = self._derive(encoding, transcode)
        return derived.log

    def _derive(self, encoding: Encoding, transcode: Transcode) -> _Derived:
        derived = _Derived(transcode(self.encoding, encoding, self.track.properties))
        self._derived[encoding] = derived
        self.track.broadcast.stock.errands.do(self._catch_up(derived))
        return derived

    def _catch_up(self, derived: _Derived) -> Iterator[None]:
        """Read what is there, and what comes meanwhile."""
        log, chunks = derived.log, self.native.chunks
        for at in count():
            if at == len(chunks):
                break
            chunk, when = chunks[at], self._times[at]
            for start in range(0, len(chunk), STEP):
                if log.ended:
                    return
                charge = derived.write(chunk[start : start + STEP], when)
                if self.cache is not None:
                    self.cache.add(self, charge)
                yield
        derived.is_behind = False
        if self.native.ended:
            log.end(self.native.error)
        if derived.is_let_go:
            log.evict()

    def _end(self, error: RelayError | None) -> None:
        # Books first: a reader that is told may ask the track for what is there now.
        self.track.group_ended(self, error)
        derived = tuple(self._derived.values())
        self.native.end(error)
        for each in derived:
            if error is not None or not each.is_behind:
                each.log.end(error)
