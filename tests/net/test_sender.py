"""The sending half by reference, against the library's own, step by step."""

from aioquic.quic.packet_builder import QuicDeliveryState
from aioquic.quic.rangeset import RangeSet
from aioquic.quic.stream import QuicStream, QuicStreamSender
from hypothesis import given
from hypothesis import strategies as st

from relay.net.pieces import Tally
from relay.net.sender import SharedSender


class Nobody:
    """An owner that does not listen."""

    tally = Tally()

    def __init__(self) -> None:
        self.stirred: dict[int, QuicStream] = {}

    def sent_whole(self, stream: QuicStream) -> None: ...


def waiting(sender: SharedSender) -> list[range]:
    """What has to be sent, or sent again."""
    found = RangeSet() if sender._lost is None else RangeSet(sender._lost)
    if sender.highest_offset < sender._buffer_stop:
        found.add(sender.highest_offset, sender._buffer_stop)
    return list(found)


STEP = st.tuples(st.sampled_from(["write", "take", "ack", "lose"]), st.integers(0, 400))


@given(st.lists(STEP, max_size=60), st.booleans())
def test_it_answers_what_the_library_answers(steps, ends) -> None:
    ours, theirs = SharedSender(QuicStream(7), Nobody()), QuicStreamSender(7, True)
    flying: list[tuple[int, int, bool]] = []
    for turn, (what, number) in enumerate(steps):
        if what == "write" and theirs._buffer_fin is None:
            data = bytes((turn + index) & 255 for index in range(number))
            for each in (ours, theirs):
                each.write(data, ends and number > 350)
        elif what == "take":
            frame, expected = ours.get_frame(number, 900), theirs.get_frame(number, 900)
            assert frame == expected
            if frame is not None:
                flying.append((frame.offset, frame.offset + len(frame.data), frame.fin))
        elif what in ("ack", "lose") and flying:
            kind = QuicDeliveryState.ACKED if what == "ack" else QuicDeliveryState.LOST
            sent = flying.pop(number % len(flying))
            for each in (ours, theirs):
                each.on_data_delivery(kind, *sent)
        for name in ("_buffer_start", "_buffer_stop", "highest_offset", "is_finished"):
            assert getattr(ours, name) == getattr(theirs, name)
        assert waiting(ours) == list(theirs._pending)
        kept = sum(map(len, ours._chunks))
        assert kept <= ours._buffer_stop - ours._buffer_start + 400


def test_chunks_are_kept_by_reference_and_let_go() -> None:
    sender, chunk = SharedSender(QuicStream(3), Nobody()), bytes(1000)
    sender.write(chunk)
    assert sender._chunks[0] is chunk
    assert sender.take(1000, 5000) == (0, chunk, False)
    sender.on_data_delivery(QuicDeliveryState.ACKED, 0, 1000, False)
    assert not sender._chunks
