"""The mesh as this relay sees it: who tells of itself, who is linked, which way, how well.

The shape is upstream's ``/nodes`` with more in it. This module must not know how it is shown.
"""

from __future__ import annotations

from typing import Any

from relay.cluster.address import advertised, parse
from relay.cluster.gossip import ORIGINS
from relay.cluster.link import Link, facts
from relay.errors import ConfigError
from relay.model.board import Ways
from relay.model.origin import Origin
from relay.peer.guest import Guest


def snapshot(
    origin: Origin, node: str | None, links: list[Link], guests: list[Guest], now: float
) -> dict[str, Any]:
    """What ``GET /nodes`` answers. ``guests`` are the relays that we have a session with."""
    named = {str(path.relative_to(ORIGINS)): ways for path, ways in origin.board.shown(ORIGINS)}
    ids = {
        _key(name): ways[0].hops[0] if ways[0].hops else origin.id for name, ways in named.items()
    }
    dialled = {
        link.state.session.guest.id: link.address.key
        for link in links
        if link.state.session is not None
    }
    nodes: dict[str, dict[str, Any]] = {}
    for name, ways in named.items():
        nodes[_key(name)] = _node(_key(name), str(ids[_key(name)]), _announcement(ways))
    for guest in guests:
        peer = guest.session.peer_origin
        key = dialled.get(guest.id) or next((k for k, id in ids.items() if id == peer), None)
        if key is None:
            key = f"origin {peer}" if peer else f"session {guest.id}"
        entry = nodes.setdefault(key, _node(key, str(peer) if peer else None, None))
        entry["origin_id"] = entry["origin_id"] or (str(peer) if peer else None)
        entry["connections"].append(_connection(guest, guest.id in dialled, now))
    own = _key(node) if node else None
    return {
        "node": own,
        "origin_id": str(origin.id),
        "nodes": [nodes[key] for key in sorted(nodes) if key != own],
        "links": [facts(link, now) for link in links],
    }


def _key(name: str) -> str:
    try:
        return parse(advertised(name)).key
    except ConfigError:
        return name


def _node(key: str, id: str | None, announced: dict[str, Any] | None) -> dict[str, Any]:
    return {"node": key, "origin_id": id, "announced": announced, "connections": []}


def _announcement(ways: Ways) -> dict[str, Any]:
    hops = [str(hop) for hop in ways[0].hops]
    return {"hops": hops, "hop_count": len(hops), "cost": ways[0].cost}


def _connection(guest: Guest, is_ours: bool, now: float) -> dict[str, Any]:
    transport = guest.transport
    sent, received = transport.traffic()
    return {
        "id": guest.id,
        "direction": "outbound" if is_ours else "inbound",
        "version": guest.session.version,
        "cost": guest.price,
        "seconds": round(max(0.0, now - guest.began), 1),
        "rtt_ms": round(transport.rtt * 1000, 2),
        "bytes_sent": sent,
        "bytes_received": received,
        "publishes": len(guest.announcements.routes),
        "subscribed": len(guest.publishing.feeds),
        "viewing": len(guest.watching.viewings),
    }
