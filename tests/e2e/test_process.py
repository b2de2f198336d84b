"""The relay as a process: what an operator sees when something is wrong, and how it ends."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from ports import free_ports
from relay.auth.credentials import MIN_ITERATIONS, make_key
from relay.net import tls

BASE = """
[server]
listen = "127.0.0.1:0"
[server.tls]
generate = ["localhost"]
"""


def failed(folder: Path, toml: str) -> str:
    """Start a relay that cannot start; its one line."""
    (folder / "relay.toml").write_text(toml)
    done = subprocess.run(
        [sys.executable, "-m", "relay", "run", "relay.toml"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("relay: ")
    return line


def test_nobody_could_ever_come_in(folder: Path) -> None:
    assert "nobody" in failed(folder, BASE)


def test_unknown_setting(folder: Path) -> None:
    line = failed(folder, BASE + '[auth]\npublic = ""\nkeyz = ["a"]\n')
    assert "auth.keyz" in line
    assert "relay.toml:8" in line or "line 8" in line


def test_missing_key_file(folder: Path) -> None:
    assert "nothere.jwk" in failed(folder, BASE + '[auth]\nkey = "nothere.jwk"\n')


def test_a_key_file_that_is_no_key(folder: Path) -> None:
    (folder / "bad.jwk").write_text('{"kty":"oct","alg":"HS256","k":"c2hvcnQ"}')
    (folder / "bad.jwk").chmod(0o600)
    assert "bad.jwk" in failed(folder, BASE + '[auth]\nkey = "bad.jwk"\n')


def test_udp_port_in_use(folder: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        toml = BASE.replace(":0", f":{taken.getsockname()[1]}") + '[auth]\npublic = ""\n'
        assert "listens" in failed(folder, toml) or "in use" in failed(folder, toml)


def test_tcp_port_in_use(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        toml = BASE + f'[auth]\npublic = ""\n[web.http]\nlisten = "127.0.0.1:{port}"\n'
        assert str(port) in failed(folder, toml)


def test_a_key_file_others_can_read_is_named(process: Any, folder: Path) -> None:
    (folder / "key.jwk").chmod(0o644)
    relay = process()
    relay.ready()
    assert relay.stop() == 0
    assert "key.jwk" in relay.log.read_text()


def test_all_that_stands_on_standard_error_is_json_where_that_was_said(
    process: Any, folder: Path
) -> None:
    (folder / "key.jwk").chmod(0o644)
    relay = process('[log]\nformat = "json"\n')
    relay.ready()
    assert relay.stop() == 0
    lines = [json.loads(line) for line in relay.log.read_text().splitlines()]
    assert any("key.jwk" in line.get("detail", "") for line in lines)
    assert all(line["event"] and line["level"] and line["timestamp"] for line in lines)


@pytest.mark.parametrize("command", [["run"], ["run", "--workers", "2"], ["sidecar"]])
def test_why_it_did_not_start_is_json_where_that_was_said(folder: Path, command: list[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = f'listen = "127.0.0.1:{taken.getsockname()[1]}"\n'
        toml = BASE + f'[auth]\npublic = ""\n[web.http]\n{place}[sidecar]\n{place}'
        (folder / "relay.toml").write_text(toml + '[log]\nformat = "json"\n')
        words = [sys.executable, "-m", "relay", command[0], "relay.toml", *command[1:]]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    *_, last = [json.loads(line) for line in done.stderr.splitlines()]
    assert (last["event"], last["level"]) == ("failed", "error")
    assert "another program listens" in last["detail"]


def test_sigterm_is_a_clean_end(process: Any) -> None:
    relay = process()
    facts = relay.ready()
    assert facts["quic"][1] == facts["http"][1]
    assert relay.stop() == 0
    assert "Traceback" not in relay.log.read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_however_often_it_is_told_to_end(
    process: Any, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    """Also when all is done but the process is still there."""
    monkeypatch.setenv("MOQ_SERVER__WORKERS", workers)
    relay = process()
    relay.ready()
    until = time.monotonic() + 20
    while relay.program.poll() is None and time.monotonic() < until:
        relay.program.send_signal(signal.SIGTERM)
        time.sleep(0.001)
    assert relay.program.returncode == 0
    assert "Traceback" not in relay.log.read_text()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_unit_of_upstreams_waits_until_it_is_told(
    process: Any, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    name = f"relay-test-{os.getpid()}-{workers}"
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.settimeout(20)
        relay = process('[auth]\npublic = ""\n', BASE, "--workers", workers)
        assert listener.recv(100) == b"READY=1"
        facts = relay.ready()
        socket.create_connection(tuple(facts["http"]), 5).close()
        assert relay.stop() == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("is_full", [True, False])
@pytest.mark.parametrize("is_for_people", [True, False])
def test_where_nothing_can_be_written_is_no_reason_not_to_start(
    folder: Path, is_for_people: bool, is_full: bool
) -> None:
    (port,) = free_ports(1)
    (folder / "key.jwk").chmod(0o644)  # which is warned of
    toml = BASE.replace(":0", f":{port}") + '[auth]\nkey = "key.jwk"\n'
    (folder / "relay.toml").write_text(toml)
    unread, end = os.pipe()
    os.close(unread)
    with open("/dev/full", "w") as full, open(end, "w") as pipe:
        words = [sys.executable, "-m", "relay", "run", "relay.toml"]
        env = os.environ | ({} if is_for_people else {"RELAY_READY": "1"})
        output = full if is_full else pipe
        relay = subprocess.Popen(words, cwd=folder, stdout=output, stderr=output, env=env)
    try:
        deadline = time.monotonic() + 20
        while relay.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        time.sleep(0.3)
        assert relay.poll() is None
        relay.terminate()
        assert relay.wait(10) == 0
    finally:
        relay.kill()
        relay.wait(10)


def test_a_new_certificate_is_picked_up_and_a_broken_one_is_not(process: Any, folder: Path) -> None:
    import httpx

    def pair() -> None:
        tls.write_pair(folder / "cert.pem", folder / "key.pem", ["localhost"])

    pair()
    base = BASE.replace('generate = ["localhost"]', 'cert = "cert.pem"\nkey = "key.pem"')
    relay = process('[auth]\npublic = ""\n', base)
    facts = relay.ready()
    url = f"http://127.0.0.1:{facts['http'][1]}/certificate.sha256"
    first = httpx.get(url).text
    assert first == facts["fingerprint"]

    def changed(old: str) -> str:
        deadline = time.monotonic() + 5
        while (now := httpx.get(url).text) == old and time.monotonic() < deadline:
            time.sleep(0.1)
        return now

    pair()
    second = changed(first)
    assert second != first
    (folder / "cert.pem").write_text("rubbish")
    deadline = time.monotonic() + 5
    while "cert.pem" not in relay.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "cert.pem" in relay.log.read_text()
    assert httpx.get(url).text == second
    assert relay.stop() == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_certificate_that_has_ended_is_told_once(
    process: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    then = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=60)
    monkeypatch.setattr(tls, "_now", lambda: then)
    tls.write_pair(folder / "cert.pem", folder / "key.pem", ["localhost"])
    base = BASE.replace('generate = ["localhost"]', 'cert = "cert.pem"\nkey = "key.pem"')
    relay = process('[auth]\npublic = ""\n', base, "--workers", workers)
    relay.ready()
    deadline = time.monotonic() + 10
    while "certificate not valid" not in relay.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1.5)
    assert relay.log.read_text().count("certificate not valid") == 1
    assert relay.stop() == 0


def test_a_certificate_that_browsers_do_not_pin_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RELAY_READY", raising=False)
    monkeypatch.setattr(tls, "MAX_PINNED_DAYS", 90)
    tls.write_pair(folder / "cert.pem", folder / "key.pem", ["localhost"], 90)
    base = BASE.replace('generate = ["localhost"]', 'cert = "cert.pem"\nkey = "key.pem"')
    (folder / "relay.toml").write_text(base + '[auth]\npublic = ""\n')
    words = [sys.executable, "-m", "relay", "run", "relay.toml"]
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True) as relay:
        try:
            assert relay.stdout is not None
            told = list(itertools.takewhile(lambda line: "public" not in line, relay.stdout))
            assert any("it lives 90 days (at most 14)" in line for line in told)
        finally:
            relay.terminate()


def test_a_demonstration_has_no_key_for_whoever_brought_one_that_is_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He is told, and has another one be made by taking his away."""
    monkeypatch.delenv("RELAY_READY", raising=False)
    monkeypatch.setenv("MOQ_ADMIN_TOKEN", "no key")
    (folder / "relay.toml").write_text(BASE + '[auth]\nkey = "key.jwk"\n')
    words = [sys.executable, "-m", "relay", "run", "relay.toml", "--demo"]
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, stderr=-1, text=True) as relay:
        try:
            assert relay.stdout is not None
            assert relay.stderr is not None
            banner = list(iter(relay.stdout.readline, "\n"))
            assert not any("dashboard" in line for line in banner)
            assert "MOQ_ADMIN_TOKEN" in relay.stderr.readline()
        finally:
            relay.terminate()


@pytest.mark.parametrize("has_operator", [False, True])
def test_a_demonstration_has_a_key_for_the_dashboard(
    folder: Path, has_operator: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the settings name an operator it stays that one."""
    monkeypatch.delenv("RELAY_READY", raising=False)
    toml = BASE + '[auth]\nkey = "key.jwk"\n[web.http]\nlisten = "127.0.0.1:0"\n'
    own = make_key(MIN_ITERATIONS)
    if has_operator:
        toml += f'[admin]\napi_key = "{own.hash}"\n'
    (folder / "relay.toml").write_text(toml)
    words = [sys.executable, "-m", "relay", "run", "relay.toml", "--demo"]
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True) as relay:
        try:
            assert relay.stdout is not None
            page = next(line for line in relay.stdout if "dashboard" in line).split()[1]
            key = next(relay.stdout).strip()
            assert bool(key) is not has_operator
            headers = {"authorization": f"Bearer {key or own.bearer}"}
            assert httpx.get(f"{page}v1/summary", headers=headers).status_code == 200
            assert httpx.get(page).status_code == 200
        finally:
            relay.terminate()
