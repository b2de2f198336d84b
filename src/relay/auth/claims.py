"""What a token claims: a payload read into values of strict types.

The law: a claim of the wrong type refuses the token, unknown claims are carried and mean nothing,
and a token that would allow nothing is refused rather than admitted silently. The names on the wire
are those of moq-token: ``root``, ``put``, ``get``, ``exp``, ``iat``; the others are those of RFC
7519. This module must not know keys, the clock, or the path somebody dialled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from relay.auth.compact import parse_object
from relay.auth.reason import Refusal, quoted
from relay.auth.trust import ClaimNames
from relay.errors import BadRequest
from relay.path import ROOT, Path

MAX_PREFIXES = 256
"""Prefixes of one role in one token."""

MAX_NAME = 512
"""Characters of ``iss``, ``sub``, ``jti`` and of each ``aud``."""

MAX_TENANT_BYTES = 255
"""Bytes of the name of a tenant."""

TENANT_NAME = f"the name of a tenant (1 to {MAX_TENANT_BYTES} bytes of text, without slashes)"
"""What `is_tenant` expects, in words."""

MAX_TIME = 2**53
"""Largest distance of a time from 1970 in seconds; beyond it numbers are no longer exact."""

_NAMES = ClaimNames()
_ABSENT = object()
_LIBRARY_NAMES = (
    "prefixes stand in put and get; publish and subscribe hold patterns, which are not read here: "
    "moq auth sign writes put and get where every pattern ends in /**"
)
_LEGACY_NAMES = "legacy pub and sub claims are ignored: today they are named put and get"


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of one token. Times are whole unix seconds; prefixes are relative to ``root``."""

    root: Path = ROOT
    put: tuple[Path, ...] = ()
    """Prefixes below which the bearer may publish."""
    get: tuple[Path, ...] = ()
    """Prefixes below which the bearer may subscribe."""
    exp: int | None = None
    """The token is refused from this second on; ``None`` = never."""
    nbf: int | None = None
    """The token is refused before this second."""
    iat: int | None = None
    """When it was signed; informs, never decides."""
    sub: str | None = None
    jti: str | None = None
    iss: str | None = None
    aud: tuple[str, ...] | None = None
    """For whom the token was made; ``None`` when it does not say."""
    cluster: bool = False
    """The bearer is another relay."""
    decrypt: tuple[str, ...] = ()
    """Cipher keys whose fields the bearer may read in the clear over HTTP."""
    tenant: str | None = None
    """Whose token it is; ``None`` = whoever the root belongs to. Never set for another relay."""
    parent_kids: tuple[str, ...] = ()
    """The keys of the credentials that this token was exchanged for, the first one's first: of that
    for which it was, and of what that was exchanged for itself. ``parent_kid`` on the wire."""
    parent_iat: int | None = None
    """When that was issued. Whoever signs, both can only give more reasons to refuse the token."""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """All members as they were written, for whoever shows them."""

    def require_use(self) -> None:
        """Raises `Refusal` (``useless``) unless the claims allow anything at all."""
        if self.put or self.get:
            return
        hint = "give at least one prefix in put (publish) or get (subscribe)"
        if "publish" in self.raw or "subscribe" in self.raw:
            hint = _LIBRARY_NAMES
        elif any(name in self.raw for name in ("pub", "sub", "path")):
            hint = _LEGACY_NAMES
        raise Refusal("useless", "the token allows neither to publish nor to subscribe", hint)

    def members(self) -> dict[str, Any]:
        """The payload to be signed, without absent claims. ``root`` is always written."""
        members: dict[str, Any] = {"root": self.root}
        for name in ("put", "get"):
            if prefixes := getattr(self, name):
                members[name] = list(prefixes)
        for name in ("exp", "nbf", "iat", "iss", "sub", "jti", "parent_iat"):
            if (value := getattr(self, name)) is not None:
                members[name] = value
        for name, values in (("aud", self.aud), ("parent_kid", self.parent_kids or None)):
            if values is not None:
                members[name] = values[0] if len(values) == 1 else list(values)
        if self.decrypt:
            members["decrypt"] = list(self.decrypt)
        if self.tenant is not None:
            members["tenant"] = self.tenant
        if self.cluster:
            members["cluster"] = True
        return members


def decode(payload: bytes, names: ClaimNames = _NAMES) -> Claims:
    """Read a payload whose rights go by ``names``.

    Raises `Refusal` (``malformed`` or ``bad_claims``) and nothing else.
    """
    try:
        raw = parse_object(payload)
    except ValueError as error:
        raise Refusal("malformed", f"the payload is {error}") from None
    claims = Claims(
        root=_path(names.root, member_of(raw, names.root, "")),
        put=_prefixes(names.put, member_of(raw, names.put, [])),
        get=_prefixes(names.get, member_of(raw, names.get, [])),
        exp=_time("exp", raw),
        nbf=_time("nbf", raw),
        iat=_time("iat", raw),
        sub=_name("sub", raw.get("sub")),
        jti=_name("jti", raw.get("jti")),
        iss=_name("iss", raw.get("iss")),
        aud=_one_or_more("aud", raw.get("aud")),
        cluster=_is_relay(raw),
        decrypt=_names("decrypt", raw.get("decrypt")),
        tenant=_tenant(names.tenant, raw),
        parent_kids=_one_or_more("parent_kid", raw.get("parent_kid")) or (),
        parent_iat=_time("parent_iat", raw),
        raw=raw,
    )
    _require_root(claims, names.root)
    for prefix in (*claims.put, *claims.get):
        _require_room(claims.root, prefix)
    return claims


def member_of(raw: Mapping[str, Any], name: str, absent: Any) -> Any:
    """The member of that very name, else the one its dots lead to, the longest steps first."""
    if name in raw:
        return raw[name]
    head = name
    while "." in head:
        head = head.rpartition(".")[0]
        if isinstance(inner := raw.get(head), Mapping):
            return member_of(inner, name[len(head) + 1 :], absent)
    return absent


def _require_root(claims: Claims, name: str) -> None:
    """A token that does not say what it is for is for everything. But where the operator said which
    claim holds that, to leave it out is a slip of whoever signs. Raises `Refusal`."""
    if name == _NAMES.root or member_of(claims.raw, name, _ABSENT) is not _ABSENT:
        return
    if claims.put or claims.get:
        hint = 'a token for everything has "" there'
        raise Refusal("bad_claims", f"the claim {name} is missing", hint)


def _bad(name: str, expected: str) -> Refusal:
    return Refusal("bad_claims", f"the claim {name} is not {expected}")


def _path(name: str, value: object) -> Path:
    if not isinstance(value, str):
        raise _bad(name, "a string")
    try:
        return Path(value)
    except BadRequest as error:
        raise Refusal("bad_claims", f"the claim {name} holds {error}") from None


def _prefixes(name: str, value: object) -> tuple[Path, ...]:
    """One prefix or a list of them; an empty list allows nothing, ``""`` everything."""
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list):
        raise _bad(name, "a string or a list of strings")
    if len(listed) > MAX_PREFIXES:
        raise _bad(name, f"a list of at most {MAX_PREFIXES}")
    return tuple(_path(name, item) for item in listed)


def _require_room(root: Path, prefix: Path) -> None:
    try:
        root.join(prefix)
    except BadRequest as error:
        raise Refusal("bad_claims", f"root and {quoted(prefix)} make {error}") from None


def _time(name: str, raw: Mapping[str, Any]) -> int | None:
    """Unix seconds. ``null`` is absent; fractions are dropped (RFC 7519, 2, NumericDate)."""
    value = raw.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _bad(name, "a number of unix seconds")
    if abs(value) > MAX_TIME:
        raise _bad(name, "a time: the number is too large")
    return math.floor(value)


def _name(name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_NAME:
        raise _bad(name, f"a string of at most {MAX_NAME} characters")
    return value


def _names(name: str, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_PREFIXES:
        raise _bad(name, f"a list of at most {MAX_PREFIXES} strings")
    return tuple(_required_name(name, item) for item in value)


def _one_or_more(name: str, value: object) -> tuple[str, ...] | None:
    """One name or a list of them, as in ``aud`` (RFC 7519, 4.1.3)."""
    if value is None:
        return None
    listed = value if isinstance(value, list) else [value]
    if len(listed) > MAX_PREFIXES:
        raise _bad(name, f"a list of at most {MAX_PREFIXES}")
    return tuple(_required_name(name, item) for item in listed)


def _required_name(name: str, value: object) -> str:
    text = _name(name, value)
    if text is None:
        raise _bad(name, "a string")
    return text


def _tenant(name: str | None, raw: Mapping[str, Any]) -> str | None:
    """The tenant, where the operator said which claim names it; another relay has none."""
    value = _ABSENT if name is None else member_of(raw, name, _ABSENT)
    if name is None or value is _ABSENT:
        return None
    if not isinstance(value, str) or not is_tenant(value):
        raise _bad(name, TENANT_NAME)
    return None if _is_relay(raw) else value


def is_tenant(text: str) -> bool:
    """Whether a tenant may be called that: it stands in logs, in metrics and in addresses."""
    plain = text.isprintable() and "/" not in text
    return plain and 0 < len(text.encode(errors="replace")) <= MAX_TENANT_BYTES


def _is_relay(raw: Mapping[str, Any]) -> bool:
    value = raw.get("cluster")
    if value is not None and not isinstance(value, bool):
        raise _bad("cluster", "true or false")
    return bool(value)
