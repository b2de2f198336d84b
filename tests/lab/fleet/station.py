"""A relay on a host, and a fleet of them that believe each other.

The law: a relay is told what it is told by a settings file, and asked what it can be asked over the
network; nothing here looks inside one.
"""

from __future__ import annotations

import json
import selectors
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from netlab import Clock, Host, Lab, LabError, Link

from fleet.authority import Authority
from fleet.people import Crowd, until
from relay.auth import keys, mint
from relay.auth.claims import Claims
from relay.net.trust import DialTls
from relay.path import ROOT
from relay.path import Path as Name

PORT = 4443
INTERNAL = "127.0.0.1:4480"
START = 30.0
"""Seconds a relay may take to be ready, on a machine that starts several at once."""

LINKED = 15.0
"""Seconds until every link that was asked for must stand."""

HANDSHAKE = 1500
"""Bytes that neither end sends where nobody answers."""

DAYS = 10 * 86_400
"""Seconds a token lives: longer than any step of a clock."""

IDLE = 5.0
"""Seconds of silence until a relay gives a session up; clients give a sign of life every four."""

PATIENT = 30.0
"""The same where nobody is to be given up, however busy the machine is."""

LINGER = 1.0
"""Seconds a broadcast outlives a publisher that vanished: short, since tests wait for its end."""


class Station:
    """One relay of a fleet, on a host of its own. Use `Fleet.station`."""

    def __init__(self, fleet: Fleet, host: Host, number: int, clock: Clock | None) -> None:
        self.fleet = fleet
        self.host = host
        self.number = number
        self.clock = clock
        self.folder = fleet.folder / host.name
        self.folder.mkdir()
        self.log = self.folder / "relay.log"
        self.program: subprocess.Popen[bytes] | None = None
        fleet.authority.issue(self.folder / "cert.pem", self.folder / "key.pem", host.address)

    @property
    def url(self) -> str:
        """Where it is dialled, without a path."""
        return f"https://{self.host.address}:{PORT}"

    def configure(
        self,
        connect: Sequence[str] = (),
        cluster: str = "",
        more: str = "",
        quic: str = "",
        idle: float = PATIENT,
    ) -> None:
        """Write its settings; ``cluster`` and ``quic`` are more of those sections, ``more``
        sections of their own. ``idle`` is in seconds, of links and of all other sessions."""
        listed = json.dumps(list(connect))
        text = f"""
[server]
listen = "0.0.0.0:{PORT}"
[server.tls]
cert = "cert.pem"
key = "key.pem"
[web.http]
listen = "127.0.0.1:8080"
[internal]
listen = "{INTERNAL}"
[client.tls]
root = ["{self.fleet.authority.file}"]
[auth]
key = "{self.fleet.key_file}"
[quic]
idle_timeout = {idle}
{quic}
[cache]
linger = {LINGER}
[log]
level = "debug"
[cluster]
id = {self.number}
node = "{self.url}"
token = "{self.fleet.token_file}"
connect = {listed}
silence = {idle}
{cluster}
{more}
"""
        (self.folder / "relay.toml").write_text(text)

    def start(self) -> None:
        """Start it without waiting, so that others can start meanwhile; see `ready`."""
        with self.log.open("ab") as log:
            self.program = self.host.popen(
                [sys.executable, "-m", "relay", "run", "relay.toml"],
                env={"RELAY_READY": "1"},
                clock=self.clock,
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def ready(self) -> dict[str, Any]:
        """Wait until it listens; where. Raises `LabError` with the end of its log."""
        assert self.program is not None
        assert self.program.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.program.stdout, selectors.EVENT_READ)
            line = self.program.stdout.readline() if selector.select(START) else b""
        if not line.startswith(b"ready "):
            raise LabError(f"{self.host.name} did not come up: {self.tail()}")
        facts: dict[str, Any] = json.loads(line.removeprefix(b"ready "))
        return facts

    def kill(self) -> None:
        """``kill -9``, as a machine that dies: nobody is told."""
        self.host.kill()

    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self.program is not None and self.program.poll() is None

    def ask(self, path: str) -> str:
        """What its internal face answers to a GET from its own host."""
        answer: list[str] = []

        def fetch() -> None:
            with self.host.inside(), urlopen(f"http://{INTERNAL}{path}", timeout=5) as body:
                answer.append(body.read().decode())

        asking = threading.Thread(target=fetch)
        asking.start()
        asking.join()
        return answer[0]

    def crowd(self) -> Crowd:
        """People beside it, on its own host: what they do crosses no link."""
        return self.fleet.crowd(self.host)

    def tail(self, size: int = 3000) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-size:] if self.log.exists() else "(no log)"

    def __repr__(self) -> str:
        return f"<relay {self.number} on {self.host.name}>"


class Fleet:
    """Relays with one authority and one key between them."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.authority = Authority(folder)
        self.tls = DialTls(roots=(self.authority.file,))
        self.stations: list[Station] = []
        self.crowds: list[Crowd] = []
        self._key = keys.generate("HS256", kid="fleet")
        self.key_file = folder / "fleet.jwk"
        self.key_file.touch(0o600)
        self.key_file.write_bytes(self._key.dump())
        self.token_file = folder / "cluster.jwt"
        self.token_file.touch(0o600)
        self.token_file.write_text(self.token(cluster=True))
        self._stack = ExitStack()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        for crowd in self.crowds:
            crowd.dismiss()
        self._stack.close()

    def token(self, cluster: bool = False) -> str:
        """A token for everything; with ``cluster`` its bearer is another relay."""
        now = time.time()
        everything = (ROOT,)
        claims = Claims(
            root=Name(""), put=everything, get=everything, exp=int(now + DAYS), cluster=cluster
        )
        return mint.sign(claims, self._key, now)

    def station(self, host: Host, clock: Clock | None = None) -> Station:
        """A relay on this host, neither configured nor started yet."""
        self.stations.append(Station(self, host, len(self.stations) + 1, clock))
        return self.stations[-1]

    def crowd(self, host: Host) -> Crowd:
        """People on a host."""
        self.crowds.append(self._stack.enter_context(Crowd(host, self.tls, self.token())))
        return self.crowds[-1]

    def start(self) -> None:
        """Start every relay that does not run, all at once, and wait until each is ready."""
        waiting = [station for station in self.stations if not station.is_alive()]
        for station in waiting:
            station.start()
        for station in waiting:
            station.ready()

    def build(
        self,
        count: int,
        pairs: Sequence[tuple[int, int]],
        clocks: dict[int, Clock] | None = None,
        idle: float = PATIENT,
        **weather: Any,
    ) -> tuple[list[Station], dict[tuple[int, int], Link]]:
        """``count`` running relays, linked; of each pair the second dials the first.

        Numbers start at 0; ``clocks`` is by number, ``weather`` that of every link, ``idle`` as
        in `Station.configure`.
        """
        made = [
            self.station(self.lab.host(f"r{number}"), (clocks or {}).get(number))
            for number in range(count)
        ]
        links = {
            (one, other): self.lab.link(made[one].host, made[other].host, **weather)
            for one, other in pairs
        }
        for number, station in enumerate(made):
            dialled = [made[one].url for one, other in pairs if other == number]
            station.configure(dialled, idle=idle)
        self.start()
        used = [(link, host) for link in links.values() for host in link.hosts]
        until(lambda: all(link.bytes(host) > HANDSHAKE for link, host in used), LINKED, "links")
        return made, links

    def logs(self) -> dict[str, str]:
        """What each relay had to say at the end."""
        return {station.host.name: station.tail() for station in self.stations}
