"""How a group that came in one layout is written in another.

The law: the model is handed this and need not know bytes. This module must not know who reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from relay.model.group import Group
from relay.model.track import TrackInfo
from relay.model.traffic import weight
from relay.wire.frame import Encoding, Layout, Transcoder, weigh


def transcode(source: Any, target: Any, info: TrackInfo) -> Callable[[bytes, float], bytes]:
    """How the model has a group of one encoding written in another layout (`model.group`)."""
    assert isinstance(source, Encoding)
    assert isinstance(target, Layout)
    return Transcoder(source, target, info.timescale).feed


def near_layout(group: Group) -> Layout:
    """How a group goes to another process of this relay: with properties where it may have any."""
    assert isinstance(group.encoding, Encoding)
    return Layout.TIMED_OBJECTS if group.encoding.has_properties else Layout.TIMED


def frames_in(group: Group) -> int:
    """Whole frames that a group has by now. They are counted once, however many ask."""
    assert isinstance(group.encoding, Encoding)
    log = group.native
    return weight(log, group.encoding, log.size, weigh)[0]
