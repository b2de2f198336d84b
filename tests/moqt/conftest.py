"""A relay in memory whose guests may speak moq-transport: scripted peers on transports that never
lose a byte."""

from __future__ import annotations

from typing import Any

import pytest

from dialogue import Side, Wire
from relay.auth import keys, mint
from relay.auth.claims import Claims
from relay.auth.settings import AuthSettings
from relay.model.origin import Origin
from relay.moqt.drafts import DRAFTS, Draft
from relay.moqt.messages import ClientSetup, Message, ServerSetup
from relay.moqt.visit import interpreted
from relay.moqt.waits import Waits
from relay.path import Path
from relay.peer.door import Door
from relay.peer.house import House
from relay.peer.judge import Judge
from relay.peer.judgement import Rules
from relay.session.settings import SessionSettings
from relay.session.transport import Knock, is_uni
from relay.wire.buffer import StreamBuffer
from relay.wire.version import IDENTIFIERS

KEY = keys.generate("HS256", kid="k1")
NOW = 1_800_000_000.0
LIMIT = 65_536


def token(publish: str = "", subscribe: str = "") -> str:
    claims = Claims(Path("demo"), (Path(publish),), (Path(subscribe),), int(NOW + 60))
    return mint.sign(claims, KEY, NOW)


class Visit:
    """A knock and what became of it."""

    def __init__(self, target: str | None, offered: str, cut: int) -> None:
        kind = "webtransport" if target is not None else "quic"
        offers = (offered,) if offered else ()
        self.knock = Knock(kind, target, offers, ("192.0.2.1", 1234))
        self.wire = Wire(cut)
        self.transport = self.wire.server
        self.refused: list[int] = []
        self.too_late: Any = None

    def accept(self, receiver: Any, protocol: str | None) -> None:
        self.wire.server.receiver = receiver

    def refuse(self, status: int, headers: Any = ()) -> None:
        self.refused.append(status)


class Peer:
    """A client that says what a test has it say, and remembers what it hears."""

    def __init__(self, world: World, draft: Draft, visit: Visit) -> None:
        self.world = world
        self.draft = draft
        self.visit = visit
        self.end = visit.wire.client
        self.end.receiver = self
        self.heard: list[Message] = []
        """Messages, in their order."""
        self.groups: dict[int, bytes] = {}
        """Streams of objects, by their ids."""
        self.whole: set[int] = set()
        self.ended: set[int] = set()
        """Streams of messages on which no more is said."""
        self.resets: dict[int, int] = {}
        self.stops: dict[int, int] = {}
        self.lost: tuple[int, str] | None = None
        self.descends = False
        """Whether it fetches the newest group first."""
        self.lines: dict[int, int] = {}
        """Streams of requests, by the numbers of these."""
        self._buffers: dict[int, StreamBuffer] = {}
        self._control: int | None = None

    def greet(self, **more: Any) -> None:
        """Say CLIENT_SETUP."""
        most = 0 if self.draft.request_streams else 1000
        setup = ClientSetup(**{"versions": (self.draft.version,), "max_request": most, **more})
        end = self.end
        self._control = end.open_uni() if self.draft.request_streams else end.open_bidi()
        end.send(self._control, self.draft.encode(setup))
        self.world.run()

    def say(self, message: Message, request: int | None = None, fin: bool = False) -> None:
        """Say something, on the stream of a request or the common one."""
        line = self._control if request is None else self.lines.get(request, self._control)
        self.end.send(line, self.draft.encode(message), fin)
        self.world.run()

    def ask(self, message: Any, own: bool = False) -> None:
        """Put a request; on a stream of its ``own`` where not all have one."""
        line = self._control
        if own or self.draft.request_streams:
            line = self.lines[message.request] = self.end.open_bidi()
        self.end.send(line, self.draft.encode(message))
        self.world.run()

    def bring(self, *pieces: bytes, fin: bool = True) -> int:
        """A stream of objects."""
        stream = self.end.open_uni()
        for piece in pieces:
            self.end.send(stream, piece)
        if fin:
            self.end.send(stream, b"", True)
        self.world.run()
        return int(stream)

    def take(self, kind: type[Any]) -> list[Any]:
        """The messages of a kind heard so far; they are forgotten."""
        found = [each for each in self.heard if isinstance(each, kind)]
        self.heard = [each for each in self.heard if not isinstance(each, kind)]
        return found

    def only(self, kind: type[Any]) -> Any:
        """The one message of that kind."""
        (message,) = self.take(kind)
        return message

    # The receiver

    def stream_received(self, stream: int, data: bytes, fin: bool) -> None:
        is_setup = stream in self._buffers or self.draft.begins_setup(data)
        if is_uni(stream) and not is_setup:
            self.groups[stream] = self.groups.get(stream, b"") + data
            if fin:
                self.whole.add(stream)
            return
        buffer = self._buffers.setdefault(stream, StreamBuffer())
        buffer.append(data)
        if fin:
            self.ended.add(stream)
        while (message := self.draft.read(buffer, LIMIT)) is not None:
            if getattr(message, "request", 0) == -1 or self.draft.request_streams:
                self.lines.setdefault(getattr(message, "request", -1), stream)
            self.heard.append(message)

    def stream_reset(self, stream: int, code: int) -> None:
        self.resets[stream] = code

    def stream_stopped(self, stream: int, code: int) -> None:
        self.stops[stream] = code

    def datagram_received(self, data: bytes) -> None:
        raise AssertionError("no datagrams here")

    def flush(self) -> None:
        pass

    def connection_lost(self, code: int, reason: str) -> None:
        self.lost = (code, reason)


class World:
    """A relay, its door and everybody who came."""

    def __init__(self, cut: int, public: Any = "", **limits: int) -> None:
        """``limits`` are those of each session."""
        settings = SessionSettings(**limits)
        self.now = 50.0
        self.cut = cut
        self.visits: list[Visit] = []
        house = self.house = House(Origin(99), lambda: self.now, log=self._log)
        self.said: list[tuple[str, dict[str, Any]]] = []
        rules = Rules(keys.KeySet.load(KEY.dump(), "k1"), AuthSettings(public=public))
        self.judge = Judge(house, rules, lambda: NOW)
        self.door = Door(house, self.judge, settings, IDENTIFIERS)
        self.waits = Waits(lambda: self.now, 10.0)
        self.entrance = interpreted(
            self.door.answer,
            IDENTIFIERS,
            settings,
            self.waits,
            lambda knock, path, why: self._log("publish denied", path=path, reason=why),
        )

    def _log(self, event: str, **facts: Any) -> None:
        self.said.append((event, facts))

    def peer(self, draft: Draft, target: str | None = "/", **more: Any) -> Peer:
        """One that speaks moq-transport, and has introduced itself where it was let in."""
        peer = Peer(self, draft, self.knock(draft.identifiers[0], target))
        if not peer.visit.refused:
            peer.greet(**more)
        return peer

    def lite(self, target: str = "/", version: str = "moq-lite-04") -> Any:
        """One that speaks moq-lite."""
        visit = self.knock(version, target)
        side = Side(visit.wire.client, version or None, client=True)
        side.start()
        self.run()
        return side

    def knock(self, offered: str, target: str | None) -> Visit:
        """Somebody comes who offers this, or names nothing."""
        visit = Visit(target, offered, self.cut)
        self.visits.append(visit)
        self.entrance(visit)
        return visit

    def run(self) -> None:
        """Until nobody has anything to say."""
        for _ in range(4):
            for visit in self.visits:
                visit.wire.run()

    def tick(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        self.house.origin.tick(self.now)
        self.door.tick(self.now)
        self.waits.tick(self.now)
        self.run()


@pytest.fixture(params=DRAFTS, ids=lambda draft: draft.name)
def draft(request: pytest.FixtureRequest) -> Draft:
    """Every draft that is spoken."""
    found: Draft = request.param
    return found


@pytest.fixture(params=[0, 1], ids=["whole", "bytewise"])
def world(request: pytest.FixtureRequest) -> World:
    """A relay where anybody may do anything; what comes is cut into pieces, or not."""
    return World(request.param)


__all__ = ["NOW", "Peer", "ServerSetup", "World", "token"]
