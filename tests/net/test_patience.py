"""What takes long to hear."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

import pytest

from relay.net import patience
from relay.net.patience import Patience, turns
from relay.net.udp import Run, Socket


def run(name: str, size: int) -> Run:
    return (name, 1), [b"x"] * size


async def test_what_is_left_is_heard_in_its_turn_and_before_what_comes_later() -> None:
    heard: list[str] = []

    def listen(sock: Socket, runs: Sequence[Run], until: float) -> Sequence[Run]:
        (address, _), *left = runs
        heard.append(str(address[0]))
        return left

    with socket.socket() as sock:
        known = Patience(asyncio.get_running_loop(), listen)
        known.hear(sock, sock, [run("a", 1), run("b", 1), run("c", 1)])
        assert known.is_over(sock)
        known.hear(sock, sock, [run("d", 1)])
        assert heard == ["a"]
        while known.is_over(sock):
            await asyncio.sleep(0)
            heard.append("others")
        assert heard == ["a", "b", "others", "c", "others", "d", "others"]


@pytest.fixture
def fed(monkeypatch) -> list[tuple[object, str, int]]:
    """To whom datagrams were fed, from which address, and how many; each takes a millisecond for
    each 1,000 bytes or less."""
    time = [0.0]
    heard: list[tuple[object, str, int]] = []
    monkeypatch.setattr("relay.net.endpoint.Endpoint.now", lambda self: time[0])
    monkeypatch.setattr("relay.net.endpoint.monotonic", lambda: time[0])

    def feed(self, datagrams, address, now) -> None:
        heard.append((self, address[0], len(datagrams)))
        time[0] += sum(1 + len(each) // 1000 for each in datagrams) / 1000

    monkeypatch.setattr("relay.net.connection.Connection.feed", feed)
    return heard


async def test_packets_that_take_long_have_several_turns(house, request) -> None:
    async with house() as home:
        rude, good = await home.pair("moqt"), await home.pair("moqt")
        far, near = rude.far.connection, good.far.connection
        endpoint, fed = home.endpoint, request.getfixturevalue("fed")
        ids = [next(iter(each.ids)) for each in (far, near)]
        runs = [(("192.0.2.1", 1), [b"@" + id + bytes(20)] * 64) for id in ids]
        left = endpoint._listen(endpoint._sockets[0], runs, patience.SECONDS)
        # One was heard for as long as there is; the other has the next turn before it.
        assert fed == [(far, "192.0.2.1", patience.PORTION)]
        assert [len(datagrams) for _, datagrams in left] == [64, 64 - patience.PORTION]
        assert left[0] == runs[1]


async def test_what_is_left_at_one_address_keeps_nobody_from_another(
    house, monkeypatch, request
) -> None:
    async with house() as home:
        pair = await home.pair("moqt")
        endpoint = home.endpoint
        busy, read = endpoint._sockets[0], list[object]()
        packet = b"@" + next(iter(pair.far.connection.ids)) + bytes(20)
        request.getfixturevalue("fed")
        monkeypatch.setattr(patience, "monotonic", lambda: 0.0)
        endpoint._receive = lambda sock, limit, alike: (read.append(sock) or [], 0)
        endpoint._hear(busy, busy, [(("192.0.2.1", 1), [packet] * 64)])
        with socket.socket() as other:
            for sock in (busy, other):
                endpoint._readable(sock)
            assert read == [other]
        endpoint._patience.clear()


async def test_large_packets_have_more_turns(house, request) -> None:
    async with house() as home:
        pair = await home.pair("moqt")
        connection, fed = pair.far.connection, request.getfixturevalue("fed")
        packet = b"@" + next(iter(connection.ids))
        run = ("192.0.2.1", 1), [packet + bytes(20)] * 4 + [packet + bytes(60_000)] * 60
        left = home.endpoint._listen(home.endpoint._sockets[0], [run], patience.SECONDS)
        assert sum(count for *_, count in fed) == 5
        assert [len(datagrams) for _, datagrams in left] == [59]


async def test_who_speaks_from_two_addresses_has_no_longer_turns(house, request) -> None:
    async with house() as home:
        pair = await home.pair("moqt")
        connection, fed = pair.far.connection, request.getfixturevalue("fed")
        packet = b"@" + next(iter(connection.ids)) + bytes(20)
        runs = [(("192.0.2.1", 1), [packet] * 2), (("192.0.2.2", 1), [packet] * 200)]
        left = home.endpoint._listen(home.endpoint._sockets[0], runs, patience.SECONDS)
        assert fed == [(connection, "192.0.2.2", patience.PORTION)]
        assert left == [runs[0], (runs[1][0], [packet] * (200 - patience.PORTION))]


@pytest.mark.parametrize("count", [2, 300])
async def test_handshakes_have_several_turns(house, monkeypatch, count) -> None:
    async with house() as home:
        endpoint, time = home.endpoint, [0.0]
        monkeypatch.setattr("relay.net.endpoint.monotonic", lambda: time[0])
        begun = []

        def take(self, sock, data, address, now) -> None:
            begun.append(data)
            time[0] += 0.001

        monkeypatch.setattr(type(endpoint), "_take", take)
        runs = [((f"192.0.2.{at % 7}", at), [b"\xc0" + bytes([at % 256])]) for at in range(count)]
        left = endpoint._listen(endpoint._sockets[0], runs, patience.SECONDS)
        assert len(begun) == min(count, 10)
        assert left == runs[len(begun) :]


def test_what_each_said_stays_in_its_order() -> None:
    came = [run(name, size) for name, size in (("b", 1), ("a", 2), ("c", 3), ("b", 4))]
    left = turns(came, [run("a", 1)], lambda each: each[0][0])
    said = [(address[0], len(datagrams)) for address, datagrams in left]
    assert said == [("b", 1), ("c", 3), ("b", 4), ("a", 1), ("a", 2)]
