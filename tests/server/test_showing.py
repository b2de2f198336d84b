"""What the operator is shown of a track."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from relay.server.inner import Inner
from relay.server.showing import track

FRAME = b"x" * 1000


class Shown(SimpleNamespace):
    """A track that can be looked up."""

    __hash__ = object.__hash__


def rate(groups: int, frames: int, pause: float, until: float = 1e9) -> float:
    """What is shown of groups of so many frames, one in each pause, as they are at ``until``."""
    cached: dict[int, Any] = {}
    for at in range(groups * frames):
        now = at * pause
        if now <= until:
            new = SimpleNamespace(opened_at=now, touched_at=now, chunks=[])
            group = cached.setdefault(at // frames, new)
            group.touched_at = now
            group.chunks.append(FRAME)
            group.size = len(FRAME) * len(group.chunks)
    found: Any = Shown(below="", name="v", viewers=0, latest=groups - 1, groups=cached)
    return track(found, Inner(())).bits_per_second


@pytest.mark.parametrize(("groups", "frames"), [(2, 1), (3, 1), (40, 1), (2, 25), (3, 2), (1, 60)])
def test_the_rate_is_that_at_which_frames_come(groups: int, frames: int) -> None:
    assert rate(groups, frames, 0.04) == pytest.approx(200_000)


def test_a_group_that_has_just_begun_makes_no_other_rate() -> None:
    """One frame of it is there, and all of the one before."""
    assert rate(2, 25, 0.04, until=1.001) == pytest.approx(200_000)


def test_what_has_just_begun_has_none() -> None:
    assert rate(0, 1, 0.04) == rate(1, 1, 0.04) == 0.0
    assert rate(1, 25, 0.001) == 0.0  # one frame may come in as many pieces
