"""Parts of groups, floors and numbers of broken streams, where the version has them (06)."""

from __future__ import annotations

import pytest

from dialogue import Side, Talk, Wire
from relay.path import Path
from relay.session import events
from relay.session.events import FREE
from relay.wire.messages import SubscribeUpdate, TrackInfo

WHOLE = SubscribeUpdate(7, False, 500, None, None)
HEAD = "00 01 61 01 62 00 00"
"""Body of a SUBSCRIBE to track "b" of "a", up to the ranges."""


def hostile() -> tuple[Side, Wire]:
    wire = Wire()
    wire.client.open_bidi()
    server = Side(wire.server, "moq-lite-06", False)
    server.start()
    server.stream_received(2, bytes.fromhex("010100"), True)
    server.heard.clear()
    wire.server.sent.clear()
    return server, wire


def test_floors_and_frames_reach_the_publisher(cut: int) -> None:
    talk = Talk("moq-lite-06", cut)
    talk.client.session.subscribe("a", "b", SubscribeUpdate(7, False, 500, 4, 6, 3, 0))
    talk.client.session.resubscribe(0, SubscribeUpdate(8, False, 0, 0, None))
    talk.run()
    asked = talk.server.only(events.Subscribed)
    assert asked == events.Subscribed(0, "a", "b", 7, False, 500, 4, 6, 3, 0)
    # A floor of 0 is none.
    assert talk.server.only(events.SubscribeUpdated) == events.SubscribeUpdated(
        0, 8, False, 0, None, None
    )


def test_a_group_says_with_which_frame_it_begins() -> None:
    talk = Talk("moq-lite-06")
    talk.client.session.subscribe("a", "b", WHOLE)
    talk.run()
    stream = talk.server.session.open_group(0, 9, first_frame=70)
    assert talk.wire.server.sent[-1] == ("stream_received", stream, b"\0\x04\0\x09\x40\x46", False)


def test_half_a_group_is_not_taken_for_the_whole(cut: int) -> None:
    talk = Talk("moq-lite-06", cut)
    talk.client.session.subscribe("a", "b", WHOLE)
    talk.run()
    half = talk.server.session.open_group(0, 9, first_frame=1)
    whole = talk.server.session.open_group(0, 10)
    assert half is not None
    assert whole is not None
    talk.server.session.write(half, b"\x00\x01x", True)
    talk.server.session.write(whole, b"\x00\x01x", True)
    talk.run()
    assert talk.client.only(events.GroupOpened).sequence == 10
    kind = events.GroupReceived if cut else events.GroupArrived
    assert {event.stream for event in talk.client.take(kind)} == {whole}
    assert talk.wire.client.closed is None


@pytest.mark.parametrize("ranges", ["00 00 00 01", "05 00 02 03"])
def test_the_last_frame_of_no_group_is_refused(ranges: str) -> None:
    server, wire = hostile()
    body = bytes.fromhex(HEAD + ranges)
    server.stream_received(0, b"\x02" + bytes([len(body)]) + body, False)
    assert server.heard == []
    assert server.session.publications == {}
    assert [args[:2] for args in wire.server.sent] == [("stream_reset", 0), ("stream_stopped", 0)]
    assert wire.server.closed is None


def test_an_update_to_the_last_frame_of_no_group_ends_the_subscription() -> None:
    server, wire = hostile()
    body = bytes.fromhex(HEAD + "00 00 00 00")
    server.stream_received(0, b"\x02" + bytes([len(body)]) + body, False)
    server.stream_received(0, bytes.fromhex("06 00 00 00 00 00 01"), False)
    assert [type(event) for event in server.heard] == [events.Subscribed, events.Unsubscribed]
    assert wire.server.closed is None


@pytest.mark.parametrize("kind", [1, 2, 3, 6])
@pytest.mark.parametrize("begun", ["", "08 01", "08 01 61 01 62"])
def test_half_a_request_is_turned_down(kind: int, begun: str) -> None:
    server, wire = hostile()
    server.stream_received(0, bytes([kind]) + bytes.fromhex(begun), True)
    assert server.heard == []
    assert server.session._flows == {}
    assert wire.server.sent == [("stream_reset", 0, 0x12)]


def test_a_fetch_that_ends_before_it_begins_is_refused() -> None:
    server, wire = hostile()
    fetch = bytes.fromhex("03 08 01 61 01 62 00 07")
    server.stream_received(0, fetch + b"\x02\x02", False)
    server.stream_received(4, fetch + b"\x02\x03", False)
    assert server.heard == [events.FetchRequested(4, "a", "b", 0, 7, 2, 2)]
    assert {args[1] for args in wire.server.sent} == {0}


def test_numbers_are_those_of_the_version_on_the_wire_and_ours_above_it(cut: int) -> None:
    talk = Talk("moq-lite-06", cut)
    for _ in range(2):
        talk.client.session.subscribe("a", "b", WHOLE)
    talk.run()
    stream = talk.server.session.open_group(0, 1)
    assert stream is not None
    talk.run()
    talk.server.session.reset(stream, 26)
    talk.server.session.refuse(0, 30)
    talk.server.session.refuse(1, 13)
    codes = [args[2] for args in talk.wire.server.sent if args[0] == "stream_reset"]
    assert codes == [5, 54, 51]
    talk.run()
    assert talk.client.only(events.GroupAborted).code == 26
    assert [event.code for event in talk.client.take(events.SubscribeRefused)] == [30, 13]


@pytest.mark.parametrize("version", ["moq-lite-05", "moq-lite-03"])
def test_who_reads_no_more_of_a_request_may_still_answer_it(version: str) -> None:
    talk = Talk(version)
    here, there = talk.client.session, talk.server.session
    here.subscribe("a", "b", WHOLE)
    described = here.describe("a", "b")
    here.listen(Path("c"))
    talk.run()
    for stream in (0, 4, 8):
        talk.client.stream_stopped(stream, 0)
    assert [type(event) for event in talk.client.heard] == [events.Opened]
    there.accept(0, 1)
    if described is not None:
        there.answer_track(talk.server.only(events.TrackRequested).request, TrackInfo(1, True, 2))
    there.answer_announce(talk.server.only(events.AnnounceRequested).request, [("c/d", (1,), FREE)])
    there.complete(0, 0)
    talk.run()
    assert talk.client.only(events.SubscribeFinished)
    assert talk.client.only(events.Announced).path == "c/d"
    assert len(talk.client.take(events.TrackDescribed)) == (described is not None)


def test_what_is_not_read_any_more_is_left_by_stopping_the_answer() -> None:
    talk = Talk("moq-lite-05")
    id = talk.client.session.subscribe("a", "b", WHOLE)
    talk.run()
    talk.client.stream_stopped(0, 0)
    talk.client.session.unsubscribe(id)
    assert talk.wire.client.sent[-1][:2] == ("stream_stopped", 0)
    talk.run()
    assert 0 not in talk.client.session._flows


CHANGED = SubscribeUpdate(9, False, 800, None, None)


def test_who_takes_no_update_is_asked_anew_and_told_of_no_more(cut: int) -> None:
    talk = Talk("moq-lite-04", cut)
    here, there = talk.client.session, talk.server.session
    id = here.subscribe("a", "b", WHOLE)
    talk.run()
    here.resubscribe(id, CHANGED)
    there.refuse(id, 5)  # as moq-net 0.1.3 does
    talk.run()
    assert [event[1:5] for event in talk.server.take(events.Subscribed)] == [
        ("a", "b", 7, False),
        ("a", "b", 9, False),
    ]
    there.open_group(id, 3)
    there.accept(id, 0)
    here.resubscribe(id, WHOLE)
    talk.run()
    assert talk.client.only(events.GroupOpened).sequence == 3
    assert talk.client.only(events.SubscribeAccepted)
    assert talk.server.take(events.SubscribeUpdated) == []
    there.refuse(id, 5)
    talk.run()
    assert talk.client.only(events.SubscribeRefused) == events.SubscribeRefused(id, 5)


def test_who_refuses_what_was_not_changed_is_not_asked_again() -> None:
    talk = Talk("moq-lite-04")
    id = talk.client.session.subscribe("a", "b", WHOLE)
    talk.run()
    talk.server.session.refuse(id, 5)
    talk.run()
    assert talk.server.only(events.Subscribed)
    assert talk.client.only(events.SubscribeRefused)
