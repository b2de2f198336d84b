"""Asking an authorization server about a guest, by either contract, failing closed.

The law: only a clear and complete yes admits; a refusal, a server that is down or slow, and an
answer that cannot be honoured are each a no with a reason of their own. This module must not know
sessions, doors, or how often to ask again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from relay.auth.decide import Decision, require_unrevoked
from relay.auth.facts import NO_FACTS, Facts
from relay.auth.grant import Grant
from relay.auth.needs import needs
from relay.auth.reason import Reason, Refusal, Step, quoted
from relay.auth.request import find_credential, read_path
from relay.auth.settings import AuthSettings
from relay.auth.vouch import beside
from relay.path import Path
from relay.sidecar import lookup
from relay.sidecar.inquiry import Ending, Inquiry
from relay.sidecar.link import Link, Reply, Unreachable
from relay.sidecar.terms import Fault, read_terms

REFUSED, INVALID, OUTAGE = "server_refused", "server_invalid", "unavailable"
"""Reasons found here: the server said no | its answer cannot be honoured | there is no answer."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A decision made with another's help, and how long it may be relied on."""

    decision: Decision
    revalidate: float | None = None
    """Seconds until the server wants to be asked again; ``None`` = never."""

    def __bool__(self) -> bool:
        return bool(self.decision)

    @property
    def grant(self) -> Grant | None:
        """The rights, when there are any."""
        return self.decision.grant

    @property
    def is_outage(self) -> bool:
        """Whether it says nothing about the guest: a grant that stands may stand on."""
        return self.decision.reason.code == OUTAGE


class AuthClient:
    """Asks one server about guests. ``wall`` tells unix seconds; the link is the caller's to close.

    By the contract ``events`` the server decides, asked at connect, on its cadence, and told the
    end; by ``api`` it tells the key, and the relay decides under ``settings``.
    """

    def __init__(self, link: Link, settings: AuthSettings, wall: Callable[[], float]) -> None:
        self._link = link
        self._settings = settings
        self._wall = wall

    async def connect(self, inquiry: Inquiry, facts: Facts = NO_FACTS) -> Admission:
        """Whether somebody may come in. Never raises for anything the guest or the server does.

        ``facts`` are what the relay's own decision may know, where it is the relay's.
        """
        return await self._ask(replace(inquiry, event="connect", ending=None), facts)

    async def revalidate(self, inquiry: Inquiry, facts: Facts = NO_FACTS) -> Admission:
        """Whether somebody may stay. An outage (`Admission.is_outage`) is not a no."""
        return await self._ask(replace(inquiry, event="revalidate", ending=None), facts)

    async def end(self, inquiry: Inquiry, ending: Ending) -> None:
        """Tell that a session has ended. Raises `Unreachable` when nobody listened."""
        if self._settings.contract == "events":
            await self._link.tell(replace(inquiry, event="end", ending=ending).dump())

    async def _ask(self, inquiry: Inquiry, facts: Facts) -> Admission:
        try:
            path = read_path(inquiry.path)
            if "?" in path:  # of an HTTP address; a server would take it for another, with a query
                raise Refusal("bad_path", f"a question mark in {quoted('/' + path)}")
            steps = (Step("path", True, f"connects to {quoted('/' + path)}"),)
            if self._settings.contract == "events":
                return await self._post(inquiry, path, steps, facts)
            return await self._get(inquiry, path, steps, facts)
        except Unreachable as error:
            refusal = Refusal(OUTAGE, str(error), "see whether the authorization server is up")
        except Fault as fault:
            refusal = Refusal(INVALID, f"{fault} ({fault.code})", "mend the authorization server")
        except UnicodeError:
            refusal = Refusal("bad_query", "characters that cannot be sent on")
        except Refusal as error:
            refusal = error
        return _refused((), refusal)

    async def _post(
        self, inquiry: Inquiry, path: Path, steps: tuple[Step, ...], facts: Facts
    ) -> Admission:
        reply = await self._link.post(inquiry.dump())
        if reply.refusal is not None:
            return self._no(steps, reply)
        try:
            terms = read_terms(reply.members)
        except ValueError as error:
            raise Unreachable(
                f"{self._link.host} answered with what is no grant: {error}"
            ) from None
        try:
            terms.check(self._wall())
            grant, unsaid = terms.granted(path)
        except Fault as fault:
            if fault.code != "nothing_granted":
                raise
            return _refused(steps, Refusal(REFUSED, str(fault)))
        require_unrevoked(grant, facts, self._wall())
        grant = replace(_narrowed(grant, inquiry), beside=beside(facts.certificate, grant.root))
        if not (grant.publish or grant.subscribe):
            text = "the guest wants what the server does not grant"
            return _refused(steps, Refusal("role_not_granted", text))
        told = f"{self._link.host} grants {len(grant.publish)} + {len(grant.subscribe)} prefixes"
        steps = (*steps, Step("server", True, told))
        if unsaid:
            left = ", ".join(repr(pattern[:80]) for pattern in unsaid[:4])
            text = f"left out, only subtrees (p/**) can be granted here: {left}"
            steps = (*steps, Step("patterns", True, text, warning=True))
        decision = Decision(True, grant, steps, Reason("allowed", told), 200)
        cadence = None if terms.revalidate is None else float(terms.revalidate)
        return Admission(decision, cadence)

    async def _get(
        self, inquiry: Inquiry, path: Path, steps: tuple[Step, ...], facts: Facts
    ) -> Admission:
        try:
            request = inquiry.request()
        except ValueError as error:
            raise Refusal("malformed", str(error)) from None
        find_credential(request, self._settings)
        kid = needs(request, self._settings).kid
        asked = lookup.question(path, kid, inquiry.certificate is not None, inquiry.transport)
        reply = await self._link.get(asked)
        if reply.refusal is not None:
            return self._no(steps, reply)
        try:
            answer = lookup.read_answer(reply.members)
        except ValueError as error:
            raise Unreachable(f"{self._link.host} answered with nothing usable: {error}") from None
        decision = lookup.settle(answer, request, path, self._settings, self._wall(), facts)
        told = Step("server", True, f"{self._link.host} answered")
        return Admission(replace(decision, steps=(told, *decision.steps)))

    def _no(self, steps: tuple[Step, ...], reply: Reply) -> Admission:
        assert reply.refusal is not None
        status, text = reply.refusal
        refusal = Refusal(REFUSED, f"{self._link.host} refused: {text}")
        refusal.status = status
        return _refused(steps, refusal)


def _refused(steps: tuple[Step, ...], refusal: Refusal) -> Admission:
    step = Step(refusal.step, False, refusal.reason.text)
    return Admission(Decision(False, None, (*steps, step), refusal.reason, refusal.status))


def _narrowed(grant: Grant, inquiry: Inquiry) -> Grant:
    """The grant without the role that the guest said it does not want."""
    return replace(
        grant,
        publish=() if inquiry.role == "subscriber" else grant.publish,
        subscribe=() if inquiry.role == "publisher" else grant.subscribe,
    )
