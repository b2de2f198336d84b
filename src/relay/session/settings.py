"""Ceilings of one conversation. This module must not know what a relay does with it."""

from __future__ import annotations

from dataclasses import dataclass, replace

LINK_STREAMS = 65_536
"""Streams of each kind that another relay may have in use at a time."""


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """Each field is a limit per session with its unit and what happens when it is hit."""

    max_message: int = 65_536
    """Bytes of one control message. More: the session is closed (decode error)."""

    max_frame: int = 33_554_432
    """Bytes of one frame. More: that group is refused."""

    max_announces: int = 16_384
    """Broadcasts one peer may announce at a time. More: the session is closed. The interpreter of
    moq-transport counts tracks as well, and refuses the new one."""

    max_announce_requests: int = 128
    """Announce streams of one peer at a time, each told everything below its prefix. More: the
    new one is reset."""

    max_early: int = 262_144
    """Bytes a peer may send before it has introduced itself. More: the session is closed."""

    max_requests: int = 4_096
    """Requests of one peer that are in use at a time, and groups. More: the new one is reset."""

    max_pending: int = 4_096
    """Requests of ours that wait for the peer's stream credit. More: they fail as refused."""

    def of_a_link(self) -> SessionSettings:
        """The same for a relay, which speaks for everybody behind it: whose broadcasts and requests
        were counted there, and must not be refused for the sum."""
        return replace(
            self,
            max_message=max(self.max_message, 4 * 65_536),
            max_announces=max(self.max_announces, 1 << 20),
            max_requests=max(self.max_requests, LINK_STREAMS),
            max_pending=max(self.max_pending, LINK_STREAMS),
        )
