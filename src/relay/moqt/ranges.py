"""Which part of a track is asked for: filters of subscriptions, and fetches.

This module must not know any draft.
"""

from __future__ import annotations

from typing import Any

from relay.errors import DecodeError
from relay.moqt.fields import (
    BLOB,
    LOCATION,
    NAMESPACE,
    NUMBERS,
    VARINT,
    Kind,
    Reader,
    prefixed,
)
from relay.moqt.messages import (
    ABSOLUTE_RANGE,
    ABSOLUTE_START,
    LATEST_OBJECT,
    NEXT_GROUP,
    UNFILTERED,
    Location,
)
from relay.moqt.varint import MAX_LEADING, Encode

Filter = tuple[int, Location | None, int | None]

NO_FILTER: Filter = (UNFILTERED, None, None)
"""Where there is none. The drafts mean the whole track; publishers send of a live one what begins
with the latest group."""

_MAX_COUNT = 4
_ORIGIN = (0, 0)
_NEXT = (-1,)
"""What says the next object: no wire has it so."""
_NEXT_OBJECT = 5
"""The type of a filter without integers; each lower one has as many as it counts."""
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
    """A filter of which only start and end matter; one that names no start is none any more, from
    the first object on."""

    def read(reader: Reader) -> tuple[Location | None, int | None]:
        _, start, end = kind.read(reader)
        return start or Location(0, 0), end

    def write(value: tuple[Location | None, int | None], encode: Encode) -> bytes:
        start, end = value
        return kind.write((ABSOLUTE_START if end is None else ABSOLUTE_RANGE, start, end), encode)

    return Kind(read, write)


def _read_counted(reader: Reader) -> tuple[int, ...]:
    numbers: tuple[int, ...] = NUMBERS.read(reader)
    if len(numbers) > _MAX_COUNT:
        raise DecodeError(f"a filter of {len(numbers)} integers (at most {_MAX_COUNT})")
    return _NEXT if numbers == _ORIGIN else numbers


def _write_counted(value: tuple[int, ...], encode: Encode) -> bytes:
    # Two times 0 would be the next object; nothing is the whole track.
    return NUMBERS.write(() if value == _ORIGIN else value, encode)


def _read_typed(reader: Reader) -> tuple[int, ...]:
    kind = reader.varint()
    if kind > _NEXT_OBJECT:
        raise DecodeError(f"no filter {kind}")
    if kind == _NEXT_OBJECT:
        return _NEXT
    return tuple([reader.varint() for _ in range(kind)])


def _write_typed(value: tuple[int, ...], encode: Encode) -> bytes:
    return encode(len(value)) + NUMBERS.write(value, encode)


def _filter_of(numbers: Kind) -> Kind:
    """A subscription filter of up to four integers; none where it says nothing, or only the next
    object."""

    def read(reader: Reader) -> Filter:
        said: tuple[int, ...] = numbers.read(reader)
        if said == (0,):
            return NEXT_GROUP, None, None
        if len(said) < 2:
            # One integer counts the groups to go back, from the next; more than one is not kept
            # for subscriptions.
            return LATEST_OBJECT, None, None
        start, end = _span(said)
        if end is None:
            return ABSOLUTE_START, start, None
        return ABSOLUTE_RANGE, start, end.group

    def write(value: Filter, encode: Encode) -> bytes:
        kind, start, end = value
        if kind == NEXT_GROUP:
            return numbers.write((0,), encode)
        if kind == LATEST_OBJECT:
            # As @moq/net 0.3: the next object would mostly be one within a group.
            return numbers.write((1,), encode)
        if kind == ABSOLUTE_START and start is not None:
            return numbers.write(tuple(start), encode)
        if kind == ABSOLUTE_RANGE and start is not None and end is not None and end >= start.group:
            return numbers.write((*start, end - start.group), encode)
        raise ValueError(f"no filter {kind} from {start} to {end}")

    return Kind(read, write)


def _span(numbers: tuple[int, ...]) -> tuple[Location | None, Location | None]:
    """The first object, and the group and object that end it, as `relay.moqt.messages.Fetch`."""
    if len(numbers) < 2:
        return None, None
    start = Location(numbers[0], numbers[1])
    if len(numbers) == 2:
        return start, None
    last = start.group + numbers[2]
    if last > MAX_LEADING:
        raise DecodeError(f"a range of groups from {start.group} to {last}")
    return start, Location(last, numbers[3] + 1 if len(numbers) > 3 else 0)


def _span_of(numbers: Kind) -> Kind:
    """What is fetched, in up to four integers: ``joining``, which is never so, ``relative``,
    ``start`` and ``end``."""

    def read(reader: Reader) -> tuple[None, int | None, Location | None, Location | None]:
        said: tuple[int, ...] = numbers.read(reader)
        if len(said) == 1:  # counted from the group after the latest; the next object is as far off
            return None, max(said[0], 0) - 1, None, None
        return None, None, *_span(said)

    def write(value: tuple[Any, ...], encode: Encode) -> bytes:
        joining, relative, start, end = value
        if joining is not None:
            raise ValueError("this draft has no fetch that joins a subscription")
        if relative is not None:
            return numbers.write((relative + 1,), encode)
        if start is None:
            raise ValueError("a range has a beginning")
        if end is None:
            return numbers.write(tuple(start), encode)
        if end.group < start.group:
            raise ValueError(f"no range from {start} to {end}")
        last = (end.object - 1,) if end.object else ()
        return numbers.write((*start, end.group - start.group, *last), encode)

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
_COUNTED = prefixed(Kind(_read_counted, _write_counted))
"""How many integers there are says what they are (draft-20, 5.1.2)."""
_TYPED = Kind(_read_typed, _write_typed)
"""A type says it (draft-22, 9.20.9), and with that where they end: nothing else does."""
FILTER_BY_COUNT, FILTER_BY_TYPE = _filter_of(_COUNTED), _filter_of(_TYPED)
SPAN_BY_COUNT, SPAN_BY_TYPE = _span_of(_COUNTED), _span_of(_TYPED)
