"""Groups on their way: the same one-way streams in both languages, with other heads and objects.

The law: a group that does not come from its first object on, object 0 or what is marked as such, is
none for the house, which keeps whole ones; and what comes before anybody can tell whose it is
waits, up to a ceiling. This module must not know requests beyond their numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from relay.errors import Cancelled, DecodeError
from relay.moqt.datagrams import scan_datagram
from relay.moqt.drafts import FETCHED, Draft
from relay.moqt.merging import Merge, Merges
from relay.moqt.objects import (
    END_OF_GROUP,
    END_OF_TRACK,
    NORMAL,
    Collected,
    Inward,
    Object,
    Outward,
)
from relay.moqt.properties import kept, read
from relay.moqt.spans import Span
from relay.moqt.stamps import Stamps
from relay.session.transport import Transport
from relay.wire.buffer import split_message
from relay.wire.codes import REGISTERED
from relay.wire.frame import weigh
from relay.wire.lite import Dialect
from relay.wire.messages import MAX_SEQUENCE, Group, Uni

if TYPE_CHECKING:
    from relay.moqt.retrieving import Retrieving

MAX_UNKNOWN = 262_144
"""Bytes kept of groups that come before the answer that says whose they are. More: such are
stopped."""

EACH_UNKNOWN = 256
"""What one of them counts for beside its bytes."""

MAX_ENDED = 64
"""Tracks that have ended and whose groups are still told apart."""

MAX_HEAD = 64
"""Bytes of a head: more is none of any draft, nor of moq-lite."""

PRIORITY = 128
"""Of all groups of ours alike: the middle (moq-transport-14, 7)."""

_GROUP = bytes((Uni.GROUP,))


class _Arrival:
    """A stream of the peer's."""

    __slots__ = (
        "data",
        "ends_group",
        "group",
        "has_ended",
        "inward",
        "is_beside",
        "is_deaf",
        "is_first",
        "is_told",
        "merge",
        "retrieval",
        "subscription",
    )

    def __init__(self) -> None:
        self.data = bytearray()
        """What has come before it is known whose it is."""
        self.has_ended = False
        self.inward: Inward | None = None
        self.merge: Merge | None = None
        """What it is part of, where its group comes on several."""
        self.ends_group = False
        """Whether with it the group has ended, too."""
        self.is_beside = False
        """Whether it may be one of several of a group."""
        self.is_first = False
        """Whether no object of the group comes before its own, whatever number that has."""
        self.subscription = self.group = 0
        self.is_told = False
        """Whether the session knows of the group."""
        self.is_deaf = False
        self.retrieval: Retrieving | None = None
        """The fetch whose objects it brings."""


class _Departure(Outward):
    """A stream of ours."""

    __slots__ = ("_alias", "_group", "_is_headless")

    def __init__(self, draft: Draft, alias: int, group: int) -> None:
        super().__init__(draft)
        self._alias = alias
        self._group = group
        self._is_headless = True

    def pass_on(self, frames: bytes, fin: bool) -> bytes:
        """The next objects. What the stream begins with comes once it is known whether these have
        properties."""
        objects = self.feed(frames)
        if self._is_headless and (self.has_begun or self.has_properties or fin):
            self._is_headless = False
            draft, has_any = self._draft, self.has_properties
            objects = draft.subgroup_head(self._alias, self._group, PRIORITY, has_any) + objects
        return objects


class Groups:
    """Those of one session."""

    def __init__(
        self,
        below: Transport,
        draft: Draft,
        dialect: Dialect,
        up: Callable[[int, bytes, bool], None],
        up_reset: Callable[[int, int], None],
        now: Callable[[], float],
        far: Callable[[], int],
    ) -> None:
        """``up`` and ``up_reset`` tell the session what is heard on a stream, ``now`` answers
        seconds, ``far`` a one-way stream from the peer that there is none of below."""
        self._below = below
        self._draft = draft
        self._dialect = dialect
        self._up = up
        self._up_reset = up_reset
        self._now = now
        self._arrivals: dict[int, _Arrival] = {}
        self._departures: dict[int, _Departure] = {}
        """Streams of ours."""
        self._aliases: dict[int, tuple[int, Stamps | None]] = {}
        """Subscriptions by their tracks' aliases, and how their timestamps are read."""
        self._ended: dict[int, None] = {}
        """Those whose tracks have ended: of the last few some groups may still be on their way."""
        self._held: dict[int, _Arrival] = {}
        """Those nobody can tell yet whose they are, in the order in which they came."""
        self._loose: list[bytes] = []
        """Datagrams of which the same is true."""
        self._unknown = 0
        """Bytes of these."""
        self._expected = 0
        """Subscriptions of the session's that are not answered yet."""
        self.ends: dict[int, int] = {}
        """The first group that there will not be, by subscription, where it was told."""
        self.merges = Merges(draft.timestamps, self._head, up, up_reset, far, self.break_off)
        """Groups that come on several streams."""
        self.begun: Counter[int] = Counter()
        """Groups of ours by their track's alias."""
        self.first: dict[int, int] = {}
        """The first of these."""
        self.spans: dict[int, Span] = {}
        """Subscriptions that are over with a last group."""
        self.retrievals: dict[int, Retrieving] = {}
        """Fetches of ours whose streams have not begun, by the numbers of their requests."""
        self.early = 0
        """Bytes kept of those that are not answered."""
        self._leaving: dict[int, tuple[Span, int]] = {}
        """Groups of these, by the streams that are not complete."""
        self.looks: dict[int, Callable[[int, int], int]] = {}
        """Subscriptions whose groups nobody gets: they hear of each and of its frames that came at
        once, and answer a stream that goes nowhere."""

    # The peer's

    def known(self, alias: int, subscription: int, timescale: int) -> bool:
        """A track's alias is told, and what its timestamps count; False where it is another's."""
        if alias in self._aliases and alias not in self._ended:
            return False
        self.forget(alias)
        self._aliases[alias] = subscription, self.stamps(timescale)
        held, self._held, self._unknown = self._held, {}, 0
        loose, self._loose = self._loose, []
        for stream, arrival in held.items():
            data, arrival.data = bytes(arrival.data), bytearray()
            self._take(stream, arrival, data, arrival.has_ended)
            if arrival.has_ended:
                self._arrivals.pop(stream, None)
        for each in loose:
            self.datagram(each)
        return True

    def stamps(self, timescale: int) -> Stamps | None:
        """How timestamps are read that count so many a second; ``None`` in drafts without any."""
        return Stamps(timescale, self._now) if self._draft.timestamps else None

    def ended(self, alias: int) -> None:
        """No group of its track begins any more."""
        self._ended[alias] = None
        if len(self._ended) > MAX_ENDED:
            self.forget(next(iter(self._ended)))

    def forget(self, alias: int) -> None:
        """It means nothing any more."""
        if (track := self._aliases.pop(alias, None)) is not None:
            self.merges.forget(track[0])
        self._ended.pop(alias, None)

    def expect(self, change: int) -> None:
        """So many more answers are awaited that will tell an alias; fewer, where negative."""
        self._expected += change
        if not self._expected:
            held, self._held, self._unknown = self._held, {}, 0
            self._loose.clear()
            for stream, arrival in held.items():
                self._stop(stream, arrival)

    def is_coming(self, stream: int) -> bool:
        """Whether a stream has begun, and is none of messages."""
        return stream in self._arrivals

    def received(self, stream: int, data: bytes, fin: bool) -> None:
        """The next bytes of a stream."""
        arrival = self._arrivals.get(stream)
        if arrival is None:
            arrival = self._arrivals[stream] = _Arrival()
        if not arrival.is_deaf:
            self._take(stream, arrival, data, fin)
        if fin and stream not in self._held:
            self._arrivals.pop(stream, None)

    def broken(self, stream: int, code: int) -> None:
        """The peer breaks a stream off."""
        arrival = self._arrivals.pop(stream, None)
        if arrival is None:
            return
        if self._held.pop(stream, None) is not None:
            self._unknown -= len(arrival.data) + EACH_UNKNOWN
        if arrival.retrieval is not None and not arrival.is_deaf:
            arrival.retrieval.broke_off(REGISTERED.hear(code))
        if arrival.is_told:
            self._up_reset(stream, REGISTERED.hear(code))
        if arrival.merge is not None and not arrival.is_deaf:
            arrival.merge.leave(stream, False)
            self.merges.go_on(arrival.merge)

    def datagram(self, data: bytes) -> None:
        """An object comes in a datagram. One that comes too late is forgotten, and so is one that
        nobody can tell whose it is, unless an answer is awaited: peers put datagrams before it in
        the same packet."""
        found = scan_datagram(data, self._draft.varint)
        if found is None or found.group > MAX_SEQUENCE:
            return
        track = self._aliases.get(found.alias)
        if track is None:
            size = len(data) + EACH_UNKNOWN
            if self._expected and self._unknown + size <= MAX_UNKNOWN:
                self._unknown += size
                self._loose.append(data)
            return
        subscription, stamps = track
        merge = self.merges.begin_loose(subscription, found.group)
        if merge is None:
            return
        if found.status == NORMAL:
            properties = read(self._draft, found.properties)
            stamp = stamps.read(properties) if stamps is not None else 0
            front = kept(properties, stamps is None or stamps.is_plain)
            merge.put_loose(Object(found.number, stamp, front + found.payload))
        if found.ends_group:
            merge.end = found.number + 1
        elif found.status in (END_OF_GROUP, END_OF_TRACK):
            merge.end = found.number
        if found.status == END_OF_TRACK:
            self.ends[subscription] = found.group + bool(found.number)
        self.merges.go_on(merge)

    def _take(self, stream: int, arrival: _Arrival, data: bytes, fin: bool) -> None:
        if stream in self._held:
            self._hold(stream, arrival, data, fin)
            return
        if arrival.retrieval is not None:
            arrival.retrieval.came(data, fin)
            return
        if arrival.inward is None:
            begun = self._begin(stream, arrival, bytes(arrival.data) + data, fin)
            if begun is None:
                return
            data = begun
        inward = arrival.inward
        assert inward is not None
        if isinstance(inward, Collected):
            self._collect(stream, arrival, inward, data, fin)
            return
        frames = inward.feed(data)
        if inward.ends_track:
            self.ends[arrival.subscription] = arrival.group + bool(inward.count)
        if inward.begins and not arrival.is_first:
            if arrival.is_beside:
                self.merges.split(arrival.subscription, arrival.group)
            self._stop(stream, arrival)
            return
        if fin and not inward.is_whole:
            if arrival.is_told:
                self._up_reset(stream, DecodeError.code)
            return
        if not arrival.is_told and inward.count:
            arrival.is_told = True
            frames = self._head(arrival.subscription, arrival.group) + frames
        if arrival.is_told and (frames or fin):
            self._up(stream, frames, fin)

    def _collect(
        self, stream: int, arrival: _Arrival, inward: Collected, data: bytes, fin: bool
    ) -> None:
        """The next bytes of one of several streams."""
        merge = arrival.merge
        assert merge is not None
        merge.put(stream, inward.take(data), inward.least, inward.kept)
        if inward.end is not None:
            merge.end = inward.end
        if inward.ends_track:
            self.ends[arrival.subscription] = arrival.group + bool(inward.end)
        if fin:
            if arrival.ends_group and inward.is_whole:
                merge.end = inward.number + 1
            merge.leave(stream, inward.is_whole)
        self.merges.go_on(merge)

    def _head(self, subscription: int, group: int) -> bytes:
        """What a group begins with for the session."""
        return _GROUP + self._dialect.encode(Group(subscription, group))

    def _begin(self, stream: int, arrival: _Arrival, data: bytes, fin: bool) -> bytes | None:
        """Read the head, and answer what follows it; ``None`` as long as that is of no use."""
        if data.startswith(FETCHED):
            self._retrieve(stream, arrival, data, fin)
            return None
        try:
            found = self._draft.scan_subgroup_head(data)
        except DecodeError:
            self._stop(stream, arrival)
            return None
        if found is None:
            arrival.data = bytearray(data)
            if len(data) > MAX_HEAD:
                self._stop(stream, arrival)
            return None
        head, at = found
        if head.group > MAX_SEQUENCE:  # from draft 17 on numbers are larger than moq-lite has
            self._stop(stream, arrival)
            return None
        track = self._aliases.get(head.alias)
        arrival.data = bytearray()
        if track is None:
            self._unknown += EACH_UNKNOWN
            self._held[stream] = arrival
            self._hold(stream, arrival, data, fin)
            return None
        arrival.subscription, stamps = track
        arrival.group = head.group
        arrival.ends_group = head.ends_group
        arrival.is_beside = head.subgroup != 0
        is_marked = self._draft.heads.marks_start and head.from_start
        arrival.is_first = is_marked and head.subgroup == 0
        if head.subgroup:
            self.merges.split(arrival.subscription, head.group)
        arrival.merge = self.merges.begin(
            arrival.subscription, head.group, stream, head.is_numbered
        )
        if arrival.merge is not None and arrival.is_first:
            arrival.merge.is_first = True
        kind = Inward if arrival.merge is None else Collected
        arrival.inward = kind(self._draft, head.has_properties, stamps)
        return data[at:]

    def _retrieve(self, stream: int, arrival: _Arrival, data: bytes, fin: bool) -> None:
        """What was fetched begins to come."""
        found = self._draft.scan_varint(data, len(FETCHED))
        if found is None:
            arrival.data = bytearray(data)
            return
        arrival.data = bytearray()
        retrieval = arrival.retrieval = self.retrievals.pop(found[0], None)
        if retrieval is None:
            self._stop(stream, arrival)
            return
        retrieval.begun(stream)
        retrieval.came(data[found[1] :], fin)

    def _hold(self, stream: int, arrival: _Arrival, data: bytes, fin: bool) -> None:
        """Nobody can tell whose it is, as long as an answer is awaited."""
        arrival.data += data
        arrival.has_ended = fin
        self._unknown += len(data)
        if not self._expected or self._unknown > MAX_UNKNOWN:
            self._unknown -= len(arrival.data) + EACH_UNKNOWN
            del self._held[stream]
            self._stop(stream, arrival)

    def _stop(self, stream: int, arrival: _Arrival) -> None:
        """Nothing of a stream is wanted."""
        arrival.is_deaf = True
        arrival.data = bytearray()
        if arrival.has_ended:
            self._arrivals.pop(stream, None)
        else:
            self._below.stop(stream, REGISTERED.say(Cancelled.code))

    def break_off(self, stream: int) -> None:
        """Nothing more of a stream is wanted."""
        if (arrival := self._arrivals.get(stream)) is not None:
            self._stop(stream, arrival)

    # Ours

    def open(self, head: bytes, fin: bool) -> int | None:
        """A stream for a group, which begins with ``head``; ``None`` without credit."""
        found = split_message(head[len(_GROUP) :], MAX_HEAD)
        assert found is not None
        group = self._dialect.decode(Group, found[0])
        alias = group.subscription
        if (look := self.looks.get(alias)) is not None:
            frames = weigh(self._dialect.layout, (found[1],), len(found[1]))[0]
            return look(group.sequence, frames)
        outward = _Departure(self._draft, alias, group.sequence)
        stream = self._below.open_uni(outward.pass_on(found[1], fin), fin)
        if stream is not None:
            self.begun[alias] += 1
            self.first.setdefault(alias, group.sequence)
            if not fin:
                self._departures[stream] = outward
            if (span := self.spans.get(alias)) is not None:
                if fin:
                    span.left(group.sequence)
                else:
                    self._leaving[stream] = span, group.sequence
        return stream

    def send(self, stream: int, data: bytes, fin: bool) -> None:
        """The next bytes of such a stream."""
        outward = self._departures.get(stream)
        if outward is not None:
            if fin:
                del self._departures[stream]
            self._below.send(stream, outward.pass_on(data, fin), fin)
        if fin and (leaving := self._leaving.pop(stream, None)) is not None:
            leaving[0].left(leaving[1])

    def gone(self, stream: int) -> None:
        """It broke off."""
        self._departures.pop(stream, None)
        self._leaving.pop(stream, None)

    def open_fetched(self, request: int) -> int | None:
        """A stream for what is fetched; ``None`` without credit."""
        return self._below.open_uni(self._draft.fetch_head(request))

    def send_fetched(self, stream: int, objects: bytes, fin: bool = False) -> None:
        """The next objects on such a stream, or its end."""
        self._below.send(stream, objects, fin)

    def break_fetched(self, stream: int, code: int) -> None:
        """Break it off."""
        self._below.reset(stream, REGISTERED.say(code))
