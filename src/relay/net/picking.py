"""Which of several certificates a client is shown, by the name it asks for.

The law: only what the certificate names counts (RFC 9525, 6.3 and 6.4), its subject does not; the
first that fits is shown, and the first of all where none does. This module must not know
handshakes.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from cryptography import x509

Names = frozenset[str | IPv4Address | IPv6Address]
"""What a certificate is for: DNS names in lower case, with ``*.`` for any one label, and addresses.
"""


def names_of(leaf: x509.Certificate) -> Names:
    """The alternative names of a certificate; none where they cannot be read."""
    try:
        kind = x509.SubjectAlternativeName
        found = leaf.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return frozenset()
    hosts = (name.lower() for name in found.get_values_for_type(x509.DNSName))
    # An address may as well be a network, which only authorities are limited to.
    addresses = found.get_values_for_type(x509.IPAddress)
    return frozenset([*hosts, *(a for a in addresses if isinstance(a, IPv4Address | IPv6Address))])


def pick(offered: Iterable[Names], asked: str) -> int:
    """The place of the first certificate for the host that is asked for, 0 where there is none."""
    wanted = _fitting(asked)
    return next((place for place, names in enumerate(offered) if names & wanted), 0)


def _fitting(asked: str) -> Names:
    """Whatever a certificate may call that host."""
    try:
        return frozenset([ip_address(asked)])
    except ValueError:
        pass
    host = asked.lower().removesuffix(".")
    label, _, parent = host.partition(".")
    return frozenset([host, f"*.{parent}"] if label and parent else [host])
