"""Times, sizes and shares of memory with their units, as upstream writes them, as numbers.

The law: a text that is none of these is left as it is, for whoever checks types to complain of.
This module must not know which settings are times or sizes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{1,9})?)"
_PART = re.compile(rf"\s*{_NUMBER}\s*([A-Za-z]+)\s*")
_SIZE = re.compile(rf"{_NUMBER}\s*([A-Za-z]*)")
_SHARE = re.compile(rf"{_NUMBER}\s*%")

_UNITS = {
    word: seconds
    for seconds, words in (
        (0.001, "ms msec millis"),
        (1.0, "s sec secs second seconds"),
        (60.0, "m min mins minute minutes"),
        (3600.0, "h hr hrs hour hours"),
        (86_400.0, "d day days"),
        (604_800.0, "w wk wks week weeks"),
    )
    for word in words.split()
}
_SIZES = {"": 1, "b": 1} | {
    prefix + suffix: base**power
    for power, prefix in enumerate("kmgt", 1)
    for suffix, base in (("", 1000), ("b", 1000), ("i", 1024), ("ib", 1024))
}


def seconds(text: str) -> float | str:
    """``"30s"``, ``"1m30s"``, ``"2 hours"`` in seconds."""
    total, at = 0.0, 0
    while at < len(text):
        part = _PART.match(text, at)
        if part is None or part[2] not in _UNITS:
            return text
        total += float(part[1]) * _UNITS[part[2]]
        at = part.end()
    return total if text else text


def size(text: str) -> int | str:
    """``"256MiB"``, ``"8G"``, ``"64 kB"`` in bytes; the case of letters says nothing."""
    found = _SIZE.fullmatch(text)
    if found is None or found[2].lower() not in _SIZES:
        return text
    return int(float(found[1]) * _SIZES[found[2].lower()])


def share(text: str, root: Path = Path("/")) -> int | str:
    """``"75%"`` of the memory there is, in bytes; what a container may have is all there is.

    ``root`` is where ``proc`` and ``sys`` are found.
    """
    found = _SHARE.fullmatch(text)
    if found is None or not 0 < float(found[1]) <= 100:
        return text
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(min((memory, *_limits(root))) * float(found[1]) / 100)


def _limits(root: Path) -> Iterator[int]:
    """What the groups of processes that we are in may have, ours and all around it."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return
    for line in groups:
        _, _, named = line.partition(":")
        controllers, _, group = named.partition(":")
        if controllers == "":
            top, file = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            top, file = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        inner = top.joinpath(*(name for name in group.split("/") if name not in ("", "..")))
        for folder in (inner, *inner.parents):
            if not folder.is_relative_to(top):
                break
            try:
                yield int((folder / file).read_text())
            except (OSError, ValueError):
                continue  # no such group in here, or no limit ("max")
