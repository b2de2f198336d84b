"""The frames of every day in a 1-RTT packet (RFC 9000, 19): acknowledgements, stream data, breaking
off and limits are read, acknowledgements are written.

`relay.net.speedups` reads the same in C while it opens a packet. The law: a frame that is not of
every day, is cut off or holds a number out of range is not read, and neither is what follows it.
This module must not know what a frame does.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any

from relay.wire.buffer import encode_varint, scan_varint

PADDING, PING, ACK = 0x00, 0x01, 0x02
RESET_STREAM, STOP_SENDING = 0x04, 0x05
STREAM, STREAM_LAST = 0x08, 0x0F
MAX_DATA, MAX_STREAM_DATA, MAX_STREAMS_BIDI, MAX_STREAMS_UNI = 0x10, 0x11, 0x12, 0x13
"""Frame types of every day."""

RESET_STREAM_AT = 0x24
"""Not of every day: RESET_STREAM that names how many bytes of the stream arrive all the same
(draft-ietf-quic-reliable-stream-reset, 4)."""

Frame = tuple[Any, ...]
"""A frame's type, then what it says. ACK: the ranges from the highest down (first and last number)
and the delay as it is encoded. RESET_STREAM: stream, code, final size. STOP_SENDING: stream and
code. STREAM (0x08 to 0x0f, the lowest bit ends it): stream, offset, data.
MAX_STREAM_DATA: stream and limit. MAX_DATA and MAX_STREAMS: the limit. PING: nothing."""

_UNTIDY = 64
"""Ranges of an ACK frame, beyond the first, up to which it is read here."""

_COUNT_SIZE = 2
"""Bytes of how many more ranges there are than one."""

_FOUR = 1 << 31
_FOUR_BYTES = 1 << 30
"""What says that a varint has four bytes, and the first number that it cannot hold."""

_ONE_RANGE = Struct(">BIIBI")
"""An ACK frame of one range."""

_MAX_STREAM_COUNT = 1 << 60
_MAX_OFFSET = (1 << 62) - 1

_OFFSET_BIT, _LENGTH_BIT = 0x04, 0x02


class _Odd(Exception):
    """A frame that is not read here."""


def read(plain: bytes) -> tuple[list[Frame], bytes]:
    """The frames of a payload, and what is left from the first one on that is not read here."""
    frames: list[Frame] = []
    at, end = 0, len(plain)
    try:
        while at < end:
            kind = plain[at]
            if kind == PADDING:
                at += 1
                continue
            if kind == ACK:
                frame, next = _ack(plain, at + 1)
            elif STREAM <= kind <= STREAM_LAST:
                frame, next = _stream(kind, plain, at + 1)
            elif kind == PING:
                frame, next = (kind,), at + 1
            elif kind in (RESET_STREAM, STOP_SENDING):
                frame, next = _break(kind, plain, at + 1)
            elif MAX_DATA <= kind <= MAX_STREAMS_UNI:
                frame, next = _limit(kind, plain, at + 1)
            else:
                break
            frames.append(frame)
            at = next
    except _Odd:
        pass
    return frames, plain[at:]


def ack(ranges: Sequence[range], delay: int, most: int) -> bytes:
    """An ACK frame (19.3) of packets, in ascending order, and a delay as it is encoded.

    Of ``most`` bytes at most, which the newest range must fit: the oldest that do not are left out
    (13.2.3).
    """
    newest = ranges[-1]
    if len(ranges) == 1 and newest.stop <= _FOUR_BYTES and delay < _FOUR_BYTES:
        # By far the most frequent. A number need not be as short as it can be (16).
        last, size = newest.stop - 1, len(newest) - 1
        return _ONE_RANGE.pack(ACK, _FOUR | last, _FOUR | delay, 0, _FOUR | size)
    head = b"%c%b%b" % (ACK, encode_varint(newest.stop - 1), encode_varint(delay))
    said = [encode_varint(len(newest) - 1)]
    room = most - len(head) - len(said[0]) - _COUNT_SIZE
    start = newest.start
    for each in ranges[-2::-1]:
        more = encode_varint(start - each.stop - 1) + encode_varint(len(each) - 1)
        room -= len(more)
        if room < 0:
            break
        said.append(more)
        start = each.start
    return b"".join((head, encode_varint(len(said) - 1), *said))


def _number(plain: bytes, at: int) -> tuple[int, int]:
    """A varint, and where it ends. Raises `_Odd` when it is cut off."""
    found = scan_varint(plain, at)
    if found is None:
        raise _Odd
    return found


def _ack(plain: bytes, at: int) -> tuple[Frame, int]:
    """An ACK frame's body (19.3), and where it ends."""
    last, at = _number(plain, at)
    delay, at = _number(plain, at)
    count, at = _number(plain, at)
    if count > _UNTIDY:
        raise _Odd
    size, at = _number(plain, at)
    ranges = [(last - size, last)]
    for _ in range(count):
        gap, at = _number(plain, at)
        size, at = _number(plain, at)
        last = ranges[-1][0] - gap - 2
        ranges.append((last - size, last))
    if ranges[-1][0] < 0:
        raise _Odd
    return (ACK, ranges, delay), at


def _break(kind: int, plain: bytes, at: int) -> tuple[Frame, int]:
    """The body of RESET_STREAM or STOP_SENDING (19.4, 19.5), and where it ends."""
    stream, at = _number(plain, at)
    code, at = _number(plain, at)
    if kind == STOP_SENDING:
        return (kind, stream, code), at
    size, at = _number(plain, at)
    return (kind, stream, code, size), at


def _stream(kind: int, plain: bytes, at: int) -> tuple[Frame, int]:
    """A STREAM frame's body (19.8), and where it ends."""
    stream, at = _number(plain, at)
    offset, stop = 0, len(plain)
    if kind & _OFFSET_BIT:
        offset, at = _number(plain, at)
    if kind & _LENGTH_BIT:
        length, at = _number(plain, at)
        stop = at + length
    if stop > len(plain) or offset + stop - at > _MAX_OFFSET:
        raise _Odd
    return (kind, stream, offset, plain[at:stop]), stop


def _limit(kind: int, plain: bytes, at: int) -> tuple[Frame, int]:
    """The body of MAX_DATA, MAX_STREAM_DATA or MAX_STREAMS (19.9 to 19.11), and where it ends."""
    value, at = _number(plain, at)
    if kind == MAX_STREAM_DATA:
        limit, at = _number(plain, at)
        return (kind, value, limit), at
    if kind != MAX_DATA and value > _MAX_STREAM_COUNT:
        raise _Odd
    return (kind, value), at
