"""API keys, API tokens and tickets as letters: known answers, both forms, and anything at all."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.auth.credentials import (
    ITERATIONS,
    MIN_ITERATIONS,
    ApiToken,
    Derivation,
    KeyHash,
    derivation,
    derive,
    is_ticket,
    make_key,
    make_moose_key,
    make_ticket,
    make_token,
    read_token,
    same_digest,
    secret_digest,
)

# MooseStack's form: made with openssl kdf ... PBKDF2, SHA-256, 1000 rounds, 20 bytes.
MOOSE_BEARER = "00112233445566778899aabbccddeeff.ffeeddccbbaa99887766554433221100"
MOOSE_HASH = "d8de8fcd077e81e756e11f0c422463d9e1d4560e"

# Our form: made with openssl kdf ... PBKDF2, SHA-256, 100000 rounds, 32 bytes, then base64.
BEARER = "correct-horse.saltsaltsalt"
HASH = "pbkdf2_sha256$100000$saltsaltsalt$InaVV7H7VTfjpc/rIlMHnWYd8aNoZOCF4UP8se5K7Uk="


def fits(bearer: str, *hashes: str) -> list[bool]:
    parsed = [KeyHash.parse(text) for text in hashes]
    work = derivation(bearer, parsed)
    if work is None:
        return [False for _ in parsed]
    derived = derive(work)
    return [each.equals(derived) for each in parsed]


def test_the_standards_own_vector() -> None:
    # RFC 7914, 11.
    wanted = "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
    assert derive(Derivation(b"passwd", b"salt", 1, 32)).hex() == wanted


def test_known_answers() -> None:
    assert fits(MOOSE_BEARER, MOOSE_HASH) == [True]
    assert fits(MOOSE_BEARER, MOOSE_HASH.upper()) == [True]
    assert fits(BEARER, HASH) == [True]
    assert fits(BEARER, MOOSE_HASH, HASH) == [False, True]
    assert fits(MOOSE_BEARER, HASH, MOOSE_HASH) == [False, True]


@pytest.mark.parametrize(
    "bearer",
    [
        "correct-horse",
        "correct-horse.",
        ".saltsaltsalt",
        "correct-horse.saltsaltsalt.",
        "correct-hors.saltsaltsalt",
        "correct-horse.saltsaltsal",
        "Correct-horse.saltsaltsalt",
        "",
        ".",
        "..",
        "\ud800.saltsaltsalt",
    ],
)
def test_anything_else_does_not_fit(bearer: str) -> None:
    assert fits(bearer, HASH) == [False]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        MOOSE_HASH[:-1],
        MOOSE_HASH + "0",
        "g" * 40,
        HASH.replace("100000", "99999"),
        HASH.replace("100000", "5000001"),
        HASH.replace("100000", "-100000"),
        HASH.replace("saltsaltsalt", "salt"),
        HASH.replace("saltsaltsalt", "salt salt salt"),
        HASH.replace("Uk=", ""),
        HASH + "=",
        HASH.replace("pbkdf2_sha256", "pbkdf2_sha1"),
        BEARER,
    ],
)
def test_a_hash_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="expected") as error:
        KeyHash.parse(text)
    assert not text or len(text) < 5 or text not in str(error.value)


@given(text=st.text("pbkdf2_sha256$0123456789abc=/+", max_size=120) | st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_hash_or_a_value_error(text: str) -> None:
    try:
        parsed = KeyHash.parse(text)
    except ValueError:
        return
    assert KeyHash.parse(str(parsed)) == parsed


def test_new_keys() -> None:
    ours, moose = make_key(MIN_ITERATIONS), make_moose_key()
    assert ITERATIONS >= 600_000
    assert fits(ours.bearer, str(ours.hash)) == [True]
    assert fits(moose.bearer, str(moose.hash)) == [True]
    assert re.fullmatch(r"[0-9a-f]{32}\.[0-9a-f]{32}", moose.bearer)
    assert re.fullmatch(r"[0-9a-f]{40}", str(moose.hash))
    assert make_key(MIN_ITERATIONS).bearer != ours.bearer
    assert ours.bearer.split(".")[0] not in str(ours.hash)


def test_a_hash_and_its_work_show_no_secret() -> None:
    parsed = KeyHash.parse(HASH)
    assert str(parsed) == HASH
    assert "InaVV7" not in repr(parsed)
    assert "correct" not in repr(derivation(BEARER, [parsed]))


def test_tokens() -> None:
    made = make_token()
    assert read_token(str(made)) == made
    assert re.fullmatch(r"mq_[A-Za-z0-9]{12}_[A-Za-z0-9]{43}", str(made))
    assert made.secret not in repr(made)
    assert make_token() != made


@pytest.mark.parametrize("change", ["x{}", "{}x", "{}\n", "MQ{}", "{}{}"])
def test_no_tokens(change: str) -> None:
    token = str(ApiToken("a" * 12, "b" * 43))
    assert read_token(token)
    assert read_token(change.format(token, token)) is None


def test_tickets() -> None:
    made = make_ticket()
    assert is_ticket(made)
    assert made != make_ticket()
    assert not is_ticket(made[1:])
    assert not is_ticket(f"{made}\n")


def test_digests() -> None:
    assert secret_digest("abc") == hashlib.sha256(b"abc").hexdigest()
    assert same_digest("a", "a")
    assert not same_digest("a", "é")
    assert secret_digest("\ud800")
