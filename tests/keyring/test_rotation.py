"""Keys rotate while a hundred guests come and go: nobody is refused wrongly, nobody let in."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

from pace import until
from relay.auth.decide import Request, decide
from relay.auth.keys import Key, generate
from relay.auth.settings import AuthSettings
from relay.config import load
from relay.keyring import Change, Keyring
from relay.server.relay import Relay

GUESTS = 100
ROUNDS = 3


class Gate:
    """Decides as a door does: wait for the key if it may come, then decide."""

    def __init__(self, ring: Keyring, settings: AuthSettings) -> None:
        self.ring = ring
        self.settings = settings

    async def admits(self, token: str, kid: str) -> bool:
        await self.ring.need(kid)
        request = Request(f"/demo?jwt={token}")
        return bool(decide(request, self.ring.keys, self.settings, time.time()))


async def rotate(tools: Any, publish: Any, gate: Gate, heard: Any) -> tuple[int, int]:
    """Guests with every kind of token while keys come and go; how often each kind was tried.

    A key is published before anything is signed with it, and its tokens count as worthless once
    ``heard`` has waited for what was published to have reached the relay.
    """
    made = [generate("EdDSA", f"key-{number}") for number in range(ROUNDS + 2)]
    tokens = {key.kid: tools.token(key) for key in made}
    stranger = tools.token(generate("EdDSA", "key-0"))
    valid, retired = [made[0]], list[Key]()
    publish(*valid)
    tried = [0, 0]
    over = False

    async def guest(number: int) -> None:
        draw = random.Random(number)
        while not over:
            key = draw.choice(valid)
            admitted = await gate.admits(tokens[key.kid], key.kid or "")
            assert admitted or key not in valid, f"{key.kid} was refused"
            tried[0] += 1
            if retired:
                key = draw.choice(retired)
                assert not await gate.admits(tokens[key.kid], key.kid or ""), key.kid
                tried[1] += 1
            assert not await gate.admits(stranger, "key-0")
            await asyncio.sleep(draw.random() * 0.2)

    async with asyncio.TaskGroup() as tasks:
        for number in range(GUESTS):
            tasks.create_task(guest(number))
        for fresh in made[1 : ROUNDS + 1]:
            await asyncio.sleep(0.1)
            publish(*valid, fresh)
            valid.append(fresh)
            await asyncio.sleep(0.1)
            old = valid.pop(0)
            publish(*valid)
            await asyncio.sleep(0.3)
            await heard()
            retired.append(old)
        await asyncio.sleep(0.1)
        over = True
    return tried[0], tried[1]


def test_rotation_of_a_published_set_under_load(tools: Any) -> None:
    async def main() -> None:
        async with tools.server() as server:

            def publish(*keys: Key) -> None:
                server.show("/jwks", *keys, cache_control="max-age=0")

            async def heard() -> None:
                """One fetch that began after this moment is over, since another began."""
                asked = server.count("/jwks")
                await until(lambda: server.count("/jwks") >= asked + 2)

            fetch = {"allow_private": True, "min_interval": 0.05, "default_age": 0.2}
            settings = AuthSettings.model_validate({"jwks": [server.url("/jwks")], "fetch": fetch})
            ring = Keyring(settings, every=0.05)
            task = asyncio.ensure_future(ring.run())
            began = time.monotonic()
            try:
                await asyncio.sleep(0)
                tried = await rotate(tools, publish, Gate(ring, settings), heard)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            assert min(tried) > GUESTS
            assert server.count("/jwks") < (time.monotonic() - began) / 0.05 + 2

    asyncio.run(main())


def test_rotation_of_a_folder_under_load(tools: Any, tmp_path: Path) -> None:
    async def main() -> None:
        def publish(*keys: Key) -> None:
            for key in keys:
                (tmp_path / "new").write_bytes(key.dump())
                (tmp_path / "new").rename(tmp_path / f"{key.kid}.jwk")
            for path in tmp_path.glob("*.jwk"):
                if path.stem not in {key.kid for key in keys}:
                    path.unlink()

        settings = AuthSettings(key_dir=str(tmp_path))
        ring = Keyring(settings, every=0.02)
        task = asyncio.ensure_future(ring.run())

        def settled() -> bool:
            filed = {path.stem for path in tmp_path.glob("*.jwk")}
            return {key.kid for key in ring.keys.keys} == filed

        class Patient(Gate):
            """A signer does not use a key in the very moment its file appears."""

            async def admits(self, token: str, kid: str) -> bool:
                await until(settled)
                return await super().admits(token, kid)

        try:
            tried = await rotate(tools, publish, Patient(ring, settings), lambda: until(settled))
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert min(tried) > GUESTS

    asyncio.run(main())


def test_a_running_relay_decides_with_the_keys_of_the_moment(tools: Any, tmp_path: Path) -> None:
    one, two = generate("EdDSA", "one"), generate("EdDSA", "two")
    toml = """
[server]
listen = "127.0.0.1:0"
[server.tls]
generate = ["localhost"]
[auth]
jwks = ["{url}"]
[auth.fetch]
allow_private = true
min_interval = 0.05
default_age = 0.1
"""

    async def main() -> None:
        async with tools.server() as server:
            server.show("/jwks", one)
            (tmp_path / "relay.toml").write_text(toml.format(url=server.url("/jwks")))
            relay = Relay(load(tmp_path / "relay.toml", environ={}).settings)
            changes: list[Change] = []
            relay.keyring.on_change(changes.append)

            def admits(key: Key) -> bool:
                request = Request(f"/demo?jwt={tools.token(key)}")
                rules = relay.judge.rules
                return bool(decide(request, rules.keys, rules.settings, relay.wall()))

            async with relay.running():
                await until(lambda: admits(one))
                assert not admits(two)
                server.show("/jwks", two)
                await until(lambda: admits(two))
                assert not admits(one)
            assert changes[-1] == Change(frozenset({"two"}), frozenset({"one"}))

    asyncio.run(main())
