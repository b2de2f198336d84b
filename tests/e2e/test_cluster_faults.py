"""Links to relays that misbehave, and what is left of them afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path as File
from typing import Any

import pytest
from mesh import TRUST, Node, more, scene, settled

from descriptors import open_files
from pace import until, within
from ports import free_ports
from relay import client as client_module
from relay.auth.grant import Grant
from relay.auth.revocation import Revocation
from relay.client import Client, connect
from relay.cluster import link as link_module
from relay.cluster import twins
from relay.errors import SessionLost
from relay.model.track import TrackInfo
from relay.path import Path
from relay.peer.local import LocalBroadcast
from relay.peer.reading import ReadFrame
from relay.records.office import Operator

pytestmark = pytest.mark.usefixtures("quick")

WHO = Operator("test")


def test_a_relay_that_hangs_in_setup_costs_only_its_link(
    node: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from relay.cluster import cluster as cluster_module

    monkeypatch.setattr(cluster_module, "BEGIN", 0.3)

    async def main() -> None:
        async with node() as a, node() as good:
            a.relay.door._seat = lambda visit, protocol, *rest: visit.accept(Mute(), protocol)
            async with node(connect=[a.url(), good.url()]) as b:
                await until(lambda: good.relays())
                await until(lambda: len(b.events("link refused")) >= 2)
                assert "introduce itself" in b.events("link refused")[0]["why"]
                assert len(b.relay.door.links) <= 2

    asyncio.run(main())


class Mute:
    """Somebody who lets everybody in and says nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args: None


def test_a_publisher_elsewhere_that_was_replaced_does_not_come_between_the_next_two(
    node: Any,
) -> None:
    async def main() -> None:
        async with node() as a, node(connect=[a.url()]) as b, contextlib.AsyncExitStack() as stack:
            await until(b.up)

            async def publishes_at(where: Node) -> Client:
                """One more publisher of the path, once it has it on both relays."""
                client = await stack.enter_async_context(connect(where.url("/anon"), tls=TRUST))
                client.create_broadcast("cam")
                await until(lambda: identities() == [client.origin.id] * 2)
                return client

            def identities() -> list[int]:
                found = [each.relay.house.origin.find(Path("anon/cam")) for each in (a, b)]
                return [broadcast.identity if broadcast else 0 for broadcast in found]

            await publishes_at(a)
            await publishes_at(b)
            viewer = await stack.enter_async_context(connect(b.url("/anon"), tls=TRUST))
            changes = viewer.changes()
            assert await changes.queue.get() == (True, Path("cam"))
            newest = await publishes_at(b)
            assert [(await changes.queue.get())[0] for _ in range(2)] == [False, True]
            await asyncio.sleep(0.5)
            assert identities() == [newest.origin.id] * 2
            assert changes.queue.empty(), "and that is all"

    asyncio.run(main())


def test_a_link_that_flaps_leaves_nothing_behind(node: Any) -> None:
    async def main() -> None:
        async with node() as a, node(connect=[a.url()]) as b:
            await settled(a, b)
            gc.collect()  # what earlier tests left open is not ours
            before, files = counts(a, b), open_files()
            link = next(iter(b.relay.cluster.links.values()))
            link_module.FIRST_WAIT = link_module.LONGEST_WAIT = 0.01
            for _ in range(100):
                session = link.state.session
                next(iter(b.relay.door.links.values())).close(SessionLost("flap"))
                await until(lambda: link.state.session not in (None, session))  # noqa: B023
            await until(lambda: a.relays() == 1)
            with contextlib.suppress(TimeoutError):
                await until(lambda: counts(a, b) == before and open_files() <= files, 8)
            assert counts(a, b) == before
            assert open_files() <= files, "some were left open"

    asyncio.run(main())


def counts(*nodes: Node) -> dict[str, int]:
    found = {"tasks": len(asyncio.all_tasks())}
    for number, one in enumerate(nodes):
        relay = one.relay
        found |= {
            f"guests {number}": len(relay.door.guests) + len(relay.door.links),
            f"routes {number}": relay.house.origin.routes,
            f"stages {number}": len(relay.house.origin._stages),
            f"sessions {number}": len(relay.cluster._sessions),
        }
    return found


@contextlib.asynccontextmanager
async def strange(a: Node, minted: Any, target: str = "/") -> AsyncIterator[Client]:
    """A relay of somebody else's make: a session with a cluster token, which hides nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client_module, "Grant", partial(Grant, cluster=True))
        entering = connect(a.url(f"{target}?jwt=" + minted(cluster=True)), tls=TRUST)
        client = await entering.__aenter__()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_exit(entering.__aexit__)
        await until(lambda: client.guest.hearings.answered)
        yield client


def test_chains_with_our_number_and_numbers_like_ours(node: Any, minted: Any) -> None:
    async def main() -> None:
        async with node() as a, node(connect=[a.url()]) as b, strange(a, minted) as client:
            ours, theirs = a.relay.house.origin.id, b.relay.house.origin.id
            source = LocalBroadcast(client.house.clock)
            now = client.house.clock()
            for number, hops in enumerate([(ours,), (5, ours), (5, theirs), (5, 5), (0, 0), (7,)]):
                client.origin.announce(Path(f"x{number}"), source, hops, now)
            long = tuple(range(1000, 1000 + 32))
            client.origin.announce(Path("long"), source, long, now)
            await until(lambda: a.sees("x5") and b.sees("x5"))
            await until(lambda: a.sees("x2"))
            assert not a.sees("x0")
            assert not a.sees("x1")
            assert not b.sees("x2")  # it leads through b
            assert not client.lost.done()
            async with scene(a, b) as watched:
                await watched.check()

    asyncio.run(main())


def test_gossip_and_news_of_a_fool_cost_nobody_anything(node: Any, minted: Any) -> None:
    async def main() -> None:
        (port,) = free_ports(1)
        lines = f'mesh = true\nnode = "https://127.0.0.1:{port}/"\n'
        async with node(lines, connect=[], port=port) as a, strange(a, minted) as client:
            now = client.house.clock()
            source = LocalBroadcast(client.house.clock)
            names = ["https:", "ftp://x", "z..z:1", "z" * 300, "https://z/?cost=" + "9" * 4000]
            for name in [*names, "\x00", "https://[z", "https://zz:99999", "ÿ.invalid:1"]:
                client.origin.announce(Path(f".internal/origins/{name}"), source, (9,), now)
            for number, frames in enumerate([[b"rubbish"], [b"x" * (2 << 20)], [b"[" * 100_000]]):
                told = LocalBroadcast(client.house.clock)
                track = told.create_track("revocations", TrackInfo())
                track.append_group()
                for frame in frames:
                    track.write_frame(frame, 0)
                client.origin.announce(Path(f".internal/relays/{number + 1}"), told, (), now)
            await until(lambda: len(a.events("warning")) >= 3)
            await until(lambda: len(a.events("link refused")) >= 4)
            assert a.events("internal error") == []
            async with scene(a, a) as watched:
                await watched.check()

    asyncio.run(main())


def test_a_flood_of_announcements_is_taken_and_forgotten(node: Any, minted: Any) -> None:
    async def main() -> None:
        async with node() as a, node(connect=[a.url()]) as b:
            await settled(a, b)
            before = b.relay.house.origin.routes
            async with strange(a, minted) as client, scene(a, b) as watched:
                source = LocalBroadcast(client.house.clock)
                began = time.monotonic()
                routes = [
                    client.origin.announce(Path(f"flood/{n}"), source, (), client.house.clock())
                    for n in range(5000)
                ]
                await until(lambda: b.sees("flood/4999"), 30)
                for route in routes:
                    route.withdraw(client.house.clock())
                await until(lambda: not b.sees("flood/4999") and not b.sees("flood/0"), 30)
                assert time.monotonic() - began < 30
                await more(watched)
                assert watched.ended is None
            await until(lambda: b.relay.house.origin.routes == before, 15)

    asyncio.run(main())


def test_a_viewer_relay_that_never_reads_delays_nobody(node: Any, minted: Any) -> None:
    async def main() -> None:
        async with node() as a, node(connect=[a.url()]) as b, strange(a, minted) as client:
            client.guest.stream_received = lambda *args: None  # type: ignore[method-assign]
            async with scene(a, b) as watched:
                await more(watched, 20)
                await watched.check()

    asyncio.run(main())


def test_a_peer_that_says_goaway_is_left_when_it_goes(node: Any) -> None:
    async def main() -> None:
        async with node() as a, node(connect=[a.url()]) as b:
            await until(lambda: b.up() and a.relays())
            for guest in a.relay.door.guests.values():
                guest.session.goaway("https://elsewhere/")
            await until(lambda: b.events("peer is leaving"))
            async with scene(a, b) as watched:
                for guest in tuple(a.relay.door.guests.values()):
                    if guest.grant.cluster:
                        guest.close(SessionLost("gone"))
                await until(lambda: b.up() and len(b.events("link up")) == 2)
                await more(watched)
                assert watched.ended is None

    asyncio.run(main())


def test_a_relay_that_comes_back_with_its_number(node: Any) -> None:
    """Its viewers' tracks at the other relay go on with what it has from then on."""

    async def main() -> None:
        (port,) = free_ports(1)
        lines = "id = 77\n"
        async with contextlib.AsyncExitStack() as first:
            a = await first.enter_async_context(node(lines, port=port))
            async with node(connect=[a.url()]) as b:
                for number in range(3):
                    await until(b.up)
                    await a.relay.desk.office.revoke(WHO, Revocation("jti", f"t{number}"))
                    await within(2.0, lambda: len(list(b.relay.desk.feed.index)) == number + 1)  # noqa: B023
                    await first.aclose()
                    a = await first.enter_async_context(node(lines, port=port))
                    await until(lambda: len(list(a.relay.desk.feed.index)) == number + 1)  # noqa: B023

    asyncio.run(main())


@pytest.mark.parametrize("who_dials", ["the two", "the one between"])
def test_two_relays_with_one_number_are_named_by_the_one_between(
    node: Any, monkeypatch: pytest.MonkeyPatch, who_dials: str
) -> None:
    monkeypatch.setattr(twins, "EVERY", 0.0)
    monkeypatch.setattr(twins, "PATIENCE", 0.3)

    async def main() -> None:
        if who_dials == "the two":
            async with (
                node() as c,
                node("id = 77\n", connect=[c.url()]),
                node("id = 77\n", connect=[c.url()]),
            ):
                await until(lambda: c.events("warning"))
        else:
            async with (
                node("id = 77\n") as a,
                node("id = 77\n") as b,
                node(connect=[a.url(), b.url()]) as c,
            ):
                await until(lambda: c.events("warning"))
        (said,) = c.events("warning")
        assert "have the same number, 77: where cluster.id is given twice" in said["detail"]

    asyncio.run(main())


def test_one_endless_group_goes_on_over_another_route(node: Any) -> None:
    async def main() -> None:
        async with node() as a, node(connect=[a.url()]) as b, node(connect=[a.url(), b.url()]) as c:
            await until(lambda: c.up() == 2 and b.up() == 1)
            async with (
                connect(a.url("/anon"), tls=TRUST) as one,
                connect(c.url("/anon"), tls=TRUST) as other,
            ):
                track = one.create_broadcast("cam").create_track("v", TrackInfo())
                track.append_group()
                seen: list[int] = []

                async def write() -> None:
                    for number in range(100_000):
                        track.write_frame(b"%d" % number, number)
                        await asyncio.sleep(0.01)

                async def watch() -> None:
                    found = await other.find("cam")
                    async for item in other.frames(found, "v").frames():
                        if isinstance(item, ReadFrame):
                            seen.append(int(item.payload))

                tasks = [asyncio.ensure_future(write()), asyncio.ensure_future(watch())]
                await until(lambda: len(seen) > 50)
                via = {g.session.peer_origin: g for g in c.relay.door.links.values()}
                via[a.relay.house.origin.id].close(SessionLost("cut"))
                last = max(seen)
                await until(lambda: max(seen) > last + 100)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                assert set(range(min(seen), max(seen) + 1)) == set(seen)

    asyncio.run(main())


def test_a_link_dropped_while_it_is_dialled_leaves_nothing(node: Any, folder: File) -> None:
    async def main() -> None:
        file = folder / "relays.json"
        lines = 'connect_api = "relays.json"\ntoken = "cluster.jwt"\n'
        async with node() as a:
            a.relay.door._seat = lambda visit, protocol, *rest: visit.accept(Mute(), protocol)
            file.write_text("[]")
            async with node(lines) as b:
                files = open_files()
                file.write_text(json.dumps([a.url()]))
                await until(lambda: b.relay.door.links)
                file.write_text("[]")
                await until(lambda: not b.relay.cluster.links)
                await within(2.0, lambda: counts(b)["guests 0"] == 0)
                await within(4.0, lambda: open_files() <= files)
                assert counts(b)["sessions 0"] == 0

    asyncio.run(main())
