"""Subdomains as places, at a running relay: what is dialled by name is below that name's place."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from mesh import BASE
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import InvalidStatus

from pace import until
from relay.client import connect
from relay.errors import SessionLost
from relay.model.track import TrackInfo
from relay.net import dial
from relay.net.trust import DialTls
from relay.path import Path

TRUST = DialTls(disable_verify=True)
DOMAINS = BASE.replace("[auth]\n", '[auth]\ndomains = ["cdn.example.com"]\n')
Token = Callable[..., str]


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every host is this one."""

    async def found(host: Any, port: Any, **wanted: int) -> Any:
        return [(socket.AF_INET, socket.SOCK_DGRAM, 0, "", ("127.0.0.1", port))]

    monkeypatch.setattr(dial, "look_up", found)


def test_a_session_is_below_the_place_of_the_name_it_dialled(running: Any, token: Token) -> None:
    async def main() -> None:
        async with running(base=DOMAINS) as relay, asyncio.timeout(20):
            port = relay.quic_address[1]
            team = f"https://team.acme.cdn.example.com:{port}/live?jwt={token('acme')}"
            acme = f"https://Acme.cdn.example.com:{port}/?jwt={token('acme', put=())}"
            plain = f"https://cdn.example.com:{port}/acme?jwt={token('acme', put=())}"
            async with (
                connect(team, tls=TRUST) as publisher,
                connect(acme, tls=TRUST) as by_name,
                connect(plain, tls=TRUST) as by_path,
            ):
                publisher.create_broadcast("cam").create_track("v", TrackInfo())
                for viewer in (by_name, by_path):
                    await viewer.find("team/live/cam")
                origin = relay.house.origin
                assert origin.find(Path("acme/team/live/cam")) is not None
            told = await relay.face.explain(team, None, [], [], "webtransport")
            assert told["verdict"] == "allowed"
            other = f"https://other.cdn.example.com:{port}/acme?jwt={token('acme')}"
            with pytest.raises(SessionLost, match="401"):
                async with connect(other, tls=TRUST):
                    pass

    asyncio.run(main())


@pytest.mark.parametrize(
    ("host", "target", "is_in"),
    [
        ("anon.cdn.example.com", "/", True),
        ("cam.anon.cdn.example.com", "/live", True),
        ("cdn.example.com", "/anon", True),
        ("acme.cdn.example.com", "/anon", False),
        ("acme.example.com", "/anon", True),
    ],
)
def test_so_is_one_over_websocket(running: Any, host: str, target: str, is_in: bool) -> None:
    async def main() -> None:
        async with running(base=DOMAINS) as relay, asyncio.timeout(10):
            address, port = relay.http_addresses[0]
            offer: Any = ["qmux-02.moq-lite-06"]
            dialled = open_socket(
                f"ws://{host}{target}", host=address, port=port, subprotocols=offer
            )
            if is_in:
                async with dialled:
                    await until(lambda: relay.door.guests)
            else:
                with pytest.raises(InvalidStatus):
                    async with dialled:
                        pass

    asyncio.run(main())


def test_addresses_of_http_and_raw_quic_are_written_out(running: Any) -> None:
    async def main() -> None:
        async with running(base=DOMAINS) as relay, asyncio.timeout(10):
            (address, port), named = relay.http_addresses[0], {"host": "acme.cdn.example.com"}
            async with httpx.AsyncClient(base_url=f"http://{address}:{port}") as web:
                assert (await web.get("/announced/anon", headers=named)).status_code == 200
            raw = f"moqt://acme.cdn.example.com:{relay.quic_address[1]}/anon"
            async with connect(raw, tls=TRUST):
                await until(lambda: relay.door.guests)

    asyncio.run(main())
