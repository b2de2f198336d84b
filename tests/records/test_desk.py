"""The desk beside the door: facts, tickets, uses, and what happens when somebody is late."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

import relay.records.desk
import relay.records.scribe
from relay.auth.certificate import Certificate
from relay.auth.credentials import (
    MIN_ITERATIONS,
    make_key,
    make_moose_key,
    make_token,
    secret_digest,
)
from relay.auth.decide import Decision, Request, decide
from relay.auth.facts import Facts, StoredToken
from relay.auth.grant import Grant
from relay.auth.keys import KeySet, generate
from relay.auth.mint import Claims, sign
from relay.auth.revocation import Revocation
from relay.auth.settings import AuthSettings
from relay.errors import BadRequest
from relay.path import Path
from relay.records.audit import Fact
from relay.records.desk import Desk
from relay.records.memory import MemoryRecords
from relay.records.office import Operator
from relay.records.opening import open_records
from relay.records.settings import RecordsSettings
from relay.records.store import StoreError

WHO = Operator("test")
NOW = time.time()
API, MOOSE, TOKEN = make_key(MIN_ITERATIONS), make_moose_key(), make_token()
AUTH = AuthSettings.model_validate(
    {
        "api_keys": {
            "api": {"hash": str(API.hash), "root": "plant", "publish": ""},
            "moose": {"hash": str(MOOSE.hash), "root": "plant", "publish": ""},
        }
    }
)
KEY = generate("HS256", "k1")
STORED = StoredToken(
    TOKEN.prefix, secret_digest(TOKEN.secret), "cam", Path("plant"), subscribe=(Path(""),)
)


def no_log(event: str, **facts: object) -> None:
    """Nobody listens."""


def desk(records: MemoryRecords | None = None, **settings: float) -> Desk:
    return Desk(records or MemoryRecords(), AUTH, no_log, RecordsSettings(**settings), lambda: NOW)


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def awaited() -> None:
        await scenario()

    asyncio.run(awaited())


def judge(request: Request, facts: Facts) -> Decision:
    return decide(request, KeySet((KEY,)), AUTH, NOW, facts)


def test_a_jwt_waits_for_nothing() -> None:
    token = sign(Claims(root=Path("demo"), get=(Path(""),), sub="bob"), KEY)
    request = Request(f"/demo?jwt={token}")
    certificate = Certificate("ab" * 32, NOW + 5)

    async def scenario() -> None:
        at = desk()
        facts = at.facts_at_once(request, certificate)
        assert facts is not None
        assert facts.certificate == certificate
        assert judge(request, facts)
        assert facts == await at.facts(request, certificate)
        await at.office.revoke(WHO, Revocation("sub", "bob"))
        assert judge(request, facts).reason.code == "revoked"
        assert at.facts_at_once(Request("/demo")) is not None

    run(scenario)


@pytest.mark.parametrize("bearer", [API.bearer, MOOSE.bearer], ids=["ours", "moose"])
def test_an_api_key(bearer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request("/plant", bearer=bearer)

    async def scenario() -> None:
        at = desk()
        assert at.facts_at_once(request) is None
        facts = await at.facts(request)
        assert judge(request, facts)
        monkeypatch.setattr(relay.records.desk, "derive", None)
        known = at.facts_at_once(request)
        assert known is not None
        assert judge(request, known)
        wrong = replace(request, bearer=f"x{bearer}")
        assert at.facts_at_once(wrong) is None
        assert judge(wrong, await at.facts(wrong)).reason.code == "bad_api_key"
        assert at.facts_at_once(wrong) is None

    run(scenario)


def test_an_api_token_and_its_use(address: str | None) -> None:
    request = Request(f"/plant?jwt={TOKEN}")

    async def scenario() -> None:
        records = await open_records(address)
        at = Desk(records, AUTH, no_log, wall=lambda: NOW)
        assert judge(request, await at.facts(request)).reason.code == "unknown_token"
        await records.add_token(STORED)
        decision = judge(request, await at.facts(request))
        assert decision.grant is not None
        at.admitted(decision.grant)
        found = await records.find_token(TOKEN.prefix)
        assert found == STORED
        await at.write_uses()
        assert await records.find_token(TOKEN.prefix) == replace(STORED, last_used=NOW)
        await records.revoke_token(TOKEN.prefix, NOW)
        await at.feed.refresh()
        entry = at.feed.index.check(decision.grant.holder, NOW)
        assert entry is not None
        assert judge(request, await at.facts(request)).reason.code == "revoked"
        await at.close()

    run(scenario)


def test_a_ticket_is_for_once(address: str | None) -> None:
    grant = Grant(Path("demo"), (Path("a"),), (), NOW + 500, "alice", "k1", "t1")
    grant = replace(grant, tenant="acme", home="demo")

    async def scenario() -> None:
        at = Desk(await open_records(address), AUTH, no_log, wall=lambda: NOW)
        ticket = await at.make_ticket(grant)
        assert ticket.expires == NOW + 30
        request = Request(f"/demo?ticket={ticket.text}")
        assert at.facts_at_once(request) is None
        assert judge(request, await at.facts(request)).grant == grant
        assert judge(request, await at.facts(request)).reason.code == "bad_ticket"
        again = await at.make_ticket(grant)
        request = Request(f"/demo?ticket={again.text}")
        spent = await at.facts(request)
        await at.give_back(request, spent)
        await at.give_back(request, await at.facts(Request("/demo?ticket=" + "a" * 43)))
        assert judge(request, await at.facts(request)).grant == grant
        assert judge(request, await at.facts(request)).reason.code == "bad_ticket"
        at._wall = lambda: NOW + 30
        await at.give_back(request, spent)
        at._wall = lambda: NOW
        assert judge(request, await at.facts(request)).reason.code == "bad_ticket"
        short = await at.make_ticket(replace(grant, expires=NOW + 5))
        assert short.expires == NOW + 5
        with pytest.raises(BadRequest):
            await at.make_ticket(replace(grant, anonymous=True))
        await at.close()

    run(scenario)


class Slow(MemoryRecords):
    """A store that is busy, or broken."""

    delay = 0.0
    broken = False

    async def find_token(self, prefix: str) -> StoredToken | None:
        await asyncio.sleep(self.delay)
        if self.broken:
            raise StoreError("asleep")
        return STORED


def test_a_store_that_does_not_answer_refuses() -> None:
    request = Request(f"/plant?jwt={TOKEN}")

    async def scenario() -> None:
        records = Slow()
        at = desk(records, timeout=0.05, max_lookups=2)
        assert judge(request, await at.facts(request))
        records.broken = True
        decision = judge(request, await at.facts(request))
        assert (decision.reason.code, decision.reason.text) == ("unavailable", "asleep")
        records.delay = 1.0
        answers = await asyncio.gather(*(at.facts(request) for _ in range(3)))
        told = [facts.unavailable for facts in answers]
        assert [text.count("records.timeout") for text in told] == [1, 1, 0]
        assert "records.max_lookups" in told[2]
        assert not any(judge(request, facts) for facts in answers)
        assert judge(request, answers[0]).status == 503
        records.delay, records.broken = 0.0, False
        assert judge(request, await at.facts(request))

    run(scenario)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_timeout_leaves_the_real_store_usable(lasting: str) -> None:
    request = Request(f"/plant?jwt={TOKEN}")

    async def scenario() -> None:
        records = await open_records(lasting)
        await records.add_token(STORED)
        at = Desk(records, AUTH, no_log, RecordsSettings(timeout=0.0001), wall=lambda: NOW)
        for _ in range(10):
            assert (await at.facts(request)).unavailable
        patient = Desk(records, AUTH, no_log, wall=lambda: NOW)
        assert judge(request, await patient.facts(request))
        await at.close()

    run(scenario)
    # Who gave up while SQLite's file was being opened leaves that to the garbage collector, of
    # which Python warns from 3.13 on: here, and not in whichever test comes next.
    gc.collect()


def test_too_long_without_news() -> None:
    token = sign(Claims(root=Path("demo"), get=(Path(""),)), KEY)

    async def scenario() -> None:
        at = desk(max_stale=5.0)
        ticket = await at.make_ticket(Grant(Path("demo"), (Path("a"),)))
        asked = Request(f"/demo?ticket={ticket.text}")
        assert judge(asked, await at.facts(asked)).status == 503
        decision = judge(Request(f"/demo?jwt={token}"), await at.facts(Request("/demo")))
        assert (decision.reason.code, decision.status) == ("unavailable", 503)
        await at.feed.refresh()
        assert judge(Request(f"/demo?jwt={token}"), await at.facts(Request("/demo")))
        assert judge(asked, await at.facts(asked))

    run(scenario)


def test_the_store_forgets_nothing_by_a_clock_that_was_set_ahead_just_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay.records.desk, "USES_SECONDS", 0.02)
    monkeypatch.setattr(relay.records.desk, "FORGET_SECONDS", 0.0)
    wall, times = [NOW], []

    class Tidy(MemoryRecords):
        async def forget(self, now: float) -> None:
            times.append(now)

    async def scenario() -> None:
        at = Desk(Tidy(), AUTH, lambda event, **facts: None, wall=lambda: wall[0])
        wall[0] += 86_400 * 365
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(at.run())
            async with asyncio.timeout(20):
                while len(times) < 2:
                    await asyncio.sleep(0.01)
            task.cancel()
        assert max(times) < NOW + 30
        await at.close()

    run(scenario)


def test_no_entry_grows_old_by_a_clock_that_was_set_ahead_just_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay.records.scribe, "PRUNE_SECONDS", 0.0)
    wall = [NOW]

    async def scenario() -> None:
        records = MemoryRecords()
        at = Desk(records, AUTH, no_log, wall=lambda: wall[0])
        await at.scribe.write(Fact("revoke"))
        wall[0] += 86_400 * 365
        await at.scribe.prune()
        assert [entry.action for entry in await records.audit.after(0, 9)] == ["revoke"]
        await at.close()

    run(scenario)


def test_it_lives_and_lets_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay.records.desk, "USES_SECONDS", 0.02)
    monkeypatch.setattr(relay.records.desk, "FORGET_SECONDS", 0.0)
    told: list[str] = []

    class Tidy(MemoryRecords):
        forgotten = 0

        async def forget(self, now: float) -> None:
            self.forgotten += 1
            if self.forgotten == 1:
                raise StoreError("asleep")

    async def scenario() -> None:
        records = Tidy()
        await records.add_token(STORED)
        at = Desk(records, AUTH, lambda event, **facts: told.append(event), wall=lambda: NOW)
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(at.run())
            at.admitted(Grant(Path(""), jti=STORED.id, credential="token"))
            at.admitted(Grant(Path(""), jti="t1", credential="jwt"))
            async with asyncio.timeout(20):
                while records.forgotten < 3:
                    await asyncio.sleep(0.01)
            task.cancel()
        assert told == ["warning"]
        found = await records.find_token(TOKEN.prefix)
        assert found is not None
        assert found.last_used == NOW
        await at.close()

    run(scenario)


def test_uses_are_not_lost_while_the_store_is_silent() -> None:
    class Silent(MemoryRecords):
        silent = True

        async def mark_used(self, uses: object) -> None:
            if self.silent:
                raise StoreError("asleep")
            self.seen = uses

    async def scenario() -> None:
        records = Silent()
        at = desk(records)
        at.admitted(Grant(Path(""), jti="mq_a", credential="token"))
        with pytest.raises(StoreError):
            await at.write_uses()
        records.silent = False
        await at.write_uses()
        assert records.seen == {"a": NOW}

    run(scenario)
