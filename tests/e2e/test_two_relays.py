"""Two relays on one PostgreSQL: what an operator does at one counter holds at both in a second."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest

from pace import within
from relay.auth.credentials import make_key
from relay.client import connect
from relay.errors import SessionLost
from relay.net.trust import DialTls

KEY = make_key(100_000)
TRUST = DialTls(disable_verify=True)
SOON = 1.0
"""Seconds within which the other relay has followed."""


@asynccontextmanager
async def two(running: Any, url: str) -> AsyncIterator[tuple[Any, Any, Any, Any]]:
    """Two relays and their counters."""
    extra = (
        f'[records]\nurl = "{url}"\n[admin]\napi_key = "{KEY.hash}"\n'
        "[issuer]\nenabled = true\nttl = 60\n"
    )
    headers = {"authorization": f"Bearer {KEY.bearer}"}
    async with AsyncExitStack() as stack:
        relays = [await stack.enter_async_context(running(extra)) for _ in range(2)]
        webs = [
            await stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=f"http://127.0.0.1:{relay.http_addresses[0][1]}/admin/v1",
                    headers=headers,
                    timeout=10,
                )
            )
            for relay in relays
        ]
        for web in webs:  # the key is derived once; that is not what is measured below
            assert (await web.get("/nodes")).status_code == 200
        yield relays[0], relays[1], webs[0], webs[1]


async def within_a_second(holds: Callable[[], Awaitable[bool]], relay: Any) -> None:
    """Not counted is how long the database takes to say anything at all."""

    async def holds_there() -> bool:
        await relay.desk.records.marks()
        return await holds()

    await within(SOON, holds_there)


async def enters(relay: Any, root: str, token: str) -> int:
    target = f"https://127.0.0.1:{relay.quic_address[1]}/{root}?jwt={token}"
    try:
        async with connect(target, tls=TRUST):
            return 200
    except SessionLost as lost:
        return lost.status


async def signed(relay: Any, bearer: str) -> str:
    """A token of the relays' own, in exchange for an API token."""
    url = f"http://127.0.0.1:{relay.http_addresses[0][1]}/auth/login"
    async with httpx.AsyncClient() as web:
        answer = await web.post(url, headers={"authorization": f"Bearer {bearer}"})
    assert answer.status_code == 201
    return str(answer.json()["token"])


async def kids(web: Any) -> set[str]:
    return {key["kid"] for key in (await web.get("/keys/jwks")).json()["keys"]}


def test_what_is_done_at_one_counter_holds_at_both(
    running: Any, postgres: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOQ_MASTER_KEY", base64.b64encode(os.urandom(32)).decode())

    async def main() -> None:
        async with two(running, postgres()) as (one, other, here, there):
            # Quotas.
            said = await here.put("/quotas/plant", json={"sessions": 7})
            assert said.json()["limits"]["sessions"] == 7

            async def obeyed() -> bool:
                return bool(other.house.ledger.limits.of("plant").sessions == 7)

            await within_a_second(obeyed, other)
            assert (await there.get("/quotas/plant")).json()["said"]["sessions"] == 7

            # An API token that is made at one is good at the other, and so is its revocation.
            made = await here.post(
                "/tokens", json={"name": "cam", "root": "plant", "publish": [""]}
            )
            token = made.json()["token"]
            assert await enters(other, "plant", token) == 200
            async with connect(
                f"https://127.0.0.1:{other.quic_address[1]}/plant?jwt={token}", tls=TRUST
            ) as client:
                while not any(guest.opened for guest in other.door.guests.values()):
                    await asyncio.sleep(0.01)
                assert (await here.delete(f"/tokens/{made.json()['prefix']}")).status_code == 200

                async def ended() -> bool:
                    return bool(client.lost.done())

                await within_a_second(ended, other)
            assert await enters(other, "plant", token) == 401

            # Rotations: signed before, good after, at both; the new key is known at both.
            made = await there.post("/tokens", json={"name": "b", "root": "plant", "publish": [""]})
            old = await signed(one, made.json()["token"])
            before = await kids(there)
            rotated = await here.post("/keys/rotate", params={"grace": "24h"})
            assert rotated.status_code == 200

            async def followed() -> bool:
                return len(await kids(there)) == len(before) + 1

            await within_a_second(followed, other)
            assert await kids(here) == await kids(there) > before
            assert [await enters(each, "plant", old) for each in (one, other)] == [200, 200]
            fresh = await signed(other, made.json()["token"])
            assert [await enters(each, "plant", fresh) for each in (one, other)] == [200, 200]

            # A key that leaked: what it signed is worth nothing, at both.
            leaked = await there.post("/keys/rotate", params={"compromised": "true"})
            assert leaked.status_code == 200

            async def refused() -> bool:
                return await enters(one, "plant", fresh) == 401

            await within_a_second(refused, other)
            assert await enters(other, "plant", fresh) == 401

            # One may hear that the old key is worth nothing a moment before it has the new one.
            async def agreed() -> bool:
                return await kids(here) == await kids(there)

            await within_a_second(agreed, other)
            last = await signed(one, made.json()["token"])
            assert await enters(other, "plant", last) == 200

            # And the log at one knows what was done at the other.
            entries = (await there.get("/audit", params={"limit": 200})).json()["entries"]
            actions = {entry["action"] for entry in entries if entry["actor"] == "admin"}
            assert actions == {"quota.set", "token.create", "token.revoke", "key.rotate"}

    asyncio.run(main())
