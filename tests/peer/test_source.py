"""What is pulled from a publisher: groups fetched once, and tracks that go on over another way."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from relay.errors import NotFound
from relay.model.settings import CacheSettings
from relay.model.track import Demand, Track, TrackInfo
from relay.path import Path
from relay.peer.local import LocalBroadcast
from relay.peer.reading import MAX_FRAME, Collector
from relay.peer.settings import NEAR, PeerSettings
from relay.peer.transcode import transcode
from relay.peer.watching import MAX_FETCHES
from relay.quota import Limits, Override, QuotaSettings
from relay.session import events
from relay.wire.frame import MAX_STAMP, FrameParser, Layout, encode_frame
from relay.wire.messages import Bidi, Fetch
from relay.wire.version import LITE_06, LITE_NEAR

INFO = TrackInfo(max_latency=60_000)


class Fetcher:
    """Wants one group of a client's own model."""

    def __init__(self, client: Any, sequence: int, name: str = "t", path: str = "a") -> None:
        self.client = client
        self.sequence = sequence
        self.group: Any = None
        self.error: Any = None
        broadcast = client.origin.find(Path(path))
        self.track = broadcast.track(name)
        self.track.fetch(sequence, self, client.world.now)
        client.world.run()

    def group_opened(self, group: Any) -> None:
        self.group = group

    def fetch_failed(self, error: Any) -> None:
        self.error = error

    def leave(self) -> None:
        self.track.unfetch(self.sequence, self)
        self.client.world.run()

    @property
    def frames(self) -> list[bytes]:
        data = b"".join(self.group.chunks)
        return [frame.payload for frame in FrameParser(Layout.TIMED, MAX_FRAME).feed(data)]


class Stage:
    """A publisher that keeps groups and one that answers by hand, and who fetches from it."""

    def __init__(
        self, world: Any, groups: int = 4, version: str = "", cluster: bool = False
    ) -> None:
        self.world = world
        self.publisher = world.connect(version, cluster=cluster)
        self.track = self.publisher.publish("a", t=INFO).tracks["t"]
        for number in range(groups):
            self.track.append_group()
            self.track.write_frame(b"%d/a" % number, 0)
            self.track.write_frame(b"%d/b" % number, 1)
        self.viewer = world.connect()
        self.host = self.publisher.host.publishing
        self.asked: list[events.FetchRequested] = []

    def answer_by_hand(self) -> Any:
        """The publisher's session; what it is asked goes to ``asked``."""
        hears = self.publisher.guest._hears
        hears[events.FetchRequested] = self.asked.append
        hears[events.StreamCancelled] = self.asked.append
        return self.publisher.guest.session

    @property
    def broadcast(self) -> Any:
        return self.world.house.origin.find(Path("a"))

    def is_clean(self) -> bool:
        """Whether nothing is left of any fetch anywhere at the relay."""
        sessions = [client.host.session for client in self.world.clients if not client.host.gone]
        sources = [route.source for route in self.broadcast.routes] if self.broadcast else []
        tracks = self.broadcast.tracks.values() if self.broadcast else []
        return not (
            self.host.fetches
            or any(session.fetches for session in sessions)
            or any(source.fetches for source in sources)
            or any(len(track._fetches) for track in tracks)
            or any(client.host.watching.fetchings for client in self.world.clients)
        )


def test_an_old_group_comes_from_the_publisher(world: Any) -> None:
    stage = Stage(world)
    fetcher = Fetcher(stage.viewer, 1)
    assert fetcher.frames == [b"1/a", b"1/b"]
    assert fetcher.group.native.finished
    assert stage.is_clean()
    assert stage.broadcast.traffic.came.fetches == 1
    assert not stage.host.feeds, "nobody subscribes for that"
    again = Fetcher(world.connect(), 1)
    assert again.frames == [b"1/a", b"1/b"]
    assert stage.broadcast.traffic.came.fetches == 1, "it is cached"


@pytest.mark.parametrize(("sequence", "name"), [(77, "t"), (0, "no")])
def test_what_the_publisher_has_not_is_refused(world: Any, sequence: int, name: str) -> None:
    stage = Stage(world)
    fetcher = Fetcher(stage.viewer, sequence, name)
    assert (fetcher.group, fetcher.error.code) == (None, 13)
    assert stage.is_clean()


def test_a_group_is_fetched_whole_while_it_is_being_published(world: Any) -> None:
    stage = Stage(world)
    fetcher = Fetcher(stage.viewer, 3)
    assert fetcher.frames == [b"3/a", b"3/b"]
    assert not fetcher.group.ended
    watch = stage.viewer.watch("a", "t")
    stage.track.write_frame(b"3/c", 2)
    stage.track.finish_group()
    world.run()
    assert fetcher.frames == [b"3/a", b"3/b", b"3/c"]
    assert fetcher.group.native.finished
    assert watch.complete() == [3]
    assert stage.is_clean()


def test_a_fetched_group_is_not_pushed_to_viewers(world: Any) -> None:
    stage = Stage(world)
    before = stage.viewer.watch("a", "t")
    Fetcher(world.connect(), 1)
    after = world.connect().watch("a", "t")
    stage.track.append_group()
    stage.track.write_frame(b"4/a", 0)
    world.run()
    assert (before.order, after.order) == ([3, 4], [3, 4])
    assert stage.broadcast.tracks["t"].latest == 4


def test_many_who_ask_share_one_question(world: Any) -> None:
    stage = Stage(world)
    session = stage.answer_by_hand()
    fetchers = [Fetcher(world.connect(), 1) for _ in range(3)]
    (asked,) = stage.asked
    assert asked[1:] == ("a", "t", 0, 1, 0, None)
    session.write(asked.stream, b"\0\3one")
    world.run()
    fetchers.append(Fetcher(world.connect(), 1))
    session.write(asked.stream, b"\0\3two", True)
    world.run()
    assert [fetcher.frames for fetcher in fetchers] == [[b"one", b"two"]] * 4
    assert len(stage.asked) == 1
    assert stage.is_clean()


def test_what_breaks_off_breaks_off_for_all(world: Any) -> None:
    stage = Stage(world)
    session = stage.answer_by_hand()
    fetchers = [Fetcher(world.connect(), 1) for _ in range(2)]
    session.write(stage.asked[0].stream, b"\0\3one")
    world.run()
    session.reset(stage.asked[0].stream, 26)
    world.run()
    assert [fetcher.group.error.code for fetcher in fetchers] == [26, 26]
    assert stage.is_clean()


@pytest.mark.parametrize("begun", [False, True])
def test_the_last_who_leaves_ends_the_question(world: Any, begun: bool) -> None:
    stage = Stage(world)
    session = stage.answer_by_hand()
    fetchers = [Fetcher(world.connect(), 1) for _ in range(2)]
    if begun:
        session.write(stage.asked[0].stream, b"\0\3one")
        world.run()
    fetchers[0].leave()
    assert len(stage.asked) == 1
    assert not stage.is_clean()
    fetchers[1].leave()
    assert stage.asked[1] == events.StreamCancelled(stage.asked[0].stream)
    assert stage.is_clean()
    assert world.house.origin.stock.cache.used == 0


@pytest.mark.parametrize("begun", [False, True])
def test_a_publisher_that_vanishes_fails_what_it_was_asked(world: Any, begun: bool) -> None:
    stage = Stage(world)
    session = stage.answer_by_hand()
    fetcher = Fetcher(stage.viewer, 1)
    if begun:
        session.write(stage.asked[0].stream, b"\0\3one")
        world.run()
    stage.publisher.hang_up()
    assert (fetcher.group.error if begun else fetcher.error).code == 24
    assert stage.is_clean()
    world.wait(40)
    assert stage.broadcast is None


@pytest.mark.parametrize("begun", [False, True])
def test_a_publisher_that_said_goodbye_before_it_vanished_fails_them_too(
    world: Any, begun: bool
) -> None:
    stage = Stage(world)
    session = stage.answer_by_hand()
    fetcher = Fetcher(SimpleNamespace(origin=world.house.origin, world=world), 1)
    watching = Collector(fetcher.track, Demand(), world.clock)
    watching.enter()
    world.run()
    if begun:
        session.write(stage.asked[0].stream, b"\0\3one")
        world.run()
    (request,) = stage.publisher.guest.hearings.answered
    session.unannounce(request, "a")
    world.run()
    watching.close()
    assert stage.host.fetches
    stage.publisher.hang_up()
    assert (fetcher.group.error if begun else fetcher.error).code == 24
    assert stage.is_clean()


@pytest.mark.parametrize("begun", [False, True])
def test_a_silent_publisher_is_given_up(world: Any, begun: bool) -> None:
    stage = Stage(world)
    session = stage.answer_by_hand()
    fetcher = Fetcher(stage.viewer, 1)
    world.wait(8)
    if begun:
        session.write(stage.asked[0].stream, b"\0\3one")
        world.run()
        world.wait(8)
    assert not stage.is_clean()
    world.wait(4)
    assert (fetcher.group.error if begun else fetcher.error).code == 2
    assert stage.is_clean()
    assert stage.asked[-1] == events.StreamCancelled(stage.asked[0].stream)


def test_one_publisher_is_asked_for_so_many_at_a_time(make_world: Any) -> None:
    world = make_world(PeerSettings(max_fetches=2))
    stage = Stage(world)
    stage.answer_by_hand()
    fetchers = [Fetcher(stage.viewer, number) for number in range(3)]
    assert [fetcher.error and fetcher.error.code for fetcher in fetchers] == [None, None, 4]
    fetchers[0].leave()
    assert Fetcher(stage.viewer, 3).error is None


def test_of_another_relay_each_broadcast_has_so_many(make_world: Any) -> None:
    """Who never answers behind it takes nothing from the others."""
    world = make_world(PeerSettings(max_fetches=2))
    stage = Stage(world, cluster=True)
    stage.publisher.publish("b", t=INFO)
    stage.answer_by_hand()
    fetchers = [Fetcher(stage.viewer, number) for number in range(3)]
    assert [fetcher.error and fetcher.error.code for fetcher in fetchers] == [None, None, 4]
    others = [Fetcher(stage.viewer, number, path="b") for number in range(3)]
    assert [fetcher.error and fetcher.error.code for fetcher in others] == [None, None, 4]
    for fetcher in (*fetchers, *others):
        fetcher.leave()
    assert Fetcher(stage.viewer, 3).error is None


def test_a_group_beyond_its_limit_ends_for_all_and_the_publisher_is_told(make_world: Any) -> None:
    world = make_world(cache=CacheSettings(max_group_bytes=6))
    stage = Stage(world, 0)
    session = stage.answer_by_hand()
    fetcher = Fetcher(stage.viewer, 1)
    session.write(stage.asked[0].stream, b"\0\3one")
    world.run()
    session.write(stage.asked[0].stream, b"\0\3two")
    world.run()
    assert fetcher.group.error.code == 26
    assert stage.asked[-1] == events.StreamCancelled(stage.asked[0].stream)
    assert stage.is_clean()


def test_bytes_that_are_no_frames_end_the_fetch_and_not_the_session(world: Any) -> None:
    stage = Stage(world)
    session = stage.answer_by_hand()
    fetcher = Fetcher(stage.viewer, 1)
    session.write(stage.asked[0].stream, b"\0\3on", True)
    world.run()
    assert fetcher.group.error.code == 5
    assert not stage.publisher.host.gone
    assert stage.is_clean()


def test_some_frames_of_a_group_end_the_question_once_they_are_there(world: Any) -> None:
    stage = Stage(world)
    session = stage.answer_by_hand()
    viewer = world.connect("moq-lite-06")
    end = viewer.wire.client
    stream = end.open_bidi()
    request = LITE_06.encode(Fetch("a", "t", 9, 1, 0, 1))
    end.send(stream, bytes([Bidi.FETCH]) + request)
    world.run()
    (asked,) = stage.asked
    assert (asked.priority, asked.last_frame) == (9, None)
    session.write(asked.stream, b"\0\3one")
    world.run()
    assert len(stage.asked) == 1
    session.write(asked.stream, b"\0\3two")
    world.run()
    sent = [args for what, *args in viewer.wire.server.sent if what == "stream_received"]
    assert sent[-1] == [stream, b"\0\3two", True]
    assert stage.asked[1] == events.StreamCancelled(asked.stream)
    assert stage.is_clean()


def test_rights_that_end_end_what_is_fetched(world: Any) -> None:
    stage = Stage(world)
    session = stage.answer_by_hand()
    fetcher = Fetcher(stage.viewer, 1)
    session.write(stage.asked[0].stream, b"\0\3one")
    world.run()
    stage.publisher.host.regrant(replace(stage.publisher.host.grant, publish=()))
    world.run()
    assert fetcher.group.error is not None
    assert stage.asked[-1] == events.StreamCancelled(stage.asked[0].stream)
    assert stage.is_clean()


def test_a_version_that_cannot_is_not_asked(world: Any) -> None:
    stage = Stage(world, version="moq-lite-04")
    assert Fetcher(stage.viewer, 1).error.code == 13
    assert stage.is_clean()


def test_what_is_fetched_counts_against_the_tenant(make_world: Any) -> None:
    world = make_world()
    said = {"plant": Override(ingress_bits=8 * 10_000)}
    world.house.ledger.obey(Limits(QuotaSettings(), said), world.now)
    publisher = world.connect(tenant="plant")
    track = publisher.publish("a", t=INFO).tracks["t"]
    for _ in range(2):
        track.append_group()
        for number in range(5):
            track.write_frame(bytes(4000), number)
    viewer = world.connect()
    assert Fetcher(viewer, 0).group.error.code == 26
    assert Fetcher(viewer, 1).error.code == 93
    world.wait(3)
    assert Fetcher(viewer, 1).error is None
    assert not publisher.host.publishing.fetches


def test_what_one_viewer_waits_for_costs_nobody_else_a_fetch(world: Any) -> None:
    stage = Stage(world, groups=1)
    stage.answer_by_hand()
    other = world.connect()
    greedy = [Fetcher(stage.viewer, 100 + number) for number in range(MAX_FETCHES + 1)]
    assert [each for each in greedy if each.error] == greedy[-1:]
    assert len(stage.asked) == MAX_FETCHES
    fetched = Fetcher(other, 7)
    assert (fetched.error, stage.asked[-1].group) == (None, 7)
    shared = Fetcher(other, 100)
    assert (shared.error, len(stage.asked)) == (None, MAX_FETCHES + 1)
    greedy[0].leave()
    greedy[1].leave()
    assert Fetcher(stage.viewer, 300).error is None


def test_a_relay_fetches_for_all_who_watch_there(world: Any) -> None:
    stage = Stage(world, groups=1)
    stage.answer_by_hand()
    stage.viewer.host.scope.is_relay = True
    asked = [Fetcher(stage.viewer, 100 + number) for number in range(MAX_FETCHES + 1)]
    assert not [each for each in asked if each.error]


def move(world: Any, version: str, told: int, said: int) -> tuple[Any, Any, Any]:
    """One publisher on two ways that count time in units of their own, and who watches when the
    first way is lost: the second's session and track, and the watch."""
    viewer, first = world.connect(), world.connect(version, number=7)
    second = world.connect(number=7)
    first.publish("a", t=INFO._replace(timescale=told)).tracks["t"].append_group()
    watch = viewer.watch("a", "t")
    broadcast = LocalBroadcast(world.clock)
    track = broadcast.create_track("t", INFO._replace(timescale=said), first=1)
    second.origin.announce(Path("a"), broadcast, (), world.now)
    world.run()
    first.hang_up()
    assert viewer.names.log == ["+a"], "it is the same publisher"
    return second, track, watch


@pytest.mark.parametrize("version", ["moq-lite-04", "moq-lite-05"])
def test_viewers_keep_the_units_they_were_told_when_the_next_way_has_others(
    world: Any, version: str
) -> None:
    second, track, watch = move(world, version, 1000, 1_000_000)
    assert watch.info.timescale == 1000
    track.append_group()
    world.run()
    track.write_frame(b"one", 5_000_999)
    track.write_frame(b"two", 6_500_000)
    track.append_group()
    track.append_group()
    (feed,) = second.host.publishing.feeds.values()
    assert second.guest.session.send_datagram(feed.id, 9, 7_000_500, b"tiny")
    world.run()
    said = [(5000, b"one"), (6500, b"two")]
    assert watch.frames(1) == said
    assert watch.datagrams == [(9, 7000, b"tiny")]
    assert watch.ended == []
    late = world.connect()
    demand = Demand(start=1, max_latency=60_000)
    assert late.watch("a", "t", demand).frames(1) == said
    assert late.origin.find(Path("a")).track("t").info == INFO  # kept as long as it says now
    world.house.origin.find(Path("a")).tracks["t"].groups[1].evict()
    fetched = FrameParser(Layout.TIMED, MAX_FRAME).feed(
        b"".join(Fetcher(world.connect(), 1).group.chunks)
    )
    assert [tuple(frame) for frame in fetched] == said


@pytest.mark.parametrize("said", [1000, 1_000_000])
def test_a_group_is_fetched_in_the_units_of_the_way_it_comes(world: Any, said: int) -> None:
    second, _, watch = move(world, "moq-lite-05", 1000, said)
    viewer = world.clients[0]
    viewer.unwatch("a", "t", watch)
    third = world.connect(number=7)
    broadcast = LocalBroadcast(world.clock)
    last = broadcast.create_track("t", INFO._replace(timescale=said))
    for number in range(4):
        last.append_group()
        last.write_frame(b"%d" % number, (number + 1) * said)
    third.origin.announce(Path("a"), broadcast, (), world.now)
    world.run()
    second.hang_up()
    asked = []
    real = third.host.session.describe
    third.host.session.describe = lambda *what: asked.append(what) or real(*what)
    for number in (1, 2):
        fetched = Fetcher(world.connect(), number).group.chunks
        (frame,) = FrameParser(Layout.TIMED, MAX_FRAME).feed(b"".join(fetched))
        assert tuple(frame) == ((number + 1) * 1000, b"%d" % number)
    assert len(asked) == (1 if said == 1000 else 2)
    assert not third.host.publishing.fetches


def test_who_leaves_while_it_is_asked_for_the_units_of_a_group(world: Any) -> None:
    second, _, watch = move(world, "moq-lite-05", 1000, 1000)
    viewer = world.clients[0]
    viewer.unwatch("a", "t", watch)
    world.house.origin.find(Path("a")).tracks["t"].described_by = None
    second.guest._hears[events.TrackRequested] = lambda event: None
    fetcher = Fetcher(viewer, 9)
    assert len(second.host.publishing.fetches) == len(second.host.session.questions) == 1
    fetcher.leave()
    assert (second.host.publishing.fetches, second.host.session.questions) == ({}, {})
    fetcher = Fetcher(viewer, 9)
    world.wait(PeerSettings().fetch_timeout + 1)
    assert fetcher.error is not None
    assert (second.host.publishing.fetches, second.host.session.questions) == ({}, {})


def test_who_has_no_times_gets_the_same_bytes_from_either_way(world: Any) -> None:
    second, track, watch = move(world, "moq-lite-05", 1_000_000, 90_000)
    old = world.connect("moq-lite-03").watch("a", "t")
    track.append_group()
    world.run()
    track.write_frame(b"one", 180_000)
    world.run()
    assert watch.frames(1) == [(2_000_000, b"one")]
    assert [payload for _, payload in old.frames(1)] == [b"one"]
    (feed,) = second.host.publishing.feeds.values()
    assert second.guest.session.send_datagram(feed.id, 9, MAX_STAMP, b"late")
    world.run()
    assert watch.datagrams == [(9, MAX_STAMP, b"late")], "no time is later than can be said"


def test_who_said_what_a_track_is_is_not_asked_again(world: Any) -> None:
    stage = Stage(world)
    session = stage.publisher.host.session
    for _ in range(2):
        watch = stage.viewer.watch("a", "t")
        assert watch.complete() or watch.order
        stage.viewer.unwatch("a", "t", watch)
    assert session._next_question == 1
    stage.publisher.hang_up()
    assert stage.broadcast.tracks["t"].described_by is None


@pytest.mark.parametrize(
    ("spoken", "reaches_back"), [("moq-lite-06", False), ("moq-lite-05", True), ("moql", True)]
)
def test_who_asks_for_the_latest_group_gets_nothing_older(
    world: Any, spoken: str, reaches_back: bool
) -> None:
    publisher = world.connect(spoken)
    publisher.publish("a", t=INFO)
    source = world.house.origin.find(Path("a")).routes[0].source
    assert source.begins_at_latest(0)
    assert source.begins_at_latest(1000) is reaches_back


class Learner:
    """Wants to know what a track is."""

    def __init__(self, told: list[TrackInfo]) -> None:
        self.track_accepted = told.append


class Unasked:
    """A publisher that cannot be asked what a track is."""

    def __init__(self) -> None:
        self.opened: list[Track] = []

    def learn(self, track: Track) -> None:
        track.accept(TrackInfo())

    def open(self, track: Track) -> None:
        self.opened.append(track)

    def update(self, track: Track) -> None: ...

    def close(self, track: Track) -> None: ...


@pytest.mark.parametrize("has_it", [True, False])
def test_what_another_process_is_still_asking_for_is_not_taken_for_granted(
    world: Any, has_it: bool
) -> None:
    near, source = world.connect(LITE_NEAR.identifier), Unasked()
    near.host.via = near.guest.via = NEAR
    near.origin.announce(Path("a"), source, (7,), world.now)
    world.run()
    watch = world.connect("moq-lite-04").watch("a", "t")
    assert (watch.info, watch.ended) == (None, [])
    (track,) = source.opened
    if has_it:
        track.accept(TrackInfo())
        group = track.open_group(3, Layout.TIMED, world.now)
        assert group is not None
        group.write(encode_frame(Layout.TIMED, b"x", 5, 0), world.now)
        group.finish(world.now)
    else:
        track.fail(NotFound("no such track"))
    world.run()
    assert (watch.info is not None, watch.complete()) == (has_it, [3] if has_it else [])
    assert len(watch.ended) == (not has_it)


@pytest.mark.parametrize("is_watched", [False, True])
def test_of_another_process_the_properties_come_before_the_groups(
    world: Any, is_watched: bool
) -> None:
    near = world.connect(LITE_NEAR.identifier)
    near.host.via = near.guest.via = NEAR
    track = near.publish("a", t=INFO._replace(timescale=1_000_000)).tracks["t"]
    if is_watched:
        near.watch("a", "t")
    track.append_group()
    track.write_frame(b"x", 5_000_000)
    track.finish_group()
    watch = world.connect("moq-lite-06").watch("a", "t")
    assert watch.info.timescale == 1_000_000
    assert watch.frames(0) == [(5_000_000, b"x")]


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("layout", [Layout.TIMED_OBJECTS, Layout.UNTIMED_OBJECTS])
def test_another_process_gets_properties_of_objects_and_nobody_else(
    world: Any, layout: Layout, at_once: bool
) -> None:
    near, source = world.connect(LITE_NEAR.identifier), Unasked()
    near.host.via = near.guest.via = NEAR
    near.host.watching.is_near = True
    world.house.origin.announce(Path("a"), source, (7,), world.now)
    world.run()
    beside = world.connect("moq-lite-06").watch("a", "t")
    near.watch("a", "t")
    (track,) = source.opened
    track.accept(TrackInfo(timescale=1_000))
    objects = [b"\x02\x0d\x00key", b"\x00delta"]
    data, before = b"", 0
    for payload in objects:
        data += encode_frame(layout, payload, 7_000, before)
        before = 7_000
    if at_once:
        track.add_group(3, layout, data, world.now)
    else:
        group = track.open_group(3, layout, world.now)
        assert group is not None
        world.run()
        for byte in data:
            group.write(bytes((byte,)), world.now)
            world.run()
        group.finish(world.now)
    world.run()
    (came,) = near.origin.find(Path("a")).track("t").groups.values()
    assert came.encoding is Layout.TIMED_OBJECTS
    parsed = FrameParser(Layout.TIMED_OBJECTS, 1_000).feed(b"".join(came.chunks))
    assert [each.payload for each in parsed] == objects
    assert [payload for _, payload in beside.frames(3)] == [b"key", b"delta"]


@pytest.mark.parametrize("layout", [Layout.TIMED_OBJECTS, Layout.TIMED])
@pytest.mark.parametrize("timescale", [1_000, 90_000])
def test_another_process_fetches_them_too(world: Any, layout: Layout, timescale: int) -> None:
    near, source = world.connect(LITE_NEAR.identifier), Unasked()
    near.host.via = near.guest.via = NEAR
    near.host.watching.is_near = True
    world.house.origin.announce(Path("a"), source, (7,), world.now)
    world.run()
    beside = world.connect("moq-lite-06")
    watch = beside.watch("a", "t")
    (track,) = source.opened
    track.accept(TrackInfo(timescale=1_000))
    payloads = [b"\x02\x0d\x00key", b"\x00delta"] if layout.has_properties else [b"key", b"delta"]
    first, second = payloads
    data = encode_frame(layout, first, 7_000, 0) + encode_frame(layout, second, 7_000, 7_000)
    for sequence in (3, 4):
        track.add_group(sequence, layout, data, world.now)
    world.run()
    assert [payload for _, payload in watch.frames(3)] == [b"key", b"delta"]
    far = near.origin.find(Path("a")).track("t")
    far.accept(TrackInfo(timescale=timescale))  # as another route had it
    group = Fetcher(near, 3).group
    assert group.native.finished
    assert group.encoding.has_properties == layout.has_properties, "it is no larger than it was"
    parsed = FrameParser(layout, 1_000).feed(b"".join(group.chunks))
    assert [each.payload for each in parsed] == payloads
    plain = b"".join(group.log(Layout.TIMED, transcode).chunks)
    stamp = 7 * timescale
    assert FrameParser(Layout.TIMED, MAX_FRAME).feed(plain) == [(stamp, b"key"), (stamp, b"delta")]


def test_another_process_that_only_asks_what_a_track_is_is_told(world: Any) -> None:
    near, source = world.connect(LITE_NEAR.identifier), Unasked()
    near.host.via = near.guest.via = NEAR
    near.origin.announce(Path("a"), source, (7,), world.now)
    world.run()
    told: list[TrackInfo] = []
    learner: Any = Learner(told)
    world.house.origin.find(Path("a")).track("t").learn(learner, world.now)
    world.run()
    assert (told, source.opened) == ([TrackInfo()], [])
