"""What every store must do, memory, SQLite and PostgreSQL alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path as Folder

import pytest
from aiosqlite import Cursor

import relay.records.memory
import relay.records.sql
from relay.auth.facts import StoredToken
from relay.auth.grant import Grant
from relay.auth.revocation import Revocation, outliving
from relay.errors import BadRequest, LimitExceeded
from relay.path import Path
from relay.records.store import KEEP_ENDED, KEEP_WITHDRAWN, Records, StoreError
from stores import run

NOW = 1500.0
GRANT = Grant(
    Path("demo"),
    (Path("a"), Path("b")),
    (Path(""),),
    NOW + 0.5,
    "alice",
    "k1",
    "t1",
    tenant="demo",
    issued=5.0,
    credential="token",
    decrypt=("pii",),
    parent_kids=("k0", "own"),
)


def test_tokens(address: str | None, token: StoredToken) -> None:
    async def scenario(store: Records) -> None:
        assert await store.find_token(token.prefix) is None
        await store.add_token(token)
        assert await store.find_token(token.prefix) == token
        assert await store.find_token(token.prefix.lower()) is None
        bare = StoredToken("zzz", "1" * 64, "bare")
        await store.add_token(bare)
        assert await store.tokens() == [token, bare]
        assert await store.tokens(limit=1) == [token]
        assert await store.tokens(after=token.prefix) == [bare]
        with pytest.raises(BadRequest, match=f"an API token {token.id} already"):
            await store.add_token(replace(token, name="other"))
        assert await store.find_token(token.prefix) == token

    run(address, scenario)


def test_uses(address: str | None, token: StoredToken) -> None:
    async def scenario(store: Records) -> None:
        await store.add_token(token)
        for uses, expected in (
            ({}, None),
            ({token.prefix: 5.5, "nobody": 6.0}, 5.5),
            ({token.prefix: 4.0}, 5.5),
            ({token.prefix: 7.0}, 7.0),
        ):
            await store.mark_used(uses)
            found = await store.find_token(token.prefix)
            assert found is not None
            assert found.last_used == expected

    run(address, scenario)


def test_revoked_tokens(address: str | None, token: StoredToken) -> None:
    async def scenario(store: Records) -> None:
        assert await store.revoke_token("nobody", NOW) is None
        assert await store.changes(0) == []
        await store.add_token(token)
        entry = await store.revoke_token(token.prefix, NOW, "lost")
        assert entry is not None
        revoked = replace(token, revoked=NOW)
        assert await store.find_token(token.prefix) == revoked
        assert (entry.dimension, entry.value, entry.expires, entry.reason) == (
            *("jti", token.id, outliving(token.expires), "lost"),
        )
        assert [change.entry for change in await store.changes(0)] == [entry]
        assert await store.revoke_token(token.prefix, NOW + 5)
        assert await store.find_token(token.prefix) == revoked

    run(address, scenario)


def test_revocations(address: str | None) -> None:
    async def scenario(store: Records) -> None:
        first = await store.revoke(Revocation("sub", "bób", 5.5, NOW + 10, "why"), NOW)
        second = await store.revoke(Revocation("all", issued_before=NOW), NOW + 1)
        assert first == Revocation("sub", "bób", 5.5, NOW + 10, "why", NOW, first.id)
        assert second.id > first.id
        assert await store.revocations(NOW) == [first, second]
        assert await store.revocations(NOW, after=first.id) == [second]
        assert await store.revocations(NOW + 10) == [second]
        with pytest.raises(BadRequest, match="time of issue"):
            await store.revoke(Revocation("all"), NOW)
        assert len(await store.changes(0)) == 2

    run(address, scenario)


def test_what_is_revoked_again_is_renewed(address: str | None) -> None:
    async def scenario(store: Records) -> None:
        first = await store.revoke(Revocation("sub", "bob", expires=NOW + 10, reason="why"), NOW)
        other = await store.revoke(Revocation("sub", "bob", 5.5, NOW + 10), NOW)
        again = await store.revoke(Revocation("sub", "bob", expires=NOW + 10), NOW + 5)
        assert again == replace(first, created=NOW + 5)
        early = await store.revoke(replace(again, id=0, created=NOW + 1, reason="lost"), NOW + 6)
        assert early == replace(again, reason="lost")
        assert await store.revocations(NOW + 6) == [early, other]
        heard = replace(early, id=0, created=NOW + 7)
        done = await asyncio.gather(*(store.adopt(heard, NOW + 7) for _ in range(3)))
        assert sorted(done) == [False, False, True]
        assert await store.revocations(NOW + 7) == [replace(heard, id=first.id), other]
        changes = [change.entry.id for change in await store.changes(0)]
        assert changes == [other.id, first.id]
        assert await store.withdraw(first.id, NOW + 8)
        assert await store.revocations(NOW + 8) == [other]
        anew = await store.revoke(Revocation("sub", "bob", expires=NOW + 10), NOW + 9)
        assert anew.id > other.id

    run(address, scenario)


def test_revoking_at_once_is_revoking_once(address: str | None) -> None:
    async def scenario(store: Records) -> None:
        entry = Revocation("all", issued_before=5.5)
        done = await asyncio.gather(*(store.revoke(entry, NOW + n) for n in range(4)))
        assert len({each.id for each in done}) == 1
        (kept,) = await store.revocations(NOW)
        assert kept.created == NOW + 3

    run(address, scenario)


def test_what_was_revoked_elsewhere_is_kept_once_however_many_hear_of_it(
    address: str | None,
) -> None:
    said = Revocation("sub", "bob", issued_before=5.5, expires=NOW + 10, created=NOW - 5)

    async def scenario(store: Records) -> None:
        ended = await store.revoke(replace(said, expires=NOW - 1), NOW - 2)
        done = await asyncio.gather(*(store.adopt(said, NOW) for _ in range(4)))
        assert sorted(done) == [False, False, False, True]
        (kept,) = await store.revocations(NOW)
        assert kept == replace(said, id=kept.id)
        assert [change.entry for change in await store.changes(0)] == [ended, kept]
        for other, is_new in (
            (replace(said, issued_before=5.0, expires=NOW + 9), False),
            (replace(said, value="ann"), True),
            (replace(said, expires=NOW + 11), True),
            (replace(said, issued_before=6.0), True),
            (replace(said, issued_before=None, expires=None), True),
            (replace(said, issued_before=9.0, expires=None), False),
        ):
            assert await store.adopt(other, NOW) is is_new, other
        for each in await store.revocations(NOW):
            assert await store.withdraw(each.id, NOW)
        assert await store.adopt(said, NOW)

    run(address, scenario)


def test_a_text_that_no_server_can_hold_is_refused_for_good(postgres: Callable[[], str]) -> None:
    async def scenario(store: Records) -> None:
        with pytest.raises(BadRequest, match="cannot hold"):
            await store.adopt(Revocation("sub", "a\0b"), NOW)

    run(postgres(), scenario)


def test_a_store_without_memory_does_not_answer_and_does_later(
    tmp_path: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_memory(cursor: Cursor, *statement: object) -> None:
        raise MemoryError  # which is how sqlite3 tells it

    async def scenario(store: Records) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Cursor, "execute", no_memory)
            with pytest.raises(StoreError, match="no memory"):
                await store.changes(0)
            with pytest.raises(StoreError, match="no memory"):
                await store.revoke(Revocation("sub", "eve"), NOW)
        assert await store.changes(0) == []

    run(f"sqlite:///{tmp_path}/relay.db", scenario)


def test_changes_come_in_order(address: str | None) -> None:
    async def scenario(store: Records) -> None:
        kept = [await store.revoke(Revocation("sub", f"s{n}"), NOW) for n in range(3)]
        changes = await store.changes(0)
        assert [change.entry for change in changes] == kept
        last = changes[-1].number
        assert await store.changes(last) == []
        assert await store.withdraw(kept[0].id, NOW)
        (change,) = await store.changes(last)
        assert change.withdrawn
        assert change.entry.id == kept[0].id
        assert change.number > last
        assert not await store.withdraw(kept[0].id, NOW)
        assert not await store.withdraw(999_999, NOW)
        ending = await store.revoke(Revocation("sub", "dan", expires=NOW + 5), NOW)
        assert not await store.withdraw(ending.id, NOW + 5)
        assert await store.withdraw(ending.id, NOW + 4)
        assert await store.revocations(NOW) == kept[1:]

    run(address, scenario)


def test_ids_are_never_given_twice(address: str | None) -> None:
    async def scenario(store: Records) -> None:
        first = await store.revoke(Revocation("sub", "a", expires=NOW + 1), NOW)
        await store.forget(NOW + 2)
        assert await store.revocations(NOW) == []
        second = await store.revoke(Revocation("sub", "b"), NOW)
        assert second.id > first.id
        (change,) = await store.changes(first.id)
        assert change.entry == second

    run(address, scenario)


def test_tickets_are_for_once(address: str | None) -> None:
    async def scenario(store: Records) -> None:
        await store.save_ticket("a" * 64, GRANT, NOW + 30, NOW)
        await store.save_ticket("b" * 64, GRANT, NOW + 30, NOW)
        taken = await asyncio.gather(*(store.take_ticket("a" * 64, NOW) for _ in range(5)))
        assert [grant for grant in taken if grant is not None] == [GRANT]
        assert await store.take_ticket("b" * 64, NOW + 30) is None
        assert await store.take_ticket("b" * 64, NOW) is None
        assert await store.take_ticket("c" * 64, NOW) is None

    run(address, scenario)


def test_what_has_ended_is_forgotten(address: str | None) -> None:
    async def scenario(store: Records) -> None:
        await store.save_ticket("a" * 64, GRANT, NOW + 30, NOW)
        short = await store.revoke(Revocation("sub", "a", expires=NOW + 5), NOW)
        long = await store.revoke(Revocation("sub", "b"), NOW)
        gone = await store.revoke(Revocation("sub", "c"), NOW)
        await store.withdraw(gone.id, NOW)
        await store.forget(NOW + 29)
        assert [change.entry.id for change in await store.changes(0)] == [long.id, gone.id]
        assert short.id not in [entry.id for entry in await store.revocations(NOW)]
        assert await store.take_ticket("a" * 64, NOW) == GRANT
        await store.forget(NOW + KEEP_WITHDRAWN)
        assert [change.entry.id for change in await store.changes(0)] == [long.id]

    run(address, scenario)


def test_api_tokens_are_forgotten_a_month_after_their_end(
    address: str | None, token: StoredToken
) -> None:
    async def scenario(store: Records) -> None:
        ends: dict[str, float | None] = {
            "ended": NOW,
            "ends": NOW + 1,
            "endless": None,
            "gone": None,
        }
        for prefix, end in ends.items():
            await store.add_token(replace(token, prefix=prefix, expires=end))
        await store.revoke_token("gone", NOW)
        await store.forget(NOW + KEEP_ENDED - 1)
        assert len(await store.tokens()) == 4
        await store.forget(NOW + KEEP_ENDED)
        assert [each.prefix for each in await store.tokens()] == ["endless", "ends"]
        assert [entry.value for entry in await store.revocations(NOW)] == ["mq_gone"]

    run(address, scenario)


def test_ceilings(address: str | None, token: StoredToken, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (relay.records.memory, relay.records.sql):
        for name in ("MAX_TOKENS", "MAX_TICKETS", "MAX_REVOCATIONS"):
            monkeypatch.setattr(module, name, 2)

    async def scenario(store: Records) -> None:
        for n in range(2):
            await store.add_token(replace(token, prefix=f"p{n}"))
            await store.save_ticket(f"{n}", GRANT, NOW + 1, NOW)
            await store.revoke(Revocation("sub", f"s{n}"), NOW)
        with pytest.raises(LimitExceeded):
            await store.add_token(token)
        with pytest.raises(LimitExceeded):
            await store.save_ticket("2", GRANT, NOW + 1, NOW)
        with pytest.raises(LimitExceeded):
            await store.revoke(Revocation("sub", "s2"), NOW)
        assert len(await store.tokens()) == 2
        assert await store.take_ticket("2", NOW) is None
        assert len(await store.changes(0)) == 2
        await store.withdraw((await store.revocations(NOW))[0].id, NOW)
        await store.revoke(Revocation("sub", "s2"), NOW)
        assert await store.revoke_token("p0", NOW)  # there is always room to refuse a token
        assert (await store.find_token("p0")).revoked == NOW
        await store.save_ticket("2", GRANT, NOW + 2, NOW + 1)

    run(address, scenario)


def test_many_pages(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (relay.records.memory, relay.records.sql):
        monkeypatch.setattr(module, "MAX_PAGE", 3)

    async def scenario(store: Records) -> None:
        for n in range(7):
            await store.revoke(Revocation("sub", f"s{n}"), NOW)
        seen: list[str] = []
        position = 0
        while changes := await store.changes(position):
            assert len(changes) <= 3
            seen += [change.entry.value for change in changes]
            position = changes[-1].number
        assert seen == [f"s{n}" for n in range(7)]
        assert len(await store.revocations(NOW)) == 3

    run(address, scenario)
