"""Keys and tokens exchanged with npm's ``@moq/token``, in both directions."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest

from relay.auth.claims import Claims
from relay.auth.decide import Request, decide
from relay.auth.keys import KeySet, generate
from relay.auth.mint import sign
from relay.auth.settings import AuthSettings
from relay.path import Path

pytestmark = pytest.mark.interop

ALGORITHMS = ["HS256", "HS512", "ES256", "ES384", "EdDSA", "RS256", "PS256"]


class Foreign:
    """A running ``token.mjs``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def answer(self, verb: str, **arguments: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"do": verb} | arguments) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def ask(self, verb: str, **arguments: Any) -> Any:
        answer = self.answer(verb, **arguments)
        assert "error" not in answer, answer
        return answer["value"]


@pytest.fixture(scope="module")
def foreign(moq_token: subprocess.Popen[str]) -> Foreign:
    return Foreign(moq_token)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_their_key_their_token(algorithm: str, foreign: Foreign) -> None:
    key = foreign.ask("generate", algorithm=algorithm, id="k1")
    exp = int(time.time()) + 600
    claims = {"root": "demo", "put": ["me"], "get": "", "exp": exp}
    token = foreign.ask("sign", key=key, claims=claims)
    texts = [key] if algorithm.startswith("HS") else [key, foreign.ask("public", key=key)]
    for text in texts:
        keys = KeySet.load(text.encode(), "theirs.jwk")
        decision = decide(Request(f"/demo?jwt={token}"), keys, AuthSettings(), time.time())
        assert decision.grant is not None, decision
        assert decision.grant.publish == (Path("me"),)
        assert decision.grant.subscribe == (Path(""),)
        assert decision.grant.expires == exp
        assert decision.grant.kid == "k1"
        late = decide(Request(f"/demo?jwt={token}"), keys, AuthSettings(), exp)
        assert late.reason.code == "expired"


@pytest.mark.parametrize("base64", [False, True], ids=["json", "base64url"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_our_key_our_token(algorithm: str, base64: bool, foreign: Foreign) -> None:
    key = generate(algorithm, "k1")
    claims = Claims(Path("demo"), put=(Path("me"), Path("you")), exp=int(time.time()) + 600)
    token = sign(claims, key, time.time())
    halves = [key] if key.material.shared else [key, key.public()]
    for half in halves:
        text = half.dump(base64).decode()
        read = foreign.ask("verify", key=text, token=token, root="demo")
        assert read == {
            "root": "demo",
            "put": ["me", "you"],
            "exp": claims.exp,
            "iat": read["iat"],
        }
    other = generate(algorithm, "k1").dump().decode()
    assert "error" in foreign.answer("verify", key=other, token=token, root="demo")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_our_key_their_token(algorithm: str, foreign: Foreign) -> None:
    key = generate(algorithm, "k1")
    token = foreign.ask("sign", key=key.dump().decode(), claims={"root": "", "get": ["a/b"]})
    keys = KeySet.load(key.dump(), "ours.jwk")
    decision = decide(Request(f"/a?jwt={token}"), keys, AuthSettings(), time.time())
    assert decision.grant is not None, decision
    assert decision.grant.subscribe == (Path("b"),)
    stranger = KeySet.load(generate(algorithm, "k1").dump(), "other.jwk")
    refused = decide(Request(f"/a?jwt={token}"), stranger, AuthSettings(), time.time())
    assert refused.reason.code == "bad_signature"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_their_key_our_token(algorithm: str, foreign: Foreign) -> None:
    text = foreign.ask("generate", algorithm=algorithm, id="k1")
    key = KeySet.load(text.encode(), "theirs.jwk").keys[0]
    token = sign(Claims(Path("x"), get=(Path(""),)), key)
    assert foreign.ask("verify", key=text, token=token, root="x") == {"root": "x", "get": [""]}
