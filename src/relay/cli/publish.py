"""``relay publish``: lines of standard input or of a file become frames of one track.

The law: a line is a frame without its line end, whatever its bytes. This module must not know how
frames travel.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from relay.cli.pipe import makes_wait
from relay.cli.target import Target, client_options, run, unless_lost
from relay.errors import Forbidden, LimitExceeded, SessionLost

if TYPE_CHECKING:
    from relay.client import Client

MAX_LINE = 1 << 24
"""Bytes of one line; a longer one ends the command."""

TIMESCALE = 1_000_000
"""Timestamps are microseconds since the start of the command."""

FAREWELL = 0.3
"""Seconds between handing over the last frame and leaving, so that it arrives."""

LOOK = 0.05
"""Seconds between looks at what is still to be sent when the input has ended."""

PATIENCE = 200
"""Looks before the rest is given up."""

HEARING = 40
"""Looks until a relay that listens to us must have said so."""


@click.command(short_help="Publish lines as frames of a track.")
@click.argument("url")
@click.argument("broadcast")
@click.argument("track")
@click.option(
    "--file",
    "source",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read lines from this file instead of standard input.",
)
@click.option(
    "--group-per-frame/--one-group",
    "group_per_frame",
    default=True,
    help="Each line its own group (default; who comes late sees the latest), or all in one.",
)
@client_options
def publish(
    target: Target, broadcast: str, track: str, source: Path | None, group_per_frame: bool
) -> None:
    """Publish lines as frames of TRACK in BROADCAST, relative to the path of URL."""
    if source is None:
        run(_publish(target, broadcast, track, sys.stdin.buffer, group_per_frame))
    else:
        with source.open("rb") as stream:
            run(_publish(target, broadcast, track, stream, group_per_frame))


async def _publish(
    target: Target, broadcast: str, track: str, stream: BinaryIO, group_per_frame: bool
) -> None:
    from relay import client

    async with client.connect(target.url, tls=target.tls) as session, asyncio.TaskGroup() as tasks:
        listening = tasks.create_task(_heard(session, broadcast))
        await unless_lost(session, _pump(session, broadcast, track, stream, group_per_frame))
        await listening


async def _heard(session: Client, broadcast: str) -> None:
    """Return when the relay asks what we publish. Raises `Forbidden` when it does not."""
    for _ in range(HEARING):
        if session.hears(broadcast):
            return
        await asyncio.sleep(LOOK)
    raise Forbidden("the relay takes nothing from us: these rights are not for publishing")


async def _pump(
    session: Client, broadcast: str, track: str, stream: BinaryIO, group_per_frame: bool
) -> None:
    """Announce, write every line, and stay until the relay has taken the last one. Raises
    `SessionLost` when it does not take it."""
    from relay.model.track import TrackInfo

    source = session.create_broadcast(broadcast)
    local = source.create_track(track, TrackInfo(timescale=TIMESCALE))
    start = time.monotonic()
    begun = False
    async for frame in read_lines(stream):
        if group_per_frame or not begun:
            local.append_group()
            begun = True
        local.write_frame(frame, int((time.monotonic() - start) * TIMESCALE))
        if group_per_frame:
            local.finish_group()
        await session.room()  # a file or a pipe can wait
    local.finish()
    for _ in range(PATIENCE):
        if session.idle():
            break
        await asyncio.sleep(LOOK)
    else:
        raise SessionLost(f"the rest did not arrive in {PATIENCE * LOOK:g} s")
    await asyncio.sleep(FAREWELL)


async def read_lines(stream: BinaryIO) -> AsyncIterator[bytes]:
    """Lines without their ends. Raises `LimitExceeded` for one longer than `MAX_LINE`.

    A pipe or terminal is waited for by the loop, so that Ctrl-C and a lost session end it at once.
    """
    if not makes_wait(stream):
        while line := stream.readline(MAX_LINE + 2):
            yield _frame(line)
            await asyncio.sleep(0)
        return
    reader = asyncio.StreamReader(limit=MAX_LINE)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), stream
    )
    try:
        while line := await _line(reader):
            yield _frame(line)
    finally:
        transport.close()


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readline()
    except ValueError:
        raise LimitExceeded(f"a line longer than {MAX_LINE} bytes") from None


def _frame(line: bytes) -> bytes:
    frame = line.removesuffix(b"\n")
    if len(frame) > MAX_LINE:
        raise LimitExceeded(f"a line longer than {MAX_LINE} bytes")
    return frame
