"""Signing keys in the store: relays that begin together agree, and a rotation is one step."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from relay.auth.lifecycle import signer
from relay.auth.revocation import Revocation
from relay.errors import BadRequest, ConfigError, NotFound
from relay.records.audit import Query
from relay.records.kept import Step, StoredKey
from relay.records.memory import MemoryRecords
from relay.records.office import Office, Operator
from relay.records.opening import open_records
from relay.records.scribe import Scribe
from relay.records.sealing import KEY, Seal
from relay.records.settings import AuditSettings
from relay.records.signing import KEEP_REVOKED, Signing, vouching
from relay.records.store import Records, StoreError

SEAL = Seal(os.urandom(KEY))
WHO = Operator("admin")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def office(store: Records, clock: Clock) -> Office:
    def log(event: str, **facts: Any) -> None:
        """Nobody reads."""

    return Office(store, Scribe(store.audit, AuditSettings(), "n", clock, log), clock)


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_the_first_keys_are_made_once_and_sealed(algorithm: str) -> None:
    async def main() -> None:
        store, clock = MemoryRecords(), Clock()
        signing = Signing(store, SEAL, algorithm, clock)
        made = await signing.begin()
        assert sorted(each.key.state for each in made) == ["active", "next"]
        assert await signing.begin() == made
        active = signer(each.key for each in made)
        (stored,) = [each for each in made if each.key is active]
        key = signing.opened(stored)
        assert key.can_sign
        assert "d" not in stored.key.public
        private = key.to_jwk()["d"]
        assert private not in repr(made)
        assert private not in stored.sealed
        published = vouching(made, clock.now)
        assert len(published) == 2
        assert not any(each.can_sign for each in published.keys)
        assert published.find(key.kid or "").verify_signature(b"x", key.sign(b"x"))  # type: ignore[union-attr]
        with pytest.raises(ConfigError):
            Signing(store, Seal(bytes(KEY)), algorithm, clock).opened(stored)

    asyncio.run(main())


def test_a_store_that_cannot_be_written_keeps_no_relay_from_its_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refused(step: Step) -> list[StoredKey]:
        raise StoreError("database or disk is full")

    async def main() -> None:
        store = MemoryRecords()
        signing = Signing(store, SEAL, "ES256", Clock())
        made = await signing.begin()
        monkeypatch.setattr(store.keys, "change", refused)
        assert await signing.begin() == made

    asyncio.run(main())


def test_relays_that_begin_together_agree(lasting: str) -> None:
    async def main() -> None:
        stores = [await open_records(lasting) for _ in range(5)]
        signings = [Signing(store, SEAL, "ES256", Clock()) for store in stores]
        made = await asyncio.gather(*(each.begin() for each in signings))
        assert all(each == made[0] for each in made)
        assert [each.key.kid for each in await stores[0].keys.all()] == [
            each.key.kid for each in made[0]
        ]
        for store in stores:
            await store.close()

    asyncio.run(main())


def test_a_rotation(address: str | None) -> None:
    async def main() -> None:
        store, clock = await open_records(address), Clock()
        signing = Signing(store, SEAL, "ES256", clock)
        before = {each.key.state: each.key.kid for each in await signing.begin()}
        clock.now += 10
        after = await signing.rotate(office(store, clock), WHO, 100.0, False)
        states = {each.key.kid: each.key.state for each in after}
        assert states.pop(before["active"]) == "retiring"
        assert states.pop(before["next"]) == "active"
        assert list(states.values()) == ["next"]
        assert await store.keys.all() == sorted(after, key=lambda e: (e.key.created, e.key.kid))
        assert len(vouching(after, clock.now + 99)) == 3
        assert len(vouching(after, clock.now + 100)) == 2
        assert await store.revocations(clock.now) == []
        (entry,) = await store.audit.entries(Query(action="key"))
        assert (entry.action, entry.target, entry.detail) == (
            *("key.rotate", before["active"]),
            "grace 100 s",
        )
        await store.close()

    asyncio.run(main())


def test_a_compromised_key_is_refused_everywhere(address: str | None) -> None:
    async def main() -> None:
        store, clock = await open_records(address), Clock()
        signing = Signing(store, SEAL, "ES256", clock)
        before = {each.key.state: each.key.kid for each in await signing.begin()}
        after = await signing.rotate(office(store, clock), WHO, 100.0, True)
        (gone,) = [each for each in after if each.key.kid == before["active"]]
        assert (gone.key.state, gone.sealed) == ("retired", "")
        assert before["active"] not in {key.kid for key in vouching(after, clock.now).keys}
        (entry,) = await store.revocations(clock.now)
        assert isinstance(entry, Revocation)
        assert (entry.dimension, entry.value) == ("kid", before["active"])
        await store.close()

    asyncio.run(main())


def test_of_two_rotations_at_a_time_one_is_refused(lasting: str) -> None:
    async def main() -> None:
        stores = [await open_records(lasting) for _ in range(2)]
        signings = [Signing(store, SEAL, "ES256", Clock()) for store in stores]
        await signings[0].begin()
        done = await asyncio.gather(
            *(
                each.rotate(office(store, Clock()), WHO, 100.0, False)
                for each, store in zip(signings, stores, strict=True)
            ),
            return_exceptions=True,
        )
        failed = [each for each in done if isinstance(each, BaseException)]
        kept = [each.key.state for each in await stores[0].keys.all()]
        assert kept.count("active") == kept.count("next") == 1
        assert all(isinstance(each, BadRequest) for each in failed)
        assert kept.count("retiring") == 2 - len(failed)
        for store in stores:
            await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("others", [True, False])
def test_a_compromised_key_is_struck_whoever_rotates_first(lasting: str, others: bool) -> None:
    """Two at a time, the other of whom strikes it too or not, and once more later; none strikes the
    key that signs then."""

    async def main() -> None:
        stores = [await open_records(lasting) for _ in range(2)]
        clock = Clock()
        one, other = (Signing(store, SEAL, "ES256", clock) for store in stores)
        kid = {each.key.state: each.key.kid for each in await one.begin()}["active"]
        await asyncio.gather(
            one.rotate(office(stores[0], clock), WHO, 100.0, True),
            other.rotate(office(stores[1], clock), WHO, 100.0, others),
            return_exceptions=not others,
        )
        clock.now += 50.0
        kept = await one.rotate(office(stores[0], clock), WHO, 100.0, True, kid)
        assert sorted(each.key.state for each in kept) == ["active", "next", "retired"]
        (gone,) = [each for each in kept if each.key.state == "retired"]
        assert (gone.key.kid, gone.key.compromised, gone.key.ends) == (kid, True, 1000.0)
        (entry,) = await stores[0].revocations(clock.now)
        assert (entry.dimension, entry.value) == ("kid", kid)
        assert entry.expires is not None
        assert entry.expires >= clock.now + KEEP_REVOKED
        for store in stores:
            await store.close()

    asyncio.run(main())


def test_a_key_that_no_longer_signs_is_struck_by_name_and_no_other() -> None:
    async def main() -> None:
        store, clock = MemoryRecords(), Clock()
        signing, at = Signing(store, SEAL, "ES256", clock), office(store, clock)
        first = signer(each.key for each in await signing.begin())
        assert first is not None
        after = await signing.rotate(at, WHO, 100.0, False)
        second = signer(each.key for each in after)
        with pytest.raises(BadRequest, match=f"{first.kid} does not sign"):
            await signing.rotate(at, WHO, 100.0, False, first.kid)
        for nonsense in ((100.0, "nothing"), (1e12, first.kid)):
            with pytest.raises((NotFound, BadRequest)):
                await signing.rotate(at, WHO, nonsense[0], True, nonsense[1])
        assert await store.revocations(clock.now) == []
        struck = await signing.rotate(at, WHO, 100.0, True, first.kid)
        assert first.kid not in {key.kid for key in vouching(struck, clock.now).keys}
        assert signer(each.key for each in struck) == second
        assert len(struck) == len(after)

    asyncio.run(main())


def test_who_cannot_know_whether_it_was_done_is_told_which_key_to_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        store, clock = MemoryRecords(), Clock()
        signing = Signing(store, SEAL, "ES256", clock)
        active = signer(each.key for each in await signing.begin())
        assert active is not None

        async def lost(step: Any) -> Any:
            raise StoreError("gone")

        monkeypatch.setattr(store.keys, "change", lost)
        with pytest.raises(StoreError, match=f"gone; .* kid {active.kid}"):
            await signing.rotate(office(store, clock), WHO, 1.0, True)

    asyncio.run(main())


def test_there_is_nothing_to_rotate_before_the_first_start() -> None:
    async def main() -> None:
        store, clock = MemoryRecords(), Clock()
        signing = Signing(store, SEAL, "ES256", clock)
        with pytest.raises(BadRequest, match="no signing key yet"):
            await signing.rotate(office(store, clock), WHO, 1.0, False)

    asyncio.run(main())
