"""Asking for one group, and what may come back."""

from __future__ import annotations

from typing import Any

import pytest

import dialogue
from relay.errors import NotFound
from relay.session import events
from relay.session.settings import SessionSettings
from relay.wire.messages import MAX_SEQUENCE

GROUP = bytes.fromhex("00 03") + b"one" + bytes.fromhex("0a 05") + b"later"


def asked(cut: int = 0, **more: Any) -> tuple[Any, int, int]:
    """Two ends, our question and the stream on which the peer heard it."""
    talk = dialogue.Talk("moq-lite-06", cut, **more)
    request = talk.client.session.fetch("a", "b", 7, 9)
    talk.run()
    (event,) = [each for each in talk.server.heard if isinstance(each, events.FetchRequested)]
    assert event[1:] == ("a", "b", 9, 7, 0, None)
    talk.client.heard.clear()
    return talk, request, event.stream


def test_a_group_comes_back_on_the_same_stream(cut: int) -> None:
    talk, request, stream = asked(cut)
    talk.server.session.write(stream, GROUP[:7])
    talk.server.session.write(stream, GROUP[7:], True)
    talk.run()
    data = b"".join(e.data for e in talk.client.heard if isinstance(e, events.FetchReceived))
    assert data == GROUP
    assert talk.client.heard[-1] == events.FetchFinished(request)
    assert not talk.client.session.fetches
    assert not talk.client.session._flows
    assert not talk.server.session._flows


def test_a_group_may_be_empty() -> None:
    talk, request, stream = asked()
    talk.server.session.write(stream, b"", True)
    talk.run()
    assert talk.client.heard == [events.FetchFinished(request)]


@pytest.mark.parametrize("begun", [b"", GROUP[:7]])
def test_a_refusal_and_a_group_that_breaks_off(begun: bytes) -> None:
    talk, request, stream = asked()
    if begun:
        talk.server.session.write(stream, begun)
    talk.server.session.reset(stream, 13)
    talk.run()
    assert talk.client.heard[-1] == events.FetchRefused(request, 13)
    assert not talk.client.session.fetches
    assert not talk.client.session._flows


def test_half_a_frame_is_no_group() -> None:
    talk, request, stream = asked()
    talk.server.session.write(stream, GROUP[:-1], True)
    talk.run()
    assert talk.client.heard[-1] == events.FetchRefused(request, 5)
    assert talk.wire.client.closed is None


def test_a_frame_beyond_the_limit_ends_the_fetch_and_no_more() -> None:
    talk, request, stream = asked()
    talk.client.session.fetches[request].scanner._max_frame = 4
    talk.server.session.write(stream, GROUP)
    talk.run()
    assert talk.client.heard == [events.FetchRefused(request, 5)]
    assert [type(each) for each in talk.server.heard][-1] is events.StreamCancelled
    assert talk.wire.client.closed is None


def test_a_question_taken_back_is_not_heard_of_again() -> None:
    talk, request, stream = asked()
    talk.server.session.write(stream, GROUP[:5])
    talk.client.session.cancel_fetch(request)
    talk.client.session.cancel_fetch(request)
    talk.run()
    assert talk.client.heard == []
    assert talk.server.heard[-1] == events.StreamCancelled(stream)
    assert not talk.client.session._flows


def test_a_peer_that_ends_our_half_may_still_answer() -> None:
    talk, request, stream = asked()
    talk.server.session.turn_down(stream, 0)
    talk.server.session.write(stream, GROUP, True)
    talk.run()
    assert talk.client.heard[-1] == events.FetchFinished(request)


def test_a_question_that_cannot_be_put_is_refused() -> None:
    talk = dialogue.Talk("moq-lite-06", 0, settings=SessionSettings(max_pending=0))
    talk.wire.client.credit = 0
    request = talk.client.session.fetch("a", "b", 7, 0)
    talk.run()
    assert talk.client.heard[-1] == events.FetchRefused(request, 4)


def test_a_group_that_nothing_could_follow_is_not_there() -> None:
    talk = dialogue.Talk("moq-lite-06")
    last = talk.client.session.fetch("a", "b", MAX_SEQUENCE, 9)
    beyond = [talk.client.session.fetch("a", "b", MAX_SEQUENCE + more, 9) for more in (1, 2)]
    talk.run()
    heard = [each for each in talk.server.heard if isinstance(each, events.FetchRequested)]
    assert [each.group for each in heard] == [MAX_SEQUENCE]
    refused = [each for each in talk.client.heard if isinstance(each, events.FetchRefused)]
    assert refused == [events.FetchRefused(each, NotFound.code) for each in beyond]
    assert last in talk.client.session.fetches
