"""Which broadcast and which track an address means.

The law: one address has one meaning, and it is found without looking at what exists at the moment.
In this order: ``track`` in the query names the track and the whole path is the broadcast; the
longest declared track, or its dead letters, that the path ends in; a version (``v1``, ``v1.2``)
after two segments or more belongs to the segment before it; else the last segment is the track.
Track names are unescaped; broadcast paths stay as they came, since what of them is meant as it
stands depends on who asks. This module must not know rights or settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from relay.errors import BadRequest
from relay.path import fits, unescaped

VERSION = re.compile(r"v[0-9]{1,9}(?:\.[0-9]{1,9}){0,3}")
DEAD = ".dlq"
"""What the name of a track's dead letters ends in."""

MAX_TRACK = 512
"""Characters of a track name."""


class Address(NamedTuple):
    """What an address means."""

    broadcast: str
    """As it came, escaped, without a slash at either end."""
    track: str
    """The name without its version."""
    version: str | None
    """``v1``, where the address says one."""

    @property
    def name(self) -> str:
        """The track's whole name, where the address settles it."""
        return self.track if self.version is None else f"{self.track}/{self.version}"


@dataclass(frozen=True)
class Declared:
    """One declared route: a pattern of broadcasts and a track.

    Of a pattern ``*`` stands for one segment, and ``**`` at its end for any number of them.
    """

    pattern: tuple[str, ...]
    track: str
    version: str | None

    @classmethod
    def parse(cls, text: str) -> Declared:
        """``plant/*/temperature/v2`` or, beyond doubt, ``plant/*:temperature/v2``.

        Raises `ValueError`.
        """
        left, colon, right = text.rpartition(":")
        if colon:
            pattern = [each for each in left.split("/") if each]
            names = [each for each in right.split("/") if each]
        else:
            pattern = [each for each in text.split("/") if each]
            at = -2 if len(pattern) > 2 and VERSION.fullmatch(pattern[-1]) else -1
            pattern, names = pattern[:at], pattern[at:]
        version = names.pop() if len(names) > 1 and VERSION.fullmatch(names[-1]) else None
        if not pattern or not names:
            raise ValueError("expected broadcast/track, broadcast/track/v1 or broadcast:track")
        if "**" in pattern[:-1] or any("*" in name for name in names):
            raise ValueError("expected ** at the end of the broadcast only, and no * in a track")
        return cls(tuple(pattern), "/".join(names), version)

    def fits(self, broadcast: str) -> bool:
        """Whether the pattern covers the broadcast."""
        return fits(broadcast, self.pattern)

    def may_fit(self, segments: Sequence[str], plain: Sequence[str]) -> bool:
        """Whether it covers what an address may mean: each segment as it stands, or unescaped."""
        wanted = (*self.pattern, *[""] * len(segments))
        triples = zip(wanted, segments, plain, strict=False)
        return self.fits("/".join([raw if each == raw else said for each, raw, said in triples]))

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Versions by number, none first."""
        return tuple(map(int, self.version[1:].split("."))) if self.version else ()


def read(path: str, declared: Iterable[Declared], track: str | None = None) -> Address:
    """What ``path`` (escaped, without query) means; ``track`` is that of the query.

    Raises `BadRequest` when it names no broadcast or no track.
    """
    segments = [each for each in path.split("/") if each]
    if track is not None:
        if not segments:
            raise BadRequest("no broadcast is named")
        return _named("/".join(segments), track)
    if len(segments) < 2:
        raise BadRequest("a broadcast and a track are named, in this order")
    names = [unescaped(each) for each in segments]
    known = list(declared)
    # A declared name has few segments, and a stranger's path may have thousands.
    most = max((each.track.count("/") + 2 for each in known), default=0)
    for at in range(max(1, len(segments) - most), len(segments)):
        broadcast, rest = "/".join(segments[:at]), names[at:]
        near = [each for each in known if each.may_fit(segments[:at], names[:at])]
        whole, shorter = "/".join(rest), "/".join(rest[:-1])
        if any(whole in (each.track, each.track + DEAD) for each in near):
            return Address(broadcast, _checked(whole), None)
        is_known = any(each.track == shorter for each in near)
        if shorter and is_known and VERSION.fullmatch(rest[-1]):
            return Address(broadcast, _checked(shorter), rest[-1])
        if shorter and is_known and VERSION.fullmatch(rest[-1].removesuffix(DEAD)):
            return Address(broadcast, _checked(whole), None)
    last = names[-1]
    if len(segments) > 2 and VERSION.fullmatch(last):
        return Address("/".join(segments[:-2]), _checked(names[-2]), last)
    return _named("/".join(segments[:-1]), last)


def _named(broadcast: str, name: str) -> Address:
    """The address of a track by its whole name, so that its rules hold however it is said."""
    track, slash, version = _checked(name).rpartition("/")
    if slash and track and VERSION.fullmatch(version):
        return Address(broadcast, track, version)
    return Address(broadcast, name, None)


def _checked(track: str) -> str:
    """Raises `BadRequest` for a name that is empty, too long or no text."""
    try:
        track.encode()
    except UnicodeEncodeError:
        raise BadRequest("the track name is not UTF-8") from None
    if not track or len(track) > MAX_TRACK:
        raise BadRequest(f"a track name has 1 to {MAX_TRACK} characters")
    return track
