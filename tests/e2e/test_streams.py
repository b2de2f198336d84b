"""Sessions over TCP and unix sockets with a running relay: as by any other way, only plain."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path as File
from typing import Any
from urllib.parse import quote

import pytest
from ends import ends_with
from mesh import BASE
from several import TRUST, audience, writer
from streams import plain, record, settings, tcp

from pace import until
from relay.client import connect
from relay.errors import ConfigError, SessionLost
from relay.net.qmux_frames import (
    MAX_RECORD,
    PLAIN,
    Kind,
    Parameters,
    data_frame,
    parameters_frame,
    read_parameters,
)
from relay.path import Path
from relay.wire.buffer import encode_varint
from relay.wire.version import SPOKEN

Token = Callable[..., str]


def url(relay: Any, folder: File, target: str, scheme: str) -> str:
    """Where to dial by that way."""
    if scheme == "unix":
        return f"unix://{folder}/relay.sock?path={quote(target, safe='')}"
    if scheme == "tcp":
        return tcp(relay, target)
    return f"{scheme}://127.0.0.1:{relay.quic_address[1]}{target}"


@pytest.mark.parametrize(
    ("here", "there"), [("tcp", "https"), ("moqt", "unix"), ("unix", "tcp"), ("tcp", "tcp")]
)
def test_what_is_published_is_seen_by_the_other_way(
    running: Any, token: Token, tmp_path: File, here: str, there: str
) -> None:
    async def main() -> None:
        target = f"/demo?jwt={token('demo')}"
        async with (
            running(settings(tmp_path)) as relay,
            connect(url(relay, tmp_path, target, here), tls=TRUST) as near,
            connect(url(relay, tmp_path, target, there), tls=TRUST) as far,
        ):
            write = writer(near.create_broadcast("cam"), 100_000)
            write()
            assert await audience([far], write, 5) == [5]

    asyncio.run(main())


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
@pytest.mark.parametrize("version", SPOKEN)
def test_every_version_goes_to_its_target_or_to_the_root(
    running: Any, tmp_path: File, scheme: str, version: str
) -> None:
    """Versions without a word for the target go to the root."""

    async def main() -> None:
        is_told = version in ("moq-lite-06", "moq-lite-05", "moql")
        async with running(settings(tmp_path)) as relay:
            at = url(relay, tmp_path, "/anon", scheme)
            async with connect(at, versions=(version,)) as client:
                client.create_broadcast("cam" if is_told else "anon/cam")
                await until(lambda: relay.house.origin.find(Path("anon/cam")) is not None)
                [guest] = relay.door.guests.values()
                assert guest.via == scheme
                assert not guest.is_near  # which another process of this relay would be

    asyncio.run(main())


@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_who_is_refused_hears_under_which_id(
    running: Any, token: Token, tmp_path: File, scheme: str
) -> None:
    async def main() -> None:
        async with running(settings(tmp_path)) as relay:
            for target in ("/demo", f"/other?jwt={token('demo')}", "/demo?jwt=rubbish"):
                async with connect(url(relay, tmp_path, target, scheme)) as client:
                    await asyncio.wait_for(client.lost, 10)
                    assert "unauthorized (id " in client.lost.result()
            await until(lambda: relay.serving.gate.inside == 0)
            assert not relay.door.guests

    asyncio.run(main())


def test_no_version_in_common_is_told(running: Any, tmp_path: File) -> None:
    async def main() -> None:
        only = '[server]\nversions = ["moq-lite-06"]\n'
        base = BASE.replace("[server]\n", only)
        async with running(settings(tmp_path), base) as relay:
            with pytest.raises(SessionLost, match="no version in common"):
                async with connect(tcp(relay, "/anon"), versions=("moq-lite-05",)):
                    pass
            async with plain(relay) as caller:
                caller.greet("moq-lite-99")
                said = read_parameters((await caller.hear(Kind.PARAMETERS)).body)
                assert said.protocols == ("moq-lite-06",)
                bye = await caller.hear(Kind.CLOSE)
                assert b"refused (400, x-request-id: " in bye.body
                await caller.ended()
            assert relay.judge.refusals.counts["version"] == 2

    asyncio.run(main())


def test_a_session_ends_with_its_token_and_says_why(
    running: Any, token: Token, tmp_path: File
) -> None:
    async def main() -> None:
        async with running(settings(tmp_path)) as relay:
            brief = token("demo", ttl=4)
            async with connect(tcp(relay, f"/demo?jwt={brief}")) as client:
                await ends_with(client, brief)
            assert "the token expired (id " in client.lost.result()
            await until(lambda: relay.serving.gate.inside == 0)

    asyncio.run(main())


@pytest.mark.parametrize(
    "said",
    [
        b"",
        record(b"\x01"),
        record(data_frame(PLAIN, 0, 0, b"x", False)),
        record(parameters_frame(Parameters())),
        record(parameters_frame(Parameters(protocols=("moq-lite-06",)))) * 2,
        encode_varint(MAX_RECORD + 1),
        b"GET / HTTP/1.1\r\nhost: relay\r\n\r\n",
        bytes.fromhex("16030100 c8010000") + bytes(64),
        b"\xff" * 100,
    ],
)
def test_what_is_no_session_ends_it_and_nothing_else(
    running: Any, tmp_path: File, said: bytes
) -> None:
    limits = "[limits]\nhandshake_timeout = 0.5\n[peer]\nsetup_timeout = 0.5\n"

    async def main() -> None:
        async with (
            running(settings(tmp_path, limits)) as relay,
            connect(tcp(relay, "/anon")) as other,
            plain(relay) as caller,
        ):
            caller.writer.write(said)
            await caller.ended()
            await until(lambda: relay.serving.gate.inside == 1)
            assert relay.serving.gate.handshakes == 0
            other.create_broadcast("cam")
            await until(lambda: relay.house.origin.find(Path("anon/cam")) is not None)
            assert not other.lost.done()

    asyncio.run(main())


def test_who_is_less_patient_hears_of_us_in_time(running: Any, tmp_path: File) -> None:
    async def main() -> None:
        async with running(settings(tmp_path)) as relay, plain(relay) as caller:
            caller.greet("moq-lite-06", idle=1500)
            await caller.hear(Kind.PING, 5)
            await caller.ended(20)
            await until(lambda: relay.serving.gate.inside == 0)

    asyncio.run(main())


def test_a_silent_session_is_let_go(running: Any, tmp_path: File) -> None:
    async def main() -> None:
        quic = "[quic]\nidle_timeout = 1.5\n"
        async with running(settings(tmp_path, quic)) as relay, plain(relay) as caller:
            caller.greet("moq-lite-06")
            await caller.hear(Kind.PING)
            assert relay.serving.gate.inside == 1
            await caller.ended()
            await until(lambda: relay.serving.gate.inside == 0)

    asyncio.run(main())


def test_whoever_reads_nothing_holds_up_nobody_and_little(running: Any, tmp_path: File) -> None:
    async def main() -> None:
        async with (
            running(settings(tmp_path)) as relay,
            connect(tcp(relay, "/anon")) as near,
            connect(tcp(relay, "/anon")) as far,
            connect(tcp(relay, "/anon")) as slow,
        ):
            write = writer(near.create_broadcast("cam"), 500_000)
            frames = slow.frames(await slow.find("cam"), "video").frames()
            pipe = slow.guest.transport._writer.transport  # type: ignore[attr-defined]
            pipe.pause_reading()
            write()
            assert await audience([far], write, 30) == [30]
            waiting = [each.transport._unsent() for each in relay.door.guests.values()]
            assert max(waiting) < 200_000
            pipe.resume_reading()
            await asyncio.wait_for(anext(frames), 10)
            assert not near.lost.done()
            assert not slow.lost.done()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("allow", "is_in"),
    [
        ("", True),
        ("uid = {uid}", True),
        ("uid = [4000000, {uid}]\ngid = {gid}\npid = {pid}", True),
        ("uid = 4000000", False),
        ("uid = {uid}\ngid = [4000000]", False),
        ("pid = 1", False),
    ],
)
def test_which_processes_may_dial(running: Any, tmp_path: File, allow: str, is_in: bool) -> None:
    said = allow.format(uid=os.getuid(), gid=os.getgid(), pid=os.getpid())

    async def main() -> None:
        async with running(settings(tmp_path, f"[server.unix.allow]\n{said}\n")) as relay:
            at = url(relay, tmp_path, "/anon", "unix")
            if is_in:
                async with connect(at) as client:
                    client.create_broadcast("cam")
                    await until(lambda: relay.door.guests)
                    [guest] = relay.door.guests.values()
                    assert (
                        guest.remote == f"uid {os.getuid()}, gid {os.getgid()}, pid {os.getpid()}"
                    )
            else:
                with pytest.raises(SessionLost):
                    async with connect(at):
                        pass
                await until(lambda: relay.judge.refusals.counts == {"unix_allow": 1})

    asyncio.run(main())


def test_the_socket_is_anybodys_and_goes_with_the_relay(running: Any, tmp_path: File) -> None:
    place = tmp_path / "relay.sock"

    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(place))  # as by a relay that was killed
        async with running(settings(tmp_path)):
            assert place.stat().st_mode & 0o777 == 0o666
            with pytest.raises(ConfigError, match="somebody listens there"):
                async with running(settings(tmp_path)):
                    pass
            async with connect(f"unix://{place}?path=/anon"):
                pass
        assert not place.exists()
        place.write_text("mine")
        with pytest.raises(ConfigError, match=f"cannot listen at {place}"):
            async with running(settings(tmp_path)):
                pass
        assert place.read_text() == "mine"

    asyncio.run(main())


def test_places_are_counted_together(running: Any, tmp_path: File) -> None:
    limits = "[limits]\nmax_sessions_per_address = 1\n"

    async def main() -> None:
        async with running(settings(tmp_path, limits)) as relay:
            unix = url(relay, tmp_path, "/anon", "unix")
            async with connect(tcp(relay, "/anon")), connect(unix):
                for full in (tcp(relay, "/anon"), unix, url(relay, tmp_path, "/anon", "https")):
                    with pytest.raises(SessionLost):
                        async with connect(full, tls=TRUST):
                            pass
                assert relay.serving.gate.refused == 3
            await until(lambda: relay.serving.gate.inside == 0)
            async with connect(unix):
                pass

    asyncio.run(main())


def test_several_workers_take_them_too(process: Any, tmp_path: File) -> None:
    place = tmp_path / "relay.sock"
    started = process(settings(tmp_path), BASE.replace("[server]\n", "[server]\nworkers = 2\n"))
    facts = started.ready()

    async def main() -> None:
        unix = f"unix://{place}?path=/anon"
        at = f"https://127.0.0.1:{facts['quic'][1]}/anon"
        async with connect(unix) as near, connect(f"tcp://127.0.0.1:{facts['tcp'][1]}/anon") as far:
            write = writer(near.create_broadcast("cam"), 1000)
            write()
            async with connect(at, tls=TRUST) as one, connect(at, tls=TRUST) as two:
                assert await audience([far, one, two], write, 3) == [3, 3, 3]
            started.program.send_signal(signal.SIGINT)  # in haste, and yet with a goodbye
            for client in (near, far):
                assert await asyncio.wait_for(client.lost, 10) == "the relay is stopping"

    asyncio.run(main())
    assert started.program.wait(20) == 0
    assert not place.exists()
