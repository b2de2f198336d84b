"""Varints and readers: what is short, what is too long, and what is consumed."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.errors import DecodeError
from relay.wire.buffer import (
    MAX_VARINT,
    Reader,
    StreamBuffer,
    decode_varint,
    decode_varints,
    encode_varint,
    encode_varints,
)

# RFC 9000, appendix A.1, and the borders of each width.
VARINTS = [
    (0, "00"),
    (37, "25"),
    (63, "3f"),
    (64, "4040"),
    (15293, "7bbd"),
    (16383, "7fff"),
    (16384, "80004000"),
    (494878333, "9d7f3e7d"),
    ((1 << 30) - 1, "bfffffff"),
    (1 << 30, "c000000040000000"),
    (151288809941952652, "c2197c5eff14e88c"),
    (MAX_VARINT, "ffffffffffffffff"),
]

modest = settings(max_examples=60, deadline=None)
ints = st.integers(0, MAX_VARINT)


@pytest.mark.parametrize(("value", "hex_"), VARINTS)
def test_varint_is_shortest(value: int, hex_: str) -> None:
    data = bytes.fromhex(hex_)
    assert encode_varint(value) == data
    assert decode_varint(data, 0) == (value, len(data))


def test_varint_longer_than_needed_is_legal() -> None:
    assert decode_varint(bytes.fromhex("4025"), 0) == (37, 2)


@pytest.mark.parametrize("value", [-1, MAX_VARINT + 1])
def test_varint_out_of_range(value: int) -> None:
    with pytest.raises(ValueError, match="varint"):
        encode_varint(value)


@modest
@given(ints, st.binary(max_size=9))
def test_varint_round_trip_in_the_middle(value: int, around: bytes) -> None:
    data = around + encode_varint(value) + around
    assert decode_varint(data, len(around)) == (value, len(data) - len(around))


@modest
@given(ints)
def test_varint_short(value: int) -> None:
    data = encode_varint(value)
    for cut in range(len(data)):
        with pytest.raises(DecodeError):
            decode_varint(data[:cut], 0)


@modest
@given(st.lists(ints, min_size=1, max_size=4))
def test_a_body_of_integers(values: list[int]) -> None:
    body = b"".join(map(encode_varint, values))
    assert decode_varints(body, len(values)) == values
    with pytest.raises(DecodeError, match="too many"):
        decode_varints(body, len(values) - 1)
    for cut in range(len(body)):
        with pytest.raises(DecodeError, match="within an integer"):
            decode_varints(body[:cut], len(values))


def test_reader_front_to_back() -> None:
    reader = Reader(bytes.fromhex("4040 ff 02c3a9 03000102 aabb"))
    assert reader.varint() == 64
    assert reader.u8() == 255
    assert reader.string() == "é"
    assert reader.blob() == b"\x00\x01\x02"
    with pytest.raises(DecodeError, match="2 bytes too many"):
        reader.end()
    assert reader.rest() == b"\xaa\xbb"
    reader.end()
    assert reader.rest() == b""


@pytest.mark.parametrize("hex_", ["01ff", "02c3", "03eda080", "02c0af"])
def test_reader_wants_utf8(hex_: str) -> None:
    with pytest.raises(DecodeError):
        Reader(bytes.fromhex(hex_)).string()


@pytest.mark.parametrize("read", [Reader.varint, Reader.u8, Reader.string, Reader.blob])
def test_reader_short(read: object) -> None:
    assert callable(read)
    with pytest.raises(DecodeError):
        read(Reader(b""))


def test_reader_blob_with_a_false_length() -> None:
    with pytest.raises(DecodeError):
        Reader(encode_varint(MAX_VARINT) + b"abc").blob()


def test_stream_buffer_consumes_only_what_is_whole() -> None:
    buffer = StreamBuffer(bytes.fromhex("40"))
    assert buffer.peek_varint() is None
    assert buffer.varint() is None
    assert len(buffer) == 1
    buffer.append(bytes.fromhex("4005aa"))
    assert buffer.peek_varint() == 64
    assert len(buffer) == 4
    assert buffer.varint() == 64
    assert buffer.message(5) is None
    assert len(buffer) == 2
    assert buffer.take() == bytes.fromhex("05aa")
    assert len(buffer) == 0
    assert buffer.take() == b""
    assert buffer.varint() is None


def test_stream_buffer_refuses_at_the_length() -> None:
    with pytest.raises(DecodeError, match="6 bytes"):
        StreamBuffer(b"\x06").message(5)
    with pytest.raises(DecodeError):
        StreamBuffer(b"\x00\x06").typed_message(5)
    with pytest.raises(DecodeError):
        StreamBuffer(b"\x00\x06").message16(5)
    with pytest.raises(DecodeError):
        StreamBuffer(b"\x01\x00\x06").typed_message16(5)
    assert StreamBuffer(b"\x05hello").message(5) == b"hello"


@modest
@given(
    st.lists(st.tuples(st.sampled_from("vmtsk"), ints, st.binary(max_size=70)), max_size=8),
    st.integers(1, 7),
)
def test_stream_buffer_in_pieces(items: list[tuple[str, int, bytes]], step: int) -> None:
    wire = b""
    expected: list[object] = []
    for kind, number, body in items:
        length = encode_varint(len(body))
        value: object
        if kind == "v":
            wire, value = wire + encode_varint(number), number
        elif kind == "m":
            wire, value = wire + length + body, body
        elif kind == "t":
            wire, value = wire + encode_varint(number) + length + body, (number, body)
        elif kind == "k":
            short = len(body).to_bytes(2, "big")
            wire, value = wire + encode_varint(number) + short + body, (number, body)
        else:
            wire, value = wire + len(body).to_bytes(2, "big") + body, body
        expected.append(value)
    buffer = StreamBuffer()
    got: list[object] = []
    for pos in range(0, len(wire), step):
        buffer.append(wire[pos : pos + step])
        while len(got) < len(items):
            before = len(buffer)
            found = _read(buffer, items[len(got)][0])
            if found is None:
                assert len(buffer) == before
                break
            got.append(found)
    assert got == expected
    assert len(buffer) == 0


def _read(buffer: StreamBuffer, kind: str) -> object:
    match kind:
        case "v":
            return buffer.varint()
        case "m":
            return buffer.message(70)
        case "t":
            return buffer.typed_message(70)
        case "k":
            return buffer.typed_message16(70)
        case _:
            return buffer.message16(70)


def test_stream_buffer_forgets_what_was_read() -> None:
    buffer = StreamBuffer()
    for _ in range(1000):
        buffer.append(b"\x03abc")
        assert buffer.message(3) == b"abc"
    assert len(buffer) == 0
    assert buffer._data.__sizeof__() < 1024


@given(st.lists(st.integers(0, MAX_VARINT) | st.integers(0, 0x4000)))
def test_several_at_once_are_each_as_it_is_alone(values: list[int]) -> None:
    assert encode_varints(values) == b"".join(map(encode_varint, values))


@pytest.mark.parametrize("value", [-1, MAX_VARINT + 1])
def test_one_of_several_that_does_not_fit_is_refused(value: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        encode_varints((0, value))
