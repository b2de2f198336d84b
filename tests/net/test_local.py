"""Sessions over a unix stream: the seam that QUIC has, back pressure, and what makes no sense."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.net.conftest import Recorder

from relay.errors import ProtocolViolation, SessionLost
from relay.net import mux
from relay.net.local import (
    MAX_DATAGRAM,
    MAX_FRAME,
    DialledLocal,
    Kind,
    LocalTransport,
    Reader,
    dial_local,
    frame,
    listen_local,
)
from relay.net.mux import WINDOW
from relay.net.settings import QuicLimits
from relay.wire.buffer import encode_varint

LIMITS = QuicLimits()


class Pair:
    """Both sides of a session, and what they hear."""

    def __init__(self, dialled: DialledLocal, far: LocalTransport) -> None:
        self.dialled = dialled
        self.near, self.far = dialled.transport, far
        self.client, self.server = Recorder(), Recorder()


@contextlib.asynccontextmanager
async def paired(
    folder: Path, limits: QuicLimits = LIMITS, start: bool = True
) -> AsyncIterator[Pair]:
    knocks: asyncio.Queue[LocalTransport] = asyncio.Queue()
    errors: list[Exception] = []
    place = str(folder / "link")
    server = await listen_local(place, limits, errors.append, knocks.put_nowait)
    dialled = await dial_local(place, "moq-lite-05", limits, errors.append)
    pair = Pair(dialled, await knocks.get())
    if start:
        dialled.start(pair.client)
        pair.far.start(pair.server)
    try:
        yield pair
    finally:
        await dialled.close()
        server.close()
        assert all("a mistake in" in str(error) for error in errors)


async def test_streams_both_ways(tmp_path) -> None:
    async with paired(tmp_path) as pair:
        uni, bidi = pair.near.open_uni(), pair.near.open_bidi()
        theirs = pair.far.open_uni()
        assert (uni, bidi, theirs, pair.far.open_bidi()) == (2, 0, 3, 1)
        pair.near.send(uni, b"a" * 200_000)
        pair.near.send(uni, b"end", True)
        pair.near.send(uni, b"too late")
        pair.near.send(bidi, b"question", True)
        pair.far.send(theirs, b"news", True)
        await pair.server.until(lambda: len(pair.server.finished) == 2)
        assert pair.server.streams == {uni: b"a" * 200_000 + b"end", bidi: b"question"}
        pair.far.send(bidi, b"answer", True)
        await pair.client.until(lambda: len(pair.client.finished) == 2)
        assert pair.client.streams == {theirs: b"news", bidi: b"answer"}
        assert pair.near.traffic() == (200_011, 10)
        assert pair.far.traffic() == (10, 200_011)
        assert pair.near.is_quiet()
        assert not pair.far._receiving - {1}
        assert not pair.near._sending - {1}


async def test_broken_off_by_either_side(tmp_path) -> None:
    async with paired(tmp_path) as pair:
        first, second = pair.near.open_uni(), pair.near.open_uni()
        pair.near.reset(first, 7)
        pair.near.send(first, b"x")
        pair.near.send(second, b"x")
        await pair.server.until(lambda: second in pair.server.streams and pair.server.resets)
        assert pair.server.resets == {first: 7}
        pair.far.stop(second, 9)
        pair.near.send(second, b"crossing it")
        await pair.client.until(lambda: pair.client.stops)
        assert pair.client.stops == {second: 9}
        assert pair.near.capacity(second) == 0
        assert not pair.near.offer(second, b"crossing it", 1)
        await pair.server.until(lambda: second in pair.server.resets)
        assert pair.server.resets == {first: 7, second: 9}
        assert pair.server.streams == {second: b"x"}
        assert not pair.far._receiving - {1}
        assert not pair.far._stopped


async def test_a_stop_that_crosses_the_end_of_its_stream(tmp_path) -> None:
    async with paired(tmp_path) as pair:
        stream = pair.near.open_uni()
        pair.near.send(stream, b"x")
        await pair.server.until(lambda: stream in pair.server.streams)
        pair.far.stop(stream, 9)
        pair.near.send(stream, b"crossing it", True)
        await pair.server.until(lambda: pair.server.finished)
        assert pair.server.finished == [stream]
        assert pair.server.streams == {stream: b"x"}
        assert not pair.server.resets
        assert not pair.far._stopped


async def test_datagrams_and_pings(tmp_path) -> None:
    async with paired(tmp_path) as pair:
        assert pair.near.send_datagram(b"d")
        assert not pair.near.send_datagram(bytes(MAX_DATAGRAM + 1))
        pair.near.ping()
        await pair.server.until(lambda: pair.server.datagrams)
        assert pair.server.datagrams == [b"d"]


async def test_the_end_is_told_once_with_code_and_reason(tmp_path) -> None:
    async with paired(tmp_path) as pair:
        pair.near.close(5, "gone")
        assert pair.client.lost == []
        await pair.server.until(lambda: pair.server.lost)
        await pair.client.until(lambda: pair.client.lost)
        assert pair.server.lost == pair.client.lost == [(5, "gone")]
        pair.near.send(2, b"x")
        assert (pair.near.open_uni(), pair.near.capacity()) == (None, 0)


async def test_a_process_that_dies_is_noticed(tmp_path) -> None:
    async with paired(tmp_path) as pair:
        pair.far._pipe.abort()
        await pair.client.until(lambda: pair.client.lost)
        assert pair.client.lost[0][0] == 0


async def test_nobody_there(tmp_path) -> None:
    with pytest.raises(SessionLost, match="link: No such file"):
        await dial_local(str(tmp_path / "link"), "moq-lite-05", LIMITS, pytest.fail)


async def test_what_comes_before_there_is_a_receiver_waits(tmp_path) -> None:
    async with paired(tmp_path, start=False) as pair:
        pair.near.send(pair.near.open_uni(), b"early", True)
        await asyncio.sleep(0.05)
        pair.far.start(pair.server)
        await pair.server.until(lambda: pair.server.finished)
        assert pair.server.streams == {2: b"early"}


async def test_a_slow_reader_leaves_no_capacity_and_then_all_of_it_arrives(tmp_path) -> None:
    """Bulk data wait for room, and whoever waits is called when there is some."""
    async with paired(tmp_path) as pair:
        pair.far._pipe.pause_reading()
        stream, total, piece = pair.near.open_uni(), 8 << 20, bytes(8192)
        left = total

        def write() -> None:
            nonlocal left
            while left and pair.near.capacity(stream) >= len(piece):
                left -= len(piece)
                pair.near.send(stream, piece, not left)

        pair.client.on_flush = write
        pair.near.wake()
        await asyncio.sleep(0.1)
        assert left > total // 2
        assert pair.near.capacity() < len(piece)
        assert not pair.near.is_quiet()
        assert not pair.near.send_datagram(b"x") or pair.near.capacity() < len(piece)
        pair.far._pipe.resume_reading()
        await pair.server.until(lambda: pair.server.finished)
        assert len(pair.server.streams[stream]) == total


async def test_a_reader_that_stopped_is_given_up(tmp_path) -> None:
    async with paired(tmp_path, QuicLimits(max_unsent=1 << 20)) as pair:
        pair.far._pipe.pause_reading()
        stream = pair.near.open_uni()
        for _ in range(40):
            pair.near.send(stream, bytes(65536))
            await asyncio.sleep(0)
        await pair.client.until(lambda: pair.client.lost)
        assert "max_unsent" in pair.client.lost[0][1]
        pair.far._pipe.resume_reading()


async def test_streams_are_bounded_and_come_back(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(mux, "MAX_STREAMS", 3)
    async with paired(tmp_path) as pair:
        opened = [pair.near.open_uni() for _ in range(4)]
        assert opened == [2, 6, 10, None]
        pair.near.send(6, b"", True)
        assert pair.near.open_bidi() == 0


async def test_a_receivers_mistake_costs_its_session(tmp_path) -> None:
    async with paired(tmp_path) as pair:
        pair.server.raise_on = "stream_received"
        pair.near.send(pair.near.open_uni(), b"x")
        await pair.client.until(lambda: pair.client.lost)
        assert pair.client.lost == [(1, "internal error")]


@pytest.mark.parametrize(
    "said",
    [
        b"\x07\x00\x00",
        frame(Kind.DATA, 6, b"out of turn"),
        frame(Kind.DATA, 3, b"on a stream of ours"),
        frame(Kind.DATA, 1, b"on one that we never opened"),
        b"\x00\x02" + encode_varint(MAX_FRAME + 1),
        frame(Kind.DATA, 2, b"") + frame(Kind.RESET, 2, b""),
        frame(Kind.CLOSE, 0, b""),
    ],
)
async def test_what_makes_no_sense_ends_the_session_only(tmp_path, said: bytes) -> None:
    async with paired(tmp_path) as pair:
        pair.near._pipe.write(said)
        await pair.server.until(lambda: pair.server.lost)
        assert pair.server.lost[0][0] == ProtocolViolation.session_code
    async with paired(tmp_path) as again:
        again.near.send(again.near.open_uni(), b"x", True)
        await again.server.until(lambda: again.server.finished)


FRAMES = st.lists(
    st.tuples(st.sampled_from(Kind), st.integers(0, 2**62 - 1), st.binary(max_size=300)),
    max_size=20,
)


@given(FRAMES, st.data())
def test_frames_survive_any_cut(frames, data) -> None:
    whole = b"".join(frame(*each) for each in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    reader = Reader()
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        found += list(reader.feed(whole[start:end]))
    assert found == frames
    assert not reader._buffer


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_garbage_is_refused_or_kept_small(pieces: list[bytes]) -> None:
    reader = Reader()
    try:
        for piece in pieces:
            for _, _, body in reader.feed(piece):
                assert len(body) <= MAX_FRAME
    except ProtocolViolation:
        return
    assert len(reader._buffer) <= sum(map(len, pieces))


@given(st.binary(max_size=200))
def test_a_session_outlives_no_garbage_it_cannot_read(said: bytes) -> None:
    """Whatever is said, nothing is raised and nothing is told after the end."""

    async def main() -> None:
        heard = Recorder()
        transport = LocalTransport(False, LIMITS, pytest.fail)
        transport.start(heard)
        transport.data_received(said)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(heard.lost) <= 1
        assert transport.is_closed == bool(heard.lost)
        assert len(transport._receiving) <= len(said)

    asyncio.run(main())


def test_the_window_is_larger_than_a_frame() -> None:
    assert WINDOW >= 2 * MAX_FRAME
