"""The table of versions: facts agree with each other and with the messages a version has."""

from __future__ import annotations

import pytest

from relay.wire.frame import Layout
from relay.wire.lite import Dialect
from relay.wire.messages import (
    Announce,
    AnnounceInit,
    AnnounceOk,
    AnnounceStart,
    Bidi,
    Fetch,
    Goaway,
    Group,
    Probe,
    Subscribe,
    SubscribeOk,
    SubscribeStart,
    SubscribeUpdate,
    TrackInfo,
)
from relay.wire.version import (
    DIALECTS,
    IDENTIFIERS,
    INBAND,
    INBAND_CODES,
    LITE_01,
    LITE_02,
    LITE_03,
    LITE_04,
    LITE_05,
    LITE_06,
    LITE_NEAR,
    SPOKEN,
    TRANSPORT,
    by_code,
    by_identifier,
    choose,
)

ALL = (LITE_01, LITE_02, LITE_03, LITE_04, LITE_05, LITE_06)


def test_order_and_names() -> None:
    assert DIALECTS == (LITE_06, LITE_05, LITE_04, LITE_03)
    assert SPOKEN == ("moq-lite-06", "moq-lite-05", "moq-lite-04", "moq-lite-03", "moql")
    assert (*SPOKEN, *TRANSPORT) == IDENTIFIERS
    assert [dialect.name for dialect in ALL] == [f"moq-lite-0{n}" for n in range(1, 7)]
    assert len(set(ALL)) == 6


def test_lookup_by_identifier() -> None:
    for dialect in DIALECTS:
        assert by_identifier(dialect.identifier) is dialect
        assert dialect.name == dialect.identifier
    for identifier, dialect in TRANSPORT.items():
        assert by_identifier(identifier) is dialect
        assert dialect.identifier == identifier
    for other in (INBAND, "moq-lite-07", "moq-lite-06-wip", "moq-lite-02", "moqt-13", ""):
        assert by_identifier(other) is None


def test_processes_of_one_relay_speak_the_newest_version_and_say_when_a_publisher_came() -> None:
    assert by_identifier(LITE_NEAR.identifier) is LITE_NEAR
    assert choose([LITE_NEAR.identifier]) is None
    message = AnnounceStart("a", (7,), 1, 2, 1 << 60)
    for dialect, said in ((LITE_NEAR, message), (LITE_06, message._replace(since=0))):
        body = dialect.codecs[AnnounceStart].encode(message)
        assert dialect.codecs[AnnounceStart].decode(body) == said


def test_processes_of_one_relay_say_of_a_group_that_its_frames_have_properties() -> None:
    message = Group(1, 2, 0, True)
    body = LITE_NEAR.codecs[Group].encode(message)
    assert LITE_NEAR.codecs[Group].decode(body) == message
    for dialect in (*DIALECTS, *TRANSPORT.values()):
        with pytest.raises(ValueError, match="has_properties"):
            dialect.encode(message)


def test_what_only_the_interpreter_says_is_in_no_version() -> None:
    for message in (
        Subscribe(0, "a", "b", 0, is_paused=True, patience=1 << 32),
        SubscribeUpdate(0, is_paused=True),
    ):
        for dialect in TRANSPORT.values():
            codec = dialect.codecs[type(message)]
            assert codec.decode(codec.encode(message)) == message
        for dialect in (*DIALECTS, LITE_NEAR):
            with pytest.raises(ValueError, match="is_paused"):
                dialect.encode(message)


def test_lookup_by_code() -> None:
    assert INBAND_CODES == (0xFF0DAD02, 0xFF0DAD01)
    assert [by_code(code) for code in INBAND_CODES] == [LITE_02, LITE_01]
    for code in INBAND_CODES:
        dialect = by_code(code)
        assert dialect is not None
        assert dialect.identifier == INBAND
    assert by_code(0xFF00000E) is None


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["moq-lite-07", "moq-lite-06", "moq-lite-05"], "moq-lite-06"),
        (["moq-lite-05", "moq-lite-06"], "moq-lite-05"),
        (["moq-lite-03", "moq-lite-05"], "moq-lite-03"),
        (["moql", "moq-lite-05"], "moql"),
        (["moq-lite-02", "moqt-13"], None),
        (["moqt-16", "moq-lite-05"], "moqt-16"),
        (["moq-lite-05", "moqt-16"], "moq-lite-05"),
        ([], None),
    ],
)
def test_the_client_prefers(offered: list[str], chosen: str | None) -> None:
    assert choose(offered) == chosen


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: str(dialect.name))
def test_facts_agree_with_messages(dialect: Dialect) -> None:
    has = dialect.codecs
    assert dialect.fetch == (Fetch in has) == (Bidi.FETCH in dialect.bidi)
    assert dialect.goaway == (Goaway in has) == (Bidi.GOAWAY in dialect.bidi)
    assert dialect.track_stream == (TrackInfo in has) == (Bidi.TRACK in dialect.bidi)
    assert (Probe in has) == (Bidi.PROBE in dialect.bidi)
    assert dialect.subscribe_update == (SubscribeUpdate in has)
    assert (dialect.subscribe_ack == "ok") == (SubscribeOk in has)
    assert (dialect.subscribe_ack == "start") == (SubscribeStart in has)
    assert (dialect.announce_reply == "init") == (AnnounceInit in has)
    assert (dialect.announce_reply == "ok") == (AnnounceOk in has)
    assert dialect.identifier != INBAND or not dialect.setup_stream
    assert {Bidi.ANNOUNCE, Bidi.SUBSCRIBE} <= dialect.bidi
    assert not {Bidi.CLIENT_SETUP, Bidi.SERVER_SETUP} & dialect.bidi
    assert set(dialect.typed_replies) | set(dialect.typed_announces) <= set(has)
    assert dialect.announce_ids == bool(dialect.typed_announces) == (AnnounceStart in has)
    assert dialect.announce_ids != (Announce in has)
    assert dialect.restart_in_place or not dialect.announce_ids


@pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: str(dialect.name))
def test_facts_agree_with_bytes(dialect: Dialect) -> None:
    if dialect.announce_ids:
        assert dialect.encode(AnnounceStart("", (5, 6), 1, 2)).hex() == "0006000205060102"
        return
    chain = dialect.encode(Announce(True, "", (5, 6)))
    carried = {None: "020100", "ids": "050100020506", "count": "03010002"}
    key = None if not dialect.stamps_hop else "count" if dialect is LITE_03 else "ids"
    assert chain.hex() == carried[key]


def test_facts_of_each_version() -> None:
    no, yes = [False], [True]
    stamps = [None, None, "sender", "sender", "receiver", "receiver"]
    assert [d.stamps_hop for d in ALL] == stamps
    assert [d.restart_in_place for d in ALL] == no * 4 + yes * 2
    assert [d.announce_ids for d in ALL] == no * 5 + yes
    assert [d.costs for d in ALL] == no * 5 + yes
    assert [d.excludes_hop for d in ALL] == no * 3 + yes * 2 + no
    assert [d.start_floor for d in ALL] == no * 5 + yes
    assert [d.setup_stream for d in ALL] == no * 4 + yes * 2
    assert [d.layout for d in ALL] == [Layout.UNTIMED] * 4 + [Layout.TIMED] * 2
    assert [d.datagrams for d in ALL] == no * 4 + yes * 2
    assert [d.codes.say(0) for d in ALL] == [0] * 5 + [1]
