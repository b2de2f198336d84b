"""Settings: each room's own, composed into one value and read from file, environment and flags.

Its law: a setting that is unknown, wrong or cannot be obeyed stops the start with one readable line
that names it and its place, and no value is ever echoed where it could be a secret. This room must
not know what a setting does; the rooms that obey it do.
"""

from relay.config.load import Loaded, load
from relay.config.shape import Address, Settings

__all__ = ["Address", "Loaded", "Settings", "load"]
