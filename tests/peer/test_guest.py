"""A relay between guests: the same broadcast for every pair of versions, and who may see what."""

from __future__ import annotations

from typing import Any

import pytest

from relay.auth.grant import Ceiling
from relay.errors import RelayError
from relay.model.settings import CacheSettings
from relay.model.track import Demand, TrackInfo
from relay.path import Path
from relay.peer.settings import PeerSettings

VERSIONS = ["moq-lite-06", "moq-lite-05", "moq-lite-04", "moq-lite-03", "moql"]
MICRO = TrackInfo(timescale=1_000_000)


@pytest.mark.parametrize("cut", [0, 1], ids=["whole", "bytewise"])
@pytest.mark.parametrize("watches", VERSIONS)
@pytest.mark.parametrize("publishes", VERSIONS)
def test_every_pair_of_versions(world: Any, publishes: str, watches: str, cut: int) -> None:
    publisher = world.connect(publishes, cut=cut)
    viewer = world.connect(watches, cut=cut)
    track = publisher.publish("demo/cam", video=MICRO).tracks["video"]
    watch = viewer.watch("demo/cam", "video")
    payloads = [b"hello" * 200, b"", b"\0"]
    track.append_group()
    for number, payload in enumerate(payloads):
        track.write_frame(payload, 1_000_000 + number * 33_333)
    world.run()
    track.append_group()
    track.write_frame(b"last", 2_000_000)
    track.finish()
    world.run()
    world.wait(2)
    assert watch.complete() == [0, 1]
    assert [payload for _, payload in watch.frames(0)] == payloads
    assert [payload for _, payload in watch.frames(1)] == [b"last"]
    assert watch.ended == [None]
    if {publishes, watches} <= {"moq-lite-06", "moq-lite-05"}:
        assert [at for at, _ in watch.frames(0)] == [1_000_000, 1_033_333, 1_066_666]
        assert watch.info == MICRO


def test_frames_leave_before_the_group_is_complete(world: Any) -> None:
    publisher, viewer = world.connect(), world.connect()
    track = publisher.publish("a", t=MICRO).tracks["t"]
    watch = viewer.watch("a", "t")
    track.append_group()
    track.write_frame(b"one", 0)
    world.run()
    assert [payload for _, payload in watch.frames(0)] == [b"one"]
    assert watch.complete() == []


def test_late_viewer_starts_with_the_latest_group_from_its_first_frame(world: Any) -> None:
    publisher, first, second = world.connect(), world.connect(), world.connect()
    track = publisher.publish("a", t=MICRO).tracks["t"]
    first.watch("a", "t")
    for number in range(3):
        track.append_group()
        track.write_frame(b"%d-0" % number, number)
        track.write_frame(b"%d-1" % number, number)
    world.run()
    watch = second.watch("a", "t")
    assert watch.order == [2]
    assert [payload for _, payload in watch.frames(2)] == [b"2-0", b"2-1"]


def test_one_upstream_subscription_however_many_watch(world: Any) -> None:
    publisher = world.connect()
    track = publisher.publish("a", t=MICRO).tracks["t"]
    viewers = [world.connect() for _ in range(5)]
    watches = [viewer.watch("a", "t") for viewer in viewers]
    assert len(publisher.guest.session.publications) == 1
    track.append_group()
    track.write_frame(b"x", 0)
    world.run()
    assert all(watch.frames(0) == [(0, b"x")] for watch in watches)
    for viewer, watch in zip(viewers[:-1], watches[:-1], strict=True):
        viewer.unwatch("a", "t", watch)
    assert len(publisher.guest.session.publications) == 1
    viewers[-1].unwatch("a", "t", watches[-1])
    assert publisher.guest.session.publications == {}


def test_subscribe_to_what_is_not_announced_is_refused_at_once(world: Any) -> None:
    publisher, viewer = world.connect(), world.connect()
    publisher.publish("a", t=MICRO)
    broadcast = viewer.origin.find(Path("a"))
    publisher.hang_up()
    world.wait(0.5)
    from relay.wire.messages import SubscribeUpdate

    viewer.guest.session.subscribe("nowhere", "t", SubscribeUpdate(0, False, 0, None, None))
    world.run()
    resets = [args for what, *args in viewer.wire.server.sent if what == "stream_reset"]
    assert resets[-1][1] == viewer.guest.session.dialect.codes.say(30)
    assert broadcast is not None


def test_unknown_track_is_refused(world: Any) -> None:
    publisher, viewer = world.connect(), world.connect()
    publisher.publish("a", t=MICRO)
    watch = viewer.watch("a", "nothing")
    assert len(watch.ended) == 1
    assert isinstance(watch.ended[0], RelayError)


def test_publishers_end_is_unannounced_at_once_and_its_loss_after_lingering(world: Any) -> None:
    publisher, viewer = world.connect(), world.connect()
    publisher.publish("a", t=MICRO)
    watch = viewer.watch("a", "t")
    publisher.hang_up()
    assert viewer.names.log == ["+a"]
    world.wait(4)
    assert viewer.names.log == ["+a"]
    world.wait(2)
    assert viewer.names.log == ["+a", "-a"]
    assert [error is not None for error in watch.ended] == [True]


def test_newest_publisher_wins_and_the_other_comes_back(world: Any) -> None:
    first, second, viewer = world.connect(), world.connect(), world.connect()
    first.publish("a", t=MICRO)
    second.publish("a", t=MICRO)
    assert viewer.names.log == ["+a", "-a", "+a"]
    assert viewer.names.hops["a"][0] == second.origin.id
    second.hang_up()
    world.wait(6)
    assert viewer.names.hops["a"][0] == first.origin.id


def test_a_guest_does_not_hear_its_own_broadcast(world: Any) -> None:
    publisher = world.connect()
    publisher.publish("a", t=MICRO)
    assert publisher.names.log == ["+a"]  # its own origin's, not reflected by the relay
    assert [what for what, *_ in publisher.wire.server.sent if what == "stream_reset"] == []


def test_guests_of_different_roots_never_meet(world: Any) -> None:
    publisher = world.connect(root="one")
    same, parent, other = (
        world.connect(root="one"),
        world.connect(root=""),
        world.connect(root="two"),
    )
    publisher.publish("a", t=MICRO)
    assert same.names.log == ["+a"]
    assert parent.names.log == ["+one/a"]
    assert other.names.log == []


def test_publish_outside_the_grant_is_heard_by_nobody_and_logged_once(world: Any) -> None:
    publisher = world.connect(publish=(Path("mine"),))
    viewer = world.connect()
    publisher.publish("mine/a", t=MICRO)
    publisher.publish("yours/b", t=MICRO)
    assert viewer.names.log == ["+mine/a"]
    # nothing outside was asked for, so a well-behaved peer never even says it
    host = publisher.host
    from relay.session import events

    for _ in range(3):
        host.hear([events.Announced("yours/c", (5,))])
    denied = [facts for event, facts in world.said if event == "publish denied"]
    assert [facts["path"] for facts in denied] == ["yours/c"]
    assert "yours/c" in denied[0]["reason"]
    assert viewer.names.log == ["+mine/a"]


def test_subscribe_outside_the_grant_is_as_if_it_did_not_exist(world: Any) -> None:
    publisher = world.connect()
    viewer = world.connect(subscribe=(Path("open"),))
    publisher.publish("open/a", t=MICRO)
    publisher.publish("closed/b", t=MICRO)
    assert viewer.names.log == ["+open/a"]
    from relay.wire.messages import SubscribeUpdate

    for name in ("closed/b", "nowhere"):
        viewer.guest.session.subscribe(name, "t", SubscribeUpdate(0, False, 0, None, None))
    world.run()
    codes = [args[1] for what, *args in viewer.wire.server.sent if what == "stream_reset"]
    assert codes[-2:] == [viewer.guest.session.dialect.codes.say(30)] * 2


def test_a_slow_viewer_loses_old_groups_and_nobody_else_does(make_world: Any) -> None:
    world = make_world(PeerSettings(max_backlog=100_000))
    publisher, fast, slow = world.connect(), world.connect(), world.connect()
    track = publisher.publish("a", t=MICRO).tracks["t"]
    quick, late = fast.watch("a", "t"), slow.watch("a", "t")
    slow.wire.server.room = 0
    for number in range(50):
        track.append_group()
        track.write_frame(bytes(10_000), number)
        world.run()
        assert slow.host.watching.queue.backlog <= 100_000
    assert quick.complete() == list(range(49))
    slow.wire.server.room = 1 << 30
    slow.wire.server.dirty = True
    world.run()
    assert late.complete()[-1] == 48
    assert 3 < len(late.complete()) < 12
    assert slow.host.watching.queue.dropped > 30


def test_priority_first_then_newest_group(world: Any) -> None:
    publisher, viewer = world.connect(), world.connect()
    broadcast = publisher.publish("a", low=MICRO, high=MICRO)
    low = viewer.watch("a", "low", Demand(priority=1))
    high = viewer.watch("a", "high", Demand(priority=9))
    viewer.wire.server.room = 0
    for _ in range(3):
        for name in ("low", "high"):
            broadcast.tracks[name].append_group()
            broadcast.tracks[name].write_frame(b"x", 0)
    broadcast.tracks["low"].finish_group()
    broadcast.tracks["high"].finish_group()
    world.run()
    arrived: list[str] = []
    for name, watch in (("low", low), ("high", high)):
        original = watch.group_opened

        def noted(group: Any, name: str = name, original: Any = original) -> None:
            arrived.append(f"{name}{group.sequence}")
            original(group)

        watch.group_opened = noted
    viewer.wire.server.room = 1 << 30
    viewer.wire.server.dirty = True
    world.run()
    assert arrived == ["high2", "high1", "high0", "low2", "low1", "low0"]


def test_fetch_comes_from_the_cache(world: Any) -> None:
    publisher, viewer = world.connect(), world.connect()
    track = publisher.publish("a", t=MICRO).tracks["t"]
    viewer.watch("a", "t")
    for number in range(3):
        track.append_group()
        track.write_frame(b"frame %d" % number, number)
    world.run()
    from relay.wire.messages import Bidi, Fetch

    dialect = viewer.guest.session.dialect
    got: list[tuple[Any, ...]] = []
    original = viewer.guest.stream_received
    viewer.guest.stream_received = lambda *args: got.append(args) or original(*args)
    for sequence in (1, 77):
        stream = viewer.wire.client.open_bidi()
        request = bytes([Bidi.FETCH]) + dialect.encode(Fetch("a", "t", 0, sequence))
        viewer.wire.client.send(stream, request)
        world.run()
    body = b"".join(data for _, data, _ in got)
    assert body.endswith(b"frame 1")
    assert got[-1][2] is True
    assert viewer.host.watching.fetchings == {}
    went = world.house.origin.find("a").traffic.went
    assert (went.fetches, went.moved.groups) == (2, 3)  # the two whole ones that were watched


def test_datagrams_pass_where_both_versions_have_them(world: Any) -> None:
    publisher, viewer, old = world.connect(), world.connect(), world.connect("moq-lite-04")
    publisher.publish("a", t=MICRO)
    watch, none = viewer.watch("a", "t"), old.watch("a", "t")
    (id,) = publisher.guest.session.publications
    assert publisher.guest.session.send_datagram(id, 5, 77, b"tiny")
    world.run()
    assert watch.datagrams == [(5, 77, b"tiny")]
    assert none.datagrams == []
    traffic = world.house.origin.find("a").traffic
    for moved in (traffic.came.moved, traffic.went.moved):
        assert (moved.datagrams, moved.groups, moved.frames, moved.bytes) == (1, 1, 1, 4)


def test_a_broken_group_breaks_downstream_and_the_next_one_is_fine(world: Any) -> None:
    publisher, viewer = world.connect(), world.connect()
    track = publisher.publish("a", t=MICRO).tracks["t"]
    watch = viewer.watch("a", "t")
    track.append_group()
    track.write_frame(b"x", 0)
    world.run()
    (stream,) = [s for s in publisher.guest.watching.departing]
    publisher.guest.session.reset(stream, 26)
    track.append_group()
    track.write_frame(b"y", 1)
    track.finish_group()
    world.run()
    assert watch.logs[0][-1].error is not None
    assert watch.complete() == [1]


def test_everything_is_let_go_when_a_guest_leaves(world: Any) -> None:
    publisher, viewer = world.connect(), world.connect()
    track = publisher.publish("a", t=MICRO).tracks["t"]
    viewer.watch("a", "t")
    track.append_group()
    track.write_frame(b"x", 0)
    world.run()
    viewer.hang_up()
    assert publisher.guest.session.publications == {}
    publisher.hang_up()
    world.wait(40)
    assert world.hosts == []
    assert world.house.origin.find(Path("a")) is None


def test_a_peer_that_never_introduces_itself_is_shown_out(world: Any) -> None:
    from dialogue import Wire
    from relay.auth.grant import Grant
    from relay.path import ROOT
    from relay.peer.guest import Guest
    from relay.session.lite import LiteSession

    wire = Wire()
    left: list[str] = []
    guest = Guest(
        world.house,
        wire.server,
        LiteSession(wire.server, "moq-lite-05", origin=99),
        id="mute",
        grant=Grant(ROOT, (), ()),
        left=lambda guest, reason: left.append(reason),
    )
    guest.start()
    guest.tick(world.now + 9)
    assert wire.server.closed is None
    guest.tick(world.now + 11)
    assert wire.server.closed is not None
    assert left == ["the peer did not introduce itself in time"]


def test_many_short_groups_leave_nothing_behind(make_world: Any) -> None:
    world = make_world(cache=CacheSettings(max_groups_per_track=64))
    publisher, viewer = world.connect(), world.connect()
    track = publisher.publish("a", t=MICRO).tracks["t"]
    watch = viewer.watch("a", "t")
    for number in range(3000):
        track.append_group()
        track.write_frame(b"x", number)
        if number % 50 == 0:
            world.run()
            publisher.wire.client.sent.clear()
            viewer.wire.server.sent.clear()
            watch.logs.clear()
    track.finish_group()
    world.run()
    host = viewer.host
    assert host.watching.departing == {}
    assert len(host.watching.queue._followed) == 0
    assert host.watching.queue.backlog == 0
    assert publisher.host.publishing.arrivals == {}
    model = world.house.origin.find(Path("a")).track("t")
    assert len(model.groups) <= 64


def test_viewers_of_a_withdrawn_broadcast_end_when_its_publisher_vanishes(world: Any) -> None:
    publisher, viewer = world.connect(), world.connect()
    broadcast = publisher.publish("a", t=MICRO)
    track = broadcast.tracks["t"]
    watch = viewer.watch("a", "t")
    track.append_group()
    track.write_frame(b"x", 0)
    world.run()
    (request,) = publisher.guest.hearings.answered
    publisher.guest.session.unannounce(request, "a")
    world.run()
    assert viewer.names.log == ["+a", "-a"]
    publisher.hang_up()
    assert [error is not None for error in watch.ended] == [True]


def test_a_publisher_that_lost_its_right_is_unannounced_at_once(world: Any) -> None:
    from relay.errors import Unauthorized

    publisher, viewer = world.connect(), world.connect()
    publisher.publish("a", t=MICRO)
    watch = viewer.watch("a", "t")
    publisher.host.close(Unauthorized("the token expired"))
    world.run()
    assert viewer.names.log == ["+a", "-a"]
    assert [error is not None for error in watch.ended] == [True]
    assert publisher.wire.server.closed == (2, "the token expired")


def undecided(world: Any) -> tuple[Any, Any, list[Any]]:
    """A guest on raw QUIC whose decision takes its time, with an announce request sent early."""
    from dialogue import Wire
    from relay.peer.guest import Guest
    from relay.session.lite import LiteSession

    wire = Wire()
    wire.client.open_bidi()
    asked: list[Any] = []
    guest = Guest(
        world.house,
        wire.server,
        LiteSession(wire.server, "moq-lite-05", origin=99),
        id="slow",
        grant=None,
        admit=lambda guest, opened: asked.append(opened),
    )
    guest.start()
    guest.stream_received(2, bytes.fromhex("010100"), True)
    guest.stream_received(0, bytes.fromhex("01020000"), False)
    return guest, wire, asked


def test_what_is_said_before_the_decision_waits_for_it(world: Any) -> None:
    from relay.auth.grant import Grant
    from relay.path import ROOT

    world.connect().publish("a", t=MICRO)
    guest, wire, asked = undecided(world)
    assert len(asked) == 1
    assert [args for what, *args in wire.server.sent if args[0] == 0] == []
    guest.welcome(Grant(ROOT, (), (ROOT,)))
    answers = b"".join(args[1] for what, *args in wire.server.sent if args[0] == 0)
    assert b"a" in answers


def test_a_refusal_after_a_while_leaves_nothing(world: Any) -> None:
    from relay.auth.grant import Grant
    from relay.errors import Unauthorized
    from relay.path import ROOT

    guest, wire, _ = undecided(world)
    guest.close(Unauthorized("unauthorized (id x)"))
    guest.welcome(Grant(ROOT, (ROOT,), (ROOT,)))
    assert wire.server.closed == (2, "unauthorized (id x)")
    assert guest.scope is None


def test_whoever_says_too_much_before_the_decision_is_shown_out(make_world: Any) -> None:
    world = make_world(PeerSettings(max_held=3))
    guest, wire, _ = undecided(world)
    for number in range(1, 5):
        guest.stream_received(4 * number, bytes.fromhex("01020000"), False)
    assert wire.server.closed is not None
    assert "max_held" in wire.server.closed[1]


def rights(publish: tuple[str, ...], subscribe: tuple[str, ...]) -> Any:
    from relay.auth.grant import Grant
    from relay.path import ROOT

    return Grant(ROOT, tuple(map(Path, publish)), tuple(map(Path, subscribe)))


def test_narrower_rights_take_effect_at_once(world: Any) -> None:
    publisher, viewer, other = world.connect(), world.connect(), world.connect()
    publisher.publish("a/x", t=MICRO)
    publisher.publish("b/y", t=MICRO)
    kept, lost = viewer.watch("a/x", "t"), viewer.watch("b/y", "t")
    viewer.host.regrant(rights((), ("a",)))
    world.run()
    assert viewer.names.log == ["+a/x", "+b/y", "-b/y"]
    assert (kept.ended, [error is not None for error in lost.ended]) == ([], [True])
    publisher.host.regrant(rights(("b",), ("",)))
    world.run()
    assert other.names.log == ["+a/x", "+b/y", "-a/x"]
    assert [error is not None for error in kept.ended] == [True]


@pytest.mark.parametrize("by_the_operator", [False, True])
def test_rights_that_change_before_the_peer_introduces_itself_are_those_it_gets(
    world: Any, by_the_operator: bool
) -> None:
    publisher = world.connect()
    publisher.publish("a/x", t=MICRO)
    publisher.publish("b/y", t=MICRO)
    run, world.run = world.run, lambda: None  # nothing it says arrives
    viewer = world.connect()
    assert not viewer.host.opened
    if by_the_operator:
        viewer.host.narrow(Ceiling(subscribe=(Path("a"),)))
    else:
        viewer.host.regrant(rights((), ("a",)))
    world.run = run
    world.run()
    assert viewer.host.opened
    assert viewer.names.log == ["+a/x"]
    assert viewer.host.grant.subscribe == ("a",)


def test_wider_rights_take_effect_at_once(world: Any) -> None:
    publisher = world.connect(publish=(Path("a"),))
    viewer = world.connect(subscribe=(Path("a"),))
    publisher.publish("a/x", t=MICRO)
    publisher.publish("b/y", t=MICRO)
    assert viewer.names.log == ["+a/x"]
    publisher.host.regrant(rights(("",), ("",)))
    viewer.host.regrant(rights((), ("",)))
    world.run()
    assert sorted(viewer.names.log) == ["+a/x", "+b/y"]
    assert viewer.watch("b/y", "t").info == MICRO


def test_rights_lost_and_regained_bring_a_broadcast_back(world: Any) -> None:
    publisher, viewer = world.connect(), world.connect()
    publisher.publish("a/x", t=MICRO)
    publisher.host.regrant(rights((), ("",)))
    world.run()
    assert viewer.names.log == ["+a/x", "-a/x"]
    publisher.host.regrant(rights(("a",), ("",)))
    world.run()
    assert viewer.names.log == ["+a/x", "-a/x", "+a/x"]
    assert viewer.watch("a/x", "t").info == MICRO


def test_news_of_a_relay_below_a_place_is_no_fault_of_its(world: Any) -> None:
    from relay.session import events

    relay = world.connect(root="acme", cluster=True)
    viewer = world.connect(root="acme")
    relay.host.hear([events.Announced(".internal/relays/1", (5,))])
    relay.publish("a/x")
    assert viewer.names.log == ["+a/x"]
    assert [event for event, _ in world.said if event == "publish denied"] == []


def test_a_name_too_long_below_the_root_costs_only_itself(world: Any) -> None:
    from relay.path import MAX_LENGTH

    publisher = world.connect(root="anon")
    viewer = world.connect(root="anon")
    publisher.publish("a" * (MAX_LENGTH - 1))
    publisher.publish("/".join("b" * 32))
    publisher.publish("c")
    assert viewer.names.log == ["+c"]
    assert publisher.wire.server.closed is None
    assert [event for event, _ in world.said] == ["publish denied"] * 2


def test_a_chain_that_names_a_relay_twice_is_told_to_nobody(world: Any) -> None:
    publisher = world.connect("moq-lite-04")
    viewer = world.connect()
    announce = publisher.guest.session.announce
    request = next(iter(publisher.guest.hearings.answered))
    announce(request, "zeros", (0, 0))
    announce(request, "loop", (7, 8, 7))
    announce(request, "own", (publisher.origin.id,))
    world.run()
    assert viewer.names.log == ["+zeros"]
    assert [facts["reason"] for event, facts in world.said if event == "publish denied"] == [
        "its chain names a relay twice"
    ] * 2
    assert publisher.wire.server.closed is None


def test_a_fetch_that_is_not_answered_yet_ends_with_the_right_to_it(world: Any) -> None:
    from relay.session import events

    publisher, viewer = world.connect(), world.connect()
    publisher.publish("a/x", t=MICRO)
    publisher.guest._hears[events.FetchRequested] = lambda event: None
    session = viewer.guest.session
    session.fetch("a/x", "t", 7, 0)
    world.run()
    assert session.fetches
    assert viewer.host.watching.fetchings
    viewer.host.regrant(rights((), ("b",)))
    world.run()
    assert not viewer.host.watching.fetchings
    assert not session.fetches
