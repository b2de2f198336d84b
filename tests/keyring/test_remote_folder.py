"""A folder at a URL whose server nobody may make busy, and who is served all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

import relay.keyring.remote_folder
from relay.auth.keys import generate
from relay.auth.trust import FetchSettings
from relay.keyring.fetch import Fetched, FetchError
from relay.keyring.remote_folder import MAX_MISSES, MAX_PATIENT, PATIENCE, RemoteFolder

INTERVAL = 5.0
MINE = generate("EdDSA", "mine")


class Folder:
    """A folder with one key, whose clock is set by hand; ``asked`` is when it was asked for
    what."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.now = 1000.0
        self.asked: list[tuple[float, str]] = []
        self.answers = asyncio.Event()
        self.answers.set()
        settings = FetchSettings(min_interval=INTERVAL)
        self.it = RemoteFolder(
            *("https://keys.example/", "keys", self.fetch, settings),
            *(lambda: self.now, lambda event, **facts: None, lambda: None),
        )
        self.it.start(tasks)

    async def fetch(self, url: str, etag: str | None) -> Fetched:
        kid = url.rpartition("/")[2].removesuffix(".jwk")
        self.asked.append((self.now, kid))
        await self.answers.wait()
        if kid != "mine":
            raise FetchError("HTTP status 404", 404)
        return Fetched(MINE.public().dump(), None, 3600.0)

    async def ask(self, kid: str) -> None:
        self.it.ask(kid)
        for _ in range(4):
            await asyncio.sleep(0)

    def most(self) -> int:
        """Most questions within an interval."""
        times = [time for time, _ in self.asked]
        return max(sum(start <= time < start + INTERVAL for time in times) for start in times)


class EndError(Exception):
    """The scenario is over: whoever holds a key goes home."""


def running(scenario: Callable[[Folder], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            await scenario(Folder(tasks))
            raise EndError

    try:
        asyncio.run(main())
    except* EndError:
        pass


@pytest.mark.parametrize("repeats", [1, 5])
def test_a_name_that_is_asked_about_again_comes_before_those_made_up(repeats: int) -> None:
    async def scenario(folder: Folder) -> None:
        for number in range(3000):
            folder.now += 0.01
            await folder.ask(f"made-up-{number // repeats}")
            if number % 100 == 50:
                await folder.ask("mine")
            if folder.it.keys.keys:
                break
        assert [key.kid for key in folder.it.keys.keys] == ["mine"]
        assert folder.now < 1000 + 3 * INTERVAL
        for number in range(1000):
            folder.now += 0.01
            await folder.ask(f"more-{number // repeats}")
        assert folder.most() <= MAX_MISSES + 1  # the key that is there is no miss

    running(scenario)


def test_what_is_remembered_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay.keyring.remote_folder, "MAX_PATIENT", 50)

    async def scenario(folder: Folder) -> None:
        for number in range(MAX_MISSES):
            await folder.ask(f"first-{number}")
        for number in range(200):
            await folder.ask(f"made-up-{number // 2}")
        assert len(folder.it._patient) == 50 < MAX_PATIENT
        assert len(folder.asked) == MAX_MISSES
        folder.now += PATIENCE
        await folder.ask("mine")
        assert [kid for _, kid in folder.asked[MAX_MISSES:]] == ["mine"]
        assert len(folder.it._patient) == 0

    running(scenario)


def test_who_asks_while_a_key_is_being_asked_for_is_answered_with_the_others() -> None:
    async def scenario(folder: Folder) -> None:
        for kid, is_there in (("nobody", False), ("mine", True)):
            folder.answers.clear()
            first = folder.it.ask(kid)
            await asyncio.sleep(0)
            assert folder.asked[-1][1] == kid
            second = folder.it.ask(kid)
            assert first is not None
            assert second is not None
            assert not first()
            assert not second()
            folder.answers.set()
            await folder.ask("another")
            assert first()
            assert bool(folder.it.keys.keys) == is_there
            assert second() or is_there  # then nobody waits for it

    running(scenario)
