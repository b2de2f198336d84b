"""Those who are compared: how each is started, and where it listens.

The law: both get the same secret, the same cores and nothing of each other. This module must not
know what they are asked to do.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click

HERE = Path(__file__).parent
OURS, OTHER = "relay", "moq-rs"
NAMES = (OURS, OTHER)

START = 20.0
"""Seconds a relay may take to come up, or to answer."""

LAG = "relay_loop_lag_seconds_max "

Tables = dict[str, dict[str, str]]
"""Settings of our relay: TOML values by table and key."""


class Running(NamedTuple):
    """A contender that is up."""

    pid: int
    fingerprint: str
    internal: tuple[str, int] | None
    """Where ours tells its metrics."""

    def lag(self) -> float | None:
        """Seconds the loop was late at most since this was asked last; of the first worker."""
        if self.internal is None:
            return None
        host, port = self.internal
        try:
            with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=START) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return None
        return next((float(line[len(LAG) :]) for line in lines if line.startswith(LAG)), None)


def free_port() -> int:
    """A UDP port that is free just now; who asks for any is given others (from 32,768 on)."""
    while True:
        port = random.randrange(32_000, 32_768)
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        ):
            sock.bind(("127.0.0.1", port))
            return port


def command(name: str, port: int, secret: bytes, folder: Path, more: Tables) -> list[str]:
    """How to start a contender."""
    if name == OTHER:
        return [sys.executable, str(HERE / "rust_relay.py"), str(port), secret.hex()]
    coded = base64.urlsafe_b64encode(secret).decode().rstrip("=")
    key = {"kty": "oct", "alg": "HS256", "kid": "bench", "k": coded, "key_ops": ["verify"]}
    written = folder / "bench.jwk"
    written.touch(0o600)
    written.write_text(json.dumps(key))
    tables = {
        "server": {"listen": f'"127.0.0.1:{port}"'},
        "server.tls": {"generate": '["localhost", "127.0.0.1"]'},
        "web.http": {"listen": '"127.0.0.1:0"'},
        "internal": {"listen": '"127.0.0.1:0"'},
        "auth": {"key": '"bench.jwk"', "public": '""'},
        "log": {"level": '"warn"'},
    }
    for table, members in more.items():
        tables.setdefault(table, {}).update(members)
    lines = [
        f"[{table}]\n" + "".join(f"{key} = {value}\n" for key, value in members.items())
        for table, members in tables.items()
    ]
    settings = folder / "relay.toml"
    settings.write_text("\n".join(lines))
    return [sys.executable, "-m", "relay", "run", str(settings)]


@contextmanager
def running(words: Sequence[str], folder: Path, cores: frozenset[int]) -> Iterator[Running]:
    """A contender for the block. Raises `click.ClickException` when it does not come up."""
    out, log = folder / "out", folder / "log"
    environment = {**os.environ, "RELAY_READY": "1", "PYTHONUNBUFFERED": "1"}
    with out.open("w") as stdout, log.open("w") as stderr:
        program = subprocess.Popen(words, stdout=stdout, stderr=stderr, env=environment, text=True)
    # what it starts later inherits this
    os.sched_setaffinity(program.pid, cores)
    try:
        deadline = time.monotonic() + START
        while not (found := [x for x in out.read_text().split("\n")[:-1] if x[:6] == "ready "]):
            if program.poll() is not None or time.monotonic() > deadline:
                raise click.ClickException(f"a relay did not come up:\n{log.read_text()[-2000:]}")
            time.sleep(0.02)
        facts = json.loads(found[0][6:])
        yield Running(program.pid, facts["fingerprint"], facts.get("internal"))
    finally:
        program.send_signal(signal.SIGTERM)
        try:
            program.wait(5)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
