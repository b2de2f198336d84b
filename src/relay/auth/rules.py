"""What the operator says about credentials beside the JWT: API keys, certificates, what is taken.

The law: a rule that would allow nothing, or anybody by mistake, is refused when it is read; secrets
never stand in a setting, only their hashes. This module must not know what a decision does with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    model_validator,
)

from relay.auth.certificate import Certificate
from relay.auth.cipher_names import CipherNames
from relay.auth.claims import MAX_TIME
from relay.auth.credentials import KINDS, KeyHash, Kind
from relay.auth.prefixes import Prefixes, Root
from relay.path import ROOT

MAX_API_KEYS = 256
"""Static API keys; whoever has more needs API tokens and a store."""

MAX_CERTIFICATES = 256
"""Rules for client certificates."""

_CLOSED = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


def _hash(value: Any) -> KeyHash:
    if isinstance(value, KeyHash):
        return value
    if not isinstance(value, str):
        raise ValueError("expected the text that relay hash-token prints")
    return KeyHash.parse(value)


def _moment(value: Any) -> float:
    """Unix seconds of a number, a TOML date or an ISO date; without a zone it is UTC."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("expected unix seconds or a date like 2030-01-31T12:00Z") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time.min)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or abs(value) > MAX_TIME:
        raise ValueError("expected unix seconds or a date like 2030-01-31T12:00Z")
    return float(value)


def _fingerprint(value: Any) -> str:
    text = value.replace(":", "").lower() if isinstance(value, str) else ""
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise ValueError("expected a SHA-256 of 64 hex digits")
    return text


Hash = Annotated[KeyHash, BeforeValidator(_hash), PlainSerializer(str)]
Moment = Annotated[float, BeforeValidator(_moment), Field(allow_inf_nan=False)]
Fingerprint = Annotated[str, BeforeValidator(_fingerprint)]


class Accepts(BaseModel):
    """Which credentials are taken, for one direction or on one surface."""

    model_config = _CLOSED

    accept: tuple[Kind, ...] = KINDS
    """Kinds of credentials. The form of a credential says what it is; the order is that of hints.
    """

    enforce_jwt: bool = False
    """Whether only a JWT will do: no other credential, and nothing public."""

    def takes(self, kind: str) -> bool:
        """Whether rights founded on ``kind`` (or ``public``) hold here."""
        if self.enforce_jwt:
            return kind == "jwt"
        return kind == "public" or kind in self.accept


class ApiKey(BaseModel):
    """One ``[auth.api_keys.<name>]``: what the bearer of a static API key may do."""

    model_config = _CLOSED

    hash: Hash = Field(repr=False)
    """What ``relay hash-token`` prints for the configuration."""

    root: Root = ROOT
    """What the prefixes start from."""

    publish: Prefixes = ()
    """Prefixes below the root where the bearer may publish."""

    subscribe: Prefixes = ()
    """Prefixes below the root where the bearer may subscribe."""

    decrypt: CipherNames = ()
    """Cipher keys whose fields the bearer reads in the clear over HTTP; default none."""

    expires: Moment | None = None
    """Unix seconds or a date from which it is refused; default never."""

    @model_validator(mode="after")
    def _of_use(self) -> ApiKey:
        if not (self.publish or self.subscribe):
            raise ValueError("expected at least one prefix in publish or subscribe")
        return self


class CertificateRule(BaseModel):
    """One ``[auth.certificates.<name>]``: what the bearer of a client certificate may do.

    Of ``san``, ``fingerprint`` and ``issuer`` all that are given must fit; the first rule that fits
    holds.
    """

    model_config = _CLOSED

    san: str | None = Field(default=None, min_length=1)
    """An alternative name, compared whole; host names in any case."""

    fingerprint: Fingerprint | None = None
    """SHA-256 of the certificate, hex."""

    issuer: str | None = Field(default=None, min_length=1)
    """Distinguished name of who signed it (RFC 4514), compared whole."""

    root: Root = ROOT
    """What the prefixes start from."""

    publish: Prefixes = ()
    """Prefixes below the root where the bearer may publish."""

    subscribe: Prefixes = ()
    """Prefixes below the root where the bearer may subscribe."""

    decrypt: CipherNames = ()
    """Read and of no effect: HTTP, where fields are decrypted, asks nobody for a certificate."""

    full_access: bool = False
    """Whether everything below the root is allowed, both ways; only then may a rule fit any
    certificate of the trusted authorities."""

    cluster: bool = False
    """Whether the bearer is another relay."""

    @model_validator(mode="after")
    def _of_use(self) -> CertificateRule:
        if self.full_access:
            if self.publish or self.subscribe:
                raise ValueError("expected either full_access or prefixes, not both")
        elif not (self.publish or self.subscribe):
            raise ValueError("expected at least one prefix in publish or subscribe, or full_access")
        elif not (self.san or self.fingerprint or self.issuer):
            raise ValueError("expected san, fingerprint or issuer; only full_access fits anybody")
        return self

    def fits(self, certificate: Certificate) -> bool:
        """Whether the rule is about this certificate."""
        return (
            (self.san is None or _among(self.san, certificate.sans))
            and (self.fingerprint is None or self.fingerprint == certificate.fingerprint)
            and (self.issuer is None or self.issuer == certificate.issuer)
        )


def _among(name: str, sans: tuple[str, ...]) -> bool:
    """Host names stand in lower case among the facts; other names are compared as they are."""
    return name in sans or name.lower() in sans


def _distinct(keys: Mapping[str, ApiKey]) -> Mapping[str, ApiKey]:
    """A salt names one key, and so does a hash without one."""
    seen: dict[str, str] = {}
    for name, key in keys.items():
        other = seen.setdefault(key.hash.salt or str(key.hash), name)
        if other != name:
            what = f"a {'salt' if key.hash.salt else 'hash'} of its own for each key"
            raise ValueError(f"expected {what}, and {name!r} has that of {other!r}")
    return keys


ApiKeys = Annotated[dict[str, ApiKey], Field(max_length=MAX_API_KEYS), AfterValidator(_distinct)]
CertificateRules = Annotated[dict[str, CertificateRule], Field(max_length=MAX_CERTIFICATES)]
