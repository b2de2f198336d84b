"""One JSON object that changes, as frames: whole at first, then what became different.

A group begins with the whole object and goes on with merge patches (RFC 7396); compressed, it is
one raw DEFLATE stream (RFC 1951), flushed after every frame, without the four bytes in which every
flush ends. The law: groups stand alone, and an object that did not change is no frame. This module
must not know tracks, nor what the object says.
"""

from __future__ import annotations

import json
import zlib
from typing import Any

RATIO = 8
"""Patches of one group may be so many times as long as the object it begins with."""

MAX_FRAMES = 256
"""Frames of one group."""

LEVEL = 6
"""How hard is compressed."""

TAIL = b"\x00\x00\xff\xff"
"""The end of every flush (RFC 7692, 7.2.1)."""


class Patches:
    """The frames of one track; without ``compressed`` each is the whole object in plain letters."""

    def __init__(self, compressed: bool) -> None:
        self._compressed = compressed
        self._last: dict[str, Any] | None = None
        self._deflate: Any = None
        self._whole = 0
        self._patched = 0
        self._frames = 0

    def reset(self) -> None:
        """The next frame is the whole object, changed or not."""
        self._last = None

    def encode(self, value: dict[str, Any]) -> tuple[bytes, bool] | None:
        """The next frame, and whether it begins a group; ``None`` when nothing changed.

        There is no ``None`` in ``value``: a patch could not tell it from what is gone.
        """
        last = self._last
        if last == value:
            return None
        self._last = value
        if last is not None and self._may_patch():
            frame = self._packed(patch(last, value))
            self._patched += len(frame)
            self._frames += 1
            return frame, False
        if self._compressed:
            self._deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        frame = self._packed(value)
        self._whole, self._patched, self._frames = len(frame), 0, 1
        return frame, True

    def _may_patch(self) -> bool:
        room = self._frames < MAX_FRAMES and self._patched <= RATIO * self._whole
        return self._compressed and room

    def _packed(self, value: dict[str, Any]) -> bytes:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
        if not self._compressed:
            return text
        flushed: bytes = self._deflate.compress(text) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return flushed.removesuffix(TAIL)


def patch(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The merge patch (RFC 7396) that makes ``new`` of ``old``."""
    said: dict[str, Any] = {name: None for name in old if name not in new}
    for name, value in new.items():
        if name not in old:
            said[name] = value
        elif old[name] != value:
            was = old[name]
            both = isinstance(was, dict) and isinstance(value, dict)
            said[name] = patch(was, value) if both else value
    return said
