"""``relay sidecar``: as a process, from a configuration to answers and a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path as File

import httpx
import pytest

import asked
from relay.auth import mint
from relay.auth.claims import Claims
from relay.auth.keys import generate
from relay.cli.sidecar import require_sense, serving, warnings
from relay.config import load
from relay.errors import ConfigError
from relay.path import ROOT, Path
from relay.records.opening import open_records
from relay.records.sealing import KEY, Seal
from relay.records.signing import Signing

AUTH = '[auth]\nkey_dir = "keys"\npublic = "anon"\n'
GUEST = {"id": "00ff", "event": "connect", "node": "n", "transport": "quic", "path": "/demo"}


@pytest.fixture
def folder(tmp_path: File) -> File:
    (tmp_path / "keys").mkdir()
    (tmp_path / "relay.toml").write_text(AUTH + '[sidecar]\nlisten = "127.0.0.1:0"\ntier = "t"\n')
    return tmp_path


def started(folder: File, *words: str) -> tuple[subprocess.Popen[str], dict[str, list]]:
    """The process, and what it says when it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "relay", "sidecar", *words],
        cwd=folder,
        env=os.environ | {"RELAY_READY": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    assert line.startswith("ready "), process.stderr.read()
    return process, json.loads(line.removeprefix("ready "))


def failed(folder: File, *words: str) -> str:
    """The one line of a sidecar that cannot start."""
    done = subprocess.run(
        [sys.executable, "-m", "relay", "sidecar", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_from_a_configuration_to_a_clean_end(folder):
    key = generate("ES256", "e1")
    token = mint.sign(Claims(root=Path("demo"), put=(ROOT,)), key, time.time())
    process, ready = started(folder, "relay.toml")
    try:
        host, port = ready["http"]
        with httpx.Client(base_url=f"http://{host}:{port}") as http:
            asked = GUEST | {"query": f"jwt={token}"}
            refused = http.post("/", json=asked)
            assert refused.status_code == 401
            (folder / "keys" / "e1.jwk").write_bytes(key.public().dump())
            for _ in range(50):
                granted = http.post("/", json=asked)
                if granted.status_code == 200:
                    break
                time.sleep(0.1)
            assert granted.json() == {"publish": ["**"], "tier": "t"}
            assert http.get("/", params={"root": "demo", "kid": "e1"}).json()["key"]["kid"] == "e1"
            assert http.post("/revalidate").json() == {"relays": 0}
    finally:
        process.send_signal(signal.SIGTERM)
        out, log = process.communicate(timeout=10)
    assert process.returncode == 0, log
    assert out == ""
    assert refused.text.split()[1] in log
    assert token not in log
    assert "server.tls" not in log


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="no prlimit here")
def test_that_there_are_no_descriptors_left_is_one_line(folder):
    file = folder / "relay.toml"
    file.write_text(file.read_text().replace(AUTH, '[auth]\npublic = "anon"\n'))  # nothing to read
    process, ready = started(folder, "relay.toml")
    silent = threading.Timer(20, process.kill)
    silent.start()
    try:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = max(map(int, os.listdir(f"/proc/{process.pid}/fd"))) + 1
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (most, hard))
        with contextlib.ExitStack() as callers:
            for _ in range(3):
                callers.enter_context(socket.create_connection(ready["http"], 5))
            lines = iter(process.stderr.readline, "")
            assert "no file descriptors left (ulimit -n)" in next(lines)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (min(256, hard), hard))
        assert "file descriptors to spare again" in next(lines)
    finally:
        silent.cancel()
        process.terminate()
        process.communicate(timeout=10)


def test_decisions_stand_in_the_audit_log_of_the_store_and_are_counted(folder):
    url = f"sqlite:///{folder}/relay.db"
    with (folder / "relay.toml").open("a") as file:
        file.write(f'[records]\nurl = "{url}"\n')
    key = generate("ES256", "e1")
    (folder / "keys" / "e1.jwk").write_bytes(key.public().dump())
    token = mint.sign(Claims(root=Path("demo"), put=(ROOT,), sub="alice"), key, time.time())
    process, ready = started(folder, "relay.toml")
    try:
        host, port = ready["http"]
        with httpx.Client(base_url=f"http://{host}:{port}") as http:
            for event in ("connect", "revalidate"):
                asked = GUEST | {"query": f"jwt={token}", "event": event}
                assert http.post("/", json=asked).status_code == 200
            refused = http.post("/", json=GUEST | {"query": f"jwt={token[:-4]}AAAA"})
            assert http.get("/", params={"root": "demo", "kid": "e1"}).status_code == 200
            numbers = http.get("/metrics").text
    finally:
        process.terminate()
        _, log = process.communicate(timeout=10)
    assert process.returncode == 0, log
    assert 'decisions_total{asked="connect",outcome="allow"} 1.0' in numbers
    assert 'decisions_total{asked="revalidate",outcome="allow"} 1.0' in numbers
    assert 'relay_sidecar_refused_total{reason="bad_signature"} 1.0' in numbers

    async def kept():
        store = await open_records(url)
        entries = await store.audit.after(0, 100)
        await store.close()
        return entries

    allow, deny, lookup = asyncio.run(kept())
    assert (allow.action, allow.actor, allow.kid, allow.tenant) == ("allow", "alice", "e1", "demo")
    assert allow.detail == "connect over quic, session 00ff of n"
    assert (deny.action, deny.reason, deny.target) == ("deny", "bad_signature", "/demo")
    assert (deny.id, deny.node) == (refused.text.split()[1], "sidecar")
    assert (lookup.action, lookup.kid) == ("lookup", "e1")
    assert token not in str([allow, deny, lookup])


def test_decisions_are_posted_as_they_are_written_also_the_last(folder):
    posted: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = int(re.search(rb"content-length: (\d+)", head.lower())[1])
        told = json.loads(await reader.readexactly(size))
        posted.extend(entry["target"] for entry in told["entries"])
        writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            hook = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
            with (folder / "relay.toml").open("a") as file:
                file.write(f'[records]\nurl = "sqlite:///{folder}/relay.db"\n')
                file.write(f'[audit]\nflush = 5.0\nwebhook = "{hook}"\nwebhook_private = true\n')
                file.write('webhook_secret = "0123456789abcdef"\n')
            settings = load(folder / "relay.toml", environ=asked.settings()).settings
            async with serving(settings) as (host, port), httpx.AsyncClient() as http:
                refused = await http.post(f"http://{host}:{port}/", json=GUEST)
                assert refused.status_code == 401

    asyncio.run(main())
    assert posted == ["/demo"]


def test_what_can_be_reached_must_be_meant(folder):
    line = failed(folder, "relay.toml", "--listen", "0.0.0.0:0")
    assert line.startswith("relay: sidecar.listen: 0.0.0.0 can be reached by others")
    process, ready = started(folder, "relay.toml", "--listen", "0.0.0.0:0", "--listen-public")
    process.terminate()
    process.communicate(timeout=10)
    assert ready["http"][0] == "0.0.0.0"


def test_a_rule_that_fits_nobody_here_is_said():
    rules = {"edge": {"fingerprint": "ab" * 32, "subscribe": ""}}
    rules["plant"] = {"san": "plant.example.com", "subscribe": ""}
    settings = load(None, {"auth.certificates": rules}, {}).settings
    (line,) = warnings(settings)
    assert line.startswith("auth.certificates.plant.san: fits nobody here")


def test_all_that_is_said_is_json_where_that_was_said(folder):
    with (folder / "relay.toml").open("a") as file:
        file.write('[auth.certificates.plant]\nsan = "a.example.com"\nsubscribe = ""\n')
        file.write('[log]\nformat = "json"\n')
    process, _ = started(folder, "relay.toml")
    process.terminate()
    _, log = process.communicate(timeout=10)
    lines = [json.loads(line) for line in log.splitlines()]
    assert any("plant.san: fits nobody" in line.get("detail", "") for line in lines)


def test_a_certificate_that_is_none(folder):
    for name in ("cert.pem", "key.pem"):
        (folder / name).write_text("x")
        (folder / name).chmod(0o600)
    with (folder / "relay.toml").open("a") as file:
        file.write('cert = "cert.pem"\nkey = "key.pem"\n')
    assert failed(folder, "relay.toml").startswith("relay: sidecar.cert: ")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_this_machine_alone_needs_no_word(host):
    require_sense(load(None, {"auth.public": "", "sidecar.listen": f"{host}:0"}, {}).settings)


def test_a_server_that_asks_another_decides_nothing():
    settings = load(None, {"auth.url": "https://auth.example.com/"}, {}).settings
    with pytest.raises(ConfigError, match=r"^auth\.url: "):
        require_sense(settings)


def test_tokens_that_relays_on_the_store_issue_are_taken(folder):
    seal = Seal(bytes(KEY))
    url = f"sqlite:///{folder}/relay.db"

    async def issued() -> str:
        store = await open_records(url)
        signing = Signing(store, seal, "ES256", time.time)
        (active,) = [each for each in await signing.begin() if each.key.state == "active"]
        await store.close()
        return mint.sign(Claims(root=Path("demo"), put=(ROOT,)), signing.opened(active), 0)

    token = asyncio.run(issued())
    toml = folder / "relay.toml"
    toml.write_text(f'[records]\nurl = "{url}"\n[issuer]\nenabled = true\n' + toml.read_text())
    process, ready = started(folder, "relay.toml")
    try:
        host, port = ready["http"]
        asked = GUEST | {"query": f"jwt={token}"}
        process.send_signal(signal.SIGUSR1)  # of a certificate's renewal
        assert httpx.post(f"http://{host}:{port}/", json=asked).status_code == 200
    finally:
        process.send_signal(signal.SIGHUP)
        _, log = process.communicate(timeout=10)
    assert process.returncode == 0, log
