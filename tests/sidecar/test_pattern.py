"""Patterns against the golden vectors, and their translation that never widens."""

from __future__ import annotations

import json
from pathlib import Path as File

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.path import MAX_LENGTH, Path
from relay.sidecar.pattern import Pattern, to_patterns, to_prefixes

VECTORS = json.loads((File(__file__).parents[1] / "vectors/sidecar.json").read_text())
GOLDEN = VECTORS["patterns"]


@pytest.mark.parametrize(("text", "good"), GOLDEN["parse"])
def test_what_is_a_pattern(text, good):
    if good:
        assert str(Pattern.parse(text)) == text
    else:
        with pytest.raises(ValueError, match=r"."):
            Pattern.parse(text)


def test_an_endless_pattern():
    with pytest.raises(ValueError, match="longer"):
        Pattern.parse("a" * (MAX_LENGTH + 1))


@pytest.mark.parametrize(("text", "path", "expected"), GOLDEN["matches"])
def test_what_it_matches(text, path, expected):
    assert Pattern.parse(text).matches(Path(path)) is expected


@pytest.mark.parametrize(("path", "text"), GOLDEN["subtree"])
def test_prefixes_become_subtrees_and_come_back(path, text):
    assert to_patterns([Path(path)]) == ([text], [])
    assert to_prefixes([text]) == ((Path(path),), ())


def test_what_prefixes_cannot_say_is_named_and_left_out():
    found = to_prefixes(["a/**", "b", "*/c", "a/x/**", "**/d", ""])
    assert found.prefixes == (Path("a"),)
    assert found.unsaid == ("b", "*/c", "**/d", "")


def test_one_bad_pattern_spoils_the_union():
    with pytest.raises(ValueError, match="'/x' is no pattern"):
        to_prefixes(["a/**", "/x"])


def test_a_prefix_with_a_star_has_no_pattern():
    assert to_patterns([Path("a*"), Path("b"), Path("**")]) == (["b/**"], ["a*", "**"])


def test_the_longest_path_is_exact_either_way():
    deep = Path("/".join("x" * 32))
    assert to_patterns([deep]) == ([str(deep)], [])
    assert to_prefixes([str(deep)]).prefixes == (deep,)


segments = st.sampled_from(["a", "b", "ab", "*", "**", "a*", "*b", "a*b", ""])
patterns = st.lists(segments, max_size=5).map("/".join)
paths = st.lists(st.sampled_from(["a", "b", "ab", "aab"]), max_size=5).map("/".join).map(Path)


@given(st.lists(patterns, max_size=4), paths)
@settings(max_examples=150, deadline=None)
def test_never_wider_than_what_was_written(union, path):
    try:
        found = to_prefixes(union)
    except ValueError:
        return
    if any(path.is_under(prefix) for prefix in found.prefixes):
        assert any(Pattern.parse(text).matches(path) for text in union)
    if not found.unsaid and any(Pattern.parse(text).matches(path) for text in union):
        assert any(path.is_under(prefix) for prefix in found.prefixes)


@given(st.lists(paths, max_size=4), paths)
@settings(max_examples=100, deadline=None)
def test_prefixes_mean_the_same_as_patterns(prefixes, path):
    written, unsaid = to_patterns(prefixes)
    assert not unsaid
    covered = any(path.is_under(prefix) for prefix in prefixes)
    assert covered == any(Pattern.parse(text).matches(path) for text in written)


@given(st.text(max_size=40))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_pattern_or_a_value_error(text):
    try:
        pattern = Pattern.parse(text)
    except ValueError:
        return
    assert str(pattern) == text
    assert pattern.subtree is None or isinstance(pattern.subtree, Path)
