"""What the operator is shown: the values of other rooms in the shapes of the counter.

The law: no secret is in any of them. This module must not know who asks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from relay.auth.facts import StoredToken
from relay.auth.lifecycle import SigningKey
from relay.auth.revocation import Revocation
from relay.control.admin import key_shapes, shapes
from relay.model.broadcast import Broadcast
from relay.model.group import Group
from relay.model.track import Track
from relay.peer.guest import Guest
from relay.quota import Limits, Override
from relay.records.audit import Entry
from relay.records.ciphers import CipherVersion
from relay.server.inner import Inner

BITS = 8

ALONE = 1.0
"""Seconds after which one group alone has a rate: its first frame may come in many pieces."""


def session(guest: Guest, now: float) -> shapes.Session:
    """One guest; ``now`` is monotonic seconds."""
    grant = guest.grant
    sent, received = guest.transport.traffic()
    return shapes.Session(
        id=guest.id,
        tenant=grant.tenant if grant else None,
        subject=grant.subject if grant else None,
        root=grant.root if grant else None,
        publish=list(grant.publish) if grant else [],
        subscribe=list(grant.subscribe) if grant else [],
        expires=grant.expires if grant else None,
        credential=grant.credential if grant else "",
        kid=grant.kid if grant else None,
        jti=grant.jti if grant else None,
        is_relay=bool(grant and grant.cluster),
        transport=guest.via,
        version=guest.session.version,
        remote=guest.remote,
        seconds=round(max(0.0, now - guest.began), 3),
        rtt_ms=round(guest.transport.rtt * 1000, 3),
        bytes_in=received,
        bytes_out=sent,
        broadcasts=guest.tab.broadcasts,
        subscriptions=guest.tab.tracks,
        groups_dropped=guest.watching.queue.dropped,
    )


def broadcast(found: Broadcast, inner: Inner) -> shapes.Broadcast:
    """One broadcast on air, as far as this worker has it."""
    tracks = sorted((track(each, inner) for each in found.all_tracks), key=lambda each: each.name)
    return shapes.Broadcast(
        path=found.path,
        viewers=sum(each.viewers for each in tracks),
        routes=[
            shapes.Way(hops=[str(hop) for hop in route.hops], cost=route.price.cold)
            for route in inner.routes(found)
        ],
        tracks=tracks,
    )


def track(found: Track, inner: Inner) -> shapes.Track:
    """One track; its rate is that of what is cached."""
    groups = list(found.groups.values())
    return shapes.Track(
        name=f"{found.below}:{found.name}" if found.below else found.name,
        viewers=inner.viewers(found),
        latest=found.latest,
        groups=len(groups),
        cached_bytes=sum(group.size for group in groups),
        bits_per_second=round(_rate(groups), 1),
    )


def _rate(groups: Sequence[Group]) -> float:
    """Bits a second at which groups came in, 0.0 where that cannot be told yet.

    The time begins with the first bytes, so that these came in none of it: of two groups of one
    frame each they would be twice the rate.
    """
    first = min(groups, key=lambda group: group.opened_at, default=None)
    if first is None or not first.chunks:
        return 0.0
    spent = max(group.touched_at for group in groups) - first.opened_at
    if spent <= (0.0 if len(groups) > 1 else ALONE):
        return 0.0
    return BITS * (sum(group.size for group in groups) - len(first.chunks[0])) / spent


def token(kept: StoredToken) -> shapes.Token:
    """One API token, without its digest."""
    return shapes.Token.model_validate(kept, from_attributes=True)


def signing_key(key: SigningKey) -> key_shapes.SigningKey:
    """One signing key, without either half."""
    return key_shapes.SigningKey.model_validate(key, from_attributes=True)


def cipher(kept: CipherVersion) -> key_shapes.Cipher:
    """One version of a cipher key, without its bytes."""
    return key_shapes.Cipher(**kept._asdict())


def revocation(entry: Revocation) -> shapes.Revocation:
    """One revocation."""
    return shapes.Revocation(
        number=entry.id,
        by=entry.dimension,
        value=entry.value,
        issued_before=entry.issued_before,
        expires=entry.expires,
        created=entry.created,
        reason=entry.reason,
    )


def quota(
    tenant: str, limits: Limits, said: Override | None, usage: dict[str, int]
) -> shapes.TenantQuota:
    """One tenant's."""
    return shapes.TenantQuota(tenant=tenant, limits=limits.of(tenant), said=said, usage=usage)


def entry(found: Entry) -> shapes.AuditEntry:
    """One entry of the audit log."""
    told = shapes.AuditEntry.model_validate(found, from_attributes=True)
    return told.model_copy(update={"at": found.at / 1_000_000})


def counts(found: Mapping[str, int]) -> list[shapes.Count]:
    """How often each happened, the most frequent first."""
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return [shapes.Count(name=name, count=count) for name, count in ordered]
