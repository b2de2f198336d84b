from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.moqt.naming import namespace_of, path_of


@pytest.mark.parametrize(
    ("namespace", "path"),
    [
        ((), ""),
        ((b"demo", b"cam"), "demo/cam"),
        ((b"cmsf/clear",), "cmsf%2Fclear"),
        ((b"/", b"//a"), "%2F/%2F%2Fa"),
        ((b"a%2Fb",), "a%252Fb"),
        ((b"a%252Fb/c",), "a%25252Fb%2Fc"),
        ((b"100%", b"a%2fb %20%25"), "100%/a%2fb %20%25"),
    ],
)
def test_a_slash_within_a_part_is_escaped_and_nothing_else(
    namespace: tuple[bytes, ...], path: str
) -> None:
    assert path_of(namespace) == path
    assert namespace_of(path) == namespace


@pytest.mark.parametrize("namespace", [(b"",), (b"a", b""), (b"\xff",), (b"/" * 1366,)])
def test_what_is_no_path(namespace: tuple[bytes, ...]) -> None:
    assert path_of(namespace) is None


_PIECES = st.lists(st.sampled_from(["/", "%", "2", "25", "2F", "5", "é"]), min_size=1)


@given(st.lists(_PIECES.map("".join), max_size=4))
def test_each_namespace_is_a_path_of_its_own(parts: list[str]) -> None:
    namespace = tuple(part.encode() for part in parts)
    path = path_of(namespace)
    assert path is not None
    assert namespace_of(path) == namespace


@given(st.lists(_PIECES.map(lambda pieces: "".join(pieces).replace("/", "_")), max_size=4))
def test_and_each_path_a_namespace_of_its_own(segments: list[str]) -> None:
    path = "/".join(segments)
    assert path_of(namespace_of(path)) == path
