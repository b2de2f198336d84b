"""The bench works and counts right; what it finds on this machine is nobody's business here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
ALGORITHMS = ("HS256", "ES256", "RS256", "EdDSA")
EXPECTED = {
    **{f"good token, {name}": ["decide", "PyJWT alone"] for name in ALGORITHMS},
    **{
        f"refused token, {name}": ["bad signature", "unknown kid", "good token"]
        for name in ALGORITHMS
    },
    "revocations, HS256": [
        "10,000 revocations",
        "100 revocations",
        "0 revocations, again",
        "0 revocations",
    ],
}


def run(*words):
    return subprocess.run(
        [sys.executable, "-B", "-W", "error", str(BENCH / "decisions.py"), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def contest(bench):
    return bench("contest")


def test_a_quick_run_shows_and_writes_every_figure(tmp_path):
    file = tmp_path / "figures.json"
    done = run("--quick", "--json", str(file))
    assert done.returncode == 0, done.stderr
    written = json.loads(file.read_text())
    rounds = written["setting"]["rounds"]
    found = {}
    for each in written["figures"]:
        found.setdefault(each["contest"], []).append(each["name"])
        assert each["contest"] in done.stdout
        assert each["name"] in done.stdout
        assert each["per_second"] > 0
        assert len(each["rounds_microseconds"]) == rounds
        for spread in (each["microseconds"], each["ratio"]):
            assert 0 < spread["low"] <= spread["median"] <= spread["high"]
    assert found == EXPECTED


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    done = run("--quick", "--json", str(tmp_path))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_contenders_take_turns_and_are_compared_within_a_round(contest):
    now = 0.0
    order = []

    def taking(name, seconds):
        def judge(question):
            nonlocal now
            now += seconds
            order.append(name + question)

        return contest.Contender(name, judge, ("1", "2"))

    pair = contest.Contest("two", (taking("a", 3.0), taking("b", 1.0)))
    a, b = contest.measure(pair, contest.Pace(rounds=2, turn=2.0), lambda: now)
    assert order[-8:] == ["a1", "a2", "b1", "b2"] * 2
    assert a.seconds == (3.0, 3.0)
    assert a.ratios == (3.0, 3.0)
    assert b.seconds == (1.0, 1.0)
    assert b.ratios == (1.0, 1.0)
    assert a.members()["per_second"] == pytest.approx(1 / 3)
    assert a.members()["microseconds"]["median"] == pytest.approx(3e6)


def test_a_turn_is_made_long_enough_by_asking_again(contest):
    now = 0.0
    asked = 0

    def judge(question):
        nonlocal now, asked
        now += 1.0
        asked += 1

    lone = contest.Contest("one", (contest.Contender("a", judge, ("1",)),))
    (figures,) = contest.measure(lone, contest.Pace(rounds=2, turn=4.0), lambda: now)
    assert asked == (1 + 2 + 4) + 2 * 4
    assert figures.seconds == (1.0, 1.0)


def test_the_spread_is_the_median_between_its_quartiles(contest):
    spread = contest.Spread.of([9.0, 1.0, 2.0, 4.0, 3.0])
    assert (spread.low, spread.median, spread.high) == (2.0, 3.0, 4.0)
