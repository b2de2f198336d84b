"""Who may begin a handshake: the stateless answers of a public QUIC server.

An unknown packet is worth an answer only if it is a client's first one, padded as it must be, and
no answer here is larger than what caused it. Counts are kept per address so that one stranger
cannot take all places. This module must not know sockets or what a connection is for.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import dataclass

from aioquic._buffer import Buffer
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import (
    QuicErrorCode,
    QuicFrameType,
    QuicHeader,
    QuicPacketType,
    QuicProtocolVersion,
    encode_quic_retry,
    encode_quic_version_negotiation,
    pull_quic_header,
)
from aioquic.quic.packet_builder import QuicPacketBuilder
from aioquic.quic.retry import QuicRetryTokenHandler

from relay.net.settings import ListenSettings
from relay.net.steer import WHOLE, Share
from relay.net.udp import Address, plain

CID_LENGTH = 8
"""Bytes of the connection ids we give out."""

VERSIONS: tuple[int, ...] = (QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2)

_CLOSE_CAPACITY = 32


@dataclass(frozen=True, slots=True)
class Admitted:
    """A handshake may begin; the ids are those the client must find confirmed (RFC 9000, 7.3)."""

    original_cid: bytes
    retry_cid: bytes | None = None


def read_header(data: bytes) -> QuicHeader | None:
    """The header of a datagram's first packet, ``None`` for garbage."""
    try:
        return pull_quic_header(Buffer(data=data), host_cid_length=CID_LENGTH)
    except ValueError:
        return None


def origin(address: Address) -> str:
    """What counts as one address: an IPv4 address or an IPv6 /64."""
    host = plain(address)[0].partition("%")[0]
    if ":" not in host:
        return host
    try:
        return str(ipaddress.IPv6Network((host, 64), strict=False).network_address)
    except ValueError:  # a proxy that is believed passed on what somebody made up
        return host


class Gate:
    """Judges first packets and counts who is inside."""

    def __init__(self, settings: ListenSettings, share: Share = WHOLE) -> None:
        self._settings = settings
        self._share = share
        self._retry = QuicRetryTokenHandler()
        self._inside: Counter[str] = Counter()
        self.inside = 0
        """Connections, handshakes included."""
        self.is_open = True
        """Whether newcomers are let in at all."""
        self.handshakes = 0
        """Handshakes in flight."""
        self.refused = 0
        """Newcomers turned away for a limit."""
        self.refused_last = ""
        """The address of the last of them."""

    def judge(
        self, header: QuicHeader, size: int, address: Address, now: float
    ) -> Admitted | bytes | None:
        """Let a newcomer in, or say what to answer; ``None`` is silence."""
        if size < SMALLEST_MAX_DATAGRAM_SIZE or header.version is None:
            return None
        # A negotiation packet has version 0; answering it could make two servers talk for ever.
        if header.packet_type == QuicPacketType.VERSION_NEGOTIATION:
            return None
        if header.version not in VERSIONS:
            return encode_quic_version_negotiation(
                source_cid=header.destination_cid,
                destination_cid=header.source_cid,
                supported_versions=list(VERSIONS),
            )
        if header.packet_type != QuicPacketType.INITIAL or len(header.destination_cid) < 8:
            return None
        if not self.has_room(address):
            return _close(header, QuicErrorCode.CONNECTION_REFUSED)
        return self._check_token(header, address, now)

    def has_room(self, address: Address) -> bool:
        """Whether one more may come from there. Who is turned away for a limit is counted."""
        settings = self._settings
        if not self.is_open:
            return False
        if (
            self.inside < settings.max_sessions
            and self._inside[origin(address)] < settings.max_sessions_per_address
        ):
            return True
        self.refused += 1
        self.refused_last = plain(address)[0]
        return False

    def enter(self, address: Address) -> None:
        """A handshake begins."""
        self._inside[origin(address)] += 1
        self.inside += 1
        self.handshakes += 1

    def pass_through(self) -> None:
        """A handshake is complete."""
        self.handshakes -= 1

    def leave(self, address: Address, has_passed: bool) -> None:
        """A connection is over, its handshake complete or not."""
        if not has_passed:
            self.handshakes -= 1
        key = origin(address)
        self._inside[key] -= 1
        self.inside -= 1
        if self._inside[key] <= 0:
            del self._inside[key]

    def _check_token(self, header: QuicHeader, address: Address, now: float) -> Admitted | bytes:
        is_busy = self.handshakes >= self._settings.max_handshakes
        untested = Admitted(header.destination_cid)
        if not header.token:
            return self._ask_again(header, address, now) if is_busy else untested
        try:
            original = self._retry.validate_token(
                address=(address[0], address[1]),
                destination_cid=header.destination_cid,
                token=header.token,
                now=now,
            )
        except ValueError:
            # It may be another server's: without need it counts as none (RFC 9000, 8.1.3).
            return _close(header, QuicErrorCode.INVALID_TOKEN) if is_busy else untested
        return Admitted(original, header.destination_cid)

    def _ask_again(self, header: QuicHeader, address: Address, now: float) -> bytes:
        source_cid = self._share.draw(CID_LENGTH)
        token = self._retry.create_token(
            address=(address[0], address[1]),
            original_destination_connection_id=header.destination_cid,
            retry_source_connection_id=source_cid,
            now=now,
        )
        assert header.version is not None
        return encode_quic_retry(
            version=header.version,
            source_cid=source_cid,
            destination_cid=header.source_cid,
            original_destination_cid=header.destination_cid,
            retry_token=token,
        )


def _close(header: QuicHeader, code: int) -> bytes:
    """An Initial packet that closes the connection (RFC 9000, 10.2.3), without any state."""
    assert header.version is not None
    crypto = CryptoPair()
    crypto.setup_initial(cid=header.destination_cid, is_client=False, version=header.version)
    builder = QuicPacketBuilder(
        host_cid=header.destination_cid,
        is_client=False,
        max_datagram_size=SMALLEST_MAX_DATAGRAM_SIZE,
        peer_cid=header.source_cid,
        version=header.version,
    )
    builder.start_packet(QuicPacketType.INITIAL, crypto)
    frame = builder.start_frame(QuicFrameType.TRANSPORT_CLOSE, capacity=_CLOSE_CAPACITY)
    frame.push_uint_var(code)
    frame.push_uint_var(QuicFrameType.PADDING)
    frame.push_uint_var(0)
    datagrams, _ = builder.flush()
    return datagrams[0]
