"""The peer fetches a range of groups: the session is asked for one after the other, and all of them
leave on one stream.

The law: nothing is fetched beyond what was there when it was asked for, and of what cannot be had
nobody says that it does not exist, where there are words for it. This module must not know how
messages travel.
"""

from __future__ import annotations

from collections.abc import Iterator

from relay.errors import Cancelled, NotFound
from relay.moqt import codes
from relay.moqt import messages as wire
from relay.moqt.answering import Describing, Serving
from relay.moqt.groups import PRIORITY
from relay.moqt.looking import Looking
from relay.moqt.messages import Location
from relay.moqt.objects import FetchedOutward
from relay.moqt.talk import MAX_PRIORITY, Desk, Talk
from relay.wire.messages import MAX_SEQUENCE, Bidi, Fetch

MAX_GROUPS = 1_024
"""Groups of one fetch, those that are not there included: each is asked for."""

GAPS_A_TURN = 8
"""Groups that are not there before others have a turn: each costs as much as a request."""


class Fetching(Looking):
    """One FETCH."""

    __slots__ = (
        "_asked",
        "_before",
        "_end",
        "_gaps",
        "_groups",
        "_is_answered",
        "_is_described",
        "_is_over",
        "_joined",
        "_lost",
        "_part",
        "_start",
        "_timescale",
        "outlet",
    )

    to = wire.Fetch

    def __init__(
        self,
        desk: Desk,
        line: int | None,
        asked: wire.Fetch,
        path: str,
        track: str,
        joined: Serving | None,
    ) -> None:
        """``joined`` is the subscription it joins, if it does."""
        super().__init__(desk, desk.far_bidi(), asked.request, line, path, track)
        self._asked = asked
        self._joined = joined
        self.patience = joined.patience if joined is not None else 0
        self._start = self._end = Location(0, 0)
        """The first object, and the last one as in `relay.moqt.messages.Fetch`."""
        self._groups: Iterator[int] | None = None
        """Those still to be asked for, once it is known which."""
        self._part: _Part | None = None
        """The one that comes."""
        self._before: int | None = None
        """The last of which something was sent."""
        self._lost: int | None = None
        """The last after that, if any, which could not be had."""
        self._gaps = 0
        """Groups that could not be had."""
        self._timescale = 0
        self._is_described = self._is_answered = self._is_over = False
        self.outlet: int | None = None
        """The stream of the objects."""

    def accepted(self, latest: Location | None) -> None:
        if self._groups is not None or self._is_over:
            return
        if latest is None:
            self.desk.waits.begin(self)
            return
        self.desk.waits.end(self)
        wrong = self._bound(latest)
        if wrong is not None:
            self._fail(self.desk.draft.fetched.out_of_range, wrong)
            return
        first, last = self._start.group, self._end.group
        count = last - first + 1
        if count > MAX_GROUPS:
            self._fail(codes.NOT_SUPPORTED, f"{count} groups at once (at most {MAX_GROUPS})")
            return
        numbers = range(first, last + 1)
        self._groups = iter(numbers)
        if self._asked.order == wire.DESCENDING:
            self._groups = reversed(numbers)
        if self.desk.draft.timestamps:
            describing = Describing(self.desk, self.desk.far_bidi(), self)
            self.desk.replace(describing)
            describing.begin(self.path, self.track)
        else:
            self.described(0)

    def _bound(self, latest: Location) -> str | None:
        """Find out what is asked for; answers what is wrong with it, ``None`` if nothing is."""
        asked = self._asked
        if self._joined is not None:
            # What the subscription itself brings begins with a whole group.
            first = self.desk.groups.first.get(self._joined.request, latest.group)
            start = max(first - (asked.relative or 0), 0)
            self._start = Location(start if asked.absolute is None else asked.absolute, 0)
            self._end = Location(first - 1, 0)
            if self._start.group == first:
                # Nothing but that. Players ask for it and leave out what comes twice.
                self._end = Location(first, latest.object + 1 if first == latest.group else 0)
            return "it starts after the subscription" if self._start.group > first else None
        if asked.relative is not None:
            self._start = Location(max(latest.group - asked.relative, 0), 0)
        else:
            self._start = asked.start or Location(0, 0)
        self._end = Location(latest.group, latest.object + 1)
        if self._start > latest:
            return f"the largest object is {latest.object} of group {latest.group}"
        if asked.end is not None and _is_less(asked.end, self._end):
            self._end = asked.end
        # From draft 17 on numbers are larger than moq-lite has, and no group has such objects.
        self._start = self._start._replace(object=min(self._start.object, MAX_SEQUENCE))
        if self._end.object > MAX_SEQUENCE:
            self._end = self._end._replace(object=0)
        return None

    def described(self, timescale: int) -> None:
        """It is known what the timestamps count."""
        self._is_described = True
        self._timescale = timescale
        self.go_on()

    def go_on(self) -> None:
        """Ask for the next group, once the peer grants a stream for it."""
        if self._is_over or self._groups is None or not self._is_described:
            return
        if self.outlet is None:
            self.outlet = self.desk.groups.open_fetched(self.request)
            self.desk.requests.has_outlet(self)
        if self.outlet is None:
            return
        number = next(self._groups, None)
        if number is None:
            self._finish(self.outlet)
            return
        first = self._start.object if number == self._start.group else 0
        last = self._end_in(number)
        says_lost = self._lost is not None and self.desk.draft.fetched.says_unknown
        before = self._lost if says_lost else self._before
        outward = FetchedOutward(self.desk.draft, number, first, before, PRIORITY)
        self._part = _Part(self, number, outward)
        self.desk.replace(self._part)
        asked = (self.path, self.track, MAX_PRIORITY - self._asked.priority)
        self._part.open(Bidi.FETCH, Fetch(*asked, number, first, last - 1 if last else None))

    def came(self, part: _Part, objects: bytes) -> None:
        """Some objects of a group."""
        if part is self._part and self.outlet is not None:
            self._answer()
            if objects:
                self.desk.groups.send_fetched(self.outlet, self._unknown() + objects)
                self._before, self._lost = part.group, None

    def over(self, part: _Part, code: int | None) -> None:
        """A group is complete, or broken off with a number of the house's."""
        if part is not self._part:
            return
        self._part = None
        if code is None:
            self.go_on()
        elif code != NotFound.code or self._before == part.group:
            self.broken(code)
        else:
            self._gaps += 1
            self._lost = part.group
            if self._gaps % GAPS_A_TURN:
                self.go_on()
            else:
                self.desk.requests.rest(self)

    def _end_in(self, group: int) -> int:
        """Where a group ends that is asked for, as in `relay.moqt.messages.Fetch`."""
        return self._end.object if group == self._end.group else 0

    def _unknown(self) -> bytes:
        """What says of groups which could not be had that nobody knows of them."""
        lost, draft = self._lost, self.desk.draft
        if lost is None or not draft.fetched.says_unknown:
            return b""
        end = self._end_in(lost)
        return draft.fetched.unknown(draft.encode_varint, lost, end, self._before)

    def _answer(self) -> None:
        if not self._is_answered:
            self._is_answered = True
            order = wire.DESCENDING if self._asked.order == wire.DESCENDING else wire.ASCENDING
            ok = wire.FetchOk(self.request, self._end, order=order, timescale=self._timescale)
            self.desk.say(ok, self.line, last=True)

    def _finish(self, outlet: int) -> None:
        """All has been sent."""
        nothing = self.desk.draft.fetched.nothing
        if self._before is None and nothing is not None:
            self._fail(nothing, "none of it can be had")
            return
        self._answer()
        self.desk.groups.send_fetched(outlet, self._unknown(), True)
        self.close()

    def _fail(self, code: int, words: str, reset: int = Cancelled.code) -> None:
        if self.outlet is not None:
            self.desk.groups.break_fetched(self.outlet, reset)
        if self._is_answered:
            self.close()
        else:
            self._is_answered = True
            self.refuse(code, words)

    def left(self) -> None:
        if not self._is_over:
            if self.outlet is not None:
                self.desk.groups.break_fetched(self.outlet, Cancelled.code)
            if not self._is_answered:
                self.desk.hang_up(self.line)
            self.close()

    def too_late(self) -> None:
        """Of a track that is there nothing has come for long."""
        self.ended()

    def ended(self) -> None:
        if self._groups is None and not self._is_over:
            code = self.desk.draft.fetched.out_of_range
            self._fail(code, "nothing has been published so far")

    def broken(self, code: int) -> None:
        if not self._is_over:
            self._fail(*codes.refusal(code, self.desk.draft.missing), reset=code)

    def close(self) -> None:
        self._is_over = True
        part, self._part = self._part, None
        if part is not None:
            part.abort(Cancelled.code)
        super().close()


class _Part(Talk):
    """One group of a fetch, which the session is asked for."""

    __slots__ = ("_outward", "fetching", "group")

    def __init__(self, fetching: Fetching, group: int, outward: FetchedOutward) -> None:
        super().__init__(fetching.desk, fetching.desk.far_bidi())
        self.fetching = fetching
        self.group = group
        self._outward = outward

    @property
    def outlet(self) -> int | None:
        """The stream below that takes what the session says here."""
        return self.fetching.outlet

    def said(self, data: bytes, fin: bool) -> None:
        if self.has_ended:
            return
        if data:
            self.fetching.came(self, self._outward.feed(data))
        if fin:
            self._over(None)

    def broken(self, code: int) -> None:
        self._over(code)

    def _over(self, code: int | None) -> None:
        self.has_ended = True
        self.tell(b"", True)
        self.fetching.over(self, code)


def _is_less(one: Location, other: Location) -> bool:
    """Whether an end is before another, each as in `relay.moqt.messages.Fetch`."""
    return one.group < other.group or (one.group == other.group and 0 < one.object < other.object)
