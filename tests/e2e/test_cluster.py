"""Relays that link up: who is let in and believed, what travels, what survives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path as File
from typing import Any

import pytest
from mesh import BASE, TRUST, Node, more, scene, settled

from pace import rest, until, within
from ports import free_ports
from relay.auth.revocation import Revocation
from relay.client import connect
from relay.cluster import link as link_module
from relay.cluster.address import near
from relay.cluster.roster import Wish
from relay.errors import SessionLost
from relay.path import Path
from relay.peer.settings import NEAR
from relay.records.office import Operator

pytestmark = pytest.mark.usefixtures("quick")

WHO = Operator("test")


@pytest.mark.parametrize("scheme", ["https", "moqt", "ws", "tcp"])
@pytest.mark.parametrize("way", ["forth", "back"])
def test_a_link_carries_both_ways(node: Any, scheme: str, way: str) -> None:
    async def main() -> None:
        async with (
            node('[server.tcp]\nlisten = "127.0.0.1:0"\n') as a,
            node(connect=[a.url(scheme=scheme)]) as b,
        ):
            await until(lambda: b.up() and a.relays())
            async with scene(*((a, b) if way == "forth" else (b, a))) as watched:
                await more(watched)
                await watched.check()

    asyncio.run(main())


def test_a_link_speaks_the_newest_version_that_both_have(node: Any) -> None:
    """Older ones do not say by which relays a broadcast came, whatever guests are to prefer."""

    async def main() -> None:
        old_first = BASE.replace("[server]", '[server]\nversions = ["moql", "moq-lite-05"]')
        async with node() as a, node(base=old_first, connect=[a.url()]) as b:
            await until(lambda: b.up() and a.relays())
            (relay,) = b.relay.cluster.nodes()["nodes"]
            assert relay["connections"][0]["version"] == "moq-lite-05"

    asyncio.run(main())


def test_a_token_in_the_address(node: Any, minted: Any) -> None:
    async def main() -> None:
        async with node() as a:
            lines = f'connect = "{a.url("/?jwt=" + minted(cluster=True))}"\n'
            async with node(lines) as b:
                await until(lambda: b.up() and a.relays())
                assert "jwt" not in str(b.said)
                assert "jwt" not in str(b.relay.cluster.nodes())

    asyncio.run(main())


@pytest.mark.parametrize("scheme", ["https", "moqt"])
def test_a_wrong_token_stays_refused_loudly_until_it_is_mended(
    node: Any, folder: File, scheme: str
) -> None:
    async def main() -> None:
        good = (folder / "cluster.jwt").read_text()
        (folder / "cluster.jwt").write_text("rubbish")
        async with node() as a, node(connect=[a.url(scheme=scheme)]) as b:
            await until(lambda: len(b.events("link refused")) + len(b.events("link down")) >= 3)
            assert a.relays() == 0
            if scheme == "https":
                assert "401" in b.events("link refused")[0]["why"]
            (folder / "cluster.jwt").write_text(good)
            await until(lambda: b.up() and a.relays(), 3)

    asyncio.run(main())


def test_an_ordinary_token_makes_a_guest_of_a_relay(node: Any, folder: File, minted: Any) -> None:
    """It may publish and see what the token says, and nothing of what relays tell each other."""

    async def main() -> None:
        (folder / "cluster.jwt").write_text(minted())
        async with node() as a, node(connect=[a.url()]) as b:
            await until(b.up)
            await asyncio.sleep(0.3)
            assert a.relays() == 0
            assert not a.sees(f".internal/relays/{b.relay.house.origin.id}")
            assert not b.sees(f".internal/relays/{a.relay.house.origin.id}")

    asyncio.run(main())


def test_internal_names_are_hidden_from_everybody_else(node: Any, minted: Any) -> None:
    async def main() -> None:
        async with node() as a, node(connect=[a.url()]) as b:
            name = f".internal/relays/{b.relay.house.origin.id}"
            await until(lambda: a.sees(name))
            told: dict[str, set[str]] = {"full": set(), "relay": set()}

            def noting(who: str) -> Callable[..., None]:
                # Our client hides such names itself, and says what it was told in vain.
                return lambda event, **facts: told[who].add(facts.get("path", ""))

            async with (
                connect(a.url("/?jwt=" + minted()), tls=TRUST, log=noting("full")) as full,
                connect(
                    a.url("/?jwt=" + minted(cluster=True)), tls=TRUST, log=noting("relay")
                ) as relay,
                connect(a.url("/anon"), tls=TRUST) as guest,
            ):
                full.create_broadcast("fine")
                await until(lambda: name in told["relay"] and a.sees("fine"))
                await until(lambda: relay.origin.find(Path("fine")))
                assert told["full"] == set()
                for host in a.relay.door.guests.values():
                    if not (host.grant.cluster or host.grant.anonymous):
                        assert not host.scope.allows_publish(Path(name))
                        assert not host.scope.allows_subscribe(Path(name))
                await until(lambda: guest.guest.hearings.answered)
            with pytest.raises(SessionLost):
                async with connect(a.url("/.internal"), tls=TRUST):
                    pass

    asyncio.run(main())


def test_prefixes_limit_what_a_link_carries_and_news_pass(node: Any) -> None:
    async def main() -> None:
        async with node() as a:
            lines = 'imports = ["anon/in"]\nexports = ["anon/out"]\n'
            async with node(lines, connect=[a.url()]) as b:
                await until(lambda: b.up() and a.relays())
                async with (
                    connect(a.url("/anon"), tls=TRUST) as there,
                    connect(b.url("/anon"), tls=TRUST) as here,
                ):
                    for client in (there, here):
                        for name in ("in/x", "out/x", "else"):
                            client.create_broadcast(f"{name}-{id(client)}")
                    await until(lambda: b.sees(f"anon/in/x-{id(there)}"))
                    await until(lambda: a.sees(f"anon/out/x-{id(here)}"))
                    assert not b.sees(f"anon/out/x-{id(there)}")
                    assert not b.sees(f"anon/else-{id(there)}")
                    assert not a.sees(f"anon/in/x-{id(here)}")
                    assert not a.sees(f"anon/else-{id(here)}")
                await b.relay.desk.office.revoke(WHO, Revocation("jti", "gone"))
                await within(1.0, lambda: any(e.value == "gone" for e in a.relay.desk.feed.index))

    asyncio.run(main())


@pytest.mark.parametrize("cluster", [True, False])
def test_a_link_to_a_place_carries_what_is_there_and_no_news(
    node: Any, minted: Any, cluster: bool
) -> None:
    """Whoever may publish at that place could tell the relay that dialled there anything."""

    async def main() -> None:
        at = f"/demo?jwt={minted('demo', cluster=cluster)}"
        async with node() as a, node(connect=[a.url(at)]) as b:
            await until(b.up)
            async with (
                connect(a.url("/?jwt=" + minted()), tls=TRUST) as there,
                connect(b.url("/?jwt=" + minted()), tls=TRUST) as here,
            ):
                there.create_broadcast("demo/.internal/relays/7")
                await until(lambda: a.sees("demo/.internal/relays/7"))
                there.create_broadcast("demo/x")
                here.create_broadcast("y")
                await until(lambda: b.sees("x") and a.sees("demo/y"))
                await rest(0.2)
                assert not b.sees(".internal/relays/7")
                assert not a.sees(f"demo/.internal/relays/{b.relay.house.origin.id}")

    asyncio.run(main())


def test_the_list_of_a_file_is_followed(node: Any, folder: File) -> None:
    async def main() -> None:
        file = folder / "relays.json"
        file.write_text("[]")
        lines = 'connect_api = "relays.json"\ntoken = "cluster.jwt"\n'
        async with node() as a, node() as c, node(lines) as b:
            file.write_text(json.dumps([a.url()]))
            await until(lambda: b.up() == 1)
            file.write_text(json.dumps([a.url(), c.url()]))
            await until(lambda: b.up() == 2)
            file.write_text('["nonsense://')
            await until(lambda: b.events("relay list not usable"))
            assert b.up() == 2
            (first,) = (
                g
                for g in b.relay.door.links.values()
                if g.session.peer_origin == a.relay.house.origin.id
            )
            file.write_text(json.dumps([a.url("/?cost=7")]))
            await until(lambda: b.up() == 1 and c.relays() == 0)
            await until(lambda: a.relays() == 1 and first.gone, 10)
            (guest,) = b.relay.door.links.values()
            assert guest.cost == 7

    asyncio.run(main())


def test_the_list_of_a_server_is_followed(node: Any) -> None:
    async def main() -> None:
        body, asked, status = [b"[]"], [], ["200 OK"]

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
            writer.write(
                f"HTTP/1.1 {status[0]}\r\nContent-Length: {len(body[0])}\r\n"
                "Cache-Control: max-age=1\r\nConnection: close\r\n\r\n".encode()
                + body[0]
            )
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        api = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/relays?x=1"
        lines = f'connect_api = "{api}"\ntoken = "cluster.jwt"\nnode = "https://b:1/"\n'
        async with server, node() as a, node(lines) as b:
            await until(lambda: asked)
            assert asked[0] == b"GET /relays?x=1&node=https%3A%2F%2Fb%3A1%2F HTTP/1.1"
            body[0] = json.dumps([a.url()]).encode()
            await until(b.up)
            for trouble, what in (
                ("500 Oops", b"[]"),
                ("200 OK", b" " * (4 << 20)),
                ("200 OK", b"{"),
            ):
                status[0], body[0] = trouble, what
                seen = len(asked)
                await until(lambda: len(asked) >= seen + 2)  # noqa: B023
                assert b.up() == 1
            status[0], body[0] = "200 OK", b"[]"
            await until(lambda: not b.up() and not a.relays())

    asyncio.run(main())


def test_three_find_each_other_from_one_seed_with_one_session_per_pair(node: Any) -> None:
    async def main() -> None:
        lines = 'mesh = true\nnode = "{}"\n'
        free = free_ports(3)
        urls = [f"https://127.0.0.1:{port}/" for port in free]
        async with (
            node(lines.format(urls[0]), connect=[], port=free[0]) as a,
            node(lines.format(urls[1]), connect=[urls[0]], port=free[1]) as b,
            node(lines.format(urls[2]), connect=[urls[0]], port=free[2]) as c,
        ):
            nodes = (a, b, c)

            def met(one: Node) -> list[int]:
                guests = (*one.relay.door.guests.values(), *one.relay.door.links.values())
                return sorted(guest.session.peer_origin for guest in guests)

            def wanted(one: Node) -> list[int]:
                return sorted(n.relay.house.origin.id for n in nodes if n is not one)

            # The smaller dials, unless the other was told to by its list.
            await until(lambda: all(met(one) == wanted(one) for one in nodes))
            await rest(1.2)
            assert all(met(one) == wanted(one) for one in nodes)
            shown = a.relay.cluster.nodes()
            assert sorted(n["node"] for n in shown["nodes"]) == sorted(urls[1:])
            assert all(n["announced"]["hop_count"] == 1 for n in shown["nodes"])

    asyncio.run(main())


def test_a_rotated_token_renews_the_link_without_losing_a_group(
    node: Any, folder: File, minted: Any
) -> None:
    async def main() -> None:
        async with node() as a, node(connect=[a.url()]) as b:
            await until(lambda: b.up() and a.relays())
            async with scene(a, b) as watched:
                for round in range(2):
                    old = next(iter(a.relay.door.guests.values()))
                    old = next(g for g in a.relay.door.guests.values() if g.grant.cluster)
                    token = minted(cluster=True, jti=f"next{round}")
                    (folder / "cluster.jwt").write_text(token)
                    await until(lambda: old.gone, 12)  # noqa: B023
                    assert a.relays() == b.up() == 1
                    await more(watched)
                await watched.check()
                assert watched.broken == []

    asyncio.run(main())


def test_a_group_that_is_under_way_ends_over_the_link_that_is_replaced(
    node: Any, folder: File, minted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "RETIRE", 0.0)

    async def main() -> None:
        async with node() as a, node(connect=[a.url()]) as b:
            await until(lambda: b.up() and a.relays())
            async with scene(a, b, every=0.4) as watched:
                old = next(g for g in a.relay.door.guests.values() if g.grant.cluster)
                (folder / "cluster.jwt").write_text(minted(cluster=True, jti="next"))
                await until(lambda: old.gone, 12)
                await more(watched)
                await watched.check()
                assert watched.broken == []

    asyncio.run(main())


def test_revocations_and_withdrawals_reach_every_relay(node: Any, minted: Any) -> None:
    async def main() -> None:
        free = free_ports(1)
        async with node() as a, node(connect=[a.url()]) as b, contextlib.AsyncExitStack() as late:
            await until(lambda: b.up() and a.relays())
            c_lines = {"connect": [b.url()], "port": free[0]}
            c = await late.enter_async_context(node(**c_lines))
            await until(lambda: c.up() and b.relays() == 2)
            target = "/demo?jwt=" + minted("demo", jti="t1")
            async with connect(c.url(target), tls=TRUST) as client:
                entry = await a.relay.desk.office.revoke(WHO, Revocation("jti", "t1"))
                await within(1.0, client.lost.done)
            for one in (a, b, c):
                with pytest.raises(SessionLost) as error:
                    async with connect(one.url(target), tls=TRUST):
                        pass
                assert error.value.status == 401
            await a.relay.desk.office.withdraw(WHO, entry.id)
            await within(2.0, lambda: not any(list(n.relay.desk.feed.index) for n in (a, b, c)))
            async with connect(c.url(target), tls=TRUST):
                pass
            await late.aclose()
            await a.relay.desk.office.revoke(WHO, Revocation("jti", "t1", reason="again"))
            c = await late.enter_async_context(node(**c_lines))
            await until(lambda: c.up())
            await within(1.0, lambda: list(c.relay.desk.feed.index))

    asyncio.run(main())


def test_links_that_name_no_relays_pass_revocations_round_a_ring(node: Any) -> None:
    """Whoever revokes and whoever began anew: nobody takes his own news for another's."""
    old = BASE.replace("[server]", '[server]\nversions = ["moql"]')

    async def main() -> None:
        ports = free_ports(3)

        def at(place: int) -> Any:
            url = f"https://127.0.0.1:{ports[(place + 1) % 3]}/"
            return node(base=old, connect=[url], port=ports[place])

        async with contextlib.AsyncExitStack() as first, contextlib.AsyncExitStack() as others:
            nodes = [await first.enter_async_context(at(0))]
            nodes += [await others.enter_async_context(at(place)) for place in (1, 2)]

            def heard() -> list[int]:
                return [len(each.relay.desk.feed.index) for each in nodes]

            for begun in (0, 1):
                await until(lambda: all(each.up() and each.relays() == 2 for each in nodes))
                for count, each in enumerate(nodes, 1 + 3 * begun):
                    await each.relay.desk.office.revoke(WHO, Revocation("jti", f"t{count}"))
                    await within(5.0, lambda count=count: heard() == [count] * 3)
                if not begun:
                    await first.aclose()
                    nodes[0] = await first.enter_async_context(at(0))

    asyncio.run(main())


def test_a_clock_that_was_set_ahead_makes_no_relay_miss_a_revocation(
    node: Any, minted: Any
) -> None:
    """By that clock it has ended when it is heard of; it has not once the clock is right again."""
    ahead = [0.0]

    async def main() -> None:
        ahead_by = {"wall": lambda: time.time() + ahead[0]}
        async with node() as a, node(connect=[a.url()], **ahead_by) as b:
            await settled(a, b)
            ahead[0] = 86_400.0
            ends = time.time() + 3600.0
            await a.relay.desk.office.revoke(WHO, Revocation("jti", "t1", expires=ends))
            await within(1.0, lambda: list(b.relay.desk.feed.index))
            ahead[0] = 0.0
            with pytest.raises(SessionLost) as error:
                async with connect(b.url("/demo?jwt=" + minted("demo", jti="t1")), tls=TRUST):
                    pass
            assert error.value.status == 401

    asyncio.run(main())


@pytest.mark.parametrize("at", [0, 1, 2])
def test_what_strikes_the_links_themselves_reaches_every_relay_before_they_end(
    node: Any, minted: Any, at: int
) -> None:
    """As when the key is stolen that signed everybody's tokens, those of the relays included."""

    async def main() -> None:
        async with (
            node() as a,
            node(connect=[a.url()]) as b,
            node(connect=[b.url()]) as c,
        ):
            await until(lambda: c.up() and b.up() and a.relays() and b.relays() == 2)
            nodes = (a, b, c)
            await nodes[at].relay.desk.office.revoke(WHO, Revocation("kid", "e2e"))
            for each in nodes:
                await within(1.0, lambda each=each: len(each.relay.desk.feed.index))
            await within(3.0, lambda: not (a.relays() or b.relays() or c.relays()))
            for each in nodes:
                with pytest.raises(SessionLost):
                    async with connect(each.url("/demo?jwt=" + minted("demo")), tls=TRUST):
                        pass

    asyncio.run(main())


def test_what_a_relay_withdrew_is_not_brought_back_by_one_that_was_away(node: Any) -> None:
    async def main() -> None:
        async with node() as a:
            entry = await a.relay.desk.office.revoke(WHO, Revocation("jti", "t1"))
            async with node(connect=[a.url()]) as b:
                await until(lambda: list(b.relay.desk.feed.index))
                link = next(iter(b.relay.cluster.links.values()))
                original, link._open = link._open, hanging
                next(iter(b.relay.door.links.values())).close(SessionLost("cut"))
                await until(lambda: not a.relays())
                await a.relay.desk.office.withdraw(WHO, entry.id)
                assert list(b.relay.desk.feed.index)
                link._open = original
                await until(lambda: b.up() and not list(b.relay.desk.feed.index))
                assert not list(a.relay.desk.feed.index)

    asyncio.run(main())


async def hanging(url: str, cost: int) -> Any:
    raise SessionLost("cut off")


def test_a_relay_that_dials_itself_says_so_and_goes_on(node: Any) -> None:
    async def main() -> None:
        (port,) = free_ports(1)
        async with node(connect=[f"https://localhost:{port}/x/.."], port=port) as a:
            pass
        async with node(connect=[f"https://localhost:{port}/"], port=port) as a:
            await until(lambda: len(a.events("link refused")) >= 2)
            assert "own number" in a.events("link refused")[0]["why"]
            await until(lambda: a.relays() == 0)
            async with scene(a, a) as watched:
                await more(watched)
                await watched.check()

    asyncio.run(main())


def test_another_process_of_this_relay_is_this_relay(node: Any) -> None:
    async def main() -> None:
        async with node() as b, node(connect=[b.url(), b.url(host="localhost")]) as a:
            await until(lambda: a.up() == 2 and b.relays() == 2)
            first, second = a.relay.cluster.links.values()
            assert first.state.session
            assert second.state.session
            first.state.session.guest.via = NEAR
            second.state.session.guest.close(SessionLost("cut"))
            await until(lambda: len(a.events("link refused")) >= 2)
            assert "it is this relay" in a.events("link refused")[0]["why"]
            await until(lambda: b.relays() == 1)

    asyncio.run(main())


def test_a_link_to_another_process_that_was_not_known_yet_is_taken_down(node: Any) -> None:
    async def main() -> None:
        async with node() as b, node(connect=[b.url()]) as a:
            await until(lambda: a.up() == 1 and b.relays() == 1)
            cluster, other = a.relay.cluster, near(1, "/nowhere")
            dial = cluster._dial
            cluster._dial = lambda url: dial(b.url() if url.startswith(NEAR) else url)
            cluster._roster.want(Wish.NEAR, {other.key: other})
            cluster._follow()
            await until(lambda: a.events("link down"))
            assert "it is this relay" in a.events("link down")[0]["why"]
            # The one that stays came without a token: to the other it is no relay.
            await until(lambda: b.relays() == 0 and len(b.relay.door.guests) == 1)
            assert cluster.links[other.key].state.session

    asyncio.run(main())


def test_two_links_to_one_relay(node: Any) -> None:
    async def main() -> None:
        async with (
            node() as a,
            node(connect=[a.url(), a.url(host="localhost", scheme="moqt")]) as b,
        ):
            await until(lambda: b.up() == 2 and a.relays() == 2)
            async with scene(a, b) as watched:
                await asyncio.sleep(1)
                news = 1  # each relay also reads the other's

                def feeds() -> int:
                    return sum(len(g.publishing.feeds) for g in b.relay.door.links.values())

                # The second way to the news is tried for a while, and they have no second group.
                await until(lambda: feeds() == 1 + news, 8)
                for guest in tuple(b.relay.door.links.values()):
                    guest.close(SessionLost("cut"))
                    await more(watched)
                    await until(lambda: b.up() == 2)
                assert watched.ended is None

    asyncio.run(main())


def test_a_dear_short_way_loses_to_a_cheap_long_one(node: Any) -> None:
    async def main() -> None:
        async with (
            node() as a,
            node(connect=[a.url()]) as b,
            node(connect=[a.url("/?cost=10"), b.url()]) as c,
        ):
            await until(lambda: c.up() == 2 and b.up() == 1)
            async with scene(a, c) as watched:
                via = {g.session.peer_origin: g for g in c.relay.door.links.values()}
                direct, cheap = (via[n.relay.house.origin.id] for n in (a, b))

                def feeds(guest: Any) -> int:
                    tracks = (feed.track for feed in guest.publishing.feeds.values())
                    return sum(track.name == "v" for track in tracks)

                await until(lambda: (feeds(direct), feeds(cheap)) == (0, 1), 8)
                for link in c.relay.cluster.links.values():
                    link._open = hanging  # or all would move back to it
                cheap.close(SessionLost("cut"))
                await more(watched)
                assert feeds(direct) == 1
                assert watched.ended is None

    asyncio.run(main())


def test_a_relay_drains_while_its_viewers_are_told(node: Any) -> None:
    async def main() -> None:
        drain = BASE.replace("[server.tls]", "drain = 5.0\n[server.tls]")
        async with (
            node() as a,
            node(connect=[a.url()], base=drain) as b,
            scene(a, b) as watched,
            connect(b.url("/anon"), tls=TRUST) as other,
        ):
            other.create_broadcast("mine")
            await until(lambda: a.sees("anon/mine"))
            hurry = asyncio.Event()
            draining = asyncio.ensure_future(b.relay.farewell.drain(hurry))
            await asyncio.sleep(0.3)
            assert a.sees("anon/mine")  # ours is still served from here
            await more(watched)
            with pytest.raises(SessionLost) as error:
                async with connect(b.url("/anon"), tls=TRUST):
                    pass
            assert error.value.status == 503
            assert not draining.done()
            hurry.set()
            await within(1.0, draining.done)
            await draining

    asyncio.run(main())
