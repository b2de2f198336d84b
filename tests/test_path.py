"""The only prefix rule in the house, against an oracle made of lists."""

from __future__ import annotations

import unicodedata
from itertools import product
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import BadRequest
from relay.path import (
    MAX_LENGTH,
    MAX_SEGMENTS,
    ROOT,
    Path,
    covering,
    fits,
    may_fit_below,
    named,
    on_one_line,
)

names = st.text(alphabet="ab/.%é", max_size=12)


def parts(text: str) -> list[str]:
    return [part for part in text.split("/") if part]


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("", ""),
        ("/", ""),
        ("///", ""),
        ("/a//b/", "a/b"),
        ("a/./../b", "a/./../b"),
        ("A", "A"),
        ("a%2Fb", "a%2Fb"),
    ],
)
def test_normal_form(text: str, normal: str) -> None:
    assert Path(text) == normal
    assert isinstance(Path(text), Path)


def test_prefixes_end_at_segment_borders() -> None:
    assert Path("foo/bar").is_under(Path("foo"))
    assert Path("foo").is_under(Path("foo"))
    assert Path("foo").is_under(ROOT)
    assert not Path("foobar").is_under(Path("foo"))
    assert not Path("foo").is_under(Path("foo/bar"))


@given(names, names)
def test_is_under_is_a_prefix_of_lists(text: str, prefix: str) -> None:
    expected = parts(text)[: len(parts(prefix))] == parts(prefix)
    assert Path(text).is_under(Path(prefix)) == expected
    if expected:
        rest = Path(text).relative_to(Path(prefix))
        assert list(rest.segments) == parts(text)[len(parts(prefix)) :]
        assert Path(prefix).join(rest) == Path(text)
    else:
        with pytest.raises(ValueError, match="not under"):
            Path(text).relative_to(Path(prefix))


@given(st.lists(names, max_size=6), names)
def test_covering_contains_the_same_paths(prefixes: list[str], text: str) -> None:
    paths = [Path(prefix) for prefix in prefixes]
    kept = covering(paths)
    assert any(Path(text).is_under(p) for p in kept) == any(Path(text).is_under(p) for p in paths)
    assert not any(a != b and a.is_under(b) for a in kept for b in kept)


def test_too_much_is_refused() -> None:
    Path("/".join(["a"] * MAX_SEGMENTS))
    with pytest.raises(BadRequest):
        Path("/".join(["a"] * (MAX_SEGMENTS + 1)))
    with pytest.raises(BadRequest):
        Path("a" * (MAX_LENGTH + 1))
    with pytest.raises(BadRequest):
        Path("a" * MAX_LENGTH).join("b")


def test_the_longest_path_may_stand_at_the_root() -> None:
    longest = Path("a" * MAX_LENGTH)
    assert ROOT.join(longest) == longest.join(ROOT) == longest
    with pytest.raises(BadRequest):
        ROOT.join("a" * (MAX_LENGTH + 1))


@pytest.mark.parametrize(
    ("path", "pattern", "covered"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/*", True),
        ("a/b/c", "a/*", False),
        ("a", "a/*", False),
        ("a", "a/**", True),
        ("a/b/c", "a/**", True),
        ("ab", "a/**", False),
        ("x/b/c", "*/b/**", True),
        ("", "**", True),
    ],
)
def test_a_pattern_covers_whole_segments(path: str, pattern: str, covered: bool) -> None:
    assert fits(path, pattern.split("/")) is covered


SHORT = st.lists(st.sampled_from("ab"), max_size=4)


@given(SHORT, st.lists(st.sampled_from("ab*"), max_size=3), st.booleans())
def test_what_a_pattern_may_cover_below_a_prefix(
    prefix: list[str], head: list[str], is_open: bool
) -> None:
    pattern = (*head, *(["**"] if is_open else []))
    paths = (each for size in range(7) for each in product("ab", repeat=size))
    below = (each for each in paths if each[: len(prefix)] == tuple(prefix))
    covered = any(fits("/".join(each), pattern) for each in below)
    assert may_fit_below(Path("/".join(prefix)), pattern) is covered


@given(st.lists(st.sampled_from(["a", "bc", ""]), max_size=5))
def test_the_first_segment_is_the_first_of_all(parts) -> None:
    path = Path("/".join(parts))
    assert path.first == next(iter(path.segments), None)


def test_what_contains_a_path_comes_longest_first() -> None:
    assert list(Path("a/b/c").parents) == ["a/b", "a", ""]
    assert list(ROOT.parents) == []
    assert all(type(each) is Path for each in Path("a/b").parents)


@given(names.map(Path))
def test_every_path_has_an_address_that_names_it(path: Path) -> None:
    assert named("/".join(quote(each, safe="") for each in path.segments)) == path


@pytest.mark.parametrize(
    ("address", "literal", "meant"),
    [
        ("/caf%C3%A9/a%20b", [], "café/a b"),
        ("/a%2520b", [], "a%20b"),
        ("/caf%C3%A9/a%20b", ["caf%C3%A9"], "caf%C3%A9/a b"),
        ("/caf%C3%A9/a%20b", ["café", "caf%C3%A9", "caf%C3%A9/a%20b"], "caf%C3%A9/a%20b"),
        ("//caf%C3%A9/", ["caf%C3%A9/room"], "caf%C3%A9"),
        ("/caf%C3%A9/a%20b", ["caf%C3%A9/room", "caf%c3%a9", "caf%C3"], "café/a b"),
        ("/caf%25C3%25A9/a%20b", ["caf%C3%A9"], "caf%C3%A9/a b"),
    ],
)
def test_an_address_names_as_it_stands_what_the_rights_do(
    address: str, literal: list[str], meant: str
) -> None:
    assert named(address, map(Path, literal)) == meant


@given(names, st.lists(names.map(Path), max_size=3))
def test_what_an_address_means_is_under_what_it_has_literally(
    address: str, literal: list[Path]
) -> None:
    try:
        meant, plain = named(address, literal), named(address)
    except BadRequest:
        return
    assert meant == plain or any(meant.is_under(p) or p.is_under(meant) for p in literal)


def test_an_escaped_slash_stays_in_its_segment() -> None:
    assert named("x/a%2Fb%20c%2fd/%252F") == "x/a%2Fb c%2fd/%2F"


@pytest.mark.parametrize(
    "address", ["a%", "%zz", "%FF", "%0A", "x%2F%0A", "%C3%2F%A9", "%E2%80%A8"]
)
def test_what_an_address_cannot_mean(address: str) -> None:
    with pytest.raises(BadRequest):
        named(address, [Path(address)])


def test_a_name_is_read_as_what_it_is() -> None:
    unseen = {"Cc", "Cf", "Zl", "Zp"}
    codes = (*range(0xD800), *range(0xE000, 0x20000), *range(0xE0000, 0xE1000))
    letters = [chr(code) for code in codes]
    found = {each for each in letters if unicodedata.category(each) in unseen}
    escaped = {each for each in letters if on_one_line(each) != each}
    assert found - escaped == {"\u200c", "\u200d"}  # which only join
    assert {each for each in escaped - found if unicodedata.category(each) != "Cn"} == set()
    assert on_one_line("x\u202ea") == "x%E2%80%AEa"
