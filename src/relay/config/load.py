"""From sources to settings: flags before environment before file, then every complaint at once.

The law: all that is wrong is said in one go, one line each, with the place where it was written and
what was expected; values are not echoed. This module must not know what a setting does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from relay.auth.credentials import OPERATOR, hash_key
from relay.config import checks, measures, names, sources
from relay.config.shape import Settings
from relay.config.sources import Entry, Source
from relay.errors import ConfigError

SECONDS = frozenset(
    {
        "auth.fetch.default_age",
        "auth.fetch.max_age",
        "auth.fetch.max_stale",
        "auth.max_ttl",
        "cache.linger",
        "cache.cache_duration",
        "cache.track_linger",
        "client.timeout",
        "client.websocket.delay",
        "ingest.linger",
        "cluster.silence",
        "limits.handshake_timeout",
        "quic.idle_timeout",
        "server.drain",
        "sidecar.expires",
        "sidecar.revalidate",
    }
)
"""Settings in seconds that may also be written like ``"30s"``."""

SHARE = "cache.cache_bytes"
"""What may also be a share of the memory."""

_EXPECTED = {
    "bool": "expected true or false",
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "dict_type": "expected a section",
    "finite_number": "expected a finite number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "int_from_float": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "list_type": "expected a list",
    "model_type": "expected a section",
    "path_type": "expected a file name",
    "string_type": "expected text",
    "tuple_type": "expected a list",
}
"""What was expected, by pydantic's error type; the rest says so itself."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings that may be obeyed, and what the operator should hear about them first."""

    settings: Settings
    warnings: tuple[str, ...]
    entries: Mapping[str, Entry] = field(default_factory=dict, repr=False)
    """What was written, by canonical name, for whoever points there."""


def load(
    file: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Loaded:
    """Read all sources; ``environ`` defaults to the process's own, ``flags`` is by dotted name.

    Raises `ConfigError` whose message has one line for each thing that is wrong.
    """
    environ = os.environ if environ is None else environ
    found = [
        sources.from_flags(flags or {}),
        sources.from_environment(environ),
        sources.from_file(file) if file is not None else Source(),
    ]
    problems = [problem for source in found for problem in source.problems]
    entries = _merged(found)
    warnings = [warning for source in found for warning in source.warnings]
    if (token := environ.get(OPERATOR)) and "admin.api_key" not in entries:
        warnings += _let_in(token, entries)
    settings = _built(entries, problems)
    if settings is not None:
        found_later = checks.problems(settings, entries)
        # Who misspelt a key has not left it out.
        problems += [
            line for line in found_later if not (problems and line.startswith(checks.NOBODY))
        ]
    if problems:
        raise ConfigError("\n".join(problems))
    assert settings is not None
    return Loaded(settings, tuple(warnings + checks.warnings(settings, entries)), entries)


def _merged(found: list[Source]) -> dict[str, Entry]:
    """First source wins; a setting and the section it stands in displace each other."""
    merged: dict[str, Entry] = {}
    for source in found:
        fresh = {
            name: entry
            for name, entry in source.entries.items()
            if not any(_overlap(name, taken) for taken in merged)
        }
        merged.update(fresh)
    return merged


def _let_in(token: str, entries: dict[str, Entry]) -> list[str]:
    """Make whoever has the token of the environment the operator; answers what speaks against."""
    try:
        entries["admin.api_key"] = Entry("admin.api_key", hash_key(token), OPERATOR)
    except ValueError as error:
        return [f"{OPERATOR}: {error}; nobody is the operator"]
    return []


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(other + ".") or other.startswith(one + ".")


def _built(entries: Mapping[str, Entry], problems: list[str]) -> Settings | None:
    """The settings, section by section; complaints go to ``problems`` and make it ``None``."""
    sections: dict[str, Any] = {}
    for section in Settings.model_fields:
        values: Any = {}
        # What is said of all that a section holds comes first, and its parts add to it.
        for entry in sorted(entries.values(), key=lambda entry: entry.name.count(".")):
            if entry.name == section:  # a section whose names are the operator's is one value
                values = entry.value
            elif entry.name.split(".")[0] == section:
                _place(values, entry.name.split(".")[1:], _converted(entry, problems))
        try:
            sections[section] = TypeAdapter[Any](names.TYPES[section]).validate_python(values)
        except ValidationError as error:
            problems += _explained(section, error, entries)
        except ConfigError as error:
            problems.append(_pointed(section, str(error), entries))
    return None if len(sections) < len(Settings.model_fields) else Settings(**sections)


def _pointed(section: str, message: str, entries: Mapping[str, Entry]) -> str:
    """A room's own complaint, which begins with the field's name, at the place it was written."""
    field, _, rest = message.partition(" ")
    name = f"{section}.{field}"
    return f"{entries[name].where if name in entries else name}: {rest}"


def _place(values: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):  # ``public`` and one of its roles: both are meant
            inner = values[part] = {"subscribe": inner, "publish": inner}
        values = inner
    said = values.get(path[-1])
    values[path[-1]] = value if said is None else [*_listed(said), *_listed(value)]


def _listed(value: Any) -> list[Any]:
    """One prefix or many, as a list."""
    return list(value) if isinstance(value, list | tuple) else [value]


def _converted(entry: Entry, problems: list[str]) -> Any:
    """The value as our types take it: units and upstream's prefix patterns are resolved."""
    if entry.name == "auth.public" or entry.name.startswith("auth.public."):
        return _prefixes(entry.value, entry.where, problems)
    return _measured(entry.name, entry.value)


def _measured(name: str, value: Any) -> Any:
    """A duration or a size with its unit as a number; anything else as it is.

    Yes or no is no number, though pydantic takes it for 1 or 0: a limit of one was not meant.
    """
    if isinstance(value, bool) and _is_number(names.TYPES[name]):
        return str(value)
    if isinstance(value, list) and _is_number(names.TYPES[name]):
        return [_measured(name, each) for each in value]
    if not isinstance(value, str):
        return value
    if name in SECONDS:
        return measures.seconds(value)
    if name == SHARE and isinstance(found := measures.share(value), int):
        return found
    return measures.size(value) if "bytes" in name else value


def _is_number(kind: Any) -> bool:
    return kind in (int, float) or any(_is_number(each) for each in get_args(kind))


def _prefixes(value: Any, where: str, problems: list[str]) -> Any:
    """Newer upstream files say ``anon/**`` where ours say ``anon``; other patterns are refused, and
    so is a URL, of which upstream asks what is public."""
    if isinstance(value, list):
        return [_prefixes(item, where, problems) for item in value]
    if isinstance(value, dict):
        return {role: _prefixes(item, where, problems) for role, item in value.items()}
    if not isinstance(value, str):
        return value
    prefix = "" if value == "**" else value.removesuffix("/**")
    if value.startswith(("http://", "https://")):
        problems.append(f"{where}: {names.PUBLIC_SERVICE}")
    elif "*" in value and value.startswith("/"):
        problems.append(
            f'{where}: a pattern does not begin with /: write "anon/**" for what is below /anon, '
            '"**" for everything'
        )
    elif "*" in prefix:
        problems.append(f"{where}: expected a prefix; of patterns only prefix/** is understood")
    return prefix


def _explained(section: str, error: ValidationError, entries: Mapping[str, Entry]) -> list[str]:
    """One line per complaint of pydantic, without the value it was about."""
    lines: list[str] = []
    for each in error.errors(include_url=False, include_input=False):
        told = [section, *(part for part in each["loc"] if isinstance(part, str))]
        parts = list(told)
        while parts and ".".join(parts) not in entries:
            parts.pop()
        if not parts:
            parts = _among(entries, told, str(each["msg"]))
        where = section
        if parts:
            entry = entries[".".join(parts)]
            where = ".".join([entry.where, *_inside(entry.value, told[len(parts) :])])
        line = f"{where}: {_wanted(each)}{_also('.'.join(parts), each)}"
        if each["type"] == "extra_forbidden":
            line = f"{where}: no such setting: {each['loc'][-1]}"
        if each["type"] == "missing":
            line = f"{where}: needs {each['loc'][-1]}"
        if line in lines:
            continue
        expected = f"{where}: expected "
        if each["type"] == "literal_error" and lines and lines[-1].startswith(expected):
            lines[-1] += f", or {line.removeprefix(expected)}"  # one setting, which takes both
        else:
            lines.append(line)
    return lines


def _among(entries: Mapping[str, Entry], section: list[str], message: str) -> list[str]:
    """The setting that a section's complaint about several is written at: of those that somebody
    wrote the one it names first."""
    for word in re.findall(r"\w+", message):
        if ".".join([*section, word]) in entries:
            return [*section, word]
    return []


def _wanted(complaint: Mapping[str, Any]) -> str:
    """What a complaint expected; rooms that check a value themselves say it in whole sentences."""
    kind, said = complaint["type"], str(complaint["msg"])
    if kind == "value_error":
        return said.removeprefix("Value error, ")
    said = said.removeprefix("Input should be ")
    if counted := re.match(r"\w+ should have (at (?:least|most) \d+ \w+)", said):
        said = counted[1]
    article = "" if said.startswith(("'", "at ")) else "a value "
    return _EXPECTED.get(kind, f"expected {article}{said}")


def _also(name: str, complaint: Mapping[str, Any]) -> str:
    """What else a setting would have understood where a number was expected."""
    if not str(complaint["type"]).endswith("_parsing"):
        return ""
    if name in SECONDS:
        return ' of seconds, or a time such as "30s" or "1m30s"'
    return ', or a size such as "256MiB"' if "bytes" in name else ""


def _inside(value: Any, names: list[str]) -> Iterator[str]:
    """Those names that lead into a table which is one setting."""
    for name in names:
        if not isinstance(value, dict) or name not in value:
            return
        value = value[name]
        yield name
