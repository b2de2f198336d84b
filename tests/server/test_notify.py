"""Who started the relay as a service hears that it is ready."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from relay.server.notify import VARIABLE, tell_ready


@pytest.mark.parametrize("kind", ["abstract", "file"])
def test_that_it_is_ready_is_told(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"@relay-test-{os.getpid()}" if kind == "abstract" else "./n"
    monkeypatch.chdir(tmp_path)  # a socket's name has room for a hundred letters
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0"))
        listener.settimeout(5)
        monkeypatch.setenv(VARIABLE, name if kind == "abstract" else f"/proc/self/cwd/{name}")
        tell_ready()
        assert listener.recv(100) == b"READY=1"


@pytest.mark.parametrize("name", ["", "/nobody/listens", "@nobody", "vsock:2:1", "/" + "x" * 200])
def test_nobody_who_hears_it_is_no_reason_to_stop(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, name)
    tell_ready()
