"""Fixtures of the interop tests: one relay and one browser for the whole run, clients by name.

A missing foreign program skips the tests that need it, except in CI, where nothing may be missing.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from absent import missing

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from rig import chromium, firefox, house  # noqa: E402
from rig.chromium import Browser, PageClient  # noqa: E402
from rig.client import Client  # noqa: E402
from rig.command import CommandClient  # noqa: E402
from rig.house import Relay  # noqa: E402

LAST_CALLS = 0.2
"""Seconds for the Rust stack's threads to call back before the loop is closed."""

_logs: list[Path] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failing test shows what the relay and the browser had to say."""
    report = yield
    if report.failed and HERE in item.path.parents:
        report.sections += [(f"end of {log}", house.tail(log)) for log in _logs]
    return report


@pytest.fixture(scope="session")
def loop() -> Iterator[asyncio.Runner]:
    """One event loop for the whole run: the Rust stack's threads may still call into it when the
    test that made them do so is over.
    """
    with asyncio.Runner() as runner:
        yield runner
        runner.run(asyncio.sleep(LAST_CALLS))


@pytest.fixture
def run(loop: asyncio.Runner) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """``run(scenario())`` is ``asyncio.run`` on the loop of all tests."""
    return loop.run


@pytest.fixture(scope="session")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """A running relay with ``anon`` public and everything else behind tokens of its key."""
    folder = tmp_path_factory.mktemp("relay")
    _logs.append(folder / "relay.log")
    with house.running(folder) as started:
        yield started


@pytest.fixture(scope="session")
def start_relay(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., AbstractContextManager[Relay]]:
    """Start another relay, of our own make: ``start_relay(versions=[...])``."""
    if house.foreign():
        pytest.skip("the Rust stack's server cannot be told which versions to speak")

    def start(versions: Sequence[str]) -> AbstractContextManager[Relay]:
        folder = tmp_path_factory.mktemp("relay")
        _logs.append(folder / "relay.log")
        return house.running(folder, versions)

    return start


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium; every session gets a page of its own."""
    with _chromium(tmp_path_factory, "browser.mjs") as started:
        yield started


@pytest.fixture(scope="session")
def fox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Firefox, likewise."""
    if firefox.executable() is None:
        missing("firefox")
    profile = tmp_path_factory.mktemp("profile")
    with _browser(tmp_path_factory, sys.executable, firefox.__file__, str(profile)) as started:
        yield started


@pytest.fixture(scope="session")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Another one, for looking at the dashboard."""
    with _chromium(tmp_path_factory, "dashboard.mjs") as started:
        yield started


@contextmanager
def _chromium(factory: pytest.TempPathFactory, program: str) -> Iterator[Browser]:
    if not Path(os.environ.get("CHROMIUM", "/usr/bin/chromium")).exists():
        missing("chromium")
    with _browser(factory, "node", str(chromium.NODE / program)) as started:
        yield started


@contextmanager
def _browser(factory: pytest.TempPathFactory, *command: str) -> Iterator[Browser]:
    if shutil.which("node") is None:
        missing("node")
    if not (chromium.NODE / "node_modules").is_dir():
        missing(f"{chromium.NODE.name}/node_modules (npm ci --ignore-scripts)")
    log = factory.mktemp("browser") / "browser.log"
    _logs.append(log)
    started = Browser(log, *command)
    try:
        started.wait_ready()
        yield started
    finally:
        started.close()


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Callable[[str], Client]:
    """Clients by the name that the test report shows."""

    def named(name: str) -> Client:
        if name.startswith("chromium"):
            return PageClient(name, request.getfixturevalue("browser"))
        if name == "firefox":
            return PageClient(name, request.getfixturevalue("fox"))
        if name == "relay-cli":
            return CommandClient()
        try:
            from rig.rust import RustClient
        except ImportError:
            missing("moq-rs (pip install moq-rs)")
        schemes = {"raw": "moqt", "ws": "ws", "tcp": "tcp", "unix": "unix"}
        return RustClient(name, schemes.get(name.removeprefix("moq-rs-"), "https"))

    return named


@pytest.fixture(scope="module")
def moq_token() -> Iterator[subprocess.Popen[str]]:
    """npm's ``@moq/token``, which answers a line of JSON with another."""
    node = chromium.NODE
    if shutil.which("node") is None or not (node / "node_modules" / "@moq" / "token").is_dir():
        missing("node or @moq/token (make test installs the package)")
    with subprocess.Popen(
        ["node", "token.mjs"], cwd=node, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(10)
