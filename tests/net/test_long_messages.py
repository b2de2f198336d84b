"""Messages that hold much of a stream: what others have to wait for is a little of it."""

from __future__ import annotations

import asyncio

import pytest

from relay.net.qmux import QmuxTransport
from relay.net.qmux_frames import (
    LEGACY,
    MAX_PIECE,
    WIRES,
    Parameters,
    Wire,
    data_frame,
    parameters_frame,
)
from relay.net.settings import QuicLimits
from relay.session.transport import Receiver


class Listening(Receiver):
    """Keeps what it hears of streams."""

    def __init__(self) -> None:
        self.heard: list[tuple[bytes, bool]] = []

    def stream_received(self, stream: int, data: bytes, fin: bool) -> None:
        self.heard.append((data, fin))

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("wire", [LEGACY, WIRES[2]])
@pytest.mark.parametrize("size", [0, 1, MAX_PIECE, MAX_PIECE + 1, 1 << 20])
def test_a_long_message_is_heard_piece_by_piece(wire: Wire, size: int) -> None:
    async def main() -> None:
        transport, receiver = QmuxTransport(False, QuicLimits(), errors.append), Listening()
        transport.begin(wire)
        transport.start(receiver)
        if wire.has_credit:
            ample = Parameters(1 << 30, 1 << 30, 1 << 30, 1 << 30, 100, 100)
            list(transport.hear(parameters_frame(ample)))
        body = bytes(range(256)) * (size // 256 + 1)
        for _ in transport.hear(data_frame(wire, 2, 0, body[:size], True)):
            await asyncio.sleep(0)
        assert b"".join(data for data, _ in receiver.heard) == body[:size]
        assert max(len(data) for data, _ in receiver.heard) <= MAX_PIECE
        assert [fin for _, fin in receiver.heard] == [False] * (len(receiver.heard) - 1) + [True]

    errors: list[Exception] = []
    asyncio.run(main())
    assert errors == []
