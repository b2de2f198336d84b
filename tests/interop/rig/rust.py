"""moq-rs from PyPI as a client: WebTransport (``https``), raw QUIC (``moqt``), WebSocket (``ws``),
plain streams (``tcp``, ``unix``).

Its job is to speak the rig's vocabulary with the Rust stack's own objects; its law is to hand over
what the library delivered, without retrying or reordering. It must not know the relay.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import moq

from rig.client import Target
from rig.crew import Crew, crew
from rig.frames import BINARY, DEADLINE, KEEP_MS, Frame, Group, Hearsay, Plan, Record, Refused

MICROSECONDS = 1_000_000
"""Timestamp units per second that our tracks declare."""


class RustPublication:
    """A broadcast of one track."""

    def __init__(self, broadcast: moq.BroadcastProducer, track: moq.TrackProducer) -> None:
        self._broadcast = broadcast
        self._track = track
        self._group: moq.GroupProducer | None = None

    async def write(self, frames: Group, *, end: bool = True) -> None:
        if self._group is None:
            self._group = self._track.append_group()
        for timestamp, payload in frames:
            self._group.write_frame(payload, timestamp)
        if end:
            self._group.finish()
            self._group = None

    async def finish(self) -> None:
        self._track.finish()

    async def unpublish(self) -> None:
        self._broadcast.close()


class RustWatch:
    """A subscription, read by tasks of the session's crew."""

    def __init__(self, consumer: moq.TrackConsumer, members: Crew) -> None:
        self._record = Record()
        self._consumer = consumer
        self._crew = members
        members.start(self._receive())

    async def _receive(self) -> None:
        try:
            while (group := await self._consumer.recv_group()) is not None:
                self._crew.start(self._read(group))
        except moq.Error as error:
            self._record.end(describe(error), failed=True)
        else:
            self._record.end("finished", failed=False)

    async def _read(self, group: moq.GroupConsumer) -> None:
        index = 0
        try:
            while (frame := await group.read_frame()) is not None:
                self._record.add(Frame(group.sequence, index, frame.timestamp_us, frame.payload))
                index += 1
        except moq.Error:
            return  # an incomplete group shows as one that never completes
        self._record.complete(group.sequence)

    async def collect(
        self, *, groups: int = 0, frames: int = 0, within: float = DEADLINE
    ) -> list[Frame]:
        return await self._record.collect(groups, frames, within)

    async def over(self, within: float = DEADLINE) -> str:
        return await self._record.over(within)

    async def cancel(self) -> None:
        self._consumer.cancel()


class RustListening:
    """Announcements under a prefix, read by a task of the session's crew."""

    def __init__(self, updates: moq.AnnounceConsumer, prefix: str, members: Crew) -> None:
        self._hearsay = Hearsay()
        self._prefix = prefix
        members.start(self._receive(updates))

    async def _receive(self, updates: moq.AnnounceConsumer) -> None:
        try:
            async for update in updates:
                path = update.prefix.removeprefix(self._prefix).removeprefix("/")
                self._hearsay.add(path, update.active)
        except moq.Error:
            return  # the session is over; `until` reports what was heard

    async def until(self, path: str, active: bool = True, within: float = DEADLINE) -> None:
        await self._hearsay.until(path, active, within)

    async def heard(self) -> list[tuple[str, bool]]:
        return self._hearsay.heard()


class RustSession:
    """One connection; what it publishes and what it hears are kept apart."""

    version = ""

    def __init__(self, client: moq.Client, members: Crew) -> None:
        self._client = client
        self._crew = members
        # A broadcast ends when its last handle is dropped, and a test may not care to hold one.
        self._publications: list[RustPublication] = []

    async def publish(self, broadcast: str, track: str) -> RustPublication:
        producer = self._client.create_broadcast(broadcast)
        info = moq.TrackInfo(timescale=MICROSECONDS, max_age_us=KEEP_MS * 1000)
        publication = RustPublication(producer, producer.publish_track(track, info))
        producer.announce()
        self._publications.append(publication)
        return publication

    async def watch(self, broadcast: str, track: str, *, keep_ms: int = KEEP_MS) -> RustWatch:
        wish = moq.Subscription(max_age_us=keep_ms * 1000)
        try:
            async with asyncio.timeout(DEADLINE):
                source = await self._client.request_broadcast(broadcast)
                return RustWatch(await source.subscribe_track(track, wish), self._crew)
        except moq.Error as error:
            raise Refused(describe(error)) from error

    async def listen(self, prefix: str = "") -> RustListening:
        return RustListening(self._client.announced(prefix), prefix, self._crew)

    async def ended(self, within: float = DEADLINE) -> str | None:
        session = self._client.session
        assert session is not None
        try:
            async with asyncio.timeout(within):
                await session.closed()
        except TimeoutError:
            return None
        except moq.Error as error:
            return describe(error)
        return "closed"


class RustClient:
    """The moq-rs wheel."""

    plan: Plan = BINARY
    patient = True
    timestamps = True

    certificate: tuple[Path, Path] | None = None
    """PEM files of a client certificate and its key, to be shown to who asks."""

    def __init__(self, name: str, scheme: str) -> None:
        self.name = name
        self.scheme = scheme

    @asynccontextmanager
    async def connect(self, target: Target) -> AsyncIterator[RustSession]:
        shown = self.certificate
        client = moq.Client(
            target.url,
            tls_fingerprints=[target.fingerprint] if target.fingerprint else None,
            tls_cert=str(shown[0]) if shown else None,
            tls_key=str(shown[1]) if shown else None,
            websocket_enabled=self.scheme == "ws",
            reconnect=False,
            publish=moq.OriginProducer(),
            subscribe=moq.OriginProducer(),
        )
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(DEADLINE):
                    await stack.enter_async_context(client)
            except moq.Error as error:
                raise Refused(describe(error)) from error
            yield RustSession(client, await stack.enter_async_context(crew()))


def describe(error: moq.Error) -> str:
    """The error's kind and text, and that it is about rights where the library says so."""
    details = moq.protocol_error(error)
    text = f"code {details.code} {details.kind.name} {details.message!r}" if details else str(error)
    return f"{type(error).__name__}{' (auth)' if moq.is_auth(error) else ''}: {text}"
