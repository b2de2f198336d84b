"""Who gathers what a decision needs: keys by their names, the store's facts, revocations.

It brings two rooms together that do not know each other, the keyring and the records, and is asked
by the judge. Its law: what is known is answered at once, so that only a stranger's unknown key or a
credential of the store ever makes anybody wait. This module must not know sessions.
"""

from __future__ import annotations

from dataclasses import replace

from relay.auth.certificate import Certificate
from relay.auth.facts import Facts
from relay.auth.grant import Grant
from relay.auth.needs import needs
from relay.auth.request import Request
from relay.keyring import Keyring
from relay.records.desk import Desk


class Clerk:
    """The relay's own clerk (see `relay.peer.judgement.Clerk`)."""

    def __init__(self, keyring: Keyring, desk: Desk) -> None:
        self.keyring = keyring
        self.desk = desk

    def at_once(self, request: Request, certificate: Certificate | None) -> Facts | None:
        """The facts when nothing has to be waited for, else ``None``."""
        kid = None
        if self.keyring.asks_others:  # else reading the token for its key is work for nothing
            kid = self._kid(request)
            if kid is not None and self.keyring.may_come(kid):
                return None
        facts = self.desk.facts_at_once(request, certificate)
        return None if facts is None else self._with_silence(facts, kid)

    async def gather(self, request: Request, certificate: Certificate | None) -> Facts:
        """The facts, however long they take. Never raises."""
        kid = self._kid(request)
        await self.keyring.need(kid)
        facts = await self.desk.facts(request, certificate)
        if facts.ticket is not None and self.desk.auth.ends_with_key:
            kid = self.keyring.keys.origin(facts.ticket.kid, facts.ticket.parent_kids)
            await self.keyring.need(kid)
        return self._with_silence(facts, kid)

    def _kid(self, request: Request) -> str | None:
        """The key that has to be known: the one that signed, or what came to be by another's."""
        wanted = needs(request, self.desk.auth)
        return self.keyring.keys.origin(wanted.kid, wanted.parents)

    def _with_silence(self, facts: Facts, kid: str | None) -> Facts:
        """The facts, and why the key may be missing."""
        silence = self.keyring.silence_about(kid)
        return replace(facts, silence=silence) if silence else facts

    async def give_back(self, request: Request, facts: Facts) -> None:
        """A ticket was spent on a request that lets nobody in: it is as before. Never raises."""
        await self.desk.give_back(request, facts)

    def admitted(self, grant: Grant) -> None:
        """Somebody came in: what they used was used just now."""
        self.desk.admitted(grant)
