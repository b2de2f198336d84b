from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pace import rest, until, within
from relay.cluster import link as module
from relay.cluster.address import Address, near, parse
from relay.cluster.link import Link, facts
from relay.errors import SessionLost
from relay.server.log import LEVELS

A = parse("https://a/")


class Guest:
    def __init__(self, id: str) -> None:
        self.id = id
        self.did: list[str] = []
        self.has_under_way = False

    def retire(self) -> None:
        self.did.append("retire")

    def close(self, error: Exception) -> None:
        self.did.append("close")


class Session:
    def __init__(self, url: str, cost: int, id: str) -> None:
        self.url, self.cost = url, cost
        self.guest: Any = Guest(id)
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.closed = 0

    async def close(self) -> None:
        self.closed += 1


class Far:
    """The other end: answers dials with sessions, or with what ``trouble`` says."""

    def __init__(self) -> None:
        self.trouble: list[Exception] = []
        self.sessions: list[Session] = []
        self.dials = 0
        self.said: list[tuple[str, dict[str, Any]]] = []

    async def open(self, url: str, cost: int) -> Session:
        self.dials += 1
        if self.trouble:
            raise self.trouble.pop(0)
        self.sessions.append(Session(url, cost, f"s{len(self.sessions)}"))
        return self.sessions[-1]

    def log(self, event: str, **facts: Any) -> None:
        self.said.append((event, facts))

    def events(self) -> list[str]:
        return [event for event, _ in self.said]

    @contextlib.asynccontextmanager
    async def linked(self, address: Address = A, token: Path | None = None) -> AsyncIterator[Link]:
        clock = asyncio.get_running_loop().time
        link = Link(address, self.open, token, clock, self.log)
        run = asyncio.ensure_future(link.run())
        try:
            yield link
        finally:
            run.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await run


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "FIRST_WAIT": 0.01,
        "LONGEST_WAIT": 0.05,
        "RENEW_AGAIN": 0.02,
        "OVERLAP": 0.02,
        "RETIRE": 0.05,
        "FINISH": 0.2,
        "LOOK": 0.01,
    }.items():
        monkeypatch.setattr(module, name, value)


def test_a_refusal_is_told_as_it_came() -> None:
    async def main() -> None:
        far = Far()
        far.trouble = [SessionLost("refused with status 401 (id d-1)", 0, 401)]
        async with far.linked():
            await until(lambda: far.sessions)
        assert far.said[0][1]["why"] == "refused with status 401 (id d-1)"

    asyncio.run(main())


def test_it_dials_for_ever_and_says_each_failure() -> None:
    async def main() -> None:
        far = Far()
        far.trouble = [SessionLost("nobody there") for _ in range(4)] + [ValueError("a bug")]
        async with far.linked() as link:
            await until(lambda: far.sessions)
            await until(lambda: link.state.session)
            refusals = [facts for event, facts in far.said if event == "link refused"]
            assert [facts["attempt"] for facts in refusals] == [1, 2, 3, 4, 5]
            assert far.events()[-3:] == ["internal error", "link refused", "link up"]
            assert facts(link, link.state.since + 2) == {
                "peer": "https://a/",
                "cost": None,
                "up": True,
                "seconds": 2.0,
                "attempts": 0,
                "trouble": "",
            }
            far.sessions[0].lost.set_result("gone")
            await until(lambda: len(far.sessions) == 2)
            assert ("link down", {"peer": "https://a/", "why": "gone"}) in far.said
        assert [session.closed for session in far.sessions] == [1, 1]
        assert far.sessions[1].guest.did == ["close"]
        assert far.sessions[0].guest.did == []

    asyncio.run(main())


def test_another_worker_that_ends_is_nothing_to_warn_of() -> None:
    async def main() -> None:
        far = Far()
        far.trouble = [SessionLost("not there yet")]
        async with far.linked(near(1, "/folder/link-1")):
            await until(lambda: far.sessions)
            far.sessions[0].lost.set_result("the relay is stopping")
            await until(lambda: len(far.sessions) == 2)
        levels = [LEVELS.get(event, "info") for event in far.events()]
        assert levels == ["debug", "info", "info", "info"]

    asyncio.run(main())


def test_waits_grow_up_to_a_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 0.04)
    monkeypatch.setattr(module, "LONGEST_WAIT", 0.08)

    async def main() -> None:
        far = Far()
        far.trouble = [SessionLost("no") for _ in range(1000)]
        began = asyncio.get_running_loop().time()
        async with far.linked() as link:
            await until(lambda: far.dials >= 8)
            assert facts(link, 0.0)["trouble"] == "no"
        assert asyncio.get_running_loop().time() - began >= 0.02 + 6 * 0.04

    asyncio.run(main())


@pytest.mark.parametrize("lasted", [True, False])
def test_after_a_session_that_lasted_waits_begin_anew(
    lasted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = 0.0
    monkeypatch.setattr(module, "FIRST_WAIT", 0.1)
    monkeypatch.setattr(module, "LONGEST_WAIT", 60.0)
    monkeypatch.setattr(module.random, "uniform", lambda least, most: share)

    async def main() -> None:
        nonlocal share
        far = Far()
        far.trouble = [SessionLost("no") for _ in range(8)]
        now = 0.0
        link = Link(A, far.open, None, lambda: now, far.log)
        run = asyncio.ensure_future(link.run())
        await until(lambda: far.sessions)
        share = 1.0
        now = module.STABLE if lasted else module.STABLE / 2
        far.sessions[0].lost.set_result("gone")
        if lasted:
            await within(2.0, lambda: len(far.sessions) == 2)
        else:  # 25.6 seconds by now
            await rest(0.5)
            assert len(far.sessions) == 1
        run.cancel()
        await asyncio.wait((run,))

    asyncio.run(main())


def test_it_is_renewed_before_it_breaks() -> None:
    async def main() -> None:
        far = Far()
        async with far.linked() as link:
            await until(lambda: link.state.session)
            link.renew(parse("https://a/?cost=9"))
            await until(lambda: len(far.sessions) == 2)
            old, new = far.sessions
            assert (old.guest.did, new.cost) == ([], 9)
            await until(lambda: old.guest.did)
            assert old.guest.did == ["retire"]
            await until(lambda: old.closed)
            assert old.guest.did == ["retire", "close"]
            assert link.state.session is new
            assert (new.guest.did, new.closed) == ([], 0)

    asyncio.run(main())


def test_what_nobody_foresaw_costs_the_link_its_sessions_and_it_is_dialled_again() -> None:
    async def main() -> None:
        far = Far()

        def failing() -> None:
            raise LookupError("nobody thought of this")

        async with far.linked() as link:
            await until(lambda: link.state.session)
            far.sessions[0].guest.retire = failing
            link.renew()
            await until(lambda: len(far.sessions) == 3)
            await until(lambda: link.state.session is far.sessions[2])
            assert [each.closed for each in far.sessions] == [1, 1, 0]
        errors = [facts["error"] for event, facts in far.said if event == "internal error"]
        assert errors == ["LookupError('nobody thought of this')"]

    asyncio.run(main())


@pytest.mark.parametrize("ends", [True, False])
def test_a_replaced_session_ends_what_it_began_if_that_is_not_for_ever(ends: bool) -> None:
    async def main() -> None:
        far = Far()
        async with far.linked() as link:
            await until(lambda: link.state.session)
            old = far.sessions[0]
            old.guest.has_under_way = True
            link.renew()
            await until(lambda: old.guest.did)
            await rest(2 * module.RETIRE)
            assert old.guest.did == ["retire"]
            old.guest.has_under_way = not ends
            await until(lambda: old.closed)
            assert old.guest.did == ["retire", "close"]

    asyncio.run(main())


def test_a_renewal_that_fails_is_tried_again_and_the_old_session_serves_on() -> None:
    async def main() -> None:
        far = Far()
        async with far.linked() as link:
            await until(lambda: link.state.session)
            far.trouble = [SessionLost("busy"), SessionLost("busy")]
            link.renew()
            await until(lambda: far.dials == 2)
            assert link.state.session is far.sessions[0]
            await until(lambda: len(far.sessions) == 2)
            assert far.dials == 4
            await until(lambda: far.sessions[0].closed)
            await asyncio.sleep(0.1)
            assert far.dials == 4  # and then no more

    asyncio.run(main())


def test_a_session_lost_while_it_is_replaced_counts_once() -> None:
    async def main() -> None:
        far = Far()
        async with far.linked() as link:
            await until(lambda: link.state.session)
            link.renew()
            far.sessions[0].lost.set_result("gone")
            await until(lambda: len(far.sessions) == 2)
            await until(lambda: far.sessions[0].closed)
            assert far.sessions[0].guest.did in ([], ["retire"])
            assert not far.sessions[1].lost.done()

    asyncio.run(main())


@pytest.mark.parametrize("turns", range(5))
def test_a_link_that_is_dropped_when_it_was_just_renewed_ends(
    turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 60.0)

    async def main() -> None:
        far = Far()
        far.trouble = [SessionLost("no") for _ in range(1000)]
        link = Link(parse("https://a/"), far.open, None, asyncio.get_running_loop().time, far.log)
        run = asyncio.ensure_future(link.run())
        await until(lambda: far.dials)
        link.renew()
        for _ in range(turns):
            await asyncio.sleep(0)
        run.cancel()
        await asyncio.wait((run,), timeout=1.0)
        assert run.done()

    asyncio.run(main())


def test_the_token_is_read_for_each_dial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT", 60.0)
    monkeypatch.setattr(module, "LONGEST_WAIT", 60.0)

    async def main() -> None:
        far, file = Far(), tmp_path / "token"
        async with far.linked(token=file) as link:
            assert link.uses_token_file
            await until(lambda: far.said)
            assert "token cannot be read" in far.said[0][1]["why"]
            assert far.dials == 0
            file.write_text("one\n")
            link.renew()  # as when the file is seen to have changed: nobody waits a minute
            await until(lambda: far.sessions)
            assert far.sessions[0].url == "https://a/?jwt=one"
            file.write_text("x" * (module.MAX_TOKEN + 1))
            link.renew()
            await until(lambda: any("too large" in str(facts) for _, facts in far.said))
            file.write_text("\n")
            link.renew()  # it must not become a stranger's session for as long as it is empty
            await until(lambda: any("token is empty" in str(facts) for _, facts in far.said))
            assert link.state.session is far.sessions[0]
            assert "status" not in str(far.said)  # nobody has answered anything

    asyncio.run(main())


def test_a_token_in_the_address_needs_no_file(tmp_path: Path) -> None:
    async def main() -> None:
        far = Far()
        async with far.linked(parse("https://a/?jwt=own"), tmp_path / "missing") as link:
            assert not link.uses_token_file
            await until(lambda: far.sessions)
            assert far.sessions[0].url == "https://a/?jwt=own"

    asyncio.run(main())


def test_no_token_is_ever_said() -> None:
    async def main() -> None:
        far = Far()
        far.trouble = [SessionLost("no")]
        async with far.linked(parse("https://a/?jwt=secret")) as link:
            await until(lambda: link.state.session)
            far.sessions[0].lost.set_result("gone")
            await until(lambda: len(far.sessions) == 2)
            assert "secret" not in str(far.said) + str(facts(link, 0.0))

    asyncio.run(main())
