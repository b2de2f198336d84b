"""Only what a relay would read is signed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from relay.auth.claims import Claims, decode
from relay.auth.compact import split
from relay.auth.keys import Key, KeySet
from relay.auth.mint import sign
from relay.auth.reason import Refusal
from relay.auth.settings import AuthSettings
from relay.auth.trust import ClaimNames
from relay.auth.verify import verify
from relay.path import Path

Keys = dict[str, Key]
CLAIMS = Claims(Path("demo"), put=(Path("a"),), exp=2000)


def code_of(claims: Claims, key: Key) -> str:
    with pytest.raises(Refusal) as caught:
        sign(claims, key)
    return caught.value.reason.code


@pytest.mark.parametrize("name", ["k1", "r1", "e1", "d1", "nameless"])
def test_signed_is_verified(name: str, keys: Keys) -> None:
    token = sign(CLAIMS, keys[name])
    parts = split(token)
    assert parts.header["alg"] == keys[name].algorithm
    assert parts.header["typ"] == "JWT"
    assert parts.header.get("kid") == keys[name].kid
    checked = verify(token, KeySet((keys[name],)), AuthSettings(), 1999.9)
    assert checked.claims == CLAIMS
    assert checked.key is keys[name]


def test_stamp(keys: Keys) -> None:
    assert decode(split(sign(CLAIMS, keys["k1"])).payload).iat is None
    assert decode(split(sign(CLAIMS, keys["k1"], 1000.9)).payload).iat == 1000
    issued = replace(CLAIMS, iat=5)
    assert decode(split(sign(issued, keys["k1"], 1000)).payload).iat == 5


def test_refused(keys: Keys) -> None:
    assert code_of(Claims(Path("demo")), keys["k1"]) == "useless"
    assert code_of(CLAIMS, keys["s1"]) == "scope_exceeded"
    assert code_of(Claims(Path("project/live"), get=(Path(""),)), keys["s1"]) == "scope_exceeded"
    assert code_of(CLAIMS, keys["r1"].public()) == "key_cannot_sign"
    assert code_of(CLAIMS, replace(keys["k1"], operations=("verify",))) == "key_cannot_sign"
    assert code_of(replace(CLAIMS, sub="\udc80"), keys["k1"]) == "bad_claims"
    assert code_of(replace(CLAIMS, exp=2**60), keys["k1"]) == "bad_claims"
    assert code_of(replace(CLAIMS, root=Path("a/" * 32)), keys["k1"]) == "bad_claims"


@pytest.mark.parametrize(
    ("called", "claims"),
    [
        ({"put": "scope", "get": "scope"}, CLAIMS),
        ({"put": "get"}, CLAIMS),
        ({"root": "r", "put": "r"}, replace(CLAIMS, put=(), get=(Path("b"),))),
        ({"root": "sub"}, replace(CLAIMS, sub="cam4")),
        ({"root": "sub"}, CLAIMS),
        ({"get": "jti"}, replace(CLAIMS, jti="a")),
    ],
)
def test_no_claim_takes_the_place_of_another(
    called: dict[str, str], claims: Claims, keys: Keys
) -> None:
    names = ClaimNames(**called)
    assert names.shared() == [name for name in called if called[name] != name]
    with pytest.raises(Refusal, match="read as another one") as caught:
        sign(claims, keys["k1"], names=names)
    assert caught.value.reason.code == "bad_claims"


def test_claims_may_change_places(keys: Keys) -> None:
    names = ClaimNames(root="moq.root", put="get", get="put")
    claims = replace(CLAIMS, get=(Path("b"), Path("c")), sub="cam4")
    assert names.shared() == []
    checked = verify(
        sign(claims, keys["k1"], names=names),
        KeySet((keys["k1"],)),
        AuthSettings(claims=names),
        0,
    )
    assert checked.claims == claims


def test_within_scope(keys: Keys) -> None:
    claims = Claims(Path("project"), put=(Path("live/x"),), get=(Path("watch"),))
    assert verify(sign(claims, keys["s1"]), KeySet((keys["s1"],)), AuthSettings(), 0)
