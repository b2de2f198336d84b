"""``relay explain`` and ``relay access`` as an operator types them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import Result
from tests.serving import serving

from called import called
from relay.auth.claims import Claims
from relay.auth.facts import StoredToken
from relay.auth.keys import Key, KeySet, generate
from relay.auth.mint import sign
from relay.cli import relay
from relay.path import ROOT
from relay.records.opening import open_records
from relay.records.sealing import Seal
from relay.records.signing import Signing

AT = ["--at", "2030-01-01T00:00Z"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("MOQ_AUTH__KEY", "MOQ_AUTH_KEY"):
        monkeypatch.delenv(name, raising=False)
    Path("secret.jwk").write_bytes(generate("HS256", "v1").dump())
    Path("secret.jwk").chmod(0o600)
    Path("relay.toml").write_text('[auth]\nkey = "secret.jwk"\npublic = "anon"\n')
    return tmp_path


def run(*words: str, stdin: str | None = None) -> Result:
    return called(relay, *words, input=stdin)


def signed(*words: str) -> str:
    flags = ["--root", "demo", "--publish", "me", "--subscribe", "", "--expires", "2030-01-02"]
    done = run("token", "sign", "--key", "secret.jwk", *(words or flags))
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


def explained(*words: str, status: int = 0, stdin: str | None = None) -> str:
    done = run("explain", *words, stdin=stdin)
    assert done.exit_code == status, done.output
    assert "\x1b" not in done.stdout
    assert all(line == line.rstrip() for line in done.stdout.splitlines())
    return done.stdout


@pytest.mark.parametrize(
    ("host", "status"), [("demo.cdn.test", 0), ("me.demo.cdn.test", 0), ("demo.me.cdn.test", 1)]
)
def test_a_name_stands_for_a_place_as_at_the_relay(host: str, status: int) -> None:
    Path("relay.toml").write_text('[auth]\nkey = "secret.jwk"\ndomains = "cdn.test"\n')
    url = f"https://{host}/?jwt={signed()}"
    explained(url, "--config", "relay.toml", *AT, status=status)
    explained(url, "--config", "relay.toml", *AT, "--transport", "quic")  # which names none


def test_allowed() -> None:
    token = signed()
    said = explained(f"https://relay.test/demo?jwt={token}", "--config", "relay.toml", *AT)
    assert said.startswith("✓ allowed\n")
    for line in ("  ✓  signature     made by the key v1", "  ✓  grant         publish 'demo/me'"):
        assert line in said
    assert token not in said
    assert token.split(".")[2] not in said


@pytest.mark.parametrize("how", ["option", "stdin", "file", "file-stdin", "url", "raw"])
def test_every_way_to_give_the_token(how: str) -> None:
    token = signed()
    Path("t.jwt").write_text(token + "\n")
    words = {
        "option": ["/demo", "--token", token],
        "stdin": ["/demo", "--token", "-"],
        "file": ["demo", "--token-file", "t.jwt"],
        "file-stdin": ["https://x/demo/", "--token-file", "-"],
        "url": [f"/demo?jwt={token}"],
        "raw": [f"moqt://relay.test:4443/demo?jwt={token}"],
    }[how]
    assert "✓ allowed" in explained(*words, "--config", "relay.toml", *AT, stdin=token + "\n")


def test_denied_says_the_rule_and_how_to_mend_it() -> None:
    url = f"/other?jwt={signed()}"
    said = explained(url, "--config", "relay.toml", *AT, status=1)
    assert said.startswith("✗ denied (401 root_mismatch)  the token is for '/demo'")
    assert "✗  root overlap" in said
    assert "to mend it  connect to the root of the token, or below" in said


def test_an_expired_token_and_what_would_follow() -> None:
    url = f"/demo?jwt={signed()}"
    said = explained(url, "--config", "relay.toml", "--at", "2031-01-01", status=1)
    assert "✗  time" in said
    assert "·  root overlap  not reached" in said
    assert "At a time when it is valid it would be allowed: publish 'demo/me'" in said


def test_another_key_of_the_same_name() -> None:
    url = f"/demo?jwt={signed()}"
    Path("secret.jwk").write_bytes(generate("HS256", "v1").dump())
    said = explained(url, "--config", "relay.toml", *AT, status=1)
    assert "401 bad_signature" in said
    assert "the token says (nobody vouches for it)" in said


def test_paths() -> None:
    words = [f"/demo?jwt={signed()}", "--config", "relay.toml", *AT]
    assert "covered by /demo/me" in explained(*words, "--publish", "me/cam", "--subscribe", "x")
    said = explained(*words, "--publish", "demo/me", status=1)
    assert "was 'me' meant?" in said


OWN = [*("--publish", ".stats/node/x", "--publish", ".internal/x")]


def test_paths_that_are_the_relays_own() -> None:
    everything = ["--root", "", "--publish", "", "--subscribe", "", "--expires", "2030-01-02"]
    guest, node = signed(*everything), signed(*everything, "--cluster")
    words = ["/", "--config", "relay.toml", *AT]
    said = explained(*words, "--token", guest, *OWN, "--subscribe", ".internal/x", status=1)
    assert "only relays publish below .internal" in said
    assert "only relays subscribe below .internal" in said
    assert "below .stats" not in said  # they are off
    with Path("relay.toml").open("a") as config:
        config.write("[stats]\nenabled = true\n")
    said = explained(*words, "--token", guest, *OWN[:2], status=1)
    assert "only relays publish below .stats" in said
    assert "✓ allowed" in explained(*words, "--token", guest, "--subscribe", ".stats/node/x")
    assert explained(*words, "--token", node, *OWN).count("covered by everything") == 2


def test_without_a_configuration() -> None:
    said = explained("/demo", "--token", signed(), *AT)
    assert said.startswith("? nothing wrong, signature not checked")
    assert "?  signature" in said
    assert "  root       /demo\n" in said
    late = explained("/demo", "--token", signed(), "--at", "2031-01-01", status=1)
    assert "401 expired" in late
    assert "401 malformed" in explained("/demo", "--token", "rubbish", status=1)


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["/demo"], "no configuration says what is public"),
        (["/demo", "--token", f"mq_{'a' * 12}_{'b' * 43}"], "no configuration names the store"),
        (["/demo", "--token", f"{'s' * 20}.{'a' * 8}"], "no configuration says which API keys"),
        ([f"/demo?ticket={'x' * 43}"], "the ticket was not looked up"),
    ],
)
def test_without_a_configuration_nobody_is_denied_who_may_be_let_in(
    words: list[str], left: str
) -> None:
    assert explained(*words).startswith(f"? nothing wrong, {left}")
    assert "401 malformed" in explained("/demo", "--token", "mq_short", status=1)


def test_nobody_and_the_public() -> None:
    assert "✓ allowed" in explained("/anon/x", "--config", "relay.toml")
    assert "401 no_token" in explained("/demo", "--config", "relay.toml", status=1)


def test_json() -> None:
    words = [f"/demo?jwt={signed()}", "--config", "relay.toml", "--json", "--publish", "me"]
    said = json.loads(explained(*words, *AT))
    assert (said["verdict"], said["status"], said["code"]) == ("allowed", 200, "allowed")
    assert said["grant"]["publish"] == ["me"]
    assert said["paths"][0]["covered"] is True
    assert said["troubles"] == []
    late = json.loads(explained(*words, "--at", "2031-01-01", status=1))
    assert (late["verdict"], late["code"], late["mended"]) == ("denied", "expired", ["expired"])


def test_two_tokens_are_a_conflict() -> None:
    other = signed("--root", "demo", "--subscribe", "", "--expires", "2030-01-03")
    said = explained(f"/demo?jwt={signed()}", "--token", other, "--config", "relay.toml", status=1)
    assert "400 token_conflict" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ftp://x/demo"], "expected a path, or a URL"),
        (["https://[/demo"], "expected a path or a URL"),
        (["https://x/de\tmo"], "control characters"),
        (["/demo", "--at", "soon"], "--at: 'soon' is no time"),
        (["/demo", "--token", "a", "--token-file", "b"], "give the token once"),
        (["/demo", "--token-file", "none"], "none: No such file"),
        ([], "Missing argument"),
    ],
)
def test_usage(words: list[str], said: str) -> None:
    done = run("explain", *words)
    assert done.exit_code == 2
    assert said in done.stderr


def test_access() -> None:
    Path("team.jwk").write_bytes(b"")
    run("token", "generate", "--id", "team", "--root", "demo", "--publish", "live", "--out",
        "team.jwk", "--force")  # fmt: skip
    Path("relay.toml").write_text(
        '[auth]\nkeys = ["secret.jwk", "team.jwk"]\n[auth.public]\nsubscribe = ["demo/live"]\n'
    )
    done = run("access", "/demo/live/a", "--config", "relay.toml")
    assert done.exit_code == 0
    publish, _, watch = done.stdout.partition("who may watch /demo/live/a")
    assert "secret.jwk: the key has no scope" in publish
    assert "team.jwk: scope.put" in publish
    assert "everybody" not in publish
    assert "everybody, without a token" in watch
    assert "team" not in watch
    said = json.loads(run("access", "demo", "--config", "relay.toml", "--json").stdout)
    assert said["subscribe"][0] == {
        "who": "everybody, without a token",
        "rule": "auth.public.subscribe",
        "prefix": "demo/live",
        "whole": False,
    }
    assert "only /demo/live" in run("access", "demo", "--config", "relay.toml").stdout
    assert KeySet.load(Path("team.jwk").read_bytes(), "t").keys[0].to_jwk()["k"] not in done.stdout


def test_access_where_only_relays_may() -> None:
    Path("relay.toml").write_text(
        '[auth]\nkey = "secret.jwk"\npublic = ""\n[stats]\nenabled = true\nprefix = "own"\n'
    )
    publish, _, watch = run("access", "own/x", "--config", "relay.toml").stdout.partition("watch")
    assert "  only relays publish below own\n" in publish
    assert "the key has no scope" in publish
    assert "everybody" not in publish
    assert "only relays" not in watch
    assert "everybody" in watch
    said = run("access", ".internal/x", "--config", "relay.toml").stdout
    assert "everybody" not in said
    assert "only relays subscribe below .internal" in said
    words = ("--config", "relay.toml", "--json")
    for path, verbs in {"own": ["publish"], ".internal": ["publish", "subscribe"], "": []}.items():
        assert json.loads(run("access", path, *words).stdout)["relays_only"] == verbs


def test_access_of_nobody() -> None:
    Path("relay.toml").write_text('[auth]\npublic = "anon"\n')
    assert run("access", "x", "--config", "relay.toml").stdout.count("nobody") == 2
    assert run("access", "x/" * 40, "--config", "relay.toml").exit_code == 2
    assert run("access", "x").exit_code == 2


def test_access_by_api_keys_that_have_not_ended() -> None:
    keys = {"old": ("a", "2020-01-01"), "new": ("b", "2100-01-01")}
    Path("relay.toml").write_text(
        "".join(
            f"[auth.api_keys.{name}]\nhash = '{digit * 40}'\npublish = ''\nexpires = '{end}'\n"
            for name, (digit, end) in keys.items()
        )
    )
    said = run("access", "x", "--config", "relay.toml").stdout
    assert "whoever has the API key new" in said
    assert "old" not in said


def test_access_by_api_tokens_of_the_store() -> None:
    Path("relay.toml").write_text(
        '[auth]\nkey = "secret.jwk"\n[records]\nurl = "sqlite:///relay.db"\n'
    )
    words = ("access", "plant/cams/x", "--config", "relay.toml")
    assert "API token" not in run(*words).stdout
    assert not Path("relay.db").exists()
    made = {}
    for name in ("camera", "elsewhere", "struck", "revoked"):
        publish = "other" if name == "elsewhere" else "cams"
        given = ["--name", name, "--root", "plant", "--publish", publish, "--subscribe", "cams/x/y"]
        done = run("records", "--config", "relay.toml", "token", "create", *given)
        made[name] = done.stdout.rsplit("_", 1)[0]
    run("records", "--config", "relay.toml", "token", "revoke", made["revoked"])
    run("records", "--config", "relay.toml", "revoke", "--sub", "struck")
    asyncio.run(expired_token())
    publish, _, watch = run(*words).stdout.partition("who may watch")
    assert "the API token camera" in publish
    assert f"{made['camera']} in the store" in publish
    assert "only /plant/cams/x/y" in watch
    said = json.loads(run(*words, "--json").stdout)
    assert [way["who"] for way in said["publish"]][1:] == ["whoever has the API token camera"]
    Path("relay.db").write_text("no store")
    assert "! " in run(*words).stdout


def test_access_without_what_is_revoked() -> None:
    Path("relay.toml").write_text(
        '[auth]\nkeys = ["secret.jwk"]\n[records]\nurl = "sqlite:///relay.db"\n'
        f"[auth.api_keys.ci]\nhash = '{'a' * 40}'\nroot = 'demo'\npublish = ''\n"
    )
    words = ("access", "demo", "--config", "relay.toml")
    store = ("records", "--config", "relay.toml", "revoke")
    run(*store, "--kid", "v1", "--issued-before", "now")
    said = run(*words).stdout
    assert "by the key v1" in said  # later ones are good
    assert "the API key ci" in said
    run(*store, "--kid", "v1")
    run(*store, "--tenant", "demo")
    assert run(*words).stdout.count("nobody") == 2


async def expired_token() -> None:
    store = await open_records("sqlite:///relay.db")
    try:
        await store.add_token(StoredToken("1" * 12, "", "over", publish=(ROOT,), expires=1.0))
    finally:
        await store.close()


def test_access_where_another_server_decides() -> None:
    Path("relay.toml").write_text('[auth]\nurl = "http://127.0.0.1:9/"\n')
    said = run("access", "x", "--config", "relay.toml").stdout
    assert said.count("whoever the server that decides lets in") == 2
    assert "nobody" not in said


class Shelf(BaseHTTPRequestHandler):
    """A server of keys."""

    body = b""
    found = "/jwks"

    def do_GET(self) -> None:
        self.send_response(200 if self.path == self.found else 404)
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *words: object) -> None: ...


@pytest.fixture
def shelf() -> Iterator[str]:
    key = (
        KeySet.load(Path("pair.jwk").read_bytes(), "p").keys[0]
        if Path("pair.jwk").exists()
        else None
    )
    made = key or generate("ES256", "pair")
    Path("pair.jwk").write_bytes(made.dump())
    Shelf.found = "/jwks"
    Shelf.body = json.dumps({"keys": [made.public().to_jwk()]}).encode()
    with serving(HTTPServer(("127.0.0.1", 0), Shelf)) as port:
        yield f"http://127.0.0.1:{port}"


def by_url(url: str) -> None:
    Path("relay.toml").write_text(
        f'[auth]\njwks = ["{url}"]\npublic = "anon"\n[auth.fetch]\nallow_private = true\n'
    )


def test_keys_by_url(shelf: str) -> None:
    by_url(f"{shelf}/jwks")
    done = run("token", "sign", "--key", "pair.jwk", "--root", "demo", "--publish", "",
               "--expires", "2030-01-02")  # fmt: skip
    said = explained(f"/demo?jwt={done.stdout.strip()}", "--config", "relay.toml", *AT)
    assert "made by the key pair" in said
    assert (
        f"{shelf}/jwks: the key has no scope" in run("access", "x", "--config", "relay.toml").stdout
    )
    offline = run("access", "x", "--config", "relay.toml", "--offline").stdout
    assert "pair" not in offline


def test_a_folder_of_keys_by_url(shelf: str) -> None:
    Shelf.body = json.dumps(json.loads(Shelf.body)["keys"][0]).encode()
    Shelf.found = "/keys/pair.jwk"
    Path("relay.toml").write_text(
        f'[auth]\nkey_dir = "{shelf}/keys"\npublic = "anon"\n[auth.fetch]\nallow_private = true\n'
    )
    done = run("token", "sign", "--key", "pair.jwk", "--root", "demo", "--publish", "",
               "--expires", "2030-01-02")  # fmt: skip
    said = explained(f"/demo?jwt={done.stdout.strip()}", "--config", "relay.toml", *AT)
    assert "made by the key pair" in said
    missing = explained(f"/demo?jwt={signed()}", "--config", "relay.toml", *AT, status=1)
    assert "401 unknown_kid" in missing


def test_what_was_exchanged_is_looked_at_with_the_key_it_came_by(
    shelf: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Shelf.body = json.dumps(json.loads(Shelf.body)["keys"][0]).encode()
    Shelf.found = "/keys/pair.jwk"
    monkeypatch.setenv("MOQ_MASTER_KEY", base64.b64encode(bytes(32)).decode())

    async def own() -> Key:
        store = await open_records("sqlite:///relay.db")
        seal = Seal.read(os.environ)
        assert seal is not None
        signing = Signing(store, seal, "ES256", time.time)
        (active,) = [each for each in await signing.begin() if each.key.state == "active"]
        await store.close()
        return signing.opened(active)

    key = asyncio.run(own())
    Path("relay.toml").write_text(
        f'[auth]\nkey_dir = "{shelf}/keys"\non_key_removed = "close"\n'
        "[auth.fetch]\nallow_private = true\n[issuer]\nenabled = true\n"
        '[records]\nurl = "sqlite:///relay.db"\n'
    )
    now = time.time()
    for parent, status in (("pair", 0), ("gone", 1)):
        claims = Claims(get=(ROOT,), exp=int(now) + 60, parent_kids=(parent,))
        url = f"/demo?jwt={sign(claims, key, now)}"
        said = explained(url, "--config", "relay.toml", status=status)
        assert (f"the key {parent}, by which it came to be, is not known" in said) is bool(status)


def test_a_server_without_keys_is_said(shelf: str) -> None:
    by_url(f"{shelf}/none")
    said = explained(f"/demo?jwt={signed()}", "--config", "relay.toml", *AT, status=1)
    assert f"! {shelf}/none" in said
    assert "404" in said
    assert said.startswith("✗ denied (503 unavailable)  the key is not known")  # as at the relay
    assert "With a good signature it would be allowed" in said


def test_the_records_are_asked() -> None:
    Path("relay.toml").write_text(
        '[auth]\nkey = "secret.jwk"\n[records]\nurl = "sqlite:///relay.db"\n'
    )
    url = f"/demo?jwt={signed()}"
    said = explained(url, "--config", "relay.toml", *AT)
    assert "! records.url: there is no file" in said
    assert not Path("relay.db").exists()
    made = run("records", "--config", "relay.toml", "token", "create", "--name", "ci",
               "--root", "demo", "--publish", "me")  # fmt: skip
    assert made.exit_code == 0, made.output
    token = next(word for word in made.stdout.split() if word.startswith("mq_"))
    said = explained("/demo", "--token", token, "--config", "relay.toml", "--publish", "me/x")
    assert said.startswith("✓ allowed")
    assert "'ci'" in said
    assert token not in said
    struck = run("records", "--config", "relay.toml", "revoke", "--kid", "v1")
    assert struck.exit_code == 0, struck.output
    assert "401 revoked" in explained(url, "--config", "relay.toml", *AT, status=1)
    Path("relay.db").write_text("no store")
    lost = explained("/demo", "--token", token, "--config", "relay.toml", status=1)
    assert "503 unavailable" in lost
    assert explained(url, "--config", "relay.toml", *AT).startswith("✓ allowed")


def test_a_ticket_is_not_spent() -> None:
    said = explained(f"/demo?ticket={'x' * 43}", "--config", "relay.toml")
    assert said.startswith("? nothing wrong, the ticket was not looked up: looking spends it")
    assert "401 bad_ticket" in explained("/demo?ticket=x", "--config", "relay.toml", status=1)


def test_a_server_that_decides_is_not_asked() -> None:
    Path("relay.toml").write_text('[auth]\nurl = "https://decides.test/"\n')
    said = explained(f"/demo?jwt={signed()}", "--config", "relay.toml", *AT)
    assert "! another server decides (auth.url)" in said
    assert "signature not checked" in said
    nobody = explained("/demo", "--config", "relay.toml")
    assert nobody.startswith("? nothing wrong, another server decides")
