"""Times, sizes and shares, as upstream's relay takes them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay.config.measures import seconds, share, size

MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("30s", 30.0),
        ("500ms", 0.5),
        ("1.5h", 5400.0),
        ("90 sec", 90.0),
        ("1m30s", 90.0),
        ("1hour 30min", 5400.0),
        (" 2 days ", 172_800.0),
        ("1w", 604_800.0),
        ("10 minutes", 600.0),
    ],
)
def test_times(text: str, meant: float) -> None:
    assert seconds(text) == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1000", 1000),
        ("256MiB", 256 << 20),
        ("8G", 8 * 10**9),
        ("8gib", 8 << 30),
        ("8Gi", 8 << 30),
        ("512mb", 512 * 10**6),
        ("64 kB", 64_000),
        ("64k", 64_000),
        ("1.5GiB", 3 << 29),
        ("2T", 2 * 10**12),
    ],
)
def test_sizes(text: str, meant: int) -> None:
    assert size(text) == meant


@pytest.mark.parametrize(
    "text", ["", " ", "s", "1", "1m30", "1:30", "PT90S", "5 parsecs", "-1s", "1s,2s", "1e3s", "1S"]
)
def test_what_is_no_time_is_left_alone(text: str) -> None:
    assert seconds(text) == text


@pytest.mark.parametrize("text", ["", "k", "1e9", "1_000", "8 gigs", "-1G", "8GiBs", "75%"])
def test_what_is_no_size_is_left_alone(text: str) -> None:
    assert size(text) == text


def test_shares(tmp_path: Path) -> None:
    for text, part in (("100%", 1.0), ("12.5%", 0.125), ("75 %", 0.75)):
        assert share(text, tmp_path) == int(MEMORY * part)
    for text in ("0%", "101%", "%", "-5%", "half", "50"):
        assert share(text, tmp_path) == text


def placed(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    "files",
    [
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1000000\n"},
        {
            "proc/self/cgroup": "0::/system.slice/relay.service\n",
            "sys/fs/cgroup/system.slice/relay.service/memory.max": "max\n",
            "sys/fs/cgroup/system.slice/memory.max": "1000000\n",
        },
        {
            "proc/self/cgroup": "4:cpu,memory:/docker/abc\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "1000000\n",
        },
        {
            "proc/self/cgroup": "0::/../../outside\n",
            "sys/fs/cgroup/memory.max": "1000000\n",
            "memory.max": "1\n",
        },
    ],
)
def test_a_container_has_what_it_may_have(tmp_path: Path, files: dict[str, str]) -> None:
    assert share("50%", placed(tmp_path, files)) == 500_000


@pytest.mark.parametrize("text", ["max\n", "9223372036854771712\n", "?\n"])
def test_without_a_limit_it_is_the_machine(tmp_path: Path, text: str) -> None:
    files = {"proc/self/cgroup": "odd\n0::/\n", "sys/fs/cgroup/memory.max": text}
    assert share("50%", placed(tmp_path, files)) == MEMORY // 2
