"""A hundred relays in one process: news reaches everybody, chains stay short, nothing circles.

The links are queues between real origins; whatever a relay tells another is delivered in the order
of each link, the links taken in any order.
"""

from __future__ import annotations

import random
from collections import deque

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.model.board import Price
from relay.model.origin import Origin
from relay.path import ROOT, Path

P = Path("b")
STEP = 0.05


class Half:
    """What one relay hears of another."""

    def __init__(self, net, here, there):
        self.net, self.here, self.there = net, here, there
        self.queue = deque()
        self.routes = {}
        self.is_live = True
        here.relays += 1
        self.watch = there.watch(ROOT, self, exclude=here.id, is_relay=True)

    def announced(self, path, way):
        self.queue.append((path, (*way.hops, self.there.id)))

    def unannounced(self, path):
        self.queue.append((path, None))

    def deliver(self):
        path, hops = self.queue.popleft()
        self.net.messages += 1
        now, route = self.net.now, self.routes.get(path)
        if route is not None and hops and route.hops[0] == hops[0]:
            if not route.update(hops, now, Price(len(hops), len(hops))):
                del self.routes[path]
            return
        if route is not None:
            self.routes.pop(path).withdraw(now)
        if hops:
            price = Price(len(hops), len(hops))
            route = self.here.announce(path, self.net.source, hops, now, price)
            if route is not None:
                self.routes[path] = route

    def cut(self):
        self.is_live = False
        self.queue.clear()
        self.watch.cancel()
        self.here.relays -= 1
        routes, self.routes = self.routes, {}
        for route in routes.values():
            route.lose(self.net.now)


class Net:
    """Relays and the links between them."""

    def __init__(self, source, size, edges, seed):
        self.random = random.Random(seed)
        self.source, self.now, self.messages = source, 0.0, 0
        self.origins = [Origin(number + 1) for number in range(size)]
        self.links = {}
        for edge in edges:
            self.link(edge)

    def link(self, edge):
        a, b = (self.origins[index] for index in edge)
        self.links[edge] = (Half(self, a, b), Half(self, b, a))

    def cut(self, edge):
        for half in self.links.pop(edge):
            half.cut()

    def settle(self, seconds=1.0):
        """Deliver everything, as time goes by."""
        for _ in range(round(seconds / STEP)):
            while busy := [half for pair in self.links.values() for half in pair if half.queue]:
                self.random.shuffle(busy)
                for half in busy:
                    if half.queue:
                        half.deliver()
                assert self.messages < 200_000, "it circulates"
            self.now += STEP
            for origin in self.origins:
                origin.tick(self.now)

    def shown(self):
        """The chain that each relay's viewers see."""
        found = (origin.find(P) for origin in self.origins)
        return [None if each is None or not each.routes else each.routes[0].hops for each in found]

    def distances(self, start):
        """Links from a relay to every other, by breadth-first search."""
        seen, edge = {start: 0}, [start]
        while edge:
            edge = [
                other
                for here in edge
                for link in self.links
                if here in link
                for other in link
                if other not in seen and seen.setdefault(other, seen[here] + 1)
            ]
        return seen

    def is_right(self, start, identity):
        """Whether everybody within reach has a shortest chain, and nobody else any."""
        distances = self.distances(start)
        for index, hops in enumerate(self.shown()):
            if index not in distances:
                assert hops is None
                continue
            assert hops is not None, f"relay {index} has not heard of it"
            assert hops[0] == identity
            assert len(set(hops)) == len(hops)
            assert len(hops) == distances[index] + 1


def grown(size, extra, seed):
    """A connected graph: a random tree and some more links."""
    rnd = random.Random(seed)
    edges = {(rnd.randrange(index), index) for index in range(1, size)}
    while len(edges) < size - 1 + extra:
        edges.add(tuple(sorted(rnd.sample(range(size), 2))))
    return sorted(edges)


@settings(max_examples=12, deadline=None)
@given(extra=st.integers(0, 300), seed=st.integers(0, 10**6))
def test_a_hundred_relays_agree_on_shortest_chains_and_forget(fakes, extra, seed):
    edges = grown(100, extra, seed)
    net = Net(fakes.Source(), 100, edges, seed)
    route = net.origins[0].announce(P, net.source, (9999,), net.now)
    net.settle()
    net.is_right(0, 9999)
    assert net.messages <= 4 * len(edges)
    net.messages = 0
    route.withdraw(net.now)
    net.settle()
    assert net.shown() == [None] * 100
    assert net.messages <= 6 * len(edges)
    assert [origin._stages for origin in net.origins] == [{}] * 100


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(3, 30),
    extra=st.integers(1, 60),
    seed=st.integers(0, 10**6),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 10**6)), max_size=8),
)
def test_links_come_and_go(fakes, size, extra, seed, steps):
    edges = grown(size, min(extra, size * (size - 1) // 2 - size + 1), seed)
    net, gone = Net(fakes.Source(), size, edges, seed), []
    net.origins[0].announce(P, net.source, (9999,), net.now)
    for is_cut, pick in steps:
        pool = sorted(net.links) if is_cut else gone
        if pool:
            edge = pool[pick % len(pool)]
            if is_cut:
                net.cut(edge)
                gone.append(edge)
            else:
                gone.remove(edge)
                net.link(edge)
        net.settle(0.5)
    net.settle(7.0)
    net.is_right(0, 9999)


@pytest.mark.parametrize("size", [2, 3, 5, 20])
def test_a_relay_that_dies_takes_what_was_published_there_with_it(fakes, size):
    net = Net(fakes.Source(), size, [(a, b) for b in range(size) for a in range(b)], size)
    net.origins[0].announce(P, net.source, (9999,), net.now)
    net.settle()
    for edge in [edge for edge in net.links if 0 in edge]:
        net.cut(edge)
    net.settle()
    relay_views = [origin.board.shown(ROOT) for origin in net.origins[1:]]
    assert all(not way.is_sure for view in relay_views for _, ways in view for way in ways)
    net.settle(6.0)
    assert net.shown()[1:] == [None] * (size - 1)


@example(size=7, extra=0, seed=182476, rivals=[(1, 1000), (4, 1008)])
@example(size=10, extra=2, seed=76614, rivals=[(3, 8305), (7, 4580)])
@settings(max_examples=100, deadline=None)
@given(
    size=st.integers(2, 10),
    extra=st.integers(0, 12),
    seed=st.integers(0, 10**6),
    rivals=st.lists(
        st.tuples(st.integers(0, 9), st.integers(1000, 9000)),
        min_size=2,
        max_size=6,
        unique_by=lambda rival: rival[1],
    ),
)
def test_any_number_of_rivals_anywhere_ends_in_one_winner(fakes, size, extra, seed, rivals):
    edges = grown(size, min(extra, size * (size - 1) // 2 - size + 1), seed)
    bridge = edges[len(edges) // 2]
    net = Net(fakes.Source(), size, [edge for edge in edges if edge != bridge], seed)
    for where, identity in rivals:
        net.origins[where % size].announce(P, net.source, (identity,), net.now)
        net.settle(STEP)
    net.settle()
    net.link(bridge)
    net.settle(8.0)
    assert len({hops[0] for hops in net.shown() if hops}) == 1
    before = net.messages
    net.settle(2.0)
    assert net.messages == before, "it goes on for ever"


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(2, 16),
    extra=st.integers(0, 20),
    seed=st.integers(0, 10**6),
    rivals=st.tuples(st.integers(1000, 2000), st.integers(2001, 3000)),
)
def test_rivals_on_both_sides_of_a_healed_partition_end_in_one_winner(
    fakes, size, extra, seed, rivals
):
    edges = grown(size, min(extra, size * (size - 1) // 2 - size + 1), seed)
    bridge = edges[len(edges) // 2]
    net = Net(fakes.Source(), size, [edge for edge in edges if edge != bridge], seed)
    net.origins[bridge[0]].announce(P, net.source, (rivals[0],), net.now)
    net.origins[bridge[1]].announce(P, net.source, (rivals[1],), net.now)
    net.settle()
    net.link(bridge)
    net.settle(8.0)
    heads = {hops[0] for hops in net.shown() if hops}
    assert len(heads) == 1
    before = net.messages
    net.settle(2.0)
    assert net.messages == before, "it goes on for ever"
