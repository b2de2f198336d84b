"""Messages of moq-lite 01 to 05 as a table of fields.

A row says in which versions a field is there and how it is written; codecs are compiled from it,
once per version, at import. This is the only place that compares version numbers. This module must
not know what any message is good for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from relay.wire.fields import (
    FLAG,
    HOP_COUNT,
    HOPS,
    OPTIONAL,
    POSITIVE,
    STATUS,
    STATUS_RESTART,
    STRING,
    STRINGS,
    U8,
    URI,
    VARINT,
    Codec,
    Kind,
)
from relay.wire.messages import (
    Announce,
    AnnounceInit,
    AnnounceOk,
    AnnounceRequest,
    Fetch,
    Goaway,
    Group,
    Message,
    Probe,
    SessionInfo,
    Subscribe,
    SubscribeDrop,
    SubscribeEnd,
    SubscribeOk,
    SubscribeStart,
    SubscribeUpdate,
    TrackInfo,
    TrackRequest,
)

_LATEST = 5


class _Row(NamedTuple):
    """One field: from version ``since`` to version ``until`` it is written as ``kind``."""

    name: str
    kind: Kind
    since: int = 1
    until: int = _LATEST
    lossy: bool = False
    """Versions without the row drop the value: a wish or a hint that changes no meaning."""


class _Table(NamedTuple):
    """One message: the versions that have it, and its fields in their order."""

    since: int
    until: int
    rows: tuple[_Row, ...]


_WISHES = (
    _Row("ordered", FLAG, 3, lossy=True),
    _Row("max_latency", VARINT, 3, lossy=True),
    _Row("start", OPTIONAL, 3, lossy=True),
    _Row("end", OPTIONAL, 3, lossy=True),
)

# moq-lite-01 .. 05, section "Messages".
_TABLES: Mapping[type[Message], _Table] = {
    AnnounceRequest: _Table(1, 5, (_Row("prefix", STRING), _Row("exclude", VARINT, 4))),
    AnnounceInit: _Table(1, 2, (_Row("suffixes", STRINGS),)),
    AnnounceOk: _Table(5, 5, (_Row("hop", VARINT), _Row("active", VARINT))),
    Announce: _Table(
        1,
        5,
        (
            _Row("active", STATUS, 1, 4),
            _Row("active", STATUS_RESTART, 5),
            _Row("suffix", STRING),
            _Row("hops", HOP_COUNT, 3, 3, lossy=True),
            _Row("hops", HOPS, 4, lossy=True),
        ),
    ),
    Subscribe: _Table(
        1,
        5,
        (
            _Row("id", VARINT),
            _Row("broadcast", STRING),
            _Row("track", STRING),
            _Row("priority", U8),
            *_WISHES,
        ),
    ),
    SubscribeUpdate: _Table(3, 5, (_Row("priority", U8), *_WISHES)),
    SubscribeOk: _Table(
        1, 4, (_Row("priority", U8, 1, 1, lossy=True), _Row("priority", U8, 3), *_WISHES)
    ),
    SubscribeStart: _Table(5, 5, (_Row("group", VARINT),)),
    SubscribeEnd: _Table(5, 5, (_Row("group", VARINT),)),
    SubscribeDrop: _Table(3, 5, (_Row("start", VARINT), _Row("end", VARINT), _Row("code", VARINT))),
    TrackRequest: _Table(5, 5, (_Row("broadcast", STRING), _Row("track", STRING))),
    TrackInfo: _Table(
        5,
        5,
        (
            _Row("priority", U8),
            _Row("ordered", FLAG),
            _Row("max_latency", VARINT),
            _Row("timescale", POSITIVE),
        ),
    ),
    Fetch: _Table(
        5,
        5,
        (
            _Row("broadcast", STRING),
            _Row("track", STRING),
            _Row("priority", U8),
            _Row("group", VARINT),
        ),
    ),
    Group: _Table(1, 5, (_Row("subscription", VARINT), _Row("sequence", VARINT))),
    Probe: _Table(3, 5, (_Row("bitrate", VARINT), _Row("rtt", VARINT, 4, lossy=True))),
    Goaway: _Table(4, 5, (_Row("uri", URI),)),
    SessionInfo: _Table(1, 2, (_Row("bitrate", VARINT),)),
}


def compiled(version: int) -> Mapping[type[object], Codec]:
    """The codecs of moq-lite version 1..5, one for each message that the version has."""
    codecs: dict[type[object], Codec] = {}
    for cls, table in _TABLES.items():
        if table.since <= version <= table.until:
            present = [row for row in table.rows if row.since <= version <= row.until]
            kept = {row.name for row in present} | {row.name for row in table.rows if row.lossy}
            absent = {row.name for row in table.rows} - kept
            codecs[cls] = Codec(
                cls,
                ((row.name, row.kind) for row in present),
                {name: cls._field_defaults[name] for name in absent},
            )
    return codecs
