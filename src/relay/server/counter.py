"""The operator's counter as the relay serves it: what is asked there, done (see `control.admin`).

The law: whatever changes anything is in the audit log before it is done; what the store was told
is in force here when the answer leaves, and on other relays within a second. This module must not
know HTTP.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from relay.auth.credentials import make_token, secret_digest
from relay.auth.facts import StoredToken
from relay.auth.grant import Ceiling
from relay.auth.revocation import Revocation
from relay.control.admin import shapes
from relay.errors import BadRequest, NotFound, Unauthorized
from relay.path import Path, covering
from relay.peer.guest import Guest
from relay.quota import Override
from relay.records.audit import read_query
from relay.records.office import Operator
from relay.server import showing
from relay.server.origins import Origins

if TYPE_CHECKING:
    from relay.issuer import Issuer
    from relay.server.relay import Relay

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class Counter:
    """See `relay.control.admin.counter.Counter`."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay

    # -- sessions --------------------------------------------------------------------------------

    async def list_sessions(self, who: Operator, asked: shapes.SessionsAsked) -> shapes.SessionPage:
        """Those that fit, by id."""
        below = Path(asked.root) if asked.root is not None else None
        now = self.relay.house.clock()
        guests = self.relay.door.guests
        found: list[shapes.Session] = []
        for id in sorted(guests):
            if asked.cursor is not None and id <= asked.cursor:
                continue
            if not _fits(guests[id], asked, below):
                continue
            if len(found) == asked.limit:
                return shapes.SessionPage(sessions=found, cursor=found[-1].id)
            found.append(showing.session(guests[id], now))
        return shapes.SessionPage(sessions=found, cursor=None)

    async def show_session(self, who: Operator, asked: shapes.SessionNamed) -> shapes.Session:
        """One session."""
        return showing.session(self._guest(asked.id), self.relay.house.clock())

    async def kick_session(self, who: Operator, asked: shapes.Kick) -> shapes.Ended:
        """End it; its peer is told that it is no longer authorized, and the log knows why."""
        guest = self._guest(asked.id)
        async with self._doing(who, "session.kick", guest, asked.reason):
            guest.close(Unauthorized(f"ended by the operator (id {guest.id})"))
        return shapes.Ended(ended=1)

    async def narrow_session(self, who: Operator, asked: shapes.Narrowing) -> shapes.Session:
        """Take rights away for good; the session goes on with what is left."""
        guest = self._guest(asked.id)
        grant = guest.grant
        if grant is None or not guest.opened:
            raise BadRequest("the session has no rights yet")
        ceiling = Ceiling(
            _narrowed(grant.publish, asked.publish, "publish"),
            _narrowed(grant.subscribe, asked.subscribe, "subscribe"),
        )
        left = ceiling.over(grant)
        detail = f"publish {list(left.publish)} subscribe {list(left.subscribe)}"
        async with self._doing(who, "session.narrow", guest, detail):
            guest.narrow(ceiling)
        return showing.session(guest, self.relay.house.clock())

    def _doing(self, who: Operator, action: str, guest: Guest, detail: str) -> Any:
        jti, tenant = (guest.grant.jti, guest.grant.tenant) if guest.grant else (None, None)
        said = {"detail": detail, "jti": jti or "", "tenant": tenant or ""}
        return self.relay.desk.office.doing(who, action, f"session {guest.id}", **said)

    def _guest(self, id: str) -> Guest:
        guest = self.relay.door.guests.get(id)
        if guest is None:
            raise NotFound("there is no such session here")
        return guest

    # -- what is on air --------------------------------------------------------------------------

    async def list_broadcasts(
        self, who: Operator, asked: shapes.BroadcastsAsked
    ) -> shapes.BroadcastPage:
        """By path."""
        prefix = Path(asked.prefix)
        on_air = {each.path: each for each in self.relay.house.origin.on_air()}
        found: list[shapes.Broadcast] = []
        for path in sorted(on_air):
            if not path.is_under(prefix) or (asked.cursor is not None and path <= asked.cursor):
                continue
            if len(found) == asked.limit:
                return shapes.BroadcastPage(broadcasts=found, cursor=found[-1].path)
            found.append(showing.broadcast(on_air[path]))
        return shapes.BroadcastPage(broadcasts=found, cursor=None)

    async def list_routes(self, who: Operator, asked: shapes.RoutesAsked) -> shapes.RoutePage:
        """By path."""
        prefix, relay = Path(asked.prefix), self.relay
        on_air = {each.path: each for each in relay.house.origin.on_air()}
        origins = Origins(relay)
        found: list[shapes.Route] = []
        for path in sorted(on_air):
            if not path.is_under(prefix) or (asked.cursor is not None and path <= asked.cursor):
                continue
            if len(found) >= asked.limit:
                return shapes.RoutePage(routes=found, cursor=found[-1].path)
            found += origins.routes(on_air[path])
        return shapes.RoutePage(routes=found, cursor=None)

    # -- API tokens ------------------------------------------------------------------------------

    async def list_tokens(self, who: Operator, asked: shapes.TokensAsked) -> shapes.TokenPage:
        """By prefix."""
        page = await self.relay.desk.records.tokens(asked.cursor or "", asked.limit)
        cursor = page[-1].prefix if len(page) == asked.limit else None
        return shapes.TokenPage(tokens=[showing.token(each) for each in page], cursor=cursor)

    async def create_token(self, who: Operator, asked: shapes.NewToken) -> shapes.MadeToken:
        """Make one and show its secret, once."""
        if not (asked.publish or asked.subscribe):
            raise BadRequest("at least one prefix to publish or subscribe below ('' = all)")
        made = make_token()
        kept = StoredToken(
            prefix=made.prefix,
            digest=secret_digest(made.secret),
            name=asked.name,
            root=Path(asked.root),
            publish=covering(map(Path, asked.publish)),
            subscribe=covering(map(Path, asked.subscribe)),
            expires=asked.expires,
            created=self.relay.wall(),
        )
        await self.relay.desk.office.create_token(who, kept)
        return shapes.MadeToken(**showing.token(kept).model_dump(), token=str(made))

    async def revoke_token(self, who: Operator, asked: shapes.TokenNamed) -> shapes.Revocation:
        """Refuse it everywhere."""
        prefix = asked.prefix.removeprefix("mq_")
        done = await self.relay.desk.office.revoke_token(who, prefix, "by the operator")
        if done is None:
            raise NotFound("there is no such API token")
        return showing.revocation(done.entry)

    # -- keys ------------------------------------------------------------------------------------

    async def list_keys(self, who: Operator, asked: shapes.Nothing) -> shapes.SigningKeys:
        """As the store has them now."""
        self._issuer()
        return self._keys(await self.relay.desk.records.keys.all())

    async def rotate_keys(self, who: Operator, asked: shapes.Rotation) -> shapes.SigningKeys:
        """Have the next key sign."""
        grace = float(int(asked.grace[:-1]) * UNITS[asked.grace[-1]])
        signing = self._issuer().signing
        office = self.relay.desk.office
        return self._keys(await signing.rotate(office, who, grace, asked.compromised))

    async def show_jwks(self, who: Operator, asked: shapes.Nothing) -> shapes.KeySet:
        """What verifiers are given."""
        return shapes.KeySet(keys=self._issuer().jwks()["keys"])

    def _keys(self, stored: Any) -> shapes.SigningKeys:
        now = self.relay.wall()
        return shapes.SigningKeys(keys=[showing.signing_key(each.key.at(now)) for each in stored])

    def _issuer(self) -> Issuer:
        if self.relay.issuer is None:
            raise NotFound("the relay issues no tokens (issuer.enabled)")
        return self.relay.issuer

    # -- revocations -----------------------------------------------------------------------------

    async def list_revocations(
        self, who: Operator, asked: shapes.RevocationsAsked
    ) -> shapes.RevocationPage:
        """By number."""
        found = await self.relay.desk.records.revocations(self.relay.wall(), asked.cursor)
        page = [showing.revocation(each) for each in found[: asked.limit]]
        cursor = page[-1].number if len(found) > len(page) or len(page) == asked.limit else None
        return shapes.RevocationPage(revocations=page, cursor=cursor)

    async def create_revocation(
        self, who: Operator, asked: shapes.NewRevocation
    ) -> shapes.Revocation:
        """Put it in force, here at once."""
        entry = Revocation(asked.by, asked.value, asked.issued_before, asked.expires, asked.reason)
        return showing.revocation(await self.relay.desk.office.revoke(who, entry))

    async def withdraw_revocation(
        self, who: Operator, asked: shapes.RevocationNamed
    ) -> shapes.Nothing:
        """Take it back."""
        if not await self.relay.desk.office.withdraw(who, asked.number):
            raise NotFound("no such revocation is in force")
        return shapes.Nothing()

    # -- quotas ----------------------------------------------------------------------------------

    async def list_quotas(self, who: Operator, asked: shapes.Nothing) -> shapes.Quotas:
        """Of every tenant that is here or has a limit of its own."""
        said = await self.relay.desk.office.quotas()
        usage = self.relay.house.ledger.usage()
        named = said.keys() | usage.keys() | self.relay.settings.quotas.tenants.keys()
        return shapes.Quotas(
            others=self.relay.house.ledger.limits.others,
            tenants=[await self._quota(tenant, said) for tenant in sorted(named)],
        )

    async def show_quota(self, who: Operator, asked: shapes.TenantNamed) -> shapes.TenantQuota:
        """Of one."""
        return await self._quota(asked.tenant, await self.relay.desk.office.quotas())

    async def set_quota(self, who: Operator, asked: shapes.QuotaSaid) -> shapes.TenantQuota:
        """In force here when this returns."""
        said = Override(**asked.model_dump(exclude={"tenant"}))
        await self.relay.desk.office.set_quota(who, asked.tenant, said)
        return await self._quota(asked.tenant, {asked.tenant: said})

    async def reset_quota(self, who: Operator, asked: shapes.TenantNamed) -> shapes.TenantQuota:
        """As the settings say."""
        await self.relay.desk.office.clear_quota(who, asked.tenant)
        return await self._quota(asked.tenant, {})

    async def _quota(self, tenant: str, said: dict[str, Override]) -> shapes.TenantQuota:
        ledger = self.relay.house.ledger
        account = ledger.accounts.get(tenant)
        usage = account.usage() if account is not None else {}
        usage["cached_bytes"] = self.relay.house.origin.stock.cache.used_by(tenant)
        return showing.quota(tenant, ledger.limits, said.get(tenant), usage)

    # -- decisions, the log, the mesh ------------------------------------------------------------

    async def explain(self, who: Operator, asked: shapes.Question) -> dict[str, Any]:
        """What would be decided."""
        return await self.relay.face.explain(asked.url, asked.token, asked.publish, asked.subscribe)

    async def list_audit(self, who: Operator, asked: shapes.AuditAsked) -> shapes.AuditPage:
        """The latest first."""
        said = asked.model_dump(by_alias=True, exclude_defaults=True)
        texts = {name: str(value) for name, value in said.items()}
        query = read_query(texts, self.relay.wall())
        await self.relay.desk.scribe.flush()
        found = await self.relay.desk.office.entries(query)
        cursor = found[-1].number if len(found) == query.limit else None
        return shapes.AuditPage(entries=[showing.entry(each) for each in found], cursor=cursor)

    async def show_summary(self, who: Operator, asked: shapes.Nothing) -> shapes.Summary:
        """From what the rooms count anyway."""
        relay = self.relay
        door, endpoint = relay.door, relay.endpoint
        live = (*door.guests.values(), *door.links.values())
        return shapes.Summary(
            quic_port=relay.quic_address[1],
            connections=endpoint.connections,
            bytes_in=endpoint.bytes_in,
            bytes_out=endpoint.bytes_out,
            admitted=door.admitted,
            refused=showing.counts(door.refused),
            breached=showing.counts(relay.house.ledger.breached),
            groups_dropped=door.dropped + sum(each.watching.queue.dropped for each in live),
            cached_bytes=relay.house.origin.stock.cache.used,
        )

    async def list_nodes(self, who: Operator, asked: shapes.Nothing) -> shapes.Mesh:
        """As seen from here."""
        relay = self.relay
        mesh = relay.cluster.nodes()
        own = shapes.Node(
            node=mesh["node"] or "",
            origin=mesh["origin_id"],
            version=version("moq-relay"),
            seconds=round(relay.house.clock() - relay.began, 3),
            sessions=len(relay.door.guests),
            draining=relay.draining.is_set(),
        )
        return shapes.Mesh(own=own, nodes=mesh["nodes"], links=mesh["links"])


def _fits(guest: Guest, asked: shapes.SessionsAsked, below: Path | None) -> bool:
    grant = guest.grant
    if asked.tenant is not None and (grant is None or (grant.tenant or "") != asked.tenant):
        return False
    if asked.subject is not None and (grant is None or grant.subject != asked.subject):
        return False
    return below is None or (grant is not None and grant.root.is_under(below))


def _narrowed(
    had: tuple[Path, ...], wished: list[str] | None, verb: str
) -> tuple[Path, ...] | None:
    """Raises `BadRequest` for a prefix that is not below what there was."""
    if wished is None:
        return None
    prefixes = covering(map(Path, wished))
    for prefix in prefixes:
        if not any(prefix.is_under(each) for each in had):
            raise BadRequest(
                f"the session may not {verb} below {str(prefix)!r}: only less is given"
            )
    return prefixes
