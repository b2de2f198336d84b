"""Field kinds: their bytes, and their answer to bytes and values that are none."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from relay.errors import DecodeError
from relay.wire import fields
from relay.wire.buffer import MAX_VARINT, Reader
from relay.wire.fields import MAX_HOPS, MAX_URI, Codec, Kind

GOOD: list[tuple[str, Any, str]] = [
    ("VARINT", 300, "412c"),
    ("U8", 255, "ff"),
    ("FLAG", True, "01"),
    ("FLAG", False, "00"),
    ("STRING", "é", "02c3a9"),
    ("STRINGS", ("", "a"), "02000161"),
    ("OPTIONAL", None, "00"),
    ("OPTIONAL", 0, "01"),
    ("OPTIONAL", MAX_VARINT - 1, "ff" * 8),
    ("POSITIVE", 1, "01"),
    ("URI", "x", "0178"),
    ("STATUS", True, "01"),
    ("STATUS", False, "00"),
    ("STATUS_RESTART", True, "01"),
    ("HOP_COUNT", (0, 0), "02"),
    ("HOPS", (), "00"),
    ("HOPS", (64, 1), "02404001"),
]
UNREADABLE = [
    ("VARINT", "40"),
    ("U8", ""),
    ("FLAG", ""),
    ("STRING", "01ff"),
    ("STRINGS", "ffffffffffffffff"),
    ("STRINGS", "020161"),
    ("OPTIONAL", ""),
    ("POSITIVE", "00"),
    ("URI", "6001" + "61" * (MAX_URI + 1)),
    ("STATUS", "02"),
    ("STATUS_RESTART", "03"),
    ("HOP_COUNT", "21"),
    ("HOPS", "21" + "00" * 33),
    ("HOPS", "0201"),
]
UNWRITABLE: list[tuple[str, Any]] = [
    ("VARINT", -1),
    ("VARINT", MAX_VARINT + 1),
    ("U8", 256),
    ("U8", -1),
    ("STRING", "\ud800"),
    ("OPTIONAL", -1),
    ("OPTIONAL", MAX_VARINT),
    ("POSITIVE", 0),
    ("POSITIVE", -1),
    ("URI", "é" * MAX_URI),
    ("HOP_COUNT", (0,) * (MAX_HOPS + 1)),
    ("HOPS", (0,) * (MAX_HOPS + 1)),
    ("HOPS", (MAX_VARINT + 1,)),
]


def kind(name: str) -> Kind:
    found = getattr(fields, name)
    assert isinstance(found, Kind)
    return found


@pytest.mark.parametrize(("name", "value", "hex_"), GOOD)
def test_bytes_of_a_kind(name: str, value: Any, hex_: str) -> None:
    data = bytes.fromhex(hex_)
    assert kind(name).write(value) == data
    reader = Reader(data)
    got = kind(name).read(reader)
    reader.end()
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(("name", "hex_"), UNREADABLE)
def test_unreadable(name: str, hex_: str) -> None:
    with pytest.raises(DecodeError):
        kind(name).read(Reader(bytes.fromhex(hex_)))


@pytest.mark.parametrize(("name", "value"), UNWRITABLE)
def test_unwritable(name: str, value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the type is the contract, texts differ
        kind(name).write(value)


def test_limits_are_reachable() -> None:
    assert (MAX_HOPS, MAX_URI) == (32, 8192)
    longest = "a" * MAX_URI
    assert kind("URI").read(Reader(kind("URI").write(longest))) == longest
    chain = tuple(range(MAX_HOPS))
    assert kind("HOPS").read(Reader(kind("HOPS").write(chain))) == chain
    assert kind("HOP_COUNT").read(Reader(kind("HOP_COUNT").write(chain))) == (0,) * MAX_HOPS


@pytest.mark.parametrize("byte", [2, 255])
def test_any_byte_but_zero_is_true(byte: int) -> None:
    assert kind("FLAG").read(Reader(bytes([byte]))) is True


def test_restart_reads_as_active() -> None:
    assert kind("STATUS_RESTART").read(Reader(b"\x02")) is True


def test_codec_refuses_what_it_would_lose() -> None:
    class Pair(NamedTuple):
        a: int
        b: int = 7

    codec = Codec(Pair, [("a", fields.VARINT)], {"b": 7})
    assert codec.encode(Pair(1)) == b"\x01"
    with pytest.raises(ValueError, match="cannot carry b"):
        codec.encode(Pair(1, 8))
    assert codec.decode(b"\x05") == Pair(5, 7)
    for bad in (b"", b"\x01\x01"):
        with pytest.raises(DecodeError):
            codec.decode(bad)


def test_numbers_find_their_fields_whichever_are_said() -> None:
    class Three(NamedTuple):
        a: int
        b: int = 0
        c: int = 0

    number = fields.VARINT
    for said, expected in [("ab", Three(1, 2)), ("abc", Three(1, 2, 3)), ("ac", Three(1, 0, 2))]:
        codec = Codec(Three, [(name, number) for name in said], {})
        body = bytes(range(1, len(said) + 1))
        assert codec.decode(body) == expected
        assert codec.encode(expected) == body
