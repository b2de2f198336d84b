"""Packets sealed and opened by both makers, against the library and against each other."""

from __future__ import annotations

import os
from typing import Any

import pytest
from aioquic.quic.crypto import CryptoError, CryptoPair, derive_key_iv_hp
from aioquic.tls import CipherSuite
from hypothesis import given
from hypothesis import strategies as st

from relay.net import built, protection
from relay.wire.buffer import encode_varint

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
    if request.param and built.speedups() is None:
        if os.environ.get("CI"):
            pytest.fail("the C extension was not built")
        pytest.skip("the C extension was not built")
    return MAKERS[request.param]


def test_python_where_c_is_not_wanted_or_not_there(monkeypatch) -> None:
    assert protection.makers(False) == (protection.Sealer, protection.Opener)
    monkeypatch.setattr(built, "_found", None)
    assert protection.makers(True) == (protection.Sealer, protection.Opener)


def test_python_where_openssl_cannot(monkeypatch) -> None:
    class Unable:
        Opener = None

        @staticmethod
        def Sealer(suite: int, *_: bytes) -> None:
            if suite == SUITES[2]:
                raise RuntimeError("OpenSSL refused")

    assert not protection._is_able.__wrapped__(Unable)
    monkeypatch.setattr(protection, "speedups", lambda: Unable)
    assert protection.makers(True) == (protection.Sealer, protection.Opener)


def test_python_where_what_was_built_is_old(monkeypatch) -> None:
    class Old:
        INTERFACE = 0

    monkeypatch.setattr(built, "_found", Old)
    assert built.speedups() is None
    assert protection.makers(True) == (protection.Sealer, protection.Opener)


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


def opened(opener: Any, packet: bytes, expected: int, phase: int = 0) -> tuple[Any, ...] | None:
    """Number, first byte, frames and what is left of one packet, if it can be opened."""
    found = opener.open([packet], 0, CID, phase, expected, 0)
    assert all(one[0] == 1 for one in found)
    return tuple(found[0][1:]) if found else None


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
                assert opened(opener, packet, number + away) == (number, first, [], plain)


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
    assert opened(opener, packet, 7) == (7, 0x41, [(0x01,)], b"hello")
    assert opened(opener, packet, 7, phase=1) is None, "of another key phase"
    assert opened(opener, packet, 1 << 20) is None, "of another number"
    for at in range(len(packet)):
        broken = packet[:at] + bytes((packet[at] ^ 0x80,)) + packet[at + 1 :]
        if at:  # only five bits of the first byte are hidden; the first says what comes
            assert opened(opener, broken, 7) is None
        assert opened(opener, packet[:at], 7) is None, "cut off"
    reserved = there.encrypt_packet(bytes((0x51,)) + CID + b"\0\7", b"hello", 7)
    assert opened(opener, reserved, 7) is None
    empty = there.encrypt_packet(bytes((0x43,)) + CID + b"\0\0\0\7", b"", 7)
    assert opened(opener, empty, 7) is None, "nothing in it"
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
    said = opened(one(*keys(suite)), bytes(packet), expected)
    assert opened(two(*keys(suite)), bytes(packet), expected) == said


def stream(stream_id: int, offset: int, data: bytes, fin: bool, has_length: bool) -> bytes:
    kind = 0x08 | 0x04 | has_length << 1 | fin
    length = encode_varint(len(data)) if has_length else b""
    return bytes((kind,)) + encode_varint(stream_id) + encode_varint(offset) + length + data


@st.composite
def packets(draw: st.DrawFn) -> list[tuple[int, int, bytes]]:
    """Numbers, first bytes and payloads of packets, most of them a stream's bytes in a row."""
    made: list[tuple[int, int, bytes]] = []
    number, offsets = draw(st.sampled_from([0, 5, 0xFFFA])), {2: 0, 6: 100}
    for _ in range(draw(st.integers(0, 8))):
        number = max(0, number + draw(st.sampled_from([1, 1, 1, 1, 2, 0, -1])))
        stream_id = draw(st.sampled_from([2, 2, 2, 6]))
        data = draw(st.binary(min_size=1, max_size=30))
        offset = offsets[stream_id] + draw(st.sampled_from([0, 0, 0, 0, 1, -2]))
        offsets[stream_id] = max(0, offset) + len(data)
        frame = stream(stream_id, max(0, offset), data, draw(CHANCE), draw(st.booleans()))
        before = draw(st.sampled_from([b"", b"", b"", bytes(3), b"\x01", b"\x02\x05\x00\x00\x02"]))
        after = draw(st.sampled_from([b"", b"", b"", bytes(2), b"\x01", b"\x1e"]))
        made.append((number, 0x41 | draw(CHANCE) << 5, before + frame + after))
    return made


CHANCE = st.sampled_from([False] * 6 + [True])


def flat(found: list[Any]) -> tuple[int, list[Any], bytes]:
    """How many packets, and their frames: what follows itself in a stream is one piece."""
    frames: list[Any] = []
    for _, _, _, heard, _ in found:
        for frame in heard:
            if not 0x08 <= frame[0] <= 0x0F:
                frames.append(frame)
                continue
            kind, stream_id, offset, data = frame
            last = frames[-1] if frames else (0,)
            if last[0] == 0x08 and last[1:2] == (stream_id,) and last[2] + len(last[3]) == offset:
                frames[-1] = (0x08 | kind & 1, stream_id, last[2], last[3] + data)
            else:
                frames.append((0x08 | kind & 1, stream_id, offset, data))
    return sum(count for count, *_ in found), frames, found[-1][-1] if found else b""


@given(packets(), st.integers(0, 8), st.sampled_from([None, None, "cid", "bit", "form"]))
def test_packets_in_a_row_are_opened_like_one_after_the_other(made, at, damage) -> None:
    suite = SUITES[0]
    sealed = [
        library(suite).encrypt_packet(
            bytes((first,)) + CID + (number & 0xFFFF).to_bytes(2, "big"), plain, number
        )
        for number, first, plain in made
    ]
    if damage is not None and at < len(sealed):
        spoilt = bytearray(sealed[at])
        spoilt[{"cid": 2, "bit": -1, "form": 0}[damage]] ^= 0x80
        sealed[at] = bytes(spoilt)
    expected = made[0][0] if made else 0
    both = [
        maker(*keys(suite)).open(sealed, 0, CID, 0, expected, expected)
        for _, maker in (MAKERS[False], MAKERS[True])
    ]
    assert both[0] == both[1]
    opener = MAKERS[False][1](*keys(suite))
    singly: list[Any] = []
    near, begun = expected, expected
    for index in range(len(sealed)):
        one = opener.open(sealed[: index + 1], index, CID, 0, near, begun)
        singly += one
        if not one or one[0][-1]:
            break
        near, begun = max(near, one[0][1]), max(begun, one[0][1] + 1)
    assert flat(both[0]) == flat(singly)
    for count, last, *_ in both[0]:
        assert count == 1 or last - count + 1 >= expected


def test_a_train_is_one_piece(makers) -> None:
    suite = SUITES[0]
    data = os.urandom(5000)
    run = makers[0](*keys(suite)).seal_run(data, 1000, b"\x0c\x07", 9, True, 0x41, CID, 40)
    size = len(run) // 5
    cut = [run[at : at + size] for at in range(0, len(run), size)]
    found = makers[1](*keys(suite)).open([b"another", *cut], 1, CID, 0, 40, 40)
    assert found == [(5, 44, 0x41, [(0x0D, 7, 9, data)], b"")]
    late = makers[1](*keys(suite)).open(cut, 0, CID, 0, 40, 42)
    assert [one[:2] for one in late] == [(1, 40), (1, 41), (3, 44)], "no run begins with old ones"
