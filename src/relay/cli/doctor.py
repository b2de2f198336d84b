"""``relay doctor``: how each reader of the field would judge one token, and why.

The law: the token and the key stay here and are never printed; an opinion is one of recorded rules,
nothing foreign is run. This module must not know any rule; it asks `relay.auth.doctor` and draws
the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from relay.auth.credentials import looks_like_key, looks_like_token
from relay.auth.doctor import Bench, Case, Diagnosis, diagnose
from relay.auth.keys import MAX_KEY_FILE
from relay.auth.sayings import sayings
from relay.auth.specimen import Specimen, lay_open
from relay.cli.options import asked_time
from relay.cli.sheet import DENIED, grid, marked, read_token, say, say_json

_SIGNATURES = {
    "good": "The signature is good.",
    "bad": "The signature is not by this key.",
    "unchecked": "The signature was not checked: it is taken for good.",
}


@click.command(short_help="Judge a token as other tools of the field would.")
@click.argument("token")
@click.option("--key", type=click.Path(path_type=Path), help="Key file, to check the signature.")
@click.option("--path", metavar="PATH", help="Where it would connect; default the token's root.")
@click.option("--at", metavar="TIME", help="Judge as of then: a date, unix seconds, +1h.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def doctor(
    ctx: click.Context,
    token: str,
    key: Path | None,
    path: str | None,
    at: str | None,
    as_json: bool,
) -> None:
    """Judge TOKEN, a JWT ('-' = stdin), as the field's readers would, and as this relay does.

    Exit status: 0 this relay accepts it, 1 it refuses, 2 usage.
    """
    text = read_token(token, None)
    if not text:
        raise click.UsageError("expected a token, a JWT, and this is empty")
    _require_jwt(text)
    specimen = lay_open(text)
    case = Case(specimen, None if key is None else _bench(key), asked_time(at), path)
    found = diagnose(case, text)
    if as_json:
        opinions = [asdict(opinion) for opinion in found.opinions]
        said = {"token": sayings(specimen), "signature": found.signature, "opinions": opinions}
        say_json(said)
    else:
        say(_sheet(found, specimen, key is not None))
    ctx.exit(0 if found.opinions[-1].accepts else DENIED)


def _require_jwt(text: str) -> None:
    """Raises `click.UsageError` for a credential of another kind, which no other reader knows."""
    if looks_like_token(text):
        what = "API token"
    elif looks_like_key(text) and not lay_open(f"{text}.").header.members:
        what = "API key"
    else:
        return
    ask = "relay explain URL --config relay.toml --token -"
    raise click.UsageError(f"that is an {what}, and only JWTs are judged here; ask: {ask}")


def _bench(file: Path) -> Bench:
    """Raises `ConfigError`."""
    try:
        with file.open("rb") as opened:
            return Bench.load(opened.read(MAX_KEY_FILE + 1), str(file))
    except OSError as error:
        raise click.UsageError(f"{file}: {error.strerror}") from None


def _sheet(found: Diagnosis, specimen: Specimen, keyed: bool) -> Iterator[Any]:
    if specimen.strict is not None:
        yield Text("! ", style="yellow").append(f"read strictly: {specimen.strict}")
    table = grid("-", "-", "-", "fold")
    for opinion in found.opinions:
        sign, verdict = marked(
            "passed" if opinion.accepts else "failed", "accepts" if opinion.accepts else "refuses"
        )
        why = opinion.why or "; ".join(opinion.remarks)
        table.add_row(sign, Text(opinion.title, style="bold"), verdict, why)
    yield table
    yield ""
    yield Text(_SIGNATURES[found.signature], style="dim")
    if not keyed:
        yield Text("With --key FILE it is checked.", style="dim")
