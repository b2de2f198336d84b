"""QMux's frames: the bytes of each, both ways, and nothing but errors of ours for anything else."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import DecodeError, ProtocolViolation
from relay.net.qmux_frames import (
    LEGACY,
    MAX_RECORD,
    PLAIN,
    WIRES,
    Frame,
    Kind,
    Parameters,
    Wire,
    close_frame,
    data_frame,
    frames,
    parameters_frame,
    read_parameters,
    reset_frame,
)

NEWEST, _, EARLY, _ = WIRES

SAID = [
    ("0e 02 00 03 616263", Frame(Kind.DATA, (2, 0), b"abc")),
    ("0f 02 05 00", Frame(Kind.DATA, (2, 1), b"")),
    ("0a 04 01 61", Frame(Kind.DATA, (4, 0), b"a")),
    ("09 00 6162", Frame(Kind.DATA, (0, 1), b"ab")),
    ("0c 00 07 6162", Frame(Kind.DATA, (0, 0), b"ab")),
    ("04 06 2a 4100", Frame(Kind.RESET, (6, 42, 256))),
    ("24 06 2a 05 03", Frame(Kind.RESET_AT, (6, 42, 5, 3))),
    ("05 06 2a", Frame(Kind.STOP, (6, 42))),
    ("10 80100000", Frame(Kind.MAX_DATA, (1 << 20,))),
    ("11 04 80040000", Frame(Kind.MAX_STREAM_DATA, (4, 1 << 18))),
    ("12 4064", Frame(Kind.MAX_STREAMS_BIDI, (100,))),
    ("13 4064", Frame(Kind.MAX_STREAMS_UNI, (100,))),
    ("14 01", Frame(Kind.DATA_BLOCKED, (1,))),
    ("15 04 01", Frame(Kind.STREAM_DATA_BLOCKED, (4, 1))),
    ("16 01", Frame(Kind.STREAMS_BLOCKED_BIDI, (1,))),
    ("17 01", Frame(Kind.STREAMS_BLOCKED_UNI, (1,))),
    ("1d 02 03 627965", Frame(Kind.CLOSE, (2,), b"bye")),
    ("1c 0a 00 00", Frame(Kind.TRANSPORT_CLOSE, (10, 0))),
    ("30 6162", Frame(Kind.DATAGRAM, (), b"ab")),
    ("31 02 6162", Frame(Kind.SIZED_DATAGRAM, (), b"ab")),
    ("f48c67529ef8c7bd 07", Frame(Kind.PING, (7,))),
    ("f48c67529ef8c7be 07", Frame(Kind.PONG, (7,))),
    ("ff5153300d0a0d0a 02 0401", Frame(Kind.PARAMETERS, (), b"\x04\x01")),
]

SAID_BEFORE = [
    ("08 02 616263", Frame(Kind.DATA, (2, 0), b"abc")),
    ("09 02", Frame(Kind.DATA, (2, 1), b"")),
    ("04 06 2a", Frame(Kind.RESET, (6, 42))),
    ("05 06 2a", Frame(Kind.STOP, (6, 42))),
    ("1d 02 627965", Frame(Kind.CLOSE, (2,), b"bye")),
    ("1c 02", Frame(Kind.TRANSPORT_CLOSE, (2,), b"")),
]


@pytest.mark.parametrize("wire", WIRES[:3], ids=lambda wire: wire.name)
@pytest.mark.parametrize(("text", "frame"), SAID, ids=lambda value: str(value)[:24])
def test_each_is_read(text: str, frame: Frame, wire: Wire) -> None:
    assert list(frames(bytes.fromhex(text), wire)) == [frame]


def test_no_kind_is_left_out() -> None:
    assert {frame.kind for _, frame in SAID} == set(Kind)


@pytest.mark.parametrize(("text", "frame"), SAID_BEFORE, ids=lambda value: str(value)[:24])
def test_each_was_read_before(text: str, frame: Frame) -> None:
    assert list(frames(bytes.fromhex(text), LEGACY)) == [frame]


def test_many_in_one_message() -> None:
    whole = [(text, frame) for text, frame in SAID if text[:2] not in ("09", "0c", "30")]
    message = b"".join(bytes.fromhex(text) for text, _ in whole)
    assert list(frames(message, NEWEST)) == [frame for _, frame in whole]


def test_padding_is_passed_over() -> None:
    message = bytes(3) + data_frame(NEWEST, 2, 0, bytes(2), False) + bytes(9_000)
    assert list(frames(message, NEWEST)) == [Frame(Kind.DATA, (2, 0), bytes(2))]
    assert list(frames(bytes(9_000), NEWEST)) == []


def test_padding_between_frames_costs_no_copies_of_the_rest() -> None:
    copied = 0

    class Message(bytes):
        def __getitem__(self, key: Any) -> Any:
            nonlocal copied
            found = super().__getitem__(key)
            copied += len(found) if isinstance(found, bytes) else 0
            return found

    message = Message(b"\0\x10\x01" * 1000)
    assert len(list(frames(message, EARLY))) == 1000
    assert copied <= len(message)


def test_what_we_say() -> None:
    for wire in (NEWEST, EARLY):
        assert data_frame(wire, 3, 64, b"abc", False).hex(" ") == "0e 03 40 40 03 61 62 63"
        assert data_frame(wire, 3, 0, memoryview(b""), True).hex(" ") == "0f 03 00 00"
        assert reset_frame(wire, 3, 42, 5).hex(" ") == "04 03 2a 05"
        assert close_frame(wire, 2, b"bye").hex(" ") == "1d 02 03 62 79 65"
    assert data_frame(LEGACY, 3, 64, b"abc", True).hex(" ") == "09 03 61 62 63"
    assert reset_frame(LEGACY, 3, 42, 5).hex(" ") == "04 03 2a"
    assert close_frame(LEGACY, 2, b"bye").hex(" ") == "1d 02 62 79 65"


@pytest.mark.parametrize(
    "text",
    [
        "0e 02 00 04 616263",  # a body beyond the message
        "0e 02",
        "04 06 2a",
        "1d 02 05 6279",
        "31 02 61",
        "40",
        "01",  # QUIC's PING
        "02 00 00 00 00",  # its ACK
        "1e",  # its HANDSHAKE_DONE
        "ff5153300d0a0d0a 05 0401",
    ],
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(DecodeError):
        list(frames(bytes.fromhex(text), NEWEST))


@pytest.mark.parametrize("text", ["", "0e 02 00 01 61", "10 01", "31 01 61", "08"])
def test_what_was_none_before(text: str) -> None:
    with pytest.raises(DecodeError):
        list(frames(bytes.fromhex(text), LEGACY))


@given(st.binary(max_size=200), st.sampled_from(WIRES))
def test_any_bytes_are_frames_or_an_error(message: bytes, wire) -> None:
    try:
        for kind, numbers, body in frames(message, wire):
            assert len(body) <= len(message)
            assert all(0 <= number < 1 << 62 for number in numbers)
            assert isinstance(kind, Kind)
    except DecodeError:
        pass


# Parameters


numbers = st.integers(0, (1 << 62) - 1)
parameters = st.builds(
    Parameters,
    *[numbers] * 7,
    max_record_size=st.integers(MAX_RECORD, (1 << 62) - 1),
)


@given(parameters)
def test_parameters_are_read_as_they_were_said(said: Parameters) -> None:
    [frame] = frames(parameters_frame(said), NEWEST)
    assert frame.kind == Kind.PARAMETERS
    assert read_parameters(frame.body) == said


def test_what_is_not_said_is_none() -> None:
    assert read_parameters(b"") == Parameters(0, 0, 0, 0, 0, 0, 0, MAX_RECORD)
    unknown = bytes.fromhex("19 02 7530  1d 00  c0ffee0000000001 03 616263  04 01 05")
    assert read_parameters(unknown) == Parameters(max_data=5)


def test_what_is_spoken_inside_is_said_as_the_rust_stack_says_it() -> None:
    said = Parameters(max_idle_timeout=30_000, protocols=("moq-lite-06", "moql"))
    frame = parameters_frame(said)
    assert frame == bytes.fromhex(
        "ff5153300d0a0d0a 2b  01 04 80007530  c571c59429cd0845 02 7ffe"
        "fd4f9c2a8b1e6075 11 0b 6d6f712d6c6974652d3036 04 6d6f716c"
    )
    [read] = frames(frame, PLAIN)
    assert read_parameters(read.body) == said


@pytest.mark.parametrize("names", ["", "05 61", "02 61", "02 ffff", "40"])
def test_a_list_of_what_is_spoken_that_is_none_is_refused(names: str) -> None:
    body = bytes.fromhex(names)
    with pytest.raises(ProtocolViolation):
        read_parameters(bytes.fromhex("fd4f9c2a8b1e6075") + bytes((len(body),)) + body)


def test_what_we_take_is_said() -> None:
    said = parameters_frame(Parameters(1 << 20, 1, 2, 3, 100, 64, MAX_RECORD))
    assert said == bytes.fromhex(
        "ff5153300d0a0d0a 26"
        "04 04 80100000  05 01 01  06 01 02  07 01 03  08 02 4064  09 02 4040"
        "20 02 7ffe  c571c59429cd0845 02 7ffe"
    )


@pytest.mark.parametrize("id", [0x00, 0x02, 0x03, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0x10])
def test_what_makes_sense_in_quic_only_is_refused(id: int) -> None:
    with pytest.raises(ProtocolViolation, match=f"{id:#x}"):
        read_parameters(bytes((id, 1, 5)))


def test_an_unknown_parameter_may_not_come_twice_either() -> None:
    with pytest.raises(ProtocolViolation, match="0x1d"):
        read_parameters(bytes.fromhex("1d 00 1d 00"))


@pytest.mark.parametrize(
    "text",
    [
        "04 01 05 04 01 05",  # twice
        "00 00",  # QUIC's own, of no use here
        "0f 01 00",
        "04 02 0500",  # more than an integer
        "04 00",
        "04 05 00",  # beyond the end
        "c571c59429cd0845 02 7ffd",  # a record smaller than all take
    ],
)
def test_what_nobody_may_say(text: str) -> None:
    with pytest.raises(ProtocolViolation):
        read_parameters(bytes.fromhex(text))


@given(st.binary(max_size=80))
def test_any_parameters_are_read_or_an_error(body: bytes) -> None:
    with contextlib.suppress(ProtocolViolation):
        read_parameters(body)
