"""The relay as an issuer: its own keys among those it believes, and tokens in exchange for others.

It brings three rooms together: the keys that the store keeps, the keyring that decisions are made
by, and what a token may say. Its law: what any relay on the store does to a key counts here as soon
as the store says so, and nothing is signed by a key that does not count. This module must not know
HTTP or sessions.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from relay.auth.grant import Grant
from relay.auth.issue import IssuerSettings, Wish, narrowed
from relay.auth.keys import Key, KeySet
from relay.auth.lifecycle import signer
from relay.auth.mint import sign
from relay.auth.reason import Refusal
from relay.auth.revocation import Holder
from relay.auth.settings import AuthSettings
from relay.errors import Unavailable
from relay.records.desk import Desk
from relay.records.feed import Log
from relay.records.kept import StoredKey
from relay.records.signing import Signing, vouching


@dataclass(frozen=True, slots=True)
class Issued:
    """A token that was made."""

    token: str
    jti: str
    root: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    expires: int
    """Unix seconds."""

    def members(self) -> dict[str, Any]:
        """What whoever asked for it is told."""
        return {
            "token": self.token,
            "expires": self.expires,
            "root": self.root,
            "publish": list(self.publish),
            "subscribe": list(self.subscribe),
        }


class OwnKeys:
    """The relay's own keys as the keyring knows sources (see `relay.keyring.sources.Source`)."""

    name = "issuer"
    fetches = failures = 0

    def __init__(self, issuer: str | None, audience: str | None, wall: Callable[[], float]) -> None:
        self.keys = KeySet()
        self.problem: str | None = None
        self.confirmed: float | None = None
        self.stored: list[StoredKey] = []
        self._expected = issuer, audience
        self._wall = wall
        self._shown: list[str] = []

    def take(self, stored: list[StoredKey]) -> None:
        """These are the keys from now on."""
        self.stored = stored
        self.fetches += 1
        self._make()

    def look(self, now: float) -> None:
        """Keys whose time is over vouch no more; ``now`` is not needed, they go by the calendar."""
        shown = [each.key.kid for each in self.stored if each.key.is_shown(self._wall())]
        if shown != self._shown:
            self._make()

    def _make(self) -> None:
        now = self._wall()
        self._shown = [each.key.kid for each in self.stored if each.key.is_shown(now)]
        self.keys = vouching(self.stored, now).expecting(*self._expected)


class Issuer:
    """Makes tokens. `begin` before anything else."""

    def __init__(
        self,
        settings: IssuerSettings,
        auth: AuthSettings,
        signing: Signing,
        desk: Desk,
        wall: Callable[[], float],
        log: Log,
    ) -> None:
        """``wall`` tells unix seconds."""
        self.settings = settings
        self.signing = signing
        self._auth = auth
        self._desk = desk
        self._wall = wall
        self._log = log
        self.name = settings.name or auth.issuer
        self.source = OwnKeys(self.name, auth.audience, wall)
        self.changed: Callable[[], None] = lambda: None
        """Called when the keys were read again."""
        self._signer: Key | None = None

    async def begin(self) -> None:
        """Make the first keys, or take those that are there. Raises `ConfigError`, `StoreError`,
        `OtherRoot`."""
        self._take(await self.signing.begin())

    async def reread(self) -> None:
        """Take the keys as the store has them now. Raises `ConfigError`, `StoreError`."""
        self._take(await self._desk.records.keys.all())

    def jwks(self) -> dict[str, Any]:
        """What verifiers need: the public halves of keys that sign, will, or did until lately."""
        return {"keys": [key.to_jwk() | {"use": "sig"} for key in self.source.keys.keys]}

    def exchange(self, grant: Grant, wish: Wish) -> Issued:
        """A token for what ``grant`` (as seen from the very top) allows, or for less.

        It carries the id of the credential that it is made from, where that has one: what revokes
        the one revokes the other. Raises `Refusal` for more, and where the token could not say
        whose it is, `Unavailable` without a key that counts.
        """
        now = self._wall()
        key = self._require_signer(now)
        leeway = self._auth.leeway if grant.credential == "jwt" else 0.0
        settings = self.settings
        if self._auth.max_ttl is not None and self._auth.max_ttl < settings.max_ttl:
            settings = settings.model_copy(update={"max_ttl": self._auth.max_ttl})
        claims = narrowed(grant, wish, settings, now, leeway)
        if grant.payer is not None and self._auth.claims.tenant is None:
            hint = "set auth.claims.tenant to the name of a claim"
            raise Refusal("no_access", "no claim is there to say whose the token is", hint)
        audience = self._auth.audience
        claims = replace(
            claims,
            jti=claims.jti or secrets.token_hex(16),
            iss=self.name,
            aud=None if audience is None else (audience,),
            # What its root does not say: whatever limits or strikes the tenant must find it.
            tenant=grant.payer,
        )
        token = sign(claims, key, now, self._auth.claims)
        assert claims.jti is not None
        assert claims.exp is not None
        return Issued(token, claims.jti, claims.root, claims.put, claims.get, claims.exp)

    def _require_signer(self, now: float) -> Key:
        """The key to sign with. Raises `Unavailable` without one, and where whatever it signs would
        be refused."""
        key = self._signer
        if key is None or key.kid is None:
            raise Unavailable("no key to sign with")
        holder = Holder(kid=key.kid, issued=math.floor(now))
        entry = self._desk.feed.index.check(holder, now)
        if entry is not None and entry.dimension == "kid":
            hint = "relay keys rotate has the next one sign"
            self._log("warning", detail=f"the signing key {key.kid} is revoked: {hint}")
            raise Unavailable("the key to sign with is revoked")
        return key

    def _take(self, stored: list[StoredKey]) -> None:
        self.source.take(stored)
        self.changed()
        active = signer(each.key for each in stored)
        if active is None or self._signer is None or self._signer.kid != active.kid:
            self._signer = None
            for each in stored:
                if active is not None and each.key.kid == active.kid:
                    self._signer = self.signing.opened(each)
