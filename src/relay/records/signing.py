"""The relay's own signing keys: made, kept sealed, opened and rotated in the store.

The law: a private half leaves here only as a `Key` in memory; every change is one step of the
store's, so that relays that start or rotate at the same time agree. This module must not know what
is signed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from relay.auth.keys import Key, KeySet, generate, read_jwk
from relay.auth.lifecycle import SigningKey, begun, rotated, signer
from relay.auth.revocation import Revocation
from relay.errors import ConfigError, NotFound
from relay.records.kept import SIGNING, StoredKey
from relay.records.office import Office, Operator
from relay.records.sealing import Seal
from relay.records.store import Records, StoreError

DEFAULT_GRACE = 86_400.0
"""Seconds that a key vouches for after it has ceased to sign."""

KEEP_REVOKED = 400 * 86_400.0
"""Seconds for which a compromised key stays revoked at least: longer than any copy of it could be
asked for."""


class Signing:
    """The signing keys of one store, for whoever holds its root key."""

    def __init__(
        self, records: Records, seal: Seal, algorithm: str, wall: Callable[[], float]
    ) -> None:
        """``algorithm`` is that of keys to come; ``wall`` tells unix seconds."""
        self._records = records
        self._seal = seal
        self._algorithm = algorithm
        self._wall = wall

    async def begin(self) -> list[StoredKey]:
        """The keys; where there are none yet, one to sign and one to follow it. Of several relays
        that begin at a time all get the same. Nothing is written where they are there: a store that
        is full, or a copy for reading, keeps no relay from starting.

        Raises `StoreError`, `OtherRoot`.
        """
        there = await self._records.keys.all()
        if _are_all(there):
            return there
        fresh = [self._fresh(), self._fresh()]

        def step(kept: Sequence[StoredKey]) -> Sequence[StoredKey]:
            if _are_all(kept):
                return kept
            keys = begun([each.key for each in kept], [each.key for each in fresh], self._wall())
            return _joined(keys, [*kept, *fresh])

        return await self._records.keys.change(step)

    async def rotate(
        self,
        office: Office,
        who: Operator,
        grace: float,
        compromised: bool,
        kid: str | None = None,
    ) -> list[StoredKey]:
        """Have the next key sign; the one before vouches for ``grace`` seconds more, or, when it is
        ``compromised``, not at all, and its sessions end everywhere.

        It is the key ``kid``, or else the one that signs now, and never another: of several who
        strike one key, at a time or again, the others find it struck. Raises `NotFound` for a key
        that is not there, `BadRequest` when there is nothing to rotate or somebody else did.
        """
        keys = [each.key for each in await self._records.keys.all()]
        old = next((key for key in keys if key.kid == kid), None) if kid else signer(keys)
        if old is None and kid:
            raise NotFound(f"there is no signing key {kid}")
        fresh, now = self._fresh(), self._wall()
        rotated(keys, fresh.key, now, grace, compromised, kid)  # what makes no sense costs nothing
        assert old is not None
        name = old.kid

        def step(kept: Sequence[StoredKey]) -> Sequence[StoredKey]:
            keys = [each.key for each in kept]
            after = rotated(keys, fresh.key, now, grace, compromised, name)
            return _joined(after, [*kept, fresh])

        why = "compromised" if compromised else f"grace {grace:.0f} s"
        try:
            async with office.doing(who, "key.rotate", name, kid=name, detail=why):
                if compromised:  # first what protects: a crash after it leaves one that is refused
                    await self._records.revoke(_struck(old, now), now)
                return await self._records.keys.change(step)
        except StoreError as error:
            raise StoreError(f"{error}; whoever tries again names the key: kid {name}") from None

    def opened(self, stored: StoredKey) -> Key:
        """A key with its private half. Raises `ConfigError`."""
        try:
            return read_jwk(json.loads(self._seal.open(stored.secret)))
        except ValueError:
            raise ConfigError(f"the signing key {stored.key.kid} cannot be read") from None

    def _fresh(self) -> StoredKey:
        key = generate(self._algorithm)
        now = self._wall()
        assert key.kid is not None
        sealed = self._seal.seal(SIGNING, key.kid, 1, key.dump(), now)
        facts = SigningKey(key.kid, key.algorithm, key.public().to_jwk(), "next", now)
        return StoredKey(facts, sealed.text)


def vouching(stored: Sequence[StoredKey], now: float) -> KeySet:
    """The public halves that vouch for tokens at ``now``."""
    keys = []
    for each in stored:
        if each.key.is_shown(now):
            try:
                keys.append(replace(read_jwk(each.key.public), is_own=True))
            except ValueError:
                raise ConfigError(f"the signing key {each.key.kid} cannot be read") from None
    return KeySet(tuple(keys))


def _struck(key: SigningKey, now: float) -> Revocation:
    """What refuses a key; whoever strikes the same says the same, and that is one revocation."""
    spans = max(0, math.floor((now - key.created) / KEEP_REVOKED)) + 2
    ends = key.created + spans * KEEP_REVOKED
    return Revocation("kid", key.kid, expires=ends, reason="compromised")


def _are_all(kept: Sequence[StoredKey]) -> bool:
    """Whether there is one to sign and one to follow it."""
    return {"active", "next"} <= {each.key.state for each in kept}


def _joined(keys: Sequence[SigningKey], known: Sequence[StoredKey]) -> list[StoredKey]:
    """Keys with their sealed halves, which those that have retired lose."""
    sealed = {each.key.kid: each.sealed for each in known}
    return [
        StoredKey(key, "" if key.state == "retired" else sealed.get(key.kid, "")) for key in keys
    ]
