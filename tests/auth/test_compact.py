"""One token, one spelling."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.auth.compact import (
    from_base64url,
    parse_object,
    parse_value,
    split,
    to_base64url,
    to_json,
)


@given(st.binary(max_size=50))
@settings(max_examples=80)
def test_base64url_round_trip(data: bytes) -> None:
    text = to_base64url(data)
    assert text == base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    assert from_base64url(text) == data


@given(st.text(max_size=12) | st.text("AB-_=+/ \n", max_size=9))
@settings(max_examples=200)
def test_one_spelling(text: str) -> None:
    try:
        data = from_base64url(text)
    except ValueError:
        return
    assert to_base64url(data) == text


@pytest.mark.parametrize("text", ["A", "AB", "AAAAA", "AA==", "AA\n", " AA", "A+", "A/", "ÀA"])
def test_other_spellings(text: str) -> None:
    with pytest.raises(ValueError, match="base64url"):
        from_base64url(text)


def test_split() -> None:
    parts = split("eyJhIjoxfQ.AA.AQ")
    assert parts == ({"a": 1}, b"\x00", b"\x01", b"eyJhIjoxfQ.AA")


@given(st.text("e30.AQ=", max_size=20) | st.text(max_size=20))
@settings(max_examples=150)
def test_split_anything(token: str) -> None:
    try:
        parts = split(token)
    except ValueError:
        return
    header, payload, signature = token.split(".")
    assert parts.signed.decode() == f"{header}.{payload}"
    assert to_base64url(parts.signature) == signature


def test_errors_do_not_quote() -> None:
    for token in ("secret", "secret.e30.AA", "e30.sec=ret.AA", "c2VjcmV0.e30.AA", "e30.e30.secre="):
        with pytest.raises(ValueError, match=r"^(?!.*(secre|sec=ret))"):
            split(token)


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers()))
@settings(max_examples=80)
def test_json_round_trip(members: dict[str, object]) -> None:
    assert parse_object(to_json(members)) == members


def test_a_text_that_does_not_end_is_refused_in_no_time():
    began = time.process_time()
    with pytest.raises(ValueError, match="not JSON"):
        parse_value(b'"' + b'\\"' * 200_000)
    assert time.process_time() - began < 5.0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"a":1}\r\n{"a":2}\r\n', "not JSON: Extra data at character 9"),
        (b'[{"a":1},,1]', "not JSON: Expecting value at character 9"),
        (b'["a\nb"]', "not JSON: Invalid control character at character 3"),
        (b'["a', "not JSON: Unterminated string starting at character 1"),
        (b"\xef\xbb\xbf{}", "not JSON: Unexpected UTF-8 BOM .* at character 0"),
        (b'{"a":' + b"9" * 5000 + b"}", "JSON with a number of too many digits"),
    ],
)
def test_what_is_no_json_is_said_with_its_place(text, said):
    with pytest.raises(ValueError, match=said):
        parse_value(text)
