"""Encrypted fields with keys of the store: rotated while relays run, on all of them."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path as File
from typing import Any

import httpx
import pytest
import structlog

from relay.auth import mint
from relay.auth.claims import Claims
from relay.auth.keys import Key
from relay.errors import ConfigError
from relay.path import Path

STORE = """
[records]
url = "sqlite:///relay.db"
[ingest.tracks."anon/*:secret"]
encrypt = { "/mail" = "pii" }
"""


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
