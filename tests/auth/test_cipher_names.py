"""Names of cipher keys in rights: those that a key can have, and nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest

from relay.auth.cipher_names import MAX_NAMES, cipher_names, read_names
from relay.errors import BadRequest


def test_names_are_kept_once_and_in_order() -> None:
    assert cipher_names(["pii", "card.no", "pii"]) == ("pii", "card.no")
    assert cipher_names([]) == read_names(()) == ()
    assert read_names(["a"] * (MAX_NAMES + 1)) == ("a",)


@pytest.mark.parametrize("name", ["", "p:i", "pii\n", "a" * 65, "é", "*"])
def test_a_name_that_no_key_has_is_refused(name: str) -> None:
    with pytest.raises(BadRequest, match=r"1 to 64 of the characters A-Za-z0-9_\.-, not"):
        cipher_names(["pii", name])


def test_a_list_is_no_longer_than_a_token_can_say() -> None:
    with pytest.raises(BadRequest, match=re.escape(f"more than {MAX_NAMES}")):
        cipher_names(f"k{number}" for number in range(MAX_NAMES + 1))


@pytest.mark.parametrize("value", ["pii", 5, True, {"pii": 1}, [5], [["pii"]], [None]])
def test_a_setting_that_is_no_list_of_names(value: Any) -> None:
    with pytest.raises(ValueError, match="a list of names of cipher keys"):
        read_names(value)
