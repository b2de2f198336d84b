"""Where keys come from: files that are watched, URLs that are asked again, one set of them all."""

from relay.keyring.ring import Change, Keyring

__all__ = ["Change", "Keyring"]
