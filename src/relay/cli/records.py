"""``relay records``: API tokens made, listed and revoked; revocations put in force and taken back.

The law: it works on the store itself, beside running relays, which see what it did within a second;
a token's secret is printed once and never again. This module must not know how anything is stored.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from relay.auth.cipher_names import cipher_names
from relay.auth.claims import decode
from relay.auth.compact import split
from relay.auth.credentials import looks_like_token, make_token, read_token, secret_digest
from relay.auth.facts import StoredToken
from relay.auth.revocation import Revocation, outliving
from relay.cli.moment import show_time
from relay.cli.options import MAX_INPUT, named_facts, past_option, time_option
from relay.cli.store import (
    all_tokens,
    json_option,
    operator,
    store_options,
    with_office,
    with_store,
)
from relay.errors import BadRequest, ConfigError
from relay.path import Path, covering, on_one_line
from relay.records.store import MAX_PAGE, Records

MAX_NAME = 200
"""Characters of what an API token is called."""


_expires_option = click.option(
    "--expires",
    metavar="TIME",
    callback=time_option,
    help="When it ends: +1h, 7d, a date; default never.",
)
_reason_option = click.option("--reason", default="", metavar="TEXT", help="Why, for operators.")


@click.group(short_help="API tokens and revocations in the store.")
@store_options
def records() -> None:
    """API tokens and revocations, in the store that records.url names."""


@records.group()
def token() -> None:
    """Long-lived API tokens."""


@token.command()
@click.option("--name", required=True, metavar="NAME", help="What to call it.")
@click.option("--root", default="", metavar="PATH", help="What prefixes start from.")
@click.option("--publish", multiple=True, metavar="PREFIX", help="May publish below; '' = all.")
@click.option("--subscribe", multiple=True, metavar="PREFIX", help="May subscribe below; '' = all.")
@click.option("--decrypt", multiple=True, metavar="NAME", help="Reads this cipher key's fields.")
@_expires_option
def create(
    name: str,
    root: str,
    publish: tuple[str, ...],
    subscribe: tuple[str, ...],
    decrypt: tuple[str, ...],
    expires: int | None,
) -> None:
    """Make an API token and print it. It cannot be shown again."""
    if not (publish or subscribe):
        raise click.UsageError("give at least one --publish or --subscribe prefix ('' = all)")
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        raise click.UsageError(f"a name has 1 to {MAX_NAME} printable characters")
    made = make_token()
    kept = StoredToken(
        prefix=made.prefix,
        digest=secret_digest(made.secret),
        name=name,
        root=Path(root),
        publish=covering(map(Path, publish)),
        subscribe=covering(map(Path, subscribe)),
        decrypt=cipher_names(decrypt),
        expires=expires,
        created=time.time(),
    )
    with_office(lambda office: office.create_token(operator(), kept), makes=True)
    if expires is None:
        click.echo("Warning: the token never expires (--expires 90d)", err=True)
    click.echo(str(made))


@token.command("list")
@json_option
def list_tokens(as_json: bool) -> None:
    """Show the API tokens; their secrets are not kept."""
    for each in with_store(all_tokens):
        facts = {
            "token": each.id,
            "name": each.name,
            "root": each.root,
            "publish": list(each.publish),
            "subscribe": list(each.subscribe),
            "decrypt": list(each.decrypt),
            "created": _moment(each.created),
            "expires": _moment(each.expires),
            "last_used": _moment(each.last_used),
            "revoked": _moment(each.revoked),
        }
        click.echo(_line(facts, as_json))


@token.command("revoke", short_help="Refuse an API token and end its sessions.")
@click.argument("prefix")
@_reason_option
def revoke_token(prefix: str, reason: str) -> None:
    """Refuse the API token PREFIX (or mq_PREFIX, or the whole token) and end its sessions."""
    named = read_token(prefix)
    short = named.prefix if named else prefix.removeprefix("mq_")
    _revoke_stored(short, reason)


@records.command(short_help="Refuse credentials that are otherwise good.")
@click.option("--jti", metavar="ID", help="The token with this id.")
@click.option("--sub", metavar="NAME", help="All credentials of this subject.")
@click.option("--kid", metavar="KID", help="All tokens by this key.")
@click.option("--tenant", metavar="NAME", help="All of this tenant's.")
@click.option("--all", "everybody", is_flag=True, help="Everybody; needs --issued-before.")
@click.option("--token", "source", metavar="FILE", help="The token in FILE ('-' = stdin), by id.")
@click.option(
    "--issued-before",
    metavar="TIME",
    callback=past_option,
    help="Only what was issued before (now, now-1h), or does not say when.",
)
@_expires_option
@_reason_option
def revoke(
    source: str | None,
    everybody: bool,
    issued_before: int | None,
    expires: int | None,
    reason: str,
    **named: str | None,
) -> None:
    """Refuse credentials that are otherwise good, and end their sessions. Prints the number."""
    given = {dimension: value for dimension, value in named.items() if value is not None}
    if len(given) + everybody + (source is not None) != 1:
        raise click.UsageError("give one of --jti, --sub, --kid, --tenant, --all and --token")
    until: float | None = expires
    if source is not None:
        text = _read(source)
        if looks_like_token(text):
            stored = read_token(text)
            if stored is None:
                raise BadRequest("not a whole API token")
            if expires is not None or issued_before is not None:
                hint = f"--jti mq_{stored.prefix} takes --expires and --issued-before"
                raise click.UsageError(f"an API token is revoked whole and for good; {hint}")
            _revoke_stored(stored.prefix, reason)
            return
        jti, ends = _identity(text)
        given, until = {"jti": jti}, expires if expires is not None else outliving(ends)
    dimension, value = next(iter(given.items()), ("all", ""))
    entry = Revocation(dimension, value, issued_before, until, reason)
    entry.require_sense()
    kept = with_office(lambda office: office.revoke(operator(), entry), makes=True)
    click.echo(f"{kept.id}")


@records.command()
@json_option
def revocations(as_json: bool) -> None:
    """Show the revocations in force."""
    for each in with_store(_all_revocations):
        facts = {
            "id": each.id,
            "by": each.dimension,
            "value": each.value,
            "issued_before": _moment(each.issued_before),
            "expires": _moment(each.expires),
            "created": _moment(each.created),
            "reason": each.reason,
        }
        click.echo(_line(facts, as_json))


@records.command()
@click.argument("number", type=click.IntRange(1, 2**53))  # beyond, the store cannot count
def withdraw(number: int) -> None:
    """Take revocation NUMBER back."""
    with_office(lambda office: office.withdraw(operator(), number))


def _revoke_stored(prefix: str, reason: str) -> None:
    entry = with_office(lambda office: office.revoke_token(operator(), prefix, reason))
    click.echo(f"{entry.id}")


async def _all_revocations(store: Records) -> list[Revocation]:
    found: list[Revocation] = []
    while page := await store.revocations(time.time(), found[-1].id if found else 0):
        found += page
        if len(page) < MAX_PAGE:
            break
    return found


def _identity(text: str) -> tuple[str, int | None]:
    """The ``jti`` of a JWT and when what has it ends. Its signature does not matter: nothing is
    granted.

    Says so on stderr where more than this token goes: that ends nobody knows when.
    """
    try:
        claims = decode(split(text).payload)
    except ValueError as error:
        raise BadRequest(f"not a token: {error}") from None
    if claims.jti is None:
        raise BadRequest("the token has no id (jti); revoke its subject, key or tenant")
    if claims.parent_kids or claims.parent_iat is not None:
        hint = "it was exchanged for another credential, which has the same id and goes with it"
        click.echo(f"{claims.jti}: {hint}", err=True)
        return claims.jti, None
    return claims.jti, claims.exp


def _read(source: str) -> str:
    if source == "-":
        data = sys.stdin.buffer.read(MAX_INPUT)
    else:
        try:
            with open(source, "rb") as file:
                data = file.read(MAX_INPUT)
        except OSError as error:
            raise ConfigError(f"{source}: {error.strerror}") from None
    return data.decode("ascii", "replace").strip()


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else show_time(int(seconds))


def _line(facts: dict[str, Any], as_json: bool) -> str:
    """Facts for a machine, or the ones that are there for a person."""
    return json.dumps(facts) if as_json else on_one_line("  ".join(named_facts(facts)))
