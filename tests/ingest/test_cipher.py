"""Encrypted fields."""

from __future__ import annotations

import pytest

from relay.errors import Unavailable
from relay.ingest.cipher import (
    decrypt,
    decrypt_frame,
    encrypt,
    owner_of,
    read_pointer,
)
from relay.path import Path

ONE, TWO = b"1" * 32, b"2" * 32


def test_a_field_is_read_by_those_who_may_and_old_versions_stay_readable():
    keys = {"pii": {1: ONE}}
    record = {"user": {"mail": "a@b", "tags": [1, 2]}, "n": 1}
    encrypt(record, {"/user/mail": "pii", "/user/tags/1": "pii", "/missing": "pii"}, keys, "plant")
    assert record["user"]["mail"].startswith("kid:pii:v1:")
    keys["pii"][2] = TWO
    newer = {"mail": "c"}
    encrypt(newer, {"/mail": "pii"}, keys, "plant")
    assert newer["mail"].startswith("kid:pii:v2:")
    allowed = frozenset({"pii"})
    assert decrypt(record, keys, allowed, "plant") == {
        "user": {"mail": "a@b", "tags": [1, 2]},
        "n": 1,
    }
    assert decrypt(newer, keys, allowed, "plant") == {"mail": "c"}
    assert decrypt(record, keys, frozenset({"other"}), "plant") == record


@pytest.mark.parametrize("user", [[{"mail": "a@b"}], "a@b", 7])
def test_what_has_another_shape_is_encrypted_whole(user):
    keys = {"pii": {1: ONE}, "phone": {1: TWO}}
    fields = {"/user/mail": "pii", "/user/name": "pii", "/user/phone": "phone"}
    record = {"user": user, "n": 1}
    encrypt(record, fields, keys, "plant")
    assert record["user"].startswith("kid:")
    assert decrypt(record, keys, frozenset({"pii", "phone"}), "plant") == {"user": user, "n": 1}
    for name in ("pii", "phone"):  # each may have been in there
        assert str(decrypt(record, keys, frozenset({name}), "plant")["user"]).startswith("kid:")
    nothing = {"user": None, "n": 1}
    encrypt(nothing, fields, keys, "plant")
    assert nothing == {"user": None, "n": 1}


def test_what_was_tampered_with_or_renamed_stays_sealed():
    keys = {"a": {1: ONE}, "b": {1: ONE}}
    record = {"x": 1}
    encrypt(record, {"/x": "a"}, keys, "plant")
    sealed = record["x"]
    both = frozenset({"a", "b"})
    for changed in (sealed.replace("kid:a", "kid:b"), sealed[:-6] + "AAAAA=", "kid:a:v9:AAAA"):
        assert decrypt({"x": changed}, keys, both, "plant") == {"x": changed}
    assert decrypt_frame(b"kid: not json", keys, both, "plant") == b"kid: not json"


def test_without_its_key_nothing_is_changed():
    record = {"x": 1, "y": 2}
    with pytest.raises(Unavailable):
        encrypt(record, {"/x": "a", "/y": "gone"}, {"a": {1: ONE}}, "plant")
    assert record == {"x": 1, "y": 2}


@pytest.mark.parametrize("text", ["", "a", "/~2"])
def test_no_pointer(text):
    with pytest.raises(ValueError, match="pointer"):
        read_pointer(text)


@pytest.mark.parametrize("odd", [rb'"\ud800"', b"1e999", b"-1e999", b"NaN"])
def test_a_frame_that_no_json_can_hold_stays_as_it_is(odd):
    keys, record = {"pii": {1: ONE}}, {"b": "secret"}
    encrypt(record, {"/b": "pii"}, keys, "plant")
    frame = b'{"a":%b,"b":"%b"}' % (odd, record["b"].encode())
    assert decrypt_frame(frame, keys, frozenset({"pii"}), "plant") == frame


def test_a_frame_without_anything_to_decrypt_stays_as_it_is_to_the_letter():
    frame = b'{ "a": 1.50, "a": 100000000000000000000.1, "b": "kid:pii:v1:AAAA", "c": 1e999 }'
    assert decrypt_frame(frame, {"pii": {1: ONE}}, frozenset({"pii"}), "plant") == frame


def test_whoever_publishes_the_ciphertext_of_another_as_his_own_reads_nothing() -> None:
    keys, allowed = {"pii": {1: ONE}}, frozenset({"pii"})
    record = {"mail": "a@b"}
    encrypt(record, {"/mail": "pii"}, keys, owner_of(Path("plant/door")))
    stolen = dict(record)
    assert decrypt(stolen, keys, allowed, owner_of(Path("thief/door"))) == record
    assert decrypt(stolen, keys, allowed, owner_of(Path("plant/other"))) == {"mail": "a@b"}
    assert decrypt(stolen, keys, allowed, owner_of(Path(""))) == record
