"""Every client publishes to every client through the relay, and nothing is lost on the way.

The subject is the relay's promise: the same bytes, group borders and timestamps come out; who
comes late starts with the latest group; broadcasts are heard of when they come and when they go.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from rig.client import Client, Publication, Target, Watch
from rig.frames import DEADLINE, SMALL, Frame, Plan, Refused, comparable, expected
from rig.house import Relay

pytestmark = pytest.mark.interop

TRACK = "video"
Named = Callable[[str], Client]
Run = Callable[[Coroutine[Any, Any, Any]], Any]

FOREIGN = ["moq-rs", "moq-rs-raw", "chromium"]
FIREFOX = "firefox"
"""Slow to start as well, and much as Chromium."""
SOCKETS = ["moq-rs-ws", "chromium-ws"]
"""The same over WebSocket. That it makes no difference is seen with them and one of the rest."""
PLAIN = ["moq-rs-tcp", "moq-rs-unix"]
"""And over plain streams."""
COMMAND = "relay-cli"
"""Our own commands: slow to start, so they meet everybody only where the bytes are compared."""


def meeting(publishers: list[str], watchers: list[str]) -> list[Any]:
    """Every publisher with every watcher, as parameters of a test."""
    return [
        pytest.param(
            *pair,
            id=f"{pair[0]}-to-{pair[1]}",
            marks=[pytest.mark.browser] if {"chromium", "chromium-ws", FIREFOX} & set(pair) else [],
        )
        for pair in itertools.product(publishers, watchers)
    ]


BY_SOCKET = [*meeting(SOCKETS, [*SOCKETS, "moq-rs"]), *meeting(["moq-rs"], SOCKETS)]
IN_PLAIN = [*meeting(PLAIN, PLAIN), *meeting(PLAIN, ["moq-rs"]), *meeting(["moq-rs"], PLAIN)]
WITH_FIREFOX = [
    *meeting([FIREFOX], ["moq-rs", "chromium"]),
    *meeting(["moq-rs", "chromium"], [FIREFOX]),
]
EVERYBODY = [
    *meeting([*FOREIGN, COMMAND], [*FOREIGN, COMMAND]),
    *BY_SOCKET,
    *IN_PLAIN,
    *WITH_FIREFOX,
]
STRANGERS = [
    *meeting(FOREIGN, FOREIGN),
    *meeting(["moq-rs-ws"], ["chromium-ws"]),
    *meeting(["chromium-ws"], ["moq-rs-ws"]),
    *meeting(["moq-rs-tcp"], ["moq-rs-unix"]),
    *meeting([FIREFOX], [FIREFOX]),
]
SINGLY = [
    "moq-rs",
    "moq-rs-raw",
    "moq-rs-ws",
    *PLAIN,
    *(pytest.param(name, marks=pytest.mark.browser) for name in ("chromium", "chromium-ws")),
]
ROLES = ("publisher", "watcher")

EARLIER = [Frame(0, 0, 0, b"group 0"), Frame(1, 0, 1000, b"group 1"), Frame(1, 1, 1001, b"is old")]
"""What is there before the latest group when somebody joins late."""

_numbers = itertools.count(1)


@pytest.fixture
def broadcast() -> str:
    """A path that no other test uses."""
    return f"room-{next(_numbers)}/camera"


def is_timed(source: Client, sink: Client) -> bool:
    """Whether timestamps come through: Firefox cannot ask for a version that has them."""
    return source.timestamps and FIREFOX not in (source.name, sink.name)


async def watched(publication: Publication, watch: Watch, plan: Plan, patient: bool) -> list[Frame]:
    """Publish a plan whose first group the watcher is to have at once: everything that arrived.

    The groups leave a few milliseconds apart, as from a live source; for a watcher that may be
    given only the newest, each waits for the one before it.
    """
    await watch.collect(groups=1, frames=len(plan[0]))
    for sequence, group in enumerate(plan[1:], start=1):
        await publication.write(group)
        if patient:
            await asyncio.sleep(0.005)
        else:
            await watch.collect(frames=len(expected(plan[: sequence + 1])))
    return await watch.collect(groups=len(plan), frames=len(expected(plan)))


@pytest.mark.parametrize(ROLES, EVERYBODY)
def test_bytes_borders_and_timestamps(
    relay: Relay, client: Named, run: Run, broadcast: str, publisher: str, watcher: str
) -> None:
    source, sink = client(publisher), client(watcher)
    plan = source.plan
    token = relay.key.token("demo")

    async def scenario() -> list[Frame]:
        async with (
            source.connect(relay.target(source, "demo", token)) as near,
            sink.connect(relay.target(sink, "demo", token)) as far,
        ):
            publication = await near.publish(broadcast, TRACK)
            # The first group is there before the watcher; its arrival says that the line stands.
            await publication.write(plan[0])
            await (await far.listen()).until(broadcast)
            watch = await far.watch(broadcast, TRACK)
            return await watched(publication, watch, plan, sink.patient)

    arrived, timed = run(scenario()), is_timed(source, sink)
    assert comparable(arrived, timed) == comparable(expected(plan), timed)


@pytest.mark.parametrize(ROLES, [*STRANGERS, *meeting(["moq-rs"], [COMMAND])])
def test_late_join_starts_with_the_latest_group(
    relay: Relay, client: Named, run: Run, broadcast: str, publisher: str, watcher: str
) -> None:
    source, sink, witness = client(publisher), client(watcher), client("moq-rs")
    token = relay.key.token("demo")
    # The command takes late groups, and on moq-lite-06 who takes them begins with them.
    earlier = EARLIER if watcher == COMMAND else []

    async def scenario() -> list[Frame]:
        async with (
            source.connect(relay.target(source, "demo", token)) as near,
            witness.connect(relay.target(witness, "demo", token)) as early,
            sink.connect(relay.target(sink, "demo", token)) as late,
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
            await second.collect(frames=len(earlier) + 2)
            await publication.write([(2002, b"and ends")])
            await second.collect(groups=1, frames=len(earlier) + 3)
            await publication.write([(3000, b"group 3")])
            return await second.collect(groups=2, frames=len(earlier) + 4)

    wanted = [
        *earlier,
        Frame(2, 0, 2000, b"group 2"),
        Frame(2, 1, 2001, b"is open"),
        Frame(2, 2, 2002, b"and ends"),
        Frame(3, 0, 3000, b"group 3"),
    ]
    arrived, timed = run(scenario()), is_timed(source, sink)
    assert comparable(arrived, timed) == comparable(wanted, timed)


@pytest.mark.parametrize("witnessed", [True, False], ids=["witnessed", "alone"])
@pytest.mark.parametrize(("keep_ms", "first"), [(0, 2), (500, 1), (1500, 0)])
@pytest.mark.parametrize(ROLES, meeting(["moq-rs", "moq-rs-raw"], ["moq-rs", "moq-rs-raw"]))
def test_who_keeps_groups_longer_begins_earlier(
    relay: Relay,
    client: Named,
    run: Run,
    broadcast: str,
    publisher: str,
    watcher: str,
    keep_ms: int,
    first: int,
    witnessed: bool,
) -> None:
    source, sink = client(publisher), client(watcher)
    token = relay.key.token("demo")
    plan = [[(number * 1_000_000, b"%d" % number)] for number in range(3)]

    async def scenario() -> list[Frame]:
        async with (
            source.connect(relay.target(source, "demo", token)) as near,
            sink.connect(relay.target(sink, "demo", token)) as early,
            sink.connect(relay.target(sink, "demo", token)) as late,
        ):
            publication = await near.publish(broadcast, TRACK)
            await publication.write(plan[0])
            await (await early.listen()).until(broadcast)
            await (await late.listen()).until(broadcast)
            if witnessed:  # else the publisher has to know where to begin
                await watched(publication, await early.watch(broadcast, TRACK), plan, patient=True)
            else:
                for group in plan[1:]:
                    await publication.write(group)
            second = await late.watch(broadcast, TRACK, keep_ms=keep_ms)
            await second.collect(groups=3 - first)
            await publication.write([(3_000_000, b"3")])
            return await second.collect(groups=4 - first)

    numbers = range(first, 4)
    assert run(scenario()) == [Frame(n, 0, n * 1_000_000, b"%d" % n) for n in numbers]


@pytest.mark.parametrize(
    ROLES, [*STRANGERS, *meeting(["moq-rs"], [COMMAND]), *meeting([COMMAND], ["moq-rs"])]
)
def test_broadcasts_are_heard_of(
    relay: Relay, client: Named, run: Run, broadcast: str, publisher: str, watcher: str
) -> None:
    source, sink = client(publisher), client(watcher)
    token = relay.key.token("demo")
    room, name = broadcast.split("/")

    async def scenario() -> list[tuple[str, bool]]:
        async with (
            source.connect(relay.target(source, "demo", token)) as near,
            sink.connect(relay.target(sink, "demo", token)) as far,
        ):
            before = await far.listen(room)
            publication = await near.publish(broadcast, TRACK)
            await before.until(name)
            after = await far.listen(room)
            await after.until(name)
            await publication.unpublish()
            await before.until(name, active=False)
            await after.until(name, active=False)
            await near.publish(broadcast, TRACK)
            await before.until(name)
            return await before.heard()

    assert run(scenario()) == [(name, True), (name, False), (name, True)]


@pytest.mark.parametrize(ROLES, STRANGERS)
def test_another_publisher_takes_over(
    relay: Relay, client: Named, run: Run, broadcast: str, publisher: str, watcher: str
) -> None:
    if relay.foreign:
        pytest.skip("the Rust stack's server goes on with the first publisher")
    first, second, sink = client(publisher), client(publisher), client(watcher)
    token = relay.key.token("demo")
    room, name = broadcast.split("/")

    async def scenario() -> tuple[list[tuple[str, bool]], list[Frame]]:
        async with (
            first.connect(relay.target(first, "demo", token)) as old,
            second.connect(relay.target(second, "demo", token)) as new,
            sink.connect(relay.target(sink, "demo", token)) as far,
        ):
            hearing = await far.listen(room)
            before = await old.publish(broadcast, TRACK)
            await before.write([(0, b"old")])
            await hearing.until(name)
            after = await new.publish(broadcast, TRACK)
            await after.write([(0, b"new")])
            async with asyncio.timeout(DEADLINE):
                while len(await hearing.heard()) < 3:
                    await asyncio.sleep(0.01)
            frames = await (await far.watch(broadcast, TRACK)).collect(groups=1)
            return await hearing.heard(), frames

    heard, frames = run(scenario())
    assert heard == [(name, True), (name, False), (name, True)]
    assert [frame.payload for frame in frames] == [b"new"]


@pytest.mark.parametrize("publisher", SINGLY)
def test_a_publisher_that_vanishes_is_unannounced(
    relay: Relay, client: Named, run: Run, broadcast: str, publisher: str
) -> None:
    source, sink = client(publisher), client("moq-rs")
    token = relay.key.token("demo")

    async def scenario() -> None:
        async with sink.connect(relay.target(sink, "demo", token)) as far:
            hearing = await far.listen()
            async with source.connect(relay.target(source, "demo", token)) as near:
                await near.publish(broadcast, TRACK)
                await hearing.until(broadcast)
            await hearing.until(broadcast, active=False)

    run(scenario())


@pytest.mark.parametrize(ROLES, STRANGERS)
def test_watching_from_before_the_first_group_to_the_end(
    relay: Relay, client: Named, run: Run, broadcast: str, publisher: str, watcher: str
) -> None:
    source, sink = client(publisher), client(watcher)
    token = relay.key.token("demo")

    async def scenario() -> tuple[list[Frame], str]:
        async with (
            source.connect(relay.target(source, "demo", token)) as near,
            sink.connect(relay.target(sink, "demo", token)) as far,
        ):
            publication = await near.publish(broadcast, TRACK)
            await (await far.listen()).until(broadcast)
            watch = await far.watch(broadcast, TRACK)
            await publication.write(SMALL[0])
            frames = await watched(publication, watch, SMALL, sink.patient)
            await publication.finish()
            return frames, await watch.over()

    (arrived, end), timed = run(scenario()), is_timed(source, sink)
    assert comparable(arrived, timed) == comparable(expected(SMALL), timed)
    assert end == "finished"


@pytest.mark.parametrize("publisher", ["moq-rs", "moq-rs-raw"])
@pytest.mark.parametrize("watcher", ["moq-rs", "moq-rs-raw"])
def test_that_there_is_no_such_track_is_understood(
    relay: Relay, client: Named, run: Run, broadcast: str, publisher: str, watcher: str
) -> None:
    source, sink = client(publisher), client(watcher)
    token = relay.key.token("demo")

    async def scenario() -> str:
        async with (
            source.connect(relay.target(source, "demo", token)) as near,
            sink.connect(relay.target(sink, "demo", token)) as far,
        ):
            await near.publish(broadcast, TRACK)
            await (await far.listen()).until(broadcast)
            try:
                return await (await far.watch(broadcast, "nosuch")).over()
            except Refused as refused:
                return str(refused)

    assert "code 51 NOT_FOUND" in run(scenario())


@pytest.mark.parametrize("name", ["moq-rs", pytest.param("chromium", marks=pytest.mark.browser)])
def test_the_certificate_is_found_over_plain_http(
    relay: Relay, client: Named, run: Run, broadcast: str, name: str
) -> None:
    if not relay.http_url:
        pytest.skip("the Rust development relay has no HTTP face")
    guest = client(name)
    target = Target(f"{relay.http_url}/demo?jwt={relay.key.token('demo')}", fingerprint="")

    async def scenario() -> None:
        async with guest.connect(target) as near, guest.connect(target) as far:
            await near.publish(broadcast, TRACK)
            await (await far.listen()).until(broadcast)

    run(scenario())
