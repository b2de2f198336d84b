"""One worker's side of shared limits: what it tells, and what becomes of those who wait."""

from __future__ import annotations

from typing import Any

from relay.quota import Borrower, Ledger, Limits, QuotaSettings, Tab
from relay.quota.portion import COUNTS, PATIENCE

A = "a"


def bench(**quota: int) -> tuple[Ledger, Borrower, list[BaseException]]:
    """A worker of two, told that the lender has nothing yet."""
    escaped: list[BaseException] = []
    ledger = Ledger(Limits(QuotaSettings(**quota)), 2)
    borrower = Borrower(ledger, escaped.append)
    settle(borrower)
    settle(borrower)
    return ledger, borrower, escaped


def settle(
    borrower: Borrower,
    counts: dict[str, dict[str, list[int]]] | None = None,
    rates: dict[str, dict[str, list[float]]] | None = None,
    now: float = 0.0,
    **more: Any,
) -> dict[str, Any]:
    """A report and its answer; what was reported."""
    report = borrower.report()
    answer = {"lender": "L", "turn": report["turn"], "is_stale": False, "is_ready": True}
    borrower.settle(answer | {"counts": counts or {}, "rates": rates or {}} | more, now)
    return report


def test_what_has_not_changed_is_told_once() -> None:
    ledger, borrower, _ = bench(sessions=5)
    ledger.account(A)
    kinds = settle(borrower, {A: {"sessions": [2, 0]}})["counts"]
    assert kinds == {A: {"sessions": [0, 0]}}
    assert settle(borrower)["counts"] == {}
    borrower.fail(0.0)  # it may not have been heard
    assert settle(borrower)["counts"] == {A: {"sessions": [2, 0]}}


def test_an_answer_that_may_be_old_has_everything_told_again() -> None:
    ledger, borrower, _ = bench(sessions=5)
    ledger.account(A)
    settle(borrower, {A: {"sessions": [2, 0]}})
    settle(borrower, {A: {"sessions": [2, 0]}}, turn=40, is_stale=True)
    portion = ledger.accounts[A].portion
    assert portion is not None
    assert portion.held["sessions"] == 2, "an old answer lends nothing"
    report = settle(borrower)
    assert report["turn"] == 41, "later than what the lender has heard"
    assert report["counts"] == {A: {"sessions": [2, 0]}}


def test_a_tenant_that_is_gone_is_given_back_once() -> None:
    ledger, borrower, _ = bench(sessions=5, egress_bits=8000)
    ledger.account(A)
    settle(borrower, {A: {"sessions": [2, 0]}})
    ledger.tick(100.0)
    assert A not in ledger.accounts
    report = settle(borrower)
    assert report["counts"] == {A: {kind: [0, 0] for kind in COUNTS}}
    assert report["rates"][A]["egress_bits"] == [0.0, 0.0, 1.0, 0.0]
    assert settle(borrower)["counts"] == {}


def test_of_a_tenant_that_is_not_here_nothing_is_held() -> None:
    _, borrower, _ = bench(sessions=5)
    assert borrower.recall({A: ["sessions", "tracks"]})["held"] == {A: {"sessions": 0, "tracks": 0}}


def test_trouble_of_one_who_waited_is_not_the_others() -> None:
    ledger, borrower, escaped = bench(sessions=5)
    came: list[Tab] = []

    def broken() -> None:
        raise ZeroDivisionError

    account = ledger.account(A)
    for go in (broken, lambda: came.append(ledger.enter(A, 0.0))):
        account.when_known(("sessions",), 0.0, go)
    assert settle(borrower, {A: {"sessions": [2, 2]}})["counts"] == {A: {"sessions": [0, 2]}}
    assert [type(error) for error in escaped] == [ZeroDivisionError]
    assert len(came) == 1


def test_who_waits_goes_on_when_answers_fail_for_too_long() -> None:
    ledger, borrower, _ = bench(sessions=5)
    went: list[str] = []
    ledger.account(A).when_known(("sessions",), 0.0, lambda: went.append("on"))
    borrower.fail(PATIENCE / 2)
    assert went == []
    borrower.fail(PATIENCE)
    assert went == ["on"]


def test_that_there_is_no_more_is_known_until_there_is() -> None:
    ledger, borrower, _ = bench(sessions=5)
    account, needs = ledger.account(A), ("sessions",)
    settle(borrower, {A: {"sessions": [0, 1]}})
    assert not account.lacks(needs, 0.0), "it was asked for in vain just now"
    settle(borrower, {A: {"sessions": [0, 1]}}, is_ready=False)
    assert account.lacks(needs, 0.0), "the lender does not know yet"
    settle(borrower, {A: {"sessions": [1, 1]}})
    ledger.enter(A, 0.0)
    assert account.lacks(needs, 0.0)


def test_whoever_waits_to_send_is_woken_by_what_is_lent() -> None:
    ledger, borrower, _ = bench(egress_bits=80_000)
    settle(borrower)
    tab, woken = ledger.enter(A, 0.0), list[float]()
    tab.wake = lambda: woken.append(1)
    tab.sent(50_000, 0.0)
    assert tab.room(0.0) == 0
    (moved,) = settle(borrower, rates={A: {"ingress_bits": [5.0, 1]}})["rates"].values()
    assert moved["egress_bits"][2] == 1, "one session waits"
    assert woken == []
    settle(borrower, rates={A: {"egress_bits": [0.0, 0]}})
    assert woken == []
    settle(borrower, rates={A: {"egress_bits": [60_000.0, 0]}})
    assert woken == [1]
    assert tab.room(0.0) > 0
