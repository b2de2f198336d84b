"""Groups on their way: the same one-way streams in both languages, with other heads and objects.

The law: a group that does not come from its first object on is none for the house, which keeps
whole ones; and what comes before anybody can tell whose it is waits, up to a ceiling. This module
must not know requests beyond their numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from relay.errors import Cancelled, DecodeError, Dropped
from relay.moqt.drafts import FETCHED, Draft
from relay.moqt.objects import Fetched, Inward, Outward
from relay.session.transport import Transport
from relay.wire.buffer import split_message
from relay.wire.codes import REGISTERED
from relay.wire.lite import Dialect
from relay.wire.messages import Group, Uni

MAX_UNKNOWN = 262_144
"""Bytes kept of groups that come before the answer that says whose they are. More: such are
stopped."""

ENOUGH_NEWER = 2
"""Groups after the one that was under way, after which no rest of that is waited for."""

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
        "group",
        "has_ended",
        "inward",
        "is_deaf",
        "is_told",
        "join",
        "subscription",
        "up",
    )

    def __init__(self, stream: int) -> None:
        self.up = stream
        """The stream of moq-lite's on which it goes on."""
        self.data = b""
        """What has come before it is known whose it is, or whether it is wanted."""
        self.join: Join | None = None
        """What it is the rest of."""
        self.has_ended = False
        self.inward: Inward | None = None
        self.subscription = self.group = 0
        self.is_told = False
        """Whether the session knows of the group."""
        self.is_deaf = False


class Join:
    """The group under way when a subscription began: its first objects are fetched, and what the
    subscription brings of it follows these."""

    __slots__ = (
        "fetched",
        "group",
        "has_all",
        "is_moot",
        "is_told",
        "newer",
        "rest",
        "stream",
        "subscription",
    )

    def __init__(self, fetched: Fetched, stream: int, subscription: int, group: int) -> None:
        """``stream`` is moq-lite's for the whole group."""
        self.fetched = fetched
        self.stream = stream
        self.subscription = subscription
        self.group = group
        self.has_all = False
        """Whether all that is to be fetched has come."""
        self.newer = 0
        """Groups after it that have begun."""
        self.is_told = False
        self.is_moot = False
        """Whether nothing comes of it."""
        self.rest: tuple[int, _Arrival] | None = None
        """The stream of the subscription's with the rest of the group."""


class _Departure:
    """A stream of ours."""

    __slots__ = ("data", "outward")

    def __init__(self) -> None:
        self.data = b""
        self.outward: Outward | None = None


class Groups:
    """Those of one session."""

    def __init__(
        self,
        below: Transport,
        draft: Draft,
        dialect: Dialect,
        up: Callable[[int, bytes, bool], None],
        up_reset: Callable[[int, int], None],
    ) -> None:
        """``up`` and ``up_reset`` tell the session what is heard on a stream."""
        self._below = below
        self._draft = draft
        self._dialect = dialect
        self._up = up
        self._up_reset = up_reset
        self._arrivals: dict[int, _Arrival] = {}
        self._departures: dict[int, _Departure] = {}
        self._aliases: dict[int, int] = {}
        self._ended: dict[int, None] = {}
        """Those whose tracks have ended: of the last few some groups may still be on their way."""
        self._joins: dict[int, Join] = {}
        """What is fetched, by subscription."""
        self._fetches: dict[int, Join] = {}
        """The same by the number of the request."""
        self._fetching: dict[int, Join] = {}
        """The same by the stream on which it comes."""
        self._held: dict[int, _Arrival] = {}
        """Those nobody can tell yet whose they are, in the order in which they came."""
        self._unknown = 0
        """Bytes of these."""
        self._expected = 0
        """Subscriptions of the session's that are not answered yet."""
        self.ends: dict[int, int] = {}
        """The first group that there will not be, by subscription, where it was told."""
        self.begun: Counter[int] = Counter()
        """Groups of ours by their track's alias."""

    # The peer's

    def known(self, alias: int, subscription: int) -> bool:
        """A track's alias is told; False where it is another's."""
        if alias in self._aliases and alias not in self._ended:
            return False
        self._ended.pop(alias, None)
        self._aliases[alias] = subscription
        held, self._held, self._unknown = self._held, {}, 0
        for stream, arrival in held.items():
            data, arrival.data = arrival.data, b""
            self._take(stream, arrival, data, arrival.has_ended)
        return True

    def ended(self, alias: int) -> None:
        """No group of its track begins any more."""
        self._ended[alias] = None
        if len(self._ended) > MAX_ENDED:
            self.forget(next(iter(self._ended)))

    def forget(self, alias: int) -> None:
        """It means nothing any more."""
        self._aliases.pop(alias, None)
        self._ended.pop(alias, None)

    def expect(self, change: int) -> None:
        """So many more answers are awaited that will tell an alias; fewer, where negative."""
        self._expected += change
        if not self._expected:
            held, self._held, self._unknown = self._held, {}, 0
            for stream, arrival in held.items():
                self._stop(stream, arrival)

    def join(self, stream: int, subscription: int, group: int) -> None:
        """The beginning of the group under way will be asked for."""
        self._joins[subscription] = Join(Fetched(self._draft), stream, subscription, group)

    def fetch(self, request: int, subscription: int) -> None:
        """It is asked for."""
        if (join := self._joins.get(subscription)) is not None:
            self._fetches[request] = join

    def part(self, request: int) -> None:
        """It will not come."""
        join = self._fetches.pop(request, None)
        if join is not None:
            self._abandon(join)

    def leave(self, subscription: int) -> None:
        """Nothing new begins on a subscription: what was under way is whole, or never will be."""
        self.ends.pop(subscription, None)
        join = self._joins.get(subscription)
        if join is not None and join.has_all and join.rest is None:
            self._finish(join)
        elif join is not None:
            self._abandon(join)

    def received(self, stream: int, data: bytes, fin: bool) -> None:
        """The next bytes of a stream."""
        if (join := self._fetching.get(stream)) is not None:
            self._take_fetched(stream, join, data, fin)
            return
        arrival = self._arrivals.get(stream)
        if arrival is None:
            arrival = self._arrivals[stream] = _Arrival(stream)
        if not arrival.is_deaf:
            self._take(stream, arrival, data, fin)
        if fin and stream not in self._held:
            self._arrivals.pop(stream, None)

    def broken(self, stream: int, code: int) -> None:
        """The peer breaks a stream off."""
        if (join := self._fetching.pop(stream, None)) is not None:
            self._abandon(join)
            return
        arrival = self._arrivals.pop(stream, None)
        if arrival is None:
            return
        if self._held.pop(stream, None) is not None:
            self._unknown -= len(arrival.data)
        if arrival.join is not None:
            self._abandon(arrival.join)
        elif arrival.is_told:
            self._up_reset(arrival.up, REGISTERED.hear(code))

    def _take(self, stream: int, arrival: _Arrival, data: bytes, fin: bool) -> None:
        if arrival.inward is None:
            begun = self._begin(stream, arrival, arrival.data + data, fin)
            if begun is None:
                return
            data = begun
        inward = arrival.inward
        assert inward is not None
        frames = inward.feed(data)
        if inward.ends_track:
            self.ends[arrival.subscription] = arrival.group + bool(inward.count)
        if fin and not inward.is_whole:
            if arrival.join is not None:
                self._abandon(arrival.join)
            elif arrival.is_told:
                self._up_reset(arrival.up, DecodeError.code)
            return
        if inward.begins or (fin and not inward.count):
            self._take_rest(stream, arrival, frames, fin)
            return
        if not arrival.is_told and inward.count:
            arrival.is_told = True
            self._tell_head(arrival.subscription, arrival.group, stream)
            self._surpass(arrival)
        if arrival.is_told and (frames or fin):
            self._up(stream, frames, fin)

    def _tell_head(self, subscription: int, group: int, stream: int) -> None:
        self._up(stream, _GROUP + self._dialect.encode(Group(subscription, group)), False)

    def _surpass(self, arrival: _Arrival) -> None:
        """A group has come from its first object on: what is fetched of it is not needed, and one
        that is well before it has no more to come."""
        join = self._joins.get(arrival.subscription)
        if join is None:
            return
        if arrival.group == join.group and not join.is_told:
            self._abandon(join)
        elif arrival.group > join.group:
            join.newer += 1
            self._let_rest(join)

    def _let_rest(self, join: Join) -> None:
        if join.newer >= ENOUGH_NEWER and join.has_all and join.rest is None:
            self._finish(join)

    # The group under way when a subscription began

    def _take_rest(self, stream: int, arrival: _Arrival, frames: bytes, fin: bool) -> None:
        """What does not begin at the first object is the rest of what is fetched, or of no use."""
        join = arrival.join
        if join is None:
            join = self._joins.get(arrival.subscription)
            if join is None or join.group != arrival.group or join.rest is not None:
                self._stop(stream, arrival)
                return
            arrival.join, join.rest = join, (stream, arrival)
        arrival.data += frames
        arrival.has_ended = fin
        if len(arrival.data) > MAX_UNKNOWN:
            self._abandon(join)
        elif join.has_all:
            self._follow(join)

    def _take_fetched(self, stream: int, join: Join, data: bytes, fin: bool) -> None:
        """The beginning of it, on the stream that answers the request."""
        if fin:
            self._fetching.pop(stream, None)
        if join.is_moot:
            return
        frames = join.fetched.feed(data)
        fetched = join.fetched
        if fetched.is_odd or (fetched.group not in (None, join.group)):
            self._abandon(join)
            return
        if fetched.count and not join.is_told:
            join.is_told = True
            self._tell_head(join.subscription, join.group, join.stream)
        if frames:
            self._up(join.stream, frames, False)
        if not fin:
            return
        if not (fetched.is_whole and join.is_told):
            self._abandon(join)
            return
        join.has_all = True
        if join.rest is not None:
            self._follow(join)
        self._let_rest(join)

    def _follow(self, join: Join) -> None:
        """All was fetched, and the rest goes on where that ends."""
        assert join.rest is not None
        _, arrival = join.rest
        begins = arrival.inward.begins if arrival.inward is not None else None
        if begins not in (None, join.fetched.count):
            self._abandon(join)
            return
        frames, arrival.data = arrival.data, b""
        if frames or arrival.has_ended:
            self._up(join.stream, frames, arrival.has_ended)
        if arrival.has_ended:
            self._forget_join(join)

    def _finish(self, join: Join) -> None:
        self._up(join.stream, b"", True)
        self._forget_join(join)

    def _abandon(self, join: Join) -> None:
        """The group cannot be had whole."""
        if not join.is_moot:
            join.is_moot = True
            self._forget_join(join)
            if join.is_told:
                self._up_reset(join.stream, Dropped.code)
            if join.rest is not None:
                self._stop(*join.rest)

    def _forget_join(self, join: Join) -> None:
        if self._joins.get(join.subscription) is join:
            del self._joins[join.subscription]

    def _begin(self, stream: int, arrival: _Arrival, data: bytes, fin: bool) -> bytes | None:
        """Read the head, and answer what follows it; ``None`` as long as that is of no use."""
        if data[:1] == FETCHED:
            self._begin_fetch(stream, arrival, data, fin)
            return None
        try:
            found = self._draft.scan_subgroup_head(data)
        except DecodeError:
            self._stop(stream, arrival)  # what was never asked for
            return None
        if found is None:
            arrival.data = data
            if len(data) > MAX_HEAD:
                self._stop(stream, arrival)
            return None
        head, at = found
        subscription = self._aliases.get(head.alias)
        if subscription is None:
            self._hold(stream, arrival, data, fin)
            return None
        arrival.data = b""
        arrival.subscription, arrival.group = subscription, head.group
        arrival.inward = Inward(self._draft, head.has_extensions)
        return data[at:]

    def _begin_fetch(self, stream: int, arrival: _Arrival, data: bytes, fin: bool) -> None:
        """The same for a stream of what was fetched."""
        request = self._draft.scan_varint(data, len(FETCHED))
        if request is None:
            arrival.data = data
            return
        join = self._fetches.pop(request[0], None)
        if join is None:
            self._stop(stream, arrival)
            return
        del self._arrivals[stream]
        self._fetching[stream] = join
        self._take_fetched(stream, join, data[request[1] :], fin)

    def _hold(self, stream: int, arrival: _Arrival, data: bytes, fin: bool) -> None:
        """Nobody can tell whose it is, as long as an answer is awaited."""
        self._unknown += len(data) - (len(arrival.data) if stream in self._held else 0)
        if not self._expected or self._unknown > MAX_UNKNOWN:
            self._unknown -= len(data)
            self._held.pop(stream, None)
            self._stop(stream, arrival)
            return
        self._held[stream] = arrival
        arrival.data, arrival.has_ended = data, fin

    def _stop(self, stream: int, arrival: _Arrival) -> None:
        """Nothing of a stream is wanted."""
        arrival.is_deaf = True
        arrival.data = b""
        if arrival.has_ended:
            self._arrivals.pop(stream, None)
        else:
            self._below.stop(stream, REGISTERED.say(Cancelled.code))

    # Ours

    def fetched_nothing(self, request: int) -> None:
        """An answer to a FETCH in which there is nothing."""
        self._below.open_uni(self._draft.fetch_head(request), True)

    def open(self, head: bytes, fin: bool) -> int | None:
        """A stream for a group, which begins with ``head``; ``None`` without credit."""
        departure = _Departure()
        stream = self._below.open_uni(self._translated(departure, head), fin)
        if stream is not None and not fin:
            self._departures[stream] = departure
        return stream

    def send(self, stream: int, data: bytes, fin: bool) -> None:
        """The next bytes of such a stream."""
        departure = self._departures.get(stream)
        if departure is not None:
            if fin:
                del self._departures[stream]
            self._below.send(stream, self._translated(departure, data), fin)

    def gone(self, stream: int) -> None:
        """It broke off."""
        self._departures.pop(stream, None)

    def _translated(self, departure: _Departure, data: bytes) -> bytes:
        if departure.outward is not None:
            return departure.outward.feed(data)
        departure.data += data
        found = split_message(departure.data[len(_GROUP) :], MAX_HEAD)
        if found is None:
            return b""
        departure.data = b""
        group = self._dialect.decode(Group, found[0])
        departure.outward = Outward(self._draft)
        self.begun[group.subscription] += 1
        head = self._draft.subgroup_head(group.subscription, group.sequence, PRIORITY)
        return head + departure.outward.feed(found[1])
