"""Tokens laid open: read leniently, nothing lost, never an error."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from relay.auth.compact import to_base64url
from relay.auth.sayings import algorithm, sayings, shown
from relay.auth.specimen import MAX_SPECIMEN, lay_open
from relay.auth.trust import ClaimNames

HEADER = to_base64url(b'{"alg":"HS256","kid":"k1"}')
SIGNATURE = to_base64url(b"\x01" * 32)


def made(payload: bytes, header: str = HEADER, signature: str = SIGNATURE) -> str:
    return f"{header}.{to_base64url(payload)}.{signature}"


def test_a_token() -> None:
    specimen = lay_open(made(b'{"root":"demo","x":1}'))
    assert specimen.readable
    assert specimen.strict is specimen.letters is None
    assert specimen.claims.members == {"root": "demo", "x": 1}
    assert specimen.signature == b"\x01" * 32
    assert specimen.signed.decode() == made(b'{"root":"demo","x":1}').rpartition(".")[0]
    assert algorithm(specimen) == "HS256"


@pytest.mark.parametrize(
    ("suffix", "letters"), [(" ", "a blank"), ("\n", "a blank"), ("=", "padding")]
)
def test_loose_letters_are_noted_and_read(suffix: str, letters: str) -> None:
    specimen = lay_open(made(b"{}") + suffix)
    assert specimen.letters is not None
    assert letters in specimen.letters
    assert specimen.strict is not None
    assert specimen.signature == b"\x01" * 32


def test_left_over_bits() -> None:
    specimen = lay_open(made(b"{}")[:-1] + "F")
    assert specimen.letters == "bits left over at the end of a part"


def test_members_twice() -> None:
    specimen = lay_open(made(b'{"a":1,"b":{"a":1,"a":2},"a":3}'))
    assert specimen.claims.twice == {"a"}
    assert specimen.claims.members["a"] == 3
    assert lay_open(made(b'{"b":{"a":1,"a":2}}')).claims.twice == frozenset()


@pytest.mark.parametrize(
    ("payload", "trouble"),
    [
        (b"[]", "not a JSON object"),
        (b"\xff", "not UTF-8"),
        (b"{", "not JSON"),
        (b'{"a":NaN}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_what_cannot_be_read(payload: bytes, trouble: str) -> None:
    token = made(payload)
    if len(token) > MAX_SPECIMEN:
        token = made(b"[" * 40_000)
    specimen = lay_open(token)
    assert specimen.claims.trouble == trouble
    assert not specimen.readable
    assert sayings(specimen) is None


def test_a_mark_is_noted() -> None:
    specimen = lay_open(made(b'\xef\xbb\xbf{"root":""}'))
    assert specimen.claims.marked
    assert specimen.claims.members == {"root": ""}


def test_huge_and_strange_forms() -> None:
    assert lay_open("x" * (MAX_SPECIMEN + 1)).parts == 0
    assert lay_open("").parts == 1
    assert lay_open("a.b").parts == 2
    assert lay_open("..").header.trouble == "not JSON"
    assert lay_open("!.!.!").signature is None


def test_only_listed_members_are_said() -> None:
    payload = b'{"root":"demo","put":["a","b"],"exp":5,"password":"hunter2","sub":"\\n"}'
    said = sayings(lay_open(made(payload)))
    assert said == {
        "algorithm": "HS256",
        "key id": "k1",
        "root": "demo",
        "publish": ["a", "b"],
        "expires": 5,
        "subject": "\\n",
        "other claims": ["password"],
    }


def test_a_number_beyond_all_numbers_is_said_in_letters() -> None:
    said = sayings(lay_open(made(b'{"exp":1e400,"nbf":-1e400,"iat":1e9}')))
    assert said is not None
    assert (said["expires"], said["not before"], said["issued"]) == ("inf", "-inf", 1e9)


def test_members_without_number_are_looked_through_once() -> None:
    payload = b"{" + b",".join(b'"%d":1' % number for number in range(5000)) + b',"0":2}'
    token, costs = made(payload), list[float]()
    for _ in range(3):
        began = time.process_time()
        assert lay_open(token).claims.twice == {"0"}
        costs.append(time.process_time() - began)
    assert min(costs) < 0.1  # collecting all that tests have made costs more


def test_shown_values_are_short_and_plain() -> None:
    assert shown("x" * 500).endswith("…'")
    assert len(shown("x" * 500)) < 90
    assert shown("\x1b[31m") == r"'\x1b[31m'"
    assert shown(True) == "True"
    assert shown(5) == "5"
    assert shown(10**500).endswith("…")


@examples(max_examples=200, deadline=None)
@given(st.text(max_size=200) | st.text(alphabet="eyJ0.-_= \n{}", max_size=200))
def test_any_text_can_be_laid_open(text: str) -> None:
    specimen = lay_open(text)
    assert specimen.parts == len(text.split("."))


@examples(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_payload_can_be_laid_open(payload: bytes) -> None:
    specimen = lay_open(made(payload))
    assert specimen.letters is None
    assert bool(specimen.claims.trouble) is not specimen.readable


def test_rights_go_by_the_names_that_the_settings_give_them() -> None:
    names = ClaimNames(root="moq.root", put="scope", get="scope", tenant="org")
    payload = b'{"moq":{"root":"demo"},"scope":["a"],"org":"acme","root":"no","password":"x"}'
    said = sayings(lay_open(made(payload)), names)
    assert said is not None
    del said["algorithm"], said["key id"]
    assert said == {
        "root": "demo",
        "publish": ["a"],
        "subscribe": ["a"],
        "tenant": "acme",
        "other claims": ["password", "root"],
    }
