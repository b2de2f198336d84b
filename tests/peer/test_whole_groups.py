"""Groups that come whole, through the relay: they leave at once, or wait as any other does."""

from __future__ import annotations

from typing import Any

import pytest

from relay.model.track import Demand, TrackInfo
from relay.peer.watching import MAX_PASSED_ON
from relay.session.events import (
    GroupAborted,
    GroupArrived,
    GroupFinished,
    GroupOpened,
    GroupReceived,
)

MICRO = TrackInfo(max_latency=60_000)


@pytest.fixture(params=[0, 1], ids=["whole", "bytewise"])
def setting(request: pytest.FixtureRequest, world: Any) -> Any:
    """A track with a viewer; bytewise none of its groups comes whole."""
    publisher, viewer = world.connect(cut=request.param), world.connect()
    publisher.wire.joins = not request.param
    track = publisher.publish("a", t=MICRO).tracks["t"]
    return world, publisher, track, viewer, viewer.watch("a", "t")


def publish(track: Any, payload: bytes, stamp: int = 0) -> None:
    track.append_group()
    track.write_frame(payload, stamp)
    track.finish_group()


def streams(client: Any) -> list[tuple[int, bool]]:
    """What went out to a client on one-way streams: the stream, and whether it ended there."""
    sent = client.wire.server.sent
    return [(args[0], args[2]) for what, *args in sent if what == "stream_received" and args[0] & 2]


def test_it_leaves_with_its_head_and_its_end_at_once(setting: Any) -> None:
    world, publisher, track, viewer, watch = setting
    viewer.wire.server.sent.clear()
    publish(track, b"sound", 7)
    world.run()
    assert (watch.complete(), watch.frames(0)) == ([0], [(7, b"sound")])
    if not publisher.wire.cut:
        assert [ended for _, ended in streams(viewer)] == [True]


def test_nothing_is_kept_of_those_that_left(setting: Any) -> None:
    world, publisher, track, viewer, watch = setting
    for number in range(300):
        publish(track, b"sound", number)
        world.run()
    host = viewer.host.watching
    assert watch.complete() == list(range(300))
    assert (host.departing, len(host.queue._followed), host.queue.backlog) == ({}, 0, 0)
    assert [view.deliveries for view in host.viewings.values()] == [{}]
    assert publisher.host.publishing.arrivals == {}


@pytest.mark.parametrize("size", [1, MAX_PASSED_ON - 3, MAX_PASSED_ON, 50_000])
def test_every_size_arrives(setting: Any, size: int) -> None:
    world, _, track, _, watch = setting
    payload = bytes(index % 251 for index in range(size))
    publish(track, payload)
    publish(track, b"")
    world.run()
    assert watch.frames(0) == [(0, payload)]
    assert watch.frames(1) == [(0, b"")]


@pytest.mark.parametrize("lack", ["room", "credit"])
def test_what_finds_no_room_waits_newest_first(setting: Any, lack: str) -> None:
    world, _, track, viewer, watch = setting
    end = viewer.wire.server
    setattr(end, lack, 0)
    for number in range(4):
        publish(track, b"x" * 100, number)
    world.run()
    assert watch.complete() == []
    setattr(end, lack, 1 << 30)
    end.dirty = True
    world.run()
    assert watch.complete() == [0, 1, 2, 3]
    assert watch.order == [3, 2, 1, 0]


def test_it_does_not_overtake_what_is_more_urgent(setting: Any) -> None:
    world, publisher, _, viewer, _ = setting
    broadcast = publisher.publish("b", low=MICRO, high=MICRO)
    arrived: list[str] = []
    for name, priority in (("low", 1), ("high", 9)):
        watch = viewer.watch("b", name, Demand(priority=priority))
        watch.group_opened = lambda group, name=name: arrived.append(name)
    end = viewer.wire.server
    end.room = 0
    for name in ("low", "high"):
        publish(broadcast.tracks[name], b"x" * 1000)
    world.run()
    end.room = 1500  # for one of them
    publish(broadcast.tracks["low"], b"x" * 10)
    world.run()
    assert arrived[0] == "high"


def test_the_books_have_it_once_each_way(setting: Any) -> None:
    world, _, track, viewer, _ = setting
    publish(track, b"sound")
    world.run()
    traffic = world.house.origin.find("a").traffic
    size = len(b"sound") + 2
    for moved in (traffic.came.moved, traffic.went.moved):
        assert (moved.groups, moved.bytes) == (1, size)
    assert traffic.stale.groups == 0
    assert viewer.host.tab.account.egress == size


def test_the_last_streams_are_for_what_is_more_urgent(setting: Any) -> None:
    world, publisher, _, viewer, _ = setting
    broadcast = publisher.publish("b", low=MICRO, high=MICRO)
    low = viewer.watch("b", "low", Demand(priority=1))
    high = viewer.watch("b", "high", Demand(priority=200))
    viewer.wire.server.credit = 1
    for name in ("low", "high"):
        publish(broadcast.tracks[name], b"x" * 50)
    world.run()
    assert (low.complete(), high.complete()) == ([], [0])


def test_what_comes_twice_is_charged_once(setting: Any) -> None:
    world, publisher, track, _, _ = setting
    publish(track, b"sound")
    world.run()
    feed = next(iter(publisher.host.publishing.feeds.values()))
    account = publisher.host.tab.account
    before = account.ingress
    publisher.host.publishing.group_arrived(GroupArrived(feed.id, 0, b"\0\5sound"))
    assert account.ingress == before > 0


def feed_of(publisher: Any) -> tuple[Any, int]:
    """Who hears the only track that is pulled from a publisher, and its number."""
    publishing = publisher.host.publishing
    return publishing, next(iter(publishing.feeds))


def header_came(publisher: Any, sequence: int) -> tuple[Any, int]:
    """The same, after the header of a group has come on stream 2."""
    publishing, number = feed_of(publisher)
    publishing.group_opened(GroupOpened(2, number, sequence))
    return publishing, number


def test_whose_header_came_first_leaves_at_once_all_the_same(setting: Any) -> None:
    world, publisher, _, viewer, watch = setting
    publishing, number = header_came(publisher, 5)
    world.run()
    viewer.wire.server.sent.clear()
    publishing.group_arrived(GroupArrived(number, 5, b"\x0e\5sound", 2))
    world.run()
    assert watch.complete() == [5]
    assert [ended for _, ended in streams(viewer)] == [True]
    assert (publishing.arrivals, publishing.feeds[number].groups) == ({}, {})


@pytest.mark.parametrize("data", [b"", b"\0\1x"])
def test_after_a_header_that_came_first_pieces_are_passed_on(setting: Any, data: bytes) -> None:
    world, publisher, _, _, watch = setting
    publishing, number = header_came(publisher, 5)
    if data:
        publishing.group_received(GroupReceived(2, data))
    world.run()
    assert watch.order == [5] * bool(data)
    publishing.group_finished(GroupFinished(2))
    world.run()
    assert watch.complete() == [5]
    assert (publishing.arrivals, publishing.feeds[number].groups) == ({}, {})


def test_nobody_hears_of_a_group_that_breaks_off_after_its_header(setting: Any) -> None:
    world, publisher, track, _, watch = setting
    publishing, number = header_came(publisher, 0)
    publishing.group_aborted(GroupAborted(2, 1))
    world.run()
    assert watch.order == []
    assert (publishing.arrivals, publishing.feeds[number].groups) == ({}, {})
    publish(track, b"sound")  # the same again, on another stream
    world.run()
    assert watch.complete() == [0]


def test_a_header_of_what_is_there_is_no_second_group(setting: Any) -> None:
    world, publisher, track, _, watch = setting
    publish(track, b"sound")
    world.run()
    publishing, number = header_came(publisher, 0)
    publishing.group_received(GroupReceived(2, b"\0\1x"))
    world.run()
    assert watch.frames(0) == [(0, b"sound")]
    assert (publishing.arrivals, publishing.feeds[number].groups) == ({}, {})


def test_the_end_of_a_track_waits_for_a_group_whose_header_came(setting: Any) -> None:
    world, publisher, track, _, watch = setting
    publishing, number = header_came(publisher, 0)
    track.finish()
    world.wait(5.0)
    assert watch.ended == []
    publishing.group_arrived(GroupArrived(number, 0, b"\0\5sound", 2))
    world.wait(1.25)
    assert (watch.complete(), watch.ended) == ([0], [None])


def test_who_leaves_stops_a_group_whose_header_came(setting: Any) -> None:
    world, publisher, _, viewer, watch = setting
    publishing, _ = header_came(publisher, 0)
    viewer.unwatch("a", "t", watch)
    world.run()
    assert publishing.arrivals == {}


def test_who_wants_the_latest_gets_a_group_whose_header_came_before_it(setting: Any) -> None:
    world, publisher, _, _, watch = setting
    publishing, number = header_came(publisher, 0)
    publishing.group_arrived(GroupArrived(number, 1, b"\0\1y"))
    world.run()
    world.connect().watch("a", "t", Demand(start=0))
    publishing.group_arrived(GroupArrived(number, 0, b"\0\1x", 2))
    world.run()
    assert watch.complete() == [0, 1]
    assert (publishing.arrivals, publishing.feeds[number].groups) == ({}, {})


def test_a_header_that_is_never_followed_ages_as_its_group(setting: Any) -> None:
    world, publisher, track, _, watch = setting
    publishing, number = header_came(publisher, 0)
    publishing.group_arrived(GroupArrived(number, 1, b"\0\1y"))
    track.finish()
    world.wait(65.0)
    assert (watch.complete(), watch.ended) == ([1], [None])
    assert publishing.arrivals == {}


def test_what_comes_twice_is_charged_once_after_its_header_too(setting: Any) -> None:
    world, publisher, track, _, _ = setting
    publish(track, b"sound")
    world.run()
    publishing, number = feed_of(publisher)
    before = publisher.host.tab.account.ingress
    publishing.group_opened(GroupOpened(2, number, 0))
    publishing.group_received(GroupReceived(2, b"\0\5sound"))
    assert publisher.host.tab.account.ingress == before > 0


def test_who_comes_after_a_header_takes_the_group_from_nobody(setting: Any) -> None:
    world, publisher, _, _, watch = setting
    publishing, number = feed_of(publisher)
    publishing.group_arrived(GroupArrived(number, 1, b"\0\1y"))
    publishing.group_opened(GroupOpened(2, number, 0))
    world.connect().watch("a", "t", Demand(start=0))
    publishing.group_arrived(GroupArrived(number, 0, b"\0\1x", 2))
    world.run()
    assert watch.complete() == [0, 1]


def test_a_fetch_waits_for_the_group_whose_header_came(setting: Any) -> None:
    world, publisher, _, _, _ = setting
    publishing, number = header_came(publisher, 5)
    track = world.house.origin.find("a").track("t")
    fetcher = Fetcher()
    track.fetch(5, fetcher, world.now)
    assert publishing.fetches == {}
    publishing.group_arrived(GroupArrived(number, 5, b"\0\1x", 2))
    assert [group.native.finished for group in fetcher.groups] == [True]


class Fetcher:
    """Who fetches a group in the relay itself."""

    def __init__(self) -> None:
        self.groups: list[Any] = []

    def group_opened(self, group: Any) -> None:
        self.groups.append(group)
