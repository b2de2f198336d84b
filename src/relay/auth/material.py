"""Key material: the members of a JWK turned into something that signs and verifies, and back.

The law: material works with exactly one algorithm, the one it was made for, and never shows a
secret; this is the only module that uses the JWT library, and of it only the signatures. It must
not know names of keys, scopes, tokens or claims (RFC 7517, 7518, 8037).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import get_default_algorithms
from jwt.exceptions import InvalidKeyError

from relay.auth.compact import from_base64url

MIN_SECRET = 32
"""Bytes of the shortest shared secret that is accepted."""

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
"""Longest RSA modulus; longer ones only make every check slow."""


class Traits(NamedTuple):
    """What an algorithm asks of its key."""

    kty: str
    crv: str | None = None
    coordinate: int = 0
    """Bytes of each coordinate of the curve."""
    secret: int = 0
    """Bytes of a freshly made shared secret."""


ALGORITHMS = {
    "HS256": Traits("oct", secret=32),
    "HS384": Traits("oct", secret=48),
    "HS512": Traits("oct", secret=64),
    "RS256": Traits("RSA"),
    "RS384": Traits("RSA"),
    "RS512": Traits("RSA"),
    "PS256": Traits("RSA"),
    "PS384": Traits("RSA"),
    "PS512": Traits("RSA"),
    "ES256": Traits("EC", "P-256", 32),
    "ES384": Traits("EC", "P-384", 48),
    "EdDSA": Traits("OKP", "Ed25519", 32),
}
"""Every algorithm there is; ``none`` is not among them."""

_RSA = "RS256"
"""The algorithm of an RSA key that does not say."""

_MEMBERS = {
    "oct": ("k",),
    "RSA": ("n", "e", "d", "p", "q", "dp", "dq", "qi"),
    "EC": ("crv", "x", "y", "d"),
    "OKP": ("crv", "x", "d"),
}
PRIVATE = frozenset(["d", "p", "q", "dp", "dq", "qi"])
"""Members of the private half of a pair."""

_REQUIRED = {"oct": ("k",), "RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
_SIGNERS = get_default_algorithms()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Material:
    """One key without its name. A shared secret is both its halves."""

    algorithm: str
    verifying: Any
    signing: Any = None
    """``None`` when only the public half is known."""

    def __repr__(self) -> str:
        return f"Material({self.algorithm})"

    @property
    def shared(self) -> bool:
        """Whether whoever can verify can sign as well (HMAC)."""
        return ALGORITHMS[self.algorithm].kty == "oct"

    def sign(self, data: bytes) -> bytes:
        """The signature of ``data``. The caller has seen to it that ``signing`` is there."""
        signature: bytes = _SIGNERS[self.algorithm].sign(data, self.signing)
        return signature

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is one of ``data`` by this key with this algorithm."""
        return _SIGNERS[self.algorithm].verify(data, self.verifying, signature)

    def public(self) -> Material:
        """The half that may be shown. Raises `ValueError` for a shared secret."""
        if self.shared:
            raise ValueError("a shared secret has no public half")
        return Material(self.algorithm, self.verifying)

    def members(self) -> dict[str, str]:
        """The JWK members of the key: with its secret, if it knows one."""
        signer = _SIGNERS[self.algorithm]
        key = self.verifying if self.signing is None else self.signing
        written = signer.to_jwk(key, as_dict=True)
        kty = ALGORITHMS[self.algorithm].kty
        return {"kty": kty} | {name: written[name] for name in _MEMBERS[kty] if name in written}


def generate(algorithm: str) -> Material:
    """Fresh random material. Raises `ValueError` for an unknown algorithm."""
    traits = traits_of(algorithm)
    if traits.kty == "oct":
        secret = secrets.token_bytes(traits.secret)
        return Material(algorithm, secret, secret)
    return _pair(algorithm, _fresh(traits))


def read(jwk: Mapping[str, Any], algorithm: str) -> Material:
    """The material of a JWK for ``algorithm``. Raises `ValueError`, which never quotes a secret."""
    traits = traits_of(algorithm)
    kty = jwk.get("kty")
    if kty != traits.kty:
        raise ValueError(f"{algorithm} needs a key of kty {traits.kty}")
    members = _members(jwk, traits)
    if traits.kty == "oct":
        secret = from_base64url(members["k"])
        if len(secret) < MIN_SECRET:
            raise ValueError(f"a secret of {len(secret)} bytes (at least {MIN_SECRET})")
        return Material(algorithm, secret, secret)
    try:
        key = _SIGNERS[algorithm].from_jwk(members)
    except (InvalidKeyError, ValueError, TypeError, OverflowError, UnsupportedAlgorithm):
        # The library's own words may quote what it read.
        raise ValueError(f"members that make no {traits.kty} key") from None
    material = _pair(algorithm, key) if "d" in members else Material(algorithm, key)
    if material.public().members().get("x") != members.get("x"):
        raise ValueError(f"a private half of another {traits.kty} key")
    return material


def read_pem(data: bytes) -> Material:
    """A public key in PEM; its line ends may be written ``\\n``, as where a variable has one line.

    RSA keys are taken for RS256: PEM cannot say. Raises `ValueError`.
    """
    if b"PRIVATE KEY" in data:
        raise ValueError("a private key in PEM: give the public half, or a JWK")
    if data.count(b"-----BEGIN") > 1:  # the library reads the first and says nothing of the others
        raise ValueError("several keys in one PEM, which has no names for them: use files of one")
    try:
        key = load_pem_public_key(data.replace(rb"\n", b"\n"))
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("not a PEM public key") from None
    if isinstance(key, rsa.RSAPublicKey):
        _require_rsa_size(key.key_size)
        return Material(_RSA, key)
    if isinstance(key, ed25519.Ed25519PublicKey):
        return Material("EdDSA", key)
    if isinstance(key, ec.EllipticCurvePublicKey):
        for name, curve in (("ES256", ec.SECP256R1), ("ES384", ec.SECP384R1)):
            if isinstance(key.curve, curve):
                return Material(name, key)
    raise ValueError("a PEM public key of a kind or curve that signs no tokens here")


def infer_algorithm(jwk: Mapping[str, Any]) -> str:
    """The one algorithm that fits a key without ``alg``. Raises `ValueError` when several do.

    RSA keys are taken for RS256, as in PEM: some large issuers publish theirs so.
    """
    if jwk.get("kty") == "RSA":
        return _RSA
    fitting = [
        name
        for name, traits in ALGORITHMS.items()
        if traits.kty == jwk.get("kty") and traits.crv in (None, jwk.get("crv"))
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise ValueError("alg is missing and several would fit")
    raise ValueError("alg is missing and none would fit")


def traits_of(algorithm: object) -> Traits:
    """What ``algorithm`` asks of its key. Raises `ValueError` when it is none of `ALGORITHMS`."""
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise ValueError(f"alg is none of {', '.join(ALGORITHMS)}")
    return ALGORITHMS[algorithm]


def _members(jwk: Mapping[str, Any], traits: Traits) -> dict[str, str]:
    """The members that matter, each checked for its letters and its length, padding taken off.
    ``null`` is absent: some write every member they know of."""
    members = {"kty": traits.kty}
    for name in _REQUIRED[traits.kty]:
        if jwk.get(name) is None:
            raise ValueError(f"the member {name} is missing")
    for name in (*_MEMBERS[traits.kty], "oth"):
        if name == "crv":
            if jwk["crv"] != traits.crv:
                raise ValueError(f"crv is not {traits.crv}")
            members["crv"] = jwk["crv"]
        elif jwk.get(name) is not None:
            members[name] = _letters(name, jwk[name], traits)
    if traits.kty == "RSA":
        _require_rsa_size(int.from_bytes(from_base64url(members["n"]), "big").bit_length())
    return members


def _letters(name: str, value: object, traits: Traits) -> str:
    if name == "oth":
        raise ValueError("RSA keys of more than two primes are not supported")
    if not isinstance(value, str):
        raise ValueError(f"the member {name} is not a string")
    text = value.rstrip("=")
    try:
        size = len(from_base64url(text))
    except ValueError:
        raise ValueError(f"the member {name} is not base64url") from None
    if not size:
        raise ValueError(f"the member {name} is empty")
    if traits.coordinate and size != traits.coordinate:
        raise ValueError(f"the member {name} has {size} bytes instead of {traits.coordinate}")
    return text


def _require_rsa_size(bits: int) -> None:
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise ValueError(f"an RSA key of {bits} bits ({MIN_RSA_BITS} to {MAX_RSA_BITS})")


def _fresh(traits: Traits) -> Any:
    if traits.kty == "RSA":
        return rsa.generate_private_key(public_exponent=65537, key_size=MIN_RSA_BITS)
    if traits.kty == "EC":
        return ec.generate_private_key(ec.SECP256R1() if traits.crv == "P-256" else ec.SECP384R1())
    return ed25519.Ed25519PrivateKey.generate()


def _pair(algorithm: str, private: Any) -> Material:
    return Material(algorithm, private.public_key(), private)
