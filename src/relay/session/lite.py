"""One conversation in moq-lite, any version, either side: bytes become events, verbs bytes.

All input goes through the `*_received`/`stream_*` methods, which answer with what happened; nothing
here re-enters. Where versions differ the dialect is asked for the fact, never for its number. This
module must not know rights, shared state, sockets or time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property, lru_cache, partial

from relay.errors import Cancelled, LimitExceeded, ProtocolViolation, RelayError
from relay.path import Path
from relay.session.announcing import Announcer, Broadcast, Chain, Listener
from relay.session.arriving import GroupArrival, ProbeAnswer, whole_group
from relay.session.asking import Asking
from relay.session.events import FREE, Cost, DatagramReceived, Event, LimitHit, Opened
from relay.session.fetching import FetchQuestion
from relay.session.flow import Flow
from relay.session.meeting import meet
from relay.session.opening import Greeting, SetupQuestion, setup_stream
from relay.session.settings import SessionSettings
from relay.session.subscribing import Publication, Subscription, TrackAnswer, TrackQuestion
from relay.session.transport import Transport, is_server_opened, is_uni
from relay.wire.frame import Layout, decode_datagram, encode_datagram
from relay.wire.lite import Dialect
from relay.wire.messages import (
    MAX_SEQUENCE,
    Bidi,
    Fetch,
    Goaway,
    Group,
    Subscribe,
    SubscribeUpdate,
    TrackInfo,
    TrackRequest,
    Uni,
)
from relay.wire.unread import Unread
from relay.wire.version import INBAND, by_identifier

_GROUP = bytes((Uni.GROUP,))
"""How the stream of a group begins."""

MAX_HEADS = 1024
"""Heads of groups that are kept written: viewers' subscriptions have much the same numbers."""


class LiteSession:
    """One peer's conversation.

    ``protocol`` is the identifier the transport agreed on, ``None`` or ``moql`` when the version is
    agreed in-band. ``origin`` is our own hop id (non-zero, below 2^53). ``target`` is the path and
    query to dial, given only as a client whose transport carries none. ``cost`` is the price of
    what leaves us on this link, 0 = free, ``None`` = not said (which counts as 1).
    """

    def __init__(
        self,
        transport: Transport,
        protocol: str | None,
        *,
        origin: int,
        client: bool = False,
        target: str | None = None,
        cost: int | None = None,
        settings: SessionSettings | None = None,
    ) -> None:
        self.transport = transport
        self.settings = settings or SessionSettings()
        self.origin = origin
        self.client = client
        self.target = target
        self.cost = cost
        self.opened = False
        self.closed = False
        self.peer_origin = 0
        self.takes_updates = True
        """Whether the peer, as far as is known, takes `SubscribeUpdate`."""
        self.inband = protocol is None or protocol == INBAND
        self.publications: dict[int, Publication] = {}
        self.subscriptions: dict[int, Subscription] = {}
        self.questions: dict[int, TrackQuestion] = {}
        self.fetches: dict[int, FetchQuestion] = {}
        self.listeners: set[Listener] = set()
        self.announcers: dict[int, Announcer] = {}
        self._speaking: list[Announcer] = []
        self.agreed = None if self.inband else by_identifier(protocol or "")
        """The version, once there is one."""
        if self.agreed is None and not self.inband:
            raise ProtocolViolation(f"unknown protocol {protocol!r}")
        self._flows: dict[int, Flow] = {}
        self._in_use = [0, 0]
        """Streams that the peer opened: those with two ways, and the others."""
        self._events: list[Event] = []
        self._held: list[Event] = []
        self._asking = Asking(self, self._flows)
        self.limits_hit: set[LimitHit] = set()
        self._early = 0
        self._unread = Unread()
        self._next_id = self._next_question = 0

    # -- what the conversation is --------------------------------------------------------------

    # Kept once they are known, because both are asked for with every group.

    @cached_property
    def dialect(self) -> Dialect:
        """The agreed version; raises `ProtocolViolation` before there is one."""
        if self.agreed is None:
            raise ProtocolViolation("nothing may be said before the version is agreed")
        return self.agreed

    @property
    def version(self) -> str:
        """The agreed version's name, for people."""
        return self.agreed.name if self.agreed else "not agreed"

    @cached_property
    def layout(self) -> Layout:
        """How frames are laid out in groups, both ways."""
        return self.dialect.layout

    # -- input ---------------------------------------------------------------------------------

    def start(self) -> list[Event]:
        """Say what must be said first."""
        if self.inband:
            if self.client:
                question = SetupQuestion(self, self.target)
                self._asking.ask(question, question.request)
        elif self.dialect.setup_stream:
            stream = self.transport.open_uni()
            if stream is not None:
                cost = self.cost if self.dialect.costs else None
                self.transport.send(stream, setup_stream(self.target, self.origin, cost), True)
        else:
            self.open(Opened(None, True, True, 0))
        return self._drain()

    def stream_received(self, stream: int, data: bytes, fin: bool) -> list[Event]:
        """The next bytes of a stream of the peer's, or of the answer on one of ours."""
        flow = self._flows.get(stream)
        if flow is None:
            # As `is_server_opened` and `is_uni`, for each group.
            if self.closed or (stream & 1) != self.client:
                return []  # what is left of a stream we have forgotten
            uni = stream & 2 != 0
            is_full = self._in_use[uni] >= self.settings.max_requests
            if uni and data.startswith(_GROUP) and self.agreed and not is_full:
                if fin and self.opened and (whole := whole_group(self, data)) is not None:
                    if not self._events:
                        return [whole]
                    self._events.append(whole)
                    return self._drain()
                flow = GroupArrival(self, stream)  # as `meet` would say
                data = data[1:]
            else:
                flow = Greeting(self, stream)
                flow.said = uni
            self._flows[stream] = flow
            self._in_use[uni] += 1
        try:
            if not self.opened:
                self._count_early(len(data))
            if type(flow) is GroupArrival:
                flow.received(data, fin)
            else:
                if data:
                    flow.received(data, False)
                if fin and (flow := self._flows.get(stream)) is not None:
                    flow.received(b"", True)
                flow = self._flows.get(stream)
                is_group = flow is None or type(flow) is GroupArrival
                self._unread.note(stream, 0 if flow is None or is_group else len(flow.buffer))
        except (ProtocolViolation, LimitExceeded) as error:
            self.fail(error)
        drained, self._events = self._events, []  # as `_drain`, for each frame
        return drained

    def stream_reset(self, stream: int, code: int) -> list[Event]:
        """The peer broke off its half of a stream, which may be all that ever came of it."""
        if (flow := self._flows.get(stream)) is not None:
            flow.reset(self._heard(code))
        elif is_server_opened(stream) == self.client and not is_uni(stream):
            self.break_off(stream, Cancelled.code)
        return self._drain()

    def stream_stopped(self, stream: int, code: int) -> list[Event]:
        """The peer no longer reads our half of a stream."""
        if (flow := self._flows.get(stream)) is not None:
            flow.stopped(self._heard(code))
        return self._drain()

    def datagram_received(self, data: bytes) -> list[Event]:
        """A datagram; one that nobody asked for or that makes no sense is ignored."""
        if self.agreed is not None and self.agreed.datagrams:
            try:
                datagram = decode_datagram(data)
            except ProtocolViolation:
                return []
            if datagram.sequence <= MAX_SEQUENCE and datagram.subscription in self.subscriptions:
                self.emit(DatagramReceived(*datagram))
        return self._drain()

    @property
    def unasked(self) -> int:
        """Requests of ours that wait for streams, which the peer has to grant."""
        return len(self._asking.waiting)

    @property
    def has_waiting(self) -> bool:
        """Whether `flush` may have anything to do."""
        return bool(self._asking.waiting or self._events or self._speaking)

    def flush(self) -> list[Event]:
        """Send the announcements of this turn, and open the streams that waited for credit, as far
        as the peer grants it by now."""
        speaking, self._speaking = self._speaking, []
        for announcer in speaking:
            announcer.speak()
        if self._asking.waiting:
            self._asking.go_on()
        return self._drain() if self._events else []

    # -- verbs: announcements ------------------------------------------------------------------

    def listen(self, prefix: Path) -> None:
        """Ask the peer what exists under ``prefix``."""
        listener = Listener(self, prefix)
        self.listeners.add(listener)
        self._asking.ask(listener, listener.request, Bidi.ANNOUNCE)

    def answer_announce(self, request: int, initial: Iterable[Broadcast]) -> None:
        """The first answer to an `AnnounceRequested`: all that exists now, even if nothing."""
        if isinstance(flow := self._flows.get(request), Announcer):
            flow.answer(initial)

    def announce(self, request: int, path: str, hops: Chain, cost: Cost = FREE) -> None:
        """A broadcast appeared under the prefix of ``request``, or its chain or cost changed.

        ``cost`` is told where the version can.
        """
        if isinstance(flow := self._flows.get(request), Announcer):
            flow.announce(path, hops, cost)

    def unannounce(self, request: int, path: str) -> None:
        """A broadcast disappeared."""
        if isinstance(flow := self._flows.get(request), Announcer):
            flow.unannounce(path)

    def unannounce_all(self, request: int) -> None:
        """All that was announced under the prefix of ``request`` disappeared."""
        if isinstance(flow := self._flows.get(request), Announcer):
            flow.unannounce_all()

    # -- verbs: asking for tracks --------------------------------------------------------------

    def describe(self, broadcast: str, track: str) -> int | None:
        """Ask for a track's properties; ``None`` where the version cannot (assume defaults)."""
        if not self.dialect.track_stream:
            return None
        self._next_question += 1
        question = TrackQuestion(self, self._next_question, TrackRequest(broadcast, track))
        self.questions[question.request_id] = question
        self._asking.ask(question, question.request, Bidi.TRACK)
        return question.request_id

    def cancel_describe(self, request: int) -> None:
        """The properties are no longer wanted."""
        if (question := self.questions.pop(request, None)) is not None:
            question.drop(Cancelled.code)

    def fetch(self, broadcast: str, track: str, group: int, priority: int) -> int:
        """Ask for one group, where `Dialect.fetch` says that it can be asked for."""
        self._next_question += 1
        question = FetchQuestion(
            self, self._next_question, Fetch(broadcast, track, priority, group)
        )
        self.fetches[question.request_id] = question
        self._asking.ask(question, question.request, Bidi.FETCH)
        return question.request_id

    def cancel_fetch(self, request: int) -> None:
        """The group is no longer wanted. Harmless when it is complete."""
        if (question := self.fetches.pop(request, None)) is not None:
            question.drop(Cancelled.code)

    def subscribe(self, broadcast: str, track: str, demand: SubscribeUpdate) -> int:
        """Watch a track of the peer's; groups and the outcome come as events with this id."""
        id = self._next_id
        self._next_id += 1
        self.watch(Subscribe(id, broadcast, track, *demand))
        return id

    def watch(self, asked: Subscribe) -> None:
        """Put this question, for the first time or, where it was broken off, anew."""
        subscription = self.subscriptions[asked.id] = Subscription(self, asked)
        self._asking.ask(subscription, subscription.request, Bidi.SUBSCRIBE)

    def resubscribe(self, id: int, demand: SubscribeUpdate) -> None:
        """Change a running subscription of ours."""
        if (subscription := self.subscriptions.get(id)) is not None:
            subscription.update(demand)

    def unsubscribe(self, id: int) -> None:
        """Stop watching; groups of it that still arrive are stopped."""
        if (subscription := self.subscriptions.pop(id, None)) is not None:
            subscription.leave()

    def stop(self, stream: int, code: int) -> None:
        """Stop one arriving group, and only that."""
        if (flow := self._flows.get(stream)) is not None:
            flow.drop(code)

    # -- verbs: serving tracks -----------------------------------------------------------------

    def accept(self, id: int, priority: int, latest: tuple[int, int] | None = None) -> None:
        """The track of a `Subscribed` is known, and maybe its ``latest`` group and how many frames
        that has."""
        if (publication := self.publications.get(id)) is not None:
            publication.accept(priority, latest)

    def refuse(self, id: int, code: int) -> None:
        """Break off a subscription of the peer's, before or after it was served."""
        if (publication := self.publications.get(id)) is not None:
            publication.refuse(code)

    def complete(self, id: int, end: int) -> None:
        """The track is complete and all its groups have been sent; ``end`` is exclusive."""
        if (publication := self.publications.get(id)) is not None:
            publication.complete(end)

    def answer_track(self, request: int, info: TrackInfo) -> None:
        """Answer a `TrackRequested`."""
        if isinstance(flow := self._flows.get(request), TrackAnswer):
            flow.answer(info)

    def refuse_track(self, request: int, code: int) -> None:
        """Refuse a `TrackRequested`."""
        if (flow := self._flows.get(request)) is not None:
            flow.drop(code)

    def open_group(
        self,
        id: int,
        sequence: int,
        floor: Callable[[], int | None] = lambda: None,
        first_frame: int = 0,
        whole: bytes = b"",
        has_properties: bool = False,
    ) -> int | None:
        """A stream for a group of a subscription of the peer's; ``None`` without stream credit.

        ``floor`` answers the lowest group the peer should expect, when that is not this one, and is
        asked once for each subscription; ``first_frame`` is the frame that the stream will begin
        with, where the version can say it. ``whole`` is all of a group that is at hand: the stream
        ends with it. Between processes of one relay it may be one that ``has_properties``, written
        as `Layout.TIMED_OBJECTS`.
        """
        publication = self.publications.get(id)
        if publication is None:
            return None
        head = _group_head(self.dialect, id, sequence, first_frame, has_properties) + whole
        if publication.started or self.dialect.subscribe_ack == "ok":
            return self.transport.open_uni(head, whole != b"")
        stream = self.transport.open_uni()
        if stream is not None:
            lowest = floor()
            publication.start(sequence if lowest is None else min(lowest, sequence))
            self.transport.send(stream, head, whole != b"")
        return stream

    def write(self, stream: int, data: bytes, fin: bool = False) -> None:
        """The next bytes of a group or fetch answer, in this session's layout."""
        if (flow := self._flows.get(stream)) is not None:
            flow.send(data, fin)
        else:
            self.transport.send(stream, data, fin)

    def reset(self, stream: int, code: int) -> None:
        """Break off a group or fetch answer of ours."""
        if (flow := self._flows.get(stream)) is not None:
            flow.drop(code)
        else:
            self.break_off(stream, code)

    def send_datagram(self, id: int, sequence: int, timestamp: int, payload: bytes) -> bool:
        """A one-frame group, best effort. False when it cannot be carried."""
        if not self.dialect.datagrams or id not in self.publications:
            return False
        return self.transport.send_datagram(encode_datagram(id, sequence, timestamp, payload))

    # -- verbs: the session itself -------------------------------------------------------------

    def report(self, stream: int, bitrate: int, rtt: int) -> None:
        """Answer a `ProbeRequested`: bits per second and milliseconds."""
        if isinstance(flow := self._flows.get(stream), ProbeAnswer):
            flow.report(bitrate, rtt)

    def goaway(self, uri: str = "") -> None:
        """Tell the peer that we are about to leave, where the version can."""
        if self.agreed is not None and self.agreed.goaway:
            farewell = Flow(self)
            self._asking.ask(farewell, partial(self.dialect.encode, Goaway(uri)), Bidi.GOAWAY)

    def fail(self, error: RelayError) -> None:
        """Close because of ``error``: the peer gets its number and its sentence."""
        self.close(error.session_code, str(error))

    def close(self, code: int, reason: str = "") -> None:
        """End the session; nothing is said or heard after this."""
        if not self.closed:
            self.closed = True
            self._flows.clear()
            self._asking.end()
            self.transport.close(code, reason)

    # -- for the flows of this conversation ----------------------------------------------------

    def emit(self, event: Event) -> None:
        """Something happened. What precedes the peer's SETUP waits for it."""
        (self._events if self.opened else self._held).append(event)

    def will_speak(self, announcer: Announcer) -> None:
        """An announcer has something to say, or more than may leave now: it is asked at the next
        flush."""
        self._speaking.append(announcer)

    def open(self, event: Opened) -> None:
        """The peer introduced itself: what was held back follows."""
        self.opened = True
        self.peer_origin = event.origin
        self._events.append(event)
        self._events.extend(self._held)
        self._held.clear()

    def greet(self) -> None:
        """The version is agreed: hear what the peer has said on streams that came before."""
        for flow in tuple(self._flows.values()):
            if isinstance(flow, Greeting) and not flow.deaf:
                flow.go_on()

    def meet(self, stream: int, kind: int) -> Flow | None:
        """Who handles a new stream of the peer's; ``None`` when nobody does."""
        return meet(self, stream, kind, self._in_use[is_uni(stream)])

    def _count_early(self, size: int) -> None:
        """What is kept for a peer that has not introduced itself is bounded."""
        self._early += size
        if self._early > self.settings.max_early:
            raise LimitExceeded("too much before SETUP: session.max_early")

    def break_off(self, stream: int, code: int) -> None:
        """Reset our half of a stream, with the version's number for ``code``."""
        self.transport.reset(stream, self._said(code))

    def turn_down(self, stream: int, code: int) -> None:
        """Stop the peer's half of a stream, with the version's number for ``code``."""
        self.transport.stop(stream, self._said(code))

    def _said(self, code: int) -> int:
        return code if self.agreed is None else self.agreed.codes.say(code)

    def _heard(self, code: int) -> int:
        return code if self.agreed is None else self.agreed.codes.hear(code)

    def replace(self, stream: int, flow: Flow) -> None:
        """The purpose of a stream is known."""
        self._flows[stream] = flow

    def forget(self, stream: int) -> None:
        """Nothing more can come or go on the stream."""
        self._unread.forget(stream)
        if self._flows.pop(stream, None) is not None and is_server_opened(stream) == self.client:
            self._in_use[is_uni(stream)] -= 1

    def withdraw(self, flow: Flow) -> None:
        """What was to be asked, and has no stream yet, is not wanted any more."""
        self._asking.withdraw(flow)

    def count_untold(self) -> int:
        """Broadcasts that exist and of which the peer is still to be told in first answers."""
        return sum(announcer.untold for announcer in self.announcers.values())

    def count_announces(self) -> int:
        """Broadcasts the peer announces now."""
        return sum(listener.load for listener in self.listeners)

    def _drain(self) -> list[Event]:
        drained, self._events = self._events, []
        return drained


@lru_cache(MAX_HEADS)
def _group_head(
    dialect: Dialect, subscription: int, sequence: int, first_frame: int, has_properties: bool
) -> bytes:
    return _GROUP + dialect.encode(Group(subscription, sequence, first_frame, has_properties))
