"""Who is told in turn hears of everything in the end, and a change costs nothing for it before."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import LimitExceeded
from relay.model.board import Board, Way
from relay.model.journal import Journal
from relay.path import Path

ONE, TWO = object(), object()
PATHS = st.sampled_from(["a", "a/b", "a/b/c", "b", "b/c"])


class Listener:
    """Who is told in turn."""

    def __init__(self, board, prefix="", exclude=0):
        self.view, self.log, self.wakes = {}, [], 0
        self.watch = board.watch(Path(prefix), self, exclude, wake=self.wake)

    def wake(self, watch):
        self.wakes += 1

    def announced(self, path, way):
        self.log.append(f"+{path}")
        self.view[path] = way.hops

    def unannounced(self, path):
        del self.view[path]
        self.log.append(f"-{path}")


def post(board, path, *hops, publisher=ONE):
    board.post(Path(path), (Way(hops),) if hops else (), publisher if hops else None)


def journal(board, prefix=""):
    node = board._root
    for segment in Path(prefix).segments:
        node = node.children[segment]
    return node.journal


def test_it_is_woken_once_and_told_in_its_turn_so_much_at_a_time():
    board = Board()
    post(board, "a/0", 7)
    listener = Listener(board, "a")
    assert listener.log == ["+a/0"]
    for number in range(1, 6):
        post(board, f"a/{number}", 7)
    assert (listener.wakes, len(listener.log)) == (1, 1)
    assert listener.watch.catch_up(3) == (3, True)
    assert listener.log[1:] == ["+a/1", "+a/2", "+a/3"]
    assert listener.watch.catch_up(3) == (2, False)
    assert (len(listener.log), listener.wakes) == (6, 1)
    post(board, "a/0")
    assert listener.wakes == 2


def test_of_what_came_and_went_meanwhile_only_the_end_is_told():
    board = Board()
    post(board, "old", 7)
    listener = Listener(board)
    for publisher in (ONE, TWO, ONE):
        post(board, "new", 7, publisher=publisher)
        post(board, "old")
        post(board, "old", 8, publisher=publisher)
        post(board, "short", 7)
        post(board, "short")
    listener.log.clear()
    listener.watch.catch_up(100)
    assert sorted(listener.log) == ["+new", "+old", "-old"]
    assert listener.log.index("-old") < listener.log.index("+old")
    assert listener.view == {"old": (8,), "new": (7,)}


def test_one_that_is_there_again_after_a_withdrawal_was_gone_in_between():
    board = Board()
    post(board, "a", 7)
    listener = Listener(board)
    post(board, "a")
    post(board, "a", 7)
    post(board, "a", 7, 5)  # and then only its chain changes
    listener.watch.catch_up(100)
    assert listener.log == ["+a", "-a", "+a"]


def test_who_joins_while_others_are_behind_knows_what_is_there():
    board = Board()
    slow = Listener(board)
    post(board, "a", 7)
    late = Listener(board)
    post(board, "a")
    post(board, "b", 7)
    assert late.log == ["+a"]
    for listener in (late, slow):
        listener.watch.catch_up(100)
        assert listener.view == {"b": (7,)}
    assert late.log == ["+a", "-a", "+b"]


def test_nothing_is_kept_that_everybody_knows_or_that_is_out_of_date():
    board = Board()
    listener, other = Listener(board), Listener(board)
    for number in range(1000):
        post(board, "a", 7 + number)
    assert len(journal(board)) < 200
    for number in range(1000):
        post(board, f"b/{number}", 7)
        listener.watch.catch_up(2000)
        if number % 10 == 0:
            other.watch.catch_up(2000)
    assert len(journal(board)) < 200
    other.watch.catch_up(2000)
    assert len(journal(board)) == 0
    post(board, "c", 7)
    listener.watch.cancel()
    other.watch.cancel()
    assert journal(board) is None


def test_who_is_too_far_behind_is_told_that_and_nobody_else_waits():
    board = Board()
    slow, quick = Listener(board), Listener(board)
    with patch("relay.model.journal.MAX_NOTES", 500):
        for number in range(2000):
            post(board, f"a/{number}", 7)
            quick.watch.catch_up(10)
    assert len(journal(board)) < 1200
    assert len(quick.view) == 2000
    with pytest.raises(LimitExceeded):
        slow.watch.catch_up(10)
    slow.watch.cancel()
    post(board, "b", 7)
    assert quick.watch.catch_up(10) == (1, False)


def test_what_is_done_from_within_a_call_is_told_as_well():
    board = Board()
    listener = Listener(board)
    for path in "ab":
        post(board, path, 7)
    with patch.object(
        listener, "announced", side_effect=lambda path, way: post(board, f"{path}{path}"[:2])
    ):
        listener.watch.catch_up(100)
    assert listener.watch.catch_up(100) == (0, False)
    with patch.object(
        listener, "announced", side_effect=lambda path, way: listener.watch.cancel()
    ) as announced:
        post(board, "c", 7)
        post(board, "d", 7)
        assert listener.watch.catch_up(100)[1] is False
    assert announced.call_count == 1


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("post"), PATHS, st.none() | st.integers(2, 4)),
            st.tuples(st.just("watch"), st.sampled_from(["", "a", "a/b"]), st.integers(0, 4)),
            st.tuples(st.just("read"), st.integers(0, 5), st.integers(1, 3)),
        ),
        max_size=60,
    )
)
def test_in_the_end_everybody_has_the_same_view_as_who_is_told_at_once(fakes, steps):
    board, pairs = Board(), []
    with patch("relay.model.journal._FEW", 4):
        for verb, what, more in steps:
            if verb == "post":
                publisher = ONE if more == 2 else TWO
                post(board, what, *(() if more is None else (more, 9)), publisher=publisher)
            elif verb == "watch":
                at_once = fakes.Watcher()
                board.watch(Path(what), at_once, more)
                pairs.append((at_once, Listener(board, what, more)))
            elif what < len(pairs):
                pairs[what][1].watch.catch_up(more)
        for at_once, listener in pairs:
            while listener.watch.catch_up(2)[1]:
                pass
            assert listener.view == at_once.view
    assert not journal(board)


def test_a_note_nobody_reads_is_none():
    journal = Journal()
    journal.note(Path("a"), (), (Way((7,)),), True)
    assert len(journal) == 0


def test_those_too_far_behind_leave_one_after_the_other_and_whoever_comes_meanwhile_stays():
    board = Board()
    first, second = Listener(board, "a"), Listener(board, "a")
    with patch("relay.model.journal.MAX_NOTES", 100):
        for number in range(400):
            post(board, f"a/{number}", 7)
            post(board, f"a/{number}")
    assert first.watch.is_lost
    assert second.watch.is_lost
    first.watch.cancel()
    late = Listener(board, "a")
    second.watch.cancel()
    post(board, "a/b", 7)
    late.watch.catch_up(9)
    assert late.view == {"a/b": (7,)}
    late.watch.cancel()
    post(board, "a/b")
    assert not board._root.children


def test_all_journals_together_keep_no_more_than_so_much_and_the_small_ones_all_of_it():
    board = Board()
    apart = Listener(board, "b")
    nested = [Listener(board, "/".join("a" * depth)) for depth in range(1, 31)]
    with patch("relay.model.journal.MAX_KEPT", 6000):
        for number in range(50):
            post(board, f"b/{number}", 7)
        for number in range(400):
            post(board, "/".join("a" * 30) + f"/{number}", 7)
            post(board, "/".join("a" * 30) + f"/{number}")
            kept = sum(len(journal(board, "/".join("a" * depth))) for depth in range(1, 31))
            assert kept <= 6000 + 30
    assert board._room.notes == kept + len(journal(board, "b"))
    assert any(listener.watch.is_lost for listener in nested)
    assert not apart.watch.is_lost
    apart.watch.catch_up(100)
    assert len(apart.view) == 50
    for listener in (*nested, apart):
        listener.watch.cancel()
    assert (board._room.notes, board._room.journals) == (0, 0)
