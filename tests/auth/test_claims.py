"""Payloads read strictly: the documented refusal or claims, never anything else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.auth.claims import MAX_NAME, MAX_PREFIXES, MAX_TIME, Claims, decode
from relay.auth.reason import Refusal
from relay.auth.trust import ClaimNames
from relay.path import Path


def read(**claims: Any) -> Claims:
    return decode(json.dumps(claims).encode())


def code_of(payload: bytes) -> str:
    with pytest.raises(Refusal) as caught:
        decode(payload)
    return caught.value.reason.code


def test_all_claims() -> None:
    claims = read(
        root="/a//b/", put="x", get=["y/", ""], exp=5.9, nbf=-0.5, iat=3, sub="s", jti="j",
        iss="i", aud="one", cluster=True, more=[1],
    )  # fmt: skip
    assert claims == Claims(
        Path("a/b"), (Path("x"),), (Path("y"), Path("")), 5, -1, 3, "s", "j", "i", ("one",), True
    )
    assert claims.raw["more"] == [1]


def test_nothing_claimed() -> None:
    assert decode(b"{}") == Claims()
    nulls = dict.fromkeys(("exp", "nbf", "iat", "sub", "jti", "iss", "aud", "cluster"))
    assert read(**nulls) == Claims()


@pytest.mark.parametrize("name", ["root", "put", "get"])
@pytest.mark.parametrize("value", [None, 5, True, {}, [5], [["a"]], [None]])
def test_paths_are_strings(name: str, value: Any) -> None:
    assert code_of(json.dumps({name: value}).encode()) == "bad_claims"


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", ["5", "", True, [], {}, MAX_TIME + 1, -MAX_TIME - 1, 1e300])
def test_times_are_numbers(name: str, value: Any) -> None:
    assert code_of(json.dumps({name: value}).encode()) == "bad_claims"


@pytest.mark.parametrize("name", ["sub", "jti", "iss", "aud"])
@pytest.mark.parametrize("value", [5, True, {}, "x" * (MAX_NAME + 1), [5], [None]])
def test_names_are_strings(name: str, value: Any) -> None:
    assert code_of(json.dumps({name: value}).encode()) == "bad_claims"


def test_ceilings() -> None:
    assert len(read(put=["a"] * MAX_PREFIXES).put) == MAX_PREFIXES
    for name in ("put", "get", "aud"):
        assert code_of(json.dumps({name: ["a"] * (MAX_PREFIXES + 1)}).encode()) == "bad_claims"
    assert code_of(json.dumps({"root": "a" * 5000}).encode()) == "bad_claims"
    assert code_of(b'{"root":"' + b"a/" * 20 + b'","put":"' + b"b/" * 13 + b'"}') == "bad_claims"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"{}{}",
        b"\xef\xbb\xbf{}",
        b"{}\x00",
        b"\xff",
        b'{"a":1,"a":1}',
        b'{"x":{"a":1,"a":2}}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":"\\udfff"}',
        b'{"\\ud800":1}',
        b'{"a":' + b"[" * 17 + b"]" * 17 + b"}",
        b"[" * 100000,
        '{"a":1}'.encode("utf-16"),
    ],
    ids=lambda payload: repr(payload[:20]),
)
def test_malformed(payload: bytes) -> None:
    assert code_of(payload) == "malformed"


def test_brackets_in_strings_do_not_count() -> None:
    assert read(sub="[{" * 50, x='"[' * 30).sub == "[{" * 50


def hint_of(**claims: Any) -> str:
    with pytest.raises(Refusal) as caught:
        read(**claims).require_use()
    assert caught.value.reason.code == "useless"
    return caught.value.reason.hint


def test_useless() -> None:
    assert "at least one prefix" in hint_of(root="demo")
    assert "legacy" in hint_of(pub="", sub="")
    assert "legacy" in hint_of(path="demo", pub="x")
    assert "publish and subscribe hold patterns" in hint_of(publish=["x"], subscribe=["**/cam"])
    assert "ends in /**" in hint_of(publish=["x"], subscribe=[])
    assert "put and get" in hint_of(publish=["x"], put=[])
    read(put="").require_use()
    read(get=["x"], publish=["y"]).require_use()


def test_members_read_back() -> None:
    claims = Claims(
        Path("r"), (Path(""),), (Path("a"), Path("b")), 9, 8, 7, "s", "j", "i", ("x", "y"), True
    )
    assert decode(json.dumps(claims.members()).encode()) == claims
    assert Claims(put=(Path(""),)).members() == {"root": "", "put": [""]}
    assert Claims(aud=("x",)).members()["aud"] == "x"


names = st.sampled_from(
    ["root", "put", "get", "exp", "nbf", "iat", "sub", "jti", "iss", "aud", "cluster", "pub", "x"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def decoded(payload: bytes) -> Claims | str:
    """Claims, or the code of the one documented error."""
    try:
        return decode(payload)
    except Refusal as refusal:
        return refusal.reason.code


@given(st.dictionaries(names, values))
@settings(max_examples=200, deadline=None)
def test_any_claims(claims: dict[str, Any]) -> None:
    found = decoded(json.dumps(claims).encode())
    if isinstance(found, Claims):
        assert decode(json.dumps(found.members()).encode()) == found
        assert found.exp is None or type(found.exp) is int
    else:
        assert found in ("bad_claims", "malformed")


@given(st.binary(max_size=60) | st.text('{}[]":,\\u0d8eE+-.1 NaInfty', max_size=60).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_any_payload(payload: bytes) -> None:
    found = decoded(payload)
    assert isinstance(found, Claims) or found in ("bad_claims", "malformed")


TENANTS = ClaimNames(tenant="moq.tenant")


def test_a_tenant_by_claim() -> None:
    def tenant(**claims: Any) -> str | None:
        return decode(json.dumps(claims).encode(), TENANTS).tenant

    assert tenant(moq={"tenant": "acme"}) == "acme"
    assert tenant(**{"moq.tenant": "acme", "moq": {"tenant": 5}}) == "acme"
    assert tenant(moq={"tenant": "é" * 127}) == "é" * 127
    assert tenant(moq={}) is None
    assert tenant(moq={"tenant": "acme"}, cluster=True) is None
    assert read(tenant="acme", **{"moq.tenant": 5}).tenant is None


@pytest.mark.parametrize(
    "value",
    [None, 5, True, [], ["acme"], {}, "", "a/b", "/", "a\nb", "\0", "a\x7f", "\u2028", "é" * 128],
)
def test_a_tenant_is_a_plain_name(value: Any) -> None:
    with pytest.raises(Refusal, match=r"the claim moq\.tenant is not the name of a tenant") as no:
        decode(json.dumps({"moq": {"tenant": value}}).encode(), TENANTS)
    assert no.value.reason.code == "bad_claims"
    with pytest.raises(Refusal, match="tenant"):
        decode(json.dumps({"moq": {"tenant": value}, "cluster": True}).encode(), TENANTS)


def test_a_root_by_claim_is_not_everything_when_it_is_left_out() -> None:
    names = ClaimNames(root="moq.root", put="may")
    for claims in ({}, {"moq": {}}, {"moq": None, "get": ""}, {"root": "demo"}):
        payload = json.dumps(claims | {"may": "x"}).encode()
        with pytest.raises(Refusal, match=r"the claim moq\.root is missing") as no:
            decode(payload, names)
        assert no.value.reason.code == "bad_claims"
    assert decode(b'{"moq":{"root":""},"may":""}', names).put == (Path(""),)
    assert decode(b'{"moq.root":"demo","may":""}', names).root == "demo"
    assert decode(b'{"put":"x"}', names) == Claims()  # useless, and that is said
    assert decode(b'{"may":""}', ClaimNames(put="may")).put == (Path(""),)
