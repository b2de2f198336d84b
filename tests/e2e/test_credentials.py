"""Credentials beside the JWT, over real sessions and HTTP: API keys of both forms, API tokens."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

from pace import within
from relay.auth.credentials import make_key, make_moose_key, make_token, secret_digest
from relay.auth.facts import StoredToken
from relay.client import connect
from relay.errors import SessionLost
from relay.net.trust import DialTls
from relay.path import Path

TRUST = DialTls(disable_verify=True)


def quic(relay: Any, target: str, scheme: str = "https") -> str:
    return f"{scheme}://127.0.0.1:{relay.quic_address[1]}{target}"


async def takes(relay: Any, target: str, scheme: str, *, yes: str, no: str) -> None:
    """The relay lets somebody in who may publish ``yes`` and not ``no``."""
    async with connect(quic(relay, target, scheme), tls=TRUST) as client, asyncio.timeout(20):
        while not client.hears(yes):
            await asyncio.sleep(0.02)
        assert not client.hears(no)


async def status(relay: Any, target: str) -> int:
    with pytest.raises(SessionLost) as refused:
        async with connect(quic(relay, target), tls=TRUST):
            pass
    return refused.value.status


@pytest.mark.parametrize("moose", [False, True], ids=["ours", "moose"])
def test_an_api_key_names_a_grant(running: Any, moose: bool) -> None:
    key = make_moose_key() if moose else make_key(100_000)
    extra = (
        f'[auth.api_keys.plant]\nhash = "{key.hash}"\nroot = "plant"\n'
        'publish = "sensors"\nsubscribe = ""\n'
    )

    async def main() -> None:
        async with running(extra) as relay, httpx.AsyncClient() as web:
            for scheme in ("https", "moqt"):
                await takes(relay, f"/plant?jwt={key.bearer}", scheme, yes="sensors/a", no="x")
            assert await status(relay, f"/other?jwt={key.bearer}") in (401, 403)
            assert await status(relay, f"/plant?jwt=x{key.bearer}") == 401
            base = f"http://127.0.0.1:{relay.http_addresses[0][1]}/announced/plant"
            bearer = {"authorization": f"Bearer {key.bearer}"}
            assert (await web.get(base, headers=bearer)).status_code == 200
            assert (await web.get(base)).status_code == 401
            differs = await web.get(f"{base}?jwt=a.b.c", headers=bearer)
            assert differs.status_code == 400

    asyncio.run(main())


def test_an_api_token_lives_in_the_store(running: Any) -> None:
    made = make_token()
    stored = StoredToken(
        made.prefix,
        secret_digest(made.secret),
        "camera",
        Path("plant"),
        (Path("cam"),),
        created=time.time(),
    )
    store = '[records]\nurl = "sqlite:///relay.db"\n'

    async def main() -> None:
        async with running(store) as relay:
            await relay.desk.records.add_token(stored)
            for scheme in ("https", "moqt"):
                await takes(relay, f"/plant?jwt={made}", scheme, yes="cam/1", no="other")
            spoilt = str(made)[:-1] + ("y" if str(made).endswith("x") else "x")
            assert await status(relay, f"/plant?jwt={spoilt}") == 401
            async with connect(quic(relay, f"/plant?jwt={made}"), tls=TRUST) as client:
                await relay.desk.records.revoke_token(made.prefix, time.time())
                await within(1.0, client.lost.done)
            assert await status(relay, f"/plant?jwt={made}") == 401
        async with running(store) as relay:
            assert await status(relay, f"/plant?jwt={made}") == 401
            kept = await relay.desk.records.find_token(made.prefix)
            assert kept.last_used is not None

    asyncio.run(main())
