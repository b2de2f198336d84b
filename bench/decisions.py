"""What a decision costs: `relay.auth.decide` beside a bare check of the same token by PyJWT.

The law: contenders take turns round by round in one process, only CPU time counts, and nothing is
timed before its answer was seen to be right. This script must not know the network, and it judges
no figure: whoever reads them knows the machine.
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path as File
from typing import Any, NamedTuple

import click
import jwt
from contest import FULL, QUICK, Contender, Contest, Pace, measure, table
from rich.console import Console

from relay.auth.claims import Claims
from relay.auth.decide import Request, decide
from relay.auth.facts import Facts
from relay.auth.keys import Key, KeySet, generate
from relay.auth.mint import sign
from relay.auth.revocation import Revocation, Revocations
from relay.auth.settings import AuthSettings
from relay.path import Path

ALGORITHMS = ("HS256", "ES256", "RS256", "EdDSA")
REVOCATIONS = (0, 100, 10_000)

TOKENS = 16
"""Different tokens that each contender is given in turn."""

LIFETIME = 86_400
"""Seconds a token is valid: PyJWT reads the clock, so they must outlive the run."""

WIDTH = 120
"""Columns of the tables where the output is no terminal."""

SETTINGS = AuthSettings()


class Stand(NamedTuple):
    """Keys and tokens, and the moment the relay believes it is (unix seconds)."""

    keys: KeySet
    good: dict[str, list[str]]
    """By algorithm."""
    now: float

    def key(self, algorithm: str) -> Key:
        """The key of that algorithm, which is named after it."""
        (found,) = (key for key in self.keys.keys if key.kid == algorithm)
        return found


def set_up(now: float) -> Stand:
    """Fresh keys, one of each algorithm in one set, and tokens by them."""
    keys = KeySet(tuple(generate(algorithm, algorithm) for algorithm in ALGORITHMS))
    good = {str(key.kid): tokens(key, now) for key in keys.keys}
    return Stand(keys, good, now)


def tokens(key: Key, now: float) -> list[str]:
    """Tokens such as an application would sign, each with an id of its own."""
    claims = Claims(
        root=Path("demo"),
        put=(Path("room/alice"),),
        get=(Path("room"),),
        exp=math.floor(now) + LIFETIME,
        sub="alice",
    )
    return [sign(replace(claims, jti=f"token-{each}"), key, now) for each in range(TOKENS)]


def tampered(good: Sequence[str]) -> list[str]:
    """Each token with its neighbour's signature: well formed, by the right key, and wrong."""
    return [
        f"{token.rpartition('.')[0]}.{other.rpartition('.')[2]}"
        for token, other in zip(good, [*good[1:], good[0]], strict=True)
    ]


def revoked(count: int) -> Facts:
    """Facts with ``count`` revocations in force, by every name a token has; none strikes."""
    names = ("jti", "sub", "kid", "tenant")
    entries = (Revocation(names[each % 4], f"other-{each}") for each in range(count))
    index = Revocations(entries)
    require(len(index) == count, f"{len(index)} revocations are in force instead of {count}")
    return Facts(revoked=index.check)


def require(condition: bool, otherwise: str) -> None:
    """Raises `click.ClickException`: figures of something else are worse than none."""
    if not condition:
        raise click.ClickException(otherwise)


def deciding(
    name: str, stand: Stand, given: Iterable[str], facts: Facts, code: str = "allowed"
) -> Contender:
    """The relay's whole decision, from the query to the grant; it must end with ``code``."""
    requests = [Request(target=f"/demo/room?jwt={token}") for token in given]
    keys, now = stand.keys, stand.now

    def judge(request: Request) -> object:
        return decide(request, keys, SETTINGS, now, facts)

    for request in requests:
        found = decide(request, keys, SETTINGS, now, facts).reason.code
        require(found == code, f"{name}: {found} instead of {code}")
    return Contender(name, judge, requests)


def bare(name: str, stand: Stand, algorithm: str) -> Contender:
    """PyJWT with the key at hand: signature and times, no search for a key and no rights."""
    key: Any = stand.key(algorithm).material.verifying
    only = [algorithm]

    def judge(token: str) -> object:
        return jwt.decode(token, key, algorithms=only)

    given = stand.good[algorithm]
    for token in given:
        require(jwt.decode(token, key, algorithms=only)["sub"] == "alice", f"{name}: other claims")
    for token in tampered(given):
        require(_is_refused(token, key, algorithm), f"{name}: took a wrong signature")
    return Contender(name, judge, given)


def _is_refused(token: str, key: Any, algorithm: str) -> bool:
    try:
        jwt.decode(token, key, algorithms=[algorithm])
    except jwt.InvalidSignatureError:
        return True
    return False


def contests(stand: Stand) -> list[Contest]:
    """Everything that is measured."""
    plain = Facts()
    compared = [
        Contest(
            f"good token, {name}",
            (
                deciding("decide", stand, stand.good[name], plain),
                bare("PyJWT alone", stand, name),
            ),
        )
        for name in ALGORITHMS
    ]
    return [*compared, *(_refused(stand, name) for name in ALGORITHMS), _revocations(stand)]


def _refused(stand: Stand, algorithm: str) -> Contest:
    good, plain = stand.good[algorithm], Facts()
    unknown = tokens(replace(stand.key(algorithm), kid="nobody"), stand.now)
    return Contest(
        f"refused token, {algorithm}",
        (
            deciding("bad signature", stand, tampered(good), plain, "bad_signature"),
            deciding("unknown kid", stand, unknown, plain, "unknown_kid"),
            deciding("good token", stand, good, plain),
        ),
    )


def _revocations(stand: Stand) -> Contest:
    """With the algorithm whose signature is cheapest to check, so that the rest is seen."""
    good = stand.good["HS256"]
    counted = [
        deciding(f"{count:,} revocations", stand, good, revoked(count))
        for count in reversed(REVOCATIONS)
    ]
    again = deciding("0 revocations, again", stand, good, revoked(0))
    return Contest("revocations, HS256", (*counted[:-1], again, counted[-1]))


def setting(pace: Pace) -> dict[str, Any]:
    """On what it was measured, without which the figures say nothing."""
    packages = ("pyjwt", "cryptography")
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "machine": platform.machine(),
        "packages": {name: version(name) for name in packages},
        "rounds": pace.rounds,
        "turn_seconds": pace.turn,
        "tokens": TOKENS,
    }


@click.command()
@click.option("--quick", is_flag=True, help="Only see whether it works; the figures are rough.")
@click.option(
    "--json",
    "file",
    type=click.Path(dir_okay=False, writable=True, path_type=File),
    help="Write the figures to this file as well.",
)
def main(quick: bool, file: File | None) -> None:
    """Measure what decisions cost, in CPU time of this process."""
    pace = QUICK if quick else FULL
    listed = contests(set_up(time.time()))
    figures = [each for contest in listed for each in measure(contest, pace)]
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(table(figures))
    if file is not None:
        written = {"setting": setting(pace), "figures": [each.members() for each in figures]}
        file.write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
