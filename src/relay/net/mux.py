"""A session over a connection that loses nothing: what its carriers share.

The streams of QUIC are numbered, opened, ended and broken off here (RFC 9000, 2 and 3) and told in
order; what is left to a carrier is how each of that is written, how much may wait to be, and how
many streams its peer may open. What the other side says wrong ends this session and nothing else.
This module must not know what a frame looks like, nor who the two sides are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from relay.errors import LimitExceeded, ProtocolViolation, RelayError
from relay.net.inbox import Inbox
from relay.net.settings import QuicLimits
from relay.session.transport import Receiver, is_server_opened, is_uni

WINDOW = 1 << 18
"""Bytes that may wait within a machine."""

RESUME = WINDOW // 4
"""Bytes still waiting at which bulk data flow again."""

MAX_STREAMS = 65_536
"""Streams that one side may have open at a time."""

MAX_REASON = 512
"""Bytes of the text that goes with an end."""


class MuxTransport:
    """One side of such a session: `Transport` for those above; subclasses are its carriers."""

    rtt = 0.0
    window = WINDOW
    """Bytes that may wait to be written before bulk data are held back."""

    def __init__(
        self, is_client: bool, limits: QuicLimits, failed: Callable[[Exception], None]
    ) -> None:
        """``failed`` hears what cost the session."""
        self._role = 0 if is_client else 1
        self._limits = limits
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox(limits, self._receiver_failed, self.close)
        self._turn_due = False
        self._next = {False: self._role, True: 2 | self._role}
        """Our next stream, two-way and one-way."""
        self._expected = {False: 1 - self._role, True: 2 | (1 - self._role)}
        """The same of the peer."""
        self._sending: set[int] = set()
        self._receiving: set[int] = set()
        self._stopped: set[int] = set()
        """Streams whose half of the peer's is to end and has not yet."""
        self._sent = self._received = 0
        self.is_closed = False

    def start(self, receiver: Receiver) -> None:
        """Name the receiver; what came before is replayed in order, never inside this call."""
        self._inbox.start(receiver)
        self.wake()

    # To be filled by the carrier

    def _write_data(self, stream: int, data: bytes, fin: bool) -> None:
        """The next bytes of a stream, that there are; its first frame opens it, and may be
        empty."""
        raise NotImplementedError

    def _write_reset(self, stream: int, code: int) -> None:
        """Our half of a stream is broken off."""
        raise NotImplementedError

    def _write_stop(self, stream: int, code: int) -> None:
        """The peer's half should be."""
        raise NotImplementedError

    def _write_close(self, code: int, reason: str) -> None:
        """The end."""
        raise NotImplementedError

    def _unsent(self) -> int:
        """Bytes that wait to be written."""
        raise NotImplementedError

    def _let_go(self) -> None:
        """Write what waits; when the session is over, hang up after it."""
        raise NotImplementedError

    def _may_open(self, uni: bool) -> bool:
        """Whether the peer takes one more stream of ours."""
        return len(self._sending) < MAX_STREAMS

    def _most(self, uni: bool) -> int:
        """How many streams further than now the peer's numbers may go."""
        return 1 if len(self._receiving) < 2 * MAX_STREAMS else 0

    def _over(self, stream: int) -> None:
        """The peer's half of a stream has ended."""
        self._receiving.discard(stream)
        self._stopped.discard(stream)

    # What those above may ask (`relay.session.transport.Transport`)

    def open_uni(self, head: bytes = b"", fin: bool = False) -> int | None:
        """A new outgoing stream that begins with ``head``, ``None`` while too many are open."""
        return self._open(True, head, fin)

    def open_bidi(self) -> int | None:
        """A new two-way stream, ``None`` while too many are open."""
        return self._open(False)

    def send(self, stream: int, data: bytes, fin: bool = False) -> None:
        """Append to the stream; after its end or the session's nothing happens."""
        if self.is_closed or stream not in self._sending:
            return
        self._sent += len(data)
        if fin:
            self._sending.discard(stream)
        self._write_data(stream, data, fin)
        self.wake()
        self._bound()

    def capacity(self, stream: int | None = None) -> int:
        """Bytes that would leave soon."""
        if self.is_closed or (stream is not None and stream not in self._sending):
            return 0
        return max(0, self.window - self._unsent())

    def is_ample(self, room: int) -> bool:
        """Whether there is so much room; streams there are many."""
        return self.capacity() >= room

    def offer(self, stream: int, data: bytes, room: int) -> bool:
        """Append to the stream where there is so much room."""
        has_room = self.capacity(stream) >= room
        if has_room:
            self.send(stream, data)
        return has_room

    def reset(self, stream: int, code: int) -> None:
        """Break off our half."""
        if not self.is_closed and stream in self._sending:
            self._sending.discard(stream)
            self._write_reset(stream, code)
            self.wake()

    def stop(self, stream: int, code: int) -> None:
        """Ask the peer to break off its half; of what still comes only the end is told."""
        if stream in self._receiving and stream not in self._stopped:
            self._stopped.add(stream)
            self._write_stop(stream, code)
            self.wake()

    def bandwidth(self) -> int:
        """Not known."""
        return 0

    def is_quiet(self) -> bool:
        """Whether everything handed over has been taken by the kernel."""
        return self.is_closed or not self._unsent()

    def oldest_under_way(self) -> int | None:
        """None: what is said later comes later."""
        return None

    def traffic(self) -> tuple[int, int]:
        """Bytes of stream data and datagrams handed over, and received."""
        return self._sent, self._received

    def wake(self) -> None:
        """Have the receiver's flush called before this turn's frames are written."""
        if not self._turn_due:
            self._turn_due = True
            self._loop.call_soon(self._turn)

    def close(self, code: int, reason: str = "") -> None:
        """End the session; the receiver hears of it at the next turn."""
        if not self.is_closed:
            self._write_close(code, reason)
            self._end(code, reason)

    # What the carrier has heard

    def _heard_data(self, stream: int, body: bytes, fin: bool) -> None:
        """The next bytes of a stream. Raises `ProtocolViolation` where there can be none."""
        self._received += len(body)
        if stream not in self._receiving:
            self._accept(stream)
            if stream not in self._receiving:
                return
        if stream in self._stopped:
            body = b""
        if fin:
            self._over(stream)
        if body or fin:
            self._inbox.stream_received(stream, body, fin)

    def _heard_reset(self, stream: int, code: int) -> None:
        """The peer broke off its half."""
        if stream in self._receiving:
            self._over(stream)
            self._inbox.stream_reset(stream, code)

    def _heard_stop(self, stream: int, code: int) -> None:
        """The peer no longer reads our half: answered as QUIC does (RFC 9000, 3.5)."""
        if stream in self._sending:
            self.reset(stream, code)
            self._inbox.stream_stopped(stream, code)

    def _heard_datagram(self, data: bytes) -> None:
        """A datagram arrived."""
        self._received += len(data)
        self._inbox.datagram_received(data)

    # Below

    def _bound(self) -> None:
        """End the session of a peer that leaves too much waiting."""
        if self._unsent() > self._limits.max_unsent:
            self.close(LimitExceeded.session_code, "the peer reads too slowly (max_unsent)")

    def _open(self, uni: bool, head: bytes = b"", fin: bool = False) -> int | None:
        if self.is_closed or not self._may_open(uni):
            return None
        stream = self._next[uni]
        self._next[uni] += 4
        self._sending.add(stream)
        if not uni:
            self._receiving.add(stream)
        self.send(stream, head, fin)
        return stream

    def _turn(self) -> None:
        """The receiver's last word, then everything that waits."""
        self._turn_due = False
        self._inbox.flush()
        self._let_go()

    def _is_ours(self, stream: int) -> bool:
        """Whether this side opened the stream, or would have to."""
        return is_server_opened(stream) == bool(self._role)

    def _accept(self, stream: int) -> None:
        """Note a stream that begins, and with it those that were numbered before (RFC 9000, 3.2).
        Raises `ProtocolViolation` for one that cannot be."""
        uni = is_uni(stream)
        if self._is_ours(stream):
            if uni or stream >= self._next[uni]:
                raise ProtocolViolation(f"data on stream {stream}, which is not the peer's")
            return
        begun = range(self._expected[uni], stream + 1, 4)
        if not begun:
            return
        if len(begun) > self._most(uni):
            raise ProtocolViolation(f"stream {stream} is out of turn, or one too many")
        self._expected[uni] = stream + 4
        self._receiving.update(begun)
        if not uni:
            self._sending.update(begun)

    def _end(self, code: int, reason: str) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._sending.clear()
            self._receiving.clear()
            self._stopped.clear()
            self._inbox.lost(code, reason)
            self.wake()

    def _receiver_failed(self, error: Exception) -> None:
        self._failed(error)
        self.close(RelayError.session_code, "internal error")
