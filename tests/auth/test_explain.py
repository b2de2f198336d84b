"""Decisions told: the rows, the first rule that failed, what would follow, and what never shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from relay.auth.decide import Decision, Request, decide
from relay.auth.explain import ELSEWHERE, STAGES, Explanation, explain
from relay.auth.keys import Key, KeySet
from relay.auth.mending import MENDINGS, mending
from relay.auth.reason import PLACES, Reason
from relay.auth.settings import AuthSettings
from relay.auth.suppose import resigned, suppose, valid_moment
from relay.path import Path
from relay.reserve import Reserve

NOW = 1_800_000_000.0
GOOD = {"root": "demo", "put": ["a"], "get": [""], "exp": NOW + 600}
PLAIN = AuthSettings()

Keys = dict[str, Key]
Forge = Callable[..., str]


def told(
    token: str | None,
    keys: KeySet,
    path: str = "/demo",
    settings: AuthSettings = PLAIN,
    **more: Any,
) -> Explanation:
    target = path if token is None else f"{path}?jwt={token}"
    return explain(Request(target), keys, settings, NOW, **more)


def rows(explanation: Explanation) -> dict[str, str]:
    return {row.name: row.result for row in explanation.rows}


def test_an_allowed_token_shows_every_step(keys: Keys, forge: Forge) -> None:
    done = told(forge(keys["k1"], GOOD), KeySet((keys["k1"],)))
    assert done.verdict == "allowed"
    assert list(rows(done)) == [
        "path", "token", "size", "decode", "header", "key", "algorithm", "signature", "claims",
        "time", "scope", "root overlap", "grant",
    ]  # fmt: skip
    assert set(rows(done).values()) == {"passed"}
    assert done.rows[-1].detail == "publish 'demo/a', subscribe 'demo'"
    assert done.mend == done.otherwise == ""
    assert done.says is not None
    assert done.says["root"] == "demo"


def test_a_scope_is_not_called_absent(keys: Keys, forge: Forge) -> None:
    claims = {"root": "project", "put": ["live"], "exp": NOW + 600}
    done = told(forge(keys["s1"], claims), KeySet((keys["s1"],)), "/project")
    (scope,) = [row for row in done.rows if row.name == "scope"]
    assert scope.detail == "within what the key s1 may allow"


def test_what_was_not_reached_is_said(keys: Keys, forge: Forge) -> None:
    done = told(forge(keys["k1"], GOOD | {"exp": NOW - 60}), KeySet((keys["k1"],)))
    assert done.verdict == "denied"
    assert rows(done)["signature"] == "passed"
    assert rows(done)["time"] == "failed"
    assert rows(done)["root overlap"] == "skipped"
    assert "grant" not in rows(done)
    assert "sign a new token" in done.mend


def test_an_algorithm_that_fails_is_called_that(keys: Keys, forge: Forge) -> None:
    token = forge(keys["k1"], GOOD, {"alg": "HS384"})
    done = told(token, KeySet((keys["k1"],)))
    assert rows(done)["algorithm"] == "failed"
    assert rows(done)["signature"] == "skipped"


@pytest.mark.parametrize(
    ("claims", "path", "mended", "end"),
    [
        ({"exp": NOW - 60}, "/demo", ["unknown_kid", "expired"], "it would be allowed: publish"),
        ({}, "/demo", ["unknown_kid"], "it would be allowed: publish 'demo/a'"),
        ({}, "/other", ["unknown_kid"], "it would still be denied: the token is for '/demo'"),
        ({"nbf": NOW + 60}, "/demo", ["unknown_kid", "not_yet_valid"], "it would be allowed"),
        ({"put": [], "get": []}, "/demo", ["unknown_kid"], "it would still be denied: the token a"),
    ],
)
def test_all_that_is_wrong_is_found_at_once(
    claims: dict[str, Any], path: str, mended: list[str], end: str, keys: Keys, forge: Forge
) -> None:
    done = told(forge(keys["k1"], GOOD | claims), KeySet((keys["e1"],)), path)
    assert done.decision.reason.code == "unknown_kid"
    assert done.supposition is not None
    assert [reason.code for reason in done.supposition.mended] == mended
    assert end in done.otherwise
    assert done.otherwise.startswith("With a good signature")
    assert done.decision.grant is None


def test_a_scope_can_be_supposed_wider(keys: Keys, forge: Forge) -> None:
    done = told(forge(keys["s1"], GOOD), KeySet((keys["s1"],)))
    assert done.decision.reason.code == "scope_exceeded"
    assert "would be allowed" in done.otherwise


def test_nothing_is_supposed_of_what_is_no_token(keys: Keys) -> None:
    done = told("nonsense", KeySet((keys["k1"],)))
    assert done.decision.reason.code == "malformed"
    assert done.supposition is None
    assert done.says is None
    assert told("nonsense", KeySet(), checked=False).decision.reason.code == "malformed"


def test_without_keys_what_can_be_said_is_said(keys: Keys, forge: Forge) -> None:
    done = told(forge(keys["e1"], GOOD), KeySet(), checked=False)
    assert done.verdict == "unchecked"
    assert {name for name, result in rows(done).items() if result == "unchecked"} == {
        "key", "algorithm", "signature", "scope",
    }  # fmt: skip
    (header,) = [row for row in done.rows if row.name == "header"]
    assert header.detail == "ES256, key id 'e1'"
    members = done.members()
    assert members["grant"] is members["code"] is None
    assert members["otherwise"]["grant"]["publish"] == ["a"]


@pytest.mark.parametrize(
    ("claims", "header", "code"),
    [
        ({"exp": NOW - 1}, {}, "expired"),
        ({"root": "x"}, {}, "root_mismatch"),
        ({"exp": "soon"}, {}, "bad_claims"),
        ({}, {"alg": "none"}, "bad_alg"),
        ({}, {"crit": ["x"]}, "bad_crit"),
        ({}, {"kid": "../x"}, "bad_kid"),
    ],
)
def test_without_keys_what_is_wrong_is_found(
    claims: dict[str, Any], header: dict[str, Any], code: str, keys: Keys, forge: Forge
) -> None:
    done = told(forge(keys["k1"], GOOD | claims, header), KeySet(), checked=False)
    assert done.verdict == "denied"
    assert done.decision.reason.code == code


def test_without_token_the_public_decides(keys: Keys) -> None:
    public = AuthSettings.model_validate({"public": "demo"})
    done = told(None, KeySet((keys["k1"],)), "/demo/x", public, publish=["y"])
    assert done.verdict == "allowed"
    assert done.wishes[0].covered
    assert told(None, KeySet(), "/x", public).decision.reason.code == "no_token"


def test_paths(keys: Keys, forge: Forge) -> None:
    done = told(
        forge(keys["k1"], GOOD),
        KeySet((keys["k1"],)),
        publish=["a", "/a/b/", "b", "demo/a", "x/" * 40],
        subscribe=[""],
    )
    seen = [(wish.absolute, wish.covered, wish.prefix) for wish in done.wishes]
    assert seen[:4] == [
        ("demo/a", True, "demo/a"),
        ("demo/a/b", True, "demo/a"),
        ("demo/b", False, None),
        ("demo/demo/a", False, None),
    ]
    assert seen[5] == ("demo", True, "demo")
    assert "was 'a' meant" in done.wishes[3].why
    assert "segments" in done.wishes[4].why
    none = told(forge(keys["k1"], GOOD), KeySet((keys["k1"],)), "/other", publish=["a"])
    assert (none.wishes[0].absolute, none.wishes[0].why) == ("other/a", "there is no grant")
    nowhere = told(None, KeySet(), "/a\\b", publish=["c"])
    assert (nowhere.wishes[0].absolute, nowhere.wishes[0].why) == ("c", "there is no grant")


OWN = {"publish": [".stats/node/x", ".internal/x"], "subscribe": [".stats", ".internal/x"]}


@pytest.mark.parametrize(
    ("claims", "transport", "covered"),
    [
        ({}, "webtransport", [False, False, True, False]),
        ({"cluster": True}, "webtransport", [True, True, True, True]),
        ({"cluster": True}, "http", [False, False, True, False]),
        ({"put": ["in"], "get": ["out"], "cluster": True}, "quic", [False, True, False, True]),
    ],
)
def test_what_only_relays_do_is_not_covered(
    claims: dict[str, Any], transport: str, covered: list[bool], keys: Keys, forge: Forge
) -> None:
    token = forge(keys["k1"], {"root": "", "put": [""], "get": [""], "exp": NOW + 600} | claims)
    request = Request("/", bearer=token, transport=transport)
    reserve = Reserve((Path(".stats"),))
    done = explain(request, KeySet((keys["k1"],)), PLAIN, NOW, reserve=reserve, **OWN)
    assert (done.verdict, [wish.covered for wish in done.wishes]) == ("allowed", covered)
    if not claims:
        assert done.wishes[0].why == "only relays publish below .stats"
        assert (done.wishes[3].prefix, done.wishes[3].why) == (
            None,
            "only relays subscribe below .internal",
        )


def test_what_only_relays_do_is_told_by_the_whole_path(keys: Keys, forge: Forge) -> None:
    claims = {"root": "demo", "put": [""], "exp": NOW + 600}
    reserve = Reserve((Path("demo/own"),))
    token, set_ = forge(keys["k1"], claims), KeySet((keys["k1"],))
    done = told(token, set_, publish=["own/x", "other", ".internal"], reserve=reserve)
    assert [wish.covered for wish in done.wishes] == [False, True, True]


def test_what_the_http_face_answers(keys: Keys, forge: Forge) -> None:
    token = forge(keys["k1"], GOOD)
    answer = told(token, KeySet((keys["k1"],)), publish=["a"]).members()
    assert answer["verdict"] == "allowed"
    assert answer["grant"]["root"] == "demo"
    assert answer["paths"][0]["covered"] is True
    assert json.loads(json.dumps(answer)) == answer
    again = told(token, KeySet()).members()
    assert (again["verdict"], again["code"], again["status"]) == ("denied", "no_keys", 401)
    assert "configured" not in again["reason"]  # a source that answered with nothing usable is


AWAY = AuthSettings(url="https://decides.test/")


def test_what_another_server_decides_is_left_open(keys: Keys, forge: Forge) -> None:
    done = told(forge(keys["k1"], GOOD), KeySet(), settings=AWAY, publish=["a"])
    assert (done.verdict, rows(done)["signature"]) == ("unchecked", "unchecked")
    assert "another server decides" in {row.detail for row in done.rows}
    assert done.wishes[0].covered
    answer = done.members()
    assert answer["otherwise"]["grant"]["root"] == "demo"
    assert answer["grant"] is answer["code"] is answer["status"] is None
    assert "another server" in ELSEWHERE


@pytest.mark.parametrize("token", [None, "mq_" + "a" * 40])
def test_whoever_brings_no_jwt_is_another_servers_to_decide_on(token: str | None) -> None:
    done = told(token, KeySet(), settings=AWAY, subscribe=["a"])
    assert (done.verdict, rows(done)["server"]) == ("unchecked", "unchecked")
    assert "failed" not in rows(done).values()
    assert (done.mend, done.wishes[0].why) == ("", "another server decides")
    answer = done.members()
    assert set(answer) == set(told(None, KeySet()).members())
    assert answer["code"] is answer["grant"] is answer["otherwise"] is None


def test_no_server_admits_a_request_without_form() -> None:
    for token in (None, "a.b.c"):
        done = told(token, KeySet(), "/demo/../x", AWAY)
        assert (done.verdict, done.decision.reason.code) == ("denied", "bad_path")


@pytest.mark.parametrize(
    ("target", "code"),
    [("/demo?jwt=opaque", "malformed"), ("/demo?jwt=a&jwt=b", "token_conflict")],
)
def test_what_is_no_jwt_another_server_may_take_if_it_reads_it(target: str, code: str) -> None:
    def judged(contract: str) -> Explanation:
        settings = AWAY.model_copy(update={"contract": contract})
        return explain(Request(target), KeySet(), settings, NOW)

    done = judged("events")
    assert (done.verdict, done.mend, rows(done)["server"]) == ("unchecked", "", "unchecked")
    assert not {"failed", "skipped"} & set(rows(done).values())
    assert done.members()["code"] is None
    done = judged("api")
    assert (done.verdict, done.decision.reason.code) == ("denied", code)


def test_what_a_token_would_be_refused_for_here_is_a_warning_where_another_decides(
    keys: Keys, forge: Forge
) -> None:
    done = told(forge(keys["k1"], GOOD | {"exp": NOW - 9}), KeySet(), settings=AWAY)
    assert (done.verdict, rows(done)["time"]) == ("unchecked", "warned")


def test_the_judge_may_know_more(keys: Keys, forge: Forge) -> None:
    def strict(request: Request, keys: KeySet, settings: AuthSettings, now: float) -> Decision:
        decision = decide(request, keys, settings, now)
        reason = Reason("revoked", "the token was revoked")
        return replace(decision, verdict=False, grant=None, reason=reason, status=401)

    done = told(forge(keys["k1"], GOOD), KeySet((keys["k1"],)), judge=strict)
    assert done.verdict == "denied"
    assert done.mend == MENDINGS["revoked"]


def test_a_moment_when_a_token_is_valid(keys: Keys, forge: Forge) -> None:
    def moment(**claims: Any) -> float | None:
        return valid_moment(forge(keys["k1"], claims), PLAIN)

    assert moment(exp=100) == 99
    assert moment(nbf=50) == 50
    assert moment(exp=100, nbf=50) == 99
    assert moment(exp=100, nbf=100) is None
    assert moment(exp="x") is None
    assert moment(exp=True) is None
    assert moment(exp=10**400) is None
    done = told(forge(keys["k1"], GOOD | {"exp": NOW - 9, "nbf": NOW - 5}), KeySet((keys["k1"],)))
    assert done.supposition is None or not done.supposition.mended


def test_a_supposition_needs_a_new_signature(keys: Keys, forge: Forge) -> None:
    token = forge(keys["k1"], GOOD)
    genuine = resigned(token)
    assert genuine is not None
    again, trusted = genuine
    assert again.split(".")[1] == token.split(".")[1]
    assert decide(Request("/demo", bearer=again), trusted, PLAIN, NOW)
    assert not decide(Request("/demo", bearer=again), KeySet((keys["k1"],)), PLAIN, NOW)
    assert not decide(Request("/demo", bearer=token), trusted, PLAIN, NOW)
    allowed = decide(Request("/demo", bearer=token), KeySet((keys["k1"],)), PLAIN, NOW)
    assert suppose(Request("/demo", bearer=token), token, allowed, PLAIN, NOW, decide) is None


def test_every_refusal_can_be_mended() -> None:
    assert set(PLACES) == set(MENDINGS)
    for code in PLACES:
        assert mending(Reason(code, "text"))
        assert mending(Reason(code, "text", "hint")) == "hint"
    assert mending(Reason("new", "text"))


def test_stages_are_steps_of_a_decision(keys: Keys, forge: Forge) -> None:
    token = forge(keys["k1"], GOOD)
    decision = decide(Request(f"/demo?jwt={token}"), KeySet((keys["k1"],)), PLAIN, NOW)
    assert tuple(dict.fromkeys(step.name for step in decision.steps)) == STAGES


SECRETS = ("s3cr3t-claim", "s3cr3t-header")


@examples(max_examples=60, deadline=None)
@given(
    claims=st.fixed_dictionaries(
        {},
        optional={
            "root": st.sampled_from(["demo", 5, "x" * 500]),
            "put": st.sampled_from([["a"], "", None, [5]]),
            "exp": st.sampled_from([NOW + 5, NOW - 5, "x"]),
            "password": st.just(SECRETS[0]),
        },
    ),
    checked=st.booleans(),
    known=st.booleans(),
    cut=st.integers(0, 3),
)
def test_neither_token_nor_secret_is_ever_told(
    claims: dict[str, Any], checked: bool, known: bool, cut: int, keys: Keys, forge: Forge
) -> None:
    token = forge(keys["k1"], claims, {"jwk": SECRETS[1]})
    token = token[: len(token) - cut]
    key_set = KeySet((keys["k1" if known else "e1"],))
    done = told(token, key_set, checked=checked, publish=["a"])
    text = json.dumps(done.members()) + repr(done.rows) + done.otherwise
    assert token not in text
    assert not any(part in text for part in token.split(".") if len(part) > 8)
    assert not any(secret in text for secret in SECRETS)
    assert keys["k1"].to_jwk()["k"] not in text
