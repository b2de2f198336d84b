"""What a worker is given: it arrives whole, and not one byte more is read."""

import os
import socket
from pathlib import Path

import pytest

from relay.config import load
from relay.errors import ConfigError
from relay.server.post import DRAIN, HURRY, Orders, lost, read_lost, read_orders, write_orders


@pytest.fixture
def orders(tmp_path: Path) -> Orders:
    """Orders with a secret and every kind of section."""
    file = tmp_path / "relay.toml"
    file.write_text(
        '[auth]\npublic = ["a", "b"]\n[auth.api_keys.plant]\n'
        'hash = "' + "ab" * 20 + '"\nroot = "plant"\npublish = ""\n'
        '[cluster]\nconnect = ["https://other.test/?jwt=x"]\n'
    )
    return Orders(load(file, environ={}).settings, 1, 3, str(tmp_path), 2, {"http": 1})


def test_they_arrive_whole_and_what_follows_is_left(orders: Orders) -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, write_orders(orders) + DRAIN)
        assert read_orders(reading) == orders
        assert os.read(reading, 10) == DRAIN
    finally:
        os.close(reading)
        os.close(writing)


def test_of_whom_the_crew_says_that_it_has_died() -> None:
    assert read_lost(lost(3, "00ff")) == (3, "00ff")
    for other in (DRAIN, HURRY, b"\n", lost(3, "00ff")[:-1], b"x 3 \n", b"x -1 00\n"):
        assert read_lost(other) is None


def test_a_crew_that_is_gone_gives_none(orders: Orders) -> None:
    for written in (b"", write_orders(orders)[:-1]):
        reading, writing = os.pipe()
        os.write(writing, written)
        os.close(writing)
        with pytest.raises(ConfigError, match="started by relay run"):
            read_orders(reading)
        os.close(reading)


def test_the_sockets_of_a_post_are_those_given(orders: Orders, tmp_path: Path) -> None:
    udp = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    tcp = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    names = [each.getsockname() for each in (*udp, *tcp)]
    faces = {"http": 1, "https": 0, "internal": 2}
    mine = Orders(orders.settings, 1, 3, str(tmp_path), len(udp), faces).post(
        [each.detach() for each in (*udp, *tcp)]
    )
    assert {name: len(each) for name, each in mine.faces.items()} == faces
    found = [*mine.quic, *mine.faces["http"], *mine.faces["internal"]]
    assert [each.getsockname() for each in found] == names
    assert not any(each.getblocking() for each in found)
    for each in found:
        each.close()
    assert mine.place("link") == str(tmp_path / "link-1")
    assert mine.place("link", 2) == str(tmp_path / "link-2")
