"""A wall clock that can be wrong: programs started with it see the time it says.

libfaketime stands between the program and the kernel. Monotonic time is left alone, as a step of a
real machine's clock leaves it, and so are the times of files. This module must not know hosts.
"""

from __future__ import annotations

import os
from pathlib import Path

LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib")


def library() -> Path | None:
    """Where libfaketime is, the variety for programs with threads; ``None`` if it is not there."""
    for folder in LIBRARIES:
        for pattern in ("*/faketime/libfaketimeMT.so.1", "faketime/libfaketimeMT.so.1"):
            if found := sorted(Path(folder).glob(pattern)):
                return found[0]
    return None


class Clock:
    """How far the wall clock of some programs is off."""

    def __init__(self, file: Path) -> None:
        """``file`` is where the programs look; it lives as long as they do."""
        self.file = file
        self.offset = 0.0
        self.step(0.0)

    def step(self, seconds: float) -> None:
        """Set the clock forward, or back; running programs see it with their next look."""
        self.offset += seconds
        fresh = self.file.with_name(f"{self.file.name}.new")
        fresh.write_text(f"{self.offset:+.6f}\n")
        os.replace(fresh, self.file)

    def environment(self) -> dict[str, str]:
        """What a program that shall see this clock is started with."""
        found = library()
        if found is None:
            raise FileNotFoundError("libfaketime is missing")
        return {
            "LD_PRELOAD": str(found),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
