"""Files that are followed: whether they hold what they held at the last look.

The law: what a file holds counts, not when it was written, and of a secret nothing is kept but a
digest; one that cannot be read is a change as well, once. This module must not know what the files
are for.
"""

from __future__ import annotations

import hashlib
from pathlib import Path


class Followed:
    """Some files. Make it before they are read: what is written meanwhile is a change."""

    def __init__(self, *files: Path) -> None:
        self.files = files
        self._seen = self._look()

    def have_changed(self) -> bool:
        """Whether one of them holds anything else than at the last look, or cannot be read for
        another reason."""
        before, self._seen = self._seen, self._look()
        return self._seen != before

    def _look(self) -> list[str]:
        return [_mark(file) for file in self.files]


def _mark(file: Path) -> str:
    """What the file holds, or why it cannot be read."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        return str(error)
