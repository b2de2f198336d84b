"""What connections share is what the library would have made for each."""

from __future__ import annotations

from typing import Any

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import NoCallback
from aioquic.quic.logger import QuicLogger

from relay.net.ackrate import ACK_FREQUENCY, IMMEDIATE_ACK
from relay.net.engine import Engine, configure
from relay.net.frames import RESET_STREAM, RESET_STREAM_AT
from relay.net.settings import QuicLimits


def dialled(**more: Any) -> Engine:
    limits = QuicLimits()
    configuration = configure(limits, True, ["x"])
    for name, value in more.items():
        setattr(configuration, name, value)
    engine = Engine(configuration, limits)
    engine.connect(("::1", 4443), 0.0)
    return engine


def test_every_frame_has_the_handler_and_the_packets_that_the_library_gives_it() -> None:
    stock = QuicConnection(configuration=QuicConfiguration(is_client=True))
    own: Any = stock._QuicConnection__frame_handlers  # type: ignore[attr-defined]
    added = {
        RESET_STREAM_AT: (Engine._handle_reset_stream_at_frame, own[RESET_STREAM][1]),
        ACK_FREQUENCY: (Engine._handle_ack_frequency_frame, own[RESET_STREAM][1]),
        IMMEDIATE_ACK: (Engine._handle_immediate_ack_frame, own[RESET_STREAM][1]),
    }
    assert not added.keys() & own.keys()
    own |= added
    first, second = dialled(), dialled()
    for engine in (first, second):
        shared: Any = engine._QuicConnection__frame_handlers  # type: ignore[attr-defined]
        for kind in range(0x100):
            if kind in own:
                handler, epochs = shared[kind]
                assert (handler.__name__, epochs) == (own[kind][0].__name__, own[kind][1])
                assert handler.__self__ is engine
            else:
                with pytest.raises(KeyError):
                    shared[kind]


def callbacks(engine: Engine) -> set[bool]:
    contexts = [half for pair in engine._cryptos.values() for half in (pair.recv, pair.send)]
    found = [half._setup_cb for half in contexts] + [half._teardown_cb for half in contexts]
    return {each is NoCallback for each in found}


def test_keys_are_told_of_only_where_somebody_keeps_a_log() -> None:
    assert callbacks(dialled()) == {True}
    assert False in callbacks(dialled(quic_logger=QuicLogger()))
