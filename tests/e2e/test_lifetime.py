"""How long rights last: tickets, refresh, revocation, removed keys; over real sessions and HTTP."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path as File
from typing import Any

import httpx
import pytest
from mesh import BASE

from pace import rest, until, within
from relay.auth import keys, mint
from relay.auth.claims import Claims
from relay.auth.revocation import Revocation
from relay.client import connect
from relay.errors import SessionLost
from relay.model.track import TrackInfo
from relay.net.trust import DialTls
from relay.path import Path
from relay.records.audit import Query
from relay.records.office import Operator
from relay.records.store import StoreError

WHO = Operator("test")
TRUST = DialTls(disable_verify=True)
STORE = '[records]\nurl = "sqlite:///relay.db"\n'


@pytest.fixture
def minted(signer: Any) -> Callable[..., str]:
    """Mint a token with a holder: ``minted(root, put, get, sub=…, jti=…)``."""

    def make(root: str = "demo", put: Any = ("",), get: Any = ("",), **more: Any) -> str:
        now = time.time()
        claims = Claims(
            root=Path(root),
            put=tuple(map(Path, put)),
            get=tuple(map(Path, get)),
            exp=int(now + more.pop("ttl", 600)),
            iat=int(now),
            **more,
        )
        return mint.sign(claims, signer, now)

    return make


def quic(relay: Any, target: str) -> str:
    return f"https://127.0.0.1:{relay.quic_address[1]}{target}"


def http(relay: Any, path: str) -> str:
    return f"http://127.0.0.1:{relay.http_addresses[0][1]}{path}"


async def refused(url: str) -> int:
    """The status with which a session is refused."""
    with pytest.raises(SessionLost) as error:
        async with connect(url, tls=TRUST):
            pass
    return error.value.status


def test_a_ticket_opens_one_session(running: Any, minted: Any) -> None:
    async def main() -> None:
        async with running() as relay, httpx.AsyncClient() as web:
            bearer = {"authorization": f"Bearer {minted()}"}
            answer = await web.post(http(relay, "/ticket"), headers=bearer)
            assert answer.status_code == 201
            assert answer.headers["access-control-allow-origin"] == "*"
            ticket = answer.json()["ticket"]
            told = await relay.face.explain(f"/demo?ticket={ticket}", None, [], [], "quic")
            assert (told["verdict"], told["code"]) == ("unchecked", None)  # looking spends it
            assert 0 < answer.json()["expires"] - time.time() <= 30
            async with connect(quic(relay, f"/demo?ticket={ticket}"), tls=TRUST):
                await until(lambda: relay.door.guests)
            assert await refused(quic(relay, f"/demo?ticket={ticket}")) == 401
            assert (await web.post(http(relay, "/ticket"))).status_code == 401
            wrong = {"authorization": "Bearer rubbish"}
            answer = await web.post(http(relay, "/ticket"), headers=wrong)
            assert answer.status_code == 401

    asyncio.run(main())


@pytest.mark.parametrize("how", ["fails", "hangs"])
def test_why_there_is_no_ticket_stands_in_the_log(
    running: Any, minted: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    async def trouble(*words: object) -> None:
        if how == "hangs":
            await asyncio.Event().wait()
        raise StoreError("the disk is full")

    async def main() -> None:
        config = "[records]\ntimeout = 0.1\n"
        async with running(config) as relay, httpx.AsyncClient() as web:
            lines: list[tuple[str, dict[str, Any]]] = []
            relay.house.log = lambda event, **facts: lines.append((event, facts))
            monkeypatch.setattr(relay.desk.records, "save_ticket", trouble)
            bearer = {"authorization": f"Bearer {minted()}"}
            answer = await web.post(http(relay, "/ticket"), headers=bearer)
            assert answer.status_code == 503
            (said,) = [facts for event, facts in lines if event == "refused"]
            assert said["id"] == answer.json()["id"] == answer.headers["x-request-id"]
            assert said["why"].startswith("ticket: ")

    asyncio.run(main())


def test_a_ticket_whose_bearer_found_no_room_is_good_until_somebody_comes_in(
    running: Any, minted: Any
) -> None:
    async def main() -> None:
        async with running("[quotas]\nsessions = 1\n") as relay, httpx.AsyncClient() as web:
            bearer = {"authorization": f"Bearer {minted()}"}
            answer = await web.post(http(relay, "/ticket"), headers=bearer)
            url = quic(relay, f"/demo?ticket={answer.json()['ticket']}")
            async with connect(quic(relay, f"/demo?jwt={minted()}"), tls=TRUST):
                await until(lambda: relay.door.guests)
                assert await refused(url) == 429
            await until(lambda: not relay.door.guests)
            async with connect(url, tls=TRUST):
                await until(lambda: relay.door.guests)
            await until(lambda: not relay.door.guests)
            assert await refused(url) == 401

    asyncio.run(main())


def test_a_ticket_is_good_for_every_meaning_of_an_address(running: Any, minted: Any) -> None:
    async def main() -> None:
        async with running() as relay, httpx.AsyncClient() as web:
            bearer = {"authorization": f"Bearer {minted()}"}

            async def ticket() -> str:
                made = await web.post(http(relay, "/ticket"), headers=bearer)
                return str(made.json()["ticket"])

            async def read(address: str, ticket: str) -> int:
                return (await web.get(http(relay, f"{address}?ticket={ticket}"))).status_code

            place = http(relay, "/publish/demo/my%2520cam/t/v1")
            assert (await web.post(place, content=b"x", headers=bearer)).is_success
            # The track is v1 of t, or t/v1; and the escapes are none, or part of the name.
            assert await read("/fetch/demo/my%2520cam/t/v1", await ticket()) == 200
            assert await read("/fetch/demo/my%20cam/t/v1", spent := await ticket()) == 200
            assert await read("/fetch/demo/my%20cam/t/v1", spent) == 401
            assert await read("/watch/demo/nobody/t/v1", await ticket()) == 404
            async with web.stream(
                "GET", http(relay, f"/watch/demo/my%20cam/t/v1?ticket={await ticket()}")
            ) as answer:
                assert answer.status_code == 200

    asyncio.run(main())


def test_refresh_changes_a_running_session(running: Any, minted: Any) -> None:
    async def main() -> None:
        async with running() as relay, httpx.AsyncClient() as web:

            async def refresh(id: str, token: str) -> httpx.Response:
                bearer = {"authorization": f"Bearer {token}"}
                return await web.post(http(relay, f"/session/{id}/refresh"), headers=bearer)

            mine = minted(get=("a",), sub="me", ttl=6)
            full = minted(sub="other")
            async with (
                connect(quic(relay, f"/demo?jwt={mine}"), tls=TRUST) as viewer,
                connect(quic(relay, f"/demo?jwt={full}"), tls=TRUST) as publisher,
            ):
                (id,) = (i for i, g in relay.door.guests.items() if g.grant.subject == "me")
                for name in ("a/x", "b/y"):
                    publisher.create_broadcast(name).create_track("t", TrackInfo())
                await until(lambda: viewer.origin.find(Path("a/x")))
                assert viewer.origin.find(Path("b/y")) is None
                wider = await refresh(id, minted(get=("",), sub="me"))
                assert wider.json()["subscribe"] == [""]
                await within(1.0, lambda: viewer.origin.find(Path("b/y")))
                narrow = await refresh(id, minted(get=("b",), sub="me"))
                assert narrow.status_code == 200
                await within(1.0, lambda: viewer.origin.find(Path("a/x")) is None)
                thief = await refresh(id, minted(sub="thief"))
                assert thief.status_code == 403
                await relay.desk.scribe.flush()
                (entry,) = await relay.desk.records.audit.entries(Query(id=thief.json()["id"]))
                assert (entry.action, entry.reason) == ("deny", "not_the_holder")
                assert (entry.actor, entry.address) == ("thief", "127.0.0.1")
                assert id in entry.detail
                away = await refresh(id, minted("else", sub="me"))
                assert (away.status_code, len(away.json()["id"])) == (401, 12)
                assert (await refresh("nobody", full)).status_code == 404
                await rest(6)
                assert not viewer.lost.done()  # the first token's end is no longer the session's

    asyncio.run(main())


@pytest.mark.parametrize("is_relay", [True, False])
def test_a_relay_stays_one_and_nobody_becomes_one(
    running: Any, minted: Any, is_relay: bool
) -> None:
    async def main() -> None:
        async with running() as relay, httpx.AsyncClient() as web:
            mine, other = (minted("", sub="me", cluster=each) for each in (is_relay, not is_relay))
            async with connect(quic(relay, f"/?jwt={mine}"), tls=TRUST):
                await until(lambda: relay.door.guests)
                (id,) = relay.door.guests
                for token, status, listed in ((other, 403, []), (mine, 200, [id])):
                    bearer = {"authorization": f"Bearer {token}"}
                    found = await web.get(http(relay, "/session"), headers=bearer)
                    assert [session["id"] for session in found.json()["sessions"]] == listed
                    answer = await web.post(http(relay, f"/session/{id}/refresh"), headers=bearer)
                    assert answer.status_code == status

    asyncio.run(main())


@pytest.mark.parametrize("jti", [None, "mine"])
def test_a_credential_without_a_subject_is_nobody_elses(
    running: Any, minted: Any, jti: str | None
) -> None:
    async def main() -> None:
        async with running() as relay, httpx.AsyncClient() as web:

            async def ask(method: str, path: str, token: str) -> httpx.Response:
                bearer = {"authorization": f"Bearer {token}"}
                return await web.request(method, http(relay, path), headers=bearer)

            mine = minted(put=("cam",), get=(), jti=jti)
            async with connect(quic(relay, f"/demo?jwt={mine}"), tls=TRUST) as publisher:
                publisher.create_broadcast("cam")
                await until(lambda: relay.house.origin.find(Path("demo/cam")))
                (id,) = relay.door.guests
                for other in (minted(put=()), minted(put=(), jti="other"), minted(put=(), sub="x")):
                    assert (await ask("POST", f"/session/{id}/refresh", other)).status_code == 403
                    assert (await ask("GET", "/session", other)).json()["sessions"] == []
                assert relay.house.origin.find(Path("demo/cam")) is not None
                own = (await ask("GET", "/session", mine)).json()["sessions"]
                assert [row["id"] for row in own] == ([id] if jti else [])
                again = minted(put=("cam", "b"), get=(), jti=jti)
                answer = await ask("POST", f"/session/{id}/refresh", again)
                assert answer.status_code == (200 if jti else 403)

    asyncio.run(main())


@pytest.mark.parametrize(
    "entry",
    [
        Revocation("jti", "t1"),
        Revocation("sub", "me"),
        Revocation("kid", "e2e"),
        Revocation("tenant", "demo"),
        Revocation("all", issued_before=time.time() + 3600),
    ],
    ids=lambda entry: entry.dimension,
)
def test_a_revocation_ends_sessions_within_a_second(
    running: Any, minted: Any, entry: Revocation
) -> None:
    async def main() -> None:
        async with running(STORE) as relay:
            url = quic(relay, f"/demo?jwt={minted(sub='me', jti='t1')}")
            anonymous = quic(relay, "/anon")
            async with connect(url, tls=TRUST) as client, connect(anonymous, tls=TRUST) as other:
                await relay.desk.office.revoke(WHO, entry)
                await within(1.0, client.lost.done)
                assert "revoked" in client.lost.result()
                assert not other.lost.done()
            assert await refused(url) == 401
        async with running(STORE) as relay:
            again = quic(relay, f"/demo?jwt={minted(sub='me', jti='t1')}")
            assert await refused(again) == 401

    asyncio.run(main())


def test_a_revoked_certificate_ends_what_was_shown_with_it(
    running: Any, minted: Any, authority: Any
) -> None:
    async def main() -> None:
        cert, private = authority("ours")
        shown = DialTls(disable_verify=True, certificate=cert, key=private)
        base = BASE.replace("[auth]", 'root = ["ours.pem"]\n[auth]')
        async with running(base=base) as relay, httpx.AsyncClient() as web:
            url = quic(relay, f"/demo?jwt={minted(sub='me')}")
            async with connect(url, tls=TRUST) as other, connect(url, tls=shown) as client:
                await until(lambda: len(relay.door.guests) == 2)
                guests = relay.door.guests.values()
                (guest,) = (guest for guest in guests if guest.grant.beside is not None)
                bearer = {"authorization": f"Bearer {minted(sub='me')}"}
                again = await web.post(http(relay, f"/session/{guest.id}/refresh"), headers=bearer)
                assert again.status_code == 200
                await relay.desk.office.revoke(WHO, Revocation("jti", guest.grant.beside.jti))
                await within(1.0, client.lost.done)
                assert not other.lost.done()

    asyncio.run(main())


@pytest.mark.parametrize(
    "entry",
    [Revocation("tenant", "anon"), Revocation("all", issued_before=time.time() + 3600)],
    ids=lambda entry: entry.dimension,
)
def test_who_has_no_credential_is_no_more_shown_out_than_turned_away(
    running: Any, minted: Any, entry: Revocation
) -> None:
    async def main() -> None:
        async with running() as relay, httpx.AsyncClient() as web:
            owner = quic(relay, f"/anon?jwt={minted('anon')}")
            published = http(relay, "/publish/anon/plant/t")
            public = quic(relay, "/anon")
            async with connect(owner, tls=TRUST) as client, connect(public, tls=TRUST) as other:
                assert (await web.post(published, json={"c": 1})).status_code == 202
                await relay.desk.office.revoke(WHO, entry)
                await within(1.0, client.lost.done)
                assert not other.lost.done()
                await until(lambda: other.origin.find(Path("plant")))
            assert await refused(owner) == 401

    asyncio.run(main())


def test_another_process_revokes_through_the_store(running: Any, minted: Any, folder: File) -> None:
    async def main() -> None:
        async with (
            running(STORE) as relay,
            connect(quic(relay, f"/demo?jwt={minted(jti='t9')}"), tls=TRUST) as client,
        ):
            program = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "relay", "records"),
                *("--config", str(folder / "relay.toml"), "revoke", "--jti", "t9"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            _, said = await program.communicate()
            assert program.returncode == 0, said
            await within(1.0, client.lost.done)

    asyncio.run(main())


@pytest.mark.parametrize("policy", ["keep", "close"])
def test_a_removed_key_does_what_the_setting_says(running: Any, folder: File, policy: str) -> None:
    other = keys.generate("HS256", kid="other")
    (folder / "other.jwk").write_bytes(other.dump())
    extra = f'keys = ["other.jwk"]\non_key_removed = "{policy}"\n'

    async def main() -> None:
        async with running(extra) as relay:
            now = time.time()
            claims = Claims(root=Path("demo"), get=(Path(""),), exp=int(now + 60))
            url = quic(relay, f"/demo?jwt={mint.sign(claims, other, now)}")
            async with connect(url, tls=TRUST) as client:
                (folder / "other.jwk").write_bytes(keys.generate("HS256", kid="third").dump())
                await asyncio.wait((client.lost,), timeout=3)
                assert client.lost.done() == (policy == "close")
            assert await refused(url) == 401

    asyncio.run(main())


def test_the_operator_has_a_decision_explained(running: Any, minted: Any) -> None:
    from relay.auth.credentials import make_key

    key = make_key(100_000)
    admin = f'[admin]\napi_key = "{key.hash}"\n'

    async def main() -> None:
        async with (
            running(admin) as relay,
            httpx.AsyncClient() as web,
        ):
            bearer = {"authorization": f"Bearer {key.bearer}"}
            url = http(relay, "/admin/explain")
            token = minted(get=("a",))
            question = {"url": f"/demo?jwt={token}", "subscribe": ["a/x", "b"]}
            answer = await web.post(url, json=question, headers=bearer)
            assert answer.status_code == 200, answer.text
            assert token not in answer.text
            assert relay.door.guests == {}
            for headers in ({}, {"authorization": f"Bearer {token}"}):
                assert (await web.post(url, json=question, headers=headers)).status_code == 401

    asyncio.run(main())


def test_a_refused_credential_is_told_the_id_that_the_log_explains(
    running: Any, minted: Any
) -> None:
    async def main() -> None:
        async with running() as relay, httpx.AsyncClient() as web:
            logged: list[str] = []
            relay.house.log = lambda event, **facts: logged.append(str(facts.get("id")))
            bearer = {"authorization": f"Bearer {minted(ttl=-600)}"}
            for method, path in (("POST", "/ticket"), ("GET", "/session")):
                answer = await web.request(method, http(relay, path), headers=bearer)
                assert answer.status_code == 401
                assert answer.json()["id"] == answer.headers["x-request-id"]
                assert answer.json()["id"] in logged

    asyncio.run(main())


def test_a_holder_finds_its_own_sessions(running: Any, minted: Any) -> None:
    async def main() -> None:
        async with running() as relay, httpx.AsyncClient() as web:
            mine, other = minted(sub="me"), minted(sub="other")
            async with (
                connect(quic(relay, f"/demo?jwt={mine}"), tls=TRUST),
                connect(quic(relay, f"/demo?jwt={other}"), tls=TRUST),
            ):
                await until(lambda: len(relay.door.guests) == 2)
                bearer = {"authorization": f"Bearer {mine}"}
                found = (await web.get(http(relay, "/session"), headers=bearer)).json()["sessions"]
                (guest,) = (g for g in relay.door.guests.values() if g.grant.subject == "me")
                assert [session["id"] for session in found] == [guest.id]

    asyncio.run(main())


def test_a_credential_for_the_top_finds_its_sessions_wherever_they_are(
    running: Any, minted: Any
) -> None:
    async def main() -> None:
        async with running() as relay, httpx.AsyncClient() as web:
            mine = minted("", sub="me")
            async with (
                connect(quic(relay, f"/?jwt={mine}"), tls=TRUST),
                connect(quic(relay, f"/demo/a?jwt={mine}"), tls=TRUST),
                connect(quic(relay, f"/demo?jwt={minted('', sub='other')}"), tls=TRUST),
                connect(quic(relay, "/anon"), tls=TRUST),
            ):
                await until(lambda: len(relay.door.guests) == 4)
                bearer = {"authorization": f"Bearer {mine}"}
                found = (await web.get(http(relay, "/session"), headers=bearer)).json()["sessions"]
                assert sorted(session["root"] for session in found) == ["", "demo/a"]
                bearer = {"authorization": f"Bearer {minted('', put=('x',), get=(), sub='me')}"}
                found = (await web.get(http(relay, "/session"), headers=bearer)).json()["sessions"]
                assert [session["root"] for session in found] == [""]  # it is good nowhere else

    asyncio.run(main())
