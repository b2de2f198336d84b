"""What tests of several rooms need: an order to run side by side, and a real PostgreSQL."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE))  # `ports`, `pace` and the like, for every room

WAITING = ("lab", "interop", "sinks", "e2e", "cluster")
"""Rooms whose tests mostly wait for other programs: begun first, or the run would end with one."""

TOGETHER = ("lab",)
"""Rooms that stay with one worker: they measure time, and clear away what the dead left behind."""

_numbers = itertools.count()

# Beside others an example may wait for its turn longer than it works.
settings.register_profile("side by side", settings.default, deadline=None)
settings.load_profile("side by side")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Rooms that wait come first, in that order; within a room nothing changes."""

    def turn(item: pytest.Item) -> int:
        room = item.path.relative_to(HERE).parts[0]
        return WAITING.index(room) if room in WAITING else len(WAITING)

    items.sort(key=turn)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With workers (``make test``) the tests of a file, or of such a room, share one of them."""
    from xdist.scheduler import LoadFileScheduling

    class Rooms(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            room = file.removeprefix(f"{HERE.name}/").split("/")[0]
            return room if room in TOGETHER else file

    return Rooms(config, log)


def as_nobody() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: whom to be instead."""
    if os.geteuid() != 0:
        return {}
    return {"user": "nobody", "group": "nogroup", "extra_groups": []}


def programs() -> Path | None:
    """Where Debian, or anybody, has put PostgreSQL."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    anywhere = shutil.which("initdb")
    return found[-1].parent if found else Path(anywhere).parent if anywhere else None


@pytest.fixture(scope="session")
def postgres() -> Iterator[Callable[[], str]]:
    """A server on a socket of its own; calling it makes a fresh database and answers its URL."""
    from absent import missing

    where = programs()
    if where is None:
        missing("PostgreSQL (Debian: postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="relay-pg-", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody", "nogroup")
    calm: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL, **as_nobody()}
    data = folder / "data"
    subprocess.run(
        [where / "initdb", "-D", data, "-A", "trust", "-U", "relay", "--no-sync", "--locale=C"],
        check=True,
        timeout=60,
        **calm,
    )
    with (folder / "log").open("wb") as log:
        # -F: nothing of it outlives the tests, and thousands of files take a minute to be synced.
        server = subprocess.Popen(
            [where / "postgres", "-F", "-D", data, "-k", folder, "-c", "listen_addresses="],
            **calm | {"stdout": log, "stderr": log},
        )
    try:
        wait_for([where / "pg_isready", "-q", "-h", folder, "-U", "relay"], calm, folder / "log")
        named = ["-h", str(folder), "-U", "relay"]

        def fresh() -> str:
            name = f"relay{next(_numbers)}"
            subprocess.run([where / "createdb", *named, name], check=True, timeout=30, **calm)
            return f"postgresql://relay@/{name}?host={folder}"

        yield fresh
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
        shutil.rmtree(folder)


def wait_for(command: list[Any], calm: dict[str, Any], log: Path) -> None:
    """Until a command succeeds."""
    until = time.monotonic() + 30
    while subprocess.run(command, check=False, timeout=10, **calm).returncode:
        if time.monotonic() > until:
            pytest.fail(f"PostgreSQL did not start: {log.read_text()[-2000:]}")
        time.sleep(0.05)
