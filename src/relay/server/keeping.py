"""What the relay keeps beside sessions: who came and went, its own keys, what tenants may use.

Each function brings the store's values into the form that another room understands. This module
must not know connections.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from relay.auth.grant import Grant
from relay.config import Settings
from relay.issuer import Issuer
from relay.records.audit import Fact
from relay.records.sealing import Seal, require_seal
from relay.records.signing import Signing
from relay.records.store import Records


def fact(
    action: str,
    *,
    grant: Grant | None = None,
    id: str = "",
    remote: str = "",
    target: str = "",
    why: str = "",
    kind: str = "",
    count: int = 0,
) -> Fact:
    """What the door, the books or the issuer says, for the audit log."""
    detail = [*([f"over {kind}"] if kind else []), *([f"{count} times"] if count else [])]
    if why:
        detail.append(why)
    return Fact(
        action,
        actor=_called(grant),
        target=target or (f"/{grant.root}" if grant is not None else ""),
        address=remote,
        kid=(grant.kid or "") if grant is not None else "",
        jti=(grant.jti or "") if grant is not None else "",
        reason=id,
        detail=", ".join(detail),
    )


def _called(grant: Grant | None) -> str:
    if grant is None:
        return ""
    if grant.anonymous:
        return "anonymous"
    return grant.subject or grant.jti or grant.credential


async def open_seal(settings: Settings, records: Records) -> Seal | None:
    """The root key, if it is that of the store. Raises `ConfigError` when it is missing although it
    is needed, or another one."""
    why = "issuer.enabled keeps signing keys" if settings.issuer.enabled else ""
    return require_seal(Seal.read(os.environ), await records.secrets.sealed_under(), why)


async def open_issuer(
    settings: Settings, records: Records, seal: Seal | None, wall: Callable[[], float]
) -> Issuer | None:
    """The issuer with its keys, where there is to be one. Raises `ConfigError`, `StoreError`."""
    if not settings.issuer.enabled or seal is None:
        return None
    signing = Signing(records, seal, settings.issuer.algorithm, wall)
    issuer = Issuer(settings.issuer, settings.auth, signing, records, wall)
    await issuer.begin()
    return issuer
