"""The announce streams: what the peer hears of us, and what we hear of the peer.

One stream per prefix; the asker opens it and the other side tells what exists below the prefix for
as long as it stays open (moq-lite, "Announce"). This module must not know which broadcasts exist.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from relay.errors import BadRequest, LimitExceeded, ProtocolViolation
from relay.path import Path
from relay.session.events import (
    AnnounceCancelled,
    Announced,
    AnnounceRequested,
    AnnouncesLost,
    Unannounced,
)
from relay.session.flow import Flow, Question
from relay.wire.fields import MAX_HOPS
from relay.wire.lite import Announce, AnnounceInit, AnnounceOk, AnnounceRequest, Reply

if TYPE_CHECKING:
    from relay.session.lite import LiteSession

Chain = tuple[int, ...]


class Announcer(Question):
    """The peer asked what exists under a prefix; we tell it until it stops listening."""

    __slots__ = ("active", "prefix")

    prefix: Path | None

    def __init__(self, session: LiteSession, stream: int) -> None:
        super().__init__(session, stream)
        self.prefix = None
        self.active: set[str] = set()

    def ask(self, stream: int, body: bytes) -> None:
        message = self.session.dialect.decode(AnnounceRequest, body)
        if len(self.session.announcers) >= self.session.settings.max_announce_requests:
            self.drop(LimitExceeded.code)
            return
        try:
            self.prefix = Path(message.prefix)
        except BadRequest:
            self.drop(BadRequest.code)
            return
        self.session.announcers.add(self)
        self.session.emit(AnnounceRequested(stream, self.prefix, message.exclude))

    def ended(self) -> None:
        self.cancel()
        self.leave()

    def broken(self, code: int) -> None:
        self.cancel()
        self.drop(code)

    def cancel(self) -> None:
        """Tell above that nobody listens any more."""
        self.session.announcers.discard(self)
        if self.prefix is not None and self.stream is not None:
            self.session.emit(AnnounceCancelled(self.stream))

    def answer(self, initial: Iterable[tuple[str, Chain]]) -> None:
        """The first reply: everything that exists now, even if that is nothing."""
        dialect = self.session.dialect
        known = {self.suffix(path): hops for path, hops in initial if self.fits(hops)}
        self.active.update(known)
        if dialect.announce_reply == "init":
            self.send(dialect.encode(AnnounceInit(tuple(known))))
            return
        head = b""
        if dialect.announce_reply == "ok":
            head = dialect.encode(AnnounceOk(self.session.origin, len(known)))
        self.send(head + b"".join(self.line(suffix, hops) for suffix, hops in known.items()))

    def announce(self, path: str, hops: Chain) -> None:
        """A broadcast exists, or (where the version can say it) its chain changed."""
        suffix = self.suffix(path)
        if suffix in self.active and not self.session.dialect.restart_in_place:
            return  # a second announce would be a violation; the chain is only metadata
        if not self.fits(hops):
            self.unannounce(path)
            return
        self.active.add(suffix)
        self.send(self.line(suffix, hops))

    def unannounce(self, path: str) -> None:
        """A broadcast is gone."""
        suffix = self.suffix(path)
        if suffix in self.active:
            self.active.discard(suffix)
            self.send(self.session.dialect.encode(Announce(False, suffix)))

    def unannounce_all(self) -> None:
        """Nothing is there any more."""
        for suffix in sorted(self.active):
            self.send(self.session.dialect.encode(Announce(False, suffix)))
        self.active.clear()

    def suffix(self, path: str) -> str:
        """The path as this stream says it: below the prefix that was asked for."""
        return Path(path).relative_to(self.prefix or Path())

    def line(self, suffix: str, hops: Chain) -> bytes:
        """One announcement."""
        return self.session.dialect.encode(Announce(True, suffix, self.stamped(hops)))

    def stamped(self, hops: Chain) -> Chain:
        """The chain as it is written; some versions have the sender append itself."""
        sender = self.session.dialect.stamps_hop == "sender"
        return (*hops, self.session.origin) if sender else hops

    def fits(self, hops: Chain) -> bool:
        """Whether the chain can be written; one that is too long is nobody's route."""
        return len(self.stamped(hops)) <= MAX_HOPS


class Listener(Flow):
    """We asked what exists under a prefix; the peer tells us."""

    __slots__ = ("active", "greeted", "hop", "prefix")

    def __init__(self, session: LiteSession, prefix: Path) -> None:
        super().__init__(session)
        self.prefix = prefix
        self.active: set[Path] = set()
        self.greeted = False
        self.hop = 0

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
        while (message := dialect.reply(Reply.ANNOUNCE, self.buffer, limit)) is not None:
            self.heard_of(message)

    def heard_of(self, message: Announce) -> None:
        """One line of the peer's list."""
        try:
            path = self.prefix.join(message.suffix)
        except BadRequest:
            return  # a name nobody could ask for; the session lives
        if not message.active:
            if path in self.active:
                self.active.discard(path)
                self.session.emit(Unannounced(path))
            return
        if path in self.active and not self.session.dialect.restart_in_place:
            raise ProtocolViolation(f"{path!r} announced twice")
        self.active.add(path)
        if self.session.count_announces() > self.session.settings.max_announces:
            raise LimitExceeded("more announces than limits.max_announces")
        self.session.emit(Announced(path, self.chain(message.hops)))

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
