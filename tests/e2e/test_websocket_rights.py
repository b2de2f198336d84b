"""Whoever comes over WebSocket is asked the same as over WebTransport, and told the same."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import InvalidStatus

from pace import until
from relay.auth.credentials import make_key, make_token, secret_digest
from relay.auth.facts import StoredToken
from relay.client import connect
from relay.errors import SessionLost
from relay.net.http3 import Http3
from relay.net.trust import DialTls
from relay.path import Path

TRUST = DialTls(disable_verify=True)
OFFER: Any = ["qmux-02.moq-lite-06"]
KEY = make_key(100_000)
STORED = make_token()
LET_IN = 200

SETTINGS = f"""
[auth.api_keys.plant]
hash = "{KEY.hash}"
root = "plant"
publish = "sensors"
[records]
url = "sqlite:///relay.db"
"""

Token = Callable[..., str]
Headers = Mapping[str, str]


async def by_socket(relay: Any, target: str, headers: Headers) -> int:
    """The status over WebSocket."""
    url = f"ws://127.0.0.1:{relay.http_addresses[0][1]}{target}"
    try:
        async with open_socket(url, subprotocols=OFFER, additional_headers=headers):
            return LET_IN
    except InvalidStatus as refused:
        answer = refused.response
    assert "x-request-id" in answer.headers
    return answer.status_code


async def by_quic(relay: Any, target: str, headers: Headers, patch: pytest.MonkeyPatch) -> int:
    """The status over WebTransport."""
    before = Http3.headers

    def with_more(self: Http3, stream: int, fields: Sequence[Any], **rest: Any) -> None:
        is_ours = (":method", "CONNECT") in fields
        before(self, stream, [*fields, *headers.items()] if is_ours else fields, **rest)

    with patch.context() as patched:
        patched.setattr(Http3, "headers", with_more)
        try:
            url = f"https://127.0.0.1:{relay.quic_address[1]}{target}"
            async with connect(url, tls=TRUST):
                return LET_IN
        except SessionLost as refused:
            return refused.status or 0


def bearer(text: str) -> Headers:
    """The header that holds it."""
    return {"authorization": f"Bearer {text}"}


def test_every_credential_counts_as_over_webtransport(
    running: Any, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo, other, old = token("demo"), token("demo", put=("x",)), token("demo", ttl=-10)
    spaced, plant = token("my%20room"), str(STORED)
    cases: list[tuple[str, Headers, int]] = [
        ("/anon", {}, LET_IN),
        ("/anon/below", {}, LET_IN),
        ("/anonymous", {}, 401),
        ("/demo", {}, 401),
        (f"/demo?jwt={demo}", {}, LET_IN),
        (f"/demo/below?jwt={demo}", {}, LET_IN),
        (f"/other?jwt={demo}", {}, 401),
        (f"/?jwt={demo}", {}, LET_IN),
        (f"/demo?jwt={old}", {}, 401),
        (f"/demo?jwt={demo}&jwt={demo}", {}, LET_IN),
        (f"/demo?jwt={demo}&jwt={other}", {}, 400),
        ("/demo?jwt=", {}, 401),
        ("/demo", bearer(demo), LET_IN),
        ("/demo", bearer("rubbish"), 401),
        ("/demo", {"authorization": f"Basic {demo}"}, 401),
        (f"/demo?jwt={demo}", bearer(demo), LET_IN),
        (f"/demo?jwt={demo}", bearer(other), 400),
        ("/plant", bearer(KEY.bearer), LET_IN),
        (f"/plant?jwt={KEY.bearer}", {}, LET_IN),
        (f"/plant?jwt=x{KEY.bearer}", {}, 401),
        (f"/plant?jwt={plant}", {}, LET_IN),
        (f"/plant?jwt={plant[:-1]}~", {}, 401),
        ("/demo?ticket=none", {}, 401),
        (f"/my%20room?jwt={spaced}", {}, LET_IN),
        (f"/my%20room/%2e%2e?jwt={spaced}", {}, LET_IN),
        (f"/demo/../anon?jwt={demo}", {}, 400),
        (f"//demo//below/?jwt={demo}", {}, LET_IN),
        (f"/demo%2Fbelow?jwt={demo}", {}, 401),
        (f"/demo?jwt={'a' * 8000}", {}, 401),
        (f"/demo?jwt={'a' * 9000}", {}, 414),
        ("/demo", bearer("a" * 9000), 431),
        ("/anon", {"origin": "https://elsewhere.example"}, LET_IN),
    ]

    async def main() -> None:
        async with running(SETTINGS) as relay:
            stored = StoredToken(
                STORED.prefix,
                secret_digest(STORED.secret),
                "camera",
                Path("plant"),
                (Path("cam"),),
                created=time.time(),
            )
            await relay.desk.records.add_token(stored)
            for target, headers, status in cases:
                said = target[:30], tuple(headers)
                assert (*said, await by_quic(relay, target, headers, monkeypatch)) == (
                    *said,
                    status,
                )
                assert (*said, await by_socket(relay, target, headers)) == (*said, status)
            await until(lambda: relay.serving.gate.inside == 0)

    asyncio.run(main())


def test_a_ticket_opens_one_session(running: Any, token: Token) -> None:
    async def main() -> None:
        async with running(SETTINGS) as relay, httpx.AsyncClient() as web:
            ask = f"http://127.0.0.1:{relay.http_addresses[0][1]}/ticket"
            ticket = (await web.post(ask, headers=bearer(token("demo")))).json()["ticket"]
            target = f"/demo?ticket={ticket}"
            assert await by_socket(relay, target, {}) == LET_IN
            assert await by_socket(relay, target, {}) == 401

    asyncio.run(main())


def test_a_tenant_has_so_many_sessions_by_all_ways(
    running: Any, token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = "[quotas.tenants.demo]\nsessions = 1\n"

    async def main() -> None:
        target = f"/demo?jwt={token('demo')}"
        async with running(quota) as relay:
            url = f"ws://127.0.0.1:{relay.http_addresses[0][1]}{target}"
            async with open_socket(url, subprotocols=OFFER):
                assert await by_socket(relay, target, {}) == 429
                assert await by_quic(relay, target, {}, monkeypatch) == 429
            await until(lambda: not relay.door.guests)
            assert await by_socket(relay, target, {}) == LET_IN

    asyncio.run(main())


def test_who_is_there_when_the_relay_stops_hears_why(running: Any) -> None:
    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            relay = await stack.enter_async_context(running())
            url = f"ws://127.0.0.1:{relay.http_addresses[0][1]}/anon"
            async with connect(url) as client:
                await until(lambda: any(guest.opened for guest in relay.door.guests.values()))
                await stack.aclose()
                reason = await asyncio.wait_for(asyncio.shield(client.lost), 5)
                assert "the relay is stopping" in reason

    asyncio.run(main())


@pytest.mark.parametrize("offered", ["moq-lite-06", "moql", "graphql-ws", "qmux-09.moq-lite-06"])
def test_who_does_not_say_how_streams_are_framed_is_refused_at_once(
    running: Any, offered: str
) -> None:
    async def main() -> None:
        async with running() as relay:
            url = f"ws://127.0.0.1:{relay.http_addresses[0][1]}/anon"
            names: Any = [offered]
            with pytest.raises(InvalidStatus) as refused:
                async with open_socket(url, subprotocols=names, open_timeout=5):
                    pass
            assert refused.value.response.status_code == 400
            await until(lambda: relay.serving.gate.inside == 0)

    asyncio.run(main())
