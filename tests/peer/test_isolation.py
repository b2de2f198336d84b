"""Two tenants never meet, whatever their guests ask for: the walls stand below the handlers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.errors import RelayError
from relay.model.track import Demand, TrackInfo
from relay.path import Path
from relay.session import events
from relay.wire.messages import SubscribeUpdate

INFO = TrackInfo(timescale=1_000_000)
SECRET = {"left": b"what the left one says", "right": b"what the right one says"}

segments = st.sampled_from(["left", "right", "cam", "..", ".", "%2e%2e", "x", "", "left/cam"])
paths = st.lists(segments, max_size=5).map("/".join).map(lambda text: f"/{text}")
loose = st.one_of(paths, st.text(max_size=12))
verbs = st.sampled_from(["announce", "subscribe", "listen", "track", "fetch"])
asks = st.tuples(verbs, loose, loose)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(wishes=st.lists(st.tuples(st.booleans(), asks), max_size=14), version=st.booleans())
def test_nothing_crosses(make_world: Any, wishes: list[Any], version: bool) -> None:
    world = make_world()
    protocol = "moq-lite-05" if version else "moq-lite-03"
    sides = {name: world.connect(protocol, root=name, tenant=name) for name in SECRET}
    for name, client in sides.items():
        track = client.publish("cam", t=INFO).tracks["t"]
        client.publish(f"only {name}", t=INFO)
        track.append_group()
        track.write_frame(SECRET[name], 1)
        track.finish_group()
        world.connect(root=name).watch("cam", "t")  # so that it is in the relay's cache
    world.run()
    for is_left, (what, path, other) in wishes:
        client = sides["left" if is_left else "right"]
        ask(world, client, what, path, other)
    world.wait(0.5)
    for name, client in sides.items():
        other = "right" if name == "left" else "left"
        told = b"".join(
            args[2] if args[0] == "stream_received" else args[1]
            for args in client.wire.server.sent
            if args[0] in ("stream_received", "datagram_received")
        )
        assert SECRET[other] not in told
        assert f"only {other}".encode() not in told
        for route in client.host.announcements.routes.values():
            assert route.path.is_under(Path(name))
        for viewing in client.host.watching.viewings.values():
            assert viewing.track.broadcast.path.is_under(Path(name))


def ask(world: Any, client: Any, what: str, path: str, other: str) -> None:
    """What a session lets a peer say, with names as the peer likes them."""
    session = client.guest.session
    try:
        if what == "announce":
            client.publish(path, t=INFO)
        elif what == "subscribe":
            session.subscribe(path, other or "t", SubscribeUpdate(*Demand()))
            session.subscribe(path, "t", SubscribeUpdate(*Demand(start=0)))
        elif what == "listen":
            session.listen(Path(path))
        elif what == "fetch":
            stream = client.wire.server.open_uni()
            client.host.hear([events.FetchRequested(stream, path, "t", 0, 0)])
        else:
            session.describe(path, other or "t")
    except (RelayError, UnicodeEncodeError):
        return  # not even our own session would say that
    world.run()


@pytest.mark.parametrize("what", ["subscribe", "fetch"])
def test_the_same_questions_are_answered_within_a_tenant(make_world: Any, what: str) -> None:
    """The test above could see a leak: what is asked for at home does come over the wire."""
    world = make_world()
    home, guest = (world.connect(root="left", tenant="left") for _ in range(2))
    track = home.publish("cam", t=INFO).tracks["t"]
    home.publish("only left", t=INFO)
    track.append_group()
    track.write_frame(SECRET["left"], 1)
    track.finish_group()
    if what == "fetch":
        home.watch("cam", "t")  # so that the group is there to be fetched
        guest.watch("cam", "t")
        guest.wire.server.sent.clear()
        ask(world, guest, "listen", "/", "")
    ask(world, guest, what, "/cam", "t")
    told = b"".join(args[2] for args in guest.wire.server.sent if args[0] == "stream_received")
    assert SECRET["left"] in told
    assert b"only left" in told
