"""What the TLS of a connection shows: the pair, and the signatures that its key makes.

The library's private fields are touched here. This module must not know why it is that pair.
"""

from __future__ import annotations

from aioquic.tls import Context, SignatureAlgorithm
from cryptography.hazmat.backends import default_backend

from relay.net.tls import Pair, is_p521

_P521 = SignatureAlgorithm.ECDSA_SECP521R1_SHA512

_MADE = "_signature_algorithms_for_private_key"

default_backend()  # which each connection asks for: the first may have no descriptor to load it


def show(tls: Context, pair: Pair) -> None:
    """Have a server show that pair; to be called before it answers a ClientHello."""
    tls.certificate, tls.certificate_chain = pair.chain[0], list(pair.chain[1:])
    tls.certificate_private_key = pair.key
    _sign(tls)


def allow_p521(tls: Context) -> None:
    """The library knows this curve's signatures and takes none, nor makes any of its own."""
    tls._signature_algorithms.append(_P521)
    _sign(tls)


def _sign(tls: Context) -> None:
    vars(tls).pop(_MADE, None)  # what the key before it was of
    if is_p521(tls.certificate_private_key):
        setattr(tls, _MADE, lambda: [_P521])
