"""What no single value shows: settings that contradict each other, and files that are not there.

The law: what cannot be obeyed stops the start, what is merely unwise or not built yet is said
aloud. Files are looked at; of those only keys are read, to see whether they are secret. This module
must not know what a setting does.
"""

from __future__ import annotations

import os
import socket
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path

from relay.auth.browser import is_loopback
from relay.auth.keys import MAX_KEY_FILE, KeySet
from relay.auth.settings import AuthSettings
from relay.auth.trust import is_content, is_url, split_url
from relay.cluster.address import parse
from relay.cluster.lists import file_of
from relay.config.names import PREFIX, SETTINGS
from relay.config.shape import Address, Settings
from relay.config.sources import Entry
from relay.errors import ConfigError
from relay.net.allowing import CAN_TELL, asks_nothing
from relay.net.trust import DialTls
from relay.records.address import read_address
from relay.sidecar.address import check_url
from relay.wire.version import IDENTIFIERS

NOBODY = (
    "auth: no key and nothing public, so nobody could ever come in; set auth.key to a key file "
    "(relay token generate --out secret.jwk makes one), or auth.public to a prefix that needs no "
    'token ("" is everything; in a variable, where nothing says nothing, [""])'
)

_UNRULED = (
    "client certificates are asked for and allow nothing without a rule; moq-relay gives them "
    "everything, as relays too: [auth.certificates.any] full_access = true, cluster = true"
)

_DECIDED_HERE = (
    *("key", "keys", "key_dir", "jwks", "issuers", "public"),
    *("api_keys", "certificates"),
)
"""Settings of ``[auth]`` that another server would have to obey when that decides."""

_HIDDEN = "may not be read by this user"

Entries = Mapping[str, Entry]


def problems(settings: Settings, entries: Entries) -> list[str]:
    """One line for each thing that cannot be obeyed."""
    return [
        *_numbers(settings, entries),
        *_rights(settings),
        *_server(settings, entries),
        *_pair(settings, entries),
        *_https(settings, entries),
        *_faces(settings, entries),
        *_plain(settings, entries),
        *_versions(settings, entries),
        *_workers(settings, entries),
        *_links(settings, entries),
        *_issuer(settings, entries),
        *_encrypted(settings, entries),
        *_claims(settings, entries),
        *_audit(settings, entries),
        *_files(settings, entries),
        *_texts(settings, entries),
    ]


def _links(settings: Settings, entries: Entries) -> Iterator[str]:
    """Relays that cannot be dialled, and certificates that are half there."""
    cluster, tls = settings.cluster, settings.client.tls
    named = [("cluster.connect", each) for each in cluster.connect]
    node = "cluster.node" if "cluster.node" in entries else "cluster.mesh"  # which may say it
    named += [(node, cluster.node)] if cluster.node is not None else []
    for name, url in named:
        try:
            address = parse(url)
        except ConfigError as error:
            yield f"{_where(entries, name)}: {error}"
            continue
        if name == node and address.has_token:
            yield f"{_where(entries, name)}: it is told to everybody and must not hold a token"
    relays = cluster.connect_api
    try:
        if relays is not None and file_of(relays) is None:
            split_url(relays)
    except ValueError as error:
        yield f"{_where(entries, 'cluster.connect_api')}: {error}"
    if (tls.cert is None) != (tls.key is None):
        given = "client.tls.cert" if tls.cert else "client.tls.key"
        yield f"{_where(entries, given)}: cert and key belong together"
    try:
        DialTls(fingerprints=tls.fingerprint).pins()
    except ConfigError as error:
        yield f"{_where(entries, 'client.tls.fingerprint')}: {error}"


def warnings(settings: Settings, entries: Entries) -> list[str]:
    """One line for each thing that is unwise, or read and not obeyed."""
    said = []
    for path, name in _secrets(settings):
        if is_exposed(path):
            where = _where(entries, name)
            said.append(f"{where}: {path} can be read by others; chmod 600 it")
    token = settings.cluster.token
    if token is not None and (why := _missing(str(token))):
        said.append(f"{_where(entries, 'cluster.token')}: {why}; nobody is dialled without it")
    relays = settings.cluster.connect_api
    listed = None if relays is None else file_of(relays)
    if listed is not None and (why := _missing(str(listed))):
        where = _where(entries, "cluster.connect_api")
        said.append(f"{where}: {why}; it is looked for while the relay runs")
    if why := _never_asked(settings.auth):
        said.append(f"{_where(entries, 'auth.key_dir')}: {why}; no key is found there")
    if settings.client.tls.disable_verify:
        where = _where(entries, "client.tls.disable_verify")
        said.append(f"{where}: links believe any certificate; anybody can play the other relay")
    if settings.server.tls.root and not settings.auth.certificates:
        where = _where(entries, "server.tls.root")
        said.append(f"{where}: {_UNRULED}")
    internal = settings.internal.listen
    if internal is not None and not is_loopback(internal.host):
        where = _where(entries, "internal.listen")
        said.append(f"{where}: others may read /health, /metrics and /nodes there, without a token")
    https = settings.web.https
    if https.cert and https.key and not https.listen:
        said.append(f"{_where(entries, 'web.https.cert')}: not used without web.https.listen")
    plain = settings.server.tcp.listen or settings.server.unix.listen
    if plain and "server.listen" not in entries:
        said.append(
            f"server.listen: QUIC is taken at {settings.server.listen} beside plain streams; "
            "moq-relay takes none where no address is named"
        )
    if not (settings.server.tls.cert or settings.server.tls.generate):
        said.append(
            "server.tls: no certificate named; one for localhost is made, for a laptop only"
        )
    return said


def _never_asked(auth: AuthSettings) -> str:
    """Why no key of ``key_dir`` comes by URL; other sources are asked at the start, and tell."""
    if auth.key_dir is None or not is_url(auth.key_dir):
        return ""
    from relay.keyring.fetch import never_asked  # for few; its library takes a while

    return never_asked(auth.key_dir, auth.fetch)


def is_exposed(path: Path) -> bool:
    """Whether others than its owner may read a file; nobody can one that is not there."""
    try:
        return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False


def _where(entries: Entries, name: str) -> str:
    return entries[name].where if name in entries else name


def _numbers(settings: Settings, entries: Entries) -> Iterator[str]:
    """No ceiling below zero, no number that is none."""
    for name in SETTINGS:
        value = attrgetter(name)(settings)
        if isinstance(value, int | float) and not 0 <= value <= sys.float_info.max:
            yield f"{_where(entries, name)}: expected a finite number, zero or more"
    if settings.limits.handshake_timeout == 0:
        # Upstream waits for ever then; here nobody would be in time.
        yield f"{_where(entries, 'limits.handshake_timeout')}: expected more than zero"


def _rights(settings: Settings) -> Iterator[str]:
    auth = settings.auth
    ways = (auth.names_keys, auth.public, auth.url, auth.api_keys, auth.certificates)
    if not any(ways) and settings.records.url is None:
        yield f"{NOBODY}; {_UNRULED}" if settings.server.tls.root else NOBODY


def _server(settings: Settings, entries: Entries) -> Iterator[str]:
    """One server is asked, or the relay knows by itself; both together would contradict."""
    auth = settings.auth
    asked = [("sidecar.relays", relay) for relay in settings.sidecar.relays]
    if auth.url is not None:
        asked.insert(0, ("auth.url", auth.url))
        for name in _DECIDED_HERE:
            if getattr(auth, name):
                where = _where(entries, f"auth.{name}")
                yield f"{where}: not beside auth.url, which decides; give it to that server"
    for name, url in asked:
        try:
            check_url(url, _where(entries, name))
        except ConfigError as error:
            yield str(error)


def _pair(settings: Settings, entries: Entries) -> Iterator[str]:
    """A certificate and its key, or names to make one for."""
    tls = settings.server.tls
    if tls.generate and (tls.cert or tls.key):
        where = _where(entries, "server.tls.generate")
        yield f"{where}: a certificate is given as well (server.tls.cert); keep one of the two"
    elif bool(tls.cert) != bool(tls.key):
        given, missing = ("cert", "key") if tls.cert else ("key", "cert")
        where = _where(entries, f"server.tls.{given}")
        yield f"{where}: needs server.tls.{missing} beside it"
    else:
        yield from _paired(entries, "server.tls", tls.cert, tls.key)
    if any(not name.strip() for name in tls.generate):
        where = _where(entries, "server.tls.generate")
        yield f"{where}: expected a host name or an address, and this is empty"


def _paired(
    entries: Entries, section: str, certs: Sequence[Path], keys: Sequence[Path]
) -> Iterator[str]:
    """Several certificates have a key each."""
    if certs and keys and len(certs) != len(keys):
        where = _where(entries, f"{section}.key")
        many = f"{len(keys)} here, and {len(certs)} in {section}.cert"
        yield f"{where}: expected a key for each certificate, in the same order: {many}"


def _https(settings: Settings, entries: Entries) -> Iterator[str]:
    https = settings.web.https
    where = _where(entries, "web.https.listen")
    if https.listen and not (https.cert and https.key):
        yield f"{where}: needs web.https.cert and web.https.key"
    yield from _paired(entries, "web.https", https.cert, https.key)


def _faces(settings: Settings, entries: Entries) -> Iterator[str]:
    """Each face has a TCP address of its own; where plain HTTP has none said, it is QUIC's."""
    http, https = settings.web.http.listen, settings.web.https.listen
    faces = {
        "server.listen": None if http or https else settings.server.listen,
        "web.http.listen": http,
        "web.https.listen": https,
        "internal.listen": settings.internal.listen,
        "server.tcp.listen": settings.server.tcp.listen,
    }
    taken: dict[Address, str] = {}
    for name, address in faces.items():
        if address is None or not address.port:
            continue
        if address in taken:
            yield f"{_where(entries, name)}: the same TCP address as {taken[address]}"
        taken.setdefault(address, name)


def _plain(settings: Settings, entries: Entries) -> Iterator[str]:
    """Not every system says who dials; there a list of who may would let nobody in."""
    unix = settings.server.unix
    if unix.listen is not None and not (CAN_TELL or asks_nothing(unix.allow)):
        yield f"{_where(entries, 'server.unix.allow')}: this system does not say who dials"


def _issuer(settings: Settings, entries: Entries) -> Iterator[str]:
    """Keys of the relay's own need a place, and its tokens must be such as it takes itself."""
    if not settings.issuer.enabled:
        return
    where = _where(entries, "issuer.enabled")
    if settings.records.url is None:
        yield f"{where}: needs records.url, where the signing keys are kept"
    if settings.auth.url is not None:
        yield f"{where}: not beside auth.url, which decides; that server may issue tokens"
    if settings.auth.require_typ not in (None, "JWT"):
        where = _where(entries, "auth.require_typ")
        yield f"{where}: the tokens of issuer.enabled say JWT"


def _encrypted(settings: Settings, entries: Entries) -> Iterator[str]:
    """What is encrypted outlives the relay, and so must its keys."""
    for name, rules in settings.ingest.tracks.items():
        if rules.encrypt and settings.records.url is None:
            where = f"{_where(entries, 'ingest.tracks')}.{name}.encrypt"
            yield f"{where}: needs records.url, where the cipher keys are kept"


def _claims(settings: Settings, entries: Entries) -> Iterator[str]:
    """In tokens that are made here each right has a claim of its own."""
    if settings.issuer.enabled:
        for name in settings.auth.claims.shared():
            where = _where(entries, f"auth.claims.{name}")
            yield f"{where}: the tokens of issuer.enabled need a claim that means nothing else"


def _audit(settings: Settings, entries: Entries) -> Iterator[str]:
    """A webhook is signed, or nobody could tell it from anybody's POST."""
    audit = settings.audit
    if audit.webhook is None:
        return
    where = _where(entries, "audit.webhook")
    try:
        scheme = split_url(audit.webhook).scheme
    except ValueError as error:
        yield f"{where}: {error}"
        return
    if scheme != "https" and not audit.webhook_private:
        yield f"{where}: expected https://, or audit.webhook_private for a private network"
    if (audit.webhook_secret is None) == (audit.webhook_secret_file is None):
        yield f"{where}: needs one of audit.webhook_secret and audit.webhook_secret_file"


def _workers(settings: Settings, entries: Entries) -> Iterator[str]:
    """Several processes share a port by means that not every system has."""
    is_possible = hasattr(socket, "AF_UNIX") and hasattr(socket, "SO_REUSEPORT")
    if settings.server.count > 1 and not is_possible:
        yield f"{_where(entries, 'server.workers')}: this system cannot share a port; keep 1"


def _versions(settings: Settings, entries: Entries) -> Iterator[str]:
    where = _where(entries, "server.versions")
    if not settings.server.versions:
        yield f"{where}: expected at least one version"
    if set(settings.server.versions) - set(IDENTIFIERS):
        yield f"{where}: expected some of {', '.join(IDENTIFIERS)}"


def _files(settings: Settings, entries: Entries) -> Iterator[str]:
    """Files that are named and not there, or keys where a file name belongs."""
    tls, https = settings.server.tls, settings.web.https
    named: list[tuple[str, str | None]] = [
        (_named_in(settings, file), file) for file in settings.auth.key_files
    ]
    named += [("auth.jwks", source.file) for source in settings.auth.jwks]
    named += [("server.tls.cert", str(file)) for file in tls.cert]
    named += [("server.tls.key", str(file)) for file in tls.key]
    named += [("server.tls.root", str(file)) for file in tls.root]
    named += [("client.tls.root", str(file)) for file in settings.client.tls.root]
    alone = ["audit.webhook_secret_file", "client.tls.cert", "client.tls.key"]
    alone += ["sidecar.cert", "sidecar.key"]
    if https.listen:
        named += [("web.https.cert", str(file)) for file in https.cert]
        named += [("web.https.key", str(file)) for file in https.key]
    named += [(name, str(attrgetter(name)(settings) or "")) for name in alone]
    for name, file in named:
        if file and (why := _missing(file)):
            yield f"{_where(entries, name)}: {why}"
    for name, rules in settings.ingest.tracks.items():
        if rules.schema_file and (why := _missing(str(rules.schema_file))):
            yield f"{_where(entries, 'ingest.tracks')}.{name}.schema: {why}"
    folder = settings.auth.key_dir
    if folder and not is_url(folder) and (why := _missing_folder(folder)):
        yield f"{_where(entries, 'auth.key_dir')}: {why}"
    unix = settings.server.unix.listen
    if unix is not None and (why := _missing_folder(str(unix.parent))):
        yield f"{_where(entries, 'server.unix.listen')}: {why}"
    store = read_address(settings.records.url).file if settings.records.url else None
    if store is not None and (why := _missing_folder(str(store.parent))):
        yield f"{_where(entries, 'records.url')}: {why}"


def _named_in(settings: Settings, place: str) -> str:
    """The setting that names this place of keys."""
    return "auth.key" if place == settings.auth.key else "auth.keys"


def _texts(settings: Settings, entries: Entries) -> Iterator[str]:
    """Keys that are written down instead of named: a secret one only where few can read it."""
    for text in settings.auth.key_texts:
        where = _where(entries, _named_in(settings, text))
        try:
            keys = KeySet.load(text.encode(), where).keys
        except ConfigError as error:
            yield str(error)
            continue
        if any(key.material.signing is not None for key in keys) and not where.startswith(PREFIX):
            yield f"{where}: a secret key belongs into a file of its own, or into {PREFIX}AUTH__KEY"


def _missing(file: str) -> str | None:
    """Why a file cannot be read, ``None`` if it can."""
    if is_content(file):
        return "expected a file name, and this looks like the content of one"
    if is_url(file):
        return "expected a file name, not a URL"
    try:
        is_file = stat.S_ISREG(os.stat(file).st_mode)
    except PermissionError:
        return f"{_HIDDEN}: {file}"
    except (FileNotFoundError, NotADirectoryError):
        return f"no such file: {file}"
    except (OSError, ValueError):
        return "expected a file name"
    if not is_file:
        return f"not a file: {file}"
    return None if os.access(file, os.R_OK) else f"{_HIDDEN}: {file}"


def _missing_folder(folder: str) -> str | None:
    """Why a folder cannot be entered, ``None`` if it can."""
    try:
        is_folder = stat.S_ISDIR(os.stat(folder).st_mode)
    except PermissionError:
        return f"{_HIDDEN}: {folder}"
    except (OSError, ValueError):
        is_folder = False
    if not is_folder:
        return f"no such folder: {folder}"
    return None if os.access(folder, os.X_OK) else f"{_HIDDEN}: {folder}"


def _secrets(settings: Settings) -> Iterator[tuple[Path, str]]:
    """Files that nobody else should read."""
    for file in settings.auth.key_files:
        if _is_secret(Path(file)):
            yield Path(file), _named_in(settings, file)
    for path in settings.server.tls.key:
        yield path, "server.tls.key"
    if settings.sidecar.key:
        yield settings.sidecar.key, "sidecar.key"
    for path in settings.web.https.key if settings.web.https.listen else ():
        yield path, "web.https.key"


def _is_secret(path: Path) -> bool:
    """Whether a key file holds more than public halves; one that cannot be read might."""
    try:
        with path.open("rb") as file:
            keys = KeySet.load(file.read(MAX_KEY_FILE + 1), path.name)
    except (OSError, ConfigError):
        return True
    return any(key.material.signing is not None for key in keys.keys)
