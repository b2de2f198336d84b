"""URLs read as a client would dial them, and nothing of them lost."""

from __future__ import annotations

import pytest

from relay.auth.dialling import dialled
from relay.auth.request import Request
from relay.errors import BadRequest


@pytest.mark.parametrize(
    ("url", "target", "transport"),
    [
        ("/demo?jwt=x", "/demo?jwt=x", "webtransport"),
        ("//demo?jwt=x", "//demo?jwt=x", "webtransport"),
        ("demo#a?jwt=x", "demo#a?jwt=x", "webtransport"),
        ("/demo?from=https://a", "/demo?from=https://a", "webtransport"),
        ("", "", "webtransport"),
        ("https://h:4443/demo?jwt=x#part", "/demo?jwt=x", "webtransport"),
        ("https://h/café/a b%20?q=é", "/caf%C3%A9/a%20b%20?q=é", "webtransport"),
        ("/café/a b", "/café/a b", "webtransport"),
        ("HTTP://h", "", "webtransport"),
        ("moqt://h//demo?jwt=%zz", "//demo?jwt=%zz", "quic"),
        ("wss://h/demo?jwt=x", "/demo?jwt=x", "websocket"),
        ("tcp://h:1/demo?jwt=x", "/demo?jwt=x", "tcp"),
        ("unix:///run/r.sock?path=/demo%3Fjwt%3Dx", "/demo?jwt=x", "unix"),
        ("unix:///run/r.sock?jwt=x", "/", "unix"),
        ("unix:///run/r.sock?path=/a&path=/b", "/a", "unix"),
        ("unix:///run/r.sock?path=&path=/b", "/", "unix"),
    ],
)
def test_path_and_query_as_dialled(url: str, target: str, transport: str) -> None:
    assert dialled(url) == Request(target=target, transport=transport)


def test_over_http_the_path_is_an_address() -> None:
    assert dialled("/a%20b", "http").is_address
    assert dialled("https://h/a b", "http").path() == "a b"
    assert dialled("https://h/a b").path() == "a%20b"


def test_how_somebody_comes_may_be_said() -> None:
    assert dialled("moqt://h/demo", "http").transport == "http"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://h/demo", "expected a path, or a URL"),
        ("https://[::1/demo", "expected a path or a URL"),
        ("https://h:65536/demo", "expected a path or a URL"),
        ("/de\nmo", "control characters"),
        ("https://h/de\tmo", "control characters"),
        ("/demo?jwt=\x9b", "control characters"),
    ],
)
def test_what_cannot_be_dialled(url: str, why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        dialled(url)
