"""Keys read from everything that holds keys, and refused with a reason that shows no secret."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.auth.compact import to_base64url
from relay.auth.keys import MAX_KEYS, Key, KeySet, generate, is_kid
from relay.auth.material import ALGORITHMS, PRIVATE
from relay.auth.scope import Scope
from relay.errors import ConfigError
from relay.path import Path

Keys = dict[str, Key]
SECRET = to_base64url(b"\xfe" * 32)
OCT = {"kty": "oct", "alg": "HS256", "k": SECRET, "kid": "k1"}


def loaded(jwk: Any) -> KeySet:
    return KeySet.load(json.dumps(jwk).encode(), "test.jwk")


def refused(jwk: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(jwk)
    text = str(caught.value)
    assert text.startswith("test.jwk: ")
    assert SECRET[:20] not in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_round_trip(algorithm: str) -> None:
    made = generate(algorithm)
    assert is_kid(made.kid)
    for data in (made.dump(), made.dump(base64=True), b"\n " + made.dump(True) + b"\n"):
        keys = KeySet.load(data, "x")
        assert keys.single
        assert len(keys) == 1
        key = keys.keys[0]
        assert (key.kid, key.algorithm, key.can_sign, key.can_verify) == (
            made.kid,
            algorithm,
            True,
            True,
        )
        assert made.verify_signature(b"data", key.sign(b"data"))
        assert not made.verify_signature(b"other", key.sign(b"data"))


@pytest.mark.parametrize("name", ["r1", "e1", "d1"])
def test_public_half(name: str, keys: Keys) -> None:
    half = loaded(keys[name].public().to_jwk()).keys[0]
    assert half.verify_signature(b"x", keys[name].sign(b"x"))
    assert half.kid == name
    assert not half.can_sign
    assert set(half.to_jwk()) <= {"alg", "key_ops", "kid", "kty", "n", "e", "crv", "x", "y"}
    assert half.operations == ("verify",)
    with pytest.raises(ConfigError, match="cannot sign"):
        half.sign(b"x")
    assert half.public().to_jwk() == half.to_jwk()


def test_public_half_of_a_secret(keys: Keys) -> None:
    with pytest.raises(ConfigError, match="no public half"):
        keys["k1"].public()


def test_scope_travels() -> None:
    scope = Scope(Path("a"), (Path("b"),), ())
    made = generate("ES256", "x", scope)
    assert loaded(made.to_jwk()).keys[0].scope == scope
    assert made.public().scope == scope


def test_no_secret_is_shown(keys: Keys) -> None:
    for key in keys.values():
        secret = key.to_jwk().get("k") or key.to_jwk()["d"]
        shown = repr(key) + repr(KeySet((key,))) + repr(key.material) + str(key)
        assert secret not in shown
        if key.material.shared:
            assert repr(key.material.signing) not in shown


def test_old_secret_without_kty() -> None:
    key = loaded({"alg": "HS256", "k": SECRET}).keys[0]
    assert (key.kid, key.operations) == (None, ("sign", "verify"))


def test_ignored_members() -> None:
    extra = {"use": "enc", "x5c": [], "x5t": 5, "x5u": {}, "guest": [""], "guest_pub": "", "y": 1}
    assert loaded(OCT | extra).keys[0].kid == "k1"


def test_padding_is_tolerated() -> None:
    assert loaded(OCT | {"k": SECRET + "="}).keys[0].to_jwk()["k"] == SECRET


@pytest.mark.parametrize(
    ("ops", "sign", "verify"),
    [
        (["sign"], True, False),
        (["verify"], False, True),
        ([], False, False),
        (["verify", "encrypt", "verify"], False, True),
        (None, True, True),
    ],
)
def test_key_ops(ops: list[str] | None, sign: bool, verify: bool) -> None:
    key = loaded(OCT | {"key_ops": ops}).keys[0]
    assert (key.can_sign, key.can_verify) == (sign, verify)
    assert key.verify_signature(b"x", key.material.sign(b"x")) is verify
    if not sign:
        with pytest.raises(ConfigError, match="cannot sign"):
            key.sign(b"x")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alg": None}, "alg is none of"),
        ({"alg": "none"}, "alg is none of"),
        ({"alg": "EDDSA"}, "alg is none of"),
        ({"alg": ["HS256"]}, "alg is none of"),
        ({"alg": "RS256"}, "needs a key of kty RSA"),
        ({"kty": "AKP"}, "kty is none of"),
        ({"kty": ["oct"]}, "kty is none of"),
        ({"kty": None}, "kty is none of"),
        ({"k": to_base64url(b"x" * 31)}, "31 bytes"),
        ({"k": ""}, "empty"),
        ({"k": 5}, "not a string"),
        ({"k": "****" + SECRET}, "not base64url"),
        ({"k": SECRET + "\n"}, "not base64url"),
        ({"kid": ""}, "kid"),
        ({"kid": "../k1"}, "kid"),
        ({"kid": "k" * 129}, "kid"),
        ({"kid": 5}, "kid"),
        ({"key_ops": "sign"}, "key_ops"),
        ({"key_ops": [1]}, "key_ops"),
        ({"scope": {}}, "scope allows nothing"),
        ({"scope": {"put": []}}, "scope allows nothing"),
        ({"scope": {"put": "live"}}, "scope.put"),
        ({"scope": {"put": [5]}}, "scope.put"),
        ({"scope": {"put": ["x"], "root": 5}}, "scope.root"),
        ({"scope": {"put": ["a/" * 40]}}, "scope holds"),
        ({"scope": ["x"]}, "scope is not"),
    ],
    ids=str,
)
def test_bad_secret(change: dict[str, Any], words: str) -> None:
    assert words in refused(OCT | change)


def test_missing_members(keys: Keys) -> None:
    assert "alg is missing" in refused({"kty": "oct", "k": SECRET})
    assert "kty is none of" in refused({"alg": "HS256"})
    for name, member in (("k1", "k"), ("r1", "n"), ("r1", "e"), ("e1", "y"), ("d1", "x")):
        jwk = keys[name].to_jwk()
        del jwk[member]
        assert f"member {member} is missing" in refused(jwk)


def test_curves_and_halves_must_fit(keys: Keys) -> None:
    e1, d1, r1 = (keys[name].to_jwk() for name in ("e1", "d1", "r1"))
    other = generate("ES256").to_jwk()
    assert "crv" in refused(e1 | {"alg": "ES384"})
    assert "crv" in refused(e1 | {"crv": "secp256k1"})
    assert "crv" in refused(d1 | {"crv": "Ed448"})
    assert "crv" in refused(d1 | {"crv": "X25519"})
    assert "31 bytes" in refused(e1 | {"x": to_base64url(b"x" * 31)})
    assert "make no EC key" in refused(e1 | {"x": to_base64url(b"x" * 32)})
    assert "EC" in refused(e1 | {"d": other["d"]})
    assert "OKP" in refused(d1 | {"d": generate("EdDSA").to_jwk()["d"]})
    assert "make no RSA key" in refused(r1 | {"d": r1["n"]})
    assert "two primes" in refused(r1 | {"oth": []})
    assert "make no RSA key" in refused({k: v for k, v in r1.items() if k != "q"})
    for size in (128, 2000):
        assert "bits" in refused(r1 | {"n": to_base64url(b"x" * size)})


def test_vector_21_set_with_strangers(keys: Keys) -> None:
    x = to_base64url(x25519.X25519PrivateKey.generate().public_key().public_bytes_raw())
    rsa_public = keys["r1"].public().to_jwk()
    listed = [
        keys["k1"].to_jwk(),
        rsa_public | {"use": "enc", "kid": "enc"},
        {"kty": "oct", "k": keys["k1"].to_jwk()["k"], "kid": "vague"},
        keys["e1"].to_jwk() | {"alg": "ES512", "kid": "es512"},
        {"kty": "OKP", "crv": "X25519", "x": x, "kid": "x25519"},
        keys["d1"].to_jwk() | {"crv": "Ed448", "kid": "ed448"},
        keys["e1"].to_jwk() | {"kid": "k1"},
        "no object",
        {name: value for name, value in keys["d1"].to_jwk().items() if name != "kid"},
    ]
    found = loaded({"keys": listed})
    assert [key.kid for key in found.keys] == ["k1"]
    assert found.keys[0].algorithm == "HS256"
    assert not found.single
    assert len(found.skipped) == 8
    for number, line in enumerate(sorted(found.skipped), start=2):
        assert line.startswith(f"test.jwk: key {number}")
    assert "several would fit" in " ".join(found.skipped)
    assert "(es512)" in " ".join(found.skipped)


def test_alg_is_inferred_in_sets_alone(keys: Keys) -> None:
    for name, algorithm in (("e1", "ES256"), ("d1", "EdDSA"), ("r1", "RS256")):
        jwk = keys[name].public().to_jwk()
        del jwk["alg"]
        assert loaded({"keys": [jwk]}).keys[0].algorithm == algorithm
        assert "alg is missing" in refused(jwk)
    jwk = generate("ES384").public().to_jwk()
    del jwk["alg"]
    assert loaded({"keys": [jwk]}).keys[0].algorithm == "ES384"


def test_set_with_one_nameless_key(keys: Keys) -> None:
    nameless = keys["nameless"].to_jwk()
    found = loaded({"keys": [nameless, {"kty": "x"}]})
    assert [key.kid for key in found.keys] == [None]
    found = loaded({"keys": [nameless, keys["k1"].to_jwk()]})
    assert [key.kid for key in found.keys] == ["k1"]
    assert "no kid" in found.skipped[0]


def test_set_without_a_key() -> None:
    assert "the set is empty" in refused({"keys": []})
    assert "key 1" in refused({"keys": [{}]})
    assert "not a list" in refused({"keys": {}})
    assert "at most" in refused({"keys": [OCT] * (MAX_KEYS + 1)})


def test_find_and_stand_apart(keys: Keys) -> None:
    one, two = KeySet((keys["k1"],)), KeySet((keys["r1"],))
    assert two.find("r1") is keys["r1"]
    assert two.find("k9") is None
    KeySet.require_apart()
    KeySet.require_apart(one, KeySet(), two)
    KeySet.require_apart(KeySet(), KeySet((keys["nameless"],)))
    with pytest.raises(ConfigError, match="two keys have the kid k1: each"):
        KeySet.require_apart(one, two, one)
    with pytest.raises(ConfigError, match="the kid k1, in a and c: each"):
        KeySet.require_apart(one, two, one, sources=["a", "b", "c"])
    with pytest.raises(ConfigError, match="no kid"):
        KeySet.require_apart(one, KeySet((keys["nameless"],)))


def pem(key: Any) -> bytes:
    data: bytes = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return data


def test_pem(keys: Keys) -> None:
    for name in ("r1", "e1", "d1"):
        written = b"\n" + pem(keys[name].material.verifying)
        for data in (written, written.replace(b"\n", rb"\n").removeprefix(rb"\n")):
            key = KeySet.load(data, "x.pem").keys[0]
            assert (key.algorithm, key.can_sign, key.kid) == (keys[name].algorithm, False, None)
            assert key.verify_signature(b"x", keys[name].sign(b"x"))


def test_a_byte_order_mark_in_front_is_no_part_of_a_key_file(keys: Keys) -> None:
    public = keys["e1"].public()
    listed = b'{"keys": [' + public.dump() + b"]}"
    for data in (public.dump(), public.dump(base64=True), listed, pem(public.material.verifying)):
        (key,) = KeySet.load(b"\xef\xbb\xbf" + data, "x").keys
        assert key.verify_signature(b"x", keys["e1"].sign(b"x"))


def test_bad_pem() -> None:
    private = ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    small = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    for data, words in (
        (private, "private key in PEM"),
        (pem(ec.generate_private_key(ec.SECP521R1()).public_key()), "signs no tokens"),
        (pem(x25519.X25519PrivateKey.generate().public_key()), "signs no tokens"),
        (pem(small), "1024 bits"),
        (pem(ed25519.Ed25519PrivateKey.generate().public_key()) * 2, "several keys in one PEM"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "not a PEM"),
    ):
        with pytest.raises(ConfigError, match=words):
            KeySet.load(data, "x.pem")


@pytest.mark.parametrize(
    "data", [b"", b" \n", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"hello", b"e30", b"e30=="]
)
def test_no_key_at_all(data: bytes) -> None:
    with pytest.raises(ConfigError, match="x: no usable key"):
        KeySet.load(data, "x")


@pytest.mark.parametrize("data", [b"[]", b"null", b"junk", b"hello", b'"e30"'])
def test_what_is_no_object_is_called_so(data: bytes) -> None:
    with pytest.raises(ConfigError, match="neither a JSON object, nor base64url of one, nor PEM"):
        KeySet.load(data, "x")


def test_too_large() -> None:
    with pytest.raises(ConfigError, match="bytes"):
        KeySet.load(b"{" * (1024 * 1024 + 1), "x")


def test_generate_refuses() -> None:
    for kid in ("", "a b", "../x", "k" * 129):
        with pytest.raises(ConfigError, match="key id"):
            generate("HS256", kid)
    with pytest.raises(ConfigError, match="alg is none of"):
        generate("HS1")


@pytest.mark.parametrize(("algorithm", "size"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_fresh_secrets(algorithm: str, size: int) -> None:
    one, two = generate(algorithm), generate(algorithm)
    assert len(one.material.signing) == size
    assert one.material.signing != two.material.signing
    assert one.kid != two.kid


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
members = st.sampled_from(
    ["kty", "alg", "kid", "key_ops", "scope", "k", "crv", "x", "y", "d", "n", "e", "p", "use"]
)


@given(
    jwk=st.dictionaries(
        members,
        json_values | st.sampled_from(["EC", "oct", "OKP", "RSA", "HS256", "ES256", "P-256"]),
    ),
    base=st.sampled_from(["k1", "e1", "d1", "r1"]),
    in_set=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_any_members(jwk: dict[str, Any], base: str, in_set: bool, keys: Keys) -> None:
    changed = keys[base].public().to_jwk() if base != "k1" else keys[base].to_jwk()
    changed |= jwk
    document = {"keys": [changed]} if in_set else changed
    try:
        found = KeySet.load(json.dumps(document).encode(), "x")
    except ConfigError as error:
        said = str(error)
    else:
        said = f"x: {found.keys[0].algorithm}"
    assert said.startswith("x: ")


@given(st.binary(max_size=80))
@settings(max_examples=100, deadline=None)
def test_any_bytes(data: bytes) -> None:
    with pytest.raises(ConfigError):
        KeySet.load(data, "x")


# -- sets that others publish ----------------------------------------------------------------------


def published(*listed: Any) -> KeySet:
    return KeySet.load_published(json.dumps({"keys": listed}).encode(), "there")


def test_a_published_set(keys: Keys) -> None:
    names = ["a+b/c=", "urn:x:1", "k" * 256]
    jwk = keys["e1"].public().to_jwk()
    found = published(*(jwk | {"kid": name} for name in names))
    assert [key.kid for key in found.keys] == names
    assert found.foreign_names
    assert not found.single
    assert not found.skipped
    assert found.find("urn:x:1") is found.keys[1]
    assert "kid is not" in refused(jwk | {"kid": "urn:x:1"})


@pytest.mark.parametrize("name", ["r1", "e1", "d1"])
def test_null_is_absent(name: str, keys: Keys) -> None:
    jwk = keys[name].public().to_jwk()
    every = dict.fromkeys(("k", "n", "e", "d", "p", "q", "dp", "dq", "qi", "oth", "crv", "x", "y"))
    found = published(every | {"x5c": None, "use": None} | jwk | {"key_ops": None, "alg": None})
    assert [key.algorithm for key in found.keys] == [jwk["alg"]]
    assert not found.skipped
    assert loaded(every | jwk).keys[0].to_jwk() == jwk
    assert "missing" in refused(jwk | {"e": None, "x": None})


@pytest.mark.parametrize("kid", ["", "a b", "k" * 257, "a\n", "\u00e4", 5, None])
def test_a_published_key_of_no_name(kid: Any, keys: Keys) -> None:
    jwk = keys["e1"].public().to_jwk() | {"kid": kid}
    found = published(jwk, keys["d1"].public().to_jwk())
    assert [key.kid for key in found.keys] == ["d1"]
    assert len(found.skipped) == 1


def test_what_should_not_be_published(keys: Keys) -> None:
    secret = keys["k1"].to_jwk()
    kty = {name: value for name, value in secret.items() if name != "kty"}
    found = published(keys["e1"].to_jwk(), secret, kty, keys["r1"].to_jwk())
    assert [(key.kid, key.can_sign, key.can_verify) for key in found.keys] == [
        ("e1", False, True),
        ("r1", False, True),
    ]
    assert [line.split(" (")[-1] for line in found.skipped] == [
        "k1) is not used: it is a shared secret, and everybody can read it there",
        "k1) is not used: it is a shared secret, and everybody can read it there",
        "e1) came with its private half, dropped",
        "r1) came with its private half, dropped",
    ]
    assert secret["k"] not in str(found.skipped)


@pytest.mark.parametrize(("name", "broken"), [("r1", "n"), ("e1", "x"), ("d1", "x")])
def test_a_private_half_that_should_not_come_is_not_looked_at(
    name: str, broken: str, keys: Keys
) -> None:
    jwk = keys[name].to_jwk()
    wrong = {member: jwk[member] for member in jwk if member not in PRIVATE} | {"d": jwk[broken]}
    assert "make no" in refused(wrong) or "another" in refused(wrong)
    data = json.dumps(wrong).encode()
    for found in (
        published(wrong),
        KeySet.load(data, "there", halved=True),
        KeySet.load(json.dumps({"keys": [wrong]}).encode(), "there", halved=True),
        KeySet.load_named(data, name, "there", halved=True),
    ):
        assert [key.can_sign for key in found.keys] == [False]
        assert found.keys[0].public().to_jwk() == keys[name].public().to_jwk()
        assert found.skipped == (f"there: the key ({name}) came with its private half, dropped",)
    secret = KeySet.load(json.dumps(keys["k1"].to_jwk()).encode(), "there", halved=True)
    assert secret.keys[0].to_jwk() == keys["k1"].to_jwk()
    assert not secret.skipped


def test_an_empty_published_set_is_one() -> None:
    assert not published()
    assert len(published({"kty": "x"}).skipped) == 1
    assert KeySet.load_published(b"\xef\xbb\xbf" + b'{"keys":[]}', "there") == published()


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"keys":{}}', b"<html>", b"eyJrZXlzIjpbXX0"])
def test_no_published_set(data: bytes) -> None:
    with pytest.raises(ConfigError, match="there: no JWK set"):
        KeySet.load_published(data, "there")


@given(st.lists(st.dictionaries(members, json_values, max_size=4), max_size=4))
@settings(max_examples=100, deadline=None)
def test_any_published_set(listed: list[dict[str, Any]]) -> None:
    said, found = "", KeySet()
    try:
        found = published(*listed)
    except ConfigError as error:
        said = str(error)
    assert "JSON" in said or len(found) + len(found.skipped) >= len(listed)
    assert not any(key.can_sign for key in found.keys)


def test_filed_under_a_name(keys: Keys) -> None:
    assert KeySet.load_named(keys["e1"].dump(), "e1", "x").keys[0].kid == "e1"
    data = pem(keys["e1"].material.verifying)
    named = KeySet.load_named(data, "other", "x")
    assert (named.keys[0].kid, named.single) == ("other", False)
    with pytest.raises(ConfigError, match="its kid is e1"):
        KeySet.load_named(keys["e1"].dump(), "E1", "x")
    both = json.dumps({"keys": [keys["e1"].to_jwk(), keys["d1"].to_jwk()]}).encode()
    with pytest.raises(ConfigError, match="2 keys instead of one"):
        KeySet.load_named(both, "e1", "x")


def test_gathering(keys: Keys) -> None:
    one, two = KeySet((keys["k1"],), ("a",), single=True), KeySet((keys["r1"],), ("b",))
    other = KeySet((replace(keys["e1"], kid="k1"), keys["d1"]))
    both = KeySet.gather(one, two, other)
    assert [key.kid for key in both.keys] == ["k1", "r1", "d1"]
    assert both.find("k1") is keys["k1"]
    assert both.skipped == ("a", "b", "a second key named k1 is not used")
    assert both.unused == {}
    named = KeySet.gather(one, two, other, sources=["a.jwk", "b.jwk", "https://c/"])
    line = "a second key named k1 is not used: that of a.jwk is, that of https://c/ is not"
    assert named.skipped == ("a", "b", line)
    assert named.unused == KeySet.gather(named, two).unused == {"k1": line}
    assert not both.single
    assert KeySet.gather(one).single
    assert not KeySet.gather(one, KeySet()).single
    assert not KeySet.gather()
    nameless = KeySet((keys["nameless"],), single=True)
    assert len(KeySet.gather(nameless, KeySet())) == 1
    assert [key.kid for key in KeySet.gather(nameless, two).keys] == ["r1"]
    assert KeySet.gather(two, KeySet(open_ended=True)).open_ended
    assert KeySet.gather(two, KeySet(foreign_names=True)).foreign_names
    assert KeySet(open_ended=True)
    assert len(KeySet(open_ended=True)) == 0


def test_expecting(keys: Keys) -> None:
    bound = KeySet((keys["e1"],), single=True).expecting("me", "you")
    assert (bound.keys[0].issuer, bound.keys[0].audience, bound.single) == ("me", "you", True)
    assert bound.keys[0].public().issuer == "me"
