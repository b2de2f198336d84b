"""Every version we speak, forced upon a real client that speaks it, in both roles and mixed.

The browser is told what to offer, so one relay serves all pairs; moq-rs offers what it likes, so a
relay that speaks a single version forces it. The public prefix is used, without tokens, because
some versions carry no path on raw QUIC.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest
from rig.client import Client, Session
from rig.frames import SMALL, Frame, Plan
from rig.house import PUBLIC, Relay

pytestmark = pytest.mark.interop

TRACK = "video"
Named = Callable[[str], Client]
Run = Callable[[Coroutine[Any, Any, Any]], Any]
Starting = Callable[..., AbstractContextManager[Relay]]

OFFERS: dict[str, tuple[list[str], str]] = {
    "05": (["moq-lite-05"], "moq-lite-05"),
    "04": (["moq-lite-04"], "moq-lite-04"),
    "03": (["moq-lite-03"], "moq-lite-03"),
    "moql": (["moql"], "moq-lite-02"),
    "in-band": ([], "moq-lite-02"),
}
"""What the browser offers, and the version that must come of it."""

TIMED = {"05"}
"""The offers that lead to a version with timestamps on the wire."""


WISHLESS = "moq-lite-02"
"""The version whose watchers cannot say how long they wait: they may be given only the newest."""


def says_goodbye(relay: Relay, watching: str) -> bool:
    """Whether the watcher can count on hearing the end of a broadcast.

    The Rust stack's server never retracts on moq-lite-02 what it named in ANNOUNCE_INIT.
    """
    return not (relay.foreign and OFFERS[watching][1] == "moq-lite-02")


_numbers = itertools.count(1)


@pytest.fixture
def broadcast() -> str:
    """A public path that no other test uses."""
    return f"{PUBLIC}/version-{next(_numbers)}"


def expected(plan: Plan, timestamps: bool) -> list[Frame]:
    """What arrives of a plan, without timestamps where the wire has none."""
    return [
        Frame(sequence, index, timestamp if timestamps else None, payload)
        for sequence, group in enumerate(plan)
        for index, (timestamp, payload) in enumerate(group)
    ]


async def relayed(
    near: Session,
    far: Session,
    broadcast: str,
    timestamps: bool,
    *,
    patient: bool,
    goodbye: bool = True,
) -> list[Frame]:
    """Publish `SMALL` on one session, watch it on the other, hear it end: what arrived.

    The groups leave a few milliseconds apart; for a watcher that is not ``patient`` each waits for
    the one before it.
    """
    listening = await far.listen()
    publication = await near.publish(broadcast, TRACK)
    await publication.write(SMALL[0])
    await listening.until(broadcast)
    watch = await far.watch(broadcast, TRACK)
    await watch.collect(groups=1)
    for sequence, group in enumerate(SMALL[1:], start=1):
        await publication.write(group)
        if patient:
            await asyncio.sleep(0.005)
        else:
            await watch.collect(groups=sequence + 1)
    frames = await watch.collect(groups=len(SMALL))
    await publication.unpublish()
    if goodbye:
        await listening.until(broadcast, active=False)
    return frames if timestamps else [replace(frame, timestamp_us=None) for frame in frames]


@pytest.mark.browser
@pytest.mark.parametrize("watching", OFFERS)
@pytest.mark.parametrize("publishing", OFFERS)
def test_browser_to_browser(
    relay: Relay, client: Named, run: Run, broadcast: str, publishing: str, watching: str
) -> None:
    chromium = client("chromium")
    timestamps = {publishing, watching} <= TIMED

    async def scenario() -> tuple[str, str, list[Frame]]:
        async with (
            chromium.connect(relay.target(chromium, protocols=OFFERS[publishing][0])) as near,
            chromium.connect(relay.target(chromium, protocols=OFFERS[watching][0])) as far,
        ):
            goodbye, patient = says_goodbye(relay, watching), OFFERS[watching][1] != WISHLESS
            frames = await relayed(
                near, far, broadcast, timestamps, patient=patient, goodbye=goodbye
            )
            return near.version, far.version, frames

    near_version, far_version, frames = run(scenario())
    assert (near_version, far_version) == (OFFERS[publishing][1], OFFERS[watching][1])
    assert frames == expected(SMALL, timestamps)


@pytest.mark.browser
@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("publisher", ["chromium", "moq-rs"])
def test_browser_and_moq_rs(
    relay: Relay, client: Named, run: Run, broadcast: str, publisher: str, offer: str
) -> None:
    chromium, rust = client("chromium"), client("moq-rs")

    async def scenario() -> list[Frame]:
        async with (
            chromium.connect(relay.target(chromium, protocols=OFFERS[offer][0])) as page,
            rust.connect(relay.target(rust)) as native,
        ):
            near, far = (page, native) if publisher == "chromium" else (native, page)
            goodbye = far is native or says_goodbye(relay, offer)
            patient = far is native or OFFERS[offer][1] != WISHLESS
            return await relayed(
                near, far, broadcast, offer in TIMED, patient=patient, goodbye=goodbye
            )

    assert run(scenario()) == expected(SMALL, offer in TIMED)


@pytest.fixture(
    scope="module", params=["moq-lite-06", "moq-lite-05", "moq-lite-04", "moq-lite-03", "moql"]
)
def narrow_relay(request: pytest.FixtureRequest, start_relay: Starting) -> Iterator[Relay]:
    """A relay that speaks a single version."""
    with start_relay(versions=[request.param]) as started:
        yield started


@pytest.mark.parametrize("watcher", ["moq-rs", "moq-rs-raw"])
@pytest.mark.parametrize("publisher", ["moq-rs", "moq-rs-raw"])
def test_moq_rs_on_each_version(
    narrow_relay: Relay,
    client: Named,
    run: Run,
    broadcast: str,
    publisher: str,
    watcher: str,
) -> None:
    source, sink = client(publisher), client(watcher)
    timestamps = narrow_relay.versions in (("moq-lite-06",), ("moq-lite-05",))

    async def scenario() -> list[Frame]:
        async with (
            source.connect(narrow_relay.target(source)) as near,
            sink.connect(narrow_relay.target(sink)) as far,
        ):
            patient = narrow_relay.versions != ("moql",)
            return await relayed(near, far, broadcast, timestamps, patient=patient)

    assert run(scenario()) == expected(SMALL, timestamps)
