"""Terms: what of them admits somebody, and what becomes of a grant on the way there and back."""

from __future__ import annotations

import json
from pathlib import Path as File

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.auth.grant import Grant
from relay.path import ROOT, Path
from relay.sidecar.terms import Fault, Terms, offer, read_terms

VECTORS = json.loads((File(__file__).parents[1] / "vectors/sidecar.json").read_text())
NOW = 1000.0
HERE = Path("demo/room")


@pytest.mark.parametrize("row", VECTORS["grants"], ids=lambda row: row["name"])
def test_upstreams_letters_in_and_out(row):
    terms = read_terms(json.loads(row["text"]))
    assert json.dumps(terms.dump(), separators=(",", ":")) == row["text"]
    terms.check(NOW)
    if "fault" in row:
        with pytest.raises(Fault) as caught:
            terms.granted(HERE)
        assert caught.value.code == row["fault"]
        return
    grant = terms.granted(HERE).grant
    assert grant.root == row["root"]
    assert list(grant.publish) == row["publish"]
    assert list(grant.subscribe) == row["subscribe"]
    assert grant.expires == terms.expires
    assert grant.cluster is row["cluster"]


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        (Terms(), "nothing_granted"),
        (Terms(("**",), revalidate=1), "unbounded"),
        (Terms(("**",), expires=2000, revalidate=0), "no_cadence"),
        (Terms(("**",), expires=2000, revalidate=-5), "no_cadence"),
        (Terms(("**",), expires=1000), "ended"),
        (Terms(("**",), expires=-1), "ended"),
    ],
)
def test_terms_on_which_nobody_is_admitted(terms, code):
    with pytest.raises(Fault) as caught:
        terms.check(NOW)
    assert caught.value.code == code


def test_the_second_before_the_end():
    Terms(("**",), expires=1001, revalidate=1).check(NOW)


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        (Terms(("a",), ("*/chat",)), "unsupported_pattern"),
        (Terms(("a//b",)), "bad_terms"),
        (Terms(("**",), root="x/" * 33), "bad_terms"),
        (Terms(("a/**",), root="x/" * 32), "bad_terms"),
    ],
)
def test_terms_that_cannot_be_expressed(terms, code):
    with pytest.raises(Fault) as caught:
        terms.granted(HERE)
    assert caught.value.code == code


def test_a_refused_pattern_is_named():
    with pytest.raises(Fault, match=r"'alice', '\*/chat'"):
        Terms(("alice",), ("*/chat",)).granted(HERE)


def test_what_is_certain_is_granted_and_the_rest_named():
    grant, unsaid = Terms(("alice",), ("bob/**", "*/x")).granted(HERE)
    assert (grant.publish, grant.subscribe) == ((), (Path("bob"),))
    assert unsaid == ("alice", "*/x")


@pytest.mark.parametrize(
    "change",
    [
        {"publish": "**"},
        {"publish": None},
        {"publish": [1]},
        {"publish": ["**"] * 257},
        {"publish": ["x" * 5000]},
        {"root": 1},
        {"mounts": []},
        {"mounts": {"a": 1}},
        {"mounts": {str(n): "x" for n in range(300)}},
        {"expires": "2030"},
        {"expires": 4102444800.5},
        {"expires": True},
        {"expires": 2**70},
        {"revalidate": 0.5},
        {"tier": 7},
        {"tier": "x" * 300},
        {"peer": "yes"},
        {"peer": None},
    ],
)
def test_wrong_types(change):
    with pytest.raises(ValueError, match=r"."):
        read_terms({"publish": ["**"]} | change)


def test_null_is_absent():
    told = {"publish": ["**"], "root": None, "expires": None, "revalidate": None, "tier": None}
    assert read_terms(told) == Terms(("**",))


def test_a_grant_is_offered():
    grant = Grant(HERE, (Path("alice"),), (ROOT,), expires=2000.9, cluster=True)
    terms, unsaid = offer(grant, NOW, 60, 30, "edge")
    assert terms.dump() == {
        "publish": ["alice/**"],
        "subscribe": ["**"],
        "expires": 2000,
        "revalidate": 30,
        "tier": "edge",
        "peer": True,
    }
    assert not unsaid


def test_a_tenant_of_its_own_is_named_and_the_roots_is_not():
    own = Grant(HERE, (ROOT,), tenant="acme", home="demo")
    terms = offer(own, NOW, None, None, None).terms
    assert terms.dump() == {"publish": ["**"], "tenant": "acme"}
    grant = read_terms(terms.dump()).granted(HERE).grant
    assert (grant.tenant, grant.home) == ("acme", "demo")
    usual = offer(Grant(HERE, (ROOT,), tenant="demo", home="demo"), NOW, None, None, None)
    assert "tenant" not in usual.terms.dump()
    top = offer(Grant(ROOT, (HERE,), tenant="demo", home="demo"), NOW, None, None, None).terms
    assert top.granted(ROOT).grant.tenant == "demo"
    assert Terms(("**",), tenant="acme", peer=True).granted(HERE).grant.tenant == "demo"
    for name in ("", "a/b", "a\nb"):
        with pytest.raises(Fault) as caught:
            Terms(("**",), tenant=name).granted(HERE)
        assert caught.value.code == "bad_tenant"


def test_a_grant_without_end_gets_the_operators():
    grant = Grant(HERE, (ROOT,))
    assert offer(grant, NOW + 0.5, 60, 30, None).terms == Terms(
        ("**",), expires=1060, revalidate=30
    )
    assert offer(grant, NOW, None, None, None).terms == Terms(("**",))
    forever = Grant(HERE, (ROOT,), expires=float("inf"))
    assert offer(forever, NOW, 60, None, None).terms.expires == 1060


def test_nothing_is_offered_that_the_asker_must_refuse():
    with pytest.raises(Fault, match="ended"):
        offer(Grant(HERE, (ROOT,), expires=1000.7), 1000.2, None, None, None)
    with pytest.raises(Fault, match=r"'a\*'"):
        offer(Grant(HERE, (Path("a*"),)), NOW, None, None, None)
    terms, unsaid = offer(Grant(HERE, (Path("a*"), Path("b"))), NOW, None, None, None)
    assert (terms.publish, unsaid) == (("b/**",), ("a*",))


prefixes = st.lists(
    st.lists(st.sampled_from(["a", "b", "c"]), max_size=3).map("/".join).map(Path), max_size=3
)


@given(prefixes, prefixes, st.none() | st.integers(1001, 9999), st.booleans())
@settings(max_examples=100, deadline=None)
def test_there_and_back(publish, subscribe, expires, cluster):
    if not (publish or subscribe):
        return
    grant = Grant(HERE, tuple(publish), tuple(subscribe), expires, cluster=cluster)
    wire = json.loads(json.dumps(offer(grant, NOW, None, 5, None).terms.dump()))
    terms = read_terms(wire)
    terms.check(NOW)
    back, unsaid = terms.granted(HERE)
    assert not unsaid
    assert (back.root, back.expires, back.cluster) == (HERE, expires, cluster)
    for mine, other in ((publish, back.publish), (subscribe, back.subscribe)):
        assert all(any(p.is_under(q) for q in other) for p in mine)
        assert set(other) <= set(mine)


members = st.dictionaries(
    st.sampled_from(["publish", "subscribe", "root", "mounts", "expires", "revalidate", "peer"]),
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.lists(st.text("a/*", max_size=5), max_size=3)
    | st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
)


@given(members)
@settings(max_examples=200, deadline=None)
def test_anything_is_terms_or_a_value_error(told):
    try:
        terms = read_terms(told)
        terms.check(NOW)
        grant, _ = terms.granted(HERE)
    except ValueError:
        return
    assert grant.publish or grant.subscribe
