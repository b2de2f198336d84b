"""Whom a client dials, and whom it believes: the URL and TLS flags of publish and subscribe.

The law: an ``http://`` URL is dialled as ``https://`` with the certificate whose hash the relay
gives over plain HTTP, as other clients of the field do; the token is never sent there. This module
must not know QUIC.
"""

from __future__ import annotations

import asyncio
import functools
import re
import signal
import urllib.request
from collections.abc import Callable, Coroutine
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import SplitResult, urlsplit, urlunsplit

import click

from relay.auth.dialling import SCHEMES
from relay.errors import SessionLost
from relay.net.trust import DialTls
from relay.path import as_dialled

if TYPE_CHECKING:
    from relay.client import Client

OVER_QUIC = ("https", "moqt", "moql")
LOOPBACK = ("localhost", "127.0.0.1", "::1")
HASH_TIMEOUT = 5.0
"""Seconds to wait for the certificate's hash."""
MAX_HASH = 256
"""Bytes read of the answer."""
TERMINATED = 128 + signal.SIGTERM
"""Exit status after SIGTERM, as a shell would say it."""


class Target(NamedTuple):
    """An address to dial and whom to believe there."""

    url: str
    tls: DialTls


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run a client command to its end; SIGTERM ends it with a goodbye, as Ctrl-C does."""

    async def endable() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await work

    try:
        asyncio.run(endable())
    except asyncio.CancelledError:
        raise click.exceptions.Exit(TERMINATED) from None


async def unless_lost(session: Client, work: Coroutine[Any, Any, None]) -> None:
    """Do the work, or stop in the middle when the session ends. Raises `SessionLost` then."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work)
        await asyncio.wait((task, session.lost), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
    if task.cancelled():
        raise SessionLost(session.lost.result())


def client_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the TLS flags that every client command takes; with its URL they are its ``target``."""

    @click.option("--tls-fingerprint", multiple=True, metavar="HEX", help="SHA-256 to believe.")
    @click.option(
        "--tls-root",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Authorities (PEM) to believe instead of the system's.",
    )
    @click.option("--tls-disable-verify", is_flag=True, help="Believe anybody. Laptop only.")
    @functools.wraps(command)
    def dialling(
        url: str,
        tls_disable_verify: bool,
        tls_root: Path | None,
        tls_fingerprint: tuple[str, ...],
        **given: Any,
    ) -> None:
        command(resolve(url, tls_disable_verify, tls_root, tls_fingerprint), **given)

    return dialling


def resolve(url: str, disable_verify: bool, root: Path | None, pins: tuple[str, ...]) -> Target:
    """The address to dial. Raises `click.UsageError`, or `SessionLost` when no hash can be had."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # may be none that there is
    except ValueError:
        raise click.UsageError("expected a URL") from None
    if parts.scheme not in SCHEMES or not (parts.hostname or parts.scheme == "unix"):
        raise click.UsageError(f"expected a URL with one of {', '.join(SCHEMES)} and a host")
    if parts.scheme == "unix":
        return Target(url, DialTls())
    parts = parts._replace(path=as_dialled(parts.path))
    roots = (root,) if root is not None else ()
    tls = DialTls(roots, tuple(map(_pin, pins)), disable_verify)
    told = tls != DialTls()
    if parts.scheme == "http":
        if not told:
            tls = DialTls(fingerprints=(fetch_hash(parts),))
        return Target(urlunsplit(parts._replace(scheme="https")), tls)
    if parts.hostname in LOOPBACK and parts.scheme in OVER_QUIC and not told:
        try:
            tls = DialTls(fingerprints=(fetch_hash(parts),))
        except SessionLost:
            return Target(urlunsplit(parts), tls)
    return Target(urlunsplit(parts), tls)


def fetch_hash(parts: SplitResult) -> str:
    """The hash the relay gives over plain HTTP on the same host and port. Raises `SessionLost`."""
    address = urlunsplit(("http", parts.netloc.rpartition("@")[2], "/certificate.sha256", "", ""))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(address, timeout=HASH_TIMEOUT) as answer:
            text = str(answer.read(MAX_HASH), "ascii", "replace").strip()
    except (OSError, ValueError, HTTPException) as error:
        why = getattr(error, "reason", error)
        why = getattr(why, "strerror", None) or why
        raise SessionLost(f"no certificate hash at {address}: {why}") from None
    if not re.fullmatch(r"[0-9A-Fa-f]{64}", text):
        raise SessionLost(f"no certificate hash at {address}: the answer is none")
    return text.lower()


def _pin(text: str) -> str:
    """A fingerprint without colons. Raises `click.UsageError`."""
    plain = text.replace(":", "").lower()
    if not re.fullmatch(r"[0-9a-f]{64}", plain):
        raise click.UsageError("--tls-fingerprint: expected 64 hex digits (SHA-256)")
    return plain
