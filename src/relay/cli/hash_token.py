"""``relay hash-token``: make a static API key and print both halves.

The law: the secret is printed once and kept nowhere; what the configuration gets cannot be turned
back into it. This module must not know how a key is checked.
"""

from __future__ import annotations

import click

from relay.auth.credentials import (
    ITERATIONS,
    MAX_ITERATIONS,
    MIN_ITERATIONS,
    make_key,
    make_moose_key,
)


@click.command("hash-token", short_help="Make an API key, and its hash.")
@click.option("--moose", is_flag=True, help="The form of moose generate hash-token.")
@click.option(
    "--iterations",
    type=click.IntRange(MIN_ITERATIONS, MAX_ITERATIONS),
    help=f"Rounds of PBKDF2; default {ITERATIONS}.",
)
def hash_token(moose: bool, iterations: int | None) -> None:
    """Make an API key: its hash for [auth.api_keys.NAME], and what the caller sends as bearer."""
    if moose and iterations is not None:
        raise click.UsageError("--moose has 1000 rounds and no others")
    made = make_moose_key() if moose else make_key(iterations or ITERATIONS)
    click.echo(f'hash = "{made.hash}"')
    click.echo(f'bearer = "{made.bearer}"')
