"""The bench that judges for other relays: the keys and records of a relay, and no sessions.

The law: it decides as the relay's own door would, with the same keys, facts and settings; whatever
takes rights away is passed on to the relays at once. This module must not know HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from relay.auth.certificate import Certificate
from relay.auth.decide import Decision, decide
from relay.auth.grant import Grant
from relay.auth.keys import Key
from relay.auth.needs import needs
from relay.auth.request import Request
from relay.auth.revocation import Holder
from relay.auth.settings import AuthSettings
from relay.errors import Unavailable
from relay.keyring import Change, Keyring
from relay.path import ROOT, Path
from relay.records.audit import Fact
from relay.records.desk import Desk
from relay.sidecar.push import Push
from relay.sidecar.tally import Tally

Log = Callable[..., None]


class Bench:
    """Judges by one relay's settings. `run` it in a task of the owner's."""

    def __init__(
        self,
        settings: AuthSettings,
        keyring: Keyring,
        desk: Desk,
        push: Push,
        log: Log,
        wall: Callable[[], float] = time.time,
        keeps: bool = False,
    ) -> None:
        """``wall`` tells unix seconds. The desk is the caller's to close; ``keeps`` has decisions
        written to its audit log."""
        self.wall = wall
        self._keeps = keeps
        self._tally = Tally()
        self._settings = settings
        self._keyring = keyring
        self._desk = desk
        self._push = push
        self._log = log
        keyring.on_change(self._rekeyed)
        desk.feed.listeners.append(lambda entry: push.nudge())

    async def judge(self, request: Request, certificate: Certificate | None) -> Decision:
        """The one decision, with the key asked for and the facts looked up."""
        wanted = needs(request, self._settings)
        if wanted.jwt:
            await self._keyring.need(wanted.kid)
        facts = await self._desk.facts(request, certificate)
        facts = replace(facts, silence=self._keyring.silence_about(wanted.kid))
        decision = decide(request, self._keyring.keys, self._settings, self.wall(), facts)
        if decision.grant is not None:
            self._desk.admitted(decision.grant)
        return decision

    async def find(self, kid: str, path: Path) -> Key | None:
        """The key of that id, unless tokens signed by it may be revoked below ``path``.

        When a token was issued only its reader will know, so a revocation of what was issued before
        some moment counts as one of everything. Raises `Unavailable` where nobody can tell.
        """
        await self._keyring.need(kid)
        key = self._keyring.keys.find(kid)
        facts = await self._desk.facts(Request(target=f"/{path}"))
        holder = Holder(kid=kid, tenant=path.first)
        unknown = facts.unavailable or ("" if key is not None else self._keyring.silence_about(kid))
        if unknown:
            raise Unavailable(unknown)
        return None if facts.revoked(holder, self.wall()) is not None else key

    async def push(self, query: str) -> int:
        """Have the relays ask again about the sessions ``query`` selects; how many heard it."""
        return await self._push.push(query)

    def log(self, event: str, **facts: Any) -> None:
        """Write a line; never a token or a query among the facts."""
        self._log(event, **facts)

    def note(self, action: str, told: Mapping[str, Any], grant: Grant | None = None) -> None:
        """Count a decision (``allow``, ``renew``, ``lookup`` or ``deny``) and, but for renewals,
        write it to the audit log."""
        asked = told["asked"]
        if action == "deny":
            self._tally.refuse(asked, told["reason"])
        else:
            self._tally.count(asked, "allow")
        if self._keeps and action != "renew":
            self._desk.scribe.note(_fact(action, told, grant))

    def metrics(self) -> bytes:
        """What was counted, as Prometheus reads it."""
        return self._tally.text()

    async def run(self) -> None:
        """Keep keys and revocations current and the relays informed, until cancelled; first of what
        was taken from somebody while nobody looked."""
        self._push.nudge()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keyring.run())
            tasks.create_task(self._desk.run())
            tasks.create_task(self._push.run())

    def _rekeyed(self, change: Change) -> None:
        if change.removed:
            self._push.nudge()


def _fact(action: str, told: Mapping[str, Any], grant: Grant | None) -> Fact:
    """A decision for the audit log: what the asking relay told, and who it turned out to be."""
    detail = [f"{told['asked']} over {told['transport']}"]
    if "session" in told:
        detail.append(f"session {told['session']} of {told['node']}")
    if told.get("key"):
        detail.append("with the key")
    who = grant or Grant(ROOT)
    return Fact(
        action,
        actor="anonymous" if who.anonymous else who.subject or who.jti or "",
        target=told["path"],
        address=told["remote"] or "",
        kid=who.kid or told.get("kid", ""),
        jti=who.jti or "",
        reason=told.get("reason", ""),
        detail=", ".join(detail),
        tenant=who.tenant or "",
        id=told.get("id", ""),
    )
