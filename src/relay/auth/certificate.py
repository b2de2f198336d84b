"""A client certificate as a fact: what a checked chain says about who dialled.

The law: a certificate is only ever looked at after its chain was checked by whoever took the
connection; a name is compared whole, without patterns. This module must not know which authorities
are trusted nor what a certificate allows.
"""

from __future__ import annotations

from dataclasses import dataclass

from relay.auth.reason import quoted

SHOWN = 4
"""Alternative names that are told."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """The leaf of a chain that was found good."""

    fingerprint: str
    """SHA-256 of the DER form, lower-case hex."""
    not_after: float
    """Unix seconds from which it is no longer valid."""
    subject: str = ""
    """Distinguished name (RFC 4514)."""
    sans: tuple[str, ...] = ()
    """Alternative names: host names in lower case, addresses, URIs, mailboxes (RFC 5280,
    4.2.1.6)."""
    issuer: str = ""
    """Distinguished name of who signed it (RFC 4514)."""
    not_before: float | None = None
    """Unix seconds from which it is valid: its time of issue."""

    @property
    def name(self) -> str:
        """What to call its bearer: the first alternative name, else the subject."""
        return self.sans[0] if self.sans else self.subject

    @property
    def traits(self) -> str:
        """What a rule may know it by, written as rules have it."""
        traits = [("san", name) for name in self.sans[:SHOWN]]
        traits += [("fingerprint", self.fingerprint), ("issuer", self.issuer)]
        return ", ".join(f"{trait} {quoted(value)}" for trait, value in traits if value)
