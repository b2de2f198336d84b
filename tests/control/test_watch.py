"""Reading over HTTP: what an event is called, and what somebody gets who names the last one."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from relay.control.problems import Denied
from relay.control.watch import MAX_LINES, Seen, data_lines, watch_routes
from relay.errors import NotFound, RelayError, Unroutable


class Cardboard:
    """A lookout and the one track that is read from it."""

    publisher, edition = 0xAB, 0xC
    resume = 0

    def __init__(self, fault: RelayError | None = None) -> None:
        self.seen: Seen | None = None
        self.left = 0
        self.fault = fault

    def place(self, path: str, track: str | None) -> tuple[str, Any]:
        return path.strip("/"), None

    async def admit(self, asked: Any, publishes: bool) -> Any:
        return None

    async def watch(self, grant: Any, address: Any, seen: Seen | None) -> Cardboard:
        self.seen = seen
        if self.fault is not None:
            raise self.fault
        return self

    async def frames(self) -> AsyncIterator[Any]:
        for group, self.resume in ((3, 1), (1, 2), (2, 4), (4, 5)):
            yield group, 0, b"x"

    def leave(self) -> None:
        self.left += 1


def ask(lookout: Cardboard, last: str = "") -> httpx.Response:
    async def run() -> httpx.Response:
        app = Starlette(routes=watch_routes(lookout, lambda answer: answer))
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://relay") as client:
            return await client.get("/watch/a/x", headers={"last-event-id": last})

    return asyncio.run(run())


def test_an_id_says_where_to_go_on_while_earlier_groups_may_come() -> None:
    lookout = Cardboard()
    text = ask(lookout).text
    ids = [line.removeprefix("id: ") for line in text.splitlines() if line.startswith("id: ")]
    assert ids == ["3:0:ab.c/1", "1:0:ab.c", "2:0:ab.c", "4:0:ab.c"]
    resumes = []
    for each in ids:
        ask(lookout, each)
        assert lookout.seen is not None
        assert lookout.seen[1:] == (0xAB, 0xC)
        resumes.append(lookout.seen.resume)
    assert resumes == [1, 2, 3, 5]
    assert lookout.left == 5


@pytest.mark.parametrize(
    ("last", "seen"),
    [
        ("", None),
        ("7:0", Seen(8, 0)),
        ("7:12:ff", Seen(8, 255)),
        ("7:12:ff.1a", Seen(8, 255, 26)),
        ("7:0/3", Seen(3, 0)),
        ("7:0:ff/0", Seen(0, 255)),
        ("7:0:0.9/0", Seen(0, 0, 9)),
    ],
)
def test_what_was_seen_last(last: str, seen: Seen | None) -> None:
    lookout = Cardboard()
    assert ask(lookout, last).status_code == 200
    assert lookout.seen == seen


@pytest.mark.parametrize(
    "last", ["x", "7", "7:0:ff:0", "7:0:ff.", "7:0/", "7:0/-1", "/3", "7:0/1/2"]
)
def test_what_is_no_id_is_malformed(last: str) -> None:
    lookout = Cardboard()
    assert ask(lookout, last).status_code == 400
    assert lookout.left == 0


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Unroutable("a"), "not there"),
        (NotFound("x"), "not there"),
        (Denied(503, "17"), "not now, id 17"),
        (Denied(401, "17"), None),
        (Denied(403, "17"), None),
    ],
)
def test_who_comes_back_too_early_is_asked_to_come_again(fault: RelayError, told: str) -> None:
    """An `EventSource` does after the end of a stream, and after nothing else."""
    assert ask(Cardboard(fault)).status_code == fault.status  # nobody who was here before
    answer = ask(Cardboard(fault), "7:0")
    if told is None:
        assert answer.status_code == fault.status
    else:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        assert answer.text == f"event: end\ndata: {told}\n\n"


def test_a_frame_of_line_ends_does_not_grow() -> None:
    most = b"\n" * (MAX_LINES - 1)
    assert data_lines(most) == b"data: \n" * MAX_LINES + b"\n"
    for payload in (most + b"\n", b"\n" * (1 << 20)):
        assert data_lines(payload) == b"data: base64:" + base64.b64encode(payload) + b"\n\n"
