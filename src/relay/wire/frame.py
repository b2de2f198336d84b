"""Group payloads: frames in any layout, in whatever pieces they arrive.

Payload bytes are never copied into a frame unless a whole frame is asked for (`FrameParser`);
scanning and transcoding only look at the headers. Timestamps are counted in the track's own units
and start from 0 with every group. This module must not know groups, tracks or versions.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from enum import Enum
from operator import attrgetter
from typing import NamedTuple

from relay.errors import DecodeError
from relay.wire.buffer import MASKS, MAX_VARINT, Reader, encode_varint, scan_varint

MAX_STAMP = (1 << 61) - 1
"""Largest timestamp that is given to a frame: the largest first delta (moq-lite-05, "FRAME")."""

MAX_HEADER = 16
"""Bytes of a frame before its payload, at most."""

NO_PROPERTIES = b"\x00"
"""What stands before a payload where a layout has properties, and the frame none."""

MAX_WEIGHED = 1 << 18
"""Frames of one group that are counted. The smallest have two bytes, and counting them takes a
third of a microsecond each."""

MARKED = 1024
"""Frames after which counting may go on: a group is counted again and again while it grows."""


class Layout(Enum):
    """How frames are written within a group (moq-lite, "FRAME")."""

    TIMED = "timed", True, False
    """Zigzag difference to the timestamp before | size | payload."""
    UNTIMED = "untimed", False, False
    """Size | payload."""
    TIMED_OBJECTS = "timed objects", True, True
    """As `TIMED`, of what other protocols have beside a payload: before each stand its properties,
    as bytes behind their number. The size is that of both. Of no version of moq-lite."""
    UNTIMED_OBJECTS = "untimed objects", False, True
    """The same as `UNTIMED`."""

    is_timed: bool
    has_properties: bool

    def __new__(cls, label: str, is_timed: bool, has_properties: bool) -> Layout:
        layout = object.__new__(cls)
        layout._value_ = label
        layout.is_timed, layout.has_properties = is_timed, has_properties
        return layout


class Counted(NamedTuple):
    """The same as a timed layout, with timestamps that count other units than the track's."""

    timescale: int
    """Units per second."""
    has_properties: bool = False

    @property
    def is_timed(self) -> bool:
        """It has timestamps."""
        return True

    def told(self, timestamp: int, timescale: int) -> int:
        """The same time in units of which there are ``timescale`` a second."""
        return min(timestamp * timescale // self.timescale, MAX_STAMP)


Encoding = Layout | Counted
"""How a group may have come."""


class Frame(NamedTuple):
    """One whole frame."""

    timestamp: int | None
    """In units of the track; ``None`` where the layout has none."""
    payload: bytes


class Datagram(NamedTuple):
    """A group of a single frame (moq-lite-05, "Datagrams")."""

    subscription: int
    sequence: int
    timestamp: int
    """Absolute, in units of the track."""
    payload: bytes


class _Span(NamedTuple):
    """A stretch of one frame's payload within the chunk at hand."""

    opens: bool
    """The frame's header ends right before it."""
    size: int
    """Of the whole payload, in bytes; only where it opens."""
    start: int
    stop: int
    closes: bool
    """The payload is complete with it."""


class _Cutter:
    """Finds the frames of a group that arrives in chunks. Useless after a `DecodeError`."""

    __slots__ = ("_head", "_max_frame", "_timed", "left", "timestamp")

    def __init__(self, layout: Encoding, max_frame: int) -> None:
        self._timed = layout.is_timed
        self._max_frame = max_frame
        self._head = b""
        self.left = 0
        """Payload bytes that the current frame still lacks."""
        self.timestamp = 0
        """Of the frame opened last."""

    @property
    def in_header(self) -> bool:
        """Whether the chunk before ended within a header."""
        return bool(self._head)

    @property
    def complete(self) -> bool:
        """Whether no frame is cut off here."""
        return not self.left and not self._head

    def cut(self, data: bytes) -> Iterator[_Span]:
        """The spans of the next chunk, to be taken one by one. Raises `DecodeError`."""
        pos, total = 0, len(data)
        if self.left and total:
            pos = min(self.left, total)
            self.left -= pos
            yield _Span(False, 0, 0, pos, not self.left)
        while pos < total:
            head = self._head + data[pos : pos + MAX_HEADER]
            found = self._header(head)
            if found is None:
                # Shorter than a header can be, so this was all that is left of the chunk.
                self._head = head
                return
            size, width = found
            start = pos + width - len(self._head)
            self._head = b""
            pos = min(start + size, total)
            self.left = size - (pos - start)
            yield _Span(True, size, start, pos, not self.left)

    def _header(self, head: bytes) -> tuple[int, int] | None:
        """Payload size and width of the header at the front, ``None`` while it is incomplete."""
        at, end, zigzag, size = 0, len(head), 0, 0
        for _ in range(1 + self._timed):  # as `scan_varint`, without a call for each
            if at == end:
                return None
            kind = head[at] >> 6
            stop = at + (1 << kind)
            if stop > end:
                return None
            zigzag, size = size, int.from_bytes(head[at:stop], "big") & MASKS[kind]
            at = stop
        timestamp = self.timestamp + ((zigzag >> 1) ^ -(zigzag & 1))
        if size > self._max_frame:
            raise DecodeError(f"a frame of {size} bytes (at most {self._max_frame})")
        if not 0 <= timestamp <= MAX_VARINT:
            raise DecodeError(f"a frame with timestamp {timestamp}")
        self.timestamp = timestamp
        return size, at


class FrameScanner(_Cutter):
    """Checks a group as it passes by and keeps nothing of it but counts."""

    __slots__ = ("frames",)

    def __init__(self, layout: Layout, max_frame: int) -> None:
        super().__init__(layout, max_frame)
        self.frames = 0
        """Complete frames so far."""

    def feed(self, data: bytes) -> None:
        """Check the next chunk.

        Raises `DecodeError` for a frame above ``max_frame`` bytes or a timestamp out of range; the
        scanner is useless after that.
        """
        pos, total = self.left, len(data)
        if total < pos:
            self.left = pos - total
            return
        self.left = 0
        self.frames += pos > 0
        while pos < total:  # as `cut`, without its spans
            head = self._head + data[pos : pos + MAX_HEADER]
            found = self._header(head)
            if found is None:
                self._head = head
                return
            pos += found[0] + found[1] - len(self._head)
            self._head = b""
            if pos > total:
                self.left = pos - total
            else:
                self.frames += 1


def are_whole(layout: Layout, data: bytes, max_frame: int) -> bool:
    """Whether bytes are whole frames, one at least, that `FrameScanner` finds nothing wrong with.

    The same as feeding it all of them, without a scanner: most such groups are one small frame.
    """
    pos, timestamp, is_timed = 0, 0, layout.is_timed
    total = len(data)
    if not total:
        return False
    while pos < total:
        if is_timed:
            found = scan_varint(data, pos)
            if found is None:
                return False
            zigzag, pos = found
            timestamp += (zigzag >> 1) ^ -(zigzag & 1)
        found = scan_varint(data, pos)
        if found is None or found[0] > max_frame or not 0 <= timestamp <= MAX_VARINT:
            return False
        pos = found[1] + found[0]
    return pos == total


class Transcoder:
    """Rewrites the headers of a group for another layout; payloads pass as they come.

    Timestamps that count other units become such of ``timescale`` a second. Frames that never had
    a time get that of their arrival, never smaller than the one before. Properties are left out
    where the layout has none; there are none of frames that never had any. Frame sizes are not
    limited here (`FrameScanner` does that).
    """

    __slots__ = (
        "_born",
        "_cutter",
        "_front",
        "_passive",
        "_previous",
        "_size",
        "_source",
        "_target",
        "_timescale",
    )

    def __init__(self, source: Encoding, target: Layout, timescale: int) -> None:
        self._cutter = _Cutter(source, MAX_VARINT)
        self._source = source
        self._target = target
        self._passive = source is target
        self._timescale = timescale
        self._previous = 0
        self._born = 0.0
        self._size = 0
        self._front: bytes | None = None
        """What has come of the properties of the frame at hand, while they are left out."""

    def feed(self, data: bytes, at: float) -> bytes:
        """The next chunk in the target layout; ``at`` is its arrival in seconds.

        Raises `DecodeError`; the transcoder is useless after that.
        """
        if self._passive:
            return data
        born = self._born if self._cutter.in_header or self._front is not None else at
        leaves_out = self._source.has_properties and not self._target.has_properties
        has_none = self._target.has_properties and not self._source.has_properties
        pieces: list[bytes] = []
        for span in self._cutter.cut(data):
            if span.opens:
                if leaves_out:
                    self._front, self._size = b"", span.size
                elif has_none:
                    pieces += self._header(span.size + 1, born), NO_PROPERTIES
                else:
                    pieces.append(self._header(span.size, born))
            piece = data[span.start : span.stop]
            if self._front is not None:
                found = self._past_front(self._front + piece, span.closes)
                if found is None:
                    continue
                pieces.append(self._header(self._size - found[0], born))
                piece = found[1]
            born = at
            pieces.append(piece)
        self._born = born
        return b"".join(pieces)

    def _past_front(self, data: bytes, is_all: bool) -> tuple[int, bytes] | None:
        """How many bytes the properties take that a frame begins with, and what follows them;
        ``None`` while they are incomplete."""
        stop = front_size(data)
        if stop is not None and stop <= len(data):
            self._front = None
            return stop, data[stop:]
        if is_all:
            raise DecodeError("properties of an object that are longer than it is")
        self._front = data
        return None

    def _header(self, size: int, born: float) -> bytes:
        if not self._target.is_timed:
            return encode_varint(size)
        if isinstance(self._source, Counted):
            stamp = self._source.told(self._cutter.timestamp, self._timescale)
        elif self._source.is_timed:
            stamp = self._cutter.timestamp
        else:
            stamp = min(max(self._previous, int(born * self._timescale)), MAX_STAMP)
        header = encode_timed(stamp - self._previous, size)
        self._previous = stamp
        return header


class Excerpt:
    """Cuts a run of frames out of a group that arrives in chunks, first and last one inclusive.

    The first frame's header is written anew, since it can no longer build on those before it.
    Frame sizes are not limited here (`FrameScanner` does that).
    """

    __slots__ = ("_cutter", "_first", "_last", "_layout", "_previous", "_wanted", "frames")

    def __init__(self, layout: Layout, first: int, last: int | None) -> None:
        self._cutter = _Cutter(layout, MAX_VARINT)
        self._layout = layout
        self._first = first
        self._last = last
        self._previous = 0
        self._wanted = False
        self.frames = 0
        """Complete frames of the group so far, those left out included."""

    @property
    def is_over(self) -> bool:
        """Whether the last frame of the run is complete."""
        return self._last is not None and self.frames > self._last

    @property
    def is_short(self) -> bool:
        """Whether the group, if it is complete, ends before the run begins."""
        return self.frames < self._first

    def feed(self, data: bytes) -> bytes:
        """What of the next chunk belongs to the run.

        Raises `DecodeError`; the excerpt is useless after that.
        """
        pieces: list[bytes] = []
        for span in self._cutter.cut(data):
            if span.opens:
                index = self.frames
                self._wanted = index >= self._first and (self._last is None or index <= self._last)
                if self._wanted:
                    pieces.append(self._header(span.size))
            if self._wanted:
                pieces.append(data[span.start : span.stop])
            self.frames += span.closes
        return b"".join(pieces)

    def _header(self, size: int) -> bytes:
        if not self._layout.is_timed:
            return encode_varint(size)
        # Without those before it the first frame may be further from 0 than a difference can say:
        # its time is told as far as that, and the next ones catch up.
        delta = min(self._cutter.timestamp - self._previous, MAX_STAMP)
        self._previous += delta
        return encode_timed(delta, size)


class FrameParser:
    """Collects whole frames, for those who want to look inside; where the layout has properties
    they stand before the payload."""

    __slots__ = ("_cutter", "_layout", "_payload")

    def __init__(self, layout: Layout, max_frame: int) -> None:
        self._cutter = _Cutter(layout, max_frame)
        self._layout = layout
        self._payload = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that the next chunk completes. Raises `DecodeError` as `FrameScanner`."""
        return list(self.frames(data))

    def frames(self, data: bytes) -> Iterator[Frame]:
        """The same one by one, to be taken all before the chunk after it."""
        for span in self._cutter.cut(data):
            self._payload += data[span.start : span.stop]
            if span.closes:
                timestamp = self._cutter.timestamp if self._layout.is_timed else None
                yield Frame(timestamp, bytes(self._payload))
                self._payload.clear()


def encode_frame(layout: Layout, payload: bytes, timestamp: int | None, previous: int = 0) -> bytes:
    """One frame; ``previous`` is the timestamp of the frame before it in the group.

    Where the layout has properties they stand before the payload. Raises `ValueError` when a timed
    frame has no timestamp or one that is too far from the last.
    """
    if not layout.is_timed:
        return encode_varint(len(payload)) + payload
    if timestamp is None or timestamp < 0:
        raise ValueError(f"a timed frame with timestamp {timestamp}")
    return encode_timed(timestamp - previous, len(payload)) + payload


def encode_timed(delta: int, size: int) -> bytes:
    zigzag = delta << 1 if delta >= 0 else (-delta << 1) - 1
    return encode_varint(zigzag) + encode_varint(size)


def front_size(data: bytes) -> int | None:
    """Bytes of the properties that a frame begins with where its layout has them, their number
    included; ``None`` while that is incomplete."""
    found = scan_varint(data)
    return None if found is None else sum(found)


def encode_datagram(subscription: int, sequence: int, timestamp: int, payload: bytes) -> bytes:
    """The body of a datagram. Raises `ValueError` for a number that does not fit a varint."""
    return b"".join((*map(encode_varint, (subscription, sequence, timestamp)), payload))


def decode_datagram(data: bytes) -> Datagram:
    """The group in a datagram. Raises `DecodeError` when it is cut off."""
    reader = Reader(data)
    return Datagram(reader.varint(), reader.varint(), reader.varint(), reader.rest())


class Mark(NamedTuple):
    """Where a frame of a group begins, and what is before it."""

    place: int
    """Bytes before it."""
    chunk: int
    """Which of the chunks it begins in, and where there."""
    start: int
    frames: int
    payload: int
    timestamp: int


def weigh(
    layout: Encoding, chunks: Sequence[bytes], size: int, marks: list[Mark] | None = None
) -> tuple[int, int]:
    """Whole frames, and bytes of payload, within the first ``size`` bytes of a group.

    It ends where the bytes make no sense. Properties are no payload, as far as they stand in one
    chunk. Chunks within one frame cost next to nothing. Beyond `MAX_WEIGHED` frames the rest is
    taken for the payload of one. With ``marks``, empty at first and the group's own, it goes on
    where it came to before.
    """
    marks = [] if marks is None else marks
    known = bisect_right(marks, size, key=attrgetter("place"))
    cutter = _Cutter(layout, MAX_VARINT)
    mark = marks[known - 1] if known else Mark(0, 0, 0, 0, 0, 0)
    place, first, start, frames, payload, cutter.timestamp = mark
    try:
        for number in range(first, len(chunks)):
            if place >= size:
                break
            piece = chunks[number]
            if start or len(piece) > size - place:
                piece = piece[start : start + size - place]
            if len(piece) < cutter.left:
                cutter.left -= len(piece)
                payload += len(piece)
                place += len(piece)
                continue
            for span in cutter.cut(piece):
                payload += span.stop - span.start
                if span.opens and layout.has_properties:
                    front = front_size(piece[span.start : span.start + MAX_HEADER])
                    payload -= min(front or 0, span.stop - span.start)
                frames += span.closes
                if frames >= MAX_WEIGHED:
                    rest = size - place - span.stop
                    return frames + (rest > 0), payload + rest
                if span.closes and not frames % MARKED and known == len(marks):
                    at = place + span.stop, number, start + span.stop
                    marks.append(Mark(*at, frames, payload, cutter.timestamp))
                    known += 1
            place += len(piece)
            start = 0
    except DecodeError:
        return frames, payload
    return frames, payload
