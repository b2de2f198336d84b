"""Who hangs is found while others live, and a machine that stood still accuses nobody."""

from __future__ import annotations

from relay.server.vigil import SILENCE, STEP, Vigil


def watch(vigil: Vigil, begin: int, seconds: int, alive: tuple[int, ...]) -> list[tuple[int, int]]:
    """Look every second, while some give signs; who hangs, and when."""
    found = []
    for now in range(begin, begin + seconds):
        for worker in alive:
            vigil.heard(worker)
        found += [(now, worker) for worker in vigil.look(float(now))]
    return found


def test_one_that_is_silent_while_others_are_not() -> None:
    vigil = Vigil()
    assert watch(vigil, 0, 60, (0, 1, 2)) == []
    assert watch(vigil, 60, 60, (0, 2)) == [(58 + int(SILENCE), 1)]


def test_who_is_gone_or_never_spoke_is_not_missed() -> None:
    vigil = Vigil()
    assert watch(vigil, 0, 5, (0, 1)) == []
    vigil.ended(1)
    assert watch(vigil, 5, 60, (0,)) == []


def test_all_are_silent_together() -> None:
    vigil = Vigil()
    watch(vigil, 0, 5, (0, 1))
    assert watch(vigil, 5, 600, ()) == []
    assert watch(vigil, 605, 5, (0, 1)) == []


def test_the_one_that_stays_silent_after_all_were_is_found() -> None:
    vigil = Vigil()
    watch(vigil, 0, 5, (0, 1))
    watch(vigil, 5, 60, ())
    assert [worker for _, worker in watch(vigil, 65, 5, (0,))] == [1]


def test_time_in_which_nobody_looked_counts_as_one_step() -> None:
    vigil = Vigil()
    watch(vigil, 0, 5, (0, 1))
    assert vigil.look(1000.0) == []
    vigil.heard(0)
    assert watch(vigil, 1001, int(SILENCE - 3 * STEP), (0,)) == []


def test_while_all_leave_the_last_one_is_not_waited_for() -> None:
    vigil = Vigil()
    watch(vigil, 0, 5, (0, 1))
    vigil.ended(0)
    assert [vigil.look(5.0 + now, is_leaving=True) for now in range(12)].count([1]) == 1
