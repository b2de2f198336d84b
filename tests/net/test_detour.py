"""The race of QUIC and WebSocket: who is taken, when the second begins, and what is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from relay.errors import ConfigError, SessionLost
from relay.net.detour import Detour, Troubles

LONG = 60.0


class Way:
    """Answers when told to, with a session or with trouble."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.was_cancelled = False
        self.closed = 0
        self._answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> Way:
        self.began.set()
        try:
            await asyncio.shield(self._answer)
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return self

    def answers(self) -> None:
        self._answer.set_result(None)

    def fails(self, error: Exception) -> None:
        self._answer.set_exception(error)

    async def close(self) -> None:
        self.closed += 1


Play = Callable[[Detour, Way, Way, Troubles, list[str]], Awaitable[None]]


def play(body: Play, head_start: float = LONG) -> None:
    """Have a race with two ways."""

    async def main() -> None:
        heard: list[str] = []
        detour = Detour(head_start, heard.append)
        async with asyncio.timeout(20):
            await body(detour, Way(), Way(), {}, heard)

    asyncio.run(main())


def test_quic_is_taken_and_the_second_way_never_begins() -> None:
    async def body(
        detour: Detour, quic: Way, websocket: Way, troubles: Troubles, heard: list[str]
    ) -> None:
        quic.answers()
        assert await detour.race("a:1", quic, websocket, troubles) is quic
        assert not websocket.began.is_set()
        assert (heard, troubles, quic.closed) == ([], {}, 0)

    play(body)


def test_silence_lets_websocket_begin_and_win() -> None:
    async def body(
        detour: Detour, quic: Way, websocket: Way, troubles: Troubles, heard: list[str]
    ) -> None:
        websocket.answers()
        assert await detour.race("a:1", quic, websocket, troubles) is websocket
        assert quic.was_cancelled
        assert heard == ["a:1"]

    play(body, 0.01)


def test_a_failure_of_quic_ends_its_head_start() -> None:
    async def body(
        detour: Detour, quic: Way, websocket: Way, troubles: Troubles, heard: list[str]
    ) -> None:
        quic.fails(SessionLost("nobody"))
        websocket.answers()
        assert await detour.race("a:1", quic, websocket, troubles) is websocket
        assert heard == ["a:1"]

    play(body)


def test_a_refusal_over_quic_is_the_last_word() -> None:
    async def body(
        detour: Detour, quic: Way, websocket: Way, troubles: Troubles, heard: list[str]
    ) -> None:
        quic.fails(SessionLost("refused", 0, 401))
        websocket.answers()
        with pytest.raises(SessionLost, match=r"^refused$") as lost:
            await detour.race("a:1", quic, websocket, troubles)
        assert lost.value.status == 401
        assert not websocket.began.is_set()

    play(body)


def test_a_refusal_over_quic_stops_a_websocket_that_is_under_way() -> None:
    async def body(
        detour: Detour, quic: Way, websocket: Way, troubles: Troubles, heard: list[str]
    ) -> None:
        async with asyncio.TaskGroup() as tasks:
            race = tasks.create_task(_lost(detour.race("a:1", quic, websocket, troubles)))
            await websocket.began.wait()
            quic.fails(SessionLost("refused", 0, 403))
        assert race.result().status == 403
        assert websocket.was_cancelled

    play(body, 0.01)


def test_what_answers_over_tcp_may_be_another_server() -> None:
    async def body(
        detour: Detour, quic: Way, websocket: Way, troubles: Troubles, heard: list[str]
    ) -> None:
        websocket.fails(SessionLost("refused", 0, 403))
        async with asyncio.TaskGroup() as tasks:
            race = tasks.create_task(detour.race("a:1", quic, websocket, troubles))
            await websocket.began.wait()
            await asyncio.sleep(0)
            quic.answers()
        assert race.result() is quic
        assert heard == []

    play(body, 0.01)


@pytest.mark.parametrize(
    ("over_quic", "over_tcp", "said", "status"),
    [
        (
            SessionLost("silent"),
            SessionLost("refused", 0, 401),
            "silent; by WebSocket: refused",
            401,
        ),
        (SessionLost("no name"), SessionLost("no name"), "no name", 0),
        (SessionLost("late"), ConfigError("no file"), "late; by WebSocket: no file", 0),
    ],
)
def test_both_failures_are_told(
    over_quic: SessionLost, over_tcp: Exception, said: str, status: int
) -> None:
    async def body(
        detour: Detour, quic: Way, websocket: Way, troubles: Troubles, heard: list[str]
    ) -> None:
        quic.fails(over_quic)
        websocket.fails(over_tcp)
        lost = await _lost(detour.race("a:1", quic, websocket, troubles))
        assert (str(lost), lost.status) == (said, status)

    play(body)


def test_where_websocket_won_it_begins_at_once_until_quic_wins() -> None:
    async def body(
        detour: Detour, quic: Way, websocket: Way, troubles: Troubles, heard: list[str]
    ) -> None:
        quic.fails(SessionLost("nobody"))
        websocket.answers()
        await detour.race("a:1", quic, websocket, troubles)
        silent, second = Way(), Way()
        second.answers()
        assert await detour.race("a:1", silent, second, {}) is second  # without a minute's wait
        late, third = Way(), Way()
        async with asyncio.TaskGroup() as tasks:
            race = tasks.create_task(detour.race("a:1", late, third, {}))
            await third.began.wait()
            late.answers()
        assert race.result() is late
        assert third.was_cancelled
        quick, fourth = Way(), Way()
        quick.answers()
        await detour.race("a:1", quick, fourth, {})
        assert not fourth.began.is_set()

    play(body)


def test_another_place_has_its_own_head_start() -> None:
    async def body(
        detour: Detour, quic: Way, websocket: Way, troubles: Troubles, heard: list[str]
    ) -> None:
        quic.fails(SessionLost("nobody"))
        websocket.answers()
        await detour.race("a:1", quic, websocket, troubles)
        other, second = Way(), Way()
        other.answers()
        await detour.race("a:2", other, second, {})
        assert not second.began.is_set()

    play(body)


def test_of_two_sessions_one_is_closed() -> None:
    async def body(
        detour: Detour, quic: Way, websocket: Way, troubles: Troubles, heard: list[str]
    ) -> None:
        async with asyncio.TaskGroup() as tasks:
            race = tasks.create_task(detour.race("a:1", quic, websocket, troubles))
            await websocket.began.wait()
            websocket.answers()
            quic.answers()
        assert race.result() is quic
        assert (quic.closed, websocket.closed) == (0, 1)
        assert heard == []

    play(body, 0.01)


def test_who_gives_up_leaves_nothing_behind() -> None:
    async def body(
        detour: Detour, quic: Way, websocket: Way, troubles: Troubles, heard: list[str]
    ) -> None:
        websocket.fails(SessionLost("no"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await detour.race("a:1", quic, websocket, troubles)
        assert quic.was_cancelled
        assert str(troubles["WebSocket"]) == "no"  # for whoever tells of it

    play(body, 0.01)


async def _lost(race: Awaitable[Way]) -> SessionLost:
    with pytest.raises(SessionLost) as lost:
        await race
    return lost.value
