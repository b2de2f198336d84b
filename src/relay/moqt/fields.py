"""Field kinds, and the codec that a row of them makes.

As in `relay.wire.fields`, except that integers are written in two ways, and that one kind may stand
for several fields. Reading fails with `DecodeError`, writing with `ValueError`. This module must
not know any message or draft.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from relay.errors import DecodeError
from relay.moqt.messages import (
    DELETE,
    REDIRECT,
    REGISTER,
    USE_ALIAS,
    USE_VALUE,
    Location,
    Namespace,
    Token,
)
from relay.moqt.varint import Encode, Scan
from relay.wire import buffer
from relay.wire.buffer import MAX_VARINT
from relay.wire.fields import MAX_URI

MAX_PARTS = 32
"""Parts of a namespace (draft-16, 2.4.1)."""

MAX_REASON = 1024
"""Bytes of a reason (draft-16, 1.4.3)."""

MAX_VERSIONS = 64
"""Versions that a client offers."""

_MAX_ORDER = 2


class Reader(buffer.Reader):
    """Reads one complete body, whichever way its integers are written."""

    __slots__ = ("_scan",)

    def __init__(self, body: bytes, scan: Scan) -> None:
        super().__init__(body)
        self._scan = scan

    @property
    def more(self) -> bool:
        """Bytes are left."""
        return self._pos < len(self._body)

    def varint(self) -> int:
        found = self._scan(self._body, self._pos)
        if found is None:
            raise DecodeError("the message ends within an integer")
        value, self._pos = found
        return value

    def inner(self, body: bytes) -> Reader:
        """One for what was read as a whole."""
        return Reader(body, self._scan)


class Kind(NamedTuple):
    """How a field, or the tuple of several, is read and written."""

    read: Callable[[Reader], Any]
    write: Callable[[Any, Encode], bytes]


class Part(NamedTuple):
    """What stands at one place of a body: the fields of these names; without a name something that
    is skipped, and written as ``filler``."""

    names: tuple[str, ...]
    kind: Kind
    filler: Any = None


class Codec:
    """One message class in one draft."""

    __slots__ = ("_absent", "_cls", "_fixed", "_otherwise", "_parts")

    def __init__(
        self,
        cls: Any,
        parts: Iterable[Part],
        absent: dict[str, Any],
        fixed: dict[str, Any],
        otherwise: Codec | None = None,
    ) -> None:
        """``cls`` is a `NamedTuple`; ``absent`` is what fields have that are not in the parts, and
        ``fixed`` what some have whatever is read; ``otherwise`` reads bodies that are none."""
        self._cls = cls
        self._parts = tuple(parts)
        self._absent = absent
        self._fixed = fixed
        self._otherwise = otherwise

    def encode(self, message: Any, encode: Encode) -> bytes:
        """The body. Raises `ValueError` for a value that cannot be said."""
        return b"".join([part.kind.write(_of(message, part), encode) for part in self._parts])

    def decode(self, body: bytes, scan: Scan) -> Any:
        """The message. Raises `DecodeError` unless the body is exactly one."""
        try:
            return self._decode(body, scan)
        except DecodeError:
            if self._otherwise is None:
                raise
        return self._otherwise.decode(body, scan)

    def _decode(self, body: bytes, scan: Scan) -> Any:
        reader = Reader(body, scan)
        values = dict(self._absent)
        for names, kind, _ in self._parts:
            value = kind.read(reader)
            if len(names) == 1:
                values[names[0]] = value
            elif names:
                values.update(zip(names, value, strict=True))
        reader.end()
        return self._cls(**{**values, **self._fixed})


def _of(message: Any, part: Part) -> Any:
    """What a message has for a part."""
    if not part.names:
        return part.filler
    values = tuple([getattr(message, name) for name in part.names])
    return values[0] if len(values) == 1 else values


def prefixed(kind: Kind) -> Kind:
    """The same with its length in front."""

    def read(reader: Reader) -> Any:
        inner = reader.inner(reader.blob())
        value = kind.read(inner)
        inner.end()
        return value

    return Kind(read, lambda value, encode: write_blob(kind.write(value, encode), encode))


def in_varint(kind: Kind) -> Kind:
    """A kind of one byte as an integer."""

    def read(reader: Reader) -> Any:
        value = reader.varint()
        if value > 0xFF:
            raise DecodeError(f"{value} where a byte is needed")
        return kind.read(reader.inner(bytes((value,))))

    return Kind(read, lambda value, encode: encode(kind.write(value, encode)[0]))


def write_blob(data: bytes, encode: Encode) -> bytes:
    """A length and the bytes."""
    return encode(len(data)) + data


def _write_u8(value: int | None, _encode: Encode) -> bytes:
    if value is None:
        raise ValueError("this draft cannot leave a value as it is")
    return bytes((value,))


def _read_flag(reader: Reader) -> bool:
    value = reader.u8()
    if value > 1:
        raise DecodeError(f"{value} where 0 or 1 is needed")
    return value == 1


def _write_flag(value: bool | None, encode: Encode) -> bytes:
    return _write_u8(None if value is None else int(value), encode)


def _order(least: int) -> Kind:
    def read(reader: Reader) -> int:
        value = reader.u8()
        if not least <= value <= _MAX_ORDER:
            raise DecodeError(f"no order of groups {value}")
        return value

    def write(value: int, encode: Encode) -> bytes:
        if not least <= value <= _MAX_ORDER:
            raise ValueError(f"no order of groups {value}")
        return _write_u8(value, encode)

    return Kind(read, write)


def _read_location(reader: Reader) -> Location:
    return Location(reader.varint(), reader.varint())


def _write_location(value: Location | None, encode: Encode) -> bytes:
    if value is None:
        raise ValueError("a location is needed")
    return encode(value[0]) + encode(value[1])


def _read_last(reader: Reader) -> Location:
    group, number = _read_location(reader)
    return Location(group, 0 if number == MAX_VARINT else number + 1)


def _write_last(value: Location, encode: Encode) -> bytes:
    return encode(value[0]) + encode(value[1] - 1 if value[1] else MAX_VARINT)


def _read_largest(reader: Reader) -> Location | None:
    return _read_location(reader) if _read_flag(reader) else None


def _write_largest(value: Location | None, encode: Encode) -> bytes:
    return b"\x00" if value is None else b"\x01" + _write_location(value, encode)


def _read_namespace(reader: Reader) -> Namespace:
    count = reader.varint()
    if count > MAX_PARTS:
        raise DecodeError(f"a namespace of {count} parts (at most {MAX_PARTS})")
    return tuple([reader.blob() for _ in range(count)])


def _write_namespace(value: Namespace, encode: Encode) -> bytes:
    if len(value) > MAX_PARTS:
        raise ValueError(f"a namespace of {len(value)} parts (at most {MAX_PARTS})")
    return encode(len(value)) + b"".join([write_blob(part, encode) for part in value])


def _text(most: int) -> Callable[[Reader], str]:
    def read(reader: Reader) -> str:
        text = reader.string()
        if len(text.encode()) > most:
            raise DecodeError(f"a text of more than {most} bytes")
        return text

    return read


def _write_text(value: str | None, encode: Encode) -> bytes:
    return write_blob((value or "").encode(), encode)


def _write_reason(value: str, encode: Encode) -> bytes:
    return write_blob(value.encode()[:MAX_REASON].decode(errors="ignore").encode(), encode)


def _write_uri(value: str, encode: Encode) -> bytes:
    if len(value.encode()) > MAX_URI:
        raise ValueError(f"an address of more than {MAX_URI} bytes")
    return _write_text(value, encode)


def _read_end(reader: Reader) -> int | None:
    value = reader.varint()
    return value - 1 if value else None


def _write_end(value: int | None, encode: Encode) -> bytes:
    return encode(0 if value is None else value + 1)


def _failure(redirects: bool) -> Kind:
    """Code, time to wait and reason; then, for one code, where else to ask."""

    def read(reader: Reader) -> tuple[int, int, str]:
        code, retry, reason = reader.varint(), reader.varint(), REASON.read(reader)
        if redirects and code == REDIRECT:
            reader.blob()
            _read_namespace(reader)
            reader.blob()
        return code, retry, reason

    def write(value: tuple[int, int, str], encode: Encode) -> bytes:
        code, retry, reason = value
        if redirects and code == REDIRECT:
            raise ValueError("we know nowhere else to ask")
        return encode(code) + encode(retry) + _write_reason(reason, encode)

    return Kind(read, write)


def _read_optional(reader: Reader) -> int | None:
    return reader.varint() if reader.more else None


def _write_optional(value: int | None, encode: Encode) -> bytes:
    return b"" if value is None else encode(value)


def _read_numbers(reader: Reader) -> tuple[int, ...]:
    numbers: list[int] = []
    while reader.more:
        numbers.append(reader.varint())
    return tuple(numbers)


def _write_numbers(value: tuple[int, ...], encode: Encode) -> bytes:
    return b"".join(map(encode, value))


def _read_versions(reader: Reader) -> tuple[int, ...]:
    count = reader.varint()
    if count > MAX_VERSIONS:
        raise DecodeError(f"an offer of {count} versions (at most {MAX_VERSIONS})")
    return tuple([reader.varint() for _ in range(count)])


def _write_versions(value: tuple[int, ...], encode: Encode) -> bytes:
    return encode(len(value)) + _write_numbers(value, encode)


def _read_token(reader: Reader) -> Token:
    kind = reader.varint()
    if kind > USE_VALUE:
        raise DecodeError(f"no way {kind} to give a token")
    alias = reader.varint() if kind != USE_VALUE else 0
    if kind in (DELETE, USE_ALIAS):
        return Token(kind, alias)
    return Token(kind, alias, reader.varint(), reader.rest())


def _write_token(value: Token, encode: Encode) -> bytes:
    written = encode(value.alias_type)
    if value.alias_type in (DELETE, REGISTER, USE_ALIAS):
        written += encode(value.alias)
    if value.alias_type in (REGISTER, USE_VALUE):
        written += encode(value.type) + value.value
    return written


VARINT = Kind(Reader.varint, lambda value, encode: encode(value))
U8 = Kind(Reader.u8, _write_u8)
FLAG = Kind(_read_flag, _write_flag)
ORDER = _order(least=0)
"""0 is a wish of subscribers only, but peers write it elsewhere too, and it does no harm."""
PREFERENCE = _order(least=1)
"""An order as a property of a track, where real peers refuse 0."""
BLOB = Kind(Reader.blob, write_blob)
TEXT = Kind(Reader.string, _write_text)
REASON = Kind(_text(MAX_REASON), _write_reason)
URI = Kind(_text(MAX_URI), _write_uri)
LOCATION = Kind(_read_location, _write_location)
LAST = Kind(_read_last, _write_last)
"""The object after it is written as the object itself; 0, for all of the group, as the largest."""
LARGEST = Kind(_read_largest, _write_largest)
"""Whether there is content, and then its last location."""
NAMESPACE = Kind(_read_namespace, _write_namespace)
END = Kind(_read_end, _write_end)
"""A group plus 1; 0 is none."""
OPTIONAL = Kind(_read_optional, _write_optional)
"""An integer, or the end."""
NUMBERS = Kind(_read_numbers, _write_numbers)
"""Integers up to the end."""
FAILURE = _failure(redirects=False)
FAILURE_OR_REDIRECT = _failure(redirects=True)
VERSIONS = Kind(_read_versions, _write_versions)
TOKEN = Kind(_read_token, _write_token)
