"""What the settings name, looked at once: key files, key servers, certificates, file modes.

The law: whatever cannot be read or reached is said beside its name and stops nothing; servers are
asked at most once and for a bounded time. This module must not know what is wise, or what a
decision does with a key.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relay.auth.keys import KeySet
from relay.auth.settings import AuthSettings
from relay.auth.trust import is_content
from relay.config.checks import is_exposed
from relay.config.findings import Evidence, ReadCertificate, ReadKeys
from relay.config.shape import Settings
from relay.control.webhook import read_secret
from relay.errors import ConfigError
from relay.ingest.records import load_schema
from relay.keyring.fetch import never_asked
from relay.keyring.files import INSIDE, silent
from relay.keyring.remote_folder import RemoteFolder
from relay.keyring.sources import Source, Sources, shown
from relay.net import tls
from relay.net.authority import Authorities
from relay.records.address import read_address
from relay.records.sealing import VARIABLE, Seal
from relay.sidecar.link import client_tls, key_tls
from relay.sinks.kafka import require_usable

POLL = 0.02
"""Seconds between looks at sources that are being asked."""

SQLITE = b"SQLite format 3\0"
"""How a file of SQLite begins."""

PATIENCE = 2.0
"""Seconds a source may take beyond its own time limit."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """All keys there are, together and one source at a time."""

    keys: KeySet
    read: tuple[ReadKeys, ...]
    together: str
    """Why they cannot be used together, empty when they can."""
    silence: str = ""
    """Why a key that is not there may be good all the same (`Sources.silence`)."""

    @property
    def troubles(self) -> tuple[str, ...]:
        """One line for each source without an answer."""
        return tuple(each.trouble for each in self.read if each.trouble)


def trusted(settings: Settings, kid: str | None = None, ask: bool = True) -> Trusted:
    """Read every source of ``[auth]``; URLs only if ``ask``, for the key ``kid`` where it matters.

    Blocks, up to ``auth.fetch.timeout`` and a little. Never raises for a source that fails.
    """
    said: list[tuple[str, str]] = []

    def log(event: str, **facts: Any) -> None:
        if "file" in facts and "why" in facts:
            said.append((str(facts["file"]), str(facts["why"])))

    auth, trust = settings.auth, None
    with suppress(ConfigError):  # of files that are looked at by themselves
        trust = key_tls(settings.client.tls, silent)
    sources = Sources(auth, log, lambda: None, trust)
    now = time.monotonic()
    troubles: dict[str, str] = {}
    for source in sources.watched:
        try:
            source.load(now)
        except ConfigError as error:
            troubles[source.name] = str(error)
    if ask and sources.asked:
        asyncio.run(_ask(sources, kid, auth.fetch.timeout + PATIENCE))
    read = tuple(_read(auth, source, troubles, said, ask) for source in sources.all)
    try:
        named = [source.name for source in sources.watched]
        KeySet.require_apart(*(source.keys for source in sources.watched), sources=named)
        together = ""
    except ConfigError as error:
        together = str(error)
    named = [source.name for source in sources.all]
    keys = KeySet.gather(*(source.keys for source in sources.all), sources=named)
    return Trusted(keys, read, together, sources.silence)


async def _ask(sources: Sources, kid: str | None, seconds: float) -> None:
    """Have every URL answer or fail once, and those that answer by name be asked for the key."""
    tasks = [asyncio.ensure_future(source.run()) for source in sources.asked]
    try:
        async with asyncio.timeout(seconds):
            await _until(lambda: all(_settled(source) for source in sources.asked))
            if kid is not None and not any(source.keys.find(kid) for source in sources.all):
                # The others have just answered with all they have.
                folders = [source for source in sources.asked if isinstance(source, RemoteFolder)]
                answers = [answer for source in folders if (answer := source.ask(kid))]
                await _until(lambda: all(answered() for answered in answers))
    except TimeoutError:
        pass
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await sources.close()


async def _until(done: Callable[[], bool]) -> None:
    """Wait for something that gives no sign of its own; what was begun gets its first turn."""
    await asyncio.sleep(0)
    while not done():  # noqa: ASYNC110 - the sources have nothing to wait on, and it is bounded
        await asyncio.sleep(POLL)


def _settled(source: Source) -> bool:
    """Whether a source has answered, failed, or answers only when asked for a name."""
    answered = source.confirmed is not None or source.problem is not None
    return answered or isinstance(source, RemoteFolder)


def _read(
    settings: AuthSettings,
    source: Source,
    troubles: dict[str, str],
    said: list[tuple[str, str]],
    asked: bool,
) -> ReadKeys:
    name, place = source.name, _setting(settings, source.name)
    remote = name.startswith(("http://", "https://"))
    trouble = troubles.get(name) or source.problem or ""
    if remote and not trouble:
        trouble = never_asked(name, settings.fetch)
    if trouble and not (trouble.startswith(f"{name}: ") if remote else name in trouble):
        trouble = f"{name}: {trouble}"
    inside = [why for file, why in said if file != name and Path(file).parent == Path(name)]
    if remote and asked and not trouble and not _settled(source):
        trouble = f"{name}: no answer"
    return ReadKeys(place, name, source.keys, trouble or "; ".join(inside[:3]), remote)


def _setting(settings: AuthSettings, name: str) -> str:
    """Which setting a source stands in."""

    def is_it(place: str) -> bool:
        return name in (place, shown(place)) or (name == INSIDE and is_content(place))

    if settings.key is not None and is_it(settings.key):
        return "auth.key"
    if any(is_it(place) for place in settings.keys):
        return "auth.keys"
    if settings.key_dir is not None and is_it(settings.key_dir):
        return "auth.key_dir"
    is_issuer = any(name == source.issuer for source in settings.issuers)
    return "auth.issuers" if is_issuer else "auth.jwks"


def gather(settings: Settings, ask: bool = True) -> Evidence:
    """Look at everything the settings name. Blocks as `trusted` does."""
    found = trusted(settings, ask=ask)
    return Evidence(
        keys=found.read,
        together=found.together,
        certificates=tuple(_certificates(settings)),
        exposed=tuple(_exposed(settings, found)),
        link_token=_link_token(settings),
        unusable=tuple(_unusable(settings)),
        root_key=bool(os.environ.get(VARIABLE, "").strip()),
    )


def _link_token(settings: Settings) -> str:
    """The token that other relays are dialled with; the start tells of one that is not there."""
    try:
        file = settings.cluster.token
        return "" if file is None else file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _unusable(settings: Settings) -> Iterator[tuple[str, str]]:
    """What else stops the start, as whoever needs them at the start says it."""
    tls, audit = settings.client.tls, settings.audit
    steps: list[Callable[[], Any]] = [
        lambda: Authorities.from_files(settings.server.tls.root),
        lambda: client_tls(tls.root, tls.cert, tls.key, silent),
        lambda: Seal.read(os.environ),
    ]
    if audit.webhook is not None:
        steps.append(lambda: read_secret(audit))
    for step in steps:
        try:
            step()
        except ConfigError as error:
            setting, _, why = str(error).partition(": ")
            yield setting, why
    for name, rules in settings.ingest.tracks.items():
        if rules.schema_file is not None:
            try:
                load_schema(rules.schema_file)
            except ConfigError as error:
                yield f"ingest.tracks.{name}.schema", str(error)
    for name, sink in settings.sinks.items():
        try:
            require_usable(sink)
        except ConfigError as error:
            yield f"sinks.{name}", str(error)
    if settings.records.url is not None and (why := _of_store(settings.records.url)):
        yield "records.url", why


def _of_store(url: str) -> str:
    """Why a file can be no store; empty where it can, or is to be made. It is left as it is."""
    file = read_address(url).file
    try:
        if file is None or not file.exists():
            return ""
        with file.open("rb") as stored:
            head = stored.read(len(SQLITE))
    except OSError as error:
        return f"{file}: {error.strerror}"
    return "" if head in (b"", SQLITE) else f"{file}: file is not a database"


def _certificates(settings: Settings) -> Iterator[ReadCertificate]:
    server, https = settings.server.tls, settings.web.https
    for cert, key in zip(server.cert, server.key, strict=False):
        yield _certificate("server.tls.cert", cert, key)
    for cert, key in zip(https.cert, https.key, strict=False) if https.listen else ():
        yield _certificate("web.https.cert", cert, key)
    if settings.sidecar.cert and settings.sidecar.key:
        yield _certificate("sidecar.cert", settings.sidecar.cert, settings.sidecar.key)


def _certificate(setting: str, cert: Path, key: Path) -> ReadCertificate:
    try:
        pair = tls.load(cert, key)
        leaf = pair.chain[0]
    except ConfigError as error:
        return ReadCertificate(setting, cert, trouble=str(error))
    return ReadCertificate(
        setting,
        cert,
        leaf.not_valid_before_utc.timestamp(),
        leaf.not_valid_after_utc.timestamp(),
        self_signed=leaf.issuer == leaf.subject,
        pinnable_key=tls.is_p256(leaf.public_key()),
        names=pair.names,
    )


def _exposed(settings: Settings, found: Trusted) -> Iterator[tuple[str, Path]]:
    """Secret files that others may read, of those that the start itself does not look at."""
    files = [("client.tls.key", settings.client.tls.key), ("cluster.token", settings.cluster.token)]
    for source in found.read:
        secret = [key.kid for key in source.keys.keys if key.material.signing is not None]
        if secret and not source.remote and source.setting in ("auth.key_dir", "auth.jwks"):
            place = Path(source.place)
            inside = [place / f"{kid}.jwk" for kid in secret] if place.is_dir() else [place]
            files += [(source.setting, file) for file in inside]
    for setting, path in files:
        if path is not None and is_exposed(path):
            yield setting, path
