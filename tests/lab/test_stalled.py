"""A viewer that stopped and one behind a narrow link cost those who are well nothing."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time

import pytest
from fleet import Station, Viewer, until
from fleet.people import HEAD, TRACK, Publisher
from fleet.station import IDLE

from relay.client import Client
from relay.model.track import TrackInfo

pytestmark = pytest.mark.slow

SIZE, EVERY = 25_000, 0.05
"""Bytes of a frame and seconds between two, four megabits a second."""

NARROW = 1_000_000
"""Bits a second of the narrow link: a quarter of what would come."""

WATCHED = 6.0
"""Seconds over which is measured."""

LATE = 0.05
"""Seconds by which half of the frames may be later in bad company."""

SLOWEST = 0.5
"""The same for the slowest hundredth, which on a busy machine other programs delay as well: far
less than the narrow link makes anybody wait."""

ENOUGH = WATCHED / EVERY * NARROW / 4_000_000 / 2
"""Frames that go over the narrow link meanwhile: half of what fits."""

TRIES = 3
"""How often is measured at most: a machine that is busy by itself is not so each time."""

GROWN = 24_000
"""kB by which the relay may grow: what is kept for viewers that do not take it is bounded."""


class Camera(Publisher):
    """Publishes groups of some frames; each frame has a number of its own."""

    group = 20
    """Frames of a group: as video has them."""

    async def _act(self, client: Client) -> None:
        track = client.create_broadcast(self.path).create_track(TRACK, TrackInfo(timescale=1000))
        due = time.monotonic()
        while True:
            if self.serial % self.group == 0:
                if self.serial:
                    track.finish_group()
                track.append_group()
            now = time.monotonic()
            head = HEAD.pack(self.name.encode(), self.serial, now)
            track.write_frame(head.ljust(SIZE, b"\0"), int(now * 1000))
            self.serial += 1
            due += EVERY
            await asyncio.sleep(max(0.0, due - time.monotonic()))


class Stills(Camera):
    """Publishes groups of one frame, none of which the narrow link takes before the next."""

    group = 1


class Live(Viewer):
    """A viewer that wants nothing that is older than half a second."""

    max_latency = 500


def memory(station: Station) -> int:
    """What the relay holds, in kB."""
    assert station.program is not None
    with open(f"/proc/{station.program.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def latency(viewer: Viewer, since: float) -> tuple[float, float]:
    """Seconds that half of the frames exceed, and one in a hundred."""
    late = sorted(each.late for each in viewer.arrivals if each.when >= since)
    assert len(late) > WATCHED / EVERY / 2
    return late[len(late) // 2], late[-1 - len(late) // 100]


@pytest.mark.parametrize(
    ("kind", "short_way"), [(Camera, "true"), (Camera, "false"), (Stills, "true")]
)
def test_bad_company_costs_the_others_nothing(fleet, figures, kind, short_way):
    lab = fleet.lab
    station = fleet.station(lab.host("relay"))
    near, narrow, frozen = (lab.host(name) for name in ("near", "narrow", "frozen"))
    lab.link(station.host, near, delay=0.01)
    lab.link(station.host, frozen, delay=0.01)
    lab.link(station.host, narrow, delay=0.01, rate=NARROW)
    station.configure(quic=f"short_way = {short_way}", idle=IDLE)
    fleet.start()
    here = station.crowd()
    publisher = here._come(kind(here, [station.url], "cam", "camera", SIZE, EVERY))
    close, far = fleet.crowd(near), fleet.crowd(narrow)
    fast = close._come(Live(close, [station.url], "cam", False))
    until(lambda: fast.arrivals, 10, "groups")
    since = time.monotonic()
    time.sleep(WATCHED)
    alone, before = latency(fast, since), memory(station)

    slow = far._come(Live(far, [station.url], "cam", False))
    whole = f"{station.url}/?jwt={fleet.token()}"
    watch = "-m", "relay", "subscribe", "--raw", whole, "cam", "video"
    stopped = frozen.popen(
        [sys.executable, *watch, "--tls-root", fleet.authority.file], stdout=subprocess.PIPE
    )
    assert stopped.stdout is not None
    assert stopped.stdout.read(SIZE), "it hears, too"
    stopped.send_signal(signal.SIGSTOP)
    until(lambda: slow.arrivals, 10, "a frame over the narrow link")
    for _ in range(TRIES):
        since = time.monotonic()
        time.sleep(WATCHED)
        together = latency(fast, since)
        through = len([each for each in slow.arrivals if each.when >= since])
        if (
            together[0] <= alone[0] + LATE
            and together[1] <= alone[1] + SLOWEST
            and through >= ENOUGH
        ):
            break
    behind = (publisher.serial - max(each.serial for each in slow.arrivals)) * EVERY
    figures["alone_s"], figures["together_s"], figures["behind_s"] = alone[1], together[1], behind
    figures["grown_kb"] = memory(station) - before
    figures["slow_frames"] = through
    stopped.kill()
    stopped.wait()
    stopped.stdout.close()
    assert together[0] <= alone[0] + LATE
    assert together[1] <= alone[1] + SLOWEST
    assert (fast.connected, slow.connected, fast.lost, slow.lost) == (1, 1, [], [])
    assert through >= ENOUGH
    assert figures["grown_kb"] <= GROWN
