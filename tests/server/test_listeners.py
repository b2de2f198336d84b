"""Where the HTTP faces listen, and which port number QUIC shares with them."""

from __future__ import annotations

from relay.config import load
from relay.control.serve import listen
from relay.server.listeners import TRIES, ports


def test_a_port_that_any_will_do_is_free_for_both() -> None:
    flags = {"server.listen": "127.0.0.1:0", "auth.public": "anon"}
    settings = load(None, flags | {"server.tls.generate": ["localhost"]}, {}).settings
    found = ports(settings)
    assert len(found) == TRIES
    for port in found:
        listen("127.0.0.1", port).close()


def test_a_port_that_was_asked_for_is_the_only_one() -> None:
    flags = {"server.listen": "127.0.0.1:4443", "auth.public": "anon"}
    settings = load(None, flags | {"server.tls.generate": ["localhost"]}, {}).settings
    assert ports(settings) == [4443]
