"""QMux: the frames of QUIC over a connection that loses nothing, bytes <-> frames.

Of draft-ietf-quic-qmux the versions 00 to 02, as they are carried by WebSocket messages or by a
plain stream, and the frames that browsers' polyfills used before there was a draft. Each message
holds one frame, or any number where the version has records. Integers are varints (RFC 9000, 16).
This module must not know what a frame is answered with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from relay.errors import DecodeError, ProtocolViolation
from relay.wire.buffer import MAX_VARINT, decode_varint, encode_varint, encode_varints

MAX_RECORD = 16_382
"""Bytes of a record that everybody takes; nobody is told to take or send longer ones."""

MAX_PIECE = MAX_RECORD - 32
"""Bytes of a stream in one frame: with its head it fits into a record."""


@dataclass(frozen=True, slots=True)
class Wire:
    """How one version differs from the others."""

    name: str
    """Its name among WebSocket's subprotocols."""
    has_credit: bool = True
    """Whether either side says how much the other may send, before anything else."""
    has_records: bool = True
    """Whether a message holds more than one frame, and there are pings and datagrams."""


LEGACY = Wire("webtransport", has_credit=False, has_records=False)
PLAIN = Wire("qmux-01")
"""What is spoken over a plain stream, where nobody can say which it is to be."""
WIRES = Wire("qmux-02"), PLAIN, Wire("qmux-00", has_records=False), LEGACY
"""Newest first."""


class Kind(IntEnum):
    """What a frame says (RFC 9000, 19; RFC 9221, 4; draft-ietf-quic-qmux)."""

    RESET = 0x04
    STOP = 0x05
    DATA = 0x08
    MAX_DATA = 0x10
    MAX_STREAM_DATA = 0x11
    MAX_STREAMS_BIDI = 0x12
    MAX_STREAMS_UNI = 0x13
    DATA_BLOCKED = 0x14
    STREAM_DATA_BLOCKED = 0x15
    STREAMS_BLOCKED_BIDI = 0x16
    STREAMS_BLOCKED_UNI = 0x17
    TRANSPORT_CLOSE = 0x1C
    CLOSE = 0x1D
    RESET_AT = 0x24
    DATAGRAM = 0x30
    SIZED_DATAGRAM = 0x31
    PING = 0x348C67529EF8C7BD
    PONG = 0x348C67529EF8C7BE
    PARAMETERS = 0x3F5153300D0A0D0A


FIN, LENGTH, OFFSET = 1, 2, 4
"""Bits of a `Kind.DATA` (RFC 9000, 19.8)."""

NUMBERS = {
    Kind.RESET: 3,
    Kind.STOP: 2,
    Kind.MAX_DATA: 1,
    Kind.MAX_STREAM_DATA: 2,
    Kind.MAX_STREAMS_BIDI: 1,
    Kind.MAX_STREAMS_UNI: 1,
    Kind.DATA_BLOCKED: 1,
    Kind.STREAM_DATA_BLOCKED: 2,
    Kind.STREAMS_BLOCKED_BIDI: 1,
    Kind.STREAMS_BLOCKED_UNI: 1,
    Kind.TRANSPORT_CLOSE: 2,
    Kind.CLOSE: 1,
    Kind.RESET_AT: 4,
    Kind.DATAGRAM: 0,
    Kind.SIZED_DATAGRAM: 0,
    Kind.PING: 1,
    Kind.PONG: 1,
    Kind.PARAMETERS: 0,
}
"""How many integers a frame of a kind begins with."""

LEGACY_NUMBERS = {Kind.RESET: 2, Kind.STOP: 2, Kind.TRANSPORT_CLOSE: 1, Kind.CLOSE: 1}
"""The same before there was a draft."""

_SAID = re.compile(rb"[^\0]")
"""What is no padding."""

SIZED = Kind.TRANSPORT_CLOSE, Kind.CLOSE, Kind.SIZED_DATAGRAM, Kind.PARAMETERS
"""Frames whose body has a length; that of others ends with the message."""


class Frame(NamedTuple):
    """One frame as it was read; of a `Kind.DATA` the integers are stream and end (0 or 1)."""

    kind: Kind
    numbers: tuple[int, ...]
    body: bytes = b""


def frames(message: bytes, wire: Wire) -> Iterator[Frame]:
    """The frames of a message without its padding. Raises `DecodeError` at what is none."""
    if not wire.has_credit:
        yield _legacy(message)
        return
    at = 0
    while at < len(message):
        if not message[at]:
            said = _SAID.search(message, at)
            at = len(message) if said is None else said.start()
            continue
        code, at = decode_varint(message, at)
        if Kind.DATA <= code <= Kind.DATA | FIN | LENGTH | OFFSET:
            stream, at = decode_varint(message, at)
            if code & OFFSET:
                # What is said in order needs none; that of drafts before 03 is not to be trusted.
                _, at = decode_varint(message, at)
            body, at = _body(message, at, bool(code & LENGTH))
            yield Frame(Kind.DATA, (stream, code & FIN), body)
            continue
        kind, numbers, at = _head(message, at, code, NUMBERS)
        body = b""
        if kind in SIZED or kind == Kind.DATAGRAM:
            body, at = _body(message, at, kind != Kind.DATAGRAM)
        yield Frame(kind, numbers, body)


def parts(frame: Frame) -> Iterator[Frame]:
    """The same as frames that are soon read: without records one holds megabytes of a stream, and
    with them tens of thousands of what is written into it."""
    kind, numbers, body = frame
    at = 0
    while kind == Kind.DATA and len(body) - at > MAX_PIECE:
        yield Frame(kind, (numbers[0], 0), body[at : at + MAX_PIECE])
        at += MAX_PIECE
    yield Frame(kind, numbers, body[at:]) if at else frame


def _head(
    message: bytes, at: int, code: int, counts: dict[Kind, int]
) -> tuple[Kind, tuple[int, ...], int]:
    """What a frame of that type begins with, and where its body does. Raises `DecodeError`."""
    if code not in counts:
        raise DecodeError(f"a frame of type {code:#x}")
    kind = Kind(code)
    numbers = []
    for _ in range(counts[kind]):
        number, at = decode_varint(message, at)
        numbers.append(number)
    return kind, tuple(numbers), at


def _body(message: bytes, at: int, has_length: bool) -> tuple[bytes, int]:
    """A body from there, and where it ends."""
    end = len(message)
    if has_length:
        size, at = decode_varint(message, at)
        if at + size > end:
            raise DecodeError("the message ends within a frame")
        end = at + size
    return message[at:end], end


def _legacy(message: bytes) -> Frame:
    code, at = decode_varint(message, 0)
    if code in (Kind.DATA, Kind.DATA | FIN):
        stream, at = decode_varint(message, at)
        return Frame(Kind.DATA, (stream, code & FIN), message[at:])
    kind, numbers, at = _head(message, at, code, LEGACY_NUMBERS)
    return Frame(kind, numbers, message[at:])


def data_frame(wire: Wire, stream: int, offset: int, piece: bytes | memoryview, fin: bool) -> bytes:
    """The next bytes of a stream, the first of which is its ``offset``-th."""
    if not wire.has_credit:
        return b"".join((encode_varints((Kind.DATA | fin, stream)), piece))
    code = Kind.DATA | OFFSET | LENGTH | fin
    return b"".join((encode_varints((code, stream, offset, len(piece))), piece))


def reset_frame(wire: Wire, stream: int, code: int, size: int) -> bytes:
    """The sender's half is broken off after ``size`` bytes."""
    numbers = (stream, code, size) if wire.has_credit else (stream, code)
    return encode_varints((Kind.RESET, *numbers))


def close_frame(wire: Wire, code: int, reason: bytes) -> bytes:
    """The end of the session."""
    size = encode_varint(len(reason)) if wire.has_credit else b""
    return encode_varints((Kind.CLOSE, code)) + size + reason


@dataclass(frozen=True, slots=True)
class Parameters:
    """What one side takes (RFC 9000, 18.2): what it does not say is none."""

    max_data: int = 0
    """Bytes of all streams together."""
    max_stream_data_bidi_local: int = 0
    """Bytes of a two-way stream that it opened itself."""
    max_stream_data_bidi_remote: int = 0
    """The same of one that the other side opened."""
    max_stream_data_uni: int = 0
    max_streams_bidi: int = 0
    """Streams that the other side may open."""
    max_streams_uni: int = 0
    max_datagram_frame_size: int = 0
    """Bytes of a datagram's frame (RFC 9221, 3)."""
    max_record_size: int = MAX_RECORD
    max_idle_timeout: int = 0
    """Milliseconds of silence after which the session is over (RFC 9000, 10.1); 0: never."""
    protocols: tuple[str, ...] = ()
    """What it speaks inside, best first, where neither TLS nor HTTP says so."""


PROTOCOLS = 0x3D4F9C2A8B1E6075
"""Id of those, which is in no draft: each name behind its length (as the Rust crate `qmux`)."""

NAMES = {
    0x01: "max_idle_timeout",
    0x04: "max_data",
    0x05: "max_stream_data_bidi_local",
    0x06: "max_stream_data_bidi_remote",
    0x07: "max_stream_data_uni",
    0x08: "max_streams_bidi",
    0x09: "max_streams_uni",
    0x20: "max_datagram_frame_size",
    0x0571C59429CD0845: "max_record_size",
}
"""Parameters that are read and said, by their ids; others may be there and are passed over."""

FORBIDDEN = frozenset((0x00, 0x02, 0x03, *range(0x0A, 0x11)))
"""Ids of QUIC that make no sense here (draft-ietf-quic-qmux, 5)."""


def parameters_frame(said: Parameters) -> bytes:
    """What we take, as the first frame of a session."""
    body = b""
    for id, name in NAMES.items():
        if number := getattr(said, name):
            value = encode_varint(number)
            body += encode_varints((id, len(value))) + value
    if said.protocols:
        names = b"".join(encode_varint(len(each)) + each.encode() for each in said.protocols)
        body += encode_varints((PROTOCOLS, len(names))) + names
    return encode_varints((Kind.PARAMETERS, len(body))) + body


def read_parameters(body: bytes) -> Parameters:
    """What the other side takes. Raises `ProtocolViolation` for what nobody may say."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(body):
        id, at = decode_varint(body, at)
        if id in found or id in FORBIDDEN:
            raise ProtocolViolation(f"the transport parameter {id:#x} twice, or at all")
        found[id], at = _body(body, at, True)
    values = {}
    for id, name in NAMES.items():
        if id in found:
            value, end = decode_varint(found[id], 0)
            if end != len(found[id]):
                raise DecodeError(f"the transport parameter {name} is no integer")
            values[name] = value
    names = _names(found[PROTOCOLS]) if PROTOCOLS in found else ()
    said = Parameters(**values, protocols=names)
    if said.max_record_size < MAX_RECORD:
        raise ProtocolViolation(f"max_record_size below {MAX_RECORD}")
    return said


def _names(body: bytes) -> tuple[str, ...]:
    """A list of protocols that is not empty. Raises `DecodeError`."""
    names: list[str] = []
    at = 0
    while at < len(body) or not names:
        name, at = _body(body, at, True)
        try:
            names.append(name.decode())
        except UnicodeDecodeError:
            raise DecodeError("a protocol whose name is no text") from None
    return tuple(names)


UNLIMITED = Parameters(*(MAX_VARINT,) * 6)
"""What is taken where nobody says."""
