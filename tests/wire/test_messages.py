"""The vocabulary: numbers of streams, and classes that cannot be mistaken for one another."""

from __future__ import annotations

import typing

from relay.wire import messages
from relay.wire.messages import Announce, Bidi, Message, SubscribeOk, Uni


def test_stream_types() -> None:
    assert [int(kind) for kind in Bidi] == [1, 2, 3, 4, 5, 6, 0x20, 0x21]
    assert [int(kind) for kind in Uni] == [0, 1]


def test_every_class_is_a_message() -> None:
    classes = {
        value
        for value in vars(messages).values()
        if isinstance(value, type) and issubclass(value, tuple)
    }
    assert classes == set(typing.get_args(Message))


def test_fields_that_not_every_version_has_have_defaults() -> None:
    assert Announce(True, "a") == Announce(active=True, suffix="a", hops=())
    assert SubscribeOk() == SubscribeOk(0, False, 0, None, None)
