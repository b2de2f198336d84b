"""What is sent next: the queue of one connection, and the groups that wait in it.

The relay decides the order, not QUIC: higher subscriber priority first, then the newest group (of
several tracks each in its turn: `turns`), but what is nearly over ends before another begins. QUIC
is handed about one congestion window, so an old group can still be dropped before it leaves, and a
slow subscriber costs a bounded number of bytes. This module must not know rights or tracks' names.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from heapq import heapify, heappop, heappush

from relay.errors import Expired, Lagged, NotFound, RelayError
from relay.model.group import Log
from relay.peer.settings import PeerSettings
from relay.quota import Tab
from relay.session.transport import Transport
from relay.wire.frame import Excerpt

Rank = tuple[int, int, int]
"""(subscriber's priority, publisher's priority, `Turns.place`): the greatest goes first."""

NEARLY = 32_768
"""Bytes of a complete group that has begun and goes before newer ones: where each group is larger
than the path takes at once, the next would stop it halfway, and none would ever arrive whole."""

AMPLE = 4
"""Times the bytes of a chunk that a connection must take for it to be handed over at once."""

ASKED = 16
"""Groups whose streams took nothing more that are tried again each time, the most urgent; all are
some times a second. A peer may grant any number of streams, and nothing on them."""

CUT = 4096
"""Frames that are cut out of groups in a turn, and twice as many bytes at a time: of the smallest a
group has millions, and all before the one that is asked for are gone through."""

_FIRST = 1 << 62
"""Above all places."""

_NOTHING = Log(), lambda delivery: None, lambda delivery: None, lambda *written: None
"""What those that are over still hold: lines are swept later, and must keep nobody who is gone."""


class Delivery:
    """One group on its way to one subscriber (or the answer to one fetch).

    ``open`` is asked for the stream to write on, and answers ``None`` while the peer grants no
    credit; ``done`` is called exactly once, when nothing more will be sent.
    """

    __slots__ = (
        "cursor",
        "done",
        "excerpt",
        "log",
        "offset",
        "open",
        "over",
        "put",
        "queue",
        "queued",
        "rank",
        "sent",
        "stale_at",
        "stream",
        "unsent",
    )

    def __init__(
        self,
        queue: SendQueue,
        log: Log,
        rank: Rank,
        open: Callable[[Delivery], int | None],
        done: Callable[[Delivery], None],
        excerpt: Excerpt | None = None,
        put: Callable[[int, bytes, bool], None] | None = None,
    ) -> None:
        """``put`` writes on the stream, the transport unless somebody else must know of its end."""
        self.queue = queue
        self.log = log
        self.rank = rank
        self.open = open
        self.done = done
        self.excerpt = excerpt
        """Some of its frames only; bytes are counted as if it were all of them."""
        self.put = put or queue.transport.send
        self.stream: int | None = None
        self.cursor = 0
        """Index of the first chunk that is not sent whole."""
        self.offset = 0
        """Bytes of that chunk already sent."""
        self.unsent = log.size
        self.sent = 0
        """Bytes of the group that were handed over, known once it is over."""
        self.queued = False
        self.over = False
        self.stale_at: float | None = None

    def begin(self) -> None:
        """Start following the group, from its first frame."""
        self.queue.follow(self)
        if self.over:
            return  # the least urgent of too many
        self.log.attach(self)
        if self.unsent or self.log.finished or self.log.error:
            self.queue.push(self)

    # -- called by the group -----------------------------------------------------------------

    def written(self, size: int) -> None:
        """More bytes of the group exist."""
        if self.over:
            return  # dropped while the group was telling its readers
        queue = self.queue
        if not self.queued and self.excerpt is None:
            stream = self.stream
            if stream is None and queue.may_pass_on(size):
                stream = self.stream = self.open(self)
            if stream is not None and queue.pass_on(stream, self.log.chunks[-1], size):
                self.cursor += 1
                return
        self.unsent += size
        queue.backlog += size
        if not self.queued:
            queue.push(self)
        elif queue.backlog > queue.settings.max_backlog:
            queue.shed()

    def ended(self) -> None:
        """The group is complete or broken off."""
        if self.over:
            return
        if not (self.queued or self.log.error or self.stream is None or self.excerpt is not None):
            self.write(self.stream, 0)  # the end takes no room
        elif not self.queued or self.log.error is not None:
            self.queue.push(self)  # what broke off waits for nothing
        elif self.stream is not None and (place := self._place()) != self.rank:
            self.queue.push(self, place)  # where it stood before it is passed over

    def evicted(self) -> None:
        """The cache let go of the group: what does not leave soon is not worth sending."""
        self.queue.expire(self)

    # -- called by the queue -----------------------------------------------------------------

    def send(self, room: int) -> bool:
        """Write up to about ``room`` bytes, what its stream takes if it has one. False when nothing
        could be written now."""
        if self.log.error is not None:
            self.abort(self.log.error)
            return True
        if self.stream is None:
            if (stream := self.open(self)) is None:
                return False
            self.stream = stream
            room = min(room, self.queue.transport.capacity(stream))
        if room <= 0 and self.unsent:
            return False
        self.queued = False  # `write` puts it back if anything is left
        self.write(self.stream, room)
        return True

    def write(self, stream: int, room: int) -> None:
        """Hand over whole chunks while there is room, and cut the last one if it must be."""
        queue = self.queue
        data = self.take(room if self.excerpt is None else min(room, 2 * CUT))
        sent = len(data)
        self.unsent -= sent
        queue.backlog -= sent
        queue.count_sent(sent)
        fin = self.log.finished and not self.unsent
        if self.excerpt is not None:
            queue.cut -= self.excerpt.frames
            data = self.excerpt.feed(data)
            queue.cut += self.excerpt.frames
            if fin and self.excerpt.is_short:
                self.abort(NotFound("the group ends before the frame that was asked for"))
                return
            fin = fin or self.excerpt.is_over
        if data or fin:
            self.put(stream, data, fin)
        if fin:
            self.close()
        elif self.unsent:
            queue.push(self, self._place())

    def prefer(self, priority: int) -> None:
        """The subscriber's priority is another one from now on."""
        if priority != self.rank[0] and not self.over:
            self.rank = priority, *self.rank[1:]
            self.queue.resort()

    @property
    def place(self) -> Rank:
        """Where it stands in line."""
        return self.rank if self.stream is None else self._place()

    def _place(self) -> Rank:
        """Where it stands in line once it has begun."""
        if self.log.finished and self.unsent <= NEARLY:
            return self.rank[0], self.rank[1], _FIRST
        return self.rank

    def take(self, room: int) -> bytes:
        """The next bytes, at most ``room``; nothing is copied when that is one whole chunk."""
        chunks, cursor, offset = self.log.chunks, self.cursor, self.offset
        if cursor == len(chunks):
            return b""
        chunk = chunks[cursor]
        if not offset and cursor + 1 == len(chunks) and len(chunk) <= room:
            self.cursor = cursor + 1
            return chunk
        pieces: list[bytes] = []
        while cursor < len(chunks) and room > 0:
            chunk = chunks[cursor]
            piece = chunk[offset : offset + room] if offset or len(chunk) > room else chunk
            pieces.append(piece)
            room -= len(piece)
            offset += len(piece)
            if offset == len(chunk):
                cursor += 1
                offset = 0
        self.cursor, self.offset = cursor, offset
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def abort(self, error: RelayError) -> None:
        """Break off: what is not sent never will be."""
        if not self.over:
            if self.stream is not None:
                self.queue.reset(self.stream, error.code)
            self.close()

    def close(self) -> None:
        """Nothing more will be sent."""
        if not self.over:
            self.over = True
            self.queued = False
            self.log.detach(self)
            self.queue.forget(self)
            self.sent = self.log.size - self.unsent
            self.unsent = 0
            self.done(self)
            self.log, self.open, self.done, self.put = _NOTHING


Entry = tuple[Rank, int, Delivery]
"""Somebody in line; no two are equal before the delivery is compared."""

SLACK = 64
"""Entries beyond twice the groups followed before those that are over are swept from a line, or
from the order in which groups are given up."""


class SendQueue:
    """Everything that waits to leave on one connection."""

    def __init__(
        self,
        transport: Transport,
        settings: PeerSettings,
        clock: Callable[[], float],
        reset: Callable[[int, int], None],
        tab: Tab,
    ) -> None:
        self.transport = transport
        self.settings = settings
        self.clock = clock
        self.reset = reset
        self.tab = tab
        """Whose account pays for what is sent."""
        self.backlog = 0
        """Bytes that wait."""
        self.dropped = 0
        """Groups given up because the subscriber was too slow."""
        self.cut = 0  # frames, in this turn
        self._followed: dict[Delivery, None] = {}
        """Groups on their way, with or without anything to send."""
        self._by_rank: list[Entry] = []
        """A heap of those followed, the least urgent first, and of some that are over."""
        self._is_short = False
        """Whether the tenant may send no more for now."""
        self._is_awake = False
        """Whether a flush, and with it `drain`, is on its way."""
        self._ready: list[Entry] = []
        self._blocked: list[Entry] = []
        self._asked = ASKED
        """How many of those, whose stream took nothing more, are tried again the next time."""
        self._unopened: list[Entry] = []
        """Those that the peer granted no stream: left alone until the best of them gets one, so
        that very many cost no more than one."""
        self._stale: list[Delivery] = []
        self._order = 0
        self._is_unsorted = False
        """Whether somebody's rank has changed since he stands in line."""

    def follow(self, delivery: Delivery) -> None:
        """One more group on its way; the oldest makes room when there are too many."""
        self._order -= 1
        self._followed[delivery] = None
        heappush(self._by_rank, (delivery.rank, -self._order, delivery))
        if len(self._by_rank) > 2 * len(self._followed) + SLACK:
            self._by_rank = [entry for entry in self._by_rank if entry[2] in self._followed]
            heapify(self._by_rank)
        self.backlog += delivery.unsent
        if self.is_over_budget():
            self.shed()

    def forget(self, delivery: Delivery) -> None:
        """A group has left, or never will."""
        if self._followed.pop(delivery, self) is None:
            self.backlog -= delivery.unsent

    def push(self, delivery: Delivery, place: Rank | None = None) -> None:
        """The delivery has something to send; ``place`` is where it stands, its rank usually."""
        delivery.queued = True
        self._order -= 1  # of equal rank, who came first goes first
        entry = place or delivery.rank, self._order, delivery
        if self._ready:
            self._line_up(self._ready, entry)
        else:
            self._ready.append(entry)
        if not self._is_awake:
            self._is_awake = True
            self.transport.wake()
        if self.backlog > self.settings.max_backlog:
            self.shed()

    def is_over_budget(self) -> bool:
        """Whether the subscriber has fallen too far behind."""
        return self.is_beyond(self.settings.max_backlog, self.settings.max_waiting_groups)

    def is_beyond(self, size: int, groups: int) -> bool:
        """Whether more bytes wait, or more groups are on their way."""
        return self.backlog > size or len(self._followed) > groups

    def pass_on(self, stream: int, chunk: bytes, size: int) -> bool:
        """Hand over what need not wait in line for this turn's end: nobody does, and the connection
        takes so much more that what is more urgent finds room in this turn, too."""
        account = self.tab.account
        waits = self._ready or self._blocked or self._unopened or account.outgoing is not None
        if waits or not self.transport.offer(stream, chunk, size * AMPLE):
            return False
        account.egress += size
        return True

    def may_pass_on(self, size: int) -> bool:
        """Whether the same holds for so many bytes on a stream that is still to be opened."""
        waits = self._ready or self._blocked or self._unopened
        is_free = not waits and self.tab.account.outgoing is None
        return is_free and self.transport.is_ample(size * AMPLE)

    def drain(self) -> None:
        """Hand over what the connection can take now, best first."""
        if self._is_unsorted:
            self._sort()
        ready, unopened = self._ready, self._unopened
        if not (ready or unopened or self._blocked):
            return
        self._try_again()
        granted = True
        capacity = self.transport.capacity
        if self.tab.account.outgoing is not None:
            capacity = self._capacity
        self._is_short, self.cut = False, 0
        self._is_awake = True  # packets are built right after
        try:
            while self.cut < CUT and (line := self._first(granted) if unopened else ready):
                delivery = line[-1][2]
                if delivery.over or not delivery.queued:
                    line.pop()
                    continue
                room = capacity(delivery.stream)
                if room <= 0 and (delivery.stream is None or capacity(None) <= 0):
                    break
                entry = line.pop()
                if delivery.stream is not None or delivery.log.error is not None:
                    if not delivery.send(room):
                        self._line_up(self._blocked, entry)
                elif not granted or not delivery.send(room):
                    granted = delivery.stream is not None
                    self._line_up(self._blocked if granted else unopened, entry)
        finally:
            self._is_awake = False
        if self.cut >= CUT:
            self.transport.wake()  # others have a turn before the rest
        if (
            self.tab.account.waiting
            and not self._is_short
            and (not (ready or unopened) or self.tab.has_stalled(self.clock()))
        ):
            self.tab.emptied()

    def _try_again(self) -> None:
        """Put those back in line whose streams take more now."""
        blocked = self._blocked
        first, self._asked = max(0, len(blocked) - self._asked), ASKED
        tried, blocked[first:] = blocked[first:], []
        for entry in tried:
            if self.transport.capacity(entry[2].stream) > 0:
                insort(self._ready, entry)
            elif entry[2].queued:
                blocked.append(entry)

    def _capacity(self, stream: int | None = None) -> int:
        """Bytes that the connection takes and the tenant may send now."""
        room = self.transport.capacity(stream)
        if room > 0:
            allowed = self.tab.room(self.clock())
            self._is_short = allowed <= 0
            room = min(room, allowed)
        return room

    def count_sent(self, size: int) -> None:
        """So many bytes were handed over."""
        account = self.tab.account
        if account.outgoing is None:
            account.egress += size
        else:
            self.tab.sent(size, self.clock())

    def may_pass(self, size: int) -> bool:
        """Whether a datagram may leave beside the queue; it is counted then."""
        if self.tab.account.outgoing is not None and self.tab.room(self.clock()) < size:
            return False
        self.count_sent(size)
        return True

    def resort(self) -> None:
        """Ranks have changed: before more is sent everybody goes where they belong."""
        self._is_unsorted = True
        self.transport.wake()

    def _sort(self) -> None:
        self._is_unsorted = False
        for line in (self._ready, self._blocked, self._unopened):
            line[:] = sorted((each.place, order, each) for _, order, each in line if each.queued)
        followed = self._followed
        self._by_rank = [(each.rank, at, each) for _, at, each in self._by_rank if each in followed]
        heapify(self._by_rank)

    def _first(self, granted: bool) -> list[Entry]:
        """The line whose last goes next; it is empty when there is nobody."""
        ready, unopened = self._ready, self._unopened
        if granted and unopened and (not ready or unopened[-1] > ready[-1]):
            return unopened
        return ready

    def _line_up(self, line: list[Entry], entry: Entry) -> None:
        insort(line, entry)
        if len(line) > 2 * len(self._followed) + SLACK:
            line[:] = [entry for entry in line if not entry[2].over]

    def shed(self) -> None:
        """Over budget: give up the least urgent, oldest groups until there is room again.

        The most urgent one stays, however large: a group has a limit of its own.
        """
        if self._is_unsorted:
            self._sort()
        while len(self._followed) > 1 and self.is_over_budget():
            delivery = heappop(self._by_rank)[2]
            if delivery not in self._followed:
                continue
            self.dropped += 1
            delivery.abort(Lagged("the subscriber is too slow: peer.max_backlog"))

    def expire(self, delivery: Delivery) -> None:
        """The group is old: it has `stale_grace` seconds left to be sent."""
        if delivery.stale_at is None:
            delivery.stale_at = self.clock() + self.settings.stale_grace
            self._stale.append(delivery)

    def tick(self, now: float) -> None:
        """Give up what was too old for too long; go on where the tenant's rate was waited for."""
        if self.tab.is_held_back:
            if self._ready or self._blocked or self._unopened:
                self.transport.wake()
            else:  # it was a datagram, which waits for nothing
                self.tab.emptied()
        if len(self._blocked) > ASKED:
            self._asked = len(self._blocked)
            self.transport.wake()
        if self._stale:
            for delivery in self._stale:
                if not delivery.over and delivery.stale_at is not None and delivery.stale_at <= now:
                    self.dropped += 1
                    delivery.abort(Expired("the group left the cache before it could be sent"))
            self._stale = [d for d in self._stale if not d.over]

    def close(self) -> None:
        """The connection is gone: let go of everything."""
        for delivery in tuple(self._followed):
            delivery.close()
        for line in (self._ready, self._blocked, self._unopened, self._by_rank):
            line.clear()
        self._stale.clear()
