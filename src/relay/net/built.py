"""The C extension, if there is one: whether it was built, and of these sources.

`relay.net.speedups` does in C what `relay.net.udp`, `relay.net.protection` and, bound by
`relay.net.steps`, a connection do in Python. This module must not know what that is.
"""

from __future__ import annotations

from types import ModuleType

try:
    from relay.net import speedups as _found
except ImportError:  # not built: no compiler, or no OpenSSL to build with
    _found = None  # type: ignore[assignment]

_INTERFACE = 11
"""What the calls of `relay.net.speedups` look like: an older one may still lie about."""


def speedups() -> ModuleType | None:
    """The extension; ``None`` where it was not built, or of other sources."""
    if _found is None or _found.INTERFACE != _INTERFACE:
        return None
    return _found
