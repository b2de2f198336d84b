"""A socket that listens while there are no descriptors to spare: one line, and no busy loop."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import socket
from asyncio import constants
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from relay.net import listening
from relay.net.listening import Listening, bind_unix, has_spare


@pytest.fixture
def narrow() -> Iterator[Callable[[bool], None]]:
    """``narrow(True)``: no descriptor can be had; ``narrow(False)``: as before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def have(is_narrow: bool) -> None:
        if is_narrow:
            gc.collect()  # what others left would be room once it is collected
            gc.disable()
        else:
            gc.enable()
        used = max(map(int, os.listdir("/proc/self/fd"))) if is_narrow else 0
        # What is in use stays so; numbers that are free below it are taken.
        while is_narrow and (spare := os.dup(0)) < used:
            fillers.append(spare)
        if is_narrow:
            os.close(spare)
        resource.setrlimit(resource.RLIMIT_NOFILE, (used if is_narrow else soft, hard))

    fillers: list[int] = []
    yield have
    have(False)
    for filler in fillers:
        os.close(filler)


def test_whether_one_more_can_be_had(narrow: Callable[[bool], None]) -> None:
    assert has_spare()
    narrow(True)
    assert not has_spare()
    narrow(False)
    assert has_spare()


def test_it_is_told_once_and_whoever_waits_is_taken_later(
    narrow: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ACCEPT_RETRY_DELAY", 0.1)
    monkeypatch.setattr(listening, "PAUSE", 0.05)

    async def main() -> None:
        troubles: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, said: troubles.append(said))
        sock = Listening(socket.AF_INET)
        sock.bind(("127.0.0.1", 0))
        came = asyncio.Event()
        server = await asyncio.start_server(lambda *ends: (came.set(), ends[1].close()), sock=sock)
        with socket.socket() as client:
            client.setblocking(False)
            narrow(True)
            await loop.sock_connect(client, sock.getsockname())
            await asyncio.sleep(0.05)
            assert len(troubles) == 1
            narrow(False)
            await asyncio.wait_for(came.wait(), 5)
            assert len(troubles) == 1
        server.close()

    asyncio.run(main())


def test_a_socket_that_was_left_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    place = tmp_path / "ask-0"
    bind_unix(str(place)).close()
    assert place.is_socket()
    bind_unix(str(place)).close()
    place.unlink()
    place.write_text("")
    with pytest.raises(OSError, match="in use"):
        bind_unix(str(place))
