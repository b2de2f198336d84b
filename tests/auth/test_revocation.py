"""Who is revoked, for how long, and what asking costs."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.auth.grant import Grant
from relay.auth.revocation import DIMENSIONS, Holder, Revocation, Revocations
from relay.errors import BadRequest
from relay.path import Path

NOW = 1_700_000_000.0
ALICE = Holder("t1", "alice", "k1", "demo", NOW - 100)


@pytest.mark.parametrize(("dimension", "value"), list(zip(DIMENSIONS, ALICE[:5], strict=True)))
def test_each_dimension(dimension: str, value: object) -> None:
    named = "" if dimension == "all" else str(value)
    before = NOW if dimension == "all" else None
    entry = Revocation(dimension, named, before, id=7)
    index = Revocations([entry])
    assert index.check(ALICE, NOW) is entry
    assert index.check(Holder(issued=NOW), NOW) is None
    assert index.check(Holder("x", "x", "x", "x", NOW), NOW) is None


def test_what_strikes_a_parents_key_strikes_the_child() -> None:
    entry = Revocation("kid", "k0", id=7)
    index = Revocations([entry])
    child = ALICE._replace(parent_kids=("k5", "k0"))
    assert index.check(child, NOW) is entry
    assert entry.strikes(child)
    assert index.check(ALICE, NOW) is None
    assert index.check(ALICE._replace(parent_kids=("k9",)), NOW) is None


def test_nobody_has_an_empty_name() -> None:
    index = Revocations([Revocation("sub", "alice"), Revocation("kid", "k1")])
    assert index.check(Holder(), NOW) is None


def test_time_of_issue() -> None:
    entry = Revocation("sub", "alice", issued_before=NOW)
    assert entry.strikes(ALICE)
    assert not entry.strikes(ALICE._replace(issued=NOW))
    assert entry.strikes(ALICE._replace(issued=None))


def test_an_entry_ends_by_itself() -> None:
    index = Revocations([Revocation("sub", "alice", expires=NOW)])
    assert index.check(ALICE, NOW - 0.1)
    assert index.check(ALICE, NOW) is None
    assert len(index) == 1
    index.expire(NOW)
    assert len(index) == 0


def test_what_is_covered_is_dropped() -> None:
    index = Revocations()
    for entry in (
        Revocation("sub", "alice", NOW - 500, NOW + 10, id=1),
        Revocation("sub", "alice", NOW, NOW + 10, id=2),
        Revocation("sub", "alice", NOW - 500, NOW + 5, id=3),
        Revocation("sub", "alice", None, NOW + 1, id=4),
    ):
        index.add(entry)
    assert sorted(entry.id for entry in index) == [2, 4]
    assert len(index) == 2
    index.replace([Revocation("jti", "t1")])
    assert [entry.value for entry in index] == ["t1"]


def test_an_entry_is_known_by_its_number_once_it_has_one() -> None:
    index = Revocations([Revocation("sub", "alice", NOW)])
    index.add(Revocation("sub", "alice", NOW, id=7))
    index.add(Revocation("sub", "alice", NOW, id=8))
    index.add(Revocation("sub", "alice", NOW))
    assert [entry.id for entry in index] == [7]
    renewed = Revocation("sub", "alice", NOW, created=NOW, id=7)
    index.add(renewed)
    assert list(index) == [renewed]
    assert len(index) == 1


@pytest.mark.parametrize(
    "entry",
    [
        Revocation("iss", "x"),
        Revocation("sub", ""),
        Revocation("sub", "x" * 513),
        Revocation("all"),
        Revocation("all", "x", NOW),
        Revocation("tenant", "a/b"),
        Revocation("sub", "x", reason="x" * 513),
    ],
)
def test_an_entry_without_sense(entry: Revocation) -> None:
    with pytest.raises(BadRequest):
        entry.require_sense()


def test_an_entry_with_sense() -> None:
    Revocation("all", issued_before=NOW).require_sense()
    Revocation("tenant", "demo").require_sense()


def test_ten_thousand_entries_cost_no_more_than_ten() -> None:
    def cost(count: int) -> float:
        index = Revocations(Revocation("jti", f"id{n}", id=n) for n in range(count))
        best = float("inf")
        for _ in range(5):
            began = time.perf_counter()
            for _ in range(1000):
                index.check(ALICE, NOW)
            best = min(best, time.perf_counter() - began)
        return best / 1000

    assert cost(10_000) < 5 * cost(10) + 20e-6


def test_a_grant_is_a_holder() -> None:
    grant = Grant(Path("x"), subject="s", kid="k", jti="j", tenant="x", issued=5.0)
    assert grant.holder == Holder("j", "s", "k", "x", 5.0)


names = st.sampled_from(["a", "b"])
times = st.none() | st.sampled_from([NOW - 1, NOW, NOW + 1])
entries = st.builds(Revocation, st.sampled_from(DIMENSIONS[:4]), names, times, times)
holders = st.builds(Holder, names, names, names, names, times)


@given(listed=st.lists(entries, max_size=8), holder=holders)
@settings(max_examples=200, deadline=None)
def test_the_index_agrees_with_looking_at_each(listed: list[Revocation], holder: Holder) -> None:
    expected = any(each.is_active(NOW) and each.strikes(holder) for each in listed)
    assert bool(Revocations(listed).check(holder, NOW)) is expected
