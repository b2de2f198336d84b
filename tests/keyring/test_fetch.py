"""One fetch, from servers that do not wish us well."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from relay.auth.trust import FetchSettings
from relay.keyring.fetch import MAX_ADDRESSES, Fetcher, FetchError
from relay.net.tls import write_pair

OPEN: dict[str, Any] = {"allow_private": True, "timeout": 9.0, "max_bytes": 4096}


def asked(tools: Any, answer: Any, path: str = "/k", etag: str | None = None, **settings: Any):
    """What a fetch of one answer comes to, and the server."""

    async def main():
        async with tools.server() as server:
            server.answers["/k"] = answer
            fetcher = Fetcher(FetchSettings(**(OPEN | settings)))
            try:
                return await fetcher.fetch(server.url(path), etag), server
            finally:
                await fetcher.close()

    return asyncio.run(main())


def test_an_answer(tools: Any) -> None:
    answer = tools.Answer(b"{}", headers={"etag": '"1"', "cache-control": "max-age=77"})
    fetched, server = asked(tools, answer)
    assert fetched == (b"{}", '"1"', 77.0)
    ((path, headers),) = server.requests
    assert path == "/k"
    assert headers["host"] == f"127.0.0.1:{server.port}"
    assert headers["accept-encoding"] == "identity"
    assert "if-none-match" not in headers


def test_an_answer_of_unknown_length(tools: Any) -> None:
    assert asked(tools, tools.Answer(b"{}", length=False))[0].body == b"{}"


def test_nothing_new(tools: Any) -> None:
    answer = tools.Answer(status=304, headers={"cache-control": "max-age=9"})
    fetched, server = asked(tools, answer, etag='"1"')
    assert fetched == (None, '"1"', 9.0)
    assert server.requests[0][1]["if-none-match"] == '"1"'


def test_a_tag_beyond_measure_is_forgotten(tools: Any) -> None:
    assert asked(tools, tools.Answer(b"{}", headers={"etag": "x" * 1025}))[0].etag is None


def test_a_tag_that_no_request_can_carry_is_forgotten(tools: Any) -> None:
    assert asked(tools, tools.Answer(b"{}", headers={"etag": '"\xe9"'}))[0].etag is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"status": 500}, "HTTP status 500"),
        ({"status": 404}, "HTTP status 404"),
        ({"status": 204}, "HTTP status 204"),
        ({"status": 304}, "HTTP status 304"),
        ({"body": b"<html>", "headers": {"content-type": "text/html"}}, "a web page"),
        ({"body": b"\x1f\x8b", "headers": {"content-encoding": "GZip"}}, "a body in gzip"),
        ({"body": b"x" * 4097}, "a body of 4097 bytes"),
        ({"body": b"x" * 4097, "length": False}, "more than 4096 bytes"),
        ({"endless": True, "length": False}, "more than 4096 bytes"),
        ({"body": b"{}", "cut": 5}, "RemoteProtocolError"),
        ({"raw": b""}, "RemoteProtocolError"),
        ({"raw": b"SSH-2.0-hello\r\n"}, "RemoteProtocolError"),
        ({"raw": b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 100_000}, "Error"),
        ({"status": 302}, "HTTP status 302"),
        ({"status": 302, "headers": {"location": "https://127.0.0.1/k"}}, "another server"),
        ({"status": 301, "headers": {"location": "http://localhost/k"}}, "another server"),
        ({"status": 307, "headers": {"location": "//169.254.169.254/"}}, "another server"),
        ({"status": 308, "headers": {"location": "http://127.0.0.1:1/"}}, "another server"),
        ({"status": 302, "headers": {"location": "http://u:p@127.0.0.1/"}}, "not a URL"),
        ({"status": 302, "headers": {"location": "file:///etc/passwd"}}, "not a URL"),
        ({"status": 302, "headers": {"location": "http://[bad"}}, "another server"),
        ({"status": 302, "headers": {"location": "/k"}}, "more than 3 redirects"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_refused(tools: Any, answer: dict[str, Any], words: str) -> None:
    with pytest.raises(FetchError, match=words):
        asked(tools, tools.Answer(**answer))


@pytest.mark.parametrize(
    "answer", [{"pause": 9.0}, {"body": b"{}" * 99, "drip": 0.05}, {"body": b"{}", "drip": 9.0}]
)
def test_a_slow_server_is_given_up_in_time(tools: Any, answer: dict[str, Any]) -> None:
    began = time.monotonic()
    with pytest.raises(FetchError, match=r"no whole answer within 0\.3 s"):
        asked(tools, tools.Answer(**answer), timeout=0.3)
    assert time.monotonic() - began < 6.0  # less than any of these takes


def test_a_redirect_to_the_same_server_is_followed(tools: Any) -> None:
    def there(headers: dict[str, str]) -> Any:
        return tools.Answer(status=302, headers={"location": "/k"})

    async def main() -> None:
        async with tools.server() as server:
            server.answers |= {"/moved": there, "/k": tools.Answer(b"{}")}
            fetcher = Fetcher(FetchSettings(**OPEN))
            assert (await fetcher.fetch(server.url("/moved"))).body == b"{}"
            await fetcher.close()

    asyncio.run(main())


def test_nobody_listens() -> None:
    async def main() -> None:
        fetcher = Fetcher(FetchSettings(**OPEN))
        with pytest.raises(FetchError, match="ConnectError"):
            await fetcher.fetch("http://127.0.0.1:1/")
        await fetcher.close()

    asyncio.run(main())


def seen(settings: dict[str, Any], addresses: list[str], url: str) -> tuple[list[Any], Any]:
    """What is connected to for ``url`` when its name has these addresses."""
    requests: list[httpx.Request] = []
    names: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if request.url.host == "2606:4700::dead":
            raise httpx.ConnectError("no route")
        return httpx.Response(200, stream=httpx.ByteStream(b"{}"), headers={"set-cookie": "a=b"})

    async def resolve(host: str, port: int) -> list[str]:
        names.append(host)
        return addresses

    async def main() -> Any:
        fetcher = Fetcher(FetchSettings(**settings), resolve, httpx.MockTransport(answer))
        try:
            return await fetcher.fetch(url)
        except FetchError as error:
            return str(error)
        finally:
            await fetcher.close()

    return requests, asyncio.run(main())


def test_what_was_judged_is_what_is_connected_to() -> None:
    requests, fetched = seen({}, ["93.184.215.14"], "https://id.example:8443/k?a=b")
    (request,) = requests
    assert str(request.url) == "https://93.184.215.14:8443/k?a=b"
    assert request.headers["host"] == "id.example:8443"
    assert request.extensions["sni_hostname"] == "id.example"
    assert fetched.body == b"{}"


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "127.0.0.1", "10.1.2.3", "::1", "fe80::1", "::ffff:10.0.0.1"]
)
def test_a_name_that_leads_home_is_not_followed(address: str) -> None:
    requests, why = seen({}, [address], "https://id.example/k")
    assert not requests
    assert "not public" in why
    host = f"[{address}]" if ":" in address else address
    requests, why = seen({}, [], f"https://{host}/k")
    assert not requests
    assert "not public" in why


def test_of_mixed_addresses_only_public_ones_are_tried() -> None:
    addresses = ["127.0.0.1", "2606:4700::dead", "169.254.169.254", "93.184.215.14"]
    requests, fetched = seen({}, addresses, "https://id.example/k")
    assert [request.url.host for request in requests] == ["2606:4700::dead", "93.184.215.14"]
    assert fetched.body == b"{}"


@pytest.mark.parametrize("trouble", [httpx.ConnectError, httpx.ConnectTimeout])
def test_an_address_where_nobody_answers_leaves_time_for_the_next(trouble: type[Exception]) -> None:
    waits: dict[str, float] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        waits[request.url.host] = request.extensions["timeout"]["connect"]
        if request.url.host == "2606:4700::dead":
            raise trouble("")
        return httpx.Response(200, stream=httpx.ByteStream(b"{}"))

    async def resolve(host: str, port: int) -> list[str]:
        return ["2606:4700::dead", "93.184.215.14"]

    async def main() -> bytes | None:
        fetcher = Fetcher(FetchSettings(timeout=9.0), resolve, httpx.MockTransport(answer))
        try:
            return (await fetcher.fetch("https://id.example/k")).body
        finally:
            await fetcher.close()

    assert asyncio.run(main()) == b"{}"
    assert waits == {"2606:4700::dead": 3.0, "93.184.215.14": 3.0}


def test_the_addresses_that_are_tried_are_those_that_may_be() -> None:
    private = [f"10.0.0.{number}" for number in range(MAX_ADDRESSES)]
    requests, _ = seen({}, [*private, "93.184.215.14"], "https://id.example/k")
    assert [request.url.host for request in requests] == ["93.184.215.14"]


def test_no_more_addresses_are_tried_than_that() -> None:
    tried: list[str] = []

    def silent(request: httpx.Request) -> httpx.Response:
        tried.append(request.url.host)
        raise httpx.ConnectTimeout("")

    public = [f"93.184.215.{number}" for number in range(MAX_ADDRESSES + 1)]

    async def resolve(host: str, port: int) -> list[str]:
        return [public[0], *public]

    async def main() -> None:
        fetcher = Fetcher(FetchSettings(), resolve, httpx.MockTransport(silent))
        with pytest.raises(FetchError, match="ConnectTimeout"):
            await fetcher.fetch("https://id.example/k")
        await fetcher.close()

    asyncio.run(main())
    assert tried == public[:MAX_ADDRESSES]


def test_rebinding_between_two_fetches() -> None:
    answers = [["93.184.215.14"], ["169.254.169.254"]]
    hosts: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        hosts.append(request.url.host)
        return httpx.Response(200, stream=httpx.ByteStream(b"{}"))

    async def resolve(host: str, port: int) -> list[str]:
        return answers.pop(0)

    async def main() -> None:
        fetcher = Fetcher(FetchSettings(), resolve, httpx.MockTransport(answer))
        await fetcher.fetch("https://id.example/k")
        with pytest.raises(FetchError, match="not public"):
            await fetcher.fetch("https://id.example/k")
        await fetcher.close()

    asyncio.run(main())
    assert hosts == ["93.184.215.14"]


@pytest.mark.parametrize(
    ("settings", "address", "works"),
    [
        ({}, "93.184.215.14", False),
        ({"allow_http": True}, "93.184.215.14", True),
        ({"allow_http": True}, "10.0.0.1", False),
        ({"allow_private": True}, "10.0.0.1", True),
        ({"allow_private": True}, "93.184.215.14", False),
    ],
)
def test_plain_http(settings: dict[str, Any], address: str, works: bool) -> None:
    requests, answer = seen(settings, [address], "http://id.example/k")
    assert bool(requests) is works is not isinstance(answer, str)


def test_a_name_without_an_address() -> None:
    async def resolve(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    async def main() -> None:
        fetcher = Fetcher(FetchSettings(), resolve)
        with pytest.raises(FetchError, match="no such name"):
            await fetcher.fetch("https://id.example/")
        await fetcher.close()

    asyncio.run(main())
    assert seen({}, [], "https://id.example/")[1] == "the name has no address"


@pytest.mark.parametrize("url", ["", "id.example", "ftp://x/", "https://", "https://x:99999/"])
def test_no_url(url: str) -> None:
    requests, why = seen({}, ["93.184.215.14"], url)
    assert not requests
    assert "not a URL" in why


def test_the_certificate_must_be_of_the_name_that_was_asked_for(tools: Any, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_pair(cert, key, ["id.example"])
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(cert, key)
    trusted = ssl.create_default_context(cafile=str(cert))

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async def main() -> None:
        async with tools.server(served) as server:
            server.answers["/k"] = tools.Answer(b"{}")
            believing = Fetcher(FetchSettings(**OPEN), resolve, tls=trusted)
            strict = Fetcher(FetchSettings(**OPEN), resolve)
            good = f"https://id.example:{server.port}/k"
            assert (await believing.fetch(good)).body == b"{}"
            for fetcher, url in (
                (believing, good.replace("id.example", "other.example")),
                (believing, good.replace("id.example", "127.0.0.1")),
                (strict, good),
            ):
                with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
                    await fetcher.fetch(url)
            await believing.close()
            await strict.close()
            assert len(server.requests) == 1

    asyncio.run(main())
