"""Relays that link up: who is let in and believed, what travels, what survives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path as File
from typing import Any

import pytest
import structlog

from relay.auth import mint
from relay.auth.claims import Claims
from relay.auth.revocation import Revocation
from relay.client import Client, connect
from relay.cluster import link as link_module
from relay.config import load
from relay.errors import SessionLost
from relay.model.track import TrackInfo
from relay.net.dial import DialTls
from relay.path import ROOT, Path
from relay.peer.local import GroupEnd
from relay.server import Relay

TRUST = DialTls(disable_verify=True)
BLIND = "[client.tls]\ndisable_verify = true\n"
BASE = """
[server]
listen = "127.0.0.1:0"
[server.tls]
generate = ["localhost", "127.0.0.1"]
[auth]
key = "key.jwk"
public = "anon"
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Links that are dialled again sooner."""
    monkeypatch.setattr(link_module, "FIRST_WAIT", 0.1)
    monkeypatch.setattr(link_module, "LONGEST_WAIT", 0.5)


@pytest.fixture
def minted(signer: Any) -> Callable[..., str]:
    """``minted(root, cluster=…, put=…, get=…, jti=…)``."""

    def make(root: str = "", **more: Any) -> str:
        now = time.time()
        more = {"put": (ROOT,), "get": (ROOT,), "exp": int(now + 600), "iat": int(now)} | more
        return mint.sign(Claims(root=Path(root), **more), signer, now)

    return make


class Node:
    """A relay and what it wrote."""

    def __init__(self, relay: Relay, said: list[tuple[str, dict[str, Any]]]) -> None:
        self.relay = relay
        self.said = said

    def url(self, target: str = "/", scheme: str = "https", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.relay.quic_address[1]}{target}"

    def up(self) -> int:
        """Links that are up."""
        return sum(link.state.session is not None for link in self.relay.cluster.links.values())

    def relays(self) -> int:
        """Sessions with relays, either way."""
        return self.relay.house.origin.relays

    def sees(self, path: str) -> bool:
        return self.relay.house.origin.find(Path(path)) is not None

    def events(self, name: str) -> list[dict[str, Any]]:
        return [facts for event, facts in self.said if event == name]


@pytest.fixture
def node(folder: File, minted: Any) -> Callable[..., Any]:
    """``async with node(cluster_lines, extra, connect=[…]) as node``: a relay of a cluster."""
    (folder / "cluster.jwt").write_text(minted(cluster=True))

    @contextlib.asynccontextmanager
    async def run(
        cluster: str = "", extra: str = BLIND, base: str = BASE, connect: Any = None, port: int = 0
    ) -> AsyncIterator[Node]:
        file = folder / "relay.toml"
        if connect is not None:
            cluster += f'connect = {json.dumps(connect)}\ntoken = "cluster.jwt"\n'
        base = base.replace("127.0.0.1:0", f"127.0.0.1:{port}")
        file.write_text(f"{base}\n[cluster]\n{cluster}\n{extra}")
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
        said: list[tuple[str, dict[str, Any]]] = []

        class Noting(Relay):
            def _log(self, event: str, **facts: Any) -> None:
                said.append((event, facts))

        relay = Noting(load(file, environ={}).settings)
        async with relay.running():
            yield Node(relay, said)

    return run


async def until(condition: Callable[[], Any], seconds: float = 8.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def publish(client: Client, path: str = "anon/cam", every: float = 0.04) -> None:
    """A group of two frames each time, for ever."""
    track = client.create_broadcast(path).create_track("v", TrackInfo())
    number = 0
    while True:
        track.append_group()
        track.write_frame(b"%d" % number, number)
        track.write_frame(b"x" * 3000, number)
        number += 1
        await asyncio.sleep(every)


class Watched:
    """The whole groups that a viewer gets."""

    def __init__(self) -> None:
        self.groups: list[int] = []
        self.broken: list[int] = []
        self.ended: str | None = None

    async def run(self, client: Client, path: str = "anon/cam") -> None:
        found = await client.find(path)
        try:
            async for item in client.frames(found, "v").frames():
                if isinstance(item, GroupEnd):
                    (self.broken if item.error else self.groups).append(item.group)
            self.ended = "complete"
        except Exception as error:
            self.ended = repr(error)

    def check(self) -> None:
        """Each group once, none missing, in whatever order."""
        assert self.ended is None
        assert sorted(self.groups) == list(range(min(self.groups), max(self.groups) + 1))


@contextlib.asynccontextmanager
async def scene(source: Node, viewer: Node) -> AsyncIterator[Watched]:
    """Somebody publishes at one relay and is watched at another."""
    watched = Watched()
    async with (
        connect(source.url("/anon"), tls=TRUST) as one,
        connect(viewer.url("/anon"), tls=TRUST) as other,
    ):
        tasks = [
            asyncio.ensure_future(publish(one, "cam")),
            asyncio.ensure_future(watched.run(other, "cam")),
        ]
        try:
            await until(lambda: len(watched.groups) >= 3)
            yield watched
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def more(watched: Watched, count: int = 5, seconds: float = 8.0) -> None:
    goal = len(watched.groups) + count
    await until(lambda: len(watched.groups) >= goal or watched.ended, seconds)


@pytest.mark.parametrize("scheme", ["https", "moqt"])
@pytest.mark.parametrize("way", ["forth", "back"])
def test_a_link_carries_both_ways(node: Any, scheme: str, way: str) -> None:
    async def main() -> None:
        async with node() as a, node(connect=[a.url(scheme=scheme)]) as b:
            await until(lambda: b.up() and a.relays())
            async with scene(*((a, b) if way == "forth" else (b, a))) as watched:
                await more(watched)
                watched.check()

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
    node: Any, folder: File, minted: Any, scheme: str
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
                await until(lambda: guest.guest.watching.hearings)
            with pytest.raises(SessionLost):
                async with connect(a.url("/.internal"), tls=TRUST):
                    pass

    asyncio.run(main())


def test_prefixes_limit_what_a_link_carries_and_news_pass(node: Any, minted: Any) -> None:
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
                await b.relay.desk.feed.revoke(Revocation("jti", "gone"))
                await until(lambda: any(e.value == "gone" for e in a.relay.desk.feed.index), 1)

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
        free = ports(3)
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

            await until(lambda: all(set(met(one)) == set(wanted(one)) for one in nodes))
            await asyncio.sleep(1.0)
            # The smaller dials; who was told to dial by its list does so besides.
            for one in nodes:
                assert len(set(met(one))) == 2
            shown = a.relay.cluster.nodes()
            assert sorted(n["node"] for n in shown["nodes"]) == sorted(urls[1:])
            assert all(n["announced"]["hop_count"] == 1 for n in shown["nodes"])

    asyncio.run(main())


def ports(count: int) -> list[int]:
    """Ports that were free a moment ago."""
    import socket

    socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for sock in socks:
        sock.bind(("127.0.0.1", 0))
    found = sorted(sock.getsockname()[1] for sock in socks)
    for sock in socks:
        sock.close()
    return found


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
                watched.check()
                assert watched.broken == []

    asyncio.run(main())


def test_revocations_and_withdrawals_reach_every_relay(node: Any, minted: Any) -> None:
    async def main() -> None:
        free = ports(1)
        async with node() as a, node(connect=[a.url()]) as b, contextlib.AsyncExitStack() as late:
            await until(lambda: b.up() and a.relays())
            c_lines = {"connect": [b.url()], "port": free[0]}
            c = await late.enter_async_context(node(**c_lines))
            await until(lambda: c.up() and b.relays() == 2)
            target = "/demo?jwt=" + minted("demo", jti="t1")
            async with connect(c.url(target), tls=TRUST) as client:
                began = time.monotonic()
                entry = await a.relay.desk.feed.revoke(Revocation("jti", "t1"))
                await asyncio.wait_for(client.lost, 2)
                assert time.monotonic() - began < 1
            for one in (a, b, c):
                with pytest.raises(SessionLost) as error:
                    async with connect(one.url(target), tls=TRUST):
                        pass
                assert error.value.status == 401
            await a.relay.desk.feed.withdraw(entry.id)
            await until(lambda: not any(list(n.relay.desk.feed.index) for n in (a, b, c)), 2)
            async with connect(c.url(target), tls=TRUST):
                pass
            await late.aclose()
            await a.relay.desk.feed.revoke(Revocation("jti", "t1", reason="again"))
            c = await late.enter_async_context(node(**c_lines))
            began = time.monotonic()
            await until(lambda: c.up())
            await until(lambda: list(c.relay.desk.feed.index), 1)

    asyncio.run(main())


def test_what_a_relay_withdrew_is_not_brought_back_by_one_that_was_away(node: Any) -> None:
    async def main() -> None:
        async with node() as a:
            entry = await a.relay.desk.feed.revoke(Revocation("jti", "t1"))
            async with node(connect=[a.url()]) as b:
                await until(lambda: list(b.relay.desk.feed.index))
                link = next(iter(b.relay.cluster.links.values()))
                original, link._open = link._open, hanging
                next(iter(b.relay.door.links.values())).close(SessionLost("cut"))
                await until(lambda: not a.relays())
                await a.relay.desk.feed.withdraw(entry.id)
                assert list(b.relay.desk.feed.index)
                link._open = original
                await until(lambda: b.up() and not list(b.relay.desk.feed.index))
                assert not list(a.relay.desk.feed.index)

    asyncio.run(main())


async def hanging(url: str, cost: int) -> Any:
    raise SessionLost("cut off")


def test_a_relay_that_dials_itself_says_so_and_goes_on(node: Any) -> None:
    async def main() -> None:
        (port,) = ports(1)
        async with node(connect=[f"https://localhost:{port}/x/.."], port=port) as a:
            pass
        async with node(connect=[f"https://localhost:{port}/"], port=port) as a:
            await until(lambda: len(a.events("link refused")) >= 2)
            assert "own number" in a.events("link refused")[0]["why"]
            await until(lambda: a.relays() == 0)
            async with scene(a, a) as watched:
                await more(watched)
                watched.check()

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
                feeds = [len(g.publishing.feeds) for g in b.relay.door.links.values()]
                news = 1  # each relay also reads the other's
                assert sum(feeds) == 1 + news
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
                cheap.close(SessionLost("cut"))
                await more(watched)
                assert feeds(direct) == 1
                assert watched.ended is None

    asyncio.run(main())


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


def test_a_link_that_flaps_leaves_nothing_behind(node: Any) -> None:
    async def main() -> None:
        async with node() as a, node(connect=[a.url()]) as b:
            await until(lambda: b.up() and a.relays())
            await asyncio.sleep(0.5)
            before = counts(a, b)
            link = next(iter(b.relay.cluster.links.values()))
            link_module.FIRST_WAIT = link_module.LONGEST_WAIT = 0.01
            for _ in range(100):
                session = link.state.session
                next(iter(b.relay.door.links.values())).close(SessionLost("flap"))
                await until(lambda: link.state.session not in (None, session))  # noqa: B023
            await until(lambda: a.relays() == 1)
            with contextlib.suppress(TimeoutError):
                await until(lambda: counts(a, b) == before, 8)
            assert counts(a, b) == before

    asyncio.run(main())


def counts(*nodes: Node) -> dict[str, int]:
    import os

    found = {"tasks": len(asyncio.all_tasks()), "files": len(os.listdir("/proc/self/fd"))}
    for number, one in enumerate(nodes):
        relay = one.relay
        found |= {
            f"guests {number}": len(relay.door.guests) + len(relay.door.links),
            f"routes {number}": relay.house.origin.routes,
            f"stages {number}": len(relay.house.origin._stages),
            f"sessions {number}": len(relay.cluster._sessions),
        }
    return found


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
            draining = asyncio.ensure_future(b.relay.drain(hurry))
            await asyncio.sleep(0.3)
            assert a.sees("anon/mine")  # ours is still served from here
            await more(watched)
            with pytest.raises(SessionLost) as error:
                async with connect(b.url("/anon"), tls=TRUST):
                    pass
            assert error.value.status == 503
            assert not draining.done()
            hurry.set()
            await asyncio.wait_for(draining, 1)

    asyncio.run(main())


# -- who is believed ---------------------------------------------------------------------------


@pytest.fixture
def authority(folder: File) -> Callable[[str], tuple[File, File]]:
    """``authority(name)``: a new authority ``<name>.pem`` and a certificate signed by it."""

    def make(name: str) -> tuple[File, File]:
        import datetime
        import ipaddress

        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        now = datetime.datetime.now(datetime.UTC)
        pem = serialization.Encoding.PEM
        key, own = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        title = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

        def sign(subject: x509.Name, public: Any, *extensions: Any) -> bytes:
            made = x509.CertificateBuilder(title, subject, public, x509.random_serial_number())
            made = made.not_valid_before(now - datetime.timedelta(hours=1))
            made = made.not_valid_after(now + datetime.timedelta(days=1))
            for extension in extensions:
                made = made.add_extension(extension, critical=False)
            return made.sign(key, hashes.SHA256()).public_bytes(pem)

        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        root = sign(title, key.public_key(), x509.BasicConstraints(True, None))
        (folder / f"{name}.pem").write_bytes(root)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name}-node")])
        signed = sign(subject, own.public_key(), x509.SubjectAlternativeName(names))
        cert, private = folder / f"{name}-node.pem", folder / f"{name}-node.key"
        cert.write_bytes(signed)
        private.touch(0o600)
        private.write_bytes(
            own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return cert, private

    return make


def certified(name: str) -> str:
    generated = 'generate = ["localhost", "127.0.0.1"]'
    return BASE.replace(generated, f'cert = "{name}-node.pem"\nkey = "{name}-node.key"')


@pytest.mark.parametrize("scheme", ["https", "moqt"])
def test_whose_certificate_is_believed(node: Any, authority: Any, scheme: str) -> None:
    async def main() -> None:
        authority("ours")
        authority("theirs")
        async with node(base=certified("ours")) as a:
            url = a.url(scheme=scheme)
            pin = a.relay.certificates.fingerprint
            believed = {
                'root = ["ours.pem"]': True,
                'root = ["theirs.pem"]': False,
                f'fingerprint = ["{pin}"]': True,
                f'fingerprint = ["{"0" * 64}"]': False,
                "": False,
            }
            for lines, is_believed in believed.items():
                async with node(extra=f"[client.tls]\n{lines}\n", connect=[url]) as b:
                    await until(lambda: b.up() or len(b.events("link refused")) >= 2)
                    assert bool(b.up()) == is_believed, lines

    asyncio.run(main())


@pytest.mark.parametrize("scheme", ["https", "moqt"])
def test_a_relay_is_known_by_its_certificate(node: Any, authority: Any, scheme: str) -> None:
    async def main() -> None:
        for name in ("ours", "theirs"):
            authority(name)
        rule = "[auth.certificates.any]\nfull_access = true\ncluster = true\n"
        base = certified("ours").replace("[auth]", 'root = ["ours.pem"]\n[auth]')
        async with node(base=base, extra=rule) as a:
            for name in ("ours", "theirs"):
                shown = f'cert = "{name}-node.pem"\nkey = "{name}-node.key"\n'
                tls = f'[client.tls]\nroot = ["ours.pem"]\n{shown}'
                lines = f'connect = "{a.url(scheme=scheme)}"\n'
                async with node(lines, extra=tls) as b:
                    if name == "ours":
                        await until(lambda: b.up() and a.relays())
                        async with scene(a, b) as watched:
                            watched.check()
                    else:
                        await until(
                            lambda: len(b.events("link refused") + b.events("link down")) > 2
                        )
                        assert a.relays() == 0

    asyncio.run(main())
