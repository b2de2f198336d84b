"""``relay quotas``: what was said of tenants at run time; shown, said and unsaid.

The law: it works on the store itself, beside running relays, which obey within a second. This
module must not know what a limit does.
"""

from __future__ import annotations

import json

import click
from pydantic import ValidationError

from relay.cli.options import read_limits
from relay.cli.store import json_option, operator, store_options, with_office
from relay.errors import NotFound
from relay.path import on_one_line
from relay.quota import Override


@click.group(short_help="Tenants' quotas in the store.")
@store_options
def quotas() -> None:
    """Tenants' quotas, in the store that records.url names; they come before the settings."""


@quotas.command("list")
@json_option
def list_quotas(as_json: bool) -> None:
    """Show the tenants that anything is said of."""
    found = with_office(lambda office: office.records.quotas.all())
    for tenant, said in sorted(found.items()):
        members = {"unreadable": True} if said is None else said.model_dump(exclude_none=True)
        if as_json:
            click.echo(json.dumps({"tenant": tenant, **members}))
        else:
            facts = "  ".join(f"{name}={value}" for name, value in members.items())
            name = on_one_line(json.dumps(tenant, ensure_ascii=False))
            click.echo(f"{name}  {facts}")


@quotas.command("set", short_help="Say what a tenant may use.")
@click.argument("tenant")
@click.argument("limits", nargs=-1, required=True, metavar="NAME=NUMBER...")
def set_quota(tenant: str, limits: tuple[str, ...]) -> None:
    """Say what TENANT may use, such as sessions=100 egress_bits=50000000; 0 is unlimited.

    It takes the place of whatever was said of the tenant before.
    """
    members = read_limits(limits)
    try:
        said = Override(**members)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "extra_forbidden":
            known = ", ".join(Override.model_fields)
            raise click.UsageError(f"no such limit: {first['loc'][0]}; there are {known}") from None
        raise click.UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    with_office(lambda office: office.set_quota(operator(), tenant, said), makes=True)


@quotas.command()
@click.argument("tenant")
def clear(tenant: str) -> None:
    """Unsay what was said of TENANT: the settings hold."""
    if not with_office(lambda office: office.clear_quota(operator(), tenant)):
        raise NotFound(f"nothing is said of {tenant!r}")
