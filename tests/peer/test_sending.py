"""The send queue: order, budget, credit, and what is too old."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.errors import Dropped
from relay.peer.sending import AMPLE, ASKED, NEARLY, Delivery, SendQueue
from relay.peer.settings import PeerSettings
from relay.quota import Account, Quota, Tab


class Log:
    """A group's bytes, as the model keeps them."""

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = list(chunks)
        self.size = sum(map(len, chunks))
        self.finished = False
        self.error: Any = None
        self.readers: list[Any] = []

    def attach(self, reader: Any) -> None:
        self.readers.append(reader)

    def detach(self, reader: Any) -> None:
        if reader in self.readers:
            self.readers.remove(reader)

    def write(self, chunk: bytes) -> None:
        self.chunks.append(chunk)
        self.size += len(chunk)
        for reader in tuple(self.readers):
            reader.written(len(chunk))

    def finish(self) -> None:
        self.finished = True
        for reader in tuple(self.readers):
            reader.ended()


class Line:
    """A connection with a settable capacity, and everything that left on it."""

    def __init__(self) -> None:
        self.room = 1 << 30
        self.streams: dict[int, int] = {}
        """Capacity of single streams, where it differs."""
        self.credit = 1 << 30
        self.out: dict[int, bytes] = {}
        self.ended: set[int] = set()
        self.resets: dict[int, int] = {}
        self.order: list[int] = []
        self.wakes = 0

    def capacity(self, stream: int | None = None) -> int:
        return min(self.room, self.streams.get(stream, self.room)) if stream else self.room

    def wake(self) -> None:
        self.wakes += 1

    def send(self, stream: int, data: bytes, fin: bool) -> None:
        self.out[stream] = self.out.get(stream, b"") + data
        self.room -= len(data)
        self.order.append(stream)
        if fin:
            self.ended.add(stream)

    def is_ample(self, room: int) -> bool:
        return self.room >= room and self.credit > 8

    def offer(self, stream: int, data: bytes, room: int) -> bool:
        has_room = self.capacity(stream) >= room
        if has_room:
            self.send(stream, data, False)
        return has_room

    def reset(self, stream: int, code: int) -> None:
        self.resets[stream] = code


class Bench:
    def __init__(self, **limits: Any) -> None:
        self.now = 0.0
        self.line = Line()
        self.queue = SendQueue(
            self.line,  # type: ignore[arg-type]
            PeerSettings(**limits),
            lambda: self.now,
            self.line.reset,
            Tab.free(),
        )
        self.done: list[int] = []

    def deliver(self, log: Log, stream: int, priority: int = 0) -> Delivery:
        def open(delivery: Delivery) -> int | None:
            if self.line.credit <= 0:
                return None
            self.line.credit -= 1
            return stream

        delivery = Delivery(
            self.queue,
            log,  # type: ignore[arg-type]
            (priority, 0, stream),
            open,
            lambda delivery: self.done.append(stream),
        )
        delivery.begin()
        return delivery


@pytest.fixture
def bench() -> Callable[..., Bench]:
    return Bench


def test_a_group_leaves_whole_and_is_forgotten(bench: Callable[..., Bench]) -> None:
    b = bench()
    log = Log(b"ab", b"cd")
    b.deliver(log, 1)
    b.queue.drain()
    log.write(b"ef")
    log.finish()
    b.queue.drain()
    assert (b.line.out, b.line.ended, b.done) == ({1: b"abcdef"}, {1}, [1])
    assert (b.queue.backlog, len(b.queue._followed), log.readers) == (0, 0, [])


def test_what_finds_ample_room_does_not_wait_for_the_turn_to_end(
    bench: Callable[..., Bench],
) -> None:
    b = bench()
    log = Log()
    b.deliver(log, 1)
    log.write(b"opens")
    b.queue.drain()
    b.line.room = AMPLE * 3
    wakes = b.line.wakes
    log.write(b"abc")
    assert (b.line.out, b.line.wakes, b.queue.backlog) == ({1: b"opensabc"}, wakes, 0)
    log.write(b"defg")
    assert b.line.out == {1: b"opensabc"}
    log.write(b"h")
    assert b.line.out == {1: b"opensabc"}, "it would overtake"
    b.queue.drain()
    assert b.line.out == {1: b"opensabcdefgh"}
    b.line.room = 100
    log.write(b"i")
    log.finish()
    b.queue.drain()
    assert (b.line.out, b.line.ended, b.done) == ({1: b"opensabcdefghi"}, {1}, [1])


def test_where_room_is_scarce_what_is_more_urgent_goes_first(
    bench: Callable[..., Bench],
) -> None:
    b = bench()
    dull, urgent = Log(b"1"), Log(b"2")
    b.deliver(dull, 1, priority=0)
    b.deliver(urgent, 2, priority=9)
    b.queue.drain()
    b.line.order.clear()
    b.line.room = AMPLE * 5 - 1
    dull.write(b"11111")
    urgent.write(b"2")
    b.queue.drain()
    assert b.line.order == [2, 1]


@pytest.mark.parametrize("why", ["no credit for streams", "a stream without room"])
def test_bytes_do_not_overtake_those_who_wait(bench: Callable[..., Bench], why: str) -> None:
    b = bench()
    dull = Log(b"1")
    b.deliver(dull, 1, priority=0)
    b.queue.drain()
    b.line.credit, b.line.streams[2] = (0, 9) if "credit" in why else (1, 0)
    b.deliver(Log(b"2"), 2, priority=9)
    b.queue.drain()
    b.line.order.clear()
    dull.write(b"1")
    assert b.line.order == []
    b.line.credit, b.line.streams[2] = 1, 9
    b.queue.drain()
    assert b.line.order == [2, 1]


def test_priority_then_newest(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.line.room = 0
    for stream, priority in ((1, 5), (2, 5), (3, 1), (4, 9)):
        b.deliver(Log(b"x"), stream, priority)
    b.queue.drain()
    assert b.line.order == []
    b.line.room = 100
    b.queue.drain()
    assert b.line.order == [4, 2, 1, 3]


@pytest.mark.parametrize("credit", [0, 9])
def test_a_priority_that_changes_counts_for_what_waits(
    bench: Callable[..., Bench], credit: int
) -> None:
    b = bench(max_waiting_groups=3)
    b.line.room, b.line.credit = (0, 9) if credit else (1 << 30, 0)
    waiting = [b.deliver(Log(b"x"), stream, priority=5) for stream in (1, 2, 3)]
    b.queue.drain()
    wakes = b.line.wakes
    waiting[0].prefer(9)
    waiting[2].prefer(1)
    assert b.line.wakes > wakes
    b.queue.drain()
    b.deliver(Log(b"x"), 4, priority=5)  # one too many: the least urgent makes room
    assert waiting[2].over
    b.line.room, b.line.credit = 1 << 30, 9
    b.queue.drain()
    assert b.line.order == [1, 4, 2]


def test_a_priority_that_changes_counts_for_what_is_given_up_before_more_is_sent(
    bench: Callable[..., Bench],
) -> None:
    b = bench(max_waiting_groups=2)
    b.line.room = 0
    first, second = (b.deliver(Log(b"x"), stream, priority=5) for stream in (1, 2))
    first.prefer(6)
    b.deliver(Log(b"x"), 3, priority=5)
    assert (first.over, second.over) == (False, True)
    b.line.room = 100
    b.queue.drain()
    assert b.line.order == [1, 3]


def test_a_priority_that_changes_counts_for_what_has_begun(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.line.room = 6
    first, second = (b.deliver(Log(b"x" * 9), stream, priority=5) for stream in (2, 1))
    b.queue.drain()
    second.prefer(6)
    first.prefer(6)
    first.prefer(4)
    b.line.room = 12
    b.queue.drain()
    assert b.line.order == [2, 1, 2]
    assert [len(b.line.out[stream]) for stream in (2, 1)] == [9, 9]


def test_chunks_are_cut_to_what_the_connection_takes(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.line.room = 5
    b.deliver(Log(b"abc", b"defg"), 1)
    b.queue.drain()
    assert b.line.out == {1: b"abcde"}
    assert b.queue.backlog == 2
    b.line.room = 1
    b.queue.drain()
    b.line.room = 9
    b.queue.drain()
    assert b.line.out == {1: b"abcdefg"}


def test_a_stream_without_credit_of_its_own_lets_others_pass(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.line.streams[2] = 0
    b.deliver(Log(b"blocked"), 2)
    b.deliver(Log(b"free"), 1)
    b.queue.drain()
    assert b.line.out == {1: b"free"}
    b.line.streams.clear()
    b.queue.drain()
    assert b.line.out[2] == b"blocked"


def narrow(made: Bench, size: int, room: int, groups: int, is_late: bool) -> None:
    """A path that takes less than a group from one group to the next; where ``is_late``, that a
    group is complete is told with the next one only."""
    before: Log | None = None
    for number in range(1, groups + 1):
        if before is not None and is_late:
            before.finish()
        before = Log(bytes(size))
        made.deliver(before, number)
        if not is_late:
            before.finish()
        made.line.room = room
        made.queue.drain()


@pytest.mark.parametrize("is_late", [False, True])
def test_a_path_narrower_than_its_groups_gets_whole_ones(
    bench: Callable[..., Bench], is_late: bool
) -> None:
    made = bench(max_waiting_groups=4)
    narrow(made, 8000, 5000, 80, is_late)
    assert len(made.line.ended) >= 80 * 5 / 8 * 0.9
    assert all(len(made.line.out[each]) == 8000 for each in made.line.ended)
    assert max(made.line.ended) >= 78, "and new ones"
    assert len(made.queue._followed) <= 4


def test_what_is_far_from_over_gives_way_to_the_newest(bench: Callable[..., Bench]) -> None:
    made = bench()
    narrow(made, NEARLY + 5001, 5000, 3, False)
    assert made.line.order == [1, 2, 3]


def test_what_still_grows_gives_way_to_the_newest(bench: Callable[..., Bench]) -> None:
    made = bench()
    old, new = Log(bytes(800)), Log(bytes(800))
    for stream, log in enumerate((old, new), 1):
        made.deliver(log, stream)
        made.line.room = 500
        made.queue.drain()
    assert made.line.order == [1, 2]


def test_what_is_nearly_over_gives_way_to_what_is_more_urgent(bench: Callable[..., Bench]) -> None:
    made = bench()
    low, high = Log(bytes(800)), Log(bytes(800))
    made.deliver(low, 1)
    low.finish()
    made.line.room = 500
    made.queue.drain()
    made.deliver(high, 2, priority=1)
    made.line.room = 1000
    made.queue.drain()
    assert made.line.order == [1, 2, 1]


def test_without_stream_credit_groups_wait_newest_first(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.line.credit = 0
    for stream in (1, 2, 3):
        b.deliver(Log(b"x"), stream)
    b.queue.drain()
    assert b.line.out == {}
    b.line.credit = 2
    b.queue.drain()
    assert b.line.order == [3, 2]


def test_over_the_byte_budget_the_oldest_go(bench: Callable[..., Bench]) -> None:
    b = bench(max_backlog=30)
    b.line.room = 0
    logs = [Log(b"x" * 10) for _ in range(4)]
    for stream, log in enumerate(logs, 1):
        b.deliver(log, stream)
    assert b.done == [1]
    logs[3].write(b"y" * 15)
    assert b.done == [1, 2, 3]
    assert b.queue.dropped == 3
    assert b.queue.backlog == 25


def test_the_most_urgent_group_stays_however_large(bench: Callable[..., Bench]) -> None:
    b = bench(max_backlog=10)
    b.line.room = 0
    b.deliver(Log(b"x" * 5), 1)
    b.deliver(Log(b"y" * 50), 2)
    assert b.done == [1]
    b.line.room = 100
    b.queue.drain()
    assert b.line.out == {2: b"y" * 50}


def test_over_the_count_the_oldest_go(bench: Callable[..., Bench]) -> None:
    b = bench(max_waiting_groups=2)
    b.line.room = 0
    for stream in (1, 2, 3):
        b.deliver(Log(b"x"), stream)
    assert b.done == [1]


def test_a_group_begun_and_then_dropped_is_reset(bench: Callable[..., Bench]) -> None:
    b = bench(max_backlog=10)
    b.line.room = 1
    log = Log(b"ab")
    b.deliver(log, 1)
    b.queue.drain()
    b.deliver(Log(b"x" * 10), 2)
    assert b.line.resets == {1: 26}


def test_an_aborted_group_is_reset_with_its_code(bench: Callable[..., Bench]) -> None:
    b = bench()
    log = Log(b"ab")
    b.deliver(log, 1)
    b.queue.drain()
    log.error = Dropped()
    for reader in tuple(log.readers):
        reader.ended()
    b.queue.drain()
    assert b.line.resets == {1: Dropped.code}
    assert len(b.queue._followed) == 0


def test_an_evicted_group_has_a_moment_left(bench: Callable[..., Bench]) -> None:
    b = bench(stale_grace=1.0)
    b.line.room = 1
    slow = b.deliver(Log(b"ab"), 1)
    b.queue.drain()
    slow.evicted()
    b.now = 0.9
    b.queue.tick(b.now)
    assert b.done == []
    b.now = 1.1
    b.queue.tick(b.now)
    assert b.done == [1]
    assert b.line.resets == {1: 2}


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_every_byte_leaves_in_order_or_the_group_is_given_up(data: st.DataObject) -> None:
    b = Bench(max_backlog=60, max_waiting_groups=5)
    b.line.room = 0
    chunks = st.binary(min_size=1, max_size=9)  # the model keeps no empty ones
    logs: dict[int, Log] = {}
    for step in range(data.draw(st.integers(1, 30))):
        action = data.draw(st.sampled_from(["open", "write", "finish", "room", "drain"]))
        live = [log for log in logs.values() if not log.finished]
        if action == "open":
            logs[step + 1] = Log(*data.draw(st.lists(chunks, max_size=3)))
            b.deliver(logs[step + 1], step + 1, data.draw(st.integers(0, 2)))
        elif action == "write" and live:
            data.draw(st.sampled_from(live)).write(data.draw(st.binary(min_size=1, max_size=20)))
        elif action == "finish" and live:
            data.draw(st.sampled_from(live)).finish()
        elif action == "room":
            b.line.room = data.draw(st.integers(0, 40))
        b.queue.drain()
        assert 0 <= b.queue.backlog <= 60 or len(b.queue._followed) == 1
        assert len(b.queue._followed) <= 5
    b.line.room = 1 << 30
    b.queue.drain()
    assert b.queue.backlog == 0
    for stream, log in logs.items():
        sent = b.line.out.get(stream, b"")
        whole = b"".join(log.chunks)
        assert whole.startswith(sent)
        if stream not in b.done or stream in b.line.ended:
            assert sent == whole


def test_groups_without_stream_credit_are_not_all_asked_again(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.line.credit = 0
    asked: list[int] = []

    def ask(stream: int) -> Callable[[], int | None]:
        def open(delivery: Delivery) -> int | None:
            asked.append(stream)
            b.line.credit -= 1
            return stream if b.line.credit >= 0 else None

        return open

    for stream in range(1, 101):
        b.deliver(Log(b"x"), stream).open = ask(stream)
    b.queue.drain()
    b.queue.drain()
    assert asked == [100, 100]
    b.line.credit = 2
    b.queue.drain()
    assert asked == [100, 100, 100, 99, 98]
    b.line.credit = 1000
    b.queue.drain()
    assert b.line.order == list(range(100, 0, -1))


def test_what_breaks_off_does_not_wait_for_credit(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.line.credit = 0
    logs = [Log(b"x") for _ in range(3)]
    for stream, log in enumerate(logs, 1):
        b.deliver(log, stream)
    b.queue.drain()
    logs[0].error = Dropped("gone")
    logs[0].readers[0].ended()
    b.queue.drain()
    assert (b.done, len(b.queue._followed)) == ([1], 2)


def test_opened_streams_go_on_while_others_wait_for_credit(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.line.credit = 1
    first = Log(b"a")
    b.deliver(first, 1)
    b.queue.drain()
    b.deliver(Log(b"x"), 2)
    b.queue.drain()
    first.write(b"b")
    b.queue.drain()
    assert b.line.out == {1: b"ab"}


def test_lines_do_not_keep_what_is_over(bench: Callable[..., Bench]) -> None:
    b = bench()
    b.line.credit = 0
    for stream in range(1, 2000):
        delivery = b.deliver(Log(b"x"), stream)
        b.queue.drain()
        delivery.abort(Dropped("nobody watches"))
    assert len(b.queue._unopened) < 200
    assert (len(b.queue._followed), b.queue.backlog) == (0, 0)
    assert len(b.queue._by_rank) < 200
    assert not any(delivery.log.chunks for _, _, delivery in b.queue._by_rank)


def test_what_is_over_keeps_nobody_who_is_gone(bench: Callable[..., Bench]) -> None:
    """A track and its publisher's connection may hang on those who follow a group of it."""
    b = bench()
    delivery = b.deliver(Log(b"x"), 1)
    held = [weakref.ref(each) for each in (delivery.open, delivery.done)]
    delivery.abort(Dropped("nobody watches"))
    assert [each for _, _, each in b.queue._by_rank] == [delivery]
    assert b.done == [1]
    assert [each for each in held if each()] == []


def crowd(bench: Callable[..., Bench], count: int, rate: int) -> list[Bench]:
    """Sessions of one tenant that may send ``rate`` bytes a second, each with much to send."""
    account = Account("a", Quota(egress_bits=8 * rate), lambda *what: None)
    sessions = []
    for number in range(count):
        b = bench()
        b.queue.tab = Tab(account)
        b.deliver(Log(*[bytes(10_000)] * 100), number)
        sessions.append(b)
    return sessions


def pass_time(sessions: list[Bench], seconds: float) -> None:
    for _ in range(round(seconds * 10)):
        for b in sessions:
            b.now += 0.1
            b.queue.tick(b.now)
            b.queue.drain()


@pytest.mark.parametrize("stall", ["connection", "streams"])
def test_whoever_reads_no_more_leaves_its_share_to_the_others(
    bench: Callable[..., Bench], stall: str
) -> None:
    count, rate = 50, 100_000
    sessions = crowd(bench, count, rate)
    account = sessions[0].queue.tab.account
    for b in sessions[1:]:
        if stall == "streams":
            b.line.credit = 0
    pass_time(sessions, 1)
    for b in sessions[1:]:
        b.line.room = 0 if stall == "connection" else b.line.room
    pass_time(sessions, 1)
    before = account.egress
    pass_time(sessions, 4)
    assert account.egress - before >= 3.9 * rate
    assert account.waiting == {sessions[0].queue.tab}
    if stall == "connection":  # and takes part again as soon as it reads
        sessions[1].line.room = 1 << 30
        before = account.egress
        pass_time(sessions, 2)
        assert account.egress - before == pytest.approx(2 * rate, rel=0.05)
        assert account.waiting == {b.queue.tab for b in sessions[:2]}


def test_who_was_refused_a_datagram_waits_for_nothing(bench: Callable[..., Bench]) -> None:
    (b, other) = crowd(bench, 2, 1000)
    account = b.queue.tab.account
    account.send(5000, b.now)
    for delivery in tuple(b.queue._followed):
        delivery.close()
    b.queue.drain()
    assert not b.queue.may_pass(100)
    pass_time([b, other], 0.3)
    assert account.waiting == {other.queue.tab}


class Counting(Bench):
    """So many groups that have begun and whose streams take nothing; counts what is asked."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.asked = 0
        self.logs = [Log(b"x") for _ in range(groups)]
        for stream, log in enumerate(self.logs, 1):
            self.line.streams[stream] = 0
            self.deliver(log, stream)
        capacity = self.line.capacity

        def counted(stream: int | None = None) -> int:
            self.asked += 1
            return capacity(stream)

        self.line.capacity = counted  # type: ignore[method-assign]
        self.queue.drain()
        self.asked = 0


def test_very_many_that_take_nothing_cost_no_more_than_a_few() -> None:
    b = Counting(2000)
    for _ in range(5):
        b.queue.drain()
    assert 0 < b.asked <= 5 * ASKED


def test_the_most_urgent_go_on_at_once_and_all_with_the_clock() -> None:
    b = Counting(ASKED + 10)
    b.line.streams.clear()
    for stream in range(1, ASKED + 11):
        b.line.streams[stream] = 5 if stream in (1, ASKED + 10) else 0
    b.queue.drain()
    assert b.line.order == [ASKED + 10]
    woken = b.line.wakes
    b.queue.tick(1.0)
    assert b.line.wakes > woken
    b.queue.drain()
    assert b.line.order == [ASKED + 10, 1]


def test_a_few_that_take_nothing_are_all_tried_each_time() -> None:
    b = Counting(ASKED)
    b.line.streams[1] = 5
    b.queue.drain()
    assert b.line.order == [1]
    woken = b.line.wakes
    b.queue.tick(1.0)
    assert b.line.wakes == woken


def test_what_breaks_off_waits_for_no_credit_of_its_stream() -> None:
    b = Counting(ASKED + 10)
    b.logs[0].error = Dropped()
    b.logs[0].finish()
    b.queue.drain()
    assert b.line.resets == {1: Dropped.code}
    assert b.done == [1]
