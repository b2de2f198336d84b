"""Pages are told from programs by what only a browser says, and by the name they ask for."""

from __future__ import annotations

import pytest

from relay.auth.browser import may_be_a_page


@pytest.mark.parametrize(
    ("headers", "at"),
    [
        ({"host": "127.0.0.1", "origin": "https://evil.example"}, "127.0.0.1"),
        ({"host": "10.0.0.1", "origin": "null"}, "10.0.0.1"),
        ({"host": "localhost", "sec-fetch-site": "same-origin"}, "::1"),
        ({"host": "localhost", "sec-fetch-mode": "no-cors"}, "::1"),
        ({"host": "evil.example:4440"}, "127.0.0.1"),
        ({"host": "evil.example"}, "::1"),
        ({"host": "evil.example"}, "::ffff:127.0.0.1"),
        ({"host": "localhost.evil.example"}, "127.0.0.1"),
        ({"host": "127.0.0.1.evil.example:80"}, "127.0.0.1"),
        ({"host": "::1.example"}, "127.0.0.1"),
        ({"host": ""}, "127.0.0.1"),
    ],
)
def test_what_a_page_sends(headers: dict[str, str], at: str) -> None:
    assert may_be_a_page(headers, at)


@pytest.mark.parametrize(
    ("headers", "at"),
    [
        ({"host": "127.0.0.1:4440"}, "127.0.0.1"),
        ({"host": "127.0.0.1"}, "127.0.0.1"),
        ({"host": "[::1]:4440"}, "::1"),
        ({"host": "[::1]"}, "::1"),
        ({"host": "LocalHost:4440"}, "127.0.0.1"),
        ({"host": "localhost", "sec-fetch-mode": "cors"}, "127.0.0.1"),
        ({"host": "sidecar.internal:4440"}, "10.0.0.1"),
        ({"host": "sidecar.internal"}, "sidecar"),
        ({}, "127.0.0.1"),
    ],
)
def test_what_prometheus_curl_node_and_relays_send(headers: dict[str, str], at: str) -> None:
    assert not may_be_a_page(headers, at)
