"""Path patterns of moq-auth (moq-pattern): what is one, and what it matches.

The law: grammar and meaning are upstream's; rights in this house are prefixes and never patterns.
This module must not know tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

from relay.path import MAX_SEGMENTS


def pattern_fault(text: str) -> str | None:
    """What makes ``text`` no pattern, ``None`` when it is one; the empty one is one."""
    segments = text.split("/") if text else []
    if "" in segments:
        return "an empty segment"
    if len(segments) > MAX_SEGMENTS:
        return f"{len(segments)} segments (at most {MAX_SEGMENTS})"
    if segments.count("**") > 1:
        return "** more than once"
    if any(segment != "**" and segment.count("*") > 1 for segment in segments):
        return "more than one * in a segment"
    return None


def reaches(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """Whether a pattern matches ``path`` or anything below it; both as segments."""
    if not path:
        return True
    if not pattern:
        return False
    first, rest = pattern[0], pattern[1:]
    if first == "**":
        return reaches(rest, path) or reaches(pattern, path[1:])
    return matches_segment(first, path[0]) and reaches(rest, path[1:])


def matches_segment(segment: str, name: str) -> bool:
    """Whether one segment of a pattern, with at most one star in it, matches a name."""
    before, star, after = segment.partition("*")
    if not star:
        return segment == name
    fits = len(name) >= len(before) + len(after)
    return fits and name.startswith(before) and name.endswith(after)
