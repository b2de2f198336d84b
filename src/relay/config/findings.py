"""What `relay check` found, and what it looked at: values only.

The law: a finding names its setting, its place and what to do; evidence is gathered by whoever may
read files and ask servers, before anything is judged. This module must not know what is wise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from relay.auth.keys import Key, KeySet
from relay.config.shape import Settings
from relay.config.sources import Entry
from relay.net.picking import Names

Severity = Literal["error", "warning", "note"]
"""``error``: unsafe or does not work; ``warning``: seldom meant; ``note``: worth knowing."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


_NAME = r"[A-Za-z_][\w-]*(?:\..+)?"
"""A setting as it was written; in a table that is one setting names of paths follow."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about the settings."""

    rule: str
    """Short and stable, for machines."""
    severity: Severity
    setting: str
    """Dotted name; empty when it is about no single one."""
    file: str
    """Where it was written; empty for a default or a flag."""
    line: int | None
    text: str
    mend: str
    """What to do about it; may be empty."""


@dataclass(frozen=True, slots=True)
class ReadKeys:
    """One source of keys and what it held when it was looked at."""

    setting: str
    place: str
    """File, folder or URL."""
    keys: KeySet = field(default_factory=KeySet)
    trouble: str = ""
    """Why it could not be read or reached; empty when it could."""
    remote: bool = False

    @property
    def named(self) -> tuple[tuple[str, Key], ...]:
        """Each key with the place it came from."""
        return tuple((self.place, key) for key in self.keys.keys)


@dataclass(frozen=True, slots=True)
class ReadCertificate:
    """One certificate and what it says. Times are unix seconds."""

    setting: str
    place: Path
    not_before: float = 0.0
    not_after: float = 0.0
    self_signed: bool = False
    pinnable_key: bool = True
    """Whether its key is one that browsers accept in a pinned certificate: ECDSA P-256."""
    names: Names = frozenset()
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What lies outside the settings: the files and servers they name."""

    keys: tuple[ReadKeys, ...] = ()
    together: str = ""
    """Why the keys cannot be used together (a name twice), empty when they can."""
    certificates: tuple[ReadCertificate, ...] = ()
    exposed: tuple[tuple[str, Path], ...] = ()
    """Secret files that others than their owner may read, by setting."""
    link_token: str = ""
    """What the file of ``cluster.token`` holds; empty where there is none to read."""
    unusable: tuple[tuple[str, str], ...] = ()
    """What stops the start of all else that is named: setting and why."""
    root_key: bool = True
    """Whether this environment has the key that the store is sealed under."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """Everything that is judged."""

    settings: Settings
    entries: Mapping[str, Entry]
    evidence: Evidence
    now: float
    """Unix seconds."""

    def finding(
        self, rule: str, severity: Severity, setting: str, text: str, mend: str = ""
    ) -> Finding:
        """A finding at the place where ``setting``, or the section it is in, was written."""
        name = setting
        while name and name not in self.entries:
            name = name.rpartition(".")[0]
        file, line = place(self.entries[name].where) if name else ("", None)
        return Finding(rule, severity, setting, file, line, text, mend)


def place(where: str) -> tuple[str, int | None]:
    """File and line of how an entry says where it was written."""
    found = re.fullmatch(r"(.+?)(?::(\d+))?: \S+", where)
    if found is None:
        return "", None
    return found[1], int(found[2]) if found[2] else None


def from_line(rule: str, severity: Severity, line: str, about: str = "") -> Finding:
    """A complaint of the configuration as a finding: ``file:line: name: what``, or ``file: what``
    of the whole file, which is ``about``."""
    where, colon, text = line.partition(": ")
    found = re.fullmatch(r"(.+?)(?::(\d+))?", where)
    name, second, rest = text.partition(": ")
    if colon and second and re.fullmatch(_NAME, name) and found is not None:
        number = int(found[2]) if found[2] else None
        return Finding(rule, severity, name, found[1], number, rest, "")
    if about and line.startswith(f"{about}: "):
        return Finding(rule, severity, "", about, None, line.removeprefix(f"{about}: "), "")
    if colon and re.fullmatch(r"[A-Za-z_][\w.-]*|flag for [\w.]+", where):
        return Finding(rule, severity, where, "", None, text, "")
    return Finding(rule, severity, "", "", None, line, "")
