"""Refused and narrowed sessions, as foreign clients see them.

The subject is what a token does to somebody else's client: the door stays shut, or it opens and
what lies outside the grant does not exist, and the session is over when the token is.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Coroutine
from typing import Any

import jwt
import pytest
from rig.client import Client, Session, Target
from rig.frames import Refused
from rig.house import PUBLIC, Relay, SigningKey

pytestmark = pytest.mark.interop

TRACK = "video"
Named = Callable[[str], Client]
Run = Callable[[Coroutine[Any, Any, Any]], Any]

CLIENTS = [
    "moq-rs",
    "moq-rs-raw",
    "moq-rs-ws",
    "moq-rs-tcp",
    "moq-rs-unix",
    *(pytest.param(name, marks=pytest.mark.browser) for name in ("chromium", "chromium-ws")),
]

AND_FIREFOX = [*CLIENTS, pytest.param("firefox", marks=pytest.mark.browser)]
"""That has no one way of telling a page that a stream was refused."""

UNAUTHORIZED = ("code 2", "code 6")
"""How a session that has no right to be there is closed: the number changed over the years."""

_numbers = itertools.count(1)


@pytest.fixture
def room() -> str:
    """A path segment that no other test uses."""
    return f"guests-{next(_numbers)}"


@pytest.fixture
def prefixes(relay: Relay) -> None:
    """For tests of rights below the root."""
    if relay.foreign:
        pytest.skip("the Rust development relay knows no rights below the root")


async def refusal(client: Client, target: Target) -> str:
    """How ``client`` is turned away: at the door, or in the next moment. Fails if it is not."""
    try:
        async with client.connect(target) as session:
            reason = await session.ended()
    except Refused as refused:
        return f"at the door: {refused}"
    assert reason is not None, "the session was accepted and lives on"
    return f"at once: {reason}"


async def outcome(session: Session, broadcast: str) -> str:
    """What comes of a subscription to something that is not there."""
    try:
        watch = await session.watch(broadcast, TRACK)
        return (await watch.over()).replace(broadcast, "PATH")
    except Refused as refused:
        return str(refused).replace(broadcast, "PATH")


def bad_token(relay: Relay, case: str) -> str | None:
    """A credential for ``/demo`` that is worth nothing."""
    match case:
        case "wrong key":
            return SigningKey.stranger(relay.key.kid).token("demo")
        case "unknown key":
            return SigningKey.stranger("nobody").token("demo")
        case "expired":
            return relay.key.token("demo", ttl=-2)
        case "wrong root":
            return relay.key.token("demonstration")
        case "useless":
            return relay.key.token("demo", put=[], get=[])
        case "garbage":
            return "not.a.token"
    return None


@pytest.mark.parametrize(
    "case",
    ["wrong key", "unknown key", "expired", "wrong root", "useless", "garbage", "none"],
)
@pytest.mark.parametrize("name", AND_FIREFOX)
def test_the_door_stays_shut(relay: Relay, client: Named, run: Run, name: str, case: str) -> None:
    guest = client(name)
    if relay.foreign and case in ("unknown key", "useless"):
        pytest.skip("the Rust development relay does not look at that")

    reason = run(refusal(guest, relay.target(guest, "demo", bad_token(relay, case))))

    if relay.foreign:
        return
    is_late = guest.scheme in ("moqt", "tcp", "unix")  # SETUP says where they go
    if not is_late:
        assert reason.startswith("at the door")
    if name in ("moq-rs", "moq-rs-ws"):
        assert "Unauthorized (auth)" in reason
    if is_late:
        assert any(code in reason for code in UNAUTHORIZED), reason


@pytest.mark.parametrize("name", CLIENTS)
def test_who_may_only_watch_announces_nothing(
    relay: Relay, client: Named, run: Run, room: str, name: str
) -> None:
    guest, other = client(name), client("moq-rs")
    token = relay.key.token("demo", put=None)

    async def scenario() -> list[tuple[str, bool]]:
        async with (
            guest.connect(relay.target(guest, "demo", token)) as silent,
            other.connect(relay.target(other, "demo", relay.key.token("demo"))) as free,
        ):
            hearing = await free.listen(room)
            await silent.publish(f"{room}/forbidden", TRACK)
            publication = await free.publish(f"{room}/allowed", TRACK)
            await publication.write([(0, b"frame")])
            # The session lives: it still hears and watches what others publish.
            await (await silent.listen(room)).until("allowed")
            watch = await silent.watch(f"{room}/allowed", TRACK)
            await watch.collect(groups=1)
            assert await silent.ended(within=0.1) is None
            return await hearing.heard()

    assert "forbidden" not in dict(run(scenario()))


@pytest.mark.parametrize("name", CLIENTS)
def test_who_may_only_publish_hears_nothing(
    relay: Relay, client: Named, run: Run, room: str, name: str
) -> None:
    guest, other = client(name), client("moq-rs")
    token = relay.key.token("demo", get=None)

    async def scenario() -> list[tuple[str, bool]]:
        async with (
            other.connect(relay.target(other, "demo", relay.key.token("demo"))) as free,
            other.connect(relay.target(other, "demo", relay.key.token("demo"))) as witness,
            guest.connect(relay.target(guest, "demo", token)) as deaf,
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


@pytest.mark.usefixtures("prefixes")
@pytest.mark.parametrize("name", CLIENTS)
def test_publishing_outside_the_grant_announces_nothing(
    relay: Relay, client: Named, run: Run, room: str, name: str
) -> None:
    guest, other = client(name), client("moq-rs")
    token = relay.key.token("demo", put=[f"{room}/mine"])

    async def scenario() -> list[tuple[str, bool]]:
        async with (
            other.connect(relay.target(other, "demo", relay.key.token("demo"))) as free,
            guest.connect(relay.target(guest, "demo", token)) as narrow,
        ):
            hearing = await free.listen(room)
            await narrow.publish(f"{room}/theirs/camera", TRACK)
            await narrow.publish(f"{room}/mine-too", TRACK)  # a prefix ends at a slash
            publication = await narrow.publish(f"{room}/mine/camera", TRACK)
            await publication.write([(0, b"frame")])
            await hearing.until("mine/camera")
            watch = await free.watch(f"{room}/mine/camera", TRACK)
            await watch.collect(groups=1)
            assert await narrow.ended(within=0.1) is None
            return await hearing.heard()

    assert run(scenario()) == [("mine/camera", True)]


@pytest.mark.usefixtures("prefixes")
@pytest.mark.parametrize("name", CLIENTS)
def test_what_is_outside_the_grant_does_not_exist(
    relay: Relay, client: Named, run: Run, room: str, name: str
) -> None:
    guest, other = client(name), client("moq-rs")
    token = relay.key.token("demo", get=[f"{room}/open"])
    outside = ("closed", "open-too")  # a prefix ends at a slash

    async def scenario() -> tuple[list[tuple[str, bool]], set[str]]:
        async with (
            other.connect(relay.target(other, "demo", relay.key.token("demo"))) as free,
            guest.connect(relay.target(guest, "demo", token)) as narrow,
        ):
            for path in (*outside, "open/camera"):
                publication = await free.publish(f"{room}/{path}", TRACK)
                await publication.write([(0, b"frame")])
            hearing = await narrow.listen(room)
            await hearing.until("open/camera")
            answers = {await outcome(narrow, f"{room}/{path}") for path in (*outside, "absent")}
            # None of the answers cost the session anything.
            watch = await narrow.watch(f"{room}/open/camera", TRACK)
            await watch.collect(groups=1)
            return await hearing.heard(), answers

    heard, answers = run(scenario())
    assert heard == [("open/camera", True)]
    assert len(answers) == 1, answers


@pytest.mark.parametrize("name", CLIENTS)
def test_roots_do_not_meet(relay: Relay, client: Named, run: Run, room: str, name: str) -> None:
    guest, other = client(name), client("moq-rs")

    async def scenario() -> list[tuple[str, bool]]:
        async with (
            other.connect(relay.target(other, "one", relay.key.token("one"))) as one,
            other.connect(relay.target(other, "one", relay.key.token("one"))) as witness,
            other.connect(relay.target(other, "two", relay.key.token("two"))) as two,
            guest.connect(relay.target(guest, "two", relay.key.token("two"))) as session,
        ):
            hearing = await session.listen()
            await one.publish(f"{room}/in-one", TRACK)
            await (await witness.listen(room)).until("in-one")
            await two.publish(f"{room}/in-two", TRACK)
            await hearing.until(f"{room}/in-two")
            return await hearing.heard()

    assert f"{room}/in-one" not in dict(run(scenario()))


@pytest.mark.usefixtures("prefixes")
@pytest.mark.parametrize("name", CLIENTS)
def test_one_broadcast_seen_from_above_and_from_below(
    relay: Relay, client: Named, run: Run, room: str, name: str
) -> None:
    guest = client(name)
    token = relay.key.token("demo")

    async def scenario() -> None:
        async with (
            guest.connect(relay.target(guest, f"demo/{room}", token)) as below,
            guest.connect(relay.target(guest, "demo", token)) as level,
            guest.connect(relay.target(guest, "", token)) as above,
        ):
            publication = await below.publish("camera", TRACK)
            await publication.write([(0, b"frame")])
            for session, path in ((level, f"{room}/camera"), (above, f"demo/{room}/camera")):
                await (await session.listen()).until(path)
                watch = await session.watch(path, TRACK)
                assert [frame.payload for frame in await watch.collect(groups=1)] == [b"frame"]

    run(scenario())


@pytest.mark.usefixtures("prefixes")
@pytest.mark.parametrize("name", CLIENTS)
def test_nobody_in_particular_is_kept_to_the_public_prefix(
    relay: Relay, client: Named, run: Run, room: str, name: str
) -> None:
    guest, other = client(name), client("moq-rs")

    async def scenario() -> list[tuple[str, bool]]:
        async with (
            other.connect(relay.target(other, "", relay.key.token(""))) as free,
            guest.connect(relay.target(guest)) as anybody,
        ):
            hearing = await free.listen()
            await anybody.publish(f"{PUBLIC}ymous/{room}", TRACK)
            await anybody.publish(f"demo/{room}", TRACK)
            await anybody.publish(f"{PUBLIC}/{room}", TRACK)
            await hearing.until(f"{PUBLIC}/{room}")
            return [(path, active) for path, active in await hearing.heard() if room in path]

    assert run(scenario()) == [(f"{PUBLIC}/{room}", True)]


@pytest.mark.parametrize("name", AND_FIREFOX)
def test_the_session_ends_with_its_token(
    relay: Relay, client: Named, run: Run, room: str, name: str
) -> None:
    guest, other = client(name), client("moq-rs")

    async def scenario() -> tuple[str | None, float]:
        async with other.connect(relay.target(other, "demo", relay.key.token("demo"))) as free:
            hearing = await free.listen(room)
            token = relay.key.token("demo", ttl=6.5)
            expires = jwt.decode(token, options={"verify_signature": False})["exp"]
            async with guest.connect(relay.target(guest, "demo", token)) as session:
                await session.publish(f"{room}/camera", TRACK)
                await hearing.until("camera")
                reason = await session.ended(within=20.0)
                late = time.time() - expires
            await hearing.until("camera", active=False)
            return reason, late

    reason, late = run(scenario())
    assert reason is not None, "the session outlives its token"
    if name != "chromium-ws":  # over WebSocket @moq/net keeps the code to itself
        assert any(code in reason for code in UNAUTHORIZED), reason
    assert -0.1 < late < 4.9  # it could have gone on for six seconds
