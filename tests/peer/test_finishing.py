"""The end of a track: told once all its groups have arrived, heard out until they have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from relay.model.track import Demand, TrackInfo
from relay.path import Path
from relay.peer.tally import LATELY
from relay.session.transport import is_uni

INFO = TrackInfo(max_latency=60_000)


class Late:
    """What an end sends on these streams from now on, which comes when it is let go."""

    def __init__(self, end: Any, *streams: int) -> None:
        self.end = end
        self.kept: dict[int, list[tuple[Any, ...]]] = {stream: [] for stream in streams}
        self.push = end._push
        end._push = self.keep

    def keep(self, what: str, *more: Any) -> None:
        if more[0] in self.kept:
            self.kept[more[0]].append((what, more))
        else:
            self.push(what, *more)

    def arrive(self, stream: int) -> None:
        for what, more in self.kept.pop(stream):
            self.end.wire.queue.append((self.end.peer, what, more))


def write(world: Any, track: Any, payload: bytes) -> None:
    track.append_group()
    track.write_frame(payload, 0)
    track.finish_group()
    world.run()


def test_the_end_is_told_when_the_last_groups_have_arrived(world: Any) -> None:
    publisher, viewer = world.connect(), world.connect()
    track = publisher.publish("a", t=INFO).tracks["t"]
    watch, other = viewer.watch("a", "t"), world.connect().watch("a", "t")
    write(world, track, b"0")
    write(world, track, b"1")
    opened = [what[1] for what in viewer.wire.server.sent if what[1:2] and what[1] % 4 == 3]
    viewer.wire.server.under_way = set(opened[-1:])
    track.finish()
    world.wait(1.0)
    assert (watch.ended, other.ended) == ([], [None])
    viewer.wire.server.under_way = {opened[-1] + 4}  # what came later is no reason to wait
    world.wait(0.25)
    assert watch.ended == [None]
    assert watch.complete() == [0, 1]
    assert not viewer.host.watching.viewings


def test_who_leaves_meanwhile_is_forgotten(world: Any) -> None:
    publisher, viewer = world.connect(), world.connect()
    track = publisher.publish("a", t=INFO).tracks["t"]
    watch = viewer.watch("a", "t")
    write(world, track, b"0")
    viewer.wire.server.under_way = {0}
    track.finish()
    world.run()
    assert viewer.host.watching.parting
    viewer.unwatch("a", "t", watch)
    assert not viewer.host.watching.parting


def test_groups_that_the_end_overtakes_are_waited_for(world: Any) -> None:
    publisher = world.connect()
    track = publisher.publish("a", t=INFO).tracks["t"]
    watch = world.connect().watch("a", "t")
    write(world, track, b"0")
    end = publisher.wire.client
    streams = end._next["uni"], end._next["uni"] + 4
    late = Late(end, *streams)
    for payload in (b"1", b"2", b"3"):
        write(world, track, payload)
    track.finish()
    world.run()
    assert watch.complete() == [0, 3]
    world.wait(0.75)
    late.arrive(streams[0])
    world.run()
    world.wait(0.75)  # one that comes says that others may
    assert not watch.ended
    late.arrive(streams[1])
    world.run()
    assert watch.complete() == [0, 1, 2, 3]
    assert watch.ended == [None], "there are no more"


def test_a_group_that_comes_twice_does_not_stand_for_one_that_has_not_come(world: Any) -> None:
    publisher = world.connect()
    track = publisher.publish("a", t=INFO).tracks["t"]
    watch = world.connect().watch("a", "t")
    session, end = publisher.guest.session, publisher.wire.client
    (id,) = session.publications
    for number in range(3 * LATELY):
        write(world, track, b"%d" % number)
        session.write(session.open_group(id, number), b"", True)
        world.run()
    (feed,) = publisher.host.publishing.feeds.values()
    assert feed._tally._seen.bit_length() <= LATELY
    stream = end._next["uni"]
    late = Late(end, stream)
    write(world, track, b"late")
    write(world, track, b"last")
    track.finish()
    world.wait(0.25)
    assert not watch.ended
    late.arrive(stream)
    world.run()
    assert 3 * LATELY in watch.complete()
    assert watch.ended == [None]


def test_groups_that_never_come_are_given_up(world: Any) -> None:
    publisher = world.connect()
    track = publisher.publish("a", t=INFO).tracks["t"]
    watch = world.connect().watch("a", "t")
    write(world, track, b"0")
    Late(publisher.wire.client, publisher.wire.client._next["uni"])
    write(world, track, b"1")
    write(world, track, b"2")
    track.finish()
    world.run()
    assert not watch.ended
    world.wait(2.25)  # a second for the relay, and one for whoever hears of the end from it
    assert watch.ended == [None]


def test_groups_that_were_asked_for_later_are_waited_for_as_well(world: Any) -> None:
    publisher, viewer = world.connect(), world.connect()
    track = publisher.publish("a", t=INFO).tracks["t"]
    world.connect().watch("a", "t")  # so that they are cached
    for number in range(4):
        write(world, track, b"%d" % number)
    watch = viewer.watch("a", "t", Demand(max_latency=0))
    assert watch.complete() == [3]
    end = viewer.wire.server
    streams = end._next["uni"], end._next["uni"] + 4
    late = Late(end, *streams)
    watch.demand = Demand(start=1, max_latency=60_000)
    viewer.origin.find(Path("a")).track("t").rewatch(watch)
    world.run()
    assert all(late.kept.values()), "two that are older"
    track.finish()
    world.run()
    for stream in streams:
        assert not watch.ended
        late.arrive(stream)
        world.wait(0.25)
    assert watch.complete() == [1, 2, 3]
    assert watch.ended == [None]


@pytest.mark.parametrize("why", ["withdrawn", "taken away"])
def test_what_breaks_off_with_a_track_breaks_off_before_the_subscription(
    world: Any, why: str
) -> None:
    publisher, viewer = world.connect(), world.connect()
    track = publisher.publish("a", t=INFO).tracks["t"]
    watch = viewer.watch("a", "t")
    track.append_group()
    track.write_frame(b"half", 0)
    world.run()
    viewer.wire.server.sent.clear()
    if why == "withdrawn":
        publisher.host.regrant(replace(publisher.host.grant, publish=()))
    else:
        viewer.host.regrant(replace(viewer.host.grant, subscribe=()))
    world.run()
    assert [error is not None for error in watch.ended] == [True]
    resets = [what[1] for what in viewer.wire.server.sent if what[0] == "stream_reset"]
    assert [is_uni(stream) for stream in resets] == [True, False]
