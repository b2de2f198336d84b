"""Names of broadcasts: the only prefix rule in the house.

A path is a list of segments joined by single slashes, without a slash at either end; the empty path
is the root and contains everything. Segments are compared byte by byte: no case folding, no Unicode
normalisation, no percent-decoding, and ``.`` and ``..`` mean nothing here. What an HTTP address
escapes is taken off in one place, `named`. This module must not know what a path names or who may
use it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import parse_qsl, quote, unquote

from relay.errors import BadRequest

MAX_SEGMENTS = 32
"""Segments of one path, as the field's relays count them (moq-lite, "broadcast path")."""

MAX_LENGTH = 4096
"""Characters of one path; longer ones are refused before anything is stored."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Characters that may end a line somewhere, or do something to a terminal."""

_UNSEEN = re.compile(
    _CONTROL.pattern[:-1]
    + "\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001\U000e0020-\U000e007f]"
)
"""Those, and Unicode's format characters: with them a name is read as another, or the rest of its
line backwards. Not the joiners U+200C and U+200D, without which scripts and emoji fall apart."""

_MALFORMED = re.compile("%(?![0-9A-Fa-f]{2})")

_SLASH = re.compile("(%2[Ff])")

_KEPT = "%/!$&'()*+,-.:;=@[\\]^_|~"
"""Characters beside letters and digits that stay as they are in the path of a URL."""


class Path(str):
    """A normalised path: ``Path("/a//b/") == "a/b"``. Immutable, hashable, cheap to compare.

    Raises `BadRequest` for more than `MAX_SEGMENTS` segments or `MAX_LENGTH` characters.
    """

    __slots__ = ()

    def __new__(cls, text: str = "") -> Path:
        if type(text) is cls:
            return text
        if len(text) > MAX_LENGTH:
            raise BadRequest(f"a path of {len(text)} characters (at most {MAX_LENGTH})")
        if "//" in text or text[:1] == "/" or text[-1:] == "/":
            text = "/".join([segment for segment in text.split("/") if segment])
        if text.count("/") >= MAX_SEGMENTS:
            segments = text.count("/") + 1
            raise BadRequest(f"a path of {segments} segments (at most {MAX_SEGMENTS})")
        return super().__new__(cls, text)

    @property
    def first(self) -> str | None:
        """The first segment; the root has none."""
        return self.partition("/")[0] or None

    @property
    def segments(self) -> tuple[str, ...]:
        """The segments, none of them empty; the root has none."""
        return tuple(self.split("/")) if self else ()

    @property
    def parents(self) -> Iterator[Path]:
        """The paths that contain it, the longest first and the root last; the root has none."""
        above: str = self
        while above:
            above = above.rpartition("/")[0]
            yield str.__new__(Path, above)  # the beginning of a path is one

    def join(self, other: str) -> Path:  # type: ignore[override]
        """``other`` below this path. Raises `BadRequest` when the result is too long."""
        if not self:
            return Path(other)
        return Path(f"{self}/{other}") if other else self

    def is_under(self, prefix: Path) -> bool:
        """Whether this path is ``prefix`` or lies below it, on a segment border."""
        return not prefix or self == prefix or self.startswith(prefix + "/")

    def relative_to(self, prefix: Path) -> Path:
        """The rest of this path below ``prefix``. Raises `ValueError` unless it `is_under` it."""
        if not prefix:
            return self
        if not self.is_under(prefix):
            raise ValueError(f"{self!r} is not under {prefix!r}")
        return str.__new__(Path, self[len(prefix) + 1 :])  # the rest of a path is one


ROOT = Path("")


def fits(path: str, pattern: Sequence[str]) -> bool:
    """Whether a pattern of segments covers ``path``: ``*`` stands for one segment, and ``**`` at
    the end for any number of them, none included."""
    segments = [each for each in path.split("/") if each]
    if pattern and pattern[-1] == "**":
        pattern = pattern[:-1]
        segments = segments[: len(pattern)]
    return len(segments) == len(pattern) and all(
        wanted in ("*", found) for wanted, found in zip(pattern, segments, strict=True)
    )


def may_fit_below(prefix: Path, pattern: Sequence[str]) -> bool:
    """Whether such a pattern covers any path that `is_under` the prefix."""
    for wanted, found in zip(pattern, prefix.segments, strict=False):
        if wanted == "**":
            return True
        if wanted not in ("*", found):
            return False
    return len(prefix.segments) <= len(pattern)


def on_one_line(text: str) -> str:
    """What somebody named as part of one line: control and format characters, with which a name
    could begin another, do something to a terminal or be read as another, are percent-encoded."""
    return _UNSEEN.sub(lambda found: quote(found[0]), text)


def as_dialled(path: str) -> str:
    """A path as a client that is given it within a URL writes it on the wire: browsers and others
    percent-encode what they do not take for part of one, such as blanks, ``#`` and ``é``."""
    return quote(path, safe=_KEPT, errors="surrogatepass")


def within(query: str) -> str:
    """Path and query that a client says who dials a unix socket: ``path=`` in the query of the URL,
    whose own path is that of the socket."""
    said = (value for name, value in parse_qsl(query, keep_blank_values=True) if name == "path")
    return next(said, "") or "/"


def unescaped(segment: str) -> str:
    """One segment of an HTTP address without its percent-escapes, which are taken off once.

    Raises `BadRequest` for escapes that are none, or that hold no UTF-8 or a control character.
    """
    if _MALFORMED.search(segment):
        raise BadRequest("a % in the address is the beginning of an escape; for itself it is %25")
    try:
        plain = unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest("what the address escapes is not UTF-8") from None
    if _CONTROL.search(plain):
        raise BadRequest("the address holds control characters")
    return plain


def named(address: str, literal: Iterable[Path] = ()) -> Path:
    """The broadcast that the path of an HTTP address names: its segments without their escapes.

    Sessions are at the path that they dial, escapes and all, and so are the rights that are made
    for that: what the address has in common with one of ``literal``, down to its end or the
    address's, is meant as it stands; of several the longest. An escaped slash stays one: no segment
    becomes two after it was decided about. Raises `BadRequest`.
    """
    segments = [each for each in address.split("/") if each]
    plain = [_in_one(each) for each in segments]
    kept = 0
    for prefix in literal:
        common = min(len(prefix.segments), len(segments))
        if list(prefix.segments[:common]) == segments[:common]:
            kept = max(kept, common)
    return Path("/".join(segments[:kept] + plain[kept:]))


def _in_one(segment: str) -> str:
    pieces = _SLASH.split(segment)  # at odd places what it was split at
    return "".join([each if at % 2 else unescaped(each) for at, each in enumerate(pieces)])


def covering(prefixes: Iterable[Path]) -> tuple[Path, ...]:
    """The shortest list of prefixes that contains the same paths: sorted, none under another."""
    kept: list[Path] = []
    for prefix in sorted(set(prefixes), key=lambda p: (len(p.segments), p)):
        if not any(prefix.is_under(wider) for wider in kept):
            kept.append(prefix)
    return tuple(sorted(kept))
