"""Whom the operator trusts: where keys come from, how they are fetched, how claims are named.

The law: a source is a file or one plain URL, said once and checked when it is read; what a source
may cost has a ceiling here. This module must not know how anything is read or fetched.
"""

from __future__ import annotations

from typing import Annotated, Any, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

MAX_URL = 2048
"""Characters of the URL of a key source."""

MAX_SOURCES = 64
"""Key files, and entries of ``jwks`` and of ``issuers``."""

MAX_CLAIM_NAME = 256
"""Characters of the name of a claim."""

MAX_NAME = 1024
"""Characters of a file's name."""

MAX_BODY = 1024 * 1024
"""Ceiling of `FetchSettings.max_bytes`."""

_CLOSED = ConfigDict(frozen=True, extra="forbid")


def is_url(text: str) -> bool:
    """Whether a key source is named by URL and not by file."""
    return text[:8].lower().startswith(("http://", "https://"))


def is_content(text: str) -> bool:
    """Whether what should name a file is a key, a token or a certificate itself."""
    start = text.lstrip()[:10]
    return start.startswith(("{", "eyJ", "-----BEGIN")) or len(text) > MAX_NAME


def split_url(text: str) -> SplitResult:
    """A URL keys may come from, taken apart. Raises `ValueError` when it cannot be one.

    No user name, no password, no fragment: what would not be sent, or would stand in a log.
    """
    if len(text) > MAX_URL or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"expected a URL of at most {MAX_URL} characters of ASCII, no spaces")
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - reading it checks it
    except ValueError:
        raise ValueError("expected a URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or "\\" in text:
        raise ValueError("expected a URL that begins with https://")
    if "@" in parts.netloc or parts.fragment:
        raise ValueError("expected a URL without user name, password and fragment")
    return parts


def _url(value: Any) -> Any:
    if isinstance(value, str):
        split_url(value)
    return value


def _place(value: Any) -> Any:
    return _url(value) if isinstance(value, str) and is_url(value) else value


Url = Annotated[str, BeforeValidator(_url)]
Place = Annotated[str, BeforeValidator(_place)]
"""A file name or a URL."""


class KeySource(BaseModel):
    """One entry of ``jwks`` or ``issuers``: where the keys are, and what their tokens must say."""

    model_config = _CLOSED

    url: Url | None = None
    """Where the JWK set is published."""

    file: str | None = None
    """File of the JWK set."""

    issuer: str | None = Field(default=None, min_length=1, max_length=512)
    """What ``iss`` must be. Alone: the issuer's own ``/.well-known/openid-configuration`` says
    where the keys are (OpenID Connect Discovery 1.0, 4)."""

    audience: str | None = Field(default=None, min_length=1, max_length=512)
    """What ``aud`` must name; default that of ``auth.audience``."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.url is not None and self.file is not None:
            raise ValueError("expected url or file, not both")
        if self.url is None and self.file is None:
            if self.issuer is None:
                raise ValueError("expected one of url, file, issuer")
            if split_url(self.issuer).query:
                raise ValueError("expected an issuer's URL without a query")
        return self


def _jwks(value: Any) -> Any:
    """A bare name is a URL or a file."""
    if isinstance(value, str):
        return {"url": value} if is_url(value) else {"file": value}
    return value


def _issuer(value: Any) -> Any:
    """A bare name is an issuer, and nothing else may be."""
    if isinstance(value, str):
        return {"issuer": value}
    if isinstance(value, dict) and not {"url", "file"}.isdisjoint(value):
        raise ValueError("expected issuer and audience; what has a url or file belongs in jwks")
    return value


JwksSource = Annotated[KeySource, BeforeValidator(_jwks)]
IssuerSource = Annotated[KeySource, BeforeValidator(_issuer)]


class FetchSettings(BaseModel):
    """``[auth.fetch]``: what keys by URL may cost, and how long they are believed."""

    model_config = _CLOSED

    timeout: float = Field(default=8.0, gt=0.0, le=60.0, allow_inf_nan=False)
    """Seconds a fetch may take from the first look-up to the last byte, redirects included."""

    max_bytes: int = Field(default=256 * 1024, ge=1024, le=MAX_BODY)
    """Bytes of one answer. More: the answer is refused."""

    max_age: float = Field(default=3600.0, gt=0.0, le=7 * 86400.0, allow_inf_nan=False)
    """Most seconds until keys are asked for again, whatever the server's Cache-Control allows."""

    default_age: float = Field(default=300.0, gt=0.0, le=7 * 86400.0, allow_inf_nan=False)
    """Seconds until keys are asked for again when the server does not say."""

    min_interval: float = Field(default=5.0, ge=0.01, le=3600.0, allow_inf_nan=False)
    """Least seconds between two fetches of one source. A token with an unknown key id has its
    source asked again, never sooner than this."""

    max_stale: float = Field(default=86400.0, ge=0.0, le=30 * 86400.0, allow_inf_nan=False)
    """Seconds the last good keys are believed beyond their age while their source fails; then they
    are forgotten and their tokens refused."""

    unknown_age: float = Field(default=10.0, ge=0.0, le=3600.0, allow_inf_nan=False)
    """Seconds a key id that its sources did not know is refused without asking them again."""

    max_waiting: int = Field(default=256, ge=1, le=65536)
    """Tokens that may wait for sources to be asked. Beyond: those of keys that are not at hand are
    refused with 503."""

    allow_http: bool = False
    """Whether keys may be fetched over plain HTTP, where anybody on the way can replace them."""

    allow_private: bool = False
    """Whether keys may be fetched from private, loopback and link-local addresses, over plain HTTP
    as well."""


def _claim(value: Any) -> Any:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_CLAIM_NAME:
        raise ValueError(f"expected the name of a claim, 1 to {MAX_CLAIM_NAME} characters")
    if "" in value.split("."):
        raise ValueError("expected names with single dots between them, such as moq.root")
    return value


ClaimName = Annotated[str, BeforeValidator(_claim)]


_OWN = frozenset(["exp", "nbf", "iat", "cluster", "decrypt", "parent_kid", "parent_iat"])
"""Claims that the relay reads in a way of its own, and can be no right as well."""

_NAMES = frozenset(["iss", "sub", "jti", "aud"])
"""Claims that name somebody. Others may sign tokens in which such a name is a right, too."""


class ClaimNames(BaseModel):
    """``[auth.claims]``: what a token calls its rights. A dot leads into an object: ``moq.root``
    is the member ``root`` of ``moq``, unless there is a member of just that name."""

    model_config = _CLOSED

    root: ClaimName = "root"
    """The path the token is for; where it is called otherwise, a token without it is refused."""

    put: ClaimName = "put"
    """The prefixes its bearer may publish below."""

    get: ClaimName = "get"
    """The prefixes its bearer may subscribe below."""

    tenant: ClaimName | None = None
    """The tenant its bearer belongs to, a name without slashes; default none: the first segment of
    the root, as for tokens without the claim."""

    @model_validator(mode="after")
    def _of_its_own(self) -> Self:
        rights = {"root": self.root, "put": self.put, "get": self.get}
        taken = [name for name, called in rights.items() if called in _OWN]
        if self.tenant in _OWN | _NAMES | set(rights.values()):
            taken.append("tenant")
        if taken:
            raise ValueError(f"expected a claim for {taken[0]} that means nothing else")
        return self

    def shared(self) -> list[str]:
        """Which of ``root``, ``put`` and ``get`` were given a claim that means something else as
        well. Tokens of others may be read so; made so they would allow more than was meant."""
        called = {"root": self.root, "put": self.put, "get": self.get}
        names = list(called.values())
        return [
            own
            for own, name in called.items()
            if name != own and (name in _NAMES or names.count(name) > 1)
        ]
