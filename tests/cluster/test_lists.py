from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from relay.cluster.lists import LONGEST, LOOK, MAX_LIST, SHORTEST, Answer, Lists, file_of, read
from relay.cluster.roster import MAX_RELAYS
from relay.errors import ConfigError, RelayError


def test_a_list_is_read() -> None:
    assert set(read(b'["https://a/?cost=2", "b:1", "https://a/?cost=2"]')) == {
        "https://a/",
        "https://b:1/",
    }
    assert read(b"[]") == {}
    (priced,) = read(b'[{"url": "https://a/", "cost": 2, "token": "T"}]').values()
    assert (priced.cost, priced.url) == (2, "https://a/?jwt=T")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"\xff",
        b'["https://a/", 5]',
        b'["ftp://a/"]',
        b'["https://a/?cost=' + b"9" * 5000 + b'"]',
        rb'["https://\ud800/"]',
        b'[{"url": "https://[a"}]',
        rb'[{"url": "https://a/", "token": "\ud800"}]',
        b'["https://a/?cost=1", "https://a/?cost=2"]',
        b"[" * 100_000,
        b" " * (MAX_LIST + 1),
        json.dumps([f"https://a{n}/" for n in range(MAX_RELAYS + 1)]).encode(),
    ],
)
def test_a_list_that_makes_no_sense(body: bytes) -> None:
    with pytest.raises(ConfigError):
        read(body)


def test_where_a_list_is() -> None:
    assert file_of("relays.json") == Path("relays.json")
    assert file_of("file:///etc/relays.json") == Path("/etc/relays.json")
    assert file_of("https://a/relays") is None


class Heard:
    def __init__(self) -> None:
        self.lists: list[list[str]] = []
        self.said: list[str] = []

    def changed(self, addresses: dict[str, Any]) -> None:
        self.lists.append(sorted(addresses))

    def log(self, event: str, **facts: Any) -> None:
        self.said.append(event)


def test_a_file_is_followed_and_the_last_good_list_holds(tmp_path: Path) -> None:
    file, heard = tmp_path / "relays.json", Heard()
    lists = Lists(file, heard.changed, heard.log)

    def look(text: str | None) -> None:
        file.unlink(missing_ok=True)
        if text is not None:
            file.write_text(text)
        assert asyncio.run(lists.look()) == LOOK

    look(None)
    assert (heard.lists, heard.said) == ([], ["relay list not usable"])
    look('["https://a/"]')
    look('["https://a/"]')
    assert heard.lists == [["https://a/"]]
    look("nonsense")
    look(" " * (MAX_LIST * 2))
    look('["https://a/"]')
    assert heard.said == ["relay list not usable", "relay list usable again"] * 2
    look("[]")
    assert heard.lists == [["https://a/"], []]


def test_a_server_is_asked_as_often_as_it_says_within_limits() -> None:
    answers: list[Answer | RelayError] = [
        Answer(b'["https://a/"]', 0.0),
        Answer(None, 5.0),
        RelayError("status 500"),
        Answer(b"[", 3600.0),
        Answer(b'["https://b/"]', 3600.0),
    ]
    heard = Heard()

    async def ask() -> Answer:
        answer = answers.pop(0)
        if isinstance(answer, RelayError):
            raise answer
        return answer

    async def main() -> None:
        lists = Lists(ask, heard.changed, heard.log)
        waits = [await lists.look() for _ in range(5)]
        assert waits == [SHORTEST, 5.0, SHORTEST, LONGEST, LONGEST]

    asyncio.run(main())
    assert heard.lists == [["https://a/"], ["https://b/"]]
    assert heard.said == ["relay list not usable", "relay list usable again"]


def test_a_list_that_makes_no_sense_is_not_usable_for_being_the_same_still() -> None:
    answers = [
        Answer(b'["https://a/"]', 1.0),
        Answer(b"[", 1.0),
        Answer(None, 1.0),  # 304
        Answer(b'["https://a/"]', 1.0),
        Answer(None, 1.0),
    ]
    heard = Heard()

    async def ask() -> Answer:
        return answers.pop(0)

    async def main() -> list[int]:
        lists = Lists(ask, heard.changed, heard.log)
        said = []
        while answers:
            await lists.look()
            said.append(len(heard.said))
        return said

    assert asyncio.run(main()) == [0, 1, 1, 2, 2]
    assert heard.lists == [["https://a/"]]
    assert heard.said == ["relay list not usable", "relay list usable again"]
