"""The relay's own signing keys: made, kept sealed, opened and rotated in the store.

The law: a private half leaves here only as a `Key` in memory; every change is one step of the
store's, so that relays that start or rotate at the same time agree. This module must not know what
is signed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from relay.auth.keys import Key, KeySet, generate, read_jwk
from relay.auth.lifecycle import SigningKey, begun, rotated, signer
from relay.auth.revocation import Revocation
from relay.errors import BadRequest, ConfigError
from relay.records.kept import SIGNING, StoredKey
from relay.records.office import Office, Operator
from relay.records.sealing import Seal
from relay.records.store import Records

DEFAULT_GRACE = 86_400.0
"""Seconds that a key vouches for after it has ceased to sign."""

KEEP_REVOKED = 400 * 86_400.0
"""Seconds for which a compromised key stays revoked: longer than any copy of it could be asked
for."""


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
        that begin at a time all get the same. Raises `StoreError`, `OtherRoot`."""
        fresh = [self._fresh(), self._fresh()]

        def step(kept: Sequence[StoredKey]) -> Sequence[StoredKey]:
            states = {each.key.state for each in kept}
            if {"active", "next"} <= states:
                return kept
            keys = begun([each.key for each in kept], [each.key for each in fresh], self._wall())
            return _joined(keys, [*kept, *fresh])

        return await self._records.keys.change(step)

    async def rotate(
        self, office: Office, who: Operator, grace: float, compromised: bool
    ) -> list[StoredKey]:
        """Have the next key sign; the one before vouches for ``grace`` seconds more, or, when it is
        ``compromised``, not at all, and its sessions end everywhere.

        Raises `BadRequest` when there is nothing to rotate or somebody else did just now.
        """
        active = signer(each.key for each in await self._records.keys.all())
        if active is None:
            raise BadRequest("there is no signing key yet: the relay makes one when it starts")
        fresh, now, kid = self._fresh(), self._wall(), active.kid

        def step(kept: Sequence[StoredKey]) -> Sequence[StoredKey]:
            keys = [each.key for each in kept]
            signs = signer(keys)
            if signs is None or signs.kid != kid:
                raise BadRequest("the keys were rotated by somebody else just now")
            return _joined(rotated(keys, fresh.key, now, grace, compromised), [*kept, fresh])

        why = "compromised" if compromised else f"grace {grace:.0f} s"
        async with office.doing(who, "key.rotate", kid, kid=kid, detail=why):
            if compromised:  # first what protects: a crash after it leaves a key that is refused
                entry = Revocation("kid", kid, expires=now + KEEP_REVOKED, reason="compromised")
                await self._records.revoke(entry, now)
            return await self._records.keys.change(step)

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
                keys.append(read_jwk(each.key.public))
            except ValueError:
                raise ConfigError(f"the signing key {each.key.kid} cannot be read") from None
    return KeySet(tuple(keys))


def _joined(keys: Sequence[SigningKey], known: Sequence[StoredKey]) -> list[StoredKey]:
    """Keys with their sealed halves, which those that have retired lose."""
    sealed = {each.key.kid: each.sealed for each in known}
    return [
        StoredKey(key, "" if key.state == "retired" else sealed.get(key.kid, "")) for key in keys
    ]
