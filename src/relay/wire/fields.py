"""Field kinds, and the codec a table of fields compiles to.

A message is written as its fields one after the other, so a codec is a list of names and kinds, and
nothing else differs between versions. Reading fails with `DecodeError`, writing with `ValueError`
because then the mistake is our own. This module must not know any message or version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from relay.errors import DecodeError
from relay.wire.buffer import MAX_VARINT, Reader, decode_varints, encode_varint, encode_varints

MAX_HOPS = 32
"""Longest chain of relays in an announce (moq-lite, "ANNOUNCE")."""

MAX_URI = 8192
"""Bytes of the address in a GOAWAY (moq-lite, "GOAWAY")."""


class Kind(NamedTuple):
    """How one field is read and written."""

    read: Callable[[Reader], Any]
    write: Callable[[Any], bytes]


def encode_string(text: str) -> bytes:
    """A varint length and the text in UTF-8."""
    data = text.encode()
    return encode_varint(len(data)) + data


def _write_u8(value: int) -> bytes:
    return bytes((value,))


def _read_flag(reader: Reader) -> bool:
    # Deployed peers take any byte but 0 as true.
    return reader.u8() != 0


def _write_flag(value: bool) -> bytes:
    return b"\x01" if value else b"\x00"


def _read_status(highest: int) -> Callable[[Reader], bool]:
    def read(reader: Reader) -> bool:
        status = reader.u8()
        if status > highest:
            raise DecodeError(f"no announce status {status}")
        return status != 0

    return read


def _read_optional(reader: Reader) -> int | None:
    value = reader.varint()
    return value - 1 if value else None


def _write_optional(value: int | None) -> bytes:
    if value is None:
        return b"\x00"
    if value < 0:
        raise ValueError(f"{value} is no group")
    return encode_varint(value + 1)


def _read_floor(reader: Reader) -> int | None:
    # One less than the most: in other versions the same is said as the group plus 1.
    return min(reader.varint(), MAX_VARINT - 1) or None


def _write_floor(value: int | None) -> bytes:
    return encode_varint(value or 0)


def _read_positive(reader: Reader) -> int:
    value = reader.varint()
    if not value:
        raise DecodeError("0 where at least 1 is needed")
    return value


def _write_positive(value: int) -> bytes:
    if not value:
        raise ValueError("0 where at least 1 is needed")
    return encode_varint(value)


def _read_uri(reader: Reader) -> str:
    uri = reader.string()
    if len(uri.encode()) > MAX_URI:
        raise DecodeError(f"an address of more than {MAX_URI} bytes")
    return uri


def _write_uri(uri: str) -> bytes:
    if len(uri.encode()) > MAX_URI:
        raise ValueError(f"an address of more than {MAX_URI} bytes")
    return encode_string(uri)


def _read_hop_count(reader: Reader) -> tuple[int, ...]:
    count = reader.varint()
    if count > MAX_HOPS:
        raise DecodeError(f"a chain of {count} relays (at most {MAX_HOPS})")
    return (0,) * count


def _write_hop_count(hops: tuple[int, ...]) -> bytes:
    if len(hops) > MAX_HOPS:
        raise ValueError(f"a chain of {len(hops)} relays (at most {MAX_HOPS})")
    return encode_varint(len(hops))


def _read_hops(reader: Reader) -> tuple[int, ...]:
    return tuple(reader.varint() for _ in _read_hop_count(reader))


def _write_hops(hops: tuple[int, ...]) -> bytes:
    return _write_hop_count(hops) + b"".join(map(encode_varint, hops))


def _read_strings(reader: Reader) -> tuple[str, ...]:
    # A false count costs nothing: reading stops where the body ends.
    return tuple(reader.string() for _ in range(reader.varint()))


def _write_strings(texts: tuple[str, ...]) -> bytes:
    return encode_varint(len(texts)) + b"".join(map(encode_string, texts))


VARINT = Kind(Reader.varint, encode_varint)
U8 = Kind(Reader.u8, _write_u8)
FLAG = Kind(_read_flag, _write_flag)
STRING = Kind(Reader.string, encode_string)
STRINGS = Kind(_read_strings, _write_strings)
OPTIONAL = Kind(_read_optional, _write_optional)
"""A group that may be absent: 0, or the group plus 1."""
FLOOR = Kind(_read_floor, _write_floor)
"""A group as it is; 0 says the same as nothing."""
POSITIVE = Kind(_read_positive, _write_positive)
URI = Kind(_read_uri, _write_uri)
STATUS = Kind(_read_status(1), _write_flag)
"""Ended or active."""
STATUS_RESTART = Kind(_read_status(2), _write_flag)
"""As `STATUS`; "restart" reads as active and is never written."""
HOP_COUNT = Kind(_read_hop_count, _write_hop_count)
"""Only the length of a chain; it reads as that many unnamed relays."""
HOPS = Kind(_read_hops, _write_hops)


class Codec:
    """One message class in one version.

    ``absent`` are the fields this version cannot carry and whose loss would change the meaning:
    writing one that is not its default is refused.
    """

    __slots__ = ("_absent", "_cls", "_fields", "_numbers")

    def __init__(
        self, cls: Any, fields: Iterable[tuple[str, Kind]], absent: dict[str, Any]
    ) -> None:
        """``cls`` is a `NamedTuple`."""
        self._cls = cls
        self._fields = tuple(fields)
        count = len(self._fields)
        firsts = tuple((name, VARINT) for name in cls._fields[:count])
        self._numbers = count if self._fields == firsts else 0
        """How many there are where it is nothing else, and they are the first of the class."""
        self._absent = absent

    def encode(self, message: Any) -> bytes:
        """The body. Raises `ValueError` for a value that cannot be said."""
        for name, default in self._absent.items():
            if getattr(message, name) != default:
                raise ValueError(f"this version cannot carry {name} of {message}")
        if self._numbers:
            return encode_varints(message[: self._numbers])
        return b"".join([kind.write(getattr(message, name)) for name, kind in self._fields])

    def decode(self, body: bytes) -> Any:
        """The message. Raises `DecodeError` unless the body is exactly one."""
        if self._numbers:
            return self._cls(*decode_varints(body, self._numbers))
        reader = Reader(body)
        values = {name: kind.read(reader) for name, kind in self._fields}
        reader.end()
        return self._cls(**values)


class Codecs(dict[type[object], Codec]):
    """One for each message that a version has; asked for another it raises `ValueError`."""

    __slots__ = ()

    def __missing__(self, cls: type[object]) -> Codec:
        raise ValueError(f"this version has no {cls.__name__}")
