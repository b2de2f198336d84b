"""What the operator may say about credentials beside the JWT, and what is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from relay.auth.credentials import KINDS
from relay.auth.rules import Accepts, ApiKey, CertificateRule
from relay.auth.settings import AuthSettings

HASH = "d8de8fcd077e81e756e11f0c422463d9e1d4560e"
OTHER = "pbkdf2_sha256$100000$saltsaltsalt$InaVV7H7VTfjpc/rIlMHnWYd8aNoZOCF4UP8se5K7Uk="


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({}, "hash"),
        ({"hash": 5}, "hash-token"),
        ({"hash": "x"}, "expected pbkdf2_sha256"),
        ({"hash": HASH}, "at least one prefix"),
        ({"hash": HASH, "publish": []}, "at least one prefix"),
        ({"hash": HASH, "publish": 5}, "prefix"),
        ({"hash": HASH, "publish": "", "root": 5}, "expected a path"),
        ({"hash": HASH, "publish": "", "root": "a/" * 33}, "segments"),
        ({"hash": HASH, "publish": "", "expires": "soon"}, "expected unix seconds"),
        ({"hash": HASH, "publish": "", "expires": True}, "expected unix seconds"),
        ({"hash": HASH, "publish": "", "expires": float("nan")}, "finite"),
        ({"hash": HASH, "publish": "", "expires": 10**400}, "expected unix seconds"),
        ({"hash": HASH, "publish": "", "secret": "x"}, "secret"),
        ({"hash": HASH, "subscribe": "", "decrypt": "pii"}, "a list of names of cipher keys"),
        ({"hash": HASH, "subscribe": "", "decrypt": ["p:i"]}, "1 to 64 of the characters"),
        ({"hash": HASH, "decrypt": ["pii"]}, "at least one prefix"),
    ],
)
def test_api_keys_refused(members: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        ApiKey.model_validate(members)


@pytest.mark.parametrize(
    "moment",
    [
        1893456000,
        1893456000.0,
        "2030-01-01T00:00Z",
        "2030-01-01",
        datetime(2030, 1, 1, tzinfo=UTC),
        date(2030, 1, 1),
    ],
)
def test_an_end_in_every_spelling(moment: Any) -> None:
    key = ApiKey.model_validate({"hash": HASH, "publish": ["a", "a/b"], "expires": moment})
    assert key.expires == 1893456000.0
    assert key.publish == ("a",)
    assert HASH not in repr(key)


def test_two_keys_of_one_hash_or_salt() -> None:
    for text, what in ((HASH, "hash"), (OTHER, "salt")):
        match = f"expected a {what} of its own for each key, and 'two' has that of 'one'"
        twice = {name: {"hash": text, "publish": ""} for name in ("one", "two")}
        with pytest.raises(ValidationError, match=match):
            AuthSettings.model_validate({"api_keys": twice})
    both = {"one": {"hash": HASH, "publish": ""}, "two": {"hash": OTHER, "publish": ""}}
    assert list(AuthSettings.model_validate({"api_keys": both}).api_keys) == ["one", "two"]


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({}, "at least one prefix"),
        ({"san": "x"}, "at least one prefix"),
        ({"publish": ""}, "only full_access fits anybody"),
        ({"full_access": True, "publish": ""}, "either full_access or prefixes"),
        ({"fingerprint": "abc", "publish": ""}, "64 hex digits"),
        ({"san": "", "publish": ""}, "san"),
        ({"san": "x", "subscribe": "", "decrypt": [5]}, "a list of names of cipher keys"),
    ],
)
def test_certificate_rules_refused(members: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        CertificateRule.model_validate(members)


def test_what_is_taken() -> None:
    assert all(Accepts().takes(kind) for kind in (*KINDS, "public"))
    only = Accepts(accept=("api_key",))
    assert [kind for kind in (*KINDS, "public") if only.takes(kind)] == ["api_key", "public"]
    strict = Accepts(accept=("api_key",), enforce_jwt=True)
    assert [kind for kind in (*KINDS, "public") if strict.takes(kind)] == ["jwt"]
    with pytest.raises(ValidationError, match="accept"):
        Accepts.model_validate({"accept": ["password"]})
