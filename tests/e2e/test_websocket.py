"""Sessions over WebSocket with a running relay: as by any other way, and what only TCP brings."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from ends import ends_with
from mesh import REFUSALS
from several import TRUST, WORKERS, Relay, audience, publishing, writer
from streams import AMPLE
from websockets.asyncio.client import connect as open_socket
from websockets.asyncio.server import serve
from websockets.exceptions import InvalidStatus

from pace import until
from relay.auth.credentials import make_key
from relay.auth.revocation import Revocation
from relay.client import connect
from relay.errors import SessionLost
from relay.net import tls
from relay.net.qmux_frames import WIRES, data_frame, parameters_frame
from relay.net.trust import DialTls
from relay.records.office import Operator

Token = Callable[..., str]
OFFER: Any = ["qmux-02.moq-lite-06"]
SETUP = ANNOUNCE = bytes.fromhex("01 01 00")
"""That there is nothing to say; what is announced anywhere?"""


def url(relay: Any, target: str, scheme: str = "ws") -> str:
    """Where to dial by that way."""
    port = relay.http_addresses[0][1] if scheme == "ws" else relay.quic_address[1]
    return f"{scheme}://127.0.0.1:{port}{target}"


@pytest.mark.parametrize(("here", "there"), [("ws", "https"), ("moqt", "ws"), ("ws", "ws")])
def test_what_is_published_is_seen_by_the_other_way(
    running: Any, token: Token, here: str, there: str
) -> None:
    async def main() -> None:
        target = f"/demo?jwt={token('demo')}"
        async with (
            running() as relay,
            connect(url(relay, target, here), tls=TRUST) as near,
            connect(url(relay, target, there), tls=TRUST) as far,
        ):
            write = writer(near.create_broadcast("cam"), 100_000)
            write()
            assert await audience([far], write, 5) == [5]
            assert {guest.via for guest in relay.door.guests.values()} >= {"websocket"}

    asyncio.run(main())


@pytest.mark.parametrize(("target", "status"), REFUSALS)
def test_refusals_are_those_of_webtransport(running: Any, target: str, status: int) -> None:
    async def main() -> None:
        async with running() as relay:
            with pytest.raises(SessionLost) as refused:
                async with connect(url(relay, target)):
                    pass
            assert refused.value.status == status
            assert "(id " in str(refused.value)
            assert relay.serving.gate.inside == 0

    asyncio.run(main())


def test_its_own_way_may_be_closed(running: Any) -> None:
    async def main() -> None:
        async with running("[web]\nws = false\n") as relay:
            with pytest.raises(InvalidStatus) as refused:
                async with open_socket(url(relay, "/anon"), subprotocols=OFFER):
                    pass
            # 404 would hide from moq-rs what QUIC says
            assert refused.value.response.status_code == 403

    asyncio.run(main())


def test_it_outlives_the_patience_with_requests_and_is_none_of_them(running: Any) -> None:
    limits = "[web.limits]\nrequest_timeout = 0.3\nmax_connections = 2\n"

    async def main() -> None:
        async with running(limits) as relay:
            at = url(relay, "/anon")
            async with (
                connect(at) as one,
                connect(at) as two,
                connect(at) as three,
            ):
                await asyncio.sleep(0.6)
                async with httpx.AsyncClient() as http:
                    health = await http.get(url(relay, "/health").replace("ws", "http", 1))
                assert health.status_code == 200
                one.create_broadcast("cam")
                for each in (two, three):
                    await asyncio.wait_for(each.find("cam"), 5)

    asyncio.run(main())


def test_a_session_ends_with_its_token_and_says_why(running: Any, token: Token) -> None:
    async def main() -> None:
        async with running() as relay:
            brief = token("demo", ttl=4)
            async with connect(url(relay, f"/demo?jwt={brief}")) as client:
                await ends_with(client, brief)
            assert "the token expired (id " in client.lost.result()
            await until(lambda: not relay.door.guests)
            await until(lambda: relay.serving.gate.inside == 0)

    asyncio.run(main())


def test_the_operator_sees_it_and_shows_it_out(running: Any) -> None:
    key = make_key(100_000)
    admin = f'[admin]\napi_key = "{key.hash}"\n'

    async def main() -> None:
        async with running(admin) as relay, connect(url(relay, "/anon")) as client:
            base = url(relay, "/admin/v1").replace("ws", "http", 1)
            headers = {"authorization": f"Bearer {key.bearer}"}
            async with httpx.AsyncClient(base_url=base, headers=headers) as http:
                await until(lambda: any(each.opened for each in relay.door.guests.values()))
                [session] = (await http.get("/sessions")).json()["sessions"]
                assert session["transport"] == "websocket"
                kicked = await http.post(f"/sessions/{session['id']}/kick", json={})
                assert kicked.status_code == 200
            reason = await asyncio.wait_for(asyncio.shield(client.lost), 5)
            assert session["id"] in reason

    asyncio.run(main())


def test_a_revocation_ends_it(running: Any, token: Token) -> None:
    async def main() -> None:
        async with running() as relay:
            at = url(relay, f"/demo?jwt={token('demo')}")
            async with connect(at) as client:
                await relay.desk.office.revoke(Operator("test"), Revocation("kid", "e2e"))
                reason = await asyncio.wait_for(asyncio.shield(client.lost), 5)
            assert "revoked" in reason
            with pytest.raises(SessionLost) as refused:
                async with connect(at):
                    pass
            assert refused.value.status == 401

    asyncio.run(main())


def test_over_tls_to_whom_is_believed(running: Any, folder: Any) -> None:
    tls.write_pair(folder / "web.pem", folder / "web.key", ["localhost"])
    tls.write_pair(folder / "other.pem", folder / "other.key", ["localhost"])
    secure = '[web.https]\nlisten = "127.0.0.1:0"\ncert = "web.pem"\nkey = "web.key"\n'
    shown = tls.load(folder / "web.pem", folder / "web.key").fingerprint
    pinned = DialTls(fingerprints=(shown,))
    believed = [pinned, DialTls(roots=(folder / "web.pem",)), DialTls(disable_verify=True)]
    strangers = [
        DialTls(),
        DialTls(roots=(folder / "other.pem",)),
        DialTls(fingerprints=("ab" * 32,)),
    ]

    async def main() -> None:
        async with running(secure) as relay:
            port = relay.http_addresses[-1][1]
            async with connect(f"wss://127.0.0.1:{port}/anon", tls=pinned) as near:
                near.create_broadcast("cam")
                for each in believed:
                    async with connect(f"wss://localhost:{port}/anon", tls=each) as far:
                        await asyncio.wait_for(far.find("cam"), 5)
            for each in strangers:
                with pytest.raises(SessionLost, match="certificate"):
                    async with connect(f"wss://localhost:{port}/secret?jwt=x", tls=each):
                        pass
            assert not relay.judge.refusals.counts  # they were never asked

    asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", "refused with status 200"),
        (b"HTTP/1.1 302 Found\r\nlocation: ws://192.0.2.1/\r\n\r\n", "with status 302"),
        (b"SSH-2.0-x\r\n", "did not receive a valid HTTP response"),
        (b"", "did not receive a valid HTTP response"),
    ],
)
def test_who_is_no_relay_is_one_line(answer: bytes, why: str) -> None:
    async def main() -> None:
        def reply(_: asyncio.StreamReader, caller: asyncio.StreamWriter) -> None:
            caller.write(answer)
            caller.close()

        server = await asyncio.start_server(reply, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(SessionLost, match=why):
                async with connect(f"ws://127.0.0.1:{port}/anon"):
                    pass

    asyncio.run(main())


def test_a_server_that_speaks_something_else_inside() -> None:
    async def main() -> None:
        async with serve(lambda _: asyncio.sleep(5), "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(SessionLost, match="speaks none of our protocols"):
                async with connect(f"ws://127.0.0.1:{port}/anon"):
                    pass

    asyncio.run(main())


def test_so_many_sessions_of_one_address_by_all_ways(running: Any) -> None:
    limits = "[limits]\nmax_sessions_per_address = 2\n"

    async def main() -> None:
        async with running(limits) as relay:
            by_quic, by_tcp = url(relay, "/anon", "https"), url(relay, "/anon")
            async with (
                connect(by_quic, tls=TRUST),
                connect(by_tcp),
            ):
                for each in (by_quic, by_tcp):
                    with pytest.raises(SessionLost):
                        async with connect(each, tls=TRUST, timeout=2.0):
                            pass
            await until(lambda: relay.serving.gate.inside == 0)
            async with connect(by_tcp):
                pass

    asyncio.run(main())


def test_who_does_not_read_is_cut_and_costs_nobody_else(running: Any) -> None:
    limits = "[web.limits]\nanswer_timeout = 1.0\n"
    wire = WIRES[0]

    async def main() -> None:
        async with running(limits) as relay:
            near = socket.create_connection(("127.0.0.1", relay.http_addresses[0][1]))
            near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            deaf = await open_socket(
                url(relay, "/anon"), subprotocols=OFFER, sock=near, compression=None, max_queue=1
            )
            setup = data_frame(wire, 2, 0, SETUP, True)
            await deaf.send(parameters_frame(AMPLE) + setup)
            async with connect(url(relay, "/anon")) as one:
                # Long names are told to who asks for them, and nobody reads.
                for number in range(4000):
                    one.create_broadcast(f"{number:04}" + "x" * 200)
                await deaf.send(data_frame(wire, 0, 0, ANNOUNCE, False))
                await until(lambda: len(relay.door.guests) == 1)
                assert not one.lost.done()
            deaf.transport.abort()

    asyncio.run(main())


def test_a_relay_that_leaves_says_so(process: Callable[..., Any]) -> None:
    async def main() -> None:
        relay = process(base=DRAINING)
        facts = relay.ready()
        at = f"ws://127.0.0.1:{facts['http'][1]}/anon"
        async with connect(at) as client:
            await asyncio.to_thread(relay.stop)
            await asyncio.wait_for(asyncio.shield(client.lost), 10)
        assert "Traceback" not in relay.log.read_text()

    asyncio.run(main())


DRAINING = """
[server]
listen = "127.0.0.1:0"
drain = 1.0
[server.tls]
generate = ["localhost", "127.0.0.1"]
[auth]
public = "anon"
"""


def test_every_worker_takes_them(
    process: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOQ_SERVER__WORKERS", "2")
    relay = Relay(process(WORKERS))

    async def main() -> None:
        at = relay.http.replace("http", "ws") + "/anon"
        async with (
            publishing(relay, "/anon") as (_, write),
            connect(at) as one,
            connect(at) as two,
            connect(at) as three,
        ):
            assert await audience([one, two, three], write) == [3] * 3

    asyncio.run(main())
    assert relay.process.stop() == 0
    log = relay.process.log.read_text()
    assert "Traceback" not in log
    ways = [json.loads(line)["transport"] for line in log.splitlines() if '"welcome"' in line]
    assert ways.count("websocket") == 3


def test_nonsense_costs_its_own_connection(running: Any) -> None:
    async def main() -> None:
        async with running() as relay:
            async with connect(url(relay, "/anon")) as good:
                for said in (b"", b"\x01", bytes(100), "text", bytes(70_000)):
                    async with open_socket(url(relay, "/anon"), subprotocols=OFFER) as bad:
                        await bad.send(parameters_frame(AMPLE))
                        await bad.send(said)
                        if said not in (b"", bytes(100)):
                            await asyncio.wait_for(bad.wait_closed(), 5)
                good.create_broadcast("cam")
                await asyncio.sleep(0)
                assert not good.lost.done()
            await until(lambda: not relay.door.guests)

    asyncio.run(main())
