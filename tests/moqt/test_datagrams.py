"""Objects in datagrams: known bytes, and the groups that they make."""

from __future__ import annotations

import pytest

from relay.moqt.datagrams import Datagram, scan_datagram
from relay.moqt.drafts import DRAFTS, Draft
from relay.moqt.groups import EACH_UNKNOWN, MAX_UNKNOWN
from relay.moqt.messages import PublishDone
from relay.moqt.properties import written
from relay.moqt.varint import LEADING, QUIC
from relay.session import events
from relay.wire.frame import FrameParser, Layout
from relay.wire.messages import SubscribeUpdate as Demand

from .conftest import Peer, World
from .test_interpreter import frames, head, objects, publishing, serving, timed

ENDS, FIRST, STATUS = 0x02, 0x04, 0x20

# draft-14, 10.3.1; draft-18, 11.3.1.
KNOWN = [
    ("00 02 05 03 80 6869", Datagram(2, 5, 3, False, b"", 0, b"hi")),
    ("06 02 05 80 6869", Datagram(2, 5, 0, True, b"", 0, b"hi")),
    ("01 02 05 03 80 02 1007 6869", Datagram(2, 5, 3, False, b"\x10\x07", 0, b"hi")),
    ("0c 02 05 6869", Datagram(2, 5, 0, False, b"", 0, b"hi")),
    ("20 02 05 03 80 04", Datagram(2, 5, 3, False, b"", 4, b"")),
    ("04 02 05 80", Datagram(2, 5, 0, False, b"", 0, b"")),
    ("22 02 05 03 80 04", None),
    ("10 02 05 03 80", None),
    ("01 02 05 03 80 02 10", None),
    ("00 02 05", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "found"), KNOWN)
def test_known_datagrams(text: str, found: Datagram | None) -> None:
    for varint in (QUIC, LEADING):
        assert scan_datagram(bytes.fromhex(text), varint) == found


def test_numbers_are_written_as_the_draft_does() -> None:
    assert scan_datagram(bytes.fromhex("04 4064 05 80 61"), QUIC).alias == 100  # type: ignore[union-attr]
    assert scan_datagram(bytes.fromhex("04 8064 05 80 61"), LEADING).alias == 100  # type: ignore[union-attr]


def datagram(draft: Draft, group: int, number: int, more: int = 0, alias: int = 7) -> bytes:
    """An object whose payload is its number."""
    extensions = written(draft, b"", 1_000 + number) if draft.timestamps else b""
    flags = more | (FIRST if not number else 0) | bool(extensions)
    numbers = (flags, alias, group, *((number,) if number else ()))
    return b"".join(map(draft.encode_varint, numbers)) + b"\x80" + extensions + b"%d" % number


def bring(peer: Peer, *datagrams: bytes) -> None:
    for each in datagrams:
        peer.end.send_datagram(each)
    peer.world.run()


def numbers(viewer: object) -> list[int]:
    parsed = FrameParser(Layout.UNTIMED, 1_000).feed(frames(viewer))
    return [int(each.payload) for each in parsed]


def test_objects_of_a_group_come_in_their_order(world: World, draft: Draft) -> None:
    peer, viewer, asked = publishing(world, draft)
    serving(peer, asked)
    bring(peer, *(datagram(draft, 4, each) for each in (0, 2)))
    assert numbers(viewer) == [0]
    bring(peer, datagram(draft, 4, 1))
    assert numbers(viewer) == [1, 2]
    assert not viewer.take(events.GroupFinished)
    bring(peer, datagram(draft, 5, 0))
    assert numbers(viewer) == [0]
    assert len(viewer.take(events.GroupFinished)) == 1
    bring(peer, datagram(draft, 4, 3))  # too late
    assert numbers(viewer) == []
    bring(peer, datagram(draft, 5, 1, ENDS))
    assert numbers(viewer) == [1]
    assert len(viewer.take(events.GroupFinished)) == 1
    bring(peer, datagram(draft, 5, 0), datagram(draft, 5, 2))
    assert numbers(viewer) == []
    assert (viewer.take(events.GroupAborted), peer.lost) == ([], None)


def test_objects_may_come_before_it_is_known_whose_they_are(world: World, draft: Draft) -> None:
    """quic-go puts datagrams before streams in a packet."""
    peer, viewer, asked = publishing(world, draft)
    bring(peer, datagram(draft, 4, 0), datagram(draft, 4, 0, alias=8), datagram(draft, 4, 1))
    serving(peer, asked)
    assert numbers(viewer) == [0, 1]


def test_what_is_kept_of_them_is_bounded(draft: Draft) -> None:
    world = World(0)
    peer, viewer, asked = publishing(world, draft)
    for number in range(2_000):
        peer.end.send_datagram(datagram(draft, 4, number))
    world.run()
    serving(peer, asked)
    assert 0 < len(numbers(viewer)) <= MAX_UNKNOWN // EACH_UNKNOWN


def test_what_is_lost_is_waited_for_a_while(world: World, draft: Draft) -> None:
    peer, viewer, asked = publishing(world, draft)
    serving(peer, asked)
    bring(peer, *(datagram(draft, 4, each) for each in (0, 2, 3, 4, 5, 6, 7, 8)))
    assert numbers(viewer) == [0]
    bring(peer, datagram(draft, 4, 9))
    assert numbers(viewer) == [2, 3, 4, 5, 6, 7, 8, 9]
    bring(peer, datagram(draft, 4, 1), datagram(draft, 4, 10))
    assert numbers(viewer) == [10]


def test_a_group_without_its_first_object_is_none(world: World, draft: Draft) -> None:
    peer, viewer, asked = publishing(world, draft)
    serving(peer, asked)
    bring(peer, datagram(draft, 4, 1), datagram(draft, 4, 2))
    bring(peer, datagram(draft, 5, 0))
    assert numbers(viewer) == [0]
    assert viewer.only(events.GroupOpened).sequence == 5


def test_the_end_of_the_track_may_be_told_in_one(world: World, draft: Draft) -> None:
    peer, viewer, asked = publishing(world, draft)
    serving(peer, asked)
    extensions = int(draft.timestamps)
    last = (STATUS | extensions, 7, 4, 1)
    status = b"".join(map(draft.encode_varint, last)) + b"\x80" + b"\x00" * extensions + b"\x04"
    bring(peer, datagram(draft, 4, 0))
    assert numbers(viewer) == [0]
    bring(peer, status)
    assert viewer.only(events.GroupFinished)
    peer.say(PublishDone(asked.request, 2, 0, ""), request=asked.request)
    world.tick(5)
    assert viewer.only(events.SubscribeFinished)


def test_timestamps_come_through(world: World) -> None:
    for draft in (each for each in DRAFTS if each.timestamps):
        house = World(world.cut)
        peer, _, asked = publishing(house, draft)
        serving(peer, asked, timescale=1_000)
        viewer = timed(house)
        viewer.session.subscribe("demo/cam", "video", Demand(200))
        house.run()
        bring(peer, datagram(draft, 4, 0), datagram(draft, 4, 1))
        parsed = FrameParser(Layout.TIMED, 1_000).feed(frames(viewer))
        assert [each.timestamp for each in parsed] == [1_000_000, 1_001_000]


@pytest.mark.parametrize("data", [b"", b"\x10\x07\x00", b"\xff" * 9, b"\x06\x63\x00\x80x"])
def test_what_belongs_to_nothing_is_forgotten(world: World, draft: Draft, data: bytes) -> None:
    peer, viewer, asked = publishing(world, draft)
    serving(peer, asked)
    bring(peer, data, datagram(draft, 4, 0, alias=8))
    peer.bring(head(draft, 7, 4), objects(draft, b"9"))
    assert numbers(viewer) == [9]
    bring(peer, datagram(draft, 4, 1))  # of a group that came on a stream
    assert numbers(viewer) == []
    assert peer.lost is None
