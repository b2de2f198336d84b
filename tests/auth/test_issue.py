"""Exchanges: never more than somebody came with, neither in reach nor in time."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from relay.auth.grant import Grant, rebase
from relay.auth.issue import IssuerSettings, Wish, narrowed, read_wish
from relay.auth.reason import Refusal
from relay.errors import BadRequest
from relay.path import ROOT, Path

NOW = 1000.5
SETTINGS = IssuerSettings(ttl=60, max_ttl=600)


def grant(*publish: str, subscribe: tuple[str, ...] = (), expires: float | None = None) -> Grant:
    paths = tuple(map(Path, publish)), tuple(map(Path, subscribe))
    return Grant(ROOT, *paths, expires, "alice", "k9", "mq_abc", tenant="acme", home="demo")


def test_without_a_wish_it_is_everything_below_the_root_whoever_pays() -> None:
    claims = narrowed(grant("demo/a", subscribe=("demo",)), Wish(), SETTINGS, NOW)
    assert (claims.root, claims.put, claims.get) == ("demo", ("a",), ("",))
    assert (claims.sub, claims.jti, claims.iat, claims.exp) == ("alice", "mq_abc", 1000, 1060)
    assert not claims.cluster


def test_keys_and_time_of_all_that_it_was_made_from_go_along() -> None:
    first = replace(grant("demo"), issued=700.9)
    claims = narrowed(first, Wish(), SETTINGS, NOW)
    assert (claims.parent_kids, claims.parent_iat) == (("k9",), 700)
    again = replace(first, kid="own", parent_kids=("k9",))
    claims = narrowed(again, Wish(), SETTINGS, NOW)
    assert claims.parent_kids == ("k9", "own")
    assert claims.members()["parent_kid"] == ["k9", "own"]
    again = replace(again, parent_kids=claims.parent_kids)
    assert narrowed(again, Wish(), SETTINGS, NOW).parent_kids == claims.parent_kids
    nameless = replace(grant("demo"), kid=None)
    claims = narrowed(nameless, Wish(), SETTINGS, NOW)
    assert (claims.parent_kids, claims.parent_iat) == ((), None)


def test_a_wish_narrows() -> None:
    wish = Wish(Path("demo/a"), (Path("x"),), (), 30)
    claims = narrowed(grant("demo/a", subscribe=("demo",)), wish, SETTINGS, NOW)
    assert (claims.root, claims.put, claims.get, claims.exp) == ("demo/a", ("x",), (), 1030)


@pytest.mark.parametrize(
    "wish",
    [
        Wish(Path("demo"), (Path("b"),)),
        Wish(Path("demo"), (Path("a"), Path(""))),
        Wish(Path("other")),
        Wish(Path("other"), (Path(""),)),
        Wish(Path(""), (Path(""),), ()),
        Wish(Path(""), (Path("demo/a"),), ()),
        Wish(Path("demo"), (), ()),
        Wish(Path("demo/aa"), (Path(""),)),
        Wish(Path("demo"), (), (Path("b"),)),
    ],
)
def test_a_wider_wish_is_refused_whole(wish: Wish) -> None:
    with pytest.raises(Refusal) as caught:
        narrowed(grant("demo/a", subscribe=("demo/a",)), wish, SETTINGS, NOW)
    assert (caught.value.status, caught.value.reason.code) == (403, "no_access")


@pytest.mark.parametrize(
    ("wished", "got"),
    [(None, ("pii", "cards")), (["cards"], ("cards",)), ([], ()), (["pii"] * 9, ("pii",))],
)
def test_cipher_keys_go_along_unless_fewer_are_asked_for(wished, got) -> None:
    held = replace(grant("demo"), decrypt=("pii", "cards"))
    assert narrowed(held, read_wish({"decrypt": wished}), SETTINGS, NOW).decrypt == got


@pytest.mark.parametrize("held", [(), ("pii",)])
def test_a_cipher_key_that_was_not_granted_is_refused(held: tuple[str, ...]) -> None:
    wish = read_wish({"decrypt": ["pii", "cards"]})
    with pytest.raises(Refusal, match="to decrypt with 'cards'") as caught:
        narrowed(replace(grant("demo"), decrypt=(*held, "other")), wish, SETTINGS, NOW)
    assert caught.value.reason.code == "no_access"


def test_it_lives_no_longer_than_it_may() -> None:
    long = Wish(ttl=1e9)
    assert narrowed(grant("demo"), long, SETTINGS, NOW).exp == 1600
    assert narrowed(grant("demo", expires=1010.9), long, SETTINGS, NOW).exp == 1010
    assert narrowed(grant("demo", expires=1040.0), long, SETTINGS, NOW, leeway=30).exp == 1010
    assert narrowed(grant("demo", expires=1001.0), long, SETTINGS, NOW).exp == 1001
    assert narrowed(grant("demo", expires=1020.0), long, SETTINGS, NOW, leeway=30).exp == 990


def test_no_token_is_over_when_it_is_made() -> None:
    for ends in (1000.9, 1000.51):
        with pytest.raises(Refusal, match="within this second") as error:
            narrowed(grant("demo", expires=ends), Wish(), SETTINGS, NOW)
        assert error.value.status == 401


paths = st.lists(st.sampled_from("ab"), max_size=3).map("/".join).map(Path)


@given(st.lists(paths, max_size=3), st.lists(paths, max_size=3), paths, st.lists(paths, max_size=3))
def test_nothing_is_gained(
    publish: list[Path], subscribe: list[Path], root: Path, wished: list[Path]
) -> None:
    assume(publish or subscribe)
    given_ = Grant(ROOT, tuple(publish), tuple(subscribe))
    for wish in (Wish(root), Wish(root, tuple(wished), tuple(wished)), Wish(root, tuple(wished))):
        try:
            claims = narrowed(given_, wish, SETTINGS, NOW)
        except Refusal:
            continue
        for held, got in ((publish, claims.put), (subscribe, claims.get)):
            for prefix in rebase(claims.root, got, ROOT):
                assert any(prefix.is_under(wider) for wider in held)


@pytest.mark.parametrize(
    "members",
    [
        {"root": 1},
        {"publish": 1},
        {"publish": [1]},
        {"subscribe": {"a": 1}},
        {"ttl": "60"},
        {"ttl": 0},
        {"ttl": True},
        {"ttl": float("inf")},
        {"ttl": -5},
        {"ttl": 10**400},
        {"put": ["a"]},
        {"publish": ["a"] * 300},
        {"decrypt": "pii"},
        {"decrypt": [1]},
        {"decrypt": {"pii": 1}},
    ],
)
def test_what_is_no_wish_is_refused(members: dict[str, object]) -> None:
    with pytest.raises(BadRequest):
        read_wish(members)


def test_a_wish_is_read() -> None:
    assert read_wish({}) == Wish()
    members = {"root": "/demo/", "publish": "a", "subscribe": [], "ttl": 5, "decrypt": ["pii"]}
    assert read_wish(members) == Wish(Path("demo"), (Path("a"),), (), 5, frozenset(["pii"]))
    assert read_wish({"decrypt": []}) == Wish(decrypt=frozenset())
