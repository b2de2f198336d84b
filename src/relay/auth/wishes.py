"""Whether a grant covers the paths somebody asks about, and by which prefix.

The law: a path is what the guest would call it, relative to where it connects; the answer names
paths from the root of the relay. This module must not know how a grant came about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from relay.auth.grant import Grant
from relay.auth.verify import describe
from relay.errors import BadRequest
from relay.path import Path
from relay.reserve import Reserve, of_every_relay

MAX_WISHES = 64
"""Paths asked about in one explanation; more are left out."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Whether a path is covered, and by what."""

    verb: str
    """``publish`` or ``subscribe``."""
    path: str
    """As the guest names it: relative to the path it connects to."""
    absolute: str
    covered: bool
    prefix: str | None
    """The granted prefix that covers it, from the root of the relay; ``None`` when none does."""
    why: str


def wishes(
    grant: Grant | None,
    at: Path,
    publish: Sequence[str],
    subscribe: Sequence[str],
    without: str,
    reserve: Reserve,
    has_session: bool,
) -> Iterator[Wish]:
    """An answer to each path, those to publish first; where there is no grant, ``at`` is what they
    are relative to, and ``without`` says why there is none. ``reserve`` stands above the grant,
    whose holder is a relay where it says so and ``has_session``."""
    asked = [("publish", path) for path in publish] + [("subscribe", path) for path in subscribe]
    for verb, text in asked[:MAX_WISHES]:
        if grant is None:
            yield _ungranted(at, verb, text, without)
        else:
            yield _wish(grant, verb, text, reserve, grant.cluster and has_session)


def _ungranted(at: Path, verb: str, text: str, why: str) -> Wish:
    try:
        path = Path(text)
        return Wish(verb, path, at.join(path), False, None, why)
    except BadRequest as error:
        return Wish(verb, text, text, False, None, str(error))


def _wish(grant: Grant, verb: str, text: str, reserve: Reserve, is_relay: bool) -> Wish:
    try:
        path = Path(text)
        absolute = grant.root.join(path)
    except BadRequest as error:
        return Wish(verb, text, text, False, None, str(error))
    prefixes = grant.publish if verb == "publish" else grant.subscribe
    if is_relay:
        prefixes += of_every_relay(grant.root)
    covering = next((prefix for prefix in prefixes if path.is_under(prefix)), None)
    if covering is not None and not is_relay and (why := reserve.bars(verb, absolute)):
        return Wish(verb, path, absolute, False, None, why)
    if covering is not None:
        prefix = grant.root.join(covering)
        return Wish(verb, path, absolute, True, prefix, f"covered by {_rooted(prefix)}")
    why = f"the grant does not allow to {verb} anything"
    if prefixes:
        reach = describe(tuple(grant.root.join(prefix) for prefix in prefixes))
        why = f"it may {verb} only below {reach}"
    if grant.root and path.is_under(grant.root):
        rest = path.relative_to(grant.root)
        why += f"; paths are relative to {_rooted(grant.root)}, was {str(rest)!r} meant?"
    return Wish(verb, path, absolute, False, None, why)


def _rooted(path: Path) -> str:
    return f"/{path}" if path else "everything (/)"
