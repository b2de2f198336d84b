"""Every ceiling of this room, by name, with its unit and what happens when it is hit.

`QuicLimits` holds for one connection, whichever side dialled; `ListenSettings` for a whole
endpoint. Values are plain and frozen, so that a configuration file can be read into them. This
module must not know how a limit is enforced.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from relay.errors import ConfigError

MAX_DATAGRAM_SIZE = 16383
"""Bytes: the length of a frame in a packet of this size still takes two bytes (RFC 9000, 16)."""

MAX_TOLD = 1 << 60
"""The most that a peer is told it may use: of streams no more can be numbered (RFC 9000, 4.6), and
bytes are counted up to four times that, windows that slide included."""

MAX_IDLE = 365 * 86_400
"""Seconds; in milliseconds a peer is told of them."""

MAX_INT = (1 << 31) - 1
"""What the kernel takes as a number."""


@dataclass(frozen=True, slots=True)
class QuicLimits:
    """Ceilings of one connection. Raises `ConfigError` for a value QUIC cannot obey."""

    max_streams: int = 4096
    """Streams of each kind (one-way, two-way) the peer may have open. Beyond: QUIC's own
    STREAM_LIMIT_ERROR ends the connection."""

    max_data: int = 16 << 20
    """Bytes a connection may have under way to us, gaps included. The window slides with what was
    delivered; beyond it the peer must wait (or is closed with FLOW_CONTROL_ERROR)."""

    max_stream_data: int = 4 << 20
    """Bytes one stream may have under way at its start; grows with use up to ``max_data``."""

    idle_timeout: float = 30.0
    """Seconds without a packet after which the connection is lost. The smaller of both sides'
    values holds."""

    max_datagram_size: int = 1452
    """Bytes of UDP payload per packet sent at most (1200 to 16383). A connection begins with 1200
    and tries how much more its path and its peer take."""

    max_unsent: int = 8 << 20
    """Bytes handed over that could not leave yet, of all streams together. Beyond: the session is
    closed, since its peer does not read what it asked for."""

    max_datagram_queue: int = 64
    """Unreliable datagrams waiting to be sent; beyond it `send_datagram` answers False."""

    max_early_data: int = 256 << 10
    """Bytes received before a session has its receiver. Beyond: the connection is closed."""

    max_early_events: int = 1024
    """Stream events and datagrams received before a session has its receiver. Beyond: closed."""

    max_request_headers: int = 16 << 10
    """Bytes of one HTTP/3 request's headers, as they come and decompressed. Beyond:
    H3_EXCESSIVE_LOAD."""

    max_capsule: int = 64 << 10
    """Bytes of a capsule that has to be kept whole. Beyond: the session is closed; capsules of
    unknown types are skipped unread and may have any size."""

    close_timeout: float = 1.0
    """Seconds a closed WebTransport session waits for the peer's goodbye before QUIC is closed."""

    congestion_control: str = "reno"
    """``reno``, ``cubic`` or ``bbr``. The first two slow down for each loss; ``bbr`` goes by how
    fast the path delivers, which suits viewers behind Wi-Fi and costs some CPU."""

    short_way: bool = True
    """Whether stream data and acknowledgements go around the QUIC library's general machinery. It
    turns itself off with a version of the library it was not compared with."""

    speedups: bool = True
    """Whether datagrams are read and sent, and packets on the short way sealed, opened and kept
    account of, in C, where that was built."""

    def __post_init__(self) -> None:
        """Check what would otherwise fail inside the QUIC library, or silently."""
        if self.max_datagram_size < 1200:
            raise ConfigError("max_datagram_size must be at least 1200 (RFC 9000, 14)")
        if self.max_datagram_size > MAX_DATAGRAM_SIZE:
            raise ConfigError(f"max_datagram_size must be at most {MAX_DATAGRAM_SIZE}")
        if self.congestion_control not in ("reno", "cubic", "bbr"):
            raise ConfigError("congestion_control must be reno, cubic or bbr")
        for name in ("max_streams", "max_data", "max_stream_data", "idle_timeout"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} must be positive")
        if self.idle_timeout > MAX_IDLE:
            raise ConfigError(f"idle_timeout must be at most {MAX_IDLE}, a year")
        for name in ("max_streams", "max_data", "max_stream_data"):
            if getattr(self, name) > MAX_TOLD:
                raise ConfigError(f"{name} must be at most {MAX_TOLD}")


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """Ceilings of one endpoint. Raises `ConfigError` for a value that cannot be obeyed."""

    limits: QuicLimits = field(default_factory=QuicLimits)
    """What each of its connections may do."""

    max_sessions: int = 10_000
    """Connections at once, WebSocket and handshakes included. More: CONNECTION_REFUSED, or 503."""

    max_sessions_per_address: int = 1_000
    """Connections at once of one IPv4 address or one IPv6 /64. Beyond: the same."""

    max_handshakes: int = 128
    """Handshakes in flight before strangers must prove their address with a Retry round trip."""

    handshake_timeout: float = 10.0
    """Seconds a handshake may take; then it is dropped."""

    request_timeout: float = 10.0
    """Seconds an HTTP/3 connection may take to ask for its session; then it is closed."""

    visit_timeout: float = 10.0
    """Seconds a visit may wait for its answer; then it is refused with 503."""

    read_batch: int = 256
    """Datagrams read per loop turn and socket before packets are built; one counts as two from
    2,048 bytes on, and so on."""

    max_backlog: int = 4096
    """Datagrams kept while the kernel takes none; beyond it they are dropped (QUIC resends)."""

    socket_buffer: int = 4 << 20
    """Bytes asked of the kernel for each direction of a socket; it may grant less."""

    def __post_init__(self) -> None:
        """Check what would leave the endpoint deaf, or fail inside the kernel."""
        if not 1 <= self.read_batch <= MAX_INT:
            raise ConfigError(f"read_batch must be from 1 to {MAX_INT}")
        if self.socket_buffer > MAX_INT:
            raise ConfigError(f"socket_buffer must be at most {MAX_INT}")
