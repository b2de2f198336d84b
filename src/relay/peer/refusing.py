"""Who is turned away: counted, in the log and in the audit log, under the id that they are told.

The law: whoever knocked is refused once, whatever is decided after they were given up. This module
must not know sessions, nor why anybody is turned away.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from relay.auth.decide import Decision, Request
from relay.auth.mending import MENDINGS, mending
from relay.peer.house import House
from relay.peer.judgement import Held, address, undecided
from relay.session.transport import Knock

LEAVING, STOPPING = "leaving", "the relay is stopping"
"""Why nobody comes in any more, in a word and in a sentence."""

HINTS = {
    LEAVING: "connect to another relay, or when it is back",
    "over_quota": "wait until less is used, or raise the limit: relay admin quotas set, [quotas]",
}
"""How to mend what no decision says."""

MAX_PATH = 256
"""Letters of a path that are written down."""

MAX_OFFERED, MAX_NAME = 16, 64
"""Versions that somebody offers, and letters of each, that are."""


@dataclass(slots=True)
class Pending:
    """Somebody who is being decided on."""

    id: str
    """What they are told if it is a no."""
    request: Request
    remote: str
    """Their address."""
    is_given_up: bool = False
    """Whether they were turned away since it took too long."""


class Refusals:
    """Everybody who was turned away at one door."""

    def __init__(self, house: House) -> None:
        self.counts: dict[str, int] = {}
        """By reason code."""
        self._house = house

    def decided(self, decision: Decision, request: Request, remote: str, id: str) -> None:
        """By a decision."""
        reason, path, via = decision.reason, shown_path(request), request.transport
        self._log(
            reason.code,
            decision.status,
            id=id,
            why=reason.text,
            hint=mending(reason),
            path=path,
            transport=via,
            remote=remote,
        )
        self._house.audit(
            "deny",
            id=id,
            reason=reason.code,
            remote=remote,
            target=path,
            kind=via,
            holder=decision.holder,
        )

    def give_up(self, pending: Pending, setting: str) -> None:
        """Since there was no decision within the time that ``setting`` names."""
        pending.is_given_up = True
        self.decided(undecided(setting), pending.request, pending.remote, pending.id)

    def no_version(self, knock: Knock) -> str:
        """Since we have no version in common; under which id."""
        offered = [each[:MAX_NAME] for each in knock.offered[:MAX_OFFERED]]
        return self._unasked(knock, "version", 400, offered=offered)

    def leaving(self, knock: Knock) -> str:
        """Since the relay is about to stop, whoever they are; under which id."""
        return self._unasked(knock, LEAVING, 503, why=STOPPING, transport=knock.transport)

    def granted(
        self,
        code: str,
        status: int,
        why: str,
        held: Held,
        path: str = "",
        via: str = "",
        hint: str = "",
    ) -> None:
        """Although there is a grant; ``path`` is where they wanted to go, if not to its root, and
        ``hint`` is what to do about it, if not what the code says."""
        place = path or f"/{held.grant.root}"
        hint = hint or MENDINGS.get(code) or HINTS.get(code, "")
        said = {"why": why, "hint": hint, "path": place, "remote": held.remote}
        self._log(code, status, id=held.id, **said)
        self._house.audit(
            "deny",
            grant=held.grant,
            id=held.id,
            reason=code,
            remote=held.remote,
            target=path,
            kind=via,
            why=why,
        )

    def unheard(self, code: str, status: int, why: str, remote: str, count: int = 0) -> None:
        """Before they could say what they want, so that they were told no id: one, or ``count``
        of them together, the last of whom came from ``remote``."""
        about: dict[str, Any] = {"why": why, "remote": remote}
        if count:
            about["count"] = count
        self._log(code, status, **about)
        self._house.audit("deny", reason=code, **about)

    def _unasked(self, knock: Knock, code: str, status: int, **said: Any) -> str:
        """Whatever they want; under which id."""
        id, remote = secrets.token_hex(6), address(knock)
        self._log(code, status, id=id, **said, remote=remote)
        self._house.audit("deny", id=id, reason=code, remote=remote, kind=knock.transport)
        return id

    def _log(self, code: str, status: int, **said: Any) -> None:
        self.counts[code] = self.counts.get(code, 0) + said.get("count", 1)
        self._house.log("refused", reason=code, status=status, **said)


def shown_path(request: Request) -> str:
    """Where somebody wanted to go, without what proves that they may."""
    return request.dialled[:MAX_PATH]
