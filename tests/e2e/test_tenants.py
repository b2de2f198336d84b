"""Tenants on running relays: limits that change at run time, and a log of who came and went."""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import sqlite3
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path as File
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from rates import until_refused

from pace import within
from relay.auth.credentials import make_key, make_token, secret_digest
from relay.auth.facts import StoredToken
from relay.cli import relay as cli
from relay.client import connect
from relay.errors import SessionLost
from relay.net.trust import DialTls
from relay.path import Path
from relay.quota import Override
from relay.records.audit import Query
from relay.records.office import Operator

TRUST = DialTls(disable_verify=True)
WHO = Operator("test", "192.0.2.9")
STORE = '[records]\nurl = "sqlite:///relay.db"\n'


def quic(relay: Any, target: str, scheme: str = "https") -> str:
    return f"{scheme}://127.0.0.1:{relay.quic_address[1]}{target}"


async def status(relay: Any, target: str) -> int:
    try:
        async with connect(quic(relay, target), tls=TRUST):
            return 200
    except SessionLost as lost:
        return lost.status


def test_a_tenants_limit_at_the_door_and_over_http(running: Any) -> None:
    extra = "[quotas.tenants.anon]\nsessions = 1\nsessions_per_second = 3\n"

    async def main() -> None:
        async with running(extra) as relay, httpx.AsyncClient() as web:
            async with connect(quic(relay, "/anon"), tls=TRUST):
                assert await status(relay, "/anon") == 429
            url = f"http://127.0.0.1:{relay.http_addresses[0][1]}/announced/anon"
            answers, last = await until_refused(partial(web.get, url), 3)
            assert answers
            assert last.json() == {
                "error": "too_many_requests",
                "id": last.headers["x-request-id"],
            }
            await asyncio.sleep(1.1)
            assert (await web.get(url)).status_code == 200
            assert relay.house.ledger.breached["sessions"] == 1

    asyncio.run(main())


@pytest.mark.parametrize("route", ["announced/anon", "routes/anon", "publish/anon/cam/v"])
def test_who_is_turned_away_over_http_stands_in_the_log_as_that_and_no_more(
    node: Any, route: str
) -> None:
    async def main() -> None:
        extra = "[quotas.tenants.anon]\nsessions_per_second = 1\n"
        async with node(extra=extra) as here, httpx.AsyncClient() as web:
            kept: list[tuple[str, dict[str, Any]]] = []
            here.relay.house.audit = lambda action, **facts: kept.append((action, facts))
            url = f"http://127.0.0.1:{here.relay.http_addresses[0][1]}/{route}"
            method, status = ("POST", 202) if "publish" in route else ("GET", 200)
            ask = partial(web.request, method, url, content=b"x")
            answers, last = await until_refused(ask, 1, status=status)
            assert answers
            (line,) = here.events("refused")
            assert last.json()["id"] == last.headers["x-request-id"] == line["id"]
            assert (line["reason"], line["status"]) == ("over_quota", 429)
            assert line["path"] == f"/{route.partition('/')[2].removesuffix('/v')}"
            denied = [facts["id"] for action, facts in kept if action == "deny"]
            allowed = [facts["id"] for action, facts in kept if action == "allow"]
            assert denied == [line["id"]]
            assert len(set(allowed) - set(denied)) == len(allowed) == answers

    asyncio.run(main())


def test_whoever_would_stay_is_turned_away_over_http_while_it_leaves(node: Any) -> None:
    async def main() -> None:
        async with node() as here, httpx.AsyncClient() as web:
            base = f"http://127.0.0.1:{here.relay.http_addresses[0][1]}"
            assert (await web.post(f"{base}/publish/anon/cam/v", content=b"x")).status_code == 202
            here.relay.draining.set()
            for method, route in (("POST", "publish/anon/new/v"), ("GET", "watch/anon/cam/v")):
                answer = await web.request(method, f"{base}/{route}", content=b"x")
                assert answer.status_code == 503
                line = here.events("refused")[-1]
                assert (line["reason"], line["id"]) == ("leaving", answer.json()["id"])
            assert (await web.get(f"{base}/fetch/anon/cam/v")).content == b"x"

    asyncio.run(main())


def test_asking_for_ones_sessions_is_a_request_as_well(running: Any, token: Any) -> None:
    async def main() -> None:
        bearer = {"authorization": f"Bearer {token('demo')}"}
        extra = "[quotas.tenants.demo]\nsessions_per_second = 1\n"
        async with running(extra) as relay, httpx.AsyncClient(headers=bearer) as web:
            url = f"http://127.0.0.1:{relay.http_addresses[0][1]}/session"
            assert (await web.get(url)).status_code == 200
            began = time.monotonic()
            refused = await web.get(url)
            if refused.status_code != 429:  # there was a second for one more
                assert time.monotonic() - began > 0.9
                refused = await web.get(url)
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")

    asyncio.run(main())


def test_raw_quic_is_told_in_the_session(running: Any) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            relay = await stack.enter_async_context(running("[quotas]\nsessions = 1\n"))
            await stack.enter_async_context(connect(quic(relay, "/anon", "moqt"), tls=TRUST))
            while not relay.house.ledger.accounts:
                await asyncio.sleep(0.01)
            over = await stack.enter_async_context(connect(quic(relay, "/anon", "moqt"), tls=TRUST))
            assert "quotas.sessions" in await asyncio.wait_for(over.lost, 5)

    asyncio.run(main())


def test_a_limit_said_to_one_relay_is_obeyed_by_all_within_a_second(running: Any) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running(STORE))
            two = await stack.enter_async_context(running(STORE))
            await stack.enter_async_context(connect(quic(two, "/anon"), tls=TRUST))
            assert await status(two, "/anon") == 200
            await one.desk.office.set_quota(WHO, "anon", Override(sessions=1))
            assert one.house.ledger.limits.of("anon").sessions == 1
            await within(1.0, lambda: two.house.ledger.limits.of("anon").sessions == 1)
            assert two.house.ledger.accounts["anon"].quota.sessions == 1
            assert await status(two, "/anon") == 429
            await two.desk.office.clear_quota(WHO, "anon")
            assert await status(two, "/anon") == 200

    asyncio.run(main())


def test_the_log_knows_who_came_and_no_credential(running: Any, token: Any, folder: File) -> None:
    api_token, api_key = make_token(), make_key(100_000)
    extra = STORE + (
        f'[auth.api_keys.plant]\nhash = "{api_key.hash}"\nroot = "plant"\npublish = ""\n'
        "[quotas.tenants.anon]\nsessions_per_second = 1\n"
    )
    stored = StoredToken(
        api_token.prefix,
        secret_digest(api_token.secret),
        "camera",
        Path("plant"),
        (Path("cam"),),
        created=time.time(),
    )
    good = token("demo")
    bad = good[:-4] + "AAAA"
    secrets = [good, bad, str(api_token), api_token.secret, api_key.bearer]

    async def main() -> None:
        async with running(extra) as relay, httpx.AsyncClient() as web:
            await relay.desk.office.create_token(WHO, stored)
            pairs = (good, "demo"), (str(api_token), "plant"), (api_key.bearer, "plant")
            for credential, root in pairs:
                assert await status(relay, f"/{root}?jwt={credential}") == 200
                await status(relay, f"/{credential}/jwt={credential}?jwt={credential}")
            assert await status(relay, f"/demo?jwt={bad}") == 401
            base = f"http://127.0.0.1:{relay.http_addresses[0][1]}"
            for credential in secrets:
                await web.get(f"{base}/announced/{credential}?jwt={credential}")
                headers = {"authorization": f"Bearer {credential}"}
                await web.get(f"{base}/announced/x?ticket={credential}", headers=headers)
                await web.post(f"{base}/ticket", headers=headers)
            brief = token("demo", ttl=4)
            secrets.append(brief)
            async with connect(quic(relay, f"/demo?jwt={brief}"), tls=TRUST) as client:
                await asyncio.wait_for(client.lost, 10)
            async with connect(quic(relay, f"/plant?jwt={api_token}"), tls=TRUST) as client:
                while not any(guest.opened for guest in relay.door.guests.values()):
                    await asyncio.sleep(0.01)
                await relay.desk.office.revoke_token(WHO, api_token.prefix, f"lost {api_token}")
                await asyncio.wait_for(client.lost, 10)
            assert await status(relay, "/anon") == 200
            async with asyncio.timeout(20):
                while (refused := await status(relay, "/anon")) == 200:
                    pass  # there was a second between the two
            assert refused == 429
            await relay.desk.scribe.flush()
            walk = await relay.desk.office.verify()
            assert walk.broken is None
            entries = await relay.desk.records.audit.entries(Query(limit=200))
            actions = {entry.action for entry in entries}
            assert actions >= {"allow", "deny", "expire", "revoke", "token.create", "token.revoke"}
            assert "breach" in actions
            by = {entry.action: entry for entry in entries}
            assert by["revoke"].jti == f"mq_{api_token.prefix}"
            assert by["expire"].kid == "e2e"
            assert by["expire"].address.startswith("127.0.0.1:")
            decided = [entry for entry in entries if entry.action in ("allow", "deny")]
            assert all(entry.id for entry in decided)
            assert len({entry.id for entry in decided}) == len(decided)  # in or out, never both
            assert all(bool(entry.reason) == (entry.action == "deny") for entry in decided)
            assert {"bad_signature", "over_quota", "token_conflict"} <= {e.reason for e in decided}
            assert (by["expire"].reason, by["expire"].tenant) == ("expired", "demo")
            assert (by["revoke"].reason, by["revoke"].tenant) == ("revoked", "plant")
            assert (by["breach"].reason, by["breach"].tenant) == ("sessions_per_second", "anon")

    asyncio.run(main())
    with sqlite3.connect(folder / "relay.db") as connection:
        kept = "\n".join(map(str, connection.execute("SELECT * FROM audit").fetchall()))
    connection.close()
    assert len(kept) > 2000
    for secret in secrets:
        assert secret not in kept
        for part in secret.split("."):
            assert len(part) < 20 or part not in kept


def test_a_refusal_is_found_by_its_word_and_by_what_the_stranger_was_told(
    running: Any, token: Any, folder: File
) -> None:
    operator = make_key(100_000)
    extra = STORE + f'[admin]\napi_key = "{operator.hash}"\n'

    async def main() -> None:
        headers = {"authorization": f"Bearer {operator.bearer}"}
        async with running(extra) as relay, httpx.AsyncClient(headers=headers) as web:
            base = f"http://127.0.0.1:{relay.http_addresses[0][1]}"
            bad = token("demo")[:-4] + "AAAA"
            async with httpx.AsyncClient() as stranger:
                await stranger.get(f"{base}/announced/demo")
                told = await stranger.get(f"{base}/announced/demo?jwt={bad}")
            assert told.status_code == 401

            async def found(**asked: str) -> list[dict[str, Any]]:
                answer = await web.get(f"{base}/admin/v1/audit", params=asked)
                entries: list[dict[str, Any]] = answer.json()["entries"]
                return entries

            (entry,) = await found(reason="bad_signature")
            assert (entry["id"], entry["action"]) == (told.json()["id"], "deny")
            assert (entry["format"], entry["detail"]) == (2, "over http")
            assert await found(id=told.json()["id"]) == [entry]
            assert len(await found(action="deny")) == 2
            assert await found(reason="bad") == []
            await relay.desk.office.set_quota(WHO, "demo", Override(sessions=5))
            (said,) = await found(tenant="demo")
            assert said["action"] == "quota.set"

    asyncio.run(main())
    listing = ["audit", "--url", f"sqlite:///{folder}/relay.db", "list"]
    shown = CliRunner().invoke(cli, [*listing, "--reason", "bad_signature"]).output
    (line,) = shown.splitlines()
    assert 'reason="bad_signature"' in line
    shown = CliRunner().invoke(cli, [*listing, "--tenant", "demo"]).output
    assert len(shown.splitlines()) == 1


def test_whose_credential_was_refused_is_in_the_audit_log(running: Any, token: Any) -> None:
    async def main() -> None:
        async with running(STORE) as relay:
            assert await status(relay, f"/demo?jwt={token('demo', ttl=-5)}") == 401
            assert await status(relay, f"/demo?jwt={token('demo')[:-4]}AAAA") == 401
            await relay.desk.scribe.flush()
            genuine, forged = await relay.desk.records.audit.after(0, 10)
            assert (genuine.reason, genuine.kid, genuine.tenant) == ("expired", "e2e", "demo")
            assert (forged.reason, forged.kid, forged.tenant) == ("bad_signature", "", "")

    asyncio.run(main())


def test_entries_are_posted_as_they_are_written(running: Any) -> None:
    async def main() -> None:
        got: list[tuple[bytes, bytes]] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(re.search(rb"content-length: (\d+)", head.lower())[1])  # type: ignore[index]
            got.append((head, await reader.readexactly(size)))
            writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            extra = (
                f'[audit]\nwebhook = "http://127.0.0.1:{port}/"\nwebhook_private = true\n'
                'webhook_secret = "0123456789abcdef"\n'
            )
            async with running(extra) as relay:
                assert await status(relay, "/private") == 401
                async with asyncio.timeout(20):
                    while not got:
                        await asyncio.sleep(0.02)
        head, body = got[0]
        (entry,) = json.loads(body)["entries"]
        assert (entry["action"], entry["target"]) == ("deny", "/private")
        found = re.search(rb"x-relay-signature: t=(\d+),v1=([0-9a-f]{64})", head.lower())
        assert found is not None
        mark = hmac.new(b"0123456789abcdef", found[1] + b"." + body, "sha256").hexdigest()
        assert found[2].decode() == mark

    asyncio.run(main())
