"""Relays that link up: by which certificates they know each other."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from mesh import BASE, BLIND, more, scene

from pace import until
from relay.records.audit import Query

pytestmark = pytest.mark.usefixtures("quick")


def certified(name: str) -> str:
    generated = 'generate = ["localhost", "127.0.0.1"]'
    return BASE.replace(generated, f'cert = "{name}-node.pem"\nkey = "{name}-node.key"')


@pytest.mark.parametrize("scheme", ["https", "moqt"])
def test_whose_certificate_is_believed(node: Any, authority: Any, scheme: str) -> None:
    async def main() -> None:
        authority("ours")
        authority("theirs")
        async with node(base=certified("ours")) as a:
            url = a.url(scheme=scheme)
            pin = a.relay.certificates.fingerprint
            believed = {
                'root = ["ours.pem"]': True,
                'root = ["theirs.pem"]': False,
                f'fingerprint = ["{pin}"]': True,
                f'fingerprint = ["{"0" * 64}"]': False,
                "": False,
            }
            for lines, is_believed in believed.items():
                async with node(extra=f"[client.tls]\n{lines}\n", connect=[url]) as b:
                    await until(lambda: b.up() or len(b.events("link refused")) >= 2)
                    assert bool(b.up()) == is_believed, lines

    asyncio.run(main())


@pytest.mark.parametrize("scheme", ["https", "moqt"])
def test_a_relay_is_known_by_its_certificate(node: Any, authority: Any, scheme: str) -> None:
    async def main() -> None:
        for name in ("ours", "theirs"):
            authority(name)
        rule = "[auth.certificates.any]\nfull_access = true\ncluster = true\n"
        base = certified("ours").replace("[auth]", 'root = ["ours.pem"]\n[auth]')
        async with node(base=base, extra=rule) as a:
            for name in ("ours", "theirs"):
                shown = f'cert = "{name}-node.pem"\nkey = "{name}-node.key"\n'
                tls = f'[client.tls]\nroot = ["ours.pem"]\n{shown}'
                lines = f'connect = "{a.url(scheme=scheme)}"\n'
                async with node(lines, extra=tls) as b:
                    if name == "ours":
                        await until(lambda: b.up() and a.relays())
                        async with scene(a, b) as watched:
                            await watched.check()
                    else:
                        await until(
                            lambda: len(b.events("link refused") + b.events("link down")) > 2
                        )
                        assert a.relays() == 0
                        told = a.events("refused")[0]
                        assert (told["status"], told["reason"]) == (401, "bad_certificate")
                        assert "local issuer certificate, shown by 127.0.0.1" in told["why"]
                        assert a.relay.judge.refusals.counts["bad_certificate"] > 0
                        await a.relay.desk.scribe.flush()
                        denied = Query(action="deny", reason="bad_certificate", limit=1)
                        (entry,) = await a.relay.desk.records.audit.entries(denied)
                        assert entry.address == "127.0.0.1"

    asyncio.run(main())


def test_a_rotated_certificate_renews_the_link_without_losing_a_group(
    node: Any, folder: Path, authority: Any
) -> None:
    def show(name: str) -> None:
        for kind in ("pem", "key"):
            (folder / f"{name}-node.{kind}").replace(folder / f"shown.{kind}")

    async def main() -> None:
        for name in ("old", "new"):
            authority(name)
        show("old")
        base = BASE.replace("[auth]", 'root = ["old.pem", "new.pem"]\n[auth]')
        rule = "[auth.certificates.any]\nfull_access = true\ncluster = true\n"
        tls = BLIND + 'cert = "shown.pem"\nkey = "shown.key"\n'
        async with (
            node(base=base, extra=rule) as a,
            node(f'connect = "{a.url()}"\n', extra=tls) as b,
        ):
            await until(lambda: b.up() and a.relays())
            async with scene(a, b) as watched:
                (link,) = b.relay.cluster.links.values()
                before = link.state.session
                show("new")
                await until(lambda: link.state.session is not before, 5)
                await more(watched)
                await watched.check()
                assert watched.broken == []

    asyncio.run(main())
