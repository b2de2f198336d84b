"""What has gone through a broadcast: counted by whole groups."""

from __future__ import annotations

from relay.model.group import Log
from relay.model.traffic import Meter, Moved, Side, Traffic


def log(*chunks: bytes) -> Log:
    made = Log()
    for chunk in chunks:
        made.append(chunk)
    return made


def test_without_a_meter_a_group_is_its_bytes() -> None:
    assert Traffic(Meter()).weigh(log(b"abc"), "any", 3) == (0, 3)


def test_a_log_is_weighed_once_for_a_size() -> None:
    meter, asked = Meter(), []

    def weigh(encoding: object, chunks: object, size: int, marks: list[int]) -> tuple[int, int]:
        assert marks == asked  # it has what it put in before
        asked.append(size)
        marks.append(size)
        return 1, size - 1

    meter.weigh = weigh
    traffic, whole = Traffic(meter), log(b"abc", b"de")
    assert [traffic.weigh(whole, "any", size) for size in (5, 5, 3, 5)] == [
        (1, 4),
        (1, 4),
        (1, 2),
        (1, 4),
    ]
    assert asked == [5, 3, 5]


def test_groups_and_datagrams_are_added_up() -> None:
    moved = Moved()
    moved.add((3, 30))
    moved.add((0, 0))
    moved.add_datagram(7)
    assert (moved.groups, moved.frames, moved.bytes, moved.datagrams) == (3, 4, 37, 1)


def test_a_session_watches_a_broadcast_from_its_first_track_to_its_last() -> None:
    side = Side()
    for who in ("a", "a", "b"):
        side.began(who)
    assert (side.subscriptions, side.broadcasts) == (3, 2)
    side.ended("a")
    assert (side.subscriptions_ended, side.broadcasts_ended) == (1, 0)
    side.ended("a")
    side.ended("b")
    assert (side.subscriptions_ended, side.broadcasts_ended) == (3, 2)
    side.began("a")
    assert side.broadcasts == 3
