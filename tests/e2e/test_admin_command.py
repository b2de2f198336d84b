"""``relay admin`` against a running relay: every resource, for people and for machines."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from click.testing import Result

from called import called
from relay.auth.credentials import make_key
from relay.cli import relay as program
from relay.cli.moment import show_time
from relay.client import connect
from relay.control.admin.counter import OPERATIONS
from relay.errors import BadRequest, ConfigError, NotFound, Unauthorized
from relay.net.trust import DialTls

KEY = make_key(100_000)
TRUST = DialTls(disable_verify=True)


def invoke(*words: str, env: dict[str, str] | None = None) -> Result:
    return called(program, "admin", *words, env={"MOQ_ADMIN_TOKEN": ""} | (env or {}))


def test_there_is_a_command_for_everything() -> None:
    group = program.get_command(None, "admin")  # type: ignore[arg-type]
    assert group is not None
    found = 0
    for each in group.commands.values():  # type: ignore[attr-defined]
        commands = getattr(each, "commands", {"": each}).values()
        found += sum(not command.hidden for command in commands)  # hidden: an earlier name
    assert found == len(OPERATIONS)


def test_without_a_relay_or_a_key_it_says_so() -> None:
    assert "--url is missing" in invoke("sessions", "list").output
    with pytest.raises(ConfigError, match="MOQ_ADMIN_TOKEN"):
        invoke("--url", "http://127.0.0.1:1", "sessions", "list")
    assert "http or https" in invoke("--url", "moqt://x", "sessions", "list").output


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_what_has_no_address_is_not_asked_for(name: str) -> None:
    env = {"MOQ_ADMIN_TOKEN": "key"}
    with pytest.raises(BadRequest, match=r"tenant: .* has no address"):
        invoke("--url", "http://127.0.0.1:1", "quotas", "show", name, env=env)


def test_every_resource(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOQ_MASTER_KEY", "A" * 43 + "=")
    extra = f'[admin]\napi_key = "{KEY.hash}"\n[issuer]\nenabled = true\n[records]\nurl = "sqlite:///relay.db"\n'

    async def main() -> None:
        async with running(extra) as relay:
            url = f"http://127.0.0.1:{relay.http_addresses[0][1]}"

            async def run(*words: str, token: str = KEY.bearer) -> str:
                env = {"MOQ_ADMIN_TOKEN": token}
                return (await asyncio.to_thread(invoke, "--url", url, *words, env=env)).output

            async def data(*words: str) -> Any:
                return json.loads(await run(*words, "--json"))

            target = f"https://127.0.0.1:{relay.quic_address[1]}/anon"
            async with connect(target, tls=TRUST) as client:
                while not any(guest.opened for guest in relay.door.guests.values()):
                    await asyncio.sleep(0.01)
                assert "webtransport" in await run("sessions", "list", "--tenant", "anon")
                (one,) = (await data("sessions", "list"))["sessions"]
                assert "anon" in await run("sessions", "show", one["id"])
                await run("sessions", "narrow", one["id"], "--subscribe", "x")
                assert (await data("sessions", "show", one["id"]))["subscribe"] == ["x"]
                await run("sessions", "kick", one["id"], "--reason", "noise")
                await asyncio.wait_for(client.lost, 5)
            assert "no broadcasts" in await run("broadcasts", "list", "--prefix", "anon")
            made = await data(
                "tokens", "create", "--name", "cam", "--publish", "a", "--publish", "b",
                "--decrypt", "pii", "--decrypt", "card.no",
            )  # fmt: skip
            assert made["decrypt"] == ["pii", "card.no"]
            assert made["token"].startswith("mq_")
            assert made["token"] not in await run("tokens", "list")
            assert "cam" in await run("tokens", "list")
            await run("tokens", "revoke", made["prefix"])
            revoked = (await data("tokens", "list"))["tokens"][0]["revoked"]
            assert f"{show_time(int(revoked))}" in (await run("tokens", "list")).split()
            assert f"mq_{made['prefix']}" in await run("revocations", "list")
            number = (await data("revocations", "create", "--by", "sub", "--value", "x"))["number"]
            await run("revocations", "withdraw", f"{number}")
            with pytest.raises(NotFound):
                await run("revocations", "withdraw", f"{number}")
            # The beginning of all time is a time, and not the same as none.
            with pytest.raises(BadRequest, match="ended already"):
                await run("tokens", "create", "--name", "x", "--publish", "a", "--expires", "0")
            with pytest.raises(BadRequest, match="greater than or equal to 1"):
                await run("audit", "list", "--limit", "0")
            with pytest.raises(BadRequest, match="by"):
                await run("revocations", "create", "--by", "colour", "--value", "x")
            before = (await data("keys", "list"))["keys"]
            after = (await data("keys", "rotate", "--grace", "2h"))["keys"]
            assert len(after) == len(before) + 1
            assert len((await data("keys", "jwks"))["keys"]) == 3
            assert "no ciphers" in await run("ciphers", "list")
            assert (await data("ciphers", "create", "pii"))["version"] == 1
            assert (await data("ciphers", "rotate", "pii"))["version"] == 2
            listed = (await data("ciphers", "list"))["ciphers"]
            assert [(each["name"], each["version"]) for each in listed] == [("pii", 1), ("pii", 2)]
            with pytest.raises(BadRequest, match="already: rotate it"):
                await run("ciphers", "create", "pii")
            with pytest.raises(NotFound, match="no cipher key 'other'"):
                await run("ciphers", "rotate", "other")
            for unsay in ("clear", "reset"):  # its earlier name
                await run("quotas", "set", "anon", "sessions=2", "egress_bits=1000")
                assert "sessions=2" in await run("quotas", "show", "anon")
                await run("quotas", unsay, "anon")
                assert "sessions=2" not in await run("quotas", "show", "anon")
            assert (await data("quotas", "list"))["others"]["sessions"] == 0
            explained = await run("explain", "--url", "/anon")
            assert 'publish="" ' in explained
            assert "no mended" not in explained
            assert "quota.set" in await run(
                "audit", "list", "--action", "quota", "--from", "now-1h", "--tenant", "anon"
            )
            assert "quota.set" not in await run("audit", "list", "--reason", "expired")
            assert (await data("routes", "list", "--prefix", "anon"))["routes"] == []
            assert "version" in await run("nodes", "list")
            with pytest.raises(Unauthorized):
                await run("nodes", "list", token="other.key")
            assert "own" in await run("--token", KEY.bearer, "nodes", "list", token="other.key")

    asyncio.run(main())
