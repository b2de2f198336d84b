"""Messages of moq-transport: one vocabulary for all drafts that are spoken.

Which fields a draft writes stands in `relay.moqt.tables`; one that it cannot carry is left out, and
has its default after reading, -1 for request ids and ``()`` for namespaces. Whoever is answered
stands in ``to``: draft 14 has own types of answers for each request, later ones have one for all,
and where the wire does not tell, it is ``None`` after reading. This module must not know how
anything is written.
"""

from __future__ import annotations

from typing import NamedTuple

Namespace = tuple[bytes, ...]

UNFILTERED, NEXT_GROUP, LATEST_OBJECT, ABSOLUTE_START, ABSOLUTE_RANGE = 0, 1, 2, 3, 4
"""Where a subscription starts and ends (draft-16, 5.1.2); draft 14 has no word for the first, and
says instead that it starts with the first group."""

ASCENDING, DESCENDING = 1, 2
"""Which of two groups is sent first; 0 leaves it to the publisher (draft-16, 9.2.2.4)."""

DELETE, REGISTER, USE_ALIAS, USE_VALUE = 0, 1, 2, 3
"""What is done with a token (draft-16, 9.2.2.1)."""

REDIRECT = 0x34
"""The `RequestError` that says where else to ask, from draft 18 on (10.6)."""


class Location(NamedTuple):
    """An object of a track (draft-16, 1.4.1)."""

    group: int
    object: int


class Token(NamedTuple):
    """A credential, or what is done with its alias (AUTHORIZATION TOKEN; draft-16, 9.2.2.1)."""

    alias_type: int
    """`DELETE`, `REGISTER`, `USE_ALIAS` or `USE_VALUE`."""
    alias: int = 0
    """Except for `USE_VALUE`."""
    type: int = 0
    """What kind of credential; like ``value`` for `REGISTER` and `USE_VALUE` only."""
    value: bytes = b""


class ClientSetup(NamedTuple):
    """The client's half of the handshake, from draft 17 on that of both sides."""

    versions: tuple[int, ...] = ()
    """Offered numbers, most preferred first: draft 14 only."""
    path: str | None = None
    """Path and query, where the transport has no URL."""
    authority: str | None = None
    """Host and port, as ``path``."""
    tokens: tuple[Token, ...] = ()
    max_request: int = 0
    """Request ids from the peer have to be less (to draft 16)."""


class ServerSetup(NamedTuple):
    """The server's half of the handshake, to draft 16; written from 17 on, it reads as
    `ClientSetup`."""

    version: int = 0
    """The chosen one of the offer: draft 14 only."""
    max_request: int = 0


class Subscribe(NamedTuple):
    request: int
    namespace: Namespace
    track: bytes
    priority: int = 128
    """The lower is sent first."""
    order: int = 0
    forward: bool = True
    filter: int = LATEST_OBJECT
    start: Location | None = None
    """For `ABSOLUTE_START` and `ABSOLUTE_RANGE`."""
    end: int | None = None
    """The last group, for `ABSOLUTE_RANGE`."""
    timeout: int = 0
    """Milliseconds by which an object may be late (OBJECT_DELIVERY_TIMEOUT), 0 = any."""
    patience: int = 0
    """Milliseconds to wait for a publisher (RENDEZVOUS_TIMEOUT; draft-19, 10.2.6), from draft 17
    on."""


class SubscribeOk(NamedTuple):
    request: int
    alias: int
    """How streams of the track name it."""
    expires: int = 0
    """Milliseconds, 0 = never. @moq/net 0.3 ends the session over another value."""
    order: int = ASCENDING
    largest: Location | None = None
    """The last object so far, ``None`` before the first. From draft 17 on @moq/net 0.3 has a length
    before it, unlike the draft and moq-net 0.3, and moq-dev of 2026-08 refuses it: peers that are
    told nothing are content. Both are read."""
    timescale: int = 0
    """Units of a second in which its objects say their time (0x10); 0 where they do not. From draft
    17 on."""


class SubscribeUpdate(NamedTuple):
    """REQUEST_UPDATE from draft 16 on. ``None`` leaves a thing as it is; only in draft 14 all of
    it has to be said. With a ``start`` no ``end`` takes the end away."""

    request: int
    subscription: int
    """The request that is updated (to draft 16; later it is that of the stream)."""
    start: Location | None
    end: int | None
    """The last group; needs ``start``."""
    priority: int | None
    forward: bool | None
    timeout: int | None = None


class Unsubscribe(NamedTuple):
    request: int


class PublishDone(NamedTuple):
    request: int
    code: int
    streams: int
    """How many were opened."""
    reason: str


class PublishNamespace(NamedTuple):
    request: int
    namespace: Namespace


class PublishNamespaceDone(NamedTuple):
    """The publisher withdraws; to draft 15 the namespace is written, in 16 the request id."""

    request: int
    namespace: Namespace


class PublishNamespaceCancel(NamedTuple):
    """The other side is no longer interested; as `PublishNamespaceDone`."""

    request: int
    namespace: Namespace
    code: int
    reason: str


class SubscribeNamespace(NamedTuple):
    request: int
    prefix: Namespace


class UnsubscribeNamespace(NamedTuple):
    """In draft 14 the prefix is written, in 15 the request id."""

    request: int
    prefix: Namespace


class NamespaceFound(NamedTuple):
    """NAMESPACE, on the stream of a `SubscribeNamespace` (draft-16, 9.21)."""

    suffix: Namespace


class NamespaceGone(NamedTuple):
    """NAMESPACE_DONE (draft-16, 9.23)."""

    suffix: Namespace


class Publish(NamedTuple):
    request: int
    namespace: Namespace
    track: bytes
    alias: int
    order: int = ASCENDING
    largest: Location | None = None
    forward: bool = True


class Fetch(NamedTuple):
    """Standalone, with ``namespace``, ``track``, ``start`` and ``end``; or joining a subscription,
    with ``relative`` or ``absolute`` (draft-16, 9.16), which draft 20 and later have no more."""

    request: int
    joining: int | None = None
    """The request id of the subscription."""
    relative: int | None = None
    """So many groups before the one that the subscription starts in; without one, in draft 20
    only, before the latest, and -1 what comes after that."""
    absolute: int | None = None
    """From this group on."""
    namespace: Namespace = ()
    track: bytes = b""
    start: Location | None = None
    """``None``, from draft 20 on: from the first object on."""
    end: Location | None = None
    """The group, and the last object in it plus 1; 0 for all of them. ``None``, from draft 20 on:
    to the last object there is."""
    priority: int = 128
    order: int = 0


class FetchOk(NamedTuple):
    request: int
    end: Location
    """As in `Fetch`."""
    ends_track: bool = False
    order: int = ASCENDING
    """Draft 14 only."""
    timescale: int = 0
    """As in `SubscribeOk`."""


class FetchCancel(NamedTuple):
    request: int


class TrackStatus(NamedTuple):
    request: int
    namespace: Namespace
    track: bytes


class RequestOk(NamedTuple):
    request: int
    to: type[object] | None = None
    largest: Location | None = None
    """Of a `TrackStatus`, as in `SubscribeOk`."""


class RequestError(NamedTuple):
    request: int
    to: type[object] | None
    code: int
    reason: str
    """What is longer than 1024 bytes is cut when written."""
    retry: int = 0
    """Milliseconds after which to ask again, plus 1; 0 = never (from draft 16 on)."""


class MaxRequest(NamedTuple):
    request: int
    """Request ids have to be less."""


class RequestsBlocked(NamedTuple):
    request: int
    """The `MaxRequest` that stands in the way."""


class Goaway(NamedTuple):
    uri: str
    """Where to go; empty for the same place."""


class Unknown(NamedTuple):
    """A message that is not known, or that is none of our matters; it is never written."""

    kind: int


Message = (
    ClientSetup
    | ServerSetup
    | Subscribe
    | SubscribeOk
    | SubscribeUpdate
    | Unsubscribe
    | PublishDone
    | PublishNamespace
    | PublishNamespaceDone
    | PublishNamespaceCancel
    | SubscribeNamespace
    | UnsubscribeNamespace
    | NamespaceFound
    | NamespaceGone
    | Publish
    | Fetch
    | FetchOk
    | FetchCancel
    | TrackStatus
    | RequestOk
    | RequestError
    | MaxRequest
    | RequestsBlocked
    | Goaway
    | Unknown
)
