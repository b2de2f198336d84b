"""The Rust stack's server as a node of our cluster: our relays dial it, and it passes things on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from rig import house
from rig.client import Client
from rig.frames import Frame
from rig.house import Relay

from absent import module

pytestmark = pytest.mark.interop

TRACK = "video"
GROUPS = 4

Named = Callable[[str], Client]
Run = Callable[[Coroutine[Any, Any, Any]], Any]

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def rust(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relay]:
    """The Rust stack's server."""
    module("moq")
    if house.foreign():
        pytest.skip("the relay of this run is the Rust stack's own")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INTEROP_RELAY", "rust")
        with house.running(tmp_path_factory.mktemp("rust")) as started:
            patch.undo()
            yield started


@pytest.fixture(scope="module", params=["https", "moqt"])
def ours(
    request: pytest.FixtureRequest, rust: Relay, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Relay, Relay]]:
    """Two relays of ours that know only the Rust stack's: a chain of three."""
    url = rust.url.replace("https", request.param) + "/"
    more = f'[client.tls]\nfingerprint = "{rust.fingerprint}"\n[cluster]\nconnect = "{url}"\n'
    folders = (tmp_path_factory.mktemp("ours") for _ in range(2))
    with (
        house.running(next(folders), more=more) as one,
        house.running(next(folders), more=more) as other,
    ):
        yield one, other


async def carried(
    source: tuple[Relay, str], sink: tuple[Relay, str], there: Client, here: Client
) -> list[Frame]:
    """Publish at one relay and watch at another; each with the path to come in at."""
    name = f"room-{next(_numbers)}"
    prefixes = {"": f"{house.PUBLIC}/{name}", house.PUBLIC: name}
    async with (
        there.connect(source[0].target(there, source[1])) as publisher,
        here.connect(sink[0].target(here, sink[1])) as viewer,
    ):
        listening = await viewer.listen()
        publication = await publisher.publish(prefixes[source[1]], TRACK)
        await publication.write([(0, b"begun")])
        await listening.until(prefixes[sink[1]])
        watch = await viewer.watch(prefixes[sink[1]], TRACK)
        await watch.collect(groups=1)
        for number in range(1, GROUPS):
            await publication.write(
                [(number * 1000, b"%d" % number), (number * 1000, b"x" * 70_000)]
            )
        frames: list[Frame] = await watch.collect(groups=GROUPS)
        await publication.unpublish()
        await listening.until(prefixes[sink[1]], active=False)
        return frames


def check(frames: list[Frame]) -> None:
    got = sorted((frame.group, frame.index, frame.payload) for frame in frames)
    first = got[0][0]
    wanted = [(first, 0, b"begun")]
    for number in range(1, GROUPS):
        wanted += [(first + number, 0, b"%d" % number), (first + number, 1, b"x" * 70_000)]
    assert got == wanted


@pytest.mark.parametrize("name", ["moq-rs", "moq-rs-raw"])
def test_from_the_rust_relay_to_ours(
    rust: Relay, ours: tuple[Relay, Relay], client: Named, run: Run, name: str
) -> None:
    there = client("moq-rs")
    check(run(carried((rust, ""), (ours[0], house.PUBLIC), there, client(name))))


@pytest.mark.parametrize("name", ["moq-rs", "moq-rs-raw"])
def test_from_ours_to_the_rust_relay(
    rust: Relay, ours: tuple[Relay, Relay], client: Named, run: Run, name: str
) -> None:
    here = client("moq-rs")
    check(run(carried((ours[0], house.PUBLIC), (rust, ""), client(name), here)))


def test_from_ours_to_ours_through_the_rust_relay(
    ours: tuple[Relay, Relay], client: Named, run: Run
) -> None:
    one, other = ((relay, house.PUBLIC) for relay in ours)
    check(run(carried(one, other, client("moq-rs"), client("moq-rs-raw"))))
