"""Telling a session's streams from HTTP/3's."""

from hypothesis import given, settings
from hypothesis import strategies as st

from relay.net.demux import BIDI, MAX_HEAD, UNI, Decided, Demux, stream_head
from relay.wire.buffer import encode_varint


def test_heads_as_they_are_on_the_wire() -> None:
    assert stream_head(True, 0) == bytes.fromhex("405400")
    assert stream_head(False, 0) == bytes.fromhex("404100")
    assert stream_head(True, 68) == bytes.fromhex("40544044")


def test_a_head_byte_by_byte() -> None:
    demux = Demux()
    data = stream_head(True, 400) + b"x"
    answers = [demux.feed(2, data[i : i + 1], False) for i in range(len(data) - 1)]
    assert answers[:-1] == [None] * (len(answers) - 1)
    assert answers[-1] == Decided(400, b"")
    assert len(demux) == 0


def test_http3_keeps_its_first_bytes() -> None:
    demux = Demux()
    assert demux.feed(2, b"\x40", False) is None
    assert demux.feed(2, b"\x00\x04", False) == Decided(None, b"\x40\x00\x04")
    assert demux.feed(0, b"\x01\x20", False) == Decided(None, b"\x01\x20")


def test_the_type_of_the_other_kind_is_not_ours() -> None:
    assert Demux().feed(2, encode_varint(BIDI) + b"\0", False) == Decided(
        None, encode_varint(BIDI) + b"\0"
    )
    assert Demux().feed(0, encode_varint(UNI) + b"\0", False) == Decided(
        None, encode_varint(UNI) + b"\0"
    )


def test_a_stream_that_ends_undecided_is_http3s() -> None:
    demux = Demux()
    assert demux.feed(2, b"\x40", False) is None
    assert demux.feed(2, b"", True) == Decided(None, b"\x40")
    assert len(demux) == 0


def test_a_stream_that_is_reset_is_forgotten() -> None:
    demux = Demux()
    demux.feed(2, b"\x40", False)
    demux.forget(2)
    assert len(demux) == 0
    assert demux.feed(2, stream_head(True, 0), False) == Decided(0, b"")


@given(st.sampled_from([0, 2, 4, 7]), st.lists(st.binary(max_size=12), max_size=12), st.booleans())
@settings(max_examples=200)
def test_nothing_is_lost_and_little_is_kept(stream: int, pieces: list[bytes], fin: bool) -> None:
    demux = Demux()
    fed = b""
    for index, piece in enumerate(pieces):
        fed += piece
        answer = demux.feed(stream, piece, fin and index == len(pieces) - 1)
        if answer is not None and answer.session is None:
            assert answer.data == fed
            return
        if answer is not None:
            kind = encode_varint(UNI if stream & 2 else BIDI)
            assert fed.endswith(answer.data)
            assert fed[0] >> 6 or fed.startswith(kind)
            return
        assert len(fed) < MAX_HEAD
    assert len(demux) <= 1


@given(st.integers(0, 2**62 - 1), st.binary(max_size=20), st.integers(0, 24))
@settings(max_examples=100)
def test_what_is_written_is_read(session: int, rest: bytes, cut: int) -> None:
    demux = Demux()
    data = stream_head(True, session) + rest
    first = demux.feed(3, data[:cut], False)
    if first is None:
        assert demux.feed(3, data[cut:], False) == Decided(session, rest)
    else:
        assert (first.session, first.data + data[cut:]) == (session, rest)
