"""Properties of objects, to draft 16 called extension headers: how they are written and kept.

A relay passes on those that it does not know as they came, and keeps them with their object
(moq-transport-18, "Properties"). They are kept as draft 18 writes them, behind their size. Left out
are timestamps that mean nothing without what the track says, the gap before an object, since frames
have no gaps, and what another draft has no way to say. This module must not know tracks.
"""

from __future__ import annotations

from relay.errors import DecodeError
from relay.moqt.drafts import Draft
from relay.moqt.varint import LEADING, Encode, Scan
from relay.wire.buffer import encode_varint, scan_varint
from relay.wire.frame import NO_PROPERTIES

MAX_PROPERTIES = 8_192
"""Bytes of one object's properties that are kept, and in which a timestamp is looked for. More are
skipped, all of them."""

TIMESCALE, TIMESTAMP, OLD_TIMESTAMP = 0x08, 0x10, 0x06
"""What this object's timestamp counts, and the timestamp, by its number of today and by that of
draft-ietf-moq-loc-03 (moq-loc-04, 2.3.1.1)."""

_CAPTURED = 0x02
"""The timestamp up to draft-ietf-moq-loc-01, in which that of -03 was how loud a sound is (2.3.1.1,
2.3.3.1)."""

_TIMES = frozenset((TIMESCALE, TIMESTAMP, OLD_TIMESTAMP))
_OBJECT_GAP = 0x3E
"""Objects before this one that do not exist (moq-transport-18, "Prior Object ID Gap")."""

Property = tuple[int, int | bytes]
"""Number and value: of an even number an integer, of an odd one bytes."""


def read(draft: Draft, data: bytes) -> list[Property]:
    """The properties of an object, none where they make no sense."""
    try:
        return _read(draft.varint.scan, draft.property_steps, data)
    except DecodeError:
        return []


def _read(scan: Scan, is_stepped: bool, data: bytes) -> list[Property]:
    found: list[Property] = []
    at = before = 0
    while at < len(data):
        number, at = _integer(scan, data, at)
        value, at = _integer(scan, data, at)
        if is_stepped:
            number += before
            before = number
        if not number & 1:
            found.append((number, value))
            continue
        if at + value > len(data):
            raise DecodeError("a property is cut off")
        found.append((number, data[at : at + value]))
        at += value
    return found


def _integer(scan: Scan, data: bytes, at: int) -> tuple[int, int]:
    found = scan(data, at)
    if found is None:
        raise DecodeError("a property is cut off")
    return found


def kept(properties: list[Property], with_times: bool) -> bytes:
    """How those of an object stand before its payload; ``with_times`` where no track says what they
    count."""
    left_out = {_OBJECT_GAP} if with_times else _TIMES | {_OBJECT_GAP}
    rest = [each for each in properties if each[0] not in left_out]
    if not rest:
        return NO_PROPERTIES
    said = _written(LEADING.encode, True, rest)
    return encode_varint(len(said)) + said if len(said) <= MAX_PROPERTIES else NO_PROPERTIES


def timestamp(values: dict[int, int | bytes]) -> int | bytes | None:
    """That of an object with these properties; ``None`` where they have none."""
    old = None if _CAPTURED in values else values.get(OLD_TIMESTAMP)
    return values.get(TIMESTAMP, old)


def scan_kept(data: bytes, at: int) -> tuple[bytes, int] | None:
    """What stands before a payload, without its size, and where it ends; ``None`` while it is
    incomplete."""
    found = scan_varint(data, at)
    if found is None or found[1] + found[0] > len(data):
        return None
    stop = found[1] + found[0]
    return data[found[1] : stop], stop


def written(draft: Draft, before: bytes, stamp: int) -> bytes:
    """The properties of an object, with their size: those kept ``before`` its payload and, where
    the draft has timestamps, this one if they have none. Nothing where there are none."""
    if not before:  # by far the most frequent
        if not draft.timestamps:
            return b""
        said = draft.varint.encode(TIMESTAMP) + draft.varint.encode(stamp)
        return draft.varint.encode(len(said)) + said
    properties = _read(LEADING.scan, True, before)
    if draft.timestamps:
        value = timestamp(dict(properties))
        # What a timestamp counts that is not there is not what ours counts.
        told = {TIMESCALE} if value is None else {TIMESTAMP, OLD_TIMESTAMP}
        properties = [each for each in properties if each[0] not in told]
        properties.append((TIMESTAMP, stamp if value is None else value))
    said = _written(draft.varint.encode, draft.property_steps, properties)
    return draft.varint.encode(len(said)) + said if said else b""


def _written(encode: Encode, is_stepped: bool, properties: list[Property]) -> bytes:
    out: list[bytes] = []
    before = 0
    for number, value in sorted(properties, key=lambda each: each[0]):
        try:
            said = encode(number - before if is_stepped else number)
            said += encode(value) if isinstance(value, int) else encode(len(value)) + value
        except ValueError:
            continue  # the integers of draft 17 and later are larger
        before = number
        out.append(said)
    return b"".join(out)
