"""``relay keys``: the signing keys that relays on a store share; shown, rotated, sealed anew.

The law: it works on the store itself, beside running relays, which follow within a second; no
private half is printed or leaves the store. This module must not know how a key is kept.
"""

from __future__ import annotations

import json
import os
import re
import time
from functools import partial
from typing import Any

import click

from relay.auth.lifecycle import SigningKey
from relay.cli.ciphers import cipher
from relay.cli.moment import show_time
from relay.cli.store import (
    json_option,
    operator,
    seal_of,
    settings,
    store_options,
    with_office,
    with_store,
)
from relay.errors import ConfigError
from relay.records.audit import UNITS
from relay.records.kept import StoredKey
from relay.records.office import Office
from relay.records.sealing import VARIABLE, Seal
from relay.records.signing import DEFAULT_GRACE, Signing

_SPAN = re.compile(r"([0-9]{1,9})([smhdw])")


def _span(ctx: click.Context, param: click.Parameter, value: str | None) -> float:
    """Callback of options that take a length of time."""
    if value is None:
        return DEFAULT_GRACE
    found = _SPAN.fullmatch(value)
    if found is None:
        raise click.BadParameter("expected a span such as 90s, 30m, 24h or 7d", ctx, param)
    return float(int(found[1]) * UNITS[found[2]])


@click.group(short_help="The relay's own keys in the store.")
@store_options
def keys() -> None:
    """The relay's own keys, in the store that records.url names."""


keys.add_command(cipher)


@keys.command("list")
@json_option
def list_keys(as_json: bool) -> None:
    """Show the keys: next, active, retiring, retired."""
    _show(with_store(lambda store: store.keys.all()), as_json)


@keys.command()
@click.option(
    "--grace",
    metavar="SPAN",
    callback=_span,
    help="How long tokens of the key that signed still hold; default 24h.",
)
@click.option(
    "--compromised", is_flag=True, help="Refuse the key that signed at once; end its sessions."
)
@click.option("--kid", metavar="KID", help="The key that is meant; default the one that signs.")
@json_option
def rotate(grace: float, compromised: bool, kid: str | None, as_json: bool) -> None:
    """Have the next key sign, and make another to follow it. Needs MOQ_MASTER_KEY."""
    chosen = settings().issuer
    if grace < chosen.max_ttl and not compromised:
        text = f"tokens may live for {chosen.max_ttl:.0f} s, and some will end before their time"
        click.echo(f"Warning: {text}", err=True)

    async def work(office: Office) -> list[StoredKey]:
        store = office.records
        seal = await seal_of(store)
        signing = Signing(store, seal, chosen.algorithm, time.time)
        return await signing.rotate(office, operator(), grace, compromised, kid)

    _show(with_office(work), as_json)


@keys.command()
@click.option(
    "--new-key-env", required=True, metavar="NAME", help="The variable that holds the new key."
)
def rewrap(new_key_env: str) -> None:
    """Seal the store under another root key, all of it or nothing.

    MOQ_MASTER_KEY is the present one. Afterwards start the relays with the new one: until then they
    go on with what they have in memory, and cannot add anything sealed.
    """
    new = Seal.read(os.environ, new_key_env)
    if new is None:
        raise ConfigError(f"{new_key_env}: not set")

    async def work(office: Office) -> int:
        store = office.records
        old = await seal_of(store)

        async with office.doing(operator(), "key.rewrap", new.id, detail=f"from {old.id}"):
            return await store.reseal(partial(new.again, old))

    count = with_office(work)
    click.echo(f"{count} sealed under the key {new.id}; start the relays with it as {VARIABLE}")


def _show(stored: list[StoredKey], as_json: bool) -> None:
    now = time.time()
    for each in stored:
        facts = _facts(each.key.at(now))
        if as_json:
            click.echo(json.dumps(facts))
        else:
            said = (f"{name}={value}" for name, value in facts.items() if value not in (None, ""))
            click.echo("  ".join(said))


def _facts(key: SigningKey) -> dict[str, Any]:
    return {
        "kid": key.kid,
        "state": key.state,
        "algorithm": key.algorithm,
        "created": show_time(int(key.created)),
        "activated": None if key.activated is None else show_time(int(key.activated)),
        "ends": None if key.ends is None else show_time(int(key.ends)),
        "compromised": True if key.compromised else None,
    }
