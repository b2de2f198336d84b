"""Hands what a connection hears to its receiver: in order, bounded, and ended exactly once.

What comes before there is a receiver is kept up to two ceilings and replayed in order. Whatever a
receiver raises is caught here and costs its own session only. This module must not know QUIC or
HTTP/3.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from relay.errors import LimitExceeded
from relay.net.settings import QuicLimits
from relay.session.transport import Receiver


class Inbox:
    """The way from one connection to one receiver."""

    def __init__(
        self,
        limits: QuicLimits,
        failed: Callable[[Exception], None],
        close: Callable[[int, str], None],
    ) -> None:
        """``failed`` hears what a receiver raised; ``close`` ends the session of a peer that sent
        too much before there was one."""
        self._limits = limits
        self._failed = failed
        self._close = close
        self._receiver: Receiver | None = None
        self._early: deque[tuple[str, tuple[Any, ...]]] = deque()
        self._early_bytes = 0
        self._is_lost = False
        self._has_failed = False

    def start(self, receiver: Receiver) -> None:
        """Name the receiver; what it missed is replayed by the next `flush`."""
        if self._receiver is None:
            self._receiver = receiver

    def stream_received(self, stream: int, data: bytes, fin: bool) -> None:
        """The next bytes of a stream."""
        receiver = self._receiver
        if receiver is None or self._early or self._is_lost or self._has_failed:
            self._pass("stream_received", len(data), stream, data, fin)
            return
        try:
            receiver.stream_received(stream, data, fin)
        except Exception as error:
            self._fail(error)

    def stream_reset(self, stream: int, code: int) -> None:
        """The peer broke off its half."""
        self._pass("stream_reset", 0, stream, code)

    def stream_stopped(self, stream: int, code: int) -> None:
        """The peer no longer reads our half."""
        self._pass("stream_stopped", 0, stream, code)

    def datagram_received(self, data: bytes) -> None:
        """A datagram arrived."""
        self._pass("datagram_received", len(data), data)

    def flush(self) -> None:
        """Replay what is waiting, then the receiver's last moment before packets are built."""
        receiver = self._receiver
        if receiver is None:
            return
        if self._early:
            self._replay()
        if not self._is_lost and not self._has_failed:
            try:
                receiver.flush()
            except Exception as error:
                self._fail(error)

    def lost(self, code: int, reason: str) -> None:
        """The end. It is said at the next `flush`, after what came before; later ends are mute."""
        if not self._is_lost:
            self._is_lost = True
            self._early.append(("connection_lost", (code, reason)))

    def discard(self) -> None:
        """Forget what came before there was a receiver."""
        if self._receiver is None and not self._is_lost:
            self._early.clear()
            self._early_bytes = 0

    def _replay(self) -> None:
        while self._early:
            name, arguments = self._early.popleft()
            self._call(name, arguments)
        self._early_bytes = 0

    def _pass(self, name: str, size: int, *arguments: Any) -> None:
        if self._is_lost:
            return
        if self._receiver is not None and not self._early:
            self._call(name, arguments)
            return
        self._early.append((name, arguments))
        self._early_bytes += size
        limits = self._limits
        if self._early_bytes > limits.max_early_data or len(self._early) > limits.max_early_events:
            self._early.clear()
            reason = "too much before the session began (max_early_data)"
            self._close(LimitExceeded.session_code, reason)

    def _call(self, name: str, arguments: tuple[Any, ...]) -> None:
        # After a receiver has raised, only its end is told to it.
        if self._has_failed and name != "connection_lost":
            return
        try:
            getattr(self._receiver, name)(*arguments)
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._has_failed = True
        self._failed(error)
