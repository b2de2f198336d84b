"""Where no UDP gets through: clients and links that dial ``https://`` come over WebSocket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from mesh import BLIND as BELIEVING
from mesh import more as enough
from mesh import scene

from pace import until
from relay.client import connect
from relay.errors import SessionLost
from relay.net import tls as pairs
from relay.net.trust import DialTls

SECURE = '[web.https]\nlisten = "127.0.0.1:{port}"\ncert = "web.pem"\nkey = "web.key"\n'
BLIND = DialTls(disable_verify=True)


@pytest.fixture
def port() -> Iterator[int]:
    """A port of which UDP is silent, and TCP free."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        yield silent.getsockname()[1]


@pytest.fixture
def secure(folder: Any, port: int) -> str:
    """Settings of a relay that has HTTPS there, and QUIC elsewhere."""
    pairs.write_pair(folder / "web.pem", folder / "web.key", ["localhost"])
    return SECURE.format(port=port)


def test_a_client_comes_over_websocket(running: Any, secure: str, port: int) -> None:
    said: list[tuple[str, Any]] = []

    async def main() -> None:
        async with running(secure) as relay:
            url = f"https://127.0.0.1:{port}/anon"
            async with (
                connect(
                    url, tls=BLIND, log=lambda event, **facts: said.append((event, facts))
                ) as a,
                connect(f"https://127.0.0.1:{relay.quic_address[1]}/anon", tls=BLIND) as b,
            ):
                a.create_broadcast("cam")
                await asyncio.wait_for(b.find("cam"), 10)
            with pytest.raises(SessionLost) as refused:
                async with connect(f"https://127.0.0.1:{port}/secret", tls=BLIND, timeout=1.5):
                    pass
            assert refused.value.status == 401
            assert str(refused.value).startswith(
                f"127.0.0.1:{port} did not answer in 1.5 s; by Web"
            )

    asyncio.run(main())
    assert said == [("session over websocket", {"peer": f"127.0.0.1:{port}"})]


def test_a_certificate_that_is_not_believed_is_told_nothing_on_either_way(
    running: Any, secure: str, port: int
) -> None:
    async def main() -> None:
        async with running(secure) as relay:
            at, tls = f"https://localhost:{port}/secret?jwt=x", DialTls(fingerprints=("ab" * 32,))
            with pytest.raises(SessionLost, match="certificate"):
                async with connect(at, tls=tls, timeout=1.5):
                    pass
            assert not relay.judge.refusals.counts

    asyncio.run(main())


@pytest.mark.parametrize(
    "more",
    [
        "",
        "[client.websocket]\nenabled = false\n",
        '[client.tls]\ndisable_verify = true\ncert = "web.pem"\nkey = "web.key"\n',
    ],
    ids=["on", "switched off", "with a client certificate"],
)
def test_a_link(node: Any, secure: str, port: int, more: str) -> None:
    at = f"https://127.0.0.1:{port}/"
    believing = "" if "tls" in more else BELIEVING

    async def main() -> None:
        async with (
            node(extra=secure) as a,
            node(extra=f"{believing}{more}[client]\ntimeout = 0.7\n", connect=[at]) as b,
        ):
            if not more:
                await until(lambda: b.up() and a.relays())
                async with scene(a, b) as watched:
                    await enough(watched)
                    await watched.check()
                [told] = b.events("link over websocket")
                assert told["peer"] == f"127.0.0.1:{port}"
            else:
                await until(lambda: len(b.events("link refused")) >= 2)
                why = {facts["why"] for facts in b.events("link refused")}
                assert why == {f"127.0.0.1:{port} did not answer in 0.7 s"}

    asyncio.run(main())


def test_a_link_goes_by_quic_where_it_can(node: Any, secure: str) -> None:
    async def main() -> None:
        async with node() as a, node(extra=BELIEVING, connect=[a.url()]) as b:
            await until(lambda: b.up() and a.relays())
            assert not b.events("link over websocket")

    asyncio.run(main())
