"""Sockets and the listener: real ports on loopback, in the loop that already runs."""

from __future__ import annotations

import asyncio
import errno
import signal
import socket
import ssl

import httpx
import pytest

from ports import free_ports
from relay.control import serve
from relay.control.public import public_app
from relay.control.secure import Secure
from relay.control.serve import HttpListener, listen
from relay.control.settings import PublicLimits
from relay.errors import ConfigError


async def with_listener(listener, visit):
    """Run ``visit`` while the listener serves, and end it."""
    async with asyncio.TaskGroup() as group:
        group.create_task(listener.serve())
        await asyncio.wait_for(listener.started.wait(), 5)
        try:
            return await visit(*listener.address)
        finally:
            listener.stop()


def test_requests_are_answered_and_signals_are_left_alone(house):
    async def run():
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        listener = HttpListener(public_app(house, house, LIMITS), listen("127.0.0.1", 0), LIMITS)

        async def visit(host, port):
            during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
            async with httpx.AsyncClient() as client:
                return (
                    before,
                    during,
                    await client.get(f"http://{host}:{port}/fetch/demo/video?jwt=x"),
                )

        return await with_listener(listener, visit)

    before, during, answer = asyncio.run(run())
    assert during == before
    assert answer.content == b"onethree"
    assert "server" not in answer.headers
    assert house.asked[0][1] == "/demo?jwt=x"


def test_head_has_the_length_and_no_body(house):
    async def run():
        listener = HttpListener(public_app(house, house, LIMITS), listen("127.0.0.1", 0), LIMITS)

        async def visit(host, port):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"HEAD /fetch/demo/video HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            text = await reader.read()
            writer.close()
            await writer.wait_closed()
            return text

        return await with_listener(listener, visit)

    head, _, body = asyncio.run(run()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert b"content-length: 8" in head.lower()
    assert body == b""


def test_https_with_a_pair_and_a_new_pair_later(house, pair, tmp_path):
    cert, key = pair(tmp_path)

    async def served(host, port):
        context = ssl.create_default_context(cafile=cert)
        async with httpx.AsyncClient(verify=context) as client:
            return (await client.get(f"https://localhost:{port}/health")).status_code

    async def run():
        sock = listen("127.0.0.1", 0)
        said = []
        listener = HttpListener(
            *(public_app(house, house, LIMITS), sock, LIMITS, Secure(cert, key)),
            lambda event, **facts: said.append((event, *facts.values())),
        )

        async def visit(host, port):
            first = await served(host, port)
            pair(tmp_path)
            async with asyncio.timeout(5):
                while not said:
                    await asyncio.sleep(0.02)
            second = await served(host, port)
            key.write_text("nonsense")
            listener.look()
            listener.look()
            return first, second, await served(host, port)

        return await with_listener(listener, visit), said

    answers, said = asyncio.run(run())
    assert answers == (200, 200, 200)
    assert said == [
        ("certificate of HTTP reloaded", str(cert)),
        (
            "certificate of HTTP not reloaded, the old one stays",
            f"web.https.cert: {cert}, {key}: not a PEM certificate and its key",
        ),
    ]


def test_a_pair_that_does_not_belong_together_is_one_line(pair, tmp_path):
    cert, _ = pair(tmp_path)
    _, other = pair(tmp_path, "other")
    with pytest.raises(ConfigError, match=r"^web\.https\.cert: .*does not belong"):
        Secure(cert, other)


def test_a_missing_certificate_is_one_line(tmp_path):
    missing = tmp_path / "no.pem"
    with pytest.raises(ConfigError, match=r"^sidecar\.cert: .*No such file"):
        Secure(missing, missing, "sidecar.cert")


def test_a_port_in_use_is_one_line():
    with listen("127.0.0.1", 0)[0] as first:
        first.listen()
        port = first.getsockname()[1]
        with pytest.raises(ConfigError) as caught:
            listen("127.0.0.1", port)
    line = str(caught.value)
    assert line.startswith(f"web.http.listen: cannot listen on TCP 127.0.0.1:{port}: ")
    assert "another program" in line
    assert "\n" not in line


def test_a_host_nobody_knows_is_one_line():
    with pytest.raises(ConfigError, match=r"^web\.https\.listen: no such host"):
        listen("no-such-host.invalid", 1, "web.https.listen")


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 on this machine")
def test_the_wildcard_takes_both_families():
    with listen("::", 0)[0] as sock:
        sock.listen()
        port = sock.getsockname()[1]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=5).close()


@pytest.fixture
def named(monkeypatch):
    """``named(address, …)``: there is a host that has these addresses, ``somewhere``."""

    def name(*addresses):
        def look(host, port, **wanted):
            kind, number = wanted["type"], socket.IPPROTO_IP
            return [(socket.AF_INET, kind, number, "", (each, port)) for each in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", look)

    return name


def test_a_face_has_every_address_of_its_host(house, named):
    async def run():
        named("127.0.0.1", "127.0.0.2")
        listener = HttpListener(public_app(house, house, LIMITS), listen("somewhere", 0), LIMITS)

        async def visit(host, port):
            heads = []
            for each in ("127.0.0.1", "127.0.0.2"):
                reader, writer = await asyncio.open_connection(each, port)
                writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
                heads.append(await reader.readline())
                writer.close()
            return host, heads

        return await with_listener(listener, visit)

    assert asyncio.run(run()) == ("127.0.0.1", [b"HTTP/1.1 200 OK\r\n"] * 2)


def test_addresses_that_this_machine_has_not_are_left_out(named):
    named("203.0.113.1", "127.0.0.1")
    (sock,) = listen("somewhere", 0)
    assert sock.getsockname()[0] == "127.0.0.1"
    sock.close()
    named("203.0.113.1", "203.0.113.2")
    with pytest.raises(ConfigError, match=r"somewhere:0: this machine has no such address"):
        listen("somewhere", 0)


def test_an_address_that_is_taken_leaves_nothing_open(named):
    (port,) = free_ports(1)
    with listen("127.0.0.2", port)[0]:
        named("127.0.0.1", "127.0.0.2")
        with pytest.raises(ConfigError, match="another program"):
            listen("somewhere", port)
        named("127.0.0.1")
        listen("somewhere", port)[0].close()


def test_an_odd_request_writes_nothing_to_the_log(house, caplog):
    async def run():
        listener = HttpListener(public_app(house, house, LIMITS), listen("127.0.0.1", 0), LIMITS)

        async def visit(host, port):
            upgrade = {"upgrade": "websocket", "connection": "Upgrade"}
            async with httpx.AsyncClient() as client:
                return await client.get(f"http://{host}:{port}/health", headers=upgrade)

        return await with_listener(listener, visit)

    assert asyncio.run(run()).status_code == 200
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


LIMITS = PublicLimits(drain=1)


def test_everywhere_on_a_machine_without_ipv6(monkeypatch):
    """As where the kernel was told to have none (ipv6.disable=1)."""

    class Old(socket.socket):
        def __init__(self, family=-1, *more, **named):
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
            super().__init__(family, *more, **named)

    monkeypatch.setattr(socket, "socket", Old)
    monkeypatch.setattr(serve, "Listening", Old)
    with listen("::", 0)[0] as sock:
        assert sock.getsockname()[0] == "0.0.0.0"
    with pytest.raises(ConfigError, match=r"^web\.http\.listen: .*\[::1\]:0: Address family"):
        listen("::1", 0)


def test_what_is_cut_when_the_relay_stops_is_told_in_one_line(caplog):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await asyncio.Event().wait()

    async def run():
        limits = PublicLimits(drain=0)
        said = []
        listener = HttpListener(
            app, listen("127.0.0.1", 0), limits, log=lambda event, **facts: said.append(facts)
        )

        async def visit(host, port):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await reader.readuntil(b"begun")
            return reader, writer

        reader, writer = await with_listener(listener, visit)
        await reader.read()  # its end
        writer.close()
        return said

    assert asyncio.run(run()) == [{"count": 1}]
    assert caplog.records == []
