"""Quotas, sealed secrets and signing keys: the same from every store, seen by its neighbours."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

import relay.records.memory_kept
import relay.records.sql_kept
from relay.auth.lifecycle import SigningKey
from relay.errors import BadRequest, ConfigError, LimitExceeded
from relay.quota import Override
from relay.records import tables
from relay.records.kept import OtherRoot, Sealed, StoredKey
from relay.records.opening import open_records
from relay.records.sealing import KEY, Seal
from relay.records.sql import SqlRecords
from relay.records.store import Records
from stores import run

NOW = 1500.0


def key(kid: str, sealed: str, state: Any = "next") -> StoredKey:
    return StoredKey(SigningKey(kid, "ES256", {"kty": "EC", "kid": kid}, state, NOW), sealed)


def test_quotas(address: str | None) -> None:
    async def scenario(store: Records) -> None:
        before = (await store.marks())["quotas"]
        assert await store.quotas.all() == {}
        said = Override(sessions=3, egress_bits=0)
        await store.quotas.put("plant é", Override(tracks=1))
        await store.quotas.put("plant é", said)
        assert await store.quotas.all() == {"plant é": said}
        assert (await store.marks())["quotas"] == before + 2
        assert await store.quotas.drop("plant é")
        assert not await store.quotas.drop("plant é")
        assert await store.quotas.all() == {}
        assert (await store.marks())["quotas"] > before + 2

    run(address, scenario)


@pytest.mark.parametrize("garbled", ['{"sessions": -1}', "[]", "3", "", "{", "[" * 100_000])
def test_a_row_that_makes_no_sense_keeps_nobody_from_the_rest(lasting: str, garbled: str) -> None:
    async def scenario(store: Records) -> None:
        assert isinstance(store, SqlRecords)

        async def write(tenant: str, text: str) -> None:
            await store.quotas.put(tenant, Override(sessions=3))
            async with store._engine.begin() as connection:
                row = update(tables.quotas).where(tables.quotas.c.tenant == tenant)
                await connection.execute(row.values(said=text))

        await write("plant", '{"sessions": 3, "known_to_later_relays": 5}')
        await write("acme", garbled)
        assert await store.quotas.all() == {"plant": Override(sessions=3), "acme": None}
        await store.quotas.drop("acme")
        assert await store.quotas.all() == {"plant": Override(sessions=3)}

    run(lasting, scenario)


def test_tenants_have_a_ceiling(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (relay.records.memory_kept, relay.records.sql_kept):
        monkeypatch.setattr(module, "MAX_TENANTS", 1)

    async def scenario(store: Records) -> None:
        await store.quotas.put("a", Override())
        await store.quotas.put("a", Override(tracks=1))
        with pytest.raises(LimitExceeded, match="tenants with quotas"):
            await store.quotas.put("b", Override())
        assert set(await store.quotas.all()) == {"a"}

    run(address, scenario)


def test_secrets_by_purpose_name_and_version(address: str | None) -> None:
    seal = Seal(bytes(KEY))

    async def scenario(store: Records) -> None:
        assert await store.secrets.sealed_under() is None
        kept = [
            seal.seal("cipher", name, version, b"%s %d" % (name.encode(), version), NOW)
            for name, version in (("a", 1), ("a", 2), ("b", 1))
        ]
        for each in kept:
            await store.secrets.put(each)
        with pytest.raises(BadRequest, match="version 2 of 'a' already"):
            await store.secrets.put(kept[1])
        assert await store.secrets.all("cipher") == kept
        assert await store.secrets.all("other") == []
        assert await store.secrets.get("cipher", "a") == kept[1]
        assert await store.secrets.get("other", "a") is None
        found = await store.secrets.get("cipher", "b")
        assert found is not None
        assert seal.open(found) == b"b 1"
        assert await store.secrets.sealed_under() == seal.id

    run(address, scenario)


def test_nothing_is_added_under_another_root_key(address: str | None) -> None:
    one, other = Seal(bytes(KEY)), Seal(bytes([1] * KEY))

    async def scenario(store: Records) -> None:
        await store.keys.change(
            lambda kept: [key("k1", one.seal("signing", "k1", 1, b"x", NOW).text)]
        )
        assert await store.secrets.sealed_under() == one.id
        with pytest.raises(OtherRoot, match=f"{one.id}, not {other.id}"):
            await store.secrets.put(other.seal("cipher", "a", 1, b"x", NOW))
        with pytest.raises(OtherRoot):
            await store.keys.change(
                lambda kept: [
                    *kept,
                    key("k2", other.seal("signing", "k2", 1, b"x", NOW).text),
                ]
            )
        assert [each.key.kid for each in await store.keys.all()] == ["k1"]
        assert await store.secrets.all("cipher") == []

    run(address, scenario)


def test_everything_is_sealed_anew_or_nothing(address: str | None) -> None:
    old, new = Seal(bytes(KEY)), Seal(bytes([1] * KEY))

    async def scenario(store: Records) -> None:
        await store.secrets.put(old.seal("cipher", "a", 1, b"one", NOW))
        await store.secrets.put(old.seal("cipher", "a", 2, b"two", NOW))
        sealed = old.seal("signing", "k1", 1, b"three", NOW).text
        await store.keys.change(
            lambda kept: [key("k1", sealed, "active"), key("k0", "", "retired")]
        )
        before = await store.secrets.all("cipher"), await store.keys.all()
        seen = 0

        def failing(each: Sealed) -> str:
            nonlocal seen
            seen += 1
            if seen == 3:
                raise ConfigError("the power went")
            return new.again(old, each)

        with pytest.raises(ConfigError, match="the power went"):
            await store.reseal(failing)
        assert (await store.secrets.all("cipher"), await store.keys.all()) == before
        marks = await store.marks()
        assert await store.reseal(lambda each: new.again(old, each)) == 3
        after = await store.marks()
        assert after["keys"] > marks["keys"]
        assert after["secrets"] > marks["secrets"]
        assert [new.open(each) for each in await store.secrets.all("cipher")] == [b"one", b"two"]
        stored = {each.key.kid: each for each in await store.keys.all()}
        assert new.open(stored["k1"].secret) == b"three"
        assert stored["k0"].sealed == ""
        assert await store.secrets.sealed_under() == new.id
        with pytest.raises(ConfigError, match=f"sealed under the root key {new.id}"):
            old.open(stored["k1"].secret)

    run(address, scenario)


def test_a_step_that_fails_changes_nothing(address: str | None) -> None:
    async def scenario(store: Records) -> None:
        await store.keys.change(lambda kept: [key("k1", "", "retired")])

        def refuse(kept: Sequence[StoredKey]) -> Sequence[StoredKey]:
            raise BadRequest("no")

        with pytest.raises(BadRequest):
            await store.keys.change(refuse)
        (kept,) = await store.keys.all()
        assert kept == key("k1", "", "retired")
        changed = replace(kept.key, activated=1.0, ends=2.5, compromised=True)
        await store.keys.change(lambda kept: [StoredKey(changed, "")])
        assert await store.keys.all() == [StoredKey(changed, "")]

    run(address, scenario)


def test_steps_of_many_relays_follow_each_other(lasting: str) -> None:
    async def main() -> None:
        stores = [await open_records(lasting) for _ in range(4)]

        async def add(store: Records, number: int) -> None:
            for turn in range(5):
                kid = f"k{number}-{turn}"
                await store.keys.change(lambda kept, kid=kid: [*kept, key(kid, "", "retired")])

        async with asyncio.TaskGroup() as tasks:
            for number, store in enumerate(stores):
                tasks.create_task(add(store, number))
        kept = {each.key.kid for each in await stores[0].keys.all()}
        assert kept == {f"k{number}-{turn}" for number in range(4) for turn in range(5)}
        for store in stores:
            await store.close()

    asyncio.run(main())
