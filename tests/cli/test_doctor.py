"""``relay doctor`` as somebody types it who wonders why a token works here and not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from called import called
from relay.auth.compact import to_base64url
from relay.auth.credentials import make_key, make_moose_key, make_token
from relay.auth.keys import Key, generate
from relay.cli import relay

AT = ["--at", "2030-01-01"]


@pytest.fixture(autouse=True)
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Key:
    monkeypatch.chdir(tmp_path)
    made = generate("HS256", "v1")
    Path("k.jwk").write_bytes(made.dump())
    return made


def made(key: Key, **claims: object) -> str:
    header = to_base64url(json.dumps({"alg": "HS256", "kid": "v1"}).encode())
    payload = json.dumps({"root": "demo", "put": ["a"]} | claims).encode()
    signed = f"{header}.{to_base64url(payload)}"
    return f"{signed}.{to_base64url(key.sign(signed.encode()))}"


def doctor(*words: str, status: int = 0, stdin: str | None = None) -> str:
    done = called(relay, "doctor", *words, input=stdin)
    assert done.exit_code == status, done.output
    assert "\x1b" not in done.stdout
    return done.stdout


def test_the_table(key: Key) -> None:
    token = made(key, aud="relay")
    said = doctor(token, "--key", "k.jwk", *AT, status=1)
    lines = said.splitlines()
    assert lines[0].startswith("✗  the guide's moq-token (0.5)  refuses  it names an audience")
    assert lines[2].startswith("✓  npm @moq/token 0.2.3         accepts  ")
    assert "aud is not looked at" in lines[2]
    assert "set auth.audience" in lines[4]
    assert lines[-1] == "The signature is good."
    assert token not in said


def test_without_a_key(key: Key) -> None:
    said = doctor("-", *AT, stdin=made(key) + "\n")
    assert said.count("accepts") == 5
    assert "taken for good" in said
    other = generate("HS256", "v1")
    Path("k.jwk").write_bytes(other.dump())
    said = doctor("-", "--key", "k.jwk", *AT, stdin=made(key), status=1)
    assert said.count("refuses") == 5
    assert "The signature is not by this key." in said


def test_a_blank_is_part_of_the_token(key: Key) -> None:
    said = doctor(made(key) + " ", "--key", "k.jwk", *AT, status=1)
    assert said.startswith("! read strictly: ")
    assert "a blank inside the token is taken" in said


def test_the_path_matters(key: Key) -> None:
    token = made(key)
    said = doctor(token, "--path", "demo/a", *AT)
    assert said.count("accepts") == 4
    assert "not letter by letter 'demo/a'" in said
    doctor(token, "--path", "other", *AT, status=1)


def test_json(key: Key) -> None:
    said = json.loads(doctor(made(key, nbf=4_000_000_000), "--json", *AT, status=1))
    assert said["signature"] == "unchecked"
    assert said["token"]["root"] == "demo"
    judges = {opinion["name"]: opinion["accepts"] for opinion in said["opinions"]}
    assert judges == {
        "guide": True,
        "moq-token": True,
        "@moq/token": False,
        "moq-auth": False,
        "relay": False,
    }


@pytest.mark.parametrize("words", [[], ["--json"], ["--key", "k.jwk"]])
def test_other_credentials_are_not_judged(key: Key, words: list[str]) -> None:
    keys = [make_key(100_000).bearer, make_moose_key().bearer]
    for what, texts in (("token", [str(make_token()), "mq_short"]), ("key", keys)):
        for text in texts:
            done = CliRunner().invoke(relay, ["doctor", "-", *words], input=text)
            assert (done.exit_code, done.stdout) == (2, "")
            told = f"that is an API {what}, and only JWTs are judged here; ask: relay explain"
            assert told in done.stderr
            assert text not in done.stderr
    unsigned = made(key).rpartition(".")[0]  # of the form of an API key, and none
    assert doctor(unsigned, *AT, status=1).count("refuses") >= 4


@pytest.mark.parametrize("name", ["there", "gone.jwt", "./gone", "/etc/gone", "", "-"])
def test_the_name_of_a_file_is_no_token(key: Key, name: str) -> None:
    Path("there").write_text(made(key))
    for command in (["doctor", name], ["explain", "/demo", "--token", name]):
        done = CliRunner().invoke(relay, command, input="")
        if name.strip("-"):
            assert (done.exit_code, done.stdout) == (2, "")
            assert f"expected a token, and {name!r} is a file's name: give" in done.stderr
        elif command[0] == "doctor":
            assert (done.exit_code, done.stdout) == (2, "")
            assert "expected a token, a JWT, and this is empty" in done.stderr


def test_usage(key: Key) -> None:
    Path("broken").write_text("x")
    done = CliRunner().invoke(relay, ["doctor", "x", "--key", "broken"])
    assert "broken: no usable key" in str(done.exception)
    assert CliRunner().invoke(relay, ["doctor", "x", "--key", "none"]).exit_code == 2
    assert CliRunner().invoke(relay, ["doctor"]).exit_code == 2
    assert doctor("rubbish", status=1).count("refuses") == 5
