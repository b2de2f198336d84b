"""``relay records`` beside a store: tokens and revocations from beginning to end."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from called import called
from relay.auth.claims import Claims
from relay.auth.keys import generate
from relay.auth.mint import sign
from relay.cli import relay
from relay.errors import BadRequest, ConfigError, NotFound

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOQ_RECORDS__URL", "sqlite:///relay.db")

    def invoke(*words: str, stdin: str | None = None, status: int = 0) -> str:
        done = called(relay, "records", *words, input=stdin)
        assert done.exit_code == status, done.output
        return done.stdout if status == 0 else done.stderr

    return invoke


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def create(run: Run, *more: str) -> str:
    rights = ("--root", "plant", "--publish", "a", "--subscribe", "")
    return run("token", "create", "--name", "cam", *rights, *more).strip()


def test_a_tokens_life(run: Run) -> None:
    token = create(run, "--expires", "4102444800")
    assert re.fullmatch(r"mq_[A-Za-z0-9]{12}_[A-Za-z0-9]{43}", token)
    id = token.rpartition("_")[0]
    listed = run("token", "list")
    assert id in listed
    assert token not in listed
    (facts,) = lines(run("token", "list", "--json"))
    assert facts["token"] == id
    assert (facts["root"], facts["publish"], facts["subscribe"]) == ("plant", ["a"], [""])
    assert facts["expires"] == "2100-01-01T00:00:00Z"
    assert facts["revoked"] is None
    number = run("token", "revoke", id, "--reason", "lost").strip()
    (facts,) = lines(run("token", "list", "--json"))
    assert facts["revoked"] is not None
    (entry,) = lines(run("revocations", "--json"))
    assert (entry["by"], entry["value"], entry["reason"]) == ("jti", id, "lost")
    assert str(entry["id"]) == number


def test_a_token_decrypts_what_it_was_made_for(run: Run) -> None:
    create(run)
    assert "decrypt" not in run("token", "list")
    create(run, "--decrypt", "pii", "--decrypt", "card.no")
    told = lines(run("token", "list", "--json"))
    assert sorted(each["decrypt"] for each in told) == [[], ["pii", "card.no"]]
    assert 'decrypt=["pii", "card.no"]' in run("token", "list")
    with pytest.raises(BadRequest, match="a cipher key is called"):
        create(run, "--decrypt", "p:i")


def test_a_token_revoked_by_its_text(run: Run) -> None:
    token = create(run)
    run("revoke", "--token", "-", stdin=f"{token}\n")
    (facts,) = lines(run("token", "list", "--json"))
    assert facts["revoked"] is not None
    with pytest.raises(NotFound):
        run("token", "revoke", "mq_abcdefabcdef")
    with pytest.raises(BadRequest):
        run("revoke", "--token", "-", stdin="mq_abc")


@pytest.mark.parametrize("option", ["--expires", "--issued-before"])
def test_a_token_is_revoked_for_good_or_by_its_id(run: Run, option: str) -> None:
    token = create(run)
    id = token.rpartition("_")[0]
    said = run("revoke", "--token", "-", option, "now+1h", stdin=f"{token}\n", status=2)
    assert f"--jti {id} takes --expires" in said
    (facts,) = lines(run("token", "list", "--json"))
    assert facts["revoked"] is None
    run("revoke", "--jti", id, option, "now+1h")
    (entry,) = lines(run("revocations", "--json"))
    assert entry[option.strip("-").replace("-", "_")] is not None


def test_a_jwt_revoked_by_its_text(run: Run, tmp_path: Path) -> None:
    claims = Claims(get=("",), jti="t1", exp=4102444800)  # type: ignore[arg-type]
    (tmp_path / "good.jwt").write_text(sign(claims, generate("HS256")))
    run("revoke", "--token", "good.jwt", "--reason", "stolen")
    (entry,) = lines(run("revocations", "--json"))
    assert (entry["by"], entry["value"], entry["reason"]) == ("jti", "t1", "stolen")
    assert entry["expires"] == "2100-01-01T01:00:00Z"  # a relay may have an hour of leeway
    nameless = sign(Claims(get=("",)), generate("HS256"))  # type: ignore[arg-type]
    with pytest.raises(BadRequest, match=r"no id \(jti\)"):
        run("revoke", "--token", "-", stdin=nameless)
    with pytest.raises(BadRequest, match="not a token"):
        run("revoke", "--token", "-", stdin="x")
    with pytest.raises(ConfigError, match=r"none\.jwt: No such file"):
        run("revoke", "--token", "none.jwt")


@pytest.mark.parametrize("parent", [{"parent_kids": ("k",)}, {"parent_iat": 1}, {}])
def test_what_goes_with_an_exchanged_token_is_said(run: Run, parent: dict[str, Any]) -> None:
    claims = Claims(get=("",), jti="mq_abcdefabcdef", exp=4102444800, **parent)  # type: ignore[arg-type]
    done = CliRunner().invoke(
        relay, ["records", "revoke", "--token", "-"], input=sign(claims, generate("HS256"))
    )
    assert done.exit_code == 0
    assert done.stdout == "1\n"
    assert ("mq_abcdefabcdef: it was exchanged" in done.stderr) is bool(parent)
    # What it was made from may live longer, and must not come back when this token has ended.
    (entry,) = lines(run("revocations", "--json"))
    assert (entry["expires"] is None) is bool(parent)


@pytest.mark.parametrize("dimension", ["jti", "sub", "kid", "tenant"])
def test_each_dimension(run: Run, dimension: str) -> None:
    number = run("revoke", f"--{dimension}", "bob", "--issued-before", "1735689600").strip()
    (entry,) = lines(run("revocations", "--json"))
    assert (entry["by"], entry["value"]) == (dimension, "bob")
    assert entry["issued_before"] == "2025-01-01T00:00:00Z"
    assert entry["expires"] is None
    run("withdraw", number)
    assert run("revocations") == ""
    with pytest.raises(NotFound, match=f"no revocation {number}"):
        run("withdraw", number)
    assert "not in the range" in run("withdraw", "9" * 30, status=2)


def test_what_was_issued_in_this_second_was_issued_before_now(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.cli.options.time.time", lambda: 1735689600.4)
    run("revoke", "--sub", "bob", "--issued-before", "now")
    run("revoke", "--sub", "eve", "--issued-before", "now-1m")
    said = [entry["issued_before"] for entry in lines(run("revocations", "--json"))]
    assert said == ["2025-01-01T00:00:01Z", "2024-12-31T23:59:01Z"]


def test_everybody_needs_a_time(run: Run) -> None:
    with pytest.raises(BadRequest, match="time of issue"):
        run("revoke", "--all")
    run("revoke", "--all", "--issued-before", "1735689600", "--expires", "+1h")
    assert 'by="all"' in run("revocations")


@pytest.mark.parametrize(
    "words",
    [
        ["revoke"],
        ["revoke", "--sub", "a", "--kid", "b"],
        ["revoke", "--sub", "a", "--all"],
        ["revoke", "--sub", "a", "--expires", "soon"],
        ["token", "create", "--name", "x"],
        ["token", "create", "--name", "x\n", "--publish", ""],
        ["token", "create", "--publish", ""],
    ],
)
def test_usage(run: Run, words: list[str]) -> None:
    assert run(*words, status=2)


def test_where_the_store_is(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    monkeypatch.delenv("MOQ_RECORDS__URL")
    (folder / "relay.toml").write_text('[records]\nurl = "sqlite:///named.db"\n')
    run("--config", str(folder / "relay.toml"), "revoke", "--sub", "bob")
    assert (folder / "named.db").exists()
    assert "bob" in run("--url", f"sqlite:///{folder}/named.db", "revocations")
    with pytest.raises(ConfigError, match=r"records\.url: not set"):
        run("revocations")
    with pytest.raises(ConfigError, match=r"^records\.url: expected sqlite"):
        run("--url", "nonsense", "revocations")
