"""The names a setting may go by: our own, upstream's, and those that are known but not built.

The law: every spelling ends in one canonical dotted name, and a name that is none of them gets the
nearest one as an answer. This module must not know values.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from relay.config.shape import Settings

PREFIX = "MOQ_"
"""What every environment variable of ours begins with."""

RENAMED = {
    "auth.api": "auth.url",
    "auth.auth_api": "auth.url",
    "cluster.linger": "cache.linger",
    "cluster.root": "cluster.connect",
    "cache.capacity": "cache.cache_bytes",
    "cache.duration": "cache.cache_duration",
    "connect": "client",
    "listen": "server",
    "server.bind": "server.listen",
    "server.version": "server.versions",
    "tls": "server.tls",
}
"""Upstream's spellings of what we have, a whole section or one setting."""

IMPLIED = {
    "auth.api": ("auth.contract", "api"),
    "auth.auth_api": ("auth.contract", "api"),
}
"""What upstream's spelling says beside the value: another setting, unless it is given as well."""

UNBUILT = (
    "cache.headroom",
    "client.backend",
    "client.quic",
    "client.tls.system_roots",
    "iroh",
    "server.backend",
    "server.quic",
    "server.tcp",
    "server.unix",
    "web.ws",
)
"""Upstream's settings that are read and not obeyed; the start says so."""

REFUSED = {
    "auth.domain": "subdomains as tenants are not built",
}
"""Upstream's settings that decide who may come in: not obeying them quietly would be unsafe."""

_HIDDEN = {"limits.limits"}
"""Fields that another section fills."""


def _fields(shape: Any) -> dict[str, Any]:
    """Name and type of the fields of a section; empty for anything that is none."""
    if isinstance(shape, type) and issubclass(shape, BaseModel):
        return {name: field.annotation for name, field in shape.model_fields.items()}
    if isinstance(shape, type) and dataclasses.is_dataclass(shape):
        hints = typing.get_type_hints(shape)
        return {field.name: hints[field.name] for field in dataclasses.fields(shape)}
    return {}


def _walk(shape: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, inner in _fields(shape).items():
        dotted = f"{prefix}{name}"
        if dotted not in _HIDDEN:
            yield dotted, inner
            yield from _walk(inner, f"{dotted}.")


TYPES: dict[str, Any] = dict(_walk(Settings, ""))
"""Every dotted name and its type, sections included."""

SECTIONS = frozenset(name for name, kind in TYPES.items() if _fields(kind))
"""Names that hold other settings."""

SETTINGS = tuple(name for name in TYPES if name not in SECTIONS)
"""Names that hold a value."""

WHOLE = frozenset({"auth.public"})
"""Sections that may also be written as one value."""


def canonical(dotted: str) -> str:
    """The name we use for what somebody else calls ``dotted``."""
    for other in sorted(RENAMED, key=len, reverse=True):
        if dotted == other or dotted.startswith(other + "."):
            moved = RENAMED[other] + dotted[len(other) :]
            return canonical(moved) if moved != dotted else moved
    return dotted


def is_unbuilt(dotted: str) -> bool:
    """Whether the setting is known from upstream and not obeyed here."""
    return any(dotted == name or dotted.startswith(name + ".") for name in UNBUILT)


def nearest(dotted: str) -> str | None:
    """The setting that was probably meant, if there is one."""
    known = [*TYPES, *(name for name in RENAMED if "." in name)]
    close = difflib.get_close_matches(dotted, known, 1, 0.75)
    if close:
        return close[0]
    last = dotted.rpartition(".")[2]
    same = [name for name in SETTINGS if name.rpartition(".")[2] == last]
    return same[0] if len(same) == 1 or (same and "." not in dotted) else None


def variable(dotted: str) -> str:
    """The environment variable of a setting: ``MOQ_SERVER__TLS__CERT``."""
    return PREFIX + dotted.replace(".", "__").upper()
