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


BREAKS = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "ack", "lose", "told", "untold"]), st.integers(0, 99)
    ),
    max_size=60,
)


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.integers(0, 60),
    st.booleans(),
    BREAKS,
    BREAKS,
)
def test_what_is_kept_of_a_stream_that_breaks_off_arrives(sizes, kept, ends, before, after) -> None:
    over: list[QuicStream] = []
    owner = Nobody()
    owner.sent_whole = over.append  # type: ignore[method-assign]
    sender, wrote = SharedSender(QuicStream(3), owner), bytearray()
    for index, size in enumerate(sizes):
        wrote += (chunk := bytes((index + each) & 255 for each in range(size)))
        sender.write(chunk, ends and index + 1 == len(sizes))
    kept = min(kept, len(wrote))
    flying: list[tuple[int, int, bool]] = []
    resets: list[int] = []
    got: dict[int, int] = {}

    def play(what: str, number: int) -> None:
        if what == "take" and not sender.buffer_is_empty:
            highest = sender.highest_offset
            frame = sender.get_frame(number, 80)
            if frame is not None:
                stop = frame.offset + len(frame.data)
                assert frame.data == wrote[frame.offset : stop]
                assert not resets or stop <= resets[0]
                assert sender._reset_error_code is None or stop <= max(kept, highest)
                flying.append((frame.offset, stop, frame.fin))
        if what == "take" and sender.reset_pending:
            frame = sender.get_reset_frame()
            assert sender.highest_offset >= kept, "no more is promised than has left"
            resets.append(frame.final_size)
        elif what in ("ack", "lose") and flying:
            start, stop, fin = flying.pop(number % len(flying))
            if what == "ack":
                got.update((at, wrote[at]) for at in range(start, stop))
                sender.on_data_delivery(QuicDeliveryState.ACKED, start, stop, fin)
            else:
                sender.on_data_delivery(QuicDeliveryState.LOST, start, stop, fin)
        elif what in ("told", "untold") and resets and not sender.reset_pending:
            kind = QuicDeliveryState.ACKED if what == "told" else QuicDeliveryState.LOST
            if not over:
                sender.on_reset_delivery(kind)

    for step in before:
        play(*step)
    if sender.is_finished:
        return
    sender.kept, unsent = kept, len(wrote) - sender.highest_offset
    sender.reset(9)
    assert sender.drop_unsent() == unsent - max(0, kept - sender.highest_offset)
    for step in after:
        play(*step)
        assert not over or all(at in got for at in range(kept))
    for _ in range(10):
        for what in ("take", "take", "ack", "ack", "told"):
            play(what, 70)
    assert over == [sender.stream]
    assert all(at in got for at in range(kept))
    assert set(resets) == {sender.highest_offset}
    assert sender.drop_unsent() == 0


def test_chunks_are_kept_by_reference_and_let_go() -> None:
    sender, chunk = SharedSender(QuicStream(3), Nobody()), bytes(1000)
    sender.write(chunk)
    assert sender._chunks[0] is chunk
    assert sender.take(1000, 5000) == (0, chunk, False)
    sender.on_data_delivery(QuicDeliveryState.ACKED, 0, 1000, False)
    assert not sender._chunks
