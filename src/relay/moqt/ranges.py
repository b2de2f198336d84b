"""Which part of a track is asked for: filters of subscriptions, and fetches.

This module must not know any draft.
"""

from __future__ import annotations

from typing import Any

from relay.errors import DecodeError
from relay.moqt.fields import BLOB, LOCATION, NAMESPACE, NUMBERS, VARINT, Kind, Reader
from relay.moqt.messages import (
    ABSOLUTE_RANGE,
    ABSOLUTE_START,
    LATEST_OBJECT,
    NEXT_GROUP,
    UNFILTERED,
    Location,
)
from relay.moqt.varint import Encode

Filter = tuple[int, Location | None, int | None]

NO_FILTER: Filter = (UNFILTERED, None, None)
"""Where there is none. The drafts mean the whole track; publishers send of a live one what begins
with the latest group."""

_MAX_COUNT = 4
_NEXT_OBJECT = (0, 0)
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
        if kind == UNFILTERED:
            kind, start = ABSOLUTE_START, Location(0, 0)
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


def _read_by_count(reader: Reader) -> Filter:
    numbers: tuple[int, ...] = NUMBERS.read(reader)
    if len(numbers) > _MAX_COUNT:
        raise DecodeError(f"a filter of {len(numbers)} integers (at most {_MAX_COUNT})")
    if numbers == (0,):
        return NEXT_GROUP, None, None
    if len(numbers) < 2 or numbers == _NEXT_OBJECT:
        # One integer counts the groups to go back, from the next; more than one is not kept for
        # subscriptions.
        return LATEST_OBJECT, None, None
    start, end = _span(numbers)
    return (ABSOLUTE_START, start, None) if end is None else (ABSOLUTE_RANGE, start, end.group)


def _write_by_count(value: Filter, encode: Encode) -> bytes:
    kind, start, end = value
    if kind == NEXT_GROUP:
        return encode(0)
    if kind == LATEST_OBJECT:
        # As @moq/net 0.3: the next object would mostly be one within a group.
        return encode(1)
    if kind == ABSOLUTE_START and start is not None:
        # Two times 0 would be the next object; nothing is the whole track.
        return b"" if start == _NEXT_OBJECT else LOCATION.write(start, encode)
    if kind == ABSOLUTE_RANGE and start is not None and end is not None and end >= start.group:
        return LOCATION.write(start, encode) + encode(end - start.group)
    raise ValueError(f"no filter {kind} from {start} to {end}")


def _span(numbers: tuple[int, ...]) -> tuple[Location | None, Location | None]:
    """The first object, and the group and object that end it, as `relay.moqt.messages.Fetch`."""
    if len(numbers) < 2:
        return None, None
    start = Location(numbers[0], numbers[1])
    if len(numbers) == 2:
        return start, None
    return start, Location(start.group + numbers[2], numbers[3] + 1 if len(numbers) > 3 else 0)


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


def _read_span(reader: Reader) -> tuple[None, Location | None, Location | None]:
    numbers: tuple[int, ...] = NUMBERS.read(reader)
    if len(numbers) > _MAX_COUNT:
        raise DecodeError(f"a range of {len(numbers)} integers (at most {_MAX_COUNT})")
    return None, *_span(numbers)


def _write_span(
    value: tuple[int | None, Location | None, Location | None], encode: Encode
) -> bytes:
    joining, start, end = value
    if joining is not None or start is None:
        raise ValueError("this draft has no fetch that joins a subscription")
    if end is None:
        return LOCATION.write(start, encode)
    if end.group < start.group:
        raise ValueError(f"no range from {start} to {end}")
    last = (end.object - 1,) if end.object else ()
    return NUMBERS.write((*start, end.group - start.group, *last), encode)


FILTER = _filter(from_start=False)
FILTER_FROM_START = _filter(from_start=True)
FILTER_BY_COUNT = Kind(_read_by_count, _write_by_count)
"""How many integers there are says what they are (draft-20, 5.1.2)."""
FETCH = Kind(_read_fetch, _write_fetch)
"""Of the fields ``joining``, ``relative``, ``absolute``, ``namespace``, ``track``, ``start`` and
``end``."""
SPAN = Kind(_read_span, _write_span)
"""Of ``joining``, which is never so, ``start`` and ``end``, as `FILTER_BY_COUNT`."""
