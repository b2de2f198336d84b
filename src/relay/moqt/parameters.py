"""Lists of numbered values, which all drafts write differently: options of the handshake,
parameters of messages and properties of tracks.

Which layout a list has is a fact of its draft. A number that is known and said twice is a mistake,
unless it may be repeated. This module must not know any draft, nor what a number means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from relay.errors import DecodeError
from relay.moqt.fields import BLOB, LOCATION, NAMESPACE, U8, VARINT, Kind, Reader
from relay.moqt.varint import Encode


class Layout(NamedTuple):
    """How a list is written."""

    counted: bool
    """Its length comes first; else it goes on to the end of the message."""
    steps: bool
    """Numbers ascend, and each is written as the difference to the one before."""
    shapes: Mapping[int, Kind] | None = None
    """What stands under each number; ``None``: integers under even numbers, and bytes with a length
    under odd ones."""


class Param(NamedTuple):
    """The fields under one number."""

    number: int
    names: tuple[str, ...]
    kind: Kind
    omitted: tuple[Any, ...]
    """What they are where the number is absent, and then not written."""
    repeated: bool = False
    """The one field is a tuple, and the number is there for each of its values."""


SHAPES: Mapping[int, Kind] = {
    0x02: VARINT,  # OBJECT_DELIVERY_TIMEOUT
    0x03: BLOB,  # AUTHORIZATION_TOKEN
    0x04: VARINT,  # RENDEZVOUS_TIMEOUT
    0x06: VARINT,  # SUBGROUP_DELIVERY_TIMEOUT
    0x08: VARINT,  # EXPIRES
    0x09: LOCATION,  # LARGEST_OBJECT
    0x0A: VARINT,  # FILL_TIMEOUT
    0x10: U8,  # FORWARD
    0x20: U8,  # SUBSCRIBER_PRIORITY
    0x21: BLOB,  # SUBSCRIPTION_FILTER
    0x22: U8,  # GROUP_ORDER
    0x23: BLOB,  # FILL_PARAMETERS
    0x25: BLOB,  # SUBGROUP_FILTER
    0x26: BLOB,  # OBJECTID_FILTER
    0x27: BLOB,  # PRIORITY_FILTER
    0x28: BLOB,  # OBJECT_PROPERTY_FILTER
    0x29: BLOB,  # TRACK_PROPERTY_FILTER
    0x32: VARINT,  # NEW_GROUP_REQUEST
    0x34: NAMESPACE,  # TRACK_NAMESPACE_PREFIX
    # A byte in the draft, but @moq/net 0.3 writes a length before it; it is only ever sent as 0,
    # and that reads the same.
    0x35: BLOB,  # INCLUDE_PROPERTIES
}
"""The parameters of messages from draft 17 on (draft-19, 10.2), which keep their numbers."""


def listed(params: Sequence[Param], layout: Layout) -> Kind:
    """The kind for all fields of the parameters, in their order. Others are skipped."""
    ordered = sorted(params, key=lambda param: param.number)
    by_number = {param.number: param for param in params}

    def read(reader: Reader) -> Any:
        found: dict[int, Any] = {}
        number = done = 0
        count = reader.varint() if layout.counted else None
        while reader.more if count is None else done < count:
            done += 1
            number = reader.varint() + (number if layout.steps else 0)
            param = by_number.get(number)
            if param is None:
                _shape(layout, number).read(reader)
            elif param.repeated:
                found.setdefault(number, []).append(param.kind.read(reader))
            elif number in found:
                raise DecodeError(f"parameter {number} said twice")
            else:
                found[number] = param.kind.read(reader)
        return _flat(params, found)

    def write(value: Any, encode: Encode) -> bytes:
        values = iter(value if sum(len(param.names) for param in params) > 1 else (value,))
        said = {param.number: tuple(next(values) for _ in param.names) for param in params}
        pieces: list[bytes] = []
        count = previous = 0
        for param in ordered:
            own = said[param.number]
            if own == param.omitted:
                continue
            for each in own[0] if param.repeated else (own if len(own) == 1 else (own,)):
                pieces.append(encode(param.number - (previous if layout.steps else 0)))
                pieces.append(param.kind.write(each, encode))
                previous = param.number
                count += 1
        return (encode(count) if layout.counted else b"") + b"".join(pieces)

    return Kind(read, write)


def _shape(layout: Layout, number: int) -> Kind:
    if layout.shapes is None:
        return BLOB if number & 1 else VARINT
    shape = layout.shapes.get(number)
    if shape is None:
        # From draft 17 on nothing tells how long it is (draft-17, 9.3).
        raise DecodeError(f"no parameter {number}")
    return shape


def _flat(params: Sequence[Param], found: Mapping[int, Any]) -> Any:
    """The fields one after the other; the value itself where there is one only."""
    values: list[Any] = []
    for param in params:
        if param.number not in found:
            values += param.omitted
        elif param.repeated:
            values.append(tuple(found[param.number]))
        elif len(param.names) == 1:
            values.append(found[param.number])
        else:
            values += found[param.number]
    return values[0] if len(values) == 1 else tuple(values)
