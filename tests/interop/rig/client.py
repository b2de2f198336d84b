"""What every client can do, whoever wrote it: connect, publish, watch, listen.

These are shapes only; `rig.rust`, `rig.chromium` and `rig.command` fill them. The law: the same
call means the same thing for all of them. This module must not know which relay is dialled.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from rig.frames import DEADLINE, KEEP_MS, Frame, Group, Plan


@dataclass(frozen=True)
class Target:
    """Where to dial, and the certificate to expect there."""

    url: str
    fingerprint: str
    """SHA-256 of the certificate, hex; empty for a client that is to find it out by itself."""

    protocols: Sequence[str] | None = None
    """Versions to offer, for clients that let one choose; empty offers none (in-band SETUP)."""


class Publication(Protocol):
    """One track of one announced broadcast."""

    async def write(self, frames: Group, *, end: bool = True) -> None:
        """Frames into the open group, or into a new one; ``end`` completes the group."""

    async def finish(self) -> None:
        """The track is complete; the broadcast stays announced."""

    async def unpublish(self) -> None:
        """The broadcast is no longer announced."""


class Watch(Protocol):
    """A subscription that collects what arrives."""

    async def collect(
        self, *, groups: int = 0, frames: int = 0, within: float = DEADLINE
    ) -> list[Frame]:
        """See `rig.frames.Record.collect`; who cannot tell when a group ends counts frames."""

    async def over(self, within: float = DEADLINE) -> str:
        """See `rig.frames.Record.over`."""

    async def cancel(self) -> None:
        """Unsubscribe."""


class Listening(Protocol):
    """Announcements under a prefix."""

    async def until(self, path: str, active: bool = True, within: float = DEADLINE) -> None:
        """Wait until the last word about ``path`` (relative to the prefix) is this one."""

    async def heard(self) -> list[tuple[str, bool]]:
        """Everything heard so far, oldest first."""


class Session(Protocol):
    """One connection to a relay."""

    version: str
    """The negotiated version, empty where the client does not tell."""

    async def publish(self, broadcast: str, track: str) -> Publication:
        """Announce a broadcast with one track."""

    async def watch(self, broadcast: str, track: str, *, keep_ms: int = KEEP_MS) -> Watch:
        """Subscribe from the latest group; groups younger than ``keep_ms`` must not be skipped."""

    async def listen(self, prefix: str = "") -> Listening:
        """Hear of broadcasts."""

    async def ended(self, within: float = DEADLINE) -> str | None:
        """Wait for the end of the session: the client's text, or ``None`` if it still lives."""


class Client(Protocol):
    """An implementation that can dial a relay."""

    name: str
    """What the test report calls it."""

    scheme: str
    """URL scheme it dials: ``https`` (WebTransport), ``moqt`` (raw QUIC) or ``ws`` (WebSocket)."""

    plan: Plan
    """The richest plan it can publish unchanged."""

    patient: bool
    """Whether its subscriptions can ask that no group be skipped for a newer one."""

    timestamps: bool
    """Whether it publishes the timestamps of a plan, and not those of its own clock."""

    def connect(self, target: Target) -> AbstractAsyncContextManager[Session]:
        """A session, closed at the end. Raises `rig.frames.Refused` when it is turned away."""
