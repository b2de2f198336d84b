"""Known bytes: what each draft writes for a message, and what else it reads as one.

The hexadecimal digits follow the figures of the drafts' sections 9 and 10; ``|`` is for the reader.
Rows marked so are those of the tests of moq-dev (rs/moq-net/src/ietf) and the bytes that aiomoqt
0.5.3 writes for the same values.
"""

from __future__ import annotations

from relay.moqt.messages import (
    ABSOLUTE_RANGE,
    ABSOLUTE_START,
    DELETE,
    DESCENDING,
    NEXT_GROUP,
    REGISTER,
    USE_VALUE,
    ClientSetup,
    Fetch,
    FetchCancel,
    FetchOk,
    Goaway,
    Location,
    MaxRequest,
    Message,
    NamespaceFound,
    NamespaceGone,
    Publish,
    PublishDone,
    PublishNamespace,
    PublishNamespaceCancel,
    PublishNamespaceDone,
    RequestError,
    RequestOk,
    RequestsBlocked,
    ServerSetup,
    Subscribe,
    SubscribeNamespace,
    SubscribeOk,
    SubscribeUpdate,
    Token,
    TrackStatus,
    Unsubscribe,
    UnsubscribeNamespace,
)

Rows = list[tuple[tuple[int, ...], Message, str]]

OLD = (14, 15, 16)
LIVE = (b"live", b"a")
TEST, VIDEO = "01 04 74657374", "05 766964656f"
SUBSCRIBED = Subscribe(1, (b"test",), b"video", 128, DESCENDING)  # moq-dev
RANGE = Subscribe(
    2, LIVE, b"v", 7, forward=False, filter=ABSOLUTE_RANGE, start=Location(5, 1), end=300
)
KEY = Token(USE_VALUE, type=1, value=b"key")
PATHS = ClientSetup((), "/a?jwt=x", "h:1", (KEY,), 100)

SAME: Rows = [
    (OLD, Unsubscribe(999), "0a 0002 | 43e7"),  # moq-dev
    (OLD, PublishDone(2, 4, 3, "off"), "0b 0007 | 02 04 03 03 6f6666"),
    (OLD, FetchCancel(2), "17 0001 | 02"),
    (OLD, MaxRequest(0xFFFFFFFF), "15 0008 | c0000000ffffffff"),
    (OLD, RequestsBlocked(100), "1a 0002 | 4064"),
    (OLD, Goaway("x"), "10 0002 | 01 78"),
    (OLD, Goaway(""), "10 0001 | 00"),
    (OLD, PublishNamespace(0, LIVE), "06 000a | 00 02 04 6c697665 01 61 00"),
    (OLD, PublishNamespace(0, ()), "06 0003 | 00 00 00"),
    ((16,), NamespaceFound((b"a",)), "08 0003 | 01 01 61"),
    ((16,), NamespaceFound(()), "08 0001 | 00"),
    ((16,), NamespaceGone((b"a",)), "0e 0003 | 01 01 61"),
]

SETUPS: Rows = [
    (
        (14,),
        ClientSetup((0xFF00000E,), "/a?jwt=x", "h:1", (KEY,), 100),
        "20 0023 | 01 c0000000ff00000e | 04"
        " | 01 08 2f613f6a77743d78 | 02 4064 | 03 05 03 01 6b6579 | 05 03 683a31",
    ),
    (
        (15,),
        PATHS,
        "20 001a | 04 | 01 08 2f613f6a77743d78 | 02 4064 | 03 05 03 01 6b6579 | 05 03 683a31",
    ),
    (
        (16,),
        PATHS,
        "20 001a | 04 | 01 08 2f613f6a77743d78 | 01 4064 | 01 05 03 01 6b6579 | 02 03 683a31",
    ),
    ((14,), ClientSetup((0xFF00000E,)), "20 000a | 01 c0000000ff00000e 00"),
    ((15, 16), ClientSetup(), "20 0001 | 00"),
    ((15, 16), ClientSetup(path=""), "20 0003 | 01 | 01 00"),
    (
        (16,),
        ClientSetup(tokens=(Token(REGISTER, 7, 0, b"k"), Token(DELETE, 64))),
        "20 000c | 02 | 03 04 01 07 00 6b | 00 03 00 4040",
    ),
    ((14,), ServerSetup(0xFF00000E, 100), "21 000c | c0000000ff00000e 01 02 4064"),
    ((15, 16), ServerSetup(0, 100), "21 0004 | 01 02 4064"),
    ((15, 16), ServerSetup(), "21 0001 | 00"),
]

SUBSCRIBES: Rows = [
    # As moq-dev and aiomoqt.
    ((14,), SUBSCRIBED, f"03 0012 | 01 {TEST} {VIDEO} | 80 02 01 02 00"),
    ((15,), SUBSCRIBED, f"03 0013 | 01 {TEST} {VIDEO} | 02 | 21 01 02 | 22 02"),
    ((16,), SUBSCRIBED, f"03 0013 | 01 {TEST} {VIDEO} | 02 | 21 01 02 | 01 02"),
    ((14,), RANGE, "03 0014 | 02 02 04 6c697665 01 61 01 76 | 07 00 00 04 05 01 412c 00"),
    (
        (15,),
        RANGE,
        "03 0017 | 02 02 04 6c697665 01 61 01 76 | 03 | 10 00 | 20 07 | 21 05 04 05 01 412c",
    ),
    (
        (16,),
        RANGE,
        "03 0017 | 02 02 04 6c697665 01 61 01 76 | 03 | 10 00 | 10 07 | 01 05 04 05 01 412c",
    ),
    (
        (15, 16),
        Subscribe(0, (), b"", filter=NEXT_GROUP),
        "03 0007 | 00 00 00 | 01 21 01 01",
    ),
    ((14,), SubscribeOk(42, 42), "04 0006 | 2a 2a 00 01 00 00"),  # moq-dev
    ((15, 16), SubscribeOk(42, 42), "04 0003 | 2a 2a 00"),
    ((14,), SubscribeOk(4, 4, largest=Location(5, 0)), "04 0008 | 04 04 00 01 01 05 00 00"),
    # moq-dev
    ((15, 16), SubscribeOk(4, 4, largest=Location(5, 0)), "04 0007 | 04 04 01 09 02 05 00"),
    (
        (15,),
        SubscribeOk(7, 42, 5, DESCENDING, Location(255, 128)),
        "04 000d | 07 2a 03 | 08 05 | 09 04 40ff 4080 | 22 02",
    ),
    # The order is an extension of the track from here on (moq-dev reads it so too).
    ((16,), SubscribeOk(7, 42, 0, DESCENDING), "04 0005 | 07 2a 00 | 22 02"),
    (
        (14,),
        SubscribeUpdate(10, 5, Location(1, 2), 99, 200, True),
        "02 0009 | 0a 05 01 02 4064 c8 01 00",
    ),
    (
        (14,),
        SubscribeUpdate(10, 5, Location(1, 2), None, 0, False),
        "02 0008 | 0a 05 01 02 00 00 00 00",
    ),
    (
        (15,),
        SubscribeUpdate(10, 5, Location(1, 2), 4, 200, True),
        "02 000e | 0a 05 03 | 10 01 | 20 40c8 | 21 04 04 01 02 04",
    ),
    (
        (16,),
        SubscribeUpdate(10, 5, Location(1, 2), 4, 200, True),
        "02 000e | 0a 05 03 | 10 01 | 10 40c8 | 01 04 04 01 02 04",
    ),
    ((15, 16), SubscribeUpdate(10, 5, None, None, None, None), "02 0003 | 0a 05 00"),
]

NAMESPACES: Rows = [
    ((14, 15), PublishNamespaceDone(-1, (b"a",)), "09 0003 | 01 01 61"),
    ((16,), PublishNamespaceDone(42, ()), "09 0001 | 2a"),  # moq-dev
    ((14, 15), PublishNamespaceCancel(-1, (b"a",), 1, "no"), "0c 0007 | 01 01 61 01 02 6e6f"),
    ((16,), PublishNamespaceCancel(7, (), 1, "no"), "0c 0005 | 07 01 02 6e6f"),
    ((14, 15), SubscribeNamespace(2, (b"a",)), "11 0005 | 02 01 01 61 00"),
    ((16,), SubscribeNamespace(2, (b"a",)), "11 0006 | 02 01 01 61 01 00"),
    ((14,), UnsubscribeNamespace(-1, (b"a",)), "14 0003 | 01 01 61"),
    ((15,), UnsubscribeNamespace(2, ()), "14 0001 | 02"),
]

WHOLE = {"namespace": (b"n",), "track": b"t", "start": Location(1, 2), "end": Location(3, 0)}
OTHERS: Rows = [
    (
        (14,),
        Publish(1, (b"ns",), b"video", 42, DESCENDING, Location(1, 2)),
        f"1d 0012 | 01 01 02 6e73 {VIDEO} 2a | 02 01 01 02 01 00",
    ),
    (
        (15,),
        Publish(1, (b"ns",), b"video", 42, DESCENDING, forward=False),
        f"1d 0011 | 01 01 02 6e73 {VIDEO} 2a | 02 10 00 22 02",
    ),
    (
        (16,),
        Publish(1, (b"ns",), b"video", 42, DESCENDING, Location(1, 2), False),
        f"1d 0015 | 01 01 02 6e73 {VIDEO} 2a | 02 | 09 02 01 02 | 07 00 | 22 02",
    ),
    ((14,), Fetch(2, joining=0, relative=1), "16 0007 | 02 80 00 02 00 01 00"),
    ((15, 16), Fetch(2, joining=0, relative=1), "16 0005 | 02 02 00 01 00"),
    ((15, 16), Fetch(2, joining=0, absolute=9), "16 0005 | 02 03 00 09 00"),
    (
        (14,),
        Fetch(2, **WHOLE, priority=1, order=1),
        "16 000e | 02 01 01 01 01 01 6e 01 74 01 02 03 00 00",
    ),
    (
        (15,),
        Fetch(2, **WHOLE, priority=1, order=1),
        "16 0010 | 02 01 01 01 6e 01 74 01 02 03 00 | 02 20 01 22 01",
    ),
    (
        (16,),
        Fetch(2, **WHOLE, priority=1, order=1),
        "16 0010 | 02 01 01 01 6e 01 74 01 02 03 00 | 02 20 01 02 01",
    ),
    ((14,), FetchOk(2, Location(5, 1), True, 2), "18 0006 | 02 02 01 05 01 00"),
    ((15, 16), FetchOk(2, Location(5, 1)), "18 0005 | 02 00 05 01 00"),
    ((14,), TrackStatus(2, (b"n",), b"t"), "0d 000b | 02 01 01 6e 01 74 | 80 01 01 02 00"),
    ((15, 16), TrackStatus(2, (b"n",), b"t"), "0d 0007 | 02 01 01 6e 01 74 | 00"),
]

ANSWERS: Rows = [
    ((14,), RequestOk(1, PublishNamespace), "07 0001 | 01"),
    ((14,), RequestOk(1, SubscribeNamespace), "12 0001 | 01"),
    ((14,), RequestOk(1, TrackStatus), "0e 0006 | 01 00 00 01 00 00"),
    ((14,), RequestOk(1, Publish), "1e 0006 | 01 01 80 01 02 00"),
    ((15, 16), RequestOk(1, Publish), "1e 0002 | 01 00"),
    ((15, 16), Subscribe(1, (b"test",), b"video", filter=0), f"03 000e | 01 {TEST} {VIDEO} | 00"),
    ((15, 16), RequestOk(1), "07 0002 | 01 00"),
    ((15, 16), RequestOk(1, None, Location(10, 3)), "07 0006 | 01 01 09 02 0a 03"),
    ((14,), RequestError(1, Subscribe, 404, "no"), "05 0006 | 01 4194 02 6e6f"),
    ((14,), RequestError(1, PublishNamespace, 1, ""), "08 0003 | 01 01 00"),
    ((14,), RequestError(1, TrackStatus, 1, ""), "0f 0003 | 01 01 00"),
    ((14,), RequestError(1, SubscribeNamespace, 1, ""), "13 0003 | 01 01 00"),
    ((14,), RequestError(1, Fetch, 1, ""), "19 0003 | 01 01 00"),
    ((14,), RequestError(1, Publish, 3, ""), "1f 0003 | 01 03 00"),
    ((15,), RequestError(1, None, 404, "no"), "05 0006 | 01 4194 02 6e6f"),
    # moq-dev
    ((16,), RequestError(99, None, 500, "no", 5000), "05 0009 | 4063 41f4 5388 02 6e6f"),
]

NEW = (17, 18, 19, 20, 21, 22)
LATE = (18, 19, 20, 21, 22)
LAST = (20, 21, 22)
COUNTED = (20, 21)
TIMED = SubscribeOk(-1, 42, 5, DESCENDING, Location(255, 128), 1000)
JOINED = SubscribeOk(-1, 1, 0, DESCENDING, Location(2, 2), 1000)
JOINING = SUBSCRIBED._replace(priority=255)
FROM = Subscribe(0, (), b"", filter=ABSOLUTE_START, start=Location(300, 1))
WANTED = SubscribeUpdate(10, -1, Location(1, 2), 4, 200, True)
OFFERED = Publish(1, (b"ns",), b"video", 42, DESCENDING, Location(1, 2), False)
NAMED = f"01 01 02 6e73 {VIDEO} 2a"

LATER: Rows = [
    (
        NEW,
        ClientSetup(path="/a?jwt=x", authority="h:1", tokens=(KEY,)),
        "af00 0016 | 01 08 2f613f6a77743d78 | 02 05 03 01 6b6579 | 02 03 683a31",
    ),
    (NEW, ClientSetup(), "af00 0000"),
    (NEW, ServerSetup(), "af00 0000"),
    ((17,), SUBSCRIBED, f"03 0014 | 01 00 {TEST} {VIDEO} | 02 | 21 01 02 | 01 02"),
    ((18, 19), SUBSCRIBED, f"03 0013 | 01 {TEST} {VIDEO} | 02 | 21 01 02 | 01 02"),
    # As @moq/net 0.3.4 joins.
    (LAST, SUBSCRIBED, f"03 0013 | 01 {TEST} {VIDEO} | 02 | 21 01 01 | 01 02"),
    (
        (17,),
        RANGE,
        "03 0018 | 02 00 02 04 6c697665 01 61 01 76 | 03 10 00 | 10 07 | 01 05 04 05 01 8127",
    ),
    (
        (18, 19),
        RANGE,
        "03 0017 | 02 02 04 6c697665 01 61 01 76 | 03 10 00 | 10 07 | 01 05 04 05 01 8127",
    ),
    (
        COUNTED,
        RANGE,
        "03 0016 | 02 02 04 6c697665 01 61 01 76 | 03 10 00 | 10 07 | 01 04 05 01 8127",
    ),
    (
        (22,),
        RANGE,
        "03 0016 | 02 02 04 6c697665 01 61 01 76 | 03 10 00 | 10 07 | 01 03 05 01 8127",
    ),
    ((18, 19), FROM, "03 000a | 00 00 00 | 01 21 04 03 812c 01"),
    (COUNTED, FROM, "03 0009 | 00 00 00 | 01 21 03 812c 01"),
    ((22,), FROM, "03 0009 | 00 00 00 | 01 21 02 812c 01"),
    ((22,), FROM._replace(start=Location(0, 0)), "03 0008 | 00 00 00 | 01 21 02 00 00"),
    (LAST, Subscribe(0, (), b"", filter=NEXT_GROUP), "03 0007 | 00 00 00 | 01 21 01 00"),
    (NEW, SubscribeOk(-1, 42), "04 0002 | 2a 00"),
    (NEW, SubscribeOk(-1, 42, order=DESCENDING), "04 0004 | 2a 00 22 02"),  # moq-dev
    (NEW, TIMED, "04 000e | 2a 02 | 08 05 | 01 80ff 8080 | 08 83e8 | 1a 02"),
    ((17,), WANTED, "02 000d | 0a 00 03 | 10 01 | 10 c8 | 01 04 04 01 02 03"),
    ((18, 19), WANTED, "02 000c | 0a 03 | 10 01 | 10 c8 | 01 04 04 01 02 03"),
    (LAST, WANTED, "02 000b | 0a 03 | 10 01 | 10 c8 | 01 03 01 02 03"),
    (LATE, SubscribeUpdate(10, -1, None, None, None, None), "02 0002 | 0a 00"),
    (NEW, PublishDone(-1, 4, 3, "off"), "0b 0006 | 04 03 03 6f6666"),
    ((17,), PublishNamespace(0, LIVE), "06 000b | 00 00 02 04 6c697665 01 61 00"),
    (LATE, PublishNamespace(0, LIVE), "06 000a | 00 02 04 6c697665 01 61 00"),
    ((17,), SubscribeNamespace(2, (b"a",)), "11 0007 | 02 00 01 01 61 01 00"),
    (LATE, SubscribeNamespace(2, (b"a",)), "50 0005 | 02 01 01 61 00"),
    (NEW, NamespaceFound((b"a",)), "08 0003 | 01 01 61"),
    (NEW, NamespaceGone(()), "0e 0001 | 00"),
    (
        (17,),
        OFFERED,
        f"1d 0015 | {NAMED.replace('01 01', '01 00 01', 1)} | 02 09 01 02 07 00 | 22 02",
    ),
    (LATE, OFFERED, f"1d 0014 | {NAMED} | 02 09 01 02 07 00 | 22 02"),
    ((17,), Fetch(2, joining=0, relative=1), "16 0006 | 02 00 02 00 01 00"),
    ((18, 19), Fetch(2, joining=0, relative=1), "16 0005 | 02 02 00 01 00"),
    (
        (18, 19),
        Fetch(2, **WHOLE, priority=1, order=1),
        "16 0010 | 02 01 01 01 6e 01 74 01 02 03 00 | 02 20 01 02 01",
    ),
    (
        LAST,
        Fetch(2, **WHOLE, priority=1, order=1),
        "16 0010 | 02 01 01 6e 01 74 | 03 20 01 | 01 03 01 02 02 | 01 01",
    ),
    # moq-net 0.3.18
    (
        COUNTED,
        Fetch(2, start=Location(128, 0), end=Location(130, 0)),
        "16 000a | 02 00 00 | 01 21 04 8080 00 02",
    ),
    (
        (22,),
        Fetch(2, start=Location(128, 0), end=Location(130, 0)),
        "16 000a | 02 00 00 | 01 21 03 8080 00 02",
    ),
    ((22,), Fetch(2, start=Location(0, 0)), "16 0008 | 02 00 00 | 01 21 02 00 00"),
    (LAST, Fetch(2, namespace=(b"n",), track=b"t"), "16 0007 | 02 01 01 6e 01 74 00"),
    (
        LAST,
        Fetch(2, start=Location(5, 0), end=Location(5, 3)),
        "16 000a | 02 00 00 | 01 21 04 05 00 00 02",
    ),
    (LAST, Fetch(2, relative=0), "16 0007 | 02 00 00 | 01 21 01 01"),
    ((17, 18, 19), FetchOk(-1, Location(5, 1)), "18 0004 | 00 05 01 00"),
    (LAST, FetchOk(-1, Location(5, 1)), "18 0004 | 00 05 00 00"),
    ((17, 18, 19), FetchOk(-1, Location(5, 1), timescale=9), "18 0006 | 00 05 01 00 | 08 09"),
    ((17,), TrackStatus(2, (b"n",), b"t"), "0d 0008 | 02 00 01 01 6e 01 74 00"),
    (LATE, TrackStatus(2, (b"n",), b"t"), "0d 0007 | 02 01 01 6e 01 74 00"),
    (NEW, RequestOk(-1), "07 0001 | 00"),
    ((17,), RequestOk(-1, Publish), "1e 0001 | 00"),
    (NEW, RequestError(-1, None, 500, "no", 5000), "05 0007 | 81f4 9388 02 6e6f"),
    ((17, 19, 20, 21, 22), Goaway("x"), "10 0003 | 01 78 00"),
    ((18,), Goaway("x"), "10 0004 | 01 78 00 00"),  # moq-net 0.3.18
]

WRITTEN: Rows = [*SAME, *SETUPS, *SUBSCRIBES, *NAMESPACES, *OTHERS, *ANSWERS, *LATER]
"""What is written for a message, and read as it."""

READ: Rows = [
    # As moq-dev and @moq/net write it.
    (
        (15,),
        Subscribe(1, (b"test",), b"video", 128, DESCENDING),
        f"03 0018 | 01 {TEST} {VIDEO} | 04 | 10 01 | 20 4080 | 21 01 02 | 22 02",
    ),
    (
        (16,),
        Subscribe(1, (b"test",), b"video", 128, DESCENDING),
        f"03 0018 | 01 {TEST} {VIDEO} | 04 | 10 01 | 10 4080 | 01 01 02 | 01 02",
    ),
    (
        (15,),
        Publish(1, (b"ns",), b"video", 42, DESCENDING),
        f"1d 0011 | 01 01 02 6e73 {VIDEO} 2a | 02 10 01 22 02",
    ),
    # As aiomoqt writes a subscriber with a token.
    (
        (14,),
        Subscribe(1, (b"test",), b"video", 128, 1),
        f"03 001b | 01 {TEST} {VIDEO} | 80 01 01 02 | 01 03 07 03 00 62656e6368",
    ),
    # Unknown parameters: 0x40b5a (SOLICIT) and an implementation.
    (
        (14,),
        ClientSetup((0xFF00000E,), max_request=4),
        "20 0016 | 01 c0000000ff00000e | 03 | 80040b5a 01 | 02 04 | 07 03 616263",
    ),
    ((16,), ClientSetup(max_request=4), "20 000d | 03 | 02 04 | 05 03 616263 | 80040b53 01"),
    # Such may be said twice.
    ((15,), ClientSetup(), "20 0007 | 02 | 07 01 61 | 07 01 62"),
    # Forms that are longer than needed.
    ((14, 15, 16), MaxRequest(1), "15 0002 | 4001"),
    ((16,), SubscribeNamespace(2, (b"a",)), "11 0006 | 02 01 01 61 02 00"),
    ((16,), FetchOk(2, Location(5, 1)), "18 0008 | 02 00 05 01 00 | 08 4064"),
    ((14,), RequestOk(1, TrackStatus, Location(100, 50)), "0e 0009 | 01 09 00 02 01 4064 32 00"),
    ((14,), RequestOk(1, Publish), "1e 0009 | 01 00 80 02 04 01 02 03 00"),
    # A SETUP with SOLICIT and RELAY_HOPS as moq-dev sends them, numbers ascending.
    (NEW, ClientSetup(path=""), "af00 0009 | 01 00 | c40b54 01 61 | 05 01"),
    # 0x32 (NEW_GROUP_REQUEST) beside what is known.
    (
        (18, 19),
        SUBSCRIBED._replace(patience=5_000),
        f"03 001a | 01 {TEST} {VIDEO} | 05 | 04 9388 | 0c 01 | 11 01 02 | 01 02 | 10 00",
    ),
    # Range filters, FILL_PARAMETERS and INCLUDE_PROPERTIES.
    (
        LAST,
        SUBSCRIBED,
        f"03 001d | 01 {TEST} {VIDEO} | 05 | 21 01 01 | 01 02 | 01 01 00 | 02 02 00 05 | 10 01 00",
    ),
    (COUNTED, Subscribe(0, (), b""), "03 0008 | 00 00 00 | 01 21 02 00 00"),
    # Captured from moq-rs 0.5.1, which wants the next object and what its group has before it.
    (
        COUNTED,
        JOINING,
        f"03 001e | 01 {TEST} {VIDEO} | 05 | 10 01 10 ff | 01 02 00 00 | 01 02 | 01 04 01210101",
    ),
    (
        (22,),
        JOINING,
        f"03 001c | 01 {TEST} {VIDEO} | 05 | 10 01 10 ff | 01 05 | 01 02 | 01 04 01210101",
    ),
    ((22,), Subscribe(0, (), b""), "03 0006 | 00 00 00 | 01 21 05"),
    (LAST, Subscribe(0, (), b""), "03 0007 | 00 00 00 | 01 21 01 05"),
    (LAST, Subscribe(0, (), b""), "03 0006 | 00 00 00 | 01 21 00"),
    (
        LAST,
        Subscribe(0, (), b"", filter=ABSOLUTE_RANGE, start=Location(4, 0), end=6),
        "03 000a | 00 00 00 | 01 21 04 04 00 02 07",
    ),
    (NEW, SubscribeOk(-1, 42), "04 0009 | 2a 01 22 02 | 02 83e8 01 00"),
    # As @moq/net 0.2.8 writes them, with each number in as many bytes as it needs.
    *(
        (
            (18, 19),
            SUBSCRIBED._replace(priority=priority, order=DESCENDING),
            f"03 0018 | 01 {TEST} {VIDEO} | 04 10 01 10 80{priority:02x} | 01 01 02 | 01 02",
        )
        for priority in (128, 129, 192, 255)
    ),
    # Captured from @moq/net 0.3.4, whose largest object has its length in front.
    (NEW, JOINED, "04 000b | 01 01 | 09 02 02 02 | 08 83e8 | 1a 02"),
    (
        NEW,
        JOINED._replace(largest=Location(255, 128)),
        "04 000d | 01 01 | 09 04 80ff 8080 | 08 83e8 | 1a 02",
    ),
    (NEW, SubscribeOk(-1, 1, largest=Location(2, 3)), "04 0006 | 01 01 | 09 02 02 03"),
    ((18,), Goaway("x"), "10 0004 | 01 78 05 04"),
    ((18,), Goaway("x"), "10 0003 | 01 78 05"),
    (
        LATE,
        RequestError(-1, None, 0x34, "", 1),
        "05 0009 | 34 01 00 | 01 78 01 01 61 00",
    ),
    (LATE, RequestOk(-1, None, Location(5, 0)), "07 0006 | 01 09 05 00 08 05"),
    ((17,), RequestOk(-1, Publish), "1e 0003 | 01 10 01"),
    (LAST, Fetch(2), "16 0006 | 02 00 00 | 01 21 00"),
    ((22,), Fetch(2, relative=-1), "16 0006 | 02 00 00 | 01 21 05"),
    # Filters of places where nobody wants to know: a type, and what it counts.
    ((22,), RequestOk(-1), "07 0009 | 02 | 21 03 8080 00 02 | 01 02"),
    ((22,), OFFERED, f"1d 0019 | {NAMED} | 03 09 01 02 07 00 | 11 02 8080 07 | 22 02"),
]
"""What is read as a message, and written otherwise."""
