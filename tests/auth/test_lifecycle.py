"""The life of signing keys: exactly one signs, and none vanishes before its tokens have."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.auth.lifecycle import (
    KEEP_RETIRED,
    MAX_GRACE,
    SHOWN,
    SigningKey,
    begun,
    rotated,
    signer,
)
from relay.errors import BadRequest


def key(kid: str, now: float = 0.0) -> SigningKey:
    return SigningKey(kid, "ES256", {"kid": kid}, "next", now)


def states(keys: list[SigningKey], now: float = 0.0) -> dict[str, str]:
    return {each.kid: each.at(now).state for each in keys}


def test_the_first_keys_are_one_that_signs_and_one_that_follows() -> None:
    keys = begun([], [key("a"), key("b")], 5.0)
    assert states(keys) == {"a": "active", "b": "next"}
    assert keys[0].activated == 5.0
    assert begun(keys, [key("c"), key("d")], 6.0) == keys


def test_a_rotation_moves_everybody_up() -> None:
    keys = begun([], [key("a"), key("b")], 0.0)
    keys = rotated(keys, key("c"), 10.0, 100.0, False)
    assert states(keys, 10.0) == {"a": "retiring", "b": "active", "c": "next"}
    assert states(keys, 109.9)["a"] == "retiring"
    assert states(keys, 110.0)["a"] == "retired"
    assert [each.kid for each in keys if each.is_shown(109.0)] == ["a", "b", "c"]
    assert [each.kid for each in keys if each.is_shown(110.0)] == ["b", "c"]


def test_a_compromised_key_is_gone_at_once() -> None:
    keys = rotated(begun([], [key("a"), key("b")], 0.0), key("c"), 10.0, 100.0, True)
    assert states(keys, 10.0) == {"a": "retired", "b": "active", "c": "next"}
    assert keys[0].compromised
    assert [each.kid for each in keys if each.is_shown(10.0)] == ["b", "c"]


def test_where_none_follows_a_fresh_one_signs() -> None:
    lone = [replace(key("a"), state="active")]
    assert states(rotated(lone, key("b"), 1.0, 5.0, False), 1.0) == {"a": "retiring", "b": "active"}


def test_a_retired_key_is_listed_for_a_while_and_then_forgotten() -> None:
    keys = rotated(begun([], [key("a"), key("b")], 0.0), key("c"), 10.0, 5.0, False)
    old, active, following = keys
    assert not old.is_forgotten(14.0 + KEEP_RETIRED)
    assert old.is_forgotten(15.0 + KEEP_RETIRED)
    assert not replace(old, ends=1e9).is_forgotten(15.0 + KEEP_RETIRED), "it vouches still"
    assert not replace(old, ends=None).is_forgotten(1e12)
    assert not any(each.is_forgotten(1e12) for each in (active, following))
    again = rotated(keys, key("d"), 15.0 + KEEP_RETIRED, 5.0, False)
    assert [each.kid for each in again] == ["b", "c", "d"]


def test_of_several_who_rotate_or_strike_one_key_the_others_find_it_done() -> None:
    keys = rotated(begun([], [key("a"), key("b")], 0.0), key("c"), 10.0, 100.0, False, kid="a")
    with pytest.raises(BadRequest, match="a does not sign: somebody else rotated"):
        rotated(keys, key("d"), 11.0, 100.0, False, kid="a")
    with pytest.raises(BadRequest, match="no signing key yet"):
        rotated(keys, key("d"), 11.0, 100.0, False, kid="x")
    struck = rotated(keys, key("d"), 12.0, 100.0, True, kid="a")
    assert states(struck, 12.0) == {"a": "retired", "b": "active", "c": "next"}
    assert (struck[0].ends, struck[0].compromised) == (12.0, True)
    twice = rotated(struck, key("e"), 13.0, 100.0, True, kid="a")
    assert twice == struck, "since when it is retired stays, and nobody else goes"


@pytest.mark.parametrize("grace", [-1.0, MAX_GRACE + 1, float("nan"), float("inf")])
def test_a_grace_without_sense_is_refused(grace: float) -> None:
    with pytest.raises(BadRequest, match="a grace"):
        rotated(begun([], [key("a")], 0.0), key("c"), 1.0, grace, False)
    with pytest.raises(BadRequest, match="no signing key yet"):
        rotated([], key("c"), 1.0, 5.0, False)


steps = st.lists(
    st.tuples(st.floats(0, KEEP_RETIRED), st.floats(0, MAX_GRACE), st.booleans()), max_size=20
)


@given(steps)
def test_exactly_one_signs_and_it_was_shown_before(walk: list[tuple[float, float, bool]]) -> None:
    keys = begun([], [key("0"), key("1")], 0.0)
    now, owed = 0.0, {}
    for number, (passes, grace, compromised) in enumerate(walk):
        now += passes
        shown = {each.kid for each in keys if each.is_shown(now)}
        old = signer(keys)
        assert old is not None
        if not compromised:
            owed[old.kid] = now + grace
        keys = rotated(keys, key(f"{number + 2}", now), now, grace, compromised)
        active = [each for each in keys if each.state == "active"]
        assert active[0].kid in shown
        assert len(active) == 1
        assert sum(each.state == "next" for each in keys) == 1
        for kid, until in owed.items():
            found = [each for each in keys if each.kid == kid]
            if now < until:
                assert found[0].is_shown(now)
            elif found:
                assert not found[0].is_shown(now)
        assert all(each.at(now).state in (*SHOWN, "retired") for each in keys)
