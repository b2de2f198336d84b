"""The keys a settled connection uses now, in the form that the short way seals and opens with.

The library derives the secrets and decides when they change; from a new one only the payload's key
and iv follow, headers stay hidden under the first one's (RFC 9001, 6). This module must not know
packets.
"""

from __future__ import annotations

from aioquic.quic.crypto import CryptoContext, CryptoPair, derive_key_iv_hp

from relay.net.protection import Opener, Sealer, makers


class Keys:
    """Both directions' keys of one connection."""

    __slots__ = (
        "_hp_in",
        "_hp_out",
        "_openers",
        "_sealers",
        "_secret",
        "opener",
        "phase",
        "sealer",
    )

    sealer: Sealer
    opener: Opener

    def __init__(self, wants_speed: bool) -> None:
        """``wants_speed`` where packets are to be sealed and opened in C, if that was built."""
        self.phase = 0
        """The key phase of what is sent and received (RFC 9001, 6)."""
        self._sealers, self._openers = makers(wants_speed)
        self._hp_out = self._hp_in = b""
        self._secret: bytes | None = None

    def begin(self, context: CryptoContext, is_sending: bool) -> None:
        """The handshake has brought the first keys of a direction."""
        suite, key, iv, hp = _derived(context)
        if is_sending:
            self._hp_out, self.sealer = hp, self._sealers(suite, key, iv, hp)
        else:
            self._hp_in, self.opener = hp, self._openers(suite, key, iv, hp)
            self._secret = context.secret

    def follow(self, crypto: CryptoPair) -> None:
        """Use what the library uses now: both directions change together."""
        if crypto.recv.secret is self._secret:
            return
        self._secret = crypto.recv.secret
        self.phase = crypto.recv.key_phase
        suite, key, iv, _ = _derived(crypto.send)
        self.sealer = self._sealers(suite, key, iv, self._hp_out)
        suite, key, iv, _ = _derived(crypto.recv)
        self.opener = self._openers(suite, key, iv, self._hp_in)


def _derived(context: CryptoContext) -> tuple[int, bytes, bytes, bytes]:
    """Suite, key, iv and header protection key of the secret in use."""
    suite, secret, version = context.cipher_suite, context.secret, context.version
    assert suite is not None
    assert secret is not None
    assert version is not None
    key, iv, hp = derive_key_iv_hp(cipher_suite=suite, secret=secret, version=version)
    return suite, key, iv, hp
