"""The tables: which message exists in which version, and that losses are deliberate."""

from __future__ import annotations

import pytest

from relay.wire import tables
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
from relay.wire.tables import NEAR, compiled

ALWAYS: set[type[Message]] = {AnnounceRequest, Announce, Subscribe, Group}
OLD = ALWAYS | {AnnounceInit, SubscribeOk}
MIDDLE = ALWAYS | {SubscribeOk, SubscribeUpdate, SubscribeDrop, Probe}
NEW = (MIDDLE - {SubscribeOk}) | {
    AnnounceOk,
    SubscribeStart,
    SubscribeEnd,
    TrackRequest,
    TrackInfo,
    Fetch,
    Goaway,
}
NEWEST = (NEW - {Announce}) | {AnnounceStart, AnnounceEnd, AnnounceUpdate}


@pytest.mark.parametrize(
    ("version", "classes"),
    [
        *[(1, OLD), (2, OLD), (3, MIDDLE), (4, MIDDLE | {Goaway})],
        *[(5, NEW), (6, NEWEST), (NEAR, NEWEST)],
    ],
)
def test_messages_of_a_version(version: int, classes: set[type[Message]]) -> None:
    assert set(compiled(version)) == classes


def test_rows_follow_the_class() -> None:
    for cls, table in tables._TABLES.items():
        for version in range(table.since, table.until + 1):
            names = [row.name for row in table.rows if row.since <= version <= row.until]
            order = [name for name in cls._fields if name in names]
            assert names == order, (cls, version)
            missing = set(cls._fields) - set(names)
            assert missing <= set(cls._field_defaults), (cls, version)
