"""Which part of a track is asked for: filters of subscriptions, and fetches.

This module must not know any draft.
"""

from __future__ import annotations

from typing import Any

from relay.errors import DecodeError
from relay.moqt.fields import BLOB, LOCATION, NAMESPACE, VARINT, Kind, Reader
from relay.moqt.messages import (
    ABSOLUTE_RANGE,
    ABSOLUTE_START,
    LATEST_OBJECT,
    NEXT_GROUP,
    Location,
)
from relay.moqt.varint import Encode

Filter = tuple[int, Location | None, int | None]

NO_FILTER: Filter = (LATEST_OBJECT, None, None)
"""What none is read as: the drafts would have the whole track, but live clients that leave it out
expect what moq-dev gives them, the latest."""

_STANDALONE, _RELATIVE, _ABSOLUTE = 1, 2, 3


def _filter(from_start: bool) -> Kind:
    """A subscription filter; its end is a group, or ``from_start`` so many after that of its
    start."""

    def read(reader: Reader) -> Filter:
        kind = reader.varint()
        if not NEXT_GROUP <= kind <= ABSOLUTE_RANGE:
            raise DecodeError(f"no filter {kind}")
        if kind < ABSOLUTE_START:
            return kind, None, None
        start: Location = LOCATION.read(reader)
        if kind == ABSOLUTE_START:
            return kind, start, None
        end = reader.varint() + (start.group if from_start else 0)
        if end < start.group:
            raise DecodeError(f"a range of groups from {start.group} to {end}")
        return kind, start, end

    def write(value: Filter, encode: Encode) -> bytes:
        kind, start, end = value
        if not NEXT_GROUP <= kind <= ABSOLUTE_RANGE:
            raise ValueError(f"no filter {kind}")
        written = encode(kind)
        if kind >= ABSOLUTE_START:
            written += LOCATION.write(start, encode)
        if kind == ABSOLUTE_RANGE:
            if start is None or end is None or end < start.group:
                raise ValueError(f"no range of groups from {start} to {end}")
            written += encode(end - (start.group if from_start else 0))
        return written

    return Kind(read, write)


def updating(kind: Kind) -> Kind:
    """A filter of which only start and end matter; both are ``None`` where it names none."""

    def read(reader: Reader) -> tuple[Location | None, int | None]:
        _, start, end = kind.read(reader)
        return start, end

    def write(value: tuple[Location | None, int | None], encode: Encode) -> bytes:
        start, end = value
        return kind.write((ABSOLUTE_START if end is None else ABSOLUTE_RANGE, start, end), encode)

    return Kind(read, write)


def _read_fetch(reader: Reader) -> tuple[Any, ...]:
    kind = reader.varint()
    if not _STANDALONE <= kind <= _ABSOLUTE:
        raise DecodeError(f"no fetch {kind}")
    if kind == _STANDALONE:
        name = NAMESPACE.read(reader), reader.blob()
        return None, None, None, *name, LOCATION.read(reader), LOCATION.read(reader)
    joining, start = reader.varint(), reader.varint()
    relative, absolute = (start, None) if kind == _RELATIVE else (None, start)
    return joining, relative, absolute, (), b"", None, None


def _write_fetch(value: tuple[Any, ...], encode: Encode) -> bytes:
    joining, relative, absolute, namespace, track, start, end = value
    if joining is None:
        name = NAMESPACE.write(namespace, encode) + BLOB.write(track, encode)
        span = LOCATION.write(start, encode) + LOCATION.write(end, encode)
        return encode(_STANDALONE) + name + span
    kind, group = (_RELATIVE, relative) if absolute is None else (_ABSOLUTE, absolute)
    if group is None:
        raise ValueError("a joining fetch says from where on")
    return encode(kind) + VARINT.write(joining, encode) + VARINT.write(group, encode)


FILTER = _filter(from_start=False)
FILTER_FROM_START = _filter(from_start=True)
FETCH = Kind(_read_fetch, _write_fetch)
"""Of the fields ``joining``, ``relative``, ``absolute``, ``namespace``, ``track``, ``start`` and
``end``."""
