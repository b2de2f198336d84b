"""Who may publish or watch a path, and by which rule: the settings read from the path's side.

The law: every rule that could ever let somebody in is listed, from the public down to one key, and
none is judged; what a credential adds of its own is for `decide`. This module must not know files
or the clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from relay.auth.credentials import Kind
from relay.auth.facts import StoredToken
from relay.auth.keys import Key
from relay.auth.settings import AuthSettings
from relay.path import ROOT, Path
from relay.reserve import NOTHING_MORE, Reserve, of_every_relay

PUBLISH, SUBSCRIBE = "publish", "subscribe"


@dataclass(frozen=True, slots=True)
class Way:
    """One rule by which somebody may reach a path, or part of what is below it."""

    verb: str
    """``publish`` or ``subscribe``."""
    who: str
    """For people: ``everybody``, ``whoever has a token by the key v1``…"""
    rule: str
    """The setting, the member of a key or the API token that says so."""
    prefix: Path
    """What the rule covers, from the root of the relay."""
    relays: bool = False
    """Whether a relay may come by it, for whom nothing is reserved."""
    whole: bool = False
    """Whether the path that was asked about is covered itself; else only something below it is."""


def ways(
    path: Path,
    settings: AuthSettings,
    keys: Iterable[tuple[str, Key]],
    tokens: Iterable[StoredToken] = (),
    reserve: Reserve = NOTHING_MORE,
) -> tuple[Way, ...]:
    """All ways to ``path``; ``keys`` with the name of the source each came from, ``tokens`` those
    of the store that are good, ``reserve`` what only relays do.

    First those to publish, then those to subscribe; in each the widest known circle first.
    """
    listed, kept = tuple(keys), tuple(tokens)
    found = [
        way
        for verb in (PUBLISH, SUBSCRIBE)
        for way in (*_candidates(verb, settings, listed), *_by_token(verb, settings, kept))
        if way.prefix.is_under(path) or path.is_under(way.prefix)
    ]
    # Of the path and the prefix one lies below the other: what can be reached is the longer one.
    return tuple(
        replace(way, whole=path.is_under(way.prefix))
        for way in found
        if way.relays or not reserve.bars(way.verb, max(way.prefix, path, key=len))
    )


def _candidates(
    verb: str, settings: AuthSettings, keys: tuple[tuple[str, Key], ...]
) -> Iterator[Way]:
    def taken(kind: Kind | str) -> bool:
        return is_taken(verb, settings, kind)

    if settings.url is not None:
        yield Way(verb, "whoever the server that decides lets in", "auth.url", ROOT, relays=True)
    if taken("public"):
        for prefix in getattr(settings.public, verb):
            yield Way(verb, "everybody, without a token", f"auth.public.{verb}", prefix)
    if taken("jwt"):
        for source, key in keys:
            yield from _by_key(verb, source, key)
    if taken("api_key"):
        for name, each in settings.api_keys.items():
            for prefix in getattr(each, verb):
                who, rule = f"whoever has the API key {name}", f"auth.api_keys.{name}.{verb}"
                yield Way(verb, who, rule, each.root.join(prefix))
    if taken("certificate"):
        for name, fit in settings.certificates.items():
            who = f"whoever has a client certificate by the rule {name}"
            rule = f"auth.certificates.{name}.{'full_access' if fit.full_access else verb}"
            prefixes = (ROOT,) if fit.full_access else getattr(fit, verb)
            reach = [fit.root.join(prefix) for prefix in prefixes]
            for prefix in reach:
                yield Way(verb, who, rule, prefix, relays=fit.cluster)
            for prefix in of_every_relay(ROOT) if fit.cluster and ROOT not in reach else ():
                yield Way(verb, who, f"auth.certificates.{name}.cluster", prefix, relays=True)


def is_taken(verb: str, settings: AuthSettings, kind: Kind | str) -> bool:
    """Whether such a credential, or ``public``, is taken for ``verb`` anywhere."""
    direction = settings.ingest if verb == PUBLISH else settings.consumption
    surfaces = (settings.session, settings.http)
    return direction.takes(kind) and any(surface.takes(kind) for surface in surfaces)


def _by_token(verb: str, settings: AuthSettings, tokens: tuple[StoredToken, ...]) -> Iterator[Way]:
    """What API tokens allow, unless somebody else is asked about them."""
    if settings.url is not None and settings.contract == "events":
        return
    if is_taken(verb, settings, "token"):
        for token in tokens:
            for prefix in getattr(token, verb):
                who, rule = f"whoever has the API token {token.name}", f"{token.id} in the store"
                yield Way(verb, who, rule, token.root.join(prefix))


def _by_key(verb: str, source: str, key: Key) -> Iterator[Way]:
    """What tokens by a key may allow at most: its scope, or everything."""
    if not key.can_verify:
        return
    who = f"whoever has a token by the key {key.kid or 'without a name'} that says so"
    if key.scope is None:
        yield Way(verb, who, f"{source}: the key has no scope", ROOT, relays=True)
        return
    member = "put" if verb == PUBLISH else "get"
    for prefix in getattr(key.scope, member):
        reach, relays = key.scope.root.join(prefix), key.scope.reaches_all
        yield Way(verb, who, f"{source}: scope.{member}", reach, relays=relays)
