"""Tenants that tokens name: counted, struck, shown and carried on wherever such a token leads."""

from __future__ import annotations

import asyncio
import base64
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import jwt
import pytest

from relay.auth import mint
from relay.auth.claims import Claims
from relay.auth.credentials import make_key, make_token, secret_digest
from relay.auth.facts import StoredToken
from relay.auth.keys import Key
from relay.auth.revocation import Revocation
from relay.auth.scope import Scope
from relay.auth.trust import ClaimNames
from relay.client import connect
from relay.errors import SessionLost
from relay.model.track import TrackInfo
from relay.net.trust import DialTls
from relay.path import ROOT, Path
from relay.records.audit import Query
from relay.records.office import Operator

TRUST = DialTls(disable_verify=True)
WHO = Operator("test")
NAMED = '[auth.claims]\ntenant = "moq.tenant"\n'
STORE = '[records]\nurl = "sqlite:///relay.db"\n'

Owned = Callable[..., str]


@pytest.fixture
def owned(signer: Key) -> Owned:
    """``owned(tenant, root)``: a token of that tenant's for that root."""

    def make(tenant: str | None, root: str = "demo", **more: Any) -> str:
        now = time.time()
        more = {"put": (ROOT,), "get": (ROOT,), "exp": int(now + 600)} | more
        claims = Claims(Path(root), tenant=tenant, **more)
        return mint.sign(claims, signer, now, ClaimNames(tenant="moq.tenant"))

    return make


def quic(relay: Any, root: str, token: str) -> str:
    return f"https://127.0.0.1:{relay.quic_address[1]}/{root}?jwt={token}"


async def status(relay: Any, root: str, token: str) -> int:
    try:
        async with connect(quic(relay, root, token), tls=TRUST):
            return 200
    except SessionLost as lost:
        return lost.status


def web(relay: Any, bearer: str = "") -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
    base = f"http://127.0.0.1:{relay.http_addresses[0][1]}"
    return httpx.AsyncClient(base_url=base, headers=headers)


async def opened(relay: Any, count: int) -> None:
    async with asyncio.timeout(5):
        while sum(guest.opened for guest in relay.door.guests.values()) != count:
            await asyncio.sleep(0.01)


def test_a_tenants_quota_counts_its_tokens_of_all_roots(running: Any, owned: Owned) -> None:
    extra = NAMED + "[quotas.tenants.acme]\nsessions = 1\n"

    async def main() -> None:
        async with (
            running(extra) as relay,
            connect(quic(relay, "demo", owned("acme")), tls=TRUST),
        ):
            assert await status(relay, "other", owned("acme", "other")) == 429
            assert await status(relay, "demo", owned("evil")) == 200
            assert await status(relay, "demo", owned(None)) == 200
            assert await status(relay, "acme", owned("evil", "acme")) == 200
            assert relay.house.ledger.accounts["acme"].sessions == 1

    asyncio.run(main())


def test_a_tenant_whom_the_key_is_bound_to_is_that_of_all_its_tokens(
    running: Any, folder: Any, signer: Key, owned: Owned
) -> None:
    operator = make_key(100_000)
    bound = replace(signer, scope=Scope(Path("demo"), (ROOT,), (ROOT,), "acme"))
    (folder / "key.jwk").write_bytes(bound.dump())
    unsaid, evil = owned(None), owned("evil")
    extra = NAMED + f"[quotas.tenants.acme]\nsessions = 1\n[admin]\napi_key = '{operator.hash}'\n"

    async def main() -> None:
        async with (
            running(extra) as relay,
            web(relay, operator.bearer) as client,
            connect(quic(relay, "demo", unsaid), tls=TRUST),
        ):
            assert relay.house.ledger.accounts["acme"].sessions == 1
            assert await status(relay, "demo", unsaid) == 429
            assert await status(relay, "demo", evil) == 401
            asked = {"url": "/demo", "token": evil}
            told = (await client.post("/admin/explain", json=asked)).json()
            assert (told["verdict"], told["code"]) == ("denied", "scope_exceeded")
            assert "the tenant 'acme'" in told["reason"]
            await relay.desk.scribe.flush()
            kept = await relay.desk.records.audit.entries(Query(action="deny", limit=9))
            assert {entry.tenant for entry in kept} == {"acme"}

    asyncio.run(main())


def test_a_name_that_is_none_refuses_the_token_and_explain_says_why(
    running: Any, signer: Key
) -> None:
    operator = make_key(100_000)
    members = {"root": "demo", "put": [""], "moq": {"tenant": "a/b"}}

    async def main() -> None:
        secret = base64.urlsafe_b64decode(signer.to_jwk()["k"] + "==")
        bad = jwt.encode(members, secret, "HS256", {"kid": "e2e"})
        extra = NAMED + f'[admin]\napi_key = "{operator.hash}"\n'
        async with running(extra) as relay, web(relay, operator.bearer) as client:
            assert await status(relay, "demo", bad) == 401
            assert relay.judge.refusals.counts == {"bad_claims": 1}
            asked = {"url": "/demo", "token": bad}
            told = (await client.post("/admin/explain", json=asked)).json()
            assert (told["verdict"], told["code"]) == ("denied", "bad_claims")
            assert "moq.tenant is not the name of a tenant" in told["reason"]

    asyncio.run(main())


def test_what_is_made_from_a_token_stays_its_tenants(
    running: Any, owned: Owned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOQ_MASTER_KEY", base64.b64encode(os.urandom(32)).decode())
    extra = NAMED + STORE + "[issuer]\nenabled = true\n"

    async def main() -> None:
        async with running(extra) as relay:
            first = owned("acme", "demo/room")
            async with web(relay, first) as client:
                made = (await client.post("/auth/login")).json()
                assert made["root"] == "demo"  # where it leads, not whose it is
                ticket = (await client.post("/ticket")).json()["ticket"]
            async with web(relay, made["token"]) as client:
                again = (await client.post("/auth/login", json={"root": "demo/room/a"})).json()
            place = f"https://127.0.0.1:{relay.quic_address[1]}"
            async with (
                connect(f"{place}/demo/room?ticket={ticket}", tls=TRUST) as one,
                connect(f"{place}/demo/room/a?jwt={again['token']}", tls=TRUST) as two,
                connect(f"{place}/demo?jwt={owned('evil')}", tls=TRUST) as other,
            ):
                await opened(relay, 3)
                accounts = relay.house.ledger.accounts
                assert {name: each.sessions for name, each in accounts.items()} == {
                    "acme": 2,
                    "evil": 1,
                }
                await relay.desk.office.revoke(WHO, Revocation("tenant", "acme"))
                await asyncio.wait_for(one.lost, 5)
                await asyncio.wait_for(two.lost, 5)
                assert not other.lost.done()
            for gone in (first, made["token"], again["token"]):
                assert await status(relay, "demo/room", gone) == 401

    asyncio.run(main())


def test_no_token_is_made_that_could_not_say_whose_it_is(
    running: Any, folder: Any, signer: Key, owned: Owned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOQ_MASTER_KEY", base64.b64encode(os.urandom(32)).decode())
    bound = replace(signer, scope=Scope(put=(ROOT,), get=(ROOT,), tenant="acme"))
    (folder / "key.jwk").write_bytes(bound.dump())

    async def main() -> None:
        async with running(STORE + "[issuer]\nenabled = true\n") as relay:
            for root, told in (("demo", 403), ("acme", 201)):
                async with web(relay, owned(None, root)) as client:
                    assert (await client.post("/auth/login")).status_code == told

    asyncio.run(main())


def test_a_stored_token_exchanged_is_the_roots_owners(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOQ_MASTER_KEY", base64.b64encode(os.urandom(32)).decode())
    extra = NAMED + STORE + "[issuer]\nenabled = true\n"
    kept = make_token()
    stored = StoredToken(
        kept.prefix, secret_digest(kept.secret), "camera", Path("plant"), (ROOT,), ()
    )

    async def main() -> None:
        async with running(extra) as relay:
            await relay.desk.office.create_token(WHO, stored)
            async with web(relay, str(kept)) as client:
                made = (await client.post("/auth/login")).json()
                above = {"root": "", "publish": ["plant"]}
                assert (await client.post("/auth/login", json=above)).status_code == 403
            assert (made["root"], made["publish"]) == ("plant", [""])
            async with connect(quic(relay, "plant", made["token"]), tls=TRUST):
                await opened(relay, 1)
                assert set(relay.house.ledger.accounts) == {"plant"}

    asyncio.run(main())


def test_a_refresh_does_not_change_the_tenant(running: Any, owned: Owned) -> None:
    async def main() -> None:
        async with (
            running(NAMED) as relay,
            connect(quic(relay, "demo", owned("acme", sub="a")), tls=TRUST),
        ):
            await opened(relay, 1)
            (id,) = relay.door.guests
            for token, answer in (
                (owned("evil", sub="a"), 403),
                (owned(None, sub="a"), 403),
                (owned("acme", sub="a", get=()), 200),
            ):
                async with web(relay, token) as client:
                    refreshed = await client.post(f"/session/{id}/refresh")
                    assert refreshed.status_code == answer
            assert relay.door.guests[id].grant.tenant == "acme"
            assert relay.door.guests[id].grant.subscribe == ()

    asyncio.run(main())


def test_another_relay_is_no_tenant(running: Any, owned: Owned) -> None:
    async def main() -> None:
        async with running(NAMED) as relay:
            token = owned("acme", "", cluster=True)
            async with connect(f"{quic(relay, '', token)}", tls=TRUST):
                await opened(relay, 1)
                (guest,) = relay.door.guests.values()
                assert (guest.grant.cluster, guest.grant.tenant) == (True, None)
                assert not relay.house.ledger.accounts

    asyncio.run(main())


def test_the_operator_finds_a_tenants_sessions_and_what_is_cached_for_it(
    running: Any, owned: Owned
) -> None:
    operator = make_key(100_000)
    extra = NAMED + f'[admin]\napi_key = "{operator.hash}"\n[quotas]\ncached_bytes = 20_000\n'

    async def main() -> None:
        async with running(extra) as relay, web(relay, operator.bearer) as client:
            for tenant in ("acme", "evil"):
                async with web(relay, owned(tenant, f"demo/{tenant}")) as publisher:
                    for _ in range(4):
                        path = f"/publish/demo/{tenant}/frames"
                        sent = await publisher.post(path, content=b"x" * 8000)
                        assert sent.status_code == 202
            watching = connect(quic(relay, "demo", owned("acme")), tls=TRUST)
            async with watching as viewer, connect(quic(relay, "demo", owned("evil")), tls=TRUST):
                await opened(relay, 2)
                found = (await client.get("/admin/v1/sessions?tenant=acme")).json()["sessions"]
                assert [each["tenant"] for each in found] == ["acme"]
                assert not (await client.get("/admin/v1/sessions?tenant=demo")).json()["sessions"]
                async with asyncio.timeout(5):
                    frames = viewer.frames(await viewer.find("acme"), "frames").frames()
                    assert await anext(frames)
                usage = (await client.get("/admin/v1/quotas/acme")).json()["usage"]
                assert 8000 < usage["cached_bytes"] <= 20_000
                assert usage["ingress_bytes"] >= 32_000
                usage = (await client.get("/admin/v1/quotas/demo")).json()["usage"]
                assert usage["cached_bytes"] == 0

    asyncio.run(main())


def test_what_a_fetch_waited_for_is_counted_though_nobody_else_of_its_tenant_is_here(
    running: Any, owned: Owned
) -> None:
    patient = "[web.limits]\nfetch_timeout = 60.0\n[peer]\nfetch_timeout = 60.0\n"

    async def main() -> None:
        async with (
            running(NAMED + patient) as relay,
            connect(quic(relay, "demo", owned("acme")), tls=TRUST) as publisher,
            web(relay, owned("viewer")) as there,
            asyncio.TaskGroup() as tasks,
            asyncio.timeout(30),
        ):
            there.timeout = 30.0
            track = publisher.create_broadcast("cam").create_track("video", TrackInfo())
            track.append_group()
            track.write_frame(b"x" * 1000, 0)
            while (broadcast := relay.house.origin.find(Path("demo/cam"))) is None:
                await asyncio.sleep(0.01)
            fetched = tasks.create_task(there.get("/fetch/demo/cam/video?group=0"))
            while not any(each.groups for each in broadcast.all_tracks):
                await asyncio.sleep(0.01)
            ledger = relay.house.ledger
            ledger.tick(relay.house.clock() + 10.0)
            assert "viewer" not in ledger.accounts
            assert not fetched.done()
            track.finish_group()
            assert len((await fetched).content) == 1000
            assert ledger.moved()["viewer"] == (0, 1000)

    asyncio.run(main())
