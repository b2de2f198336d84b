"""Whatever a peer says, and whatever it sends, costs nobody but itself."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.moqt.drafts import DRAFTS, Draft
from relay.moqt.messages import (
    Fetch,
    FetchCancel,
    FetchOk,
    Location,
    MaxRequest,
    Namespace,
    Publish,
    PublishDone,
    PublishNamespace,
    PublishNamespaceDone,
    RequestError,
    RequestOk,
    Subscribe,
    SubscribeNamespace,
    SubscribeOk,
    SubscribeUpdate,
    TrackStatus,
    Unsubscribe,
)
from relay.session import events
from relay.wire.messages import SubscribeUpdate as Demand

from .conftest import World
from .test_interpreter import CAM, frames, head, objects, published

names: st.SearchStrategy[Namespace] = st.sampled_from([(), (b"demo",), CAM, (b"x",)])
tracks = st.sampled_from([b"video", b"audio"])
numbers = st.integers(0, 6)
spots = st.builds(Location, numbers, numbers)
places = st.none() | spots
orders = st.integers(0, 2)

messages = st.one_of(
    st.builds(Subscribe, numbers, names, tracks, forward=st.booleans()),
    st.builds(SubscribeOk, numbers, numbers, largest=places),
    st.builds(
        SubscribeUpdate,
        numbers,
        numbers,
        st.just(Location(0, 0)),
        st.none(),
        numbers,
        st.booleans(),
    ),
    st.builds(PublishNamespace, numbers, names),
    st.builds(PublishNamespaceDone, numbers, names),
    st.builds(SubscribeNamespace, numbers, names),
    st.builds(Publish, numbers, names, tracks, numbers),
    st.builds(PublishDone, numbers, st.sampled_from([0, 2]), numbers, st.just("")),
    st.builds(RequestOk, numbers, st.just(PublishNamespace)),
    st.builds(RequestError, numbers, st.just(Subscribe), numbers, st.just("no")),
    st.builds(Fetch, numbers, joining=numbers, relative=st.integers(0, 1)),
    st.builds(Fetch, numbers, namespace=names, track=tracks, start=spots, end=spots, order=orders),
    st.builds(FetchCancel, numbers),
    st.builds(TrackStatus, numbers, names, tracks),
    st.builds(FetchOk, numbers, spots),
    st.builds(Unsubscribe, numbers),
    st.builds(MaxRequest, st.integers(0, 1 << 40)),
)

groups = st.tuples(st.just("group"), numbers, numbers, st.integers(0, 2), st.booleans())
parts = st.tuples(st.just("part"), numbers, numbers, st.integers(0, 3), numbers, st.booleans())
loose = st.tuples(st.just("loose"), st.sampled_from([0, 2, 4, 6]), numbers, numbers, numbers)
junk = st.tuples(st.just("junk"), st.binary(max_size=12))
fetches = st.tuples(st.just("fetch"), numbers, st.binary(max_size=12), st.booleans())
noise = st.tuples(st.just("noise"), st.booleans(), st.binary(max_size=12), st.booleans())
ends = st.tuples(st.just("end"), st.integers(0, 8), st.sampled_from(["fin", "reset", "stop"]))
said = st.tuples(st.just("say"), messages, st.integers(0, 8))
steps = st.lists(
    said | said | groups | parts | parts | loose | loose | junk | fetches | noise | ends,
    max_size=25,
)


def play(world: World, draft: Draft, script: list[tuple[object, ...]]) -> None:
    """A peer that does all this, whether or not it makes sense."""
    peer = world.peer(draft)
    streams: list[int] = []
    for step in script:
        if peer.lost is not None:
            return
        match step:
            case "say", message, line:
                try:
                    written = draft.encode(message)  # type: ignore[arg-type]
                except ValueError:
                    continue  # this draft has no such message
                if draft.request_streams and isinstance(line, int) and line < len(streams):
                    peer.end.send(streams[line], written)
                elif draft.request_streams:
                    streams.append(peer.end.open_bidi() or 0)
                    peer.end.send(streams[-1], written)
                else:
                    peer.say(message)  # type: ignore[arg-type]
            case "group", int(alias), int(group), int(first), bool(fin):
                peer.bring(head(draft, alias, group), objects(draft, b"x", first=first), fin=fin)
            case "part", int(alias), int(group), int(subgroup), int(first), bool(fin):
                begin = map(draft.encode_varint, (0x14 + draft.timestamps, alias, group, subgroup))
                body = objects(draft, b"x", b"y", first=first)
                peer.bring(b"".join(begin) + b"\x80", body, fin=fin)
            case "loose", int(flags), int(alias), int(group), int(number):
                values = (flags, alias, group, *((number,) if not flags & 4 else ()))
                peer.end.send_datagram(b"".join(map(draft.encode_varint, values)) + b"\x80x")
            case "junk", bytes(data):
                peer.end.send_datagram(data)
            case "fetch", int(request), bytes(rest), bool(fin):
                peer.bring(draft.fetch_head(request), rest, fin=fin)
            case "noise", bool(uni), bytes(data), bool(fin):
                stream = peer.end.open_uni() if uni else peer.end.open_bidi()
                peer.end.send(stream, data, fin)
            case "end", int(index), how if streams:
                stream = streams[index % len(streams)]
                if how == "fin":
                    peer.end.send(stream, b"", True)
                elif how == "reset":
                    peer.end.reset(stream, 1)
                else:
                    peer.end.stop(stream, 1)
        world.run()
    world.tick(5)
    peer.end.close(0, "")
    world.run()
    world.tick(30)


@pytest.mark.parametrize("draft", DRAFTS, ids=lambda draft: draft.name)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps, st.sampled_from([0, 1, 3]))
def test_others_go_on_whatever_a_peer_does(
    draft: Draft, script: list[tuple[object, ...]], cut: int
) -> None:
    world = World(cut)
    source, _ = published(world, "mine/cam")
    viewer = world.lite()
    viewer.session.subscribe("mine/cam", "video", Demand(200))
    world.run()
    asked = source.only(events.Subscribed)
    source.session.accept(asked.id, asked.priority)
    play(world, draft, script)
    stream = source.session.open_group(asked.id, 0)
    source.session.write(stream, b"\x03one", True)
    world.run()
    assert frames(viewer) == b"\x03one"
    assert len(world.door.guests) == 2
