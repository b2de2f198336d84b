"""Keys rotate under a hundred live sessions and a crowd at the door of a running relay.

Nobody with a token of a valid key is refused, nobody with one of a retired key gets in, and nobody
who is in is put out. A key is shown before anything is signed with it; a retired one is worthless
as soon as a relay must have heard of that.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path as File
from typing import Any

import pytest

from pace import rest, until
from relay.auth import mint
from relay.auth.claims import Claims
from relay.auth.credentials import make_token, secret_digest
from relay.auth.facts import StoredToken
from relay.auth.keys import Key, generate
from relay.client import connect
from relay.control.serve import HttpListener
from relay.errors import SessionLost
from relay.net.trust import DialTls
from relay.path import ROOT, Path
from relay.server.relay import Relay

TRUST = DialTls(disable_verify=True)
LIVE = 100
CROWD = 8
ROUNDS = 2
HEARD = 2.5
"""Seconds within which a relay must know of a key that came or went."""

PATIENCE = 60.0
"""Seconds until the crowd must have tried everything often enough, on a machine that is busy."""

FAR = 4_000_000_000
BASE = """
[server]
listen = "127.0.0.1:0"
[server.tls]
generate = ["localhost", "127.0.0.1"]
[auth]
"""
Show = Callable[..., None]


def signed(key: Key) -> str:
    return mint.sign(Claims(root=Path("demo"), get=(Path(""),), exp=FAR), key, 0)


@asynccontextmanager
async def key_set() -> AsyncIterator[tuple[str, Show]]:
    """A server of one JWK set: its URL, and how to change what it shows."""
    body = b'{"keys": []}'

    def show(*keys: Key) -> None:
        nonlocal body
        body = json.dumps({"keys": [key.public().to_jwk() for key in keys]}).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"content-length: {len(body)}\r\ncache-control: max-age=0\r\nconnection: close"
        writer.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks", show


class Crowd:
    """Newcomers with tokens of every kind, and how often each kind was tried."""

    def __init__(self, relay: Any) -> None:
        self.relay = relay
        self.valid: list[Key] = []
        self.retired: list[Key] = []
        self.tried = {"valid": 0, "retired": 0, "forged": 0}
        self.over = False

    def url(self, key: Key, scheme: str = "https") -> str:
        return f"{scheme}://127.0.0.1:{self.relay.quic_address[1]}/demo?jwt={signed(key)}"

    async def status(self, key: Key) -> int:
        """How the door answers a token of ``key``."""
        try:
            async with connect(self.url(key), tls=TRUST):
                return 200
        except SessionLost as refused:
            return refused.status

    async def come(self, seed: int) -> None:
        """One newcomer after the other, until it is over."""
        draw = random.Random(seed)
        while not self.over:
            key = draw.choice(self.valid)
            status = await self.status(key)
            assert status == 200 or key not in self.valid, f"{key.kid} was refused: {status}"
            self.tried["valid"] += 1
            if self.retired:
                assert await self.status(draw.choice(self.retired)) == 401
                self.tried["retired"] += 1
            forger = generate("EdDSA", draw.choice(self.valid).kid)
            assert await self.status(forger) == 401
            self.tried["forged"] += 1


async def rotate(crowd: Crowd, show: Show, made: list[Key], patience: float) -> None:
    """Every round a key comes, is used after ``patience`` seconds, and the oldest goes."""
    for fresh in made[1:]:
        show(*crowd.valid, fresh)
        await rest(patience, 0.25)
        crowd.valid.append(fresh)
        await asyncio.sleep(0.3)
        old = crowd.valid.pop(0)
        show(*crowd.valid)
        await rest(HEARD, 0.25)
        crowd.retired.append(old)
    async with asyncio.timeout(PATIENCE):
        while min(crowd.tried.values()) <= 2 * CROWD:
            await asyncio.sleep(0.1)
    crowd.over = True


async def under_load(relay: Any, show: Show, made: list[Key], patience: float) -> None:
    crowd = Crowd(relay)
    crowd.valid.append(made[0])
    async with AsyncExitStack() as stack:
        urls = [crowd.url(made[0], ("https", "moqt")[number % 2]) for number in range(LIVE)]
        live = [await stack.enter_async_context(connect(url, tls=TRUST)) for url in urls]
        async with asyncio.TaskGroup() as tasks:
            for seed in range(CROWD):
                tasks.create_task(crowd.come(seed))
            tasks.create_task(rotate(crowd, show, made, patience))
        assert len(crowd.retired) == ROUNDS
        assert [client.lost for client in live if client.lost.done()] == []
        assert sum(guest.grant is not None for guest in relay.door.guests.values()) >= LIVE


@pytest.mark.slow
@pytest.mark.parametrize("source", ["folder", "set"])
def test_rotation_under_load(running: Any, folder: File, source: str) -> None:
    made = [generate("EdDSA", f"key-{number}") for number in range(ROUNDS + 1)]

    async def by_folder() -> None:
        place = folder / "keys"
        place.mkdir()

        def show(*keys: Key) -> None:
            for key in keys:
                (folder / "new").write_bytes(key.public().dump())
                (folder / "new").rename(place / f"{key.kid}.jwk")
            for file in place.glob("*.jwk"):
                if file.stem not in {key.kid for key in keys}:
                    file.unlink()

        show(made[0])
        async with running('key_dir = "keys"\n', BASE) as relay:
            await under_load(relay, show, made, HEARD)

    async def by_set() -> None:
        fetch = "[auth.fetch]\nallow_private = true\nmin_interval = 0.1\ndefault_age = 0.5\n"
        async with key_set() as (url, show):
            show(made[0])
            async with running(f'jwks = ["{url}"]\n{fetch}', BASE) as relay:
                # a set is asked at once for a key that is not known: no patience is needed
                await under_load(relay, show, made, 0.0)

    asyncio.run(by_folder() if source == "folder" else by_set())


@pytest.mark.parametrize("is_store", [False, True], ids=["keys at a URL", "a token of the store"])
def test_whoever_comes_while_the_relay_begins_is_decided_on_as_later(
    running: Any, folder: File, monkeypatch: pytest.MonkeyPatch, is_store: bool
) -> None:
    """QUIC is taken as soon as the socket is there, and HTTP may need a while to be."""
    serve, open_records = HttpListener.serve, Relay._open_records
    relays: list[Relay] = []
    made, key = make_token(), generate("ES256", "k1")
    stored = StoredToken(made.prefix, secret_digest(made.secret), "cam", subscribe=(ROOT,))

    async def opened(self: Relay, closing: Any) -> None:
        await open_records(self, closing)
        await self.desk.records.add_token(stored)
        relays.append(self)

    async def main() -> None:
        may_serve, may_end = asyncio.Event(), asyncio.Event()

        async def slowly(self: HttpListener) -> None:
            await may_serve.wait()
            await serve(self)

        monkeypatch.setattr(HttpListener, "serve", slowly)
        monkeypatch.setattr(Relay, "_open_records", opened)

        async with key_set() as (url, show):
            show(key)
            said = f'jwks = ["{url}"]\n[auth.fetch]\nallow_private = true\n'

            async def run() -> None:
                async with running(f'{said}[web.http]\nlisten = "127.0.0.1:0"\n', BASE):
                    await may_end.wait()

            async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
                tasks.create_task(run())
                await until(lambda: relays and relays[0].quic_address[1])
                bearer = str(made) if is_store else signed(key)
                host, port = relays[0].quic_address
                async with connect(f"https://{host}:{port}/demo?jwt={bearer}", tls=TRUST) as client:
                    assert not client.lost.done()
                    may_serve.set()
                may_end.set()

    asyncio.run(main())
