"""``relay routes``: what a relay has to publish to and to read, as far as the caller may know."""

from __future__ import annotations

import json
import os
from urllib.parse import urlsplit, urlunsplit

import click

from relay.cli.asking import ask, one_word
from relay.errors import RelayError
from relay.path import on_one_line


@click.command(short_help="List what there is to publish to and to read.")
@click.argument("url")
@click.option("--token", help="Bearer token; default MOQ_TOKEN.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def routes(url: str, token: str | None, as_json: bool) -> None:
    """List what exists below the path of URL (http:// or https://): routes declared, tracks
    published by HTTP, broadcasts announced."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise click.UsageError(f"the URL is malformed: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise click.UsageError("the URL begins with http:// or https://")
    path = "/routes" + parts.path.rstrip("/")
    asked = urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
    token = (token or os.environ.get("MOQ_TOKEN", "")).strip()
    headers = {"authorization": f"Bearer {one_word(token, 'the token')}"} if token else {}
    answer = ask("GET", asked, headers=headers, timeout=10.0)
    if answer.status != 200:
        id = answer.headers.get("x-request-id", "")
        why = f" (id {id}; its log says why)" if id else ""
        raise RelayError(f"the relay said {answer.status}{why}")
    try:
        found = answer.json()
        if as_json:
            click.echo(json.dumps(found))
            return
        for each in found["declared"]:
            name = "/".join(filter(None, (each["track"], each["version"])))
            marks = [word for word in ("schema", "dead_letters") if each[word]]
            click.echo("\t".join(["declared", f"{each['broadcast']}:{name}", *marks]))
        for each in found["published"]:
            for track in each["tracks"]:
                click.echo(f"published\t{on_one_line(each['broadcast'])}:{on_one_line(track)}")
        for name in found["announced"]:
            click.echo(f"announced\t{on_one_line(name)}")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise RelayError("the answer is none of a relay's") from None
