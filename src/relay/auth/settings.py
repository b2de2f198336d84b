"""What the operator says about rights: where keys are, what is public, which credentials count.

The law: every setting has its unit, its default and its ceiling here and nowhere else; a value that
cannot be obeyed is refused when it is read. This module must not know files, the environment, or
what a decision does with a setting.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from relay.auth.domains import Domains
from relay.auth.prefixes import Prefixes
from relay.auth.rules import Accepts, ApiKeys, CertificateRules
from relay.auth.trust import (
    MAX_SOURCES,
    ClaimNames,
    FetchSettings,
    IssuerSource,
    JwksSource,
    KeySource,
    Place,
    is_content,
    is_url,
)

MAX_TOKEN_BYTES = 16 * 1024
"""Ceiling of `AuthSettings.max_token_bytes`: what any HTTP front will still carry in a URL."""

MAX_LEEWAY = 3600.0
"""Ceiling of `AuthSettings.leeway` in seconds; clocks that differ by more need mending."""

_CLOSED = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class PublicPrefixes(BaseModel):
    """What guests without a token may do. Written as one prefix, a list, or one list per role."""

    model_config = _CLOSED

    subscribe: Prefixes = ()
    """Prefixes anybody may subscribe below; ``""`` is everything."""

    publish: Prefixes = ()
    """Prefixes anybody may publish below; ``""`` is everything."""

    @model_validator(mode="before")
    @classmethod
    def _both_roles(cls, value: Any) -> Any:
        return value if isinstance(value, dict | cls) else {"subscribe": value, "publish": value}

    def __bool__(self) -> bool:
        return bool(self.subscribe or self.publish)


class AuthSettings(BaseModel):
    """The ``[auth]`` settings. The files named here are read by whoever assembles the relay."""

    model_config = _CLOSED

    key: Place | None = None
    """File or URL of the key that vouches for tokens (JWK, JWK set, PEM public key); default
    none."""

    keys: tuple[Place, ...] = Field(default=(), max_length=MAX_SOURCES)
    """More key files, for rotation; with several keys each needs a ``kid`` of its own."""

    key_dir: Place | None = None
    """Folder of keys, or the URL of one: each is ``{kid}.jwk`` and has that ``kid``; default
    none."""

    jwks: tuple[JwksSource, ...] = Field(default=(), max_length=MAX_SOURCES)
    """JWK sets by URL or file; a table ``{url, issuer, audience}`` binds the keys to those."""

    issuers: tuple[IssuerSource, ...] = Field(default=(), max_length=MAX_SOURCES)
    """OpenID Connect issuers whose discovery document says where their keys are."""

    fetch: FetchSettings = FetchSettings()
    """What keys by URL may cost."""

    claims: ClaimNames = ClaimNames()
    """What tokens call their rights."""

    on_key_removed: Literal["keep", "close"] = "keep"
    """What becomes of the sessions of a key that is no longer trusted. With ``close`` tickets and
    tokens of the relay's own that were made from its tokens are good no more either, nor those of a
    key that is not known here."""

    public: PublicPrefixes = PublicPrefixes()
    """What needs no token: ``"demo"`` opens ``demo`` and all below it, both ways; default none."""

    domains: Domains = ()
    """Names below which subdomains are places: whoever dials ``team.acme.<name>/live`` means
    ``/acme/team/live``. For WebTransport and WebSocket; default none."""

    api_keys: ApiKeys = {}
    """Static API keys by name: ``{hash, root, publish, subscribe, decrypt, expires}``, the hash as
    ``relay hash-token`` prints it; default none."""

    certificates: CertificateRules = {}
    """What client certificates allow, rules by name: ``{san, fingerprint, issuer, root, publish,
    subscribe, full_access, cluster}``; the first that fits holds; default none."""

    ingest: Accepts = Accepts()
    """Which credentials may publish."""

    consumption: Accepts = Accepts()
    """Which credentials may subscribe."""

    session: Accepts = Accepts()
    """Which credentials may open a session, over whatever carries it."""

    http: Accepts = Accepts()
    """Which credentials are taken with an HTTP request, plain or over TLS."""

    leeway: float = Field(default=0.0, ge=0.0, le=MAX_LEEWAY, allow_inf_nan=False)
    """Seconds by which ``exp`` may be past and ``nbf`` ahead; sessions end at ``exp`` + leeway."""

    max_token_bytes: int = Field(default=8192, ge=256, le=MAX_TOKEN_BYTES)
    """Longest token in bytes; longer ones are refused unread."""

    audience: str | None = None
    """What ``aud`` of every token must name; default none: a token with ``aud`` is refused."""

    issuer: str | None = Field(default=None, min_length=1, max_length=512)
    """What ``iss`` of every token must be, unless its key's source says otherwise; default none:
    it is not looked at."""

    require_exp: bool = False
    """Whether a token that never expires is refused."""

    max_ttl: float | None = Field(default=None, gt=0.0, allow_inf_nan=False)
    """Most seconds a token may still be valid; also refuses what never expires, and an ``exp`` in
    milliseconds; default none."""

    require_typ: str | None = Field(default=None, min_length=1, max_length=128)
    """What the header ``typ`` must be, such as ``"JWT"``; default none: it is not looked at."""

    url: str | None = None
    """Authorization server that is asked about every session instead of a key: an ``https://`` or
    ``unix:/`` address, ``http://`` on this machine only; default none."""

    contract: Literal["events", "api"] = "events"
    """How it is asked: ``events`` posts each session's connect, revalidate and end and is answered
    with a grant; ``api`` gets a key and what is public by path, and the relay decides."""

    strict: bool = False
    """Whether oddities of a token refuse it that otherwise only warn: a ``kid`` that is not its
    key's, headers that bring a key, an ``iat`` ahead of time, an ``exp`` in milliseconds, dot
    segments in a prefix."""

    @property
    def ends_with_key(self) -> bool:
        """Whether what a key vouched for ends with it, and the relay knows its keys."""
        return self.on_key_removed == "close" and self.url is None

    @property
    def key_places(self) -> tuple[str, ...]:
        """``key`` and ``keys`` in the order they were named: files, URLs, and keys themselves."""
        return ((self.key,) if self.key is not None else ()) + self.keys

    @property
    def key_files(self) -> tuple[str, ...]:
        """The key files in the order they were named."""
        return tuple(place for place in self.key_places if not (is_url(place) or is_content(place)))

    @property
    def key_texts(self) -> tuple[str, ...]:
        """The keys that stand in the settings themselves."""
        return tuple(place for place in self.key_places if is_content(place))

    @property
    def key_sets(self) -> tuple[KeySource, ...]:
        """``jwks`` and ``issuers`` in the order they were named."""
        return self.jwks + self.issuers

    @property
    def names_keys(self) -> bool:
        """Whether there is anything keys could come from."""
        return bool(self.key_places or self.key_dir or self.key_sets)
