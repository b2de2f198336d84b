"""What a viewer on 06 can ask for: where to begin by age, and frames of a group."""

from __future__ import annotations

import gc
import sys
from itertools import groupby
from typing import Any

import pytest

from relay.model.track import TrackInfo
from relay.path import Path
from relay.peer import watching as watching_room
from relay.peer.guest import Guest
from relay.peer.local import LocalBroadcast
from relay.peer.reading import MAX_FRAME
from relay.peer.sending import CUT, SLACK, Delivery
from relay.peer.watching import MAX_SEATS
from relay.session import events
from relay.wire.buffer import StreamBuffer
from relay.wire.frame import Excerpt, FrameParser, Layout
from relay.wire.messages import Bidi, Fetch, Group, Subscribe, SubscribeUpdate
from relay.wire.version import LITE_06

NEWEST = "moq-lite-06"
INFO = TrackInfo(max_latency=60_000, timescale=1000)


class Raw:
    """A viewer that reads and writes the bytes itself."""

    def __init__(self, world: Any, **options: Any) -> None:
        self.world = world
        self.end = world.connect(NEWEST, **options).wire.client
        self.end.receiver = self
        self.streams: dict[int, bytearray] = {}
        self.finished: set[int] = set()
        self.resets: dict[int, int] = {}

    def stream_received(self, stream: int, data: bytes, fin: bool) -> None:
        self.streams.setdefault(stream, bytearray()).extend(data)
        if fin:
            self.finished.add(stream)

    def stream_reset(self, stream: int, code: int) -> None:
        self.resets[stream] = code

    def stream_stopped(self, stream: int, code: int) -> None:
        """Nothing here cares."""

    def flush(self) -> None:
        """Nothing waits."""

    def ask(self, kind: int, message: Any) -> int:
        """A request on a stream of its own."""
        stream: int = self.end.open_bidi()
        self.end.send(stream, bytes([kind]) + LITE_06.encode(message))
        self.world.run()
        return stream

    def subscribe(self, *wish: Any, id: int = 0, **more: Any) -> int:
        return self.ask(Bidi.SUBSCRIBE, Subscribe(id, "a", "t", *wish, **more))

    def fetch(self, group: int, **more: Any) -> int:
        return self.ask(Bidi.FETCH, Fetch("a", "t", 0, group, **more))

    def update(self, stream: int, wish: SubscribeUpdate) -> None:
        self.end.send(stream, LITE_06.encode(wish))
        self.world.run()

    def groups(self) -> dict[tuple[int, int], list[tuple[int | None, bytes]]]:
        """Complete groups by sequence and first frame."""
        found = {}
        for stream in sorted(self.finished):
            if stream & 2 and self.streams[stream][:1] == b"\0":
                buffer = StreamBuffer(bytes(self.streams[stream][1:]))
                body = buffer.message(99)
                assert body is not None
                head = LITE_06.decode(Group, body)
                frames = FrameParser(Layout.TIMED, MAX_FRAME).feed(buffer.take())
                found[head.sequence, head.first_frame] = [(f.timestamp, f.payload) for f in frames]
        return found

    def answer(self, stream: int) -> list[tuple[int | None, bytes]]:
        """The frames of a fetch."""
        assert stream in self.finished
        frames = FrameParser(Layout.TIMED, MAX_FRAME).feed(bytes(self.streams[stream]))
        return [(frame.timestamp, frame.payload) for frame in frames]


def publish(world: Any, version: str = NEWEST, groups: int = 4) -> Any:
    """A track with that many groups of three frames, a second apart, and one viewer."""
    track = world.connect(version).publish("a", t=INFO).tracks["t"]
    world.connect().watch("a", "t")
    for number in range(groups):
        write(world, track, number)
    return track


def write(world: Any, track: Any, number: int) -> None:
    track.append_group()
    for index in range(3):
        track.write_frame(b"%d/%d" % (number, index), number * 1000 + index * 10)
    track.finish_group()
    world.run()


def whole(number: int, first: int = 0, last: int = 2) -> list[tuple[int, bytes]]:
    return [(number * 1000 + i * 10, b"%d/%d" % (number, i)) for i in range(first, last + 1)]


def test_groups_that_have_left_need_no_garbage_collector(world: Any) -> None:
    track = publish(world)
    gc.collect()
    gc.disable()
    try:
        for number in range(4, 204):
            write(world, track, number)
        kept = sum(isinstance(each, Delivery) for each in gc.get_objects())
    finally:
        gc.enable()
    assert kept <= 2 * SLACK, "no more than the queues sweep now and then"


@pytest.mark.parametrize(
    ("max_age", "floor", "expected"),
    [
        (0, None, [3]),
        (500, None, [2, 3]),
        (60_000, None, [0, 1, 2, 3]),
        (60_000, 2, [2, 3]),
        (500, 1, [2, 3]),
        (0, 4, []),
    ],
)
def test_age_says_where_to_begin_and_a_floor_only_cuts(
    world: Any, max_age: int, floor: int | None, expected: list[int]
) -> None:
    track = publish(world)
    viewer = Raw(world)
    stream = viewer.subscribe(0, False, max_age, floor)
    assert viewer.groups() == {(number, 0): whole(number) for number in expected}
    write(world, track, 4)
    assert viewer.groups() == {(number, 0): whole(number) for number in [*expected, 4]}
    start = min([*expected, 4])
    assert bytes(viewer.streams[stream]) == bytes([0, 1, start])


@pytest.mark.parametrize(
    ("max_age", "floor", "expected"),
    [
        (0, None, [5]),
        (500, None, [4, 5]),
        (60_000, None, [3, 4, 5]),
        (60_000, 4, [4, 5]),
        (500, 1, [4, 5]),
        (60_000, 6, []),
    ],
)
@pytest.mark.parametrize("watched", [False, True])
def test_what_the_relay_publishes_itself_begins_by_age_as_well_whoever_watches(
    world: Any, max_age: int, floor: int | None, expected: list[int], watched: bool
) -> None:
    local = LocalBroadcast(world.clock)
    track = local.create_track("t", INFO._replace(max_latency=1_600), keep=6)
    world.house.origin.announce(Path("a"), local, local.hops, world.clock())
    for number in range(6):
        if watched and number == 5:
            Raw(world).subscribe(0)
        write(world, track, number)
    viewer = Raw(world)
    viewer.subscribe(0, False, max_age, floor)
    assert viewer.groups() == {(number, 0): whole(number) for number in expected}


def test_a_floor_that_moves_up_moves_the_beginning(world: Any) -> None:
    track = publish(world, groups=1)
    viewer = Raw(world)
    stream = viewer.subscribe(0)
    viewer.update(stream, SubscribeUpdate(0, start=3))
    for number in range(1, 5):
        write(world, track, number)
    assert sorted(viewer.groups()) == [(0, 0), (3, 0), (4, 0)]


def test_a_floor_that_moves_down_brings_back_only_what_is_young(world: Any) -> None:
    publish(world)
    viewer = Raw(world)
    stream = viewer.subscribe(0, False, 0, 9)
    viewer.update(stream, SubscribeUpdate(0, False, 500, 1))
    assert sorted(viewer.groups()) == [(2, 0), (3, 0)]


def test_from_a_floor_on_nothing_is_left_out_that_the_publisher_has(world: Any) -> None:
    """A relay that lost its route goes on from its first missing group: what is cached here ends
    where the last viewer left, and the publisher has what came since."""
    track = world.connect(NEWEST).publish("a", t=INFO).tracks["t"]
    write(world, track, 0)
    before = Raw(world)
    stream = before.subscribe(0, False, 60_000)
    for number in range(1, 4):
        write(world, track, number)
    before.end.send(stream, b"", True)
    world.run()
    for number in range(4, 9):
        write(world, track, number)
    viewer = Raw(world)
    viewer.subscribe(0, False, 60_000, 1)
    assert sorted(viewer.groups()) == [(number, 0) for number in range(1, 9)]


@pytest.mark.parametrize("version", [NEWEST, "moq-lite-04"])
def test_a_subscription_begins_and_ends_within_groups(world: Any, version: str) -> None:
    track = publish(world, version)
    viewer = Raw(world)
    viewer.subscribe(0, False, 60_000, 2, 3, 1, 0)
    groups = viewer.groups()
    assert {key: [payload for _, payload in frames] for key, frames in groups.items()} == {
        (2, 1): [b"2/1", b"2/2"],
        (3, 0): [b"3/0"],
    }
    if version == NEWEST:
        assert groups == {(2, 1): whole(2, 1), (3, 0): whole(3, 0, 0)}
    write(world, track, 4)
    assert len(viewer.groups()) == 2


def test_a_start_frame_is_for_its_own_group_only(world: Any) -> None:
    publish(world)
    viewer = Raw(world)
    viewer.subscribe(0, False, 0, 1, first_frame=2)
    assert viewer.groups() == {(3, 0): whole(3)}


def test_frames_of_a_group_that_is_still_written(world: Any) -> None:
    track = publish(world, groups=1)
    viewer = Raw(world)
    track.append_group()
    track.write_frame(b"1/0", 1000)
    viewer.subscribe(0, False, 0, 1, first_frame=1, end=1, last_frame=1)
    track.write_frame(b"1/1", 1010)
    world.run()
    assert viewer.groups() == {(1, 1): whole(1, 1, 1)}  # complete, though the group is not
    track.write_frame(b"1/2", 1020)
    track.finish_group()
    world.run()
    assert viewer.groups() == {(1, 1): whole(1, 1, 1)}
    assert viewer.resets == {}


def test_a_group_that_has_all_frames_but_the_wanted_is_empty(world: Any) -> None:
    publish(world, groups=1)
    viewer = Raw(world)
    viewer.subscribe(0, False, 0, 0, first_frame=3)
    assert viewer.groups() == {(0, 3): []}


def test_a_group_that_never_had_the_first_frame_is_broken_off(world: Any) -> None:
    track = publish(world, groups=1)
    viewer = Raw(world)
    viewer.subscribe(0, False, 0, 0, first_frame=4)
    assert viewer.groups() == {}
    assert list(viewer.resets.values()) == [51]
    write(world, track, 1)
    assert viewer.groups() == {(1, 0): whole(1)}


@pytest.mark.parametrize(
    ("first", "last", "frames"),
    [(0, None, whole(1)), (1, None, whole(1, 1)), (0, 1, whole(1, 0, 1)), (2, 9, whole(1, 2))],
)
def test_a_fetch_of_some_frames(
    world: Any, first: int, last: int | None, frames: list[tuple[int, bytes]]
) -> None:
    publish(world)
    viewer = Raw(world)
    assert viewer.answer(viewer.fetch(1, first_frame=first, last_frame=last)) == frames


def test_a_fetch_of_frames_that_never_were_fails(world: Any) -> None:
    publish(world)
    viewer = Raw(world)
    stream = viewer.fetch(1, first_frame=4)
    assert viewer.resets == {stream: 51}
    assert viewer.answer(viewer.fetch(1, first_frame=3)) == []


@pytest.mark.parametrize("first", [5 * CUT - 1, 5 * CUT, 5 * CUT + 1])
def test_of_very_many_frames_so_many_are_cut_in_a_turn(
    world: Any, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    count = 5 * CUT
    track = world.connect(NEWEST).publish("a", t=INFO).tracks["t"]
    world.connect().watch("a", "t")
    track.append_group()
    for _ in range(count):
        track.write_frame(b"", 0)
    track.finish_group()
    world.run()
    viewer = Raw(world)
    cut: list[int] = []
    feed = Excerpt.feed

    def counted(excerpt: Excerpt, data: bytes) -> bytes:
        before, part = excerpt.frames, feed(excerpt, data)
        cut.append(excerpt.frames - before)
        return part

    def turn(guest: Any) -> None:
        cut.append(0)
        flush(guest)

    flush = Guest.flush
    monkeypatch.setattr(Excerpt, "feed", counted)
    monkeypatch.setattr(Guest, "flush", turn)
    stream = viewer.fetch(0, first_frame=first)
    assert sum(cut) == count
    turns = [sum(group) for is_turn, group in groupby(cut, bool) if is_turn]
    assert turns == [CUT] * 5
    if first > count:
        assert viewer.resets == {stream: 51}
    else:
        assert viewer.answer(stream) == [(0, b"")] * (count - first)


def test_a_path_below_an_announced_one_is_refused(world: Any) -> None:
    publish(world)
    viewer = Raw(world)
    stream = viewer.ask(Bidi.SUBSCRIBE, Subscribe(0, "a/b", "t", 0))
    assert viewer.resets == {stream: 54}


def test_many_parts_of_a_group_cost_no_memory(world: Any) -> None:
    publish(world)
    viewer = Raw(world)
    cache = world.house.origin.stock.cache.used
    for _ in range(200):
        assert viewer.answer(viewer.fetch(1, first_frame=1)) == whole(1, 1)
    assert world.house.origin.stock.cache.used == cache


def calls(world: Any, viewers: int) -> float:
    """Calls for each viewer of what the relay does with one more frame of a group."""
    track = world.connect().publish("cam", t=INFO).tracks["t"]
    for _ in range(viewers):
        world.connect().watch("cam", "t")
    track.append_group()
    track.write_frame(b"first", 1)
    world.run()
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    # Only the relay's halves of the wires count.
    publisher, *others = world.clients
    track.write_frame(bytes(1000), 2)
    publisher.wire.client.receiver.flush()
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        publisher.wire.run()
        for host in world.hosts:
            host.flush()
    finally:
        sys.setprofile(before)
    world.run()
    assert all(b"\0" * 1000 in sent(each) for each in others)
    return count / viewers


def sent(client: Any) -> bytes:
    """All bytes of streams that the relay sent to somebody."""
    return b"".join(
        bytes(args[2]) for args in client.wire.server.sent if args[0] == "stream_received"
    )


def test_a_viewer_costs_the_same_however_many_there_are(make_world: Any) -> None:
    few, many = calls(make_world(), 4), calls(make_world(), 64)
    assert many <= few * 1.2


def test_another_priority_counts_for_groups_that_wait(world: Any) -> None:
    track = publish(world, groups=1)
    raw = Raw(world)
    streams = [raw.subscribe(priority, id=priority, max_latency=60_000) for priority in (1, 2)]
    relay = raw.end.peer
    relay.room = 0
    write(world, track, 1)
    relay.sent.clear()
    raw.update(streams[0], SubscribeUpdate(3, max_latency=60_000))
    relay.room = 1 << 30
    relay.wake()
    world.run()
    said = [what[2] for what in relay.sent if what[0] == "stream_received"]
    heads = [data for data in said if data[:1] == b"\0"]
    assert [head[2] for head in heads] == [1, 2], "subscription ids"


def test_a_session_subscribes_to_one_track_so_often_and_no_more(world: Any) -> None:
    track = publish(world)
    raw = Raw(world)
    streams = [raw.subscribe(0, id=number) for number in range(MAX_SEATS + 1)]
    assert list(raw.resets) == streams[-1:]
    other = world.connect().watch("a", "t")
    assert raw.subscribe(0, id=999) in raw.resets
    raw.end.send(streams[0], b"", True)
    world.run()
    assert raw.subscribe(0, id=1000) not in raw.resets
    track.finish()
    world.wait(2)
    assert other.ended == [None]
    assert not any(host.watching.seats for host in world.hosts)


def test_so_many_cached_groups_are_kept_account_of_for_a_session(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching_room, "MAX_NOTED", 12)
    track = publish(world, groups=4)
    raw, relay = Raw(world), Raw(world, cluster=True)
    streams = [raw.subscribe(0, id=number) for number in range(4)]
    for number in range(4):
        relay.subscribe(0, id=number)
    assert list(raw.resets) == streams[3:]
    assert raw.subscribe(0, id=4) in raw.resets  # still
    raw.end.send(streams[0], b"", True)
    world.run()
    again = raw.subscribe(0, id=5)
    assert again not in raw.resets
    for number in (4, 5):
        write(world, track, number)
    world.wait(1)
    watched = [set(host.watching.viewings) for host in world.hosts[-2:]]
    assert watched == [{1, 2}, {0, 1, 2, 3}]
    assert again in raw.resets
    assert not relay.resets


def test_a_relay_subscribes_as_often_as_it_likes(world: Any) -> None:
    publish(world)
    raw = Raw(world, cluster=True)
    for number in range(MAX_SEATS + 1):
        raw.subscribe(0, id=number)
    assert not raw.resets


def test_subscriptions_to_much_that_is_cached_begin_in_turns(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(world, groups=4)
    Raw(world)
    host = world.hosts[-1]
    watching = host.watching
    monkeypatch.setattr(watching_room, "MAX_LOOKED", 8)

    def begun() -> set[int]:
        return set(watching.viewings)

    for id in range(6):
        watching.subscribed(events.Subscribed(id, "a", "t", 0, False, 0, None, None))
    assert begun() == {0, 1}
    watching.subscribe_updated(events.SubscribeUpdated(0, 7, False, 0, None, None))
    watching.subscribe_updated(events.SubscribeUpdated(2, 7, False, 0, None, None))
    watching.unsubscribed(events.Unsubscribed(3))
    host.flush()
    assert begun() == {0, 1, 2, 4}
    assert watching.viewings[0].demand.priority == 0
    host.flush()
    assert begun() == {0, 1, 2, 4, 5}
    world.run()
    assert [watching.viewings[id].demand.priority for id in (0, 1, 2)] == [7, 0, 7]
    assert not watching.late
    assert not watching.waiting
    assert watching.looked == 0


def test_changed_subscriptions_are_heard_in_turns_and_of_each_the_last_change(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(world)
    raw = Raw(world)
    for number in range(3):
        raw.subscribe(0, id=number)
    watching = world.hosts[-1].watching
    monkeypatch.setattr(watching_room, "MAX_UPDATES", 2)

    def change(*pairs: tuple[int, int]) -> dict[int, int]:
        for id, priority in pairs:
            wish = events.SubscribeUpdated(id, priority, False, 0, None, None)
            watching.subscribe_updated(wish)
        return {id: each.demand.priority for id, each in watching.viewings.items()}

    assert change((0, 1), (1, 1), (2, 1), (0, 2), (2, 3), (0, 4)) == {0: 1, 1: 1, 2: 0}
    world.hosts[-1].flush()
    assert change() == {0: 4, 1: 1, 2: 3}
    assert not watching.updates
    world.run()
    assert watching.updated == 0
    assert change((0, 5), (1, 5), (2, 5)) == {0: 5, 1: 5, 2: 3}
    watching.unsubscribed(events.Unsubscribed(2))
    assert not watching.updates
