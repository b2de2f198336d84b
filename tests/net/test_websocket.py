"""Whoever comes over WebSocket: what is offered, what is answered, and both ends of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.net.links import Heard

from relay.net.gate import Gate
from relay.net.qmux_frames import (
    LEGACY,
    WIRES,
    Kind,
    Parameters,
    data_frame,
    frames,
    parameters_frame,
)
from relay.net.settings import ListenSettings, QuicLimits
from relay.net.websocket import Offer, WebSockets, read_offers
from relay.session.transport import Visit
from relay.wire.buffer import encode_varints

NEWEST, SECOND, EARLY, _ = WIRES
QUICK = ListenSettings(visit_timeout=0.05, limits=QuicLimits(close_timeout=0.05))
HELLO = parameters_frame(Parameters(1 << 20, 1 << 16, 1 << 16, 1 << 16, 10, 10))


# What is offered


@pytest.mark.parametrize(
    ("offered", "read"),
    [
        ([], {"moql": Offer(LEGACY, None)}),
        (
            ["qmux-02.moq-lite-06", "qmux-01.moq-lite-06", "qmux-01.moq-lite-05"],
            {
                "moq-lite-06": Offer(NEWEST, "qmux-02.moq-lite-06"),
                "moq-lite-05": Offer(SECOND, "qmux-01.moq-lite-05"),
            },
        ),
        (
            ["qmux-00.moqt-14", "qmux-00", "webtransport"],
            {"moqt-14": Offer(EARLY, "qmux-00.moqt-14"), "moql": Offer(EARLY, "qmux-00")},
        ),
        (["webtransport"], {"moql": Offer(LEGACY, "webtransport")}),
        (["qmux-01.moql", "qmux-02"], {"moql": Offer(SECOND, "qmux-01.moql")}),
        (["graphql-ws", "webtransport.moq-lite-05", "qmux-03.moq-lite-05", "", "."], {}),
        (["x"] * 64 + ["qmux-01"], {}),
    ],
)
def test_offers_by_version_in_the_callers_order(offered: list[str], read: dict[str, Offer]) -> None:
    assert list(read_offers(offered).items()) == list(read.items())


# A caller, and the door


class Call:
    """One connection as an ASGI server tells of it."""

    def __init__(self, **facts: Any) -> None:
        self.scope: dict[str, Any] = {
            "type": "websocket",
            "raw_path": b"/demo",
            "query_string": b"jwt=x",
            "headers": [(b"host", b"relay.example"), (b"origin", b"https://a")],
            "client": ("192.0.2.7", 5),
            "subprotocols": ["qmux-01.moq-lite-05", "qmux-01"],
        } | facts
        self.told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.told.put_nowait({"type": "websocket.connect"})
        self.waiting: list[dict[str, Any]] = []
        self.said: list[dict[str, Any]] = []
        self.changed = asyncio.Event()

    async def send(self, message: Any) -> None:
        self.said.append(message)
        self.changed.set()
        if message["type"] == "websocket.accept":
            while self.waiting:
                self.told.put_nowait(self.waiting.pop(0))

    def tells(self, **message: Any) -> None:
        """Something that is said once the connection is there."""
        is_open = any(each["type"] == "websocket.accept" for each in self.said)
        if is_open:
            self.told.put_nowait(message)
        else:
            self.waiting.append(message)

    def says(self, *messages: bytes) -> None:
        for message in messages:
            self.tells(type="websocket.receive", bytes=message)

    def leaves(self) -> None:
        self.tells(type="websocket.disconnect", code=1005)

    async def until(self, kind: str) -> dict[str, Any]:
        """The first message of that type."""
        async with asyncio.timeout(5):
            while not (found := [each for each in self.said if each["type"] == kind]):
                self.changed.clear()
                await self.changed.wait()
        return found[0]

    @property
    def frames(self) -> list[Any]:
        sent = [each["bytes"] for each in self.said if each["type"] == "websocket.send"]
        return [frame for message in sent for frame in frames(message, SECOND)]


class Place:
    """The application, what it knocked with, and what went wrong."""

    def __init__(self, settings: ListenSettings = QUICK) -> None:
        self.visits: list[Visit] = []
        self.errors: list[Exception] = []
        self.gate = Gate(settings)
        self.heard = Heard()
        self.answers: Callable[[Visit], None] = lambda visit: visit.accept(
            self.heard, "moq-lite-05"
        )
        self.app = WebSockets(self._door, settings, self.errors.append, self.gate)

    def _welcome(self, visit: Visit) -> None:
        visit.accept(self.heard, "moq-lite-05")

    def _door(self, visit: Visit) -> None:
        self.visits.append(visit)
        self.answers(visit)

    async def one_of_several(self, call: Call) -> None:
        async with asyncio.timeout(5):
            await self.app(call.scope, call.told.get, call.send)

    async def serve(self, call: Call) -> None:
        await self.one_of_several(call)
        assert self.gate.inside == 0


Scenario = Callable[[], Coroutine[Any, Any, None]]


def run(scenario: Scenario) -> None:
    asyncio.run(scenario())


def statuses(call: Call) -> list[int]:
    return [each["status"] for each in call.said if "status" in each]


def test_a_session_from_knock_to_goodbye() -> None:
    async def scenario() -> None:
        place, call = Place(), Call()
        call.says(HELLO, data_frame(SECOND, 2, 0, b"hello", True))
        serving = asyncio.ensure_future(place.serve(call))
        accepted = await call.until("websocket.accept")
        assert accepted["subprotocol"] == "qmux-01.moq-lite-05"
        knock = place.visits[0].knock
        assert (knock.transport, knock.target) == ("websocket", "/demo?jwt=x")
        assert knock.offered == ("moq-lite-05", "moql")
        assert (knock.remote, knock.authority) == (("192.0.2.7", 5), "relay.example")
        assert knock.headers["origin"] == "https://a"
        while not place.heard.ends(2):
            await asyncio.sleep(0)
        assert place.heard.data(2) == b"hello"
        assert place.gate.inside == 1
        call.leaves()
        await serving
        assert place.heard.lost == [(0, "the connection is gone")]
        assert not place.errors

    run(scenario)


def test_whoever_offers_nothing_hears_of_no_choice() -> None:
    async def scenario() -> None:
        place, call = Place(), Call(subprotocols=[], query_string=b"", client=None)
        place.answers = lambda visit: visit.accept(place.heard, None)
        serving = asyncio.ensure_future(place.serve(call))
        assert (await call.until("websocket.accept"))["subprotocol"] is None
        assert place.visits[0].knock.target == "/demo"
        call.says(data_frame(LEGACY, 2, 0, b"as before", True))
        call.leaves()
        await serving
        assert place.heard.data(2) == b"as before"

    run(scenario)


def test_the_door_hears_what_is_offered_also_where_nothing_of_it_is_known() -> None:
    async def scenario() -> None:
        place, call = Place(), Call(subprotocols=["graphql-ws"])
        place.answers = lambda visit: visit.refuse(400, (("x-request-id", "é7"),))
        await place.serve(call)
        assert place.visits[0].knock.offered == ("graphql-ws",)
        start, body = call.said
        assert start["type"] == "websocket.http.response.start"
        assert (start["status"], start["headers"]) == (400, [(b"x-request-id", b"\xe97")])
        assert body == {"type": "websocket.http.response.body", "body": b""}

    run(scenario)


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        ({"raw_path": b"*"}, 400),
        ({"raw_path": b""}, 400),
        ({"raw_path": b"/" + b"a" * 20_000}, 414),
        ({"query_string": b"a" * 20_000}, 414),
    ],
)
def test_what_nobody_is_asked_about(facts: dict[str, Any], status: int) -> None:
    async def scenario() -> None:
        place, call = Place(), Call(**facts)
        await place.serve(call)
        assert statuses(call) == [status]
        assert not place.visits

    run(scenario)


def test_a_door_that_raises_refuses() -> None:
    def fails(visit: Visit) -> None:
        raise RuntimeError("a mistake")

    async def scenario() -> None:
        place, call = Place(), Call()
        place.answers = fails
        await place.serve(call)
        assert statuses(call) == [500]
        assert [str(error) for error in place.errors] == ["a mistake"]

    run(scenario)


def test_an_answer_that_comes_too_late() -> None:
    async def scenario() -> None:
        place, call = Place(), Call()
        place.answers = lambda visit: setattr(visit, "too_late", lambda: (("x-id", "7"),))
        await place.serve(call)
        assert statuses(call) == [503]
        assert call.said[0]["headers"] == [(b"x-id", b"7")]
        place.visits[0].accept(place.heard, "moq-lite-05")
        await asyncio.sleep(0)
        assert place.heard.lost == [(0, "refused")]

    run(scenario)


def test_an_answer_may_come_later() -> None:
    async def scenario() -> None:
        place, call = Place(ListenSettings()), Call()
        come = asyncio.Event()
        place.answers = lambda visit: come.set()
        serving = asyncio.ensure_future(place.serve(call))
        await come.wait()
        assert (call.said, place.gate.inside) == ([], 1)
        place.visits[0].accept(place.heard, "moql")
        assert (await call.until("websocket.accept"))["subprotocol"] == "qmux-01"
        call.leaves()
        await serving
        assert place.heard.lost == [(0, "the connection is gone")]

    run(scenario)


def test_a_caller_who_leaves_before_the_answer() -> None:
    async def scenario() -> None:
        place, call = Place(ListenSettings()), Call()
        place.answers = lambda visit: None
        call.told.put_nowait({"type": "websocket.disconnect", "code": 1006})
        await place.serve(call)
        assert call.said == []
        place.visits[0].accept(place.heard, "moq-lite-05")
        await asyncio.sleep(0)
        assert place.heard.lost == [(0, "the connection is gone")]

    run(scenario)


def test_where_there_is_no_room() -> None:
    async def scenario() -> None:
        place = Place(ListenSettings(max_sessions_per_address=1))
        first, second, third = Call(), Call(), Call(client=("192.0.2.8", 1))
        serving = [asyncio.ensure_future(place.one_of_several(each)) for each in (first, third)]
        await first.until("websocket.accept")
        await third.until("websocket.accept")
        await place.one_of_several(second)
        assert statuses(second) == [503]
        assert (place.gate.refused, place.gate.refused_last) == (1, "192.0.2.7")
        for each in (first, third):
            each.leaves()
        await asyncio.gather(*serving)
        assert (place.gate.inside, place.gate.handshakes) == (0, 0)

    run(scenario)


def test_nobody_is_let_in_by_a_gate_that_is_closed() -> None:
    async def scenario() -> None:
        place, call = Place(), Call()
        place.gate.is_open = False
        await place.serve(call)
        assert statuses(call) == [503]
        assert (place.visits, place.gate.refused) == ([], 0)

    run(scenario)


@pytest.mark.parametrize("where", ["on_data", "on_flush"])
def test_a_receiver_that_fails_costs_its_session(where: str) -> None:
    def fails() -> None:
        raise RuntimeError("a mistake")

    async def scenario() -> None:
        place, call = Place(), Call()
        setattr(place.heard, where, fails)
        call.says(HELLO, data_frame(SECOND, 2, 0, b"hello", False))
        serving = asyncio.ensure_future(place.serve(call))
        await call.until("websocket.close")
        call.leaves()
        await serving
        assert [str(error) for error in place.errors] == ["a mistake"]
        assert (call.frames[-1].kind, call.frames[-1].body) == (Kind.CLOSE, b"internal error")
        assert [reason for _, reason in place.heard.lost] == ["internal error"]

    run(scenario)


def test_text_ends_the_session() -> None:
    async def scenario() -> None:
        place, call = Place(), Call()
        call.says(HELLO)
        call.tells(type="websocket.receive", text="hello")
        serving = asyncio.ensure_future(place.serve(call))
        await call.until("websocket.close")
        call.leaves()
        await serving
        assert call.frames[-1].kind == Kind.CLOSE
        assert place.heard.lost == [(3, "a message of text")]

    run(scenario)


def test_an_ended_session_is_hung_up_on_after_a_while() -> None:
    async def scenario() -> None:
        place, call = Place(), Call()
        call.says(HELLO)
        serving = asyncio.ensure_future(place.serve(call))
        await call.until("websocket.accept")
        place.visits[0].transport.close(5, "enough")
        await call.until("websocket.send")
        close = await call.until("websocket.close")
        assert close["code"] == 1000
        kinds = [(frame.kind, frame.numbers, frame.body) for frame in call.frames]
        assert kinds[-1] == (Kind.CLOSE, (5,), b"enough")
        call.leaves()
        await serving
        assert place.heard.lost == [(5, "enough")]

    run(scenario)


def test_the_callers_goodbye_is_heard() -> None:
    async def scenario() -> None:
        place, call = Place(), Call()
        call.says(HELLO, encode_varints((Kind.CLOSE, 9, 0)))
        serving = asyncio.ensure_future(place.serve(call))
        await call.until("websocket.close")
        call.leaves()
        await serving
        assert place.heard.lost == [(9, "")]

    run(scenario)


def test_a_caller_who_is_gone_hears_nothing_and_raises_nothing() -> None:
    async def scenario() -> None:
        place, call = Place(), Call()

        async def broken(message: Any) -> None:
            if message["type"] == "websocket.send":
                raise OSError("gone")
            await call.send(message)

        call.says(HELLO)
        serving = asyncio.ensure_future(place.app(call.scope, call.told.get, broken))
        await call.until("websocket.accept")
        call.leaves()
        async with asyncio.timeout(5):
            await serving
        assert place.heard.lost == [(0, "the connection is gone")]

    run(scenario)


@asynccontextmanager
async def others() -> AsyncIterator[list[int]]:
    """Somebody else in the loop, who notes each turn."""
    turns: list[int] = []

    async def take() -> None:
        while True:
            turns.append(len(turns))
            await asyncio.sleep(0)

    taking = asyncio.ensure_future(take())
    try:
        yield turns
    finally:
        taking.cancel()


def test_many_messages_leave_others_their_turn() -> None:
    async def scenario() -> None:
        place, call = Place(), Call()
        call.says(HELLO, *[encode_varints((Kind.PING, number)) for number in range(20_000)])
        call.leaves()
        async with others() as turns:
            await place.serve(call)
        assert len(turns) > 5

    run(scenario)


def test_a_message_of_thousands_of_frames_leaves_others_their_turn() -> None:
    def slow() -> None:
        began = time.perf_counter()
        while time.perf_counter() - began < 0.0001:
            pass

    async def scenario() -> None:
        place, call = Place(), Call()
        place.heard.on_data = slow
        call.says(
            HELLO, b"".join(data_frame(SECOND, 4 * n + 2, 0, b"x", False) for n in range(2000))
        )
        call.leaves()
        async with others() as turns:
            await place.serve(call)
        assert len(place.heard.told) >= 2000
        assert len(turns) > 20

    run(scenario)
