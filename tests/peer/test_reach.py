"""How far back a subscription reaches, group by group."""

from __future__ import annotations

from typing import Any

import pytest

from relay.model.origin import Origin
from relay.model.track import Demand, Track, TrackInfo
from relay.path import Path
from relay.peer.reach import oldest_fresh
from relay.wire.frame import Counted, Encoding, Layout, encode_frame


class Tape:
    """A track whose groups are written by hand, at a time of our own."""

    def __init__(self, layout: Encoding = Layout.TIMED) -> None:
        self.layout = layout
        self.now = 100.0
        origin = Origin(1)
        origin.announce(Path("a"), Nobody(), (), self.now)
        broadcast = origin.find(Path("a"))
        assert broadcast is not None
        self.track: Track = broadcast.track("t")
        self.track.watch(Nobody(), self.now)  # type: ignore[arg-type]
        self.track.accept(TrackInfo(max_latency=60_000, timescale=1000))

    def group(self, sequence: int, *stamps: int, last_for: float = 0.0) -> None:
        """A group with a frame at each of these milliseconds, finished after ``last_for``."""
        group = self.track.open_group(sequence, self.layout, self.now)
        assert group is not None
        previous = 0
        for stamp in stamps:
            layout = self.layout if isinstance(self.layout, Layout) else Layout.TIMED
            group.write(encode_frame(layout, b"x", stamp, previous), self.now)
            previous = stamp
        self.now += last_for
        group.finish(self.now)

    def oldest(self, max_age: int, floor: int = 0) -> int | None:
        return oldest_fresh(self.track, floor, max_age)


class Nobody:
    """A viewer, and a source, that takes everything and does nothing."""

    demand = Demand(start=0)
    can_fetch = True

    def _nothing(self, *args: Any) -> None: ...

    # What makes it a source: a protocol is looked for in the class.
    open = update = close = learn = fetch = cancel_fetch = _nothing

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


@pytest.fixture
def tape() -> Tape:
    """Four groups of a second each, sent in one go."""
    tape = Tape()
    for number in range(4):
        tape.group(number, number * 1000, number * 1000 + 500)
    return tape


@pytest.mark.parametrize(
    ("max_age", "oldest"),
    [(0, 3), (1, 2), (999, 2), (1000, 2), (1001, 1), (2000, 1), (2001, 0), (10**9, 0)],
)
def test_a_group_is_as_old_as_what_follows_it(tape: Tape, max_age: int, oldest: int) -> None:
    assert tape.oldest(max_age) == oldest


@pytest.mark.parametrize(("floor", "oldest"), [(0, 0), (2, 2), (3, 3), (4, None)])
def test_a_floor_only_cuts(tape: Tape, floor: int, oldest: int | None) -> None:
    assert tape.oldest(10_000, floor) == oldest


def test_the_latest_group_grows_older_as_it_is_written() -> None:
    tape = Tape()
    tape.group(0, 0)
    tape.group(1, 1000, last_for=0.7)
    assert tape.oldest(700) == 1
    assert tape.oldest(701) == 0


def test_ages_are_exact_however_late_it_is() -> None:
    tape = Tape()
    tape.now = 1e9 + 0.1
    tape.track.info = TrackInfo(timescale=1_000_000)
    tape.group(0, 1)
    tape.group(1, 2)
    assert tape.oldest(0) == 1


@pytest.mark.parametrize(("max_age", "oldest"), [(999, 2), (1001, 1), (2001, 0)])
def test_frames_that_count_other_units_than_their_track_tell_their_own_time_as_well(
    max_age: int, oldest: int
) -> None:
    tape = Tape()
    for number in range(4):
        tape.layout = Counted(10)  # each over a session of its own
        tape.group(number, number * 10, number * 10 + 5)
    assert tape.oldest(max_age) == oldest


def test_nothing_cached_is_nothing_to_begin_with() -> None:
    assert Tape().oldest(1000) is None


def test_a_group_is_fresh_until_a_later_one_has_a_frame() -> None:
    tape = Tape()
    tape.group(0, 0)
    tape.group(1, 5000)
    tape.group(2)
    assert tape.oldest(0) == 1


def test_an_empty_group_is_bounded_by_the_next() -> None:
    tape = Tape()
    tape.group(0, 0)
    tape.group(1)
    tape.group(2, 5000)
    assert tape.oldest(1) == 0  # the first frame after it is the latest there is
    tape.group(3, 9000)
    assert tape.oldest(4000) == 2


def test_frames_without_a_time_are_as_old_as_their_arrival() -> None:
    tape = Tape(Layout.UNTIMED)
    for number in range(3):
        tape.group(number, 0)
        tape.now += 2
    assert tape.oldest(0) == 2
    assert tape.oldest(2000) == 1
    assert tape.oldest(2001) == 0


def test_a_time_cut_in_two_is_put_together() -> None:
    tape = Tape()
    tape.group(0, 0)
    group = tape.track.open_group(1, Layout.TIMED, tape.now)
    assert group is not None
    head = encode_frame(Layout.TIMED, b"x", 900_000)
    for byte in head:
        group.write(bytes([byte]), tape.now)
        assert tape.oldest(0) in (0, 1)
    tape.group(2, 900_500)
    assert tape.oldest(501) == 0
    assert tape.oldest(500) == 1


def test_what_a_fetch_brought_does_not_count() -> None:
    tape = Tape()
    for number in (10, 11):
        tape.group(number, number * 1000, number * 1000 + 500)
    tape.track.fetch(2, Nobody(), tape.now)
    fetched = tape.track.open_fetched(2, tape.layout, tape.now)
    assert fetched is not None
    fetched.write(encode_frame(tape.layout, b"old", 2000), tape.now)
    fetched.finish(tape.now)
    assert tape.oldest(10**9) == 10
