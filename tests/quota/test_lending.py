"""Shared limits: never more than there is, whoever asks where and whatever is lost on the way."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.errors import OverQuota
from relay.quota import Borrower, Ledger, Lender, Limits, Override, QuotaSettings, Tab
from relay.quota.account import ROUND
from relay.quota.portion import PATIENCE
from relay.quota.purse import INTERVAL

A = "a"


def over_wire(said: Any) -> Any:
    return json.loads(json.dumps(said))


class Office:
    """Workers with a lender among them, in one thread and one time."""

    def __init__(self, count: int, **quota: int) -> None:
        self.count = count
        self.now = 100.0
        self.limits = Limits(QuotaSettings(**quota))
        self.ledgers = [Ledger(self.limits, count) for _ in range(count)]
        self.lender = Lender(lambda: self.limits, count)
        self.borrowers = [Borrower(ledger) for ledger in self.ledgers]
        self.pressed = [False] * count
        for index, ledger in enumerate(self.ledgers):
            ledger.pressed = lambda index=index: self.press(index)  # type: ignore[misc]
        for index in range(count):
            self.turn(index)

    def press(self, index: int) -> None:
        self.pressed[index] = True

    def turn(
        self, index: int, asked: bool = True, answered: bool = True, back: bool = True
    ) -> None:
        """One report; it may be lost, or its answer, or those of whom something is taken back."""
        self.pressed[index] = False
        borrower = self.borrowers[index]
        report = over_wire(borrower.report())
        if not asked:
            borrower.fail(self.now)
            return
        answer, short = self.lender.hear(index, report, self.now)
        for other, kinds in self.lender.holders(index, short).items():
            told = over_wire(self.borrowers[other].recall(kinds))
            if back:
                self.lender.recalled(other, told)
        if short:
            self.lender.again(index, answer, short)
        if not answered:
            borrower.fail(self.now)
        elif not borrower.settle(over_wire(answer), self.now):
            self.pressed[index] = True

    def settle(self) -> None:
        """Until nobody needs anything at once."""
        for _ in range(100):
            if True not in self.pressed:
                return
            self.turn(self.pressed.index(True))
        raise AssertionError("it does not come to rest")

    def enter(self, index: int, tenant: str = A) -> list[Tab | OverQuota]:
        """What becomes of a new session, once that is known."""
        ledger, found = self.ledgers[index], list[Tab | OverQuota]()

        def seat() -> None:
            try:
                found.append(ledger.enter(tenant, self.now))
            except OverQuota as error:
                found.append(error)

        needs = ("sessions", "sessions_per_second")
        ledger.account(tenant).when_known(needs, self.now, seat)
        return found

    def obey(self, **said: int) -> None:
        self.limits = Limits(self.limits.settings, {A: Override(**said)})
        for ledger in self.ledgers:
            ledger.obey(self.limits, self.now)

    def used(self, kind: str = "sessions") -> int:
        return sum(getattr(each.accounts[A], kind) for each in self.ledgers if A in each.accounts)

    def held(self, kind: str = "sessions") -> int:
        found = 0
        for ledger in self.ledgers:
            if A in ledger.accounts:
                portion = ledger.accounts[A].portion
                assert portion is not None
                found += portion.held[kind]
        return found


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("limit", [1, 5, 100])
def test_exactly_as_many_as_may_come_in_wherever_they_come(count: int, limit: int) -> None:
    office = Office(count, sessions=limit)
    dice = random.Random(limit)
    tabs: list[Tab] = []
    for _ in range(limit):
        (tab,) = answer(office, dice.randrange(count))
        assert isinstance(tab, Tab)
        tabs.append(tab)
    for index in range(count):
        (error,) = answer(office, index)
        assert isinstance(error, OverQuota)
        assert f"quotas.sessions ({limit})" in str(error)
    for index in range(count):
        tabs.pop(dice.randrange(limit)).close()
        office.now += INTERVAL
        again, refused = [answer(office, index)[0] for _ in range(2)]
        assert isinstance(again, Tab)
        assert isinstance(refused, OverQuota)
        tabs.append(again)
        office.now += INTERVAL
    assert office.used() == limit


def answer(office: Office, index: int) -> list[Tab | OverQuota]:
    found = office.enter(index)
    office.settle()
    return found


def test_who_came_while_it_was_asked_for_another_waits_for_more() -> None:
    """One was asked for and came: the first takes it, and the others are no more refused for it."""
    office = Office(2, sessions=3)
    found = [office.enter(1)]
    report = over_wire(office.borrowers[1].report())
    found += [office.enter(1) for _ in range(5)]
    answered, short = office.lender.hear(1, report, office.now)
    assert not short
    office.borrowers[1].settle(over_wire(answered), office.now)
    assert [len(each) for each in found] == [1, 0, 0, 0, 0, 0]
    office.settle()
    assert [isinstance(each, Tab) for (each,) in found] == [True] * 3 + [False] * 3


def test_who_is_refused_is_counted_once_and_asking_waits_for_news() -> None:
    office = Office(2, sessions=1)
    answer(office, 0)
    for _ in range(5):
        answer(office, 1)
    assert office.ledgers[1].breached == {"sessions": 5}
    assert office.pressed == [False, False]


SELDOM = ("die", "bury", "wait", "limit")

ops = st.lists(
    st.tuples(
        st.sampled_from([*("enter", "leave", "turn", "lost", "deaf", "keep"), *SELDOM]),
        st.integers(0, 3),
        st.integers(0, 6),
    ),
    max_size=80,
)


@settings(max_examples=300, deadline=None)
@given(ops, st.integers(1, 8))
def test_never_more_than_there_is(ops: list[tuple[str, int, int]], limit: int) -> None:
    """Reports and answers are lost, workers die and come again; limits only rise here."""
    office = Office(4, sessions=limit)
    tabs: list[list[Any]] = [[] for _ in range(4)]
    died: list[tuple[int, str]] = []
    for name, index, number in ops:
        if name == "enter":
            tabs[index].append(office.enter(index))
        elif name == "bury":
            for each in died:
                office.lender.lost(*each)
        elif name == "leave" and tabs[index]:
            for each in tabs[index].pop(number % len(tabs[index])):
                if isinstance(each, Tab):
                    each.close()
        elif name == "turn":
            office.turn(index)
        elif name == "lost":
            office.turn(index, asked=False)
        elif name == "deaf":
            office.turn(index, answered=False)
        elif name == "keep":
            office.turn(index, back=False)
        elif name == "wait":
            office.now += number / 10
        elif name == "limit":
            limit += number
            office.obey(sessions=limit)
        elif name == "die":
            died.append((index, office.borrowers[index].life))
            office.ledgers[index] = Ledger(office.limits, 4)
            office.borrowers[index] = Borrower(office.ledgers[index])
            office.ledgers[index].pressed = lambda index=index: office.press(index)  # type: ignore[misc]
            tabs[index] = []
        assert office.used() <= office.held() <= office.lender.lent(A, "sessions") <= limit
    office.now += PATIENCE + INTERVAL
    for index in range(4):
        office.turn(index)
    office.settle()
    free = limit - office.used()
    office.now += INTERVAL
    for number in range(free):
        (tab,) = answer(office, number % 4)
        assert isinstance(tab, Tab)
    (error,) = answer(office, 0)
    assert isinstance(error, OverQuota)


class Slow(Office):
    """Where reports and answers are under way for a while."""

    def __init__(self, count: int, **quota: int) -> None:
        super().__init__(count, **quota)
        self.under_way: dict[int, tuple[str, Any]] = {}

    def move(self, index: int) -> None:
        """One worker's report or answer goes a step further."""
        what, said = self.under_way.pop(index, ("", None))
        if not what:
            self.under_way[index] = "report", over_wire(self.borrowers[index].report())
        elif what == "report":
            answer, short = self.lender.hear(index, said, self.now)
            for other, kinds in self.lender.holders(index, short).items():
                self.lender.recalled(other, over_wire(self.borrowers[other].recall(kinds)))
            if short:
                self.lender.again(index, answer, short)
            self.under_way[index] = "answer", over_wire(answer)
        else:
            self.borrowers[index].settle(said, self.now)

    def fail(self, index: int) -> None:
        """It waits no longer for an answer; the report may be heard later all the same."""
        what, said = self.under_way.pop(index, ("", None))
        self.borrowers[index].fail(self.now)
        if what == "report":
            self.late = index, said

    late: tuple[int, Any] | None = None

    def hear_late(self) -> None:
        if self.late is not None:
            (index, said), self.late = self.late, None
            self.lender.hear(index, said, self.now)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["enter", "leave", "move", "move", "fail", "late", "wait"]),
            st.integers(0, 2),
        ),
        max_size=120,
    ),
    st.integers(1, 30),
)
def test_never_more_than_there_is_while_messages_cross(
    ops: list[tuple[str, int]], limit: int
) -> None:
    office = Slow(3, sessions=limit)
    tabs: list[list[Any]] = [[] for _ in range(3)]
    for name, index in ops:
        if name == "enter":
            tabs[index].append(office.enter(index))
        elif name == "leave" and tabs[index]:
            for each in tabs[index].pop(0):
                if isinstance(each, Tab):
                    each.close()
        elif name == "move":
            office.move(index)
        elif name == "fail":
            office.fail(index)
        elif name == "late":
            office.hear_late()
        elif name == "wait":
            office.now += 0.1
        assert office.used() <= office.held() <= limit
        assert office.lender.lent(A, "sessions") <= limit


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["enter", "move", "move"]), st.integers(0, 2)), max_size=80),
    st.integers(1, 12),
)
def test_all_come_in_that_there_is_room_for_while_messages_cross(
    ops: list[tuple[str, int]], limit: int
) -> None:
    """Nobody is refused for what another was lent and has not taken."""
    office = Slow(3, sessions=limit)
    found: list[list[Any]] = []
    for name, index in ops:
        if name == "enter":
            found.append(office.enter(index))
        else:
            office.move(index)
    for _ in range(50):
        for index in range(3):
            office.move(index)
    assert all(found), "somebody still waits"
    admitted = sum(isinstance(tab, Tab) for (tab,) in found)
    assert admitted == min(limit, len(found))


def test_an_answer_that_was_overtaken_counts_for_nothing() -> None:
    office = Slow(3, sessions=1)
    first = office.enter(0)
    office.move(0)
    office.move(0)
    second = office.enter(1)
    for index in (1, 1, 0, 1):  # while the first one's answer is under way, it is taken back
        office.move(index)
    assert (first, [type(each) for each in second]) == ([], [Tab])
    assert office.held() == 1


def test_a_report_that_comes_late_counts_for_nothing() -> None:
    office = Slow(2, sessions=1)
    office.ledgers[0].account(A)
    office.move(0)
    office.fail(0)
    assert isinstance(answer(office, 0)[0], Tab)
    office.hear_late()
    assert isinstance(answer(office, 1)[0], OverQuota)


def test_what_is_used_when_a_limit_comes_is_told_though_a_report_is_lost() -> None:
    office = Office(2, sessions=0)
    for _ in range(3):
        answer(office, 1)
    office.obey(sessions=4)
    office.turn(1, asked=False)
    office.pressed = [False, False]
    office.turn(1)
    assert office.lender.lent(A, "sessions") == 3
    assert isinstance(answer(office, 0)[0], Tab)
    assert isinstance(answer(office, 0)[0], OverQuota)


@pytest.mark.parametrize("first", [0, 1])
def test_what_was_lent_before_others_told_what_they_use_goes_back(first: int) -> None:
    """A limit where there was none reaches one worker before the other."""
    office = Office(2, sessions=0)
    for index in (0, 1):
        for _ in range(100):
            answer(office, index)
    office.limits = Limits(office.limits.settings, {A: Override(sessions=150)})
    office.ledgers[first].obey(office.limits, office.now)
    answer(office, first)
    assert office.used() == 201, "the other's hundred are not known yet"
    assert office.held() > 101
    office.ledgers[1 - first].obey(office.limits, office.now)
    office.turn(1 - first)
    used = office.used()
    assert office.held() == used
    office.now += INTERVAL
    for index in (0, 1):
        assert isinstance(answer(office, index)[0], OverQuota)


def test_a_new_lender_lends_nothing_before_it_has_heard_of_all() -> None:
    office = Office(3, sessions=4)
    for index in (0, 1, 1):
        answer(office, index)
    office.lender = Lender(lambda: office.limits, 3)
    waiting = office.enter(0)
    office.turn(0)
    office.turn(0)
    office.turn(1)
    assert not waiting
    office.turn(1)
    office.turn(2)
    office.turn(2)
    office.turn(0)
    assert [isinstance(each, Tab) for each in waiting] == [True]
    assert office.lender.is_ready
    (error,) = answer(office, 2)
    assert isinstance(error, OverQuota)
    assert office.used() == 4


def test_who_waits_too_long_makes_do_with_what_is_held() -> None:
    office = Office(2, sessions=4)
    found = office.enter(1)
    office.turn(1, asked=False)
    assert not found
    office.now += PATIENCE
    office.turn(1, asked=False)
    assert [type(each) for each in found] == [OverQuota]
    assert "may be over quotas.sessions (4)" in str(found[0])
    assert getattr(found[0], "wait", 0.0) == PATIENCE
    assert office.ledgers[1].breached == {}


def test_a_limit_that_falls_leaves_nothing_at_hand_and_one_that_rises_counts_at_once() -> None:
    office = Office(2, sessions=100)
    for index in (0, 1):
        answer(office, index)
    assert office.held() > 20
    office.obey(sessions=2)
    office.settle()
    assert (office.held(), office.lender.lent(A, "sessions")) == (2, 2)
    assert isinstance(answer(office, 0)[0], OverQuota)
    office.now += INTERVAL
    office.obey(sessions=3)
    assert isinstance(answer(office, 0)[0], Tab)
    office.obey(sessions=0)
    assert all(isinstance(answer(office, index)[0], Tab) for index in (0, 1) * 10)
    office.obey(sessions=24)
    office.settle()
    assert isinstance(answer(office, 1)[0], Tab)
    assert isinstance(answer(office, 0)[0], OverQuota)


def test_who_waits_when_the_limit_is_lifted_comes_in() -> None:
    office = Office(2, sessions=1)
    found = office.enter(0)
    assert not found
    office.obey(sessions=0)
    office.settle()
    assert [isinstance(each, Tab) for each in found] == [True]


def test_too_many_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.quota.account.MAX_WAITING", 3)
    office = Office(2, sessions=100)
    found = [office.enter(0) for _ in range(5)]
    assert [[type(each) for each in some] for some in found] == [[], [], [], *[[OverQuota]] * 2]
    office.settle()
    assert [[type(each) for each in some] for some in found[:3]] == [[Tab]] * 3


def test_what_a_tenant_that_is_gone_held_is_given_back() -> None:
    office = Office(2, sessions=100)
    (tab,) = answer(office, 1)
    assert isinstance(tab, Tab)
    tab.close()
    office.now += 10
    office.ledgers[1].tick(office.now)
    assert A not in office.ledgers[1].accounts
    office.turn(1)
    assert office.lender.lent(A, "sessions") == 0


def test_publishers_and_tracks_are_lent_too() -> None:
    office = Office(2, publishers=1, broadcasts=3, tracks=2, subscribers=1)
    tabs = [answer(office, index)[0] for index in (0, 1)]
    done: list[str] = []

    def watch(tab: Tab) -> None:
        try:
            tab.add_track(office.now)
            done.append("watched")
        except OverQuota:
            done.append("refused")

    for tab in tabs:
        assert isinstance(tab, Tab)
        tab.account.when_known(tab.needs_to_watch(), office.now, lambda tab=tab: watch(tab))  # type: ignore[misc]
        office.settle()
    assert done == ["watched", "refused"]
    first, second = tabs
    assert isinstance(first, Tab)
    assert isinstance(second, Tab)
    assert not first.may_announce(office.now)
    first.account.when_known(first.needs_to_announce(True), office.now, lambda: None)
    office.settle()
    assert first.may_announce(office.now)
    first.announce(office.now)
    first.add_broadcast()
    second.account.when_known(second.needs_to_announce(True), office.now, lambda: None)
    office.settle()
    assert not second.may_announce(office.now)


RATE = 1_000_000
"""Bytes a second."""


def rate_office(count: int) -> tuple[Office, list[Tab]]:
    office = Office(count, egress_bits=8 * RATE, ingress_bits=8 * RATE)
    found = [answer(office, index)[0] for index in range(count)]
    tabs = [tab for tab in found if isinstance(tab, Tab)]
    assert len(tabs) == count
    return office, tabs


def test_a_round_of_sending_ends_before_the_next_report() -> None:
    assert ROUND <= INTERVAL


@pytest.mark.parametrize("count", [2, 3, 8])
def test_what_is_sent_by_all_is_what_one_may_send(count: int) -> None:
    """Everybody sends as much as it may: all together the rate, and each its part."""
    office, tabs = rate_office(count)
    sent = [0] * count
    began = office.now
    for step in range(600):
        office.now = began + step * 0.02
        for index, tab in enumerate(tabs):
            while (room := tab.room(office.now)) > 0:
                tab.sent(min(room, 1200), office.now)
                sent[index] += min(room, 1200)
        office.settle()
        if step % 10 == 0:
            for index in range(count):
                office.turn(index)
        seconds = office.now - began
        assert sum(sent) <= RATE * (seconds + 1 + INTERVAL) + count * 1200
    assert sum(sent) >= RATE * 12 * 0.97
    assert min(sent) > 0.8 * max(sent)


@pytest.mark.parametrize("count", [1, 2])
def test_of_what_was_owed_a_lower_rate_leaves_a_second(count: int) -> None:
    office, tabs = rate_office(count)
    office.settle()
    account = tabs[0].account
    account.send(50 * RATE, office.now)  # one answer over HTTP
    office.obey(egress_bits=8 * 1000)
    office.settle()
    began = office.now
    while tabs[0].room(office.now) <= 0:
        office.now += INTERVAL
        for index in range(count):
            office.turn(index)
        office.settle()
        assert office.now - began <= 2.5


def test_one_that_sends_alone_has_all_of_it_and_another_its_half_soon() -> None:
    office, tabs = rate_office(2)
    sent = [0, 0]
    began = office.now
    marks = []
    for step in range(1000):
        office.now = began + step * 0.02
        for index in (0, 1) if step >= 500 else (0,):
            while (room := tabs[index].room(office.now)) > 0:
                tabs[index].sent(min(room, 1200), office.now)
                sent[index] += min(room, 1200)
        office.settle()
        if step % 10 == 0:
            office.turn(0)
            office.turn(1)
        if step in (100, 499, 525, 999):
            marks.append(tuple(sent))
    alone = (marks[1][0] - marks[0][0]) / (399 * 0.02)
    assert 0.95 * RATE < alone <= 1.05 * RATE
    both = [(marks[3][n] - marks[2][n]) / (474 * 0.02) for n in (0, 1)]
    assert sum(both) <= 1.05 * RATE
    assert min(both) > 0.42 * RATE


def burst(office: Office, tabs: list[Tab]) -> int:
    """Bytes that leave at once, with as many reports as there is a need of."""
    sent = 0
    for _ in range(20):
        for tab in tabs:
            while (room := tab.room(office.now)) > 0:
                tab.sent(min(room, 1200), office.now)
                sent += min(room, 1200)
            office.now += 0.011 / len(tabs)  # past the round
        office.settle()
    return sent


@pytest.mark.parametrize("senders", [1, 4])
def test_after_a_rest_one_second_of_it_may_leave_at_once(senders: int) -> None:
    office, tabs = rate_office(4)
    for busy in (True, False, False):
        for _ in range(10):
            if busy:
                burst(office, tabs[:1])
            office.now += INTERVAL
            for index in range(4):
                office.turn(index)
    sent = burst(office, tabs[:senders])
    assert sent <= RATE * (1 + INTERVAL + 0.22) + 4 * 1200
    assert sent >= RATE * (1 - 0.375 * (senders == 1))


def test_who_stops_sending_gives_back_what_it_has() -> None:
    office, tabs = rate_office(2)
    for _ in range(50):
        tabs[0].sent(100_000, office.now)
        office.now += 0.1
        office.settle()
        office.turn(0)
    office.now += 2.0
    for _ in range(3):
        office.turn(0)
        office.turn(1)
        office.now += INTERVAL
    kept = [tab.account.purses["egress_bits"].cells for tab in tabs]
    assert kept == [pytest.approx(RATE / 4)] * 2


def test_what_comes_in_is_stopped_when_all_have_had_it() -> None:
    office, tabs = rate_office(2)
    began, taken = office.now, 0
    for step in range(500):
        office.now = began + step * 0.01
        for tab in tabs:
            if tab.account.may_receive(office.now) and tab.account.receive(10_000, office.now):
                taken += 10_000
        office.settle()
        if step % 20 == 0:
            office.turn(0)
            office.turn(1)
        assert taken <= RATE * (office.now - began + 1 + INTERVAL) + 20_000
    assert taken >= RATE * 5


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 10),
    st.lists(st.tuples(st.integers(0, 2), st.floats(0, 0.4)), min_size=1, max_size=120),
)
def test_new_sessions_a_second(rate: int, comings: list[tuple[int, float]]) -> None:
    office = Office(3, sessions_per_second=rate)
    came: list[float] = []
    first_at = office.now + comings[0][1]
    for index, gap in comings:
        office.now += gap
        office.turn(index)
        if isinstance(answer(office, index)[0], Tab):
            came.append(office.now)
    assert came[0] == first_at
    for first in range(len(came)):
        for last in range(first, len(came)):
            most = rate + (came[last] - came[first]) * rate + rate * INTERVAL
            assert last - first + 1 <= most + 1e-6


def test_a_burst_of_new_sessions_comes_in_where_it_comes() -> None:
    office = Office(4, sessions_per_second=5)
    for index in (2, 2, 2, 1, 2):
        assert isinstance(answer(office, index)[0], Tab)
    (error,) = answer(office, 2)
    assert isinstance(error, OverQuota)
    assert 0.0 < error.wait <= 1.0


def test_cached_bytes_are_split_evenly() -> None:
    office = Office(3, cached_bytes=100)
    assert [ledger.cache_limit(A) for ledger in office.ledgers] == [34] * 3
    with pytest.raises(OverQuota):
        office.ledgers[0].account(A).require_room(35, office.now)


def test_without_limits_nothing_is_told() -> None:
    office = Office(2)
    for index in (0, 1):
        assert isinstance(answer(office, index)[0], Tab)
    for index in (0, 1):
        report = office.borrowers[index].report()
        assert (report["counts"], report["rates"]) == ({}, {})


def fill(office: Office, index: int, count: int) -> None:
    """So many sessions there."""
    assert all(isinstance(answer(office, index)[0], Tab) for _ in range(count))


def test_what_somebody_held_who_died_is_free_before_a_successor_speaks() -> None:
    office = Office(3, sessions=6)
    fill(office, 1, 4)
    fill(office, 0, 2)
    assert isinstance(answer(office, 0)[0], OverQuota)
    late = over_wire(office.borrowers[1].report())
    office.lender.lost(1, office.borrowers[1].life)
    # What it said last and is still on its way makes it hold nothing again.
    told, _ = office.lender.hear(1, late, office.now)
    assert told["is_stale"]
    office.lender.recalled(1, over_wire(office.borrowers[1].recall({A: ["sessions"]})))
    office.now += PATIENCE
    fill(office, 2, 4)
    assert isinstance(answer(office, 0)[0], OverQuota)


def test_who_dies_while_others_give_something_up_for_it_is_lent_nothing() -> None:
    office = Office(2, sessions=8)
    fill(office, 0, 1)
    for _ in range(8):
        office.enter(1)
    said, short = office.lender.hear(1, over_wire(office.borrowers[1].report()), 0.0)
    assert list(office.lender.holders(1, short)) == [0]
    office.lender.recalled(0, over_wire(office.borrowers[0].recall({A: ["sessions"]})))
    office.lender.lost(1, office.borrowers[1].life)
    office.lender.again(1, said, short)
    assert office.lender.lent(A, "sessions") == 1


def test_that_somebody_died_says_nothing_of_a_successor_that_has_spoken() -> None:
    office = Office(2, sessions=4)
    before = office.borrowers[1].life
    office.ledgers[1] = Ledger(office.limits, 2)
    office.ledgers[1].pressed = lambda: office.press(1)
    office.borrowers[1] = Borrower(office.ledgers[1])
    office.turn(1)
    fill(office, 1, 4)
    office.lender.lost(1, before)
    assert isinstance(answer(office, 0)[0], OverQuota)


def test_a_new_lender_waits_for_nobody_who_died() -> None:
    office = Office(2, sessions=4)
    office.lender = Lender(lambda: office.limits, 2)
    office.turn(0)
    office.turn(0)  # now it says all, to somebody new
    assert not office.lender.is_ready
    office.lender.lost(1, office.borrowers[1].life)
    assert office.lender.is_ready


@pytest.mark.parametrize("part", [0.1, 3])
def test_another_rate_is_lent_from_then_on(part: float) -> None:
    office, tabs = rate_office(2)
    office.obey(egress_bits=int(8 * RATE * part))
    sent, began = 0, office.now
    for step in range(300):
        office.now = began + step * 0.02
        for tab in tabs:
            while (room := tab.room(office.now)) > 0:
                tab.sent(min(room, 1200), office.now)
                sent += min(room, 1200)
        office.settle()
        if step % 10 == 0:
            office.turn(0)
            office.turn(1)
    rate, seconds = RATE * part, office.now - began
    # One second's worth of the rate before may be at hand.
    assert 0.9 * rate * seconds <= sent <= rate * (seconds + 1 + INTERVAL) + RATE + 2400


def test_what_a_worker_gave_up_in_another_life_says_nothing_of_this_one() -> None:
    office = Office(2, sessions=4)
    late = over_wire(office.borrowers[1].recall({A: ["sessions"]}))
    office.ledgers[1] = Ledger(office.limits, 2)
    office.ledgers[1].pressed = lambda: office.press(1)
    office.borrowers[1] = Borrower(office.ledgers[1])
    office.turn(1)
    fill(office, 1, 4)
    office.lender.recalled(1, late)
    assert office.lender.lent(A, "sessions") == 4
    report = over_wire(office.borrowers[1].report())
    assert not office.lender.hear(1, report, office.now)[0]["is_stale"]


def test_whoever_is_gone_leaves_nothing_behind_with_the_lender() -> None:
    office = Office(2, sessions=4, sessions_per_second=100, egress_bits=8 * RATE)
    (tab,) = answer(office, 1)
    assert isinstance(tab, Tab)
    tab.sent(1000, office.now)
    for _ in range(2):
        office.turn(1)
    assert office.lender._held
    assert office.lender._flows
    tab.close()
    for _ in range(4):
        office.now += 10
        office.ledgers[1].tick(office.now)
        for index in (0, 1):
            office.turn(index)
    assert office.lender._held == {}
    assert office.lender._flows == {}


def test_what_nobody_limits_any_more_is_not_kept_by_the_lender() -> None:
    office, tabs = rate_office(2)
    tabs[0].sent(1000, office.now)
    office.turn(0)
    assert office.lender._flows
    office.obey(egress_bits=0, ingress_bits=0)
    office.now += 10
    office.turn(0)
    assert office.lender._flows == {}
