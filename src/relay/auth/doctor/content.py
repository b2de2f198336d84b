"""How other readers take a token's claims, its times, its scope and the path: one rule each.

The law: a rule answers with its objection or with nothing, looks at the case only, and says in a
comment where it stands in its own project. This module must not know how we decide.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from relay.auth.doctor.case import Case
from relay.auth.pattern import pattern_fault, reaches
from relay.auth.sayings import shown
from relay.errors import BadRequest
from relay.path import Path

_I64 = range(-(2**63), 2**63)
_GRANTS = {"put": "publish", "get": "subscribe"}


# -- claims ----------------------------------------------------------------------------------------


def rust_claims(case: Case) -> str | None:
    # claims.rs: a struct with serde; each member once, root a string, put and get never null,
    # times whole numbers (TimestampSeconds<i64>) or null (#922).
    leaf = case.specimen.claims
    if twice := sorted(leaf.twice & {"root", "put", "get", "exp", "iat", "nbf", "iss", "aud"}):
        return f"the claim {twice[0]} is there twice"
    if leaf.marked:
        return "a byte order mark stands before the payload"
    if not isinstance(case.claims.get("root", ""), str):
        return "the claim root is not a string"
    if fault := _grants_fault(case):
        return fault
    return _untimely(case, ("exp", "iat"), whole=True)


def cluster_is_flag(case: Case) -> str | None:
    # moq-token 0.5.8 claims.rs: cluster is a bool; removed by #1322.
    fits = isinstance(case.claims.get("cluster", False), bool)
    return None if fits else "the claim cluster is not true or false"


def no_audience(case: Case) -> str | None:
    # jsonwebtoken validation.rs: an aud is refused when no audience is configured.
    audience = case.claims.get("aud")
    if isinstance(audience, str | list):
        return "it names an audience (aud), and none can be configured"
    return None


def zod_claims(case: Case) -> str | None:
    # @moq/token 0.2.3 claims.js ClaimsSchema.
    if not isinstance(case.claims.get("root"), str):
        return "the claim root is missing or not a string"
    if fault := _grants_fault(case):
        return fault
    if "put" not in case.claims and "get" not in case.claims:
        return "neither put nor get is there"
    return _untimely(case, ("exp", "iat"), whole=False)


def _grants_fault(case: Case) -> str | None:
    for name in _GRANTS:
        value = case.claims.get(name, [])
        listed = value if isinstance(value, list) else [value]
        if not all(isinstance(item, str) for item in listed):
            return f"the claim {name} is not a string or a list of strings"
    return None


def _untimely(case: Case, names: tuple[str, ...], whole: bool) -> str | None:
    """An objection to claims that are no times: whole numbers or null, or any finite number."""
    for name in names:
        if name not in case.claims or (whole and case.claims[name] is None):
            continue
        value = case.claims[name]
        if _number(value) is None:
            return f"the claim {name} is not a number"
        if whole and (not isinstance(value, int) or value not in _I64):
            return f"the claim {name} is not a whole number"
    return None


def useful(case: Case) -> str | None:
    # claims.rs validate(): at least one prefix in either role.
    if any(_listed(case.claims, name) for name in _GRANTS):
        return None
    return "it allows neither to publish nor to subscribe (put and get are empty)"


def only_known_claims(case: Case) -> str | None:
    # moq-auth wire.rs Claims: deny_unknown_fields, registered bookkeeping is read and dropped.
    known = {"root", "put", "get", "publish", "subscribe", "exp", "iat", "nbf", "iss", "sub", "jti"}
    if unknown := [name for name in case.claims if name not in known]:
        return f"the claim {shown(unknown[0])} is not known"
    return None


def one_encoding(case: Case) -> str | None:
    # moq-auth wire.rs Grants::decode and present(): no mixing, no null.
    for name in ("put", "get", "publish", "subscribe"):
        if name in case.claims and case.claims[name] is None:
            return f"the claim {name} is null"
    if any(name in case.claims for name in _GRANTS) and any(
        name in case.claims for name in _GRANTS.values()
    ):
        return "it mixes put and get with publish and subscribe"
    return None


def patterns_hold(case: Case) -> str | None:
    # moq-pattern: publish and subscribe are lists of patterns; a legacy prefix may hold no star.
    for name in _GRANTS.values():
        value = case.claims.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            return f"the claim {name} is not a list of strings"
        for item in value:
            if fault := pattern_fault(item):
                return f"the pattern {shown(item)} has {fault}"
    for name in _GRANTS:
        if starred := [item for item in _texts(case, name) if "*" in item]:
            return f"the prefix {shown(starred[0])} holds a star"
    return None


def useful_patterns(case: Case) -> str | None:
    # moq-auth claims.rs validate().
    if any(case.claims.get(name) for name in _GRANTS.values()):
        return None
    return useful(case)


# -- time ------------------------------------------------------------------------------------------


def not_expired(case: Case) -> str | None:
    # key.rs: exp < now, and now is never a whole second; moq-auth validate_times: exp <= now.
    exp = _number(case.claims.get("exp"))
    return _past(exp) if exp is not None and exp <= case.now else None


def jose_time(case: Case) -> str | None:
    # jose jwt_claims_set.js: numbers of any kind, nbf before exp, the clock rounded down.
    if fault := _untimely(case, ("iat", "nbf"), whole=False):
        return fault
    now = math.floor(case.now)
    nbf, exp = _number(case.claims.get("nbf")), _number(case.claims.get("exp"))
    if nbf is not None and nbf > now:
        return _early(nbf)
    if fault := _untimely(case, ("exp",), whole=False):
        return fault
    return _past(exp) if exp is not None and exp <= now else None


def not_early(case: Case) -> str | None:
    # moq-auth key.rs validate_times: nbf > now.
    if fault := _untimely(case, ("nbf",), whole=True):
        return fault
    nbf = _number(case.claims.get("nbf"))
    return _early(nbf) if nbf is not None and nbf > case.now else None


def _number(value: object) -> int | float | None:
    """A finite number, as JavaScript sees it; ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if abs(value) <= sys.float_info.max else None


def _past(exp: float) -> str:
    return f"it has expired (exp {shown(exp)})"


def _early(nbf: float) -> str:
    return f"it is not valid yet (nbf {shown(nbf)})"


# -- scope and path --------------------------------------------------------------------------------


def in_scope(case: Case) -> str | None:
    # moq-token 0.7 claims.rs Scope::allows (#2416), moq-auth the same on patterns: every grant
    # below one of the key's, by role.
    scope = (case.named_key() or {}).get("scope")
    if not isinstance(scope, Mapping):
        return None
    for name in _GRANTS:
        reach = [_join(scope.get("root", ""), item) for item in _listed(scope, name)]
        for item in _texts(case, name):
            wanted = _join(case.root, item)
            if wanted is None or not any(
                each is not None and wanted.is_under(each) for each in reach
            ):
                return f"the key's scope does not cover {shown(item)} ({name})"
    return None


def at_or_below_root(case: Case) -> str | None:
    # moq-relay of 0.5.8, auth.rs verify(): the path must begin with the root.
    path, root = _path(case), _join(case.root, "")
    if path is None or root is None or path.is_under(root):
        return None
    return f"{_rooted(path)} is not below its root {_rooted(root)}"


def path_is_root(case: Case) -> str | None:
    # @moq/token 0.2.3 key.js verify(): claims.root !== path, letter by letter.
    if case.path is None or case.path == case.root:
        return None
    return f"its root is {shown(case.root)}, and not letter by letter {shown(case.path)}"


def authorized(case: Case) -> str | None:
    # moq-token 0.7 claims.rs authorize(): root and path overlap, and something is left.
    return _unreached(case, _subtrees(case))


def authorized_patterns(case: Case) -> str | None:
    # moq-auth claims.rs authorize(): the same (#4319), on patterns.
    patterns = _subtrees(case)
    for name in _GRANTS.values():
        patterns += [item.split("/") if item else [] for item in _texts(case, name)]
    return _unreached(case, patterns)


def _unreached(case: Case, patterns: Sequence[Sequence[str]]) -> str | None:
    path, root = _path(case), _join(case.root, "")
    if path is None or root is None or root.is_under(path):
        return None
    if not path.is_under(root):
        return f"its root is {_rooted(root)}, not {_rooted(path)}"
    rest = path.relative_to(root).segments
    if any(reaches(pattern, rest) for pattern in patterns):
        return None
    return f"nothing it allows lies at or below {_rooted(path)}"


def _subtrees(case: Case) -> list[list[str]]:
    """The legacy prefixes as patterns."""
    texts = [text for name in _GRANTS for text in _texts(case, name)]
    paths = [path for text in texts if (path := _join(text, "")) is not None]
    return [[*path.segments, "**"] for path in paths]


def _rooted(path: Path) -> str:
    return shown(f"/{path}")


def _path(case: Case) -> Path | None:
    return None if case.path is None else _join(case.path, "")


def _join(root: object, item: object) -> Path | None:
    """A path, however long its parts; ``None`` when it is none."""
    try:
        return Path(f"{root}/{item}") if isinstance(root, str) and isinstance(item, str) else None
    except BadRequest:
        return None


def _listed(members: Mapping[str, Any], name: str) -> list[Any]:
    value = members.get(name, [])
    return value if isinstance(value, list) else [value]


def _texts(case: Case, name: str) -> list[str]:
    return [item for item in _listed(case.claims, name) if isinstance(item, str)]
