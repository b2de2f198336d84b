"""The bench on real keys and records: what it decides, and whom it wakes."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from pace import until
from relay.auth.facts import StoredToken
from relay.auth.request import Request
from relay.auth.revocation import Revocation
from relay.auth.settings import AuthSettings
from relay.errors import Unavailable
from relay.keyring import Keyring
from relay.path import ROOT, Path
from relay.records.desk import Desk
from relay.records.memory import MemoryRecords
from relay.records.office import Operator
from relay.sidecar.bench import Bench
from relay.sidecar.push import Push

WHO = Operator("test")


def silent(event, **facts):
    """Says nothing."""


@contextlib.asynccontextmanager
async def sitting(folder, relays, now, **auth):
    """A bench over the keys in ``folder``, running."""
    settings = AuthSettings.model_validate({"key_dir": str(folder), "public": "anon"} | auth)
    keyring = Keyring(settings, every=0.02)
    desk = Desk(MemoryRecords(), settings, silent, wall=lambda: now)
    await desk.feed.refresh()
    bench = Bench(settings, keyring, desk, Push(relays, silent), silent, wall=lambda: now)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(bench.run())
        await asyncio.sleep(0)
        try:
            yield bench, desk
        finally:
            running.cancel()
    await desk.close()


async def begun(relay):
    """What was taken from somebody while there was no bench a relay hears when there is one."""
    await until(lambda: relay.targets)
    relay.targets.clear()


def test_keys_that_go_wake_the_relays_and_keys_that_come_do_not(tmp_path, oracle, made, token, now):
    request = Request(target=f"/demo?jwt={token(get=[''])}")

    async def run():
        async with oracle(status=202) as relay, sitting(tmp_path, [relay.url], now) as (bench, _):
            await begun(relay)
            assert not await bench.judge(request, None)
            (tmp_path / "e1.jwk").write_bytes(made["e1"].public().dump())
            await until(lambda: len(bench._keyring.keys) == 1)
            assert await bench.judge(request, None)
            assert (await bench.find("e1", Path("demo"))).kid == "e1"
            assert relay.targets == []
            (tmp_path / "e1.jwk").unlink()
            await until(lambda: relay.targets)
            assert not await bench.judge(request, None)
            assert await bench.find("e1", Path("demo")) is None
            return relay.targets

    assert asyncio.run(run()) == ["/auth/sessions/revalidate"]


def test_a_revocation_wakes_the_relays_and_withholds_the_key(tmp_path, oracle, made, token, now):
    (tmp_path / "e1.jwk").write_bytes(made["e1"].public().dump())
    request = Request(target=f"/demo?jwt={token(get=[''])}")

    async def run():
        async with (
            oracle(status=202) as relay,
            sitting(tmp_path, [relay.url], now) as (bench, desk),
        ):
            await begun(relay)
            await desk.office.revoke(WHO, Revocation("tenant", "demo", expires=now + 60))
            await until(lambda: relay.targets)
            assert (await bench.judge(request, None)).reason.code == "revoked"
            assert await bench.find("e1", Path("demo/room")) is None
            assert await bench.find("e1", Path("other")) is not None
            assert await bench.push("id=00ff") == 1
            return relay.targets[-1]

    assert asyncio.run(run()) == "/auth/sessions/revalidate?id=00ff"


def test_what_cannot_be_looked_up_withholds_the_key(tmp_path, made, now):
    (tmp_path / "e1.jwk").write_bytes(made["e1"].public().dump())

    async def run():
        async with sitting(tmp_path, [], now) as (bench, desk):
            desk.settings = desk.settings.model_copy(update={"max_stale": 1.0})
            desk.feed.read_at = time.monotonic() - 9
            desk.feed.refresh = lambda: asyncio.sleep(9)
            with pytest.raises(Unavailable, match="revoked"):
                await bench.find("e1", ROOT)

    asyncio.run(run())


def test_a_key_that_cannot_be_asked_for_is_not_said_to_be_unknown(tmp_path, oracle, token, now):
    """The asking relays would end the sessions of its bearers."""
    request = Request(target=f"/demo?jwt={token(get=[''])}")

    async def run():
        async with oracle(status=503) as issuer:
            auth = {"key_dir": issuer.url, "fetch": {"allow_private": True}}
            async with sitting(tmp_path, [], now, **auth) as (bench, _):
                await until(lambda: bench._keyring.asks_others)
                decision = await bench.judge(request, None)
                with pytest.raises(Unavailable, match="503"):
                    await bench.find("e1", ROOT)
                return decision

    decision = asyncio.run(run())
    assert (decision.status, decision.reason.code) == (503, "unavailable")


def test_an_api_token_is_a_credential_here_too(tmp_path, now):
    from relay.auth.credentials import make_token, secret_digest

    made = make_token()
    kept = StoredToken(made.prefix, secret_digest(made.secret), "ci", Path("demo"), (ROOT,))

    async def run():
        async with sitting(tmp_path, [], now) as (bench, desk):
            await desk.records.add_token(kept)
            good = await bench.judge(Request(target="/demo", bearer=str(made)), None)
            other = made._replace(secret="x" * len(made.secret))
            return good, await bench.judge(Request(target="/demo", bearer=str(other)), None)

    good, bad = asyncio.run(run())
    assert good, good.reason
    assert good.grant.publish == (ROOT,)
    assert bad.reason.code == "bad_token_secret"
