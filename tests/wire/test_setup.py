"""Handshakes: known bytes, round trips, and what breaks them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.errors import DecodeError, ProtocolViolation
from relay.wire.buffer import MAX_VARINT, StreamBuffer, encode_varint
from relay.wire.setup import (
    MAX_PARAMS,
    MAX_VERSIONS,
    ClientSetup,
    Setup,
    decode_client_setup,
    decode_server_setup,
    decode_setup,
    encode_client_setup,
    encode_server_setup,
    encode_setup,
)

VECTORS = Path(__file__).parents[1] / "vectors" / "wire_lite.json"
ROWS: list[dict[str, Any]] = json.loads(VECTORS.read_text())["handshakes"]

modest = settings(max_examples=60, deadline=None)
ints = st.integers(0, MAX_VARINT)
setups = st.builds(
    Setup,
    probe=st.integers(0, 2),
    path=st.none() | st.text(max_size=20),
    role=st.integers(0, 2),
    cost=st.none() | ints,
    origin=ints,
)
client_setups = st.builds(
    ClientSetup,
    versions=st.lists(ints, max_size=5).map(tuple),
    path=st.none() | st.text(max_size=20),
)


def clean(row: dict[str, Any]) -> bytes:
    return bytes.fromhex(row["hex"].replace("|", ""))


def message(row: dict[str, Any]) -> Setup | ClientSetup | int:
    fields = row["fields"]
    if row["message"] == "Setup":
        return Setup(**fields)
    if row["message"] == "ServerSetup":
        version: int = fields["version"]
        return version
    return ClientSetup(tuple(fields["versions"]), fields["path"])


def encode(value: Setup | ClientSetup | int) -> bytes:
    match value:
        case Setup():
            return encode_setup(value)
        case ClientSetup():
            return encode_client_setup(value)
        case int():
            return encode_server_setup(value)


def decode(kind: str, wire: bytes) -> Setup | ClientSetup | int:
    buffer = StreamBuffer(wire)
    if kind == "Setup":
        body = buffer.message(65535)
        assert body is not None
        assert len(buffer) == 0
        return decode_setup(body)
    assert buffer.varint() == {"ClientSetup": 0x20, "ServerSetup": 0x21}[kind]
    body = buffer.message16(65535)
    assert body is not None
    assert len(buffer) == 0
    return decode_client_setup(body) if kind == "ClientSetup" else decode_server_setup(body)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['message']}-{row['hex'][:12]}")
def test_known_bytes(row: dict[str, Any]) -> None:
    expected = message(row)
    got = decode(row["message"], clean(row))
    assert got == expected
    assert type(got) is type(expected)
    if not row.get("read_only"):
        assert encode(expected) == clean(row)


@modest
@given(setups)
def test_setup_round_trip(setup: Setup) -> None:
    assert decode("Setup", encode_setup(setup)) == setup


@modest
@given(client_setups)
def test_client_setup_round_trip(setup: ClientSetup) -> None:
    assert decode("ClientSetup", encode_client_setup(setup)) == setup


@modest
@given(ints)
def test_server_setup_round_trip(version: int) -> None:
    assert decode("ServerSetup", encode_server_setup(version)) == version


def test_unknown_values_read_as_the_nearest_known() -> None:
    assert decode_setup(bytes.fromhex("02 010107 030107")) == Setup(probe=2, role=0)


@pytest.mark.parametrize(
    "hex_",
    [
        "",  # no count
        "01",  # no parameter
        "01 01 01",  # no value
        "01 01 02 0000",  # an integer and more
        "01 01 00",  # no integer
        "01 02 01 ff",  # a path that is no text
        "00 00",  # more than one message
    ],
)
def test_broken_setup(hex_: str) -> None:
    with pytest.raises(DecodeError):
        decode_setup(bytes.fromhex(hex_))


@pytest.mark.parametrize("hex_", ["02 010100 010101", "02 3f00 3f00"])
def test_setup_says_a_number_twice(hex_: str) -> None:
    with pytest.raises(ProtocolViolation, match="twice"):
        decode_setup(bytes.fromhex(hex_))


def test_parameters_are_limited() -> None:
    full = b"".join(encode_varint(100 + n) + b"\x00" for n in range(MAX_PARAMS))
    assert decode_setup(encode_varint(MAX_PARAMS) + full) == Setup()
    for count in (MAX_PARAMS + 1, MAX_VARINT):
        with pytest.raises(ProtocolViolation, match="parameters"):
            decode_setup(encode_varint(count) + full + b"\x00\x00")


def test_versions_are_limited() -> None:
    most = encode_varint(MAX_VERSIONS) + b"\x01" * MAX_VERSIONS + b"\x00"
    assert decode_client_setup(most) == ClientSetup((1,) * MAX_VERSIONS)
    with pytest.raises(ProtocolViolation, match="versions"):
        decode_client_setup(encode_varint(MAX_VERSIONS + 1) + b"\x01" * 100)


@pytest.mark.parametrize(
    "hex_", ["", "01", "00 01 01 01 ff", "00 00 00", "00 01 02", "00 01 07 05"]
)
def test_broken_client_setup(hex_: str) -> None:
    with pytest.raises(DecodeError):
        decode_client_setup(bytes.fromhex(hex_))


@pytest.mark.parametrize("hex_", ["00 02 0201 0202", "00 02 0700 0700"])
def test_client_setup_says_a_number_twice(hex_: str) -> None:
    with pytest.raises(ProtocolViolation, match="twice"):
        decode_client_setup(bytes.fromhex(hex_))


@pytest.mark.parametrize("hex_", ["", "01", "01 00 00", "01 01 02"])
def test_broken_server_setup(hex_: str) -> None:
    with pytest.raises(DecodeError):
        decode_server_setup(bytes.fromhex(hex_))


def test_unsayable_client_setup() -> None:
    with pytest.raises(ValueError, match="at most 65535"):
        encode_client_setup(ClientSetup((1,), "x" * 65536))


@modest
@given(st.sampled_from([decode_setup, decode_client_setup, decode_server_setup]), st.data())
def test_noise(decode_: Any, data: st.DataObject) -> None:
    valid = data.draw(
        setups.map(lambda s: encode_setup(s)[1:])
        | client_setups.map(lambda s: encode_client_setup(s)[3:])
        | st.just(b"")
    )
    noise = data.draw(st.binary(max_size=30))
    cut = data.draw(st.integers(0, len(valid)))
    try:
        got = decode_(valid[:cut] + noise)
    except ProtocolViolation:
        return
    assert isinstance(got, Setup | ClientSetup | int)
