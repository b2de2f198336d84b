"""The name in a ClientHello: the one the library reads, and whatever comes costs nothing."""

from __future__ import annotations

from aioquic.buffer import Buffer
from aioquic.tls import (
    CipherSuite,
    ClientHello,
    CompressionMethod,
    Group,
    SignatureAlgorithm,
    pull_client_hello,
    push_client_hello,
)
from hypothesis import example, given
from hypothesis import strategies as st

from relay.net.hello import server_name


def hello(name: str | None, session: bytes = b"", more: int = 0) -> bytes:
    """A client's first message, with ``more`` bytes in an extension nobody knows."""
    said = ClientHello(
        random=bytes(32),
        legacy_session_id=session,
        cipher_suites=[CipherSuite.AES_128_GCM_SHA256, CipherSuite.CHACHA20_POLY1305_SHA256],
        legacy_compression_methods=[CompressionMethod.NULL],
        alpn_protocols=["h3"],
        key_share=[(Group.X25519, bytes(32))],
        server_name=name,
        signature_algorithms=[SignatureAlgorithm.ECDSA_SECP256R1_SHA256],
        supported_groups=[Group.X25519],
        supported_versions=[0x0304],
        other_extensions=[(0x39, bytes(more))],
    )
    buffer = Buffer(capacity=4096)
    push_client_hello(buffer, said)
    return bytes(buffer.data)


names = st.text(st.sampled_from("abcxyz019.-"), min_size=1, max_size=255)


@given(names | st.none(), st.binary(max_size=32), st.integers(0, 1000))
def test_it_is_the_one_the_library_reads(name: str | None, session: bytes, more: int) -> None:
    message = hello(name, session, more)
    assert server_name(message) == (name or "")
    assert pull_client_hello(Buffer(data=message)).server_name == name


@given(names, st.data())
def test_a_message_cut_off_or_broken_has_some_name_or_none(name: str, data: st.DataObject) -> None:
    message = bytearray(hello(name))
    for at in data.draw(st.lists(st.integers(0, len(message) - 1), max_size=8)):
        message[at] = data.draw(st.integers(0, 255))
    assert len(server_name(bytes(message[: data.draw(st.integers(0, len(message)))]))) < 65536


@given(st.binary(max_size=300))
@example(b"")
@example(b"\x01" + bytes(99))
def test_noise_has_some_name_or_none(noise: bytes) -> None:
    assert isinstance(server_name(noise), str)
