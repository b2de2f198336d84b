"""Telling a peer that nothing is known of its connection any more (RFC 9000, 10.3).

A process that dies says no goodbye; whoever comes after it on the port answers its clients' next
packets, so that they dial again at once instead of waiting for a timeout. The law: what proves it
is derived from the certificate's key, which all workers and the next start have as well; an answer
is smaller than what it answers, and there are few. This module must not know connections.
"""

from __future__ import annotations

import hmac
import os

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from relay.net.tls import Pair

TOKEN = 16
"""Bytes that end a reset and prove it."""

LEAST, MOST = 21, 42
"""Bytes of a reset: at least what could be a packet, at most what need not be shorter to end a
conversation of two who only reset each other (10.3.3)."""

_FIXED = 0x40
"""Bit that begins all of QUIC's packets (17.3.1)."""

PER_SECOND = 200
"""Resets that are sent in a second at most. More packets of strangers are left without an answer.
"""


class Resets:
    """The resets of one endpoint."""

    def __init__(self, key: bytes, id_length: int) -> None:
        """``key`` is secret; connection ids are of so many bytes."""
        self._key = key
        self._id_end = 1 + id_length
        self._second = 0
        self._count = 0

    @classmethod
    def of(cls, pair: Pair, id_length: int) -> Resets:
        """Those that everybody with the key of that certificate can prove."""
        plain = pair.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return cls(hmac.digest(plain, b"relay stateless reset", "sha256"), id_length)

    def token(self, cid: bytes) -> bytes:
        """What proves that a reset comes from whoever gave out the connection id."""
        return hmac.digest(self._key, cid, "sha256")[:TOKEN]

    def answer(self, packet: bytes, now: float, cid: bytes | None = None) -> bytes | None:
        """The reset for a packet that belongs to nobody; ``None`` = silence.

        ``cid`` is whose it is, where that does not stand as in a short header; ``now`` is monotonic
        seconds.
        """
        size = min(len(packet) - 1, MOST)
        if size < LEAST or not packet[0] & _FIXED or self._is_spent(now):
            return None
        noise = bytearray(os.urandom(size - TOKEN))
        noise[0] = noise[0] & 0x3F | _FIXED
        return bytes(noise) + self.token(packet[1 : self._id_end] if cid is None else cid)

    def _is_spent(self, now: float) -> bool:
        if int(now) != self._second:
            self._second, self._count = int(now), 0
        self._count += 1
        return self._count > PER_SECOND
