"""The vocabulary of moq-lite: one class per message, the same for all versions.

A field that a version cannot carry has its default after decoding. Paths are the text the peer
wrote; normalising and limiting them is the business of `relay.path`. This module must not know
bytes, versions or who says what when.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Bidi(IntEnum):
    """First varint of a two-way stream: what it is for (moq-lite, "Bidirectional Streams")."""

    ANNOUNCE = 1
    SUBSCRIBE = 2
    FETCH = 3
    PROBE = 4
    GOAWAY = 5
    TRACK = 6
    CLIENT_SETUP = 0x20
    """Start of the in-band handshake, before a version is chosen."""
    SERVER_SETUP = 0x21
    """The answer to it, on the same stream."""


class Uni(IntEnum):
    """First varint of a one-way stream (moq-lite, "Unidirectional Streams")."""

    GROUP = 0
    SETUP = 1


class AnnounceRequest(NamedTuple):
    """Asks for the broadcasts below a prefix."""

    prefix: str
    exclude: int = 0
    """The asker's hop id; chains that contain it are not wanted. 0 = none. Only on 04 and 05."""


class AnnounceInit(NamedTuple):
    """First answer on 01 and 02: what is there now, relative to the prefix."""

    suffixes: tuple[str, ...]


class AnnounceOk(NamedTuple):
    """First answer from 05 on: who answers, and how many announces follow at once."""

    hop: int
    active: int


class Announce(NamedTuple):
    """A broadcast came (or was replaced), or went (01 to 05)."""

    active: bool
    suffix: str
    hops: tuple[int, ...] = ()
    """Chain as written, at most 32 long; 0 = an unnamed relay. 03 carries only its length."""


class AnnounceStart(NamedTuple):
    """A broadcast came (06). Those of one stream are numbered from 0, which is not written."""

    suffix: str
    hops: tuple[int, ...]
    warm: int
    """Price of one more subscription, with what is under way already for free."""
    cold: int
    """The same if nothing were under way."""
    since: int = 0
    """When the publisher came, microseconds of the machine's clock, between the processes of one
    relay; 0 = not said."""


class AnnounceEnd(NamedTuple):
    """A broadcast went (06)."""

    id: int
    """Number of its `AnnounceStart`, which means nothing after this."""


class AnnounceUpdate(NamedTuple):
    """A broadcast is reached by another chain or at another price (06)."""

    id: int
    hops: tuple[int, ...]
    warm: int
    cold: int
    since: int = 0


class Subscribe(NamedTuple):
    """Asks for a track."""

    id: int
    broadcast: str
    track: str
    priority: int
    """0..255, higher is more urgent."""
    ordered: bool = False
    """Older groups first; not on 06."""
    max_latency: int = 0
    """Milliseconds; on 06 the max age, which also says how far back the first group may be."""
    start: int | None = None
    """First group, ``None`` = the latest; on 06 a floor, ``None`` = none (and 0 is none)."""
    end: int | None = None
    """Last group, inclusive; ``None`` = no end."""
    first_frame: int = 0
    """First frame wanted of the group that ``start`` names (06)."""
    last_frame: int | None = None
    """Last frame wanted of the group that ``end`` names, inclusive (06)."""
    is_paused: bool = False
    """Nothing is to be sent until an update says otherwise, which only `relay.moqt` says."""
    patience: int = 0
    """Milliseconds to wait for somebody who publishes it, which only `relay.moqt` says."""


class SubscribeUpdate(NamedTuple):
    """Changes a running subscription; fields as in `Subscribe`."""

    priority: int
    ordered: bool = False
    max_latency: int = 0
    start: int | None = None
    end: int | None = None
    first_frame: int = 0
    last_frame: int | None = None
    is_paused: bool = False


class SubscribeOk(NamedTuple):
    """Accepts a subscription on 01..04; fields as in `Subscribe`."""

    priority: int = 0
    ordered: bool = False
    max_latency: int = 0
    start: int | None = None
    end: int | None = None


class SubscribeStart(NamedTuple):
    """The first group that will come (from 05 on)."""

    group: int


class SubscribeEnd(NamedTuple):
    """The group after the last one, 0 when there was none (from 05 on)."""

    group: int


class SubscribeLatest(NamedTuple):
    """The latest group so far, before a subscription is accepted; only `relay.moqt` is told."""

    group: int
    frames: int
    """As many as it has by now."""


class SubscribeDrop(NamedTuple):
    """Groups that will not come, both ends inclusive, and why (03 and later)."""

    start: int
    end: int
    code: int


class TrackRequest(NamedTuple):
    """Asks for the properties of a track (from 05 on)."""

    broadcast: str
    track: str


class TrackInfo(NamedTuple):
    """The properties of a track (from 05 on)."""

    priority: int
    ordered: bool = False
    """Older groups first; not on 06."""
    max_latency: int = 0
    """Milliseconds the publisher keeps groups that are not the latest."""
    timescale: int = 1
    """Timestamp units per second, at least 1."""


class Fetch(NamedTuple):
    """Asks for one group (from 05 on)."""

    broadcast: str
    track: str
    priority: int
    group: int
    first_frame: int = 0
    """First frame wanted (06)."""
    last_frame: int | None = None
    """Last frame wanted, inclusive; ``None`` = up to the end (06)."""


MAX_SEQUENCE = (1 << 62) - 3
"""Largest group that can be passed on: the end behind it must be a number too, and a subscription
that starts there is written plus 1 (moq-lite-05, "SUBSCRIBE")."""


class Group(NamedTuple):
    """Header of a group stream; frames follow it."""

    subscription: int
    sequence: int
    first_frame: int = 0
    """Index of the first frame on the stream (06)."""
    has_properties: bool = False
    """The frames are `Layout.TIMED_OBJECTS`; only among the processes of one relay."""


class Probe(NamedTuple):
    """How fast the sender believes it can send (03 and later)."""

    bitrate: int
    """Bits per second, 0 = unknown."""
    rtt: int = 0
    """Milliseconds, 0 = unknown; absent on 03."""


class Goaway(NamedTuple):
    """The sender is about to leave (04 and later)."""

    uri: str
    """Where to go instead, at most 8192 bytes; empty = nowhere in particular."""


AnnounceLine = Announce | AnnounceStart | AnnounceEnd | AnnounceUpdate
"""What is said of one broadcast on an announce stream."""

SubscribeReply = SubscribeOk | SubscribeStart | SubscribeLatest | SubscribeEnd | SubscribeDrop
"""What answers a subscription."""

Message = (
    AnnounceRequest
    | AnnounceInit
    | AnnounceOk
    | AnnounceLine
    | Subscribe
    | SubscribeUpdate
    | SubscribeReply
    | TrackRequest
    | TrackInfo
    | Fetch
    | Group
    | Probe
    | Goaway
)
