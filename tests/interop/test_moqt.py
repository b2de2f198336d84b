"""moq-transport of the IETF, every draft forced upon a real client that speaks it: among
themselves, and mixed with moq-lite.

moq-rs offers everything, moq-lite first, so a relay that speaks a single draft forces it. On raw
QUIC the relay's order decides, so there the relay may speak moq-lite to everybody else. The browser
is told what to offer, so it goes to the relay that speaks everything.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager
from typing import Any

import httpx
import pytest
from rig.client import Client, Listening, Publication, Session, Target
from rig.frames import DEADLINE, Frame, Plan, Refused, comparable, expected
from rig.house import PUBLIC, Relay

pytestmark = pytest.mark.interop

TRACK = "video"
Named = Callable[[str], Client]
Run = Callable[[Coroutine[Any, Any, Any]], Any]
Starting = Callable[..., AbstractContextManager[Relay]]

DRAFTS = ["moq-00", "moqt-16", "moqt-18", "moqt-21", "moqt-22"]
"""Identifiers of those that moq-rs is made to speak, the first is draft 14; tests/moqt has all."""

BESIDE = [("moqt-18", "moqt-22"), ("moqt-18", "moqt-21"), ("moqt-16", "moqt-20")]
"""Two that it speaks to one relay: the first on raw QUIC, which the relay prefers, and the other
over WebTransport, where its own order counts."""

BROWSER = ["moqt-15", "moqt-17", "moqt-19"]
"""The same for @moq/net, which has no 14. As a publisher on 20 it writes (0.3.4) the largest object
in another way than the draft and moq-rs."""

SOCKET = ["moqt-16", "moqt-18"]
"""Those that it offers over WebSocket."""

UNTIMED = {"moq-00", "moqt-15", "moqt-16"}
"""Drafts in which a track cannot say what its timestamps count."""

LITE = "moq-lite-05"

ENDLESS = {"moqt-17", "moqt-18", "moqt-19", "moqt-20"}
"""Drafts in which @moq/net 0.3.4 leaves PUBLISH_DONE unread, and so does not see a track end."""

RAW = "moq-rs-raw"
"""The client that speaks a draft where the relay prefers it."""

PAIRS = [("moq-rs", RAW), (RAW, "moq-rs"), ("moq-rs-ws", "moq-rs-ws")]
OTHERS = ["moq-rs", "relay-cli"]
"""Who speaks moq-lite."""

UNAUTHORIZED = ("code 2", "Unauthorized")
"""How the client says that it was turned away, with SETUP or at the door."""

_numbers = itertools.count(1)


@pytest.fixture
def broadcast() -> str:
    """A public path that no other test uses."""
    return f"{PUBLIC}/draft-{next(_numbers)}"


@pytest.fixture
def room() -> str:
    """A path segment that no other test uses."""
    return f"members-{next(_numbers)}"


@pytest.fixture(scope="module", params=DRAFTS)
def narrow(request: pytest.FixtureRequest, start_relay: Starting) -> Iterator[Relay]:
    """A relay that speaks a single draft."""
    with start_relay(versions=[request.param]) as started:
        yield started


@pytest.fixture(scope="module", params=DRAFTS)
def mixed(request: pytest.FixtureRequest, start_relay: Starting) -> Iterator[Relay]:
    """A relay that prefers a draft and speaks moq-lite as well."""
    with start_relay(versions=[request.param, LITE]) as started:
        yield started


@pytest.fixture(scope="module", params=BESIDE, ids="-".join)
def beside(request: pytest.FixtureRequest, start_relay: Starting) -> Iterator[Relay]:
    """A relay that speaks two drafts."""
    with start_relay(versions=request.param) as started:
        yield started


def timed(relay: Relay, source: Client) -> bool:
    """Whether the timestamps of what ``source`` publishes come through."""
    return source.timestamps and not UNTIMED & set(relay.versions)


async def absent(listening: Listening, path: str) -> bool:
    """Whether nothing was ever heard of ``path``."""
    return path not in dict(await listening.heard())


async def shown(
    near: Session, far: Session, broadcast: str, plan: Plan, *, to_end: bool = True
) -> tuple[list[Frame], str, Publication]:
    """Publish a plan on one session and watch it on the other to its end, each group once the one
    before it is there: what arrived, how it ended, and what is still announced."""
    publication = await near.publish(broadcast, TRACK)
    # The first group is there before the watcher; its arrival says that the line stands.
    await publication.write(plan[0])
    await (await far.listen()).until(broadcast)
    watch = await far.watch(broadcast, TRACK)
    await watch.collect(groups=1, frames=len(plan[0]))
    for number in range(1, len(plan)):
        await publication.write(plan[number])
        await watch.collect(groups=number + 1, frames=len(expected(plan[: number + 1])))
    await publication.finish()
    ended = await watch.over() if to_end else "finished"
    frames = await watch.collect(groups=len(plan), frames=len(expected(plan)))
    return frames, ended, publication


@pytest.mark.parametrize(("publisher", "watcher"), PAIRS)
def test_moq_rs_on_each_draft(
    narrow: Relay, client: Named, run: Run, broadcast: str, publisher: str, watcher: str
) -> None:
    source, sink = client(publisher), client(watcher)

    async def scenario() -> tuple[list[Frame], str]:
        async with (
            source.connect(narrow.target(source)) as near,
            sink.connect(narrow.target(sink)) as far,
        ):
            frames, ended, publication = await shown(near, far, broadcast, source.plan)
            listening = await far.listen()
            await listening.until(broadcast)
            await publication.unpublish()
            await listening.until(broadcast, active=False)
            return frames, ended

    frames, ended = run(scenario())
    is_timed = timed(narrow, source)
    assert comparable(frames, is_timed) == comparable(expected(source.plan), is_timed)
    assert ended == "finished"


def comes_whole(
    relay: Relay, run: Run, source: Client, sink: Client, broadcast: str, *, to_end: bool = True
) -> None:
    """All that one client publishes gets to the other, and so does the end."""

    async def scenario() -> tuple[list[Frame], str]:
        async with (
            source.connect(relay.target(source)) as near,
            sink.connect(relay.target(sink)) as far,
        ):
            frames, ended, _ = await shown(near, far, broadcast, source.plan, to_end=to_end)
            return frames, ended

    frames, ended = run(scenario())
    is_timed = timed(relay, source)
    assert comparable(frames, is_timed) == comparable(expected(source.plan), is_timed)
    assert ended == "finished"


@pytest.mark.parametrize("watcher", OTHERS)
def test_moq_lite_watches(
    mixed: Relay, client: Named, run: Run, broadcast: str, watcher: str
) -> None:
    comes_whole(mixed, run, client(RAW), client(watcher), broadcast)


@pytest.mark.parametrize("publisher", OTHERS)
def test_moq_lite_publishes(
    mixed: Relay, client: Named, run: Run, broadcast: str, publisher: str
) -> None:
    comes_whole(mixed, run, client(publisher), client(RAW), broadcast)


@pytest.mark.parametrize(("publisher", "watcher"), PAIRS[:2])
def test_moq_rs_across_drafts(
    beside: Relay, client: Named, run: Run, broadcast: str, publisher: str, watcher: str
) -> None:
    comes_whole(beside, run, client(publisher), client(watcher), broadcast)


@pytest.mark.browser
@pytest.mark.parametrize("draft", BROWSER)
@pytest.mark.parametrize(
    ("publisher", "watcher"),
    [("chromium", "moq-rs"), ("moq-rs", "chromium"), ("chromium", "chromium")],
)
def test_the_browser_on_each_draft(
    relay: Relay,
    client: Named,
    run: Run,
    broadcast: str,
    publisher: str,
    watcher: str,
    draft: str,
) -> None:
    source, sink = client(publisher), client(watcher)

    def target(guest: Client) -> Target:
        return relay.target(guest, protocols=[draft] if guest.name == "chromium" else None)

    async def scenario() -> tuple[list[Frame], str, set[str]]:
        async with source.connect(target(source)) as near, sink.connect(target(sink)) as far:
            frames, ended, publication = await shown(
                near,
                far,
                broadcast,
                source.plan,
                to_end=watcher == "moq-rs" or draft not in ENDLESS,
            )
            await publication.unpublish()
            await (await far.listen()).until(broadcast, active=False)
            return frames, ended, {near.version, far.version}

    frames, ended, versions = run(scenario())
    is_timed = draft not in UNTIMED
    assert comparable(frames, is_timed) == comparable(expected(source.plan), is_timed)
    assert ended == "finished"
    assert draft.replace("moqt", "moq-transport") in versions


@pytest.mark.browser
@pytest.mark.parametrize(
    ("publishing", "watching"),
    [("moqt-15", "moqt-20"), ("moqt-19", "moqt-16"), ("moqt-18", LITE), (LITE, "moqt-17")],
)
def test_across_drafts(
    relay: Relay, client: Named, run: Run, broadcast: str, publishing: str, watching: str
) -> None:
    chromium = client("chromium")

    async def scenario() -> tuple[list[Frame], str]:
        async with (
            chromium.connect(relay.target(chromium, protocols=[publishing])) as near,
            chromium.connect(relay.target(chromium, protocols=[watching])) as far,
        ):
            frames, ended, _ = await shown(
                near, far, broadcast, chromium.plan, to_end=watching not in ENDLESS
            )
            return frames, ended

    frames, ended = run(scenario())
    is_timed = not UNTIMED & {publishing, watching}
    assert comparable(frames, is_timed) == comparable(expected(chromium.plan), is_timed)
    assert ended == "finished"


@pytest.mark.browser
@pytest.mark.parametrize("narrow", SOCKET, indirect=True)
@pytest.mark.parametrize(
    ("publisher", "watcher"), [("chromium-ws", "moq-rs"), ("moq-rs", "chromium-ws")]
)
def test_the_browser_by_websocket(
    narrow: Relay, client: Named, run: Run, broadcast: str, publisher: str, watcher: str
) -> None:
    to_end = watcher == "moq-rs" or narrow.versions[0] not in ENDLESS
    comes_whole(narrow, run, client(publisher), client(watcher), broadcast, to_end=to_end)


@pytest.mark.parametrize(("publisher", "watcher"), [(RAW, RAW), ("moq-rs", "moq-rs")])
def test_who_comes_late_begins_with_the_latest_group(
    narrow: Relay, client: Named, run: Run, broadcast: str, publisher: str, watcher: str
) -> None:
    source, sink = client(publisher), client(watcher)

    async def scenario() -> list[Frame]:
        async with (
            source.connect(narrow.target(source)) as near,
            sink.connect(narrow.target(sink)) as early,
            sink.connect(narrow.target(sink)) as late,
        ):
            publication = await near.publish(broadcast, TRACK)
            await publication.write([(0, b"group 0")])
            await (await early.listen()).until(broadcast)
            await (await late.listen()).until(broadcast)
            first = await early.watch(broadcast, TRACK)
            await first.collect(groups=1)
            await publication.write([(1000, b"group 1"), (1001, b"is old")])
            await publication.write([(2000, b"group 2"), (2001, b"is open")], end=False)
            await first.collect(groups=2, frames=5)
            second = await late.watch(broadcast, TRACK, keep_ms=0)
            await second.collect(frames=2)
            await publication.write([(2002, b"and ends")])
            await second.collect(groups=1, frames=3)
            await publication.write([(3000, b"group 3")])
            return await second.collect(groups=2, frames=4)

    arrived = [(frame.group, frame.index, frame.payload) for frame in run(scenario())]
    assert arrived == [
        (2, 0, b"group 2"),
        (2, 1, b"is open"),
        (2, 2, b"and ends"),
        (3, 0, b"group 3"),
    ]


def goes_on_unfetched(
    relay: Relay, run: Run, broadcast: str, source: Client, target: Target
) -> int:
    """A publisher is asked for a group that nobody has, which it may not understand, and publishes
    on: the answer's status."""
    address = f"{relay.http_url}/fetch/{broadcast}/{TRACK}?group=77"

    async def scenario() -> int:
        async with (
            source.connect(target) as near,
            source.connect(target) as far,
            httpx.AsyncClient(timeout=DEADLINE) as web,
        ):
            publication = await near.publish(broadcast, TRACK)
            await publication.write([(0, b"before")])
            await (await far.listen()).until(broadcast)
            watch = await far.watch(broadcast, TRACK)
            await watch.collect(groups=1)
            answer = await web.get(address)
            await publication.write([(1000, b"after")])
            frames = await watch.collect(groups=2)
            assert [frame.payload for frame in frames] == [b"before", b"after"]
            return answer.status_code

    return run(scenario())


@pytest.mark.parametrize("publisher", ["moq-rs", RAW])
def test_who_has_no_fetch_is_asked_in_vain_and_goes_on(
    narrow: Relay, client: Named, run: Run, broadcast: str, publisher: str
) -> None:
    source = client(publisher)
    assert goes_on_unfetched(narrow, run, broadcast, source, narrow.target(source)) == 404


@pytest.mark.browser
@pytest.mark.parametrize("draft", BROWSER)
def test_so_does_the_browser(
    relay: Relay, client: Named, run: Run, broadcast: str, draft: str
) -> None:
    source = client("chromium")
    target = relay.target(source, protocols=[draft])
    status = goes_on_unfetched(relay, run, broadcast, source, target)
    assert status == (404 if draft != "moqt-15" else 504)  # where it answers nothing


@pytest.mark.parametrize("publisher", ["moq-rs", RAW, "moq-rs-ws"])
def test_a_publisher_that_vanishes_is_unannounced(
    narrow: Relay, client: Named, run: Run, broadcast: str, publisher: str
) -> None:
    source, sink = client(publisher), client("moq-rs")

    async def scenario() -> None:
        async with sink.connect(narrow.target(sink)) as far:
            listening = await far.listen()
            async with source.connect(narrow.target(source)) as near:
                publication = await near.publish(broadcast, TRACK)
                await publication.write([(0, b"frame")])
                await listening.until(broadcast)
                watch = await far.watch(broadcast, TRACK)
                await watch.collect(groups=1)
            await listening.until(broadcast, active=False)
            await watch.over()

    run(scenario())


def test_coming_and_going_is_heard(narrow: Relay, client: Named, run: Run, room: str) -> None:
    source = sink = client(RAW)
    token = narrow.key.token("demo")

    async def scenario() -> list[tuple[str, bool]]:
        async with (
            source.connect(narrow.target(source, "demo", token)) as near,
            sink.connect(narrow.target(sink, "demo", token)) as far,
        ):
            listening = await far.listen(room)
            publication = await near.publish(f"{room}/camera", TRACK)
            await listening.until("camera")
            await publication.unpublish()
            await listening.until("camera", active=False)
            await near.publish(f"{room}/camera", TRACK)
            await listening.until("camera")
            return await listening.heard()

    assert run(scenario()) == [("camera", True), ("camera", False), ("camera", True)]


@pytest.mark.parametrize("watcher", ["moq-rs", RAW])
def test_that_there_is_no_such_track_is_understood(
    narrow: Relay, client: Named, run: Run, broadcast: str, watcher: str
) -> None:
    source, sink = client("moq-rs"), client(watcher)

    async def scenario() -> str:
        async with (
            source.connect(narrow.target(source)) as near,
            sink.connect(narrow.target(sink)) as far,
        ):
            await near.publish(broadcast, TRACK)
            await (await far.listen()).until(broadcast)
            try:
                return await (await far.watch(broadcast, "nosuch")).over()
            except Refused as refused:
                return str(refused)

    assert "NotFound" in run(scenario())


@pytest.mark.parametrize("case", ["no token", "another's key", "another root"])
@pytest.mark.parametrize("name", ["moq-rs", RAW])
def test_the_door_stays_shut(narrow: Relay, client: Named, run: Run, name: str, case: str) -> None:
    guest = client(name)
    token = {
        "no token": None,
        "another's key": type(narrow.key).stranger(narrow.key.kid).token("demo"),
        "another root": narrow.key.token("demonstration"),
    }[case]

    async def scenario() -> str | None:
        try:
            async with guest.connect(narrow.target(guest, "demo", token)) as session:
                return await session.ended()
        except Refused as refused:
            return str(refused)

    reason = run(scenario())
    assert reason is not None, "the session was accepted and lives on"
    assert any(word in reason for word in UNAUTHORIZED), reason


@pytest.mark.parametrize("name", ["moq-rs", RAW])
def test_who_may_only_watch_announces_nothing(
    narrow: Relay, client: Named, run: Run, room: str, name: str
) -> None:
    guest, other = client(name), client("moq-rs")
    token = narrow.key.token("demo")

    async def scenario() -> None:
        async with (
            guest.connect(
                narrow.target(guest, "demo", narrow.key.token("demo", put=None))
            ) as silent,
            other.connect(narrow.target(other, "demo", token)) as free,
            other.connect(narrow.target(other, "demo", token)) as witness,
        ):
            hearing = await witness.listen(room)
            await silent.publish(f"{room}/forbidden", TRACK)
            publication = await free.publish(f"{room}/allowed", TRACK)
            await publication.write([(0, b"frame")])
            # The session lives: it still hears and watches what others publish.
            await (await silent.listen(room)).until("allowed")
            watch = await silent.watch(f"{room}/allowed", TRACK)
            await watch.collect(groups=1)
            assert await silent.ended(within=0.1) is None
            await hearing.until("allowed")
            assert await absent(hearing, "forbidden")

    run(scenario())


@pytest.mark.parametrize("name", ["moq-rs", RAW])
def test_who_may_only_publish_hears_nothing(
    narrow: Relay, client: Named, run: Run, room: str, name: str
) -> None:
    guest, other = client(name), client("moq-rs")
    token = narrow.key.token("demo")

    async def scenario() -> list[tuple[str, bool]]:
        async with (
            other.connect(narrow.target(other, "demo", token)) as free,
            other.connect(narrow.target(other, "demo", token)) as witness,
            guest.connect(narrow.target(guest, "demo", narrow.key.token("demo", get=None))) as deaf,
        ):
            await free.publish(f"{room}/secret", TRACK)
            await (await witness.listen(room)).until("secret")
            hearing = await deaf.listen(room)
            publication = await deaf.publish(f"{room}/published", TRACK)
            await publication.write([(0, b"frame")])
            await (await free.listen(room)).until("published")
            watch = await free.watch(f"{room}/published", TRACK)
            await watch.collect(groups=1)
            return await hearing.heard()

    assert run(scenario()) == []


@pytest.mark.parametrize("name", ["moq-rs", RAW])
def test_the_grant_has_borders(
    narrow: Relay, client: Named, run: Run, room: str, name: str
) -> None:
    guest, other = client(name), client("moq-rs")
    whole = narrow.key.token("demo")
    part = narrow.key.token("demo", put=[f"{room}/mine"], get=[f"{room}/mine", f"{room}/open"])

    async def scenario() -> tuple[list[tuple[str, bool]], ...]:
        async with (
            other.connect(narrow.target(other, "demo", whole)) as free,
            guest.connect(narrow.target(guest, "demo", part)) as member,
        ):
            publications = []
            for path in ("closed", "open-too", "open/camera"):
                publications.append(await free.publish(f"{room}/{path}", TRACK))
            inside, outside = await member.listen(room), await free.listen(room)
            await inside.until("open/camera")
            for path in ("theirs", "mine-too", "mine/camera"):
                publications.append(await member.publish(f"{room}/{path}", TRACK))
            await publications[-1].write([(0, b"frame")])
            await outside.until("mine/camera")
            watch = await free.watch(f"{room}/mine/camera", TRACK)
            await watch.collect(groups=1)
            return await inside.heard(), await outside.heard()

    inside, outside = run(scenario())
    assert {path for path, _ in inside} <= {"open/camera", "mine/camera"}
    assert "theirs" not in dict(outside)
    assert "mine-too" not in dict(outside)


@pytest.mark.parametrize("name", ["moq-rs", RAW])
def test_the_session_ends_with_its_token(
    narrow: Relay, client: Named, run: Run, room: str, name: str
) -> None:
    guest, other = client(name), client("moq-rs")

    async def scenario() -> str | None:
        async with other.connect(narrow.target(other, "demo", narrow.key.token("demo"))) as free:
            hearing = await free.listen(room)
            target = narrow.target(guest, "demo", narrow.key.token("demo", ttl=3))
            async with guest.connect(target) as session, asyncio.timeout(DEADLINE):
                await session.publish(f"{room}/camera", TRACK)
                await hearing.until("camera")
                reason = await session.ended()
            await hearing.until("camera", active=False)
            return reason

    reason = run(scenario())
    assert reason is not None, "the session outlives its token"
    assert any(word in reason for word in UNAUTHORIZED), reason
