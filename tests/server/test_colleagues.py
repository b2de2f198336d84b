"""Questions between workers: answered, refused, or left out when nobody is there."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from relay.errors import BadRequest, Forbidden, OverQuota, RelayError, Unavailable, Unroutable
from relay.net.steer import Share
from relay.server import colleagues
from relay.server.colleagues import Colleagues


async def twice(number: int) -> int:
    return 2 * number


async def refuse(*arguments: Any) -> None:
    raise Unroutable(f"not {arguments[0]}")


async def unsayable() -> object:
    return object()


@contextlib.asynccontextmanager
async def three(folder: Path, heard: list[str]) -> AsyncIterator[list[Colleagues]]:
    """Workers 0 to 2; nobody runs worker 1."""

    def log(event: str, **facts: Any) -> None:
        heard.append(str(facts.get("detail")))

    workers = [Colleagues(Share(index, 3), folder, log) for index in range(3)]
    answers = {"twice": twice, "refuse": refuse, "unsayable": unsayable}
    servers = [await workers[index].listen(answers) for index in (0, 2)]
    try:
        yield workers
    finally:
        for server in servers:
            server.close()


def test_answered_by_those_who_are_there(tmp_path: Path) -> None:
    async def main() -> None:
        heard: list[str] = []
        async with three(tmp_path, heard) as workers:
            assert workers[0].others == [1, 2]
            assert await workers[0].ask(2, "twice", 21) == 42
            assert await workers[0].ask_all("twice", 4) == [8]
            assert [line.partition(":")[0] for line in heard] == ["worker 1 did not answer"]
            assert await workers[1].ask_all("twice", 1) == [2, 2]

    asyncio.run(main())


def test_a_refusal_keeps_its_kind_and_words(tmp_path: Path) -> None:
    async def main() -> None:
        async with three(tmp_path, []) as workers:
            with pytest.raises(Unroutable, match="not this"):
                await workers[0].ask(2, "refuse", "this")
            with pytest.raises(Unroutable):
                await workers[0].ask_all("refuse", "this")
            with pytest.raises(BadRequest, match="no such question"):
                await workers[0].ask(2, "rubbish")
            with pytest.raises(Unavailable):
                await workers[0].ask(1, "twice", 1)

    asyncio.run(main())


def test_a_question_that_makes_no_sense_costs_itself_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with three(tmp_path, []) as workers:
            for said in (b"", b"\0\0\0\2{]", b"\0\0\0\17", b"\xff\xff\xff\xff", b"\0\0\0\x09x"):
                reader, writer = await asyncio.open_unix_connection(str(tmp_path / "ask-2"))
                writer.write(said)
                writer.write_eof()
                assert await reader.read() == b""
                writer.close()
            for arguments in (("twice",), ("unsayable",)):
                with pytest.raises(Unavailable):
                    await workers[0].ask(2, *arguments)
            monkeypatch.setattr(colleagues, "MAX_TEXT", 100)
            with pytest.raises(Unavailable, match="100 bytes"):
                await workers[0].ask(2, "twice", "x" * 100)
            assert await workers[0].ask(2, "twice", 1) == 2

    asyncio.run(main())


@pytest.mark.parametrize("mistake", [ValueError("no"), TypeError("no"), KeyError("no")])
def test_a_mistake_of_ours_is_told_where_it_was_made(tmp_path: Path, mistake: Exception) -> None:
    said: list[tuple[str, Any]] = []

    def log(event: str, **facts: Any) -> None:
        said.append((event, facts))

    async def fail() -> None:
        raise mistake

    async def main() -> None:
        server = await Colleagues(Share(1, 2), tmp_path, log).listen({"fail": fail})
        asking = Colleagues(Share(0, 2), tmp_path)
        with pytest.raises(Unavailable, match="internal error"):
            await asking.ask(1, "fail")
        assert (await asking.ask_all("fail")).silent == [1]
        server.close()

    asyncio.run(main())
    assert said == [("internal error", {"error": f"fail: {mistake!r}"})] * 2


def test_alone_there_is_nobody_to_ask() -> None:
    assert asyncio.run(Colleagues().ask_all("twice", 1)) == []


@pytest.mark.parametrize("name", ["annotations", "NoSuchError", "RelayError"])
def test_an_unknown_kind_of_error_is_an_error_all_the_same(name: str) -> None:
    error = colleagues._error(name, "text")
    assert type(error) is RelayError
    assert str(error) == "text"


def test_a_refusal_keeps_its_id_and_when_to_come_again(tmp_path: Path) -> None:
    async def known(*_: Any) -> None:
        raise Forbidden("not yours").known_as("abc123")

    async def over(*_: Any) -> None:
        raise OverQuota("over", 2.5)

    async def main() -> None:
        worker = Colleagues(Share(1, 2), tmp_path, lambda event, **facts: None)
        server = await worker.listen({"known": known, "over": over})
        asking = Colleagues(Share(0, 2), tmp_path, lambda event, **facts: None)
        with pytest.raises(Forbidden, match="not yours") as refused:
            await asking.ask(1, "known")
        assert refused.value.denial_id == "abc123"
        with pytest.raises(OverQuota, match="over") as later:
            await asking.ask(1, "over")
        assert later.value.headers == {"retry-after": "3"}
        server.close()

    asyncio.run(main())
