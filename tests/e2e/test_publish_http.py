"""Publishing and watching by HTTP against a running relay, with real readers on both sides."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from functools import partial
from threading import Event, current_thread
from typing import Any

import httpx
import pytest
from rates import until_refused

from relay.auth import mint
from relay.auth.claims import Claims
from relay.auth.keys import Key
from relay.client import connect
from relay.ingest import station
from relay.ingest.records import prepare
from relay.model.track import TrackInfo
from relay.net.trust import DialTls
from relay.path import Path
from relay.peer.reading import GroupEnd
from relay.records.audit import Query

TRUST = DialTls(disable_verify=True)
SCHEMA = {"type": "object", "required": ["c"], "properties": {"c": {"type": "number"}}}
TRACKS = """
[ingest]
linger = 0.5
max_body_bytes = 2000
[ingest.tracks."anon/*/t/v1"]
schema = "t.json"
[ingest.tracks."anon/*/t/v2"]
schema = "t.json"
dead_letters = true
"""
SECRET = """
[records]
url = "sqlite:///relay.db"
[ingest.tracks."anon/*/secret"]
encrypt = { "/mail" = "pii" }
"""


def base(relay: Any) -> str:
    return f"http://127.0.0.1:{relay.http_addresses[0][1]}"


@pytest.fixture
def schema(folder: Any) -> None:
    (folder / "t.json").write_text(json.dumps(SCHEMA))


async def events(stream: Any, count: int) -> list[tuple[str, str, str]]:
    """That many events: (event, group:frame, data)."""
    found: list[tuple[str, str, str]] = []
    event, id, data = "", "", []
    async for line in stream.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            event = value
        elif name == "id":
            id = value.rpartition(":")[0]  # without whose it is
        elif name == "data":
            data.append(value)
        elif not line and event:
            found.append((event, id, "\n".join(data)))
            event, id, data = "", "", []
            if len(found) == count:
                return found
    return found


def test_a_session_receives_what_was_published(running: Any) -> None:
    async def main() -> None:
        async with running() as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            first = await web.post("/publish/anon/a/x", json={"n": 1})
            assert first.status_code == 202
            assert first.json()["groups"] == [0]
            url = f"https://127.0.0.1:{relay.quic_address[1]}/anon"
            async with connect(url, tls=TRUST) as client, asyncio.timeout(20):
                broadcast = await client.find("a")
                frames = client.frames(broadcast, "x").frames()
                seen = [await anext(frames)]
                many = await web.post("/publish/anon/a/x?group=one", json=[{"n": 2}, {"n": 3}])
                assert [each["frame"] for each in many.json()["records"]] == [0, 1]
                while len(seen) < 3:
                    item = await anext(frames)
                    if not isinstance(item, GroupEnd):
                        seen.append(item)
            assert [each.payload for each in seen] == [b'{"n":1}', b'{"n":2}', b'{"n":3}']
            assert seen[0].timescale == 1_000_000
            assert abs(seen[0].timestamp / 1e6 - time.time()) < 10

    asyncio.run(main())


def test_a_body_that_takes_too_long_is_not_waited_for(running: Any) -> None:
    async def slow() -> Any:
        yield b"{"
        await asyncio.sleep(1)
        yield b"}"

    async def main() -> None:
        quick = "[ingest]\nbody_timeout = 0.4\n"
        async with running(quick) as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            assert (await web.post("/publish/anon/a/x", content=slow())).status_code == 408

    asyncio.run(main())


def test_bad_input_gets_a_clear_error_and_nothing_is_published(running: Any, schema: None) -> None:
    json_type = {"content-type": "application/json"}
    bad = [b"{", b'{"a":NaN}', b'{"a":1,"a":2}', b"\xff", b"[" * 500, b"1", b"[]", b'{"a":1e999}']

    async def main() -> None:
        async with running(TRACKS) as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            for body in bad:
                answer = await web.post("/publish/anon/a/x", content=body, headers=json_type)
                assert (answer.status_code, body) == (400, body)
                assert answer.headers["content-type"] == "application/problem+json"
            for address, why in (
                ("/publish/anon/a?track=%FF", "the track name is not UTF-8"),
                ("/publish/anon/a/%FF", "what the address escapes is not UTF-8"),
                ("/publish/anon/a%0A/t", "the address holds control characters"),
            ):
                nameless = await web.post(address, json={})
                assert (nameless.status_code, nameless.json()["detail"]) == (400, why)
            large = await web.post("/publish/anon/a/x", content=b"x" * 2001)
            assert large.status_code == 413
            packed = await web.post("/publish/anon/a/x", headers={"content-encoding": "gzip"})
            assert packed.status_code == 415
            raw = await web.post("/publish/anon/a/t", content=b"raw")
            assert raw.status_code == 415
            unfit = await web.post("/publish/anon/a/t/v1", json=[{"c": 1}, {}])
            assert unfit.status_code == 400
            assert unfit.json()["records"][0]["record"] == 1
            refused = await web.post("/publish/other/a/x", json={})
            assert refused.status_code == 401
            assert refused.json()["id"] == refused.headers["x-request-id"]
            assert (await web.get("/announced/anon")).text == ""

    asyncio.run(main())


def test_a_large_body_is_checked_beside_all_else_and_who_is_revoked_meanwhile_publishes_nothing(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with running() as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            check, begun, may_end = relay.press.station.check_json, Event(), Event()

            def slow(*body: Any) -> Any:
                begun.set()
                assert may_end.wait(5)
                return check(*body)

            monkeypatch.setattr(relay.press.station, "check_json", slow)
            large = {"text": "x" * 5000}
            async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
                publishing = tasks.create_task(web.post("/publish/anon/a/x", json=large))
                while not begun.is_set():
                    await asyncio.sleep(0.001)
                assert (await web.post("/publish/anon/b/x", content=b"small")).status_code == 202
                relay.judge.strike(lambda grant: "out")
                may_end.set()
            assert publishing.result().status_code == 401
            assert (await web.get("/announced/anon")).text == "b\n"
            assert (await web.post("/publish/anon/a/x", json=large)).status_code == 202

    asyncio.run(main())


def test_a_small_body_of_which_a_schema_makes_much_is_checked_beside_all_else(
    running: Any, folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []

    def noted(*known: Any) -> Any:
        threads.append(current_thread().name.partition("_")[0])
        return prepare(*known)

    def deep(levels: int) -> dict[str, Any]:
        record: dict[str, Any] = {"c": "x"}
        for _ in range(levels):
            record = {"in": record}
        return record

    async def main() -> None:
        ways = {"in": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}, "c": {"type": "number"}}
        (folder / "tree.json").write_text(json.dumps({"properties": ways}))
        extra = '[ingest.tracks."anon/*/t"]\nschema = "tree.json"\ndead_letters = true\n'
        async with running(extra) as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            for levels, seen in ((3, ["MainThread"]), (10, ["MainThread", "aside"])):
                threads.clear()
                answer = await web.post("/publish/anon/a/t", json=deep(levels))
                assert (answer.json()["status"], threads) == ("dead_letter", seen)

    monkeypatch.setattr(station, "prepare", noted)
    asyncio.run(main())


def test_the_latest_group_is_the_one_that_was_published_last(running: Any) -> None:
    async def main() -> None:
        async with running() as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            for number in range(20):
                await web.post("/publish/anon/a/x", json={"n": number})
                assert (await web.get("/fetch/anon/a/x")).json() == {"n": number}

    asyncio.run(main())


def test_rights_below_the_broadcast_do_not_reach_it(running: Any, token: Any) -> None:
    async def main() -> None:
        async with running() as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            bearer = {"authorization": f"Bearer {token('demo', put=('in',), get=())}"}
            good = await web.post("/publish/demo/in/x", json={}, headers=bearer)
            assert good.status_code == 202
            said: dict[str, str] = {}
            relay.house.log = lambda event, id="", remote="", **more: said.update({id: remote})
            for count, path in enumerate(("/publish/demo/x", "/publish/demo/out/x"), 1):
                answer = await web.post(path, json={}, headers=bearer)
                assert answer.status_code == 403
                assert said[answer.json()["id"]] == "127.0.0.1"
                assert relay.judge.refusals.counts == {"no_access": count}
                await relay.desk.scribe.flush()
                told = Query(action="deny", id=answer.json()["id"])
                (entry,) = await relay.desk.records.audit.entries(told)
                assert (entry.target, entry.reason) == (path[8:-2], "no_access")
            assert (await web.get("/watch/demo/in/x", headers=bearer)).status_code == 403

    asyncio.run(main())


def test_versions_dead_letters_and_the_end_of_a_broadcast(running: Any, schema: None) -> None:
    async def main() -> None:
        lingering = TRACKS.replace("linger = 0.5", "linger = 3")
        async with running(lingering) as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            done = (await web.post("/publish/anon/a/t", json=[{"c": 1}, {"c": "x"}])).json()
            assert [each["status"] for each in done["records"]] == ["published", "dead_letter"]
            assert [each["track"] for each in done["records"]] == ["t/v2", "t/v2.dlq"]
            letter = (await web.get("/fetch/anon/a/t%2Fv2.dlq")).json()
            assert letter["record"] == {"c": "x"}
            assert (await web.get("/fetch/anon/a/t/v2.dlq")).json() == letter
            assert set(letter) == {"record", "error", "timestamp"}
            routes = (await web.get("/routes/anon")).json()
            assert routes["published"] == [{"broadcast": "a", "tracks": ["t/v2", "t/v2.dlq"]}]
            assert routes["announced"] == ["a"]
            assert len(routes["declared"]) == 2
            async with asyncio.timeout(6):
                while relay.press.station.booths:
                    await asyncio.sleep(0.05)
            assert (await web.get("/announced/anon")).text == ""
            assert relay.press.station.booths == {}

    asyncio.run(main())


def test_watching_resumes_ends_and_decrypts_for_those_who_may(
    running: Any, schema: None, token: Any, signer: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOQ_MASTER_KEY", base64.b64encode(b"m" * 32).decode())

    async def main() -> None:
        async with running(TRACKS.replace("linger = 0.5", "linger = 9") + SECRET) as relay:
            relay.press.station.keys = {"pii": {1: b"k" * 32}}
            async with httpx.AsyncClient(base_url=base(relay)) as web, asyncio.timeout(12):
                for n in range(3):
                    await web.post("/publish/anon/a/secret", json={"mail": f"m{n}"})
                await web.post("/publish/anon/a/raw", content=b"\xff")
                resumed = {"last-event-id": "0:0"}
                async with web.stream("GET", "/watch/anon/a/secret", headers=resumed) as stream:
                    assert stream.headers["content-type"].startswith("text/event-stream")
                    seen = await events(stream, 2)
                assert [each[1] for each in seen] == ["1:0", "2:0"]
                assert seen[0][2].startswith('{"mail":"kid:pii:v1:')
                claims = Claims(Path("anon"), get=(Path(""),), decrypt=("pii",))
                reader = {"authorization": f"Bearer {mint.sign(claims, signer, time.time())}"}
                async with web.stream("GET", "/watch/anon/a/secret", headers=reader) as stream:
                    assert await events(stream, 1) == [("frame", "2:0", '{"mail":"m2"}')]
                sealed = await web.get("/fetch/anon/a/secret?decrypt=1")
                assert sealed.json()["mail"].startswith("kid:pii:v1:")
                opened = await web.get("/fetch/anon/a/secret?decrypt=1", headers=reader)
                assert opened.json() == {"mail": "m2"}
                async with web.stream("GET", "/watch/anon/a/raw") as stream:
                    assert await events(stream, 1) == [("frame", "0:0", "base64:/w==")]
                assert (await web.get("/watch/anon/a/none")).status_code == 404
                assert (await web.get("/watch/anon/none/x")).status_code == 404
                bearer = {"authorization": f"Bearer {token('anon', ttl=2.5)}"}
                async with web.stream("GET", "/watch/anon/a/raw", headers=bearer) as stream:
                    assert (await events(stream, 9))[-1][0] == "end"
                while relay.press.readers:
                    await asyncio.sleep(0.02)

    asyncio.run(main())


def test_publishing_is_on_the_tenants_books(running: Any) -> None:
    said = "[quotas.tenants.anon]\ningress_bits = 13000\nbroadcasts = 1\ncached_bytes = 6000\n"

    async def main() -> None:
        async with running(said) as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            large = await web.post("/publish/anon/a/x", content=b"x" * 6001)
            assert (large.status_code, "retry-after" in large.headers) == (413, False)
            assert "quotas.cached_bytes" in large.json()["detail"]
            assert (await web.post("/publish/anon/a/x", content=b"x" * 4700)).status_code == 202
            over = await web.post("/publish/anon/a/x", content=b"x")
            assert (over.status_code, over.headers["retry-after"]) == (429, "2")
            assert "quotas.ingress_bits" in over.json()["detail"]
            await asyncio.sleep(2.2)
            assert (await web.post("/publish/anon/a/x", content=b"x")).status_code == 202
            other = await web.post("/publish/anon/b/x", content=b"x")
            assert "quotas.broadcasts" in other.json()["detail"]
            usage = relay.house.ledger.usage()["anon"]
            assert (usage["broadcasts"], usage["sessions"]) == (1, 0)
            assert usage["ingress_bytes"] == 4700 + 1
            async with web.stream("GET", "/watch/anon/a/x") as stream:
                await events(stream, 1)
            assert relay.house.ledger.usage()["anon"]["egress_bytes"] > 0

    asyncio.run(main())


def test_each_request_counts_and_is_told_when_to_come_back(running: Any) -> None:
    said = "[quotas.tenants.anon]\nsessions_per_second = 2\n"

    async def main() -> None:
        async with running(said) as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            began = time.monotonic()
            ask = partial(web.post, "/publish/anon/a/x", json={})
            taken, over = await until_refused(ask, 2, status=202)
            assert taken >= 2
            assert "retry-after" in over.headers["access-control-expose-headers"]
            for path in ("/watch/anon/a/x", "/routes/anon"):
                refused = (await web.get(path)).status_code == 429
                assert refused or time.monotonic() - began > 0.45, "and nothing was paid back"

    asyncio.run(main())


def test_the_newest_publisher_wins(running: Any, token: Any) -> None:
    async def main() -> None:
        bearer = {"authorization": f"Bearer {token('demo')}"}
        async with (
            running() as relay,
            httpx.AsyncClient(base_url=base(relay), headers=bearer) as web,
            asyncio.timeout(15),
        ):
            # Who may not subscribe does not hear of the broadcast that it takes over.
            url = f"https://127.0.0.1:{relay.quic_address[1]}/demo?jwt={token('demo', get=())}"
            await web.post("/publish/demo/a/x", content=b"http")
            async with connect(url, tls=TRUST) as client:
                track = client.create_broadcast("a").create_track("x", TrackInfo())
                track.append_group()
                track.write_frame(b"quic", 1)
                track.finish_group()
                while (await web.get("/fetch/demo/a/x")).content != b"quic":
                    await asyncio.sleep(0.05)
                # One more record does not bring back what was taken over.
                assert (await web.post("/publish/demo/a/x", content=b"again")).status_code == 202
                assert (await web.get("/fetch/demo/a/x")).content == b"quic"
            while (await web.get("/fetch/demo/a/x")).content != b"again":
                await asyncio.sleep(0.05)

    asyncio.run(main())


def test_what_no_route_takes_is_refused_as_the_others_are(running: Any) -> None:
    long = "x" * 20_000

    async def main() -> None:
        async with running() as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            for method, path, status, allowed in (
                ("GET", "/publish", 404, None),
                ("POST", "/watch", 404, None),
                ("GET", "/publish/anon/x", 405, {"POST", "OPTIONS"}),
                ("DELETE", "/publish/anon/x", 405, {"POST", "OPTIONS"}),
                ("POST", "/watch/anon/x", 405, {"GET", "HEAD", "OPTIONS"}),
                ("POST", "/routes", 405, {"GET", "HEAD", "OPTIONS"}),
                ("PUT", "/routes/anon", 405, {"GET", "HEAD", "OPTIONS"}),
                ("POST", f"/publish/anon/x?track={long}", 414, None),
                ("GET", f"/watch/anon/x?track={long}", 414, None),
                ("GET", f"/routes/anon?{long}", 414, None),
            ):
                answer = await web.request(method, path)
                assert answer.headers["content-type"] == "application/problem+json", path
                body = answer.json()
                assert (answer.status_code, body["status"], body["type"]) == (
                    status,
                    status,
                    "about:blank",
                )
                assert set(body) == {"type", "title", "status"}
                assert answer.headers["access-control-allow-origin"] == "*"
                said = answer.headers.get("allow")
                assert (set(said.split(", ")) if said else None) == allowed
            for path in ("/publishing", "/x", "/announced/anon"):
                plain = await web.post(path)
                assert plain.headers["content-type"] == "application/json"
                assert set(plain.json()) == {"error"}

    asyncio.run(main())
