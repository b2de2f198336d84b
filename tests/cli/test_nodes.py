from __future__ import annotations

import io
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console
from tests.serving import serving

from relay.cli import relay
from relay.cli.asking import Closed, ask
from relay.cli.nodes import drawn
from relay.errors import RelayError

LINE = {
    "id": "x1",
    "direction": "outbound",
    "version": "moq-lite-05",
    "cost": 3,
    "seconds": 12.0,
    "rtt_ms": 4.5,
    "bytes_sent": 1000,
    "bytes_received": 2000,
    "publishes": 1,
    "subscribed": 2,
    "viewing": 5,
}
MESH: dict[str, Any] = {
    "node": "https://me/",
    "origin_id": "17",
    "nodes": [
        {
            "node": "https://b/",
            "origin_id": "2",
            "announced": {"hops": ["2"], "hop_count": 1, "cost": 3},
            "connections": [LINE],
        },
        {
            "node": "https://far/",
            "origin_id": "3",
            "announced": {"hops": ["3", "2"], "hop_count": 2, "cost": 4},
            "connections": [],
        },
    ],
    "links": [
        {"peer": "https://b/", "up": True, "seconds": 12.0, "attempts": 0, "trouble": ""},
        {"peer": "https://down/", "up": False, "seconds": 9.0, "attempts": 4, "trouble": "refused"},
    ],
}


def test_workers_that_do_not_answer_are_shown() -> None:
    assert "does not answer" not in text(MESH, MESH, 0.0)
    assert "worker 2 does not answer" in text(MESH | {"silent": [2]}, MESH, 0.0)


def text(mesh: dict[str, Any], before: dict[str, Any], took: float) -> str:
    out = io.StringIO()
    Console(file=out, width=160).print(drawn(mesh, before, took))
    return out.getvalue()


def test_the_mesh_is_drawn() -> None:
    later = json.loads(json.dumps(MESH))
    later["nodes"][0]["connections"][0] |= {"bytes_sent": 126_000, "bytes_received": 2250}
    shown = text(later, MESH, 1.0)
    assert "https://me/  origin 17" in shown
    assert "https://b/  1 hops, cost 3" in shown
    for part in ("→ dialled", "lite-05", "4.5 ms", "1.0 Mbit/s", "2.0 kbit/s", "5/2"):
        assert part in shown, part
    assert "https://far/  2 hops, cost 4  heard of, not linked" in shown
    assert "https://down/  down for 9 s, 4 tries: refused" in shown
    assert "Mbit" not in text(MESH, MESH, 0.0)


def test_a_relay_alone_says_so() -> None:
    alone = {"node": None, "origin_id": "1", "nodes": [], "links": []}
    assert "no other relay" in text(alone, alone, 0.0)


class Inside(HTTPServer):
    """A relay's internal face."""

    looks = 0
    drained = 0
    status = 0
    """What it answers once it is drained; without, it closes and answers nothing."""

    class RequestHandlerClass(BaseHTTPRequestHandler):
        server: Inside

        def log_message(self, *args: Any) -> None:
            pass

        def answer(self, body: Any, status: int = 200) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self.server.looks += 1
            if self.server.drained and self.server.looks > 2:
                if self.server.status:
                    self.answer({}, self.server.status)
            else:
                self.answer(MESH if self.path == "/nodes" else [])

        def do_POST(self) -> None:
            self.server.drained += 1
            self.answer({"sessions": 3}, 202)

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Inside.RequestHandlerClass)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def inside() -> Iterator[Inside]:
    server = Inside()
    with serving(server):
        yield server


def run(*words: str) -> Any:
    return CliRunner().invoke(relay, words)


def test_nodes_as_a_tree_and_as_json(inside: Inside) -> None:
    done = run("nodes", "--url", inside.url + "/", "--rates", "0")
    assert done.exit_code == 0
    assert "https://far/" in done.output
    done = run("nodes", "--url", inside.url, "--json")
    assert json.loads(done.output) == MESH


def test_drain_waits_for_the_end(inside: Inside) -> None:
    done = run("drain", "--url", inside.url, "--wait", "5")
    assert (done.exit_code, done.output) == (0, "draining, 3 sessions to go\nstopped\n")
    assert inside.drained == 1


@pytest.mark.parametrize("status", [401, 503])
def test_who_answers_something_else_has_not_stopped(inside: Inside, status: int) -> None:
    inside.status = status
    done = run("drain", "--url", inside.url, "--wait", "1")
    assert (done.exit_code, done.output) == (1, "draining, 3 sessions to go\n")
    assert f"not stopped within 1 s (no answer from {inside.url}/nodes: it said {status})" in str(
        done.exception
    )


def test_what_was_refused_or_closed_is_told_from_other_trouble(inside: Inside) -> None:
    with pytest.raises(Closed):
        ask("GET", "http://127.0.0.1:1")
    with pytest.raises(RelayError) as caught:
        ask("GET", inside.url.replace("http", "https"))
    assert type(caught.value) is RelayError


def test_drain_gives_up(inside: Inside) -> None:
    inside.looks = -1000
    done = run("drain", "--url", inside.url, "--wait", "0.3")
    assert done.exit_code != 0
    assert isinstance(done.exception, RelayError | SystemExit)


def test_the_address_of_a_configuration(inside: Inside, tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    public = '[auth]\npublic = "anon"\n'
    file.write_text(f'{public}[internal]\nlisten = "127.0.0.1:{inside.server_port}"\n')
    assert run("nodes", "--config", str(file), "--json").exit_code == 0
    file.write_text(public)
    assert run("nodes", "--config", str(file)).exit_code != 0
    assert run("nodes").exit_code == 2


def test_nobody_there() -> None:
    done = run("nodes", "--url", "http://127.0.0.1:1")
    assert done.exit_code != 0
    assert "no answer from http://127.0.0.1:1" in str(done.exception) + done.output


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1"])
@pytest.mark.parametrize("command", ["nodes", "drain", "admin --token x sessions list"])
def test_a_password_in_the_address_is_not_told(command: str, address: str) -> None:
    name, *rest = command.split()
    done = run(name, "--url", f"http://bob:hushed@{address}", *rest)
    assert done.exit_code != 0
    assert "hushed" not in str(done.exception) + done.output
