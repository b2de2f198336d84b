"""Lines in and lines out: what publish reads and what subscribe writes."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import threading
from contextlib import suppress
from unittest.mock import AsyncMock, MagicMock

import pytest

from relay.cli import publish, subscribe
from relay.cli.publish import read_lines
from relay.cli.subscribe import announcement_line, frame_line
from relay.errors import Forbidden, LimitExceeded, SessionLost
from relay.peer.reading import ReadFrame


def through_a_pipe(data):
    """What is read when ``data`` comes through a pipe, bit by bit."""

    async def run():
        reading, writing = os.pipe()

        def write():
            # a reader that has seen enough closes its end
            with suppress(BrokenPipeError), open(writing, "wb", buffering=0) as pipe:
                for start in range(0, len(data), 7):
                    pipe.write(data[start : start + 7])

        thread = threading.Thread(target=write)
        thread.start()
        try:
            with os.fdopen(reading, "rb", 0) as stream:
                return [line async for line in read_lines(stream)]
        finally:
            thread.join()

    return asyncio.run(run())


def from_a_file(path):
    async def run():
        with path.open("rb") as stream:
            return [line async for line in read_lines(stream)]

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"one\ntwo\n", [b"one", b"two"]),
        (b"one\n\nthree", [b"one", b"", b"three"]),
        (b"\x00\xff\r\nx", [b"\x00\xff\r", b"x"]),
    ],
)
def test_a_line_is_its_bytes_without_the_line_end(tmp_path, data, expected):
    (tmp_path / "in").write_bytes(data)
    assert from_a_file(tmp_path / "in") == expected
    assert through_a_pipe(data) == expected


def test_a_line_may_be_as_long_as_the_limit_and_no_longer(tmp_path, monkeypatch):
    monkeypatch.setattr(publish, "MAX_LINE", 100)
    (tmp_path / "in").write_bytes(b"x" * 100 + b"\ny\n")
    assert [len(line) for line in from_a_file(tmp_path / "in")] == [100, 1]
    assert [len(line) for line in through_a_pipe(b"x" * 100 + b"\ny\n")] == [100, 1]
    (tmp_path / "in").write_bytes(b"x" * 101 + b"\ny\n")
    with pytest.raises(LimitExceeded):
        from_a_file(tmp_path / "in")
    with pytest.raises(LimitExceeded):
        through_a_pipe(b"x" * 400 + b"\n")


FRAME = ReadFrame(group=3, number=1, timestamp=5, timescale=1000, payload=b"\xffhi")


def test_a_frame_is_a_line_or_raw_or_an_object():
    assert frame_line(FRAME, "text") == b"\xffhi\n"
    assert frame_line(FRAME, "raw") == b"\xffhi"
    line = frame_line(FRAME, "json")
    assert line.endswith(b"}\n")
    assert json.loads(line) == {
        "group": 3,
        "index": 1,
        "timestamp": 5,
        "timescale": 1000,
        "payload": "/2hp",
    }


def test_an_announcement_is_a_sign_and_a_path():
    assert announcement_line(True, "a/b", "text") == b"+ a/b\n"
    assert announcement_line(False, "a/b", "text") == b"- a/b\n"
    assert announcement_line(True, "a\n- b\x1b[2J", "text") == b"+ a%0A- b%1B[2J\n"
    assert json.loads(announcement_line(False, "a", "json")) == {"path": "a", "active": False}


def test_a_device_that_never_makes_anybody_wait_is_read_like_a_file():
    assert from_a_file(pathlib.Path(os.devnull)) == []


class Relay:
    """A session whose relay asks for announcements after so many looks, or never."""

    def __init__(self, after):
        self.looks = 0
        self.after = after

    def hears(self, path):
        assert path == "cam"
        self.looks += 1
        return self.after is not None and self.looks > self.after


def test_a_relay_that_takes_nothing_from_us_is_a_failure(monkeypatch):
    monkeypatch.setattr(publish, "LOOK", 0.0)
    asyncio.run(publish._heard(Relay(publish.HEARING - 1), "cam"))
    with pytest.raises(Forbidden, match="not for publishing"):
        asyncio.run(publish._heard(Relay(None), "cam"))


def test_whoever_waits_long_for_a_broadcast_is_told_so(monkeypatch, capsys):
    class Session:
        calls = 0

        async def find(self, path):
            self.calls += 1
            await asyncio.sleep(10 if self.calls == 1 else 0)
            return "found"

    monkeypatch.setattr(subscribe, "SILENCE", 0.0)
    assert asyncio.run(subscribe._found(Session(), "clock")) == "found"
    assert capsys.readouterr().err.startswith("relay: waiting for 'clock'")


@pytest.mark.parametrize("looks", [3, None])
def test_what_does_not_arrive_is_a_failure(tmp_path, monkeypatch, looks):
    session = MagicMock(room=AsyncMock())
    session.idle.side_effect = lambda: looks is not None and session.idle.call_count > looks
    for name, value in {"LOOK": 0.01, "PATIENCE": 10, "FAREWELL": 0.0}.items():
        monkeypatch.setattr(publish, name, value)
    (tmp_path / "lines").write_bytes(b"one\ntwo\n")
    with (tmp_path / "lines").open("rb") as lines:
        work = publish._pump(session, "cam", "v", lines, True)
        if looks is not None:
            asyncio.run(work)
        else:
            with pytest.raises(SessionLost, match=r"^the rest did not arrive in 0\.1 s$"):
                asyncio.run(work)
    track = session.create_broadcast.return_value.create_track.return_value
    assert [call.args[0] for call in track.write_frame.call_args_list] == [b"one", b"two"]
    assert session.room.await_count == 2
