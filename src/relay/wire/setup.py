"""Handshakes: what is said before the first request, in-band or on a stream of its own.

Parameters are numbered; unknown numbers are skipped, a number said twice is a violation. The
in-band handshake is framed the same whatever version it chooses. This module must not know which
versions exist, nor what a path or a role leads to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from relay.errors import DecodeError, ProtocolViolation
from relay.wire.buffer import Reader, encode_varint
from relay.wire.messages import Bidi

V = TypeVar("V", int | bytes, bytes)

MAX_PARAMS = 64
"""Parameters of one handshake message (moq-lite-05, "SETUP")."""

MAX_VERSIONS = 64
"""Versions offered in one in-band handshake."""

_PROBE, _PATH, _ROLE, _COST, _HOP = 1, 2, 3, 4, 5
_MAX_PROBE = 2
_MAX_ROLE = 2

_CLIENT_PATH = 1


class Setup(NamedTuple):
    """What each side says of itself on its setup stream (moq-lite-05, "SETUP")."""

    probe: int = 0
    """Probe streams: 0 reset, 1 answered, 2 answered and bandwidth sought."""
    path: str | None = None
    """Path and query, by clients on raw QUIC only."""
    role: int = 0
    """0 both, 1 only publishes, 2 only subscribes."""
    cost: int | None = None
    """Price of the sender's egress, 0 = free; ``None`` = not said. Means something from 06 on."""
    origin: int = 0
    """The sender's hop id, 0 = unnamed."""


class ClientSetup(NamedTuple):
    """The client's half of the in-band handshake (moq-transport-14, "CLIENT_SETUP")."""

    versions: tuple[int, ...]
    """Offered version numbers, most preferred first."""
    path: str | None = None
    """Path and query, where the transport has no URL."""


def encode_setup(setup: Setup) -> bytes:
    """Length and body, without the stream type. What is at its default is not said."""
    params: dict[int, bytes] = {}
    for number, value, default in (
        (_PROBE, setup.probe, 0),
        (_ROLE, setup.role, 0),
        (_COST, setup.cost, None),
        (_HOP, setup.origin, 0),
    ):
        if value is not None and value != default:
            params[number] = encode_varint(value)
    if setup.path is not None:
        params[_PATH] = setup.path.encode()
    body = encode_varint(len(params)) + b"".join(
        encode_varint(number) + encode_varint(len(value)) + value
        for number, value in sorted(params.items())
    )
    return encode_varint(len(body)) + body


def decode_setup(body: bytes) -> Setup:
    """The setup in a body without its length. Raises `DecodeError` or `ProtocolViolation`."""
    reader = Reader(body)
    params: dict[int, bytes] = {}
    for _ in range(_count(reader)):
        _put(params, reader.varint(), reader.blob())
    reader.end()
    role = _number(params, _ROLE)
    return Setup(
        probe=min(_number(params, _PROBE), _MAX_PROBE),
        path=_text(params[_PATH]) if _PATH in params else None,
        role=role if role <= _MAX_ROLE else 0,
        cost=_number(params, _COST) if _COST in params else None,
        origin=_number(params, _HOP),
    )


def encode_client_setup(setup: ClientSetup) -> bytes:
    """Stream type, length of two bytes and body. Raises `ValueError` for too many bytes."""
    pieces = [encode_varint(len(setup.versions)), *map(encode_varint, setup.versions)]
    if setup.path is None:
        pieces.append(encode_varint(0))
    else:
        path = setup.path.encode()
        pieces += map(encode_varint, (1, _CLIENT_PATH, len(path)))
        pieces.append(path)
    return _framed(Bidi.CLIENT_SETUP, b"".join(pieces))


def decode_client_setup(body: bytes) -> ClientSetup:
    """The setup in a body without type and length; other parameters are only read, those of even
    numbers as integers and the odd ones as bytes (moq-transport-14), or where that does not come
    out all as bytes: so older clients write them. Raises `DecodeError` or `ProtocolViolation`."""
    reader = Reader(body)
    offered = reader.varint()
    if offered > MAX_VERSIONS:
        raise ProtocolViolation(f"an offer of {offered} versions (at most {MAX_VERSIONS})")
    versions = tuple(reader.varint() for _ in range(offered))
    written = reader.rest()
    try:
        path = _client_path(written, integers=True)
    except (DecodeError, ProtocolViolation) as error:
        try:
            path = _client_path(written, integers=False)
        except (DecodeError, ProtocolViolation):
            raise error from None
    return ClientSetup(versions, path)


def _client_path(written: bytes, *, integers: bool) -> str | None:
    """The path among a client's parameters, where those of even numbers may be ``integers``."""
    reader = Reader(written)
    params: dict[int, int | bytes] = {}
    for _ in range(_count(reader)):
        number = reader.varint()
        is_integer = integers and not number & 1
        _put(params, number, reader.varint() if is_integer else reader.blob())
    reader.end()
    path = params.get(_CLIENT_PATH)
    return _text(path) if isinstance(path, bytes) else None


def encode_server_setup(version: int) -> bytes:
    """Stream type, length of two bytes and body; no parameters."""
    return _framed(Bidi.SERVER_SETUP, encode_varint(version) + encode_varint(0))


def decode_server_setup(body: bytes) -> int:
    """The version in an answer's body, without type and length. Raises `DecodeError` or
    `ProtocolViolation`."""
    reader = Reader(body)
    version = reader.varint()
    # Here every value has a length, whatever its number: the answer is already in lite's own form.
    params: dict[int, bytes] = {}
    for _ in range(_count(reader)):
        _put(params, reader.varint(), reader.blob())
    reader.end()
    return version


def _count(reader: Reader) -> int:
    count = reader.varint()
    if count > MAX_PARAMS:
        raise ProtocolViolation(f"a setup of {count} parameters (at most {MAX_PARAMS})")
    return count


def _put(params: dict[int, V], number: int, value: V) -> None:
    if number in params:
        raise ProtocolViolation(f"setup parameter {number} said twice")
    params[number] = value


def _number(params: Mapping[int, bytes], number: int) -> int:
    """A parameter that is an integer, 0 where it is not said."""
    if number not in params:
        return 0
    reader = Reader(params[number])
    value = reader.varint()
    reader.end()
    return value


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise DecodeError("a path that is not UTF-8") from None


def _framed(kind: Bidi, body: bytes) -> bytes:
    if len(body) > 0xFFFF:
        raise ValueError(f"a setup of {len(body)} bytes (at most 65535)")
    return encode_varint(kind) + len(body).to_bytes(2, "big") + body
