"""What a peer hears whose connection nobody knows any more (RFC 9000, 10.3)."""

from __future__ import annotations

import asyncio
import math
import socket
import time
from typing import Any

import pytest

from pace import within
from relay.errors import SessionLost
from relay.net.dial import dial
from relay.net.gate import CID_LENGTH
from relay.net.resets import LEAST, MOST, PER_SECOND, TOKEN, Resets
from relay.net.tls import Certificates


def packet(cid: bytes, size: int) -> bytes:
    return b"\x41" + cid + bytes(size - 1 - len(cid))


def test_the_same_key_proves_the_same_and_another_one_does_not() -> None:
    pair = Certificates.generated(["localhost"]).current
    one, again = Resets.of(pair, 8), Resets.of(pair, 8)
    other = Resets.of(Certificates.generated(["localhost"]).current, 8)
    assert one.token(b"12345678") == again.token(b"12345678")
    assert one.token(b"12345678") != one.token(b"12345679")
    assert one.token(b"12345678") != other.token(b"12345678")
    assert len(one.token(b"x")) == TOKEN


@pytest.mark.parametrize("size", [1, 9, LEAST, LEAST + 1, MOST, MOST + 1, 1200])
def test_an_answer_is_smaller_than_what_it_answers(size: int) -> None:
    resets = Resets(b"secret", 8)
    answer = resets.answer(packet(b"12345678", max(size, 9))[:size], 5.0)
    if size <= LEAST:
        assert answer is None
        return
    assert answer is not None
    assert LEAST <= len(answer) < size
    assert len(answer) <= MOST
    assert answer[0] & 0xC0 == 0x40
    assert answer.endswith(resets.token(b"12345678"))
    assert answer != resets.answer(packet(b"12345678", size), 5.0), "the rest is noise"


def test_what_is_no_packet_is_not_answered() -> None:
    assert Resets(b"secret", 8).answer(bytes(1200), 5.0) is None


def test_there_are_so_many_in_a_second() -> None:
    resets = Resets(b"secret", 8)
    answers = [resets.answer(packet(b"12345678", 50), 7.0 + n / 1000) for n in range(900)]
    assert sum(answer is not None for answer in answers) == PER_SECOND
    assert resets.answer(packet(b"12345678", 50), 8.0) is not None


async def test_who_comes_after_on_the_port_tells_the_clients_of_who_was_there(house) -> None:
    async with house() as first:
        pair = await first.pair("moqt")
        engine = pair.near.connection.engine
        resets = Resets.of(first.certificates.current, CID_LENGTH)
        known = [engine._peer_cid, *engine._peer_cid_available]
        assert len(known) > 1
        for each in known:
            assert each.stateless_reset_token == resets.token(each.cid)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.settimeout(5)
            stranger.connect(("127.0.0.1", first.port))
            stranger.send(packet(b"nobody's", 60))
            await asyncio.sleep(0.1)  # in this loop the answer is made
            reset = stranger.recv(2000)
            assert len(reset) == MOST
            assert reset.endswith(resets.token(b"nobody's"))
            stranger.send(packet(known[0].cid, 60))  # somebody's: not opened, and no reset
            await asyncio.sleep(0.1)
            stranger.setblocking(False)
            with pytest.raises(BlockingIOError):
                stranger.recv(2000)


async def test_they_are_proven_by_the_key_that_the_next_process_will_have(house) -> None:
    certificates = Certificates.generated(["localhost"])
    async with house(certificates=certificates) as first:
        early = (await first.pair("moqt")).near.connection.engine._peer_cid
        before = Resets.of(certificates.current, CID_LENGTH)
        certificates.current = Certificates.generated(["localhost"]).current
        late = (await first.pair("moqt")).near.connection.engine._peer_cid
        after = Resets.of(certificates.current, CID_LENGTH)
        assert early.stateless_reset_token == before.token(early.cid)
        assert late.stateless_reset_token == after.token(late.cid)
        answer = first.serving.resets.answer(packet(b"nobody's", 60), 0.0)
        assert answer is not None
        assert answer.endswith(after.token(b"nobody's"))


@pytest.mark.parametrize("scheme", ["moqt", "https"])
async def test_who_dialled_hears_at_once_that_nobody_knows_the_session(house, scheme) -> None:
    async with house() as first:
        pair = await first.pair(scheme)
        endpoint = first.endpoint
        await asyncio.sleep(0.1)  # all handshakes are done
        for connection in list(endpoint._lines):
            connection.is_terminated = True
            endpoint._forget(connection)  # as if the process had died
        pair.near.ping()
        await within(1.0, lambda: pair.client.lost)
        assert pair.near.is_closed


async def test_what_came_before_a_reset_is_heard_before_it(house, monkeypatch) -> None:
    async with house() as first:
        pair = await first.pair("moqt")
        await asyncio.sleep(0.1)  # all handshakes are done
        near, held = pair.near.connection.host, []
        listen = near._listen

        def hold(sock: Any, runs: Any, until: float) -> tuple[()]:
            """As if the loop were busy elsewhere: all of it is there when it comes to read."""
            held.append((sock, runs))
            return ()

        monkeypatch.setattr(near._patience, "_listen", hold)
        monkeypatch.setattr(near, "_listen_to_one", lambda address, datagrams: False)
        stream = pair.far.open_uni()
        pair.far.send(stream, b"goodbye", True)
        await within(1.0, lambda: held)
        for connection in list(first.endpoint._lines):
            connection.is_terminated = True
            first.endpoint._forget(connection)
        before = len(held)
        pair.near.ping()
        await within(1.0, lambda: len(held) > before)
        listen(held[0][0], [run for _, runs in held for run in runs], math.inf)
        await within(1.0, lambda: pair.client.lost)
        assert pair.client.streams[stream] == b"goodbye"


async def test_so_does_who_has_not_done_with_its_handshake(house, monkeypatch) -> None:
    async with house() as first:
        endpoint, take = first.endpoint, first.endpoint._take

        def die(*packet: Any) -> Any:
            """Whoever was let in is known no more at the next packet, as if the process had died
            after its first answer."""
            for connection in list(endpoint._lines):
                connection.is_terminated = True
                endpoint._forget(connection)
            return take(*packet)

        monkeypatch.setattr(endpoint, "_take", die)
        began = time.monotonic()
        with pytest.raises(SessionLost, match="knows nothing of it any more"):
            await dial(first.url("https"), protocols=("moq-lite-05",), tls=first.trust)
        assert time.monotonic() - began < 5.0


async def test_a_reset_that_proves_nothing_is_not_believed(house) -> None:
    async with house() as first:
        pair = await first.pair("moqt")
        engine = pair.near.connection.engine
        token = engine._peer_cid.stateless_reset_token
        for data in (
            packet(b"12345678", LEAST),
            packet(b"12345678", 30)[:-TOKEN] + bytes([token[0] ^ 1]) + token[1:],
            token,
            b"A" + token,
        ):
            assert not engine.hear_reset(data, 0.0)
        assert not pair.near.is_closed
        assert engine.hear_reset(b"A" * (LEAST - TOKEN) + token, asyncio.get_running_loop().time())
        assert not engine.hear_reset(b"A" * (LEAST - TOKEN) + token, 0.0), "it is over already"
