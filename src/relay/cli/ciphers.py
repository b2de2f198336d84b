"""``relay keys cipher``: the keys that encrypt fields of records; made, rotated and listed.

The law: it works on the store itself, beside running relays, which follow within a second; no key
is printed or leaves the store. This module must not know how a key is kept.
"""

from __future__ import annotations

import json
import time

import click

from relay.cli.moment import show_time
from relay.cli.store import json_option, operator, seal_of, with_office, with_store
from relay.records.ciphers import Ciphers, CipherVersion, listed
from relay.records.office import Office


@click.group()
def cipher() -> None:
    """Keys of encrypted fields ([ingest.tracks] encrypt)."""


@cipher.command()
@click.argument("name")
@json_option
def create(name: str, as_json: bool) -> None:
    """Make the cipher key NAME. Needs MOQ_MASTER_KEY."""

    async def work(office: Office) -> CipherVersion:
        ciphers = Ciphers(office.records, await seal_of(office.records), time.time)
        return await ciphers.create(office, operator(), name)

    _show([with_office(work, makes=True)], as_json)


@cipher.command()
@click.argument("name")
@json_option
def rotate(name: str, as_json: bool) -> None:
    """Have a new version of NAME encrypt; older ones still decrypt. Needs MOQ_MASTER_KEY."""

    async def work(office: Office) -> CipherVersion:
        ciphers = Ciphers(office.records, await seal_of(office.records), time.time)
        return await ciphers.rotate(office, operator(), name)

    _show([with_office(work)], as_json)


@cipher.command("list", short_help="Show the cipher keys and their versions.")
@json_option
def list_ciphers(as_json: bool) -> None:
    """Show the cipher keys and their versions; the last one of a name encrypts."""
    _show(with_store(listed), as_json)


def _show(versions: list[CipherVersion], as_json: bool) -> None:
    for each in versions:
        facts = {
            "name": each.name,
            "version": each.version,
            "created": show_time(int(each.created)),
        }
        said = "  ".join(f"{name}={value}" for name, value in facts.items())
        click.echo(json.dumps(facts) if as_json else said)
