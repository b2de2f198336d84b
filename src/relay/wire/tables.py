"""Messages of moq-lite 01 to 06 as a table of fields, and what one relay's processes add to them.

A row says in which versions a field is there and how it is written; codecs are compiled from it,
once per version, at import. This is the only place that compares version numbers. This module must
not know what any message is good for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from relay.wire.fields import (
    FLAG,
    FLOOR,
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
    Codecs,
    Kind,
)
from relay.wire.messages import (
    Announce,
    AnnounceEnd,
    AnnounceInit,
    AnnounceOk,
    AnnounceRequest,
    AnnounceStart,
    AnnounceUpdate,
    Fetch,
    Goaway,
    Group,
    Message,
    Probe,
    Subscribe,
    SubscribeDrop,
    SubscribeEnd,
    SubscribeOk,
    SubscribeStart,
    SubscribeUpdate,
    TrackInfo,
    TrackRequest,
)

NEAR = 7
"""Version 06 as the processes of one relay speak it among themselves."""

INTERPRETED = 8
"""What `relay.moqt` says of subscriptions beyond any version."""

_LATEST = NEAR


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
    _Row("ordered", FLAG, 3, 5, lossy=True),
    _Row("max_latency", VARINT, 3, lossy=True),
    _Row("start", OPTIONAL, 3, 5, lossy=True),
    _Row("start", FLOOR, 6, lossy=True),
    _Row("end", OPTIONAL, 3, lossy=True),
)
_FRAMES = (_Row("first_frame", VARINT, 6), _Row("last_frame", OPTIONAL, 6))
_PAUSED = _Row("is_paused", FLAG, INTERPRETED, INTERPRETED)
_PRICED = (
    _Row("hops", HOPS),
    _Row("warm", VARINT),
    _Row("cold", VARINT),
    _Row("since", VARINT, NEAR, lossy=True),
)

# moq-lite-01 .. 06, section "Messages".
_TABLES: Mapping[type[Message], _Table] = {
    AnnounceRequest: _Table(1, _LATEST, (_Row("prefix", STRING), _Row("exclude", VARINT, 4, 5))),
    AnnounceInit: _Table(1, 2, (_Row("suffixes", STRINGS),)),
    AnnounceOk: _Table(5, _LATEST, (_Row("hop", VARINT), _Row("active", VARINT))),
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
    AnnounceStart: _Table(6, _LATEST, (_Row("suffix", STRING), *_PRICED)),
    AnnounceEnd: _Table(6, _LATEST, (_Row("id", VARINT),)),
    AnnounceUpdate: _Table(6, _LATEST, (_Row("id", VARINT), *_PRICED)),
    Subscribe: _Table(
        1,
        _LATEST,
        (
            _Row("id", VARINT),
            _Row("broadcast", STRING),
            _Row("track", STRING),
            _Row("priority", U8),
            *_WISHES,
            *_FRAMES,
            _PAUSED,
            _Row("patience", VARINT, INTERPRETED, INTERPRETED),
        ),
    ),
    SubscribeUpdate: _Table(3, _LATEST, (_Row("priority", U8), *_WISHES, *_FRAMES, _PAUSED)),
    SubscribeOk: _Table(
        1, 4, (_Row("priority", U8, 1, 1, lossy=True), _Row("priority", U8, 3), *_WISHES)
    ),
    SubscribeStart: _Table(5, _LATEST, (_Row("group", VARINT),)),
    SubscribeEnd: _Table(5, _LATEST, (_Row("group", VARINT),)),
    SubscribeDrop: _Table(
        3, _LATEST, (_Row("start", VARINT), _Row("end", VARINT), _Row("code", VARINT))
    ),
    TrackRequest: _Table(5, _LATEST, (_Row("broadcast", STRING), _Row("track", STRING))),
    TrackInfo: _Table(
        5,
        _LATEST,
        (
            _Row("priority", U8),
            _Row("ordered", FLAG, 5, 5, lossy=True),
            _Row("max_latency", VARINT),
            _Row("timescale", POSITIVE),
        ),
    ),
    Fetch: _Table(
        5,
        _LATEST,
        (
            _Row("broadcast", STRING),
            _Row("track", STRING),
            _Row("priority", U8),
            _Row("group", VARINT),
            *_FRAMES,
        ),
    ),
    Group: _Table(
        1,
        _LATEST,
        (
            _Row("subscription", VARINT),
            _Row("sequence", VARINT),
            _Row("first_frame", VARINT, 6),
            _Row("has_properties", FLAG, NEAR),
        ),
    ),
    Probe: _Table(3, _LATEST, (_Row("bitrate", VARINT), _Row("rtt", VARINT, 4, lossy=True))),
    Goaway: _Table(4, _LATEST, (_Row("uri", URI),)),
}


def compiled(version: int, beyond: int = 0) -> Codecs:
    """The codecs of moq-lite version 1..6 or `NEAR`, one for each message that the version has;
    with `INTERPRETED` as ``beyond`` they have the fields of that, too."""
    codecs = Codecs()
    for cls, table in _TABLES.items():
        if table.since <= version <= table.until:
            present = [
                row
                for row in table.rows
                if row.since <= version <= row.until or row.since == beyond
            ]
            kept = {row.name for row in present} | {row.name for row in table.rows if row.lossy}
            absent = {row.name for row in table.rows} - kept
            codecs[cls] = Codec(
                cls,
                ((row.name, row.kind) for row in present),
                {name: cls._field_defaults[name] for name in absent},
            )
    return codecs
