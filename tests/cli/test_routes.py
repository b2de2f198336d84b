"""``relay routes`` against a relay that is running."""

from __future__ import annotations

import http.server

import pytest
from click.testing import CliRunner
from tests.serving import serving

from relay.cli.routes import routes

FOUND = (
    b'{"declared":[{"broadcast":"a/*","track":"t","version":"v1","schema":true,'
    b'"dead_letters":false}],"published":[{"broadcast":"a","tracks":["t","u\\nv"]}],"announced":["a","b\\u001b[2J"]}'
)


@pytest.fixture
def asked():
    """A server that answers like a relay, and what it was asked."""
    seen = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, self.headers.get("authorization")))
            self.send_response(200 if self.headers.get("authorization") else 401)
            self.send_header("x-request-id", "00ff")
            self.end_headers()
            self.wfile.write(FOUND)

        def log_message(self, *args):
            pass

    with serving(http.server.HTTPServer(("127.0.0.1", 0), Answer)) as port:
        yield f"http://127.0.0.1:{port}/demo", seen


def test_what_there_is_line_by_line(asked):
    url, seen = asked
    done = CliRunner().invoke(routes, [url, "--token", "x"])
    assert done.output.splitlines() == [
        "declared\ta/*:t/v1\tschema",
        "published\ta:t",
        "published\ta:u%0Av",
        "announced\ta",
        "announced\tb%1B[2J",
    ]
    assert seen == [("/routes/demo", "Bearer x")]


def test_a_refusal_is_an_error(asked):
    done = CliRunner().invoke(routes, [asked[0]])
    assert done.exit_code != 0
    assert str(done.exception) == "the relay said 401 (id 00ff; its log says why)"


@pytest.mark.parametrize("token", ["x\r\n", " x", "x\t"])
def test_what_stands_around_a_token_is_none_of_it(asked, monkeypatch, token):
    url, seen = asked
    monkeypatch.setenv("MOQ_TOKEN", token)
    assert CliRunner().invoke(routes, [url]).exit_code == 0
    assert [authorization for _, authorization in seen] == ["Bearer x"]


@pytest.mark.parametrize("token", ["secret two", "secret\nx", "secret\u2026", "secret\udcff"])
def test_a_token_that_no_header_holds_is_not_shown(asked, monkeypatch, token):
    url, seen = asked
    monkeypatch.setenv("MOQ_TOKEN", "x")
    done = CliRunner().invoke(routes, [url, "--token", token])
    assert str(done.exception) == "the token is not one word"
    assert not seen
