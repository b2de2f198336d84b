"""A grant on loan: renewed, narrowed, withdrawn, or left alone while nobody answers."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from relay.auth.decide import Decision
from relay.auth.facts import Facts
from relay.auth.grant import Grant
from relay.auth.reason import Reason
from relay.path import ROOT, Path
from relay.sidecar.client import Admission
from relay.sidecar.inquiry import Ending, Inquiry
from relay.sidecar.lease import MAX_PAUSE, Lease, pause

GUEST = Inquiry("1", "n", "quic", "/demo")
FIRST = Grant(Path("demo"), (ROOT,), (ROOT,))


def yes(grant=FIRST, revalidate=None, expires=None):
    decision = Decision(True, replace(grant, expires=expires), (), Reason("allowed", ""), 200)
    return Admission(decision, revalidate)


def no(code, status=403, text=""):
    return Admission(Decision(False, None, (), Reason(code, text), status))


OUTAGE = no("unavailable", 503)


class Script:
    """A client that gives the answers written for it, the last one again and again."""

    def __init__(self, *answers, delay=0.0):
        self.answers = list(answers)
        self.delay = delay
        self.asked = 0
        self.ended = []

    async def revalidate(self, inquiry, facts):
        self.asked += 1
        self.facts = facts
        await asyncio.sleep(self.delay)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def end(self, inquiry, ending):
        self.ended.append((inquiry, ending))


def lived(script, first, patience=5.0, meanwhile=None):
    """A lease until it ends or patience does; why it ended, what changed, and the lease."""
    changes = []

    async def run():
        lease = Lease(script, GUEST, first, changes.append, wall)
        task = asyncio.ensure_future(lease.run())
        if meanwhile is not None:
            await meanwhile(lease, task)
        try:
            return await asyncio.wait_for(task, patience), lease
        except TimeoutError:
            return None, lease

    reason, lease = asyncio.run(run())
    return reason, changes, lease


def wall():
    return 1000.0


def test_a_fixed_grant_is_never_asked_about():
    script = Script(no("server_refused"))
    assert lived(script, yes(), 0.1)[0] is None
    assert script.asked == 0


def test_it_ends_with_the_grant():
    script = Script(yes())
    assert lived(script, yes(expires=1000.05))[0] == "expired"
    assert script.asked == 0


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (no("server_refused", 401), "refused"),
        (no("role_not_granted"), "refused"),
        (no("server_invalid", 503), "invalid"),
        (yes(replace(FIRST, root=Path("other"))), "narrowed"),
        (yes(replace(FIRST, cluster=True)), "narrowed"),
        (yes(replace(FIRST, tenant="acme")), "narrowed"),
    ],
)
def test_it_ends_at_once(answer, reason):
    script = Script(answer)
    ended, changes, _ = lived(script, yes(revalidate=0.02, expires=2000))
    assert (ended, changes, script.asked) == (reason, [], 1)


def test_what_the_server_said_at_the_end_is_kept():
    script = Script(no("server_refused", text="moved out"))
    assert lived(script, yes(revalidate=0.02, expires=2000))[2].why == "moved out"
    script = Script(yes(replace(FIRST, root=Path("other"))))
    assert "cannot change" in lived(script, yes(revalidate=0.02, expires=2000))[2].why


def test_it_is_asked_about_with_what_was_known_at_the_door():
    facts, script = Facts(), Script(no("server_refused"))

    async def run():
        first = yes(revalidate=0.01, expires=2000)
        await Lease(script, GUEST, first, lambda grant: None, wall, facts=facts).run()

    asyncio.run(run())
    assert script.facts is facts


def test_changes_are_told_and_sameness_is_not():
    narrow = replace(FIRST, publish=(Path("a"),))
    script = Script(
        yes(revalidate=0.01, expires=2000),
        yes(narrow, 0.01, 2000),
        yes(narrow, 0.01, 2000),
        yes(FIRST, 0.01, 2000),
        no("server_refused"),
    )
    reason, changes, _ = lived(script, yes(revalidate=0.01, expires=2000))
    assert reason == "refused"
    assert [grant.publish for grant in changes] == [(Path("a"),), (ROOT,)]


def test_an_outage_keeps_the_grant_until_its_end():
    script = Script(OUTAGE)
    reason, changes, lease = lived(script, yes(revalidate=0.02, expires=1001.5))
    assert (reason, changes) == ("expired", [])
    assert script.asked >= 2
    assert lease.grant.publish == (ROOT,)


def test_after_an_outage_it_goes_on():
    script = Script(OUTAGE, OUTAGE, yes(revalidate=0.02, expires=2000), no("server_refused"))
    assert lived(script, yes(revalidate=0.02, expires=2000))[0] == "refused"
    assert script.asked == 4


def test_it_ends_while_a_question_is_under_way():
    script = Script(yes(), delay=60)
    assert lived(script, yes(revalidate=0.02, expires=1000.2), 2)[0] == "expired"


def test_nudges_are_one_question_and_one_more_if_it_was_under_way():
    script = Script(yes(revalidate=3600, expires=9000), delay=0.1)

    async def nudge(lease, task):
        lease.nudge()
        lease.nudge()
        await asyncio.sleep(0.05)
        assert script.asked == 1
        lease.nudge()
        lease.nudge()
        await asyncio.sleep(0.3)
        assert script.asked == 2
        task.cancel()

    with pytest.raises(asyncio.CancelledError):
        lived(script, yes(revalidate=3600, expires=9000), meanwhile=nudge)


def test_an_end_in_the_past_or_far_away():
    assert lived(Script(yes()), yes(expires=1))[0] == "expired"
    assert lived(Script(yes()), yes(revalidate=2.0**62, expires=2.0**62), 0.1)[0] is None


def test_the_end_is_told():
    script = Script(yes())

    async def close(lease, task):
        await lease.close("disconnected", 7, 11)
        task.cancel()

    with pytest.raises(asyncio.CancelledError):
        lived(script, yes(), meanwhile=close)
    ((inquiry, ending),) = script.ended
    assert inquiry is GUEST
    assert ending == Ending("disconnected", ending.duration, 7, 11)
    assert 0 <= ending.duration < 1


def test_waits_double_up_to_a_bound_and_are_spread():
    assert [pause(n, None, 0) for n in (1, 2, 3, 4)] == [1, 2, 4, 8]
    assert pause(50, None, 0) == MAX_PAUSE
    assert pause(50, 10, 0) == 10
    assert pause(1, 30, -1) == 0.75
    assert pause(1, 30, 1) == 1.25
    assert pause(1, 0.5, 1) <= 0.625
