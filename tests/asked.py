"""What a whole run of the tests was asked to do otherwise; the relays of e2e and interop hear it.

``MOQ_QUIC__SHORT_WAY=false`` runs them without the short way, ``MOQ_QUIC__SPEEDUPS=false`` without
what is in C, ``RELAY_TEST_WORKERS=2`` gives two workers to those that are processes.
"""

from __future__ import annotations

import os


def settings() -> dict[str, str]:
    """The environment of a relay in the test's own loop; the rest of ours is not for it."""
    return {name: said for name, said in os.environ.items() if name.startswith("MOQ_QUIC__")}


def environment() -> dict[str, str]:
    """The environment of a relay as a process, which says when it is ready."""
    found = os.environ | {"RELAY_READY": "1"}
    if (workers := os.environ.get("RELAY_TEST_WORKERS")) is not None:
        found.setdefault("MOQ_SERVER__WORKERS", workers)
    return found
