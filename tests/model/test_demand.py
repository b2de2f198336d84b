"""Aggregation: highest priority, ordered if all, longest latency, lowest start, highest end."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from relay.model.demand import Demand, Tally

DEMANDS = st.builds(
    Demand,
    st.integers(0, 3),
    st.booleans(),
    st.integers(0, 3),
    st.none() | st.integers(0, 3),
    st.none() | st.integers(0, 3),
)


def total(*demands, max_latency=None, latest=None):
    tally = Tally()
    for demand in demands:
        tally.add(demand)
    return tally.total(max_latency, latest)


def test_nobody_wants_nothing():
    assert total() is None


def test_the_rules_one_by_one():
    low = Demand(priority=1, ordered=True, max_latency=10, start=None, end=5)
    high = Demand(priority=9, ordered=False, max_latency=90, start=7, end=8)
    assert total(low, high, latest=7) == Demand(9, False, 90, 7, 8)
    assert total(low, high, Demand(ordered=True), latest=9) == Demand(9, False, 90, 7, None)
    assert total(low, low._replace(priority=2)).ordered
    assert total(low, high, max_latency=50).max_latency == 50
    assert total(high, max_latency=50) == high._replace(max_latency=50)


def test_nobody_who_wants_the_latest_waits_for_a_start_that_may_lie_beyond_it():
    latest, far, first = Demand(), Demand(start=7), Demand(start=0)
    assert total(latest, far, latest=6).start is None
    assert total(latest, far).start is None
    assert total(latest, far, latest=7).start == 7
    assert total(latest, first).start == 0
    assert total(far, Demand(start=9)).start == 7
    assert total(far, latest=6).start == 7


@settings(max_examples=100, deadline=None)
@given(st.lists(DEMANDS, max_size=8), st.integers(0, 8))
def test_what_was_removed_leaves_no_trace(demands, kept):
    tally = Tally()
    for demand in demands:
        tally.add(demand)
    for demand in demands[kept:]:
        tally.remove(demand)
    left = demands[:kept]
    if not left:
        assert tally.total(None) is None
        return
    latest = 3  # no start lies beyond it
    starts = [demand.start for demand in left if demand.start is not None]
    ends = [demand.end for demand in left]
    assert tally.total(2, latest) == Demand(
        max(demand.priority for demand in left),
        all(demand.ordered for demand in left),
        min(2, max(demand.max_latency for demand in left)),
        min(starts) if starts else None,
        None if None in ends else max(ends),
    )
