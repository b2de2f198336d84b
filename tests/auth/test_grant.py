"""Rights seen from a path, compared with an oracle that knows only lists of segments."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.auth.grant import Allowed, Ceiling, Denied, Grant, common, rebase
from relay.auth.revocation import Holder
from relay.errors import BadRequest
from relay.path import ROOT, Path

segments = st.sampled_from(["a", "b", "ab", "a b", "."])
paths = st.lists(segments, max_size=4).map("/".join).map(Path)


def inside(path: Path, prefix: Path) -> bool:
    return path.segments[: len(prefix.segments)] == prefix.segments


@given(root=paths, prefixes=st.lists(paths, max_size=4), here=paths, asked=paths)
@settings(max_examples=300)
def test_rebase_keeps_meaning(root: Path, prefixes: list[Path], here: Path, asked: Path) -> None:
    seen = rebase(root, prefixes, here)
    expected = any(inside(here.join(asked), root.join(prefix)) for prefix in prefixes)
    assert bool(Grant(here, publish=seen).may_publish(asked)) is expected
    assert bool(Grant(here, subscribe=seen).may_subscribe(asked)) is expected


@given(root=paths, prefixes=st.lists(paths, max_size=4), here=paths)
@settings(max_examples=150)
def test_rebase_is_short(root: Path, prefixes: list[Path], here: Path) -> None:
    seen = rebase(root, prefixes, here)
    assert list(seen) == sorted(set(seen))
    assert not any(a != b and inside(a, b) for a in seen for b in seen)


def test_answers() -> None:
    grant = Grant(Path("demo"), publish=(Path("foo"),))
    assert grant.may_publish("foo/bar") == Allowed()
    assert grant.may_publish("//foo//") == Allowed()
    denied = grant.may_publish("foobar")
    assert isinstance(denied, Denied)
    assert "foobar" in denied.reason
    nothing = grant.may_subscribe("foo")
    assert not nothing
    assert nothing == Denied("the grant does not allow to subscribe anything")
    assert Grant(ROOT, subscribe=(ROOT,)).may_subscribe("")
    with pytest.raises(BadRequest):
        grant.may_publish("a/" * 33)


few = st.lists(st.lists(st.sampled_from("abc"), max_size=3).map("/".join).map(Path), max_size=4)


@given(few, few, st.lists(st.sampled_from("abc"), max_size=4).map("/".join).map(Path))
def test_common_prefixes_cover_what_both_cover(
    one: list[Path], other: list[Path], path: Path
) -> None:
    both = common(one, other)
    covered = [any(path.is_under(each) for each in prefixes) for prefixes in (one, other, both)]
    assert covered[2] == (covered[0] and covered[1])
    assert both == common(other, one)


def test_a_ceiling_takes_away_and_never_gives() -> None:
    grant = Grant(Path("r"), (Path("a"), Path("b")), (ROOT,), tenant="t")
    assert Ceiling().over(grant) == grant
    low = Ceiling(publish=(Path("b/x"), Path("c")), subscribe=()).over(grant)
    assert (low.publish, low.subscribe) == ((Path("b/x"),), ())
    assert (low.root, low.tenant) == ("r", "t")
    assert Ceiling(subscribe=(Path("s"),)).over(grant).publish == grant.publish
    both = Ceiling((Path("a"), Path("b"))).under(Ceiling((Path("b/x"),), ()))
    assert both == Ceiling((Path("b/x"),), ())
    assert Ceiling().under(both) == both.under(Ceiling()) == both


def test_somebody_else_pays_only_where_the_credential_says_so() -> None:
    assert Grant(Path("r"), tenant="r", home="r").payer is None
    assert Grant(Path("r"), tenant="acme", home="r").payer == "acme"
    assert Grant(ROOT).payer is None


def test_whom_a_revocation_may_strike_is_whoever_vouched() -> None:
    grant = Grant(Path("r"), subject="s", kid="k", jti="j", tenant="t", issued=5.0)
    shown = Holder(jti="fingerprint")
    assert grant.holders == (Holder("j", "s", "k", "t", 5.0),)
    assert replace(grant, beside=shown).holders == (grant.holder, shown)
    assert replace(grant, beside=shown, anonymous=True).holders == ()
