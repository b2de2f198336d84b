"""Connections: nobody has all of them from one address, but a proxy that is believed."""

from __future__ import annotations

import pytest

from relay.control.lobby import Lobby
from relay.control.settings import PublicLimits

HERE, THERE = ("192.0.2.1", 1), ("192.0.2.2", 1)


def crowd(lobby: Lobby, address: tuple[str, int], count: int = 20) -> tuple[int, int]:
    """So many come from there; how many are served, and how many heard."""
    visitors = [object() for _ in range(count)]
    heard = [lobby.arrive(each, address) for each in visitors]
    served = [lobby.serves(each) for each in visitors]
    for each, is_heard in zip(visitors, heard, strict=True):
        if not is_heard:
            lobby.leave(each)
    return sum(served), sum(heard)


@pytest.mark.parametrize(("each", "share"), [(None, 4), (6, 6), (50, 8)])
def test_one_address_has_a_share_and_leaves_the_rest(each: int | None, share: int) -> None:
    told: list[tuple[str, str]] = []
    limits = PublicLimits(max_connections=8, max_connections_per_address=each)
    lobby = Lobby(limits, (), lambda *who: told.append(who))
    assert crowd(lobby, HERE) == (share, min(2 * share, 16))
    why = "more than web.limits.max_connections" + "_per_address" * (share < 8)
    assert told == [(why, "192.0.2.1")] * (20 - share)
    assert crowd(lobby, THERE)[0] == min(share, 8 - share)


def test_all_of_one_network_are_one_address() -> None:
    lobby = Lobby(PublicLimits(max_connections=8))
    assert crowd(lobby, ("2001:db8::1", 1), 3) == (3, 3)
    assert crowd(lobby, ("2001:db8::2", 1), 3) == (1, 3)
    assert crowd(lobby, ("2001:db8:0:1::1", 1), 3) == (3, 3)


@pytest.mark.parametrize("host", ["10.1.2.3", "::ffff:10.1.2.3"])
def test_a_proxy_that_is_believed_comes_for_many(host: str) -> None:
    lobby = Lobby(PublicLimits(max_connections=8), ["10.0.0.0/8"])
    assert crowd(lobby, (host, 1)) == (8, 16)


def test_whoever_leaves_makes_room_once() -> None:
    lobby = Lobby(PublicLimits(max_connections=2))
    first, second = object(), object()
    for address in (HERE, ("", 0)):
        assert (lobby.arrive(first, address), lobby.serves(first)) == (True, True)
        assert lobby.arrive(first, address)
        assert (lobby.arrive(second, address), lobby.serves(second)) == (True, False)
        for _ in range(2):
            lobby.leave(second)
            lobby.leave(first)
        assert first not in lobby
