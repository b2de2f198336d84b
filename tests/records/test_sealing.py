"""Sealing: what opens, what does not, and a root key that is missing or wrong is said clearly."""

from __future__ import annotations

import base64
import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ConfigError
from relay.records.kept import Sealed
from relay.records.sealing import KEY, MAX_SECRET, VARIABLE, Seal, require_seal

SEAL = Seal(bytes(range(KEY)))
NOW = 5.0


@given(st.binary(max_size=300), st.integers(1, 9))
def test_what_was_sealed_opens(secret: bytes, version: int) -> None:
    sealed = SEAL.seal("cipher", "a", version, secret, NOW)
    assert SEAL.open(sealed) == secret
    assert len(secret) < 6 or secret not in base64.b64decode(sealed.text.partition(":")[2])
    assert sealed.text not in repr(sealed)


def test_the_same_secret_is_never_sealed_the_same() -> None:
    assert SEAL.seal("p", "a", 1, b"x", NOW).text != SEAL.seal("p", "a", 1, b"x", NOW).text


@pytest.mark.parametrize(
    "change", [{"purpose": "q"}, {"name": "b"}, {"version": 2}, {"name": "a\x001", "purpose": "p"}]
)
def test_it_opens_for_nothing_else(change: dict[str, object]) -> None:
    sealed = SEAL.seal("p", "a", 1, b"secret", NOW)
    with pytest.raises(ConfigError, match="was changed, or is another's"):
        SEAL.open(replace(sealed, **change))


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_changed_byte_is_noticed(place: int, change: int) -> None:
    sealed = SEAL.seal("p", "a", 1, bytes(100), NOW)
    root, _, text = sealed.text.partition(":")
    data = bytearray(base64.b64decode(text))
    data[place % len(data)] ^= change
    broken = replace(sealed, text=f"{root}:{base64.b64encode(data).decode()}")
    with pytest.raises(ConfigError, match="was changed"):
        SEAL.open(broken)


@pytest.mark.parametrize("text", ["", "x", f"{SEAL.id}:", f"{SEAL.id}:####", f"{SEAL.id}:AAAA"])
def test_what_is_no_seal_does_not_open(text: str) -> None:
    with pytest.raises(ConfigError):
        SEAL.open(Sealed("p", "a", 1, text))


def test_another_root_key_says_which() -> None:
    other = Seal(os.urandom(KEY))
    sealed = SEAL.seal("p", "a", 1, b"x", NOW)
    with pytest.raises(ConfigError, match=f"under the root key {SEAL.id}; this is {other.id}"):
        other.open(sealed)
    again = replace(sealed, text=other.again(SEAL, sealed))
    assert other.open(again) == b"x"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not base64!", "not base64"),
        (base64.b64encode(bytes(31)).decode(), "32 bytes, not 31"),
        (base64.b64encode(bytes(64)).decode(), "32 bytes, not 64"),
        ("0" * 64, "32 bytes, not 48"),
    ],
)
def test_a_root_key_that_is_none_is_refused_and_not_quoted(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"{VARIABLE}: .*{said}") as caught:
        Seal.read({VARIABLE: text})
    assert text not in str(caught.value)


def test_a_root_key_in_either_alphabet() -> None:
    key = bytes([0xFB, 0xFF] * 16)
    texts = base64.b64encode(key).decode(), base64.urlsafe_b64encode(key).decode()
    read = [Seal.read({VARIABLE: f" {text}\n"}) for text in texts]
    assert [seal and seal.id for seal in read] == [Seal(key).id] * 2
    assert Seal.read({}) is None
    assert Seal.read({VARIABLE: ""}) is None


def test_no_stand_in_for_a_root_key() -> None:
    assert require_seal(None, None) is None
    assert require_seal(SEAL, None, "it is needed") is SEAL
    assert require_seal(SEAL, SEAL.id) is SEAL
    with pytest.raises(ConfigError, match="not set, and it is needed"):
        require_seal(None, None, "it is needed")
    with pytest.raises(
        ConfigError, match=f"not set, and the store is sealed under the key {SEAL.id}"
    ):
        require_seal(None, SEAL.id)
    with pytest.raises(ConfigError, match="and the store is sealed under the key abc"):
        require_seal(SEAL, "abc")


@pytest.mark.parametrize(
    "named", [("", "a", 1), ("P", "a", 1), ("p", "", 1), ("p", "a b", 1), ("p", "a", 0)]
)
def test_names_that_could_be_mistaken_are_refused(named: tuple[str, str, int]) -> None:
    with pytest.raises(ConfigError):
        SEAL.seal(*named, b"x", NOW)
    with pytest.raises(ConfigError):
        SEAL.seal("p", "a", 1, bytes(MAX_SECRET + 1), NOW)
