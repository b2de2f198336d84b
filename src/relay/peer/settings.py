"""Ceilings of one guest. This module must not know who the guest is."""

from __future__ import annotations

from dataclasses import dataclass

NEAR = "worker"
"""Scheme of the other processes of this relay, and how they come. Operators cannot name them, and
no transport is called so."""


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """Each field is a limit per session with its unit and what happens when it is hit."""

    max_backlog: int = 8_388_608
    """Bytes that may wait for one subscriber. More: its oldest groups are dropped."""

    max_waiting_groups: int = 4_096
    """Groups that may wait for one subscriber. More: its oldest groups are dropped."""

    stale_grace: float = 1.0
    """Seconds a group may still be sent after the cache let go of it. Later: it is reset."""

    finish_grace: float = 1.0
    """Seconds to wait for groups that are still under way when a publisher ends a track, anew with
    each that comes."""

    max_held: int = 1_024
    """Things a peer may say while it is being decided on. More: the session is closed."""

    max_fetches: int = 1_024
    """Groups that one publisher is asked for by number at a time, and another relay for each
    broadcast. More: the fetch is refused."""

    fetch_timeout: float = 10.0
    """Seconds that a publisher may be silent about such a group. Longer: it is given up."""

    track_timeout: float = 30.0
    """Seconds that a publisher may take to say what a track is. Longer: there is no such track."""

    setup_timeout: float = 10.0
    """Seconds a peer may take to introduce itself. Longer: the session is closed."""

    rendezvous_timeout: float = 30.0
    """Seconds that a subscription in moq-transport may wait for who publishes it, if it asks for
    that. Longer: it is refused, as others are at once."""
