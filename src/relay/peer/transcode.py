"""How a group that came in one layout is written in another.

The law: the model is handed this and need not know bytes. This module must not know who reads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from relay.model.track import TrackInfo
from relay.wire.frame import Encoding, Layout, Transcoder


def transcode(source: Any, target: Any, info: TrackInfo) -> Callable[[bytes, float], bytes]:
    """How the model has a group of one encoding written in another layout (`model.group`)."""
    assert isinstance(source, Encoding)
    assert isinstance(target, Layout)
    return Transcoder(source, target, info.timescale).feed
