"""Subdomains as places in the tree: below ``cdn.example.com`` whoever dials
``team.acme.cdn.example.com/live`` means ``/acme/team/live``, as with ``auth.domains`` of upstream's
relay.

The law: a host adds segments before the path and takes none away; what is no name of a host adds
none. This module must not know who dials, or what is decided.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator

from relay.auth.prefixes import texts

MAX_DOMAINS = 64
"""Names in the setting: each new session is compared with all of them."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_PORT = re.compile(r":[0-9]*$")


def read_domains(value: Any) -> tuple[str, ...]:
    """One name or a list of them, the longest first, in lower case. Raises `ValueError`."""
    listed = texts(value, "a domain or a list of domains")
    if len(listed) > MAX_DOMAINS:
        raise ValueError(f"expected at most {MAX_DOMAINS} domains")
    names = dict.fromkeys(item.lower().removeprefix(".").removesuffix(".") for item in listed)
    if not all(map(_NAME.fullmatch, names)):
        raise ValueError("expected names of hosts such as cdn.example.com, without a port or a *")
    return tuple(sorted(names, key=len, reverse=True))


Domains = Annotated[tuple[str, ...], BeforeValidator(read_domains)]
"""A setting that holds domains."""


def placed(target: str, authority: str, domains: Sequence[str]) -> str:
    """Path and query below what the host of ``authority`` stands for, that is the labels before the
    longest of the ``domains`` it ends in, the last one first."""
    if not domains:
        return target
    host = _PORT.sub("", authority).lower().removesuffix(".")
    if not _NAME.fullmatch(host):
        return target
    for domain in domains:
        if host == domain:
            return target
        if host.endswith(f".{domain}"):
            labels = host.removesuffix(f".{domain}").split(".")
            slash = "" if target.startswith("/") else "/"
            return f"/{'/'.join(reversed(labels))}{slash}{target}"
    return target
