"""One session's part of the books: taken off once, and told apart from what others use."""

from __future__ import annotations

import pytest

from relay.errors import OverQuota
from relay.quota import Breach, Ledger, Limits, QuotaSettings
from relay.quota.account import ROUND
from relay.quota.tab import STALL


def ledger(**quota: int) -> Ledger:
    return Ledger(Limits(QuotaSettings(**quota)))


def test_who_leaves_twice_takes_off_nothing_of_others() -> None:
    books = ledger(egress_bits=8)
    gone, stays = books.enter("a", 0.0), books.enter("a", 0.0)
    for tab in (gone, stays):
        tab.add_broadcast()
        tab.add_track(0.0)
    gone.sent(100, 0.0)
    assert gone.room(0.0) == 0
    account = stays.account
    assert account.waiting == {gone}
    for _ in range(2):
        gone.close()
        gone.drop_broadcast()
        gone.drop_track()
    assert not account.waiting
    used = account.usage()
    assert {name: used[name] for name in ("sessions", "publishers", "subscribers")} == {
        "sessions": 1,
        "publishers": 1,
        "subscribers": 1,
    }
    assert (used["broadcasts"], used["tracks"]) == (1, 1)


def test_what_may_be_announced_is_announced_and_what_may_not_is_not() -> None:
    books = ledger(broadcasts=2, publishers=1, announces_per_second=4)
    tab, other = books.enter("a", 0.0), books.enter("a", 0.0)
    for _ in range(2):
        assert tab.may_announce(0.0)
        tab.announce(0.0)
        tab.add_broadcast()
    assert not tab.may_announce(0.0)
    with pytest.raises(OverQuota, match=r"over quotas\.broadcasts \(2\)"):
        tab.announce(0.0)
    assert tab.may_announce(0.0, is_new=False)
    tab.announce(0.0, is_new=False)
    tab.drop_broadcast()
    assert not other.may_announce(0.0)
    with pytest.raises(OverQuota, match=r"over quotas\.publishers \(1\)"):
        other.announce(0.0)
    assert other.may_announce(0.0, is_new=False)  # nothing of its own is counted for that
    tab.announce(0.0)
    assert not tab.may_announce(0.0)
    with pytest.raises(OverQuota, match=r"over quotas\.announces_per_second \(4\)") as caught:
        tab.announce(0.0)
    assert caught.value.wait == pytest.approx(0.25)
    assert tab.may_announce(0.25)


def test_what_is_counted_of_a_session_never_falls_below_nothing() -> None:
    books = ledger()
    tab = books.enter("a", 0.0)
    for _ in range(2):
        tab.drop_broadcast()
        tab.drop_track()
        tab.add_broadcast()
        tab.add_track(0.0)
        tab.drop_broadcast()
        tab.drop_track()
    used = tab.account.usage()
    assert used == dict.fromkeys(used, 0) | {"sessions": 1}


def test_who_waits_for_the_rate_is_woken_by_more_and_done_when_it_has_nothing() -> None:
    books, woken = ledger(egress_bits=8_000), list[str]()
    tab = books.enter("a", 0.0)
    tab.wake = lambda: woken.append("awake")
    tab.sent(3000, 0.0)
    assert tab.room(0.0) == 0
    assert tab.is_held_back
    tab.account.refill()
    assert woken == ["awake"]
    tab.emptied()
    assert not tab.is_held_back
    tab.account.refill()
    assert woken == ["awake"]


def test_a_share_is_for_one_round_and_dealt_anew_when_there_is_more() -> None:
    books = ledger(egress_bits=8 * 10_000)
    tab, other = books.enter("a", 0.0), books.enter("a", 0.0)
    tab.account.waiting |= {tab, other}
    assert tab.room(0.0) == 5000
    tab.sent(5000, 0.0)
    assert tab.room(ROUND / 2) == 0
    assert other.room(ROUND / 2) == 5000
    tab.account.refill()
    assert tab.room(ROUND / 2) == 2750  # of what is left, and has come in


def test_who_has_sent_nothing_for_long_leaves_its_share_to_others() -> None:
    books = ledger(egress_bits=8_000)
    tab = books.enter("a", 100.0)
    tab.sent(1, 100.0)
    assert not tab.has_stalled(100.0 + STALL - 0.01)
    assert tab.has_stalled(100.0 + STALL + 0.01)


def test_groups_that_are_not_taken_for_the_rate_are_breaches() -> None:
    books, told = ledger(ingress_bits=8_000), list[Breach]()
    books.told = told.append
    account = books.enter("a", 0.0).account
    assert account.receive(1000, 0.0)
    assert not account.receive(1, 0.0)
    assert not account.may_receive(0.0)
    assert told == [Breach("a", "ingress_bits", 8000, 1)]
    assert books.breached == {"ingress_bits": 2}
