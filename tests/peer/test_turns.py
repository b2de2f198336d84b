"""Where a group stands among those of other tracks."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from relay.model.track import TrackInfo
from relay.peer.settings import PeerSettings
from relay.peer.turns import TURN, Turns

MICRO = TrackInfo(timescale=1_000_000)


def test_what_began_later_goes_first_whatever_its_number() -> None:
    assert Turns(1).place(3, 100 + TURN) > Turns(2).place(5000, 100.0)


def test_of_what_began_together_each_goes_first_half_of_the_time() -> None:
    old, fresh = Turns(1), Turns(2)
    first = sum(
        fresh.place(at, at * TURN) > old.place(5000 + at, at * TURN) for at in range(100, 300)
    )
    assert 80 <= first <= 120


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 3)), unique_by=lambda each: each[0]))
def test_a_later_group_of_a_track_stands_before_an_earlier_one(groups: Any) -> None:
    turns, highest = Turns(1), (-1, -1)
    for sequence, opened_at in groups:
        place = turns.place(sequence, opened_at)
        assert (place > highest[1]) == (sequence > highest[0])
        highest = max(highest, (sequence, place))


def test_a_track_whose_numbers_are_higher_leaves_something_to_another(make_world: Any) -> None:
    world = make_world(PeerSettings(max_backlog=25_000))
    publisher, viewer = world.connect(), world.connect()
    tracks = publisher.publish("a", old=MICRO, fresh=MICRO).tracks
    for number in range(100):
        tracks["old"].append_group()
        tracks["old"].write_frame(b"x", number)
    watches = [viewer.watch("a", name) for name in ("old", "fresh")]
    line = viewer.wire.server
    send = line.send

    def taken(stream: int, data: bytes, fin: bool = False) -> None:
        send(stream, data, fin)
        line.room -= len(data)

    line.send = taken
    for number in range(60):
        line.room = 0
        for track in tracks.values():
            track.append_group()
            track.write_frame(bytes(10_000), number)
            track.finish_group()
        world.run()
        line.room, line.dirty = 10_000, True
        world.run()
        world.wait(TURN / 2)
    assert all(len(watch.complete()) > 12 for watch in watches)
