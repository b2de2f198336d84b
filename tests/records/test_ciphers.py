"""Cipher keys in every kind of store."""

from __future__ import annotations

import asyncio
import os
from pprint import pformat
from typing import Any

import pytest

from relay.errors import BadRequest, ConfigError, NotFound
from relay.records.audit import Query
from relay.records.ciphers import CIPHER, Ciphers, listed
from relay.records.kept import OtherRoot
from relay.records.memory import MemoryRecords
from relay.records.notices import Notices
from relay.records.office import Office, Operator
from relay.records.opening import open_records
from relay.records.scribe import Scribe
from relay.records.sealing import Seal
from relay.records.settings import AuditSettings

WHO = Operator("admin")


def log(event: str, **facts: Any) -> None:
    """Nobody reads."""


def wall() -> float:
    return 5.0


def office_of(store: Any) -> Office:
    return Office(store, Scribe(store.audit, AuditSettings(), "n", wall, log), wall)


def test_a_key_is_made_rotated_and_read_again(address: str | None) -> None:
    async def main() -> None:
        store = await open_records(address)
        ciphers, office = Ciphers(store, Seal(os.urandom(32)), wall), office_of(store)
        assert (await ciphers.create(office, WHO, "pii")).version == 1
        assert ciphers.get("pii") is None
        await ciphers.reread()
        old = ciphers.get("pii")
        assert old is not None
        assert list(old) == [1]
        assert (await ciphers.rotate(office, WHO, "pii")).version == 2
        await ciphers.create(office, WHO, "other")
        await ciphers.reread()
        new = ciphers.get("pii")
        assert new is not None
        assert sorted(new) == [1, 2]
        newest = new[2]
        assert len(newest) == 32
        assert new[1] == old[1] != newest
        assert f"{new} {new!r} {pformat(new)}" == " ".join(["Versions([1, 2])"] * 3)
        found = [(each.name, each.version, each.created) for each in await listed(store)]
        assert found == [("other", 1, 5.0), ("pii", 1, 5.0), ("pii", 2, 5.0)]
        assert all(newest.hex() not in s.text for s in await store.secrets.all(CIPHER))
        await store.close()

    asyncio.run(main())


def test_each_change_is_in_the_audit_log_before_it_is_done() -> None:
    async def main() -> None:
        store = MemoryRecords()
        ciphers, office = Ciphers(store, Seal(os.urandom(32)), wall), office_of(store)
        await ciphers.create(office, WHO, "pii")
        await ciphers.rotate(office, WHO, "pii")
        other = Ciphers(store, Seal(os.urandom(32)), wall)
        with pytest.raises(OtherRoot):
            await other.rotate(office, WHO, "pii")
        entries = [
            (each.action, each.target, each.detail)
            for each in reversed(await office.records.audit.entries(Query()))
        ]
        assert entries == [
            ("cipher.create", "pii", "v1"),
            ("cipher.rotate", "pii", "v2"),
            ("cipher.rotate", "pii", "v3"),
            ("cipher.rotate.failed", "pii", "OtherRoot"),
        ]

    asyncio.run(main())


def test_what_makes_no_sense_is_refused_before_anything_is_written() -> None:
    async def main() -> None:
        store = MemoryRecords()
        ciphers, office = Ciphers(store, Seal(os.urandom(32)), wall), office_of(store)
        await ciphers.create(office, WHO, "pii")
        with pytest.raises(BadRequest, match="already"):
            await ciphers.create(office, WHO, "pii")
        with pytest.raises(BadRequest, match="called by"):
            await ciphers.create(office, WHO, "p:i")
        for name in (".", ".."):
            with pytest.raises(BadRequest, match="dots alone"):
                await ciphers.create(office, WHO, name)
        with pytest.raises(NotFound):
            await ciphers.rotate(office, WHO, "none")
        assert len(await office.records.audit.entries(Query())) == 1

    asyncio.run(main())


def test_another_relay_sees_the_rotation_and_keeps_what_it_has_when_it_cannot_read_it() -> None:
    async def main() -> None:
        store, seal = MemoryRecords(), Seal(os.urandom(32))
        mine, theirs, office = Ciphers(store, seal, wall), Ciphers(store, seal, wall), None
        office = office_of(store)
        said: list[str] = []
        notices = Notices(store, 0.1, lambda event, **facts: said.append(str(facts["detail"])))
        notices.on("secrets", theirs.reread)
        await mine.create(office, WHO, "pii")
        await notices.refresh()
        before = theirs.get("pii")
        assert before is not None
        await mine.rotate(office, WHO, "pii")
        await notices.refresh()
        after = theirs.get("pii")
        assert after is not None
        assert (max(before), max(after)) == (1, 2)
        new = Seal(os.urandom(32))
        await store.reseal(lambda sealed: new.again(seal, sealed))
        with pytest.raises(ConfigError):
            await theirs.reread()
        assert theirs.get("pii") is after

    asyncio.run(main())
