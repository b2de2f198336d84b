"""The audit log as values: what happened, as an entry of a chain that shows when it was tampered
with, and what is asked of it.

The law: nothing that looks like a credential becomes part of an entry, whoever says it; each entry
names the hash of the one before. There is one chain for a store, however many relays write, so that
the order of what happened is one order: writers take turns, a batch at a time. This module must not
know where entries are kept nor who writes.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any

from relay.errors import BadRequest

MAX_TEXT = 512
"""Characters of each text of an entry; longer ones are cut."""

MAX_LIMIT = 200
"""Entries that one query answers."""

FIRST = "0" * 64
"""What the first entry of a chain names as the hash before it."""

FORMAT = 2
"""What entries are written in. The first had neither tenant nor id, and the id as the reason."""

PRUNED = "audit.pruned"
"""The action of an entry that says that older ones were deleted."""

HIDDEN = "(credential)"

SHORTEST = 18
"""Characters below which a single word is no credential of any kind."""

_CREDENTIALS = (
    # Looked for where letters begin only, or long texts take square time; and by what host names,
    # dotted names and paths are not, since who and where is what the log is for.
    re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_=-]*\.[A-Za-z0-9_=-]{2,}\.[A-Za-z0-9_=-]*"),  # JWT
    re.compile(r"(?<![A-Za-z0-9_=-])[A-Za-z0-9_=-]{8,}\.[A-Za-z0-9_=-]{2,}\.[A-Za-z0-9_=-]{32,}"),
    re.compile(r"(?<![A-Za-z0-9])mq_[A-Za-z0-9]{12}_[A-Za-z0-9]+"),  # API token
    re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{32,}\.[A-Za-z0-9_-]{8,}"),  # API key: secret.salt
    re.compile(r"eyJ[A-Za-z0-9_=-]{15,}"),  # a piece of a JWT; the others may hold such letters too
)
_LOOSE = (
    re.compile(r"(?i)(?:jwt|ticket|token|key|secret|password|authorization)=[^&\s]+"),
    re.compile(r"(?i)(?:bearer|basic)\s+\S+"),
    re.compile(r"-----BEGIN[^-]*-----.*", re.DOTALL),
    re.compile(r"[A-Za-z0-9_-]{40,}=*"),  # ticket, or any key in hex or base64 for URLs
    re.compile(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{40,}={1,2}"),  # any key in base64
)
_NAMES = ("kid", "jti")
"""Fields that name something and may be as long and as random as a secret is."""

EXACT = ("actor", "reason", "tenant", "id")
"""What of a `Query` must be just that in an entry."""

_RELATIVE = re.compile(r"now(?:-([0-9]{1,9})([smhdw]))?")
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
"""Seconds of each letter that a span ends with, wherever one is written."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened. All texts are for the operator."""

    action: str
    """What: ``allow``, ``deny``, ``expire``, ``revoke``, ``breach``, or what an operator did, such
    as ``quota.set``."""
    actor: str = ""
    """Who: the subject of a credential, or an operator."""
    target: str = ""
    """To what: a path, a tenant, a key, a session."""
    address: str = ""
    """From where."""
    kid: str = ""
    jti: str = ""
    reason: str = ""
    """Why, in one word that can be counted: a code of `relay.auth.reason`, or a quota's name."""
    detail: str = ""
    at: float = 0.0
    """Unix seconds."""
    node: str = ""
    """Which relay wrote it."""
    tenant: str = ""
    id: str = ""
    """Under which the stranger and the log know a decision, or a session."""

    @property
    def is_anybodys(self) -> bool:
        """Whether anybody can cause it as often as he likes, with no credential that is good."""
        return self.action == "deny" or (self.action == "allow" and self.actor == "anonymous")


@dataclass(frozen=True, slots=True)
class Entry:
    """A fact in its place in the chain."""

    number: int
    """From 1, without gaps."""
    at: int
    """Microseconds since 1970: a whole number, so that everybody hashes the same."""
    node: str
    actor: str
    action: str
    target: str
    address: str
    kid: str
    jti: str
    reason: str
    detail: str
    previous: str
    """Hash of the entry before."""
    hash: str = ""
    tenant: str = ""
    id: str = ""
    format: int = 1
    """How it was hashed: 1 without what came later, which is then empty."""

    def row(self) -> dict[str, Any]:
        """Its members by name."""
        return dict(zip(_MEMBERS, _ALL(self), strict=True))

    @classmethod
    def of(cls, fact: Fact, number: int, previous: str) -> Entry:
        """The fact as the entry of that number. The only way in: credentials are taken out here."""
        said = {name: hidden(getattr(fact, name), name in _NAMES) for name in _SAID}
        at = round(fact.at * 1_000_000)
        entry = cls(number=number, at=at, previous=previous, format=FORMAT, **said)
        return replace(entry, hash=entry.digest())

    def digest(self) -> str:
        """What ``hash`` must be: SHA-256 of the other members, as JSON in the order above."""
        is_first = self.format == 1 and not (self.tenant or self.id)
        values = _FIRST_HASHED(self) if is_first else _HASHED(self)
        # What was put there by another hand may be no text at all; it is hashed to something else.
        text = json.dumps(values, ensure_ascii=True, separators=(",", ":"), default=repr)
        return hashlib.sha256(text.encode()).hexdigest()


_SAID = tuple(field.name for field in fields(Fact) if field.name != "at")
"""What of a fact is text and becomes part of an entry as it is, but for credentials."""

_MEMBERS = tuple(field.name for field in fields(Entry))
_LATER = ("tenant", "id", "format")
"""What the first format of entries did not have."""

_ALL = attrgetter(*_MEMBERS)
_HASHED = attrgetter(*(name for name in _MEMBERS if name != "hash"))
_FIRST_HASHED = attrgetter(*(name for name in _MEMBERS if name not in ("hash", *_LATER)))


def hidden(text: str, is_name: bool = False) -> str:
    """``text`` without anything that looks like a credential, in one line, not too long.

    ``is_name`` lets pass what may be a long random name and is no whole credential.
    """
    if len(text) < SHORTEST and text.isprintable() and "=" not in text and " " not in text:
        return text.encode("utf-8", "replace").decode()
    for pattern in _CREDENTIALS if is_name else (*_CREDENTIALS, *_LOOSE):
        text = pattern.sub(HIDDEN, text)
    plain = "".join(letter if letter.isprintable() else "·" for letter in text[: MAX_TEXT + 1])
    plain = plain.encode("utf-8", "replace").decode()
    return plain if len(plain) <= MAX_TEXT else plain[: MAX_TEXT - 1] + "…"


def linked(facts: Iterable[Fact], number: int, previous: str) -> list[Entry]:
    """The facts as entries, the first with that number."""
    entries: list[Entry] = []
    for fact in facts:
        entry = Entry.of(fact, number + len(entries), previous)
        entries.append(entry)
        previous = entry.hash
    return entries


class Walk:
    """A chain looked at from its beginning: `bound` it, `see` the entries in order, `end`."""

    def __init__(self) -> None:
        self.count = 0
        self.broken: str | None = None
        """The first thing that is wrong; nothing after it means anything."""
        self.last: Entry | None = None
        self._start: Entry | None = None
        self._pruned: set[str] = set()

    def bound(self, outermost: Iterable[Entry], length: int) -> None:
        """Before the first `see`: none of ``outermost``, those with the least and the greatest
        number, may stand beyond the ``length`` entries that were ever written."""
        for entry in outermost:
            # What was put there by another hand may have a text for its number.
            if not (isinstance(entry.number, int) and 1 <= entry.number <= length):
                self.broken = f"entry {entry.number!r:.40} does not belong to the chain of {length}"
                return

    def see(self, entry: Entry) -> None:
        """One more entry."""
        if self.broken is not None:
            return
        last = self.last
        if last is None:
            self._start = entry
        if last is not None and entry.number != last.number + 1:
            self.broken = f"entry {last.number + 1} is missing (the next is {entry.number})"
        elif last is not None and entry.previous != last.hash:
            self.broken = f"entry {entry.number} does not follow entry {last.number}"
        elif entry.hash != entry.digest():
            self.broken = f"entry {entry.number} was changed"
        else:
            if entry.action == PRUNED:
                self._pruned.add(entry.target)
            self.last = entry
            self.count += 1

    def end(self, length: int) -> None:
        """That was all, and ``length`` entries were ever written."""
        start, last = self._start, self.last
        if self.broken is not None:
            return
        if (last.number if last is not None else 0) != length:
            self.broken = f"entries after {last.number if last else 0} are missing, up to {length}"
        elif start is not None and start.number == 1 and start.previous != FIRST:
            self.broken = "entry 1 is not the first"
        elif start is not None and start.number > 1 and f"{start.number - 1}" not in self._pruned:
            self.broken = f"entries before {start.number} are missing, and none says why"


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of the log. Empty texts are not looked at."""

    since: float | None = None
    """Unix seconds, included."""
    until: float | None = None
    """Unix seconds, excluded."""
    actor: str = ""
    action: str = ""
    """A whole action, or the first word of several: ``quota`` finds ``quota.set``."""
    target: str = ""
    """A whole target, or its beginning with a ``*`` after it."""
    reason: str = ""
    tenant: str = ""
    id: str = ""
    before: int | None = None
    """Entries with smaller numbers only: the cursor of the next page."""
    limit: int = 50


def read_query(members: Mapping[str, str], now: float) -> Query:
    """A query from the texts of a request or a command line. Raises `BadRequest`."""
    unknown = set(members) - {"from", "to", *EXACT, "action", "target", "cursor", "limit"}
    if unknown:
        raise BadRequest(f"the audit log is not asked by {', '.join(sorted(unknown))[:80]}")
    cursor, limit = members.get("cursor", ""), members.get("limit", "50")
    if cursor and not re.fullmatch(r"[0-9]{1,18}", cursor):
        raise BadRequest("cursor is the number that the page before ended with")
    if not re.fullmatch(r"[0-9]{1,3}", limit) or not 1 <= int(limit) <= MAX_LIMIT:
        raise BadRequest(f"limit is 1 to {MAX_LIMIT}")
    return Query(
        since=_moment(members.get("from", ""), now, "from"),
        until=_moment(members.get("to", ""), now, "to"),
        actor=members.get("actor", ""),
        action=members.get("action", ""),
        target=members.get("target", ""),
        reason=members.get("reason", ""),
        tenant=members.get("tenant", ""),
        id=members.get("id", ""),
        before=int(cursor) if cursor else None,
        limit=int(limit),
    )


def _moment(text: str, now: float, name: str) -> float | None:
    """Unix seconds of ``now-1h`` or of unix seconds."""
    if not text:
        return None
    if found := _RELATIVE.fullmatch(text):
        # Nothing is older than 1970, and no store takes moments that are.
        return max(0.0, now - int(found[1] or 0) * UNITS[found[2] or "s"])
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", text):
        return float(text)
    raise BadRequest(f"{name} is unix seconds, now, or now-15m, now-1h, now-7d")
