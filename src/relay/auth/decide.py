"""The one decision: who asks, with which token, for which path, and what therefore is granted.

The law: every surface of the relay asks here and nothing else reads a token; no token means the
public's rights, a bad token never does; what is not granted is refused. This module must not know
the clock, files, or who is listening: `now` and the keys are arguments, the answer is a value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

from relay.auth.grant import Grant, rebase
from relay.auth.keys import KeySet
from relay.auth.reason import Reason, Refusal, Step, Trail, quoted
from relay.auth.settings import AuthSettings, PublicPrefixes
from relay.auth.verify import describe, verify
from relay.errors import BadRequest
from relay.path import ROOT, Path

MAX_QUERY = 64 * 1024
"""Characters of a query that are looked at: the longest token with every letter escaped fits."""

MAX_PARAMETERS = 64
"""Parameters of one query."""

_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\\\\\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody at the door says. Nothing of it has been believed."""

    target: str = ""
    """Path and query as dialled: ``/demo?jwt=…``; percent-escapes as they came."""
    query: str = ""
    """More of the query, without ``?``, where a surface has split it off already."""
    bearer: str | None = None
    """The value of ``Authorization: Bearer``, without that word."""
    transport: str = "webtransport"
    """How the guest came: ``webtransport``, ``quic``, ``http``…"""
    origin: str | None = None
    """The browser's ``Origin`` header."""
    publishes: bool = True
    """False when the guest said that it will only subscribe."""
    subscribes: bool = True
    """False when the guest said that it will only publish."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict with its steps and its reason; true in a condition when it is yes."""

    verdict: bool
    grant: Grant | None
    """Present exactly when the verdict is yes."""
    steps: tuple[Step, ...]
    """What was looked at, in order; the last one decided."""
    reason: Reason
    """For the log, the audit and the operator; never for the stranger."""
    status: int
    """What the stranger is told: 200, or 400, 401, 403, 414, 431."""

    def __bool__(self) -> bool:
        return self.verdict

    @property
    def warnings(self) -> tuple[str, ...]:
        """Details of the steps that passed and deserve a second look."""
        return tuple(step.detail for step in self.steps if step.warning)


def decide(request: Request, keys: KeySet, settings: AuthSettings, now: float) -> Decision:
    """Decide on ``request`` at ``now`` (unix seconds). Pure, and never raises for bad input."""
    trail = Trail()
    try:
        grant = _admit(request, keys, settings, now, trail)
    except Refusal as refusal:
        trail.refuse(refusal)
        return Decision(False, None, tuple(trail.steps), refusal.reason, refusal.status)
    reason = Reason("allowed", trail.steps[-1].detail)
    return Decision(True, grant, tuple(trail.steps), reason, 200)


def _admit(
    request: Request, keys: KeySet, settings: AuthSettings, now: float, trail: Trail
) -> Grant:
    dialled, _, query = request.target.partition("?")
    path = _read_path(dialled)
    trail.note("path", f"connects to {quoted('/' + path)}")
    token, too_long = _find_token((query, request.query), request.bearer)
    if token is None:
        trail.note("token", "none")
        return _admit_public(path, request, settings.public, trail)
    if not keys:
        hint = "configure auth.key, or connect without a token to what is public"
        raise Refusal("no_keys", "a token, but no key is configured to check it", hint)
    trail.note("token", f"in the {'header' if too_long == 'header_too_long' else 'query'}")
    if len(token) > settings.max_token_bytes:
        text = f"a token of {len(token)} bytes (at most {settings.max_token_bytes})"
        raise Refusal(too_long, text, "ask for fewer prefixes, or raise auth.max_token_bytes")
    trail.note("size", f"{len(token)} bytes")
    claims, key = verify(token, keys, settings, now, trail)
    grant = Grant(
        root=path,
        publish=rebase(claims.root, claims.put, path),
        subscribe=rebase(claims.root, claims.get, path),
        expires=None if claims.exp is None else claims.exp + settings.leeway,
        subject=claims.sub,
        kid=key.kid,
        jti=claims.jti,
        cluster=claims.cluster,
    )
    if not (path.is_under(claims.root) or claims.root.is_under(path)):
        text = f"the token is for {quoted('/' + claims.root)}, not for {quoted('/' + path)}"
        raise Refusal("root_mismatch", text, "connect to the root of the token, or below")
    if not (grant.publish or grant.subscribe):
        text = f"nothing the token allows lies at or below {quoted('/' + path)}"
        raise Refusal("no_access", text, "its prefixes are relative to its root")
    trail.note("reach", _granted(grant))
    return _narrow_to_role(grant, request, trail)


def _admit_public(path: Path, request: Request, public: PublicPrefixes, trail: Trail) -> Grant:
    grant = Grant(
        root=path,
        publish=rebase(ROOT, public.publish, path) if request.publishes else (),
        subscribe=rebase(ROOT, public.subscribe, path) if request.subscribes else (),
        anonymous=True,
    )
    if not (grant.publish or grant.subscribe):
        text = f"no token, and {quoted('/' + path)} is not public"
        raise Refusal("no_token", text, "connect with a token as ?jwt=…, or set auth.public")
    trail.note("public", _granted(grant))
    return grant


def _narrow_to_role(grant: Grant, request: Request, trail: Trail) -> Grant:
    """Take away the role that the guest does not want; refuse it when nothing is left."""
    if request.publishes and request.subscribes:
        return grant
    narrowed = replace(
        grant,
        publish=grant.publish if request.publishes else (),
        subscribe=grant.subscribe if request.subscribes else (),
    )
    wish = "publish" if request.publishes else "subscribe" if request.subscribes else "do nothing"
    if not (narrowed.publish or narrowed.subscribe):
        text = f"the guest wants to {wish} and the token does not allow that here"
        raise Refusal("role_not_granted", text)
    trail.note("role", f"wants to {wish} only")
    return narrowed


def _read_path(text: str) -> Path:
    """The connection path. Nothing in it is resolved or unescaped: it is refused, or literal."""
    if _FORBIDDEN.search(text):
        raise Refusal("bad_path", f"control characters or a backslash in {quoted(text)}")
    try:
        path = Path(text)
    except BadRequest as error:
        raise Refusal("bad_path", str(error)) from None
    if any(segment in (".", "..") for segment in path.segments):
        raise Refusal("bad_path", f"a dot segment in {quoted(text)}")
    return path


def _find_token(queries: tuple[str, str], bearer: str | None) -> tuple[str | None, str]:
    """The one token of a request, and the code to refuse it with when it is too long.

    An empty ``jwt`` is none. Two that differ are refused: whoever logs or forwards the request
    might have read the other one.
    """
    found: set[str] = set()
    for query in queries:
        if len(query) > MAX_QUERY:
            text = f"a query of {len(query)} characters (at most {MAX_QUERY})"
            raise Refusal("token_too_long", text)
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
        except ValueError:
            text = f"a query of more than {MAX_PARAMETERS} parameters"
            raise Refusal("bad_query", text) from None
        found.update(value for name, value in pairs if name == "jwt" and value)
    if len(found) > 1:
        raise Refusal("token_conflict", "two different tokens in the query")
    token = next(iter(found), None)
    if bearer and token and bearer != token:
        raise Refusal("token_conflict", "different tokens in the query and in the header")
    if token is None:
        return bearer or None, "header_too_long"
    return token, "token_too_long"


def _granted(grant: Grant) -> str:
    return f"may publish {describe(grant.publish)}, subscribe {describe(grant.subscribe)}"
