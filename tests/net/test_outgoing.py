"""What a packet costs does not depend on what the connection has been through."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import StreamDataReceived

from relay.net.engine import Engine, configure
from relay.net.settings import QuicLimits
from relay.net.short_way import packets_by
from relay.net.tls import Certificates

PAIR = Certificates.generated(["localhost"]).current
HERE, THERE = ("192.0.2.2", 2), ("192.0.2.1", 1)
FRAMES = 200
"""Groups of one frame over which is counted."""

CALLS = 95
SLACK = 1.2
"""By how much the work may differ."""


class Counter:
    """Counts calls of Python and of C while something is done."""

    def __init__(self) -> None:
        self.calls = 0

    def _note(self, frame: Any, event: str, argument: Any) -> None:
        if event in ("call", "c_call"):
            self.calls += 1

    def __call__(self, what: Callable[..., Any], *arguments: Any) -> Any:
        before = sys.getprofile()
        sys.setprofile(self._note)
        try:
            return what(*arguments)
        finally:
            sys.setprofile(before)


class Pair:
    """An engine that sends and a client that listens, without a network between."""

    def __init__(self) -> None:
        self.now = 100.0
        self.count = Counter()
        limits = QuicLimits(max_streams=1000, idle_timeout=1000.0)
        self.client = QuicConnection(configuration=configure(limits, True, ("x",)))
        self.client.configuration.verify_mode = ssl.CERT_NONE
        serving = configure(limits, False, ("x",))
        serving.certificate, serving.private_key = PAIR.chain[0], PAIR.key
        self.server = Engine(
            serving, replace(limits), self.client.original_destination_connection_id
        )
        for limit in (self.client._local_max_streams_bidi, self.client._local_max_streams_uni):
            limit.value = limit.sent = 1000
        self.client.connect(THERE, self.now)
        self.got = 0
        for _ in range(60):  # handshake, and the size of packets
            self.turn()

    def turn(self) -> None:
        """A round trip; only what the engine does counts."""
        for data, _ in self.count(self.server.datagrams_to_send, self.now):
            self.client.receive_datagram(data, THERE, self.now)
        self.now += 0.01
        self.client.handle_timer(self.now)
        while (event := self.client.next_event()) is not None:
            if isinstance(event, StreamDataReceived):
                self.got += len(event.data)
        for data, _ in self.client.datagrams_to_send(self.now):
            self.count(self.server.receive_datagram, data, HERE, self.now)
        while self.count(self.server.next_event) is not None:
            pass
        self.now += 0.03
        for end in (self.server, self.client):
            due = end.get_timer() if end is self.client else end.deadline()
            if due is not None and due <= self.now:
                end.handle_timer(self.now)

    def frame(self) -> None:
        """A group of one frame, on a stream of its own."""
        stream = self.count(self.server.open_stream, True)
        assert stream is not None
        self.count(self.server.send, stream, bytes(3000), True)
        self.turn()

    def cost(self) -> int:
        """Calls for so many frames, when all before has been forgotten."""
        for _ in range(10):
            self.turn()
        got, self.count.calls = self.got, 0
        for _ in range(FRAMES):
            self.frame()
        assert self.got - got >= (FRAMES - 1) * 3000
        return self.count.calls


def hold(pair: Pair, count: int) -> None:
    """Open streams that stay open, with something on each."""
    for _ in range(count):
        stream = pair.server.open_stream(True)
        assert stream is not None
        pair.server.send(stream, b"begun", False)
        pair.turn()


def test_a_frame_costs_few_calls() -> None:
    # Of Python and of C, for a stream, three packets out and what is heard of them: whoever adds
    # to the path of every packet has a reason, and raises this.
    if packets_by(QuicLimits()) != "c":
        pytest.skip("the C extension was not built")
    assert Pair().cost() / FRAMES < CALLS


@pytest.mark.slow
def test_a_packet_costs_the_same_after_thousands_of_streams() -> None:
    pair = Pair()
    for _ in range(100):
        pair.frame()
    early = pair.cost()
    for _ in range(5000):
        pair.frame()
    assert pair.cost() <= early * SLACK
    assert len(pair.server._streams) < 20


def test_a_packet_costs_the_same_with_hundreds_of_streams_open() -> None:
    few, many = Pair(), Pair()
    hold(few, 10)
    hold(many, 500)
    assert len(many.server._streams) >= 500
    assert many.cost() <= few.cost() * SLACK
