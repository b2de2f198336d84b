"""A peer that finished its handshake, and then sends what it likes."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from tests.net.paths import begun

from relay.net.engine import Engine, configure
from relay.net.recovery import Recovery, Train
from relay.net.reordering import Reordering
from relay.net.settings import QuicLimits
from relay.net.tls import Certificates

PAIR = Certificates.generated(["localhost"]).current
HERE, THERE = ("192.0.2.2", 2), ("192.0.2.1", 1)
PING, PATH_CHALLENGE = b"\x01", b"\x1a12345678"


class Attacked:
    """An engine, and the keys of its client."""

    def __init__(self, speedups: bool) -> None:
        limits = QuicLimits(speedups=speedups)
        asking, serving = configure(limits, True, ("x",)), configure(limits, False, ("x",))
        asking.verify_mode = ssl.CERT_NONE
        serving.certificate, serving.private_key = PAIR.chain[0], PAIR.key
        self.client = Engine(asking, limits)
        self.server = Engine(serving, limits, self.client.original_destination_connection_id)
        self.now = 100.0
        self.client.connect(THERE, self.now)
        for _ in range(8):
            for data, _ in self.client.datagrams_to_send(self.now):
                self.server.receive_datagram(data, HERE, self.now)
            for data, _ in self.server.datagrams_to_send(self.now):
                self.client.receive_datagram(data, THERE, self.now)
            self.now += 0.05
        assert self.server.is_settled

    def say(self, plain: bytes, address: tuple[str, int] = HERE) -> None:
        """A packet with these frames arrives."""
        client = self.client
        number, client._packet_number = client._packet_number, client._packet_number + 1
        first = 0x41 | client._keys.phase << 2
        plain, cid = plain.ljust(4, b"\0"), client._peer_cid.cid
        packet = client._keys.sealer.seal(plain, first, cid, number)
        self.server.receive([packet], address, self.now)

    def pass_until(self, until: float) -> None:
        """What is due by then is done; nothing that is sent arrives."""
        self.server.departures(self.now)
        while (at := self.server.deadline()) is not None and at <= until:
            self.now = max(self.now, at)
            self.server.handle_timer(self.now)
            self.server.departures(self.now)
        self.now = until


@pytest.fixture(params=[False, True], ids=["python", "c"])
def attacked(request: Any) -> Iterator[Attacked]:
    return Attacked(request.param)


def test_one_that_acknowledges_nothing_is_asked_for_ever(attacked) -> None:
    attacked.server.open_stream(True, b"hello", False)
    for _ in range(700):  # more than 1,024 probes, and all doubled the wait
        attacked.say(PING)
        attacked.pass_until(attacked.now + 8.0)
    assert not attacked.server.is_over
    assert attacked.server.deadline() < attacked.now + 4.0


def test_mere_acknowledgements_are_not_kept_until_they_are_acknowledged(attacked) -> None:
    for _ in range(1000):
        attacked.say(PATH_CHALLENGE)
        attacked.pass_until(attacked.now + 0.001)
    assert not attacked.server.is_over
    assert len(attacked.server._loss.book) < 50


def test_one_whose_address_changes_for_ever_is_not_probed_each_time(attacked) -> None:
    attacked.server.open_stream(True, bytes(100_000), False)
    for each in range(1000):
        attacked.say(PING, (HERE[0], 5 + each % 2))
        attacked.pass_until(attacked.now + 0.001)
    assert not attacked.server.is_over
    assert len(attacked.server._loss.book) < 300


class Counted(Train):
    """A train that counts how often it is looked at."""

    looks = 0

    @property
    def first(self) -> int:  # type: ignore[override]
        Counted.looks += 1
        return Train.first.__get__(self)  # type: ignore[attr-defined, no-any-return]

    @first.setter
    def first(self, number: int) -> None:
        Train.first.__set__(self, number)  # type: ignore[attr-defined]


@pytest.mark.parametrize("number", [1, 1 << 40], ids=["between", "never sent"])
def test_ranges_that_touch_nothing_cost_next_to_nothing(number) -> None:
    recovery, space = begun(Recovery, "reno", 1200)
    for each in range(1000):
        recovery.enter(Counted(2 * each, 2 * each, 100, 1.0), space)
    Counted.looks = 0
    made_up = [(number + 2 * each, number + 2 * each) for each in range(64)]
    recovery.acknowledge_all(space, made_up, 0.0, 1.1)
    assert len(recovery.book) == 1000
    assert Counted.looks < 4 * len(made_up)


@pytest.mark.parametrize("number", [1, 1 << 40], ids=["between", "never sent"])
def test_nor_are_they_looked_for_among_what_was_lost(number, monkeypatch) -> None:
    recovery, space = begun(Recovery, "reno", 1200)
    recovery.reordering.gone = [(4 * each, 4 * each, 1.0) for each in range(64)]
    looks: list[tuple[int, int]] = []

    def arrived(reordering: Reordering, first: int, last: int, *_: object) -> bool:
        looks.append((first, last))
        return False

    monkeypatch.setattr(Reordering, "arrived", arrived)
    made_up = [(number + 4 * each, number + 4 * each + 1) for each in range(64)]
    recovery.acknowledge_all(space, made_up, 0.0, 1.1)
    assert looks == []
    recovery.acknowledge_all(space, [(1, 4), (6, 7), (39, 50), (1 << 41, 1 << 41)], 0.0, 1.1)
    assert looks == [(1, 4), (39, 50)]
