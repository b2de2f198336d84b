"""What the other workers of this relay have here: their sessions among each other.

The law: to whoever counts or looks from outside, several workers are one relay, so what they watch
and announce for each other is nobody's. This module must not know who counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from relay.model.broadcast import Broadcast, Route
from relay.model.track import Track
from relay.peer.guest import Guest


class Inner:
    """What they have here at this moment."""

    def __init__(self, links: Iterable[Guest]) -> None:
        """``links`` are the relays that were dialled or are near."""
        near = [guest for guest in links if guest.is_near]
        self._watched = Counter(
            viewing.track
            for guest in near
            for viewing in guest.watching.viewings.values()
            if not viewing.completing
        )
        self._routes = {route for guest in near for route in guest.announcements.routes.values()}

    @property
    def announces(self) -> int:
        """Announcements in force here that they made."""
        return len(self._routes)

    def viewers(self, track: Track) -> int:
        """How many watch a track without them."""
        return max(0, track.viewers - self._watched[track])

    def routes(self, broadcast: Broadcast) -> list[Route]:
        """Its ways that do not lead over them, the best first."""
        return [route for route in broadcast.routes if route not in self._routes]

    def is_home(self, broadcast: Broadcast) -> bool:
        """Whether it comes to the relay here, and not to another worker."""
        return not broadcast.routes or broadcast.routes[0] not in self._routes
