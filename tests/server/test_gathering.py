"""Parts of several workers put together: pages in order and whole, each broadcast once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from relay.control.admin import shapes
from relay.quota import Ledger
from relay.server.gathering import (
    broadcast_page,
    counted,
    is_here,
    merged,
    session_page,
    summed,
    usage,
    used_by_all,
)
from relay.server.numbers import Tally

names = st.text("abcdef", min_size=1, max_size=3)
paths = st.text("ab/ \x01\n\x7f\x85é%", min_size=1, max_size=3)


@given(st.lists(st.sets(paths, max_size=12), min_size=1, max_size=4), st.integers(1, 5))
def test_pages_hold_everything_once_and_in_order(held: list[set[str]], limit: int) -> None:
    """Each worker answers with a page and one more; what several have is one row."""

    def part(mine: set[str], cursor: str | None) -> list[dict[str, Any]]:
        rest = sorted(name for name in mine if cursor is None or name > cursor)
        return [row(name) for name in rest[: limit + 1]]

    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = broadcast_page([part(mine, cursor) for mine in held], limit)
        rows = page["broadcasts"]
        assert len(rows) <= limit
        for each in rows:
            assert each["viewers"] == sum(each["path"] in mine for mine in held)
        seen += [each["path"] for each in rows]
        cursor = page["cursor"]
        if cursor is None:
            break
        assert rows[-1]["path"] == cursor
        for asked in (shapes.BroadcastsAsked, shapes.RoutesAsked):
            assert asked(cursor=cursor, prefix=cursor).cursor == cursor
    assert seen == sorted(set().union(*held))


def row(path: str, **track: Any) -> dict[str, Any]:
    return {"path": path, "viewers": 1, "routes": [], "tracks": [track] if track else []}


@given(st.lists(names, unique=True, max_size=30), st.integers(1, 4), st.integers(1, 5))
def test_sessions_are_paged_over_all(ids: list[str], workers: int, limit: int) -> None:
    seen: list[str] = []
    cursor: str | None = None
    while True:
        parts = [
            [{"id": id} for id in sorted(ids[n::workers]) if cursor is None or id > cursor]
            for n in range(workers)
        ]
        page = session_page([part[: limit + 1] for part in parts], limit)
        seen += [each["id"] for each in page["sessions"]]
        if (cursor := page["cursor"]) is None:
            break
    assert seen == sorted(ids)


def track(viewers: int, latest: int | None, groups: int, size: int, rate: float) -> dict[str, Any]:
    return {
        "name": "video",
        "viewers": viewers,
        "latest": latest,
        "groups": groups,
        "cached_bytes": size,
        "bits_per_second": rate,
    }


def test_one_broadcast_as_two_workers_see_it() -> None:
    here = row("a", **track(2, 7, 3, 300, 10.0))
    here["routes"] = [{"hops": ["1"], "cost": 1}]
    there = row("a", **track(3, None, 1, 100, 0.0))
    there["routes"] = [{"hops": ["2"], "cost": 0}]
    (one,) = broadcast_page([[here], [there]], 9)["broadcasts"]
    assert one["viewers"] == 2
    assert [way["cost"] for way in one["routes"]] == [0, 1]
    assert one["tracks"] == [track(5, 7, 3, 400, 10.0)]


def figures(life: str, admitted: int, **refused: int) -> dict[str, Any]:
    """What a worker says of itself."""
    moved = {"bytes_in": 10 * admitted, "bytes_out": 0, "groups_dropped": 0, "breached": {}}
    now = {"connections": admitted, "cached_bytes": 5, "life": life, "began": 1.0}
    return moved | now | {"admitted": admitted, "refused": refused}


def test_figures_are_added_up() -> None:
    parts = {0: figures("a", 1, x=1, y=2), 1: figures("b", 2, x=4)}
    parts[1]["breached"] = {"sessions": 1}
    counts = Tally(0.0).take({worker: counted(part) for worker, part in parts.items()})
    whole = summed(parts.values(), counts)
    assert (whole["admitted"], whole["bytes_in"]) == (3, 30)
    assert (whole["connections"], whole["cached_bytes"]) == (3, 10)
    assert [(each.name, each.count) for each in whole["refused"]] == [("x", 5), ("y", 2)]
    assert [(each.name, each.count) for each in whole["breached"]] == [("sessions", 1)]
    usages = [{"a": {"sessions": 1}}, {"a": {"sessions": 2}, "b": {"tracks": 0}}]
    assert used_by_all(usages) == {"a": {"sessions": 3}, "b": {"tracks": 0}}


def test_what_was_counted_stays_when_a_worker_dies_or_hangs() -> None:
    tally = Tally(0.0)

    def told(*parts: dict[str, Any]) -> tuple[int, int, int, int]:
        counts = tally.take({worker: counted(part) for worker, part in enumerate(parts)})
        whole = summed(parts, counts)
        refused = sum(each.count for each in whole["refused"])
        return whole["admitted"], refused, whole["bytes_in"], whole["connections"]

    assert told(figures("a", 1, x=1), figures("b", 2, y=2)) == (3, 3, 30, 3)
    assert told(figures("a", 1, x=1)) == (3, 3, 30, 1)
    assert told(figures("a", 2, x=1), figures("c", 1, y=1)) == (5, 4, 50, 3)


def test_what_did_not_happen_since_the_first_worker_began_is_not_shown() -> None:
    part = figures("b", 2, x=3)
    whole = summed([part], Tally(part["began"] + 1).take({1: counted(part)}))
    assert (whole["admitted"], whole["refused"]) == (0, [])


def test_the_mesh_as_two_workers_see_it() -> None:
    def node(name: str, hops: int | None, *connections: int) -> dict[str, Any]:
        far = {"hops": ["9"] * hops, "hop_count": hops, "cost": hops} if hops else None
        return {"node": name, "origin_id": "9", "announced": far, "connections": [*connections]}

    parts = [
        {"node": "me", "nodes": [node("x", 2), node("y", 1, 1)], "links": [{"peer": "y"}]},
        {"node": "me", "nodes": [node("x", 1, 2), node("y", None, 3)], "links": []},
    ]
    found = merged(parts)
    assert [each["node"] for each in found["nodes"]] == ["x", "y"]
    assert [each["connections"] for each in found["nodes"]] == [[2], [1, 3]]
    assert [each["announced"]["cost"] for each in found["nodes"]] == [1, 1]
    assert (found["node"], found["links"]) == ("me", [{"peer": "y"}])


class Worker:
    """As much of a worker as is asked what its tenants use."""

    def __init__(self) -> None:
        self.now = 0.0
        self.ledger = Ledger()
        cache = SimpleNamespace(used_by=lambda tenant: 7)
        origin = SimpleNamespace(stock=SimpleNamespace(cache=cache))
        self.house: Any = SimpleNamespace(ledger=self.ledger, origin=origin)

    def visit(self, tenant: str, sent: int) -> None:
        """Somebody comes, gets so many bytes, goes, and a while passes."""
        tab = self.ledger.enter(tenant, self.now)
        tab.sent(sent, self.now)
        tab.close()
        self.now += 10.0
        self.ledger.tick(self.now)


def test_what_a_tenant_has_moved_never_becomes_less() -> None:
    here, there = Worker(), Worker()
    told = []
    for worker in (here, there, here, there):
        worker.visit("plant", 100)
        parts = [usage(each, "plant") for each in (here, there)]  # type: ignore[arg-type]
        told.append(used_by_all(parts)["plant"]["egress_bytes"])
    assert told == [100, 200, 300, 400]


def test_who_is_at_one_worker_only_has_moved_what_went_at_all_of_them() -> None:
    here, there = Worker(), Worker()
    there.visit("plant", 100)
    there.visit("gone", 100)
    here.ledger.enter("plant", 0.0).sent(1, 0.0)
    whole = used_by_all(usage(each, None) for each in (here, there))  # type: ignore[arg-type]
    assert whole["plant"]["egress_bytes"] == 101
    assert {tenant for tenant, used in whole.items() if is_here(used)} == {"plant"}


def test_nothing_is_known_of_a_stranger() -> None:
    assert usage(Worker(), "nobody") == {"nobody": {"cached_bytes": 7}}  # type: ignore[arg-type]
