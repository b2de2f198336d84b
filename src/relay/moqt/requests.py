"""Requests by their numbers: what the peer asks is begun, what we ask is put when it grants that.

The law: a request that there are no words for in moq-lite is refused with words, and nothing else
becomes of it. This module must not know streams of groups.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from relay.errors import LimitExceeded, ProtocolViolation
from relay.moqt import codes
from relay.moqt import messages as wire
from relay.moqt.answering import Serving, Telling
from relay.moqt.asking import Sounding, Watching
from relay.moqt.fetching import Fetching
from relay.moqt.looking import Looking, Stating
from relay.moqt.messages import Message, Namespace
from relay.moqt.naming import path_of
from relay.moqt.offers import Offer, Push
from relay.moqt.retrieving import Retrieving
from relay.moqt.talk import Asker, Desk, Talk

MAX_WAITING = 4_096
"""Requests of ours that wait until the peer grants more. More: a track is refused to its viewer;
where the peer asked to be told of so much, its session is closed."""

MAX_FETCHES = 32
"""Fetches of the peer's at a time. More are refused."""

_NO_TEXT = "names are text, and no part of one is empty"


class Requests:
    """Those of one session."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._sounding: Sounding | None = None
        self._theirs: dict[int, Talk] = {}
        """The peer's by number."""
        self._tellings: dict[Namespace, Telling] = {}
        """The last for each prefix."""
        self._ours: dict[int, Asker] = {}
        self._lines: dict[int, Talk | Asker | Offer] = {}
        """Those that have streams of their own, by these."""
        self._outlets: dict[int, Fetching] = {}
        """What is fetched, by the streams on which it leaves."""
        self._resting: dict[Fetching, None] = {}
        """Fetches for which the peer has granted no stream so far, or whose turn is over."""
        self._fetches: set[Fetching] = set()
        """All of them."""
        self._next = 1
        self._granted = 0
        self._waiting: deque[tuple[Asker, Callable[[int], Message]]] = deque()
        self._hears: dict[type[Message], Callable[[Any, int | None], None]] = {
            wire.Subscribe: self._subscribe,
            wire.SubscribeNamespace: self._subscribe_namespace,
            wire.PublishNamespace: self._publish_namespace,
            wire.Publish: self._publish,
            wire.TrackStatus: self._track_status,
            wire.Fetch: self._fetch,
            wire.FetchCancel: self._fetch_cancel,
            wire.SubscribeUpdate: self._update,
            wire.Unsubscribe: self._unsubscribe,
            wire.UnsubscribeNamespace: self._unsubscribe,
            wire.PublishNamespaceDone: self._withdraw,
            wire.SubscribeOk: self._answer,
            wire.PublishDone: self._done,
            wire.FetchOk: self._answer,
            wire.RequestOk: self._answer,
            wire.RequestError: self._answer,
            wire.MaxRequest: self._max_request,
        }

    def hear(self, message: Message, line: int | None) -> None:
        """The peer says something, on the stream of a request or where all is said."""
        hear = self._hears.get(type(message))
        if hear is not None:
            hear(message, line)

    def goes_on(self, line: int) -> bool:
        """Whether more is to be said on the stream of a request of the peer's."""
        who = self._lines.get(line)
        return isinstance(who, Serving | Telling) and not (who.has_ended or who.has_told)

    def line_ended(self, line: int, is_broken: bool) -> None:
        """It says nothing more on the stream of a request; of a track whose stream broke off
        nothing says that it is complete."""
        if isinstance(self._lines.get(line), Looking) and not is_broken:
            return  # one message is all that is said there
        who = self._lines.pop(line, None)
        code = codes.INTERNAL if is_broken else codes.TRACK_ENDED
        if isinstance(who, Offer):
            self._desk.offers.withdrawn(who.request, (), code)
            self._desk.hang_up(line)
        elif is_broken and isinstance(who, Watching):
            who.is_over(code)
        elif who is not None:
            who.left()

    def line_stopped(self, line: int) -> None:
        """It reads no more of one: of its own, that is the end of it."""
        who = self._lines.get(line)
        if isinstance(who, Serving | Telling | Looking):
            who.left()

    def outlet_stopped(self, stream: int) -> bool:
        """It reads no more of what it fetches, if that is what leaves there."""
        fetching = self._outlets.get(stream)
        if fetching is not None:
            fetching.left()
        return fetching is not None

    def has_outlet(self, fetching: Fetching) -> None:
        """What is fetched has a stream, or waits for one."""
        if fetching.outlet is None:
            self._resting[fetching] = None
        else:
            self._outlets[fetching.outlet] = fetching

    def rest(self, fetching: Fetching) -> None:
        """Others have a turn before it goes on."""
        self._resting[fetching] = None
        self._desk.wake()

    def forget(self, talk: Talk) -> None:
        """A request of the peer's is over."""
        if self._theirs.get(talk.request) is talk:
            del self._theirs[talk.request]
            self._desk.groups.first.pop(talk.request, None)
            self._desk.groups.spans.pop(talk.request, None)
        if isinstance(talk, Looking):
            self._desk.groups.looks.pop(talk.request, None)
            if talk.line is not None and self._lines.get(talk.line) is talk:
                del self._lines[talk.line]
        if isinstance(talk, Fetching):
            self._fetches.discard(talk)
            self._desk.waits.end(talk)
            self._resting.pop(talk, None)
            if talk.outlet is not None:
                self._outlets.pop(talk.outlet, None)
        if isinstance(talk, Telling) and self._tellings.get(talk.prefix) is talk:
            del self._tellings[talk.prefix]

    def lost(self) -> None:
        """The connection is."""
        for fetching in self._fetches:
            self._desk.waits.end(fetching)

    # The peer's

    def _subscribe(self, asked: wire.Subscribe, line: int | None) -> None:
        name = _name(asked)
        if name is None:
            self._refuse(asked, line, _NO_TEXT)
            return
        talk = Serving(self._desk, self._desk.far_bidi(), line, asked, *name)
        self._add(talk)
        talk.begin()

    def _subscribe_namespace(self, asked: wire.SubscribeNamespace, line: int | None) -> None:
        path = path_of(asked.prefix)
        if path is None:
            self._refuse(asked, line, _NO_TEXT)
            return
        talk = Telling(self._desk, self._desk.far_bidi(), asked.request, line, asked.prefix)
        self._add(talk)
        self._tellings[asked.prefix] = talk
        talk.begin(path)

    def _publish_namespace(self, asked: wire.PublishNamespace, line: int | None) -> None:
        self._offer(Offer(asked.request, line, asked.namespace))

    def _publish(self, asked: wire.Publish, line: int | None) -> None:
        self._offer(Push(asked, line))

    def _offer(self, offer: Offer) -> None:
        desk = self._desk
        self._claim(offer.line, offer)
        desk.offers.made(offer)
        if desk.offers.is_waited_for and self._sounding is None:
            self._sounding = Sounding(desk, desk.far_bidi())
            desk.replace(self._sounding)
            self._sounding.begin(path_of(offer.namespace) or "")

    def _add(self, talk: Talk) -> None:
        if talk.request in self._theirs:
            raise ProtocolViolation(f"request {talk.request} is in use")
        self._theirs[talk.request] = talk
        self._desk.replace(talk)
        self._claim(talk.line, talk)

    def _claim(self, line: int | None, who: Talk | Offer) -> None:
        """A stream has one request: its end is the end of that."""
        if line in self._lines:
            raise ProtocolViolation("a second request on a stream")
        if line is not None:
            self._lines[line] = who

    def _track_status(self, asked: wire.TrackStatus, line: int | None) -> None:
        name = _name(asked)
        if name is None:
            self._refuse(asked, line, _NO_TEXT)
            return
        talk = Stating(self._desk, self._desk.far_bidi(), asked.request, line, *name)
        self._add(talk)
        talk.begin()

    def _fetch(self, asked: wire.Fetch, line: int | None) -> None:
        numbers = self._desk.draft.fetched
        joined = self._theirs.get(asked.joining) if asked.joining is not None else None
        if asked.joining is not None and not isinstance(joined, Serving):
            self._refuse(asked, line, "no such subscription", numbers.not_joined)
            return
        serving = joined if isinstance(joined, Serving) else None
        name = _name(asked) if serving is None else serving.name
        if name is None:
            self._refuse(asked, line, _NO_TEXT)
        elif serving is not None and serving.is_paused and not numbers.joins_paused:
            self._refuse(asked, line, "the subscription is paused", numbers.out_of_range)
        elif _is_backward(asked):
            self._refuse(asked, line, "it ends before it starts", numbers.out_of_range)
        elif len(self._fetches) >= MAX_FETCHES:
            self._refuse(asked, line, f"more than {MAX_FETCHES} fetches at once", codes.INTERNAL)
        else:
            talk = Fetching(self._desk, line, asked, *name, serving)
            self._add(talk)
            self._fetches.add(talk)
            talk.begin()

    def _fetch_cancel(self, message: wire.FetchCancel, line: int | None) -> None:
        talk = self._theirs.get(message.request)
        if isinstance(talk, Looking):
            talk.left()

    def _refuse(
        self, asked: Any, line: int | None, words: str, code: int = codes.NOT_SUPPORTED
    ) -> None:
        error = wire.RequestError(asked.request, type(asked), code, words)
        self._desk.say(error, line, last=True)

    def _update(self, message: wire.SubscribeUpdate, line: int | None) -> None:
        talk = self._lines.get(line) if line is not None else None
        talk = talk or self._theirs.get(message.subscription)
        if not isinstance(talk, Serving):
            if self._desk.draft.answers_updates:
                kind, words = wire.SubscribeUpdate, "no such subscription"
                error = wire.RequestError(message.request, kind, codes.NOT_SUPPORTED, words)
                self._desk.say(error, line)
            return
        talk.answered(message)
        if self._desk.draft.answers_updates:
            self._desk.say(wire.RequestOk(message.request, wire.SubscribeUpdate), line)

    def _unsubscribe(self, message: Any, line: int | None) -> None:
        talk = self._theirs.get(message.request)
        if talk is None and message.request < 0:  # it names the prefix
            talk = self._tellings.get(message.prefix)
        if talk is not None:
            talk.left()

    def _withdraw(self, message: wire.PublishNamespaceDone, line: int | None) -> None:
        self._desk.offers.withdrawn(message.request, message.namespace)

    # Ours

    def _asker(self, message: Any, line: int | None) -> Talk | Asker | Offer | None:
        """Who an answer is for."""
        return self._ours.get(message.request) if line is None else self._lines.get(line)

    def _answer(self, message: Any, line: int | None) -> None:
        who = self._asker(message, line)
        if who is not None and not isinstance(who, Offer):
            who.answered(message)

    def _done(self, message: wire.PublishDone, line: int | None) -> None:
        who = self._asker(message, line)
        if who is None or isinstance(who, Offer):
            request = message.request if who is None else who.request
            self._desk.offers.withdrawn(request, (), message.code)
        else:
            who.answered(message)

    def _max_request(self, message: wire.MaxRequest, line: int | None) -> None:
        self.grant(message.request)

    def grant(self, most: int) -> None:
        """The peer grants requests whose numbers are less."""
        self._granted = max(self._granted, most)
        self.put()

    def ask(self, asker: Asker, question: Callable[[int], Message]) -> None:
        """Put a question to the peer once it grants a request."""
        if len(self._waiting) >= MAX_WAITING:
            self._waiting = deque(each for each in self._waiting if not each[0].is_moot)
        if len(self._waiting) >= MAX_WAITING and isinstance(asker, Watching | Retrieving):
            asker.abort(LimitExceeded.code)  # or viewers could end their publisher's session
            return
        if len(self._waiting) >= MAX_WAITING:
            reason = "the peer grants too few requests"
            self._desk.close(LimitExceeded.session_code, reason)
            return
        self._waiting.append((asker, question))
        self.put()

    def put(self) -> None:
        """Put the questions that waited, as far as the peer grants it by now; what is fetched goes
        on."""
        resting, self._resting = self._resting, {}
        for fetching in resting:
            fetching.go_on()
        while self._waiting:
            asker, question = self._waiting[0]
            if not asker.is_moot:
                if self._desk.draft.request_streams:
                    if asker.line is None:
                        asker.line = self._desk.open_line()
                    if asker.line is None:
                        return
                    self._lines.setdefault(asker.line, asker)
                elif self._next >= self._granted:
                    return
                asker.request = self._next
                self._next += 2
                self._ours[asker.request] = asker
                self._desk.say(question(asker.request), asker.line)
            self._waiting.popleft()

    def forward(self, push: Push) -> None:
        """Somebody watches a track that is pushed: have it sent, where the peer holds it back."""
        if push.is_held and not self._desk.draft.ok_forwards:
            update = wire.SubscribeUpdate(self._next, push.request, None, None, None, True)
            self._next += 2
            self._desk.say(update, push.line)
        push.is_held = False

    def release(self, asker: Asker) -> None:
        """Nothing more is said of a request of ours."""
        if self._ours.get(asker.request) is asker:
            del self._ours[asker.request]


def _name(asked: wire.Subscribe | wire.TrackStatus | wire.Fetch) -> tuple[str, str] | None:
    """The broadcast and the track that are asked for, ``None`` where they are no text."""
    path = path_of(asked.namespace)
    try:
        return None if path is None else (path, asked.track.decode())
    except UnicodeDecodeError:
        return None


def _is_backward(asked: wire.Fetch) -> bool:
    """Whether a range ends before it starts."""
    start, end = asked.start, asked.end
    if start is None or end is None:
        return False
    return end.group < start.group or (end.group == start.group and 0 < end.object <= start.object)
