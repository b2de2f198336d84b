"""The end of a track: told once all its groups have arrived."""

from __future__ import annotations

from typing import Any

from relay.model.track import TrackInfo

INFO = TrackInfo(max_latency=60_000)


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
