"""A crew that cannot begin says so in one line; one that is told to stop early does."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from relay.config import Settings, load
from relay.errors import ConfigError
from relay.net import tls
from relay.server import crew as module
from relay.server.crew import Crew
from relay.server.folder import MAX_FOLDER
from relay.server.post import Orders
from relay.server.running import run

TOML = """
[server]
listen = "127.0.0.1:{port}"
workers = 2
[auth]
public = ""
"""


LIFE = """#!{python}
import errno, os
from pathlib import Path
from relay.server.forking import tend

def fork(real=os.fork):
    if Path({full!r}).exists():
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return real()

os.fork = fork
tend(lambda: lambda sockets: os.execv("/bin/sh", ["sh", "-c", {life!r}]))
"""
"""What forks workers that do as they are told, while nothing says that the system is full."""


@pytest.fixture
def lead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have all workers lead a life, a program of the shell's, instead of theirs."""

    def lead(life: str) -> None:
        program = tmp_path / "worker"
        full = str(tmp_path / "full")
        program.write_text(LIFE.format(python=sys.executable, full=full, life=life))
        program.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(program))

    return lead


class Log:
    """What a crew says."""

    def __init__(self) -> None:
        self.ready = asyncio.Queue[int]()
        self.errors: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **facts: Any) -> None:
        if event == "worker ready":
            self.ready.put_nowait(facts["worker"])

    def error(self, event: str, **facts: Any) -> None:
        self.errors.append((event, facts))

    def told(self, event: str) -> list[dict[str, Any]]:
        """What it said of such events."""
        return [facts for each, facts in self.errors if each == event]


@contextlib.asynccontextmanager
async def serving(folder: Path, log: Log) -> AsyncIterator[Crew]:
    """A crew that serves; it leaves in a hurry."""
    crew: Any = Crew(settings(folder))
    crew.log, hurry = log, asyncio.Event()
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        tasks.create_task(crew.serve(hurry, lambda crew: None))
        yield crew
        crew.draining.set()
        hurry.set()


def settings(folder: Path, more: str = "", port: int = 0) -> Settings:
    file = folder / "relay.toml"
    file.write_text(TOML.format(port=port) + more)
    return load(file, environ={}).settings


def broken(folder: Path) -> Settings:
    """Settings with which no worker can start."""
    (folder / "folder.db").mkdir()
    return settings(folder, f'[records]\nurl = "sqlite:///{folder}/folder.db"\n')


def test_a_worker_that_cannot_start_stops_the_crew_with_its_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^records\.url: .*folder\.db"):
        run(broken(tmp_path))


def test_what_lies_in_the_working_directory_is_no_module_of_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "jwt.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^records\.url: .*folder\.db"):
        run(broken(tmp_path))


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ConfigError, match=r"^server\.listen: .*in use"):
            run(settings(tmp_path, port=taken.getsockname()[1]))


def test_a_folder_too_deep_for_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * MAX_FOLDER)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(ConfigError, match="TMPDIR"):
        run(settings(tmp_path))


def test_told_to_stop_before_it_has_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker is left behind, nobody is waited for, and nothing stays in the file system."""

    async def main() -> None:
        crew = Crew(settings(tmp_path))
        hurry = asyncio.Event()
        crew.draining.set()
        hurry.set()
        async with asyncio.timeout(30):
            await crew.serve(hurry, lambda crew: None)

    with tempfile.TemporaryDirectory() as place:
        monkeypatch.setattr(tempfile, "tempdir", place)
        asyncio.run(main())
        assert os.listdir(place) == []


def test_a_certificate_of_its_own_making_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        crew, files = Crew(settings(tmp_path)), (tmp_path / "cert.pem", tmp_path / "key.pem")
        crew.certificates = tls.Certificates.generated(["localhost"], files)
        worker, before = tls.Certificates.from_files(*files), crew.certificates.fingerprint
        ends = crew.certificates.current.chain[0].not_valid_after_utc
        monkeypatch.setattr(tls, "_now", lambda: ends)
        watching = asyncio.ensure_future(crew._watch())
        async with asyncio.timeout(10):
            while not worker.reload_if_changed():
                await asyncio.sleep(0.01)
        watching.cancel()
        assert worker.fingerprint == crew.certificates.fingerprint != before

    asyncio.run(main())


@pytest.mark.parametrize(("said", "count"), [("3", 3), ('"auto"', os.cpu_count()), ('"2"', 2)])
def test_how_many(tmp_path: Path, said: str, count: int) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(f'[server]\nworkers = {said}\n[auth]\npublic = ""\n')
    assert load(file, environ={}).settings.server.count == min(count, 64)


@pytest.mark.parametrize("said", ["0", "65", '"many"', "-1"])
def test_how_many_makes_no_sense(tmp_path: Path, said: str) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(f'[server]\nworkers = {said}\n[auth]\npublic = ""\n')
    with pytest.raises(ConfigError, match=r"server\.workers"):
        load(file, environ={})


def test_a_system_that_shares_no_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(ConfigError, match="cannot share a port"):
        settings(tmp_path)


def test_why_a_worker_cannot_start_again_is_told(
    tmp_path: Path, lead: Callable[[str], None]
) -> None:
    """As when a file that it needs is broken meanwhile."""
    lead(
        f"begun() {{ ls -d {tmp_path}/begun-* | wc -l; }}\nmkdir {tmp_path}/begun-$$\n"
        '[ "$(begun)" -le 2 ] && { while [ "$(begun)" -lt 2 ]; do sleep 0.01; done; '
        "echo ready 00; exit 1; }\necho cert.pem holds no PEM certificate; exit 2\n"
    )
    said = asyncio.Queue[dict[str, Any]]()

    class Heard(Log):
        def error(self, event: str, **facts: Any) -> None:
            if event == "worker cannot start":
                said.put_nowait(facts)

    async def main() -> dict[str, Any]:
        async with serving(tmp_path, Heard()):
            return await said.get()

    facts = asyncio.run(main())
    assert facts.pop("worker") in (0, 1)
    assert facts == {"why": "cert.pem holds no PEM certificate"}


@pytest.mark.parametrize("server_lives", [True, False])
def test_a_system_without_room_for_another_process_ends_no_other_worker(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lead: Callable[[str], None],
    server_lives: bool,
) -> None:
    """The one that died is started again as soon as there is room, also for what forks it."""
    lead("echo ready 00; exec cat")
    start, full = asyncio.create_subprocess_exec, tmp_path / "full"

    class Relieved(Log):
        def error(self, event: str, **facts: Any) -> None:
            super().error(event, **facts)
            if event == "worker cannot start":
                monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
                full.unlink(missing_ok=True)

    log = Relieved()

    async def no_thread(*args: Any, **more: Any) -> Any:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        async with serving(tmp_path, log) as crew:
            assert {await log.ready.get(), await log.ready.get()} == {0, 1}
            other = crew._programs[0]
            if server_lives:
                full.touch()
            else:
                monkeypatch.setattr(asyncio, "create_subprocess_exec", no_thread)
                crew._forks.close()
                while crew._forks._living:
                    await asyncio.sleep(0.01)
            crew._programs[1].kill()
            assert await log.ready.get() == 1
            assert crew._programs[0] is other
            assert other.returncode is None
            for each in crew._programs.values():
                each.kill()

    asyncio.run(main())
    died = [facts["worker"] for facts in log.told("worker died")]
    # How one ends whose fork server has is not known, and all are leaving.
    assert (died[:1], sorted(died[1:])) == ([1], [0, 1] if server_lives else [1])
    (told,) = log.told("worker cannot start")
    why = os.strerror(errno.EAGAIN) if server_lives else "can't start new thread"
    assert told == {"worker": 1, "why": f"no process for it: {why}"}


def test_a_fork_server_that_is_stopped_with_the_service_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever stops one tells all of its processes, and this one may not ignore it yet."""
    crew = Crew(settings(tmp_path))

    async def fork(server: Any, numbers: Any) -> Any:
        crew.draining.set()
        raise OSError(errno.ECHILD, "it has ended")

    monkeypatch.setattr(module.ForkServer, "fork", fork)
    asyncio.run(asyncio.wait_for(crew.serve(asyncio.Event(), lambda crew: None), 20))


def test_a_start_that_fails_says_nothing_of_its_fork_server(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is the crew that ends it then."""
    with pytest.raises(ConfigError):
        run(broken(tmp_path))
    told = capfd.readouterr()
    assert "fork server" not in told.out + told.err


def test_a_system_without_room_for_the_first_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "gone"))
    with pytest.raises(ConfigError, match=r"^server\.workers: no process for it: No such file"):
        run(settings(tmp_path))


@pytest.mark.parametrize("when", ["before it is forked", "before it is ready"])
def test_one_that_does_not_get_ready_keeps_nothing_from_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lead: Callable[[str], None], when: str
) -> None:
    if when == "before it is forked":
        program = tmp_path / "worker"
        program.write_text(f"#!/bin/sh\ntouch {tmp_path}/begun\nexec sleep 60\n")
        program.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(program))
    else:
        lead(f"touch {tmp_path}/begun; exec sleep 60")

    async def main() -> None:
        crew = Crew(settings(tmp_path))
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            tasks.create_task(crew.serve(asyncio.Event(), lambda crew: pytest.fail("ready")))
            while not (tmp_path / "begun").exists():
                await asyncio.sleep(0.01)
            crew.draining.set()

    asyncio.run(main())


def test_one_that_takes_anothers_place_and_hangs_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lead: Callable[[str], None]
) -> None:
    """Others come after it, though nobody has ever heard of it."""
    monkeypatch.setattr(module, "BEGINNING", 0.5)
    lead(
        f'mkdir {tmp_path}/life-$$; case "$(ls -d {tmp_path}/life-* | wc -l)" in'
        " 3) exec sleep 60;; *) echo ready 00; exec cat;; esac"
    )
    log = Log()

    async def main() -> None:
        async with serving(tmp_path, log) as crew:
            assert {await log.ready.get(), await log.ready.get()} == {0, 1}
            crew._programs[1].kill()
            assert await log.ready.get() == 1
            for each in crew._programs.values():
                each.kill()

    asyncio.run(main())
    assert log.errors[:3] == [
        ("worker died", {"worker": 1, "status": -signal.SIGKILL}),
        ("worker hangs", {"worker": 1, "seconds": 0.5}),
        ("worker died", {"worker": 1, "status": -signal.SIGKILL}),
    ]


def test_one_that_has_just_ended_keeps_nothing_from_stopping(tmp_path: Path) -> None:
    class Ended:
        """A worker that is no more, as long as nobody has noticed."""

        class stdin:
            @staticmethod
            def is_closing() -> bool:
                return False

            @staticmethod
            def write(data: bytes) -> None:
                pass

            @staticmethod
            async def drain() -> None:
                pass

        def kill(self) -> None:
            raise ProcessLookupError

    async def main() -> None:
        crew: Any = Crew(settings(tmp_path))
        crew.draining.set()
        orders = Orders(crew.settings, 0, 2, str(tmp_path), 0, {})
        await crew._tell(Ended(), orders)

    asyncio.run(main())


def test_one_that_dies_while_its_relay_stops_is_not_started_again(
    tmp_path: Path, lead: Callable[[str], None]
) -> None:
    """Whoever told the workers to stop need not have told the crew."""
    go = tmp_path / "go"
    lead(f"echo ready 00; until test -e {go}; do sleep 0.05; done; echo; echo leaving; exit 1")
    log = Log()

    async def main() -> None:
        crew: Any = Crew(settings(tmp_path))
        crew.log = log
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            tasks.create_task(crew.serve(asyncio.Event(), lambda crew: None))
            assert {await log.ready.get(), await log.ready.get()} == {0, 1}
            go.touch()

    asyncio.run(main())
    assert ("worker died", {"worker": 0, "status": 1}) in log.errors
    assert len(log.errors) == len({facts["worker"] for _, facts in log.errors}), (
        "none has had a second life"
    )
