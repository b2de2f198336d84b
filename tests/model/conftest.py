"""Fakes that record what they are told, in the order in which it happens."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from relay.errors import RelayError
from relay.model.board import Way
from relay.model.demand import Demand, TrackInfo
from relay.model.group import Group, Log
from relay.model.origin import Origin
from relay.model.settings import CacheSettings
from relay.model.track import Track
from relay.path import ROOT, Path

RAW = "raw"


def no_transcode(have: Any, want: Any, info: TrackInfo) -> Any:
    raise AssertionError(f"nobody should derive {want} from {have}")


class FakeSource:
    """Notes every call as (verb, track name, ...); answers only what a test tells it to."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.rejects: set[str] = set()

    def open(self, track: Track) -> None:
        self.calls.append(("open", track.name, track.start_at))
        if track.name in self.rejects:
            track.fail(RelayError("no such track"))

    def update(self, track: Track) -> None:
        self.calls.append(("update", track.name, track.demand))

    def close(self, track: Track) -> None:
        self.calls.append(("close", track.name))

    def learn(self, track: Track) -> None:
        self.calls.append(("learn", track.name))

    @property
    def verbs(self) -> list[str]:
        return [call[0] for call in self.calls]


class FakeWideSource(FakeSource):
    serves_below = True


class FakeExactSource(FakeSource):
    """A session that was asked for the latest group."""

    def begins_at_latest(self, max_latency: int) -> bool:
        return not max_latency


class FakeFetchSource(FakeSource):
    can_fetch = True

    def fetch(self, track: Track, sequence: int, priority: int) -> None:
        self.calls.append(("fetch", track.name, sequence))

    def cancel_fetch(self, track: Track, sequence: int) -> None:
        self.calls.append(("cancel_fetch", track.name, sequence))


class FakeViewer:
    def __init__(self, **demand: Any) -> None:
        self.demand = Demand(**demand)
        self.events: list[tuple[Any, ...]] = []
        self.groups: list[Group] = []
        self.on_group: Any = None

    def track_accepted(self, info: TrackInfo) -> None:
        self.events.append(("accepted", info))

    def group_opened(self, group: Group) -> None:
        self.events.append(("group", group.sequence))
        self.groups.append(group)
        if self.on_group is not None:
            self.on_group(group)

    def datagram_received(self, sequence: int, timestamp: int, payload: bytes) -> None:
        self.events.append(("datagram", sequence, timestamp, payload))

    def track_ended(self, error: RelayError | None) -> None:
        self.events.append(("ended", None if error is None else type(error).__name__))

    @property
    def sequences(self) -> list[int]:
        return [event[1] for event in self.events if event[0] == "group"]

    @property
    def ends(self) -> list[str | None]:
        return [event[1] for event in self.events if event[0] == "ended"]


class FakeLearner:
    def __init__(self) -> None:
        self.events: list[Any] = []

    def track_accepted(self, info: TrackInfo) -> None:
        self.events.append(info)

    def track_ended(self, error: RelayError | None) -> None:
        self.events.append(None if error is None else type(error).__name__)


class FakeFetcher:
    def __init__(self) -> None:
        self.events: list[Any] = []

    def group_opened(self, group: Group) -> None:
        self.events.append(group)

    def fetch_failed(self, error: RelayError) -> None:
        self.events.append(type(error).__name__)


class FakeReader:
    """Reads a log with a cursor of its own, as soon as it is told."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.cursor = 0
        self.data = b""
        self.calls: list[str] = []
        log.attach(self)
        self.read()

    def read(self) -> None:
        while self.cursor < len(self.log.chunks):
            self.data += self.log.chunks[self.cursor]
            self.cursor += 1

    def written(self, size: int) -> None:
        assert size == len(self.log.chunks[-1])
        self.calls.append("written")
        self.read()

    def ended(self) -> None:
        error = self.log.error
        self.calls.append("finished" if error is None else type(error).__name__)

    def evicted(self) -> None:
        self.calls.append("evicted")


class FakeWatcher:
    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        self.view: dict[str, tuple[int, ...]] = {}

    def announced(self, path: Path, way: Way) -> None:
        self.events.append(("+", str(path), way.hops))
        self.view[str(path)] = way.hops

    def unannounced(self, path: Path) -> None:
        assert str(path) in self.view, f"{path} was never announced here"
        self.events.append(("-", str(path)))
        del self.view[str(path)]

    def known(self) -> list[Path]:
        return [Path(path) for path in self.view]

    def take(self) -> list[tuple[Any, ...]]:
        events, self.events = self.events, []
        return events


class Setting:
    """An origin with one broadcast ``b`` of publisher 7, its source and a track ``t``."""

    def __init__(self, source: FakeSource | None = None, **settings: Any) -> None:
        self.origin = Origin(1, CacheSettings(**settings))
        self.source = source or FakeSource()
        route = self.origin.announce(Path("b"), self.source, (7,), 0.0)
        assert route is not None
        self.route = route
        broadcast = self.origin.find(Path("b"))
        assert broadcast is not None
        self.broadcast = broadcast
        self.track = broadcast.track("t")
        self.cache = self.origin.stock.cache

    def live(self, now: float = 0.0, info: TrackInfo | None = None, **demand: Any) -> FakeViewer:
        """A viewer of a track that its source has accepted."""
        viewer = FakeViewer(**demand)
        self.track.watch(viewer, now)
        self.track.accept(info or TrackInfo())
        return viewer

    def group(self, sequence: int, now: float = 0.0, data: bytes = b"x", end: bool = True) -> Group:
        group = self.track.open_group(sequence, RAW, now)
        assert group is not None
        group.write(data, now)
        if end:
            group.finish(now)
        return group


@pytest.fixture(scope="session")
def fakes() -> SimpleNamespace:
    return SimpleNamespace(
        RAW=RAW,
        no_transcode=no_transcode,
        Source=FakeSource,
        ExactSource=FakeExactSource,
        FetchSource=FakeFetchSource,
        WideSource=FakeWideSource,
        Viewer=FakeViewer,
        Learner=FakeLearner,
        Fetcher=FakeFetcher,
        Reader=FakeReader,
        Watcher=FakeWatcher,
        Setting=Setting,
    )


@pytest.fixture
def origin() -> Origin:
    return Origin(1)


@pytest.fixture
def watcher(origin: Origin) -> FakeWatcher:
    watcher = FakeWatcher()
    origin.watch(ROOT, watcher)
    return watcher
