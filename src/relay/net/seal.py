"""Packet protection for a train (RFC 9001, 5): each sealed by itself, all headers hidden at once.

This module must not know what packets carry.
"""

from __future__ import annotations

from aioquic.quic.crypto import CryptoContext


def seal(
    context: CryptoContext, plain: list[bytes], first: int, cid: bytes, number: int
) -> list[bytes]:
    """1-RTT packets of these payloads, numbered from ``number`` in two bytes each.

    ``first`` is the header's first byte before it is hidden.
    """
    assert context.aead is not None
    encrypt, iv = context.aead._aead.encrypt, context.aead._iv
    start = bytes((first,)) + cid
    sealed = []
    for index, payload in enumerate(plain, number):
        header = start + (index & 0xFFFF).to_bytes(2, "big")
        sealed.append(encrypt((iv ^ index).to_bytes(12, "big"), payload, header))
    masks = _masks(context, [each[2:18] for each in sealed])
    out = []
    for index, body, mask in zip(range(number, number + len(plain)), sealed, masks, strict=True):
        hidden = (index & 0xFFFF) ^ (mask[1] << 8 | mask[2])
        head = bytes((first ^ (mask[0] & 0x1F),))
        out.append(b"".join((head, cid, hidden.to_bytes(2, "big"), body)))
    return out


def _masks(context: CryptoContext, samples: list[bytes]) -> list[bytes]:
    """Header protection masks (RFC 9001, 5.4); AES makes all of them in one call."""
    protection = context.hp
    assert protection is not None
    if protection._is_chacha20:
        return [protection._mask(sample) for sample in samples]
    masks = protection._encryptor.update(b"".join(samples))
    return [masks[at : at + 16] for at in range(0, len(masks), 16)]
