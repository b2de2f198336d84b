"""Fan-out: every reader gets every byte, by plain calls, and ends are told once."""

from __future__ import annotations

from collections import deque
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.errors import Cancelled, DecodeError, Expired
from relay.model import group as group_module


@pytest.fixture
def setting(fakes):
    setting = fakes.Setting(max_group_bytes=1000)
    setting.live()
    return setting


@pytest.fixture
def open_group(setting):
    return setting.group(0, data=b"", end=False)


def upper(have, want, info):
    assert (have, want, info.timescale) == ("raw", "upper", 1000)
    return lambda chunk, now: chunk.upper() + f"@{now:g} ".encode()


def test_a_chunk_reaches_every_reader_as_the_same_object(fakes, open_group):
    readers = [fakes.Reader(open_group.log("raw", fakes.no_transcode)) for _ in range(3)]
    chunk = b"abc"
    assert open_group.write(chunk, 1.0)
    assert [reader.calls for reader in readers] == [["written"]] * 3
    assert all(reader.log.chunks[0] is chunk for reader in readers)
    assert (open_group.size, readers[0].log.size, open_group.touched_at) == (3, 3, 1.0)


def test_attach_calls_nothing_for_what_is_there(fakes, open_group):
    open_group.write(b"abc", 1.0)
    reader = fakes.Reader(open_group.log("raw", fakes.no_transcode))
    assert reader.calls == []
    assert reader.data == b"abc"


def test_an_empty_chunk_is_no_chunk(fakes, open_group):
    reader = fakes.Reader(open_group.log("raw", fakes.no_transcode))
    assert open_group.write(b"", 1.0)
    assert reader.calls == []
    assert reader.log.chunks == []


def test_finish_is_told_once_and_writes_after_it_are_ignored(fakes, open_group):
    reader = fakes.Reader(open_group.log("raw", fakes.no_transcode))
    open_group.finish(2.0)
    open_group.finish(3.0)
    open_group.abort(Cancelled("late"))
    assert not open_group.write(b"late", 3.0)
    assert reader.calls == ["finished"]
    assert (reader.log.finished, reader.log.error, reader.log.chunks) == (True, None, [])


def test_abort_is_told_once_with_its_error(fakes, open_group):
    reader = fakes.Reader(open_group.log("raw", fakes.no_transcode))
    error = Cancelled("enough")
    open_group.abort(error)
    open_group.finish(2.0)
    open_group.abort(Expired("late"))
    assert not open_group.write(b"late", 3.0)
    assert reader.calls == ["Cancelled"]
    assert reader.log.error is error
    assert not reader.log.finished


def test_a_detached_reader_hears_nothing(fakes, open_group):
    reader = fakes.Reader(open_group.log("raw", fakes.no_transcode))
    reader.log.detach(reader)
    reader.log.detach(reader)
    open_group.write(b"a", 1.0)
    open_group.finish(1.0)
    assert reader.calls == []


def test_readers_may_detach_each_other_while_being_told(fakes, open_group):
    log = open_group.log("raw", fakes.no_transcode)
    first, second, third = (fakes.Reader(log) for _ in range(3))
    first.written = lambda size: (log.detach(first), log.detach(second))
    open_group.write(b"a", 1.0)
    assert second.calls == []
    assert third.calls == ["written"]


def test_a_reader_that_attaches_meanwhile_starts_with_the_next_chunk(fakes, open_group):
    log = open_group.log("raw", fakes.no_transcode)
    first, late = fakes.Reader(log), []
    first.written = lambda size: late.append(fakes.Reader(log)) if not late else None
    open_group.write(b"a", 1.0)
    open_group.write(b"b", 1.0)
    assert (late[0].data, late[0].calls) == (b"ab", ["written"])


def test_a_reader_may_abort_the_group_and_nobody_is_told_twice(fakes, open_group):
    log = open_group.log("raw", fakes.no_transcode)
    first, second = fakes.Reader(log), fakes.Reader(log)
    first.written = lambda size: open_group.abort(Cancelled("enough"))
    assert not open_group.write(b"a", 1.0)
    assert (first.calls, second.calls) == (["Cancelled"], ["Cancelled"])


def test_a_write_past_max_group_bytes_aborts_with_lagged(fakes, setting, open_group):
    reader = fakes.Reader(open_group.log("raw", fakes.no_transcode))
    assert open_group.write(b"x" * 1000, 1.0)
    assert not open_group.write(b"x", 1.0)
    assert reader.calls == ["written", "Lagged"]
    assert 0 not in setting.track.groups


def test_a_write_past_max_chunks_aborts_with_lagged(fakes, open_group, monkeypatch):
    monkeypatch.setattr(group_module, "MAX_CHUNKS", 2)
    reader = fakes.Reader(open_group.log("raw", fakes.no_transcode))
    assert [open_group.write(b"x", 1.0) for _ in range(3)] == [True, True, False]
    assert reader.calls[-1] == "Lagged"


def test_a_derived_log_has_the_past_with_its_times_and_follows(fakes, open_group):
    open_group.write(b"a", 1.0)
    open_group.write(b"b", 2.0)
    reader = fakes.Reader(open_group.log("upper", upper))
    open_group.write(b"c", 3.0)
    open_group.finish(3.0)
    assert reader.data == b"A@1 B@2 C@3 "
    assert reader.calls == ["written", "finished"]


def test_an_encoding_is_derived_once_for_all_readers(open_group):
    calls = []

    def counting(have, want, info):
        calls.append(want)
        return lambda chunk, now: chunk

    logs = {id(open_group.log("other", counting)) for _ in range(5)}
    assert (len(logs), calls) == (1, ["other"])


def test_an_encoding_first_asked_for_within_a_write_has_each_chunk_once(fakes, open_group):
    log, derived = open_group.log("raw", fakes.no_transcode), []
    first = fakes.Reader(log)
    first.written = lambda size: derived.append(open_group.log("upper", upper))
    open_group.write(b"a", 1.0)
    open_group.write(b"b", 2.0)
    assert b"".join(derived[0].chunks) == b"A@1 B@2 "


def test_an_ended_group_can_still_be_derived(open_group):
    open_group.write(b"a", 1.0)
    open_group.finish(1.0)
    log = open_group.log("upper", upper)
    assert (b"".join(log.chunks), log.finished) == (b"A@1 ", True)


def test_bytes_that_cannot_be_transcoded_end_that_log_only(fakes, open_group):
    def picky(have, want, info):
        def feed(chunk, now):
            if chunk == b"bad":
                raise DecodeError("bad")
            return chunk

        return feed

    native = fakes.Reader(open_group.log("raw", fakes.no_transcode))
    derived = fakes.Reader(open_group.log("other", picky))
    for chunk in (b"good", b"bad", b"more"):
        assert open_group.write(chunk, 1.0)
    open_group.finish(1.0)
    assert (native.data, native.calls[-1]) == (b"goodbadmore", "finished")
    assert (derived.data, derived.calls) == (b"good", ["written", "DecodeError"])


def test_derived_bytes_count_against_the_budget_and_are_given_back(setting, open_group):
    open_group.write(b"x" * 100, 1.0)
    before = setting.cache.used
    open_group.log("upper", upper)
    assert setting.cache.used >= before + 100
    open_group.abort(Cancelled("enough"))
    assert setting.cache.used == 0


def test_derived_readers_hear_of_aborts(fakes, open_group):
    reader = fakes.Reader(open_group.log("upper", upper))
    open_group.abort(Cancelled("enough"))
    assert reader.calls == ["Cancelled"]


@pytest.fixture
def roomy(fakes):
    setting = fakes.Setting()
    setting.live()
    return setting


@pytest.fixture
def steps(roomy):
    """Begun work, to be done by hand: ``steps(count)`` takes so many steps of each."""
    begun = []
    roomy.origin.stock.errands.do = begun.append

    def take(count):
        for work in begun:
            deque(islice(work, count), maxlen=0)

    return take


def many(group, size):
    """Bytes of a group in one chunk that is there already."""
    data = bytes(range(97, 123)) * (size // 26)
    group.write(data, 1.0)
    return data


def plain(have, want, info):
    return lambda chunk, now: chunk.upper()


@pytest.mark.parametrize("end", ["before", "meanwhile", "behind", "evicted"])
def test_a_group_that_is_there_is_derived_in_steps(fakes, roomy, steps, end):
    group = roomy.group(1, data=b"", end=False)
    data = many(group, 26 * 1000)
    if end == "before":
        group.finish(1.0)
    reader = fakes.Reader(group.log("upper", plain))
    assert (reader.data, reader.log.ended) == (b"", False)
    steps(2)
    assert reader.data == data.upper()[: 2 * group_module.STEP]
    assert reader.log is group.log("upper", plain)
    if end != "before":
        group.write(b"more", 1.0)
        data += b"more"
    if end in ("meanwhile", "evicted"):
        group.finish(1.0)
    if end == "evicted":
        group.evict()
    assert "evicted" not in reader.calls
    steps(1000)
    assert reader.data == data.upper()
    if end == "behind":
        group.write(b"last", 1.0)
        group.finish(1.0)
        data += b"last"
    assert (reader.data, reader.log.finished) == (data.upper(), True)
    if end != "evicted":
        group.evict()
    assert [each for each in reader.calls if each != "written"] == ["finished", "evicted"]
    assert roomy.cache.used == 0


def test_a_group_that_breaks_off_is_derived_no_further(fakes, roomy, steps):
    group = roomy.group(1, data=b"", end=False)
    many(group, 500)
    reader = fakes.Reader(group.log("upper", plain))
    group.abort(Cancelled("enough"))
    steps(1000)
    assert (reader.calls, reader.data) == (["Cancelled"], b"")
    assert roomy.cache.used == 0


ACTIONS = st.lists(
    st.one_of(
        st.binary(min_size=0, max_size=6),
        st.sampled_from(["attach", "attach upper", "detach"]),
    ),
    max_size=30,
)


@settings(max_examples=80, deadline=None)
@given(ACTIONS, st.sampled_from(["finish", "abort", "none"]))
def test_every_reader_gets_exactly_what_was_written(fakes, actions, end):
    setting = fakes.Setting()
    setting.live()
    group = setting.track.open_group(0, "raw", 0.0)
    shift = lambda have, want, info: lambda chunk, now: bytes(b ^ 1 for b in chunk)  # noqa: E731
    readers, gone, written = [], [], b""
    for action in actions:
        if isinstance(action, bytes):
            group.write(action, 0.0)
            written += action
        elif action == "detach" and readers:
            reader = readers.pop(0)
            reader.log.detach(reader)
            gone.append((reader, written))
        elif action != "detach":
            wanted = "shifted" if action == "attach upper" else "raw"
            readers.append(fakes.Reader(group.log(wanted, shift)))
    if end == "finish":
        group.finish(0.0)
    elif end == "abort":
        group.abort(Cancelled("enough"))
    native = group.log("raw", shift)
    for reader, expected in [*gone, *((reader, written) for reader in readers)]:
        if reader.log is not native:
            expected = bytes(b ^ 1 for b in expected)
        assert reader.data == expected
    for reader in readers:
        assert reader.calls.count("finished") == (end == "finish")
        assert reader.calls.count("Cancelled") == (end == "abort")
