"""What is shown of all workers together: each one's part, and the parts as one relay's answer.

The law: every worker answers with no more than one page, and what several of them know is shown
once. Nothing here changes anything. This module must not know HTTP, nor how colleagues are asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import groupby
from typing import TYPE_CHECKING, Any

from relay.control.admin import shapes
from relay.errors import NotFound, Unavailable
from relay.model.broadcast import Broadcast
from relay.path import Path
from relay.peer.guest import Guest
from relay.quota import Ledger
from relay.server import showing
from relay.server.inner import Inner
from relay.server.numbers import COUNTER, Key
from relay.server.numbers import Part as Numbers
from relay.server.origins import Origins

if TYPE_CHECKING:
    from relay.server.relay import Relay

Usage = dict[str, dict[str, int]]
"""What tenants use, by the names of the quotas."""

NOW = ("connections", "cached_bytes")
COUNTED = ("bytes_in", "bytes_out", "admitted", "groups_dropped")
BY_NAME = ("refused", "breached")
"""Figures of a worker: such as are now, such as only grow, and such as do and have names."""

# -- sessions --------------------------------------------------------------------------------------


def sessions(relay: Relay, said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One page of this worker's that fit, by id, and one more where there is one."""
    asked = shapes.SessionsAsked.model_validate(said)
    below = Path(asked.root) if asked.root is not None else None
    now = relay.house.clock()
    guests = relay.door.guests
    found: list[dict[str, Any]] = []
    for id in sorted(guests):
        if len(found) > asked.limit:
            break
        if (asked.cursor is None or id > asked.cursor) and _fits(guests[id], asked, below):
            found.append(showing.session(guests[id], now).model_dump(mode="json"))
    return found


def session_page(parts: Iterable[list[dict[str, Any]]], limit: int) -> dict[str, Any]:
    """One page of all workers'."""
    rows = sorted((row for part in parts for row in part), key=lambda row: str(row["id"]))
    cursor = rows[limit - 1]["id"] if len(rows) > limit else None
    return {"sessions": rows[:limit], "cursor": cursor}


def _fits(guest: Guest, asked: shapes.SessionsAsked, below: Path | None) -> bool:
    grant = guest.grant
    if asked.tenant is not None and (grant is None or (grant.tenant or "") != asked.tenant):
        return False
    if asked.subject is not None and (grant is None or grant.subject != asked.subject):
        return False
    return below is None or (grant is not None and grant.root.is_under(below))


async def holder(relay: Relay, id: str) -> int:
    """Which worker has a session. Raises `NotFound`, `Unavailable` when that cannot be known."""
    if id in relay.door.guests:
        return relay.colleagues.share.index
    answers = await relay.colleagues.ask_all("holds", id)
    for worker, has in answers.by_worker.items():
        if has:
            return worker
    if answers.silent:
        raise Unavailable(f"there is no such session, unless worker {answers.silent[0]} has it")
    raise NotFound("there is no such session here")


# -- what is on air --------------------------------------------------------------------------------


def broadcasts(relay: Relay, said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One page of what is on air for this worker, by path, and one more where there is one."""
    asked = shapes.BroadcastsAsked.model_validate(said)
    inner = Inner(relay.door.links.values())
    return [
        showing.broadcast(found, inner).model_dump(mode="json") for found in _on_air(relay, asked)
    ]


def _on_air(relay: Relay, asked: shapes.BroadcastsAsked | shapes.RoutesAsked) -> list[Broadcast]:
    """One page of it by path, and one more where there is one."""
    prefix = Path(asked.prefix)
    found = {
        each.path: each
        for each in relay.house.origin.on_air()
        if each.path.is_under(prefix) and (asked.cursor is None or each.path > asked.cursor)
    }
    return [found[path] for path in sorted(found)[: asked.limit + 1]]


def routes(relay: Relay, said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One page of what is on air for this worker, with the routes that end here and how many watch
    here; one more where there is one."""
    asked = shapes.RoutesAsked.model_validate(said)
    inner, origins = Inner(relay.door.links.values()), Origins(relay)
    return [
        {
            "path": found.path,
            "viewers": sum(map(inner.viewers, found.all_tracks)),
            "routes": [
                row.model_dump(mode="json") for row in origins.routes(found, inner.routes(found))
            ],
        }
        for found in _on_air(relay, asked)
    ]


def route_page(parts: Iterable[list[dict[str, Any]]], limit: int) -> dict[str, Any]:
    """One page of all workers': whole broadcasts, their viewers with the route that serves."""
    rows = sorted((row for part in parts for row in part), key=lambda row: str(row["path"]))
    found: list[dict[str, Any]] = []
    for _, same in groupby(rows, key=lambda row: str(row["path"])):
        if len(found) >= limit:
            return {"routes": found, "cursor": found[-1]["path"]}
        several = list(same)
        ways = sorted(
            (way for row in several for way in row["routes"]), key=lambda way: not way["serves"]
        )
        if ways:
            ways[0]["viewers"] = sum(row["viewers"] for row in several)
        found += ways
    return {"routes": found, "cursor": None}


def broadcast_page(parts: Iterable[list[dict[str, Any]]], limit: int) -> dict[str, Any]:
    """One page of all workers': a row for each broadcast."""
    rows = sorted((row for part in parts for row in part), key=lambda row: str(row["path"]))
    whole = [_one(list(same)) for _, same in groupby(rows, key=lambda row: row["path"])]
    cursor = whole[limit - 1]["path"] if len(whole) > limit else None
    return {"broadcasts": whole[:limit], "cursor": cursor}


def _one(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One broadcast as several workers see it."""
    tracks = sorted((each for row in rows for each in row["tracks"]), key=lambda each: each["name"])
    ways = [way for row in rows for way in row["routes"]]
    return {
        "path": rows[0]["path"],
        "viewers": sum(row["viewers"] for row in rows),
        "routes": sorted(ways, key=lambda way: (way["cost"], len(way["hops"]))),
        "tracks": [_track(list(same)) for _, same in groupby(tracks, key=lambda one: one["name"])],
    }


def _track(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One track as several workers see it: its groups are the same, so the most that one has."""
    known = [row["latest"] for row in rows if row["latest"] is not None]
    return {
        "name": rows[0]["name"],
        "viewers": sum(row["viewers"] for row in rows),
        "latest": max(known, default=None),
        "groups": max(row["groups"] for row in rows),
        "cached_bytes": sum(row["cached_bytes"] for row in rows),
        "bits_per_second": max(row["bits_per_second"] for row in rows),
    }


# -- figures ---------------------------------------------------------------------------------------


def usage(relay: Relay, tenant: str | None) -> Usage:
    """What one tenant uses of this worker, or all that are there; of those who are not any more the
    bytes that they have moved, since others may have them still, or they come back."""
    ledger, cache = relay.house.ledger, relay.house.origin.stock.cache
    names = [*ledger.past, *ledger.accounts] if tenant is None else [tenant]
    found = {name: _used(ledger, name) for name in names}
    return {name: used | {"cached_bytes": cache.used_by(name)} for name, used in found.items()}


def _used(ledger: Ledger, tenant: str) -> dict[str, int]:
    if (account := ledger.accounts.get(tenant)) is not None:
        return account.usage()
    moved = ledger.past.get(tenant)
    return {} if moved is None else {"ingress_bytes": moved[0], "egress_bytes": moved[1]}


def is_here(used: Mapping[str, int]) -> bool:
    """Whether there is more of a tenant than what it has moved."""
    return "sessions" in used


def used_by_all(parts: Iterable[Usage]) -> Usage:
    """What they use of all workers."""
    whole: dict[str, Counter[str]] = {}
    for part in parts:
        for tenant, used in part.items():
            whole.setdefault(tenant, Counter()).update(used)
    return {tenant: dict(used) for tenant, used in whole.items()}


def summary(relay: Relay) -> dict[str, Any]:
    """From what the rooms of this worker count anyway."""
    door, endpoint = relay.door, relay.endpoint
    live = (*door.guests.values(), *door.links.values())
    return {
        "connections": endpoint.connections,
        "bytes_in": endpoint.bytes_in,
        "bytes_out": endpoint.outbox.bytes,
        "admitted": door.admitted,
        "refused": relay.judge.refusals.counts,
        "breached": relay.house.ledger.breached,
        "groups_dropped": door.dropped + sum(each.watching.queue.dropped for each in live),
        "cached_bytes": relay.house.origin.stock.cache.used,
        "life": relay.shares.life,
        "began": relay.began,
    }


def counted(part: Mapping[str, Any]) -> Numbers:
    """What of a worker's figures only grows, to be added up as `Tally` does it."""
    samples = [[name, {}, part[name]] for name in COUNTED]
    for name in BY_NAME:
        samples += [[name, {"name": each}, count] for each, count in part[name].items()]
    return Numbers(part["life"], part["began"], [["", "", COUNTER, samples]])


def summed(parts: Collection[Mapping[str, Any]], counts: Mapping[Key, float]) -> dict[str, Any]:
    """The figures of all workers; ``counts`` is all that any of them has counted."""
    now = {name: sum(part[name] for part in parts) for name in NOW}
    by_name: dict[str, dict[str, int]] = {name: {} for name in BY_NAME}
    whole: dict[str, int] = {}
    for (name, labels), count in counts.items():
        if name not in by_name:
            whole[name] = int(count)
        elif count:  # none is left of what others had counted before the first worker began anew
            by_name[name][dict(labels)["name"]] = int(count)
    return now | whole | {name: showing.counts(found) for name, found in by_name.items()}


def mesh(relay: Relay) -> dict[str, Any]:
    """The mesh as this worker sees it, without the others."""
    return relay.cluster.nodes(is_whole=False) | {"sessions": len(relay.door.guests)}


def merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The mesh as all workers see it; the first one's part comes first, and only it dials."""
    nodes: dict[str, dict[str, Any]] = {}
    for node in (each for part in parts for each in part["nodes"]):
        known = nodes.setdefault(node["node"], node | {"connections": []})
        known["connections"] = known["connections"] + node["connections"]
        known["origin_id"] = known["origin_id"] or node["origin_id"]
        heard = [way for way in (known["announced"], node["announced"]) if way is not None]
        known["announced"] = min(
            heard, key=lambda way: (way["cost"], way["hop_count"]), default=None
        )
    links = [link for part in parts for link in part["links"]]
    return parts[0] | {"nodes": [nodes[key] for key in sorted(nodes)], "links": links}


def holds(relay: Relay, id: str) -> bool:
    """Whether a session is here."""
    return id in relay.door.guests


PARTS: dict[str, Callable[..., Any]] = {
    "holds": holds,
    "sessions": sessions,
    "broadcasts": broadcasts,
    "routes": routes,
    "usage": usage,
    "summary": summary,
    "mesh": mesh,
}
"""What colleagues may ask of it, and how a worker answers."""
