"""``relay run``: read the settings, start the relay, say where it listens.

The law: flags are settings under another spelling and have no defaults of their own. This module
must not know how a relay is assembled.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path as File
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from relay.auth import mint
from relay.auth.access import PUBLISH, SUBSCRIBE, is_taken
from relay.auth.claims import Claims
from relay.auth.credentials import MIN_ITERATIONS, OPERATOR, make_key
from relay.auth.keys import Key, KeySet
from relay.cli import unless_unwritten
from relay.cli.banner import Banner, Demo, show
from relay.cli.flags import WithSettings, together
from relay.cli.options import complaining, warn
from relay.config import Address, Settings, load
from relay.errors import ConfigError
from relay.path import ROOT, Path

if TYPE_CHECKING:
    from relay.server.crew import Crew
    from relay.server.relay import Relay

DEMO_ROOT = Path("demo")
"""What the tokens of ``--demo`` are rooted at."""

DEMO_SECONDS = 86_400
"""How long they live."""

WILDCARDS = {"::", "0.0.0.0"}


def _setting(name: str, *flags: str, **options: Any) -> Callable[[Any], Any]:
    """A flag that is the setting ``name``; its parameter carries the dotted name."""
    return click.option(*flags, name.replace(".", "__"), **options)


@click.command(
    cls=WithSettings,
    short_help="Start a relay.",
    epilog="Every other setting is a flag as well: --auth-key-dir for auth.key_dir.",
)
@click.argument("file", required=False, type=click.Path(path_type=File))
@click.option("--config", "--file", type=click.Path(path_type=File), help="The same as FILE.")
@_setting(
    "server.listen",
    *("--listen", "--server-listen", "--server-bind", "--bind"),
    metavar="ADDRESS:PORT",
    help="Take QUIC on this UDP address.",
)
@_setting("server.workers", "--workers", metavar="N", help="Processes on the port, or auto.")
@_setting(
    "server.tls.cert",
    *("--tls-cert", "--server-tls-cert"),
    multiple=True,
    metavar="FILE",
    help="Certificate; repeatable.",
)
@_setting(
    "server.tls.key",
    *("--tls-key", "--server-tls-key"),
    multiple=True,
    metavar="FILE",
    help="Its key; repeatable.",
)
@_setting(
    "server.tls.generate",
    *("--tls-generate", "--server-tls-generate"),
    multiple=True,
    metavar="NAME",
    help="Make a self-signed certificate for this host; repeatable.",
)
@_setting("auth.key", "--auth-key", metavar="FILE", help="Key that vouches for tokens.")
@_setting(
    "auth.public",
    "--auth-public",
    multiple=True,
    metavar="PREFIX",
    help="Needs no token; '' is everything; repeatable.",
)
@_setting(
    "web.http.listen", "--web-http-listen", metavar="ADDRESS:PORT", help="HTTP on this TCP address."
)
@_setting("web.https.listen", "--web-https-listen", metavar="ADDRESS:PORT", help="HTTPS, the same.")
@_setting(
    "web.https.cert",
    "--web-https-cert",
    multiple=True,
    metavar="FILE",
    help="Certificate of HTTPS; repeatable.",
)
@_setting(
    "web.https.key", "--web-https-key", multiple=True, metavar="FILE", help="Its key; repeatable."
)
@_setting("log.level", "--log-level", metavar="LEVEL", help="trace, debug, info, warn or error.")
@click.option("--demo", is_flag=True, help="Print what to try the relay with: tokens, a key.")
def run(
    file: File | None, config: File | None, demo: bool, settings: dict[str, Any], **flags: Any
) -> None:
    """Start a relay with the settings of FILE, the environment (MOQ_SECTION__NAME) and flags."""
    if file and config and file != config:
        raise click.UsageError("FILE is given twice and differs")
    dotted = {name.replace("__", "."): value for name, value in flags.items()}
    given = {name: _plain(name, value) for name, value in dotted.items()}
    loaded = load(file or config, given | settings)
    key = ""
    if demo and loaded.settings.admin.api_key is None and not os.environ.get(OPERATOR):
        key, hash = make_key(MIN_ITERATIONS)
        loaded = load(file or config, given | settings | {"admin.api_key": hash})
    warn(loaded.settings, loaded.warnings)
    signer = _demo_key(loaded.settings) if demo else None

    def ready(relay: Relay | Crew) -> None:
        with unless_unwritten():
            _announce(relay, signer, key)

    from relay.server.running import run as serve

    with complaining(loaded.settings):
        serve(loaded.settings, ready)


@click.command(hidden=True)
def worker() -> None:
    """What ``relay run`` starts to have several processes on a port: it becomes each of them."""
    from relay.server.forking import tend

    tend(_work)


def _work() -> Callable[[list[int]], None]:
    from relay.records.opening import preload
    from relay.server.worker import work

    preload()
    return work


def _plain(name: str, value: Any) -> Any:
    """Flags that may be repeated are what they say together; not given at all they are ``None``."""
    if not isinstance(value, tuple):
        return value
    return together(name, value) if value else None


def _announce(relay: Relay | Crew, signer: Key | None, key: str) -> None:
    """The banner for people, or one machine-readable line when ``RELAY_READY=1`` asks for it."""
    http, https = _faces(relay)
    fingerprint = relay.certificates.fingerprint
    if os.environ.get("RELAY_READY") == "1":
        internal = relay.internal_address
        facts = {"quic": relay.quic_address, "http": http, "https": https, "internal": internal}
        facts |= {"tcp": relay.tcp_address}
        click.echo(f"ready {json.dumps(facts | {'fingerprint': fingerprint})}")
        return
    auth = relay.settings.auth
    faces = [
        f"{scheme}://{Address(_dialled(face[0]), face[1])}/"
        for scheme, face in (("http", http), ("https", https))
        if face
    ]
    has_dashboard = bool(faces) and relay.settings.admin.api_key is not None
    banner = Banner(
        quic=str(Address(*relay.quic_address)),
        fingerprint=fingerprint,
        http=faces,
        streams=_streams(relay),
        publish=auth.public.publish if is_taken(PUBLISH, auth, "public") else (),
        subscribe=auth.public.subscribe if is_taken(SUBSCRIBE, auth, "public") else (),
        decides="the server of auth.url" if auth.url is not None else "",
        dashboard=f"{faces[0]}admin/" if has_dashboard else "",
        unpinned=relay.certificates.unpinned,
        demo=_demo(relay, http, signer, key) if signer else None,
    )
    show(banner, _Output(highlight=False))


class _Output(Console):
    """Where nobody reads what is printed the console would end the program."""

    def on_broken_pipe(self) -> None:
        """Raises `OSError`, as for any other output."""
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _faces(relay: Relay | Crew) -> tuple[tuple[str, int] | None, tuple[str, int] | None]:
    """Where plain HTTP and HTTPS are taken; HTTPS, if there is any, is the last listener."""
    places = list(relay.http_addresses)
    https = places.pop() if relay.settings.web.https.listen else None
    return (places[0] if places else None), https


def _streams(relay: Relay | Crew) -> list[str]:
    """Where plain streams are taken, as they are dialled."""
    tcp, unix = relay.tcp_address, relay.settings.server.unix.listen
    found = [f"tcp://{Address(_dialled(tcp[0]), tcp[1])}"] if tcp else []
    return found + ([f"unix://{unix.absolute()}"] if unix else [])


def _dialled(host: str) -> str:
    """What to dial on this machine for what is listened on."""
    return "localhost" if host in WILDCARDS else host


def _demo_key(settings: Settings) -> Key:
    """The first configured key that can sign. Raises `ConfigError`."""
    held = [(File(name).read_bytes(), name) for name in settings.auth.key_files]
    held += [(text.encode(), "auth.key") for text in settings.auth.key_texts]
    for data, name in held:
        for key in KeySet.load(data, name).keys:
            if key.can_sign:
                return key
    raise ConfigError("--demo: no configured key can sign tokens; set auth.key to a private key")


def _demo(relay: Relay | Crew, http: tuple[str, int] | None, signer: Key, key: str) -> Demo:
    """Two addresses with fresh tokens, how to call this program, and the operator's ``key``."""
    now = time.time()
    expires = int(now) + DEMO_SECONDS
    host, port = relay.quic_address
    scheme = "http" if http is not None and http[1] == port else "https"
    start = f"{scheme}://{Address(_dialled(host), port)}/{DEMO_ROOT}?jwt="
    publisher = mint.sign(Claims(root=DEMO_ROOT, put=(ROOT,), exp=expires), signer, now)
    subscriber = mint.sign(Claims(root=DEMO_ROOT, get=(ROOT,), exp=expires), signer, now)
    # Where no plain HTTP gives the hash away, the command must be told it.
    pin = "" if scheme == "http" else f" --tls-fingerprint {relay.certificates.fingerprint}"
    return Demo(_program(), start + publisher, start + subscriber, pin, key)


def _program() -> str:
    """How this program was called, for lines to paste."""
    called = File(sys.argv[0])
    if called.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m relay"
    return shlex.quote(str(called.with_name("relay"))) if len(called.parts) > 1 else "relay"
