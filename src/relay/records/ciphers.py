"""Cipher keys of fields in records: made, kept sealed, rotated and opened from the store.

The law: a version that was ever used stays, so that what it encrypted can be read; a key is in the
clear in memory only, and what is known there holds while the store is silent. This module must not
know what is encrypted.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import NamedTuple

from relay.auth.cipher_names import cipher_names
from relay.errors import BadRequest, NotFound
from relay.records.kept import Sealed
from relay.records.office import Office, Operator
from relay.records.sealing import Seal
from relay.records.store import Records

CIPHER = "cipher"
"""The purpose that cipher keys are sealed for."""

KEY = 32
"""Bytes of one version: AES-256."""


class CipherVersion(NamedTuple):
    """One version of one key, without its bytes."""

    name: str
    version: int
    created: float
    """Unix seconds."""


class Versions(dict[int, bytes]):
    """The versions of one key by number; whoever writes them down writes no byte of them."""

    def __repr__(self) -> str:
        return f"Versions({sorted(self)})"


class Ciphers:
    """The cipher keys of one store, for whoever holds its root key. `reread` before anything."""

    def __init__(self, records: Records, seal: Seal, wall: Callable[[], float]) -> None:
        """``wall`` tells unix seconds."""
        self._records = records
        self._seal = seal
        self._wall = wall
        self._known: dict[str, Versions] = {}
        self._opened: dict[Sealed, bytes] = {}

    def get(self, name: str, /) -> Mapping[int, bytes] | None:
        """The versions of a key by number, as the store last had them."""
        return self._known.get(name)

    async def reread(self) -> None:
        """Take the keys as the store has them now. Raises `ConfigError`, `StoreError`, and then
        those that are known stay."""
        opened: dict[Sealed, bytes] = {}
        known: dict[str, Versions] = {}
        for each in await self._records.secrets.all(CIPHER):
            opened[each] = self._opened.get(each) or self._seal.open(each)
            known.setdefault(each.name, Versions())[each.version] = opened[each]
        self._opened, self._known = opened, known

    async def create(self, office: Office, who: Operator, name: str) -> CipherVersion:
        """Make a new key. Raises `BadRequest` when there is one, `LimitExceeded`, `OtherRoot`."""
        cipher_names([name])
        if not name.strip("."):  # in the address of a rotation those lead elsewhere
            raise BadRequest("the name of a cipher key is not of dots alone")
        if await self._records.secrets.get(CIPHER, name) is not None:
            raise BadRequest(f"there is a cipher key {name!r} already: rotate it")
        return await self._add(office, who, "cipher.create", name, 1)

    async def rotate(self, office: Office, who: Operator, name: str) -> CipherVersion:
        """Have a new version encrypt from now on. Raises `NotFound`, and `BadRequest` when somebody
        else did it just now."""
        newest = await self._records.secrets.get(CIPHER, name)
        if newest is None:
            raise NotFound(f"no cipher key {name!r}")
        return await self._add(office, who, "cipher.rotate", name, newest.version + 1)

    async def _add(
        self, office: Office, who: Operator, action: str, name: str, version: int
    ) -> CipherVersion:
        sealed = self._seal.seal(CIPHER, name, version, os.urandom(KEY), self._wall())
        async with office.doing(who, action, name, kid=name, detail=f"v{version}"):
            await self._records.secrets.put(sealed)
        return CipherVersion(name, version, sealed.created)


async def listed(records: Records) -> list[CipherVersion]:
    """Every version of every cipher key, by name and version. Raises `StoreError`."""
    kept = await records.secrets.all(CIPHER)
    return [CipherVersion(each.name, each.version, each.created) for each in kept]
