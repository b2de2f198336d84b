"""A step of the wall clock under a running program."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
from netlab import Clock

TELL = """
import os, sys, time
for line in sys.stdin:
    print(time.time(), time.monotonic(), os.stat(line.strip()).st_mtime, flush=True)
"""
HOUR = 3600.0


@contextmanager
def told(host, clock, file):
    """What a program of the host sees: wall clock, monotonic clock, time of a file."""
    program = host.popen(
        [sys.executable, "-c", TELL],
        clock=clock,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def ask():
        program.stdin.write(f"{file}\n")
        program.stdin.flush()
        return map(float, program.stdout.readline().split())

    yield ask


@pytest.mark.usefixtures("faketime")
def test_a_step_reaches_a_running_program_and_leaves_the_rest_alone(lab, tmp_path):
    clock = Clock(tmp_path / "clock")
    with told(lab.host("a"), clock, tmp_path) as ask:
        for step, off in ((0.0, 0.0), (HOUR, HOUR), (-2 * HOUR, -HOUR), (HOUR, 0.0)):
            clock.step(step)
            early = time.time(), time.monotonic()
            wall, monotonic, changed = ask()
            assert early[0] - 0.1 <= wall - off <= time.time() + 0.1
            assert early[1] - 0.1 <= monotonic <= time.monotonic() + 0.1
            assert changed == tmp_path.stat().st_mtime


@pytest.mark.usefixtures("faketime")
def test_clocks_are_each_their_own(lab, tmp_path):
    a, b = lab.host("a"), lab.host("b")
    one, other = Clock(tmp_path / "one"), Clock(tmp_path / "other")
    one.step(HOUR)
    with told(a, one, tmp_path) as here, told(b, other, tmp_path) as there:
        sooner, ahead, later = (next(iter(ask())) for ask in (there, here, there))
        assert sooner - 0.1 <= ahead - HOUR <= later + 0.1
