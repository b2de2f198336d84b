"""Why there was no answer, for people; and whom HTTPS trusts."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.serving import serving

from relay.cli import asking, relay
from relay.net import tls

EMPTY = {"declared": [], "published": [], "announced": ["clock"]}


class Answers(BaseHTTPRequestHandler):
    """A relay's routes, and elsewhere what no relay says."""

    def do_GET(self) -> None:
        known = self.path == "/routes/anon"
        body = json.dumps(EMPTY).encode() if known else b"<html>"
        self.send_response(200 if known else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None: ...


class Quiet(HTTPServer):
    """One whose handshakes may fail."""

    def handle_error(self, *_: object) -> None: ...


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[str]:
    """Where a server listens whose certificate nobody signed; it is in the folder."""
    tls.write_pair(tmp_path / "web.pem", tmp_path / "web.key", ["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "web.pem", tmp_path / "web.key")
    server = Quiet(("127.0.0.1", 0), Answers)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server) as port:
        yield f"https://localhost:{port}"


@contextmanager
def served(answers: type[Answers]) -> Iterator[str]:
    """Where somebody answers over plain HTTP."""
    with serving(Quiet(("127.0.0.1", 0), answers)) as port:
        yield f"http://127.0.0.1:{port}"


def said(*words: str) -> str:
    done = CliRunner().invoke(relay, list(words))
    return done.output + str(done.exception or "")


def both(url: str) -> list[str]:
    """What either command says of a relay at ``url``."""
    asked = ("sessions", "list")
    return [said("routes", f"{url}/anon"), said("admin", "--url", url, "--token", "k", *asked)]


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        for told in both(f"http://127.0.0.1:{taken.getsockname()[1]}"):
            assert "no answer" in told
            assert "Connection refused" in told


def test_a_certificate_that_is_not_trusted_and_one_that_is(
    secure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for told in (*both(secure), *both(secure.replace("https", "HTTPS"))):
        assert "certificate verify failed" in told
        assert "SSL_CERT_FILE" in told
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "web.pem"))
    listed, strange = both(secure)
    assert listed == "announced\tclock\n"
    assert "answered 404, and not as a relay does" in strange


def bomb() -> bytes:
    """A little that is ten thousand bytes unpacked."""
    return gzip.compress(bytes(10_000))


STRANGE = {
    "packed": (bomb(), {"content-encoding": "gzip"}, "longer than 5000 bytes"),
    "long": (bytes(10_000), {}, "longer than 5000 bytes"),
    "slow": (bytes(4_000), {}, "longer than 0 seconds"),
    "deep": (b"[" * 4_000, {}, ""),
    "other": (b'["a relay"]', {}, ""),
    "empty": (b'{"nodes": 3}', {}, ""),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_an_answer_that_is_no_relays(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    body, headers, why = STRANGE[kind]

    class Strange(Answers):
        def do_GET(self) -> None:
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    monkeypatch.setattr(asking, "MOST", 5_000)
    if kind == "slow":
        monkeypatch.setattr(asking, "LONGEST", 0.0)
    with served(Strange) as url:
        for told in (*both(url), said("nodes", "--url", url, "--rates", "0")):
            assert why in told
            assert "Error" not in told
            if kind != "empty":
                assert "no answer" in told or "relay" in told
    if not why:
        assert "is no relay's internal face" in told
