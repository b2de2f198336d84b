"""Where the HTTP faces listen, and which port number QUIC shares with them."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from ports import free_ports
from relay.config import Settings, load
from relay.control.serve import listen
from relay.errors import ConfigError
from relay.net import udp
from relay.net.udp import Socket
from relay.server.listeners import TRIES, open_sockets


def settings(port: int = 0, **more: Any) -> Settings:
    flags = {"server.listen": f"127.0.0.1:{port}", "auth.public": "anon"}
    flags |= {"server.tls.generate": ["localhost"]} | more
    return load(None, flags, {}).settings


class Quic:
    """Binds QUIC, where it is told first, and keeps what it opened."""

    def __init__(self, *ports: int) -> None:
        self.ports = list(ports)
        self.opened: list[Socket] = []

    def __call__(self, host: str, port: int) -> list[list[Socket]]:
        pair = udp.bind(host, self.ports.pop(0) if self.ports else port, 65536)
        self.opened += pair
        return [pair]


@pytest.fixture
def taken() -> Any:
    """A port number that TCP has not free, and UDP has."""
    with listen("127.0.0.1", free_ports(1)[0])[0] as sock:
        yield sock.getsockname()[1]


def test_http_has_the_port_number_of_quic() -> None:
    quic = Quic()
    workers, faces = open_sockets(settings(), quic)
    assert list(faces) == ["http"]
    assert workers == [quic.opened]
    assert faces["http"][0].getsockname() == quic.opened[0].getsockname()
    faces["http"][0].close()
    quic.opened[0].close()


def test_where_tcp_has_it_not_free_another_number_is_tried(taken: int) -> None:
    quic = Quic(taken, taken)
    workers, faces = open_sockets(settings(), quic)
    assert [sock.fileno() == -1 for sock in quic.opened] == [True, True, False]
    assert workers == [quic.opened[2:]]
    assert faces["http"][0].getsockname()[1] == quic.opened[2].getsockname()[1] != taken
    faces["http"][0].close()
    quic.opened[2].close()


def test_where_udp_has_it_not_free_another_number_is_tried(taken: int) -> None:
    with udp.bind("127.0.0.1", taken, 65536)[0]:
        quic = Quic(taken)
        workers, faces = open_sockets(settings(), quic)
    assert workers == [quic.opened]
    assert faces["http"][0].getsockname() == quic.opened[0].getsockname()
    faces["http"][0].close()
    quic.opened[0].close()


def test_not_for_ever(taken: int) -> None:
    quic = Quic(*[taken] * (TRIES + 1))
    with pytest.raises(
        ConfigError, match=r"web\.http\.listen: cannot listen on TCP .* there already"
    ):
        open_sockets(settings(), quic)
    assert [sock.fileno() for sock in quic.opened] == [-1] * TRIES


def test_a_port_that_was_asked_for_is_the_only_one(taken: int) -> None:
    quic = Quic()
    with pytest.raises(ConfigError, match=f"web.http.listen: cannot listen on TCP .*:{taken}"):
        open_sockets(settings(taken), quic)
    assert [sock.fileno() for sock in quic.opened] == [-1]


def test_a_port_that_udp_has_not_free(taken: int) -> None:
    no = pytest.raises(ConfigError, match=f"server.listen: cannot listen on UDP .*:{taken}")
    with udp.bind("127.0.0.1", taken, 65536)[0], no:
        open_sockets(settings(taken), Quic())


def test_a_face_that_cannot_be_had_leaves_nothing_open(taken: int) -> None:
    quic = Quic()
    with pytest.raises(ConfigError, match=r"internal\.listen: cannot listen on TCP"):
        open_sockets(settings(**{"internal.listen": f"127.0.0.1:{taken}"}), quic)
    assert [sock.fileno() for sock in quic.opened] == [-1] * TRIES


def test_nobody_else_can_listen_there_from_the_start() -> None:
    quic = Quic()
    _, faces = open_sockets(settings(), quic)
    address = faces["http"][0].getsockname()
    with pytest.raises(ConfigError, match="there already"):
        listen(*address)
    with socket.create_connection(address, timeout=5):
        pass  # and who comes early waits
    faces["http"][0].close()
    quic.opened[0].close()
