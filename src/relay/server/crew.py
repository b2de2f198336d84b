"""The crew: several workers on one port, each a relay in a process of its own.

The law: the crew opens every socket and keeps it, so that a worker that dies loses its sessions and
nothing else, and the one that takes its place finds its port half as it was. It decides nothing,
and reads no packet while there is a worker to do so. This module must not know what a relay does.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path as File

import structlog

from relay.config import Settings
from relay.errors import ConfigError
from relay.net import udp
from relay.net.steer import bind_all
from relay.net.streams import TCP, UNIX
from relay.net.tls import Certificates
from relay.server.absence import Absences
from relay.server.folder import own_folder
from relay.server.forkserver import UNKNOWN, ForkServer, Program
from relay.server.listeners import Faces, Workers, open_sockets
from relay.server.parts import LAPTOP, load_certificates
from relay.server.post import DRAIN, HURRY, LEAVING, READY, Orders, common_store, lost, write_orders
from relay.server.vigil import SILENCE, STEP, Vigil

FIRST_WAIT = 0.1
"""Seconds until a worker that died is started again the first time."""

LONGEST_WAIT = 5.0
"""Seconds to which the wait grows."""

STABLE = 30.0
"""Seconds for which a worker must have lived for the waits to begin anew."""

BEGINNING = 60.0
"""Seconds that a worker which takes another's place may take until it is ready."""

PATIENCE = 10.0
"""Seconds for which a worker may go on after its time is up; then it is killed."""


class Crew:
    """All workers of one relay, with what its announcement needs to know."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.count = settings.server.count
        self.certificates: Certificates
        self.draining = asyncio.Event()
        """Set when the relay is to stop in good order."""
        self.quic_address: tuple[str, int] = ("", 0)
        self.http_addresses: list[tuple[str, int]] = []
        self.internal_address: tuple[str, int] | None = None
        self.tcp_address: tuple[str, int] | None = None
        self.log = structlog.get_logger()
        self._hurry = asyncio.Event()
        self._led = asyncio.Event()
        """Set when the first worker has begun: it says what is wrong once, and makes the store's
        tables, so the others have their orders after it."""
        self._vigil = Vigil()
        self._programs: dict[int, Program] = {}
        self._quic: Workers = []
        self._faces: Faces = {}

    async def serve(self, hurry: asyncio.Event, ready: Callable[[Crew], None]) -> None:
        """Run until `draining` is set and all have left; ``hurry`` ends their waiting.

        Raises `ConfigError` when a worker cannot start the first time.
        """
        self._hurry = hurry
        with (
            own_folder() as folder,
            self._sockets(),
            contextlib.closing(Absences(self._quic, folder)) as self._absences,
        ):
            settings = self._common(folder)
            started = [asyncio.Event() for _ in range(self.count)]
            async with asyncio.TaskGroup() as tasks:
                self._forks = ForkServer(tasks)
                watching = tasks.create_task(self._watch())
                keeping = [
                    tasks.create_task(self._keep(index, settings, folder, event))
                    for index, event in enumerate(started)
                ]
                await started[0].wait()
                self._led.set()
                for event in started:
                    await event.wait()
                if not self.draining.is_set():
                    ready(self)
                for each in keeping:
                    await each
                watching.cancel()
                self._forks.close()

    async def _watch(self) -> None:
        """End workers that hang, so that others take their places; keep a generated certificate
        young, which the workers follow."""
        while True:
            await asyncio.sleep(STEP / 2)
            try:
                self.certificates.renew_if_due()
            except ConfigError as error:
                self.log.error("certificate not renewed, the old one stays", why=str(error))
            for worker in self._vigil.look(time.monotonic(), self.draining.is_set()):
                self.log.error("worker hangs", worker=worker, seconds=SILENCE)
                with contextlib.suppress(ProcessLookupError):
                    self._programs[worker].kill()

    @contextlib.contextmanager
    def _sockets(self) -> Iterator[None]:
        """Open every socket of the relay. Raises `ConfigError`."""
        buffer = self.settings.limits.socket_buffer
        with contextlib.ExitStack() as closing:
            self._quic, self._faces = open_sockets(
                self.settings, lambda host, port: bind_all(host, port, buffer, self.count)
            )
            for each in (sock for worker in self._quic for sock in worker):
                closing.callback(each.close)
            self.quic_address = udp.plain(self._quic[0][0].getsockname())
            for name, sockets in self._faces.items():
                for sock in sockets:
                    closing.callback(sock.close)
                address = sockets[0].getsockname()
                if name == "internal":
                    self.internal_address = address[:2]
                elif name == TCP:
                    self.tcp_address = address[:2]
                elif name != UNIX:
                    self.http_addresses.append(address[:2])
            yield

    def _common(self, folder: File) -> Settings:
        """The settings of all workers: what each would make for itself is made once."""
        settings = self.settings
        tls, records = settings.server.tls, settings.records
        if tls.cert and tls.key:
            self.certificates = load_certificates(settings).first
        else:
            cert, key = folder / "cert.pem", folder / "key.pem"
            self.certificates = Certificates.generated(tls.generate or LAPTOP, (cert, key))
            tls = tls.model_copy(update={"cert": (cert,), "key": (key,), "generate": ()})
        if records.url is None:
            # As short-lived as memory, and the same for all.
            records = records.model_copy(update={"url": common_store(folder)})
        server = settings.server.model_copy(update={"tls": tls})
        return settings.model_copy(update={"server": server, "records": records})

    def _orders(self, index: int, settings: Settings, folder: File) -> Orders:
        """The first worker has the faces and the links to other relays."""
        if index:
            alone = {"connect": (), "connect_api": None, "token": None, "mesh": False, "id": None}
            cluster = settings.cluster.model_copy(update=alone)
            settings = settings.model_copy(update={"cluster": cluster})
        faces = {} if index else {name: len(each) for name, each in self._faces.items()}
        return Orders(settings, index, self.count, str(folder), len(self._quic[index]), faces)

    async def _keep(
        self, index: int, settings: Settings, folder: File, started: asyncio.Event
    ) -> None:
        """Have a worker there until the relay stops."""
        wait = FIRST_WAIT
        orders = self._orders(index, settings, folder)
        while not self.draining.is_set():
            began = time.monotonic()
            status, had_begun = await self._live(orders, started)
            if status == 0:
                self.draining.set()  # it was told to leave, by whoever may
            elif (had_begun and status != UNKNOWN) or not self.draining.is_set():
                self._tell_death(index, status)
            self._absences.begin(index)  # while all leave, too: the others have sessions still
            if self.draining.is_set():
                break
            if time.monotonic() - began >= STABLE:
                wait = FIRST_WAIT
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait * random.uniform(0.5, 1.0)):
                    await self.draining.wait()
            wait = min(wait * 2, LONGEST_WAIT)
        started.set()  # whoever waits for it need wait no more

    async def _live(self, orders: Orders, started: asyncio.Event) -> tuple[int | None, bool]:
        """One life of a worker; answers its exit status, and whether it had begun. ``None`` is for
        one that there never was.

        Raises `ConfigError` when it cannot start, and never has.
        """
        try:
            program = await self._born(orders)
        except (OSError, RuntimeError) as error:
            # The system has no room for another process, maybe only now, or for the thread that
            # waits for its end in some of asyncio's loops.
            why = f"no process for it: {getattr(error, 'strerror', None) or error}"
            if self.draining.is_set():
                return None, False  # whoever stops a service may stop its fork server as well
            if not started.is_set():
                raise ConfigError(f"server.workers: {why}") from None
            self.log.error("worker cannot start", worker=orders.index, why=why)
            return None, False
        if program is None:
            return None, False
        try:
            async with asyncio.TaskGroup() as tasks:
                telling = tasks.create_task(self._tell(program, orders))
                line = await self._first_line(program, orders.index, started.is_set())
                said, _, life = line.partition(" ") if line.startswith(READY) else (line, "", "")
                if said == READY:
                    self._absences.end(orders.index)
                    self.log.info("worker ready", worker=orders.index, pid=program.pid)
                    started.set()
                    self._programs[orders.index] = program
                    self._vigil.heard(orders.index)  # from now on its silence counts
                    while sign := await program.stdout.readline():
                        self._vigil.heard(orders.index)
                        if sign.strip() == LEAVING.encode():
                            self.draining.set()  # told over HTTP; the others are as well
                status = await program.wait()
                telling.cancel()
        finally:
            self._vigil.ended(orders.index)
            with contextlib.suppress(ProcessLookupError):
                program.kill()
            await program.wait()
            program.close()
        if life:
            self._tell_of(orders.index, life)
        if said != READY and not started.is_set() and not self.draining.is_set():
            raise ConfigError(said or f"a worker ended with status {status} before it was ready")
        if said not in (READY, ""):
            self.log.error("worker cannot start", worker=orders.index, why=said)
        return status, said == READY

    async def _first_line(self, program: Program, index: int, is_limited: bool) -> str:
        """What a worker says first. If its time for that is limited, it may be ended instead."""
        try:
            async with asyncio.timeout(BEGINNING if is_limited else None):
                line = await program.stdout.readline()
        except TimeoutError:
            self.log.error("worker hangs", worker=index, seconds=BEGINNING)
            program.kill()
            return ""
        return line.decode("utf-8", "replace").strip()

    async def _born(self, orders: Orders) -> Program | None:
        """A new worker; ``None`` when the relay is to stop before there is one.

        Raises `OSError`, `RuntimeError`.
        """
        faces = () if orders.index else chain(*self._faces.values())
        sockets = (*self._quic[orders.index], *faces)
        numbers = tuple(sock.fileno() for sock in sockets)
        birth = asyncio.ensure_future(self._forks.fork(numbers))
        stop = asyncio.ensure_future(self.draining.wait())
        try:
            await asyncio.wait({birth, stop}, return_when=asyncio.FIRST_COMPLETED)
            return await birth if birth.done() else None
        finally:
            birth.cancel()
            stop.cancel()

    def _tell_death(self, index: int, status: int | None) -> None:
        """Log that a worker has died; one that could not begin has been told of."""
        if status == UNKNOWN:
            why = "its fork server ended before it, or hangs"
            self.log.error("worker died", worker=index, status="unknown", why=why)
        elif status is not None:
            self.log.error("worker died", worker=index, status=status)

    def _tell_of(self, index: int, life: str) -> None:
        """Let the first worker know that another has died, whose shares nobody holds any more."""
        first = self._programs.get(0)
        if index and first is not None and first.returncode is None:
            _say(first.stdin, lost(index, life))

    async def _tell(self, program: Program, orders: Orders) -> None:
        """Hand over the orders, say when it is time to go, and see to it that it goes."""
        worker = program.stdin
        with contextlib.suppress(ConnectionError, ProcessLookupError):  # it has ended by itself
            if orders.index:
                await self._led.wait()
            _say(worker, write_orders(orders))
            await worker.drain()
            await self.draining.wait()
            if self._programs.get(orders.index) is not program:
                program.kill()  # it has not begun, so nobody is with it
                return
            _say(worker, HURRY if self._hurry.is_set() else DRAIN)
            await worker.drain()
            await self._hurry.wait()
            _say(worker, HURRY)
            await worker.drain()
            await asyncio.sleep(PATIENCE)
            program.kill()


def _say(worker: asyncio.StreamWriter, words: bytes) -> None:
    """Tell a worker, which may have died this very moment: then uvloop has closed its input."""
    if not worker.is_closing():
        worker.write(words)
