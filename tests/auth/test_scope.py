"""How far a key reaches, compared with an oracle; excess is refused whole."""

from __future__ import annotations

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


@given(st.builds(Scope, paths, lists, lists), st.builds(Claims, paths, lists, lists))
@settings(max_examples=200)
def test_oracle(scope: Scope, claims: Claims) -> None:
    fits = all(
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


def test_round_trip() -> None:
    scope = Scope(Path("a"), (Path("b"), Path("")), (Path("c"),))
    assert read_scope(scope.members()) == scope
    assert read_scope({"get": ["/x/"]}) == Scope(get=(Path("x"),))


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
    ],
    ids=lambda value: repr(value)[:20],
)
def test_refused(value: object) -> None:
    with pytest.raises(ValueError, match="scope"):
        read_scope(value)
