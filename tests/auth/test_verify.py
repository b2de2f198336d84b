"""A token by itself: what is looked at before anybody asks for a path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.auth.keys import Key, KeySet
from relay.auth.reason import Refusal, Trail
from relay.auth.settings import AuthSettings
from relay.auth.verify import describe, verify

Forge = Callable[..., str]
Keys = dict[str, Key]


def test_steps_up_to_the_refusal(keys: Keys, forge: Forge) -> None:
    trail = Trail()
    token = forge(keys["k1"], {"get": "", "exp": 1000})
    with pytest.raises(Refusal) as caught:
        verify(token, KeySet((keys["k1"],)), AuthSettings(), 4600, trail)
    assert [step.name for step in trail.steps] == ["form", "header", "key", "signature", "claims"]
    assert caught.value.reason.text == "expired 60 minutes ago"


@pytest.mark.parametrize(
    ("late", "text"),
    [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 minutes"),
        (7200, "2 hours"),
        (2 * 86400, "2 days"),
    ],
)
def test_spans(late: int, text: str, keys: Keys, forge: Forge) -> None:
    token = forge(keys["k1"], {"get": "", "exp": 1000})
    with pytest.raises(Refusal, match=f"expired {text} ago"):
        verify(token, KeySet((keys["k1"],)), AuthSettings(), 1000 + late)


def test_nothing_is_believed_before_the_signature(keys: Keys, forge: Forge) -> None:
    token = forge(keys["k1"], payload=b"no claims at all", signature=b"wrong")
    with pytest.raises(Refusal) as caught:
        verify(token, KeySet((keys["k1"],)), AuthSettings(), 0)
    assert caught.value.reason.code == "bad_signature"


def test_unknown_kid_names_the_known(keys: Keys, forge: Forge) -> None:
    token = forge(keys["k1"], {"get": ""}, {"kid": "k9"})
    with pytest.raises(Refusal) as caught:
        verify(token, KeySet((keys["r1"], keys["e1"])), AuthSettings(), 0)
    assert caught.value.reason.hint == "known: e1, r1"


@pytest.mark.parametrize(
    ("kid", "named", "words"),
    [
        ("k9", "k1", "it names the key k9, which is not there"),
        ("k1", "k1", "it was changed"),
        ("k9", None, "it was changed"),
        (None, "k1", "it was changed"),
    ],
)
def test_another_key_than_the_only_one_is_told(
    kid: str | None, named: str | None, words: str, keys: Keys, forge: Forge
) -> None:
    token = forge(keys["k1"], {"get": ""}, {"kid": kid}, signature=b"of k9")
    only = KeySet((replace(keys["k1"], kid=named),), single=True)
    with pytest.raises(Refusal) as caught:
        verify(token, only, AuthSettings(), 0)
    assert caught.value.reason.code == "bad_signature"
    assert words in caught.value.reason.hint


@given(
    exp=st.none() | st.integers(-10, 50) | st.floats(-10, 50),
    nbf=st.none() | st.integers(-10, 50),
    now=st.integers(0, 40),
    leeway=st.sampled_from([0, 5, 30]),
)
@settings(max_examples=150, deadline=None)
def test_valid_exactly_in_its_time(
    exp: float | None, nbf: int | None, now: int, leeway: int, keys: Keys, forge: Forge
) -> None:
    token = forge(keys["k1"], {"get": "", "exp": exp, "nbf": nbf})
    valid = (exp is None or now - leeway < exp // 1) and (nbf is None or now + leeway >= nbf)
    try:
        verify(token, KeySet((keys["k1"],)), AuthSettings(leeway=leeway), now)
        found = True
    except Refusal:
        found = False
    assert found is valid


def test_describe() -> None:
    assert describe(()) == "nothing"
    assert describe(("",)) == "everything"
    assert describe(("a", "b")) == "'a' 'b'"
    assert describe(("a", "b", "c", "d", "e", "f")) == "'a' 'b' 'c' 'd' and 2 more"


def code_of(token: str, keys: KeySet, auth: AuthSettings | None = None) -> str:
    try:
        verify(token, keys, auth or AuthSettings(), 0)
    except Refusal as refusal:
        return refusal.reason.code
    return "allowed"


def test_who_a_key_speaks_for_comes_before_who_all_keys_do(keys: Keys, forge: Forge) -> None:
    bound = KeySet((keys["k1"],)).expecting("me", "you")
    everybody = AuthSettings(issuer="others", audience="them")
    good = forge(keys["k1"], {"get": "", "iss": "me", "aud": ["x", "you"]})
    general = forge(keys["k1"], {"get": "", "iss": "others", "aud": "them"})
    for auth in (AuthSettings(), everybody):
        assert code_of(good, bound, auth) == "allowed"
        assert code_of(general, bound, auth) == "bad_issuer"
        assert code_of(forge(keys["k1"], {"get": "", "iss": "me"}), bound, auth) == "bad_audience"
    assert code_of(general, KeySet((keys["k1"],)), everybody) == "allowed"
    assert code_of(good, KeySet((keys["k1"],)), everybody) == "bad_issuer"


def test_the_hint_knows_of_another_key_of_that_name(keys: Keys, forge: Forge) -> None:
    first = KeySet((keys["k1"],)).expecting("me", "you")
    second = KeySet((replace(keys["e1"], kid="k1"),)).expecting("they", None)
    both = KeySet.gather(first, second, sources=["mine", "theirs"])
    for claims in ({"iss": "they"}, {"iss": "me", "aud": "them"}, {}):
        token = forge(keys["k1"], {"get": ""} | claims, signature=None if claims else b"wrong")
        with pytest.raises(Refusal) as caught:
            verify(token, both, AuthSettings(), 0)
        assert "that of mine is, that of theirs is not" in caught.value.reason.hint


def test_an_empty_audience_is_none_in_words(keys: Keys, forge: Forge) -> None:
    token = forge(keys["k1"], {"get": "", "aud": []})
    with pytest.raises(Refusal, match="the token is for none, not for 'you'"):
        verify(token, KeySet((keys["k1"],)), AuthSettings(audience="you"), 0)


def test_a_token_names_its_key_where_more_may_come(keys: Keys, forge: Forge) -> None:
    nameless = forge(keys["k1"], {"get": ""}, {"kid": None})
    assert code_of(nameless, KeySet((keys["k1"],))) == "allowed"
    assert code_of(nameless, KeySet((keys["k1"],), open_ended=True)) == "missing_kid"
    assert code_of(forge(keys["k1"], {"get": ""}), KeySet(open_ended=True)) == "unknown_kid"


@pytest.mark.parametrize("kid", ["urn:k/1+=", "../../etc/passwd"])
def test_foreign_names_only_where_others_name_keys(kid: str, keys: Keys, forge: Forge) -> None:
    token = forge(keys["k1"], {"get": ""}, {"kid": kid})
    named = (replace(keys["k1"], kid=kid),)
    assert code_of(token, KeySet(named, foreign_names=True)) == "allowed"
    assert code_of(token, KeySet(named)) == "bad_kid"
    assert code_of(token, KeySet((keys["k1"],), foreign_names=True)) == "unknown_kid"
    worse = forge(keys["k1"], {"get": ""}, {"kid": "a b"})
    assert code_of(worse, KeySet(named, foreign_names=True)) == "bad_kid"
