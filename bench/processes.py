"""What the kernel says of processes and cores: CPU, memory, who runs where.

The law: a program is itself and everything it started, what has ended included. This module must
not know what the programs do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[psutil.Process]:
    """A process and its descendants. Raises `psutil.NoSuchProcess`."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def cpu(pid: int) -> float:
    """CPU seconds of a program so far, user and system.

    Of what has ended the kernel knows only ticks.
    """
    total = 0.0
    for each in tree(pid):
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue  # it has ended meanwhile; what it cost is now its parent's
        try:
            # CPUCLOCK_SCHED of another process, see clock_getcpuclockid(3): no ticks, nanoseconds
            total += time.clock_gettime((~each.pid << 3) | 2)
        except OSError:
            total += times.user + times.system  # a zombie has no clock
        total += times.children_user + times.children_system
    return total


def memory(pid: int) -> int:
    """Resident bytes of a program."""
    total = 0
    for each in tree(pid):
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def busy(cores: Iterable[int]) -> float:
    """Seconds that these cores have been busy so far, all together and with whatever."""
    wanted = {f"cpu{core}" for core in cores}
    total = 0.0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in wanted:
            # without idle and iowait, and without guests, whom user time contains already
            ticks = [int(field) for field in fields]
            total += (sum(ticks[:8]) - ticks[3] - ticks[4]) * TICK_SECONDS
    return total


def share_out(workers: int) -> tuple[frozenset[int], frozenset[int]]:
    """Cores for a relay of so many workers, and for the load: the others, if there are any."""
    cores = sorted(os.sched_getaffinity(0))
    mine = frozenset(cores[:workers])
    return mine, frozenset(cores[workers:]) or mine
