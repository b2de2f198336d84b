"""``relay check``: what it finds in real files, and the status it ends with."""

from __future__ import annotations

import base64
import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from called import called
from relay.auth.keys import generate
from relay.cli import relay
from relay.net import tls

SAFE = """
[server]
listen = "127.0.0.1:4443"

[auth]
keys = ["public.jwk"]
max_ttl = 3600
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    key = generate("ES256", "v1")
    write("private.jwk", key.dump(), 0o600)
    write("public.jwk", key.public().dump(), 0o644)
    write("relay.toml", SAFE.encode())


def write(name: str, data: bytes, mode: int = 0o600) -> None:
    Path(name).write_bytes(data)
    Path(name).chmod(mode)


def check(*words: str, status: int = 0) -> str:
    done = called(relay, "check", "relay.toml", *words)
    assert done.exit_code == status, done.output
    assert "\x1b" not in done.stdout
    return done.stdout


def findings(*words: str, status: int = 0) -> dict[str, dict[str, Any]]:
    said = json.loads(check("--json", *words, status=status))
    return {finding["rule"]: finding for finding in said["findings"]}


@pytest.mark.parametrize("setting", ["key = '''{}'''", "keys = ['''{}''']"])
def test_a_key_in_the_file_is_found_where_it_stands(setting: str) -> None:
    key = setting.format(Path("public.jwk").read_text())
    auth = f"[auth]\nmax_ttl = 3600\n{key}\n"
    write("relay.toml", auth.encode() + b'[server.tls]\ngenerate = ["localhost"]\n')
    found = findings(status=1)["key_without_scope"]
    assert found["setting"] == f"auth.{setting.partition(' ')[0]}"
    assert (found["file"], found["line"]) == ("relay.toml", 3)


def test_only_notes_are_no_findings() -> None:
    write("relay.toml", SAFE.encode() + b'[server.tls]\ngenerate = ["localhost"]\n')
    assert set(findings()) == {"key_without_scope"}
    assert "1 note" in check()
    check("--strict", status=1)


def test_nothing_at_all() -> None:
    CliRunner().invoke(
        relay, ["token", "generate", "--algorithm", "ES256", "--root", "a", "--publish", "b",
                "--public", "public.jwk", "--out", "p.jwk", "--force"],
    )  # fmt: skip
    write("relay.toml", SAFE.encode() + b'[server.tls]\ngenerate = ["localhost"]\n')
    assert check("--strict") == "✓ relay.toml: nothing found\n"


def test_findings_name_their_place() -> None:
    text = SAFE + '[auth.public]\npublish = ""\n'
    write("relay.toml", text.replace("public.jwk", "private.jwk").encode())
    said = check(status=1)
    assert said.startswith("✗  error  relay.toml:9  auth.public.publish  [open_publish]\n")
    assert "!  warning  relay.toml:6  auth.keys  [private_key]" in said
    assert said.splitlines()[-1].startswith("1 error, ")
    seen = findings(status=1)
    assert (seen["private_key"]["line"], seen["private_key"]["severity"]) == (6, "warning")


def test_what_stops_the_start_is_an_error() -> None:
    write("relay.toml", b'[auth]\nkye = "x"\nkey = "none.jwk"\n')
    said = json.loads(check("--json", status=1))["findings"]
    assert [(each["rule"], each["severity"]) for each in said] == [("refused", "error")] * len(said)
    by_name = {each["setting"]: each for each in said}
    assert by_name["auth.kye"]["line"] == 2
    assert "did you mean" in by_name["auth.kye"]["text"]
    assert "no such file" in by_name["auth.key"]["text"]


def test_duplicate_kids_and_broken_keys() -> None:
    write("other.jwk", generate("HS256", "v1").dump())
    write("broken.jwk", b"{}")
    names = 'keys = ["public.jwk", "other.jwk", "broken.jwk"]'
    write("relay.toml", SAFE.replace('keys = ["public.jwk"]', names).encode())
    seen = findings(status=1)
    assert "two keys have the kid v1" in seen["keys_together"]["text"]
    assert "broken.jwk" in seen["unreadable_keys"]["text"]


def test_a_token_for_links_is_read() -> None:
    write("link.jwt", b"e30.e30.x\n", 0o600)
    write("relay.toml", (SAFE + '[cluster]\ntoken = "link.jwt"\n').encode())
    assert "no claim cluster" in findings(status=1)["link_token_of_guest"]["text"]
    write("link.jwt", b"\xff", 0o600)
    assert "link_token_of_guest" not in findings(status=1)


def test_secrets_that_others_read() -> None:
    write("shared.jwk", generate("HS256", "s").dump(), 0o640)
    write("relay.toml", SAFE.replace("public.jwk", "shared.jwk").encode())
    assert "chmod 600" in findings(status=1)["start"]["text"]
    Path("keys").mkdir()
    write("keys/s.jwk", generate("HS256", "s").dump(), 0o644)
    write("relay.toml", SAFE.replace('keys = ["public.jwk"]', 'key_dir = "keys"').encode())
    assert "keys/s.jwk" in findings(status=1)["readable_secret"]["text"]
    Path("keys/s.jwk").chmod(0o600)
    write("keys/p.jwk", generate("ES256", "p").public().dump(), 0o644)  # as it is written
    assert "readable_secret" not in findings(status=1)


def test_certificates() -> None:
    tls.write_pair("cert.pem", "key.pem", ["localhost"], 1)
    write("relay.toml", SAFE.encode() + b'[server.tls]\ncert = "cert.pem"\nkey = "key.pem"\n')
    seen = findings(status=1)
    assert "expires in 23 hours" in seen["certificate_expires"]["text"]
    tls.write_pair("cert.pem", "key.pem", ["localhost"], 13)
    assert set(findings()) == {"key_without_scope"}
    tls.write_pair("cert.pem", "other.pem", ["localhost"])
    assert "does not match" in findings(status=1)["certificate"]["text"]


@pytest.mark.parametrize("section", ["server.tls", "web.https"])
def test_every_one_of_several_certificates(section: str) -> None:
    tls.write_pair("a.pem", "a.key", ["a.example"])
    tls.write_pair("b.pem", "b.key", ["b.example"], 1)
    pairs = 'cert = ["a.pem", "b.pem"]\nkey = ["a.key", "b.key"]\n'
    more = 'listen = "127.0.0.1:0"\n' if section == "web.https" else ""
    write("relay.toml", f"{SAFE}[{section}]\n{pairs}{more}".encode())
    assert "b.pem expires in 23 hours" in findings(status=1)["certificate_expires"]["text"]
    tls.write_pair("b.pem", "b.key", ["a.example"])
    assert "b.pem is shown to nobody" in findings(status=1)["certificate_not_shown"]["text"]
    tls.write_pair("b.pem", "other.key", ["b.example"])
    seen = findings(status=1)["certificate"]
    assert seen["setting"] == f"{section}.cert"
    assert "the key b.key does not match the certificate b.pem" in seen["text"]
    Path("b.key").unlink()
    assert findings(status=1)["refused"]["text"] == "no such file: b.key"
    write("b.key", Path("other.key").read_bytes(), 0o644)
    assert "chmod 600" in findings(status=1)["start"]["text"]


def test_schemas_and_sinks_are_looked_at() -> None:
    write("bad.json", b'{"$ref": "other.json"}')
    write("good.json", b'{"type": "object"}')
    sink = 'kind = "kafka"\nbrokers = ["localhost:1"]\ntracks = ["plant/**:t"]\n'
    tracks = [
        f'[ingest.tracks."plant/{name}/t"]\nschema = "{name}.json"\n' for name in ("bad", "good")
    ]
    sinks = f'[sinks.lake]\n{sink}sasl = {{ mechanism = "PLAIN", username = "x", '
    sinks += 'password_file = "none.txt" }\n'
    write("relay.toml", "\n".join([SAFE, *tracks, sinks]).encode())
    said = json.loads(check("--json", status=1))["findings"]
    found = {each["setting"]: each["text"] for each in said if each["rule"] == "unusable"}
    assert set(found) == {"ingest.tracks.plant/bad/t.schema", "sinks.lake"}
    assert found["sinks.lake"].startswith(("sasl.password_file: none.txt", "kind: "))


def test_a_server_that_cannot_be_reached() -> None:
    source = 'jwks = ["https://127.0.0.1:9/jwks"]'
    write("relay.toml", SAFE.replace('keys = ["public.jwk"]', source).encode())
    text = findings(status=1)["unreachable_keys"]["text"]
    assert text.startswith("https://127.0.0.1:9/jwks: ")
    assert "unreachable_keys" not in findings("--offline", status=1)


@pytest.mark.parametrize(
    "source",
    [
        'jwks = ["http://127.0.0.1:9/"]',
        'issuers = ["http://127.0.0.1:9/"]',
        'key = "http://127.0.0.1:9/"',
        'key_dir = "http://127.0.0.1:9/"',
    ],
)
@pytest.mark.parametrize("words", [["--offline"], []])
def test_a_server_that_is_never_asked(source: str, words: list[str]) -> None:
    text = SAFE.replace('keys = ["public.jwk"]', source)
    write("relay.toml", text.encode())
    said = findings(*words, status=1)
    found = said["unreachable_keys"]
    assert said.get("start", {}).get("setting") != "auth.key_dir"
    assert found["text"].endswith(": plain HTTP: use https, or set auth.fetch.allow_http")
    assert found["setting"] == f"auth.{source.partition(' ')[0]}"
    for allowed in ("allow_http", "allow_private"):
        write("relay.toml", f"{text}[auth.fetch]\n{allowed} = true\n".encode())
        assert "unreachable_keys" not in findings("--offline", status=1)


def test_the_root_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    issuing = '[records]\nurl = "sqlite:///relay.db"\n[issuer]\nenabled = true\n'
    write("relay.toml", (SAFE + issuing).encode())
    for said in ("", " "):
        monkeypatch.setenv("MOQ_MASTER_KEY", said)
        assert findings(status=1)["no_root_key"]["line"] == len(SAFE.splitlines()) + 4
    monkeypatch.setenv("MOQ_MASTER_KEY", "bm90IDMyIGJ5dGVz")
    found = findings(status=1)
    assert found["unusable"]["setting"] == "MOQ_MASTER_KEY"
    assert "no_root_key" not in found
    monkeypatch.setenv("MOQ_MASTER_KEY", base64.b64encode(b"m" * 32).decode())
    assert not {"no_root_key", "unusable"} & set(findings(status=1))


def test_a_list_of_relays_that_is_not_there_may_come() -> None:
    write("relay.toml", (SAFE + '[cluster]\nconnect_api = "relays.json"\n').encode())

    def told() -> dict[str, str]:
        said = json.loads(check("--json", status=1))["findings"]
        return {each["setting"]: each["text"] for each in said if each["rule"] == "start"}

    text = "no such file: relays.json; it is looked for while the relay runs"
    assert told()["cluster.connect_api"] == text
    write("relays.json", b"[]")
    assert "cluster.connect_api" not in told()


def test_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOQ_AUTH__PUBLIC", '""')
    monkeypatch.setenv("MOQ_SERVER__LISTEN", "0.0.0.0:1")
    seen = findings(status=1)
    assert (seen["plain_http"]["file"], seen["plain_http"]["line"]) == ("", None)
    assert "start" not in seen


def test_usage() -> None:
    done = CliRunner().invoke(relay, ["check", "none.toml"])
    assert done.exit_code == 2
    assert "no such file" in done.stderr


def test_what_is_there_and_cannot_be_read_is_not_missing() -> None:
    Path("relay.toml").unlink()
    Path("relay.toml").mkdir()
    found = findings(status=1)["refused"]
    assert (found["file"], found["setting"]) == ("relay.toml", "")
    assert found["text"] == "Is a directory"


def test_a_file_that_this_user_may_not_look_at_is_not_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked = os.stat

    def look(path: Any, *args: Any, **named: Any) -> os.stat_result:
        if str(path) == "relay.toml":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return looked(path, *args, **named)

    monkeypatch.setattr(os, "stat", look)
    assert findings(status=1)["refused"]["text"] == "Permission denied"


def test_a_file_that_is_no_toml_is_named_as_a_file() -> None:
    Path("etc").mkdir()
    write("etc/relay.toml", b"[server")
    done = CliRunner().invoke(relay, ["check", "--json", "etc/relay.toml"])
    (found,) = json.loads(done.stdout)["findings"]
    assert (found["file"], found["setting"]) == ("etc/relay.toml", "")
    assert found["text"].startswith("not a TOML file")


def test_a_pipe_is_read_as_relay_run_reads_it() -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, SAFE.encode())
        os.close(writing)
        done = CliRunner().invoke(relay, ["check", f"/dev/fd/{reading}"])
    finally:
        os.close(reading)
    assert "auth.keys" in done.stdout, done.output


@pytest.mark.parametrize(
    ("setting", "section"),
    [
        ("server.tls.root", '[server.tls]\nroot = "{}"\n'),
        ("client.tls.root", '[client.tls]\nroot = "{}"\n'),
        ("client.tls.cert", '[client.tls]\ncert = "{}"\nkey = "private.jwk"\n'),
        ("ingest.tracks.anon/*/t.schema", '[ingest.tracks."anon/*/t"]\nschema = "{}"\n'),
        ("records.url", '[records]\nurl = "sqlite:///{}"\n'),
        (
            "audit.webhook_secret_file",
            '[audit]\nwebhook = "https://log.example.com"\nwebhook_secret_file = "{}"\n',
        ),
    ],
)
@pytest.mark.parametrize("held", [None, b"short"])
def test_files_that_stop_the_start(setting: str, section: str, held: bytes | None) -> None:
    name = "none/file"
    if held is not None:
        Path("none").mkdir()
        write(name, held)
    write("relay.toml", (SAFE + section.format(name)).encode())
    found = findings(status=1)["refused" if held is None else "unusable"]
    assert (found["setting"], found["severity"]) == (setting, "error")
    assert found["file"] == "relay.toml"
    assert found["line"] >= len(SAFE.splitlines()) + 1
    assert name in found["text"] or held is None or setting.startswith("audit")


def test_a_store_that_is_to_be_made_is_no_finding_and_is_not_made() -> None:
    write("relay.toml", (SAFE + '[records]\nurl = "sqlite:///relay.db"\n').encode())
    assert "unusable" not in findings(status=1)
    assert not Path("relay.db").exists()
