"""What the HTTP faces may ask of the relay: the answers behind the reception.

Each class satisfies one protocol of `relay.control` and holds nothing but the relay. This module
must not know HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from itertools import chain
from typing import TYPE_CHECKING, Any

from relay.auth.decide import Request, decide
from relay.auth.dialling import dialled
from relay.auth.explain import ELSEWHERE, explain
from relay.auth.facts import NO_FACTS
from relay.auth.grant import Grant, rebase
from relay.auth.issue import read_wish
from relay.auth.mending import mending
from relay.auth.needs import needs
from relay.auth.reason import Refusal
from relay.control.asking import Asked
from relay.control.problems import Denied
from relay.errors import Forbidden, LimitExceeded, Unavailable, Unroutable
from relay.path import ROOT, Path
from relay.peer.judgement import Held, Loan, is_same_holder, refusal
from relay.peer.reading import collect_group
from relay.peer.refusing import shown_path
from relay.records.store import StoreError
from relay.server.acting import ACTIONS
from relay.server.colleagues import Answer
from relay.server.gathering import PARTS, holder, merged
from relay.server.keeping import require_issuer
from relay.server.metrics import busiest
from relay.server.numbers import Tally, numbers, scrape
from relay.server.shares import arrive, known, may_arrive
from relay.sidecar.select import read_selector

if TYPE_CHECKING:
    from relay.server.relay import Relay


def request_of(asked: Asked, *, publishes: bool = True, subscribes: bool = True) -> Request:
    """What is to be decided about an HTTP address, for these two roles."""
    return Request(
        target=asked.target,
        bearer=asked.bearer,
        transport="http",
        publishes=publishes,
        subscribes=subscribes,
        is_address=True,
    )


Considered = tuple[Held, Loan | None]
"""Whom the judge grants something, and who may take it back."""


async def considered(relay: Relay, request: Request, asked: Asked) -> Considered:
    """Whom the judge grants something. Raises `Denied`. The facts are gathered once for all that an
    address may mean: a ticket is spent by looking."""
    facts = asked.memory.get("facts")
    if facts is None:
        facts = asked.memory["facts"] = await relay.judge.facts(request)
    judgement = await relay.judge.consider(request, asked.remote, facts)
    if judgement.grant is None:
        raise Denied(judgement.decision.status, judgement.id)
    return relay.judge.hold(judgement.grant, judgement.id, asked.remote), judgement.loan


async def come_in(relay: Relay, held: Held, path: str, needs: tuple[str, ...] = ()) -> None:
    """One more HTTP request, for ``path``, of a tenant who is about to use what is named of its
    quotas: nothing refuses it after this.

    Raises `OverQuota`, `LimitExceeded`, `Unauthorized`, with the id that the log explains.
    """
    try:
        await arrive(relay.house, held.grant.tenant, needs)
    except LimitExceeded as error:
        why = str(error)
        relay.judge.refusals.granted("over_quota", error.status, why, held, path, "http")
        raise error.known_as(held.id) from None
    relay.judge.require(held)
    relay.judge.let_in(held.grant, held.id, held.remote, "http")


async def admitted(relay: Relay, request: Request, asked: Asked) -> Grant:
    """The grant of somebody who has come in. Raises `Denied`, and as `come_in`."""
    held, _ = await considered(relay, request, asked)
    if not asked.again:
        await come_in(relay, held, shown_path(request))
    asked.memory["held"] = held
    return held.grant


class Face:
    """What the HTTP faces may ask of the relay."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay

    def certificate_hash(self, host: str) -> str:
        """SHA-256 of the certificate that new QUIC connections to that ``Host`` get."""
        name = host.partition(":")[0]
        with contextlib.suppress(ValueError):
            ip_address(name)
            name = ""  # in TLS nobody asks for an address (RFC 6066, 3)
        return self.relay.certificates.pair_for(name).fingerprint

    async def decide(self, asked: Asked) -> Grant:
        """The same decision as for a session. Raises `Denied`."""
        return await admitted(self.relay, request_of(asked, publishes=False), asked)

    def require(self, asked: Asked) -> None:
        """Raises `Unauthorized` when what was decided last about a request is in force no more."""
        self.relay.judge.require(asked.memory.pop("held"))

    async def ticket(self, bearer: str, remote: str) -> dict[str, Any]:
        """A one-time ticket for whatever the credential allows; another server has none."""
        if self.relay.authority is not None:
            raise Forbidden("an authorization server decides: connect with what it knows")
        desk, held = self.relay.desk, await self._believe(bearer, remote)
        try:
            async with asyncio.timeout(desk.settings.timeout):
                ticket = await desk.make_ticket(held.grant)
        except (StoreError, LimitExceeded, TimeoutError) as error:
            why = f"ticket: {error or 'no answer in time (records.timeout)'}"
            status = getattr(error, "status", Unavailable.status)
            self.relay.judge.refusals.granted("unavailable", status, why, held)
            raise Denied(status, held.id) from None
        return {"ticket": ticket.text, "expires": ticket.expires}

    def jwks(self) -> dict[str, Any]:
        """The public halves of the relay's own keys. Raises `NotFound` where it has none."""
        return require_issuer(self.relay.issuer).jwks()

    async def login(self, bearer: str, wished: Mapping[str, Any], remote: str) -> dict[str, Any]:
        """A short-lived token for what a credential allows, or for less of it."""
        issuer = require_issuer(self.relay.issuer)
        wish = read_wish(wished)
        held = await self._believe(bearer, remote)
        grant, id = held.grant, held.id
        try:
            issued = issuer.exchange(grant, wish)
        except Refusal as error:
            reason, refusals = error.reason, self.relay.judge.refusals
            why = f"login: {reason.text}"
            refusals.granted(reason.code, error.status, why, held, hint=mending(reason))
            raise error.known_as(id) from None
        why = f"token {issued.jti} until {issued.expires}"
        self.relay.house.audit("issue", grant=grant, id=id, remote=remote, why=why)
        return issued.members()

    async def sessions(self, bearer: str, remote: str) -> tuple[list[dict[str, Any]], list[int]]:
        """The running sessions that the credential's holder may refresh, and which workers did not
        answer."""
        grant = (await self._believe(bearer, remote)).grant
        if grant.anonymous:
            return [], []
        reach = [*grant.publish, *grant.subscribe]
        whose = grant.subject, grant.issuer, grant.tenant, grant.jti, grant.cluster, reach
        lists = await self.relay.colleagues.ask_all("held", *whose)
        own = held(self.relay, *whose)
        return [*own, *chain(*lists)], lists.silent

    async def _believe(self, bearer: str, remote: str) -> Held:
        """Let somebody in with all that a credential allows. Raises `Refused`, `LimitExceeded`."""
        request = Request(target="/", bearer=bearer, transport="http")
        judgement = await self.relay.judge.consider(request, remote)
        if judgement.grant is None:
            raise refusal(judgement).known_as(judgement.id)
        held = self.relay.judge.hold(judgement.grant, judgement.id, remote)
        await come_in(self.relay, held, "")
        return held

    async def require_operator(self, bearer: str | None, remote: str) -> None:
        """Raises `Unauthorized` for anybody else."""
        await self.relay.guard.require(bearer, remote)

    async def explain(
        self,
        url: str,
        token: str | None,
        publish: list[str],
        subscribe: list[str],
        transport: str,
    ) -> dict[str, Any]:
        """What would be decided, without anybody coming in or any ticket being spent, nor any other
        server being asked. Raises `BadRequest`."""
        relay = self.relay
        domains = relay.settings.auth.domains
        request = replace(dialled(url, transport, domains), bearer=token)
        facts = NO_FACTS
        if needs(request, relay.settings.auth).ticket is None:
            facts = await relay.judge.facts(request)
        rules = relay.judge.rules
        told = explain(
            request,
            rules.keys,
            rules.settings,
            relay.wall(),
            publish=publish,
            subscribe=subscribe,
            judge=partial(decide, facts=facts),
            reserve=relay.house.origin.reserve,
        )
        troubles = [] if rules.settings.url is None else [ELSEWHERE]
        return told.members() | {"troubles": troubles}

    async def refresh(self, id: str, bearer: str, remote: str) -> dict[str, Any]:
        """Other rights for a running session, whichever worker has it."""
        colleagues = self.relay.colleagues
        worker = await holder(self.relay, id)
        if worker == colleagues.share.index:
            return await refresh(self.relay, id, bearer, remote)
        found: dict[str, Any] = await colleagues.ask(worker, "refresh", id, bearer, remote)
        return found

    async def announced(self, grant: Grant) -> Sequence[str]:
        """Every broadcast the grant may see, relative to its root, in order."""
        scope = self.relay.house.origin.scope(grant.root, (), grant.subscribe)
        return await self.relay.press.directory.names(scope)

    async def fetch(
        self, grant: Grant, track: str, group: int | None, hold: Callable[[int], None]
    ) -> tuple[int, list[bytes]]:
        """One whole group of the broadcast at the grant's root."""
        house = self.relay.house
        broadcast = house.origin.scope(grant.root, (), grant.subscribe).seek(ROOT)
        if broadcast is None:
            raise Unroutable(f"no broadcast at {grant.root!r}")
        limit = self.relay.settings.web.limits.max_fetch_bytes
        account = house.ledger.account(grant.tenant)
        await known(account, ("egress_bits",), house.clock)
        account.require_egress(house.clock())
        return await collect_group(broadcast.track(track), group, house.clock, limit, hold)

    def sent(self, grant: Grant, size: int) -> None:
        """So many bytes of a group are on their way to whoever has the grant."""
        house = self.relay.house
        # Of a tenant of whom nobody else is here the account may have been closed meanwhile.
        house.ledger.account(grant.tenant).send(size, house.clock())

    def crowded(self, why: str, remote: str) -> None:
        """Somebody found no place."""
        self.relay.crowd.crowded(why, remote)


class Ward:
    """What the internal face may ask of the relay; of all its workers, where there are several."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self._tally = Tally(relay.began)
        self._scraping = asyncio.Lock()

    async def sessions(self, query: str) -> tuple[list[dict[str, Any]], list[int]]:
        """Sessions that run on an authorization server's word, and who did not answer."""
        own = lent(self.relay, query)
        answers = await self.relay.colleagues.ask_all("lent", query)
        return [*own, *chain(*answers)], answers.silent

    async def nodes(self) -> dict[str, Any]:
        """The mesh as this relay sees it, and as each of several workers does."""
        relay = self.relay
        if relay.post is None:
            return relay.cluster.nodes()
        answers = await relay.colleagues.ask_all("nodes")
        whole, own = nodes(relay)
        sides = {relay.post.share.index: own}
        wholes = [whole]
        for worker, (part, side) in answers.by_worker.items():
            wholes.append(part)
            sides[worker] = side
        workers = [{"worker": index} | side for index, side in sorted(sides.items())]
        return merged(wholes) | {"workers": workers, "silent": answers.silent}

    async def metrics(self) -> bytes:
        """The relay in numbers."""
        async with self._scraping:
            return await scrape(self.relay, self._tally)

    async def routes(self, prefix: str) -> dict[str, Any]:
        """What there is to publish to and to read below a prefix. Raises `BadRequest`."""
        return await self.relay.press.seen(Grant(Path(prefix), (ROOT,), (ROOT,)))

    async def drain(self) -> int:
        """Have the relay stop in good order; how many sessions it still has."""
        others = await self.relay.colleagues.ask_all("drain")
        return leave(self.relay) + sum(map(int, others))

    @property
    def is_leaving(self) -> bool:
        """Whether it is about to stop."""
        return self.relay.draining.is_set()

    async def revalidate(self, query: str) -> list[str]:
        """Have that server asked again about them."""
        own = revalidate(self.relay, query)
        others = await self.relay.colleagues.ask_all("revalidate", query)
        return own + [id for part in others for id in part]


# What one worker answers for itself, to its own faces and to its colleagues.


def held(
    relay: Relay,
    subject: str | None,
    issuer: str | None,
    tenant: str | None,
    jti: str | None,
    cluster: bool,
    reach: Sequence[str],
) -> list[dict[str, Any]]:
    """The sessions here of somebody who is known by a credential, where that allows anything below
    ``reach``. One for the very top belongs to whoever's part of the tree it is used in."""
    prefixes = tuple(map(Path, reach))
    whose = Grant(ROOT, subject=subject, issuer=issuer, tenant=tenant, jti=jti, cluster=cluster)
    return [
        {"id": guest.id, "root": grant.root, "expires": grant.expires}
        for guest in relay.door.guests.values()
        if (grant := guest.grant) is not None
        and is_same_holder(replace(whose, tenant=tenant or grant.root.first), grant)
        and rebase(ROOT, prefixes, grant.root)
    ]


async def refresh(relay: Relay, id: str, bearer: str, remote: str) -> dict[str, Any]:
    """Other rights for a session that runs here. Raises `Unroutable` when it does not."""
    guest = relay.door.guests.get(id)
    if guest is not None and guest.grant is not None:
        await may_arrive(relay.house, guest.grant.tenant)
    try:
        judgement = await relay.door.refresh(id, bearer, remote)
    except Forbidden as error:
        raise error.known_as(error.denial_id or id) from None
    grant = judgement.grant
    if grant is None:
        raise refusal(judgement).known_as(judgement.id)
    return {
        "publish": list(grant.publish),
        "subscribe": list(grant.subscribe),
        "expires": grant.expires,
    }


def lent(relay: Relay, query: str) -> list[dict[str, Any]]:
    """The sessions here that run on an authorization server's word and that a filter means. Raises
    `BadRequest` for one that makes no sense, also where there is no such server."""
    if relay.authority is None:
        read_selector(query)
        return []
    return relay.authority.sessions(query)


def revalidate(relay: Relay, query: str) -> list[str]:
    """Have that server asked again about those that are meant; which they are. Raises `BadRequest`
    as `lent` does."""
    if relay.authority is None:
        read_selector(query)
        return []
    return relay.authority.revalidate(query)


def nodes(relay: Relay) -> tuple[dict[str, Any], dict[str, Any]]:
    """The mesh as this worker sees it, without and with the other workers."""
    return relay.cluster.nodes(is_whole=False), relay.cluster.nodes()


def leave(relay: Relay) -> int:
    """Stop in good order; how many sessions there still are."""
    relay.draining.set()
    return relay.door.visitors


def answers(relay: Relay) -> dict[str, Answer]:
    """What colleagues may ask."""

    def at_once(answer: Callable[..., Any]) -> Answer:
        async def reply(*arguments: Any) -> Any:
            return answer(relay, *arguments)

        return reply

    return {
        "held": at_once(held),
        "refresh": partial(refresh, relay),
        "lent": at_once(lent),
        "revalidate": at_once(revalidate),
        "nodes": at_once(nodes),
        "drain": at_once(leave),
        "staying": at_once(lambda relay: relay.door.staying),
        "busiest": at_once(busiest),
        "census": at_once(lambda relay, is_watched: relay.census.look(is_watched)),
        "numbers": at_once(numbers),
        **{name: at_once(part) for name, part in PARTS.items()},
        **{name: partial(act, relay) for name, act in ACTIONS.items()},
    }
