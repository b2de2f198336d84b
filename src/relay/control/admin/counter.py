"""What the operator may ask and do: one method for each, and the table of where each is found.

The law: shapes, documents and summaries come from the methods themselves, so that nothing can say
otherwise than they do. This module must not know HTTP's headers nor how anything is done.
"""

from __future__ import annotations

import functools
import inspect
import re
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel

from relay.control.admin import key_shapes, shapes
from relay.records.office import Operator

BASE = "/admin/v1"
"""Where the counter is; a change that old clients would not survive moves it to ``v2``."""


class Counter(Protocol):
    """What is asked of the relay. Every method may raise `StoreError`, and `BadRequest`."""

    async def list_sessions(self, who: Operator, asked: shapes.SessionsAsked) -> shapes.SessionPage:
        """The running sessions of this relay."""

    async def show_session(self, who: Operator, asked: shapes.SessionNamed) -> shapes.Session:
        """One session. Raises `NotFound`."""

    async def kick_session(self, who: Operator, asked: shapes.Kick) -> shapes.Ended:
        """End one session; its holder may come again. Raises `NotFound`."""

    async def narrow_session(self, who: Operator, asked: shapes.Narrowing) -> shapes.Session:
        """Fewer rights for one session, in force at once and for as long as it lives. Raises
        `NotFound`, `BadRequest`."""

    async def list_broadcasts(
        self, who: Operator, asked: shapes.BroadcastsAsked
    ) -> shapes.BroadcastPage:
        """What is on air here: ways, tracks, viewers, rates."""

    async def list_routes(self, who: Operator, asked: shapes.RoutesAsked) -> shapes.RoutePage:
        """Every way to what is on air here: whose it is, over which relays, at what price."""

    async def list_tokens(self, who: Operator, asked: shapes.TokensAsked) -> shapes.TokenPage:
        """The API tokens of the store; their secrets are not kept."""

    async def create_token(self, who: Operator, asked: shapes.NewToken) -> shapes.MadeToken:
        """Make an API token; the answer is the only one that holds its secret."""

    async def revoke_token(self, who: Operator, asked: shapes.TokenNamed) -> shapes.Revocation:
        """Refuse an API token and end its sessions everywhere. Raises `NotFound`."""

    async def list_keys(self, who: Operator, asked: shapes.Nothing) -> key_shapes.SigningKeys:
        """The relays' own signing keys. Raises `NotFound` where there are none."""

    async def rotate_keys(
        self, who: Operator, asked: key_shapes.Rotation
    ) -> key_shapes.SigningKeys:
        """Have the next key sign, on every relay of the store. Raises `NotFound`."""

    async def show_jwks(self, who: Operator, asked: shapes.Nothing) -> key_shapes.KeySet:
        """The public halves of the signing keys. Raises `NotFound`."""

    async def list_ciphers(self, who: Operator, asked: shapes.Nothing) -> key_shapes.Ciphers:
        """The keys of encrypted fields and their versions. Raises `NotFound` where there is no
        store."""

    async def create_cipher(self, who: Operator, asked: key_shapes.NewCipher) -> key_shapes.Cipher:
        """Make a cipher key, on every relay of the store. Raises `NotFound` where none can be
        kept, `OtherRoot`."""

    async def rotate_cipher(
        self, who: Operator, asked: key_shapes.CipherNamed
    ) -> key_shapes.Cipher:
        """Have a new version encrypt, on every relay of the store; older ones still decrypt. Raises
        `NotFound`, `OtherRoot`."""

    async def list_revocations(
        self, who: Operator, asked: shapes.RevocationsAsked
    ) -> shapes.RevocationPage:
        """The revocations in force."""

    async def create_revocation(
        self, who: Operator, asked: shapes.NewRevocation
    ) -> shapes.Revocation:
        """Refuse credentials that are otherwise good, and end their sessions everywhere."""

    async def withdraw_revocation(
        self, who: Operator, asked: shapes.RevocationNamed
    ) -> shapes.Nothing:
        """Take a revocation back. Raises `NotFound`."""

    async def list_quotas(self, who: Operator, asked: shapes.Nothing) -> shapes.Quotas:
        """What tenants may use, and what they use here."""

    async def show_quota(self, who: Operator, asked: shapes.TenantNamed) -> shapes.TenantQuota:
        """What one tenant may use, and what it uses here."""

    async def set_quota(self, who: Operator, asked: shapes.QuotaSaid) -> shapes.TenantQuota:
        """Say what a tenant may use, on every relay of the store; 0 is unlimited. It takes the
        place of whatever was said of the tenant before."""

    async def reset_quota(self, who: Operator, asked: shapes.TenantNamed) -> shapes.TenantQuota:
        """Unsay what was said of a tenant at run time."""

    async def explain(self, who: Operator, asked: shapes.Question) -> dict[str, Any]:
        """What would be decided on somebody, step by step."""

    async def list_audit(self, who: Operator, asked: shapes.AuditAsked) -> shapes.AuditPage:
        """Entries of the audit log, the latest first."""

    async def show_summary(self, who: Operator, asked: shapes.Nothing) -> shapes.Summary:
        """This relay at a glance: traffic, who was turned away and why, quotas that were hit."""

    async def list_nodes(self, who: Operator, asked: shapes.Nothing) -> shapes.Mesh:
        """This relay and the mesh as it sees it."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that may be asked: a method at a place."""

    method: str
    place: str
    """Below the counter's own path; ``{name}`` is a member of the question."""
    call: Callable[..., Any]
    """The method of `Counter`."""
    status: int = 200
    refusals: tuple[int, ...] = ()
    """Statuses that only this operation may answer with."""
    in_query: bool = False
    """Whether the members of a POST come in the query."""

    @property
    def name(self) -> str:
        """The method's name."""
        return self.call.__name__

    @property
    def asked(self) -> type[BaseModel]:
        """The shape of the question."""
        shape: type[BaseModel] = typing.get_type_hints(self.call)["asked"]
        return shape

    @property
    def answer(self) -> Any:
        """The shape of the answer."""
        return typing.get_type_hints(self.call)["return"]

    @property
    def kinds(self) -> dict[str, frozenset[str]]:
        """The kinds of JSON value that each member of the question may have."""
        return _kinds(self.asked)

    @property
    def summary(self) -> str:
        """What it is for, one sentence or two."""
        text = inspect.getdoc(self.call) or ""
        return re.sub(r"\s*Raises .*", "", " ".join(text.split()))

    @property
    def in_place(self) -> tuple[str, ...]:
        """Members of the question that stand in the path."""
        return tuple(re.findall(r"{(\w+)}", self.place))

    @property
    def takes_body(self) -> bool:
        """Whether the other members come as JSON."""
        return self.method in ("POST", "PUT") and not self.in_query


@functools.cache
def _kinds(shape: type[BaseModel]) -> dict[str, frozenset[str]]:
    members = shape.model_json_schema().get("properties", {})
    return {
        name: frozenset(each.get("type", "") for each in member.get("anyOf", [member]))
        for name, member in members.items()
    }


OPERATIONS = (
    Operation("GET", "/sessions", Counter.list_sessions),
    Operation("GET", "/sessions/{id}", Counter.show_session, refusals=(404,)),
    Operation("POST", "/sessions/{id}/kick", Counter.kick_session, refusals=(404,)),
    Operation("POST", "/sessions/{id}/narrow", Counter.narrow_session, refusals=(404,)),
    Operation("GET", "/broadcasts", Counter.list_broadcasts),
    Operation("GET", "/routes", Counter.list_routes),
    Operation("GET", "/tokens", Counter.list_tokens),
    Operation("POST", "/tokens", Counter.create_token, 201),
    Operation("DELETE", "/tokens/{prefix}", Counter.revoke_token, refusals=(404,)),
    Operation("GET", "/keys", Counter.list_keys, refusals=(404,)),
    Operation("POST", "/keys/rotate", Counter.rotate_keys, refusals=(404,), in_query=True),
    Operation("GET", "/keys/jwks", Counter.show_jwks, refusals=(404,)),
    Operation("GET", "/ciphers", Counter.list_ciphers, refusals=(404,)),
    Operation("POST", "/ciphers", Counter.create_cipher, 201, refusals=(404, 409)),
    Operation("POST", "/ciphers/{name}/rotate", Counter.rotate_cipher, refusals=(404, 409)),
    Operation("GET", "/revocations", Counter.list_revocations),
    Operation("POST", "/revocations", Counter.create_revocation, 201),
    Operation("DELETE", "/revocations/{number}", Counter.withdraw_revocation, refusals=(404,)),
    Operation("GET", "/quotas", Counter.list_quotas),
    Operation("GET", "/quotas/{tenant}", Counter.show_quota),
    Operation("PUT", "/quotas/{tenant}", Counter.set_quota),
    Operation("DELETE", "/quotas/{tenant}", Counter.reset_quota),
    Operation("POST", "/explain", Counter.explain),
    Operation("GET", "/audit", Counter.list_audit),
    Operation("GET", "/summary", Counter.show_summary),
    Operation("GET", "/nodes", Counter.list_nodes),
)
"""Everything there is."""
