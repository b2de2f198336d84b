"""A decision told: every step, the first rule that failed, how to mend it, and what would follow.

The law: the verdict is `decide`'s and never this module's; what a token says is shown from a closed
list of claims, so that neither the token nor a secret can leave here. This module must not know
files, the network, or how its rows are drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from relay.auth.credentials import looks_like_key
from relay.auth.decide import Decision, Request, decide
from relay.auth.grant import Grant
from relay.auth.keys import KeySet
from relay.auth.mending import mending
from relay.auth.needs import needs
from relay.auth.reason import Refusal
from relay.auth.request import find_credential
from relay.auth.sayings import algorithm, sayings, shown
from relay.auth.settings import AuthSettings
from relay.auth.specimen import Specimen, lay_open
from relay.auth.suppose import Judge, Supposition, in_words, suppose
from relay.auth.verify import describe
from relay.auth.wishes import Wish, wishes
from relay.path import ROOT, Path
from relay.reserve import NOTHING_MORE, Reserve

PASSED, WARNED, FAILED, SKIPPED, UNCHECKED = "passed", "warned", "failed", "skipped", "unchecked"
"""What became of a step: not reached is *skipped*, not possible without keys is *unchecked*."""

STAGES = ("path", "token", "size", "form", "header", "key", "signature", "claims", "time", "reach")
"""The way of every token, for saying which part of it was not reached."""

_LABELS = {"form": "decode", "reach": "root overlap"}

ELSEWHERE = (
    "another server decides (auth.url) and was not asked: this is what can be said without it"
)
"""What settings mean that leave the decision to others."""

_CERTAIN = {
    "events": frozenset({"bad_path"}),
    "api": frozenset({"bad_path", "bad_query", "token_conflict"}),
}
"""Refusals for the form of the request although another server decides, by how it is asked: in
events the query goes to it unread."""


@dataclass(frozen=True, slots=True)
class Row:
    """One step as it is shown."""

    name: str
    result: str
    """`PASSED`, `WARNED`, `FAILED`, `SKIPPED` or `UNCHECKED`."""
    detail: str


UNSPENT = "the ticket was not looked up: looking spends it"

_ASKED = Row("server", UNCHECKED, "another server decides")
_UNSPENT = Row("credential", UNCHECKED, UNSPENT)
_UNCONFIGURED = {
    "no_token": Row("public", UNCHECKED, "no configuration says what is public"),
    "unknown_token": Row("credential", UNCHECKED, "no configuration names the store it may be in"),
    "no_keys": Row("credential", UNCHECKED, "no configuration says which API keys there are"),
}
"""What a refusal is worth without a configuration, where such a credential may well be good."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything there is to say about one request."""

    verdict: str
    """``allowed``, ``denied``, or ``unchecked``: nothing is wrong, but there was no key to check or
    another server decides."""
    decision: Decision
    """The real one; without keys the one that a good signature would get. Where another server
    decides, what these settings alone say."""
    rows: tuple[Row, ...]
    mend: str
    """What to do about the refusal; empty when there is none."""
    says: dict[str, Any] | None
    """What the token says of itself, believed or not; ``None`` when nothing can be read."""
    supposition: Supposition | None
    wishes: tuple[Wish, ...]

    @property
    def otherwise(self) -> str:
        """What would follow if the refusal were mended, in a sentence; empty when unknown."""
        if self.supposition is None:
            return ""
        then, begin = self.supposition.decision, in_words(self.supposition.mended)
        if then.grant is not None:
            return f"{begin} it would be allowed: {granted(then.grant)}."
        return f"{begin} it would still be denied: {then.reason.text}."

    def members(self) -> dict[str, Any]:
        """The explanation as JSON values, without the token and without any secret."""
        then = self.supposition
        real = _judged(self.decision) if self.verdict != "unchecked" else _UNJUDGED
        supposed = self.decision if self.verdict == "unchecked" and self.decision else None
        if supposed is None and then is not None:
            supposed = then.decision
        return {
            "verdict": self.verdict,
            **real,
            "mend": self.mend,
            "token": self.says,
            "steps": [asdict(row) for row in self.rows],
            "mended": [] if then is None else [reason.code for reason in then.mended],
            "otherwise": None if supposed is None else _judged(supposed),
            "paths": [asdict(wish) for wish in self.wishes],
        }


_UNJUDGED: dict[str, Any] = {"status": None, "code": None, "reason": None, "grant": None}


def _judged(decision: Decision) -> dict[str, Any]:
    return {
        "status": decision.status,
        "code": decision.reason.code,
        "reason": decision.reason.text,
        "grant": None if decision.grant is None else rights(decision.grant),
    }


def explain(
    request: Request,
    keys: KeySet,
    settings: AuthSettings,
    now: float,
    *,
    publish: Sequence[str] = (),
    subscribe: Sequence[str] = (),
    checked: bool = True,
    judge: Judge = decide,
    reserve: Reserve = NOTHING_MORE,
) -> Explanation:
    """Tell the decision on ``request`` at ``now`` (unix seconds).

    ``checked`` is false when there is no configuration, so that a missing key is nobody's fault;
    nor is one where another server decides. ``judge`` is `decide`, with its facts where there are
    any; ``reserve`` is what only relays do there. Never raises.
    """
    token = _token(request, settings, checked)
    specimen = None if token is None else lay_open(token)
    elsewhere = settings.url is not None
    if token is not None and (elsewhere or not checked):
        told = _without_keys(request, token, settings, now, judge)
    else:
        decision = judge(request, keys, settings, now)
        told = _Told("allowed" if decision else "denied", decision, _rows(decision, specimen))
        if (row := _missing_fact(request, decision, settings, checked)) is not None:
            told = _left_open(decision, row)
    then = None
    if token is not None and not told.decision:
        then = suppose(request, token, told.decision, settings, now, judge)
    grant = told.decision.grant or (None if then is None else then.decision.grant)
    without = told.rows[-1].detail if told.verdict == "unchecked" else "there is no grant"
    asked = _place(request), publish, subscribe, without, reserve, request.transport != "http"
    return Explanation(
        verdict=told.verdict,
        decision=told.decision,
        rows=told.rows,
        mend=mending(told.decision.reason) if told.verdict == "denied" else "",
        says=None if specimen is None else sayings(specimen, settings.claims),
        supposition=then,
        wishes=tuple(wishes(grant, *asked)),
    )


def _place(request: Request) -> Path:
    """Where they connect; the very top where that is no path."""
    try:
        return request.path()
    except Refusal:
        return ROOT


class _Told(NamedTuple):
    verdict: str
    decision: Decision
    rows: tuple[Row, ...]


def _without_keys(
    request: Request, token: str, settings: AuthSettings, now: float, judge: Judge
) -> _Told:
    """What can be said when nobody knows the keys: what any key would leave to be judged."""
    probe = judge(request, KeySet(open_ended=True), settings, now)
    specimen = lay_open(token)
    then = suppose(request, token, probe, settings, now, judge, most=1)
    if probe.reason.code not in ("missing_kid", "unknown_kid") or then is None:
        told = _Told("denied", probe, _rows(probe, specimen))
    else:
        verdict = "unchecked" if then.decision else "denied"
        why = "no configuration, no key to check it with"
        if settings.url is not None:
            why = _ASKED.detail
        told = _Told(verdict, then.decision, _unchecked_rows(then.decision, specimen, why))
    goes_unread = settings.url is not None and settings.contract == "events"
    if goes_unread and told.decision.reason.code not in ("allowed", *_CERTAIN["events"]):
        return _for_the_server(told)
    return told


def _for_the_server(told: _Told) -> _Told:
    """What a token would be refused for here, where another server reads it: that one may take what
    is no JWT at all."""
    rows = [row for row in told.rows if row.result != SKIPPED]
    seen = [replace(row, result=WARNED) if row.result == FAILED else row for row in rows]
    return _Told("unchecked", told.decision, (*seen, _ASKED))


def _left_open(decision: Decision, open: Row) -> _Told:
    """What can be said of anything but a JWT where somebody else knows more: how it was read."""
    taken = [row for row in _rows(decision, None) if row.name in ("path", "token", "size")]
    passed = [row for row in taken if row.result == PASSED]
    return _Told("unchecked", decision, (*passed, open))


def _missing_fact(
    request: Request, decision: Decision, settings: AuthSettings, checked: bool
) -> Row | None:
    """What would have to be known to refuse what was refused; ``None`` where all of it was."""
    code = decision.reason.code
    if settings.url is not None:
        return _ASKED if code not in _CERTAIN[settings.contract] else None
    if code == "bad_ticket":
        return _UNSPENT if needs(request, settings).ticket is not None else None
    return None if checked else _UNCONFIGURED.get(code)


def _token(request: Request, settings: AuthSettings, checked: bool) -> str | None:
    """The JWT of a request, if that is what it brings; without a configuration what looks like an
    API key is one."""
    try:
        credential = find_credential(request, settings)
    except Refusal:
        return None
    if credential is None or (not checked and looks_like_key(credential.text)):
        return None
    return credential.text if credential.kind == "jwt" else None


def granted(grant: Grant) -> str:
    """Rights in words, seen from the root of the relay."""
    said = [
        f"{verb} {describe(tuple(grant.root.join(prefix) for prefix in prefixes))}"
        for verb, prefixes in (("publish", grant.publish), ("subscribe", grant.subscribe))
    ]
    return ", ".join(said)


def rights(grant: Grant) -> dict[str, Any]:
    """Rights as JSON values; prefixes are relative to ``root``."""
    return {
        "root": grant.root,
        "publish": list(grant.publish),
        "subscribe": list(grant.subscribe),
        "expires": grant.expires,
        "subject": grant.subject,
        "kid": grant.kid,
        "credential": grant.credential,
        "tenant": grant.tenant,
        "anonymous": grant.anonymous,
        "cluster": grant.cluster,
        "decrypt": list(grant.decrypt),
    }


def _rows(decision: Decision, specimen: Specimen | None) -> tuple[Row, ...]:
    """The steps of a decision, with those that `decide` takes without a word, and the missing."""
    rows: list[Row] = []
    names = [step.name for step in decision.steps]
    genuine = "signature" in names
    for step in decision.steps:
        if step.name == "signature" and specimen is not None:
            rows.append(Row("algorithm", PASSED, f"{algorithm(specimen)}, as the key says"))
        if step.name == "reach" and genuine and "scope" not in names:
            rows.append(Row("scope", PASSED, "the key has none, it may allow anything"))
        result = FAILED if not step.ok else WARNED if step.warning else PASSED
        label = _LABELS.get(step.name, step.name)
        if not step.ok and decision.reason.code == "bad_alg":
            label = "algorithm"
        rows.append(Row(label, result, step.detail))
    if not decision and specimen is not None:
        rows += _missing(names)
    if decision.grant is not None:
        rows.append(Row("grant", PASSED, granted(decision.grant)))
    return tuple(rows)


def _missing(names: Sequence[str]) -> Iterable[Row]:
    """The stages a refused token did not get to."""
    last = max((STAGES.index(name) for name in names if name in STAGES), default=len(STAGES))
    if names[-1] in ("issuer", "audience", "scope", "revocation"):
        last = STAGES.index("time")
    for name in STAGES[last + 1 :]:
        yield Row(_LABELS.get(name, name), SKIPPED, "not reached")


def _unchecked_rows(supposed: Decision, specimen: Specimen, why: str) -> tuple[Row, ...]:
    """The steps of a supposed decision, without what only a key can tell."""
    rows = []
    for row in _rows(supposed, specimen):
        if row.name in ("key", "signature", "scope", "algorithm"):
            rows.append(Row(row.name, UNCHECKED, why))
        elif row.name == "header" and row.result == PASSED:
            kid = specimen.header.members.get("kid")
            named = "no key id" if kid is None else f"key id {shown(kid)}"
            rows.append(Row("header", PASSED, f"{algorithm(specimen)}, {named}"))
        elif row.name == "token" and row.result == PASSED:
            rows.append(Row("token", PASSED, "one"))
        elif row.name != "size":
            rows.append(row)
    return tuple(rows)
