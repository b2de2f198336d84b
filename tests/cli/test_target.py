"""Whom a client dials and believes."""

from __future__ import annotations

import contextlib
import http.server

import click
import pytest
from tests.serving import serving

from relay.cli.target import resolve
from relay.errors import SessionLost
from relay.net.trust import DialTls

HASH = "AB" * 32


@contextlib.contextmanager
def answering(body, status=200):
    """A tiny HTTP server; yields its port and the paths it was asked for."""
    asked = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words):
            pass

    with serving(http.server.HTTPServer(("127.0.0.1", 0), Answer)) as port:
        yield port, asked


def test_http_means_the_hash_that_the_relay_gives():
    with answering(f"{HASH}\n".encode()) as (port, asked):
        target = resolve(f"http://127.0.0.1:{port}/demo?jwt=secret", False, None, ())
    assert target.url == f"https://127.0.0.1:{port}/demo?jwt=secret"
    assert target.tls == DialTls(fingerprints=(HASH.lower(),))
    assert asked == ["/certificate.sha256"]


@pytest.mark.parametrize(
    "url", ["tcp://127.0.0.1:4444/demo?jwt=x", "unix:///run/r.sock?path=/demo%3Fjwt%3Dx"]
)
def test_a_plain_stream_has_no_certificate(url):
    assert resolve(url, False, None, ()) == (url, DialTls())


def test_https_on_this_machine_asks_too():
    with answering(HASH.encode()) as (port, _):
        target = resolve(f"https://127.0.0.1:{port}/", False, None, ())
    assert target.tls.fingerprints == (HASH.lower(),)


def test_https_on_this_machine_without_an_answer_is_verified_as_usual():
    with answering(b"nothing", 404) as (port, _):
        assert resolve(f"https://127.0.0.1:{port}/", False, None, ()).tls == DialTls()


@pytest.mark.parametrize(("body", "status"), [(b"nope", 200), (b"", 200), (HASH.encode(), 404)])
def test_http_without_a_hash_is_one_line(body, status):
    with answering(body, status) as (port, _), pytest.raises(SessionLost, match="no certificate"):
        resolve(f"http://127.0.0.1:{port}/x?jwt=secret", False, None, ())


def test_what_was_said_about_trust_is_not_second_guessed():
    with answering(HASH.encode()) as (port, asked):
        assert resolve(f"http://127.0.0.1:{port}/", True, None, ()).tls == DialTls(
            disable_verify=True
        )
        pinned = resolve(f"https://127.0.0.1:{port}/", False, None, (":".join(["0A"] * 32),))
    assert pinned.tls.fingerprints == ("0a" * 32,)
    assert asked == []


@pytest.mark.parametrize("url", ["https://relay.example.com/x", "moqt://127.0.0.1:1/x?jwt=a"])
def test_other_addresses_are_dialled_as_they_are(url):
    assert resolve(url, False, None, ()) == (url, DialTls())


def test_a_path_is_written_as_others_write_it():
    target = resolve("moqt://127.0.0.1:1/café/a b?jwt=a", False, None, ())
    assert target.url == "moqt://127.0.0.1:1/caf%C3%A9/a%20b?jwt=a"


BAD = ["", "relay", "ftp://x/", "https:///x", "http://[::1/", "http://127.0.0.1:99999/"]


@pytest.mark.parametrize("url", BAD)
def test_what_is_no_address_is_a_usage_error(url):
    with pytest.raises(click.UsageError):
        resolve(url, False, None, ())


def test_a_pin_that_is_none_is_a_usage_error():
    with pytest.raises(click.UsageError, match="64 hex digits"):
        resolve("https://x/", False, None, ("abc",))
