"""@moq/net in a real browser as a client: Chromium through ``node/browser.mjs``, or Firefox.

Its job is to carry the rig's calls to one page per session; its law is that a dead browser fails
the call in hand, with its log, and hangs nobody. It must not know the relay.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import subprocess
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from rig.client import Target
from rig.frames import BINARY, DEADLINE, KEEP_MS, Frame, Group, Plan, Refused

NODE = Path(__file__).resolve().parents[1] / "node"
"""The folder of the node project."""

START = 60.0
"""Seconds that node, the bundler and the browser may take to be ready."""

GRACE = 5.0
"""Seconds a call may outlast the deadline that the page itself keeps."""


class Browser:
    """The process that owns one browser. Calls may come from any event loop."""

    def __init__(self, log: Path, *command: str) -> None:
        self.log = log
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        self._ready: Future[str] = Future()
        with log.open("wb") as stderr:
            self._program = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_ready(self) -> str:
        """The browser's version, once it runs."""
        return self._ready.result(START)

    def _read(self) -> None:
        assert self._program.stdout is not None
        for line in self._program.stdout:
            message = json.loads(line)
            if "ready" in message:
                self._ready.set_result(message["ready"])
                continue
            with self._lock:
                waiting = self._waiting.pop(message["id"])
            if waiting.cancelled():
                continue
            if "error" in message:
                waiting.set_exception(Refused(message["error"]))
            else:
                waiting.set_result(message["result"])
        self._fail(RuntimeError(f"the browser is gone:\n{self.log.read_text()[-2000:]}"))

    def _fail(self, error: Exception) -> None:
        with self._lock:
            left, self._waiting = list(self._waiting.values()), {}
        for waiting in [*left, self._ready]:
            if not waiting.done():
                waiting.set_exception(error)

    async def ask(self, op: str, within: float = DEADLINE, **fields: object) -> Any:
        """One request and its reply. Raises `Refused` with the error text of the page."""
        waiting: Future[Any] = Future()
        with self._lock:
            number = next(self._numbers)
            self._waiting[number] = waiting
            assert self._program.stdin is not None
            self._program.stdin.write(json.dumps({"id": number, "op": op, **fields}) + "\n")
            self._program.stdin.flush()
        try:
            # Shielded: a reply to a call that nobody awaits any more still finds its future.
            async with asyncio.timeout(within + GRACE):
                return await asyncio.shield(asyncio.wrap_future(waiting))
        except Refused as error:
            if "timeout after" in str(error):
                raise TimeoutError(str(error)) from None
            raise

    def close(self) -> None:
        """End the browser and what drives it."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.close()
        try:
            self._program.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._program.kill()
            self._program.wait()
        self._reader.join(GRACE)
        self._program.stdout.close()


class _Piece:
    """Something numbered inside a page."""

    def __init__(self, page: Page, number: int) -> None:
        self._page = page
        self._number = number

    async def _call(self, name: str, *args: object, within: float = DEADLINE) -> Any:
        return await self._page.call(name, self._number, *args, within=within)


class PagePublication(_Piece):
    """A broadcast of one track."""

    async def write(self, frames: Group, *, end: bool = True) -> None:
        coded = [(timestamp, base64.b64encode(body).decode()) for timestamp, body in frames]
        await self._call("write", coded, end)

    async def finish(self) -> None:
        await self._call("finish")

    async def unpublish(self) -> None:
        await self._call("unpublish")


class PageWatch(_Piece):
    """A subscription; the page collects."""

    async def collect(
        self, *, groups: int = 0, frames: int = 0, within: float = DEADLINE
    ) -> list[Frame]:
        wanted = {"groups": groups, "frames": frames, "timeout": within * 1000}
        rows = await self._call("collect", wanted, within=within)
        return [Frame(group, index, at, base64.b64decode(body)) for group, index, at, body in rows]

    async def over(self, within: float = DEADLINE) -> str:
        return str(await self._call("over", {"timeout": within * 1000}, within=within))

    async def cancel(self) -> None:
        await self._call("unwatch")


class PageListening(_Piece):
    """Announcements under a prefix; the page collects."""

    async def until(self, path: str, active: bool = True, within: float = DEADLINE) -> None:
        wanted = {"path": path, "active": active, "timeout": within * 1000}
        await self._call("until", wanted, within=within)

    async def heard(self) -> list[tuple[str, bool]]:
        return [(path, active) for path, active in await self._call("heard")]


class Page:
    """One page with one connection."""

    version = ""

    def __init__(self, browser: Browser, number: int) -> None:
        self._browser = browser
        self._number = number

    async def call(self, name: str, *args: object, within: float = DEADLINE) -> Any:
        """Call a function of ``page.mjs``."""
        return await self._browser.ask(
            "call", page=self._number, name=name, args=args, within=within
        )

    async def connect(self, target: Target) -> None:
        """Open the session. Raises `Refused`."""
        options: dict[str, object] = {
            "fingerprint": target.fingerprint,
            "timeout": DEADLINE * 1000,
        }
        if target.protocols is not None:
            options["protocols"] = list(target.protocols)
        self.version = await self.call("connect", target.url, options)

    async def publish(self, broadcast: str, track: str) -> PagePublication:
        return PagePublication(self, await self.call("publish", broadcast, track))

    async def watch(self, broadcast: str, track: str, *, keep_ms: int = KEEP_MS) -> PageWatch:
        return PageWatch(self, await self.call("watch", broadcast, track, keep_ms))

    async def listen(self, prefix: str = "") -> PageListening:
        return PageListening(self, await self.call("listen", prefix))

    async def ended(self, within: float = DEADLINE) -> str | None:
        text = await self.call("ended", {"timeout": within * 1000}, within=within)
        return None if text is None else str(text)


class PageClient:
    """@moq/net over the browser's own WebTransport, or over WebSocket as in a browser without."""

    plan: Plan = BINARY
    patient = True
    timestamps = True

    def __init__(self, name: str, browser: Browser) -> None:
        self.name = name
        self.scheme = "ws" if name == "chromium-ws" else "https"
        self._browser = browser

    @asynccontextmanager
    async def connect(self, target: Target) -> AsyncIterator[Page]:
        number = await self._browser.ask("open")
        try:
            page = Page(self._browser, number)
            await page.connect(target)
            yield page
        finally:
            await self._browser.ask("close", page=number)
