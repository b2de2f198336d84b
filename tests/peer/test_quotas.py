"""Quotas over whole sessions: what each limit does to a tenant, and to nobody else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import relay.peer.announcements
from relay.errors import Lagged, OverQuota
from relay.model.settings import CacheSettings
from relay.model.track import TrackInfo
from relay.path import Path
from relay.quota import Borrower, Ledger, Lender, Limits, Override, QuotaSettings
from relay.wire.messages import SubscribeUpdate

MICRO = TrackInfo(timescale=1_000_000)


def limit(world: Any, **tenants: dict[str, int]) -> None:
    said = {name: Override(**quota) for name, quota in tenants.items()}
    world.house.ledger.obey(Limits(QuotaSettings(), said), world.now)


@pytest.fixture
def world(make_world: Any) -> Any:
    world = make_world(cache=CacheSettings())
    ledger, cache = world.house.ledger, world.house.origin.stock.cache
    cache.limit_of = ledger.cache_limit
    cache.overflowed = lambda tenant: ledger.overflowed(tenant, world.now)
    ledger.limits_changed = cache.obey
    return world


def member(world: Any, tenant: str) -> Any:
    return world.connect(root=tenant, tenant=tenant)


def test_broadcasts_beyond_the_limit_are_heard_when_there_is_room(world: Any) -> None:
    limit(world, a={"broadcasts": 2})
    one, other = member(world, "a"), member(world, "b")
    for name in ("x", "y", "z"):
        one.publish(name, t=MICRO)
        other.publish(name, t=MICRO)
    assert sorted(world.house.ledger.accounts) == ["a", "b"]
    assert [path for path in "xyz" if world.house.origin.find(f"a/{path}")] == ["x", "y"]
    assert [path for path in "xyz" if world.house.origin.find(f"b/{path}")] == ["x", "y", "z"]
    denied = [facts for event, facts in world.said if event == "publish denied"]
    assert [facts["path"] for facts in denied] == ["z"]
    limit(world, a={"broadcasts": 3})
    world.wait(0.5)
    assert world.house.origin.find("a/z") is not None
    assert world.house.ledger.accounts["a"].broadcasts == 3


def test_broadcasts_that_end_make_room_for_those_that_wait(world: Any) -> None:
    limit(world, a={"broadcasts": 1})
    first, second = member(world, "a"), member(world, "a")
    first.publish("x", t=MICRO)
    second.publish("y", t=MICRO)
    assert world.house.origin.find("a/y") is None
    first.hang_up()
    world.wait(0.5)
    assert world.house.origin.find("a/y") is not None
    assert world.house.ledger.accounts["a"].publishers == 1
    second.hang_up()
    world.wait(10)
    assert world.house.ledger.accounts == {}


def test_announcements_beyond_the_rate_wait_in_order(world: Any) -> None:
    limit(world, a={"announces_per_second": 4})
    one = member(world, "a")
    for number in range(8):
        one.publish(f"n{number}", t=MICRO)
    heard = [number for number in range(8) if world.house.origin.find(f"a/n{number}")]
    assert heard == [0, 1, 2, 3]
    world.wait(0.5)
    heard = [number for number in range(8) if world.house.origin.find(f"a/n{number}")]
    assert heard == [0, 1, 2, 3, 4, 5]
    world.wait(1)
    assert world.house.origin.find("a/n7") is not None
    assert world.house.ledger.breached["announces_per_second"] >= 1


def test_what_is_taken_back_waits_no_longer(world: Any) -> None:
    limit(world, a={"broadcasts": 1})
    one = member(world, "a")
    one.publish("x", t=MICRO)
    one.publish("y", t=MICRO)
    assert one.host.announcements._postponed
    route = next(iter(one.origin._stages.values())).on_air.routes[0]
    for stage in tuple(one.origin._stages.values()):
        if stage.path == "y":
            route = stage.on_air.routes[0]
    route.withdraw(world.now)
    world.run()
    assert not one.host.announcements._postponed


@pytest.fixture
def three_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many announcements of one session."""
    monkeypatch.setattr(relay.peer.announcements, "MAX_POSTPONED", 3)


@pytest.mark.usefixtures("three_may_wait")
def test_a_session_that_lets_too_many_wait_is_closed(world: Any) -> None:
    limit(world, a={"broadcasts": 1})
    one = member(world, "a")
    for number in range(6):
        one.publish(f"n{number}", t=MICRO)
    assert one.wire.server.closed[0] == OverQuota.session_code
    assert world.house.ledger.accounts["a"].is_idle


@pytest.mark.usefixtures("three_may_wait")
def test_a_session_that_is_closed_while_wider_rights_are_heard_announces_nothing_more(
    world: Any,
) -> None:
    limit(world, a={"broadcasts": 1})
    one = member(world, "a")
    wide = one.host.grant
    one.host.regrant(replace(wide, publish=(Path("elsewhere"),)))
    for number in range(8):
        one.publish(f"n{number}", t=MICRO)
    one.host.regrant(wide)
    world.run()
    assert one.host.gone
    assert one.host.announcements.routes == {}
    assert world.house.ledger.accounts["a"].is_idle


def test_subscriptions_beyond_the_limit_are_refused(world: Any) -> None:
    limit(world, a={"tracks": 1, "subscribers": 1})
    publisher = member(world, "a")
    publisher.publish("cam", t=MICRO, u=MICRO)
    viewer, late = member(world, "a"), member(world, "a")
    watch = viewer.watch("cam", "t")
    assert watch.info == MICRO
    (ended,) = viewer.watch("cam", "u").ended
    assert ended.code == OverQuota.code
    (ended,) = late.watch("cam", "t").ended
    assert ended.code == OverQuota.code
    viewer.unwatch("cam", "t", watch)
    assert world.house.ledger.accounts["a"].tracks == 0
    assert late.watch("cam", "t").info == MICRO


def test_a_subscription_that_is_refused_leaves_nothing_behind(world: Any) -> None:
    limit(world, a={"tracks": 1})
    publisher, viewer = member(world, "a"), member(world, "a")
    publisher.publish("cam", t=MICRO)
    viewer.watch("cam", "t")
    for number in range(3):
        viewer.guest.session.subscribe("cam", f"made up {number}", SubscribeUpdate(0))
    world.run()
    assert world.house.ledger.breached["tracks"] == 3
    assert list(world.house.origin.find("a/cam").tracks) == ["t"]


def test_groups_beyond_the_rate_that_comes_in_are_stopped(world: Any) -> None:
    limit(world, a={"ingress_bits": 8 * 10_000})
    publisher, viewer = member(world, "a"), member(world, "a")
    track = publisher.publish("cam", t=MICRO).tracks["t"]
    watch = viewer.watch("cam", "t")
    for number in range(4):
        track.append_group()
        track.write_frame(bytes(4000), number)
        world.run()
    track.finish_group()
    world.run()
    assert watch.complete() == [0, 1, 2]
    stopped = [what for what in publisher.wire.server.sent if what[0] == "stream_stopped"]
    assert [code for _, _, code in stopped] == [OverQuota.code]
    world.wait(2)
    track.append_group()
    track.write_frame(bytes(4000), 9)
    track.finish_group()
    world.run()
    assert 4 in watch.complete()


def test_a_group_is_broken_off_in_its_middle(world: Any) -> None:
    limit(world, a={"ingress_bits": 8 * 10_000})
    publisher, viewer = member(world, "a"), member(world, "a")
    track = publisher.publish("cam", t=MICRO).tracks["t"]
    watch = viewer.watch("cam", "t")
    track.append_group()
    for number in range(5):
        track.write_frame(bytes(4000), number)
        world.run()
    assert watch.complete() == []
    assert watch.logs[0][-1].error.code == Lagged.code


def test_what_goes_out_is_slowed_and_old_groups_are_dropped(make_world: Any) -> None:
    from relay.peer.settings import PeerSettings

    world = make_world(PeerSettings(max_backlog=30_000))
    limit(world, slow={"egress_bits": 8 * 10_000})
    publisher = member(world, "pub")
    track = publisher.publish("cam", t=MICRO).tracks["t"]
    fast = world.connect(tenant="fast")
    slow = world.connect(tenant="slow")
    quick, late = fast.watch("pub/cam", "t"), slow.watch("pub/cam", "t")
    for number in range(40):
        track.append_group()
        track.write_frame(bytes(5000), number)
        world.wait(0.25)
    track.finish_group()
    world.run()
    assert len(quick.complete()) == 40
    assert slow.host.watching.queue.dropped >= 10
    traffic = world.house.origin.find("pub/cam").traffic
    assert traffic.came.moved.groups == 40
    assert (traffic.went.broadcasts, traffic.went.subscriptions) == (2, 2)
    assert traffic.stale.bytes >= 2000 * slow.host.watching.queue.dropped
    assert 70 <= traffic.went.moved.groups + traffic.stale.groups <= 80  # a few wait yet
    assert traffic.went.moved.bytes + traffic.stale.bytes <= 80 * 5003
    sent = world.house.ledger.accounts["slow"].egress
    assert 80_000 <= sent <= 10_000 * 11.5
    assert world.house.ledger.accounts["fast"].egress >= 200_000
    assert 0 < len(late.complete()) < 30


def test_a_lifted_limit_lets_what_waits_go(make_world: Any) -> None:
    world = make_world()
    limit(world, slow={"egress_bits": 8 * 1000})
    publisher = member(world, "pub")
    track = publisher.publish("cam", t=MICRO).tracks["t"]
    slow = world.connect(tenant="slow")
    watch = slow.watch("pub/cam", "t")
    track.append_group()
    track.write_frame(bytes(50_000), 0)
    track.finish_group()
    world.wait(1)
    assert watch.complete() == []
    limit(world, slow={})
    world.wait(0.25)
    assert watch.complete() == [0]
    assert not world.house.ledger.accounts["slow"].waiting


def test_a_tenants_own_oldest_groups_leave_the_cache(world: Any) -> None:
    limit(world, a={"cached_bytes": 30_000})
    one, other, viewer = member(world, "a"), member(world, "b"), world.connect()
    tracks = [each.publish("cam", t=MICRO).tracks["t"] for each in (one, other)]
    for tenant in "ab":
        viewer.watch(f"{tenant}/cam", "t")
    for number in range(6):
        for track in tracks:
            track.append_group()
            track.write_frame(bytes(8000), number)
        world.run()
    cache = world.house.origin.stock.cache

    def kept(tenant: str) -> list[int]:
        return list(world.house.origin.find(f"{tenant}/cam").track("t").groups)

    assert kept("a") == [3, 4, 5]
    assert kept("b") == [0, 1, 2, 3, 4, 5]
    assert cache.used_by("a") <= 30_000
    assert cache.used == cache.used_by("a") + cache.used_by("b")
    assert world.house.ledger.breached["cached_bytes"] >= 1
    limit(world, a={"cached_bytes": 30_000}, b={"cached_bytes": 12_000})
    assert kept("b") == [5]
    assert kept("a") == [3, 4, 5]


def test_a_tenant_with_one_live_group_may_not_outgrow_its_cache(world: Any) -> None:
    limit(world, a={"cached_bytes": 30_000})
    one, viewer = member(world, "a"), world.connect()
    track = one.publish("cam", t=MICRO).tracks["t"]
    watch = viewer.watch("a/cam", "t")
    track.append_group()
    for number in range(10):
        track.write_frame(bytes(8000), number)
        world.run()
    assert watch.logs[0][-1].error.code == Lagged.code
    assert world.house.origin.stock.cache.used_by("a") == 0


def test_without_limits_everything_is_still_counted(world: Any) -> None:
    publisher, viewer = member(world, "a"), world.connect(tenant="v")
    track = publisher.publish("cam", t=MICRO).tracks["t"]
    viewer.watch("a/cam", "t")
    track.append_group()
    track.write_frame(bytes(8000), 0)
    world.run()
    accounts = world.house.ledger.accounts
    assert accounts["a"].ingress >= 8000
    assert accounts["v"].egress >= 8000
    assert (accounts["a"].publishers, accounts["v"].subscribers) == (1, 1)
    assert world.house.ledger.breached == {}


class Shared:
    """The world as the first of two workers; the other has ``taken`` of what is limited."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.ledger = world.house.ledger = Ledger(parts=2)
        self.lender = Lender(lambda: self.ledger.limits, 2)
        self.own, self.other = Borrower(self.ledger), Borrower(Ledger(parts=2))
        self.errors: list[BaseException] = []
        self.own._escaped = self.errors.append
        for worker in (1, 0):
            self.turn(worker)

    def turn(self, worker: int = 0) -> None:
        borrower = (self.own, self.other)[worker]
        answer, _ = self.lender.hear(worker, borrower.report(), self.world.now)
        borrower.settle(answer, self.world.now)
        self.world.run()
        assert not self.errors

    def take(self, **kinds: int) -> None:
        """The other worker holds so much of the tenant ``a``."""
        report = self.other.report()
        report["counts"] = {"a": {kind: [count, 0] for kind, count in kinds.items()}}
        self.lender.hear(1, report, self.world.now)


def test_shared_subscriptions_wait_until_it_is_known_whether_they_may_be(world: Any) -> None:
    shared = Shared(world)
    limit(world, a={"tracks": 2})
    publisher, viewer = member(world, "pub"), world.connect(root="", tenant="a")
    account = shared.ledger.account("a")
    publisher.publish("cam", t=MICRO, u=MICRO, v=MICRO)
    shared.take(tracks=1)
    first = viewer.watch("pub/cam", "t")
    assert (account.tracks, first.ended) == (0, [])
    shared.turn()
    assert (account.tracks, first.ended) == (1, [])
    second = viewer.watch("pub/cam", "u")
    assert (account.tracks, second.ended) == (1, [])
    assert shared.ledger.breached == {}
    shared.turn()
    assert [error.code for error in second.ended] == [OverQuota.code]
    assert shared.ledger.breached == {"tracks": 1}
    third = viewer.watch("pub/cam", "v")  # it is known already
    assert [error.code for error in third.ended] == [OverQuota.code]
    shared.take(tracks=0)
    world.wait(0.25)
    third = viewer.watch("pub/cam", "v")
    shared.turn()
    assert (account.tracks, third.ended) == (2, [])


def test_shared_subscriptions_that_are_taken_back_while_they_wait(world: Any) -> None:
    shared = Shared(world)
    limit(world, a={"tracks": 2})
    publisher, viewer = member(world, "pub"), world.connect(root="", tenant="a")
    publisher.publish("cam", t=MICRO, u=MICRO)
    gone = viewer.watch("pub/cam", "t")
    viewer.unwatch("pub/cam", "t", gone)
    left = world.connect(root="", tenant="a")
    left.watch("pub/cam", "u")
    left.hang_up()
    assert len(shared.ledger.accounts["a"].portion.waiting) == 2
    shared.turn()
    assert shared.ledger.accounts["a"].tracks == 0
    assert not viewer.host.watching.waiting


def test_shared_announcements_wait_in_order_and_are_heard_when_there_is_room(world: Any) -> None:
    shared = Shared(world)
    limit(world, a={"broadcasts": 3})
    one = member(world, "a")
    shared.take(broadcasts=1)
    for name in "xyz":
        one.publish(name, t=MICRO)

    def heard() -> list[str]:
        return [path for path in "xyz" if world.house.origin.find(f"a/{path}")]

    def denied() -> list[str]:
        return [facts["path"] for event, facts in world.said if event == "publish denied"]

    assert (heard(), denied()) == ([], [])
    for _ in range(3):
        shared.turn()
    assert (heard(), denied()) == (["x", "y"], ["z"])
    shared.take(broadcasts=0)
    world.wait(0.5)
    shared.turn()
    assert heard() == ["x", "y", "z"]


@pytest.mark.usefixtures("three_may_wait")
def test_shared_announcements_that_wait_for_an_answer_are_none_too_many(world: Any) -> None:
    shared = Shared(world)
    limit(world, a={"broadcasts": 300})
    one = member(world, "a")
    for number in range(300):
        one.publish(f"n{number}", t=MICRO)
    assert not shared.ledger.accounts["a"].broadcasts
    for _ in range(20):
        shared.turn()
    assert shared.ledger.accounts["a"].broadcasts == 300
    assert world.house.origin.find("a/n299") is not None
    for number in range(300, 306):  # these wait because there is no room, and are too many
        one.publish(f"n{number}", t=MICRO)
        shared.turn()
    assert one.wire.server.closed[0] == OverQuota.session_code


def test_shared_announcements_where_too_many_wait_already(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.quota.account.MAX_WAITING", 0)
    shared = Shared(world)
    limit(world, a={"broadcasts": 3})
    one = member(world, "a")
    one.publish("x", t=MICRO)
    world.wait(0.5)
    assert world.house.origin.find("a/x") is None
    assert shared.ledger.breached == {"broadcasts": 1}


def test_whoever_waits_to_send_goes_on_when_more_is_lent(world: Any) -> None:
    shared = Shared(world)
    limit(world, a={"egress_bits": 8 * 100_000})
    publisher, viewer = member(world, "pub"), world.connect(root="", tenant="a")
    shared.turn()
    track = publisher.publish("cam", t=MICRO).tracks["t"]
    watch = viewer.watch("pub/cam", "t")
    track.append_group()
    track.write_frame(bytes(50_000), 1)
    track.finish_group()
    world.run()
    assert watch.complete() == []
    assert shared.ledger.breached == {}
    for _ in range(3):
        shared.turn()
        world.now += 0.1
    world.run()
    assert watch.complete() == [0]
