"""The older contract: one GET per connection that answers with a key, an alias and what is public.

The asking relay sends the path, the token's key id and how the guest came, and checks the token
itself (moq-relay 0.14, ``--auth-api``). The law: the token is for the dialled path and the rights
land on the alias, which is as deep; what a key may vouch for is said by the key. This module must
not know HTTP, the clock, or where keys are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from relay.auth.compact import to_json
from relay.auth.decide import Decision, Request, decide, require_unrevoked
from relay.auth.facts import Facts
from relay.auth.grant import Grant
from relay.auth.keys import Key, KeySet
from relay.auth.reason import Reason, Step, quoted
from relay.auth.settings import AuthSettings, PublicPrefixes
from relay.auth.vouch import beside
from relay.errors import BadRequest, ConfigError
from relay.path import MAX_LENGTH, ROOT, Path
from relay.sidecar import members as read
from relay.sidecar.members import Members
from relay.sidecar.terms import MAX_TIER, Fault

_HINT = (
    "see what the server that auth.url names knows: relay sidecar keeps shared secrets back unless "
    "sidecar.share_secrets is set"
)
_KEYLESS = {
    "unknown_kid": Reason("unknown_kid", "the authorization server tells no key of that id", _HINT),
    "missing_kid": Reason(
        "missing_kid",
        "the token names no key (kid) that the authorization server could be asked for",
    ),
}
"""Why a token cannot be checked without a key, by what is found of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server knows about one path and one key id."""

    alias: str | None = None
    """The full path to use in place of the dialled one."""
    subscribe: tuple[str, ...] = ()
    """Prefixes below the path that anybody may subscribe to."""
    publish: tuple[str, ...] = ()
    """Prefixes below the path that anybody may publish under."""
    key: Key | None = None
    """The key of the key id that was asked for."""
    tier: str | None = None

    def dump(self) -> dict[str, Any]:
        """The JSON members, without absent ones. The key is written as it is: `shareable` first."""
        told: dict[str, Any] = {} if self.alias is None else {"alias": self.alias}
        public = {"subscribe": list(self.subscribe), "publish": list(self.publish)}
        if self.subscribe or self.publish:
            told["public"] = {name: prefixes for name, prefixes in public.items() if prefixes}
        if self.key is not None:
            told["key"] = self.key.to_jwk()
        if self.tier is not None:
            told["tier"] = self.tier
        return told


def read_answer(members: Members) -> Answer:
    """Read an answer. Raises `ValueError`, one sentence that shows no key, when it is malformed."""
    public = read.maybe_object(members, "public") or {}
    key = read.maybe_object(members, "key")
    try:
        keys = KeySet() if key is None else KeySet.load(to_json(dict(key)), "key", halved=True)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    if key is not None and len(keys) != 1:
        raise ValueError("key is not one key")
    return Answer(
        alias=read.maybe_text(members, "alias", MAX_LENGTH),
        subscribe=read.texts(public, "subscribe", MAX_LENGTH),
        publish=read.texts(public, "publish", MAX_LENGTH),
        key=keys.keys[0] if keys else None,
        tier=read.maybe_text(members, "tier", MAX_TIER),
    )


def question(path: Path, kid: str | None, mtls: bool, transport: str) -> list[tuple[str, str]]:
    """The query of the GET, names and values."""
    asked = [("root", str(path))]
    if kid is not None:
        asked.append(("kid", kid))
    if mtls:
        asked.append(("mtls", "true"))
    return [*asked, ("transport", transport)]


def settle(
    answer: Answer,
    request: Request,
    path: Path,
    settings: AuthSettings,
    now: float,
    facts: Facts,
) -> Decision:
    """Decide on ``request``, which dialled ``path``, by what the server answered.

    Raises `Fault` when the answer cannot be used: nobody is admitted on it, and `Refusal` for whom
    the relay knows to be revoked where the rights land.
    """
    try:
        public = PublicPrefixes(
            subscribe=tuple(path.join(prefix) for prefix in answer.subscribe),
            publish=tuple(path.join(prefix) for prefix in answer.publish),
        )
        alias = path if answer.alias is None else Path(answer.alias)
    except (BadRequest, ValueError) as error:
        raise Fault("bad_answer", f"the answer holds {error}") from None
    if len(alias.segments) != len(path.segments):
        raise Fault("bad_alias", f"the alias /{alias} is not as deep as /{path}")
    keys = KeySet(open_ended=True)  # what is no token, or names no key, is refused as that
    if answer.key is not None:
        keys = KeySet((answer.key,), single=answer.key.kid is None)
    told = settings.model_copy(update={"public": public})
    decision = decide(request, keys, told, now, facts)
    if answer.key is None and (reason := _KEYLESS.get(decision.reason.code)) is not None:
        decision = replace(decision, reason=reason)
    return _landed(_of_a_guest(decision, path), alias, now, facts)


def _of_a_guest(decision: Decision, path: Path) -> Decision:
    """The decision without what no key can give that was told for one path: its owner is not who
    runs the cluster or keeps the cipher keys, and upstream's relays make nothing of such claims."""
    grant = decision.grant
    if grant is None or grant.credential != "jwt" or not path:
        return decision
    told, steps = f"the key was told for {quoted('/' + path)} alone", list(decision.steps)
    if grant.cluster:
        text = f"{told}: its token makes nobody a relay"
        steps.append(Step("cluster", True, text, warning=True))
    if grant.decrypt:
        text = f"{told}: its token decrypts nothing"
        steps.append(Step("decrypt", True, text, warning=True))
    granted = replace(grant, cluster=False, decrypt=())
    return replace(decision, grant=granted, steps=tuple(steps))


def _landed(decision: Decision, alias: Path, now: float, facts: Facts) -> Decision:
    """The same rights at the alias: whose part of the tree that is says its first segment, not the
    name that was dialled. Raises `Refusal` for who is revoked there, `Fault` where a right is no
    path there any more."""
    grant = decision.grant
    if grant is None or alias == grant.root:
        return decision
    try:
        for prefix in (*grant.publish, *grant.subscribe):
            alias.join(prefix)
    except BadRequest as error:
        raise Fault("bad_alias", f"the alias and what is granted make {error}") from None
    home = alias.first
    landed = replace(
        grant,
        root=alias,
        home=home,
        tenant=home if grant.tenant == grant.home else grant.tenant,
        beside=beside(facts.certificate, alias),
    )
    if not landed.anonymous:
        require_unrevoked(landed, facts, now)
    return replace(decision, grant=landed)


def public_of(grant: Grant | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Subscribe and publish prefixes to answer with, of what a guest without a token may do."""
    if grant is None or not grant.anonymous:
        return (), ()
    return tuple(map(str, grant.subscribe)), tuple(map(str, grant.publish))


def is_everything(grant: Grant | None) -> bool:
    """Whether a grant holds every right below its root, as a certificate does in this contract."""
    return grant is not None and grant.publish == (ROOT,) == grant.subscribe


def shareable(key: Key | None, share_secrets: bool) -> Key | None:
    """What of a key may be told: its public half; a shared secret only on the operator's word."""
    if key is None or not key.can_verify:
        return None
    try:
        return key.public()
    except ConfigError:
        return replace(key, operations=("verify",)) if share_secrets else None
