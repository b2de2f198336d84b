"""Material signs with its one algorithm and shows nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.auth.keys import Key
from relay.auth.material import ALGORITHMS, infer_algorithm, read, traits_of

Keys = dict[str, Key]


@pytest.mark.parametrize("name", ["k1", "r1", "e1", "d1"])
def test_members_read_back(name: str, keys: Keys) -> None:
    material = keys[name].material
    again = read(material.members(), material.algorithm)
    assert again.members() == material.members()
    assert material.verify(b"data", again.sign(b"data"))
    assert repr(material) == f"Material({material.algorithm})"


@pytest.mark.parametrize("name", ["r1", "e1", "d1"])
def test_public_half_holds_no_private_member(name: str, keys: Keys) -> None:
    half = keys[name].material.public()
    assert half.signing is None
    assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & set(half.members())


@given(data=st.binary(max_size=20), signature=st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_no_signature_by_chance(data: bytes, signature: bytes, keys: Keys) -> None:
    for name in ("k1", "r1", "e1", "d1"):
        assert not keys[name].material.verify(data, signature)


def test_each_algorithm_is_its_own(keys: Keys) -> None:
    rsa = keys["r1"].material.members()
    signature = read(rsa, "RS256").sign(b"x")
    for algorithm in ("RS384", "RS512", "PS256"):
        assert not read(rsa, algorithm).verify(b"x", signature)


@pytest.mark.parametrize(
    ("jwk", "algorithm"),
    [
        ({"kty": "EC", "crv": "P-256"}, "ES256"),
        ({"kty": "EC", "crv": "P-384"}, "ES384"),
        ({"kty": "OKP", "crv": "Ed25519"}, "EdDSA"),
        ({"kty": "RSA"}, "RS256"),
        ({"kty": "oct"}, None),
        ({"kty": "EC", "crv": "P-521"}, None),
        ({"kty": "EC"}, None),
        ({}, None),
    ],
)
def test_inference(jwk: dict[str, str], algorithm: str | None) -> None:
    if algorithm is not None:
        assert infer_algorithm(jwk) == algorithm
        return
    with pytest.raises(ValueError, match="alg is missing"):
        infer_algorithm(jwk)


@pytest.mark.parametrize("name", ["none", "ES512", "hs256", "", None, 5, []])
def test_unknown_algorithms(name: object) -> None:
    assert name not in list(ALGORITHMS)
    with pytest.raises(ValueError, match="alg is none of"):
        traits_of(name)
