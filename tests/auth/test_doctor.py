"""Second opinions: every judge over every row of the table, and what holds for any text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from doctored import FILES, JWK, TABLE, key_file_of, token_of
from relay.auth.doctor import JUDGES, Bench, Case, Diagnosis, diagnose
from relay.auth.pattern import pattern_fault, reaches
from relay.auth.specimen import lay_open
from relay.errors import ConfigError

NOW = 1_800_000_000.0


def judged(row: dict[str, Any], keyed: bool = True) -> Diagnosis:
    token = token_of(row, NOW)
    bench = Bench.load(key_file_of(row), "k.jwk") if keyed else None
    return diagnose(Case(lay_open(token), bench, NOW, row.get("path")), token)


@pytest.mark.parametrize("row", TABLE["rows"], ids=lambda row: row["name"])
def test_table(row: dict[str, Any]) -> None:
    found = judged(row)
    assert [opinion.name for opinion in found.opinions] == TABLE["judges"]
    for opinion, verdict in zip(found.opinions, row["verdicts"], strict=True):
        if verdict != "-":
            assert opinion.accepts is (verdict == "A"), opinion
        assert bool(opinion.why) is not opinion.accepts
        assert JWK["k"] not in opinion.why


def test_the_table_shows_where_they_differ() -> None:
    """Each judge is met accepting and refusing, and no two agree on everything."""
    columns = list(zip(*(row["verdicts"] for row in TABLE["rows"]), strict=True))
    assert all({"A", "R"} <= set(column) for column in columns)
    assert len(set(columns)) == len(columns)


def test_every_rule_of_every_judge_is_met() -> None:
    for judge in JUDGES:
        silent = {rule.__name__ for rule in judge.rules}
        for row in TABLE["rows"]:
            token = token_of(row, NOW)
            bench = Bench.load(key_file_of(row), "k.jwk")
            case = Case(lay_open(token), bench, NOW, row.get("path"))
            silent -= {rule.__name__ for rule in judge.rules if rule(case)}
        assert silent <= {"readable_header", "rust_header"}, judge.name


def test_without_a_key_the_signature_is_taken_for_good() -> None:
    for name in ("a plain token", "signed by another key"):
        row = next(row for row in TABLE["rows"] if row["name"] == name)
        found = judged(row, keyed=False)
        assert found.signature == "unchecked"
        assert all(opinion.accepts for opinion in found.opinions)
    signed = judged(next(row for row in TABLE["rows"] if row["name"] == "signed by another key"))
    assert signed.signature == "bad"


def remarks_of(name: str, judge: str) -> str:
    found = judged(next(row for row in TABLE["rows"] if row["name"] == name))
    opinion = next(opinion for opinion in found.opinions if opinion.name == judge)
    assert opinion.accepts
    return "; ".join(opinion.remarks)


@pytest.mark.parametrize(
    ("name", "judge", "said"),
    [
        ("nbf in the future", "moq-token", "nbf is not looked at"),
        ("unknown critical extension", "moq-auth", "crit is not looked at"),
        ("aud", "@moq/token", "aud is not looked at"),
        ("a blank at the end", "@moq/token", "a blank inside the token is taken"),
        ("a member twice", "@moq/token", "of put given twice the last is taken"),
        ("empty put and get", "@moq/token", "allows nothing"),
        ("beyond the key's scope", "guide", "scope is not looked at"),
        ("below the root where nothing is allowed", "guide", "allows nothing there"),
        ("exp in milliseconds", "moq-auth", "milliseconds"),
        ("exp in milliseconds", "relay", "milliseconds"),
        ("no exp", "moq-token", "never expires"),
        ("cluster", "moq-token", "cluster is ignored"),
        ("put with a star", "guide", "literally"),
        ("put beside publish", "moq-token", "on the wire it is put"),
    ],
)
def test_what_is_overlooked_is_said(name: str, judge: str, said: str) -> None:
    assert said in remarks_of(name, judge)


def test_a_plain_token_has_no_remarks() -> None:
    found = judged(TABLE["rows"][0])
    assert found.signature == "good"
    assert not any(opinion.remarks for opinion in found.opinions)


def test_a_key_that_only_others_read() -> None:
    bench = Bench.load(json.dumps(FILES["short"]).encode(), "short.jwk")
    assert bench.keys is None
    assert "16 bytes" in bench.trouble
    with pytest.raises(ConfigError, match=r"x\.jwk: no usable key"):
        Bench.load(b"nothing", "x.jwk")


@pytest.mark.parametrize("put", [None, 5, True, {}])
def test_a_scope_that_lists_nothing_covers_nothing(put: object) -> None:
    bench = Bench.load(json.dumps(JWK | {"scope": {"put": put}}).encode(), "k.jwk")
    token = token_of({"claims": {"root": "demo", "put": "a"}}, NOW)
    found = diagnose(Case(lay_open(token), bench, NOW), token)
    accepts = {opinion.name for opinion in found.opinions if opinion.accepts}
    assert accepts == {"guide", "@moq/token"}  # neither looks at the scope


def test_a_key_in_pem() -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (jwk,) = Bench.load(pem, "k.pem").jwks
    assert (jwk["kty"], jwk["alg"]) == ("EC", "ES256")
    assert "d" not in jwk


@pytest.mark.parametrize(
    ("pattern", "path", "reached"),
    [
        ("a/**", "a", True),
        ("a/**", "a/b/c", True),
        ("a/**", "b", False),
        ("**", "x/y", True),
        ("**/cam", "x", True),
        ("*/b", "a/b", True),
        ("*/b", "a/c", False),
        ("a", "a", True),
        ("a", "a/b", False),
        ("a", "", True),
        ("pre*fix", "pre-fix", True),
        ("pre*fix", "prefi", False),
    ],
)
def test_patterns(pattern: str, path: str, reached: bool) -> None:
    assert pattern_fault(pattern) is None
    assert reaches(pattern.split("/"), path.split("/") if path else []) is reached


@pytest.mark.parametrize("text", ["/a", "a/", "a//b", "**/**", "a*b*c", "a**", "/".join("x" * 33)])
def test_no_patterns(text: str) -> None:
    assert pattern_fault(text)


TEXTS = st.text(alphabet="ab.=*- \u00e9", max_size=30)
JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.sampled_from([10**400, 2**63, -1, "", "a/b", "*"])
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
NAMES = ["root", "put", "get", "publish", "exp", "nbf", "iat", "aud", "cluster", "sub", "x"]
HEADERS = ["alg", "kid", "typ", "crit", "b64"]


@examples(max_examples=150, deadline=None)
@given(
    header=st.dictionaries(st.sampled_from(HEADERS), JSONS),
    claims=st.dictionaries(st.sampled_from(NAMES), JSONS),
    path=st.none() | TEXTS,
    keyed=st.booleans(),
)
def test_no_judge_is_ever_at_a_loss(
    header: dict[str, Any], claims: dict[str, Any], path: str | None, keyed: bool
) -> None:
    row = {"header": {"alg": "HS256"} | header, "claims": claims}
    token = token_of(row, NOW)
    bench = Bench.load(json.dumps(JWK).encode(), "k.jwk") if keyed else None
    found = diagnose(Case(lay_open(token), bench, NOW, path), token)
    for opinion in found.opinions:
        assert bool(opinion.why) is not opinion.accepts


@examples(max_examples=100, deadline=None)
@given(text=st.text(max_size=60) | TEXTS)
def test_any_text_is_refused_by_all(text: str) -> None:
    found = diagnose(Case(lay_open(text), None, NOW), text)
    assert not any(opinion.accepts for opinion in found.opinions)
