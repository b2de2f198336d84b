"""The relay under test: our own server, or the Rust stack's, as a process of its own.

Its job is to start one, say where it listens, and mint tokens that it will believe; its law is
that it speaks to the relay only as a stranger does (a settings file, a port, a key). It must not
import the relay's code. ``INTEROP_RELAY=rust`` points the whole rig at the Rust stack instead,
which tells a fault of a client or of the rig from a fault of ours.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import pytest

import asked
from ports import free_ports
from rig.client import Client, Target

START = 60.0
"""Seconds a relay may take to be ready."""

STOP = 5.0
"""Seconds a relay may take to end after being asked to."""

PUBLIC = "anon"
"""The prefix that needs no token."""

LONG = 3600
"""Seconds a token lives when a test does not care."""

SOCKET = "relay.sock"

LINGER = 1.0
"""Seconds a broadcast outlives a publisher that vanished: short, since tests wait for its end."""


def foreign() -> bool:
    """Whether the rig is pointed at the Rust stack instead of our relay."""
    return os.environ.get("INTEROP_RELAY") == "rust"


@dataclass(frozen=True)
class SigningKey:
    """The secret that the relay believes."""

    kid: str
    secret: bytes

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """Read a JWK, written as JSON or as base64url of it."""
        text = path.read_text().strip()
        if not text.startswith("{"):
            text = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
        key = json.loads(text)
        secret = base64.urlsafe_b64decode(key["k"] + "=" * (-len(key["k"]) % 4))
        return cls(kid=key["kid"], secret=secret)

    @classmethod
    def stranger(cls, kid: str) -> SigningKey:
        """A key that no relay knows, under whatever name."""
        return cls(kid=kid, secret=os.urandom(32))

    def token(
        self,
        root: str,
        *,
        put: Sequence[str] | None = ("",),
        get: Sequence[str] | None = ("",),
        ttl: float | None = LONG,
    ) -> str:
        """A token for ``root``; ``None`` leaves a claim out; ``ttl`` is in seconds from now."""
        claims: dict[str, Any] = {"root": root}
        if put is not None:
            claims["put"] = list(put)
        if get is not None:
            claims["get"] = list(get)
        if ttl is not None:
            claims["exp"] = int(time.time() + ttl)
        return jwt.encode(claims, self.secret, algorithm="HS256", headers={"kid": self.kid})


@dataclass(frozen=True)
class Relay:
    """A running relay."""

    port: int
    """UDP port; TCP as well where ``http_url`` is not empty."""

    fingerprint: str
    """SHA-256 of its certificate, hex."""

    http_url: str
    """Base URL of its plain HTTP face, empty where it has none."""

    key: SigningKey

    foreign: bool
    """Whether it is the Rust stack, which knows roots but no prefixes below them."""

    versions: tuple[str, ...]
    """The only versions it was told to speak; empty for all that it knows."""

    tcp_port: int = 0
    """Where it takes plain TCP; 0 for nowhere."""

    socket: Path | None = None
    """Its unix socket."""

    @property
    def url(self) -> str:
        """Where WebTransport clients dial."""
        return f"https://127.0.0.1:{self.port}"

    def target(
        self,
        client: Client,
        path: str = "",
        token: str | None = None,
        protocols: Sequence[str] | None = None,
    ) -> Target:
        """What ``client`` has to dial to come in at ``path``."""
        base = self.url.replace("https", client.scheme)
        query = f"?jwt={token}" if token is not None else ""
        if client.scheme == "unix":
            if self.socket is None:
                pytest.skip("the Rust stack's server has no unix socket")
            where = quote(f"/{path}{query}", safe="")
            return Target(f"unix://{self.socket}?path={where}", "", protocols)
        if client.scheme == "tcp":
            if not self.tcp_port:
                pytest.skip("the Rust stack's server takes no TCP")
            base = f"tcp://127.0.0.1:{self.tcp_port}"
        return Target(f"{base}/{path}{query}", self.fingerprint, protocols)


@contextmanager
def running(
    folder: Path, versions: Sequence[str] | None = None, tls: str = "", more: str = ""
) -> Iterator[Relay]:
    """A relay that lives for the block; its log is ``folder``/relay.log.

    ``tls`` is more of ``[server.tls]``, ``more`` is tables of their own; only our relay reads them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if foreign():
        command, key = _foreign_command(folder, versions)
    else:
        command, key = _own_command(folder, versions, tls, more)
    log, out = folder / "relay.log", folder / "relay.out"
    environment = asked.environment() | {"PYTHONUNBUFFERED": "1"}
    with log.open("wb") as stderr, out.open("wb") as stdout:
        program = subprocess.Popen(command, stdout=stdout, stderr=stderr, env=environment)
    try:
        ready = _wait_ready(program, out, log)
        http = ready.get("http")
        yield Relay(
            port=ready["quic"][1],
            fingerprint=ready["fingerprint"],
            http_url=f"http://127.0.0.1:{http[1]}" if http else "",
            key=key,
            foreign=foreign(),
            versions=tuple(versions or ()),
            tcp_port=ready["tcp"][1] if ready.get("tcp") else 0,
            socket=None if foreign() else folder / SOCKET,
        )
        if program.poll() is not None:
            raise RuntimeError(f"the relay ended during the tests:\n{tail(log)}")
    finally:
        _stop(program)


def _own_command(
    folder: Path, versions: Sequence[str] | None, tls: str, more: str
) -> tuple[list[str], SigningKey]:
    key = folder / "interop.jwk"
    generate = [sys.executable, "-m", "relay", "token", "generate", "--id", "interop"]
    done = subprocess.run([*generate, "--out", str(key)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"relay token generate: {done.stderr}")
    address = f'"127.0.0.1:{free_ports(1)[0]}"'
    lines = [
        f"[server]\nlisten = {address}",
        f"versions = {json.dumps(list(versions))}" if versions else "",
        '[server.tls]\ngenerate = ["localhost", "127.0.0.1"]',
        tls,
        '[server.tcp]\nlisten = "127.0.0.1:0"',
        f'[server.unix]\nlisten = "{folder / SOCKET}"',
        f"[web.http]\nlisten = {address}",
        f'[auth]\nkey = "{key.name}"\npublic = "{PUBLIC}"',
        f"[cache]\nlinger = {LINGER}",
        '[log]\nlevel = "debug"',
        more,
    ]
    settings = folder / "relay.toml"
    settings.write_text("\n".join(lines) + "\n")
    return [sys.executable, "-m", "relay", "run", str(settings)], SigningKey.load(key)


def _foreign_command(folder: Path, versions: Sequence[str] | None) -> tuple[list[str], SigningKey]:
    if versions:
        raise ValueError("the Rust stack's server cannot be told which versions to speak")
    key = SigningKey.stranger("interop")
    script = Path(__file__).with_name("rust_relay.py")
    return [sys.executable, str(script), PUBLIC, key.secret.hex()], key


def _wait_ready(program: subprocess.Popen[bytes], out: Path, log: Path) -> dict[str, Any]:
    deadline = time.monotonic() + START
    while time.monotonic() < deadline:
        for line in out.read_text().splitlines(keepends=True):
            if line.startswith("ready ") and line.endswith("\n"):
                ready: dict[str, Any] = json.loads(line.removeprefix("ready "))
                return ready
        if program.poll() is not None:
            break
        time.sleep(0.02)
    raise RuntimeError(f"the relay did not come up:\n{tail(log)}\n{tail(out)}")


def _stop(program: subprocess.Popen[bytes]) -> None:
    program.send_signal(signal.SIGTERM)
    try:
        program.wait(STOP)
    except subprocess.TimeoutExpired:
        program.kill()
        program.wait()


def tail(log: Path, size: int = 4000) -> str:
    """The end of a log."""
    return log.read_text(errors="replace")[-size:] if log.exists() else "(no log)"
