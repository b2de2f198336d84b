"""The bench of relaying works and blames the right one; its figures are nobody's business here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import pytest

from absent import module

BENCH = Path(__file__).parents[2] / "bench"
SVG = "{http://www.w3.org/2000/svg}"


def test_relays_carry_every_kind_of_load_and_both_are_in_the_table(tmp_path):
    module("moq")
    expected = {"tiny": 20, "tiny-join": 4, "tiny-subscriptions": 6, "tiny-announce": 8}
    words = [word for case in expected for word in ("--case", case)]
    words += ["--rounds", "1", "--seconds", "0.5", "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-B", str(BENCH / "relaying.py"), *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    written = json.loads((tmp_path / "results.json").read_text())
    assert written["setting"]["workers"] == 1
    for case, frames in expected.items():
        (once,) = written["results"][case]
        for who in ("relay", "moq-rs"):
            assert (once[who]["expected"], once[who]["delivered"]) == (frames, frames)
            assert f"| {case} | {who} |" in done.stdout
        assert "lag ms" in once["relay"]["figures"]
    assert (tmp_path / "results.md").read_text() in done.stdout
    assert (tmp_path / "results.svg").read_text().startswith("<svg")


def test_who_was_first_is_last_in_the_next_round(bench):
    order = bench("relaying").order
    assert [order(number) for number in range(3)] == [
        ("relay", "moq-rs"),
        ("moq-rs", "relay"),
        ("relay", "moq-rs"),
    ]


# What the kernel says

FAMILY = """
import subprocess, sys, time
burn = [sys.executable, "-c", "import time\\nwhile time.process_time() < 0.2: pass"]
living = [sys.executable, "-c", burn[2] + "\\nprint(1, flush=True); input()"]
subprocess.run(burn, check=True)
zombie = subprocess.Popen(burn, stdout=subprocess.PIPE)
zombie.stdout.read()
child = subprocess.Popen(living, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(time.process_time(), flush=True)
input()
child.communicate(b"\\n")
zombie.wait()
"""


def test_the_cpu_of_a_program_is_that_of_all_its_processes_even_ended_ones(bench):
    processes = bench("processes")
    with subprocess.Popen(
        [sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        alone = float(program.stdout.readline())
        together = processes.cpu(program.pid)
        # of what ended the kernel tells whole ticks, of user and system time each
        assert together >= alone + 3 * 0.2 - 4 * processes.TICK_SECONDS
        assert processes.memory(program.pid) > 1 << 20
        program.communicate("\n")


@pytest.mark.parametrize(
    ("workers", "cores", "mine", "theirs"),
    [
        (1, {3, 5}, {3}, {5}),
        (1, {0, 1, 2, 3}, {0}, {1, 2, 3}),
        (2, {0, 1, 2, 3}, {0, 1}, {2, 3}),
        (2, {0, 1}, {0, 1}, {0, 1}),
        (1, {7}, {7}, {7}),
    ],
)
def test_a_relay_has_a_core_for_every_worker(bench, monkeypatch, workers, cores, mine, theirs):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: cores)
    assert bench("processes").share_out(workers) == (mine, theirs)


# A turn

KEPT_UP = {"load": 0.4, "load_cores": 0.6, "others": 0.0}


@pytest.mark.parametrize(
    ("turn", "shares", "expected"),
    [
        ({}, {}, ""),
        ({}, {"load": 1.0}, ""),
        ({"delivered": 99}, {}, "relay did not sustain: 99.0% delivered"),
        ({"delivered": 99}, {"load": 0.95, "load_cores": 1.0}, "load could not keep up"),
        ({"delivered": 99}, {"load_cores": 0.95}, "load could not keep up"),
        ({"delivered": 99}, {"load_cores": 0.95, "others": 0.3}, "machine too busy"),
        ({"delivered": 99}, {"others": 0.3}, "machine too busy"),
        ({"behind": 0.2}, {}, "load could not keep up"),
        ({"behind": 0.2}, {"others": 0.3}, "machine too busy"),
        ({"waits": Counter({10: 90, 20_000: 10})}, {}, "relay did not sustain"),
        ({"waits": Counter({10: 90, 20_000: 10})}, {"load_cores": 1.0}, "load could not keep up"),
    ],
)
def test_a_relay_is_blamed_only_for_what_load_and_machine_could_carry(
    bench, turn, shares, expected
):
    turns = bench("turns")
    told = turns.Turn(**{"expected": 100, "delivered": 100, **turn})
    said = turns.blame(told, turns.Shares(**{**KEPT_UP, **shares}))
    assert said.startswith(expected)
    assert bool(said) == bool(expected)


def test_shares_are_of_the_time_and_the_cores_between_two_looks(bench):
    turns = bench("turns")
    first = turns.Look(10.0, relay=1.0, memory=0, load=2.0, relay_cores=5.0, load_cores=7.0)
    last = turns.Look(14.0, relay=3.0, memory=0, load=6.0, relay_cores=8.0, load_cores=13.0)
    one, two = frozenset({0}), frozenset({1, 2})
    assert turns.Shares.between(first, last, one, two) == turns.Shares(0.5, 0.75, 0.25)
    last = last._replace(relay_cores=7.0, load_cores=14.0)
    assert turns.Shares.between(first, last, one, two).others == 0.375
    assert turns.Shares.between(first, last, two, two) == turns.Shares(0.5, 0.875, 0.125)


def test_a_share_of_the_frames_was_there_within(bench):
    late = bench("turns").late
    waits = Counter({10: 50, 25: 49, 400: 1})
    assert (late(waits, 0.5), late(waits, 0.99), late(waits, 1.0)) == (1.0, 2.5, 40.0)
    assert late(Counter(), 0.5) == 0.0


def test_what_several_processes_report_is_one_turn(bench):
    turn = bench("turns").Turn()
    turn.hear({"behind": 0.05})
    turn.hear({"expected": 30, "delivered": 30, "waits": {"10": 30}})
    turn.hear({"expected": 20, "delivered": 19, "waits": {"10": 10, "12": 9}})
    assert (turn.expected, turn.delivered, turn.behind) == (50, 49, 0.05)
    assert turn.waits == {10: 40, 12: 9}


def test_viewers_and_browsers_are_spread_over_processes(bench):
    cases, turns = bench("cases"), bench("turns")
    publisher, *listening = turns.parts(cases.Case("", viewers=5, browsers=3, processes=2))
    assert publisher[0] == "publisher.py"
    assert [script for script, _ in listening] == ["viewers.py"] * 2
    assert [(each.viewers, each.browsers) for _, each in listening] == [(3, 2), (2, 1)]
    alone = turns.parts(cases.Case("", "sessions", viewers=2, processes=9))
    assert [(script, each.viewers) for script, each in alone] == [("viewers.py", 1)] * 2


def test_costs_are_of_what_arrived_and_of_memory_at_rest(bench):
    cases, turns = bench("cases"), bench("turns")
    looks = {
        word: turns.Look(at, relay, memory << 10, 0.0, 0.0, 0.0)
        for word, at, relay, memory in (
            ("begin", 0.0, 1.0, 100),
            ("end", 2.0, 1.5, 900),
            ("settled", 4.0, 1.6, 500),
            ("idle", 9.0, 1.7, 500),
        )
    }
    joined = turns.costs(cases.Case("", "sessions"), turns.Turn(50, 50), looks)
    assert joined == pytest.approx({"us": 10_000, "per core-s": 100, "KiB each": 8, "idle %": 2.0})
    sent = turns.Turn(1000, 1000, waits=Counter({10: 1000}))
    looks = {word: looks[word] for word in ("begin", "end")}
    passed = turns.costs(cases.Case("", size=1000), sent, looks)
    assert passed == pytest.approx({"us": 500, "s/GB": 500, "p50": 1.0, "p99": 1.0})


# What is shown


def rounds(turns, *figures):
    """A round for each pair of figures; ``None`` is a turn that failed."""
    return [
        {
            who: turns.Turn(1, 1, figures=each) if each else turns.Turn(2, 1, trouble="it was lost")
            for who, each in zip(("relay", "moq-rs"), pair, strict=True)
        }
        for pair in figures
    ]


def test_a_ratio_is_taken_within_a_round_in_which_nothing_was_lost(bench):
    report, turns = bench("report"), bench("turns")
    given = rounds(
        turns,
        ({"us": 6.0, "p50": 3.0}, {"us": 2.0, "p50": 1.0}),
        (None, {"us": 1.0}),
        ({"us": 2.0, "p50": 4.0}, {"us": 1.0, "p50": 1.0}),
    )
    assert report.ratios(given) == [3.0, 2.0]
    assert report.added(given, "p50") == 2.5
    assert report.spread([3.0, 1.0, 2.5]) == report.Spread(1.0, 2.5, 3.0)
    assert report.spread([]) is None


SETTING = {
    **{"cpu": "a <cpu>", "relay_cores": 2, "load_cores": 2, "shared_cores": True, "workers": 2},
    **{"python": "3", "loop": "asyncio", "moq-rs": "1", "turn_seconds": 5.0},
}


def test_the_table_says_what_failed_and_on_how_many_cores(bench):
    report, turns = bench("report"), bench("turns")
    given = {
        "fan-1": rounds(turns, ({"us": 6.0}, {"us": 2.0}), (None, {"us": 2.0})),
        "fan-4": rounds(turns, (None, {"us": 2.0})),
    }
    shown = report.markdown(given, SETTING)
    assert "| fan-1 | relay | 1 of 2 (it was lost) |" in shown
    assert "| fan-1 | ratio | 1 rounds |  | 3.00 (3.00–3.00) |" in shown
    assert "| fan-4 | relay | it was lost |" in shown
    assert "| fan-4 | ratio |" not in shown
    assert "cores of the relay: 2 (2 workers of ours), of the load: 2 (the same ones)" in shown


def test_the_plot_has_a_bar_for_every_ratio_and_says_where_there_is_none(bench):
    report, turns = bench("report"), bench("turns")
    given = {
        "fan-1": rounds(turns, ({"us": 6.0}, {"us": 2.0}), ({"us": 4.0}, {"us": 2.0})),
        "idle": rounds(turns, ({"us": 1.0, "idle %": 1.0}, {"us": 1.0, "idle %": 2.0})),
        "fan-4": rounds(turns, (None, {"us": 2.0})),
    }
    drawn = ElementTree.fromstring(report.plot(given, SETTING))
    texts = [each.text for each in drawn.iter(f"{SVG}text")]
    ground, *bars = drawn.iter(f"{SVG}rect")
    assert ground.get("fill") == "#ffffff"
    widths = [float(each.get("width", 0)) for each in bars]
    assert widths == pytest.approx([2.5 * widths[1], widths[1], 0.5 * widths[1]], abs=0.2)
    assert {"1 viewer × 60/s of 8 KiB", "500 sessions: CPU at rest", "no figure"} <= set(texts)
    assert "2.50 (2.00–3.00)" in texts
    assert "a <cpu>, Python 3, moq-rs 1" in texts


def test_samples_are_counted_by_function_and_by_what_it_calls(bench):
    profiling = bench("profiling")
    lines = [
        "main;send;seal 3",
        "main;send;send 1",
        "main;read 4",
        "main;EpollSelector.select (selectors.py:1) 9",
    ]
    own, all_in, total = profiling.counted(lines)
    assert own == {"seal": 3, "send": 1, "read": 4}
    assert all_in == {"main": 8, "send": 4, "seal": 3, "read": 4}
    assert total == 8
    shown = profiling.table(lines)
    assert "  37.5%   37.5%  seal" in shown
    assert "   0.0%  100.0%  main" in shown


SPY = """#!{python}
import pathlib, signal, sys, time
file = pathlib.Path(sys.argv[sys.argv.index("--output") + 1])
signal.signal(signal.SIGINT, lambda *_: sys.exit(file.write_text("looked") * 0))
time.sleep(0.2)
file.write_text("looking")
print("py-spy> Sampling process 500 times a second.", flush=True)
time.sleep(60)
"""


def test_the_load_begins_when_the_spy_looks_and_the_spy_ends_with_the_load(
    bench, tmp_path, monkeypatch
):
    profiling, relay = bench("profiling"), types.SimpleNamespace(pid=1)
    spy, file = tmp_path / "py-spy", tmp_path / "stacks"
    spy.write_text(SPY.format(python=sys.executable))
    spy.chmod(0o755)
    monkeypatch.setattr(profiling, "SPY", spy)
    watching = profiling.Spy("raw", file, rate=500)
    watching.watch(relay, "begin")
    assert file.read_text() == "looking"
    watching.watch(relay, "end")
    assert (file.read_text(), watching.trouble) == ("looked", "")


def test_a_spy_that_may_not_look_is_quoted(bench, tmp_path, monkeypatch):
    profiling, relay = bench("profiling"), types.SimpleNamespace(pid=1)
    spy = tmp_path / "py-spy"
    spy.write_text("#!/bin/sh\necho permission denied >&2; exit 1\n")
    spy.chmod(0o755)
    monkeypatch.setattr(profiling, "SPY", spy)
    watching = profiling.Spy("raw", tmp_path / "stacks", rate=500)
    watching.watch(relay, "begin")
    watching.watch(relay, "end")
    assert watching.trouble == "permission denied"


# A browser


def test_a_browser_has_an_empty_connection_id(bench):
    line = bench("browser").Line()
    line.connect(("127.0.0.1", 1), now=0.0)
    ((sent, _),) = line.datagrams_to_send(now=0.0)
    assert sent[5] == 8
    assert sent[6 + 8] == 0
    line._remote_active_connection_id_limit = 8
    line._replenish_connection_ids()
    assert len(line._host_cids) == 1


@pytest.mark.parametrize("piece", [1, 3, 100])
def test_a_browser_finds_frames_in_whatever_pieces_they_come(bench, piece):
    arriving = bench("browser").Arriving()
    sent = b"\x00\x02\x00\x01" + b"\x80\x1e\x84\x80\x05hello" + b"\x00\x00" + b"\x02\x03abc"
    found = []
    for at in range(0, len(sent), piece):
        found += arriving.feed(sent[at : at + piece])
    assert found == [b"hello", b"", b"abc"]
    assert not arriving.data
