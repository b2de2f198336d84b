"""The table of versions: every difference between them that is not a field of a message.

One row per version, facts only; a new version starts as a copy of the newest row. Offers are
answered in the client's order. This module must not know how an identifier travels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from relay.wire.codes import HOUSE, REGISTERED
from relay.wire.fields import VARINT, Codec, Codecs
from relay.wire.frame import Layout
from relay.wire.lite import Dialect
from relay.wire.messages import (
    AnnounceEnd,
    AnnounceOk,
    AnnounceStart,
    AnnounceUpdate,
    Bidi,
    Fetch,
    SubscribeDrop,
    SubscribeEnd,
    SubscribeLatest,
    SubscribeOk,
    SubscribeStart,
    TrackInfo,
    TrackRequest,
)
from relay.wire.tables import INTERPRETED, NEAR, compiled

INBAND = "moql"
"""The identifier that leaves the version to the in-band handshake."""

LITE_06 = Dialect(
    name="moq-lite-06",
    identifier="moq-lite-06",
    announce_reply="ok",
    stamps_hop="receiver",
    restart_in_place=True,
    announce_ids=True,
    costs=True,
    excludes_hop=False,
    subscribe_ack="start",
    subscribe_update=True,
    start_floor=True,
    setup_stream=True,
    track_stream=True,
    fetch=True,
    goaway=True,
    datagrams=True,
    layout=Layout.TIMED,
    codes=REGISTERED,
    bidi=frozenset(
        {Bidi.ANNOUNCE, Bidi.SUBSCRIBE, Bidi.FETCH, Bidi.PROBE, Bidi.GOAWAY, Bidi.TRACK}
    ),
    typed_replies=(SubscribeStart, SubscribeEnd, SubscribeDrop),
    typed_announces=(AnnounceStart, AnnounceEnd, AnnounceUpdate),
    codecs=compiled(6),
)

LITE_NEAR = replace(
    LITE_06,
    name="moq-lite-06-near",
    identifier="moq-lite-06-near",
    codecs=compiled(NEAR),
    tells_properties=True,
)
"""What the processes of one relay speak among themselves; nobody else can ask for it."""

LITE_05 = Dialect(
    name="moq-lite-05",
    identifier="moq-lite-05",
    announce_reply="ok",
    stamps_hop="receiver",
    restart_in_place=True,
    announce_ids=False,
    costs=False,
    excludes_hop=True,
    subscribe_ack="start",
    subscribe_update=True,
    start_floor=False,
    setup_stream=True,
    track_stream=True,
    fetch=True,
    goaway=True,
    datagrams=True,
    layout=Layout.TIMED,
    codes=HOUSE,
    bidi=frozenset(
        {Bidi.ANNOUNCE, Bidi.SUBSCRIBE, Bidi.FETCH, Bidi.PROBE, Bidi.GOAWAY, Bidi.TRACK}
    ),
    typed_replies=(SubscribeStart, SubscribeEnd, SubscribeDrop),
    typed_announces=(),
    codecs=compiled(5),
)

LITE_04 = Dialect(
    name="moq-lite-04",
    identifier="moq-lite-04",
    announce_reply=None,
    stamps_hop="sender",
    restart_in_place=False,
    announce_ids=False,
    costs=False,
    excludes_hop=True,
    subscribe_ack="ok",
    subscribe_update=True,
    start_floor=False,
    setup_stream=False,
    track_stream=False,
    fetch=False,
    goaway=True,
    datagrams=False,
    layout=Layout.UNTIMED,
    codes=HOUSE,
    bidi=frozenset({Bidi.ANNOUNCE, Bidi.SUBSCRIBE, Bidi.PROBE, Bidi.GOAWAY}),
    typed_replies=(SubscribeOk, SubscribeDrop),
    typed_announces=(),
    codecs=compiled(4),
)

LITE_03 = Dialect(
    name="moq-lite-03",
    identifier="moq-lite-03",
    announce_reply=None,
    stamps_hop="sender",
    restart_in_place=False,
    announce_ids=False,
    costs=False,
    excludes_hop=False,
    subscribe_ack="ok",
    subscribe_update=True,
    start_floor=False,
    setup_stream=False,
    track_stream=False,
    fetch=False,
    goaway=False,
    datagrams=False,
    layout=Layout.UNTIMED,
    codes=HOUSE,
    bidi=frozenset({Bidi.ANNOUNCE, Bidi.SUBSCRIBE, Bidi.PROBE}),
    typed_replies=(SubscribeOk, SubscribeDrop),
    typed_announces=(),
    codecs=compiled(3),
)

LITE_02 = Dialect(
    name="moq-lite-02",
    identifier=INBAND,
    announce_reply="init",
    stamps_hop=None,
    restart_in_place=False,
    announce_ids=False,
    costs=False,
    excludes_hop=False,
    subscribe_ack="ok",
    subscribe_update=False,
    start_floor=False,
    setup_stream=False,
    track_stream=False,
    fetch=False,
    goaway=False,
    datagrams=False,
    layout=Layout.UNTIMED,
    codes=HOUSE,
    bidi=frozenset({Bidi.ANNOUNCE, Bidi.SUBSCRIBE}),
    typed_replies=(),
    typed_announces=(),
    codecs=compiled(2),
)

LITE_01 = Dialect(
    name="moq-lite-01",
    identifier=INBAND,
    announce_reply="init",
    stamps_hop=None,
    restart_in_place=False,
    announce_ids=False,
    costs=False,
    excludes_hop=False,
    subscribe_ack="ok",
    subscribe_update=False,
    start_floor=False,
    setup_stream=False,
    track_stream=False,
    fetch=False,
    goaway=False,
    datagrams=False,
    layout=Layout.UNTIMED,
    codes=HOUSE,
    bidi=frozenset({Bidi.ANNOUNCE, Bidi.SUBSCRIBE}),
    typed_replies=(),
    typed_announces=(),
    codecs=compiled(1),
)

_UNTIMED = replace(
    LITE_04,
    name="moq-transport",
    identifier="moq-transport",
    announce_reply="ok",
    stamps_hop=None,
    excludes_hop=False,
    setup_stream=True,
    fetch=True,
    layout=Layout.UNTIMED_OBJECTS,
    timescale=1_000_000,
    bidi=frozenset({Bidi.ANNOUNCE, Bidi.SUBSCRIBE, Bidi.FETCH, Bidi.GOAWAY}),
    typed_replies=(SubscribeOk, SubscribeDrop, SubscribeEnd, SubscribeLatest),
    tells_latest=True,
    codecs=Codecs(
        compiled(4, INTERPRETED)
        | {each: LITE_05.codecs[each] for each in (AnnounceOk, SubscribeEnd)}
        | {
            Fetch: LITE_06.codecs[Fetch],
            SubscribeLatest: Codec(SubscribeLatest, (("group", VARINT), ("frames", VARINT)), {}),
        }
    ),
)
"""Either side may fetch groups of the other's."""

_TIMED = replace(
    _UNTIMED,
    layout=Layout.TIMED_OBJECTS,
    bidi=_UNTIMED.bidi | {Bidi.TRACK},
    codecs=Codecs(
        _UNTIMED.codecs | {each: LITE_05.codecs[each] for each in (TrackRequest, TrackInfo)}
    ),
)
"""The same where objects have timestamps; the peer may ask what those of our tracks count."""

_DRAFTS = (
    *((f"moqt-{number}", number, _TIMED) for number in range(22, 16, -1)),
    *((f"moqt-{number}", number, _UNTIMED) for number in (16, 15, 14)),
    ("moq-00", 14, _UNTIMED),
)

TRANSPORT = {
    identifier: replace(row, name=f"moq-transport-{number}", identifier=identifier)
    for identifier, number, row in _DRAFTS
}
"""What `relay.moqt` speaks upward for a peer that speaks moq-transport, by what is negotiated, most
preferred first."""

DIALECTS = (LITE_06, LITE_05, LITE_04, LITE_03)
"""Dialects fixed by their identifier, newest first."""

SPOKEN = (*(dialect.identifier for dialect in DIALECTS), INBAND)
"""Everything that we ask for where we dial, most preferred first."""

IDENTIFIERS = (*SPOKEN, *TRANSPORT)
"""Everything that can be negotiated where we are dialled, most preferred first."""

_BY_IDENTIFIER = {
    **{dialect.identifier: dialect for dialect in (*DIALECTS, LITE_NEAR)},
    **TRANSPORT,
}
INBAND_CODES = (0xFF0DAD02, 0xFF0DAD01)
"""Everything that can be chosen in-band, newest first."""

INTERPRETED_CODE = 0xFF0DAD0E
"""What `relay.moqt` says in-band to a session above it for a peer that speaks draft 14."""

_BY_CODE = {0xFF0DAD02: LITE_02, 0xFF0DAD01: LITE_01, INTERPRETED_CODE: TRANSPORT["moq-00"]}


def by_identifier(identifier: str) -> Dialect | None:
    """The dialect that an identifier fixes; ``None`` for unknown ones and for `INBAND`."""
    return _BY_IDENTIFIER.get(identifier)


def by_code(code: int) -> Dialect | None:
    """The dialect with that number in the in-band handshake."""
    return _BY_CODE.get(code)


def choose(offered: Sequence[str]) -> str | None:
    """The first identifier of the client's offer that we speak."""
    return next((identifier for identifier in offered if identifier in IDENTIFIERS), None)
