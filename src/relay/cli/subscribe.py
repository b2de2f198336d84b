"""``relay subscribe``: what is announced, or the frames of one track, on standard output.

The law: everything is written at once and flushed, so that a pipe behind it sees it live. This
module must not know how frames travel.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import click

from relay.cli.pipe import Output
from relay.cli.target import Target, client_options, run, unless_lost
from relay.path import Path, on_one_line

if TYPE_CHECKING:
    from relay.client import Client
    from relay.model.broadcast import Broadcast
    from relay.peer.reading import ReadFrame

SILENCE = 2.0
"""Seconds of waiting for a broadcast until it is said that we wait."""


@click.command(short_help="Show the frames of a track, or what is announced.")
@click.argument("url")
@click.argument("broadcast", default="")
@click.argument("track", required=False)
@click.option("--raw", "shape", flag_value="raw", help="Frames as they are, nothing in between.")
@click.option("--json", "shape", flag_value="json", help="One JSON object per line.")
@click.option("--count", type=click.IntRange(min=1), help="Stop after so many.")
@client_options
def subscribe(
    target: Target, broadcast: str, track: str | None, shape: str | None, count: int | None
) -> None:
    """Show the frames of TRACK in BROADCAST, one a line; without TRACK what is announced below.

    Waits for the broadcast. With --json a frame's payload is base64.
    """
    run(_subscribe(target, broadcast, track, shape or "text", count))


async def _subscribe(
    target: Target, broadcast: str, track: str | None, shape: str, count: int | None
) -> None:
    from relay import client

    async with client.connect(target.url, tls=target.tls) as session:
        if track is None:
            lines = _announcements(session, Path(broadcast), shape)
        else:
            lines = _frames(session, broadcast, track, shape)
        await unless_lost(session, _copy(lines, count))


async def _announcements(session: Client, prefix: Path, shape: str) -> AsyncIterator[bytes]:
    async for active, path in session.announcements():
        if path.is_under(prefix):
            yield announcement_line(active, path, shape)


async def _frames(session: Client, broadcast: str, track: str, shape: str) -> AsyncIterator[bytes]:
    from relay.peer.reading import ReadFrame

    found = await _found(session, broadcast)
    async for item in session.frames(found, track).frames():
        if isinstance(item, ReadFrame):
            yield frame_line(item, shape)


async def _found(session: Client, broadcast: str) -> Broadcast:
    """The broadcast, as soon as it is there; whoever waits long is told what for."""
    try:
        async with asyncio.timeout(SILENCE):
            return await session.find(broadcast)
    except TimeoutError:
        waiting = f"waiting for {broadcast!r}: not announced yet, or not within these rights"
        click.echo(f"relay: {waiting}", err=True)
    return await session.find(broadcast)


async def _copy(lines: AsyncIterator[bytes], count: int | None) -> None:
    """Write what arrives until it ends, or until there were ``count``."""
    seen, output = 0, Output(sys.stdout.buffer)
    async for line in lines:
        await output.write(line)
        seen += 1
        if seen == count:
            return


def announcement_line(active: bool, path: str, shape: str) -> bytes:
    """``+ path`` or ``- path``; as ``json`` an object."""
    if shape == "json":
        return _json({"path": path, "active": active})
    return f"{'+' if active else '-'} {on_one_line(path)}\n".encode()


def frame_line(frame: ReadFrame, shape: str) -> bytes:
    """The payload and a line end; ``raw`` leaves that away, ``json`` adds where it stood."""
    if shape == "raw":
        return frame.payload
    if shape != "json":
        return frame.payload + b"\n"
    facts = {"group": frame.group, "index": frame.number}
    facts |= {"timestamp": frame.timestamp, "timescale": frame.timescale}
    return _json(facts | {"payload": base64.b64encode(frame.payload).decode()})


def _json(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts).encode() + b"\n"
