"""Network namespaces by name: make, enter, list, and clear away those of runs that are no more.

The law: a name carries the pid and the start of the process that made it, and nobody touches a
namespace whose maker lives. This module must not know links.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import select
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path("/run/netns")
"""Where iproute2 keeps namespaces by name."""

CLONE_NEWNET = 0x40000000
CAPABILITIES = 1 << 12 | 1 << 21
"""CAP_NET_ADMIN and CAP_SYS_ADMIN, which containers may lack though they run as root."""

PATIENCE = 20.0
"""Seconds one call may take."""

_NAME = re.compile(r"lab-(\d+)-(\d+)-\d+-[a-z0-9-]+")
_libc = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """The lab could not do what it was asked to."""


def is_capable() -> bool:
    """Whether this process may make namespaces and devices."""
    status = Path("/proc/self/status").read_text()
    held = int(re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)[1], 16)
    return held & CAPABILITIES == CAPABILITIES


def ip(*words: str) -> str:
    """Call ``ip``; its output. Raises `LabError` with what it said."""
    return call("ip", *words)


def batch(namespace: str, lines: Sequence[str]) -> None:
    """Several ``ip`` commands in one call, inside a namespace. Raises `LabError`."""
    call("ip", "-n", namespace, "-batch", "-", text="\n".join(lines))


def call(*words: str, text: str = "") -> str:
    """Call a program of iproute2; its output. Raises `LabError` with what it said."""
    done = subprocess.run(
        words, input=text, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    if done.returncode:
        raise LabError(f"{' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def name(serial: int, host: str) -> str:
    """A name for a namespace of this process."""
    pid = os.getpid()
    return f"lab-{pid}-{_started(pid)}-{serial}-{host}"


def create(namespace: str) -> None:
    """Make one with its loopback up and no IPv6, whose chatter would be counted."""
    ip("netns", "add", namespace)
    with entered(namespace):
        for which in ("all", "default"):
            switch = Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6")
            if switch.exists():
                switch.write_text("1")
    ip("-n", namespace, "link", "set", "lo", "up")


def remove(namespace: str) -> None:
    """End what runs in it, then take its name away; without either it is gone."""
    if (FOLDER / namespace).exists():
        kill(namespace)
        ip("netns", "del", namespace)


def pids(namespace: str) -> list[int]:
    """The processes that live in it, ours and what they started."""
    return [pid for pid in map(int, ip("netns", "pids", namespace).split()) if pid != os.getpid()]


def kill(namespace: str) -> None:
    """``kill -9`` for each of them, until there are none, since they may be having children.

    Raises `LabError` if one does not die.
    """
    while found := pids(namespace):
        for pid in found:
            _end(pid)


def _end(pid: int) -> None:
    """Kill one and wait until it is dead: it leaves its namespace, so its list, earlier than that.

    It is not reaped: whoever asks its ``Popen`` still learns how it ended.
    """
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
        if not select.select([process], [], [], PATIENCE)[0]:
            raise LabError(f"process {pid} does not die")
    except ProcessLookupError:
        return
    finally:
        os.close(process)


@contextmanager
def entered(namespace: str) -> Iterator[None]:
    """This thread, and no other, is in the namespace for the block: new sockets belong to it."""
    with Path("/proc/thread-self/ns/net").open("rb") as home:
        with (FOLDER / namespace).open("rb") as there:
            _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET):
        code = ctypes.get_errno()
        raise LabError(f"setns: {os.strerror(code)}")


def sweep() -> list[str]:
    """Remove what runs left behind that are dead; the names of that. One sweeps at a time."""
    if not FOLDER.exists():
        return []
    folder = os.open(FOLDER, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        swept = [each.name for each in FOLDER.iterdir() if is_orphan(each.name)]
        for each in swept:
            remove(each)
        return swept
    finally:
        os.close(folder)


def is_orphan(namespace: str) -> bool:
    """Whether it is a lab's namespace and the process that made it is no more."""
    if not (match := _NAME.fullmatch(namespace)):
        return False
    return _started(int(match[1])) != match[2]


def _started(pid: int) -> str:
    """When a process started, in ticks since boot: pids come again, this does not. Empty: dead."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    state, *rest = text.rpartition(")")[2].split()
    return "" if state in "ZX" else rest[18]
