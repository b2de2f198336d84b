"""Whom to dial: what the operator lists, what a server lists, what relays tell of themselves.

Several may want the same relay; it is dialled once, as the most important of them says. This module
must not know time, or how anything is dialled.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from relay.cluster.address import Address

MAX_RELAYS = 1024
"""Relays dialled at a time. Further ones that others told of are left out."""


class Wish(IntEnum):
    """Who wants a relay dialled, the most important first."""

    LISTED = 0
    """``cluster.connect``."""
    SERVED = 1
    """``cluster.connect_api``."""
    GOSSIPED = 2
    """The relay itself, through others."""


class Roster:
    """The relays to dial, by key."""

    def __init__(self, own: str | None = None) -> None:
        """``own`` is this relay's key, which is never dialled."""
        self.own = own
        self._wishes: dict[Wish, dict[str, Address]] = {wish: {} for wish in Wish}

    def want(self, wish: Wish, addresses: Mapping[str, Address]) -> None:
        """Replace all that somebody wants."""
        self._wishes[wish] = {key: each for key, each in addresses.items() if key != self.own}

    def add(self, wish: Wish, address: Address) -> None:
        """One more, or another address of the same relay."""
        if address.key != self.own:
            self._wishes[wish][address.key] = address

    def drop(self, wish: Wish, key: str) -> None:
        """One fewer."""
        self._wishes[wish].pop(key, None)

    def wanted(self) -> dict[str, Address]:
        """What is to be dialled now."""
        chosen: dict[str, Address] = {}
        for wish in Wish:
            for key, address in self._wishes[wish].items():
                if len(chosen) < MAX_RELAYS:
                    chosen.setdefault(key, address)
        return chosen
