"""Where keys come from: files that are watched, URLs that are asked again, one set of them all."""

from relay.keyring.ring import Change, Facts, Keyring

__all__ = ["Change", "Facts", "Keyring"]
