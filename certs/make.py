"""The certificate of `make run`: made when there is none, or when it ends within a day.

Browsers pin only certificates that live at most 14 days, so it is renewed often. This script must
not know anything but the two files beside it.
"""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

from relay.errors import ConfigError
from relay.net.tls import load, write_pair

NAMES = ("localhost", "127.0.0.1", "::1")
SPARE = datetime.timedelta(days=1)


def is_fresh(cert: Path, key: Path) -> bool:
    """Whether the pair can be loaded and lives for another day."""
    try:
        leaf = load(cert, key).chain[0]
    except ConfigError:
        return False
    return leaf.not_valid_after_utc - datetime.datetime.now(datetime.UTC) > SPARE


def main() -> None:
    """Make the pair if it is not fresh."""
    folder = Path(__file__).parent
    cert, key = folder / "relay.pem", folder / "relay.key"
    if not is_fresh(cert, key):
        write_pair(cert, key, NAMES)
        sys.stderr.write(f"made {cert.name} and {key.name}\n")


if __name__ == "__main__":
    main()
