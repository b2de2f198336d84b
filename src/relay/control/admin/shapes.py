"""What goes over the operator's counter, as shapes: each question and each answer.

The law: members are closed, so that a misspelt one is an error and not silence; times are unix
seconds, lengths of time seconds, sizes bytes. This module must not know who answers.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from relay.control.admin.shape import (
    TENANT,
    WHEN,
    CipherNames,
    Id,
    Moment,
    Name,
    OnAir,
    PathText,
    Prefixes,
    Reason,
    Rows,
    Shape,
    Text,
    Told,
    Whose,
)
from relay.control.admin.shape import (
    Nothing as Nothing,
)
from relay.quota import Override, Quota
from relay.quota.limits import MAX_TENANT

# -- sessions --------------------------------------------------------------------------------------


class SessionsAsked(Shape):
    """Which sessions; all of the members must fit."""

    tenant: Whose | None = None
    """Those of this tenant."""
    root: OnAir | None = None
    """Those whose root is this path or lies below it."""
    subject: Whose | None = None
    """Those of this subject."""
    cursor: Id | None = None
    """The ``cursor`` of the page before."""
    limit: Rows = 100


class SessionNamed(Shape):
    """One session."""

    id: Id


class Kick(Shape):
    """End one session."""

    id: Id
    reason: Reason = ""


class Narrowing(Shape):
    """Other prefixes for one session, below what it has; left out = as it is."""

    id: Id
    publish: Prefixes | None = None
    """Where it may publish from now on."""
    subscribe: Prefixes | None = None
    """Where it may subscribe from now on."""


class Session(Shape):
    """One session of this relay."""

    id: str
    tenant: str | None
    subject: str | None
    root: str | None
    """``None`` while it is not decided yet who that is."""
    publish: list[str]
    subscribe: list[str]
    expires: float | None
    credential: str
    kid: str | None
    jti: str | None
    is_relay: bool
    transport: str
    version: str
    remote: str
    seconds: float
    """How long it has been here."""
    rtt_ms: float
    bytes_in: int
    bytes_out: int
    broadcasts: int
    """Announced by it now."""
    subscriptions: int
    """Of its own, now."""
    groups_dropped: int
    """Groups that it was too slow for."""


class SessionPage(Told):
    """Sessions in the order of their ids."""

    sessions: list[Session]
    cursor: str | None
    """For the next page; ``None``: this was the last."""


class Ended(Shape):
    """Sessions that were ended."""

    ended: int


# -- what is on air --------------------------------------------------------------------------------


class BroadcastsAsked(Shape):
    """Which broadcasts."""

    prefix: OnAir = ""
    """Those below this path."""
    cursor: OnAir | None = None
    """The ``cursor`` of the page before."""
    limit: Rows = 100


class Track(Shape):
    """One track that this relay knows."""

    name: str
    viewers: int
    latest: int | None
    """The newest group's sequence."""
    groups: int
    """Groups that are cached; of several workers, by the one that has most."""
    cached_bytes: int
    """What they take, in all workers together."""
    bits_per_second: float
    """Of the cached groups, over the time they came in."""


class Way(Shape):
    """One way to a broadcast."""

    hops: list[str]
    """Ids of the relays it leads over, the publisher first; 0 is one that gave none."""
    cost: int


class Broadcast(Shape):
    """One broadcast that is announced here."""

    path: str
    viewers: int
    routes: list[Way]
    """The best first."""
    tracks: list[Track]


class BroadcastPage(Told):
    """Broadcasts in the order of their paths."""

    broadcasts: list[Broadcast]
    cursor: str | None


class RoutesAsked(Shape):
    """Which routes; a page ends with all of its last path's."""

    prefix: OnAir = ""
    """Those below this path."""
    cursor: OnAir | None = None
    """The ``cursor`` of the page before."""
    limit: Rows = 100


class Route(Shape):
    """One way by which a broadcast can be had here."""

    path: str
    serves: bool
    """Whether viewers are served by it; else it stands by."""
    by: Literal["session", "relay", "http", "self"]
    """Who announces it: a session, another relay, somebody who publishes by HTTP, this relay."""
    id: str | None
    """The session's, also of a link that this relay dialled."""
    node: str | None
    """The other relay's name, where it is known."""
    subject: str | None
    tenant: str | None
    hops: list[str]
    """As of a way of a broadcast."""
    cost: int
    viewers: int


class RoutePage(Told):
    """Routes in the order of their paths, of each the best first."""

    routes: list[Route]
    cursor: str | None


# -- API tokens ------------------------------------------------------------------------------------


class TokensAsked(Shape):
    """Which API tokens."""

    cursor: Id | None = None
    """The ``cursor`` of the page before."""
    limit: Rows = 100


class NewToken(Shape):
    """An API token to make. At least one prefix must be there."""

    name: Name
    """What it is for."""
    root: PathText = ""
    """The path it is for."""
    publish: Prefixes = Field(default_factory=list)
    """Where its bearer may publish, below the root."""
    subscribe: Prefixes = Field(default_factory=list)
    """Where its bearer may subscribe, below the root."""
    decrypt: CipherNames = Field(default_factory=list)
    """Cipher keys whose fields its bearer reads in the clear."""
    expires: Moment | None = None


class TokenNamed(Shape):
    """One API token, by the part of it that is no secret."""

    prefix: Id


class Token(Shape):
    """An API token as it is kept."""

    prefix: str
    id: str
    """What its sessions carry as ``jti``."""
    name: str
    root: str
    publish: list[str]
    subscribe: list[str]
    decrypt: list[str]
    created: float
    expires: float | None
    last_used: float | None
    revoked: float | None


class MadeToken(Token):
    """A new API token with its secret, which is shown this once."""

    token: str


class TokenPage(Shape):
    """API tokens in the order of their prefixes."""

    tokens: list[Token]
    cursor: str | None


# -- revocations -----------------------------------------------------------------------------------


class RevocationsAsked(Shape):
    """Which revocations."""

    cursor: Annotated[int, Field(ge=0, le=2**53)] = 0
    """The ``cursor`` of the page before."""
    limit: Rows = 100


class NewRevocation(Shape):
    """Who is to be refused from now on."""

    by: Literal["jti", "sub", "kid", "tenant", "all"]
    """What of a credential it goes by."""
    value: Whose = ""
    """Whose; empty with ``all``."""
    issued_before: Moment | None = None
    expires: Moment | None = None
    reason: Reason = ""


class RevocationNamed(Shape):
    """One revocation."""

    number: Annotated[int, Field(ge=1, le=2**53)]


class Revocation(Shape):
    """A revocation in force."""

    number: int
    by: str
    value: str
    issued_before: float | None
    expires: float | None
    created: float
    reason: str


class RevocationPage(Shape):
    """Revocations in the order in which they were made."""

    revocations: list[Revocation]
    cursor: int | None


# -- quotas ----------------------------------------------------------------------------------------

Tenant = Annotated[str, Field(min_length=1, max_length=MAX_TENANT, pattern=TENANT)]


class TenantNamed(Shape):
    """One tenant."""

    tenant: Tenant


class QuotaSaid(Override):
    """What is to hold for one tenant, instead of what was said of it before."""

    tenant: Tenant


class TenantQuota(Shape):
    """One tenant: what it may, what was said of it at run time, what it uses on this relay."""

    tenant: str
    limits: Quota
    said: Override | None
    usage: dict[str, int]


class Quotas(Told):
    """Every tenant that is here or that something is said of, and what holds for all others."""

    others: Quota
    tenants: list[TenantQuota]


# -- decisions, the log, the mesh ------------------------------------------------------------------


Transport = Literal["webtransport", "quic", "websocket", "tcp", "unix", "http"]

TRANSPORTS: tuple[str, ...] = get_args(Transport)
"""Ways to come in, the usual one first; rules of `[auth]` may differ between them."""


class Question(Shape):
    """A decision to explain. Nobody comes in by it and no ticket is spent."""

    url: Annotated[str, Field(max_length=16_384)] = "/"
    """What would be dialled: a URL or a path."""
    token: Annotated[str, Field(max_length=16_384)] | None = None
    """The credential; else what the URL has."""
    publish: Prefixes = Field(default_factory=list)
    """Paths to be published, below that of the URL."""
    subscribe: Prefixes = Field(default_factory=list)
    """Paths to be subscribed to, below that of the URL."""
    transport: Transport = Field("webtransport", description="How somebody would come in.")


class AuditAsked(Shape):
    """Which entries of the audit log."""

    since: Annotated[str, Field(max_length=32, alias="from", pattern=WHEN)] = ""
    """Since then; unix seconds, or such as ``now-1h``."""
    until: Annotated[str, Field(max_length=32, alias="to", pattern=WHEN)] = ""
    """Before then; unix seconds, or such as ``now-5m``."""
    actor: Text = ""
    """Who."""
    action: Text = ""
    """What: ``deny``, ``quota.set``, or ``quota`` for all of that kind."""
    target: Text = ""
    """To what; a ``*`` at the end is anything."""
    reason: Text = ""
    """A whole word, such as ``expired`` or ``over_quota``."""
    tenant: Text = ""
    """Whose."""
    id: Text = ""
    """What whoever was refused or shown out was told."""
    cursor: Annotated[int, Field(ge=1, le=10**17)] | None = None
    """Entries before that number only."""
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    """At most so many entries."""


class AuditEntry(Shape):
    """One entry of the audit log."""

    number: int
    at: float
    node: str
    actor: str
    action: str
    target: str
    address: str
    kid: str
    jti: str
    tenant: str
    id: str
    """Of the decision or the session, as the log and a refused stranger know it."""
    reason: str
    """One word. In entries of format 1 the id."""
    detail: str
    hash: str
    format: int


class AuditPage(Shape):
    """Entries, the latest first."""

    entries: list[AuditEntry]
    cursor: int | None


class Count(Shape):
    """How often something happened since the start."""

    name: str
    count: int


class Summary(Told):
    """This relay at a glance; counts are since its start."""

    quic_port: int
    """Where it takes WebTransport, UDP."""
    connections: int
    """QUIC connections now."""
    bytes_in: int
    """Of UDP payload."""
    bytes_out: int
    admitted: int
    """Sessions let in."""
    refused: list[Count]
    """Guests turned away, by reason, the most frequent first."""
    breached: list[Count]
    """Quotas that were hit, by quota, the most frequent first."""
    groups_dropped: int
    """Groups that viewers were too slow for."""
    cached_bytes: int


class Node(Shape):
    """This relay."""

    node: str
    origin: str
    version: str
    seconds: float
    """How long it has been running."""
    sessions: int
    draining: bool


class Mesh(Told):
    """This relay and the others it knows of."""

    own: Node
    nodes: list[dict[str, Any]]
    links: list[dict[str, Any]]
