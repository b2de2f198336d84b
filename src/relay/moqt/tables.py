"""Messages of moq-transport 14 to 22 as a table of what stands at each place of their bodies.

A row says in which drafts it is there; codecs are compiled from it, once per draft, at import. This
is the only place that compares the numbers of drafts. This module must not know what any message is
good for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from relay.moqt import messages as m
from relay.moqt.fields import (
    BLOB,
    END,
    FAILURE,
    FAILURE_OR_REDIRECT,
    FLAG,
    LARGEST,
    LAST,
    LOCATION,
    NAMESPACE,
    OPTIONAL,
    ORDER,
    PREFERENCE,
    REASON,
    TEXT,
    TOKEN,
    U8,
    URI,
    VARINT,
    VERSIONS,
    Codec,
    Kind,
    Part,
    in_varint,
    prefixed,
)
from relay.moqt.messages import ASCENDING, LATEST_OBJECT
from relay.moqt.parameters import SHAPES, Layout, Param, listed
from relay.moqt.ranges import (
    FETCH,
    FILTER,
    FILTER_BY_COUNT,
    FILTER_BY_TYPE,
    FILTER_FROM_START,
    NO_FILTER,
    SPAN_BY_COUNT,
    SPAN_BY_TYPE,
    updating,
)

_FIRST, _LATEST = 14, 22


class _Row(NamedTuple):
    """One place of a body: from draft ``since`` to ``until`` there are fields, named in a text, or
    without a name what nobody wants to know."""

    names: str
    kind: Kind
    since: int = _FIRST
    until: int = _LATEST
    filler: Any = None


class _Number(NamedTuple):
    """One parameter, as `relay.moqt.parameters.Param`."""

    number: int
    names: str
    kind: Kind
    omitted: tuple[Any, ...]
    since: int = _FIRST
    until: int = _LATEST
    plain: Kind | None = None
    """How it is written from draft 17 on, where that is simpler."""


class _List(NamedTuple):
    """One place of a body with a list of numbered values."""

    sort: Literal["options", "parameters", "properties"]
    numbers: tuple[_Number, ...] = ()
    since: int = _FIRST
    until: int = _LATEST


class _Table(NamedTuple):
    """One message: its type number, the drafts that have it so, and what it is made of."""

    kind: int
    cls: type[m.Message]
    rows: tuple[_Row | _List, ...]
    since: int = _FIRST
    until: int = _LATEST
    to: type[object] | None = None
    """Of an answer: what it answers."""


_REQUEST = _Row("request", VARINT)
_ANSWERED = _Row("request", VARINT, 14, 16)
_ASKED = (_REQUEST, _Row("", VARINT, 17, 17, filler=0))  # and what it waits for, in 17 only
_NAME = (_Row("namespace", NAMESPACE), _Row("track", BLOB))
_PARAMETERS = _List("parameters")

_TIMEOUT = _Number(0x02, "timeout", VARINT, (0,))
_PATIENCE = _Number(0x04, "patience", VARINT, (0,), 17)
_FORWARD = _Number(0x10, "forward", in_varint(FLAG), (True,), 15, plain=FLAG)
_PRIORITY = _Number(0x20, "priority", in_varint(U8), (128,), 15, plain=U8)
_ORDER = _Number(0x22, "order", in_varint(ORDER), (0,), 15, plain=ORDER)
_LARGEST = _Number(0x09, "largest", prefixed(LOCATION), (None,), 15, plain=LOCATION)
_FILTER_KINDS = (
    (prefixed(FILTER), 15, 16),
    (prefixed(FILTER_FROM_START), 17, 19),
    (FILTER_BY_COUNT, 20, 21),
    (FILTER_BY_TYPE, 22, _LATEST),
)
_FILTERS = tuple(
    _Number(0x21, "filter start end", kind, NO_FILTER, since, until)
    for kind, since, until in _FILTER_KINDS
)
_NEW_FILTERS = tuple(
    _Number(0x21, "start end", updating(kind), (None, None), since, until)
    for kind, since, until in _FILTER_KINDS
)
_SPANS = tuple(
    _Number(0x21, "joining relative start end", kind, (None,) * 4, since, until)
    for kind, since, until in ((SPAN_BY_COUNT, 20, 21), (SPAN_BY_TYPE, 22, _LATEST))
)
_PUBLISHED_ORDER = _Number(0x22, "order", in_varint(ORDER), (ASCENDING,), 15, 15)
_TIMESCALE = _Number(0x08, "timescale", VARINT, (0,), 17)
_ORDER_PROPERTY = _Number(0x22, "order", in_varint(PREFERENCE), (ASCENDING,))

_OPTIONS = _List(
    "options",
    (
        _Number(0x01, "path", TEXT, (None,)),
        _Number(0x02, "max_request", VARINT, (0,), 14, 16),
        _Number(0x03, "tokens", prefixed(TOKEN), ((),)),
        _Number(0x05, "authority", TEXT, (None,)),
    ),
)
_FAILURE = (
    _ANSWERED,
    _Row("code", VARINT, 14, 15),
    _Row("reason", REASON, 14, 15),
    _Row("code retry reason", FAILURE, 16, 17),
    _Row("code retry reason", FAILURE_OR_REDIRECT, 18),
)

# draft-14 and draft-16, section 9; draft-18, section 10. A SUBSCRIBE of 14 has fixed fields where
# later ones have parameters; PUBLISH and its answers have the same length of two bytes as all
# others, though draft 14 draws an integer there. Draft 20 is as moq-net 0.3.18 and @moq/net 0.3.4
# have it; of it there was only a text of 2026-08. 21 writes nothing otherwise than 20, and 22 only
# LOCATION_FILTER (draft-22, A.1), as moq-net 0.3.18 and moqtap-codec 0.9.0 have both.
_TABLES = (
    _Table(0x20, m.ClientSetup, (_Row("versions", VERSIONS, 14, 14), _OPTIONS), 14, 16),
    _Table(
        0x21,
        m.ServerSetup,
        (
            _Row("version", VARINT, 14, 14),
            _List("options", (_Number(0x02, "max_request", VARINT, (0,)),)),
        ),
        14,
        16,
    ),
    _Table(0x2F00, m.ClientSetup, (_OPTIONS,), 17),
    _Table(0x2F00, m.ServerSetup, (_List("options"),), 17),
    _Table(
        0x03,
        m.Subscribe,
        (
            *_ASKED,
            *_NAME,
            _Row("priority", U8, 14, 14),
            _Row("order", ORDER, 14, 14),
            _Row("forward", FLAG, 14, 14),
            _Row("filter start end", FILTER, 14, 14),
            _List("parameters", (_TIMEOUT, _PATIENCE, _FORWARD, _PRIORITY, *_FILTERS, _ORDER)),
        ),
    ),
    _Table(
        0x04,
        m.SubscribeOk,
        (
            _ANSWERED,
            _Row("alias", VARINT),
            _Row("expires", VARINT, 14, 14),
            _Row("order", ORDER, 14, 14),
            _Row("largest", LARGEST, 14, 14),
            _List(
                "parameters",
                (_Number(0x08, "expires", VARINT, (0,), 15), _LARGEST, _PUBLISHED_ORDER),
            ),
            _List(
                "properties",
                (_TIMESCALE, _ORDER_PROPERTY),
                16,
            ),
        ),
    ),
    _Table(
        0x02,
        m.SubscribeUpdate,
        (
            *_ASKED,
            _Row("subscription", VARINT, 14, 16),
            _Row("start", LOCATION, 14, 14),
            _Row("end", END, 14, 14),
            _Row("priority", U8, 14, 14),
            _Row("forward", FLAG, 14, 14),
            _List(
                "parameters",
                (
                    _TIMEOUT._replace(omitted=(None,)),
                    _FORWARD._replace(omitted=(None,)),
                    _PRIORITY._replace(omitted=(None,)),
                    *_NEW_FILTERS,
                ),
            ),
        ),
    ),
    _Table(0x0A, m.Unsubscribe, (_REQUEST,), 14, 16),
    _Table(
        0x0B,
        m.PublishDone,
        (
            _ANSWERED,
            _Row("code", VARINT),
            _Row("streams", VARINT),
            _Row("reason", REASON),
        ),
    ),
    _Table(
        0x1D,
        m.Publish,
        (
            *_ASKED,
            *_NAME,
            _Row("alias", VARINT),
            _Row("order", ORDER, 14, 14),
            _Row("largest", LARGEST, 14, 14),
            _Row("forward", FLAG, 14, 14),
            _List("parameters", (_LARGEST, _FORWARD, _PUBLISHED_ORDER)),
            _List("properties", (_ORDER_PROPERTY,), 16),
        ),
    ),
    _Table(0x06, m.PublishNamespace, (*_ASKED, _Row("namespace", NAMESPACE), _PARAMETERS)),
    _Table(
        0x09,
        m.PublishNamespaceDone,
        (_Row("namespace", NAMESPACE, 14, 15), _Row("request", VARINT, 16, 16)),
        14,
        16,
    ),
    _Table(
        0x0C,
        m.PublishNamespaceCancel,
        (
            _Row("namespace", NAMESPACE, 14, 15),
            _Row("request", VARINT, 16, 16),
            _Row("code", VARINT),
            _Row("reason", REASON),
        ),
        14,
        16,
    ),
    _Table(
        0x11,
        m.SubscribeNamespace,
        (
            *_ASKED,
            _Row("prefix", NAMESPACE),
            _Row("", VARINT, 16, 17, filler=1),  # of namespaces and tracks, only the former
            _PARAMETERS,
        ),
        14,
        17,
    ),
    _Table(0x50, m.SubscribeNamespace, (_REQUEST, _Row("prefix", NAMESPACE), _PARAMETERS), 18),
    _Table(
        0x14,
        m.UnsubscribeNamespace,
        (_Row("prefix", NAMESPACE, 14, 14), _Row("request", VARINT, 15, 15)),
        14,
        15,
    ),
    _Table(0x08, m.NamespaceFound, (_Row("suffix", NAMESPACE),), 16),
    _Table(0x0E, m.NamespaceGone, (_Row("suffix", NAMESPACE),), 16),
    _Table(
        0x16,
        m.Fetch,
        (
            *_ASKED,
            _Row("priority", U8, 14, 14),
            _Row("order", ORDER, 14, 14),
            _Row("joining relative absolute namespace track start end", FETCH, 14, 19),
            _List("parameters", (_PRIORITY, _ORDER), 14, 19),
            *(row._replace(since=20) for row in _NAME),
            _List("parameters", (_PRIORITY, *_SPANS, _ORDER), 20),
        ),
    ),
    _Table(
        0x18,
        m.FetchOk,
        (
            _ANSWERED,
            _Row("order", ORDER, 14, 14),
            _Row("ends_track", FLAG),
            _Row("end", LOCATION, 14, 19),
            _Row("end", LAST, 20),
            _PARAMETERS,
            _List("properties", (_TIMESCALE,), 16),
        ),
    ),
    _Table(0x17, m.FetchCancel, (_REQUEST,), 14, 16),
    _Table(
        0x0D,
        m.TrackStatus,
        (
            *_ASKED,
            *_NAME,
            _Row("", U8, 14, 14, filler=128),
            _Row("", ORDER, 14, 14, filler=ASCENDING),
            _Row("", FLAG, 14, 14, filler=True),
            _Row("", FILTER, 14, 14, filler=(LATEST_OBJECT, None, None)),
            _PARAMETERS,
        ),
    ),
    _Table(0x15, m.MaxRequest, (_REQUEST,), 14, 16),
    _Table(0x1A, m.RequestsBlocked, (_REQUEST,), 14, 16),
    _Table(
        0x10,
        m.Goaway,
        (
            _Row("uri", URI),
            _Row("", VARINT, 17, filler=0),  # milliseconds until the end, 0 = not said
            # The first request that was not served, on the control stream; peers do without.
            _Row("", OPTIONAL, 18, 18, filler=0),
        ),
    ),
    # Answers: those that tell what they answer, and then those that do not.
    _Table(0x07, m.RequestOk, (_REQUEST,), 14, 14, m.PublishNamespace),
    _Table(0x12, m.RequestOk, (_REQUEST,), 14, 14, m.SubscribeNamespace),
    _Table(
        0x0E,
        m.RequestOk,
        (
            _REQUEST,
            _Row("", VARINT, filler=0),
            _Row("", VARINT, filler=0),
            _Row("", ORDER, filler=ASCENDING),
            _Row("largest", LARGEST),
            _PARAMETERS,
        ),
        14,
        14,
        m.TrackStatus,
    ),
    _Table(
        0x1E,
        m.RequestOk,
        (
            _ANSWERED,
            _Row("", FLAG, 14, 14, filler=True),
            _Row("", U8, 14, 14, filler=128),
            _Row("", ORDER, 14, 14, filler=ASCENDING),
            _Row("", FILTER, 14, 14, filler=(LATEST_OBJECT, None, None)),
            _PARAMETERS,
        ),
        14,
        17,
        m.Publish,
    ),
    *(
        _Table(
            0x07,
            m.RequestOk,
            (_ANSWERED, _List("parameters", (_LARGEST,)), _List("properties", (), 18)),
            since,
            to=to,
        )
        for to, since in (
            (None, 15),
            (m.PublishNamespace, 15),
            (m.SubscribeNamespace, 15),
            (m.TrackStatus, 15),
            (m.SubscribeUpdate, 15),
            (m.Publish, 18),
        )
    ),
    _Table(0x05, m.RequestError, _FAILURE, 14, 14, m.Subscribe),
    _Table(0x08, m.RequestError, _FAILURE, 14, 14, m.PublishNamespace),
    _Table(0x13, m.RequestError, _FAILURE, 14, 14, m.SubscribeNamespace),
    _Table(0x19, m.RequestError, _FAILURE, 14, 14, m.Fetch),
    _Table(0x1F, m.RequestError, _FAILURE, 14, 14, m.Publish),
    _Table(0x0F, m.RequestError, _FAILURE, 14, 14, m.TrackStatus),
    *(
        _Table(0x05, m.RequestError, _FAILURE, 15, to=to)
        for to in (
            None,
            m.Subscribe,
            m.SubscribeUpdate,
            m.Publish,
            m.PublishNamespace,
            m.SubscribeNamespace,
            m.Fetch,
            m.TrackStatus,
        )
    ),
)

_ABSENT: Mapping[str, Any] = {
    "request": -1,
    "subscription": -1,
    "namespace": (),
    "prefix": (),
    "start": None,
    "end": None,
}
"""What fields without a default of their own have where a draft does not carry them."""


class Codecs(NamedTuple):
    """The codecs of one draft, with the type numbers of the messages."""

    written: Mapping[tuple[type[object], type[object] | None], tuple[int, Codec]]
    """By the class, and by what is answered."""
    read: Mapping[int, Codec]


def compiled(draft: int) -> Codecs:
    """The codecs of a draft, 14 to 22."""
    written: dict[tuple[type[object], type[object] | None], tuple[int, Codec]] = {}
    read: dict[int, Codec] = {}
    for table in _TABLES:
        if table.since <= draft <= table.until:
            codec = _codec(table, draft)
            written[table.cls, table.to] = table.kind, codec
            read.setdefault(table.kind, codec)
    return Codecs(written, read)


def _codec(table: _Table, draft: int, plain_since: int = 17) -> Codec:
    rows = [row for row in table.rows if row.since <= draft <= row.until]
    parts = [_part(row, draft, plain_since) for row in rows]
    cls: Any = table.cls
    present = {name for part in parts for name in part.names}
    defaults = {**_ABSENT, **cls._field_defaults}
    absent = {name: defaults[name] for name in cls._fields if name not in present | {"to"}}
    fixed = {"to": table.to} if "to" in cls._fields else {}
    otherwise = None
    if cls in (m.Subscribe, m.SubscribeOk) and draft >= plain_since:
        # @moq/net 0.3.4 has a length before LARGEST_OBJECT, and 0.2 writes a priority above 128 in
        # two bytes. Read without, neither ends where a message does: the number after it is wrong.
        otherwise = _codec(table, draft, _LATEST + 1)
    return Codec(cls, parts, absent, fixed, otherwise)


def _part(row: _Row | _List, draft: int, plain_since: int) -> Part:
    if isinstance(row, _Row):
        return Part(tuple(row.names.split()), row.kind, row.filler)
    params = [
        Param(
            each.number,
            tuple(each.names.split()),
            each.kind if each.plain is None or draft < plain_since else each.plain,
            each.omitted,
            each.names == "tokens",
        )
        for each in row.numbers
        if each.since <= draft <= each.until
    ]
    names = tuple(name for param in params for name in param.names)
    return Part(names, listed(params, _layout(row, draft)))


def _layout(row: _List, draft: int) -> Layout:
    match row.sort:
        case "options":
            return Layout(counted=draft <= 16, steps=draft >= 16)
        case "parameters":
            shapes = SHAPES if draft < 22 else {**SHAPES, 0x21: FILTER_BY_TYPE}
            return Layout(True, steps=draft >= 16, shapes=shapes if draft >= 17 else None)
        case "properties":
            return Layout(counted=False, steps=True)
