"""What is never written to the log, and what always is."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from relay.config import load
from relay.server.lines import Lines
from relay.server.log import HIDDEN, MAX_TEXT, hide_credentials, write_log

JWT = f"eyJhbGciOiJIUzI1NiJ9.eyJyb290IjoiZGVtbyJ9.{'s' * 43}"
API_TOKEN = f"mq_{'a' * 12}_{'B' * 43}"
API_KEY = "KeT3PYoTnUCeyHUobMF7wkgD.EDJ95kRSIhT"


def written(value: Any) -> Any:
    return hide_credentials(None, "info", {"event": "refused", "path": value})["path"]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (f"/demo&jwt={JWT}", "/demo&jwt=(credential)"),
        (f"/demo/{JWT}/video", "/demo/(credential)/video"),
        (f"/{API_TOKEN}", "/(credential)"),
        (f"/demo&ticket={'t' * 43}&x=1", "/demo&ticket=(credential)&x=1"),
        (f"/demo&jwt={API_KEY}", "/demo&jwt=(credential)"),
        (f"/demo&JWT%3D{API_KEY}", "/demo&JWT%3D(credential)"),
        (f"the server says: no, {JWT} is stale", "the server says: no, (credential) is stale"),
        (f"room.{JWT}", "room.(credential)"),
        (f"jwt_{JWT[:-43]}", "(credential)"),
        (["a", (f"?token={API_TOKEN}",)], ["a", ["?token=(credential)"]]),
        ({"why": JWT}, {"why": "(credential)"}),
    ],
)
def test_a_credential_is_not_written_wherever_it_stands(said: Any, kept: Any) -> None:
    assert written(said) == kept


@pytest.mark.parametrize(
    "said",
    [
        "/demo/room.one/eyJoe.mp4",
        "mq_abcdefABCDEF",
        "connect with a token as ?jwt=…, or set auth.public",
        "cost=3",
        "ab" * 32,
        7,
        None,
        ["a/**"],
    ],
)
def test_what_is_no_credential_stays(said: Any) -> None:
    assert written(said) == said


def test_long_texts_do_not_take_long() -> None:
    began = time.process_time()  # its own, whatever else the machine has to do
    for piece in ("eyJ", "eyJ.", "-eyJ", "jwt=", "mq_"):
        written(piece * 30_000)
    assert time.process_time() - began < 2


def begin(form: str = "json") -> None:
    flags = {"server.tls.generate": ["localhost"], "auth.public": ["anon"], "log.format": form}
    write_log(load(None, flags, {}).settings)


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    handlers = list(logging.getLogger().handlers)
    yield
    logging.getLogger().handlers[:] = handlers
    structlog.reset_defaults()


def test_nor_does_one_leave_with_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    begin()
    try:
        raise ValueError(f"/demo&jwt={JWT}")
    except ValueError:
        structlog.get_logger().exception("internal error", path=f"/{API_TOKEN}")
    line = capsys.readouterr().err
    assert "Traceback" in line
    assert JWT not in line
    assert API_TOKEN not in line


def test_what_a_stranger_said_does_nothing_to_a_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    begin("text")
    rude = "/a\x1b]0;b\x07\x9b2J\u2028c\rd\ne"
    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        structlog.get_logger().exception("refused", path=rude, offered=[rude], why={"x": rude})
    first, *traceback = capsys.readouterr().err.split("\n")
    assert "path=/a%1B]0;b%07%C2%9B2J%E2%80%A8c%0Dd%0Ae " in first
    assert traceback[-2:] == ["ValueError: %1B[2J", ""]
    assert all(line.isprintable() for line in (first, *traceback))


@pytest.mark.parametrize(
    ("term", "no_color", "coloured"),
    [("xterm", "", True), ("dumb", "", False), ("unknown", "", False), ("xterm", "1", False)],
)
def test_a_terminal_gets_colours_where_they_are_wanted(
    monkeypatch: pytest.MonkeyPatch, term: str, no_color: str, coloured: bool
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("NO_COLOR", no_color)
    begin("text")
    structlog.get_logger().warning("draining")
    assert "draining" in terminal.getvalue()
    assert ("\x1b[" in terminal.getvalue()) == coloured


@pytest.mark.parametrize("form", ["json", "text"])
def test_what_a_stranger_said_is_written_as_far_as_somebody_reads(
    capsys: pytest.CaptureFixture[str], form: str
) -> None:
    begin(form)
    name = "/" + "\x00" * 65_535
    structlog.get_logger().warning("refused", path=name, why={"x": [name]}, also=f"{name}{JWT}")
    assert len(capsys.readouterr().err) < 3 * 6 * MAX_TEXT + 1000
    structlog.get_logger().warning("refused", path="/a" * (MAX_TEXT // 2 - 10) + f"/{JWT}/b")
    line = capsys.readouterr().err
    assert HIDDEN in line  # what is cut off does not keep the rest from being known


def test_a_terminal_that_was_closed_fails_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, line: str) -> int:
            raise OSError(errno.EIO, "Input/output error")

        def flush(self) -> None:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("sys.stderr", Closed())
    begin()
    structlog.get_logger().warning("draining")


def test_nobody_waits_for_whoever_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with open(writing, "w", encoding="utf-8") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        begin()

        def write() -> None:
            for _ in range(200):  # a pipe takes 64 KiB
                structlog.get_logger().warning("refused", why="." * 1000)

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        writer.join(5)
        assert not writer.is_alive()
        found = b""
        while found.count(b"\n") < 200:
            found += os.read(reading, 1 << 16)
    os.close(reading)


def test_what_libraries_say_has_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    begin()
    try:
        raise ValueError(f"no room for {JWT}")
    except ValueError:
        logging.getLogger("asyncio").exception("Exception in callback %s\n", "call()")
    said = json.loads(capsys.readouterr().err)
    assert (said["level"], said["library"]) == ("error", "asyncio")
    assert said["event"] == "Exception in callback call()"
    assert "no room for (credential)" in said["exception"]


def test_what_the_collector_finds_within_a_line_is_written(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio tells so of a future that failed and that nobody asked."""
    found, real = ["found"], Lines.write

    def meanwhile(lines: Lines, line: str) -> None:
        if found:
            logging.getLogger("asyncio").error(found.pop())
        real(lines, line)

    def write() -> None:
        structlog.get_logger().warning("said")

    monkeypatch.setattr(Lines, "write", meanwhile)
    begin()
    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    writer.join(5)
    assert not writer.is_alive()
    said = [json.loads(line)["event"] for line in capfd.readouterr().err.splitlines()]
    assert said == ["found", "said"]
