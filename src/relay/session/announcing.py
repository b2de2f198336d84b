"""The announce streams: what the peer hears of us, and what we hear of the peer.

One stream per prefix; the asker opens it and the other side tells what exists below the prefix for
as long as it stays open (moq-lite, "Announce"). This module must not know which broadcasts exist.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from relay.errors import BadRequest, LimitExceeded, ProtocolViolation
from relay.path import Path
from relay.session.events import (
    AnnounceCancelled,
    Announced,
    AnnounceRequested,
    AnnouncesLost,
    Cost,
    Unannounced,
)
from relay.session.flow import Question, Request, turn_away
from relay.wire.fields import MAX_HOPS
from relay.wire.lite import Dialect
from relay.wire.messages import (
    Announce,
    AnnounceEnd,
    AnnounceInit,
    AnnounceLine,
    AnnounceOk,
    AnnounceRequest,
    AnnounceStart,
    AnnounceUpdate,
)

if TYPE_CHECKING:
    from relay.session.lite import LiteSession

Chain = tuple[int, ...]

MAX_BEHIND = 8_388_608
"""Bytes of announcements that a peer may be behind with, beside the first answer. More: the session
is closed."""

RETOLD = 16
"""Times ``max_announces`` that a peer is told of broadcasts, on all its announce streams but the
longest. More: the session is closed. What each was told is kept, and all may ask for the same."""

LOOK = 1024
"""Broadcasts of one stream after which it is looked at how many those are."""

_SLICE = 65_536
"""Bytes into which one long message is cut: the rest may have to wait."""

Broadcast = tuple[str, Chain, Cost]
"""A path, how it is reached, and at what cost."""


class Naming:
    """How an `Announcer` words things where each announce names its path."""

    __slots__ = ("dialect",)

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    def are_same(self, told: tuple[Chain, Cost], now: tuple[Chain, Cost]) -> bool:
        """Whether there is nothing new to tell: costs are not told."""
        return told[0] == now[0]

    def number(self, suffix: str) -> None:
        """A path is told of next, after all that were numbered before."""

    def appeared(self, suffix: str, hops: Chain, cost: Cost) -> bytes:
        """A path is there."""
        return self.dialect.encode_shared(Announce(True, suffix, hops))

    def changed(self, suffix: str, hops: Chain, cost: Cost) -> bytes:
        """A path that is there is reached otherwise."""
        return self.dialect.encode_shared(Announce(True, suffix, hops))

    def gone(self, suffix: str) -> bytes:
        """A path that was there is not any more."""
        return self.dialect.encode_shared(Announce(False, suffix))


class Counting(Naming):
    """The same where paths are counted as they appear, and only meant by number after that."""

    __slots__ = ("count", "numbers")

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self.count = 0
        self.numbers: dict[str, int] = {}

    def are_same(self, told: tuple[Chain, Cost], now: tuple[Chain, Cost]) -> bool:
        return told == now

    def number(self, suffix: str) -> None:
        self.numbers[suffix] = self.count
        self.count += 1

    def appeared(self, suffix: str, hops: Chain, cost: Cost) -> bytes:
        return self.dialect.encode_shared(AnnounceStart(suffix, hops, *cost))

    def changed(self, suffix: str, hops: Chain, cost: Cost) -> bytes:
        return self.dialect.encode(AnnounceUpdate(self.numbers[suffix], hops, *cost))

    def gone(self, suffix: str) -> bytes:
        return self.dialect.encode_shared(AnnounceEnd(self.numbers.pop(suffix)))


class Announcer(Question):
    """The peer asked what exists under a prefix; we tell it until it stops listening."""

    __slots__ = (
        "_behind",
        "_firsts",
        "_lines",
        "_opening",
        "active",
        "prefix",
        "stamps",
        "untold",
        "wording",
    )

    prefix: Path | None

    def __init__(self, session: LiteSession, stream: int) -> None:
        super().__init__(session, stream)
        self.prefix = None
        self.active: dict[str, tuple[Chain, Cost]] = {}
        """What the peer has been told, by suffix."""
        dialect = session.dialect
        self.wording = Counting(dialect) if dialect.announce_ids else Naming(dialect)
        self.stamps = dialect.stamps_hop == "sender"
        """Whether our own id is written at the end of a chain."""
        self._opening: deque[bytes] = deque()
        """How the first answer begins, as far as it has not been handed over."""
        self._firsts: Iterator[tuple[str, tuple[Chain, Cost]]] = iter(())
        """What it names one by one, in words only when there is room for them: it may be very much.
        """
        self.untold = 0
        """How many of these are left."""
        self._lines: deque[bytes] = deque()
        """What there is to say after that."""
        self._behind = 0
        """Bytes of it."""

    def ask(self, stream: int, body: bytes) -> None:
        message = self.session.dialect.decode(AnnounceRequest, body)
        if len(self.session.announcers) >= self.session.settings.max_announce_requests:
            turn_away(self.session, "max_announce_requests")
            self.drop(LimitExceeded.code)
            return
        try:
            self.prefix = Path(message.prefix)
        except BadRequest:
            self.drop(BadRequest.code)
            return
        self.session.announcers[stream] = self
        self.session.emit(AnnounceRequested(stream, self.prefix, message.exclude))

    def ended(self) -> None:
        if not self.asked:
            super().ended()
            return
        self.cancel()
        self.speak()
        self.leave()

    def broken(self, code: int) -> None:
        self.cancel()
        self.drop(code)

    def cancel(self) -> None:
        """Tell above that nobody listens any more."""
        if self.prefix is not None and self.stream is not None:
            self.session.announcers.pop(self.stream, None)
            self.session.emit(AnnounceCancelled(self.stream))

    def answer(self, initial: Iterable[Broadcast]) -> None:
        """The first reply: everything that exists now, even if that is nothing."""
        dialect = self.session.dialect
        ways: dict[tuple[Chain, Cost], tuple[Chain, Cost]] = {}  # most have one of a few
        known = {
            self.suffix(path): ways.setdefault((hops, cost), (hops, cost))
            for path, hops, cost in initial
            if len(self.stamped(hops)) <= MAX_HOPS
        }
        self.active.update(known)
        self._bound()
        if dialect.announce_reply == "init":
            whole = dialect.encode(AnnounceInit(tuple(known)))
            self._opening.extend(whole[at : at + _SLICE] for at in range(0, len(whole), _SLICE))
        else:
            if dialect.announce_reply == "ok":
                self._opening.append(dialect.encode(AnnounceOk(self.session.origin, len(known))))
            self._firsts, self.untold = iter(known.items()), len(known)
            for suffix in known:
                self.wording.number(suffix)
        self.speak()

    def announce(self, path: str, hops: Chain, cost: Cost) -> None:
        """A broadcast exists, or (where the version can say it) its chain or cost changed."""
        suffix = self.suffix(path)
        is_known = suffix in self.active
        if is_known and not self.session.dialect.restart_in_place:
            return  # a second announce would be a violation; the chain is only metadata
        chain = self.stamped(hops)
        if len(chain) > MAX_HOPS:  # it cannot be written, and is nobody's route
            self.unannounce(path)
            return
        if is_known and self.wording.are_same(self.active[suffix], (hops, cost)):
            return
        word = self.wording.changed if is_known else self.wording.appeared
        said = word(suffix, chain, cost)
        if not is_known:
            self.wording.number(suffix)  # only what is said counts
        self.active[suffix] = (hops, cost)
        if not len(self.active) % LOOK:
            self._bound()
        self._say(said)

    def unannounce(self, path: str) -> None:
        """A broadcast is gone."""
        suffix = self.suffix(path)
        if self.active.pop(suffix, None) is not None:
            self._say(self.wording.gone(suffix))

    def unannounce_all(self) -> None:
        """Nothing is there any more."""
        active, self.active = self.active, {}
        for suffix in active:
            self._say(self.wording.gone(suffix))

    def speak(self) -> None:
        """Send what there is to say, as much as may leave soon; the rest when there is room again.

        There may be very much of it, and a peer that has not heard of it yet reads none too slowly.
        """
        while self._opening or self.untold or self._lines:
            if self.said or self.stream is None:
                self._opening.clear()
                self._lines.clear()
                self.untold = 0
                return
            room = self.session.transport.capacity(self.stream)
            if room <= 0:
                self.session.will_speak(self)  # when more may leave
                return
            said: list[bytes] = []
            while room > 0 and (self._opening or self.untold or self._lines):
                said.append(self._next())
                room -= len(said[-1])
            self.send(b"".join(said))

    def _next(self) -> bytes:
        if self._opening:
            return self._opening.popleft()
        if self.untold:
            self.untold -= 1
            suffix, (hops, cost) = next(self._firsts)
            return self.wording.appeared(suffix, self.stamped(hops), cost)
        line = self._lines.popleft()
        self._behind -= len(line)
        return line

    def _say(self, line: bytes) -> None:
        if not (self._opening or self.untold or self._lines):
            self.session.will_speak(self)
            self.session.transport.wake()
        self._lines.append(line)
        self._behind += len(line)
        if self._behind > MAX_BEHIND:
            self.session.fail(LimitExceeded("the peer reads announcements too slowly"))

    def _bound(self) -> None:
        """What is kept of all the peer was told is bounded."""
        most = RETOLD * self.session.settings.max_announces
        told = [len(each.active) for each in self.session.announcers.values()]
        if sum(told) - max(told, default=0) > most:
            reason = f"more than {most} broadcasts told on several announce streams"
            self.session.fail(LimitExceeded(reason))

    def suffix(self, path: str) -> str:
        """The path as this stream says it: below the prefix that was asked for."""
        return Path(path).relative_to(self.prefix) if self.prefix else path

    def stamped(self, hops: Chain) -> Chain:
        """The chain as it is written; some versions have the sender append itself."""
        return (*hops, self.session.origin) if self.stamps else hops


class Listener(Request):
    """We asked what exists under a prefix; the peer tells us."""

    __slots__ = ("active", "count", "greeted", "hop", "numbers", "prefix")

    def __init__(self, session: LiteSession, prefix: Path) -> None:
        super().__init__(session)
        self.prefix = prefix
        self.active: set[Path] = set()
        self.count = 0
        self.numbers: dict[int, Path | None] = {}
        """Paths by number, where the peer counts them; ``None`` = a name nobody could ask for."""
        self.greeted = False
        self.hop = 0

    @property
    def load(self) -> int:
        """Broadcasts that are remembered here."""
        return max(len(self.active), len(self.numbers))

    def request(self) -> bytes:
        """The question."""
        session = self.session
        exclude = session.origin if session.dialect.excludes_hop else 0
        return session.dialect.encode(AnnounceRequest(self.prefix, exclude))

    def read(self) -> None:
        dialect = self.session.dialect
        limit = self.session.settings.max_message
        if not self.greeted and dialect.announce_reply is not None:
            body = self.buffer.message(limit)
            if body is None:
                return
            if dialect.announce_reply == "init":
                for suffix in dialect.decode(AnnounceInit, body).suffixes:
                    self.heard_of(Announce(True, suffix))
            else:
                self.hop = dialect.decode(AnnounceOk, body).hop
        self.greeted = True
        while (message := dialect.read_announce(self.buffer, limit)) is not None:
            self.heard_of(message)

    def heard_of(self, message: AnnounceLine) -> None:
        """One line of the peer's list."""
        match message:
            case Announce(active, suffix, hops):
                path = self.whole(suffix)
                if not active:
                    self.gone(path)
                elif path is not None:
                    if path in self.active and not self.session.dialect.restart_in_place:
                        raise ProtocolViolation(f"{path!r} announced twice")
                    self.there(path, hops)
            case AnnounceStart(suffix, hops, warm, cold, since):
                path = self.numbers[self.count] = self.whole(suffix)
                self.count += 1
                self.limit()
                if path in self.active:
                    raise ProtocolViolation(f"{path!r} announced twice")
                if path is not None:
                    self.there(path, hops, Cost(warm, cold, since))
            case AnnounceUpdate(id, hops, warm, cold, since):
                if (path := self.named(id)) is not None:
                    self.there(path, hops, Cost(warm, cold, since))
            case AnnounceEnd(id):
                self.gone(self.named(id))
                del self.numbers[id]

    def whole(self, suffix: str) -> Path | None:
        """The path; ``None`` for a name nobody could ask for, which costs the peer nothing."""
        try:
            return self.prefix.join(suffix)
        except BadRequest:
            return None

    def named(self, id: int) -> Path | None:
        """The path with that number. Raises `ProtocolViolation` when there is none (any more)."""
        if id not in self.numbers:
            raise ProtocolViolation(f"no announce has number {id}, or not any more")
        return self.numbers[id]

    def there(self, path: Path, hops: Chain, cost: Cost | None = None) -> None:
        """The peer can deliver a broadcast."""
        self.active.add(path)
        self.limit()
        self.session.emit(Announced(path, self.chain(hops), cost))

    def gone(self, path: Path | None) -> None:
        """The peer no longer delivers it."""
        if path is not None and path in self.active:
            self.active.discard(path)
            self.session.emit(Unannounced(path))

    def limit(self) -> None:
        """Raises `LimitExceeded` when the peer announces too much."""
        if self.session.count_announces() > self.session.settings.max_announces:
            raise LimitExceeded("more announces than session.max_announces")

    def chain(self, hops: Chain) -> Chain:
        """The full chain up to the peer: some versions leave the last hop to the receiver."""
        return hops if self.session.dialect.stamps_hop == "sender" else (*hops, self.hop)

    def ended(self) -> None:
        """The peer has nothing more to announce and takes back what it announced."""
        for path in sorted(self.active):
            self.session.emit(Unannounced(path))
        self.active.clear()
        self.leave()
        self.session.listeners.discard(self)

    def broken(self, code: int) -> None:
        self.session.emit(AnnouncesLost(tuple(sorted(self.active))))
        self.active.clear()
        self.drop(code)
        self.session.listeners.discard(self)
