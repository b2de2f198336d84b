"""The dashboard on a running relay: there with an operator's key, nowhere without."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from relay.auth.credentials import make_key
from relay.client import SessionLost, connect
from relay.net.trust import DialTls

TRUST = DialTls(disable_verify=True)


def test_it_is_there_with_a_key_only(running: Any) -> None:
    async def main() -> None:
        async with running() as relay, httpx.AsyncClient() as web:
            place = f"http://127.0.0.1:{relay.http_addresses[0][1]}/admin/"
            assert (await web.get(place)).status_code == 404
        key = make_key(100_000)
        async with (
            running(f'[admin]\napi_key = "{key.hash}"\n') as relay,
            httpx.AsyncClient() as web,
        ):
            place = f"http://127.0.0.1:{relay.http_addresses[0][1]}/admin/"
            answer = await web.get(place)
            assert answer.status_code == 200
            quic = f"https://127.0.0.1:{relay.quic_address[1]}"
            assert f"connect-src 'self' {quic};" in answer.headers["content-security-policy"]
            assert str(key.hash) not in answer.text

    asyncio.run(main())


def test_the_summary_counts_who_was_turned_away_and_why(running: Any, token: Any) -> None:
    async def main() -> None:
        key = make_key(100_000)
        async with (
            running(f'[admin]\napi_key = "{key.hash}"\n') as relay,
            httpx.AsyncClient() as web,
        ):
            quic = f"https://127.0.0.1:{relay.quic_address[1]}"
            for query in (token("demo", ttl=-100), token("demo", ttl=-100), "x"):
                with pytest.raises(SessionLost):
                    await connect(f"{quic}/demo?jwt={query}", tls=TRUST).__aenter__()
            async with connect(f"{quic}/anon", tls=TRUST):
                place = f"http://127.0.0.1:{relay.http_addresses[0][1]}/admin/v1/summary"
                assert (await web.get(place)).status_code == 401
                headers = {"authorization": f"Bearer {key.bearer}"}
                said = (await web.get(place, headers=headers)).json()
            assert said["quic_port"] == relay.quic_address[1]
            assert (said["admitted"], said["breached"]) == (1, [])
            assert said["refused"] == [
                {"name": "expired", "count": 2},
                {"name": "malformed", "count": 1},
            ]
            assert said["bytes_in"] > 0
            assert said["bytes_out"] > 0

    asyncio.run(main())
