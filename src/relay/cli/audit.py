"""``relay audit``: what was written down about who came, went and changed something.

The law: it reads and never writes. This module must not know how entries are kept.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import click

from relay.cli.moment import show_time
from relay.cli.options import named_facts
from relay.cli.store import json_option, store_options, with_office
from relay.errors import RelayError
from relay.path import on_one_line
from relay.records.audit import Entry, read_query

_SHOWN = ("actor", "tenant", "target", "address", "kid", "jti", "id", "reason", "detail", "node")


class BrokenChain(RelayError):
    """The log was tampered with, or lost entries."""


@click.group(short_help="The audit log in the store.")
@store_options
def audit() -> None:
    """The audit log, in the store that records.url names."""


@audit.command("list")
@click.option("--from", "since", default="", metavar="TIME", help="now-1h, or unix seconds.")
@click.option("--to", "until", default="", metavar="TIME", help="now-5m, or unix seconds.")
@click.option("--actor", default="", metavar="NAME", help="Who.")
@click.option("--action", default="", metavar="NAME", help="What: deny, quota.set, or quota.")
@click.option("--target", default="", metavar="TEXT", help="To what; a * at the end is anything.")
@click.option("--reason", default="", metavar="WORD", help="Why: expired, over_quota, sessions.")
@click.option("--tenant", default="", metavar="NAME", help="Whose.")
@click.option("--id", default="", metavar="ID", help="What somebody refused or shown out was told.")
@click.option("--cursor", default="", metavar="NUMBER", help="Entries before that number only.")
@click.option("--limit", default="50", metavar="COUNT", help="At most so many, up to 200.")
@json_option
def list_entries(since: str, until: str, as_json: bool, **said: str) -> None:
    """Show entries, the latest first."""
    members = {"from": since, "to": until, **said}
    query = read_query({name: value for name, value in members.items() if value}, time.time())
    for entry in with_office(lambda office: office.records.audit.entries(query)):
        click.echo(json.dumps(asdict(entry)) if as_json else _line(entry))


@audit.command()
def verify() -> None:
    """Walk the whole chain of entries and name the first that is broken."""
    walk = with_office(lambda office: office.verify())
    if walk.broken is not None:
        raise BrokenChain(walk.broken)
    last = walk.last
    if last is None:
        click.echo("no entries")
    else:
        click.echo(f"{walk.count} entries, whole; the last is {last.number}, hash {last.hash}")


def _line(entry: Entry) -> str:
    facts = named_facts({name: getattr(entry, name) for name in _SHOWN})
    at = show_time(entry.at // 1_000_000)
    return on_one_line("  ".join([f"{entry.number}", at, entry.action, *facts]))
