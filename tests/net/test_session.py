"""What every session can do, over WebTransport and over raw QUIC alike, on loopback."""

import asyncio
import random
from typing import Any

import pytest

from relay.net.recovery import Recovery
from relay.net.settings import ListenSettings, QuicLimits


@pytest.mark.parametrize("near", [True, False], ids=["client-opens", "server-opens"])
async def test_a_two_way_stream_both_ways(house, scheme, near) -> None:
    async with house() as home:
        pair = await home.pair(scheme)
        opener, answerer = (pair.near, pair.far) if near else (pair.far, pair.near)
        here, there = (pair.client, pair.server) if near else (pair.server, pair.client)
        stream = opener.open_bidi()
        assert stream % 4 == (0 if near else 1)
        opener.send(stream, b"question", True)
        await there.until(lambda: stream in there.finished)
        assert there.streams == {stream: b"question"}
        answerer.send(stream, b"ans")
        answerer.send(stream, b"wer", True)
        await here.until(lambda: stream in here.finished)
        assert here.streams == {stream: b"answer"}
        assert not home.errors


@pytest.mark.parametrize("near", [True, False], ids=["client-opens", "server-opens"])
async def test_a_one_way_stream(house, scheme, near) -> None:
    async with house() as home:
        pair = await home.pair(scheme)
        opener, there = (pair.near, pair.server) if near else (pair.far, pair.client)
        stream = opener.open_uni()
        assert stream % 4 == (2 if near else 3)
        data = random.Random(1).randbytes(300_000)
        opener.send(stream, data, True)
        await there.until(lambda: stream in there.finished)
        assert there.streams[stream] == data


async def test_an_empty_stream_still_ends(house, scheme) -> None:
    async with house() as home:
        pair = await home.pair(scheme)
        stream = pair.near.open_uni()
        pair.near.send(stream, b"", True)
        await pair.server.until(lambda: stream in pair.server.finished)
        assert pair.server.streams == {stream: b""}


@pytest.mark.parametrize("code", [0, 5, 7, 9, 29, 30, 33, 42, 255])
async def test_reset_and_stop_carry_their_codes_both_ways(house, scheme, code) -> None:
    async with house() as home:
        pair = await home.pair(scheme)
        ends = (pair.near, pair.client), (pair.far, pair.server)
        for (here, mine), (there, yours) in (ends, ends[::-1]):
            stream = here.open_bidi()
            here.send(stream, b"x")
            await yours.until(lambda s=stream, y=yours: s in y.streams)
            here.reset(stream, code)
            await yours.until(lambda s=stream, y=yours: s in y.resets)
            assert yours.resets[stream] == code
            here.stop(stream, code)
            await yours.until(lambda s=stream, y=yours: s in y.stops)
            assert yours.stops[stream] == code
            # The transport has reset the stopped half: writing to it is a no-op.
            there.send(stream, b"late", True)
            assert there.capacity(stream) >= 0
            assert stream not in mine.streams


async def test_nothing_raises_on_streams_that_are_gone_or_never_were(house, scheme) -> None:
    async with house() as home:
        pair = await home.pair(scheme)
        stream = pair.near.open_uni()
        pair.near.send(stream, b"x", True)
        pair.near.send(stream, b"after the end")
        pair.near.reset(stream, 1)
        for unknown in (stream, 400, 401, 402, 403):
            pair.near.send(unknown, b"x", True)
            pair.near.reset(unknown, 1)
            pair.near.stop(unknown, 1)
            assert pair.near.capacity(unknown) == 0 or unknown == stream
        other = pair.near.open_uni()
        pair.near.send(other, b"alive", True)
        await pair.server.until(lambda: other in pair.server.finished)
        assert not home.errors


async def test_datagrams_both_ways(house, scheme, wait) -> None:
    async with house() as home:
        pair = await home.pair(scheme)
        stream = pair.near.open_uni()
        pair.near.send(stream, b"x", True)
        await pair.server.until(lambda: pair.server.finished)
        for transport, there in ((pair.near, pair.server), (pair.far, pair.client)):
            engine = transport.connection.engine
            await wait(lambda e=engine: e.datagram_limit > 1400)  # the path's size is found
            limit = engine.datagram_limit - (scheme == "https")  # a byte says which session
            assert limit <= 1452
            await wait(lambda t=transport: t.send_datagram(b"first"))
            assert not transport.send_datagram(bytes(limit + 1))
            assert transport.send_datagram(bytes(limit))
            await there.until(lambda t=there: len(t.datagrams) == 2)
            assert there.datagrams == [b"first", bytes(limit)]


async def test_the_datagram_queue_is_bounded(house, scheme) -> None:
    limits = QuicLimits(max_datagram_queue=4)
    async with house(ListenSettings(limits=limits)) as home:
        pair = await home.pair(scheme, limits=limits)
        taken = [pair.near.send_datagram(b"%d" % i) for i in range(8)]
        assert taken == [True] * 4 + [False] * 4
        await pair.server.until(lambda: len(pair.server.datagrams) == 4)
        assert pair.near.send_datagram(b"again")


@pytest.mark.parametrize("near", [True, False], ids=["client-closes", "server-closes"])
async def test_closing_says_code_and_reason_to_both_ends_once(house, scheme, near, wait) -> None:
    async with house() as home:
        pair = await home.pair(scheme)
        (pair.near if near else pair.far).close(77, "tschüss")
        await pair.client.until(lambda: pair.client.lost)
        await pair.server.until(lambda: pair.server.lost)
        await wait(lambda: home.endpoint.connections == 0)
        assert pair.client.lost == pair.server.lost == [(77, "tschüss")]
        for transport in (pair.near, pair.far):
            assert transport.open_uni() is None
            assert transport.open_bidi() is None
            assert transport.capacity() == 0
            assert not transport.send_datagram(b"x")
            transport.send(0, b"x")
            transport.close(1, "again")
            transport.wake()
        await asyncio.sleep(0.02)
        assert pair.client.lost == pair.server.lost == [(77, "tschüss")]


async def test_what_arrives_in_one_turn_is_one_piece(house, scheme) -> None:
    async with house() as home:
        pair = await home.pair(scheme)
        turn, turns = home.endpoint._turn, 0

        def counted(*heard: Any) -> Any:
            nonlocal turns
            turns += 1
            return turn(*heard)

        home.endpoint._turn = counted
        stream = pair.near.open_uni()
        for _ in range(100):
            pair.near.send(stream, b"x" * 80)
        pair.near.send(stream, b"", True)
        await pair.server.until(lambda: pair.server.finished)
        assert len(pair.server.streams[stream]) == 8000
        # Pacing decides in how many turns the packets come, about seven of them.
        assert pair.server.chunks[stream] <= turns


async def test_wake_brings_a_flush_and_its_packets_leave_in_the_same_turn(house, scheme) -> None:
    async with house() as home:
        pair = await home.pair(scheme)
        sent: list[int] = []

        def speak() -> None:
            if not sent:
                stream = pair.near.open_uni()
                sent.append(stream)
                pair.near.send(stream, b"in flush", True)

        pair.client.on_flush = speak
        pair.near.wake()
        await pair.server.until(lambda: pair.server.finished)
        assert bytes(pair.server.streams[sent[0]]) == b"in flush"


async def test_stream_credit_runs_out_and_comes_back(house, scheme) -> None:
    limits = QuicLimits(max_streams=8)
    async with house(ListenSettings(limits=limits)) as home:
        pair = await home.pair(scheme)
        opened = []
        while (stream := pair.near.open_uni()) is not None:
            opened.append(stream)
        # Three of WebTransport's are HTTP/3's own.
        assert len(opened) == (5 if scheme == "https" else 8)
        assert pair.near.open_uni() is None
        for stream in opened:
            pair.near.send(stream, b"x", True)
        await pair.server.until(lambda: len(pair.server.finished) == len(opened))
        again: list[int] = []

        def retry() -> None:
            while (stream := pair.near.open_uni()) is not None:
                again.append(stream)

        pair.client.on_flush = retry
        pair.near.wake()
        await pair.client.until(lambda: len(again) >= len(opened))


async def test_a_thousand_streams_leave_no_trace(house, scheme, wait) -> None:
    async with house() as home:
        pair = await home.pair(scheme)
        for _ in range(20):
            streams = [pair.near.open_bidi() for _ in range(25)]
            streams += [pair.far.open_uni() for _ in range(25)]
            for stream in streams:
                (pair.far if stream & 1 else pair.near).send(stream, b"x", True)
            await pair.server.until(lambda s=streams: set(s[:25]) <= set(pair.server.finished))
            await pair.client.until(lambda s=streams: set(s[25:]) <= set(pair.client.finished))
            for stream in streams[:25]:
                pair.far.send(stream, b"y", True)
            await pair.client.until(lambda s=streams: set(s) <= set(pair.client.finished))
        for transport in (pair.near, pair.far):
            await wait(lambda t=transport: t._engine.unsent == 0)
            assert len(transport._stopped) == 0
            if scheme == "https":
                await wait(lambda t=transport: len(t.http3._stream) <= 7)
                assert len(transport._demux) == 0
                assert len(transport._session_streams) <= 25
                assert not transport._early_stops


async def test_capacity_keeps_a_stalled_readers_buffer_shallow(house, scheme) -> None:
    limits = QuicLimits(max_stream_data=64 << 10, max_data=128 << 10)
    async with house() as home:
        pair = await home.pair(scheme, limits=limits)
        stream = pair.far.open_uni()
        handed = 0
        deepest = 0

        def feed() -> None:
            nonlocal handed, deepest
            room = pair.far.capacity(stream)
            if room and handed < 3_000_000:
                pair.far.send(stream, bytes(room))
                handed += room
            deepest = max(deepest, pair.far._engine.unsent)

        pair.server.on_flush = feed
        pair.far.wake()
        await pair.client.until(lambda: len(pair.client.streams.get(stream, b"")) >= 3_000_000)
        window = pair.far._engine._loss.congestion_window
        assert deepest <= max(window, 128 << 10)


async def test_a_receiver_that_raises_loses_its_own_session_only(house, scheme) -> None:
    async with house() as home:
        bad, good = await home.pair(scheme), await home.pair(scheme)
        bad.server.raise_on = "stream_received"
        stream = bad.near.open_uni()
        bad.near.send(stream, b"x", True)
        await bad.server.until(lambda: bad.server.lost)
        await bad.client.until(lambda: bad.client.lost)
        assert bad.server.lost == bad.client.lost == [(1, "internal error")]
        assert [str(error) for error in home.errors] == ["a mistake in stream_received"]
        stream = good.near.open_uni()
        good.near.send(stream, b"alive", True)
        await good.server.until(lambda: good.server.finished)
        assert not good.server.lost


@pytest.mark.parametrize("moment", ["flush", "datagram_received", "connection_lost"])
async def test_raising_anywhere_is_survived(house, scheme, moment, wait) -> None:
    async with house() as home:
        pair = await home.pair(scheme)
        pair.server.raise_on = moment
        assert pair.near.send_datagram(b"x")
        await pair.server.until(lambda: pair.server.datagrams or pair.server.lost)
        pair.near.close(1, "")
        await pair.server.until(lambda: pair.server.lost)
        assert len(pair.server.lost) == 1
        await wait(lambda: home.endpoint.connections == 0)
        assert [str(error) for error in home.errors] == [f"a mistake in {moment}"]


async def test_rtt_and_bandwidth_become_known(house, scheme, wait) -> None:
    async with house() as home:
        pair = await home.pair(scheme)
        await wait(lambda: pair.near.rtt > 0 and pair.near.bandwidth() > 0)
        assert pair.near.rtt < 1.0


async def test_a_peer_that_vanishes_is_noticed(house, scheme) -> None:
    settings = ListenSettings(limits=QuicLimits(idle_timeout=0.4))
    async with house(settings) as home:
        pair = await home.pair(scheme)
        pair.dialled._endpoint._shut()
        await pair.server.until(lambda: pair.server.lost)
        assert pair.server.lost == [(0, "Idle timeout")]


async def test_whoever_does_not_read_is_shown_out(house, scheme, wait) -> None:
    limits = QuicLimits(max_unsent=100_000)
    async with house(ListenSettings(limits=limits)) as home:
        pair = await home.pair(scheme)
        stream = pair.far.open_bidi()
        pair.far.send(stream, bytes(99_000))
        await pair.client.until(lambda: len(pair.client.streams.get(stream, b"")) == 99_000)
        assert pair.server.lost == []
        for _ in range(11):
            pair.far.send(stream, bytes(10_000))
        await pair.server.until(lambda: pair.server.lost)
        assert pair.server.lost == [(1, "the peer reads too slowly (max_unsent)")]
        await wait(lambda: home.endpoint.connections == 0)


async def test_waiting_for_stream_credit_is_not_work(house, scheme) -> None:
    async with house() as home:
        pair = await home.pair(scheme, limits=QuicLimits(max_streams=4))
        while pair.far.open_uni() is not None:
            pass
        pair.server.on_flush = pair.far.open_uni
        pair.far.wake()
        await asyncio.sleep(0.05)
        before = pair.server.flushes
        await asyncio.sleep(0.1)
        assert pair.server.flushes - before < 5


async def test_acknowledgements_come_in_time(house, scheme, monkeypatch) -> None:
    lost: list[object] = []
    lose = Recovery._lose
    monkeypatch.setattr(
        Recovery, "_lose", lambda self, *given: (lost.append(given), lose(self, *given))[1]
    )
    async with house() as home:
        pair = await home.pair(scheme)
        await asyncio.sleep(0.2)
        lost.clear()
        for near in (pair.near, pair.far):
            for _ in range(5):
                stream = near.open_uni()
                near.send(stream, bytes(2000), True)
                await asyncio.sleep(0.1)
    # A late one is taken for a loss: each group would be sent twice.
    assert len(lost) <= 2
