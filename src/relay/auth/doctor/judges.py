"""The judges: which rules each reader of the field applies, in its order, and what it overlooks.

The law: the first objection is the verdict; what a judge takes without looking is a remark; our own
verdict is `decide`'s. This module must not know where a token or a key came from.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from relay.auth.decide import Request, decide
from relay.auth.doctor import content, form
from relay.auth.doctor.case import UNCHECKED, Case
from relay.auth.doctor.form import Rule
from relay.auth.keys import KeySet
from relay.auth.mending import mending
from relay.auth.settings import AuthSettings
from relay.auth.suppose import resigned
from relay.auth.verify import FAR_FUTURE


class Judge(NamedTuple):
    """One reader of tokens."""

    name: str
    """Short and stable, for machines."""
    title: str
    """For people."""
    rules: tuple[Rule, ...]
    remarks: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one judge thinks."""

    name: str
    title: str
    accepts: bool
    why: str
    """The first objection; empty when there is none."""
    remarks: tuple[str, ...] = ()
    """What it overlooks, when it accepts."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All opinions, ours last."""

    opinions: tuple[Opinion, ...]
    signature: str
    """``good``, ``bad`` or ``unchecked``; when unchecked, acceptance means: if it is good."""


def _remark(claim: str, text: str) -> Rule:
    """A remark when the claim is there."""
    return lambda case: text if claim in case.claims else None


def _ignores_time(case: Case) -> str | None:
    return "nbf is not looked at" if content.not_early(case) else None


def _ignores_crit(case: Case) -> str | None:
    return "crit is not looked at" if "crit" in case.header else None


def _never_expires(case: Case) -> str | None:
    return "it never expires" if case.claims.get("exp") is None else None


def _milliseconds(case: Case) -> str | None:
    exp = case.claims.get("exp")
    far = isinstance(exp, int | float) and exp > case.now + FAR_FUTURE
    return "exp looks like milliseconds: it lives for centuries" if far else None


def _ignores_scope(case: Case) -> str | None:
    return "the key's scope is not looked at" if content.in_scope(case) else None


def _lenient(case: Case) -> str | None:
    return f"{case.specimen.letters} is taken" if case.specimen.letters else None


def _last_wins(case: Case) -> str | None:
    twice = sorted(case.specimen.claims.twice | case.specimen.header.twice)
    return f"of {twice[0]} given twice the last is taken" if twice else None


def _empty_lists(case: Case) -> str | None:
    return "and yet it allows nothing" if content.useful(case) else None


def _no_rights(case: Case) -> str | None:
    return "and yet it allows nothing there" if content.authorized(case) else None


def _stars(case: Case) -> str | None:
    texts = [item for name in ("put", "get") for item in case.claims.get(name) or ()]
    return "* is taken literally" if any("*" in text for text in texts) else None


_no_cluster = _remark("cluster", "cluster is ignored")
_COMMON = (_never_expires, _milliseconds)
_LEGACY = (
    _remark("pub", "pub is not looked at: today it is put"),
    _remark("publish", "publish is not looked at: on the wire it is put"),
    _remark("subscribe", "subscribe is not looked at: on the wire it is get"),
)
_RUST_FORM = (
    form.three_parts,
    form.strict_letters,
    form.readable_header,
    form.rust_header,
    form.algorithm_fits,
    form.signed,
    form.readable_claims,
)

GUIDE = Judge(
    "guide",
    "the guide's moq-token (0.5)",
    # moq-token 0.5.8 key.rs decode() and claims.rs, moq-relay auth.rs of the same commit.
    (
        form.key_is_json,
        form.key_names_operations,
        form.key_is_named,
        form.key_verifies,
        *_RUST_FORM,
        content.rust_claims,
        content.cluster_is_flag,
        content.no_audience,
        content.not_expired,
        content.useful,
        content.at_or_below_root,
    ),
    (*_COMMON, *_LEGACY, _ignores_time, _ignores_crit, _ignores_scope, _stars, _no_rights),
)

RUST = Judge(
    "moq-token",
    "moq-token 0.7 (Rust)",
    # moq-token 0.7.2 key.rs verify(), set.rs, claims.rs authorize(); moq-relay 0.14 auth.rs.
    (
        form.key_is_long,
        form.key_is_found,
        form.key_verifies,
        *_RUST_FORM,
        content.rust_claims,
        content.no_audience,
        content.not_expired,
        content.useful,
        content.in_scope,
        content.authorized,
    ),
    (*_COMMON, *_LEGACY, _ignores_time, _ignores_crit, _no_cluster, _stars),
)

NPM = Judge(
    "@moq/token",
    "npm @moq/token 0.2.3",
    # @moq/token 0.2.3 key.js verify(), claims.js; jose 6 jws_verify.js, jwt_claims_set.js.
    (
        form.key_names_operations,
        form.key_is_long,
        form.key_verifies,
        form.three_parts,
        form.readable_header,
        form.jose_critical,
        form.algorithm_fits,
        form.signed,
        form.readable_claims,
        content.jose_time,
        content.zod_claims,
        content.path_is_root,
    ),
    (
        *(*_COMMON, *_LEGACY, _lenient, _last_wins, _empty_lists, _ignores_scope),
        *(_remark("aud", "aud is not looked at"), _no_cluster, _stars),
    ),
)

AUTH = Judge(
    "moq-auth",
    "moq-auth 0.2 (Rust)",
    # moq-auth 0.2 key.rs verify(), validate_times(); wire.rs; claims.rs authorize().
    (
        form.key_has_kty,
        form.key_is_long,
        form.key_is_found,
        form.key_verifies,
        *_RUST_FORM,
        content.only_known_claims,
        content.one_encoding,
        content.rust_claims,
        content.patterns_hold,
        content.not_expired,
        content.not_early,
        content.useful_patterns,
        content.in_scope,
        content.authorized_patterns,
    ),
    (*_COMMON, _ignores_crit),
)

JUDGES = (GUIDE, RUST, NPM, AUTH)
"""The foreign judges, oldest first."""

OURS = "relay"
"""The name of our own verdict."""


def diagnose(case: Case, token: str) -> Diagnosis:
    """Every judge's opinion of ``token``, which is what ``case`` lays open. Never raises."""
    opinions = tuple(_opinion(judge, case) for judge in JUDGES)
    return Diagnosis((*opinions, _ours(case, token)), case.signature())


def _opinion(judge: Judge, case: Case) -> Opinion:
    why = next((why for rule in judge.rules if (why := rule(case))), "")
    remarks = () if why else tuple(_said(judge.remarks, case))
    return Opinion(judge.name, judge.title, not why, why, remarks)


def _said(remarks: Iterable[Rule], case: Case) -> Iterable[str]:
    return (text for remark in remarks if (text := remark(case)))


def _ours(case: Case, token: str) -> Opinion:
    """Our decision by the default settings; without a key that of the same payload, well signed."""
    title = "this relay"
    if case.bench is not None and case.bench.keys is None:
        return Opinion(OURS, title, False, f"the key is not usable: {case.bench.trouble}")
    keys = KeySet() if case.bench is None else case.bench.keys or KeySet()
    text = token
    if case.signature() == UNCHECKED and case.bench is None:
        genuine = resigned(token)
        if genuine is None:
            why = case.specimen.strict or "not a token"
            return Opinion(OURS, title, False, f"not a token: {why}")
        text, keys = genuine
    path = case.root if case.path is None else case.path
    decision = decide(Request(target=path, bearer=text), keys, AuthSettings(), case.now)
    if decision:
        return Opinion(OURS, title, True, "", decision.warnings)
    return Opinion(OURS, title, False, f"{decision.reason.text}: {mending(decision.reason)}")
