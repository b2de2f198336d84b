"""Every row of the table of credentials beside the JWT, and what holds for all of them."""

from __future__ import annotations

import json
import math
import pathlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.auth.certificate import Certificate
from relay.auth.credentials import (
    MIN_ITERATIONS,
    Derivation,
    derive,
    make_key,
    make_moose_key,
    make_ticket,
    make_token,
    secret_digest,
)
from relay.auth.decide import Decision, Request, decide, require_unrevoked
from relay.auth.facts import Facts, StoredToken
from relay.auth.grant import Grant
from relay.auth.keys import Key, KeySet
from relay.auth.needs import needs
from relay.auth.reason import PLACES, Refusal
from relay.auth.revocation import Revocation, Revocations
from relay.auth.settings import AuthSettings
from relay.path import Path

VECTORS = pathlib.Path(__file__).parent.parent / "vectors" / "credentials.json"
TABLE = json.loads(VECTORS.read_text(encoding="utf-8"))
NOW = TABLE["now"]

API, MOOSE, TOKEN, TICKET = make_key(MIN_ITERATIONS), make_moose_key(), make_token(), make_ticket()
FINGERPRINT = "ab" * 32
RIGHTS: dict[str, Any] = {"root": "plant", "publish": "sensors", "subscribe": ""}

Forge = Callable[..., str]
Keys = dict[str, Key]


def stored(row: dict[str, Any]) -> StoredToken | None:
    if "stored" in row and row["stored"] is None:
        return None
    kept = StoredToken(
        prefix=TOKEN.prefix,
        digest=secret_digest(TOKEN.secret),
        name="cam",
        root=Path("plant"),
        publish=(Path("sensors"),),
        subscribe=(Path(""),),
        created=NOW - 1000,
    )
    return replace(kept, **row.get("stored", {}))


def grant(members: dict[str, Any]) -> Grant:
    paths = {name: tuple(map(Path, members.get(name, ()))) for name in ("publish", "subscribe")}
    return Grant(**members | paths | {"root": Path(members["root"])})


def certificate(row: dict[str, Any]) -> Certificate | None:
    if "certificate" not in row:
        return None
    leaf = Certificate(
        FINGERPRINT, NOW + 50, "CN=plant", ("plant.example.com",), "CN=plant authority"
    )
    return replace(leaf, **row["certificate"])


def auth(row: dict[str, Any]) -> AuthSettings:
    hashes = {"api": API.hash, "moose": MOOSE.hash}
    named = row.get("only", list(hashes))
    keys = {name: RIGHTS | {"hash": str(hashes[name])} | row.get("key", {}) for name in named}
    rules = {"api_keys": keys, "certificates": row.get("rules", {})}
    return AuthSettings.model_validate(rules | row.get("settings", {}))


def facts(row: dict[str, Any], words: dict[str, str]) -> Facts:
    entries = [
        Revocation(**entry | {"value": entry.get("value", "").format(**words)})
        for entry in row.get("revoked", ())
    ]
    more: dict[str, Any] = {"revoked": Revocations(entries).check} if entries else {}
    if "ticket" in row:
        more["ticket"] = grant(row["ticket"])
    return Facts(
        stored=stored(row),
        certificate=certificate(row),
        unavailable=row.get("unavailable", ""),
        **more,
    )


def decided(row: dict[str, Any], keys: Keys, forge: Forge) -> Decision:
    claims = {"root": "demo", "put": "a", "get": "", "sub": "alice", "jti": "t1", "exp": NOW + 600}
    words = {
        "api": API.bearer,
        "moose": MOOSE.bearer,
        "token": str(TOKEN),
        "token_id": f"mq_{TOKEN.prefix}",
        "ticket": TICKET,
        "fingerprint": FINGERPRINT,
        "jwt": forge(keys["k1"], claims | {"iat": NOW - 100}),
    }
    bearer = row.get("bearer")
    request = Request(
        f"{row['path']}?{row.get('query', '').format(**words)}",
        bearer=None if bearer is None else bearer.format(**words),
        transport=row.get("transport", "webtransport"),
        subscribes=row.get("subscribes", True),
    )
    key_set = KeySet(tuple(keys[name] for name in row.get("keys", ["k1", "e1"])))
    return decide(request, key_set, auth(row), NOW, facts(row, words))


@pytest.mark.parametrize("row", TABLE["rows"], ids=lambda row: f"{row['id']} {row['name']}")
def test_table(row: dict[str, Any], keys: Keys, forge: Forge) -> None:
    decision = decided(row, keys, forge)
    assert decision.reason.code == row["code"], decision
    assert row.get("hint", "") in decision.reason.hint
    assert row.get("text", "") in decision.reason.text
    if row["code"] != "allowed":
        assert not decision
        assert decision.grant is None
        assert decision.status == row["status"] == PLACES[row["code"]].status
        assert [step.ok for step in decision.steps].count(False) == 1
        assert decision.reason.hint or row["code"] in ("token_conflict", "malformed")
        return
    assert decision.grant is not None
    granted = decision.grant
    assert list(granted.publish) == row["publish"]
    assert list(granted.subscribe) == row["subscribe"]
    assert granted.root == Path(row["path"])
    assert granted.anonymous is row.get("anonymous", False)
    assert granted.cluster is row.get("cluster", False)
    for name in ("expires", "subject", "credential", "tenant"):
        if name in row:
            assert getattr(granted, name) == row[name], name
    if "warning" in row:
        assert [step.name for step in decision.steps if step.warning] == [row["warning"]]


@pytest.mark.parametrize("names", [(), ("pii", "card.no")])
@pytest.mark.parametrize(
    "row",
    [
        {"bearer": "{api}", "key": ...},
        {"bearer": "{moose}", "key": ...},
        {"bearer": "{token}", "stored": ...},
        {"certificate": {}, "rules": {"one": {"san": "plant.example.com", "subscribe": ""}}},
        {"certificate": {}, "rules": {"one": {"full_access": True}}},
    ],
    ids=["ours", "moose", "stored", "certificate", "full-access"],
)
def test_what_is_decrypted_is_what_was_said(
    keys: Keys, forge: Forge, row: dict[str, Any], names: tuple[str, ...]
) -> None:
    said = {"decrypt": names} if names else {}
    row = {name: said if value is ... else value for name, value in row.items()}
    if "rules" in row:
        row["rules"] = {"one": row["rules"]["one"] | said}
    granted = decided(row | {"path": "/plant"}, keys, forge).grant
    assert granted is not None
    assert granted.decrypt == names


@pytest.mark.parametrize("row", TABLE["rows"], ids=lambda row: row["id"])
def test_no_secret_is_in_any_text(row: dict[str, Any], keys: Keys, forge: Forge) -> None:
    told = repr(decided(row, keys, forge))
    for secret in (API.bearer.split(".")[0], MOOSE.bearer.split(".")[0], TOKEN.secret, TICKET):
        assert secret not in told


FOREIGN = ("unknown_token", "bad_token_secret", "bad_api_key", "bad_ticket", "malformed")


@pytest.mark.parametrize(
    "row",
    [row for row in TABLE["rows"] if row["code"] in ("revoked", "expired", *FOREIGN)],
    ids=lambda row: row["id"],
)
def test_who_was_refused_is_known_where_the_credential_is_genuine(
    row: dict[str, Any], keys: Keys, forge: Forge
) -> None:
    holder = decided(row, keys, forge).holder
    assert (holder is None) is (row["code"] in FOREIGN and "certificate" not in row)
    if holder is not None and "ticket" not in row:  # those of the table are nobody's
        assert holder.sub or holder.jti
        assert holder.tenant in ("demo", "plant")


@pytest.mark.parametrize(
    "row",
    [row for row in TABLE["rows"] if row["code"] == "allowed"],
    ids=lambda row: row["id"],
)
def test_a_revocation_may_strike_whoever_vouched(
    row: dict[str, Any], keys: Keys, forge: Forge
) -> None:
    grant = decided(row, keys, forge).grant
    assert grant is not None
    shown = certificate(row)
    if grant.anonymous:
        assert grant.holders == ()
    else:
        assert grant.holders[0] == grant.holder
        assert [each.jti for each in grant.holders[1:]] == ([shown.fingerprint] if shown else [])


@pytest.mark.parametrize(
    ("since", "made", "is_let_in"),
    [(NOW - 50, NOW - 60, False), (NOW - 50, NOW - 40, True), (math.inf, NOW - 40, False)],
)
def test_what_a_key_that_is_gone_was_exchanged_for_is_refused(
    keys: Keys, forge: Forge, since: float, made: int, is_let_in: bool
) -> None:
    key = keys["k1"]
    known = KeySet((key,), retired={"gone": since})
    claims = {"root": "plant", "get": [""], "exp": NOW + 60, "iat": made}
    token = forge(key, claims | {"parent_kid": ["other", "gone"]})
    spent = Grant(Path("plant"), (), (Path(""),), kid="gone", tenant="plant", exchanged=made)
    for query, told in ((f"jwt={token}", Facts()), (f"ticket={TICKET}", Facts(ticket=spent))):
        request = Request(target=f"/plant?{query}")
        assert bool(decide(request, known, AuthSettings(), NOW, told)) is is_let_in
    # A token by the key that has the name now was exchanged for nothing, whenever it was signed.
    replaced = replace(known, retired={str(key.kid): since})
    request = Request(target=f"/plant?jwt={forge(key, claims)}")
    assert decide(request, replaced, AuthSettings(), NOW)


OWN, ELSE = ("k1", True), ("k1", False)
"""Who signed: the relay, or somebody else by the same key."""


@pytest.mark.parametrize(
    ("signed", "parents", "policy", "is_let_in"),
    [
        (OWN, ["gone"], "close", False),
        (OWN, ["gone"], "keep", True),
        (OWN, ["k2"], "close", True),
        (OWN, ["gone", "k1"], "close", False),
        (OWN, ["theirs", "k2", "k1"], "close", True),  # k2 is of another relay, which knew theirs
        (OWN, ["k1"], "close", True),
        (ELSE, ["gone"], "close", True),
    ],
)
def test_what_was_exchanged_for_a_key_that_is_not_known_is_refused_where_sessions_end_with_it(
    keys: Keys, forge: Forge, signed: Any, parents: list[str], policy: Any, is_let_in: bool
) -> None:
    kid, is_own = signed
    known = KeySet((replace(keys[kid], is_own=is_own), replace(keys["k1"], kid="k2")))
    claims = {"root": "plant", "get": [""], "exp": NOW + 60, "iat": NOW - 9, "parent_kid": parents}
    token = forge(keys[kid], claims)
    spent = replace(
        Grant(Path("plant"), (), (Path(""),), tenant="plant", exchanged=NOW),
        kid=kid,
        parent_kids=tuple(parents),
    )
    settings = AuthSettings(on_key_removed=policy)
    for query, told in ((f"jwt={token}", Facts()), (f"ticket={TICKET}", Facts(ticket=spent))):
        request = Request(target=f"/plant?{query}")
        decision = decide(request, known, settings, NOW, told)
        assert (decision.reason.code == "allowed") is is_let_in
        silent = decide(request, known, settings, NOW, replace(told, silence="nobody answers"))
        assert is_let_in or silent.status == 503


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        (Facts(), None),
        (Facts(unavailable="the store is silent"), "unavailable"),
        (Facts(Revocations([Revocation("sub", "alice")]).check), "revoked"),
        (Facts(Revocations([Revocation("tenant", "acme")]).check), "revoked"),
        (Facts(Revocations([Revocation("jti", FINGERPRINT)]).check), None),
        (
            Facts(
                Revocations([Revocation("jti", FINGERPRINT)]).check,
                certificate=Certificate(FINGERPRINT, NOW + 50),
            ),
            "revoked",
        ),
    ],
)
def test_whom_another_server_lets_in_is_struck_by_what_is_known_here(
    facts: Facts, code: str | None
) -> None:
    let_in = Grant(Path("plant"), (), (Path(""),), subject="alice", tenant="acme")
    if code is None:
        require_unrevoked(let_in, facts, NOW)
        return
    with pytest.raises(Refusal) as caught:
        require_unrevoked(let_in, facts, NOW)
    assert caught.value.reason.code == code


@pytest.mark.parametrize(
    ("exp", "not_after", "ends"),
    [(NOW + 40, NOW + 50, NOW + 40), (NOW + 600, NOW + 50, NOW + 50), (None, NOW + 50, NOW + 50)],
)
def test_what_ends_first_ends_the_grant_of_a_token_beside_a_certificate(
    keys: Keys, forge: Forge, exp: int | None, not_after: int, ends: int
) -> None:
    claims = {"root": "plant", "get": [""]} | ({} if exp is None else {"exp": exp})
    told = Facts(certificate=Certificate(FINGERPRINT, not_after))
    request = Request(f"/plant?jwt={forge(keys['k1'], claims)}")
    grant = decide(request, KeySet((keys["k1"],)), AuthSettings(), NOW, told).grant
    assert grant is not None
    assert grant.expires == ends


def test_without_any_key_a_token_is_refused_and_maybe_for_want_of_an_answer(
    keys: Keys, forge: Forge
) -> None:
    request = Request(f"/plant?jwt={forge(keys['k1'], {'root': 'plant', 'exp': NOW + 60})}")
    silent = Facts(silence="https://id.example.com does not answer")
    found = [decide(request, KeySet(), AuthSettings(), NOW, facts) for facts in (Facts(), silent)]
    assert [(each.reason.code, each.status) for each in found] == [
        ("no_keys", 401),
        ("unavailable", 503),
    ]


def test_why_the_public_was_let_in_is_what_it_may_do() -> None:
    settings = AuthSettings.model_validate({"public": {"subscribe": ["plant"]}})
    decision = decide(Request("/plant"), KeySet(), settings, NOW)
    assert decision.steps[-1].name == "public"
    assert decision.reason.text == "may publish nothing, subscribe everything"


def test_a_revocation_that_was_looked_for_is_a_step(keys: Keys, forge: Forge) -> None:
    row = next(row for row in TABLE["rows"] if row["id"] == "R6")
    assert "revocation" in [step.name for step in decided(row, keys, forge).steps]


@pytest.mark.parametrize(
    ("entry", "text", "hint"),
    [
        (
            Revocation("sub", "alice", reason="left us", id=7),
            "revoked by 'sub alice' (revocation 7): 'left us'",
            "make a new credential, or relay admin revocations withdraw 7",
        ),
        (Revocation("sub", "alice"), "revoked by 'sub alice'", "or withdraw it"),
    ],
)
def test_why_somebody_was_revoked_is_told_and_what_mends_it(
    keys: Keys, forge: Forge, entry: Revocation, text: str, hint: str
) -> None:
    token = forge(keys["k1"], {"get": "", "exp": NOW + 60, "sub": "alice"})
    facts = Facts(revoked=Revocations([entry]).check)
    reason = decide(
        Request("/a", bearer=token), KeySet((keys["k1"],)), AuthSettings(), NOW, facts
    ).reason
    assert reason.text == text
    assert reason.hint.endswith(hint)


def test_a_key_is_derived_once_however_many_there_are() -> None:
    asked: list[Derivation] = []

    def counted(work: Derivation) -> bytes:
        asked.append(work)
        return derive(work)

    moose = {f"m{n}": RIGHTS | {"hash": str(make_moose_key().hash)} for n in range(20)}
    modern = {"api": RIGHTS | {"hash": str(API.hash)}}
    settings = AuthSettings.model_validate({"api_keys": moose | modern})
    for bearer, rounds in ((API.bearer, MIN_ITERATIONS), (MOOSE.bearer, 1000)):
        asked.clear()
        decision = decide(
            Request("/plant", bearer=bearer), KeySet(), settings, NOW, Facts(derive=counted)
        )
        assert bool(decision) is (bearer == API.bearer)
        assert [work.iterations for work in asked] == [rounds]


def test_a_stranger_without_a_salt_costs_nothing() -> None:
    settings = AuthSettings.model_validate({"api_keys": {"a": RIGHTS | {"hash": str(API.hash)}}})

    def never(work: Derivation) -> bytes:
        raise AssertionError

    for bearer in ("a.b", "x.y", f"{API.bearer[:-1]}", ".", "a.", ".b"):
        decision = decide(
            Request("/plant", bearer=bearer), KeySet(), settings, NOW, Facts(derive=never)
        )
        assert decision.reason.code == "bad_api_key"


@given(text=st.text("mq_.aA0\ud800é", max_size=70) | st.text(max_size=70))
@settings(max_examples=150, deadline=None)
def test_any_credential_gets_an_answer(text: str) -> None:
    row: dict[str, Any] = {}
    for request in (
        Request("/plant", bearer=text or None),
        Request("/plant", query=f"ticket={text}"),
    ):
        needs(request, auth(row))
        decision = decide(request, KeySet(), auth(row), NOW, Facts(stored=stored(row)))
        assert not decision
        assert decision.status in (400, 401, 414)
