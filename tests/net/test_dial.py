"""Dialling: whom to believe, what to dial, and why there was no session."""

import asyncio
import socket

import pytest

from relay.errors import ConfigError, SessionLost
from relay.net import dial as dial_module
from relay.net import tls, udp
from relay.net.dial import dial
from relay.net.engine import Engine
from relay.net.http3 import (
    ENABLE_CONNECT,
    ENABLE_WEBTRANSPORT,
    H3_DATAGRAM,
    WEBTRANSPORT_MAX_SESSIONS,
    WT_ENABLED,
    WT_MAX_SESSIONS,
    Http3,
    Request,
)
from relay.net.settings import QuicLimits
from relay.net.trust import DialTls
from relay.net.visit import ServedWebTransport


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://localhost", "cannot dial http"),
        ("localhost:443", "cannot dial localhost"),
        ("https://", "no host"),
        ("https://localhost:70000", "is no URL"),
        ("https://localhost:0", "no host and port"),
        ("https://[::1", "is no URL"),
        pytest.param(f"https://{'ü' * 64}.example", "no name of a host", id="long"),
    ],
)
async def test_urls_that_cannot_be_dialled(url, words) -> None:
    with pytest.raises(ConfigError, match=words):
        await dial(url, protocols=("x",))


@pytest.mark.parametrize("pin", ["", "abc", "z" * 64])
async def test_a_fingerprint_that_is_none(pin) -> None:
    with pytest.raises(ConfigError, match="no SHA-256"):
        await dial("moqt://localhost", protocols=("x",), tls=DialTls(fingerprints=(pin,)))


async def test_roots_that_cannot_be_used(tmp_path) -> None:
    (tmp_path / "text").write_text("x")
    for name, words in (("none", "cannot read"), ("text", "holds no PEM")):
        with pytest.raises(ConfigError, match=words):
            await dial("moqt://localhost", protocols=("x",), tls=DialTls(roots=(tmp_path / name,)))


async def test_the_path_travels_with_its_query_and_without_credentials(house) -> None:
    async with house() as home:
        home.url = lambda scheme, path="": f"{scheme}://me:pw@127.0.0.1:{home.port}/a/b?jwt=c.d&x=1"
        pair = await home.pair("https")
        assert pair.visit.knock.target == "/a/b?jwt=c.d&x=1"
        assert pair.visit.knock.authority == f"127.0.0.1:{home.port}"
        assert pair.near.connection.remote == ("127.0.0.1", home.port)


async def test_colons_and_capitals_in_a_pin(house, scheme) -> None:
    async with house() as home:
        raw = home.certificates.fingerprint.upper()
        pin = ":".join(raw[i : i + 2] for i in range(0, 64, 2))
        await home.pair(scheme, tls=DialTls(fingerprints=("0" * 64, pin)))


async def test_roots_and_no_verification(house, scheme, tmp_path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    tls.write_pair(cert, key, ["127.0.0.1"])
    async with house(certificates=tls.Certificates.from_files(cert, key)) as home:
        await home.pair(scheme, tls=DialTls(roots=(cert,)))
        await home.pair(scheme, tls=DialTls(disable_verify=True))


@pytest.mark.parametrize("trust", [None, DialTls(fingerprints=("0" * 64,))])
async def test_a_stranger_is_not_believed(house, scheme, trust) -> None:
    async with house() as home:
        with pytest.raises(SessionLost, match="certificate"):
            await dial(home.url(scheme), protocols=("moq-lite-05",), tls=trust)
        assert home.visits.empty() or scheme == "moqt"


async def test_a_name_that_does_not_match(house, scheme, tmp_path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    tls.write_pair(cert, key, ["elsewhere.example"])
    async with house(certificates=tls.Certificates.from_files(cert, key)) as home:
        with pytest.raises(SessionLost, match="certificate"):
            await dial(home.url(scheme), protocols=("moq-lite-05",), tls=DialTls(roots=(cert,)))


async def test_no_common_protocol(house) -> None:
    async with house() as home:
        with pytest.raises(SessionLost, match="none of our protocols"):
            await dial(home.url("moqt"), protocols=("moq-lite-99",), tls=home.trust)


async def test_a_closed_port_is_known_at_once(scheme) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    started = asyncio.get_running_loop().time()
    with pytest.raises(SessionLost, match="connection refused"):
        await dial(f"{scheme}://127.0.0.1:{port}", protocols=("x",), timeout=60)
    assert asyncio.get_running_loop().time() - started < 20


async def test_silence_is_a_timeout(scheme) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        with pytest.raises(SessionLost, match="did not answer"):
            await dial(f"{scheme}://127.0.0.1:{port}", protocols=("x",), timeout=0.2)


async def test_a_dial_without_a_limit_ends_when_quic_gives_up(house, scheme) -> None:
    async with house() as home:
        await home.pair(scheme, timeout=0)
    limits = QuicLimits(idle_timeout=0.2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"{scheme}://127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(SessionLost, match="Idle timeout"):
            await dial(url, protocols=("x",), timeout=0, limits=limits)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 300])
async def test_a_host_that_does_not_resolve(host: str) -> None:
    with pytest.raises(SessionLost, match="does not resolve"):
        await dial(f"moqt://{host}", protocols=("x",), timeout=5)


async def test_every_address_is_tried(house, scheme, monkeypatch) -> None:
    async with house() as home:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))

            async def look_up(*_: object, **__: object) -> list[tuple]:
                ports = (silent.getsockname()[1], home.port)
                kind = (socket.AF_INET, socket.SOCK_DGRAM, 17, "")
                return [(*kind, ("127.0.0.1", port)) for port in ports]

            monkeypatch.setattr(dial_module, "look_up", look_up)
            pair = await home.pair(scheme, timeout=4.0)
        assert pair.near.connection.remote == ("127.0.0.1", home.port)


async def test_a_name_beyond_ascii_is_dialled_as_dns_writes_it(house, scheme, monkeypatch) -> None:
    asked: list[str] = []
    async with house() as home:

        async def look_up(host: str, port: int, **_: object) -> list[tuple]:
            asked.append(host)
            return [(socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", port))]

        monkeypatch.setattr(dial_module, "look_up", look_up)
        home.url = lambda scheme, path="": f"{scheme}://Bücher.example:{home.port}{path}"
        pair = await home.pair(scheme)
        named = "xn--bcher-kva.example"
        assert asked == [named]
        assert pair.visit.knock.authority == (named if scheme == "moqt" else f"{named}:{home.port}")


async def test_a_dial_that_cannot_begin_leaves_nothing(monkeypatch) -> None:
    made: list[socket.socket] = []
    connect = udp.connect
    monkeypatch.setattr(udp, "connect", lambda *a: made.append(connect(*a)) or made[-1])

    def fail(*_: object) -> None:
        raise ValueError("a mistake of ours")

    monkeypatch.setattr(Engine, "connect", fail)
    with pytest.raises(ValueError, match="of ours"):
        await dial("moqt://127.0.0.1:1", protocols=("x",))
    assert [sock.fileno() for sock in made] == [-1]


async def test_a_cancelled_dial_leaves_nothing(monkeypatch) -> None:
    made: list[socket.socket] = []
    connect = udp.connect
    monkeypatch.setattr(udp, "connect", lambda *a: made.append(connect(*a)) or made[-1])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        url = f"moqt://127.0.0.1:{silent.getsockname()[1]}"
        dialling = asyncio.ensure_future(dial(url, protocols=("x",)))
        while not made:
            await asyncio.sleep(0.001)
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
    assert [sock.fileno() for sock in made] == [-1]


async def test_what_comes_before_the_receiver_is_kept(house, scheme, recorder) -> None:
    async with house() as home:
        server = recorder()
        dialling = asyncio.ensure_future(
            dial(home.url(scheme), protocols=("moq-lite-05",), tls=home.trust)
        )
        visit = await home.visits.get()
        visit.accept(server, "moq-lite-05")
        stream = visit.transport.open_uni()
        visit.transport.send(stream, b"first words", True)
        dialled = await dialling
        home.dialled.append(dialled)
        await asyncio.sleep(0.05)
        heard = recorder()
        dialled.start(heard)
        assert not heard.streams
        await heard.until(lambda: heard.finished)
        assert heard.streams == {stream: b"first words"}


async def test_a_dialled_session_frees_its_socket_when_it_ends(house, scheme) -> None:
    async with house() as home:
        pair = await home.pair(scheme, limits=QuicLimits(close_timeout=0.2))
        sock = pair.dialled._endpoint._sockets[0]
        pair.far.close(1, "")
        await pair.client.until(lambda: pair.client.lost)
        async with asyncio.timeout(2):
            while sock.fileno() != -1:
                await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ((ENABLE_WEBTRANSPORT, WEBTRANSPORT_MAX_SESSIONS, WT_ENABLED), "webtransport"),
        ((WT_MAX_SESSIONS,), "webtransport"),
        ((WT_ENABLED,), "webtransport-h3"),
    ],
)
async def test_a_session_is_called_what_the_server_calls_it(
    house, monkeypatch, settings, name
) -> None:
    asked: list[str] = []
    hear = ServedWebTransport.headers_received

    def heard(self: ServedWebTransport, stream: int, request: Request, fin: bool) -> None:
        asked.append(request.pseudo["protocol"])
        hear(self, stream, request, fin)

    said = {ENABLE_CONNECT: 1, H3_DATAGRAM: 1} | dict.fromkeys(settings, 1)
    monkeypatch.setattr(Http3, "_get_local_settings", lambda _: said)
    monkeypatch.setattr(ServedWebTransport, "headers_received", heard)
    async with house() as home:
        await home.pair("https")
    assert asked == [name]


async def test_a_server_without_webtransport_is_not_asked(house, monkeypatch) -> None:
    said = {ENABLE_CONNECT: 1, H3_DATAGRAM: 1, WT_ENABLED: 0}
    monkeypatch.setattr(Http3, "_get_local_settings", lambda _: said)
    async with house() as home:
        with pytest.raises(SessionLost, match="does not speak WebTransport"):
            await dial(home.url("https"), protocols=("moq-lite-05",), tls=home.trust)
