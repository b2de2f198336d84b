"""``relay keys``, ``relay quotas`` and ``relay audit`` beside a store, from beginning to end."""

from __future__ import annotations

import asyncio
import base64
import getpass
import json
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from called import called
from relay.auth.claims import Claims
from relay.auth.mint import sign
from relay.auth.request import Request
from relay.auth.settings import AuthSettings
from relay.cli import relay
from relay.cli.stored import own_keys, stored
from relay.config import Settings
from relay.errors import BadRequest, ConfigError, NotFound, RelayError
from relay.path import Path as Name
from relay.records.opening import open_records
from relay.records.sealing import Seal
from relay.records.signing import Signing

Run = Callable[..., str]


def root_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOQ_RECORDS__URL", "sqlite:///relay.db")
    monkeypatch.setenv("MOQ_MASTER_KEY", root_key())

    def invoke(*words: str, status: int = 0) -> str:
        done = called(relay, *words)
        assert done.exit_code == status, done.output
        return done.stdout if status == 0 else done.stderr

    return invoke


def begin() -> None:
    """What a relay does when it starts."""

    async def main() -> None:
        store = await open_records("sqlite:///relay.db")
        seal = Seal.read(os.environ)
        assert seal is not None
        await Signing(store, seal, "ES256", time.time).begin()
        await store.close()

    asyncio.run(main())


def listed(run: Run) -> dict[str, Any]:
    lines = map(json.loads, run("keys", "list", "--json").splitlines())
    return {each["kid"]: each for each in lines}


def make_store() -> None:
    async def main() -> None:
        await (await open_records("sqlite:///relay.db")).close()

    asyncio.run(main())


@pytest.mark.parametrize(
    "words",
    [
        *("audit list", "audit verify", "keys list", "keys rotate", "keys cipher list"),
        *("keys cipher rotate pii", "quotas list", "quotas clear plant", "records revocations"),
        *("records token list", "records token revoke mq_x", "records withdraw 1"),
    ],
)
def test_a_store_that_is_not_there_is_not_taken_for_an_empty_one(run: Run, words: str) -> None:
    with pytest.raises(ConfigError, match=r"records\.url: relay\.db: there is no store"):
        run(*words.split())
    assert not Path("relay.db").exists()


def test_a_store_where_nobody_may_look_is_said_in_a_line(run: Run) -> None:
    name = (
        "a" * 300
    )  # what the system answers that with it also answers a folder of somebody else's
    with pytest.raises(ConfigError, match=r"^records\.url: .*: File name too long$"):
        run("audit", "--url", f"sqlite:///{name}", "list")
    auth = AuthSettings.model_validate({"public": "anon"})
    settings = Settings.model_validate(
        {"auth": auth, "records": {"url": f"sqlite:///{name}"}, "issuer": {"enabled": True}}
    )
    assert "File name too long" in " ".join(stored(settings, Request("/anon"))[1])
    assert "File name too long" in " ".join(own_keys(settings)[1])


def test_who_makes_a_store_hears_of_it(run: Run) -> None:
    said = "relay: relay.db: a new store, there was none\n"
    for expected in (said, ""):
        done = CliRunner().invoke(relay, ["records", "revoke", "--sub", "alice"])
        assert (done.exit_code, done.stderr) == (0, expected)


def test_keys_are_listed_and_rotated(run: Run) -> None:
    make_store()
    assert run("keys", "list") == ""
    with pytest.raises(BadRequest, match="no signing key yet"):
        run("keys", "rotate")
    begin()
    before = listed(run)
    assert sorted(each["state"] for each in before.values()) == ["active", "next"]
    active = next(kid for kid, each in before.items() if each["state"] == "active")
    said = run("keys", "rotate", "--grace", "2h")
    assert f"kid={active}  state=retiring" in said
    after = listed(run)
    assert sorted(each["state"] for each in after.values()) == ["active", "next", "retiring"]
    assert after[active]["ends"] is not None
    signs = next(kid for kid, each in after.items() if each["state"] == "active")
    run("keys", "rotate", "--compromised")
    run("keys", "rotate", "--compromised", "--kid", signs)  # said again
    states = sorted(each["state"] for each in listed(run).values())
    assert states == ["active", "next", "retired", "retiring"]
    revoked = json.loads(run("records", "revocations", "--json"))
    assert (revoked["by"], revoked["reason"]) == ("kid", "compromised")
    assert '"d"' not in run("keys", "list", "--json")
    run("keys", "rotate", "--grace", "soon", status=2)


def test_everything_is_sealed_anew(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    begin()
    before = listed(run)
    old, new = os.environ["MOQ_MASTER_KEY"], root_key()
    with pytest.raises(ConfigError, match="NEXT: not set"):
        run("keys", "rewrap", "--new-key-env", "NEXT")
    monkeypatch.setenv("NEXT", "nonsense")
    with pytest.raises(ConfigError, match="NEXT: "):
        run("keys", "rewrap", "--new-key-env", "NEXT")
    monkeypatch.setenv("NEXT", new)
    said = run("keys", "rewrap", "--new-key-env", "NEXT")
    assert said.startswith("2 sealed under the key ")
    assert new not in said
    with pytest.raises(ConfigError, match="the store is sealed under"):
        run("keys", "rotate")
    monkeypatch.setenv("MOQ_MASTER_KEY", new)
    run("keys", "rotate")
    assert set(before) < set(listed(run))
    monkeypatch.delenv("MOQ_MASTER_KEY")
    with pytest.raises(ConfigError, match="MOQ_MASTER_KEY: not set"):
        run("keys", "rotate")
    with sqlite3.connect("relay.db") as connection:
        kept = str(connection.execute("SELECT * FROM audit").fetchall())
    connection.close()
    assert "key.rewrap" in kept
    assert old not in kept
    assert new not in kept


def test_quotas_are_said_and_unsaid(run: Run) -> None:
    run("quotas", "set", "plant", "sessions=3", "egress_bits=0")
    assert json.loads(run("quotas", "list", "--json")) == {
        "tenant": "plant",
        "sessions": 3,
        "egress_bits": 0,
    }
    assert run("quotas", "list") == '"plant"  sessions=3  egress_bits=0\n'
    with sqlite3.connect("relay.db") as connection:
        connection.execute("UPDATE quotas SET said = '{'")
    connection.close()
    assert run("quotas", "list") == '"plant"  unreadable=True\n'
    run("quotas", "clear", "plant")
    assert run("quotas", "list") == ""
    with pytest.raises(NotFound):
        run("quotas", "clear", "plant")
    for wrong in ("sesions=3", "sessions=-1", "sessions", "sessions=x", f"sessions={2**60}"):
        run("quotas", "set", "plant", wrong, status=2)
    with pytest.raises(BadRequest):
        run("quotas", "set", "a/b", "sessions=1")


def test_the_log_is_listed_and_verified(run: Run) -> None:
    make_store()
    assert run("audit", "verify") == "no entries\n"
    run("quotas", "set", "plant", "sessions=3")
    run("records", "revoke", "--sub", "alice", "--reason", "left")
    token = run("records", "token", "create", "--name", "cam", "--publish", "").strip()
    run("records", "token", "revoke", token)
    said = run("audit", "verify")
    assert said.startswith("4 entries, whole; the last is 4, hash ")
    entries = [json.loads(line) for line in run("audit", "list", "--json").splitlines()]
    assert [each["action"] for each in entries] == [
        *("token.revoke", "token.create", "revocation.add", "quota.set")
    ]
    assert {each["actor"] for each in entries} == {f"cli:{getpass.getuser()}"}
    assert token not in str(entries)
    assert token.rpartition("_")[0] in str(entries)
    assert len(run("audit", "list", "--action", "token").splitlines()) == 2
    assert len(run("audit", "list", "--limit", "1", "--cursor", "3").splitlines()) == 1
    assert "target=" in run("audit", "list", "--from", "now-1h", "--target", "pl*")
    assert run("audit", "list", "--to", "now-1h") == ""
    with pytest.raises(BadRequest):
        run("audit", "list", "--limit", "201")
    with sqlite3.connect("relay.db") as connection:
        connection.execute("UPDATE audit SET actor='nobody' WHERE number=2")
    connection.close()
    with pytest.raises(RelayError, match="entry 2 was changed"):
        run("audit", "verify")


def test_explain_knows_the_relays_own_keys(run: Run, tmp_path: Path) -> None:
    async def token() -> str:
        store = await open_records("sqlite:///relay.db")
        seal = Seal.read(os.environ)
        assert seal is not None
        signing = Signing(store, seal, "ES256", time.time)
        made = await signing.begin()
        (active,) = [each for each in made if each.key.state == "active"]
        claims = Claims(root=Name("demo"), put=(Name(""),), exp=int(time.time()) + 60)
        await store.close()
        return sign(claims, signing.opened(active))

    url = f"https://relay.test/demo?jwt={asyncio.run(token())}"
    toml = tmp_path / "relay.toml"
    store = '[records]\nurl = "sqlite:///relay.db"\n[auth]\npublic = "anon"\n'
    toml.write_text(store + "[issuer]\nenabled = true\n")
    told = json.loads(run("explain", url, "--config", "relay.toml", "--json"))
    assert told["verdict"] == "allowed"
    toml.write_text(store)
    done = CliRunner().invoke(relay, ["explain", url, "--config", "relay.toml", "--json"])
    assert json.loads(done.stdout)["verdict"] != "allowed"
