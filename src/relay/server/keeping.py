"""What the relay keeps beside sessions: who came and went, its own keys, what tenants may use.

Each function brings the store's values into the form that another room understands. This module
must not know connections.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from relay.auth.grant import Grant
from relay.auth.revocation import Holder
from relay.config import Settings
from relay.errors import NotFound
from relay.ingest.cipher import CipherKeys
from relay.issuer import Issuer
from relay.records.audit import Fact
from relay.records.ciphers import Ciphers
from relay.records.desk import Desk
from relay.records.feed import Log
from relay.records.sealing import VARIABLE, Seal, require_seal
from relay.records.signing import Signing
from relay.records.store import Records


def fact(
    action: str,
    *,
    grant: Grant | None = None,
    holder: Holder | None = None,
    id: str = "",
    remote: str = "",
    target: str = "",
    reason: str = "",
    why: str = "",
    kind: str = "",
    tenant: str = "",
    count: int = 0,
) -> Fact:
    """What the door, the books or the issuer says, for the audit log: ``holder`` is who has no
    grant, ``reason`` a word that can be counted, ``why`` a sentence where there is more to say."""
    who = grant.holder if grant is not None else holder or Holder(tenant=tenant)
    detail = [f"over {kind}"] if kind else []
    if count:
        detail.append("once" if count == 1 else f"{count} times")
    if why:
        detail.append(why)
    return Fact(
        action,
        actor=_called(grant) if grant is not None else who.sub or who.jti or "",
        target=target or (f"/{grant.root}" if grant is not None else ""),
        address=remote,
        kid=who.kid or "",
        jti=who.jti or "",
        reason=reason,
        detail=", ".join(detail),
        tenant=who.tenant or "",
        id=id,
    )


def _called(grant: Grant) -> str:
    if grant.anonymous:
        return "anonymous"
    return grant.subject or grant.jti or grant.credential


async def open_seal(settings: Settings, records: Records) -> Seal | None:
    """The root key, if it is that of the store. Raises `ConfigError` when it is missing although it
    is needed, or another one."""
    why = "issuer.enabled keeps signing keys" if settings.issuer.enabled else ""
    if any(rules.encrypt for rules in settings.ingest.tracks.values()):
        why = why or "ingest.tracks encrypts fields"
    return require_seal(Seal.read(os.environ), await records.secrets.sealed_under(), why)


async def open_issuer(
    settings: Settings, desk: Desk, seal: Seal | None, wall: Callable[[], float], log: Log
) -> Issuer | None:
    """The issuer with its keys, where there is to be one. Raises `ConfigError`, `StoreError`."""
    if not settings.issuer.enabled or seal is None:
        return None
    signing = Signing(desk.records, seal, settings.issuer.algorithm, wall)
    issuer = Issuer(settings.issuer, settings.auth, signing, desk, wall, log)
    await issuer.begin()
    return issuer


async def open_ciphers(
    settings: Settings, desk: Desk, seal: Seal | None, wall: Callable[[], float], log: Log
) -> CipherKeys:
    """The keys of encrypted fields, followed as the store changes; the log is told of names that
    the settings use and the store does not know. Raises `StoreError`."""
    keys: CipherKeys = {}
    if seal is not None:
        keys = ciphers = Ciphers(desk.records, seal, wall)
        desk.notices.on("secrets", ciphers.reread)
    await desk.notices.refresh()
    for route, rules in settings.ingest.tracks.items():
        for name in sorted(set(rules.encrypt.values())):
            if keys.get(name) is None:
                detail = f"ingest.tracks.{route}: no cipher key {name!r}: publishing is refused"
                log("warning", detail=f"{detail}; make it with: relay keys cipher create")
    return keys


def require_issuer(issuer: Issuer | None) -> Issuer:
    """Raises `NotFound` where there is none."""
    if issuer is None:
        raise NotFound("the relay issues no tokens (issuer.enabled)")
    return issuer


def require_store(has_store: bool) -> None:
    """Raises `NotFound` unless there is a store to keep cipher keys in: what is encrypted outlives
    the relay, in viewers and in sinks, and could not be read again."""
    if not has_store:
        raise NotFound("cipher keys are kept in a store, and there is none here (records.url)")


def require_ciphers(keys: CipherKeys, has_store: bool) -> Ciphers:
    """The cipher keys where more can be made. Raises `NotFound`, which says what is missing."""
    require_store(has_store)
    if not isinstance(keys, Ciphers):
        raise NotFound(f"cipher keys are kept sealed, and there is no root key here ({VARIABLE})")
    return keys
