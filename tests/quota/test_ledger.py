"""The books: what is counted is taken off again, and limits that change are in force at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import relay.quota.ledger
from relay.errors import LimitExceeded, OverQuota
from relay.quota import Breach, Ledger, Limits, Override, QuotaSettings, Tab
from relay.quota.account import LEAST


def ledger(**quota: int) -> Ledger:
    return Ledger(Limits(QuotaSettings(**quota)))


def test_sessions_at_a_time() -> None:
    books = ledger(sessions=2)
    tabs = [books.enter("a", 0.0), books.enter("a", 0.0)]
    with pytest.raises(OverQuota, match=r"'a' is over quotas.sessions \(2\)") as caught:
        books.enter("a", 0.0)
    assert caught.value.status == 429
    books.enter("b", 0.0)
    tabs[0].close()
    tabs[0].close()
    books.enter("a", 0.0)
    with pytest.raises(OverQuota):
        books.enter("a", 0.0)


def test_new_sessions_a_second_say_when_to_come_again() -> None:
    books = ledger(sessions_per_second=4)
    for _ in range(3):
        books.enter("a", 1.0).close()
    books.arrive("a", 1.0)
    with pytest.raises(OverQuota) as caught:
        books.enter("a", 1.0)
    assert caught.value.wait == pytest.approx(0.25)
    assert books.accounts["a"].sessions == 0
    books.enter("a", 1.26)


def test_changes_are_in_force_at_once_for_those_who_are_there() -> None:
    books = ledger(sessions=1, egress_bits=8_000_000)
    tab = books.enter("a", 0.0)
    with pytest.raises(OverQuota):
        books.enter("a", 0.0)
    told: list[str] = []
    books.limits_changed = lambda: told.append("changed")
    books.obey(Limits(books.limits.settings, {"a": Override(sessions=0, egress_bits=8000)}), 0.0)
    assert told == ["changed"]
    books.enter("a", 0.0)
    tab.sent(5000, 0.0)
    assert tab.room(0.5) == 0
    assert tab.is_held_back
    books.obey(Limits(books.limits.settings, {"a": Override(egress_bits=0)}), 0.5)
    assert tab.room(0.5) > 1 << 60
    assert tab.account.outgoing is None


def test_publishers_and_broadcasts() -> None:
    books = ledger(publishers=1, broadcasts=2)
    one, two = books.enter("a", 0.0), books.enter("a", 0.0)
    one.announce(0.0)
    one.add_broadcast()
    assert not two.may_announce(0.0)
    with pytest.raises(OverQuota, match="publishers"):
        two.announce(0.0)
    one.announce(0.0)
    one.add_broadcast()
    with pytest.raises(OverQuota, match="broadcasts"):
        one.announce(0.0)
    one.announce(0.0, is_new=False)
    one.drop_broadcast()
    one.drop_broadcast()
    two.announce(0.0)


def test_subscribers_and_tracks() -> None:
    books = ledger(subscribers=1, tracks=2)
    one, two = books.enter("a", 0.0), books.enter("a", 0.0)
    one.add_track(0.0)
    with pytest.raises(OverQuota, match="subscribers"):
        two.add_track(0.0)
    one.add_track(0.0)
    with pytest.raises(OverQuota, match="tracks"):
        one.add_track(0.0)
    one.close()
    two.add_track(0.0)


def test_ingress_is_refused_beyond_the_rate_and_counted_in_any_case() -> None:
    books = ledger(ingress_bits=8000)
    account = books.enter("a", 0.0).account
    assert account.receive(900, 0.0)
    assert account.receive(900, 0.0)
    assert not account.may_receive(0.0)
    assert not account.receive(1, 0.0)
    assert account.may_receive(1.0)
    assert account.ingress == 1801


def test_whoever_waits_gets_a_share() -> None:
    books = ledger(egress_bits=8 * 100_000)
    tabs = [books.enter("a", 0.0) for _ in range(4)]
    sent = [0] * 4
    for step in range(200):
        now = step * 0.1
        for number, tab in enumerate(tabs):
            while (room := tab.room(now)) > 0:
                tab.sent(room, now)
                sent[number] += room
    assert sum(sent) <= 100_000 * 21 + 4 * LEAST * 200
    assert min(sent) > 0.7 * max(sent)
    assert sum(sent) >= 100_000 * 19


def test_what_is_too_large_is_another_status() -> None:
    account = ledger(cached_bytes=1000).account("a")
    account.require_room(1000, 0.0)
    with pytest.raises(OverQuota) as caught:
        account.require_room(1001, 0.0)
    assert caught.value.status == 413


def test_answers_that_cannot_be_slowed_are_refused() -> None:
    account = ledger(egress_bits=8000).account("a")
    account.require_egress(0.0)
    account.send(3000, 0.0)
    with pytest.raises(OverQuota) as caught:
        account.require_egress(0.0)
    assert 0.0 < caught.value.wait <= 3.0


def test_breaches_are_told_and_counted() -> None:
    books = ledger(sessions=1)
    told: list[Breach] = []
    books.told = told.append
    books.enter("a", 0.0)
    for _ in range(10):
        with pytest.raises(OverQuota):
            books.enter("a", 0.0)
    books.overflowed("a", 0.0)
    books.tick(6.0)
    assert told == [
        Breach("a", "sessions", 1, 1),
        Breach("a", "cached_bytes", 0, 1),
        Breach("a", "sessions", 1, 9),
    ]
    assert books.breached == {"sessions": 10, "cached_bytes": 1}


def test_who_is_gone_is_forgotten_but_not_its_debt() -> None:
    books = ledger(sessions_per_second=1)
    books.enter("a", 0.0).close()
    kept = books.enter("b", 0.0)
    books.tick(0.5)
    with pytest.raises(OverQuota):
        books.enter("a", 0.5)
    books.tick(10.0)
    assert set(books.accounts) == {"b"}
    assert books.accounts["b"] is kept.account


def test_usage_by_tenant() -> None:
    books = ledger()
    tab = books.enter("a", 0.0)
    tab.announce(0.0)
    tab.add_broadcast()
    tab.account.receive(7, 0.0)
    tab.sent(9, 0.0)
    assert books.usage() == {
        "a": {
            "sessions": 1,
            "publishers": 1,
            "subscribers": 0,
            "broadcasts": 1,
            "tracks": 0,
            "ingress_bytes": 7,
            "egress_bytes": 9,
        }
    }


def test_bytes_of_who_is_gone_are_counted_on_when_they_are_back(monkeypatch) -> None:
    monkeypatch.setattr(relay.quota.ledger, "MAX_PAST", 2)
    books, now = ledger(), 0.0

    def come_and_go(tenant: str, size: int) -> None:
        nonlocal now
        tab = books.enter(tenant, now)
        tab.account.receive(size, now)
        tab.sent(2 * size, now)
        tab.close()
        now += 10.0
        books.tick(now)
        assert not books.accounts

    come_and_go("a", 7)
    come_and_go("idle", 0)
    assert books.moved() == {"a": (7, 14)}
    come_and_go("b", 1)
    come_and_go("a", 7)
    assert books.moved() == {"b": (1, 2), "a": (14, 28)}
    come_and_go("c", 1)  # b left first
    assert books.moved() == {"a": (14, 28), "c": (1, 2)}
    books.enter("a", now)
    assert books.usage()["a"]["ingress_bytes"] == 14
    assert books.moved() == {"a": (14, 28), "c": (1, 2)}


def test_tenants_at_a_time_have_a_ceiling(monkeypatch) -> None:
    monkeypatch.setattr(relay.quota.ledger, "MAX_ACCOUNTS", 1)
    books = ledger()
    books.enter("a", 0.0)
    with pytest.raises(LimitExceeded, match="MAX_ACCOUNTS"):
        books.enter("b", 0.0)


steps = st.lists(
    st.tuples(
        st.sampled_from(["enter", "leave", "announce", "drop", "watch", "unwatch"]),
        st.integers(0, 5),
        st.sampled_from(["a", "b"]),
    ),
    max_size=80,
)


@given(steps, st.integers(0, 3), st.integers(0, 3))
def test_books_balance_whatever_happens(
    walk: list[tuple[str, int, str]], most: int, few: int
) -> None:
    books = ledger(sessions=most, broadcasts=few, publishers=1, tracks=few, subscribers=1)
    tabs: list[Tab] = []
    for step, number, tenant in walk:
        tab = tabs[number % len(tabs)] if tabs else None
        try:
            if step == "enter":
                tabs.append(books.enter(tenant, 0.0))
            elif tab is not None and step == "leave":
                tabs.remove(tab)
                tab.close()
            elif tab is not None and step == "announce":
                tab.announce(0.0)
                tab.add_broadcast()
            elif tab is not None and step == "watch":
                tab.add_track(0.0)
            elif tab is not None:
                (tab.drop_broadcast if step == "drop" else tab.drop_track)()
        except OverQuota:
            pass
        for account in books.accounts.values():
            mine = [each for each in tabs if each.account is account]
            assert account.sessions == len(mine)
            assert account.broadcasts == sum(each.broadcasts for each in mine)
            assert account.publishers == sum(each.broadcasts > 0 for each in mine)
            assert account.tracks == sum(each.tracks for each in mine)
            assert account.subscribers == sum(each.tracks > 0 for each in mine)
            assert not most or account.sessions <= most
            assert not few or account.broadcasts <= few
            assert not few or account.tracks <= few
            assert account.publishers <= 1
            assert account.subscribers <= 1
    for tab in tabs:
        tab.close()
    assert all(account.is_idle for account in books.accounts.values())


def test_what_comes_in_one_piece_waits_until_the_debt_is_paid() -> None:
    books = ledger(ingress_bits=800)
    account = books.account("a")
    account.require_ingress(300, 0.0)  # larger than a second's worth: it passes, and is waited for
    with pytest.raises(OverQuota) as over:
        account.require_ingress(1, 0.5)
    assert over.value.wait == pytest.approx(1.51)
    assert account.ingress == 300
    account.require_ingress(1, 2.1)
    assert books.breached == {"ingress_bits": 1}
