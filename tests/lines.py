"""What a process has said in a file that it may be writing to at this moment."""

from __future__ import annotations

from pathlib import Path


def whole_lines(file: Path) -> list[str]:
    """Its lines, without one whose end is not there yet: a line written in one call may be seen in
    parts all the same, where it goes over the end of a page of memory."""
    return [line.decode() for line in file.read_bytes().split(b"\n")[:-1]]
