"""What a peer publishes: broadcasts by name, and tracks that it sends without being asked for them.

The law: an offer is answered once, as soon as it is known whether the session above wants it. What
comes of a track that nobody watches is stopped group by group, since there are publishers that
cannot be told to wait (moq-transport-16, 9.11). This module must not know how messages travel.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from relay.errors import ProtocolViolation
from relay.moqt import codes
from relay.moqt import messages as wire
from relay.moqt.messages import Namespace
from relay.moqt.naming import is_short, path_of

if TYPE_CHECKING:
    from relay.moqt.asking import Listening, Watching
    from relay.moqt.talk import Desk


MAX_WAITING = 1_024
"""Broadcasts a peer may publish before it is decided on."""

MAX_TOLD = 100
"""Refusals of a session that somebody hears of."""


class Offer:
    """A broadcast (PUBLISH_NAMESPACE)."""

    __slots__ = ("heard_by", "line", "namespace", "request")

    to: type[object] = wire.PublishNamespace

    def __init__(self, request: int, line: int | None, namespace: Namespace) -> None:
        self.request = request
        self.line = line
        self.namespace = namespace
        self.heard_by: Listening | None = None

    @property
    def name(self) -> tuple[Namespace, bytes | None]:
        """What no two offers of a session have in common."""
        return self.namespace, None


class Push(Offer):
    """A track (PUBLISH), and with it the broadcast that it is of."""

    __slots__ = ("alias", "is_held", "track", "watching")

    to = wire.Publish

    def __init__(self, asked: wire.Publish, line: int | None) -> None:
        super().__init__(asked.request, line, asked.namespace)
        self.track = asked.track
        self.alias = asked.alias
        self.is_held = not asked.forward
        """Whether it is sent only once we say so."""
        self.watching: Watching | None = None
        """Who has it sent."""

    @property
    def name(self) -> tuple[Namespace, bytes | None]:
        return self.namespace, self.track


class Offers:
    """All of one peer's. What the session does not want to hear of is refused; before it has begun
    that is not known, and the offer waits."""

    def __init__(self, desk: Desk, most: int, denied: Callable[[str, str], None]) -> None:
        """At most ``most``, tracks as well as broadcasts. ``denied`` hears of those that are
        refused, and why."""
        self._desk = desk
        self._most = most
        self._denied = denied
        self._told = 0
        """How often that was."""
        self._offers: dict[tuple[Namespace, bytes | None], Offer] = {}
        self._by_request: dict[int, Offer] = {}
        self._counts: dict[Namespace, int] = {}
        """Offers of each broadcast that the session hears of."""
        self._waiting: list[Offer] = []
        self._listening: list[Listening] = []
        self.has_begun = False
        """Whether the session has said what it wants to hear of."""

    @property
    def is_waited_for(self) -> bool:
        """Whether somebody waits for the session to begin."""
        return bool(self._waiting)

    def made(self, offer: Offer) -> None:
        """The peer publishes something. Raises `ProtocolViolation` for a number in use, by which
        it could not be told apart."""
        if offer.request in self._by_request:
            raise ProtocolViolation(f"request {offer.request} is in use")
        if not is_short(offer.namespace, offer.name[1] or b""):
            self._refuse(offer, codes.NOT_SUPPORTED, "a name of more than 4096 bytes")
        elif path_of(offer.namespace) in (None, ""):
            self._refuse(offer, codes.NOT_SUPPORTED, "parts are text, not empty and not too long")
        elif len(self._offers) >= self._most:
            self._refuse(offer, codes.INTERNAL, "too many are published by this session already")
        elif offer.name in self._offers:
            self._refuse(offer, codes.NOT_SUPPORTED, "it is published by this session already")
        elif not self._is_heard(offer):
            if self.has_begun:
                self._refuse(offer, codes.UNAUTHORIZED, "beyond what this session may publish")
            elif len(self._waiting) < MAX_WAITING:
                self._keep(offer)
                self._waiting.append(offer)
            else:
                self._refuse(offer, codes.INTERNAL, "too many before the session began")

    def begun(self) -> None:
        """The session has said what it wants to hear of: refuse the rest."""
        self.has_begun = True
        waiting, self._waiting = self._waiting, []
        for offer in waiting:
            if self._is_open(offer):
                self._drop(offer)
                self._refuse(offer, codes.UNAUTHORIZED, "beyond what this session may publish")

    def listen(self, listening: Listening) -> None:
        """The session wants to hear of more."""
        self._listening.append(listening)
        for offer in self._waiting:
            if self._is_open(offer):
                self._is_heard(offer)

    def deafen(self, listening: Listening) -> None:
        """It does not any more."""
        if listening in self._listening:
            self._listening.remove(listening)

    def withdrawn(self, request: int, namespace: Namespace, code: int = codes.TRACK_ENDED) -> None:
        """The peer publishes it no longer: its request or its name is given, and of a track why."""
        named = self._offers.get((namespace, None))
        offer = named if namespace else self._by_request.get(request)
        if offer is None:
            return
        self._drop(offer)
        if isinstance(offer, Push) and (watching := offer.watching) is not None:
            offer.watching = None
            watching.is_over(code)
        if offer.heard_by is None:
            return
        self._counts[offer.namespace] -= 1
        if not self._counts[offer.namespace]:
            del self._counts[offer.namespace]
            offer.heard_by.there(offer.namespace, False)

    def push_of(self, namespace: Namespace, track: bytes) -> Push | None:
        """The track, where the peer sends it without being asked and nobody has it sent yet."""
        push = self._offers.get((namespace, track))
        if isinstance(push, Push) and push.watching is None and push.heard_by is not None:
            return push
        return None

    def is_answered_for(self, namespace: Namespace) -> bool:
        """Whether the peer is to be asked for tracks there, and not only sends some (draft-19,
        9.5)."""
        return any((namespace[:size], None) in self._offers for size in range(len(namespace) + 1))

    def _is_open(self, offer: Offer) -> bool:
        """Whether one that waited has neither been heard nor taken back."""
        return offer.heard_by is None and self._offers.get(offer.name) is offer

    def _is_heard(self, offer: Offer) -> bool:
        """Tell the session of it, if that wants to hear of it."""
        for listening in self._listening:
            prefix = listening.prefix
            if prefix is not None and offer.namespace[: len(prefix)] == prefix:
                offer.heard_by = listening
                self._keep(offer)
                self._desk.say(wire.RequestOk(offer.request, offer.to), offer.line)
                before = self._counts.get(offer.namespace, 0)
                self._counts[offer.namespace] = before + 1
                if not before:
                    listening.there(offer.namespace, True)
                return True
        return False

    def _keep(self, offer: Offer) -> None:
        self._offers[offer.name] = self._by_request[offer.request] = offer

    def _drop(self, offer: Offer) -> None:
        del self._offers[offer.name]
        self._by_request.pop(offer.request, None)

    def _refuse(self, offer: Offer, code: int, words: str) -> None:
        if self._told < MAX_TOLD:
            self._told += 1
            said = b"/".join(offer.namespace).decode(errors="replace")
            self._denied(path_of(offer.namespace) or said, words)
        error = wire.RequestError(offer.request, offer.to, code, words)
        self._desk.say(error, offer.line, last=True)
