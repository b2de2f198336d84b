"""What all guests share: the broadcasts, the books, and who still has to be told.

The law: it is made once, and everybody below the door is handed it. This module must not know any
guest, nor how one behaves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from relay.model.origin import Origin
from relay.peer.listing import Listings
from relay.peer.orphans import Orphans
from relay.peer.settings import PeerSettings
from relay.quota import Ledger


@dataclass(slots=True)
class House:
    """What all guests share."""

    origin: Origin
    clock: Callable[[], float]
    """Monotonic seconds."""
    settings: PeerSettings = field(default_factory=PeerSettings)
    log: Callable[..., None] = lambda event, **facts: None
    """Where noteworthy things are written: an event's name and its facts."""
    ledger: Ledger = field(default_factory=Ledger)
    """What each tenant uses and may use."""
    audit: Callable[..., None] = lambda action, **facts: None
    """Where it is kept who was let in, turned away and shown out. Must not raise nor wait."""
    orphans: Orphans = field(default_factory=Orphans)
    """What was announced by guests that are gone, and has still to be lost."""
    listings: Listings = field(default_factory=Listings)
    """Who waits to be told of what is announced."""
