"""The names a setting may go by: our own, upstream's, and those that are known but not built.

The law: every spelling ends in one canonical dotted name, and a name that is none of them gets the
nearest one as an answer. This module must not know values.
"""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from relay.config.shape import Settings
from relay.wire.version import TRANSPORT

PREFIX = "MOQ_"
"""What every environment variable of ours begins with."""

RENAMED = {
    "auth.api": "auth.url",
    "auth.auth_api": "auth.url",
    "auth.domain": "auth.domains",
    "auth.public_publish": "auth.public.publish",
    "auth.public_subscribe": "auth.public.subscribe",
    "client.connect_timeout": "client.timeout",
    "cluster.advertise": "cluster.node",
    "cluster.linger": "cache.linger",
    "cluster.root": "cluster.connect",
    "cache.capacity": "cache.cache_bytes",
    "cache.duration": "cache.cache_duration",
    "connect": "client",
    "connect.tls.insecure": "client.tls.disable_verify",
    "drain_timeout": "server.drain",
    "listen": "server",
    "listen.timeout": "limits.handshake_timeout",
    "quic.receive_window": "quic.max_data",
    "quic.stream_receive_window": "quic.max_stream_data",
    "server.bind": "server.listen",
    "server.max_streams": "quic.max_streams",
    "server.quic": "quic",
    "server.quic.congestion_control": "quic.congestion_control",
    "server.quic.idle_timeout": "quic.idle_timeout",
    "server.quic.max_streams": "quic.max_streams",
    "server.tcp.bind": "server.tcp.listen",
    "server.unix.bind": "server.unix.listen",
    "server.tls.self_sign": "server.tls.generate",
    "server.version": "server.versions",
    "tls": "server.tls",
}
"""Upstream's spellings of what we have, a whole section or one setting."""

IMPLIED: dict[str, tuple[str, Any]] = {
    "auth.api": ("auth.contract", "api"),
    "auth.auth_api": ("auth.contract", "api"),
    "cluster.advertise": ("cluster.mesh", True),
}
"""What upstream's spelling says beside the value: another setting, unless it is given as well."""

NEWER = {"connect": "client", "listen": "server"}
"""Sections that upstream renamed; flags and variables go by the newer names as well."""

SHORT = {"connect": "connect.url", "listen": "listen.bind"}
"""What a flag or a variable means that is called like a whole section."""

UNBUILT = (
    "auth.mtls_tier",
    "auth.refresh_interval",
    "auth.tls",
    "backoff",
    "cache.headroom",
    "cache.latency_default",
    "client.backend",
    "client.backoff",
    "client.connect",
    "client.failover_delay",
    "client.goaway",
    "client.max_streams",
    "client.once",
    "client.quic",
    "client.race",
    "client.reconnect",
    "client.resolution_delay",
    "client.tls.host_name",
    "client.tls.system_roots",
    "client.url",
    "client.version",
    "cluster.lan",
    "cluster.max_hops",
    "cluster.prefix",
    "cluster.tier",
    "goaway",
    "iroh",
    "quic.gso",
    "quic.keep_alive",
    "quic.mtu_discovery",
    "quic.qlog",
    "quic.send_window",
    "runtime",
    "server.backend",
    "server.lb_id",
    "server.lb_nonce",
    "server.preferred_v4",
    "server.preferred_v6",
    "server.quic.gso",
    "server.quic.keep_alive",
    "server.quic.mtu_discovery",
    "server.quic.preferred_v4",
    "server.quic.preferred_v6",
    "server.quic.qlog",
    "server.quic.quic_lb_id",
    "server.quic.quic_lb_nonce",
    "server.quic_lb_id",
    "server.quic_lb_nonce",
    "stats.levels",
    "stats.linger",
    "stats.retention",
    "web.health",
)
"""Upstream's settings that are read and not obeyed; the start says so."""

VALUES: dict[str, dict[str, str]] = {
    "quic.congestion_control": {"loss": "cubic", "delay": "bbr"},
    "server.versions": {
        "moq-lite-06-wip": "moq-lite-06",
        "moq-lite-02": "moql",
        "moq-lite-01": "moql",
        **{dialect.name: identifier for identifier, dialect in TRANSPORT.items()},
    },
}
"""Upstream's values of a setting that has others here; of a list, its items."""

PUBLIC_SERVICE = (
    "asking a service what is public is not built; name prefixes in auth.public, or set "
    "auth.auth_api, as moq-relay now advises: that server answers with keys and what is public"
)

REFUSED = {
    "auth.public.api": PUBLIC_SERVICE,
    "auth.public_api": PUBLIC_SERVICE,
    "internal.tcp": "plain streams let nobody in without a token here; see server.tcp.listen",
    "internal.uds": "plain streams let nobody in without a token here; see server.unix.listen",
    "web.https.root": "HTTPS asks nobody for a certificate; server.tls.root is for QUIC",
}
"""Upstream's settings that decide who may come in: not obeying them quietly would be unsafe."""

ELSEWHERE = {
    "authentication": "admin.api_key",
    "jwt": "auth.key, auth.issuer, auth.audience and auth.*.enforce_jwt",
}
"""Sections that other servers have, and where the same is said here."""

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

TABLES = frozenset(name for name in SETTINGS if typing.get_origin(TYPES[name]) is dict)
"""Settings that are tables, whose names are the operator's."""


def canonical(dotted: str) -> str:
    """The name we use for what somebody else calls ``dotted``."""
    for other in sorted(RENAMED, key=len, reverse=True):
        if dotted == other or dotted.startswith(other + "."):
            moved = RENAMED[other] + dotted[len(other) :]
            return canonical(moved) if moved != dotted else moved
    return dotted


def is_unbuilt(dotted: str) -> bool:
    """Whether the setting is known from upstream and not obeyed here."""
    spelled = {dotted, canonical(dotted)}
    return any(each == name or each.startswith(name + ".") for each in spelled for name in UNBUILT)


def newer(names: Iterable[str]) -> list[str]:
    """The same names below the sections that upstream renamed."""
    return [
        section + name[len(older) :]
        for name in names
        for section, older in NEWER.items()
        if name.startswith(older + ".")
    ]


def underscored(dotted: str) -> str:
    """The environment variable as upstream spells it: ``MOQ_SERVER_TLS_CERT``."""
    return PREFIX + dotted.replace(".", "_").upper()


def unbuilt(spelled: str, spell: Callable[[str], str], gap: str) -> str | None:
    """The setting of upstream's, not obeyed here, that somebody spells so: ``spell`` tells how, and
    ``gap`` what stands between its words."""
    for name in (*UNBUILT, *newer(UNBUILT)):
        begins = spell(name)
        if spelled == begins or spelled.startswith(begins + gap):
            rest = spelled[len(begins) :].replace(gap, ".", 1).replace(gap, "_")
            return name + rest.lower()
    return None


def spellings() -> list[str]:
    """Every dotted name a value may be given under, those that are refused included."""
    others = [name for name in RENAMED if canonical(name) not in SECTIONS]
    ours = [*SETTINGS, *sorted(WHOLE), *others]
    return [*ours, *(name for name in newer(ours) if name not in others), *REFUSED]


def table_around(dotted: str) -> str | None:
    """The table that somebody means a part of."""
    return next((name for name in TABLES if canonical(dotted).startswith(name + ".")), None)


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
