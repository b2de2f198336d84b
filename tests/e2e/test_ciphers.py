"""Encrypted fields with keys of the store: rotated while relays run, on all of them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path as File
from typing import Any

import httpx
import pytest
import structlog
from several import WORKERS
from several import Relay as Workers

from relay.auth import mint
from relay.auth.claims import Claims
from relay.auth.compact import split
from relay.auth.credentials import NewKey, make_key
from relay.auth.keys import Key
from relay.errors import ConfigError
from relay.ingest.cipher import decrypt_frame, encrypt
from relay.path import Path
from relay.server import press

STORE = """
[records]
url = "sqlite:///relay.db"
[ingest.tracks."anon/*:secret"]
encrypt = { "/mail" = "pii" }
"""


READER = make_key(100_000)


def base(relay: Any) -> str:
    return f"http://127.0.0.1:{relay.http_addresses[0][1]}"


@pytest.fixture
def master(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOQ_MASTER_KEY", base64.b64encode(os.urandom(32)).decode())


async def command(word: str, folder: File) -> None:
    """``relay keys cipher``, a process of its own beside the relays."""
    words = ["-m", "relay", "keys", "--url", "sqlite:///relay.db", "cipher", word, "pii"]
    done = await asyncio.create_subprocess_exec(
        sys.executable, *words, cwd=folder, stdout=asyncio.subprocess.DEVNULL
    )
    assert await done.wait() == 0


async def sealed(web: httpx.AsyncClient, version: int, mail: str) -> float:
    """Publish until that version encrypts; seconds it took."""
    began = time.monotonic()
    while True:
        answer = await web.post("/publish/anon/b/secret", json={"mail": mail})
        if answer.status_code == 202:
            kept = (await web.get("/fetch/anon/b/secret")).json()["mail"]
            if kept.startswith(f"kid:pii:v{version}:"):
                return time.monotonic() - began
        assert time.monotonic() - began < 8, "not in time"
        await asyncio.sleep(0.05)


def test_a_rotation_counts_on_every_relay_and_old_versions_stay_readable(
    running: Any, folder: File, master: None, signer: Key
) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running(STORE))
            two = await stack.enter_async_context(running(STORE))
            here = await stack.enter_async_context(httpx.AsyncClient(base_url=base(one)))
            there = await stack.enter_async_context(httpx.AsyncClient(base_url=base(two)))
            refused = await here.post("/publish/anon/a/secret", json={"mail": "m"})
            assert refused.status_code == 503
            await command("create", folder)
            assert await sealed(here, 1, "first") < 3
            assert await sealed(there, 1, "first") < 3
            for web in (here, there):
                done = await web.post("/publish/anon/a/secret", json={"mail": "old"})
                assert done.status_code == 202
            await command("rotate", folder)
            assert await sealed(here, 2, "second") < 3
            assert await sealed(there, 2, "second") < 3

            claims = Claims(Path("anon"), get=(Path(""),), decrypt=("pii",))
            reader = {"authorization": f"Bearer {mint.sign(claims, signer, time.time())}"}
            for web in (here, there):
                for path, version, mail in (("a", 1, "old"), ("b", 2, "second")):
                    latest = await web.get(f"/fetch/anon/{path}/secret?decrypt=1", headers=reader)
                    assert latest.json() == {"mail": mail}
                    raw = await web.get(f"/fetch/anon/{path}/secret")
                    assert raw.json()["mail"].startswith(f"kid:pii:v{version}:")

    asyncio.run(main())


def test_a_token_made_at_login_decrypts_what_its_credential_does(
    running: Any, folder: File, master: None, signer: Key
) -> None:
    async def main() -> None:
        async with (
            running(STORE + "[issuer]\nenabled = true\n") as relay,
            httpx.AsyncClient(base_url=base(relay)) as web,
        ):
            await command("create", folder)
            assert await sealed(web, 1, "first") < 3
            claims = Claims(Path("anon"), get=(Path(""),), decrypt=("pii",))
            own = {"authorization": f"Bearer {mint.sign(claims, signer, time.time())}"}
            for wish, mail in (
                ({}, "first"),
                ({"decrypt": ["pii"]}, "first"),
                ({"decrypt": []}, "kid:"),
            ):
                made = await web.post("/auth/login", headers=own, json=wish)
                assert made.status_code == 201, made.text
                reader = {"authorization": f"Bearer {made.json()['token']}"}
                latest = await web.get("/fetch/anon/b/secret?decrypt=1", headers=reader)
                assert latest.json()["mail"].startswith(mail)
            more = await web.post("/auth/login", headers=own, json={"decrypt": ["other"]})
            assert more.status_code == 403

    asyncio.run(main())


@pytest.fixture(scope="module")
def operator() -> NewKey:
    return make_key(100_000)


def admin(relay: Any, operator: NewKey) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {operator.bearer}"}
    return httpx.AsyncClient(base_url=f"{base(relay)}/admin/v1", headers=headers)


def test_the_operator_makes_and_rotates_keys_of_running_relays(
    running: Any, master: None, operator: NewKey
) -> None:
    said = f'{STORE}[admin]\napi_key = "{operator.hash}"\n'

    async def main() -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running(said))
            two = await stack.enter_async_context(running(said))
            counter = await stack.enter_async_context(admin(one, operator))
            here = await stack.enter_async_context(httpx.AsyncClient(base_url=base(one)))
            there = await stack.enter_async_context(httpx.AsyncClient(base_url=base(two)))
            assert (await counter.get("/ciphers")).json() == {"ciphers": []}
            made = await counter.post("/ciphers", json={"name": "pii"})
            assert (made.status_code, set(made.json())) == (201, {"name", "version", "created"})
            at_once = await here.post("/publish/anon/a/secret", json={"mail": "m"})
            assert at_once.status_code == 202
            assert await sealed(there, 1, "first") < 3
            turned = await counter.post("/ciphers/pii/rotate")
            assert (turned.status_code, turned.json()["version"]) == (200, 2)
            at_once = await here.post("/publish/anon/a/secret", json={"mail": "m"})
            latest = (await here.get("/fetch/anon/a/secret")).json()["mail"]
            assert latest.startswith("kid:pii:v2:")
            assert await sealed(there, 2, "second") < 3

            again = await counter.post("/ciphers", json={"name": "pii"})
            assert (again.status_code, again.json()["detail"]) == (
                400,
                "there is a cipher key 'pii' already: rotate it",
            )
            assert (await counter.post("/ciphers/none/rotate")).status_code == 404
            for name in ("p:i", "", "a" * 65, "..", 5):
                assert (await counter.post("/ciphers", json={"name": name})).status_code == 400
            shown = await counter.get("/ciphers")
            assert [each["version"] for each in shown.json()["ciphers"]] == [1, 2]
            log = await counter.get("/audit", params={"action": "cipher"})
            entries = [
                (each["actor"], each["action"], each["target"], each["detail"])
                for each in log.json()["entries"]
            ]
            assert entries == [
                ("admin", "cipher.rotate", "pii", "v2"),
                ("admin", "cipher.create", "pii", "v1"),
            ]
            key = one.press.station.keys.get("pii")[2]
            for answer in (made, turned, shown, log):
                for spelt in (key.hex(), base64.b64encode(key).decode()):
                    assert spelt not in answer.text

    asyncio.run(main())


@pytest.mark.parametrize("missing", ["records.url", "MOQ_MASTER_KEY"])
def test_where_keys_cannot_be_kept_the_operator_is_told_why(
    running: Any, operator: NewKey, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    said = f'[admin]\napi_key = "{operator.hash}"\n'
    if missing == "records.url":
        monkeypatch.setenv("MOQ_MASTER_KEY", base64.b64encode(os.urandom(32)).decode())
    else:
        monkeypatch.delenv("MOQ_MASTER_KEY", raising=False)
        said += '[records]\nurl = "sqlite:///relay.db"\n'

    async def main() -> None:
        async with running(said) as relay, admin(relay, operator) as counter:
            for place, body in (("/ciphers", {"name": "pii"}), ("/ciphers/pii/rotate", {})):
                answer = await counter.post(place, json=body)
                assert (answer.status_code, missing in answer.json()["detail"]) == (404, True)
            listed = await counter.get("/ciphers")
            assert listed.status_code == (404 if missing == "records.url" else 200)
            assert await relay.desk.records.secrets.all("cipher") == []

    asyncio.run(main())


@pytest.mark.parametrize("has_store", [False, True])
def test_several_workers_keep_keys_in_a_store_and_never_in_their_own(
    process: Any,
    folder: File,
    master: None,
    monkeypatch: pytest.MonkeyPatch,
    operator: NewKey,
    has_store: bool,
) -> None:
    monkeypatch.setenv("MOQ_SERVER__WORKERS", "2")
    store = STORE if has_store else ""
    relay = Workers(process(f'{WORKERS}{store}[admin]\napi_key = "{operator.hash}"\n'))
    headers = {"authorization": f"Bearer {operator.bearer}"}

    async def main() -> None:
        async with httpx.AsyncClient(base_url=relay.http, timeout=10) as web:
            made = await web.post("/admin/v1/ciphers", json={"name": "pii"}, headers=headers)
            if not has_store:
                assert (made.status_code, "records.url" in made.text) == (404, True)
                return
            assert await sealed(web, 1, "first") < 3
            turned = await web.post("/admin/v1/ciphers/pii/rotate", headers=headers)
            assert turned.json()["version"] == 2
            assert await sealed(web, 2, "second") < 3
            await command("rotate", folder)
            assert await sealed(web, 3, "third") < 3

    asyncio.run(main())


@pytest.mark.parametrize("made_by", ["command", "operator", "api_key"])
def test_whoever_was_given_the_right_decrypts_and_may_log_in_with_less(
    running: Any, folder: File, master: None, operator: NewKey, made_by: str
) -> None:
    said = (
        f'{STORE}[issuer]\nenabled = true\n[admin]\napi_key = "{operator.hash}"\n'
        f'[auth.api_keys.reader]\nhash = "{READER.hash}"\nroot = "anon"\nsubscribe = ""\n'
        'decrypt = ["pii", "card"]\n'
    )

    async def credential(relay: Any) -> str:
        rights = {"name": "r", "root": "anon", "subscribe": [""], "decrypt": ["pii", "card"]}
        if made_by == "api_key":
            return READER.bearer
        if made_by == "operator":
            async with admin(relay, operator) as counter:
                bad = await counter.post("/tokens", json=rights | {"decrypt": ["p:i"]})
                assert bad.status_code == 400
                made = await counter.post("/tokens", json=rights)
                listed = (await counter.get("/tokens")).json()["tokens"]
            assert [each["decrypt"] for each in listed] == [["pii", "card"]]
            return str(made.json()["token"])
        words = ["token", "create", "--name", "r", "--root", "anon", "--subscribe", ""]
        words += ["--decrypt", "pii", "--decrypt", "card"]
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "relay", "records", "--url", "sqlite:///relay.db", *words),
            cwd=folder,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await program.communicate()
        return out.decode().strip()

    async def main() -> None:
        async with (
            running(said) as relay,
            httpx.AsyncClient(base_url=base(relay)) as web,
            admin(relay, operator) as counter,
        ):
            assert (await counter.post("/ciphers", json={"name": "pii"})).status_code == 201
            await web.post("/publish/anon/b/secret", json={"mail": "first"})

            async def reads(bearer: str) -> bool:
                headers = {"authorization": f"Bearer {bearer}"}
                latest = await web.get("/fetch/anon/b/secret?decrypt=1", headers=headers)
                return bool(latest.json()["mail"] == "first")

            own = await credential(relay)
            assert await reads(own)
            headers = {"authorization": f"Bearer {own}"}
            for wish, names in (
                ({}, ["pii", "card"]),
                ({"decrypt": ["pii"]}, ["pii"]),
                ({"decrypt": ["card"]}, ["card"]),
                ({"decrypt": []}, None),
            ):
                made = await web.post("/auth/login", headers=headers, json=wish)
                assert made.status_code == 201, made.text
                claims = json.loads(split(made.json()["token"]).payload)
                assert claims.get("decrypt") == names
                assert await reads(made.json()["token"]) is ("pii" in (names or []))
            more = await web.post("/auth/login", headers=headers, json={"decrypt": ["other"]})
            assert more.status_code == 403

    asyncio.run(main())


def test_without_the_root_key_the_relay_does_not_start(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MOQ_MASTER_KEY", raising=False)

    async def main() -> None:
        async with running(STORE):
            pytest.fail("it started")

    with pytest.raises(ConfigError, match=r"MOQ_MASTER_KEY: not set, and ingest\.tracks encrypts"):
        asyncio.run(main())


def test_a_name_that_nobody_knows_is_told_at_the_start(
    running: Any, master: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    async def main() -> None:
        monkeypatch.setattr(
            "relay.server.relay.Relay._log",
            lambda self, event, **facts: said.append(str(facts.get("detail"))),
        )
        async with running(STORE):
            pass

    asyncio.run(main())
    structlog.reset_defaults()
    assert any("anon/*:secret: no cipher key 'pii'" in each for each in said)


def test_much_is_decrypted_beside_the_loop(
    running: Any, signer: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may publish may fill frames with what looks like such fields."""
    threads: list[str] = []

    def opens(payload: bytes, *known: Any) -> bytes:
        threads.append(threading.current_thread().name.partition("_")[0])
        return decrypt_frame(payload, *known)

    async def main() -> None:
        async with running() as relay, httpx.AsyncClient(base_url=base(relay)) as web:
            relay.press.station.keys = keys = {"pii": {1: b"k" * 32}}
            record = {"a": "mail"}
            encrypt(record, {"/a": "pii"}, keys, "anon")
            claims = Claims(Path("anon"), get=(Path(""),), decrypt=("pii",))
            reader = {"authorization": f"Bearer {mint.sign(claims, signer, time.time())}"}
            for track, count in (("few", 2), ("many", 200)):
                await web.post(f"/publish/anon/a/{track}?group=one", json=[record] * count)
            await web.post("/publish/anon/a/long", json={"all": [record] * 200})
            for track, thread in (("few", "MainThread"), ("many", "aside"), ("long", "aside")):
                threads.clear()
                answer = await web.get(f"/fetch/anon/a/{track}?decrypt=1", headers=reader)
                assert b'{"a":"mail"}' in answer.content
                assert set(threads) == {thread}
            async with web.stream("GET", "/watch/anon/a/long", headers=reader) as stream:
                async for line in stream.aiter_lines():
                    if line.startswith("data: "):
                        break
            assert line.count('"mail"') == 200
            assert threads == ["aside", "aside"]

    monkeypatch.setattr(press, "decrypt_frame", opens)
    asyncio.run(main())
