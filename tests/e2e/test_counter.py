"""The operator's counter on running relays, over real HTTP."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from relay.auth.credentials import NewKey, make_key
from relay.auth.explain import ELSEWHERE
from relay.client import Client, connect
from relay.control.admin import shapes
from relay.model.track import TrackInfo
from relay.net.trust import DialTls
from relay.path import Path
from relay.records.audit import Fact
from relay.records.office import Operator
from relay.records.store import StoreError
from relay.server.counter import Counter
from relay.server.relay import Relay

TRUST = DialTls(disable_verify=True)
BLIND = "[client.tls]\ndisable_verify = true\n"


@pytest.fixture(scope="module")
def operator() -> NewKey:
    return make_key(100_000)


def settings(operator: NewKey, extra: str = "") -> str:
    return f'[admin]\napi_key = "{operator.hash}"\n{extra}'


@asynccontextmanager
async def counter(relay: Any, bearer: str | None) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {bearer}"} if bearer is not None else {}
    base = f"http://127.0.0.1:{relay.http_addresses[0][1]}/admin/v1"
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=10) as client:
        yield client


@asynccontextmanager
async def guest(relay: Any, target: str) -> AsyncIterator[Client]:
    """A session at a path, once the relay has heard who it is."""
    before = len(relay.door.guests)
    async with connect(f"https://127.0.0.1:{relay.quic_address[1]}{target}", tls=TRUST) as client:
        while sum(each.opened for each in relay.door.guests.values()) <= before:
            await asyncio.sleep(0.01)
        yield client


def test_nobody_but_the_operator_is_served(running: Any, operator: NewKey) -> None:
    async def main() -> None:
        async with running(settings(operator)) as relay:
            for bearer in (None, "x", "wrong", f"wrong.{operator.bearer.partition('.')[2]}"):
                async with counter(relay, bearer) as web:
                    for path in ("/sessions", "/nowhere", "/tokens"):
                        answer = await web.get(path)
                        assert answer.status_code in (401, 429)
                        assert answer.headers["content-type"] == "application/problem+json"
                        assert set(answer.json()) == {"type", "title", "status"}
                        assert "access-control-allow-origin" not in answer.headers
            async with counter(relay, operator.bearer) as web:
                assert (await web.get("/nowhere")).status_code == 404
                long = await web.post("/tokens", json={"name": "x" * 70_000})
                assert (long.status_code, long.json()["status"]) == (413, 413)
                wrong = await web.request("PATCH", "/sessions")
                assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")

    asyncio.run(main())


def test_who_guesses_stands_in_the_audit_log(running: Any, operator: NewKey) -> None:
    async def main() -> None:
        async with running(settings(operator)) as relay:
            async with counter(relay, "guess") as web:
                assert (await web.get("/sessions")).status_code == 401
            async with counter(relay, operator.bearer) as web:
                found: list[Any] = []
                while not found:
                    await asyncio.sleep(0.05)
                    asked = {"action": "deny", "reason": "wrong_operator_key"}
                    found = (await web.get("/audit", params=asked)).json()["entries"]
        assert [(each["address"], each["target"]) for each in found] == [("127.0.0.1", "/admin")]
        assert "guess" not in str(found)

    asyncio.run(asyncio.wait_for(main(), 10))


def test_a_question_without_sense_is_refused(running: Any, operator: NewKey) -> None:
    async def main() -> None:
        async with running(settings(operator)) as relay, counter(relay, operator.bearer) as web:
            answer = await web.post("/explain", json={"url": "http://[::1"})
            assert answer.status_code == 400
            answer = await web.post("/explain", json={"url": "/de\tmo"})
            assert (answer.status_code, answer.json()["detail"]) == (
                400,
                "control characters in the URL",
            )
            assert (await web.post("/explain", json={"transport": "bus"})).status_code == 400
            old = await web.get("/audit", params={"from": "now-999999999w"})
            assert old.status_code == 200
            odd = await web.get("/audit", params={"from": "yesterday"})
            assert odd.json()["detail"] == "from: expected unix seconds, now, or such as now-1h"

    asyncio.run(main())


def test_what_is_said_in_the_wrong_place_is_not_passed_over(
    running: Any, operator: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that leaked would have gone on being believed, and the answer was 200."""
    monkeypatch.setenv("MOQ_MASTER_KEY", "A" * 43 + "=")

    async def main() -> None:
        store = '[records]\nurl = "sqlite:///relay.db"\n[issuer]\nenabled = true\n'
        extra = settings(operator, store)
        async with running(extra) as relay, counter(relay, operator.bearer) as web:
            before = (await web.get("/keys")).json()
            answer = await web.post("/keys/rotate", json={"compromised": True})
            assert answer.status_code == 400
            assert answer.json()["detail"].endswith("in the address, not in the body")
            assert (await web.get("/keys")).json() == before
            gone = await web.request("DELETE", "/quotas/demo", json={"sessions": 1})
            assert gone.status_code == 400
            assert (await web.post("/keys/rotate", json={})).status_code == 200

    asyncio.run(main())


def test_an_explanation_is_what_a_session_would_meet(
    running: Any, operator: NewKey, token: Any
) -> None:
    strict = "[auth.session]\nenforce_jwt = true\n"

    async def main() -> None:
        async with (
            running(settings(operator, strict)) as relay,
            counter(relay, operator.bearer) as web,
        ):
            told = (await web.post("/explain", json={"url": "/anon"})).json()
            assert (told["verdict"], told["status"]) == ("denied", 401)
            for transport, verdict in (("quic", "denied"), ("http", "allowed")):
                asked = {"url": "/anon", "transport": transport}
                assert (await web.post("/explain", json=asked)).json()["verdict"] == verdict
            asked = {"url": f"//demo?jwt={token('demo')}"}
            told = (await web.post("/explain", json=asked)).json()
            assert (told["grant"]["root"], told["troubles"]) == ("demo", [])

    asyncio.run(main())


def test_what_another_server_decides_is_left_unchecked(
    running: Any, operator: NewKey, token: Any
) -> None:
    away = '[server]\nlisten = "127.0.0.1:0"\n[server.tls]\ngenerate = ["localhost"]\n'
    away += '[auth]\nurl = "http://127.0.0.1:1/"\n'

    async def main() -> None:
        async with (
            running(settings(operator), away) as relay,
            counter(relay, operator.bearer) as web,
        ):
            for url in ("/demo", f"/demo?jwt={token('demo')}"):
                told = (await web.post("/explain", json={"url": url})).json()
                assert (told["verdict"], told["code"], told["mend"]) == ("unchecked", None, "")
                assert told["troubles"] == [ELSEWHERE]

    asyncio.run(main())


def test_without_a_key_in_the_settings_it_is_closed(running: Any, operator: NewKey) -> None:
    async def main() -> None:
        async with running() as relay, counter(relay, operator.bearer) as web:
            assert (await web.get("/sessions")).status_code == 401

    asyncio.run(main())


def test_sessions_are_listed_by_page_and_filter_and_kicked(
    running: Any, operator: NewKey, token: Any
) -> None:
    async def main() -> None:
        async with (
            running(settings(operator)) as relay,
            counter(relay, operator.bearer) as web,
            guest(relay, "/anon/one"),
            guest(relay, "/anon/two"),
            guest(relay, f"/demo?jwt={token('demo')}") as victim,
        ):
            first = (await web.get("/sessions", params={"limit": 2})).json()
            assert len(first["sessions"]) == 2
            rest = (await web.get("/sessions", params={"cursor": first["cursor"]})).json()
            assert (len(rest["sessions"]), rest["cursor"]) == (1, None)
            below = (await web.get("/sessions", params={"root": "anon/one"})).json()["sessions"]
            assert [each["root"] for each in below] == ["anon/one"]
            (one,) = (await web.get("/sessions", params={"tenant": "demo"})).json()["sessions"]
            assert (one["kid"], one["transport"], one["publish"]) == ("e2e", "webtransport", [""])
            assert one["version"].startswith("moq-lite-")
            assert (await web.get(f"/sessions/{one['id']}")).json()["root"] == "demo"
            kicked = await web.post(f"/sessions/{one['id']}/kick", json={"reason": "noise"})
            assert kicked.json() == {"ended": 1}
            assert one["id"] in await asyncio.wait_for(victim.lost, 5)
            assert (await web.get(f"/sessions/{one['id']}")).status_code == 404
            (entry,) = (await web.get("/audit", params={"action": "session.kick"})).json()[
                "entries"
            ]
            assert (entry["actor"], entry["address"]) == ("admin", "127.0.0.1")
            assert (entry["target"], entry["detail"]) == (f"session {one['id']}", "noise")
            known = (await web.get("/audit", params={"id": one["id"]})).json()["entries"]
            assert {each["action"] for each in known} == {"session.kick", "allow"}

    asyncio.run(main())


def test_a_session_is_given_less_and_never_more(running: Any, operator: NewKey, token: Any) -> None:
    async def main() -> None:
        async with (
            running(settings(operator)) as relay,
            counter(relay, operator.bearer) as web,
            guest(relay, f"/demo?jwt={token('demo', put=('a',))}"),
        ):
            (one,) = (await web.get("/sessions")).json()["sessions"]
            place = f"/sessions/{one['id']}/narrow"
            more = await web.post(place, json={"publish": ["b"]})
            assert more.status_code == 400
            less = await web.post(place, json={"publish": [], "subscribe": ["x/y", "x"]})
            assert (less.json()["publish"], less.json()["subscribe"]) == ([], ["x"])
            again = await web.post(place, json={"publish": ["a"]})
            assert again.status_code == 400

    asyncio.run(main())


def test_what_cannot_be_written_down_is_not_done(
    running: Any, operator: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[tuple[str, str, Any]] = [
        ("POST", "/tokens", {"name": "x", "publish": [""]}),
        ("POST", "/revocations", {"by": "sub", "value": "x"}),
        ("PUT", "/quotas/plant", {"sessions": 1}),
        ("DELETE", "/quotas/plant", None),
        ("DELETE", "/tokens/abcdefABCDEF", None),
        ("DELETE", "/revocations/1", None),
        ("POST", "/ciphers", {"name": "pii"}),
    ]

    async def silent(fact: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setenv("MOQ_MASTER_KEY", "A" * 43 + "=")
    store = '[records]\nurl = "sqlite:///relay.db"\n'

    async def main() -> None:
        async with (
            running(settings(operator, store)) as relay,
            counter(relay, operator.bearer) as web,
            guest(relay, "/anon"),
        ):
            (one,) = (await web.get("/sessions")).json()["sessions"]
            monkeypatch.setattr(relay.desk.scribe, "write", silent)
            session = f"/sessions/{one['id']}"
            mine: list[tuple[str, str, Any]] = [
                ("POST", f"{session}/kick", {}),
                ("POST", f"{session}/narrow", {"subscribe": []}),
            ]
            for method, place, body in changes + mine:
                answer = await web.request(method, place, json=body)
                assert answer.status_code == 503, place
            assert (await web.get(session)).json()["subscribe"] == one["subscribe"] != []
            assert (await web.get("/tokens")).json()["tokens"] == []
            assert (await web.get("/ciphers")).json()["ciphers"] == []
            assert (await web.get("/revocations")).json()["revocations"] == []
            assert (await web.get("/quotas/plant")).json()["said"] is None

    asyncio.run(main())


def test_the_log_can_be_read_while_it_cannot_be_written(
    running: Any, operator: NewKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(facts: Any) -> Any:
        raise StoreError("the disk is full")

    async def main() -> None:
        async with running(settings(operator)) as relay, counter(relay, operator.bearer) as web:
            desk = relay.desk
            await desk.scribe.write(Fact("before"))
            monkeypatch.setattr(desk.records.audit, "append", full)
            desk.scribe.note(Fact("meanwhile"))
            answer = await web.get("/audit")
            monkeypatch.undo()
            assert [each["action"] for each in answer.json()["entries"]] == ["before"]

    asyncio.run(main())


def test_limits_that_cannot_be_read_are_those_of_one_tenant(
    running: Any, operator: NewKey, folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that somebody wrote by hand took all tenants' limits out of force at the next start."""
    store = '[records]\nurl = "sqlite:///relay.db"\n[quotas.tenants.acme]\nsessions = 5\n'
    said = settings(operator, store)
    lines: list[str] = []

    def note(relay: Relay, event: str, **facts: Any) -> None:
        lines.append(facts.get("detail", ""))

    monkeypatch.setattr(Relay, "_log", note)

    async def listed(web: httpx.AsyncClient) -> dict[str, tuple[Any, int]]:
        answer = await web.get("/quotas")
        assert answer.status_code == 200
        return {
            each["tenant"]: (each["said"] and each["said"]["sessions"], each["limits"]["sessions"])
            for each in answer.json()["tenants"]
        }

    async def main() -> None:
        async with running(said) as relay, counter(relay, operator.bearer) as web:
            for tenant in ("acme", "plant"):
                await web.put(f"/quotas/{tenant}", json={"sessions": 7})
            with sqlite3.connect(folder / "relay.db") as connection:
                connection.execute("UPDATE quotas SET said = '{' WHERE tenant = 'acme'")
            connection.close()
            await web.put("/quotas/plant", json={"sessions": 8})
            assert await listed(web) == {"acme": (None, 7), "plant": (8, 8)}
        lines.clear()
        async with running(said) as relay, counter(relay, operator.bearer) as web:
            assert await listed(web) == {"acme": (None, 5), "plant": (8, 8)}
            assert (await web.get("/quotas/acme")).json()["limits"]["sessions"] == 5
            assert [line for line in lines if "quotas of the store" in line] == [
                "quotas of the store not obeyed: what is said of the tenant 'acme' cannot be read"
            ]
            assert (await web.delete("/quotas/acme")).status_code == 200
            assert await listed(web) == {"acme": (None, 5), "plant": (8, 8)}

    asyncio.run(main())


def test_routes_say_whose_they_are(running: Any, operator: NewKey, minted: Any) -> None:
    said = settings(operator, '[stats]\nenabled = true\nnode = "here"\n')

    async def main() -> None:
        async with (
            running(said) as relay,
            counter(relay, operator.bearer) as web,
            guest(relay, f"/demo?jwt={minted('demo', sub='alice')}") as one,
            guest(relay, f"/demo?jwt={minted('demo', sub='bob')}") as two,
            guest(relay, f"/demo?jwt={minted('demo')}") as viewer,
        ):
            track = one.create_broadcast("cam").create_track("video", TrackInfo())
            two.create_broadcast("other")
            await viewer.find("cam")
            await viewer.find("other")
            base = str(web.base_url).partition("/admin")[0]
            async with httpx.AsyncClient(base_url=base) as public:
                sent = await public.post("/publish/anon/plant/heat", content=b"x")
                assert sent.status_code == 202

            async def routes(**asked: Any) -> list[dict[str, Any]]:
                answer = await web.get("/routes", params=asked)
                assert answer.status_code == 200
                found: list[dict[str, Any]] = answer.json()["routes"]
                return found

            sessions = {
                each["subject"]: each["id"]
                for each in (await web.get("/sessions")).json()["sessions"]
            }
            watch = viewer.frames(await viewer.find("cam"), "video").frames()
            track.append_group()
            track.write_frame(b"x", 0)
            assert (await anext(watch)).payload == b"x"
            everything = {each["path"]: each for each in await routes()}
            assert list(everything) == sorted(everything)
            other = everything["demo/other"]
            assert (other["by"], other["id"], other["subject"], other["tenant"]) == (
                *("session", sessions["bob"]),
                *("bob", "demo"),
            )
            assert (other["serves"], len(other["hops"]), other["viewers"]) == (True, 1, 0)
            cam = everything["demo/cam"]
            assert (cam["id"], cam["viewers"]) == (sessions["alice"], 1)
            heat = everything["anon/plant"]
            assert (heat["by"], heat["id"], heat["tenant"], len(heat["hops"])) == (
                *("http", None),
                *("anon", 1),
            )
            assert everything[".stats/node/here"]["by"] == "self"
            assert [each["path"] for each in await routes(prefix="demo")] == [
                "demo/cam",
                "demo/other",
            ]
            page = (await web.get("/routes", params={"limit": 1, "prefix": "demo"})).json()
            assert page["cursor"] == "demo/cam"
            rest = await routes(cursor=page["cursor"], prefix="demo")
            assert [each["path"] for each in rest] == ["demo/other"]
            assert (await web.get("/routes", params={"limit": 0})).status_code == 400

    asyncio.run(main())


def test_a_route_over_another_relay_names_it(node: Any, minted: Any) -> None:
    who, everything = Operator("test"), shapes.RoutesAsked()

    async def main() -> None:
        async with (
            node() as a,
            node("", BLIND, connect=[a.url("/?cost=7")]) as b,
            connect(a.url(f"/demo?jwt={minted('demo', sub='alice')}"), tls=TRUST) as publisher,
        ):
            publisher.create_broadcast("cam")
            async with asyncio.timeout(5):
                while not b.sees("demo/cam"):
                    await asyncio.sleep(0.02)
            near = (await Counter(a.relay).list_routes(who, everything)).routes
            (one,) = [each for each in near if each.path == "demo/cam"]
            async with asyncio.timeout(5):
                while True:  # relays say who they are beside what they announce
                    far = (await Counter(b.relay).list_routes(who, everything)).routes
                    (two,) = [each for each in far if each.path == "demo/cam"]
                    if two.node:
                        break
                    await asyncio.sleep(0.02)
            assert (one.by, one.subject, len(one.hops)) == ("session", "alice", 1)
            (link,) = b.relay.door.links.values()
            assert (two.by, two.id, two.subject, two.tenant) == ("relay", link.id, None, None)
            assert two.node == a.url()
            assert two.hops == [*one.hops, str(a.relay.house.origin.id)]
            assert two.cost == one.cost + 7

    asyncio.run(main())


def test_what_was_narrowed_stays_so_over_every_refresh(
    running: Any, operator: NewKey, minted: Any
) -> None:
    def made(**more: Any) -> str:
        token: str = minted("demo", sub="alice", **more)
        return token

    async def main() -> None:
        async with (
            running(settings(operator)) as relay,
            counter(relay, operator.bearer) as web,
            guest(relay, f"/demo?jwt={made(put=(Path('a'), Path('b')))}") as one,
        ):
            base = str(web.base_url).partition("/admin")[0]
            (session,) = (await web.get("/sessions")).json()["sessions"]
            place = f"/sessions/{session['id']}"

            async def refreshed(token: str) -> tuple[list[str], list[str]]:
                headers = {"authorization": f"Bearer {token}"}
                async with httpx.AsyncClient(base_url=base, headers=headers) as mine:
                    answer = await mine.post(f"/session/{session['id']}/refresh")
                assert answer.status_code == 200
                shown = (await web.get(place)).json()
                rights = answer.json()["publish"], answer.json()["subscribe"]
                assert rights == (shown["publish"], shown["subscribe"])
                return rights

            narrow = {"publish": ["a"]}
            assert (await web.post(f"{place}/narrow", json=narrow)).json()["publish"] == ["a"]
            assert await refreshed(made()) == (["a"], [""])
            assert await refreshed(made(put=(Path("a/x"), Path("b")))) == (["a/x"], [""])
            assert await refreshed(made(put=(Path("b"),))) == ([], [""])
            assert await refreshed(made(get=(Path("v"),))) == (["a"], ["v"])
            await web.post(f"{place}/narrow", json={"subscribe": ["v/1"]})
            assert await refreshed(made()) == (["a"], ["v/1"])
            one.create_broadcast("b")
            one.create_broadcast("a")
            async with asyncio.timeout(5):
                while relay.house.origin.find("demo/a") is None:
                    await asyncio.sleep(0.02)
            assert relay.house.origin.find("demo/b") is None
            async with guest(relay, f"/demo?jwt={made()}"):
                everybody = (await web.get("/sessions")).json()["sessions"]
                (other,) = [each for each in everybody if each["id"] != session["id"]]
                assert other["publish"] == [""]  # another session of the same holder

    asyncio.run(main())
