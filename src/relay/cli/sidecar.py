"""``relay sidecar``: decide for other relays over HTTP, by the ``[auth]`` of a configuration.

The law: what listens where others reach it was asked to do so, and one file configures relay and
sidecar alike. This module must not know the contracts, only who meets whom.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path as File
from typing import TYPE_CHECKING, Any

import click
import structlog

from relay.auth.browser import is_loopback
from relay.cli import unless_unwritten
from relay.cli.options import complaining, warn
from relay.config import Address, Settings, load
from relay.errors import ConfigError

if TYPE_CHECKING:
    from relay.keyring import Keyring
    from relay.records.desk import Desk

LEVELS = {"deny": "warning", "malformed": "warning", "not told": "warning", "renew": "debug"}
"""How important the service's events are; the others are ``info``."""

BESIDE_THE_POINT = "server.tls: "
"""How a warning begins that is about a relay's certificate; there is no relay here."""


@click.command(short_help="Decide for other relays over HTTP.")
@click.argument("file", required=False, type=click.Path(path_type=File))
@click.option("--config", type=click.Path(path_type=File), help="The same as FILE.")
@click.option("--listen", metavar="ADDRESS:PORT", help="Take questions on this TCP address.")
@click.option(
    "--listen-public", is_flag=True, help="Allow an address that others can reach: all may ask."
)
def sidecar(
    file: File | None, config: File | None, listen: str | None, listen_public: bool
) -> None:
    """Decide for other relays over HTTP, by the [auth] settings of FILE.

    POST / answers moq-relay's --auth-url, GET / its older --auth-api.
    """
    if file and config and file != config:
        raise click.UsageError("FILE is given twice and differs")
    flags = {"sidecar.listen": listen, "sidecar.listen_public": listen_public or None}
    loaded = load(file or config, flags)
    told = [each for each in loaded.warnings if not each.startswith(BESIDE_THE_POINT)]
    warn(loaded.settings, told)
    require_sense(loaded.settings)
    warn(loaded.settings, warnings(loaded.settings))
    from relay.server import loop
    from relay.server.log import write_log

    with complaining(loaded.settings), write_log(loaded.settings):
        loop.run(_serve(loaded.settings), "asyncio")


def require_sense(settings: Settings) -> None:
    """Raises `ConfigError` for what a relay could obey and a sidecar cannot."""
    if settings.auth.url is not None:
        raise ConfigError("auth.url: this is the server that decides; it cannot ask another")
    host = settings.sidecar.listen.host
    if not (settings.sidecar.listen_public or is_loopback(host)):
        raise ConfigError(
            f"sidecar.listen: {host} can be reached by others, and whoever can ask is answered; "
            "set sidecar.listen_public if that is meant"
        )


def warnings(settings: Settings) -> Iterator[str]:
    """What a relay obeys, and a sidecar cannot."""
    for name, rule in settings.auth.certificates.items():
        if rule.san is not None:
            yield (
                f"auth.certificates.{name}.san: fits nobody here, since relays do not tell "
                "alternative names; name the fingerprint or the issuer, as the log has them"
            )


@contextlib.asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[tuple[str, int]]:
    """The service, listening; its address and port. Raises `ConfigError`."""
    from relay.control.secure import Secure
    from relay.control.serve import HttpListener, listen
    from relay.control.webhook import Webhook
    from relay.keyring import Keyring
    from relay.records.desk import Desk
    from relay.records.opening import open_records
    from relay.server.descriptors import Descriptors
    from relay.sidecar.app import sidecar_app
    from relay.sidecar.bench import Bench
    from relay.sidecar.link import key_tls
    from relay.sidecar.push import Push

    told = settings.sidecar
    keyring = Keyring(settings.auth, _log, key_tls(settings.client.tls, _log))
    push = Push(told.relays, _log)
    audit = settings.audit
    webhook = Webhook(audit, _log, time.time) if audit.webhook is not None else None
    records = await open_records(settings.records.url)
    desk = Desk(records, settings.auth, _log, settings.records, audit=audit, node="sidecar")
    async with contextlib.AsyncExitStack() as closing:
        if webhook is not None:
            closing.push_async_callback(webhook.close)
            desk.scribe.listeners.append(webhook.note)
        closing.push_async_callback(desk.close)
        if settings.issuer.enabled:
            await _believe_relays(settings, keyring, desk)
        await desk.refresh()
        keeps = settings.records.url is not None
        bench = Bench(settings.auth, keyring, desk, push, _log, keeps=keeps)
        pair = (told.cert, told.key) if told.cert and told.key else None
        secure = Secure(*pair, setting="sidecar.cert") if pair else None
        sockets = listen(*told.listen, setting="sidecar.listen")
        app = sidecar_app(bench, told)
        listener = HttpListener(app, sockets, settings.web.limits, secure, _log)
        async with asyncio.TaskGroup() as tasks:
            work = [bench.run(), Descriptors(_log).run()]
            work += [webhook.run()] if webhook is not None else []
            running = [tasks.create_task(each) for each in work]
            tasks.create_task(listener.serve())
            await listener.started.wait()
            try:
                yield listener.address
            finally:
                listener.stop()
                for task in running:
                    task.cancel()


async def _believe_relays(settings: Settings, keyring: Keyring, desk: Desk) -> None:
    """Take the tokens that relays on the store issue: their keys' public halves are enough."""
    from relay.issuer import OwnKeys

    auth = settings.auth
    source = OwnKeys(settings.issuer.name or auth.issuer, auth.audience, time.time)

    async def reread() -> None:
        source.take(await desk.records.keys.all())
        keyring.turn()

    keyring.adopt(source)
    desk.notices.on("keys", reread)


async def _serve(settings: Settings) -> None:
    """Run until SIGTERM, SIGHUP or SIGINT."""
    from relay.server.endings import are_over, endings, pass_over

    pass_over()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in endings():
        loop.add_signal_handler(number, stop.set)
    async with serving(settings) as address:
        secure = settings.sidecar.cert is not None
        with unless_unwritten():
            _announce(Address(*address), "https" if secure else "http")
        await stop.wait()
    are_over()


def _announce(address: Address, scheme: str) -> None:
    """One line for people, or for machines when ``RELAY_READY=1`` asks for it."""
    if os.environ.get("RELAY_READY") == "1":
        click.echo(f"ready {json.dumps({scheme: list(address)})}")
        return
    click.echo(f"Deciding for other relays at {scheme}://{address}/")
    click.echo(f'moq-relay: --auth-url {scheme}://{address}/ · ours: [auth] url = "…"')


def _log(event: str, **facts: Any) -> None:
    from relay.server.log import LEVELS as SHARED

    levels = SHARED | LEVELS
    getattr(structlog.get_logger(), levels.get(event, "info"))(event, **facts)
