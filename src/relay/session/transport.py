"""The seam between a conversation and the connection that carries it.

Below it stands a room that moves bytes (`relay.net`), above it one that understands them. Only
bytes, stream ids and plain numbers cross. Stream ids are those of QUIC (RFC 9000, 2.1): bit 0 says
who opened the stream (1 = server), bit 1 whether it is unidirectional. Codes are MoQ codes; mapping
them into WebTransport's space is the transport's business. This module must not know either side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


def is_uni(stream: int) -> bool:
    """Whether the stream carries bytes one way only."""
    return bool(stream & 2)


def is_server_opened(stream: int) -> bool:
    """Whether the server side opened the stream."""
    return bool(stream & 1)


class Transport(Protocol):
    """What a conversation may ask of its connection. No call blocks and none raises.

    After the connection is lost every call is a no-op and the openers answer ``None``.
    """

    @property
    def rtt(self) -> float:
        """Smoothed round-trip time in seconds, 0.0 while unknown."""

    def open_uni(self, head: bytes = b"", fin: bool = False) -> int | None:
        """A new outgoing stream that begins with ``head``, and ends with it where ``fin`` says so;
        ``None`` while the peer grants no stream credit."""

    def open_bidi(self) -> int | None:
        """A new two-way stream, or ``None`` while the peer grants no stream credit."""

    def send(self, stream: int, data: bytes, fin: bool = False) -> None:
        """Append to the stream's send buffer; ``fin`` ends our half."""

    def capacity(self, stream: int | None = None) -> int:
        """Bytes that would leave soon: of the whole connection, or of one stream.

        Sending more than this is possible and only makes QUIC's buffer deep, so bulk data (groups)
        waits for `Receiver.flush`, while control messages are simply sent.
        """

    def is_ample(self, room: int) -> bool:
        """Whether at least ``room`` bytes would leave soon, and the peer grants a good many more
        one-way streams."""

    def offer(self, stream: int, data: bytes, room: int) -> bool:
        """Append to the stream where at least ``room`` bytes would leave soon, of the connection
        and of the stream; False, and nothing is done, where they would not."""

    def reset(self, stream: int, code: int) -> None:
        """Break off our half of a stream: what has not left never will."""

    def stop(self, stream: int, code: int) -> None:
        """Ask the peer to break off its half of a stream. Bytes that still come are not told; its
        end is, so that everybody knows when the stream is over. Only the first code is said."""

    def send_datagram(self, data: bytes) -> bool:
        """Send unreliably, at once. False when it could not be taken (too big, queue full)."""

    def bandwidth(self) -> int:
        """Estimated send rate in bits per second, 0 while unknown."""

    def is_quiet(self) -> bool:
        """Whether everything handed over has arrived, as far as the peer has told."""

    def oldest_under_way(self) -> int | None:
        """The lowest one-way stream of ours that has ended and has not arrived whole, as far as the
        peer has told; ``None`` when there is none."""

    def traffic(self) -> tuple[int, int]:
        """Bytes of stream data and datagrams handed over and received so far."""

    def widen(self, streams: int) -> None:
        """Let the peer have so many streams of each kind open at a time, if that is more."""

    def ping(self) -> None:
        """Send something small, so that neither side takes the silence for an end."""

    def wake(self) -> None:
        """Have `Receiver.flush` called before this loop turn's packets are built; when called from
        within it, once more in the next turn."""

    def close(self, code: int, reason: str = "") -> None:
        """End the session with a code and a text the peer may see."""


class Receiver(Protocol):
    """Who sits above a connection. Called from the event loop, one call at a time.

    Implementations must not raise: the transport closes the session if one does.
    """

    def stream_received(self, stream: int, data: bytes, fin: bool) -> None:
        """The next bytes of a stream, in order; ``fin`` says that they are the last."""

    def stream_reset(self, stream: int, code: int) -> None:
        """The peer broke off its half of a stream."""

    def stream_stopped(self, stream: int, code: int) -> None:
        """The peer no longer reads our half of a stream (the transport has already reset it)."""

    def datagram_received(self, data: bytes) -> None:
        """A datagram arrived."""

    def flush(self) -> None:
        """Last moment before packets are built, once something was heard or `Transport.wake` was
        called: hand over what should leave now."""

    def connection_lost(self, code: int, reason: str) -> None:
        """The connection or session is gone; no other call follows, exactly one of these comes."""


class PeerCertificate(NamedTuple):
    """A client certificate that one of our authorities vouches for; the peer holds its key."""

    subject: str
    """Distinguished name (RFC 4514)."""
    issuer: str
    """Distinguished name of whoever signed it."""
    names: tuple[str, ...]
    """Alternative names: DNS names, addresses, mail addresses, URIs."""
    fingerprint: str
    """Hex SHA-256 of its DER form."""
    not_before: float
    """Unix seconds from which it is valid."""
    not_after: float
    """Unix seconds at which it expires."""


@dataclass(slots=True)
class Knock:
    """Somebody at the door: what a transport knows before there is a session."""

    transport: str
    """``webtransport``, ``quic``, ``websocket``, ``tcp`` or ``unix``."""

    target: str | None
    """Path and query as dialled (``/demo?jwt=…``); ``None`` where SETUP carries them: on raw QUIC,
    TCP and unix sockets."""

    offered: Sequence[str] = ()
    """Protocol identifiers the peer offers, most preferred first; where SETUP carries the target,
    the one agreed."""

    remote: tuple[str, int] = ("", 0)
    """Address and port of the peer; none at a unix socket."""

    authority: str = ""
    """Host (and port) the peer dialled, or the TLS server name."""

    headers: dict[str, str] = field(default_factory=dict)
    """All request headers by lower-case name."""

    certificate: PeerCertificate | None = None
    """The client certificate, where one was asked for and shown."""

    process: str = ""
    """Who dialled a unix socket, as the kernel says: ``uid 1001, gid 1001, pid 4711``."""


class Visit(Protocol):
    """A `Knock` waiting for its answer; exactly one of the two calls is made, now or later."""

    knock: Knock
    transport: Transport
    too_late: Callable[[], Sequence[tuple[str, str]]]
    """Asked for headers when the peer is turned away since neither call came in time."""

    def accept(self, receiver: Receiver, protocol: str | None) -> None:
        """Open the session; ``protocol`` is one of those offered, ``None`` names none."""

    def refuse(self, status: int, headers: Sequence[tuple[str, str]] = ()) -> None:
        """Turn the peer away with an HTTP status (raw QUIC: with the session code of `Refused` for
        401 and 403, else with that of any failure)."""
