"""Our relay asking our sidecar, two real programs: both contracts, refusals, outages, the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path as File
from types import SimpleNamespace
from typing import Any, ClassVar

import httpx
import pytest

from lines import whole_lines
from pace import within
from ports import free_ports
from relay.auth.credentials import make_token, secret_digest
from relay.auth.decide import Decision
from relay.auth.facts import NO_FACTS, StoredToken
from relay.auth.grant import Grant
from relay.auth.reason import Reason
from relay.auth.revocation import Revocation
from relay.authority import Authority, Loan
from relay.client import connect
from relay.errors import SessionLost
from relay.net.trust import DialTls
from relay.path import ROOT, Path
from relay.records.audit import Query
from relay.records.office import Operator
from relay.server.parts import contained
from relay.sidecar.client import Admission
from relay.sidecar.inquiry import Ending, Inquiry, read_inquiry

WHO = Operator("test")
TRUST = DialTls(disable_verify=True)

RELAY = """
[server]
listen = "127.0.0.1:0"
[server.tls]
generate = ["localhost"]
[auth]
url = "http://127.0.0.1:{port}/"
contract = "{contract}"
"""

SIDECAR = """
[auth.claims]
tenant = "tenant"
[auth]
key_dir = "keys"
public = "anon"
[sidecar]
expires = 30
revalidate = 1
share_secrets = true
"""


class Sidecar:
    """`relay sidecar` as a process of its own."""

    def __init__(self, folder: File, port: int, toml: str = SIDECAR) -> None:
        (folder / "sidecar.toml").write_text(toml)
        self.log = folder / "sidecar.log"
        self.port = port
        with self.log.open("wb") as err:
            self.program = subprocess.Popen(
                [
                    *(sys.executable, "-m", "relay", "sidecar", "sidecar.toml"),
                    *("--listen", f"127.0.0.1:{port}"),
                ],
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=err,
                env=os.environ,
            )
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            try:
                httpx.get(f"http://127.0.0.1:{port}/")
                return
            except httpx.TransportError:
                assert self.program.poll() is None, self.log.read_text()
                time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        if self.program.poll() is None:
            self.program.terminate()
        self.program.wait(10)


@pytest.fixture
def sidecar(folder: File, signer: Any) -> Iterator[Sidecar]:
    (folder / "keys").mkdir()
    (folder / "keys" / "e2e.jwk").write_bytes(signer.dump())
    (port,) = free_ports(1)
    started = Sidecar(folder, port)
    yield started
    started.stop()


def url(relay: Any, target: str, scheme: str = "https") -> str:
    return f"{scheme}://127.0.0.1:{relay.quic_address[1]}{target}"


@pytest.mark.parametrize("contract", ["events", "api"])
def test_the_sidecar_decides_for_our_relay(
    running: Any, token: Callable[..., str], sidecar: Sidecar, contract: str
) -> None:
    async def main() -> None:
        base = RELAY.format(port=sidecar.port, contract=contract)
        async with running(base=base) as relay:
            jwt = token("demo", put=("a",), get=())
            for scheme in ("https", "moqt"):
                async with connect(url(relay, f"/demo?jwt={jwt}", scheme), tls=TRUST) as client:
                    async with asyncio.timeout(20):
                        while not client.hears("a"):
                            await asyncio.sleep(0.02)
                    assert not client.hears("b")
            for target in ("/demo", "/demo?jwt=rubbish", f"/other?jwt={jwt}"):
                with pytest.raises(SessionLost) as refused:
                    async with connect(url(relay, target), tls=TRUST):
                        pass
                assert refused.value.status == 401
            async with connect(url(relay, "/anon"), tls=TRUST):
                pass
            base_url = f"http://127.0.0.1:{relay.http_addresses[0][1]}"
            async with httpx.AsyncClient() as http:
                assert (await http.get(f"{base_url}/announced/anon")).status_code == 200
                assert (await http.get(f"{base_url}/announced/demo")).status_code == 401
                bearer = {"authorization": f"Bearer {token('demo', put=(), get=('a b',))}"}
                for path, is_let_in in (("a%20b", True), ("a%2520b", False), ("a%3Fb", False)):
                    found = await http.get(f"{base_url}/announced/demo/{path}", headers=bearer)
                    assert (found.status_code == 200) is is_let_in, path

    asyncio.run(main())


def test_the_sidecar_names_the_tenant(
    running: Any, minted: Callable[..., str], sidecar: Sidecar
) -> None:
    async def main() -> None:
        base = RELAY.format(port=sidecar.port, contract="events")
        async with running("[quotas.tenants.acme]\nsessions = 1\n", base) as relay:
            jwt = minted("demo", tenant="acme")
            async with connect(url(relay, f"/demo?jwt={jwt}"), tls=TRUST):
                with pytest.raises(SessionLost) as refused:
                    async with connect(url(relay, f"/demo?jwt={jwt}"), tls=TRUST):
                        pass
                assert refused.value.status == 429
                async with connect(url(relay, f"/demo?jwt={minted('demo')}"), tls=TRUST):
                    assert set(relay.house.ledger.accounts) == {"acme", "demo"}

    asyncio.run(main())


def test_the_server_is_told_of_the_end_of_whatever_it_let_in(
    running: Any, minted: Callable[..., str], sidecar: Sidecar
) -> None:
    """Sessions, requests over HTTP, and who was turned away for another reason afterwards."""

    def told(word: str) -> list[str]:
        return re.findall(rf"\] {word} .* session=(\w+)", "\n".join(whole_lines(sidecar.log)))

    async def main() -> None:
        base = RELAY.format(port=sidecar.port, contract="events")
        async with running("[quotas.tenants.acme]\nsessions = 1\n", base) as relay:
            jwt = minted("demo", tenant="acme")
            async with connect(url(relay, f"/demo?jwt={jwt}"), tls=TRUST):
                with pytest.raises(SessionLost):
                    async with connect(url(relay, f"/demo?jwt={jwt}"), tls=TRUST):
                        pass
                async with connect(url(relay, f"/demo?jwt={jwt}", "moqt"), tls=TRUST) as second:
                    async with asyncio.timeout(10):
                        while not second.lost.done():  # decided on when it introduced itself
                            await asyncio.sleep(0.02)
                http_url = f"http://127.0.0.1:{relay.http_addresses[0][1]}"
                query = f"?jwt={minted('demo')}"
                async with httpx.AsyncClient() as http:
                    for path in ("announced/demo", "fetch/demo/none/video", "routes/demo"):
                        await http.get(f"{http_url}/{path}{query}")
                    await http.post(f"{http_url}/publish/demo/cam?{query[1:]}", content=b"x")
                    assert len(told("allow")) >= 7
                    async with asyncio.timeout(10):
                        while len(told("end")) < len(told("allow")) - 1:
                            await asyncio.sleep(0.05)
                    (left,) = set(told("allow")) - set(told("end"))
            async with asyncio.timeout(10):
                while left not in told("end"):
                    await asyncio.sleep(0.05)
        ends = told("end")
        assert len(ends) == len(set(ends)), "each once"
        assert set(ends) == set(told("allow"))
        (moved,) = re.findall(rf"\] end .*session={left}.*", sidecar.log.read_text())
        assert all(int(found) > 0 for found in re.findall(r"(?:sent|received)=(\d+)", moved))

    asyncio.run(main())


def test_the_server_is_told_of_whoever_was_there_at_the_stop(
    running: Any, minted: Callable[..., str], sidecar: Sidecar
) -> None:
    async def main() -> None:
        async with contextlib.AsyncExitStack() as staying:
            async with running(base=RELAY.format(port=sidecar.port, contract="events")) as relay:
                said: list[dict[str, Any]] = []
                relay.log = SimpleNamespace(
                    error=lambda event, **facts: said.append(facts),
                    info=lambda event, **facts: None,
                )
                target = url(relay, f"/demo?jwt={minted('demo')}")
                await staying.enter_async_context(connect(target, tls=TRUST))
                assert len(relay.authority.loans) == 1
            assert said == []
        (end,) = re.findall(r"\] end .*", sidecar.log.read_text())
        assert "the relay is stopping" in end

    asyncio.run(main())


def test_a_revoked_tenant_stays_out_whatever_the_sidecar_says(
    running: Any, token: Callable[..., str], sidecar: Sidecar
) -> None:
    async def main() -> None:
        async with running(base=RELAY.format(port=sidecar.port, contract="events")) as relay:
            target = f"/demo?jwt={token('demo')}"
            async with connect(url(relay, target), tls=TRUST) as client:
                await relay.desk.office.revoke(WHO, Revocation("tenant", "demo"))
                assert "revoked" in await asyncio.wait_for(asyncio.shield(client.lost), 5)
            with pytest.raises(SessionLost) as refused:
                async with connect(url(relay, target), tls=TRUST):
                    pass
            assert refused.value.status == 401
            base_url = f"http://127.0.0.1:{relay.http_addresses[0][1]}"
            async with httpx.AsyncClient() as http:
                assert (await http.get(f"{base_url}/announced{target}")).status_code == 401

    asyncio.run(main())


def test_there_are_no_tickets_where_a_server_decides(
    running: Any, token: Callable[..., str], sidecar: Sidecar
) -> None:
    async def main() -> None:
        async with running(base=RELAY.format(port=sidecar.port, contract="events")) as relay:
            headers = {"authorization": f"Bearer {token('demo')}"}
            ticket = f"http://127.0.0.1:{relay.http_addresses[0][1]}/ticket"
            async with httpx.AsyncClient(headers=headers) as http:
                assert (await http.post(ticket)).status_code == 403

    asyncio.run(main())


async def require_taken_back(relay: Any, said: list[tuple[str, dict[str, Any]]]) -> None:
    """The one grant of the server's is over, and audit log and log tell why."""
    assert relay.judge.authority.loans == set()
    await relay.desk.scribe.flush()
    found = await relay.desk.records.audit.entries(Query(action="revoke"))
    assert [(each.reason, each.target) for each in found] == [("refused", "/demo")]
    (told,) = [line for line in said if line[0] == "no longer granted"]
    assert "127.0.0.1 refused: no_keys" in told[1]["why"]


def test_what_the_sidecar_takes_back_ends_the_session(
    running: Any, token: Callable[..., str], sidecar: Sidecar, folder: File
) -> None:
    async def main() -> None:
        async with running(base=RELAY.format(port=sidecar.port, contract="events")) as relay:
            said: list[tuple[str, dict[str, Any]]] = []
            relay.house.log = lambda event, **facts: said.append((event, facts))
            async with connect(url(relay, f"/demo?jwt={token('demo')}"), tls=TRUST) as client:
                await asyncio.sleep(1.5)
                assert not client.lost.done()
                (folder / "keys" / "e2e.jwk").unlink()
                reason = await asyncio.wait_for(asyncio.shield(client.lost), 8)
                assert "refused" in reason
            await require_taken_back(relay, said)

    asyncio.run(main())


def test_what_the_sidecar_takes_back_ends_what_is_read_over_http(
    running: Any, token: Callable[..., str], sidecar: Sidecar, folder: File
) -> None:
    more = '[web.http]\nlisten = "127.0.0.1:0"\n'

    async def main() -> None:
        async with running(more, RELAY.format(port=sidecar.port, contract="events")) as relay:
            said: list[tuple[str, dict[str, Any]]] = []
            relay.house.log = lambda event, **facts: said.append((event, facts))
            web = "http://{}:{}".format(*relay.http_addresses[0])
            async with httpx.AsyncClient(base_url=web, params={"jwt": token("demo")}) as http:
                assert (await http.post("/publish/demo/x", json={})).is_success
                async with asyncio.timeout(10), http.stream("GET", "/watch/demo/x") as reading:
                    assert reading.status_code == 200
                    (folder / "keys" / "e2e.jwk").unlink()
                    assert "data: refused (id " in (await reading.aread()).decode()
            await require_taken_back(relay, said)
        assert " sent=2 " in sidecar.log.read_text(), "the record"

    asyncio.run(main())


async def let_in(address: str) -> None:
    async with connect(address, tls=TRUST):
        pass


def test_an_error_about_one_session_does_not_end_the_relay(
    running: Any, token: Callable[..., str], sidecar: Sidecar
) -> None:
    async def main() -> None:
        async with running(base=RELAY.format(port=sidecar.port, contract="events")) as relay:
            welcome, ask = f"/demo?jwt={token('demo')}", relay.authority.ask
            said: list[BaseException] = []
            relay.log = SimpleNamespace(error=lambda event, **facts: said.append(facts["exc_info"]))

            async def failing(*args: Any) -> Any:
                raise LookupError("nobody thought of this")

            relay.authority.ask = failing
            async with asyncio.TaskGroup() as tasks:
                asking = tasks.create_task(let_in(url(relay, welcome)))
                await within(10.0, lambda: said or asking.done())
                await asyncio.sleep(0.3)
                assert not asking.done(), "nobody has answered"
                asking.cancel()
            assert [type(error) for error in said] == [LookupError]
            relay.authority.ask = ask
            async with connect(url(relay, welcome), tls=TRUST) as client:
                assert not client.lost.done()
            relay.log = SimpleNamespace(info=lambda *args, **facts: None)

    asyncio.run(main())


def test_a_session_that_ends_as_it_begins_is_not_asked_about() -> None:
    """Whatever it said while it was being decided on may end it before the lease's first turn."""

    async def main() -> None:
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            authority = Authority(None, "n", time.time, tasks.create_task)  # type: ignore[arg-type]
            grant = Grant(Path("demo"), (ROOT,), (ROOT,))
            admission = Admission(Decision(True, grant, (), Reason("allowed", ""), 200))
            loan = Loan(authority, Inquiry("1", "n", "quic", "/demo"), admission, NO_FACTS)
            loan._tell = lambda *said: asyncio.sleep(0)  # type: ignore[method-assign]
            loan.begin(lambda grant: None, lambda reason, why: None)
            loan.end("gone")

    asyncio.run(main())


def test_a_session_that_nobody_asks_about_any_more_ends() -> None:
    """An error that nobody foresaw ends the lease's task; the session must not go on without."""
    over: list[str] = []

    class Client:
        ended: ClassVar[list[Ending]] = []

        async def revalidate(self, *about: Any) -> Admission:
            raise LookupError("nobody thought of this")

        async def end(self, inquiry: Inquiry, ending: Ending) -> None:
            self.ended.append(ending)

    async def main() -> None:
        escaped: list[BaseException] = []
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            spawn = lambda work: tasks.create_task(contained(work, escaped.append))  # noqa: E731
            authority = Authority(Client(), "n", time.time, spawn)  # type: ignore[arg-type]
            grant = Grant(Path("demo"), (ROOT,), (ROOT,))
            decision = Decision(True, grant, (), Reason("allowed", ""), 200)
            loan = Loan(
                authority, Inquiry("1", "n", "quic", "/demo"), Admission(decision, 0.0), NO_FACTS
            )

            def ended(reason: str, why: str) -> None:
                over.append(f"{reason}: {why}")
                loan.end("as a session does that is closed")

            loan.begin(lambda grant: None, ended)
        assert [type(error) for error in escaped] == [LookupError]

    asyncio.run(main())
    assert over == ["invalid: internal error: LookupError('nobody thought of this')"]
    assert [ending.reason for ending in Client.ended] == ["invalid"]


def test_a_server_reads_the_end_whatever_a_peer_said_of_it() -> None:
    class Client:
        ended: ClassVar[list[Ending]] = []

        async def end(self, inquiry: Inquiry, ending: Ending) -> None:
            self.ended.append(ending)

    async def main() -> None:
        async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
            authority = Authority(Client(), "n", time.time, tasks.create_task)  # type: ignore[arg-type]
            grant = Grant(Path("demo"), (ROOT,), (ROOT,))
            admission = Admission(Decision(True, grant, (), Reason("allowed", ""), 200))
            inquiry = Inquiry("1", "n", "websocket", "/demo")
            Loan(authority, inquiry, admission, NO_FACTS).end("bye\0\n" + "r" * 100)
        [ending] = Client.ended
        told = replace(inquiry, event="end", ending=ending).dump()
        assert read_inquiry(told).ending == ending
        assert len(ending.reason) == 64

    asyncio.run(main())


def test_the_log_says_that_no_session_can_be_asked_about_and_then_that_they_can() -> None:
    said: list[str] = []
    log = lambda event, **facts: said.append(f"{event} {facts.get('detail', '')}")  # noqa: E731
    authority = Authority(None, "n", time.time, lambda work: None, log)  # type: ignore[arg-type]
    outage = Admission(Decision(False, None, (), Reason("unavailable", "it is down"), 503))
    refused = Admission(Decision(False, None, (), Reason("server_refused", "no"), 403))
    for admission in (refused, outage, outage, refused, refused, outage):
        authority.heard(admission)
    down = "warning auth.url does not answer, sessions stay until the end they have: it is down"
    assert said == [down, "auth.url answers again ", down]


def test_the_internal_face_has_the_server_asked_again_at_once(
    running: Any, token: Callable[..., str], sidecar: Sidecar, folder: File
) -> None:
    slow = SIDECAR.replace("revalidate = 1", "revalidate = 25")
    sidecar.stop()
    (folder / "slow").mkdir()
    (folder / "keys").rename(folder / "slow" / "keys")
    again = Sidecar(folder / "slow", sidecar.port, slow)

    async def main() -> None:
        base = RELAY.format(port=sidecar.port, contract="events")
        async with running('[internal]\nlisten = "127.0.0.1:0"\n', base) as relay:
            host, port = relay.internal_address
            internal = f"http://{host}:{port}"
            target = f"/demo?jwt={token('demo')}"
            async with (
                httpx.AsyncClient() as http,
                connect(url(relay, target), tls=TRUST) as client,
            ):
                (listed,) = (await http.get(f"{internal}/sessions")).json()["sessions"]
                assert time.time() - 60 < listed["started"] <= time.time()
                assert listed["path"] == "/demo"
                assert "jwt" not in str(listed)
                assert (await http.get(f"{internal}/sessions?pth=/x")).status_code == 400
                (folder / "slow" / "keys" / "e2e.jwk").unlink()
                web = "http://{}:{}".format(*relay.http_addresses[0])

                async def is_forgotten() -> bool:
                    return (await http.get(f"{web}/announced{target}")).status_code == 401

                await within(10.0, is_forgotten)
                assert not client.lost.done()
                answer = await http.post(f"{internal}/sessions/revalidate?path=/demo")
                assert (answer.status_code, answer.json()) == (202, {"ids": [listed["id"]]})
                await within(10.0, client.lost.done)

    try:
        asyncio.run(main())
    finally:
        again.stop()


def test_without_an_answer_nobody_comes_in_and_whoever_is_in_stays(
    running: Any, token: Callable[..., str], sidecar: Sidecar
) -> None:
    async def main() -> None:
        async with running(base=RELAY.format(port=sidecar.port, contract="events")) as relay:
            target = f"/demo?jwt={token('demo')}"
            async with connect(url(relay, target), tls=TRUST) as client:
                sidecar.stop()
                with pytest.raises(SessionLost) as refused:
                    async with connect(url(relay, target), tls=TRUST):
                        pass
                assert refused.value.status == 503
                await asyncio.sleep(2)
                assert not client.lost.done()

    asyncio.run(main())


def test_an_api_token_of_the_relays_own_stays_good_when_the_server_is_asked_again(
    running: Any, sidecar: Sidecar
) -> None:
    more = '[internal]\nlisten = "127.0.0.1:0"\n'

    async def main() -> None:
        async with running(more, RELAY.format(port=sidecar.port, contract="api")) as relay:
            made = make_token()
            digest = secret_digest(made.secret)
            whole = (Path("demo"), (ROOT,), (ROOT,))
            await relay.desk.records.add_token(StoredToken(made.prefix, digest, "camera", *whole))
            internal = "http://{}:{}".format(*relay.internal_address)
            async with (
                httpx.AsyncClient() as http,
                connect(url(relay, f"/demo?jwt={made}"), tls=TRUST) as client,
            ):
                answer = await http.post(f"{internal}/sessions/revalidate")
                assert len(answer.json()["ids"]) == 1
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(client.lost), 1)

    asyncio.run(main())


def test_without_such_a_server_no_session_is_its_and_a_misspelt_filter_is_told(
    running: Any,
) -> None:
    async def main() -> None:
        async with running('[internal]\nlisten = "127.0.0.1:0"\n') as relay:
            internal = "http://{}:{}".format(*relay.internal_address)
            async with (
                httpx.AsyncClient(base_url=internal) as http,
                connect(url(relay, "/anon"), tls=TRUST),
            ):
                for method, place, none in (
                    ("GET", "/sessions", {"sessions": []}),
                    ("POST", "/sessions/revalidate", {"ids": []}),
                ):
                    answer = await http.request(method, f"{place}?path=/anon")
                    assert (answer.status_code, answer.json()) == (200, none)
                    answer = await http.request(method, f"{place}?pth=/anon")
                    assert (answer.status_code, "'pth'" in answer.text) == (400, True)

    asyncio.run(main())
