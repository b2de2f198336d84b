"""What the relay publishes itself: its limits, its books, and how long it stays."""

from __future__ import annotations

import contextlib
import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.auth.grant import Grant
from relay.errors import Forbidden, LimitExceeded, OverQuota, TooLarge
from relay.ingest import records
from relay.ingest.route import Declared
from relay.ingest.settings import IngestSettings
from relay.ingest.station import Station, Unfit, WrongType
from relay.model.group import CHUNK_COST, GROUP_COST
from relay.model.origin import Origin
from relay.model.settings import CacheSettings
from relay.model.track import Demand, TrackInfo
from relay.path import ROOT, Path
from relay.peer.local import MAX_GROUP, LocalBroadcast
from relay.peer.reading import OVERHEAD
from relay.quota import Account, Quota, Tab
from relay.wire.frame import MAX_HEADER


class Bench:
    """A station, its clock and its origin."""

    def __init__(self, **settings):
        self.now = 0.0
        self.origin = Origin(1)
        said = IngestSettings.model_validate(settings)
        self.station = Station(self.origin, said, lambda: self.now, lambda: 1000.0 + self.now)

    def publish(self, path, track="t", body=b"x", grant=None):
        station = self.station
        grant = grant or granted(path)
        return station.publish_bytes(grant, station.address(f"/{path}/{track}", None), body)

    def json(self, path, body, track="t", one=False):
        address = self.station.address(f"/{path}/{track}", None)
        checked = self.station.check_json(granted(path), address, body)
        return self.station.publish(granted(path), checked, one), checked.many

    def counted(self):
        """Bytes kept by tenant, counted anew from every booth."""
        found = {}
        for booth in self.station.booths.values():
            size = sum(map(sum, booth.sizes.values()))
            real = sum(
                sum(map(len, group.chunks))
                for t in booth.local.tracks.values()
                for group in t.groups
            )
            assert size >= real
            found[booth.tenant] = found.get(booth.tenant, 0) + size
        return {tenant: size for tenant, size in found.items() if size}


def granted(path, subject=None):
    return Grant(Path(path), (ROOT,), (ROOT,), tenant=path.split("/")[0], subject=subject)


@pytest.mark.parametrize(
    ("broadcast", "name", "rules"),
    [
        ("a/x", "t", ("t/v2", "a/*:t/v2")),
        ("a/x", "t/v1", ("t/v1", "a/*:t/v1")),
        ("a/x", "t/v3", ("t/v3", None)),
        ("b/x", "t", ("t", "b/*:t")),
        ("b/x", "t/v2", ("t/v2", "b/*:t")),
        ("b/x", "u", ("u", None)),
        ("c/x", "t", ("t", None)),
        ("c/x/y", "t", ("t", None)),
    ],
)
def test_a_track_goes_by_the_rules_of_its_own_broadcast(broadcast, name, rules):
    said = {"a/*:t/v1": {}, "a/*:t/v2": {}, "b/*:t": {"dead_letters": True}, "b/**:t": {}}
    station = Bench(tracks=said).station
    place = Path(broadcast)
    track, declared = station.resolved(station.address(f"/{broadcast}/{name}"), place)
    expected = None if rules[1] is None else Declared.parse(rules[1])
    assert (track, declared) == (rules[0], expected)


def test_more_broadcasts_than_the_limit_are_refused_until_one_is_withdrawn():
    bench = Bench(max_broadcasts=2, linger=10)
    bench.publish("a/x")
    bench.now = 5.0
    bench.publish("b/x")
    with pytest.raises(LimitExceeded, match=r"ingest\.max_broadcasts \(2\)"):
        bench.publish("c/x")
    assert bench.origin.find(Path("c/x")) is None
    bench.publish("a/x")  # what is there goes on
    bench.now = 15.5
    bench.station.tick(bench.now)
    assert list(bench.station.booths) == []
    bench.publish("c/x")


@pytest.mark.parametrize(("said", "most"), [({}, 4), ({"max_tenant_broadcasts": 3}, 3)])
def test_a_tenant_has_a_share_of_the_broadcasts(said, most):
    bench = Bench(max_broadcasts=8, linger=10, **said)
    for number in range(most):
        bench.publish(f"a/{number}")
    with pytest.raises(LimitExceeded, match=rf"ingest\.max_tenant_broadcasts \({most}"):
        bench.publish("a/x")
    bench.publish("a/0")  # what is there goes on
    bench.publish("b/x")
    bench.now = 10.5
    bench.station.tick(bench.now)
    bench.publish("a/x")


def test_more_tracks_than_the_limit_are_refused_those_of_dead_letters_included():
    tracks = {"a/*:t": {"dead_letters": True}}
    bench = Bench(max_tracks=2, tracks=tracks)
    sent, many = bench.json("a/x", b'[{"a":1},2]')
    assert many
    assert [(each.track, each.error is None) for each in sent] == [("t", True), ("t.dlq", False)]
    with pytest.raises(LimitExceeded, match=r"ingest\.max_tracks \(2\)"):
        bench.publish("a/x", "u")
    with pytest.raises(LimitExceeded, match=r"ingest\.max_tracks"):
        Bench(max_tracks=1, tracks=tracks).json("a/x", b'[{"a":1},2]')


def test_what_is_kept_has_a_limit_and_a_tenant_a_share_of_it():
    room = 3 * (100 + OVERHEAD)
    bench = Bench(max_kept_bytes=room, max_tenant_kept_bytes=room - 1, linger=10)
    for _ in range(2):
        bench.publish("a/x", body=b"x" * 100)
    with pytest.raises(LimitExceeded, match=r"the tenant keeps ingest\.max_tenant_kept_bytes"):
        bench.publish("a/y", body=b"x" * 100)
    bench.now = 5.0
    bench.publish("b/x", body=b"x" * 100)
    with pytest.raises(LimitExceeded, match=r"the relay keeps ingest\.max_kept_bytes"):
        bench.publish("b/x")
    bench.now = 11.0
    bench.station.tick(bench.now)
    assert bench.station.kept == {"b": 100 + OVERHEAD}
    bench.publish("b/x")


def test_what_leaves_makes_room_for_what_comes():
    room = 2 * (100 + OVERHEAD)
    bench = Bench(keep_groups=2, max_kept_bytes=room, max_tenant_kept_bytes=room)
    for _ in range(5):
        bench.publish("a/x", body=b"x" * 100)
    assert bench.station.kept == {"a": room}
    with pytest.raises(LimitExceeded, match=r"ingest\.max_kept_bytes"):
        bench.publish("a/x", body=b"x" * 101)
    with pytest.raises(LimitExceeded, match=r"ingest\.max_kept_bytes"):
        bench.publish("a/x", "u")
    number = b"1" * (100 // 4)
    bench.json("a/x", b"[" + b",".join([b'{"a":%s}' % number] * 9) + b"]")  # seven of them leave
    assert dict(bench.station.kept) == bench.counted()
    assert bench.station.kept["a"] <= room


def test_what_no_cache_could_hold_is_refused_and_not_published():
    bench = Bench(max_body_bytes=MAX_GROUP)
    with pytest.raises(TooLarge, match="more than a group may have"):
        bench.publish("a/x", body=b"x" * MAX_GROUP)
    assert not bench.station.booths
    bench.origin = Origin(1, CacheSettings(max_group_bytes=1000))
    bench.station = Station(bench.origin, IngestSettings(), lambda: 0.0, lambda: 1e9)
    with pytest.raises(TooLarge, match=r"1000 bytes"):
        bench.json("a/x", b'[{"a":%s},{"b":1}]' % (b"1" * 990))
    with pytest.raises(TooLarge):
        bench.json("a/x", b"[%s]" % b",".join([b'{"a":%s}' % (b"1" * 100)] * 9), one=True)
    bench.publish("a/x", body=b"x" * 984)
    assert seen(bench, "a/x") == [0]


@pytest.mark.parametrize("over", [0, 1])
def test_a_body_that_the_tenants_cache_cannot_hold_is_refused(over):
    limit = 10_000
    account = Account("a", Quota(cached_bytes=limit), lambda *what: None)
    bench = Bench()
    bench.origin.stock.cache.limit_of = lambda tenant: limit
    bench.station.charge = lambda grant, came, room: account.require_room(room, 0.0)
    body = b"x" * (limit - GROUP_COST - CHUNK_COST - MAX_HEADER + over)
    with pytest.raises(OverQuota) if over else contextlib.nullcontext():
        bench.publish("a/x", body=body)
        assert seen(bench, "a/x") == [0]


def seen(bench, path):
    """The groups that somebody gets whole who watches now."""
    track = bench.origin.find(Path(path)).track("t")
    viewer = Viewer()
    track.watch(viewer, bench.now)
    return [group.sequence for group in viewer.groups if group.native.finished]


class Viewer:
    """Who takes what there is."""

    def __init__(self):
        self.demand = Demand()
        self.groups = []

    def track_accepted(self, info):
        """It is there."""

    def track_ended(self, error):
        """It is no more."""

    def group_opened(self, group):
        self.groups.append(group)

    def datagram_received(self, sequence, timestamp, payload):
        """None come here."""


def test_whoever_pays_for_a_broadcast_is_asked_for_room():
    bench = Bench(max_tenant_kept_bytes=100 + OVERHEAD)
    bench.publish("a/x", body=b"x" * 100)
    other = Grant(Path("a/x"), (ROOT,), (ROOT,), tenant="b")
    with pytest.raises(LimitExceeded, match=r"ingest\.max_tenant_kept_bytes"):
        bench.publish("a/x", grant=other)
    assert bench.station.kept == {"a": 100 + OVERHEAD}
    bench.publish("a/y", grant=Grant(Path("a/y"), (ROOT,), (ROOT,), tenant="b"))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a/x", "a/y", "b/x"]),
            st.sampled_from(["t", "u"]),
            st.integers(0, 30),
            st.integers(0, 6),
        ),
        max_size=40,
    )
)
def test_what_is_counted_is_what_is_kept(steps):
    bench = Bench(keep_groups=2, linger=8)
    for path, track, size, seconds in steps:
        bench.now += seconds
        bench.publish(path, track, b"x" * size)
        bench.station.tick(bench.now)
        assert dict(bench.station.kept) == bench.counted()
        tenants = [booth.tenant for booth in bench.station.booths.values()]
        assert bench.station.open == Counter(tenants)
    bench.now += 100
    bench.station.tick(bench.now)
    assert not bench.station.kept
    assert not bench.station.open
    assert bench.station._all_kept == 0


def test_a_broadcast_is_on_its_tenants_books():
    bench = Bench(linger=10)
    account = Account("a", Quota(broadcasts=1), lambda *what: None)
    bench.station.enrol = lambda grant: Tab(account, is_seated=False)
    bench.publish("a/x")
    bench.publish("a/x")
    assert (account.broadcasts, account.publishers) == (1, 1)
    with pytest.raises(OverQuota, match=r"quotas\.broadcasts"):
        bench.publish("a/y")
    assert bench.origin.find(Path("a/y")) is None
    bench.now = 11.0
    bench.station.tick(bench.now)
    assert (account.broadcasts, account.publishers) == (0, 0)


def test_what_is_not_paid_for_is_not_published():
    bench = Bench()

    def charge(grant, came, room):
        assert (grant.tenant, came, room) == ("a", 3, GROUP_COST + CHUNK_COST + MAX_HEADER + 3)
        raise OverQuota("spent", 2.0)

    bench.station.charge = charge
    with pytest.raises(OverQuota):
        bench.publish("a/x", body=b"abc")
    assert (bench.station.booths, bench.counted()) == ({}, {})


@pytest.mark.parametrize(
    ("settings", "quota"),
    [
        ({"max_broadcasts": 1}, {}),
        ({}, {"broadcasts": 1}),
        ({}, {"publishers": 1}),
        ({}, {"announces_per_second": 1}),
    ],
)
def test_what_may_not_be_published_is_charged_to_nobody(settings, quota):
    bench = Bench(**settings)
    account, paid = Account("a", Quota(**quota), lambda *what: None), []
    bench.station.enrol = lambda grant: Tab(account, is_seated=False)
    bench.station.charge = lambda grant, came, room: paid.append(came)
    bench.publish("a/x", body=b"abc")
    with pytest.raises(LimitExceeded):
        bench.publish("a/y", body=b"abcdef")
    assert (paid, list(bench.station.booths)) == ([3], ["a/x"])


def test_what_a_struck_grant_published_last_is_withdrawn():
    bench = Bench()
    bench.publish("a/x", grant=granted("a/x", "alice"))
    bench.publish("a/y", grant=granted("a/y", "alice"))
    bench.publish("a/y", grant=granted("a/y", "bob"))
    bench.station.recheck(lambda grant: "left" if grant.subject == "alice" else None)
    assert list(bench.station.booths) == ["a/y"]
    assert dict(bench.station.kept) == bench.counted()


def test_each_broadcast_is_a_publisher_of_its_own():
    """A relay that is started again under its number counts from the beginning, and what is
    published anew as well: whoever watched goes on with neither as if it were the one before."""
    lives = Bench(linger=1), Bench(linger=1)
    found = []
    for bench in (*lives, lives[0]):
        bench.publish("a/x")
        found.append(bench.origin.find(Path("a/x")).identity)
        bench.now += 2
        bench.station.tick(bench.now)
    assert len(set(found)) == 3
    assert 0 not in found


def test_nobody_publishes_where_the_grant_does_not_reach():
    bench = Bench()
    with pytest.raises(Forbidden):
        bench.publish("a/x", grant=Grant(Path("a/x"), (), (ROOT,)))
    assert bench.station.booths == {}


def test_records_of_one_body_are_groups_or_frames_of_one():
    bench = Bench(max_records=3)
    sent, _ = bench.json("a/x", b'[{"n":1},{"n":2}]')
    assert [(each.group, each.frame) for each in sent] == [(0, 0), (1, 0)]
    sent, _ = bench.json("a/x", b'[{"n":1},{"n":2}]', one=True)
    assert [(each.group, each.frame) for each in sent] == [(2, 0), (2, 1)]
    with pytest.raises(TooLarge):
        bench.json("a/x", b"[{},{},{},{}]")


def test_without_dead_letters_nothing_of_a_bad_body_is_published():
    bench = Bench(tracks={"a/*:t": {}})
    with pytest.raises(Unfit) as caught:
        bench.json("a/x", b"[{},1,{},2]")
    assert list(caught.value.errors) == [1, 3]
    assert bench.station.booths == {}


def test_a_track_with_rules_takes_json_only():
    bench = Bench(tracks={"a/*:t": {"encrypt": {"/m": "k"}}})
    with pytest.raises(WrongType):
        bench.publish("a/x")


def test_an_undeclared_version_is_its_own_and_none_is_the_newest():
    bench = Bench(tracks={"a/*/t/v2": {}, "a/*/t/v10": {}})
    assert bench.publish("a/x")[0].track == "t/v10"
    assert bench.publish("a/x/t", "v3")[0].track == "t/v3"


def test_rules_without_a_version_hold_for_the_others_and_the_first_pattern_counts():
    guarded = {"encrypt": {"/m": "k"}}  # takes JSON only
    bench = Bench(tracks={"a/*:t": guarded, "a/*:t/v1": {}, "a/x:t/v1": guarded})
    assert bench.publish("a/x/t", "v1", grant=granted("a/x"))[0].track == "t/v1"
    with pytest.raises(WrongType):
        bench.publish("a/x/t", "v9", grant=granted("a/x"))


def test_rules_hold_however_the_track_is_named():
    bench = Bench(tracks={"a/**:mail/v1": {"encrypt": {"/mail": "pii"}}})
    bench.station.keys = {"pii": {1: b"k" * 32}}
    for path, track in (("/a/b", "mail/v1"), ("/a/b/mail%2Fv1", None), ("/a/b/mail/v1", None)):
        address = bench.station.address(path, track)
        checked = bench.station.check_json(granted("a/b"), address, b'{"mail":"m"}')
        bench.station.publish(granted("a/b"), checked, False)
    (booth,) = bench.station.booths.values()
    assert set(booth.local.tracks) == {"mail/v1"}
    chunks = [b"".join(map(bytes, group.chunks)) for group in booth.local.tracks["mail/v1"].groups]
    assert len(chunks) == 3
    assert all(b"kid:pii:v1:" in each for each in chunks)


class Seen:
    """A viewer that notes what it is handed."""

    def __init__(self, start=None):
        self.demand = Demand(start=start)
        self.groups = []

    def track_accepted(self, info):
        pass

    def group_opened(self, group):
        self.groups.append(group.sequence)

    def track_ended(self, error):
        pass


def test_who_begins_earlier_than_others_gets_what_is_kept_and_they_do_not():
    bench = Bench(keep_groups=3)
    for _ in range(5):
        bench.publish("a/x")
    track = bench.origin.find(Path("a/x")).track("t")
    bench.station.recall(Path("a/x"), track, 0)  # a feed that does not run yet brings it anyway
    assert not track.groups
    track.watch(first := Seen(), 0.0)
    bench.station.recall(Path("a/x"), track, 1)
    track.watch(late := Seen(start=1), 0.0)
    bench.publish("a/x")
    assert (first.groups, late.groups) == ([4, 5], [2, 3, 4, 5])


def test_nothing_is_recalled_for_who_watches_somebody_else():
    bench = Bench()
    bench.publish("a/x")
    bench.publish("a/x")
    other = LocalBroadcast(lambda: 0.0)
    other.create_track("t", TrackInfo()).append_group()
    bench.origin.scope(Path("a/x"), (ROOT,), ()).announce(ROOT, other, (), 0.0)
    track = bench.origin.find(Path("a/x")).track("t")
    track.watch(Seen(), 0.0)
    bench.station.recall(Path("a/x"), track, 0)
    bench.station.recall(Path("a/y"), track, 0)
    assert list(track.groups) == [0]


def test_whoever_hears_of_a_broadcast_can_ask_whose_it_is():
    """A sink that took it for somebody else's would have one track less for those."""
    bench, heard = Bench(), []

    class Listener:
        def announced(self, path, way):
            heard.append(bench.station.has_published(bench.origin.find(path)))

        def unannounced(self, path):
            heard.append(bench.origin.find(path))

    bench.origin.watch(ROOT, Listener())
    bench.publish("a/x")
    bench.origin.announce(Path("a/x"), LocalBroadcast(lambda: 0.0), (), 0.0)
    assert heard == [True, bench.origin.find(Path("a/x")), False]


def test_what_could_not_be_announced_is_not_kept():
    bench = Bench()
    bench.origin = Origin(1, CacheSettings(max_broadcasts=1))
    bench.station = Station(bench.origin, IngestSettings(), lambda: 0.0, lambda: 1e9)
    bench.publish("a/x")
    with pytest.raises(LimitExceeded, match="max_broadcasts"):
        bench.publish("a/y")
    assert list(bench.station.booths) == ["a/x"]
    assert bench.station.open == {"a": 1}


def test_a_body_that_would_be_checked_for_ever_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MAX_REFERENCES", 1000)
    way = {"properties": {"in": {"$ref": "#"}}, "required": ["way"]}
    (tmp_path / "s.json").write_text(json.dumps({"oneOf": [way, way]}))
    bench = Bench(tracks={"a/*:t": {"schema": str(tmp_path / "s.json")}})
    deep = b'{"in":' * 50 + b"{}" + b',"way":1}' * 50
    with pytest.raises(Unfit) as unfit:
        bench.json("a/x", deep)
    assert unfit.value.errors == {0: "too much to check at a time"}
