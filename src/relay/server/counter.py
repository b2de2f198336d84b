"""The operator's counter as the relay serves it: what is asked there, done (see `control.admin`).

The law: whatever changes anything is in the audit log before it is done; what the store was told
is in force here when the answer leaves, and on other relays within a second. This module must not
know HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from relay.auth.cipher_names import cipher_names
from relay.auth.credentials import make_token, secret_digest
from relay.auth.facts import StoredToken
from relay.auth.revocation import Revocation
from relay.control.admin import key_shapes, shapes
from relay.errors import BadRequest
from relay.path import Path, covering
from relay.quota import Override
from relay.records.audit import UNITS, read_query
from relay.records.ciphers import Ciphers, listed
from relay.records.office import Operator
from relay.records.store import StoreError
from relay.server import gathering, showing
from relay.server.acting import ACTIONS
from relay.server.colleagues import Answers
from relay.server.keeping import require_ciphers, require_issuer, require_store
from relay.server.numbers import Tally

if TYPE_CHECKING:
    from relay.server.relay import Relay


class Counter:
    """See `relay.control.admin.counter.Counter`."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self._tally = Tally(relay.began)
        self._summing = asyncio.Lock()
        """Who asks later has what was counted later, or less would be taken for a new start."""

    # -- sessions --------------------------------------------------------------------------------

    async def list_sessions(self, who: Operator, asked: shapes.SessionsAsked) -> shapes.SessionPage:
        """Those that fit, by id, of all workers."""
        parts = await self._parts("sessions", asked.model_dump())
        page = gathering.session_page(parts, asked.limit)
        return shapes.SessionPage.model_validate(page | {"silent": parts.silent})

    async def show_session(self, who: Operator, asked: shapes.SessionNamed) -> shapes.Session:
        """One session."""
        found = await self._reach("session.show", who, asked)
        return shapes.Session.model_validate(found)

    async def kick_session(self, who: Operator, asked: shapes.Kick) -> shapes.Ended:
        """End it; its peer is told that it is no longer authorized, and the log knows why."""
        found = await self._reach("session.kick", who, asked)
        return shapes.Ended.model_validate(found)

    async def narrow_session(self, who: Operator, asked: shapes.Narrowing) -> shapes.Session:
        """Take rights away; the session goes on with what is left."""
        found = await self._reach("session.narrow", who, asked)
        return shapes.Session.model_validate(found)

    async def _reach(self, action: str, who: Operator, asked: Any) -> Any:
        """Do something with a session where it is. Raises `NotFound`, `Unavailable`."""
        said = [who.name, who.address, asked.model_dump()]
        worker = await gathering.holder(self.relay, asked.id)
        if worker == self.relay.colleagues.share.index:
            return await ACTIONS[action](self.relay, *said)
        return await self.relay.colleagues.ask(worker, action, *said)

    async def _parts(self, name: str, *asked: Any) -> Answers:
        """What each worker answers, this one first."""
        own = gathering.PARTS[name](self.relay, *asked)
        answers = await self.relay.colleagues.ask_all(name, *asked)
        own_index = self.relay.colleagues.share.index
        return Answers([(own_index, own), *answers.by_worker.items()], answers.silent)

    # -- what is on air --------------------------------------------------------------------------

    async def list_broadcasts(
        self, who: Operator, asked: shapes.BroadcastsAsked
    ) -> shapes.BroadcastPage:
        """By path, one row each, whichever workers it is watched on."""
        parts = await self._parts("broadcasts", asked.model_dump())
        page = gathering.broadcast_page(parts, asked.limit)
        return shapes.BroadcastPage.model_validate(page | {"silent": parts.silent})

    async def list_routes(self, who: Operator, asked: shapes.RoutesAsked) -> shapes.RoutePage:
        """By path, each as the worker shows it where it ends."""
        parts = await self._parts("routes", asked.model_dump())
        page = gathering.route_page(parts, asked.limit)
        return shapes.RoutePage.model_validate(page | {"silent": parts.silent})

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
            decrypt=cipher_names(asked.decrypt),
            expires=asked.expires,
            created=self.relay.wall(),
        )
        await self.relay.desk.office.create_token(who, kept)
        return shapes.MadeToken(**showing.token(kept).model_dump(), token=str(made))

    async def revoke_token(self, who: Operator, asked: shapes.TokenNamed) -> shapes.Revocation:
        """Refuse it everywhere."""
        prefix = asked.prefix.removeprefix("mq_")
        entry = await self.relay.desk.office.revoke_token(who, prefix, "by the operator")
        return showing.revocation(entry)

    # -- keys ------------------------------------------------------------------------------------

    async def list_keys(self, who: Operator, asked: shapes.Nothing) -> key_shapes.SigningKeys:
        """As the store has them now."""
        require_issuer(self.relay.issuer)
        return self._keys(await self.relay.desk.records.keys.all())

    async def rotate_keys(
        self, who: Operator, asked: key_shapes.Rotation
    ) -> key_shapes.SigningKeys:
        """Have the next key sign."""
        grace = float(int(asked.grace[:-1]) * UNITS[asked.grace[-1]])
        signing = require_issuer(self.relay.issuer).signing
        office = self.relay.desk.office
        after = await signing.rotate(office, who, grace, asked.compromised, asked.kid)
        return self._keys(after)

    async def show_jwks(self, who: Operator, asked: shapes.Nothing) -> key_shapes.KeySet:
        """What verifiers are given."""
        return key_shapes.KeySet(keys=require_issuer(self.relay.issuer).jwks()["keys"])

    def _keys(self, stored: Any) -> key_shapes.SigningKeys:
        now = self.relay.wall()
        return key_shapes.SigningKeys(
            keys=[showing.signing_key(each.key.at(now)) for each in stored]
        )

    # -- cipher keys -----------------------------------------------------------------------------

    async def list_ciphers(self, who: Operator, asked: shapes.Nothing) -> key_shapes.Ciphers:
        """As the store has them now."""
        require_store(self.relay.has_store)
        found = await listed(self.relay.desk.records)
        return key_shapes.Ciphers(ciphers=[showing.cipher(each) for each in found])

    async def create_cipher(self, who: Operator, asked: key_shapes.NewCipher) -> key_shapes.Cipher:
        """Make one."""
        made = await self._ciphers().create(self.relay.desk.office, who, asked.name)
        return showing.cipher(made)

    async def rotate_cipher(
        self, who: Operator, asked: key_shapes.CipherNamed
    ) -> key_shapes.Cipher:
        """Have a new version encrypt."""
        made = await self._ciphers().rotate(self.relay.desk.office, who, asked.name)
        return showing.cipher(made)

    def _ciphers(self) -> Ciphers:
        return require_ciphers(self.relay.press.station.keys, self.relay.has_store)

    # -- revocations -----------------------------------------------------------------------------

    async def list_revocations(
        self, who: Operator, asked: shapes.RevocationsAsked
    ) -> shapes.RevocationPage:
        """By number."""
        found = await self.relay.desk.records.revocations(self.relay.wall(), asked.cursor)
        page = [showing.revocation(each) for each in found[: asked.limit]]
        cursor = page[-1].number if len(page) == asked.limit else None
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
        await self.relay.desk.office.withdraw(who, asked.number)
        return shapes.Nothing()

    # -- quotas ----------------------------------------------------------------------------------

    async def list_quotas(self, who: Operator, asked: shapes.Nothing) -> shapes.Quotas:
        """Of every tenant that is here or has a limit of its own."""
        said = await self.relay.desk.records.quotas.all()
        parts = await self._parts("usage", None)
        usage = gathering.used_by_all(parts)
        here = {tenant for tenant, used in usage.items() if gathering.is_here(used)}
        named = said.keys() | here | self.relay.settings.quotas.tenants.keys()
        limits = self.relay.house.ledger.limits
        return shapes.Quotas(
            others=limits.others,
            tenants=[
                showing.quota(tenant, limits, said.get(tenant), usage.get(tenant, {}))
                for tenant in sorted(named)
            ],
            silent=parts.silent,
        )

    async def show_quota(self, who: Operator, asked: shapes.TenantNamed) -> shapes.TenantQuota:
        """Of one."""
        return await self._quota(asked.tenant, await self.relay.desk.records.quotas.all())

    async def set_quota(self, who: Operator, asked: shapes.QuotaSaid) -> shapes.TenantQuota:
        """In force here when this returns."""
        said = Override(**asked.model_dump(exclude={"tenant"}))
        await self.relay.desk.office.set_quota(who, asked.tenant, said)
        return await self._quota(asked.tenant, {asked.tenant: said})

    async def reset_quota(self, who: Operator, asked: shapes.TenantNamed) -> shapes.TenantQuota:
        """As the settings say."""
        await self.relay.desk.office.clear_quota(who, asked.tenant)
        return await self._quota(asked.tenant, {})

    async def _quota(self, tenant: str, said: Mapping[str, Override | None]) -> shapes.TenantQuota:
        usage = gathering.used_by_all(await self._parts("usage", tenant))[tenant]
        return showing.quota(tenant, self.relay.house.ledger.limits, said.get(tenant), usage)

    # -- decisions, the log, the mesh ------------------------------------------------------------

    async def explain(self, who: Operator, asked: shapes.Question) -> dict[str, Any]:
        """What would be decided."""
        return await self.relay.face.explain(**asked.model_dump())

    async def list_audit(self, who: Operator, asked: shapes.AuditAsked) -> shapes.AuditPage:
        """The latest first; while the store cannot be written to those that wait are missing."""
        said = asked.model_dump(by_alias=True, exclude_defaults=True)
        texts = {name: str(value) for name, value in said.items()}
        query = read_query(texts, self.relay.wall())
        with contextlib.suppress(StoreError):  # a full disk: what is written can be read
            await self.relay.desk.scribe.flush()
        found = await self.relay.desk.records.audit.entries(query)
        cursor = found[-1].number if len(found) == query.limit else None
        return shapes.AuditPage(entries=[showing.entry(each) for each in found], cursor=cursor)

    async def show_summary(self, who: Operator, asked: shapes.Nothing) -> shapes.Summary:
        """From what the rooms count anyway; what a worker had counted that has died or does not
        answer is among it."""
        async with self._summing:
            parts = await self._parts("summary")
            told = {worker: gathering.counted(part) for worker, part in parts.by_worker.items()}
            counts = self._tally.take(told)
        return shapes.Summary(
            quic_port=self.relay.quic_address[1],
            **gathering.summed(parts, counts),
            silent=parts.silent,
        )

    async def list_nodes(self, who: Operator, asked: shapes.Nothing) -> shapes.Mesh:
        """As seen from here."""
        relay = self.relay
        parts = await self._parts("mesh")
        mesh = gathering.merged(parts)
        own = shapes.Node(
            node=mesh["node"] or "",
            origin=mesh["origin_id"],
            version=version("moq-relay"),
            seconds=round(relay.house.clock() - relay.began, 3),
            sessions=sum(part["sessions"] for part in parts),
            draining=relay.draining.is_set(),
        )
        return shapes.Mesh(own=own, nodes=mesh["nodes"], links=mesh["links"], silent=parts.silent)
