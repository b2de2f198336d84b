"""Path patterns, the language of foreign grants, and the part of it that prefixes can say.

Grammar (moq-pattern): literal segments, ``*`` for one segment, ``a*b`` inside one, ``**`` for any
number of them, at most once; ``foo`` is exactly ``foo`` and ``foo/**`` is it and all below. The
law: a translation never allows more than what was written; what cannot be said is named, never
guessed. This module must not know who grants what to whom.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from relay.auth.pattern import matches_segment, pattern_fault
from relay.errors import BadRequest
from relay.path import MAX_LENGTH, MAX_SEGMENTS, Path, covering

ANYTHING = "**"
"""The segment that stands for any number of segments, none included."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern, relative to some root. ``Pattern.parse("")`` is exactly the root."""

    segments: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read a pattern. Raises `ValueError` with a sentence about what is wrong with it."""
        if len(text) > MAX_LENGTH:
            raise ValueError(f"longer than {MAX_LENGTH} characters")
        if fault := pattern_fault(text):
            raise ValueError(fault)
        return cls(tuple(text.split("/")) if text else ())

    def __str__(self) -> str:
        return "/".join(self.segments)

    @property
    def is_literal(self) -> bool:
        """Whether it names exactly one path."""
        return not any("*" in segment for segment in self.segments)

    @property
    def subtree(self) -> Path | None:
        """The prefix that covers exactly what this pattern matches; ``None`` when none does.

        A literal as long as a path may be has nothing below it, so it is a prefix as well.
        """
        if self.is_literal:
            return Path(str(self)) if len(self.segments) == MAX_SEGMENTS else None
        *head, last = self.segments
        plain = last == ANYTHING and not any("*" in segment for segment in head)
        return Path("/".join(head)) if plain else None

    def matches(self, path: Path) -> bool:
        """Whether ``path`` (relative to the pattern's root) is one of those it names."""
        found = path.segments
        if ANYTHING not in self.segments:
            return _match(self.segments, found)
        at = self.segments.index(ANYTHING)
        head, tail = self.segments[:at], self.segments[at + 1 :]
        if len(found) < len(head) + len(tail):
            return False
        return _match(head, found[:at]) and _match(tail, found[len(found) - len(tail) :])


class Prefixes(NamedTuple):
    """What of a union of patterns prefixes can say."""

    prefixes: tuple[Path, ...]
    """Never more than the union; none lies under another."""
    unsaid: tuple[str, ...]
    """The patterns that were left out, as they were written."""


def to_prefixes(patterns: Iterable[str]) -> Prefixes:
    """The subtrees of a union of patterns. Raises `ValueError` when one of them is no pattern."""
    said: list[Path] = []
    unsaid: list[str] = []
    for text in patterns:
        try:
            prefix = Pattern.parse(text).subtree
        except (ValueError, BadRequest) as error:
            raise ValueError(f"{text[:80]!r} is no pattern: {error}") from None
        if prefix is None:
            unsaid.append(text)
        else:
            said.append(prefix)
    return Prefixes(covering(said), tuple(unsaid))


def to_patterns(prefixes: Iterable[Path]) -> tuple[list[str], list[str]]:
    """The patterns that say ``prefixes``, and those of the prefixes that no pattern can say.

    ``p`` becomes ``p/**`` and the root ``**``. A prefix with a ``*`` in it cannot be written: there
    is no escape, and as a pattern it would mean more.
    """
    patterns: list[str] = []
    unsaid: list[str] = []
    for prefix in prefixes:
        if "*" in prefix:
            unsaid.append(str(prefix))
        elif len(prefix.segments) == MAX_SEGMENTS:
            patterns.append(str(prefix))
        else:
            patterns.append(f"{prefix}/{ANYTHING}" if prefix else ANYTHING)
    return patterns, unsaid


def _match(segments: tuple[str, ...], found: tuple[str, ...]) -> bool:
    return len(segments) == len(found) and all(map(matches_segment, segments, found))
