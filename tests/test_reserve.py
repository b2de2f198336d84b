"""What only relays do, and where."""

from __future__ import annotations

import pytest

from relay.path import ROOT, Path
from relay.reserve import INTERNAL, NOTHING_MORE, Reserve, of_every_relay

NUMBERS = Reserve((Path("own/stats"), Path(".stats")))


@pytest.mark.parametrize(
    ("verb", "path", "why"),
    [
        ("publish", ".internal", "only relays publish below .internal"),
        ("publish", ".internal/relays/1", "only relays publish below .internal"),
        ("subscribe", ".internal/relays/1", "only relays subscribe below .internal"),
        ("publish", ".stats/node/x", "only relays publish below .stats"),
        ("publish", "own/stats", "only relays publish below own/stats"),
        ("subscribe", ".stats/node/x", ""),
        ("publish", ".statistics", ""),
        ("publish", "demo/.internal", ""),
        ("publish", "own", ""),
        ("publish", "", ""),
    ],
)
def test_why_nobody_but_a_relay_may(verb: str, path: str, why: str) -> None:
    assert NUMBERS.bars(verb, Path(path)) == why


def test_without_numbers_there_is_what_relays_tell_each_other() -> None:
    assert NOTHING_MORE.bars("publish", Path(".stats")) == ""
    assert NOTHING_MORE.bars("publish", INTERNAL) != ""


def test_relays_tell_each_other_of_the_cluster_at_the_top_only() -> None:
    assert of_every_relay(ROOT) == (INTERNAL,)
    assert of_every_relay(Path("demo")) == ()
