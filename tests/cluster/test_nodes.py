from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from relay.cluster.address import parse
from relay.cluster.gossip import ORIGINS, Nothing
from relay.cluster.link import Link
from relay.cluster.nodes import snapshot
from relay.model.board import Price
from relay.model.origin import Origin


def guest(id: str, peer: int, cost: int = 1) -> Any:
    return SimpleNamespace(
        id=id,
        price=cost,
        began=90.0,
        session=SimpleNamespace(peer_origin=peer, version="moq-lite-05"),
        transport=SimpleNamespace(rtt=0.0123, traffic=lambda: (10, 20)),
        announcements=SimpleNamespace(routes={1: 1}),
        publishing=SimpleNamespace(feeds={}),
        watching=SimpleNamespace(viewings={1: 1, 2: 2}),
    )


def link(url: str, session: Any = None, trouble: str = "") -> Link:
    made = Link(parse(url), None, None, lambda: 95.0, lambda event, **facts: None)  # type: ignore[arg-type]
    made.state.session = session and SimpleNamespace(guest=session)
    made.state.trouble = trouble
    return made


def test_the_mesh_as_one_relay_sees_it() -> None:
    origin = Origin(1)
    for name, hops in (("https://me/", ()), ("https://b:1/", (2,)), ("https://far/", (3, 2))):
        origin.announce(ORIGINS.join(name), Nothing(), hops, 0.0, Price(len(hops), len(hops)))
    dialled, came, nameless = guest("d", 9, cost=5), guest("c", 2), guest("n", 0)
    links = [link("https://d:1/", dialled), link("https://down/", trouble="refused")]
    shown = snapshot(origin, "https://me/", links, [dialled, came, nameless], 100.0)
    assert (shown["node"], shown["origin_id"]) == ("https://me/", "1")
    nodes = {node["node"]: node for node in shown["nodes"]}
    assert list(nodes) == ["https://b:1/", "https://d:1/", "https://far/", "session n"]
    assert nodes["https://far/"]["announced"] == {"hops": ["3", "2"], "hop_count": 2, "cost": 2}
    assert nodes["https://far/"]["connections"] == []
    assert nodes["https://d:1/"]["origin_id"] == "9"
    (line,) = nodes["https://d:1/"]["connections"]
    assert line == {
        "id": "d",
        "direction": "outbound",
        "version": "moq-lite-05",
        "cost": 5,
        "seconds": 10.0,
        "rtt_ms": 12.3,
        "bytes_sent": 10,
        "bytes_received": 20,
        "publishes": 1,
        "subscribed": 0,
        "viewing": 2,
    }
    assert nodes["https://b:1/"]["connections"][0]["direction"] == "inbound"
    assert [(each["peer"], each["up"], each["trouble"]) for each in shown["links"]] == [
        ("https://d:1/", True, ""),
        ("https://down/", False, "refused"),
    ]


def test_a_relay_alone() -> None:
    shown = snapshot(Origin(1), None, [], [], 0.0)
    assert shown == {"node": None, "origin_id": "1", "nodes": [], "links": []}


def test_a_name_that_is_no_url_is_shown_as_it_is() -> None:
    origin = Origin(1)
    origin.announce(ORIGINS.join("ftp://x"), Nothing(), (2,), 0.0)
    assert snapshot(origin, None, [], [], 0.0)["nodes"][0]["node"] == "ftp:/x"
