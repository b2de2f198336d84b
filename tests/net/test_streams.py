"""Records on a stream however they are cut, and which processes may dial a unix socket."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import ProtocolViolation
from relay.net.allowing import NotAllowed, Process, check, process_of
from relay.net.listening import Doorplate, bind_unix, open_unix
from relay.net.qmux_frames import MAX_RECORD
from relay.net.settings import QuicLimits
from relay.net.streams import Records, StreamTransport
from relay.net.turns import Turns
from relay.wire.buffer import encode_varint


class Allow(NamedTuple):
    """Lists as the settings have them."""

    uid: tuple[int, ...] = ()
    gid: tuple[int, ...] = ()
    pid: tuple[int, ...] = ()


def written(records: list[bytes]) -> bytes:
    """As they follow each other on a stream."""
    return b"".join(encode_varint(len(each)) + each for each in records)


@given(st.lists(st.binary(max_size=200)), st.lists(st.integers(1, 50)))
def test_records_come_out_whole_however_they_are_cut(records: list[bytes], cuts: list[int]) -> None:
    reader, stream, found = Records(), written(records), list[bytes]()
    for cut in [*cuts, len(stream) + 1]:
        found += reader.feed(stream[:cut])
        stream = stream[cut:]
    assert found == records


@given(st.lists(st.binary(max_size=20), min_size=1), st.binary(max_size=5))
def test_what_follows_a_record_waits_while_it_is_read(records: list[bytes], rest: bytes) -> None:
    """Whoever reads may take its time between two records, or stop there."""
    reader = Records()
    steps = reader.feed(written(records) + encode_varint(len(rest) + 1) + rest)
    assert next(steps) == records[0]
    steps.close()
    assert [*reader.feed(b"x")] == [*records[1:], rest + b"x"]


@pytest.mark.parametrize("size", [MAX_RECORD + 1, 1 << 20, (1 << 62) - 1])
def test_a_record_that_is_too_long_is_refused_before_it_comes(size: int) -> None:
    reader = Records()
    with pytest.raises(ProtocolViolation, match=f"a record of {size} bytes"):
        list(reader.feed(encode_varint(size)))


async def test_what_comes_after_the_end_is_not_read(tmp_path: Path) -> None:
    class Session(StreamTransport):
        heard = 0

        def offered(self, protocols: Sequence[str]) -> None:
            pass

        def hear(self, message: bytes) -> Iterator[None]:
            self.heard += 1
            self.close(0, "enough")
            return iter(())

    peers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_unix_server(lambda _, peer: peers.append(peer), tmp_path / "s")
    _, writer = await asyncio.open_unix_connection(tmp_path / "s")
    reader = asyncio.StreamReader()
    session = Session(False, QuicLimits(), pytest.fail, writer, ())
    carrying = asyncio.ensure_future(session.carry(reader, Turns()))
    for _ in range(3):
        reader.feed_data(bytes(1000))
        await asyncio.sleep(0.01)
    reader.feed_eof()
    await asyncio.wait_for(carrying, 10)
    assert session.heard == 1
    server.close()
    for peer in peers:
        peer.transport.abort()
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("allow", "why"),
    [
        (Allow(), ""),
        (Allow(uid=(1, 2)), ""),
        (Allow((2,), (3,), (4,)), ""),
        (Allow(uid=(1,)), "uid 2 is not one of server.unix.allow.uid"),
        (Allow(uid=(2,), gid=(2,)), "gid 3 is not one of"),
        (Allow(pid=(0,)), "pid 4 is not one of"),
    ],
)
def test_each_list_asks_for_itself(allow: Allow, why: str) -> None:
    process = Process(pid=4, uid=2, gid=3)
    if not why:
        check(allow, process)
        return
    with pytest.raises(NotAllowed, match=why):
        check(allow, process)


def test_where_nobody_says_who_dials_lists_let_nobody_in() -> None:
    check(Allow(), None)
    with pytest.raises(NotAllowed, match="does not say"):
        check(Allow(uid=(1,)), None)


def test_the_kernel_says_who_dials() -> None:
    here, there = socket.socketpair(socket.AF_UNIX)
    with here, there:
        assert process_of(here) == (os.getpid(), os.getuid(), os.getgid())


def test_a_socket_that_is_closed_takes_its_own_file_only(tmp_path: Path) -> None:
    place = str(tmp_path / "r.sock")
    first = bind_unix(place, Doorplate)
    second = bind_unix(place, Doorplate)
    first.close()
    assert os.path.exists(place)
    second.close()
    second.close()
    assert not os.path.exists(place)


def test_a_socket_where_somebody_listens_is_not_taken(tmp_path: Path) -> None:
    place = str(tmp_path / "r.sock")
    with open_unix(place) as first:
        with pytest.raises(OSError, match="somebody listens there"):
            open_unix(place)
        first.setblocking(True)
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(place)
    assert not os.path.exists(place)
    bind_unix(place).close()  # left there by one that was killed
    open_unix(place).close()
