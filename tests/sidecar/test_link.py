"""The link to a server that is slow, huge, packed, elsewhere, or not there."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import errno
import gzip
import inspect
import json
import shutil
import ssl
import time

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from relay.client import connect
from relay.config.shape import ClientTls
from relay.errors import ConfigError
from relay.net.settings import ListenSettings
from relay.sidecar.link import (
    DEADLINE,
    MAX_ANSWER,
    MAX_REFUSAL,
    Link,
    Unreachable,
    client_tls,
    key_tls,
)


def posted(oracle, deadline=5.0, **told):
    """One question to an oracle that was told so; the reply or the error, and the oracle."""

    async def run():
        async with oracle(**told) as server, Link(server.url, deadline=deadline) as link:
            try:
                return await link.post({"id": "1"}), server
            except Unreachable as error:
                return error, server

    return asyncio.run(run())


def test_an_answer(oracle):
    reply, server = posted(oracle, body={"a": 1})
    assert reply == (None, {"a": 1})
    assert server.asked == [{"id": "1"}]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_one_line_of_text(oracle, status):
    reply, _ = posted(oracle, status=status, body=b"no\nway\x1b[31m " + b"x" * 5000)
    assert reply.refusal[0] == status
    assert reply.refusal[1].startswith("no way [31m x")
    assert len(reply.refusal[1]) == MAX_REFUSAL


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 408, 429, 500, 503])
def test_anything_else_is_no_answer(oracle, status):
    there = {"location": "http://127.0.0.1:1/"}
    error, server = posted(oracle, status=status, headers=there)
    assert isinstance(error, Unreachable)
    assert str(status) in str(error)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"nope", b"[]", b'"x"', b"{", b'{"a":1,"a":2}', b'{"a":NaN}', b"\xff", b"[" * 500],
)
def test_what_is_no_object_is_no_answer(oracle, body):
    error, _ = posted(oracle, body=body)
    assert isinstance(error, Unreachable)


def test_a_huge_answer_is_no_answer(oracle):
    error, _ = posted(oracle, body={"x": "y" * MAX_ANSWER})
    assert "more than" in str(error)


def test_a_huge_refusal_is_a_refusal(oracle):
    reply, _ = posted(oracle, status=403, body=b"x" * (2 * MAX_ANSWER))
    assert reply.refusal == (403, "x" * MAX_REFUSAL)


def test_a_packed_answer_is_not_unpacked(oracle):
    body = gzip.compress(b" " * 10_000_000 + b"{}")
    error, _ = posted(oracle, body=body, headers={"content-encoding": "gzip"})
    assert "packed" in str(error)


@pytest.mark.parametrize("told", [{"silent": True}, {"drip": 0.05}])
def test_slow_servers_have_a_deadline_for_all_of_it(oracle, told):
    began = time.monotonic()
    error, _ = posted(oracle, deadline=0.3, **told)
    assert "did not answer in 0.3 s" in str(error)
    assert time.monotonic() - began < 10  # there would be no end to it


def test_who_is_at_the_door_hears_of_a_silent_server_before_anybody_gives_up():
    dial = inspect.signature(connect).parameters["timeout"].default
    assert min(dial, ListenSettings().visit_timeout) > DEADLINE + 1


@pytest.mark.parametrize(
    "raw", [b"", b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"]
)
def test_broken_http_is_no_answer(oracle, raw):
    error, _ = posted(oracle, raw=raw)
    assert isinstance(error, Unreachable)


def test_nobody_there():
    async def run():
        async with Link("http://127.0.0.1:1/?token=secret") as link:
            await link.post({})

    with pytest.raises(Unreachable) as caught:
        asyncio.run(run())
    assert str(caught.value).startswith("127.0.0.1: ")
    assert f"Errno {errno.ECONNREFUSED}" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_get_adds_to_the_query_and_escapes(oracle):
    async def run():
        async with oracle() as server, Link(server.url + "?v=1") as link:
            await link.get([("root", "a b/&kid=x"), ("kid", "é")])
            return server.targets

    (target,) = asyncio.run(run())
    asked = httpx.URL("http://x" + target)
    assert asked.path == "/auth"
    assert asked.params.multi_items() == [("v", "1"), ("root", "a b/&kid=x"), ("kid", "é")]


def test_telling_needs_no_words_back(oracle):
    async def run(**told):
        async with oracle(**told) as server, Link(server.url) as link:
            await link.tell({"x": 1})
            await link.tell(path="/sessions?a=b")
            return server

    server = asyncio.run(run(status=204, body=b""))
    assert server.asked == [{"x": 1}, {}]
    assert server.targets == ["/auth", "/auth/sessions?a=b"]
    asyncio.run(run(body=b"thanks"))
    with pytest.raises(Unreachable, match="403"):
        asyncio.run(run(status=403))


def test_a_proxy_of_the_environment_is_not_used(oracle, monkeypatch):
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert posted(oracle)[0].members == {"publish": ["**"]}


def test_a_socket_file(tmp_path, oracle):
    async def run():
        place = str(tmp_path / "auth.sock")
        async with oracle() as told:
            server = await asyncio.start_unix_server(told.serve, place)
            async with Link(f"unix:{place}") as link:
                reply = await link.post({"id": "2"})
            server.close()
        return reply, told

    reply, told = asyncio.run(run())
    assert reply.members == {"publish": ["**"]}
    assert told.targets == ["/"]


def test_a_context_for_the_servers_certificate(tmp_path):
    def told(event, **facts):
        raise AssertionError(event)

    context = client_tls((), None, None, told)
    assert context.verify_mode is ssl.CERT_REQUIRED
    with pytest.raises(ConfigError, match=r"client\.tls"):
        client_tls((tmp_path / "no.pem",), None, None, told)
    with pytest.raises(ConfigError, match=r"client\.tls"):
        client_tls((), tmp_path / "no.pem", None, told)


def write_pair(cert, key):
    """A certificate for whatever anybody means to do as ``localhost``, and its key."""
    secret, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, cert.stem)])
    builder = (
        x509.CertificateBuilder(name, name, secret.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    )
    form = Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    cert.write_bytes(builder.sign(secret, hashes.SHA256()).public_bytes(Encoding.PEM))
    key.write_bytes(secret.private_bytes(*form))


@contextlib.asynccontextmanager
async def guarded(pair, *known):
    """A server that shows ``pair``, wants one of the certificates ``known`` and tells which it was
    shown; its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    context.verify_mode = ssl.CERT_REQUIRED
    for cert in known:
        context.load_verify_locations(cert)

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        serial = writer.get_extra_info("peercert")["serialNumber"].encode()
        body = b'{"shown":"%s"}' % serial
        head = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % len(body) + body)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}/"


def serial_of(cert):
    return f"{x509.load_pem_x509_certificate(cert.read_bytes()).serial_number:X}"


def test_new_connections_show_and_believe_what_the_files_hold_by_then(tmp_path):
    one, two, old, new = (
        (tmp_path / f"{name}.pem", tmp_path / f"{name}.key") for name in ("1", "2", "old", "new")
    )
    for pair in (one, two, old, new):
        write_pair(*pair)
    root, cert, key = (tmp_path / name for name in ("ca.pem", "client.pem", "client.key"))
    told = []

    def renew(*files):
        for source, file in files:
            shutil.copy(source, file)

    async def shown(pair):
        async with guarded(pair, old[0], new[0]) as url, Link(url, tls) as link:
            return (await link.get(())).members["shown"].lstrip("0")

    renew((one[0], root), (old[0], cert), (old[1], key))
    tls = client_tls((root,), cert, key, lambda event, **facts: told.append((event, facts)))

    async def run():
        assert await shown(one) == serial_of(old[0])
        assert told == []

        renew((new[0], cert))  # half of it: its key is not there yet
        assert await shown(one) == serial_of(old[0])
        assert await shown(one) == serial_of(old[0])
        [(event, facts)] = told
        assert event == "client.tls not reloaded, the old one stays"
        assert facts["why"].startswith("client.tls.cert: ")

        renew((new[1], key), (two[0], root))
        assert await shown(two) == serial_of(new[0])
        with pytest.raises(Unreachable, match="verify failed"):
            await shown(one)
        assert [event for event, _ in told[1:]] == ["client.tls reloaded"]

    asyncio.run(run())


def test_keys_are_asked_for_at_whom_the_system_trusts_as_well(tmp_path, monkeypatch):
    ours, others, own = (
        (tmp_path / f"{name}.pem", tmp_path / f"{name}.key") for name in ("1", "2", "own")
    )
    for pair in (ours, others, own):
        write_pair(*pair)
    monkeypatch.setenv("SSL_CERT_FILE", str(others[0]))

    def told(event, **facts):
        raise AssertionError(event)

    assert key_tls(ClientTls(), told) is None
    tls = key_tls(ClientTls(root=(ours[0],), cert=own[0], key=own[1]), told)

    async def run():
        for pair in (ours, others):
            async with guarded(pair, own[0]) as url, Link(url, tls) as link:
                shown = (await link.get(())).members["shown"]
                assert shown.lstrip("0") == serial_of(own[0])

    asyncio.run(run())


def test_nobody_is_asked_for_the_password_of_the_key_that_is_shown(tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_pair(cert, key)
    form = Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    key.write_bytes(load_pem_private_key(key.read_bytes(), None).private_bytes(*form))
    with pytest.raises(ConfigError, match=r"client\.tls"):
        client_tls((), cert, key, lambda event, **facts: None)


def test_json_of_any_letters_arrives(oracle):
    async def run():
        async with oracle() as server, Link(server.url) as link:
            await link.post({"path": "/é/😀"})
            return server.asked

    assert json.dumps(asyncio.run(run())) == json.dumps([{"path": "/é/😀"}])
