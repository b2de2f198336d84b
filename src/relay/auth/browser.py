"""Telling a page in a browser from a program, for faces that answer whoever can reach them.

The law: what listens on loopback is reached by every page that is open on that machine. Such a page
says where it is from, or what kind of request it makes, or, when its own name was made to point at
loopback (DNS rebinding, which makes the face its own origin), asks for that name. This module must
not know HTTP beyond the names of headers.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping


def may_be_a_page(headers: Mapping[str, str], at: str) -> bool:
    """Whether a page may have sent a request with these headers (by lower-case name).

    ``at`` is the address on which it arrived. Programs ask for an address by number or for
    ``localhost`` there; elsewhere a name is as good.
    """
    if "origin" in headers or "sec-fetch-site" in headers:
        return True
    # Node's fetch says cors, and nothing of the site, which browsers never leave out beside it.
    if headers.get("sec-fetch-mode", "cors") != "cors":
        return True
    return is_loopback(at) and "host" in headers and not _is_own(headers["host"])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; of names only ``localhost``."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address  # what a socket of both families says
    return address.is_loopback


def _is_own(host: str) -> bool:
    """Whether a ``Host``, with or without a port, is a name that nobody else can point here."""
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdigit():
        name = host
    if name.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
    except ValueError:
        return False
    return True
