"""Sealed packets against the library's reading of them."""

from __future__ import annotations

import pytest
from aioquic.quic.crypto import CryptoPair
from aioquic.tls import CipherSuite

from relay.net.seal import seal

CID = b"12345678"


@pytest.mark.parametrize("suite", list(CipherSuite)[:3])
@pytest.mark.parametrize("number", [0, 0xFFFE, 0x12345])
def test_the_library_opens_what_was_sealed(suite, number) -> None:
    here, there = CryptoPair(), CryptoPair()
    here.send.setup(cipher_suite=suite, secret=bytes(48), version=1)
    there.recv.setup(cipher_suite=suite, secret=bytes(48), version=1)
    plain = [bytes([index]) * (30 + index) for index in range(5)]
    for index, packet in enumerate(seal(here.send, plain, 0x41, CID, number)):
        _, opened, found = there.decrypt_packet(packet, 1 + len(CID), number + index)
        assert (opened, found) == (plain[index], number + index)
