"""Readers of /watch that are many, slow or unwelcome, and what ends with a credential."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from pace import until
from relay.auth import mint
from relay.auth.claims import Claims
from relay.auth.grant import Grant
from relay.auth.keys import Key
from relay.auth.revocation import Revocation
from relay.client import connect
from relay.control.places import Crowded
from relay.ingest.watching import Follower
from relay.model.track import TrackInfo
from relay.net.trust import DialTls
from relay.path import ROOT, Path
from relay.peer.judgement import Held
from relay.quota import Tab
from relay.quota.account import LEAST
from relay.records.audit import Query
from relay.records.office import Operator
from relay.server import press
from relay.session.events import FetchRequested

TRUST = DialTls(disable_verify=True)
WHO = Operator("test")


def base(relay: Any) -> str:
    return f"http://127.0.0.1:{relay.http_addresses[0][1]}"


def bearer(signer: Key, subject: str) -> dict[str, str]:
    now = time.time()
    claims = Claims(Path("demo"), (Path(""),), (Path(""),), exp=int(now + 600), sub=subject)
    return {"authorization": f"Bearer {mint.sign(claims, signer, now)}"}


def slow(first: bytes, last: bytes) -> tuple[AsyncIterator[bytes], asyncio.Event, asyncio.Event]:
    """A body; that its beginning has been sent, and what its end waits for."""
    arriving, go_on = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield first
        arriving.set()
        await go_on.wait()
        yield last

    return body(), arriving, go_on


@pytest.mark.parametrize("setting", ["max_watchers", "max_watchers_per_address"])
def test_more_readers_than_the_limit_are_turned_away_until_one_leaves(
    running: Any, setting: str
) -> None:
    async def main() -> None:
        said = f"[ingest]\n{setting} = 1\n"
        async with running(said) as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            await web.post("/publish/anon/a/x", json={})
            async with web.stream("GET", "/watch/anon/a/x") as first:
                assert first.status_code == 200
                second = await web.get("/watch/anon/a/x")
                assert second.status_code == 429
                assert f"(ingest.{setting})" in second.json()["detail"]
                await until(lambda: relay.judge.refusals.counts == {"too_many_requests": 1})
            await until(lambda: not relay.press.readers)
            async with web.stream("GET", "/watch/anon/a/x") as third:
                assert third.status_code == 200

    asyncio.run(main())


def test_a_reader_that_cannot_begin_leaves_nothing_behind(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(self: Follower) -> None:
        raise LookupError("nobody thought of this")

    async def main() -> None:
        async with running() as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            await web.post("/publish/anon/a/x", json={})
            with monkeypatch.context() as patched:
                patched.setattr(Follower, "open", failing)
                assert (await web.get("/watch/anon/a/x")).status_code == 500
            assert relay.press.readers == set()
            assert relay.house.ledger.accounts["anon"].tracks == 0
            most = relay.press.station.settings.max_watchers
            relay.press.watchers.require("127.0.0.1", most // 4)

    asyncio.run(main())


@pytest.mark.parametrize("setting", ["max_requests", "max_requests_per_address"])
def test_more_bodies_than_the_limit_are_turned_away_while_they_arrive(
    running: Any, setting: str
) -> None:
    async def main() -> None:
        body, arriving, go_on = slow(b"[", b"{}]")
        said = f"[ingest]\n{setting} = 1\n"
        async with (
            running(said) as relay,
            httpx.AsyncClient(base_url=base(relay)) as web,
            asyncio.TaskGroup() as tasks,
        ):
            kind = {"content-type": "application/json"}
            first = tasks.create_task(web.post("/publish/anon/a/x", content=body, headers=kind))
            await arriving.wait()
            await asyncio.sleep(0.2)
            second = await web.post("/publish/anon/a/x", json={})
            assert second.status_code == 429
            assert f"(ingest.{setting})" in second.json()["detail"]
            go_on.set()
            assert (await first).status_code == 202
            assert (await web.post("/publish/anon/a/x", json={})).status_code == 202

    asyncio.run(main())


def test_a_reader_that_does_not_read_loses_groups_and_is_told_which(running: Any) -> None:
    backlog, size, count = 100_000, 50_000, 120

    async def main() -> None:
        said = f"[ingest]\nwatch_backlog_bytes = {backlog}\nmax_kept_bytes = 10000000\n"
        async with running(said) as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            await web.post("/publish/anon/a/x", content=b"first")
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(relay.http_addresses[0])
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            with sock:
                await loop.sock_sendall(sock, b"GET /watch/anon/a/x HTTP/1.1\r\nhost: x\r\n\r\n")
                await until(lambda: bool(relay.press.readers))
                (reader,) = relay.press.readers
                slowest = 0.0
                for number in range(1, count):
                    began = time.monotonic()
                    body = b"%d:" % number + b"x" * size
                    assert (await web.post("/publish/anon/a/x", content=body)).status_code == 202
                    slowest = max(slowest, time.monotonic() - began)
                    assert reader.follower._bytes <= backlog
                assert slowest < 5  # nobody else waits for it
                await web.post("/publish/anon/a/x", content=b"last")
                seen = bytearray()
                async with asyncio.timeout(20):
                    while not seen.endswith(b"data: last\n\n\r\n"):
                        seen += await loop.sock_recv(sock, 65536)
            await until(lambda: not relay.press.readers)
            check(seen, size, count)

    def check(seen: bytearray, size: int, count: int) -> None:
        dropped = [int(part.split(b"\n")[0]) for part in seen.split(b"event: dropped\ndata: ")[1:]]
        whole = [int(part.split(b":")[0]) for part in seen.split(b"event: frame\nid: ")[1:]]
        assert dropped
        assert whole[0] == 0
        assert sorted(whole + dropped) == list(range(count + 1))
        assert seen.count(b"x" * 1000) >= (len(whole) - 2) * (size // 1000)

    asyncio.run(main())


def test_who_is_revoked_reads_no_more_and_what_it_published_goes(running: Any, signer: Key) -> None:
    said: list[dict[str, Any]] = []

    def hear(event: str, **facts: Any) -> None:
        if event == "reader shown out":
            said.append(facts)

    async def main() -> None:
        alice, bob = bearer(signer, "alice"), bearer(signer, "bob")
        async with running() as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            await web.post("/publish/demo/hers/x", json={}, headers=alice)
            await web.post("/publish/demo/his/x", json={}, headers=bob)
            address = "/watch/demo/his/x"
            async with (
                asyncio.timeout(8),
                web.stream("GET", address, headers=alice) as hers,
                web.stream("GET", address, headers=bob) as his,
            ):
                await until(lambda: len(relay.press.readers) == 2)
                relay.house.log = hear
                await relay.desk.office.revoke(WHO, Revocation("sub", "alice"))
                seen = [line async for line in hers.aiter_lines()]
                assert seen[-3::2] == ["event: end", ""]
                assert len(relay.press.readers) == 1
                await web.post("/publish/demo/his/x", content=b"still", headers=bob)
                async for line in his.aiter_lines():
                    if line == "data: still":
                        break
            names = (await web.get("/announced/demo", headers=bob)).text
            assert names.split() == ["his"]
            refused = await web.get(address, headers=alice)
            assert refused.status_code in (401, 403)
            await relay.desk.scribe.flush()
            found = await relay.desk.records.audit.entries(Query(action="revoke"))
            assert {(each.target, each.actor, each.reason) for each in found} == {
                ("/demo/his", "alice", "revoked"),  # what she read
                ("/demo/hers", "alice", "revoked"),  # what she published
            }
            (read,) = [each for each in found if each.target == "/demo/his"]
            assert seen[-2] == f"data: revoked (id {read.id})"
            assert "sub alice" in read.detail
            assert said == [{"id": read.id, "reason": "revoked", "why": "sub alice"}]

    asyncio.run(main())


def test_a_clock_that_is_turned_back_gives_no_reader_more_time(running: Any, signer: Key) -> None:
    async def main() -> None:
        mine = bearer(signer, "me")  # for ten minutes
        async with running() as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            await web.post("/publish/demo/a/x", json={}, headers=mine)
            async with (
                asyncio.timeout(8),
                web.stream("GET", "/watch/demo/a/x", headers=mine) as got,
            ):
                await until(lambda: bool(relay.press.readers))
                now, relay.wall = relay.house.clock(), lambda: time.time() - 3600
                relay.press.tick(now + 590)
                (reader,) = relay.press.readers
                assert not reader.has_expired(now + 590, relay.wall())  # though nothing is on air
                relay.press.tick(now + 601)
                seen = [line async for line in got.aiter_lines()]
                assert seen[-3::2] == ["event: end", ""]
            await relay.desk.scribe.flush()
            (entry,) = await relay.desk.records.audit.entries(Query(action="expire"))
            assert (entry.actor, entry.reason) == ("me", "expired")
            assert seen[-2] == f"data: expired (id {entry.id})"

    asyncio.run(main())


def test_what_is_revoked_while_a_body_arrives_is_not_published(running: Any, signer: Key) -> None:
    async def main() -> None:
        alice, bob = bearer(signer, "alice"), bearer(signer, "bob")
        body, arriving, go_on = slow(b"{", b"}")
        async with (
            running() as relay,
            httpx.AsyncClient(base_url=base(relay)) as web,
            asyncio.TaskGroup() as group,
        ):
            headers = alice | {"content-type": "application/json"}
            post = web.post("/publish/demo/hers/x", content=body, headers=headers)
            sending = group.create_task(post)
            await arriving.wait()
            await until(lambda: len(relay.judge._held) == 1)
            await relay.desk.office.revoke(WHO, Revocation("sub", "alice"))
            await until(lambda: all(held.why for held in relay.judge._held))
            go_on.set()
            assert (await sending).status_code == 401
            assert (await web.get("/announced/demo", headers=bob)).text == ""
            assert len(relay.judge._held) == 0

    asyncio.run(main())


def test_the_internal_face_shows_all_routes(running: Any) -> None:
    said = '[internal]\nlisten = "127.0.0.1:0"\n[ingest.tracks."demo/*:t"]\n'

    async def main() -> None:
        async with running(said) as relay, httpx.AsyncClient() as web:
            await web.post(f"{base(relay)}/publish/anon/a/x", json={})
            host, port = relay.internal_address
            url = f"http://{host}:{port}/routes"
            found = (await web.get(url)).json()
            assert found["published"] == [{"broadcast": "anon/a", "tracks": ["x"]}]
            assert found["announced"] == ["anon/a"]
            assert [each["broadcast"] for each in found["declared"]] == ["demo/*"]
            assert (await web.get(f"{url}/demo")).json()["published"] == []
            assert (await web.get(f"{url}/anon")).json()["announced"] == ["a"]
            assert (await web.get(url + "/x" * 40)).status_code == 400
            assert json.dumps(found)

    asyncio.run(main())


def test_reading_is_on_the_tenants_books(running: Any) -> None:
    said = "[quotas.tenants.anon]\ntracks = 1\negress_bits = 16000\n"

    async def main() -> None:
        async with running(said) as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            await web.post("/publish/anon/a/x", content=b"x")
            async with web.stream("GET", "/watch/anon/a/x") as stream:
                refused = await web.get("/watch/anon/a/x")
                assert refused.status_code == 429
                assert "quotas.tracks" in refused.json()["detail"]
                began, frames = time.monotonic(), 0
                for _ in range(20):
                    await web.post("/publish/anon/a/x", content=b"x" * 1000)
                async for line in stream.aiter_lines():
                    frames += line == "event: frame"
                    if frames == 7:  # one byte and six thousand: 2000 at once, then 2000 a second
                        break
                assert time.monotonic() - began > 1.0
            await until(lambda: not relay.press.readers)
            usage = relay.house.ledger.usage()["anon"]
            assert (usage["tracks"], usage["subscribers"]) == (0, 0)
            await asyncio.sleep(1.0)
            async with web.stream("GET", "/watch/anon/a/x") as stream:
                assert stream.status_code == 200

    asyncio.run(main())


def test_a_reader_that_does_not_read_leaves_its_share_to_others(running: Any) -> None:
    async def main() -> None:
        said = "[quotas.tenants.anon]\negress_bits = 32000\n"
        async with running(said) as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            path, waiting = "/publish/anon/a/x", relay.house.ledger.account("anon").waiting
            await web.post(path, content=b"x")
            grant = Grant(Path("anon/a"), (ROOT,), (ROOT,), tenant="anon")
            held = relay.judge.hold(grant, "id", "")
            reader = await relay.press.watch(
                (held, None), relay.press.place(path[8:], None)[1], None
            )
            for _ in range(4):
                await web.post(path, content=b"x" * 3000)
            frames = reader.frames()
            sizes = [len((await anext(frames))[2]) for _ in range(4)]
            assert sizes == [1, 3000, 3000, 3000]
            assert relay.house.ledger.breached["egress_bits"] > 0  # it had to wait
            assert not waiting
            await frames.aclose()
            reader.leave()

    asyncio.run(main())


@pytest.mark.parametrize(("sessions", "readers"), [(0, 2), (2, 1)])
def test_readers_and_sessions_of_a_tenant_have_like_shares(
    running: Any, monkeypatch: pytest.MonkeyPatch, sessions: int, readers: int
) -> None:
    said = "[quotas.tenants.anon]\negress_bits = 400000\n"
    shares: Counter[Tab] = Counter()
    sent = Tab.sent

    def counted(tab: Tab, size: int, now: float) -> None:
        shares[tab] += size
        sent(tab, size, now)

    monkeypatch.setattr(Tab, "sent", counted)

    async def watch(relay: Any) -> None:
        url = f"https://127.0.0.1:{relay.quic_address[1]}/anon"
        async with connect(url, tls=TRUST) as viewer:
            async for _ in viewer.frames(await viewer.find("a"), "x").frames():
                pass

    async def read(relay: Any) -> None:
        async with (
            httpx.AsyncClient(base_url=base(relay)) as web,
            web.stream("GET", "/watch/anon/a/x") as stream,
        ):
            async for _ in stream.aiter_bytes():
                pass

    async def main() -> None:
        async with running(said) as relay:
            url = f"https://127.0.0.1:{relay.quic_address[1]}/anon"
            async with connect(url, tls=TRUST) as source:
                track = source.create_broadcast("a").create_track("x", TrackInfo())
                write(track, b"x")
                await until(lambda: relay.house.origin.find(Path("anon/a")) is not None)
                kinds = [watch] * sessions + [read] * readers
                tasks = [asyncio.ensure_future(kind(relay)) for kind in kinds]
                await until(lambda: len(shares) == len(kinds))
                began = time.monotonic()
                for _ in range(30):
                    write(track, *(b"x" * 10_000 for _ in range(4)))
                    await asyncio.sleep(0.2)
                # A second's worth at once, and as much as each may send at least.
                most = 50_000 * (time.monotonic() - began + 1) + LEAST * len(kinds)
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        assert most / 2 < shares.total() <= most
        assert max(shares.values()) < 2 * min(shares.values())

    asyncio.run(main())


def write(track: Any, *frames: bytes) -> None:
    """One group."""
    track.append_group()
    for frame in frames:
        track.write_frame(frame, 0)
    track.finish_group()


def test_whoever_had_to_wait_for_a_quota_is_counted_with_those_who_came_since(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def known(*what: Any) -> None:
        await asyncio.sleep(0.05)  # it is asked of another worker

    monkeypatch.setattr(press, "known", known)

    async def main() -> None:
        said = "[ingest]\nmax_watchers = 1\n"
        async with running(said) as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            await web.post("/publish/anon/a/x", content=b"x")
            grant = Grant(Path("anon/a"), (ROOT,), (ROOT,), tenant="anon")
            held = relay.judge.hold(grant, "id", "")
            address = relay.press.place("anon/a/x", None)[1]
            coming = [relay.press.watch((held, None), address, None) for _ in range(3)]
            came = await asyncio.gather(*coming, return_exceptions=True)
            assert [type(each) for each in came] == [press.Reader, Crowded, Crowded]

    asyncio.run(main())


async def numbers(stream: httpx.Response, count: int) -> list[str]:
    """The ids of that many frames."""
    found = []
    async for line in stream.aiter_lines():
        if line.startswith("id: "):
            found.append(line[len("id: ") :].rpartition(":")[0])
        if len(found) == count:
            break
    return found


def test_who_comes_back_gets_what_was_missed_in_order(running: Any) -> None:
    async def main() -> None:
        async with (
            running() as relay,
            httpx.AsyncClient(base_url=base(relay)) as web,
            asyncio.timeout(20),
        ):
            address, back = "/watch/anon/a/x", {"last-event-id": "0:0"}
            for number in range(4):
                await web.post("/publish/anon/a/x", json={"n": number})
            async with web.stream("GET", address) as stream:  # which has the cache know the latest
                assert await numbers(stream, 1) == ["3:0"]
            await until(lambda: not relay.press.readers)
            async with web.stream("GET", address, headers=back) as stream:
                assert await numbers(stream, 3) == ["1:0", "2:0", "3:0"]

    asyncio.run(main())


def test_who_breaks_off_at_once_and_comes_back_misses_nothing(running: Any) -> None:
    """A session sends what it has with the newest first."""

    async def main() -> None:
        async with (
            running() as relay,
            httpx.AsyncClient(base_url=base(relay)) as web,
            connect(f"https://127.0.0.1:{relay.quic_address[1]}/anon", tls=TRUST) as client,
            asyncio.timeout(20),
        ):
            track = client.create_broadcast("cam").create_track("v", TrackInfo(max_latency=60_000))
            for number in range(6):
                track.append_group()
                track.write_frame(b"x" * 100_000, number)
            track.finish_group()
            await until(lambda: relay.house.origin.find(Path("anon/cam")) is not None)
            address, last, seen = "/watch/anon/cam/v", "0:0", set()
            while seen != {"1", "2", "3", "4", "5"}:
                async with web.stream("GET", address, headers={"last-event-id": last}) as stream:
                    async for line in stream.aiter_lines():
                        if line.startswith("id: "):
                            last = line.removeprefix("id: ")
                            break
                seen.add(last.partition(":")[0])
                await until(lambda: not relay.press.readers)

    asyncio.run(main())


def test_who_comes_back_to_another_publisher_gets_what_that_one_has(running: Any) -> None:
    """Whose groups need not have reached the number that was seen last."""

    async def main() -> None:
        async with (
            running("[ingest]\nlinger = 2\n") as relay,
            httpx.AsyncClient(base_url=base(relay)) as web,
            asyncio.timeout(20),
        ):
            address = "/watch/anon/a/x"
            for number in range(9):
                await web.post("/publish/anon/a/x", json={"n": number})
            async with web.stream("GET", address) as stream:  # to its end
                lines = [line async for line in stream.aiter_lines()]
                last = next(line[len("id: ") :] for line in lines if line.startswith("id: "))
                assert last.startswith("8:0:")
            await until(lambda: not relay.press.station.booths)
            for number in range(2):
                await web.post("/publish/anon/a/x", json={"n": number})
            async with web.stream("GET", address, headers={"last-event-id": last}) as stream:
                assert await numbers(stream, 2) == ["0:0", "1:0"]
            wrong = {"last-event-id": f"{last}:0"}
            assert (await web.get(address, headers=wrong)).status_code == 400

    asyncio.run(main())


def test_who_comes_back_when_the_publisher_has_begun_anew_gets_what_there_is(running: Any) -> None:
    """By the same session: a page whose camera was stopped and started counts from 0 again."""

    async def main() -> None:
        async with (
            running() as relay,
            httpx.AsyncClient(base_url=base(relay)) as web,
            connect(f"https://127.0.0.1:{relay.quic_address[1]}/anon", tls=TRUST) as client,
            asyncio.timeout(20),
        ):
            address, last = "/watch/anon/cam/v", ""
            for count in (9, 2, 3):
                track = client.create_broadcast("cam").create_track("v", TrackInfo())
                for number in range(count):
                    track.append_group()
                    track.write_frame(b"x", number)
                track.finish_group()
                await until(lambda: relay.house.origin.find(Path("anon/cam")) is not None)
                async with web.stream("GET", address, headers={"last-event-id": last}) as stream:
                    async for line in stream.aiter_lines():
                        if line.startswith("id: "):
                            break
                last = line.removeprefix("id: ").partition("/")[0]  # as after a while
                assert last.startswith(f"{count - 1}:0:")
                client.withdraw()
                await until(lambda: relay.house.origin.find(Path("anon/cam")) is None)

    asyncio.run(main())


def test_who_comes_back_gets_as_much_when_others_have_stayed(running: Any) -> None:
    async def main() -> None:
        async with (
            running() as relay,
            httpx.AsyncClient(base_url=base(relay)) as web,
            asyncio.timeout(20),
        ):
            for number in range(4):
                await web.post("/publish/anon/a/x", json={"n": number})
            async with web.stream("GET", "/watch/anon/a/x") as staying:
                stays = asyncio.ensure_future(numbers(staying, 2))
                back = {"last-event-id": "0:0"}
                async with web.stream("GET", "/watch/anon/a/x", headers=back) as stream:
                    assert await numbers(stream, 3) == ["1:0", "2:0", "3:0"]
                await web.post("/publish/anon/a/x", json={"n": 4})
                assert await stays == ["3:0", "4:0"]

    asyncio.run(main())


def test_head_is_answered_at_once_and_leaves_no_reader(running: Any) -> None:
    async def main() -> None:
        async with (
            running() as relay,
            httpx.AsyncClient(base_url=base(relay)) as web,
            asyncio.timeout(5),
        ):
            await web.post("/publish/anon/a/x", json={})
            answer = await web.head("/watch/anon/a/x")
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert "content-length" not in answer.headers
            assert not relay.press.readers
            assert (await web.get("/health")).text == "ok\n"  # by the same connection
            assert (await web.head("/watch/anon/a/none")).status_code == 404

    asyncio.run(main())


def test_readers_that_come_together_begin_one_after_the_other(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        loop, rounds, begun = asyncio.get_running_loop(), 0, []
        begin = press.Follower.open

        def turn() -> None:
            nonlocal rounds
            rounds += 1
            loop.call_soon(turn)

        def open(self: press.Follower) -> None:
            begun.append(rounds)
            begin(self)

        monkeypatch.setattr(press.Follower, "open", open)
        async with running() as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            await web.post("/publish/anon/a/x", json={})
            admitted = Held(Grant(Path("anon/a"), (), (ROOT,), anonymous=True), "id", "::1"), None
            address = relay.press.place("/anon/a/x", None)[1]
            turn()
            watches = (relay.press.watch(admitted, address, None) for _ in range(5))
            for reader in await asyncio.gather(*watches):
                reader.leave()
            assert len(set(begun)) == 5

    asyncio.run(main())


def test_a_group_that_comes_late_is_not_for_who_is_revoked_by_then(
    running: Any, signer: Key
) -> None:
    async def main() -> None:
        alice, bob = bearer(signer, "alice"), bearer(signer, "bob")
        jwt = bob["authorization"].removeprefix("Bearer ")
        async with (
            running() as relay,
            httpx.AsyncClient(base_url=base(relay)) as web,
            connect(
                f"https://127.0.0.1:{relay.quic_address[1]}/demo?jwt={jwt}", tls=TRUST
            ) as source,
            asyncio.timeout(8),
            asyncio.TaskGroup() as group,
        ):
            track = source.create_broadcast("cam").create_track("t", TrackInfo())
            track.append_group()
            track.write_frame(b"late", 0)
            track.finish_group()
            await until(lambda: relay.house.origin.find(Path("demo/cam")) is not None)
            asked: list[FetchRequested] = []
            answer = source.guest._hears[FetchRequested]
            source.guest._hears[FetchRequested] = asked.append
            address = "/fetch/demo/cam/t?group=0"
            hers = group.create_task(web.get(address, headers=alice))
            his = group.create_task(web.get(address, headers=bob))
            await until(lambda: bool(asked) and len(relay.judge._held) == 2)
            await relay.desk.office.revoke(WHO, Revocation("sub", "alice"))
            await until(lambda: any(held.why for held in relay.judge._held))
            answer(asked[0])
            source.guest.flush()
            assert (await his).content == b"late"
            assert (await hers).status_code == 401
            assert (await hers).headers["x-request-id"]

    asyncio.run(main())
