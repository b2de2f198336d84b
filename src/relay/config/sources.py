"""Where settings come from: a TOML file, the environment, flags; each becomes a list of entries.

The law: an entry remembers how and where it was written, so that a complaint can point there. A
file name in a file is relative to that file's folder, any other to the working directory, and a
leading ``~`` is a home in all of them. This module must not know whether a value is a good one.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

import tomli

from relay.auth.trust import is_content, is_url
from relay.config import names
from relay.errors import ConfigError
from relay.records.address import beside

MAX_FILE = 1 << 20
"""Bytes of a configuration file; a longer one is refused unread."""

INNER_FILES = frozenset({"cert", "key", "password_file", "root", "schema"})
"""Files that are named inside a table which is one setting."""

FILES = frozenset(
    {
        "audit.webhook_secret_file",
        "auth.jwks",
        "auth.key",
        "auth.key_dir",
        "auth.keys",
        "client.tls.cert",
        "client.tls.key",
        "client.tls.root",
        "cluster.connect_api",
        "cluster.token",
        "server.tls.cert",
        "server.tls.key",
        "server.tls.root",
        "server.unix.listen",
        "sidecar.cert",
        "sidecar.key",
        "web.https.cert",
        "web.https.key",
    }
)
"""Settings that name files."""

LATER = frozenset({"cluster.connect_api", "cluster.token", "server.unix.listen"})
"""Those whose files may come, or are made, while the relay runs."""

NEAR = 0.9
"""How alike a variable's name and a setting's are, of 1, where the one is taken for a slip."""

RUST = "RUST_LOG"
"""What programs in Rust read the level of their log from."""

_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_DOTTED = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_TABLE = re.compile(rf"\s*\[\[?\s*({_DOTTED})\s*\]")
_PAIR = re.compile(rf"\s*({_DOTTED})\s*=")


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting somebody wrote."""

    name: str
    """Canonical dotted name."""

    value: Any

    where: str
    """How a complaint begins: place and name as written, e.g. ``relay.toml:3: server.bind``."""


@dataclass(slots=True)
class Source:
    """The entries of one source, and what is wrong with its names."""

    entries: dict[str, Entry] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    folder: Path = Path()
    """What file names are relative to."""
    implied: set[str] = field(default_factory=set)
    """Names of entries that nobody wrote: what another says beside its own value."""

    def add(self, dotted: str, value: Any, where: str, spell: Callable[[str], str] = str) -> None:
        """Take one value under the name it was given; ``spell`` is how a name is suggested."""
        name = names.canonical(dotted)
        said, value = value, _beside(self.folder, name, value)
        if dotted in names.REFUSED:
            self.problems.append(f"{where}: {names.REFUSED[dotted]}")
        elif names.is_unbuilt(dotted):
            self.warnings.append(f"{where}: not built here, ignored")
        elif name in self.entries and name not in self.implied:
            other = self.entries[name].where
            self.problems.append(f"{where}: the same setting is given twice (also {other})")
        elif name in FILES and (fault := _nameless(value)):
            self.problems.append(f"{where}: expected a file name, and this {fault}")
        elif name in FILES - LATER and (missed := _elsewhere(said, value)) is not None:
            self.problems.append(
                f"{where}: no such file: {missed}; names are relative to the folder of the "
                "configuration here, not to where the relay is started, as with moq-relay"
            )
        elif name in names.SETTINGS or name in names.WHOLE:
            self.entries[name] = Entry(name, _meant(name, value), where)
            self.implied.discard(name)
            self._imply(dotted, where)
        elif name in names.SECTIONS:
            self.problems.append(f"{where}: expected a section, not a value")
        elif (section := dotted.partition(".")[0]) in names.ELSEWHERE:
            self.problems.append(f"{where}: no such setting; here: {names.ELSEWHERE[section]}")
        elif (table := names.table_around(dotted)) is not None:
            self.problems.append(f"{where}: {spell(table)} takes the whole table, as JSON")
        else:
            near = names.nearest(dotted)
            hint = f"; did you mean {spell(near)}?" if near else ""
            self.problems.append(f"{where}: no such setting{hint}")

    def _imply(self, dotted: str, where: str) -> None:
        """Take what a name says beside its value, unless that was or will be given as well."""
        name, value = names.IMPLIED.get(dotted, ("", None))
        if name and name not in self.entries:
            self.entries[name] = Entry(name, value, where)
            self.implied.add(name)


def from_file(path: Path) -> Source:
    """The entries of a TOML file. Raises `ConfigError` when it cannot be read as one."""
    text = _text(path)
    try:
        tables = tomli.loads(text)
    except (tomli.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from None
    lines = _lines(text)
    source = Source(folder=path.parent)
    for dotted, value in _flat(tables, ""):
        place = _nearest_line(lines, dotted)
        where = f"{path}:{place}: {dotted}" if place else f"{path}: {dotted}"
        source.add(dotted, value, where)
    return source


def from_environment(environ: Mapping[str, str]) -> Source:
    """The entries of ``MOQ_SECTION__NAME`` variables; lists as JSON or separated by commas, tables
    whose names are the operator's as JSON.

    Names with single underscores (``MOQ_SERVER_BIND``), as upstream spells them, are read when they
    name a setting and left alone when they do not: they may be another program's. One that is very
    near to a setting's is told.
    """
    source = Source()
    single = {names.underscored(name): name for name in names.spellings()}
    single |= {names.underscored(name): meant for name, meant in names.SHORT.items()}
    for variable in sorted(environ):
        rest = variable.removeprefix(names.PREFIX)
        if rest == variable or not environ[variable].strip():
            continue
        if "__" in rest:
            dotted = rest.lower().replace("__", ".")
        elif variable in single:
            dotted = single[variable]
        elif (unbuilt := names.unbuilt(variable, names.underscored, "_")) is not None:
            dotted = unbuilt
        else:
            if close := difflib.get_close_matches(variable, single, 1, NEAR):
                said = f"{variable}: no such setting, ignored; did you mean {close[0]}?"
                source.warnings.append(said)
            continue
        _add_text(source, dotted, environ[variable], variable)
    _obey_rust(source, environ.get(RUST, "").strip().lower())
    return source


def _obey_rust(source: Source, said: str) -> None:
    """Upstream's own variable for the log goes before ours; of its filters only a level is read."""
    if said in get_args(names.TYPES["log.level"]):
        source.entries["log.level"] = Entry("log.level", said, RUST)
    elif said:
        source.warnings.append(f"{RUST}: only a level is understood, such as debug; ignored")


def from_flags(flags: Mapping[str, Any]) -> Source:
    """The entries of flags: dotted name to value; ``None`` and ``()`` mean not given."""
    source = Source()
    for dotted, value in flags.items():
        if value is not None and value != ():
            source.add(dotted, value, f"flag for {dotted}")
    return source


def _add_text(source: Source, dotted: str, text: str, variable: str) -> None:
    """Add what a variable says."""
    try:
        text.encode()
        value = decoded(names.canonical(dotted), text)
    except UnicodeEncodeError:
        source.problems.append(f"{variable}: not UTF-8 text")
    except ValueError as error:
        source.problems.append(f"{variable}: {error}")
    else:
        source.add(dotted, value, variable, names.variable)


def decoded(name: str, text: str) -> Any:
    """The text of a variable or a flag as the setting's type wants it; ``name`` is canonical.

    Raises `ValueError` for broken JSON, and for a comma too many: an empty prefix is everything.
    """
    if name in names.TABLES and text.lstrip()[:1] not in ("[", "{"):
        raise ValueError('expected a table as JSON, such as {"name": {"setting": "value"}}')
    listed = name in names.WHOLE or _is_list(names.TYPES.get(name))
    if not listed:
        return text
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            raise ValueError("not valid JSON") from None
    items = [item.strip() for item in text.split(",")]
    if len(items) > 1 and "" in items:
        raise ValueError("one of the items is empty; where that is meant say it in JSON")
    return items[0] if len(items) == 1 and name in names.WHOLE else items


def _is_list(kind: Any) -> bool:
    return get_origin(kind) in (list, tuple, dict) or any(_is_list(each) for each in get_args(kind))


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_FILE:
            raise ConfigError(f"{path}: larger than {MAX_FILE} bytes")
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text") from None


def _flat(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted names and values; only sections are taken apart."""
    for key, value in table.items():
        dotted = prefix + key
        if isinstance(value, dict) and names.is_unbuilt(dotted):
            if value and value.get("enabled") is not False:
                yield dotted, value
        elif isinstance(value, dict) and names.canonical(dotted) in names.SECTIONS:
            yield from _flat(value, f"{dotted}.")
        else:
            yield dotted, value


def _lines(text: str) -> dict[str, int]:
    """The line on which each dotted name first stands. A guide for the eye, not a parser."""
    places: dict[str, int] = {}
    table = ""
    for number, line in enumerate(text.splitlines(), 1):
        if found := _TABLE.match(line):
            table = _plain(found[1])
            places.setdefault(table, number)
        elif found := _PAIR.match(line):
            key = _plain(found[1])
            places.setdefault(f"{table}.{key}" if table else key, number)
    return places


def _plain(dotted: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in dotted.split("."))


def _nearest_line(lines: Mapping[str, int], dotted: str) -> int | None:
    inside = [line for name, line in lines.items() if name.startswith(f"{dotted}.")]
    if inside and dotted not in lines:
        return min(inside)
    while dotted and dotted not in lines:
        dotted = dotted.rpartition(".")[0]
    return lines.get(dotted)


def _meant(name: str, value: Any) -> Any:
    """The value as it is called here."""
    ours = names.VALUES.get(name)
    if ours is None:
        return value
    if not isinstance(value, list):
        return ours.get(str(value).lower(), value)
    meant = [ours.get(str(each).lower(), each) for each in value]
    return [each for place, each in enumerate(meant) if each not in meant[:place]]


def _nameless(value: Any) -> str | None:
    """Why that names no file, or one of several does not, ``None`` where all do."""
    texts = [each for each in (value if isinstance(value, list) else [value]) if type(each) is str]
    if "" in texts:  # the folder would be taken for it
        return "is empty"
    return "holds a NUL character" if any("\0" in each for each in texts) else None


def _elsewhere(said: Any, placed: Any) -> str | None:
    """The first file that is not where it is looked for, and is where upstream would."""
    pairs = zip(said, placed, strict=True) if isinstance(said, list) else [(said, placed)]
    for one, other in pairs:
        if not isinstance(one, str) or one == other or is_content(one):
            continue
        if os.path.exists(one) and not os.path.lexists(other):
            return str(other)
    return None


def _beside(folder: Path, name: str, value: Any) -> Any:
    """File names made relative to ``folder``; everything else as it is."""
    if name == "records.url" and isinstance(value, str):
        return beside(folder, value)
    if name in ("ingest.tracks", "sinks"):
        return _inner_beside(folder, value)
    if name not in FILES:
        return value
    if isinstance(value, list):
        return [_beside(folder, name, item) for item in value]
    if isinstance(value, dict) and "file" in value:
        return value | {"file": _beside(folder, name, value["file"])}
    if _nameless(value) or not isinstance(value, str) or is_url(value) or is_content(value):
        return value
    if name == "cluster.connect_api" and value.startswith("file:"):
        return value
    return _placed(folder, value)


def _placed(folder: Path, file: str) -> str:
    """Where a file is: below ``folder``, unless its name begins at the root or at a home."""
    return str(folder / os.path.expanduser(file))


def _inner_beside(folder: Path, value: Any) -> Any:
    """The same for the file names inside a table which is one setting."""
    if not isinstance(value, dict):
        return value
    return {
        name: _placed(folder, inner)
        if name in INNER_FILES and isinstance(inner, str)
        else _inner_beside(folder, inner)
        for name, inner in value.items()
    }
