"""``relay token`` as people type it, in the guide's spelling and in today's."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from called import called
from relay.auth.keys import KeySet
from relay.cli.token import token


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    umask = os.umask(0o022)
    yield tmp_path
    os.umask(umask)


def run(*words: str, stdin: str | None = None) -> Result:
    return called(token, *words, input=stdin)


def done(*words: str, stdin: str | None = None) -> str:
    result = run(*words, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


def failed(status: int, *words: str, stdin: str | None = None) -> str:
    result = run(*words, stdin=stdin)
    assert result.exit_code == status, result.output
    assert not result.stdout
    return result.stderr


def mode(name: str) -> int:
    return stat.S_IMODE(os.stat(name).st_mode)


def test_the_guide_from_start_to_end() -> None:
    done("--key", "secret.jwk", "generate")
    signed = done(
        "--key", "secret.jwk", "sign", "--root", "demo", "--publish", "my-stream",
        "--publish", "my-other-stream", "--subscribe", "", "--expires", "4102444800",
        "--issued", "1735689600", "--cluster",
    )  # fmt: skip
    assert done("--key", "secret.jwk", "verify", stdin=signed) == (
        "Claims {\n"
        '    root: "demo",\n'
        '    publish: ["my-other-stream", "my-stream"],\n'
        '    subscribe: [""],\n'
        "    expires: Some(2100-01-01T00:00:00Z),\n"
        "    cluster: true,\n"
        "    issued: Some(2025-01-01T00:00:00Z),\n"
        "}\n"
    )


def test_the_guide_with_two_halves() -> None:
    done("--key", "private.jwk", "generate", "--algorithm", "ES256", "--public", "public.jwk")
    assert mode("private.jwk") == 0o600
    assert mode("public.jwk") == 0o644
    assert "d" not in json.loads(Path("public.jwk").read_text())
    signed = done("--key", "private.jwk", "sign", "--root", "demo", "--subscribe", "")
    assert "subscribe" in done("--key", "public.jwk", "verify", stdin=signed)
    assert "cannot" in failed(1, "--key", "public.jwk", "sign", "--subscribe", "")


def test_the_guide_rotates() -> None:
    for name in ("v1", "v2"):
        done("--key", f"{name}.jwk", "generate", "--algorithm", "HS256", "--id", name)
        assert KeySet.load(Path(f"{name}.jwk").read_bytes(), name).keys[0].kid == name
    signed = done("--key", "v1.jwk", "sign", "--publish", "")
    assert "signature" in failed(1, "--key", "v2.jwk", "verify", stdin=signed)


def test_today_through_pipes() -> None:
    key = done("generate", "--algorithm", "EdDSA")
    assert json.loads(key)["alg"] == "EdDSA"
    Path("key.jwk").write_text(key)
    signed = done("sign", "--key", "-", "--subscribe", "x", "--expires", "+1h", stdin=key)
    Path("token").write_text(signed)
    claims = json.loads(done("verify", "--key", "-", "--in", "token", "--json", stdin=key))
    assert claims["get"] == ["x"]
    assert abs(claims["exp"] - time.time() - 3600) < 60
    assert json.loads(done("verify", "--key", "key.jwk", "--json", stdin=signed)) == claims
    assert "both" in failed(2, "verify", "--key", "-", stdin=key)


def test_today_with_folders() -> None:
    os.mkdir("private")
    os.mkdir("public")
    done(
        "generate", "--algorithm", "ES384", "--id", "k1",
        "--out-dir", "private", "--public-dir", "public",
    )  # fmt: skip
    assert mode("private/k1.jwk") == 0o600
    assert KeySet.load(Path("public/k1.jwk").read_bytes(), "x").keys[0].kid == "k1"
    out = done("generate", "--algorithm", "ES256", "--out", "x.jwk", "--public", "-")
    assert json.loads(out)["key_ops"] == ["verify"]


def test_base64() -> None:
    text = done("generate", "--base64")
    assert not text.startswith("{")
    assert KeySet.load(text.encode(), "x").keys[0].algorithm == "HS256"
    assert done("generate", "--json").startswith("{")


def test_scope() -> None:
    done("--key", "k", "generate", "--root", "team", "--publish", "live")
    named = done("--key", "k", "sign", "--publish", "team/live", "--tenant", "acme")
    told = done("--key", "k", "verify", "--json", stdin=named)
    assert json.loads(told)["tenant"] == "acme"
    assert "slashes" in failed(1, "--key", "k", "sign", "--publish", "", "--tenant", "a/b")
    assert done("--key", "k", "sign", "--root", "team/live", "--publish", "", "--expires", "1h")
    beyond = failed(1, "--key", "k", "sign", "--root", "team", "--publish", "", "--expires", "1h")
    assert "may not allow to publish" in beyond
    assert "--root" in failed(2, "generate", "--root", "team")


def test_a_key_for_the_tokens_of_one_tenant() -> None:
    done("--key", "k", "generate", "--tenant", "acme")
    scope = {"root": "", "put": [""], "get": [""], "tenant": "acme"}
    assert json.loads(Path("k").read_text())["scope"] == scope
    for named in ((), ("--tenant", "acme")):
        done("verify", "--key", "k", stdin=done("sign", "--key", "k", "--publish", "", *named))
    assert "'acme'" in failed(1, "sign", "--key", "k", "--publish", "", "--tenant", "evil")
    assert "slashes" in failed(2, "generate", "--tenant", "a/b")


def test_nothing_is_overwritten() -> None:
    Path("k").write_text("mine")
    assert "exists already" in failed(2, "--key", "k", "generate")
    assert Path("k").read_text() == "mine"
    out = failed(2, "generate", "--algorithm", "ES256", "--out", "new", "--public", "k")
    assert "exists already" in out
    assert not Path("new").exists()
    os.chmod("k", 0o644)
    done("--key", "k", "generate", "--force")
    assert mode("k") == 0o600
    assert os.listdir() == ["k"]


def test_an_empty_file_and_a_pipe_are_there_to_be_written() -> None:
    Path("k").touch(0o644)
    done("--key", "k", "generate")
    assert json.loads(Path("k").read_text())["kty"] == "oct"
    assert mode("k") == 0o600
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        done("generate", "--out", "pipe", "--force")
        assert json.loads(os.read(reader, 4096))["kty"] == "oct"
    finally:
        os.close(reader)
    assert sorted(os.listdir()) == ["k", "pipe"]


@pytest.mark.parametrize("held", ["", "old"])
def test_what_a_link_leads_to_is_written_and_the_link_stays(held: str) -> None:
    """As ``--out /dev/stdout > key.jwk`` means it."""
    Path("k").write_text(held)
    os.symlink("k", "link")
    with open("k") as opened:
        done("generate", "--out", "link", *["--force"] * bool(held))
        assert held or json.load(opened)["kty"] == "oct"
    assert os.readlink("link") == "k"
    assert json.loads(Path("k").read_text())["kty"] == "oct"
    assert mode("k") == 0o600
    assert sorted(os.listdir()) == ["k", "link"]


def test_force_leaves_nothing_behind() -> None:
    os.mkdir("k")
    assert failed(2, "--key", "k", "generate", "--force").startswith("Error: ")
    assert os.listdir() == ["k"]


def test_where_keys_cannot_go() -> None:
    assert "only one of" in failed(2, "generate", "--out", "a", "--out-dir", ".")
    assert "only one of" in failed(2, "--key", "a", "generate", "--out", "b")
    assert "same place" in failed(2, "generate", "--algorithm", "ES256", "--public", "-")
    assert "no public half" in failed(2, "generate", "--public", "p")
    assert "nowhere" in failed(2, "generate", "--out", "nowhere/k")
    assert "key id" in failed(2, "generate", "--id", "../x")
    assert os.listdir() == []


def test_one_line_for_each_fault() -> None:
    done("--key", "k", "generate")
    Path("bad").write_text("{}")
    faults = [
        (2, "", ["sign", "--publish", "x"], "--key is missing"),
        (2, "", ["--key", "a", "sign", "--key", "b"], "given twice"),
        (2, "", ["sign", "--key", "none"], "none: No such file"),
        (2, "", ["sign", "--key", "bad", "--publish", ""], "bad: no usable key"),
        (2, "", ["sign", "--key", "k", "--expires", "soon"], "--expires: 'soon' is no time"),
        (2, "", ["sign", "--key", "k", "--publish", "a/" * 40], "40 segments"),
        (2, "", ["sign", "--key", "k", "--subscribe", "", "--decrypt", "p:i"], "a cipher key is"),
        (1, "", ["sign", "--key", "k"], "neither to publish nor to subscribe"),
        (1, "", ["sign", "--key", "k", "--decrypt", "pii"], "neither to publish nor to subscribe"),
        (1, "", ["verify", "--key", "k"], "no token"),
        (1, "x.y.z", ["verify", "--key", "k"], "not a token"),
        (1, "ü", ["verify", "--key", "k"], "not a token"),
        (1, "x" * 9000, ["verify", "--key", "k"], "9000 bytes"),
    ]
    for status, stdin, words, expected in faults:
        said = failed(status, *words, stdin=stdin)
        assert expected in said
        assert said.startswith("Error: ")
        assert said.count("\n") == 1


def test_verify_as_the_relay_would() -> None:
    done("--key", "k", "generate")
    past = run("--key", "k", "sign", "--root", "demo", "--publish", "a", "--expires", "5")
    assert "expired already" in past.stderr
    assert "expired" in failed(1, "--key", "k", "verify", stdin=past.stdout)
    good = done("--key", "k", "sign", "--root", "demo", "--publish", "a", "--expires", "7d")
    assert done("--key", "k", "verify", "--root", "/demo/a", stdin=good)
    assert "/other" in failed(1, "--key", "k", "verify", "--root", "other", stdin=good)
    named = done("--key", "k", "sign", "--publish", "", "--audience", "me", "--expires", "7d")
    assert "audience" in failed(1, "--key", "k", "verify", stdin=named)
    assert done("--key", "k", "verify", "--audience", "me", stdin=named)
    later = done("--key", "k", "sign", "--publish", "", "--not-before", "+2m", "--expires", "7d")
    assert "valid only in" in failed(1, "--key", "k", "verify", stdin=later)
    assert done("--key", "k", "verify", "--leeway", "300", stdin=later)


def test_doubts_are_spoken() -> None:
    done("--key", "k", "generate")
    for words, expected in (
        (["--publish", ""], "never expires"),
        (["--publish", "", "--expires", "4102444800000"], "--expires takes seconds"),
        (["--publish", "live/*", "--expires", "1h"], "taken literally"),
        (["--root", "a/../b", "--publish", "", "--expires", "1h"], "taken literally"),
        (["--publish", "", "--decrypt", "pii", "--expires", "1h"], "--decrypt allows nothing"),
        (["--root", "café", "--publish", "", "--expires", "1h"], "sign for --root caf%C3%A9"),
    ):
        result = run("--key", "k", "sign", *words)
        assert result.exit_code == 0
        assert expected in result.stderr
        assert result.stdout.count(".") == 2
    assert run("--key", "k", "sign", "--publish", "", "--expires", "1h").stderr == ""


def test_names_in_the_token() -> None:
    done("--key", "k", "generate")
    words = ["--subject", "alice", "--token-id", "t1", "--publish", "", "--expires", "1h"]
    claims = json.loads(
        done("--key", "k", "verify", "--json", stdin=done("--key", "k", "sign", *words))
    )
    assert (claims["sub"], claims["jti"]) == ("alice", "t1")
    assert abs(claims["iat"] - time.time()) < 60


def test_the_right_to_decrypt() -> None:
    done("--key", "k", "generate")
    words = ["--key", "k", "sign", "--subscribe", "", "--expires", "1h"]
    signed = done(*words, "--decrypt", "pii", "--decrypt", "card.no", "--decrypt", "pii")
    told = json.loads(done("--key", "k", "verify", "--json", stdin=signed))
    assert told["decrypt"] == ["pii", "card.no"]
    assert '    decrypt: ["pii", "card.no"],\n' in done("--key", "k", "verify", stdin=signed)
    without = done(*words)
    assert "decrypt" not in done("--key", "k", "verify", "--json", stdin=without)
    assert "decrypt" not in done("--key", "k", "verify", stdin=without)
