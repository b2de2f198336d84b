"""Capsules, cut anywhere."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.errors import DecodeError
from relay.net.capsule import CLOSE_SESSION, CapsuleReader, Closed, close_capsule
from relay.wire.buffer import encode_varint

LIMIT = 64 << 10


def capsule(kind: int, body: bytes) -> bytes:
    return encode_varint(kind) + encode_varint(len(body)) + body


def test_a_browsers_close() -> None:
    data = bytes.fromhex("68430c0000004d") + "tschüss".encode()
    assert CapsuleReader(LIMIT).feed(data) == Closed(77, "tschüss")


def test_close_is_written_as_it_is_read() -> None:
    assert close_capsule(77, "tschüss") == bytes.fromhex("68430c0000004d") + "tschüss".encode()
    assert close_capsule(0) == bytes.fromhex("68430400000000")


def test_byte_by_byte_after_a_grease_capsule() -> None:
    reader = CapsuleReader(LIMIT)
    data = capsule(0x1F * 1000 + 0x17, b"x" * 70) + close_capsule(3, "bye")
    answers = [reader.feed(data[i : i + 1]) for i in range(len(data))]
    assert answers[:-1] == [None] * (len(data) - 1)
    assert answers[-1] == Closed(3, "bye")


def test_a_huge_unknown_capsule_is_skipped_and_not_kept() -> None:
    reader = CapsuleReader(LIMIT)
    assert reader.feed(encode_varint(0x1234) + encode_varint(1 << 40)) is None
    for _ in range(64):
        assert reader.feed(b"x" * 100_000) is None
    assert len(reader._buffer) == 0


@pytest.mark.parametrize("length", [0, 3, LIMIT + 1, 1 << 40])
def test_a_close_of_a_wrong_size_is_refused_at_its_head(length: int) -> None:
    with pytest.raises(DecodeError):
        CapsuleReader(LIMIT).feed(encode_varint(CLOSE_SESSION) + encode_varint(length))


def test_a_reason_is_cut_between_characters() -> None:
    closed = CapsuleReader(LIMIT).feed(close_capsule(1, "ü" * 1000))
    assert closed == Closed(1, "ü" * 512)


def test_of_a_reason_that_is_too_long_no_more_is_heard_than_may_be_said() -> None:
    said = "ü".encode() * 2000
    closed = CapsuleReader(8000).feed(capsule(CLOSE_SESSION, b"\0\0\0\1" + said))
    assert closed == Closed(1, "ü" * 512)


def test_a_reason_that_is_no_utf8_is_shown_as_far_as_it_goes() -> None:
    closed = CapsuleReader(LIMIT).feed(capsule(CLOSE_SESSION, b"\0\0\0\1a\xff"))
    assert closed == Closed(1, "a�")


@given(st.lists(st.binary(max_size=40), max_size=8))
@settings(max_examples=150)
def test_any_bytes_are_a_close_or_nothing_or_an_error(pieces: list[bytes]) -> None:
    reader = CapsuleReader(1024)
    for piece in pieces:
        try:
            if reader.feed(piece) is not None:
                return
        except DecodeError:
            return
        assert len(reader._buffer) <= 1024 + 16


unknown = st.integers(0, 2**62 - 1).filter(lambda kind: kind != CLOSE_SESSION)


@given(
    st.lists(st.tuples(unknown, st.binary(max_size=80)), max_size=4),
    st.integers(0, 2**32 - 1),
    st.text(max_size=40),
    st.lists(st.integers(1, 30), max_size=40),
)
@settings(max_examples=100)
def test_cuts_change_nothing(
    greases: list[tuple[int, bytes]], code: int, reason: str, cuts: list[int]
) -> None:
    data = b"".join(capsule(*grease) for grease in greases) + close_capsule(code, reason)
    reader = CapsuleReader(LIMIT)
    answer = None
    for cut in cuts:
        piece, data = data[:cut], data[cut:]
        answer = answer or reader.feed(piece)
    answer = answer or reader.feed(data)
    assert answer is not None
    assert (answer.code, answer.reason) == (code, reason)
