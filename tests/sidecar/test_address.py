"""Where an authorization server may be."""

from __future__ import annotations

import pytest

from relay.errors import ConfigError
from relay.sidecar.address import check_url


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:4440/",
        "http://127.9.9.9/",
        "http://localhost:4440/x?y=1",
        "http://[::1]:4440/",
        "https://auth.example.com",
    ],
)
def test_good_addresses(url):
    assert check_url(url) == (url, None)


@pytest.mark.parametrize("url", ["unix:/run/moq%20auth.sock", "unix:///run/moq%20auth.sock"])
def test_a_socket_file(url):
    assert check_url(url) == ("http://localhost/", "/run/moq auth.sock")


@pytest.mark.parametrize(
    "url",
    [
        "http://auth.example.com/?jwt=secret",
        "http://192.168.0.1/secret",
        "http://localhost.secret.example/",
        "https://secret:pass@auth.example.com/",
        "https://secret@auth.example.com/",
        "https://auth.example.com/#secret",
        "ftp://127.0.0.1/secret",
        "https://",
        "unix:",
        "unix://secret/run/x.sock",
        "/run/secret.sock",
        "https://[secret",
        "https://host:secret/",
        "",
    ],
)
def test_bad_addresses_are_one_line_without_the_address(url):
    with pytest.raises(ConfigError) as caught:
        check_url(url, "auth.url")
    line = str(caught.value)
    assert line.startswith("auth.url: ")
    assert "\n" not in line
    assert "secret" not in line
    assert "pass@" not in line
