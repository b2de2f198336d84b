"""The older contract: what a key and a few prefixes decide."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path as File

import pytest

from relay.auth import mint
from relay.auth.claims import Claims
from relay.auth.facts import NO_FACTS, Facts
from relay.auth.grant import Grant
from relay.auth.keys import generate
from relay.auth.reason import Refusal
from relay.auth.request import Request
from relay.auth.revocation import Revocation
from relay.auth.settings import AuthSettings
from relay.path import MAX_LENGTH, ROOT, Path
from relay.sidecar.lookup import (
    Answer,
    is_everything,
    public_of,
    question,
    read_answer,
    settle,
    shareable,
)
from relay.sidecar.terms import Fault

VECTORS = json.loads((File(__file__).parents[1] / "vectors/sidecar.json").read_text())


@pytest.mark.parametrize("row", VECTORS["answers"], ids=lambda row: row["name"])
def test_upstreams_answers(row, made, token, now):
    members = json.loads(row["text"])
    target = row["path"]
    if "token" in row:
        claims = row["token"]
        jwt = token(claims["root"], claims.get("put", ()), claims.get("get", ()))
        target += f"?jwt={jwt}"
    if row.get("key"):
        members["key"] = made["e1"].public().to_jwk()
    answer = read_answer(members)
    try:
        decision = settle(
            answer, Request(target=target), Path(row["path"]), AuthSettings(), now, NO_FACTS
        )
    except Fault:
        assert row["reason"] == "server_invalid"
        return
    if "reason" in row:
        assert decision.reason.code == row["reason"]
        assert not decision
        return
    assert decision, decision.reason
    assert decision.grant.root == row["root"]
    assert list(decision.grant.publish) == row["publish"]
    assert list(decision.grant.subscribe) == row["subscribe"]
    assert (answer.tier or None) == row.get("tier")


def test_a_key_of_another_name_is_not_used(made, token, now):
    other = replace(made["e1"], kid="other")
    request = Request(target=f"/demo?jwt={token(get=[''])}")
    decision = settle(Answer(key=other), request, Path("demo"), AuthSettings(), now, NO_FACTS)
    assert decision.reason.code == "unknown_kid"


@pytest.mark.parametrize(
    ("words", "code"),
    [("rubbish", "malformed"), ("a.b.c", "malformed"), ("nameless", "missing_kid")],
)
def test_without_a_key_a_token_is_refused_for_what_it_is(made, now, words, code):
    text = words
    if words == "nameless":
        text = mint.sign(Claims(get=(ROOT,)), replace(made["e1"], kid=None), now)
    request = Request(target=f"/demo?jwt={text}")
    decision = settle(Answer(), request, Path("demo"), AuthSettings(), now, NO_FACTS)
    assert decision.reason.code == code
    assert "knows no key" not in decision.reason.text


def test_a_key_that_is_not_told_is_the_servers_matter(token, now):
    request = Request(target=f"/demo?jwt={token(get=[''])}")
    decision = settle(Answer(), request, Path("demo"), AuthSettings(), now, NO_FACTS)
    assert decision.reason.code == "unknown_kid"
    assert "auth.url" in decision.reason.hint  # auth.keys cannot stand beside it


def test_a_public_answer_does_not_help_a_bad_token(made, token, now):
    request = Request(target=f"/demo?jwt={token(get=[''], kid='k1')}")
    answer = Answer(subscribe=("",), publish=("",), key=made["e1"])
    assert not settle(answer, request, Path("demo"), AuthSettings(), now, NO_FACTS)


def test_an_alias_with_no_room_for_what_is_granted(made, token, now):
    long = "x" * (MAX_LENGTH - len("demo/"))
    request = Request(target=f"/demo?jwt={token(get=[long])}")
    asked = request, Path("demo"), AuthSettings(), now, NO_FACTS
    assert settle(Answer(key=made["e1"]), *asked)
    with pytest.raises(Fault):
        settle(Answer("alias", key=made["e1"]), *asked)


def test_the_questions_query():
    assert question(Path("a b/c"), None, False, "quic") == [
        ("root", "a b/c"),
        ("transport", "quic"),
    ]
    assert question(ROOT, "k", True, "http")[1:3] == [("kid", "k"), ("mtls", "true")]


def test_an_answer_there_and_back(made):
    answer = Answer("x/y", ("a",), (), made["e1"].public(), "t")
    told = answer.dump()
    assert told["public"] == {"subscribe": ["a"]}
    assert "d" not in told["key"]
    back = read_answer(json.loads(json.dumps(told)))
    assert (back.alias, back.subscribe, back.tier) == ("x/y", ("a",), "t")
    assert back.key.kid == "e1"
    assert Answer().dump() == {}


@pytest.mark.parametrize(
    "members",
    [
        {"alias": 1},
        {"public": []},
        {"public": {"subscribe": "demo"}},
        {"key": "eyJ"},
        {"key": {}},
        {"key": {"keys": []}},
        {"key": {"kty": "oct", "alg": "none", "k": "AAAA"}},
        {"tier": 1},
    ],
)
def test_malformed_answers(members):
    with pytest.raises(ValueError, match=r"."):
        read_answer(members)


def test_a_set_of_keys_is_not_one_key():
    keys = [generate("HS256", name).to_jwk() for name in "ab"]
    with pytest.raises(ValueError, match="not one key") as caught:
        read_answer({"key": {"keys": keys}})
    assert keys[0]["k"] not in str(caught.value)


@pytest.mark.parametrize(("dialled", "is_relay"), [("demo", False), ("", True)])
def test_a_key_told_for_one_path_makes_nobody_a_relay(made, now, dialled, is_relay):
    """Whoever owns it would be of no tenant, and obey no quota."""
    jwt = mint.sign(Claims(put=(ROOT,), get=(ROOT,), cluster=True), made["e1"], now)
    request = Request(target=f"/{dialled}?jwt={jwt}")
    answer = Answer(key=made["e1"])
    decision = settle(answer, request, Path(dialled), AuthSettings(), now, NO_FACTS)
    assert decision.grant.publish == decision.grant.subscribe == (ROOT,)
    assert decision.grant.cluster is is_relay
    said = [line for line in decision.warnings if "makes nobody a relay" in line]
    assert bool(said) is not is_relay


def test_whose_it_is_says_the_alias_and_not_the_name_that_was_dialled(made, token, now):
    """A tenant with several names would have its quotas once for each of them."""
    request = Request(target=f"/vanity/room?jwt={token('vanity', get=[''])}")
    for answer in (Answer("x7/room", key=made["e1"]), Answer("x7/room", subscribe=("",))):
        asked = request if answer.key else Request(target="/vanity/room")
        grant = settle(answer, asked, Path("vanity/room"), AuthSettings(), now, NO_FACTS).grant
        assert (grant.root, grant.home, grant.tenant) == ("x7/room", "x7", "x7")
        assert grant.payer is None


def test_a_tenant_that_the_token_names_is_the_same_at_the_alias(made, now):
    settings = AuthSettings.model_validate({"claims": {"tenant": "org"}})
    jwt = mint.sign(Claims(get=(ROOT,), tenant="acme"), made["e1"], now, settings.claims)
    answer, request = Answer("x7", key=made["e1"]), Request(target=f"/demo?jwt={jwt}")
    grant = settle(answer, request, Path("demo"), settings, now, NO_FACTS).grant
    assert (grant.tenant, grant.home, grant.payer) == ("acme", "x7", "acme")


def test_who_is_revoked_at_the_alias_is_not_let_in_by_another_name(made, token, now):
    request = Request(target=f"/vanity?jwt={token('vanity', get=[''])}")
    entry = Revocation("tenant", "x7")
    facts = Facts(revoked=lambda holder, at: entry if entry.strikes(holder) else None)
    with pytest.raises(Refusal, match="revoked"):
        settle(Answer("x7", key=made["e1"]), request, Path("vanity"), AuthSettings(), now, facts)


@pytest.mark.parametrize(("dialled", "opened"), [("demo", ()), ("", ("pii",))])
def test_nor_does_it_decrypt(made, now, dialled, opened):
    """As with a grant of that server: only who runs the relay gives that right."""
    jwt = mint.sign(Claims(get=(ROOT,), decrypt=("pii",)), made["e1"], now)
    request = Request(target=f"/{dialled}?jwt={jwt}", transport="http")
    answer = Answer(key=made["e1"])
    decision = settle(answer, request, Path(dialled), AuthSettings(), now, NO_FACTS)
    assert decision.grant.decrypt == opened
    assert any("decrypts nothing" in line for line in decision.warnings) is not bool(opened)


def test_prefixes_that_are_too_long_are_a_fault(now):
    answer = Answer(subscribe=("x/" * 31,))
    with pytest.raises(Fault, match="answer holds"):
        settle(answer, Request(target="/a/b"), Path("a/b"), AuthSettings(), now, NO_FACTS)


def test_what_of_a_key_is_told(made):
    assert shareable(made["e1"], False).can_sign is False
    assert shareable(made["k1"], False) is None
    assert shareable(made["k1"], True).operations == ("verify",)
    assert shareable(replace(made["e1"], operations=("sign",)), True) is None
    assert shareable(None, True) is None


def test_what_a_public_grant_says():
    grant = Grant(Path("a"), (Path("p"),), (ROOT,), anonymous=True)
    assert public_of(grant) == (("",), ("p",))
    assert public_of(replace(grant, anonymous=False)) == ((), ())
    assert public_of(None) == ((), ())
    assert is_everything(Grant(Path("a"), (ROOT,), (ROOT,)))
    assert not is_everything(grant)
    assert not is_everything(None)
