"""Frames cut anywhere: scanner, parser and transcoders agree, whatever the pieces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.errors import DecodeError
from relay.wire import frame as frame_module
from relay.wire.buffer import MAX_VARINT, encode_varint
from relay.wire.frame import (
    MARKED,
    MAX_STAMP,
    NO_PROPERTIES,
    Counted,
    Datagram,
    Excerpt,
    Frame,
    FrameParser,
    FrameScanner,
    Layout,
    Mark,
    Transcoder,
    are_whole,
    decode_datagram,
    encode_datagram,
    encode_frame,
    weigh,
)

TIMED, UNTIMED = Layout.TIMED, Layout.UNTIMED
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "wire_lite.json").read_text())
MAX = 1 << 20

modest = settings(max_examples=60, deadline=None)
layouts = st.sampled_from(Layout)
frame_lists = st.lists(
    st.builds(
        Frame,
        st.integers(0, 1 << 30) | st.integers(0, MAX_STAMP),
        st.binary(max_size=6) | st.binary(min_size=60, max_size=70),
    ),
    max_size=6,
)
cuts = st.lists(st.integers(0, 40), max_size=12)


def write(layout: Layout, frames: list[Frame]) -> bytes:
    wire, previous = b"", 0
    for frame in frames:
        wire += encode_frame(layout, frame.payload, frame.timestamp, previous)
        previous = frame.timestamp or 0
    return wire


def chop(wire: bytes, sizes: list[int]) -> list[bytes]:
    chunks, pos = [], 0
    for size in sizes:
        chunks.append(wire[pos : pos + size])
        pos += size
    return [*chunks, wire[pos:]]


def read(layout: Layout, *chunks: bytes) -> list[Frame]:
    parser = FrameParser(layout, MAX)
    return [frame for chunk in chunks for frame in parser.feed(chunk)]


@pytest.mark.parametrize("row", VECTORS["groups"], ids=lambda row: f"{row['layout']}-{row['hex']}")
def test_known_groups(row: dict[str, Any]) -> None:
    layout, wire = Layout(row["layout"]), bytes.fromhex(row["hex"].replace("|", ""))
    frames = [Frame(stamp, bytes.fromhex(payload)) for stamp, payload in row["frames"]]
    assert read(layout, wire) == frames
    assert read(layout, *(bytes([byte]) for byte in wire)) == frames
    assert write(layout, frames) == wire


@modest
@given(layouts, frame_lists, cuts)
def test_parser_does_not_care_for_pieces(
    layout: Layout, frames: list[Frame], sizes: list[int]
) -> None:
    wire = write(layout, frames)
    expected = frames if layout.is_timed else [frame._replace(timestamp=None) for frame in frames]
    assert read(layout, wire) == expected
    assert read(layout, *chop(wire, sizes)) == expected


@modest
@given(layouts, frame_lists, cuts)
def test_scanner_counts_as_the_parser(
    layout: Layout, frames: list[Frame], sizes: list[int]
) -> None:
    scanner, parser, count = FrameScanner(layout, MAX), FrameParser(layout, MAX), 0
    assert scanner.complete
    for chunk in chop(write(layout, frames), sizes):
        scanner.feed(chunk)
        count += len(parser.feed(chunk))
        assert scanner.frames == count
    assert scanner.complete
    assert scanner.frames == len(frames)


@modest
@given(layouts, frame_lists, cuts, st.integers(0, 7), st.none() | st.integers(0, 7))
def test_an_excerpt_is_a_group_of_its_own(
    layout: Layout, frames: list[Frame], sizes: list[int], first: int, last: int | None
) -> None:
    excerpt, cut = Excerpt(layout, first, last), b""
    for chunk in chop(write(layout, frames), sizes):
        cut += excerpt.feed(chunk)
    expected = frames[first : None if last is None else last + 1]
    if not layout.is_timed:
        expected = [frame._replace(timestamp=None) for frame in expected]
    assert read(layout, cut) == expected
    assert excerpt.frames == len(frames)
    assert excerpt.is_short == (len(frames) < first)
    assert excerpt.is_over == (last is not None and len(frames) > last)


def test_the_first_frame_of_an_excerpt_tells_the_whole_time() -> None:
    frames = [Frame(1_000_000, b"a"), Frame(1_000_010, b"b"), Frame(1_000_005, b"c")]
    excerpt = Excerpt(TIMED, 1, 2)
    assert excerpt.feed(write(TIMED, frames[:2])) == write(TIMED, [frames[1]])
    assert not excerpt.is_over
    assert excerpt.feed(write(TIMED, frames)[len(write(TIMED, frames[:2])) :])[:1] == b"\x09"
    assert excerpt.is_over


def test_an_excerpt_tells_a_time_as_far_as_one_step_goes() -> None:
    step, stamp = encode_varint(MAX_STAMP << 1), 2 * MAX_STAMP
    group = step + b"\x01a" + step + b"\x01b" + encode_varint(1) + b"\x01c" + b"\x00\x01d"
    assert [frame.timestamp for frame in read(TIMED, group)][1:] == [stamp, stamp - 1, stamp - 1]
    assert Excerpt(TIMED, 0, None).feed(group) == group
    cut = Excerpt(TIMED, 1, None).feed(group)
    late = [Frame(MAX_STAMP, b"b"), Frame(stamp - 1, b"c"), Frame(stamp - 1, b"d")]
    assert read(TIMED, cut) == late


@modest
@given(frame_lists)
def test_complete_only_at_the_borders(frames: list[Frame]) -> None:
    borders, wire = {0}, b""
    for count in range(1, len(frames) + 1):
        wire = write(TIMED, frames[:count])
        borders.add(len(wire))
    scanner = FrameScanner(TIMED, MAX)
    found = {0}
    for pos in range(len(wire)):
        scanner.feed(wire[pos : pos + 1])
        if scanner.complete:
            found.add(pos + 1)
    assert found == borders


def test_scanner_with_a_large_frame() -> None:
    scanner = FrameScanner(UNTIMED, MAX)
    scanner.feed(encode_varint(MAX) + b"x")
    for _ in range(15):
        scanner.feed(b"x" * (MAX // 16))
        assert not scanner.complete
    scanner.feed(b"x" * (MAX // 16 - 2))
    assert (scanner.frames, scanner.complete) == (0, False)
    scanner.feed(b"")
    scanner.feed(b"x")
    assert (scanner.frames, scanner.complete) == (1, True)


@pytest.mark.parametrize(
    ("layout", "wire"),
    [
        (UNTIMED, encode_varint(MAX + 1)),
        (TIMED, b"\x00" + encode_varint(MAX + 1)),
        (UNTIMED, b"\x01x" + encode_varint(MAX_VARINT)),
        (TIMED, b"\x01\x00"),  # the first frame at -1
        (TIMED, b"\x02\x00\x03\x00"),  # from 1 to -1
        (TIMED, (b"\xff" * 7 + b"\xfe\x00") * 3),  # beyond the largest varint
    ],
)
def test_frames_that_are_none(layout: Layout, wire: bytes) -> None:
    for step in (1, len(wire)):
        scanner, parser = FrameScanner(layout, MAX), FrameParser(layout, MAX)
        chunks = [wire[pos : pos + step] for pos in range(0, len(wire), step)]
        with pytest.raises(DecodeError):
            any(map(scanner.feed, chunks))
        with pytest.raises(DecodeError):
            list(map(parser.feed, chunks))


def test_largest_frame_is_legal() -> None:
    payload = b"x" * 100
    wire = encode_frame(UNTIMED, payload, None)
    assert FrameParser(UNTIMED, 100).feed(wire) == [Frame(None, payload)]
    with pytest.raises(DecodeError, match="at most 99"):
        FrameParser(UNTIMED, 99).feed(wire)


@modest
@given(layouts, st.lists(st.binary(max_size=20), max_size=5))
def test_noise(layout: Layout, chunks: list[bytes]) -> None:
    def outcome(pieces: list[bytes]) -> tuple[int, bool] | None:
        scanner = FrameScanner(layout, 200)
        try:
            for piece in pieces:
                scanner.feed(piece)
        except DecodeError:
            return None
        return scanner.frames, scanner.complete

    wire = b"".join(chunks)
    expected = outcome([wire])
    assert outcome(chunks) == expected
    assert outcome([bytes([byte]) for byte in wire]) == expected
    try:
        frames = FrameParser(layout, 200).feed(wire)
    except DecodeError:
        assert expected is None
    else:
        assert expected is not None
        assert len(frames) == expected[0]


@modest
@given(layouts, st.binary(max_size=40))
def test_noise_for_transcoders(layout: Layout, wire: bytes) -> None:
    target = UNTIMED if layout is TIMED else TIMED
    try:
        out = Transcoder(layout, target, 1000).feed(wire, 1.0)
    except DecodeError:
        return
    parser = FrameParser(target, MAX_VARINT)
    assert len(parser.feed(out)) == len(FrameParser(layout, MAX_VARINT).feed(wire))


@modest
@given(frame_lists, cuts)
def test_dropping_the_times(frames: list[Frame], sizes: list[int]) -> None:
    transcoder = Transcoder(TIMED, UNTIMED, 1000)
    out = b"".join(transcoder.feed(chunk, 5.0) for chunk in chop(write(TIMED, frames), sizes))
    assert out == write(UNTIMED, frames)


@modest
@given(frame_lists, cuts, st.integers(1, 1_000_000))
def test_stamping_at_the_first_byte(frames: list[Frame], sizes: list[int], timescale: int) -> None:
    starts = [len(write(UNTIMED, frames[:count])) for count in range(len(frames))]
    chunks = chop(write(UNTIMED, frames), sizes)
    transcoder = Transcoder(UNTIMED, TIMED, timescale)
    out: list[bytes] = []
    ends: list[int] = []
    for index, chunk in enumerate(chunks):
        ends.append((ends[-1] if ends else 0) + len(chunk))
        out.append(transcoder.feed(chunk, index * 0.25))
    arrived = [next(n for n, end in enumerate(ends) if start < end) * 0.25 for start in starts]
    expected = [
        Frame(int(at * timescale), frame.payload) for at, frame in zip(arrived, frames, strict=True)
    ]
    assert read(TIMED, *out) == expected


def test_time_never_runs_back() -> None:
    transcoder = Transcoder(UNTIMED, TIMED, 1000)
    out = [transcoder.feed(b"\x01x", at) for at in (2.0, 1.5, -1.0, 2.0015, 1e300)]
    assert [frame.timestamp for frame in read(TIMED, *out)] == [2000, 2000, 2000, 2001, MAX_STAMP]


@modest
@given(frame_lists, cuts, st.integers(1, 1_000_000), st.integers(1, 1_000_000))
def test_other_units(frames: list[Frame], sizes: list[int], units: int, timescale: int) -> None:
    transcoder = Transcoder(Counted(units), TIMED, timescale)
    chunks = chop(write(TIMED, frames), sizes)
    out = b"".join(transcoder.feed(chunk, 5.0) for chunk in chunks)
    expected = [
        Frame(min((frame.timestamp or 0) * timescale // units, MAX_STAMP), frame.payload)
        for frame in frames
    ]
    assert read(TIMED, out) == expected
    whole = sum(map(len, chunks))
    assert weigh(Counted(units), chunks, whole) == weigh(TIMED, chunks, whole)
    bare = Transcoder(Counted(units), UNTIMED, timescale)
    assert b"".join(bare.feed(chunk, 5.0) for chunk in chunks) == write(UNTIMED, frames)


def fronted(frames: list[Frame], properties: list[bytes]) -> list[Frame]:
    """The same with properties before each payload."""
    pairs = zip(frames, properties, strict=True)
    return [
        frame._replace(payload=encode_varint(len(front)) + front + frame.payload)
        for frame, front in pairs
    ]


BARE = {Layout.TIMED_OBJECTS: TIMED, Layout.UNTIMED_OBJECTS: UNTIMED}


@modest
@given(st.sampled_from(list(BARE)), frame_lists, cuts, st.data())
def test_properties_stand_before_payloads(
    layout: Layout, frames: list[Frame], sizes: list[int], data: st.DataObject
) -> None:
    fronts = [data.draw(st.binary(max_size=70)) for _ in frames]
    objects, bare = write(layout, fronted(frames, fronts)), BARE[layout]
    without = Transcoder(layout, bare, 1_000)
    assert b"".join(without.feed(each, 1.0) for each in chop(objects, sizes)) == write(bare, frames)
    none = write(layout, [each._replace(payload=NO_PROPERTIES + each.payload) for each in frames])
    beside = Transcoder(bare, layout, 1_000)
    assert b"".join(beside.feed(each, 1.0) for each in chop(write(bare, frames), sizes)) == none
    weight = len(frames), sum(len(each.payload) for each in frames)
    assert weigh(layout, [objects], len(objects)) == weight
    untimed = Transcoder(layout, Layout.UNTIMED_OBJECTS, 1_000)
    kept = b"".join(untimed.feed(each, 1.0) for each in chop(objects, sizes))
    assert kept == write(Layout.UNTIMED_OBJECTS, fronted(frames, fronts))


def test_frames_with_properties_tell_their_time() -> None:
    frames = fronted([Frame(90, b"a"), Frame(180, b"b")], [b"xy", b""])
    objects = write(Layout.TIMED_OBJECTS, frames)
    told = Transcoder(Counted(90, True), TIMED, 1_000).feed(objects, 5.0)
    assert read(TIMED, told) == [Frame(1_000, b"a"), Frame(2_000, b"b")]
    came = Transcoder(Layout.UNTIMED_OBJECTS, TIMED, 10)
    out = [came.feed(b"\x04\x02", 1.0), came.feed(b"xya\x02\x00b", 2.0)]
    assert read(TIMED, *out) == [Frame(10, b"a"), Frame(20, b"b")]


@pytest.mark.parametrize("data", [b"\x00", b"\x01\x40", b"\x02\x02x", b"\x03\x80\x00\x00"])
def test_properties_end_with_their_frame(data: bytes) -> None:
    with pytest.raises(DecodeError):
        Transcoder(Layout.UNTIMED_OBJECTS, UNTIMED, 1).feed(data + b"\x01\x00", 0.0)


def test_payload_does_not_wait_for_its_frame() -> None:
    transcoder = Transcoder(UNTIMED, TIMED, 10)
    assert transcoder.feed(b"\x05he", 1.0) == b"\x14\x05he"
    assert transcoder.feed(b"ll", 2.0) == b"ll"
    assert transcoder.feed(b"o\x40", 3.0) == b"o"
    assert transcoder.feed(b"\x01", 4.0) == encode_varint(40) + b"\x01"


def test_only_the_cut_frame_is_as_old_as_its_first_byte() -> None:
    transcoder = Transcoder(UNTIMED, TIMED, 10)
    out = [transcoder.feed(b"\x40", 1.0), transcoder.feed(b"\x01x\x01y", 2.0)]
    assert read(TIMED, *out) == [Frame(10, b"x"), Frame(20, b"y")]


@pytest.mark.parametrize("layout", list(Layout))
def test_same_layout_is_the_same_object(layout: Layout) -> None:
    chunk = bytes(range(256))
    assert Transcoder(layout, layout, 1).feed(chunk, 0.0) is chunk


@pytest.mark.parametrize("timestamp", [None, -1, MAX_VARINT])
def test_frames_that_cannot_be_said(timestamp: int | None) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the type is the contract, texts differ
        encode_frame(TIMED, b"", timestamp)


@pytest.mark.parametrize("row", VECTORS["datagrams"], ids=lambda row: str(row["hex"]))
def test_known_datagrams(row: dict[str, Any]) -> None:
    expected = Datagram(**row["fields"], payload=bytes.fromhex(row["payload"]))
    assert decode_datagram(bytes.fromhex(row["hex"])) == expected
    assert encode_datagram(*expected) == bytes.fromhex(row["hex"])


ints = st.integers(0, MAX_VARINT)


@modest
@given(st.builds(Datagram, ints, ints, ints, st.binary(max_size=20)))
def test_datagram_round_trip(datagram: Datagram) -> None:
    assert decode_datagram(encode_datagram(*datagram)) == datagram


@modest
@given(st.binary(max_size=24))
def test_datagram_noise(data: bytes) -> None:
    try:
        got = decode_datagram(data)
    except DecodeError:
        assert len(data) < 24
    else:
        assert data.endswith(got.payload)


@modest
@given(st.sampled_from((TIMED, UNTIMED)), frame_lists, cuts, st.data())
def test_what_of_a_group_has_gone_is_weighed(
    layout: Layout, frames: list[Frame], sizes: list[int], data: st.DataObject
) -> None:
    wire = write(layout, frames)
    chunks = list(chop(wire, sizes))
    assert weigh(layout, chunks, len(wire)) == (len(frames), sum(len(f.payload) for f in frames))
    cut = data.draw(st.integers(0, len(wire)))
    scanner = FrameScanner(layout, MAX)
    scanner.feed(wire[:cut])
    gone, payload = weigh(layout, chunks, cut)
    assert gone == scanner.frames
    whole = [len(frame.payload) for frame in frames[: gone + 1]]
    assert sum(whole[:gone]) <= payload <= sum(whole)


@modest
@given(layouts, frame_lists, cuts, st.lists(st.floats(0, 1), max_size=8), st.binary())
def test_counting_goes_on_where_it_came_to(
    layout: Layout, frames: list[Frame], sizes: list[int], shares: list[float], noise: bytes
) -> None:
    wire = write(layout, frames) + noise
    chunks, marks = list(chop(wire, sizes)), list[Mark]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame_module, "MARKED", 2)
        for size in (*(int(share * len(wire)) for share in shares), len(wire)):
            assert weigh(layout, chunks, size, marks) == weigh(layout, chunks, size)


def test_no_frame_is_counted_twice_while_a_group_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    looked, header = 0, frame_module._Cutter._header

    def counted(cutter: Any, head: bytes) -> Any:
        nonlocal looked
        looked += 1
        return header(cutter, head)

    monkeypatch.setattr(frame_module._Cutter, "_header", counted)
    chunks, marks = [bytes(50 * MARKED)], list[Mark]()
    for more in range(100):
        size = sum(map(len, chunks))
        assert weigh(UNTIMED, chunks, size, marks) == (50 * MARKED + more, 0)
        assert weigh(UNTIMED, chunks, 100 * more, marks) == (100 * more, 0)
        chunks.append(b"\x00")
    assert looked < 300 * MARKED


def test_of_very_many_frames_not_each_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_module, "MAX_WEIGHED", 3)
    wire = b"\x01a" * 3
    assert weigh(UNTIMED, [wire], 6) == (3, 3)
    for chunks in ([wire + b"\x01b" * 4], [wire, b"\x01b" * 4], [wire[:5], wire[5:], b"\x01b" * 4]):
        assert weigh(UNTIMED, chunks, 14) == (4, 3 + 8)
        assert weigh(UNTIMED, chunks, 9) == (4, 3 + 3)
        assert weigh(UNTIMED, chunks, 4) == (2, 2)


def test_what_makes_no_sense_is_weighed_as_far_as_it_does() -> None:
    assert weigh(UNTIMED, [b"\x01a", b"\x01b" + b"\xff" * 20], 99) in ((2, 2), (2, 9), (2, 14))
    assert weigh(UNTIMED, [], 5) == (0, 0)


@modest
@given(layouts, frame_lists, st.integers(-2, 2), st.sampled_from([5, 64, MAX]), st.binary())
def test_whole_frames_are_what_the_scanner_finds_complete(
    layout: Layout, frames: list[Frame], more: int, most: int, noise: bytes
) -> None:
    wire = write(layout, frames)
    for data in (wire, wire[:more] if more < 0 else wire + bytes(more), wire + noise, noise):
        scanner = FrameScanner(layout, most)
        try:
            scanner.feed(data)
        except DecodeError:
            is_whole = False
        else:
            is_whole = scanner.complete and scanner.frames > 0
        assert are_whole(layout, data, most) == is_whole
