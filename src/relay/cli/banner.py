"""What the operator sees when the relay has started: where it listens, its hash, what is public.

Rendering is pure: facts in, lines out, readable with and without a terminal. Addresses that are to
be copied stand alone on their lines and are never wrapped. This module must not know settings or
servers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Console
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Demo:
    """Ready-made addresses for somebody who tries the relay for the first time."""

    program: str
    """How the command was called, e.g. ``.venv/bin/relay``."""

    publisher: str
    """URL with a token that may publish."""

    subscriber: str
    """URL with a token that may subscribe."""

    options: str = ""
    """What the command needs to believe the relay, with a space before it."""

    key: str = ""
    """The operator's, where it was made for this start."""


@dataclass(frozen=True, slots=True)
class Banner:
    """The facts of a start."""

    quic: str
    """Address and port, as bound."""

    fingerprint: str
    """Hex SHA-256 of the certificate."""

    http: Sequence[str] = ()
    """URLs of the HTTP faces."""

    streams: Sequence[str] = ()
    """URLs of plain streams."""

    publish: Sequence[str] = ()
    """Prefixes anybody may publish below."""

    subscribe: Sequence[str] = ()
    """Prefixes anybody may subscribe below."""

    decides: str = ""
    """Whoever else says what is public."""

    dashboard: str = ""
    """URL of the operator's page, where there is an operator."""

    unpinned: str = ""
    """Why browsers do not believe the certificate by its hash; empty where they do."""

    demo: Demo | None = None


class Line(NamedTuple):
    """One line: a label (may be empty) and what stands behind it."""

    label: str
    text: str


def lines(banner: Banner) -> list[Line]:
    """The banner, line by line."""
    shown = [Line("QUIC", f"udp {banner.quic}")]
    shown += [Line("HTTP", url) for url in banner.http]
    shown += [Line("plain", url) for url in banner.streams]
    shown.append(Line("certificate", f"sha256 {banner.fingerprint}"))
    if banner.unpinned:
        shown.append(Line("browsers", f"will not pin that certificate: {banner.unpinned}"))
    public = f"what {banner.decides} says" if banner.decides else _public(banner)
    shown.append(Line("public", public))
    if banner.dashboard:
        key = banner.demo.key if banner.demo else ""
        shown.append(Line("dashboard", f"{banner.dashboard}{' with the key' if key else ''}"))
        shown += [Line("", key)] if key else []
    if banner.demo:
        shown += _demo(banner.demo)
    return shown


def show(banner: Banner, console: Console) -> None:
    """Write the banner to a console; colours only where there is a terminal."""
    console.print(Text("relay is ready", style="bold green"))
    for line in lines(banner):
        label = Text(f"{line.label:>12}  " if line.label else "", style="bold")
        console.print(label.append(Text(line.text, style="not bold")), soft_wrap=True)


def _public(banner: Banner) -> str:
    if not banner.publish and not banner.subscribe:
        return "nothing: everybody needs a token"
    return f"publish {_prefixes(banner.publish)}; subscribe {_prefixes(banner.subscribe)}"


def _prefixes(prefixes: Sequence[str]) -> str:
    if not prefixes:
        return "nothing"
    return ", ".join(f"/{prefix}" if prefix else "everything" for prefix in prefixes)


def _demo(demo: Demo) -> list[Line]:
    beat = "while date; do sleep 1; done"
    return [
        Line("", ""),
        Line("publisher", "may publish below /demo for a day:"),
        Line("", demo.publisher),
        Line("subscriber", "may subscribe below /demo for a day:"),
        Line("", demo.subscriber),
        Line("", ""),
        Line("try", "in a second terminal, and in a third:"),
        Line("", f"{beat} | {demo.program} publish{demo.options} '{demo.publisher}' clock seconds"),
        Line("", f"{demo.program} subscribe{demo.options} '{demo.subscriber}' clock seconds"),
    ]
