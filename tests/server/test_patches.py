"""A changing object as frames: whoever reads a group from its beginning has the object."""

from __future__ import annotations

import json
import random
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.server import patches as module
from relay.server.patches import TAIL, Patches, patch

scalars = st.one_of(st.integers(), st.booleans(), st.text(max_size=5), st.lists(st.integers()))
objects = st.dictionaries(
    st.text(max_size=3),
    st.recursive(
        scalars, lambda inner: st.dictionaries(st.text(max_size=2), inner, max_size=4), max_leaves=6
    ),
    max_size=5,
)


def merged(old: Any, said: Any) -> Any:
    """RFC 7396, 2."""
    if not isinstance(said, dict):
        return said
    made = dict(old) if isinstance(old, dict) else {}
    for name, value in said.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = merged(made.get(name), value)
    return made


class Follower:
    """Reads groups as a client would."""

    def __init__(self) -> None:
        self.value: Any = None

    def read(self, frame: bytes, begins: bool) -> Any:
        if begins:
            self.inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            self.value = None
        text = self.inflate.decompress(frame + TAIL)
        self.value = merged(self.value, json.loads(text))
        return self.value


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, {"b": 3}),
        ({"a": 1}, {"a": 1, "b": 2}, {"b": 2}),
        ({"a": 1, "b": 2}, {"a": 1}, {"b": None}),
        ({"o": {"x": 1, "y": 2}}, {"o": {"x": 1, "y": 9}}, {"o": {"y": 9}}),
        ({"a": {"x": 1}}, {"a": 5}, {"a": 5}),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, {"a": [1, 2, 3]}),
        ({}, {}, {}),
    ],
)
def test_a_patch_says_what_became_different(old: Any, new: Any, said: Any) -> None:
    assert patch(old, new) == said


@given(objects, objects)
def test_a_patch_makes_the_new_of_the_old(old: Any, new: Any) -> None:
    assert merged(old, patch(old, new)) == new


@given(st.lists(objects, max_size=8))
def test_whoever_follows_has_the_object(values: list[Any]) -> None:
    patches, follower, last = Patches(compressed=True), Follower(), None
    for value in values:
        made = patches.encode(value)
        assert (made is None) == (value == last)
        if made is not None:
            assert follower.read(*made) == value
        last = value


def test_in_plain_letters_every_frame_is_the_whole() -> None:
    patches = Patches(compressed=False)
    assert patches.encode({"é": 1}) == ('{"é":1}'.encode(), True)
    assert patches.encode({"é": 1}) is None
    assert patches.encode({"é": 2}) == ('{"é":2}'.encode(), True)
    patches.reset()
    assert patches.encode({"é": 2}) == ('{"é":2}'.encode(), True)


def test_a_group_ends_before_its_patches_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FRAMES", 5)
    patches = Patches(compressed=True)
    begins = [patches.encode({"n": number})[1] for number in range(12)]  # type: ignore[index]
    assert [at for at, first in enumerate(begins) if first] == [0, 5, 10]


def test_a_group_ends_when_its_patches_are_too_long() -> None:
    dice = random.Random(1)
    patches, follower, begun = Patches(compressed=True), Follower(), 0
    for _ in range(40):
        value = {"noise": dice.randbytes(200).hex()}
        made = patches.encode(value)
        assert made is not None
        assert follower.read(*made) == value
        begun += made[1]
    assert 3 <= begun <= 6
