"""What a relay takes for itself before it begins."""

from __future__ import annotations

import resource
import signal
import subprocess

from relay.server.running import heed_children, widen


def test_as_many_descriptors_as_there_may_be() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        widen()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_how_a_child_ended_is_heard_where_it_was_ignored_before() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        heed_children()
        assert subprocess.run(["sh", "-c", "exit 7"], check=False).returncode == 7
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_how_a_child_ended_is_heard_where_that_was_held_back_before() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        heed_children()
        assert signal.SIGCHLD not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
