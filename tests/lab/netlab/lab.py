"""Hosts, links and switches, and everything removed again when the lab is left.

Every host has one address, on its loopback, whatever it is linked to; a link or a switch adds the
way to the other hosts on it. There are no ways over third hosts: who is not linked cannot be
reached, so that what crosses a link is what was sent over that link.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from netlab import namespaces
from netlab.clock import Clock
from netlab.namespaces import LabError
from netlab.weather import Counts, Weather

HERE = Path(__file__).resolve().parents[1]
NETWORK = "198.18.0"
"""Hosts are .1, .2 and so on; the range is set aside for such labs (RFC 2544)."""

MAX_HOSTS = 250
QUEUE = 5000
"""Packets that wait in a device for the router."""

STOP = 5.0
"""Seconds the router may take to end."""

ANSWER = 10.0
"""Seconds it may take to answer."""

DISABLED, FORWARDING = 0, 3
"""States of a bridge's port. The link stays up, so that nobody is told."""

_serials = itertools.count()


def missing() -> str | None:
    """Why there can be no lab on this machine; ``None`` when there can."""
    if os.geteuid() != 0 or not namespaces.is_capable():
        return "root with CAP_NET_ADMIN and CAP_SYS_ADMIN, for network namespaces"
    if shutil.which("ip") is None:
        return "iproute2"
    if not Path("/dev/net/tun").exists():
        return "/dev/net/tun"
    return None


class Host:
    """One machine of the lab. Use `Lab.host`."""

    def __init__(self, namespace: str, name: str, address: str) -> None:
        self.namespace = namespace
        self.name = name
        self.address = address
        self.programs: list[subprocess.Popen[Any]] = []

    def popen(
        self,
        command: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        **options: Any,
    ) -> subprocess.Popen[Any]:
        """Start a program here, in the environment of this process plus ``env``.

        ``clock`` is the wall clock it shall see. The rest is as for `subprocess.Popen`.
        """
        environment = {**os.environ, **(clock.environment() if clock else {}), **(env or {})}
        program = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *map(str, command)], env=environment, **options
        )
        self.programs.append(program)
        return program

    def run(
        self, command: Sequence[str | Path], *, timeout: float = 30, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program here to its end. Raises `LabError` with what it said when it fails."""
        program = self.popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )
        try:
            out, err = program.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            program.kill()
            program.communicate()
            raise LabError(f"{command} on {self.name}: not done in {timeout} s") from None
        finally:
            self.programs.remove(program)
        if program.returncode:
            raise LabError(f"{command} on {self.name}: {program.returncode}, {err.strip()}")
        return subprocess.CompletedProcess(program.args, 0, out, err)

    def inside(self) -> AbstractContextManager[None]:
        """For the block this thread, and no other, is here: sockets it makes belong to the host."""
        return namespaces.entered(self.namespace)

    def kill(self) -> None:
        """``kill -9`` for everything that was started here and for what that started, by pid."""
        for program in self.programs:
            program.kill()  # one that has not come as far as its namespace yet is not found there
        namespaces.kill(self.namespace)
        for program in self.programs:
            program.wait(STOP)
            for stream in (program.stdin, program.stdout, program.stderr):
                if stream is not None:
                    with suppress(BrokenPipeError):
                        stream.close()
        self.programs.clear()

    def __repr__(self) -> str:
        return f"<host {self.name} {self.address}>"


class Link:
    """A cable between two hosts, with weather. Use `Lab.link`."""

    def __init__(self, router: Router, hosts: tuple[Host, Host], weather: Weather, seed: str):
        self.hosts = hosts
        self.weather = [weather, weather]
        self._router = router
        one, other = hosts
        ends = [[one.namespace, f"to-{other.name}"], [other.namespace, f"to-{one.name}"]]
        self._number = router.ask("link", ends=ends, weather=weather.dump(), seed=seed)
        for here, there in (hosts, hosts[::-1]):
            device = f"to-{there.name}"
            lines = [
                f"link set dev {device} txqueuelen {QUEUE} up",
                f"route add {there.address}/32 dev {device} src {here.address}",
            ]
            namespaces.batch(here.namespace, lines)

    def cut(self, sender: Host | None = None) -> None:
        """Nothing arrives any more, and nobody is told; with ``sender`` only one way is cut."""
        self._router.ask("cut", link=self._number, ways=self._ways(sender), cut=True)

    def heal(self, sender: Host | None = None) -> None:
        """What is sent from now on arrives again."""
        self._router.ask("cut", link=self._number, ways=self._ways(sender), cut=False)

    def change(self, sender: Host | None = None, **changes: Any) -> None:
        """Other weather from now on; what is not named stays. With ``sender`` one way only."""
        for way in self._ways(sender):
            self.weather[way] = self.weather[way].changed(**changes)
            facts = self.weather[way].dump()
            self._router.ask("change", link=self._number, ways=[way], weather=facts)

    def counts(self, sender: Host) -> Counts:
        """What ``sender`` put on this link since it was laid, and what became of it."""
        (way,) = self._ways(sender)
        return Counts(**self._router.ask("counts", link=self._number)[way])

    def bytes(self, sender: Host | None = None) -> int:
        """Bytes that ``sender`` put on this link, IP headers included; without: both together."""
        return sum(self.counts(self.hosts[way]).bytes for way in self._ways(sender))

    def _ways(self, sender: Host | None) -> list[int]:
        return [0, 1] if sender is None else [self.hosts.index(sender)]

    def __repr__(self) -> str:
        return f"<link {self.hosts[0].name}-{self.hosts[1].name}>"


class Switch:
    """A LAN: hosts on one bridge, as fast as the kernel is, without weather. Use `Lab.switch`."""

    def __init__(self, namespace: str, number: int, hosts: Sequence[Host]) -> None:
        self.namespace = namespace
        self.hosts = tuple(hosts)
        self._device = f"lan{number}"
        namespaces.batch(namespace, ["link add name lan type bridge", "link set dev lan up"])
        for host in self.hosts:
            peer = f"peer name {self._device} netns {host.namespace}"
            lines = [
                f"link add name {_port(host)} type veth {peer}",
                f"link set dev {_port(host)} master lan up",
            ]
            namespaces.batch(namespace, lines)
            ways = [
                f"route add {other.address}/32 dev {self._device} src {host.address}"
                for other in self.hosts
                if other is not host
            ]
            # A burst of UDP that crosses as one packet would be counted as one.
            up = f"link set dev {self._device} gso_max_segs 1 up"
            namespaces.batch(host.namespace, [up, *ways])
        self._settle()

    def _settle(self) -> None:
        """Wait until all cables are in use: the kernel tells both their ends late.

        Until then they lose what is sent, and ARP asks again only after a second.
        """
        began = time.monotonic()
        while not all(self._is_up(host) for host in self.hosts):
            if time.monotonic() - began > ANSWER:
                raise LabError(f"a switch's cables are not up after {ANSWER} s")
            time.sleep(0.005)

    def _is_up(self, host: Host) -> bool:
        shown = ("-j", "link", "show", "dev")
        ports = namespaces.call("bridge", "-n", self.namespace, *shown, _port(host))
        devices = namespaces.ip("-n", host.namespace, *shown, self._device)
        (port,), (device,) = json.loads(ports), json.loads(devices)
        return bool(port["state"] == "forwarding" and device["operstate"] == "UP")

    def cut(self, host: Host) -> None:
        """Nothing goes to or from ``host`` any more, and nobody is told."""
        self._state(host, DISABLED)

    def heal(self, host: Host) -> None:
        """It does again."""
        self._state(host, FORWARDING)

    def _state(self, host: Host, state: int) -> None:
        words = ("link", "set", "dev", _port(host), "state", str(state))
        namespaces.call("bridge", "-n", self.namespace, *words)

    def bytes(self, sender: Host) -> int:
        """Bytes that ``sender`` put on the LAN, with Ethernet headers and ARP."""
        words = ("-n", self.namespace, "-j", "-s", "link", "show", "dev", _port(sender))
        (facts,) = json.loads(namespaces.ip(*words))
        count: int = facts["stats64"]["rx"]["bytes"]
        return count


def _port(host: Host) -> str:
    """The end of a host's cable at the switch."""
    return f"to-{host.name}"


class Router:
    """The process that carries the links, and how to give it orders."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        ours, theirs = socket.socketpair()
        ours.settimeout(ANSWER)
        with theirs:
            self.program = subprocess.Popen(
                [sys.executable, "-m", "netlab.router", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": str(HERE)},
                start_new_session=True,
            )
        self._orders = ours
        self._answers = ours.makefile("rb")

    def ask(self, what: str, **facts: Any) -> Any:
        """Give one order; the answer. Raises `LabError`."""
        with self._lock:
            self._orders.sendall(json.dumps({"do": what, **facts}).encode() + b"\n")
            line = self._answers.readline()
        if not line:
            raise LabError(f"the router ended: {self.program.wait(STOP)}")
        answer = json.loads(line)
        if isinstance(answer, dict) and "error" in answer:
            raise LabError(f"{what}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End it; its devices go with it."""
        self._answers.close()
        self._orders.close()
        try:
            self.program.wait(STOP)
        except subprocess.TimeoutExpired:
            self.program.kill()
            self.program.wait(STOP)


class Lab:
    """A network of its own. Nothing of it stays when the block is left, however that happens."""

    def __init__(self, seed: int = 0) -> None:
        """``seed`` decides every chance: the same seed loses the same packets."""
        self.seed = seed
        self.hosts: dict[str, Host] = {}
        self.links: list[Link] = []
        self._serial = next(_serials)
        self._stack = ExitStack()
        self._switches = 0
        self._pairs: set[frozenset[str]] = set()

    def __enter__(self) -> Self:
        namespaces.sweep()
        self.router = Router()
        self._stack.callback(self.router.close)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def host(self, name: str) -> Host:
        """A new machine, linked to nothing yet."""
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,10}", name) or name in self.hosts:
            raise LabError(f"{name!r}: 1 to 11 of a-z, 0-9, -, and not twice")
        if len(self.hosts) >= MAX_HOSTS:
            raise LabError(f"more than {MAX_HOSTS} hosts")
        host = Host(self._namespace(name), name, address=f"{NETWORK}.{len(self.hosts) + 1}")
        self._stack.callback(host.kill)
        namespaces.batch(host.namespace, [f"addr add {host.address}/32 dev lo"])
        self.hosts[name] = host
        return host

    def _namespace(self, name: str) -> str:
        namespace = namespaces.name(self._serial, name)
        self._stack.callback(namespaces.remove, namespace)
        namespaces.create(namespace)
        return namespace

    def link(self, one: Host, other: Host, **weather: Any) -> Link:
        """Join two hosts; ``weather`` is what `Weather` takes."""
        self._join(one, other)
        seed = f"{self.seed}-{one.name}-{other.name}"
        link = Link(self.router, (one, other), Weather(**weather), seed)
        self.links.append(link)
        return link

    def switch(self, *hosts: Host) -> Switch:
        """Put hosts on one LAN."""
        for one, other in itertools.combinations(hosts, 2):
            self._join(one, other)
        self._switches += 1
        namespace = self._namespace(f"lan{self._switches}-switch")
        return Switch(namespace, self._switches, hosts)

    def _join(self, one: Host, other: Host) -> None:
        pair = frozenset((one.name, other.name))
        if pair in self._pairs or one is other:
            raise LabError(f"{one.name} and {other.name} are joined already")
        self._pairs.add(pair)

    @contextmanager
    def partition(self, *side: Host) -> Iterator[None]:
        """For the block nothing crosses the links between these hosts and the rest."""
        between = [link for link in self.links if sum(host in side for host in link.hosts) == 1]
        for link in between:
            link.cut()
        try:
            yield
        finally:
            for link in between:
                link.heal()
