"""What a peer can say, in one vocabulary for every version.

Events are past participles: they happened and come in. Paths are relative to the session's root and
already joined with the announce prefix; ids are the session's own numbers and mean nothing outside
it. This module must not know bytes, versions, or what anybody does about an event.
"""

from __future__ import annotations

from typing import NamedTuple


class Cost(NamedTuple):
    """What a broadcast costs where it is announced from, in units of the deployment."""

    warm: int
    """Price of one more subscription, with what is under way already for free."""
    cold: int
    """The same if nothing were under way."""
    since: int = 0
    """When its publisher came, microseconds of the machine's clock; 0 = not said. Only processes of
    one relay say it."""


FREE = Cost(0, 0)
"""The price of what is produced anyway."""


class Opened(NamedTuple):
    """The peer is ready to talk: the session may be decided on and used."""

    target: str | None
    """Path and query from SETUP; ``None`` where the transport carried it or nobody did."""
    publishes: bool
    """False when the peer said that it will only subscribe (SETUP role)."""
    subscribes: bool
    """False when the peer said that it will only publish (SETUP role)."""
    origin: int
    """The peer's hop id, 0 when it named none."""
    cost: int | None = None
    """What the peer charges for the link, to be added to the costs it announces; ``None`` when it
    did not say (by the draft that counts as 1)."""


class AnnounceRequested(NamedTuple):
    """The peer wants to hear of broadcasts under a prefix; answer with `answer_announce`, then
    say what changes with `announce` and `unannounce`."""

    request: int
    prefix: str
    exclude: int
    """The peer's hop id; chains that contain it are not to be announced. 0 = none."""


class AnnounceCancelled(NamedTuple):
    """The peer no longer listens to that request."""

    request: int


class Announced(NamedTuple):
    """The peer can deliver a broadcast. The same path again replaces the chain (a restart)."""

    path: str
    hops: tuple[int, ...]
    """Full chain, first the original publisher, last the peer itself; 0 = an unnamed relay."""
    cost: Cost | None = None
    """As the peer said it, without the link to the peer; ``None`` where the version has none."""


class Unannounced(NamedTuple):
    """The peer no longer delivers a broadcast, and said so."""

    path: str


class AnnouncesLost(NamedTuple):
    """An announce stream broke off: all these paths are gone without a goodbye."""

    paths: tuple[str, ...]


class Subscribed(NamedTuple):
    """The peer wants a track from us; answer with `accept` and groups, or `refuse`."""

    id: int
    broadcast: str
    track: str
    priority: int
    ordered: bool
    max_latency: int
    """Milliseconds."""
    start: int | None
    """First group wanted, ``None`` = the latest. Where `Dialect.start_floor` holds it is only
    a floor: the first group wanted is the oldest above it that is younger than ``max_latency``."""
    end: int | None
    """Last group wanted, inclusive; ``None`` = no end."""
    first_frame: int = 0
    """First frame wanted of the group that ``start`` names."""
    last_frame: int | None = None
    """Last frame wanted of the group that ``end`` names, inclusive; ``None`` = all of it."""
    is_paused: bool = False
    """No group is wanted until an update says otherwise."""
    patience: int = 0
    """Milliseconds that it waits where nobody publishes the track yet."""


class SubscribeUpdated(NamedTuple):
    """The peer changed its mind about a running subscription; fields as in `Subscribed`."""

    id: int
    priority: int
    ordered: bool
    max_latency: int
    start: int | None
    end: int | None
    first_frame: int = 0
    last_frame: int | None = None
    is_paused: bool = False


class Unsubscribed(NamedTuple):
    """The peer no longer wants the track."""

    id: int


class TrackRequested(NamedTuple):
    """The peer asks for a track's properties; answer with `answer_track` or `refuse_track`."""

    request: int
    broadcast: str
    track: str


class TrackCancelled(NamedTuple):
    """The peer no longer waits for a track's properties."""

    request: int


class FetchRequested(NamedTuple):
    """The peer wants one group; answer with `write` or `reset` on ``stream``."""

    stream: int
    broadcast: str
    track: str
    priority: int
    group: int
    first_frame: int = 0
    last_frame: int | None = None
    """Last frame wanted, inclusive; ``None`` = up to the end."""


class StreamCancelled(NamedTuple):
    """The peer wants no more of a group that it fetched, or of our estimates. Of a subscription's
    groups there is no event: the transport tells (`Receiver.stream_stopped`)."""

    stream: int


class TrackDescribed(NamedTuple):
    """The peer's answer to `describe`: the properties of one of its tracks."""

    request: int
    priority: int
    ordered: bool
    max_latency: int
    """Milliseconds the publisher keeps groups that are not the latest."""
    timescale: int
    """Timestamp units per second."""


class TrackRefused(NamedTuple):
    """The peer's other answer to `describe`."""

    request: int
    code: int


class FetchReceived(NamedTuple):
    """The next bytes of a group we fetch: frames in the dialect's layout, cut anywhere."""

    request: int
    data: bytes
    has_properties: bool = False


class FetchFinished(NamedTuple):
    """The group we fetch is complete."""

    request: int


class FetchRefused(NamedTuple):
    """The peer will not deliver the group we fetch, or broke it off."""

    request: int
    code: int


class SubscribeAccepted(NamedTuple):
    """The peer serves our subscription (on some versions only said with the first group)."""

    id: int
    start: int | None
    """The lowest group that will come, where the version says it."""


class SubscribeFinished(NamedTuple):
    """The track is complete: no group will follow that is not on its way already."""

    id: int
    end: int | None
    """The first group number that will never come, where the version says it."""


class SubscribeRefused(NamedTuple):
    """The peer broke off our subscription, before or after it served it."""

    id: int
    code: int


class GroupOpened(NamedTuple):
    """A group of one of our subscriptions starts arriving on a stream."""

    stream: int
    id: int
    sequence: int
    has_properties: bool = False
    """Frames are not in the dialect's layout, but in `Layout.TIMED_OBJECTS`."""


class GroupArrived(NamedTuple):
    """A group of one of our subscriptions, all of which came at once; none of the others is said
    of it but for `GroupOpened`, where its header came first."""

    id: int
    sequence: int
    data: bytes
    """Whole frames in the dialect's layout, one at least."""
    stream: int | None = None
    """Which of those that were opened it is."""
    has_properties: bool = False


class GroupReceived(NamedTuple):
    """The next bytes of a group: frames in the dialect's layout, cut anywhere."""

    stream: int
    data: bytes


class GroupFinished(NamedTuple):
    """The group is complete."""

    stream: int


class GroupAborted(NamedTuple):
    """The group broke off."""

    stream: int
    code: int


class DatagramReceived(NamedTuple):
    """A group of a single small frame, best effort."""

    id: int
    sequence: int
    timestamp: int
    payload: bytes


class LimitHit(NamedTuple):
    """A request of the peer's, or a group, went beyond a limit and was reset. Said once of each
    limit, however many follow."""

    limit: str
    """The setting."""
    most: int


class ProbeRequested(NamedTuple):
    """The peer wants to know how fast we can send; answer with `report` now and then."""

    stream: int


class GoawayReceived(NamedTuple):
    """The peer is about to leave."""

    uri: str


Event = (
    Opened
    | AnnounceRequested
    | AnnounceCancelled
    | Announced
    | Unannounced
    | AnnouncesLost
    | Subscribed
    | SubscribeUpdated
    | Unsubscribed
    | TrackRequested
    | TrackCancelled
    | FetchRequested
    | StreamCancelled
    | TrackDescribed
    | TrackRefused
    | FetchReceived
    | FetchFinished
    | FetchRefused
    | SubscribeAccepted
    | SubscribeFinished
    | SubscribeRefused
    | GroupOpened
    | GroupArrived
    | GroupReceived
    | GroupFinished
    | GroupAborted
    | DatagramReceived
    | LimitHit
    | ProbeRequested
    | GoawayReceived
)
