"""A guest that announces a prefix is asked for whatever its viewers want below it."""

from __future__ import annotations

from typing import Any

import pytest

from relay.auth.grant import Grant
from relay.model.track import Demand, Track, TrackInfo
from relay.path import ROOT, Path
from relay.peer.local import LocalBroadcast
from relay.wire.messages import SubscribeUpdate

INFO = TrackInfo(timescale=1_000_000)


class Service:
    """Has a broadcast at every path at and below its own but at ``no``: one track, one group."""

    serves_below = True
    can_fetch = True

    def __init__(self, world: Any) -> None:
        self.world = world
        self.served: dict[str, LocalBroadcast] = {}

    def at(self, track: Track) -> LocalBroadcast:
        if (found := self.served.get(track.path)) is None:
            found = self.served[track.path] = LocalBroadcast(self.world.clock)
            if track.below != "no":
                local = found.create_track("t", INFO)
                local.append_group()
                local.write_frame(track.path.encode(), 1)
                local.finish_group()
        return found

    def learn(self, track: Track) -> None:
        self.at(track).learn(track)

    def open(self, track: Track) -> None:
        self.at(track).open(track)

    def update(self, track: Track) -> None:
        self.at(track).update(track)

    def close(self, track: Track) -> None:
        self.at(track).close(track)

    def fetch(self, track: Track, sequence: int, priority: int) -> None:
        self.at(track).fetch(track, sequence, priority)

    def cancel_fetch(self, track: Track, sequence: int) -> None:
        self.at(track).cancel_fetch(track, sequence)


def claim(client: Any, path: str) -> tuple[Service, Any]:
    service = Service(client.world)
    route = client.origin.announce(Path(path), service, (), client.world.now)
    client.world.run()
    return service, route


def payloads(watch: Any) -> list[bytes]:
    return [payload for each in watch.order for _, payload in watch.frames(each)]


@pytest.mark.parametrize("protocol", ["moq-lite-06", "moq-lite-05", "moq-lite-04", "moq-lite-03"])
def test_it_is_asked_by_the_whole_path_once_for_all(make_world, protocol):
    world = make_world()
    claimant = world.connect(protocol, root="home")
    service, _ = claim(claimant, "vod")
    viewers = [world.connect(), world.connect(protocol, root="home")]
    seen = [viewers[0].watch("home/vod/a/b", "t"), viewers[1].watch("vod/a/b", "t")]
    assert [payloads(each) for each in seen] == [[b"vod/a/b"]] * 2
    assert list(service.served) == ["vod/a/b"]
    assert len(claimant.host.publishing.feeds) == 1
    assert world.house.origin.routes == 1


def test_what_it_does_not_have_is_refused_and_the_rest_goes_on(world):
    claimant, viewer = world.connect(), world.connect()
    service, route = claim(claimant, "vod")
    there, gone = viewer.watch("vod/a", "t"), viewer.watch("vod/no", "t")
    assert (len(gone.ended), there.ended) == (1, [])
    assert list(service.served) == ["vod/a", "vod/no"]
    assert not any(client.host.gone for client in (claimant, viewer))
    assert list(world.house.origin.find(Path("vod")).below) == [(Path("a"), "t")]
    route.withdraw(world.now)
    world.run()
    assert viewer.origin.seek(Path("vod/b")) is None


def test_what_is_announced_there_comes_before(world):
    claimant, other, viewer = world.connect(), world.connect(), world.connect()
    service, _ = claim(claimant, "")
    track = other.publish("vod/a", t=INFO).tracks["t"]
    track.append_group()
    track.write_frame(b"its own", 1)
    assert payloads(viewer.watch("vod/a", "t")) == [b"its own"]
    assert viewer.watch("vod/a/b", "t").ended  # that publisher's, who has no such thing
    assert payloads(viewer.watch("vod/c", "t")) == [b"vod/c"]
    assert list(service.served) == ["vod/c"]


def test_an_old_group_comes_from_there(world):
    claimant, viewer = world.connect(), world.connect()
    claim(claimant, "vod")
    fetched: list[Any] = []

    class Fetcher:
        def group_opened(self, group: Any) -> None:
            fetched.append(group)

        def fetch_failed(self, error: Any) -> None:
            fetched.append(error)

    track = viewer.origin.seek(Path("vod/a")).track("t")
    track.fetch(0, Fetcher(), world.now)
    world.run()
    assert [group.sequence for group in fetched] == [0]


def test_who_may_not_publish_there_is_not_asked_nor_who_may_not_watch_served(world):
    claimant = world.connect(publish=(Path("vod"),))
    stranger, viewer = world.connect(publish=(Path("own"),)), world.connect()
    service, _ = claim(claimant, "")  # heard of as far as it may: nothing of it, or "vod" alone
    claim(stranger, "vod")
    narrow = world.connect(subscribe=(Path("vod/a"),))
    assert viewer.origin.seek(Path("other")) is None
    narrow.guest.session.subscribe(Path("other"), "t", SubscribeUpdate(*Demand()))
    narrow.guest.session.subscribe(Path("vod/b"), "t", SubscribeUpdate(*Demand()))
    world.run()
    assert service.served == {}
    refused = [facts["path"] for event, facts in world.said if event == "subscribe refused"]
    assert refused == ["other", "vod/b"]


def test_with_the_right_goes_all_that_is_below(world):
    claimant, viewer = world.connect(), world.connect()
    claim(claimant, "vod")
    seen = viewer.watch("vod/a", "t")
    claimant.host.scope.narrow((Path("elsewhere"),), (ROOT,))
    world.run()
    assert len(seen.ended) == 1
    assert viewer.origin.seek(Path("vod/a")) is None


def test_it_is_not_asked_for_what_it_asks_itself(world):
    claimant = world.connect()
    service, _ = claim(claimant, "vod")
    claimant.guest.session.subscribe(Path("vod/a"), "t", SubscribeUpdate(*Demand()))
    world.run()
    assert service.served == {}
    assert not claimant.host.gone
    assert world.said[-1][0] == "subscribe refused"


def test_what_is_cached_of_it_goes_at_once_with_the_right_and_does_not_wait_for_its_turn(world):
    claimant, viewer = world.connect(), world.connect()
    claimant.publish("other", t=INFO)
    service, _ = claim(claimant, "vod")
    assert viewer.watch("vod/a", "t").complete() == [0]
    (served,) = service.served.values()
    served.tracks["t"].finish()
    world.run()
    world.house.orphans._pace.spend(world.now, 100_000)  # nobody has his turn now
    claimant.host.regrant(Grant(ROOT, (Path("elsewhere"),), ()))
    assert [each.path for each in world.house.origin.on_air()] == ["other"]
