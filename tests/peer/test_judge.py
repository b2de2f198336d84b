"""The judge: what every way in is decided by, and how long what was decided holds."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from relay.auth.credentials import make_ticket
from relay.auth.decide import Decision, Request
from relay.auth.facts import NO_FACTS, Facts
from relay.auth.grant import Grant
from relay.auth.keys import KeySet
from relay.auth.reason import Reason
from relay.auth.revocation import Revocation
from relay.auth.settings import AuthSettings
from relay.errors import Unauthorized
from relay.model.origin import Origin
from relay.path import Path
from relay.peer.house import House
from relay.peer.judge import Judge
from relay.peer.judgement import Judgement, NoClerk, Rules
from relay.peer.refusing import Pending
from relay.session.transport import Knock

NOW = 1_800_000_000.0
ANON = Request("/anon", transport="quic")
KNOCK = Knock("quic", "/anon", (), ("192.0.2.1", 1))


class Loan:
    """A grant of somebody else's, and why it was over."""

    def __init__(self) -> None:
        self.ended: list[str] = []

    def begin(self, changed: Any, over: Any) -> None:
        raise AssertionError("no session begins here")

    def end(self, reason: str) -> None:
        self.ended.append(reason)


class Lender:
    """An authority that lets everybody in, and remembers by what it was asked."""

    def __init__(self) -> None:
        self.loan = Loan()
        self.asked: list[tuple[Request, Knock, Facts]] = []

    async def ask(self, request: Request, knock: Knock, facts: Facts) -> tuple[Decision, Loan]:
        self.asked.append((request, knock, facts))
        grant = Grant(Path("demo"), (Path(""),))
        return Decision(True, grant, (), Reason("allowed", ""), 200), self.loan


class Archivist(NoClerk):
    """A clerk who never knows anything at once."""

    def at_once(self, request: Any, certificate: Any) -> None:
        return None

    async def gather(self, request: Any, certificate: Any) -> Facts:
        return NO_FACTS


class Taker(Archivist):
    """A clerk who spends a ticket by looking, and remembers which were given back."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.given_back: list[Facts] = []

    async def gather(self, request: Any, certificate: Any) -> Facts:
        return self.facts

    async def give_back(self, request: Any, facts: Facts) -> None:
        self.given_back.append(facts)


TICKET = Facts(ticket=Grant(Path("anon"), (Path(""),), expires=int(NOW + 30), exchanged=NOW))
"""What a good one shows."""


class Court:
    """A judge whose decisions wait until `proceed`, and what was kept of them."""

    def __init__(self) -> None:
        self.wall = NOW
        self.kept: list[str] = []
        house = House(
            Origin(99),
            lambda: 0.0,
            audit=lambda action, **facts: self.kept.append(action),
        )
        rules = Rules(KeySet(()), AuthSettings(public="anon"))
        self.judge = Judge(house, rules, lambda: self.wall)
        self.waiting: list[Coroutine[Any, Any, None]] = []
        self.judge.spawn = self.waiting.append
        self.told: list[Judgement] = []

    def come(self, request: Request = ANON) -> Pending:
        pending = Pending("id", request, "192.0.2.1:1")
        self.judge.decide_on(pending, KNOCK, self.told.append)
        return pending

    def proceed(self) -> None:
        (work,) = self.waiting
        asyncio.run(work)


def test_who_needs_nothing_looked_up_is_judged_at_once() -> None:
    court = Court()
    court.come()
    (judgement,) = court.told
    assert judgement.grant is not None
    assert (judgement.id, judgement.loan, court.kept) == ("id", None, [])  # not in yet
    assert court.waiting == []


@pytest.mark.parametrize("who", ["clerk", "authority"])
def test_who_has_to_wait_is_judged_once_and_as_anybody_else(who: str) -> None:
    court = Court()
    if who == "clerk":
        court.judge.clerk = Archivist()
    else:
        court.judge.authority = Lender()
    court.come()
    assert court.told == []
    court.proceed()
    (judgement,) = court.told
    assert judgement.grant is not None
    assert court.kept == []  # not in yet


def test_who_was_given_up_meanwhile_is_neither_let_in_nor_noted_and_the_lender_is_told() -> None:
    court = Court()
    court.judge.authority = lender = Lender()
    pending = court.come()
    pending.is_given_up = True
    court.proceed()
    assert (court.told, court.kept, lender.loan.ended) == ([], [], ["given up"])


@pytest.mark.parametrize(
    ("facts", "given_up", "status", "back"),
    [
        (TICKET, False, 200, 0),
        (TICKET, True, 0, 1),
        (replace(TICKET, unavailable="no answer"), False, 503, 1),
        (replace(TICKET, unavailable="no answer"), True, 0, 1),
        (replace(TICKET, revoked=lambda holder, now: Revocation("sub", "a")), False, 401, 0),
    ],
)
def test_a_ticket_is_given_back_where_nothing_but_an_answer_was_missing(
    facts: Facts, given_up: bool, status: int, back: int
) -> None:
    court = Court()
    court.judge.clerk = clerk = Taker(facts)
    court.come(Request(f"/anon?ticket={make_ticket()}", transport="quic")).is_given_up = given_up
    court.proceed()
    assert [each.decision.status for each in court.told] == ([status] if status else [])
    assert clerk.given_back == [facts] * back


def test_a_ticket_is_given_back_where_there_was_no_room_for_its_bearer() -> None:
    court = Court()
    court.judge.clerk = clerk = Taker(TICKET)
    court.come(Request(f"/anon?ticket={make_ticket()}", transport="quic"))
    court.proceed()
    (judgement,) = court.told
    assert clerk.given_back == []
    court.waiting.clear()
    judgement.forgo("over_quota")
    court.proceed()
    assert clerk.given_back == [TICKET]


def test_what_a_request_was_lent_ends_with_its_answer() -> None:
    court = Court()
    court.judge.authority = lender = Lender()

    async def answer() -> None:
        bearing = Request("/anon", bearer="a.b.c", transport="http")
        judgement = await court.judge.consider(bearing, "192.0.2.1")
        assert judgement.grant is not None
        assert lender.loan.ended == []

    asyncio.run(answer())
    assert lender.loan.ended == ["done"]
    ((_, knock, _),) = lender.asked
    assert knock.headers == {"authorization": "Bearer a.b.c"}


def test_facts_that_were_seen_are_not_gathered_again() -> None:
    court = Court()
    court.judge.clerk = Archivist()
    court.judge.authority = lender = Lender()
    seen = Facts()
    asyncio.run(court.judge.consider(ANON, "192.0.2.1", seen))
    assert lender.asked[0][2] is seen


@pytest.mark.parametrize("how", ["struck", "ended", "nothing"])
def test_a_grant_that_waits_may_be_taken_back(how: str) -> None:
    court = Court()
    held = court.judge.hold(Grant(Path("demo"), expires=int(NOW + 5)), "id", "192.0.2.1")
    other = court.judge.hold(Grant(Path("other")), "id2", "192.0.2.1")
    if how == "struck":
        court.judge.strike(lambda grant: "gone" if grant.root == "demo" else None)
    elif how == "ended":
        court.wall += 5
    court.judge.require(other)
    if how == "nothing":
        court.judge.require(held)
        assert court.judge.refusals.counts == {}
        return
    with pytest.raises(Unauthorized):
        court.judge.require(held)
    assert court.judge.refusals.counts == {"revoked": 1}
