"""TLS of an HTTP face: pairs of files that are followed while the face serves.

The law: a pair is loaded whole into a context of its own before any connection sees it, so that
neither half a file nor a key of another kind disturbs those that come meanwhile; connections keep
what they began with. This module must not know what the face answers.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509

from relay.errors import ConfigError
from relay.net.followed import Followed
from relay.net.picking import Names, names_of, pick


class Secure:
    """The pair that new connections are shown. Raises `ConfigError` when there is none to begin
    with."""

    def __init__(self, cert: Path, key: Path, setting: str = "web.https.cert") -> None:
        """``setting`` is what errors call the pair."""
        self.cert = cert
        self._key = key
        self._setting = setting
        self._followed = Followed(cert, key)
        self.others: tuple[Secure, ...] = ()
        """Pairs for other names, each followed on its own."""
        self._current, self._names = self._load()
        self.context = self._current
        """What a server is given, once for ever."""
        self.context.sni_callback = self._choose

    @classmethod
    def of(cls, certs: Sequence[Path], keys: Sequence[Path]) -> Secure:
        """The first of several pairs, with the others."""
        first, *others = map(cls, certs, keys)
        first.others = tuple(others)
        return first

    @property
    def all(self) -> tuple[Secure, ...]:
        """This pair and the others."""
        return (self, *self.others)

    def reload_if_changed(self) -> bool:
        """Look at the files again and answer whether a new pair is in use.

        Raises `ConfigError` once per change for files that cannot be used; the old pair stays.
        """
        if not self._followed.have_changed():
            return False
        self._current, self._names = self._load()
        return True

    def _choose(self, tls: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """A connection begins."""
        place = pick((each._names for each in self.all), name) if name and self.others else 0
        tls.context = self.all[place]._current

    def _load(self) -> tuple[ssl.SSLContext, Names]:
        """A server's TLS context for the pair, and what that is for. Raises `ConfigError`."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self.cert, self._key, _refuse_to_ask)
            names = names_of(x509.load_pem_x509_certificates(self.cert.read_bytes())[0])
        except _EncryptedError as error:
            why = str(error)
        except ssl.SSLError as error:
            why = "the key does not belong to the certificate"
            if error.reason != "KEY_VALUES_MISMATCH":
                why = "not a PEM certificate and its key"
        except OSError as error:
            why = str(error.strerror)
        except ValueError:
            why = "not a PEM certificate and its key"
        else:
            return context, names
        raise ConfigError(f"{self._setting}: {self.cert}, {self._key}: {why}")


class _EncryptedError(Exception):
    """A key that needs a password."""


def _refuse_to_ask() -> str:
    """In place of OpenSSL's own question at the terminal, for which everything would wait."""
    raise _EncryptedError("the key is encrypted; it must not be")
