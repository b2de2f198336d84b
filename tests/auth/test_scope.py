"""How far a key reaches, compared with an oracle; excess is refused whole."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.auth.claims import Claims
from relay.auth.reason import Refusal
from relay.auth.scope import Scope, read_scope
from relay.path import Path

segments = st.sampled_from(["a", "b", "ab"])
paths = st.lists(segments, max_size=2).map("/".join).map(Path)
lists = st.lists(paths, max_size=2).map(tuple)


def inside(path: Path, prefix: Path) -> bool:
    return path.segments[: len(prefix.segments)] == prefix.segments


@given(
    st.builds(Scope, paths, lists, lists),
    st.builds(Claims, paths, lists, lists, cluster=st.booleans()),
)
@settings(max_examples=200)
def test_oracle(scope: Scope, claims: Claims) -> None:
    everywhere = not scope.root and Path("") in scope.put and Path("") in scope.get
    fits = (everywhere or not claims.cluster) and all(
        any(inside(claims.root.join(want), scope.root.join(may)) for may in allowed)
        for wanted, allowed in ((claims.put, scope.put), (claims.get, scope.get))
        for want in wanted
    )
    if fits:
        scope.require(claims)
        return
    with pytest.raises(Refusal) as caught:
        scope.require(claims)
    assert caught.value.reason.code == "scope_exceeded"


@pytest.mark.parametrize(
    ("scope", "may"),
    [
        (Scope(put=(Path(""),), get=(Path("a"), Path(""))), True),
        (Scope(Path("a"), (Path(""),), (Path(""),)), False),
        (Scope(put=(Path(""),)), False),
        (Scope(get=(Path(""),)), False),
    ],
)
def test_a_key_that_does_not_reach_everything_makes_no_relays(scope: Scope, may: bool) -> None:
    claims = Claims(Path("a"), (Path("b"),) * bool(scope.put), (Path("b"),) * bool(scope.get))
    scope.require(claims)
    if may:
        scope.require(replace(claims, cluster=True))
        return
    with pytest.raises(Refusal) as caught:
        scope.require(replace(claims, cluster=True))
    assert caught.value.reason.code == "scope_exceeded"
    assert "a relay" in caught.value.reason.text


@pytest.mark.parametrize(
    ("scope", "home"),
    [
        (Scope(Path("a/b"), (Path(""),), (Path("c"),)), "a"),
        (Scope(put=(Path("a"),), get=(Path("a/b"),)), "a"),
        (Scope(put=(Path("a"),), get=(Path("b"),)), None),
        (Scope(put=(Path("a"), Path(""))), None),
    ],
)
def test_whose_key_it_is(scope: Scope, home: str | None) -> None:
    assert scope.home == home


def test_a_key_of_a_tenants_is_for_no_other_and_makes_no_relays() -> None:
    everything = (Path(""),)
    scope = Scope(put=everything, get=everything, tenant="acme")
    for tenant in (None, "acme"):
        scope.require(Claims(put=everything, tenant=tenant))
    for claims in (Claims(put=everything, tenant="evil"), Claims(put=everything, cluster=True)):
        with pytest.raises(Refusal, match="tenant") as caught:
            scope.require(claims)
        assert caught.value.reason.code == "scope_exceeded"


def test_round_trip() -> None:
    scope = Scope(Path("a"), (Path("b"), Path("")), (Path("c"),))
    assert read_scope(scope.members()) == scope
    assert read_scope({"get": ["/x/"]}) == Scope(get=(Path("x"),))
    owned = Scope(put=(Path(""),), tenant="acme")
    assert read_scope(owned.members()) == owned


@pytest.mark.parametrize(
    "value",
    [
        None,
        "a",
        {},
        {"put": []},
        {"put": "live"},
        {"get": [1]},
        {"put": ["a"], "root": None},
        {"put": ["a"] * 257},
        {"put": ["a/" * 17], "root": "a/" * 17},
        {"put": ["a"], "tenant": "a/b"},
        {"put": ["a"], "tenant": 5},
    ],
    ids=lambda value: repr(value)[:20],
)
def test_refused(value: object) -> None:
    with pytest.raises(ValueError, match="scope"):
        read_scope(value)
