"""Publishing and watching over HTTP: the answers behind those routes.

The law: both ask the judge, and a reader leaves when what let it in ends. This module must not know
HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from relay.auth.grant import Grant
from relay.control.asking import Asked
from relay.control.places import Places
from relay.control.problems import Denied
from relay.control.watch import Seen
from relay.errors import Forbidden, Unavailable, Unroutable
from relay.ingest.cipher import decrypt_frame, owner_of
from relay.ingest.records import TakesLong
from relay.ingest.route import Address
from relay.ingest.station import Checked, Sent, Station
from relay.ingest.watching import Follower, Missed
from relay.model.broadcast import Broadcast
from relay.model.track import Demand
from relay.net.gate import origin
from relay.path import ROOT
from relay.peer.judgement import Held, Loan, ending, what_ends
from relay.peer.refusing import LEAVING, STOPPING, shown_path
from relay.quota import Account, Tab
from relay.server.aside import Aside
from relay.server.directory import Directory
from relay.server.faces import Considered, admitted, come_in, considered, request_of
from relay.server.shares import known

if TYPE_CHECKING:
    from relay.server.relay import Relay

PAUSE = 0.05
"""Seconds after which a reader whose tenant may have no more asks again."""


PUBLISHING = ("broadcasts", "publishers", "announces_per_second", "ingress_bits")
"""Quotas that a request uses which publishes."""


SMALL = 4096
"""Bytes that are checked or decrypted at once: milliseconds, unless it is for a schema."""


class Ended(Forbidden):
    """What let the reader in has ended."""


class Reader:
    """One who watches, and what lets it."""

    def __init__(
        self, press: Press, held: Held, follower: Follower, loan: Loan | None, tab: Tab
    ) -> None:
        """``tab`` has the subscription on it already."""
        self.press = press
        self._take(held.grant)
        self.id = held.id
        self.remote = held.remote
        self.follower = follower
        self.publisher = follower.track.broadcast.identity
        self.edition = _edition(follower.track.broadcast)
        self.loan = loan
        self.tab = tab
        self._sent = 0
        self._ended: Ended | None = None

    def _take(self, grant: Grant) -> None:
        """Read by this grant from now on, which ends by a clock that nobody can turn back."""
        relay = self.press.relay
        self.grant = grant
        left = math.inf if grant.expires is None else grant.expires - relay.wall()
        self._deadline = relay.house.clock() + left

    def has_expired(self, now: float, wall: float) -> bool:
        """Whether its grant has ended by either clock, at ``now`` (monotonic) and unix ``wall``."""
        expires = self.grant.expires
        return now >= self._deadline or (expires is not None and wall >= expires)

    def end(self, word: str, why: str = "", action: str = "") -> None:
        """It has to go, and is told why in a word; ``action`` is what the audit log calls that,
        once, with ``why`` in a sentence. Whoever gives one has told the log."""
        ended = Ended(word)
        if action:
            ended = Ended(f"{word} (id {self.id})").known_as(self.id)
            if self._ended is None:
                facts = {"id": self.id, "remote": self.remote, "kind": "http", "why": why}
                self.press.relay.house.audit(action, grant=self.grant, reason=word, **facts)
        self._ended = ended
        self.follower.end(ended)

    def show_out(self, word: str, why: str, action: str) -> None:
        """What it was let in by has ended: it has to go, and the log knows it."""
        self.press.relay.house.log("reader shown out", id=self.id, reason=word, why=why)
        self.end(word, why, action)

    def over(self, reason: str, why: str) -> None:
        """Whoever lent the grant has taken it back, in a word and in a sentence."""
        self.press.relay.house.log("no longer granted", id=self.id, reason=reason, why=why)
        self.end(reason, why, ending(reason))

    @property
    def resume(self) -> int:
        """The group at which it goes on when it breaks off now and comes back."""
        return self.follower.resume

    async def frames(self) -> AsyncIterator[Any]:
        """Frames with the fields decrypted that the reader may see."""
        silence = self.press.station.settings.watch_keep_alive
        async for item in self.follower.items(silence):
            if isinstance(item, Missed):
                yield item.group, None, b""
            elif item is None:
                yield None
            else:
                (payload,) = await self.press.decrypted(self.grant, [item.payload], self.remote)
                if self._ended is not None:  # meanwhile
                    raise self._ended
                await self._pay(len(payload))
                yield item.group, item.number, payload

    async def _pay(self, size: int) -> None:
        """Wait until its tenant may have so much more, share by share as sessions send it;
        meanwhile what comes waits as for a slow reader.

        Raises `Ended` for whoever has to go before.
        """
        clock, left = self.press.relay.house.clock, size
        while left > 0:
            share = min(left, self.tab.room(clock()))
            if share > 0:
                self.tab.sent(share, clock())
                left -= share
                continue
            await asyncio.sleep(PAUSE)
            if self._ended is not None:
                raise self._ended
        self._sent += size
        self.tab.emptied()  # the client may read no more, and the others wait for its share

    def leave(self) -> None:
        """It is gone. Harmless when it has left already."""
        if self in self.press.readers:
            self.press.readers.discard(self)
            self.press.watchers.give(self.remote)
        self.follower.close()
        self.tab.close()
        if self.loan is not None:
            self.loan.end("the reader left", self._sent)
            self.loan = None

    def change(self, grant: Grant) -> None:
        """Other rights are in force."""
        if grant.may_subscribe(""):
            self._take(grant)
        else:
            self.show_out("revoked", "the right to subscribe was taken away", "revoke")


class Press:
    """What the routes for publishing and watching may ask of the relay."""

    def __init__(self, relay: Relay, station: Station) -> None:
        self.relay = relay
        self.station = station
        self.directory = Directory()
        self.readers: set[Reader] = set()
        self._aside = Aside()
        self._turn = asyncio.Lock()
        settings = station.settings

        def places(limit: int, each: int | None, kind: str, setting: str) -> Places:
            return Places(limit, each, kind, f"ingest.{setting}", relay.crowd.crowded)

        each = settings.max_requests_per_address
        self.bodies = places(settings.max_requests, each, "arriving bodies", "max_requests")
        each = settings.max_watchers_per_address
        self.watchers = places(settings.max_watchers, each, "readers", "max_watchers")
        station.charge = self._charge
        station.enrol = self._enrol

    def _account(self, grant: Grant) -> Account:
        return self.relay.house.ledger.account(grant.tenant)

    def _charge(self, grant: Grant, came: int, kept: int) -> None:
        """Bytes that are about to be published, and what they take. Raises `OverQuota`."""
        now, account = self.relay.house.clock(), self._account(grant)
        account.require_room(kept, now)
        account.require_ingress(came, now)

    def _enrol(self, grant: Grant) -> Tab:
        """For a new broadcast: it counts, and no session does."""
        return Tab(self._account(grant), is_seated=False)

    @property
    def body_limits(self) -> tuple[int, float]:
        """Bytes of a body, seconds for it to arrive."""
        settings = self.station.settings
        return settings.max_body_bytes, settings.body_timeout

    def place(self, path: str, track: str | None) -> tuple[str, Address]:
        """The broadcast that an address means."""
        address = self.station.address(path, track)
        return address.broadcast, address

    async def admit(self, asked: Asked, publishes: bool) -> Considered:
        """The same decision as for a session that connects to the broadcast. Raises `Denied`."""
        request = request_of(asked, publishes=publishes, subscribes=not publishes)
        held, loan = await considered(self.relay, request, asked)
        grant, path, refusals = held.grant, shown_path(request), self.relay.judge.refusals
        if self.relay.draining.is_set():  # as at the door: whoever comes may stay for long
            refusals.granted(LEAVING, Unavailable.status, STOPPING, held, path, "http")
            raise Denied(Unavailable.status, held.id)
        said = grant.may_publish("") if publishes else grant.may_subscribe("")
        why = hint = ""
        if not said:
            why = "the grant lies below the broadcast that is named"
        elif publishes and (why := self.relay.house.origin.reserve.bars("publish", grant.root)):
            hint = "publish elsewhere: nobody is a relay over HTTP, whatever the token says"
        if why:
            refusals.granted("no_access", Forbidden.status, why, held, path, "http", hint)
            raise Denied(Forbidden.status, held.id)
        if not asked.again:
            await come_in(self.relay, held, path, PUBLISHING if publishes else ())
        return held, loan

    async def publish(
        self, admitted: Considered, address: Address, body: bytes, is_json: bool, one_group: bool
    ) -> tuple[Sequence[Sent], bool]:
        """Publish a body at the grant's root, if that is still in force."""
        held, _ = admitted
        grant = held.grant
        self.relay.judge.require(held)
        checked = await self._check(held, address, body) if is_json else None
        # What was lent when the headers came may have been given back while the body did.
        await known(self._account(grant), PUBLISHING, self.relay.house.clock)
        self.relay.judge.require(held)
        if checked is not None:
            return self.station.publish(grant, checked, one_group), checked.many
        return self.station.publish_bytes(grant, address, body), False

    async def _check(self, held: Held, address: Address, body: bytes) -> Checked:
        """Make the records of a body ready, beside the loop where that may take long."""
        check = partial(self.station.check_json, held.grant, address, body)
        if len(body) <= SMALL:
            with contextlib.suppress(TakesLong):
                return check(at_once=True)
        return await self._aside.do(check, origin((held.remote, 0)))

    async def watch(self, admitted: Considered, address: Address, seen: Seen | None) -> Reader:
        """Frames of the broadcast at the grant's root, from the group at which whoever saw some
        goes on, or of another publisher from its first one."""
        held, loan = admitted
        rights = held.grant
        house, settings = self.relay.house, self.station.settings
        await known(self._account(rights), ("tracks", "subscribers", "egress_bits"), house.clock)
        async with self._turn:  # each may be handed thousands of groups, and others wait meanwhile
            await asyncio.sleep(0)
        self.watchers.require(held.remote)
        self.relay.judge.require(held)
        self._account(rights).require_egress(house.clock())
        found = house.origin.scope(rights.root, (), rights.subscribe).seek(ROOT)
        if found is None:
            raise Unroutable(f"no broadcast at {rights.root!r}")
        name, _ = self.station.resolved(address, rights.root)
        start = None
        if seen is not None:
            start = 0 if _counts_anew(seen, found.broadcast) else seen.resume
        tab = Tab(self._account(rights), is_seated=False)
        tab.require_track(house.clock())  # before it is looked up, and remembered
        track = found.track(name)
        follower = Follower(
            track,
            Demand(start=start, max_latency=60_000),
            house.clock,
            settings.watch_backlog_bytes,
        )
        tab.add_track(house.clock())
        reader = Reader(self, held, follower, loan, tab)
        self.watchers.take(held.remote)
        self.readers.add(reader)
        try:
            if loan is not None:
                loan.begin(reader.change, reader.over)
            if start is not None:
                self.station.recall(rights.root, track, start)
            follower.open()
            async with asyncio.timeout(self.relay.settings.web.limits.fetch_timeout):
                await follower.known()
        except BaseException:
            reader.leave()
            raise
        return reader

    def resolved(self, grant: Grant, address: Address) -> str:
        """The track's name, its newest declared version filled in."""
        return self.station.resolved(address, grant.root)[0]

    async def decrypted(
        self, grant: Grant, frames: Sequence[bytes], remote: str
    ) -> Sequence[bytes]:
        """Frames for somebody at ``remote``, with the fields in the clear that the grant opens;
        beside the loop where that may take long, since whoever publishes there may have filled
        them with such fields."""
        keys, owner, allowed = self.station.keys, owner_of(grant.root), frozenset(grant.decrypt)
        if not allowed:
            return frames

        def opened() -> Sequence[bytes]:
            return [decrypt_frame(each, keys, allowed, owner) for each in frames]

        size = sum(map(len, frames)) + len(frames)
        return opened() if size <= SMALL else await self._aside.do(opened, origin((remote, 0)))

    def recheck(self, struck: Callable[[Grant], str | None]) -> None:
        """Show out every reader whose grant is struck, and withdraw what such a grant published."""
        for reader in tuple(self.readers):
            if (why := struck(reader.grant)) is not None:
                reader.show_out("revoked", why, "revoke")
        for path, grant, why in self.station.recheck(struck):
            facts = {"target": f"/{path}", "reason": "revoked", "why": why, "kind": "http"}
            self.relay.house.audit("revoke", grant=grant, **facts)

    def tick(self, now: float) -> None:
        """What is due by time; ``now`` is monotonic seconds."""
        self.station.tick(now)
        wall = self.relay.wall()
        for reader in tuple(self.readers):
            if reader.has_expired(now, wall):
                why = f"{what_ends(reader.grant, None)} expired"
                reader.show_out("expired", why, "expire")

    def close(self) -> None:
        """The relay stops."""
        self._aside.close()
        for reader in tuple(self.readers):
            reader.end(STOPPING)

    async def routes(self, asked: Asked) -> dict[str, Any]:
        """What there is below the path, as far as the grant covers it. Raises `Denied`."""
        seen = await self.seen(await admitted(self.relay, request_of(asked), asked))
        self.relay.face.require(asked)
        return seen

    async def seen(self, grant: Grant) -> dict[str, Any]:
        """What a grant covers."""
        announced = await self.relay.face.announced(grant)
        return self.station.listing(grant) | {"announced": announced}


def _edition(broadcast: Broadcast) -> int:
    """Which of its publisher's broadcasts it is: 16 bits of the relay's id, and 48 of when it came
    here, in microseconds. Only that relay can tell another one by it."""
    return (broadcast.own & 0xFFFF) << 48 | round(broadcast.since * 1e6) & (1 << 48) - 1


def _counts_anew(seen: Seen, broadcast: Broadcast) -> bool:
    """Whether it is known not to go on with the numbers of what was seen."""
    if seen.publisher not in (0, broadcast.identity):
        return True
    edition = _edition(broadcast)
    is_from_here = seen.edition >> 48 == edition >> 48
    return seen.edition != 0 and is_from_here and seen.edition != edition
