"""Firefox as it is packaged, behind the JSON lines of ``node/browser.mjs``: a program of its own.

Its job is to carry calls into pages, over WebDriver BiDi; its law is one reply for every request,
whatever happens in the page, and an end with the browser's. It must not know MoQ: that is page.mjs.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

PAGES = Path(__file__).resolve().parents[1] / "node" / "pages.mjs"

MAX_LINE = 1 << 26
"""Bytes of a request."""

_LISTENING = re.compile(rb"WebDriver BiDi listening on (ws://\S+)")

_CALL = "async (name, args) => JSON.stringify(await window.rig(name, JSON.parse(args)))"


def executable() -> str | None:
    """Where Firefox is."""
    return os.environ.get("FIREFOX") or shutil.which("firefox-esr") or shutil.which("firefox")


class Firefox:
    """One running Firefox, many pages."""

    def __init__(self, wire: ClientConnection, address: str) -> None:
        self._wire = wire
        self._address = address
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: list[str] = []
        self._idle: list[int] = []

    async def read(self) -> None:
        """Hear what Firefox says. Raises `RuntimeError` when it is gone."""
        async for text in self._wire:
            message = json.loads(text)
            if message["type"] == "event":
                sys.stderr.write(f"{message['params']['text']}\n")
            elif waiting := self._waiting.pop(message["id"], None):
                waiting.set_result(message)
        raise RuntimeError("Firefox is gone")

    async def send(self, method: str, **params: Any) -> Any:
        """One command of WebDriver BiDi and its result. Raises `RuntimeError`."""
        number = next(self._numbers)
        waiting = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._wire.send(json.dumps({"id": number, "method": method, "params": params}))
        message = await waiting
        if message["type"] == "error":
            raise RuntimeError(f"{method}: {message['error']}: {message['message']}")
        return message["result"]

    async def open(self) -> int:
        """A page that nobody uses: its number."""
        if self._idle:
            return self._idle.pop()
        # A window each: of a tab that is not in front the timers are slow.
        context = (await self.send("browsingContext.create", type="window"))["context"]
        self._pages.append(context)
        number = len(self._pages) - 1
        await self._load(number)
        return number

    async def call(self, page: int, name: str, args: list[Any]) -> Any:
        """What a function of the page answers. Raises `RuntimeError` with the error's text."""
        said = await self.send(
            "script.callFunction",
            functionDeclaration=_CALL,
            arguments=[{"type": "string", "value": text} for text in (name, json.dumps(args))],
            target={"context": self._pages[page]},
            awaitPromise=True,
        )
        if said["type"] == "exception":
            raise RuntimeError(said["exceptionDetails"]["text"])
        outcome = json.loads(said["result"]["value"])
        if "error" in outcome:
            raise RuntimeError(outcome["error"])
        return outcome["result"]

    async def close(self, page: int) -> None:
        """Whoever used the page does not any more."""
        # Without that its session would last until Firefox collects garbage, for many seconds.
        await self.call(page, "disconnect", [])
        await self._load(page)
        self._idle.append(page)

    async def _load(self, page: int) -> None:
        where = {"context": self._pages[page], "url": self._address}
        await self.send("browsingContext.navigate", **where, wait="complete")


def _reply(**message: Any) -> None:
    sys.stdout.write(f"{json.dumps(message)}\n")
    sys.stdout.flush()


async def _answer(firefox: Firefox, id: int, op: str, **fields: Any) -> None:
    try:
        operation = {"open": firefox.open, "call": firefox.call, "close": firefox.close}[op]
        _reply(id=id, result=await operation(**fields))
    except Exception as error:
        _reply(id=id, error=str(error))


async def _serve(browser: Process, address: str) -> None:
    """Answer requests until there are no more."""
    loop = asyncio.get_running_loop()
    requests = asyncio.StreamReader(limit=MAX_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin)
    url = await _listening(browser)
    try:
        async with connect(f"{url}/session", max_size=None) as wire, asyncio.TaskGroup() as tasks:
            firefox = Firefox(wire, address)
            tasks.create_task(firefox.read())
            begun = await firefox.send("session.new", capabilities={})
            await firefox.send("session.subscribe", events=["log.entryAdded"])
            _reply(ready=begun["capabilities"]["browserVersion"])
            async for request in requests:
                tasks.create_task(_answer(firefox, **json.loads(request)))
            raise EOFError
    except* EOFError:
        pass


async def _listening(browser: Process) -> str:
    assert browser.stderr is not None
    async for line in browser.stderr:
        if found := _LISTENING.search(line):
            return found[1].decode()
    raise RuntimeError("Firefox did not start")


async def main(profile: str) -> None:
    """Run Firefox with an empty folder of its own until the input ends."""
    flags = ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0"]
    pages = await asyncio.create_subprocess_exec("node", PAGES, stdin=PIPE, stdout=PIPE)
    browser = await asyncio.create_subprocess_exec(
        executable() or "firefox", *flags, "about:blank", stdout=DEVNULL, stderr=PIPE
    )
    try:
        assert pages.stdout is not None
        await _serve(browser, (await pages.stdout.readline()).decode().strip())
    finally:
        for program in (browser, pages):
            if program.returncode is None:
                program.kill()
            await program.wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
