"""Packets sealed and opened by both makers, against the library and against each other."""

from __future__ import annotations

import os

import pytest
from aioquic.quic.crypto import CryptoError, CryptoPair, derive_key_iv_hp
from aioquic.tls import CipherSuite
from hypothesis import given
from hypothesis import strategies as st

from relay.net import protection

CID = b"12345678"
AT = 1 + len(CID)
SUITES = [
    CipherSuite.AES_128_GCM_SHA256,
    CipherSuite.AES_256_GCM_SHA384,
    CipherSuite.CHACHA20_POLY1305_SHA256,
]
MAKERS = {wants: protection.makers(wants) for wants in (False, True)}
SECRET = bytes(range(48))


def keys(suite: CipherSuite, secret: bytes = SECRET) -> tuple[int, bytes, bytes, bytes]:
    return suite, *derive_key_iv_hp(cipher_suite=suite, secret=secret, version=1)


def library(suite: CipherSuite) -> CryptoPair:
    pair = CryptoPair()
    pair.send.setup(cipher_suite=suite, secret=SECRET, version=1)
    pair.recv.setup(cipher_suite=suite, secret=SECRET, version=1)
    return pair


@pytest.fixture(params=[False, True], ids=["python", "c"])
def makers(request: pytest.FixtureRequest):
    """Sealer and Opener, of each kind."""
    if request.param and protection.speedups is None:
        if os.environ.get("CI"):
            pytest.fail("the C extension was not built")
        pytest.skip("the C extension was not built")
    return MAKERS[request.param]


def test_python_where_c_is_not_wanted_or_not_there(monkeypatch) -> None:
    assert protection.makers(False) == (protection.Sealer, protection.Opener)
    monkeypatch.setattr(protection, "speedups", None)
    assert protection.makers(True) == (protection.Sealer, protection.Opener)


def test_python_where_openssl_cannot(monkeypatch) -> None:
    class Unable:
        INTERFACE = protection._INTERFACE
        Opener = None

        @staticmethod
        def Sealer(suite: int, *_: bytes) -> None:
            if suite == SUITES[2]:
                raise RuntimeError("OpenSSL refused")

    monkeypatch.setattr(protection, "speedups", Unable)
    assert not protection._is_able.__wrapped__()


def test_python_where_what_was_built_is_old(monkeypatch) -> None:
    class Old:
        INTERFACE = 0

    monkeypatch.setattr(protection, "speedups", Old)
    assert not protection._is_able.__wrapped__()


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("number", [0, 0xFFFE, 0x12345, (1 << 40) + 7])
def test_the_library_opens_what_was_sealed(makers, suite, number) -> None:
    sealer, there = makers[0](*keys(suite)), library(suite)
    for size in (2, 3, 30, 1400):
        plain = bytes([size % 256]) * size
        packet = sealer.seal(plain, 0x41, CID, number)
        assert there.decrypt_packet(packet, AT, number) == (
            bytes((0x41,)) + CID + (number & 0xFFFF).to_bytes(2, "big"),
            plain,
            number,
        )


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("length", [1, 2, 3, 4])
@pytest.mark.parametrize("number", [0, 1, 0x7F, 0x10005, (1 << 32) + 3, (1 << 40) + 7])
def test_what_the_library_sealed_is_opened(makers, suite, length, number) -> None:
    opener, there = makers[1](*keys(suite)), library(suite)
    first = 0x40 | length - 1
    for size in (4, 5, 1200):
        header = bytes((first,)) + CID + (number & (1 << 8 * length) - 1).to_bytes(length, "big")
        plain = b"\x1e" * size  # not of every day: left as it is
        packet = there.encrypt_packet(header, plain, number)
        for away in (0, 5, -5, 100):
            if number + away >= 0 and abs(away) < 1 << 8 * length - 1:
                assert opener.open(packet, AT, 0, number + away) == (number, first, [], plain)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("fin", [False, True])
@pytest.mark.parametrize(("size", "step"), [(0, 100), (1, 100), (100, 100), (101, 100), (9999, 7)])
def test_a_run_is_packets_of_frames_that_reach_to_their_ends(
    makers, suite, fin, size, step
) -> None:
    sealer, there = makers[0](*keys(suite)), library(suite)
    data, offset = os.urandom(size), 5000
    head = b"\x0c\x40\x45"
    run = sealer.seal_run(data, step, head, offset, fin, 0x41, CID, 0xFFFE)
    apart = AT + 2 + len(head) + 4 + step + 16
    packets = [run[at : at + apart] for at in range(0, len(run), apart)]
    assert len(packets) == max(1, -(-size // step))
    for index, packet in enumerate(packets):
        _, plain, _ = there.decrypt_packet(packet, AT, 0xFFFE + index)
        kind = 0x0D if fin and packet is packets[-1] else 0x0C
        at = index * step
        assert (
            plain
            == bytes((kind, 0x40, 0x45))
            + (offset + at | 1 << 31).to_bytes(4, "big")
            + (data[at : at + step])
        )


@pytest.mark.parametrize("suite", SUITES)
def test_a_packet_that_is_none_is_not_opened(makers, suite) -> None:
    opener, there = makers[1](*keys(suite)), library(suite)
    header = bytes((0x41,)) + CID + b"\0\7"
    packet = there.encrypt_packet(header, b"\x00\x01hello", 7)
    assert opener.open(packet, AT, 0, 7) == (7, 0x41, [(0x01,)], b"hello")
    assert opener.open(packet, AT, 1, 7) is None, "of another key phase"
    assert opener.open(packet, AT, 0, 1 << 20) is None, "of another number"
    for at in range(len(packet)):
        broken = packet[:at] + bytes((packet[at] ^ 0x80,)) + packet[at + 1 :]
        if at:  # only five bits of the first byte are hidden; the first says what comes
            assert opener.open(broken, AT, 0, 7) is None
        assert opener.open(packet[:at], AT, 0, 7) is None, "cut off"
    reserved = there.encrypt_packet(bytes((0x51,)) + CID + b"\0\7", b"hello", 7)
    assert opener.open(reserved, AT, 0, 7) is None
    empty = there.encrypt_packet(bytes((0x43,)) + CID + b"\0\0\0\7", b"", 7)
    assert opener.open(empty, AT, 0, 7) is None, "nothing in it"
    with pytest.raises(CryptoError):
        there.decrypt_packet(packet[:-1], AT, 7)


def test_bad_calls_are_refused(makers) -> None:
    suite, key, iv, hp = keys(SUITES[0])
    for bad in ((0x1304, key, iv, hp), (suite, key[1:], iv, hp), (suite, key, iv, hp[1:])):
        with pytest.raises(ValueError, match=r"(?i)suite|key|size|length"):
            makers[0](*bad)
    sealer = makers[0](suite, key, iv, hp)
    for payload in (b"", b"1"):
        with pytest.raises(ValueError, match="payload"):
            sealer.seal(payload, 0x41, CID, 0)


@given(
    st.sampled_from(SUITES),
    st.binary(min_size=2, max_size=3000),
    st.integers(1, 1400),
    st.integers(0, (1 << 30) - 5000),
    st.booleans(),
    st.binary(max_size=20),
    st.integers(0, (1 << 62) - 5000),
)
def test_both_make_the_same(suite, data, step, offset, fin, cid, number) -> None:
    (one, _), (two, _) = MAKERS[False], MAKERS[True]
    here, there = one(*keys(suite)), two(*keys(suite))
    run = (data, step, b"\x0c\x07", offset, fin, 0x45, cid, number)
    assert here.seal_run(*run) == there.seal_run(*run)
    packet = here.seal(data, 0x45, cid, number)
    assert packet == there.seal(data, 0x45, cid, number)


@given(
    st.sampled_from(SUITES),
    st.binary(max_size=80),
    st.integers(0, 3),
    st.integers(0, 1),
    st.integers(0, 1 << 62),
    st.integers(0, 1 << 34),
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=2),
)
def test_both_open_the_same(suite, payload, length, phase, expected, away, damage) -> None:
    number = max(0, min(expected - away, (1 << 62) - 1))
    header = bytes((0x40 | phase << 2 | length,)) + CID + number.to_bytes(8, "big")[7 - length :]
    packet = bytearray(
        library(suite).encrypt_packet(header, payload, number) if len(payload) > 3 else payload
    )
    for at, bits in damage:
        if at < len(packet):
            packet[at] ^= bits
    (_, one), (_, two) = MAKERS[False], MAKERS[True]
    opened = one(*keys(suite)).open(bytes(packet), AT, 0, expected)
    assert two(*keys(suite)).open(bytes(packet), AT, 0, expected) == opened
