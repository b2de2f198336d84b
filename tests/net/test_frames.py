"""Reading the frames of every day, against the library's own reading."""

from __future__ import annotations

import os
from typing import Any

import pytest
from aioquic._buffer import Buffer, BufferReadError
from aioquic.quic.crypto import CryptoPair, derive_key_iv_hp
from aioquic.quic.packet import pull_ack_frame
from aioquic.quic.rangeset import RangeSet
from aioquic.tls import CipherSuite
from hypothesis import given
from hypothesis import strategies as st

from relay.net.built import speedups
from relay.net.frames import ACK, ack, read
from relay.net.protection import makers
from relay.wire.buffer import encode_varint

SUITE = CipherSuite.AES_128_GCM_SHA256
SECRET = bytes(range(32))


def number(most: int = (1 << 62) - 1) -> st.SearchStrategy[bytes]:
    return st.builds(encode_varint, st.integers(0, most) | st.integers(0, 70))


def pull(buf: Buffer) -> tuple[Any, ...] | None:
    """The next frame as the library reads it; `None` when it is not of every day."""
    start, kind = buf.tell(), buf.pull_uint_var()
    if buf.tell() > start + 1:
        return None  # longer than it has to be
    if kind == 0x01:
        return (kind,)
    if kind == 0x02:
        ranges, delay = pull_ack_frame(buf)
        return kind, list(ranges), delay
    if 0x08 <= kind <= 0x0F:
        stream = buf.pull_uint_var()
        offset = buf.pull_uint_var() if kind & 4 else 0
        length = buf.pull_uint_var() if kind & 2 else buf.capacity - buf.tell()
        if offset + length > (1 << 62) - 1:
            return None
        return kind, stream, offset, buf.pull_bytes(length)
    if kind == 0x04:
        return kind, buf.pull_uint_var(), buf.pull_uint_var(), buf.pull_uint_var()
    if kind in (0x05, 0x11):
        return kind, buf.pull_uint_var(), buf.pull_uint_var()
    if kind in (0x10, 0x12, 0x13):
        value = buf.pull_uint_var()
        return None if kind != 0x10 and value > 1 << 60 else (kind, value)
    return None


def pulled(plain: bytes) -> tuple[list[tuple[Any, ...]], bytes]:
    """What `read` should answer."""
    frames: list[tuple[Any, ...]] = []
    at = 0
    while at < len(plain):
        if not plain[at]:
            at += 1
            continue
        buf = Buffer(data=plain)
        buf.seek(at)
        try:
            frame = pull(buf)
        except (BufferReadError, ValueError):
            break
        if frame is None:
            break
        frames.append(frame)
        at = buf.tell()
    return frames, plain[at:]


def joined(frame: tuple[Any, ...]) -> tuple[Any, ...]:
    """A frame whose ranges are put together as the library does."""
    if frame[0] != 0x02:
        return frame
    ranges = RangeSet()
    for first, last in frame[1]:
        ranges.add(first, last + 1)
    return 0x02, list(ranges), frame[2]


FRAMES = st.one_of(
    st.sampled_from([b"\x00", b"\x01", b"\x1e", b"\x02\x05\x00\x00\x02"]),
    st.builds(
        lambda kind, *rest: bytes((kind,)) + b"".join(rest),
        st.integers(0x08, 0x13) | st.integers(0x04, 0x05),
        number(),
        number(),
        st.binary(max_size=20),
    ),
    st.builds(
        lambda last, count, rest: b"\x02" + last + b"\x05" + bytes((count,)) + b"".join(rest),
        number(),
        st.integers(0, 3),
        st.lists(number(), min_size=1, max_size=7),
    ),
    st.binary(max_size=10),
)


def read_in_c(plain: bytes) -> tuple[list[Any], bytes]:
    """What the C extension reads while it opens a packet."""
    pair = CryptoPair()
    pair.send.setup(cipher_suite=SUITE, secret=SECRET, version=1)
    packet = pair.encrypt_packet(b"\x41\x00\x00", plain, 0)
    keys = derive_key_iv_hp(cipher_suite=SUITE, secret=SECRET, version=1)
    (opened,) = makers(True)[1](SUITE, *keys).open([packet], 0, b"", 0, 0, 0)
    assert opened[:3] == (1, 0, 0x41)
    return opened[3:]


READERS = pytest.mark.parametrize(
    "read",
    [
        read,
        pytest.param(
            read_in_c,
            marks=pytest.mark.skipif(
                speedups() is None and not os.environ.get("CI"), reason="not built"
            ),
        ),
    ],
)


@READERS
@given(st.lists(FRAMES, max_size=6))
def test_frames_are_read_as_the_library_reads_them(read, parts) -> None:
    plain = bytes(4) + b"".join(parts)  # the least that a packet can carry
    frames, rest = read(plain)
    assert ([joined(frame) for frame in frames], rest) == pulled(plain)


@READERS
def test_usual_frames_are_read(read) -> None:
    plain = bytes.fromhex("02 4064 05 01 03 01 02 01 00 00 0e 04 4100 02 6869 10 4400 11 04 09")
    plain += bytes.fromhex("04 04 07 4100 05 08 4101")
    assert read(plain + b"\x13\x02\x08\x07!") == (
        [
            (0x02, [(97, 100), (92, 94)], 5),
            (0x01,),
            (0x0E, 4, 256, b"hi"),
            (0x10, 1024),
            (0x11, 4, 9),
            (0x04, 4, 7, 256),
            (0x05, 8, 257),
            (0x13, 2),
            (0x08, 7, 0, b"!"),
        ],
        b"",
    )


@READERS
def test_what_is_odd_is_left_to_the_library_with_all_that_follows(read) -> None:
    for odd in (
        b"\x02\x7f\xff\x00\x40\x41" + bytes(200),  # an ACK of very many ranges
        b"\x02\x04\x00\x00\x05",  # ... of packets below zero
        b"\x02\x04\x00\x01\x01\x02\x00",
        b"\x03\x04\x00\x00\x00\x00\x00\x00",  # ... with ECN
        b"\x0a\x04\x05oops",  # bytes cut off
        b"\x0c\x04" + encode_varint((1 << 62) - 1) + b"!",  # ... beyond all offsets
        b"\x12" + encode_varint((1 << 60) + 1),
        b"\x11\x04",
        b"\x04\x00\x00",
        b"\x05\x00",
        b"\x06\x00\x00\x00",
        b"\x40\x01",  # PING, longer than it has to be
    ):
        for after in (b"", b"\x01"):
            plain = b"\x01" + odd + after
            assert read(plain) == ([(0x01,)], odd + after), odd
            if odd[0] in (0x04, 0x05, 0x0A, 0x11):
                break  # more bytes would complete it


@given(
    st.lists(st.tuples(st.integers(2, 1 << 30), st.integers(1, 1 << 30)), min_size=1, max_size=80),
    st.integers(0, 1 << 20),
    st.integers(30, 300),
)
def test_an_acknowledgement_says_as_many_of_the_newest_ranges_as_fit(
    steps: list[tuple[int, int]], delay: int, most: int
) -> None:
    ranges, at = [], 0
    for gap, size in steps:
        ranges.append(range(at + gap, at + gap + size))
        at = ranges[-1].stop
    frame = ack(ranges, delay, most)
    assert len(frame) <= most
    buf = Buffer(data=frame)
    assert buf.pull_uint_var() == ACK
    found, said = pull_ack_frame(buf)
    assert buf.eof()
    assert said == delay
    assert list(found) == ranges[-len(found) :]
    if len(found) < len(ranges):
        assert len(frame) > most - 24, "more would have fit"
    if len(found) < 60:
        assert read(frame)[1] == b""
