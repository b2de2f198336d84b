"""Packet protection on the short way (RFC 9001, 5): whole trains sealed, packets opened and read.

There are two makers of the same packets: the classes here, and those of `relay.net.speedups`, which
are in C and are there when it could be built. This module must not know what packets carry, nor
whose keys they are.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from relay.net.built import speedups
from relay.net.frames import STREAM, STREAM_LAST, Frame, read

_AES_128, _AES_256, _CHACHA20 = 0x1301, 0x1302, 0x1303
"""TLS's cipher suites (RFC 8446, B.4) that QUIC has here: AES-GCM and ChaCha20-Poly1305."""

_SAMPLE = 16
_LEAST = 2
"""Bytes of the smallest payload that leaves enough to sample (RFC 9001, 5.4.2)."""

_ZEROS = bytes(5)

_SPIN = 0x20
"""Bit of a header's first byte (RFC 9000, 17.4)."""

Opened = tuple[int, int, int, list[Frame], bytes]
"""Packets that were opened and read: how many, the last one's number, the first one's first byte,
their frames, and the bytes that `relay.net.frames.read` leaves."""


class _Masks:
    """Header protection (RFC 9001, 5.4)."""

    def __init__(self, suite: int, hp: bytes) -> None:
        self._is_chacha20 = suite == _CHACHA20
        if self._is_chacha20:
            self._cipher = Cipher(algorithms.ChaCha20(hp, bytes(_SAMPLE)), None).encryptor()
        else:
            self._cipher = Cipher(algorithms.AES(hp), modes.ECB()).encryptor()

    def of(self, samples: list[bytes]) -> list[bytes]:
        """A mask for each sample; AES makes all of them in one call."""
        cipher = self._cipher
        if not self._is_chacha20:
            all_masks = cipher.update(b"".join(samples))
            return [all_masks[at : at + _SAMPLE] for at in range(0, len(all_masks), _SAMPLE)]
        masks = []
        for sample in samples:
            cipher.reset_nonce(sample)  # the nonce is the sample's
            masks.append(cipher.update(_ZEROS))
        return masks


def _aead(suite: int, key: bytes) -> AESGCM | ChaCha20Poly1305:
    if suite == _CHACHA20:
        return ChaCha20Poly1305(key)
    if suite in (_AES_128, _AES_256):
        return AESGCM(key)
    raise ValueError(f"unknown cipher suite {suite}")


class Sealer:
    """The keys of what is sent."""

    def __init__(self, suite: int, key: bytes, iv: bytes, hp: bytes) -> None:
        """``suite`` is TLS's number; keys and iv are as RFC 9001, 5.1, derives them."""
        self._encrypt = _aead(suite, key).encrypt
        self._iv = int.from_bytes(iv, "big")
        self._masks = _Masks(suite, hp)

    def seal(self, payload: bytes, first: int, cid: bytes, number: int) -> bytes:
        """A 1-RTT packet of this payload, its number written in two bytes.

        ``first`` is the header's first byte before it is hidden. Raises `ValueError` for a payload
        that is too small.
        """
        return self._sealed([payload], first, cid, number)

    def seal_run(
        self,
        data: bytes,
        step: int,
        head: bytes,
        offset: int,
        fin: bool,
        first: int,
        cid: bytes,
        number: int,
    ) -> bytes:
        """1-RTT packets of a stream's next bytes, ``step`` of them in each, joined.

        ``head`` is what their frames begin with, a kind that has an offset and no length and the
        stream's id; ``offset`` is below 2**30 at the end of ``data``. The last frame ends the
        stream when ``fin`` is true; without data that is the only one.
        """
        mark = offset | 1 << 31  # a varint of four bytes
        plain = [
            b"".join((head, (mark + at).to_bytes(4, "big"), data[at : at + step]))
            for at in range(0, len(data) or 1, step)
        ]
        if fin:
            plain[-1] = bytes((head[0] | 1,)) + plain[-1][1:]
        return self._sealed(plain, first, cid, number)

    def _sealed(self, plain: list[bytes], first: int, cid: bytes, number: int) -> bytes:
        encrypt, iv = self._encrypt, self._iv
        start = bytes((first,)) + cid
        sealed = []
        for index, payload in enumerate(plain, number):
            if len(payload) < _LEAST:
                raise ValueError("no payload of a packet")
            header = start + (index & 0xFFFF).to_bytes(2, "big")
            sealed.append(encrypt((iv ^ index).to_bytes(12, "big"), payload, header))
        parts: list[bytes] = []
        for index, mask in enumerate(self._masks.of([each[2:18] for each in sealed])):
            hidden = (number + index & 0xFFFF) ^ (mask[1] << 8 | mask[2])
            head = bytes((first ^ (mask[0] & 0x1F),))
            parts += head, cid, hidden.to_bytes(2, "big"), sealed[index]
        return b"".join(parts)


class Opener:
    """The keys of what is received."""

    def __init__(self, suite: int, key: bytes, iv: bytes, hp: bytes) -> None:
        """As a `Sealer`'s."""
        self._decrypt = _aead(suite, key).decrypt
        self._iv = int.from_bytes(iv, "big")
        self._masks = _Masks(suite, hp)

    def open(
        self, packets: list[bytes], start: int, cid: bytes, phase: int, expected: int, next: int
    ) -> list[Opened]:
        """Open and read packets in a row, from ``packets[start]`` on.

        Ends before the first that is not a 1-RTT packet for ``cid`` under these keys and this key
        ``phase``, has reserved bits set or nothing in it, and after the first of which something
        is not read. Packets from number ``next`` on that follow each other and carry one stream's
        bytes in a row are answered as one. ``expected`` is the number to begin with, as the library
        counts.
        """
        found: list[Opened] = []
        run: _Run | None = None
        for packet in packets[start:]:
            if packet[:1] < b"@" or packet[:1] >= b"\x80" or not packet.startswith(cid, 1):
                break
            one = self._one(packet, 1 + len(cid), phase, expected)
            if one is None:
                break
            number, rest = one[1], one[-1]
            is_next = number >= next
            if number > expected:
                expected = number + 1
            next = max(next, number + 1)
            if run is not None and run.takes(one):
                found[-1] = run.one
                continue
            found.append(one)
            run = _Run(one) if is_next and _is_only_stream(one) else None
            if rest:
                break
        return found

    def _one(self, packet: bytes, at: int, phase: int, expected: int) -> Opened | None:
        """Open and read a packet whose number begins at ``at``."""
        if len(packet) < at + 4 + _SAMPLE:
            return None
        mask = self._masks.of([packet[at + 4 : at + 4 + _SAMPLE]])[0]
        first = packet[0] ^ (mask[0] & 0x1F)
        if (first >> 2) & 1 != phase or first & 0x18:
            return None
        length = (first & 3) + 1
        truncated = int.from_bytes(packet[at : at + length], "big") ^ int.from_bytes(
            mask[1 : 1 + length], "big"
        )
        # The number nearest to the one expected (RFC 9000, A.3).
        whole = 1 << 8 * length
        ahead = (truncated - expected) & (whole - 1)
        number = expected + ahead
        if ahead > whole >> 1:
            number -= whole
        if number < 0:
            return None
        header = b"%c%b%b" % (first, packet[1:at], truncated.to_bytes(length, "big"))
        nonce = (self._iv ^ number).to_bytes(12, "big")
        try:
            plain = self._decrypt(nonce, packet[at + length :], header)
        except InvalidTag:
            return None
        return (1, number, first, *read(plain)) if plain else None


def _is_only_stream(one: Opened) -> bool:
    """Whether a packet holds a STREAM frame and nothing else but padding."""
    _, _, _, frames, rest = one
    return len(frames) == 1 and not rest and STREAM <= frames[0][0] <= STREAM_LAST


class _Run:
    """Packets in a row that carry one stream's bytes in a row."""

    def __init__(self, one: Opened) -> None:
        self.one = one

    def takes(self, other: Opened) -> bool:
        """Add one more, if it belongs here."""
        if not _is_only_stream(other):
            return False
        count, last, first, [(kind, stream, offset, data)], rest = self.one
        _, number, bits, [(ends, whose, at, more)], _ = other
        belongs = (whose, at, number) == (stream, offset + len(data), last + 1)
        if kind & 1 or not belongs or (bits ^ first) & _SPIN:
            return False
        self.one = count + 1, number, first, [(kind | ends & 1, stream, offset, data + more)], rest
        return True


def makers(wants_speed: bool) -> tuple[type[Sealer], type[Opener]]:
    """Who seals and who opens: in C where that is wanted and was built."""
    built = speedups() if wants_speed else None
    if built is not None and _is_able(built):
        return built.Sealer, built.Opener
    return Sealer, Opener


@cache
def _is_able(built: ModuleType) -> bool:
    """Whether the system's OpenSSL has all that is needed; one in FIPS mode has no ChaCha20."""
    try:
        for suite, size in ((_AES_128, 16), (_AES_256, 32), (_CHACHA20, 32)):
            built.Sealer(suite, bytes(size), bytes(12), bytes(size))
    except RuntimeError:
        return False
    return True
