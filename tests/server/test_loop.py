"""Which event loop a relay runs in."""

import asyncio
import errno
import gc
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from relay import hosts
from relay.errors import ConfigError
from relay.server import loop


def ran(wanted: loop.Wanted) -> str:
    found: list[str] = []

    async def main() -> None:
        found.append(loop.running())

    loop.run(main(), wanted)
    return found[0]


def test_uvloop_where_it_is_installed_and_wanted() -> None:
    assert ran("auto") == ran("uvloop") == "uvloop"
    assert ran("asyncio") == "asyncio"


def test_asyncio_where_it_is_not(monkeypatch) -> None:
    monkeypatch.setattr(loop, "uvloop", None)
    assert ran("auto") == ran("asyncio") == "asyncio"
    with pytest.raises(ConfigError, match=r"server\.loop: uvloop is not installed"):
        ran("uvloop")


def test_what_is_raised_comes_out() -> None:
    async def main() -> None:
        await asyncio.sleep(0)
        raise ConfigError("no")

    with pytest.raises(ConfigError, match="no"):
        loop.run(main(), "auto")


@pytest.mark.parametrize("errors", [[OSError(errno.EMFILE, "none left")], [ConfigError("x")]])
def test_where_the_system_has_no_room_that_is_a_line(errors) -> None:
    with pytest.raises(ConfigError, match=r"none left|x"):
        loop.run(grouped(*errors, OSError(errno.ENFILE, "nor here")), "auto")
    with pytest.raises(PermissionError):
        loop.run(alone(PermissionError(errno.EACCES, "no")), "auto")
    with pytest.raises(ConfigError, match=r"none left \(ulimit\)"):
        loop.run(alone(OSError(errno.EMFILE, "none left")), "auto")


@pytest.mark.filterwarnings("error")
def test_without_room_for_a_loop_nothing_is_left_unawaited(monkeypatch) -> None:
    def none(wanted: loop.Wanted) -> Any:
        def make() -> asyncio.AbstractEventLoop:
            raise OSError(errno.EMFILE, "none left")

        return make

    monkeypatch.setattr(loop, "factory", none)
    with pytest.raises(ConfigError, match="none left"):
        ran("auto")
    gc.collect()


async def alone(error: Exception) -> None:
    raise error


def test_a_host_name_of_odd_letters_is_no_traceback(capfd, monkeypatch) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    wanted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.sni_callback = lambda *_: None
    hello, asked, answer = ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        wanted.wrap_bio(ssl.MemoryBIO(), hello, server_hostname="odd.test").do_handshake()
    asked.write(hello.read().replace(b"odd.test", b"\xff\xfe\xfd.test"))

    async def main() -> None:
        with pytest.raises(ssl.SSLError):
            served.wrap_bio(asked, answer, server_side=True).do_handshake()

    loop.run(main(), "asyncio")
    assert capfd.readouterr().err == ""


async def grouped(*errors: Exception) -> None:
    async def fail(error: Exception) -> None:
        raise error

    async with asyncio.TaskGroup() as outer, asyncio.TaskGroup() as inner:
        outer.create_task(asyncio.sleep(0))
        for error in errors:
            inner.create_task(fail(error))


def test_of_settings_that_cannot_be_obeyed_the_first_comes_out_alone() -> None:
    with pytest.raises(ConfigError, match="one"):
        loop.run(grouped(ConfigError("one"), ConfigError("two")), "auto")


def test_what_else_goes_wrong_hides_behind_no_setting() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        loop.run(grouped(ConfigError("one"), ValueError("a bug")), "auto")
    assert caught.value.subgroup(ValueError) is not None


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A name server that does not answer as long as the test goes on."""
    over = threading.Event()
    real = socket.getaddrinfo

    def ask(host: Any, *more: Any, **named: Any) -> Any:
        if host == "silent.test":
            over.wait(20)
        return real("127.0.0.1", *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", ask)
    yield
    over.set()
    while hosts._flights:  # another test's name may be the same
        time.sleep(0.001)


@pytest.mark.parametrize("wanted", ["asyncio", "uvloop"])
@pytest.mark.usefixtures("silence")
def test_nobody_waits_for_a_name_server_at_the_end(wanted: loop.Wanted) -> None:
    found: list[Any] = []

    async def main() -> None:
        own = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await own.getaddrinfo("silent.test", 1)
        found.extend(await own.getaddrinfo("other.test", 7, type=socket.SOCK_DGRAM))
        with pytest.raises(socket.gaierror):
            await own.getaddrinfo("other.test", "no such service")

    began = time.monotonic()
    loop.run(main(), wanted)
    assert time.monotonic() - began < 5
    assert [each[4] for each in found] == [("127.0.0.1", 7)]


@pytest.mark.usefixtures("silence")
def test_names_are_asked_for_by_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "MAX_LOOKUPS", 2)

    async def main() -> None:
        own = asyncio.get_running_loop()
        for port in (1, 2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await own.getaddrinfo("silent.test", port)
        with pytest.raises(socket.gaierror, match="too many"):
            await own.getaddrinfo("other.test", 1)

    loop.run(main(), "asyncio")
