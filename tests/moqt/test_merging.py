"""Groups whose objects come in several subgroups, which are one group for everybody else."""

from __future__ import annotations

import time

import pytest

from relay.moqt import merging
from relay.moqt.drafts import Draft
from relay.moqt.messages import PublishDone
from relay.moqt.objects import Object
from relay.moqt.properties import written
from relay.session import events
from relay.wire.frame import FrameParser, Layout

from .conftest import World
from .test_interpreter import (
    frames,
    publishing,
    serving,
    status,
    where_the_first_object_is_marked,
)

EXTENSIONS, FIRST, EXPLICIT, ENDS, STARTS = 0x11, 0x12, 0x14, 0x08, 0x40


def head(draft: Draft, group: int, subgroup: int | None, more: int = 0) -> bytes:
    """Of a stream for one subgroup; ``None`` = the number of its first object."""
    kind = (FIRST if subgroup is None else EXPLICIT) | more | (EXTENSIONS * draft.timestamps)
    numbers = (kind, 7, group, *(() if subgroup is None else (subgroup,)))
    return b"".join(map(draft.encode_varint, numbers)) + b"\x80"


def objects(draft: Draft, *numbers: int, stamp: int = 0) -> bytes:
    """Objects of these numbers, each of which is its payload."""
    pieces, before = [], -1
    for number in numbers:
        extensions = written(draft, b"", stamp + number) if draft.timestamps else b""
        payload = b"%d" % number
        size = draft.encode_varint(len(payload))
        pieces += [draft.encode_varint(number - before - 1), extensions, size, payload]
        before = number
    return b"".join(pieces)


class Split:
    """A publisher whose groups have two subgroups, as the relay knows by now."""

    def __init__(self, world: World, draft: Draft) -> None:
        self.world, self.draft = world, draft
        self.at_once = 0
        self.peer, self.viewer, self.asked = publishing(world, draft)
        serving(self.peer, self.asked)
        self.bring(-1, 0, 0, 2)
        self.bring(-1, 1, 1)
        assert (self.heard(), self.ends) == ([0, 1, 2], (0, 0))
        self.bring(0, 0, 0)
        self.bring(0, 1, 1)
        assert (self.heard(), self.ends) == ([0, 1], (2, 0))

    def bring(
        self, group: int, subgroup: int | None, *numbers: int, fin: bool = True, more: int = 0
    ) -> int:
        begin = head(self.draft, 1 + group, subgroup, more)
        return self.peer.bring(begin, objects(self.draft, *numbers), fin=fin)

    def say(self, stream: int, data: bytes, fin: bool = False) -> None:
        self.peer.end.send(stream, data, fin)
        self.world.run()

    def heard(self) -> list[int]:
        """Payloads that the viewer has got since."""
        at_once = [each for each in self.viewer.heard if isinstance(each, events.GroupArrived)]
        self.at_once += len(at_once)
        found = FrameParser(Layout.UNTIMED, 100_000).feed(frames(self.viewer))
        return [int(each.payload) for each in found]

    @property
    def ends(self) -> tuple[int, int]:
        """Groups that are complete, and that broke off."""
        whole, self.at_once = self.at_once + len(self.viewer.take(events.GroupFinished)), 0
        return whole, len(self.viewer.take(events.GroupAborted))


@pytest.fixture
def split(world: World, draft: Draft) -> Split:
    return Split(world, draft)


def test_a_publisher_with_a_single_subgroup_is_found_out(world: World, draft: Draft) -> None:
    """From then on objects pass as they come, and a group ends with its stream."""
    peer, viewer, asked = publishing(world, draft)
    serving(peer, asked)
    peer.bring(head(draft, 0, 0), objects(draft, 0, 2))
    assert frames(viewer) == b"\x010"
    peer.bring(head(draft, 1, 0), objects(draft, 0), objects(draft, 0)[:-1], fin=False)
    assert frames(viewer) == b"\x012" + b"\x010" + b"\x01"
    assert len(viewer.take(events.GroupFinished)) == 1
    peer.bring(head(draft, 2, 0), objects(draft, 0))
    assert frames(viewer) == b"\x010"
    assert len(viewer.take(events.GroupFinished)) == 1
    stream = peer.bring(head(draft, 2, 1), objects(draft, 1), fin=False)
    assert stream in peer.stops  # too late for this one
    peer.bring(head(draft, 3, 1), objects(draft, 1))
    peer.bring(head(draft, 3, 0), objects(draft, 0))
    assert frames(viewer) == b"\x010\x011"


def test_objects_come_in_the_order_of_their_numbers(split: Split) -> None:
    lead = split.bring(1, 0, 0, 2, fin=False)
    assert split.heard() == [0]
    other = split.bring(1, 1, 1, 5, fin=False)
    assert split.heard() == [1, 2]
    split.say(lead, objects(split.draft, 0))  # number 3
    assert split.heard() == [0]
    split.say(lead, b"", True)  # so there is no 4
    assert (split.heard(), split.ends) == ([5], (0, 0))
    split.say(other, b"", True)
    assert (split.heard(), split.ends) == ([], (1, 0))
    assert not split.peer.stops.keys() & {lead, other}


def test_subgroups_may_come_one_after_the_other(split: Split) -> None:
    """And the last one first; how many there are is learned, or told by whoever ends the group."""
    for group in (1, 2):
        split.bring(group, None, 2, more=ENDS)
        assert split.heard() == []
        split.bring(group, None, 1)
        split.bring(group, None, 0)
        assert split.heard() == [0, 1, 2]
        assert split.ends == (1, 0)


def test_a_group_ends_with_a_status(split: Split) -> None:
    stream = split.bring(1, 0, 0, 1, fin=False)
    assert split.heard() == [0, 1]
    assert split.ends == (0, 0)
    split.say(stream, status(split.draft, 3), True)
    assert split.ends == (1, 0)


def test_what_may_still_come_is_awaited_until_the_next_group(split: Split) -> None:
    split.bring(1, 0, 0, 2)
    assert (split.heard(), split.ends) == ([0], (0, 0))
    split.bring(2, 0, 0)
    assert (split.heard(), split.ends) == ([2, 0], (1, 0))


def test_the_end_of_the_track_is_that_of_its_groups(split: Split) -> None:
    split.bring(1, 0, 0, 2)
    asked = split.asked.request
    split.peer.say(PublishDone(asked, 2, 1, ""), request=asked)
    split.world.tick(5)
    assert (split.heard(), split.ends) == ([0, 2], (1, 0))
    assert split.viewer.only(events.SubscribeFinished)


def test_a_group_without_its_first_object_is_none(split: Split) -> None:
    stream = split.bring(1, 1, 1, 3, fin=False)
    split.bring(2, 0, 0)
    split.bring(2, 1, 1)
    assert split.heard() == [0, 1]
    split.peer.end.send(stream, b"", True)
    split.world.run()
    assert (split.heard(), split.ends) == ([], (1, 0))


@where_the_first_object_is_marked
def test_a_group_may_begin_with_any_number(world: World, draft: Draft) -> None:
    """Object 0 is waited for as long as another subgroup may have it."""
    peer, viewer, asked = publishing(world, draft)
    serving(peer, asked)
    peer.bring(head(draft, 0, 0, STARTS), objects(draft, 3, 5))
    assert frames(viewer) == b""
    peer.bring(head(draft, 1, 1, STARTS), objects(draft, 2))  # of 0 it is not known
    assert frames(viewer) == b"\x013\x015"
    assert len(viewer.take(events.GroupFinished)) == len(viewer.take(events.GroupOpened))
    peer.bring(head(draft, 2, 0), objects(draft, 0))
    assert frames(viewer) == b"\x010"


def test_a_subgroup_that_breaks_off_takes_no_other_with_it(split: Split) -> None:
    lead = split.bring(1, 0, 0, 2, fin=False)
    other = split.bring(1, 1, 1, fin=False)
    split.peer.end.reset(other, 1)
    split.world.run()
    split.say(lead, b"", True)
    assert (split.heard(), split.ends) == ([0, 1, 2], (1, 0))
    both = [split.bring(2, number, number, fin=False) for number in (0, 1)]
    for stream in both:
        split.peer.end.reset(stream, 1)
    split.world.run()
    assert (split.heard(), split.ends) == ([0, 1], (0, 1))


def test_an_object_in_pieces_is_waited_for(split: Split) -> None:
    draft = split.draft
    lead = split.bring(1, 0, 0, fin=False)
    other = split.bring(1, 1, 1, fin=False)
    next_one = objects(draft, 1)  # number 2 for the one, 3 for the other
    for at in range(len(next_one)):
        split.say(lead, next_one[at : at + 1])
        if not at:
            split.say(other, next_one, True)
    assert split.heard() == [0, 1, 1, 1]


def test_what_is_held_back_is_bounded(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    # A timestamp that is told as it came takes three bytes, no properties one.
    each = (4 if split.draft.timestamps else 2) + merging.EACH_HELD
    monkeypatch.setattr(merging, "MAX_HELD", 5 * each)
    split.bring(1, 0, 0, *range(2, 7), fin=False)
    assert split.heard() == [0]
    split.bring(1, 1, 7, 8, fin=False)
    assert split.heard() == [2, 3, 4, 5, 6, 7, 8]
    large = split.draft.encode_varint
    stream = split.bring(2, 0, 0, fin=False)
    extensions = written(split.draft, b"", 0) if split.draft.timestamps else b""
    split.say(stream, large(0) + extensions + large(2000) + bytes(1300))
    assert stream in split.peer.stops
    assert split.ends[1] == 1


def test_what_is_held_back_counts_however_little_it_brings() -> None:
    """And what is passed over takes no longer, however much there is behind it."""
    count = 20_000
    merge = merging.Merge(1, 0, 0, False)
    merge.is_awaited = False
    merge.enter(0)
    merge.enter(1)
    held = [Object(2 * at, 0, b"") for at in range(1, count)]
    merge.put(1, held, 2 * count, 0)
    assert (merge.pass_on(), merge.size) == (b"", len(held) * merging.EACH_HELD)
    merge.put(0, (Object(0, 0, b""),), 1, 0)
    merge.leave(0, True)
    began = time.process_time()
    assert merge.pass_on() == bytes(count)
    assert time.process_time() - began < 2
    assert merge.size == 0


def test_an_object_in_pieces_is_waited_for_behind_numbers_that_there_are_not(split: Split) -> None:
    draft = split.draft
    lead = split.bring(1, 0, 0, fin=False)
    last = objects(draft, 2)  # number 3 for the lead
    split.say(lead, last[:-1])
    split.bring(1, 1, 5)
    assert split.heard() == [0]
    split.say(lead, last[-1:], True)
    assert (split.heard(), split.ends) == ([2, 5], (1, 0))


def test_so_many_groups_come_at_a_time(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "MAX_MERGES", 2)
    streams = [split.bring(group, 0, 0, fin=False) for group in (1, 2, 3)]
    assert [each in split.peer.stops for each in streams] == [True, False, False]
    assert split.ends == (0, 1)


def test_nobody_watches_any_more(split: Split) -> None:
    stream = split.bring(1, 0, 0, fin=False)
    other = split.bring(2, 1, 1, fin=False)
    split.viewer.session.unsubscribe(0)
    split.world.run()
    split.world.tick(30)
    assert {stream, other} <= split.peer.stops.keys()
    assert split.peer.lost is None


def test_what_ends_before_it_was_served_leaves_nothing(world: World, draft: Draft) -> None:
    peer, viewer, asked = publishing(world, draft)
    peer.say(PublishDone(asked.request, 2, 0, ""), request=asked.request)
    assert viewer.only(events.SubscribeRefused)
    above = peer.visit.wire.server.receiver
    assert not above.groups.merges._most
