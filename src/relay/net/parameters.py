"""Transport parameters that the QUIC library does not know, or does not pass on (RFC 9000, 18).

The law: a peer that names none of them loses nothing. This module must not know what a parameter
changes.
"""

from __future__ import annotations

from relay.wire.buffer import encode_varint, scan_varint

MAX_UDP_PAYLOAD_SIZE = 0x03
"""Bytes of the largest packet that the peer takes (18.2)."""

MIN_ACK_DELAY = 0xFF04DE1B
"""The peer can be asked for fewer acknowledgements (draft-ietf-quic-ack-frequency): its shortest
delay, in microseconds."""

RESET_STREAM_AT = 0x1D
"""The peer hears of streams that break off behind a beginning that arrives
(draft-ietf-quic-reliable-stream-reset, 3): empty."""

OLD_RESET_STREAM_AT = 0x17F7586D2CB571
"""The same up to the draft's revision 07, with the same frame."""

RESETS_AT = RESET_STREAM_AT, OLD_RESET_STREAM_AT

LEAST_ACK_DELAY = 1_000
"""Our own `MIN_ACK_DELAY`."""

_DELAY = encode_varint(LEAST_ACK_DELAY)

OURS = b"".join(
    (
        *(encode_varint(kind) + b"\0" for kind in RESETS_AT),
        *(encode_varint(MIN_ACK_DELAY), encode_varint(len(_DELAY)), _DELAY),
    )
)
"""Those of them that we say, as they are written. Some peers (picoquic) can be asked for fewer
acknowledgements only by who can be asked as well, and take it for an error from others."""


def read(parameters: bytes) -> dict[int, bytes]:
    """The values by kind, of several the last one."""
    at = 0
    values: dict[int, bytes] = {}
    while (kind := scan_varint(parameters, at)) is not None:
        size = scan_varint(parameters, kind[1])
        if size is None:
            break
        at = size[1] + size[0]
        values[kind[0]] = parameters[size[1] : at]
    return values


def number(values: dict[int, bytes], kind: int) -> int | None:
    """A value that is an integer; ``None`` where there is none."""
    found = scan_varint(values.get(kind, b""))
    return None if found is None else found[0]
