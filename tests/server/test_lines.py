"""Lines for a stream that takes none for a while: nobody waits, none is lost before many are."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

import pytest

from relay.server import lines
from relay.server.lines import MAX_WAITING, Lines


@pytest.fixture(params=[os.pipe, pty.openpty])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[int, TextIO]]:
    """Where lines come out, and the stream they go into: a pipe, or a terminal."""
    reading, writing = request.param()
    with open(writing, "w", encoding="utf-8") as stream:
        yield reading, stream
        os.close(reading)


def at_once(work: Callable[[], None]) -> None:
    """Do it; a failure where it does not go on."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(5)
    assert not thread.is_alive()


def read(number: int, last: str) -> list[str]:
    """All lines up to the last one."""
    found = b""
    while not found.endswith((f"{last}\n".encode(), f"{last}\r\n".encode())):
        found += os.read(number, 1 << 16)
    return found.replace(b"\r\n", b"\n").decode().splitlines()


def test_who_writes_goes_on_and_nothing_is_lost(ends: tuple[int, TextIO]) -> None:
    reading, stream = ends
    said = [f"{number} ä{'.' * 900}" for number in range(200)] + ["long" * 20_000, "end"]
    with Lines(stream) as writer:
        at_once(lambda: [writer.write(f"{line}\n") for line in said] and None)
        assert read(reading, "end") == said


def test_what_is_too_much_is_counted(ends: tuple[int, TextIO]) -> None:
    reading, stream = ends
    said = ["." * 1000 for _ in range(2 * MAX_WAITING // 1000)]
    writer = Lines(stream, lambda lost: writer.write(f"lost {lost}\n"))
    with writer:
        at_once(lambda: [writer.write(f"{line}\n") for line in said] and None)
        found = [os.read(reading, 1 << 16)]
        while b"\n" not in b"".join(found[-3:]).partition(b"lost")[2]:
            found.append(os.read(reading, 1 << 16))
    *kept, word, lost = b"".join(found).decode().split()
    assert word == "lost"
    assert kept == said[: len(kept)]
    assert len(kept) >= MAX_WAITING // 1001
    assert len(kept) + int(lost) == len(said)


def test_the_end_waits_but_not_for_ever(
    ends: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "PATIENCE", 0.1)
    reading, stream = ends
    began = time.monotonic()
    with Lines(stream) as writer:
        at_once(lambda: [writer.write(f"{'.' * 1000}\n") for _ in range(200)] and None)
    assert 0.1 <= time.monotonic() - began < 3
    at_once(lambda: os.set_blocking(reading, False))
    with contextlib.suppress(BlockingIOError):
        while os.read(reading, 1 << 16):
            time.sleep(0.001)


@pytest.mark.parametrize(
    ("owner", "name", "order"),
    [(lines, "_is_ready", ["inner", "outer"]), (threading, "Thread", ["outer", "inner"])],
)
def test_within_a_line_another_may_be_written(
    ends: tuple[int, TextIO],
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    order: list[str],
) -> None:
    """As when the collector finds something to tell of meanwhile."""
    reading, stream = ends
    real, more = getattr(owner, name), ["inner\n"]

    def met(*known: Any, **named: Any) -> Any:
        if more:
            writer.write(more.pop())
        return real(*known, **named)

    with Lines(stream) as writer:
        writer._at_once = lines.AT_ONCE if owner is lines else 0
        outer = threading.Thread(target=writer.write, args=("outer\n",), daemon=True)
        monkeypatch.setattr(owner, name, met)
        outer.start()
        outer.join(5)
        assert not outer.is_alive()
        assert read(reading, order[-1]) == order


def test_without_a_thread_lines_wait_for_one(
    ends: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    reading, stream = ends
    with Lines(stream) as writer:
        writer._at_once = 0
        with monkeypatch.context() as without:
            without.setattr(threading.Thread, "start", refuse)
            writer.write("first\n")
        writer.write("second\n")
        assert read(reading, "second") == ["first", "second"]


AMIDST = """
import fcntl, sys
fcntl.lockf(sys.stdout, fcntl.LOCK_EX)
print("begun,", end="", flush=True)
sys.stdin.read()
print(" ended", flush=True)
"""


@pytest.mark.parametrize("ends", [os.pipe], indirect=True)
def test_a_line_of_another_process_is_let_end_first(ends: tuple[int, TextIO]) -> None:
    """Workers have one standard error, and what a stranger says may be longer than it takes."""
    reading, stream = ends
    command = [sys.executable, "-c", AMIDST]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stream) as other:
        assert os.read(reading, 100) == b"begun,"
        with Lines(stream) as writer:
            at_once(lambda: writer.write("short\n"))
            at_once(lambda: writer.write("long" * lines.AT_ONCE + "\n"))
            os.set_blocking(reading, False)
            with pytest.raises(BlockingIOError):
                os.read(reading, 100)
            os.set_blocking(reading, True)
            other.communicate()
            assert read(reading, "long") == [" ended", "short", "long" * lines.AT_ONCE]
