"""The race of QUIC and WebSocket: who is taken, when the second begins, and what is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
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


class Race:
    """Two ways and whoever has them race; what went wrong, and what was heard of."""

    def __init__(self, head_start: float = LONG) -> None:
        self.heard: list[str] = []
        self.troubles: Troubles = {}
        self.detour = Detour(head_start, self.heard.append)
        self.quic, self.websocket = Way(), Way()

    async def run(self, place: str = "a:1") -> Way:
        """The race, within a time."""
        async with asyncio.timeout(20):
            return await self.detour.race(place, self.quic, self.websocket, self.troubles)

    async def again(self, quic: Way, websocket: Way, place: str = "a:1") -> Way:
        """Another one, of other ways."""
        self.quic, self.websocket, self.troubles = quic, websocket, {}
        return await self.run(place)


async def won_by_websocket() -> Race:
    """One that is over."""
    race = Race()
    race.quic.fails(SessionLost("nobody"))
    race.websocket.answers()
    assert await race.run() is race.websocket
    return race


async def test_quic_is_taken_and_the_second_way_never_begins() -> None:
    race = Race()
    race.quic.answers()
    assert await race.run() is race.quic
    assert not race.websocket.began.is_set()
    assert (race.heard, race.troubles, race.quic.closed) == ([], {}, 0)


async def test_silence_lets_websocket_begin_and_win() -> None:
    race = Race(0.01)
    race.websocket.answers()
    assert await race.run() is race.websocket
    assert race.quic.was_cancelled
    assert race.heard == ["a:1"]


async def test_a_failure_of_quic_ends_its_head_start() -> None:
    race = await won_by_websocket()
    assert race.heard == ["a:1"]


async def test_a_refusal_over_quic_is_the_last_word() -> None:
    race = Race()
    race.quic.fails(SessionLost("refused", 0, 401))
    race.websocket.answers()
    with pytest.raises(SessionLost, match=r"^refused$") as lost:
        await race.run()
    assert lost.value.status == 401
    assert not race.websocket.began.is_set()


async def test_a_refusal_over_quic_stops_a_websocket_that_is_under_way() -> None:
    race = Race(0.01)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(_lost(race.run()))
        await race.websocket.began.wait()
        race.quic.fails(SessionLost("refused", 0, 403))
    assert running.result().status == 403
    assert race.websocket.was_cancelled


async def test_what_answers_over_tcp_may_be_another_server() -> None:
    race = Race(0.01)
    race.websocket.fails(SessionLost("refused", 0, 403))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(race.run())
        await race.websocket.began.wait()
        await asyncio.sleep(0)
        race.quic.answers()
    assert running.result() is race.quic
    assert race.heard == []


async def test_trouble_over_tcp_that_nobody_foresaw_leaves_quic_the_race() -> None:
    race = Race(0.01)
    race.websocket.fails(LookupError("x"))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(race.run())
        await race.websocket.began.wait()
        await asyncio.sleep(0)
        race.quic.answers()
    assert running.result() is race.quic
    assert race.quic.closed == 0
    assert str(race.troubles["WebSocket"]) == "x"


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
async def test_both_failures_are_told(
    over_quic: SessionLost, over_tcp: Exception, said: str, status: int
) -> None:
    race = Race()
    race.quic.fails(over_quic)
    race.websocket.fails(over_tcp)
    lost = await _lost(race.run())
    assert (str(lost), lost.status) == (said, status)


async def test_where_websocket_won_it_begins_at_once_until_quic_wins() -> None:
    race = await won_by_websocket()
    silent, second = Way(), Way()
    second.answers()
    assert await race.again(silent, second) is second  # without a minute's wait
    late, third = Way(), Way()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(race.again(late, third))
        await third.began.wait()
        late.answers()
    assert running.result() is late
    assert third.was_cancelled
    quick, fourth = Way(), Way()
    quick.answers()
    await race.again(quick, fourth)
    assert not fourth.began.is_set()


async def test_another_place_has_its_own_head_start() -> None:
    race = await won_by_websocket()
    other, second = Way(), Way()
    other.answers()
    await race.again(other, second, "a:2")
    assert not second.began.is_set()


async def test_of_two_sessions_one_is_closed() -> None:
    race = Race(0.01)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(race.run())
        await race.websocket.began.wait()
        race.websocket.answers()
        race.quic.answers()
    assert running.result() is race.quic
    assert (race.quic.closed, race.websocket.closed) == (0, 1)
    assert race.heard == []


async def test_who_gives_up_leaves_nothing_behind() -> None:
    race = Race(0.01)
    race.websocket.fails(SessionLost("no"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await race.run()
    assert race.quic.was_cancelled
    assert str(race.troubles["WebSocket"]) == "no"  # for whoever tells of it


async def _lost(race: Awaitable[Way]) -> SessionLost:
    with pytest.raises(SessionLost) as lost:
        await race
    return lost.value
