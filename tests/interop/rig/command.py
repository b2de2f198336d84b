"""Our own commands, ``relay publish`` and ``relay subscribe``, as one more client.

Its job is to drive them as a shell does, one process for each thing that is asked; its law is to
use nothing but their arguments, standard input and standard output. It must not import the relay.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from rig.client import Target
from rig.crew import Crew, crew
from rig.frames import DEADLINE, KEEP_MS, TEXT, Frame, Group, Hearsay, Plan, Record

LINE = 1 << 20
"""Bytes of the longest line that a subscriber prints: 300 KiB as base64, and room."""


class CommandPublication:
    """A process that turns lines into groups of one frame each, stamped with its own clock."""

    def __init__(self, program: Process) -> None:
        self._program = program

    async def write(self, frames: Group, *, end: bool = True) -> None:
        assert self._program.stdin is not None
        assert end, "a line is a whole group"
        for _, payload in frames:
            self._program.stdin.write(payload + b"\n")
        await self._program.stdin.drain()

    async def finish(self) -> None:
        assert self._program.stdin is not None
        self._program.stdin.close()

    async def unpublish(self) -> None:
        await self.finish()


class CommandWatch:
    """A process that prints frames. It does not say when a group ends."""

    def __init__(self, program: Process, members: Crew) -> None:
        self._program = program
        self._record = Record()
        members.start(self._receive())

    async def _receive(self) -> None:
        assert self._program.stdout is not None
        async for line in self._program.stdout:
            facts = json.loads(line)
            timestamp = facts["timestamp"] * 1_000_000 // facts["timescale"]
            payload = base64.b64decode(facts["payload"])
            self._record.add(Frame(facts["group"], facts["index"], timestamp, payload))
        status = await self._program.wait()
        outcome = f"exit status {status}" if status else "finished"
        self._record.end(outcome, failed=status != 0)

    async def collect(
        self, *, groups: int = 0, frames: int = 0, within: float = DEADLINE
    ) -> list[Frame]:
        return await self._record.collect(0, max(groups, frames), within)

    async def over(self, within: float = DEADLINE) -> str:
        return await self._record.over(within)

    async def cancel(self) -> None:
        self._program.terminate()


class CommandListening:
    """A process that prints what is announced."""

    def __init__(self, program: Process, prefix: str, members: Crew) -> None:
        self._program = program
        self._prefix = prefix
        self._hearsay = Hearsay()
        members.start(self._receive())

    async def _receive(self) -> None:
        assert self._program.stdout is not None
        async for line in self._program.stdout:
            sign, path = line.decode().rstrip("\n").split(" ", 1)
            self._hearsay.add(path.removeprefix(self._prefix).removeprefix("/"), sign == "+")

    async def until(self, path: str, active: bool = True, within: float = DEADLINE) -> None:
        await self._hearsay.until(path, active, within)

    async def heard(self) -> list[tuple[str, bool]]:
        return self._hearsay.heard()


class CommandSession:
    """Not one connection but as many as there are things to do."""

    version = ""

    def __init__(self, run: Callable[..., Awaitable[Process]], members: Crew) -> None:
        self._run = run
        self._crew = members

    async def publish(self, broadcast: str, track: str) -> CommandPublication:
        return CommandPublication(await self._run("publish", broadcast, track))

    async def watch(self, broadcast: str, track: str, *, keep_ms: int = KEEP_MS) -> CommandWatch:
        return CommandWatch(await self._run("subscribe", broadcast, track, "--json"), self._crew)

    async def listen(self, prefix: str = "") -> CommandListening:
        return CommandListening(await self._run("subscribe", prefix), prefix, self._crew)

    async def ended(self, within: float = DEADLINE) -> str | None:
        return None


class CommandClient:
    """The commands of our own."""

    name = "relay-cli"
    scheme = "https"
    plan: Plan = TEXT
    patient = False
    timestamps = False

    @asynccontextmanager
    async def connect(self, target: Target) -> AsyncIterator[CommandSession]:
        programs: list[Process] = []

        async def run(name: str, *arguments: str) -> Process:
            pin = ("--tls-fingerprint", target.fingerprint) if target.fingerprint else ()
            program = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "relay", name, target.url, *arguments, *pin),
                stdin=PIPE if name == "publish" else DEVNULL,
                stdout=PIPE,
                limit=LINE,
            )
            programs.append(program)
            return program

        try:
            async with crew() as members:
                yield CommandSession(run, members)
        finally:
            for program in programs:
                if program.returncode is None:
                    program.kill()
                await program.communicate()
