"""Transport parameters that the library does not know."""

from __future__ import annotations

import pytest
from aioquic.buffer import Buffer
from aioquic.quic.packet import QuicErrorCode, pull_quic_transport_parameters
from hypothesis import given
from hypothesis import strategies as st

from relay.net.parameters import OLD_RESET_STREAM_AT, OURS, RESET_STREAM_AT, RESETS_AT, number, read
from relay.wire.buffer import encode_varint

OTHERS = b"\x04\x04\x84\x00\x00\x00" + b"\x0e\x01\x05"


def test_a_value_is_found_among_others_and_the_last_one_counts() -> None:
    assert read(OTHERS) == {0x04: b"\x84\x00\x00\x00", 0x0E: b"\x05"}
    assert read(OTHERS + b"\x0e\x01\x06" + OTHERS[:6])[0x0E] == b"\x06"
    assert number(read(OTHERS), 0x04) == 0x4000000
    assert number(read(OTHERS), RESET_STREAM_AT) is None
    assert read(OTHERS[:-1] + b"\x00\x1d\x00")[RESET_STREAM_AT] == b""


@given(st.binary(max_size=40))
def test_any_parameters_are_read(data) -> None:
    for kind in read(data):
        number(read(data), kind)


def test_ours_are_told_and_other_peers_skip_them(bench) -> None:
    room = bench()
    said = room.server.engine._serialize_transport_parameters()
    assert said.endswith(OURS)
    assert [read(said)[kind] for kind in RESETS_AT] == [b"", b""]
    assert pull_quic_transport_parameters(Buffer(data=said)).max_datagram_frame_size == 65536


@pytest.mark.parametrize("kind", [RESET_STREAM_AT, OLD_RESET_STREAM_AT])
def test_one_that_has_a_value_though_it_must_be_empty_ends_the_connection(bench, kind) -> None:
    room = bench(parameters=encode_varint(kind) + b"\x01\x00")
    assert room.closed_with() == QuicErrorCode.TRANSPORT_PARAMETER_ERROR
    assert not room.errors
