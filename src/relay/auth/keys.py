"""Keys that vouch for tokens: read, named, gathered into sets, made.

The law: a key says itself which algorithm it is for, what it may do and how far it reaches, and a
token says nothing about its key but the name; within a set a name means one key. Secrets appear in
no error and no representation. This module must not know files, the clock, or what a token claims.
"""

from __future__ import annotations

import codecs
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from relay.auth import material
from relay.auth.compact import from_base64url, parse_object, to_base64url, to_json
from relay.auth.material import Material
from relay.auth.scope import Scope, read_scope
from relay.errors import ConfigError

MAX_KEY_FILE = 1024 * 1024
"""Bytes of one key file or JWK set."""

MAX_KEYS = 256
"""Keys of one file or published set."""

MAX_FOLDER = 1024
"""Keys of one folder."""

MAX_TOGETHER = 4096
"""Keys of all sources."""

OPERATIONS = ("sign", "verify")
"""The ``key_ops`` that mean something here (RFC 7517, 4.3); the others are ignored."""

_KID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_FOREIGN_KID = re.compile(r"[\x21-\x7e]{1,256}")


def is_kid(value: object) -> bool:
    """Whether ``value`` may name a key: 1 to 128 of ``A-Z a-z 0-9 _ -``, safe in any file name."""
    return isinstance(value, str) and _KID.fullmatch(value) is not None


def is_foreign_kid(value: object) -> bool:
    """Whether others may name a key so: 1 to 256 printable ASCII characters, no spaces.

    Such names are compared and never become part of a file name or URL.
    """
    return isinstance(value, str) and _FOREIGN_KID.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class Key:
    """One key. Its representation shows no material."""

    material: Material = field(repr=False)
    kid: str | None = None
    operations: tuple[str, ...] = OPERATIONS
    scope: Scope | None = None
    """How far its tokens may reach; ``None`` = anywhere."""
    issuer: str | None = None
    """What ``iss`` of its tokens must be; ``None`` = as for all keys."""
    audience: str | None = None
    """What ``aud`` of its tokens must name; ``None`` = as for all keys."""
    is_own: bool = False
    """Whether it is the relay's: then its tokens were exchanged for credentials of others."""

    @property
    def algorithm(self) -> str:
        """The one JWA algorithm it is used with (RFC 7518, 3.1)."""
        return self.material.algorithm

    @property
    def tenant(self) -> str | None:
        """Whose all its tokens are; ``None`` = as they say."""
        return None if self.scope is None else self.scope.tenant

    @property
    def can_sign(self) -> bool:
        """Whether it holds a private half and may use it."""
        return "sign" in self.operations and self.material.signing is not None

    @property
    def can_verify(self) -> bool:
        """Whether it may vouch for tokens."""
        return "verify" in self.operations

    def sign(self, data: bytes) -> bytes:
        """The signature of ``data``. Raises `ConfigError` when the key cannot or may not sign."""
        if not self.can_sign:
            half = (
                "only the public half"
                if self.material.signing is None
                else "not for signing (key_ops)"
            )
            raise ConfigError(f"the key cannot sign: it is {half}")
        return self.material.sign(data)

    def verify_signature(self, data: bytes, signature: bytes) -> bool:
        """Whether this key made ``signature`` over ``data``; False when it may not verify."""
        return self.can_verify and self.material.verify(data, signature)

    def public(self) -> Key:
        """The key without its private half. Raises `ConfigError` for a shared secret."""
        try:
            half = self.material.public()
        except ValueError as error:
            raise ConfigError(f"{error} ({self.algorithm})") from None
        kept = tuple(operation for operation in self.operations if operation != "sign")
        return replace(self, material=half, operations=kept)

    def to_jwk(self) -> dict[str, Any]:
        """The JWK, **with its secret** if the key holds one; `public` it before showing it."""
        members: dict[str, Any] = {"alg": self.algorithm, "key_ops": list(self.operations)}
        if self.kid is not None:
            members["kid"] = self.kid
        if self.scope is not None:
            members["scope"] = self.scope.members()
        return members | self.material.members()

    def dump(self, base64: bool = False) -> bytes:
        """The content of a key file: `to_jwk` as JSON, or as base64url of it."""
        text = to_json(self.to_jwk())
        return to_base64url(text).encode() if base64 else text


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys that vouch for tokens; ``KeySet()`` is empty and false. Immutable."""

    keys: tuple[Key, ...] = ()
    skipped: tuple[str, ...] = ()
    """A line for each key that could not be used, or not in full; worth a warning each."""
    single: bool = False
    """True for one key given by itself: then a token's ``kid`` need not be that of the key."""
    open_ended: bool = False
    """True when there may be more keys than are listed: then a token must name its key."""
    foreign_names: bool = False
    """True when names may be any of `is_foreign_kid`."""
    unused: Mapping[str, str] = field(repr=False, compare=False, default_factory=dict)
    """By names that two sources have a key of: what to say of that."""
    retired: Mapping[str, float] = field(repr=False, compare=False, default_factory=dict)
    """By names of keys that were removed, where what they vouched for ended with them: since when
    another key has that name, unix seconds; infinite while none has."""
    _named: Mapping[str, Key] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        named = {key.kid: key for key in reversed(self.keys) if key.kid is not None}
        object.__setattr__(self, "_named", named)

    def __len__(self) -> int:
        return len(self.keys)

    def __bool__(self) -> bool:
        return bool(self.keys) or self.open_ended

    def find(self, kid: str) -> Key | None:
        """The key of that name."""
        return self._named.get(kid)

    def origin(self, kid: str | None, parents: Sequence[str]) -> str | None:
        """The key on whose word a credential by ``kid``, made from those of ``parents``, came to
        be: the last of all that is none of the relay's own. ``None`` where every one is."""
        for name in (kid, *reversed(parents)):
            key = None if name is None else self.find(name)
            if key is None or not key.is_own:
                return name
        return None

    @classmethod
    def load(cls, data: bytes, name: str, halved: bool = False) -> KeySet:
        """Read a JWK or a JWK set (JSON, or base64url of it), or a public key in PEM. A byte order
        mark, which editors on Windows put in front, is none of it.

        ``name`` is what errors call the source, usually a file name. One bad key of a set is
        skipped and named in `skipped`; a bad single key, or a set without a single good key, raises
        `ConfigError`. ``halved``: private halves, which nobody should send around, are left unread;
        shared secrets stay.
        """
        data = data.removeprefix(codecs.BOM_UTF8)
        try:
            if data.lstrip().startswith(b"-----BEGIN"):
                return cls((Key(material.read_pem(data), operations=("verify",)),), single=True)
            members = parse_object(_json(data))
            if "keys" in members:
                return _read_set(members["keys"], name, halved)
            key = read_jwk(members, halved=halved)
            return cls((key,), _dropped(members, name) if halved else (), single=True)
        except ValueError as error:
            raise ConfigError(f"{name}: no usable key: {error}") from None

    @classmethod
    def load_published(cls, data: bytes, name: str) -> KeySet:
        """Read a JWK set that its owner shows to everybody (RFC 7517, 5), as JSON.

        Keys may go by foreign names, a private half is taken off, a shared secret is not used. An
        empty set is an answer. Raises `ConfigError` when it is no set at all.
        """
        try:
            listed = parse_object(data.removeprefix(codecs.BOM_UTF8)).get("keys")
            return replace(
                _read_listed(listed, name, halved=True, published=True), foreign_names=True
            )
        except ValueError as error:
            raise ConfigError(f"{name}: no JWK set: {error}") from None

    @classmethod
    def load_named(cls, data: bytes, kid: str, name: str, halved: bool = False) -> KeySet:
        """Read the one key of a folder that is filed under ``kid``, in any form `load` takes.

        Raises `ConfigError` when it goes by another name; without one it gets that of its file.
        """
        read = cls.load(data, name, halved)
        if len(read) != 1:
            raise ConfigError(f"{name}: {len(read)} keys instead of one")
        key = read.keys[0]
        if key.kid not in (None, kid):
            raise ConfigError(f"{name}: its kid is {key.kid}, which is not how it is filed")
        return cls((replace(key, kid=kid),), read.skipped)

    def expecting(self, issuer: str | None, audience: str | None) -> KeySet:
        """The set whose tokens must name this ``iss`` and ``aud``; ``None`` = as for all keys."""
        keys = tuple(replace(key, issuer=issuer, audience=audience) for key in self.keys)
        return replace(self, keys=keys)

    @classmethod
    def gather(cls, *sets: KeySet, sources: Sequence[str] = ()) -> KeySet:
        """All keys together. Never raises: of two that share a name the first is used.

        What is not used is named in `skipped`; ``sources`` is what the sets are called there.
        """
        keys: list[Key] = []
        skipped = [line for each in sets for line in each.skipped]
        unused = {kid: line for each in sets for kid, line in each.unused.items()}
        taken: dict[str, str] = {}
        alone = sum(len(each) for each in sets) == 1
        for source, key in _sourced(sets, sources):
            if key.kid is None and not alone:
                skipped.append("a key without kid is not used: there are others")
            elif key.kid in taken:
                line = f"a second key named {key.kid} is not used"
                if source:
                    line += f": that of {taken[key.kid]} is, that of {source} is not"
                    unused.setdefault(key.kid, line)
                skipped.append(line)
            elif len(keys) >= MAX_TOGETHER:
                skipped.append(f"keys beyond the first {MAX_TOGETHER} are not used")
                break
            else:
                keys.append(key)
                taken |= {key.kid: source} if key.kid is not None else {}
        return cls(
            tuple(keys),
            tuple(skipped),
            single=len(sets) == 1 and sets[0].single,
            open_ended=any(each.open_ended for each in sets),
            foreign_names=any(each.foreign_names for each in sets),
            unused=unused,
        )

    @staticmethod
    def require_apart(*sets: KeySet, sources: Sequence[str] = ()) -> None:
        """Raises `ConfigError` when two keys share a name or one has none, or they are too many.

        ``sources`` is what the sets are called then. Of several keys each needs a ``kid`` of its
        own, or no token could tell which it means.
        """
        keys = list(_sourced(sets, sources))
        if len(keys) > MAX_TOGETHER:
            raise ConfigError(f"{len(keys)} keys (at most {MAX_TOGETHER})")
        seen: dict[str | None, str] = {}
        for source, key in keys:
            if key.kid is None and len(keys) > 1:
                raise ConfigError("one of several keys has no kid: each needs one of its own")
            if key.kid in seen:
                where = f", in {seen[key.kid]} and {source}" if source else ""
                text = f"two keys have the kid {key.kid}{where}: each needs one of its own"
                raise ConfigError(text)
            seen[key.kid] = source


def _sourced(sets: Sequence[KeySet], sources: Sequence[str]) -> Iterator[tuple[str, Key]]:
    """Every key, and what its set is called."""
    for source, each in zip(sources or [""] * len(sets), sets, strict=True):
        for key in each.keys:
            yield source, key


def generate(algorithm: str, kid: str | None = None, scope: Scope | None = None) -> Key:
    """A fresh key; a missing ``kid`` is made up. Raises `ConfigError` for a bad argument."""
    if kid is not None and not is_kid(kid):
        raise ConfigError("a key id is 1 to 128 letters, digits, hyphens or underscores")
    try:
        return Key(material.generate(algorithm), kid or secrets.token_hex(8), scope=scope)
    except ValueError as error:
        raise ConfigError(str(error)) from None


def read_jwk(members: Mapping[str, Any], foreign: bool = False, halved: bool = False) -> Key:
    """One JWK. ``alg`` is required, ``kty`` may be missing on old secrets. Raises `ValueError`.

    ``foreign`` lets it go by any name of `is_foreign_kid`. ``halved`` leaves a private half unread:
    to see whether one is right takes a tenth of a second, and with a bad one many.
    """
    if halved and _is_pair(members):
        members = {name: members[name] for name in members if name not in material.PRIVATE}
    kid = members.get("kid")
    if kid is not None and not foreign and not is_kid(kid):
        raise ValueError("kid is not 1 to 128 letters, digits, hyphens or underscores")
    if kid is not None and foreign and not is_foreign_kid(kid):
        raise ValueError("kid is not 1 to 256 printable characters of ASCII")
    if "kty" not in members and "k" in members:
        members = {**members, "kty": "oct"}
    if members.get("kty") not in ("oct", "RSA", "EC", "OKP"):
        raise ValueError("kty is none of oct, RSA, EC, OKP")
    if "alg" not in members:
        raise ValueError("alg is missing")
    scope = read_scope(members["scope"]) if members.get("scope") is not None else None
    read = material.read(members, members["alg"])
    return Key(read, kid, _operations(members.get("key_ops")), scope)


def _operations(value: object) -> tuple[str, ...]:
    """Absent means all, empty means none."""
    if value is None:
        return OPERATIONS
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("key_ops is not a list of strings")
    return tuple(operation for operation in OPERATIONS if operation in value)


def _json(data: bytes) -> bytes:
    """The JSON of a key file that may hold base64url of it."""
    if len(data) > MAX_KEY_FILE:
        raise ValueError(f"{len(data)} bytes (at most {MAX_KEY_FILE})")
    text = data.strip()
    if not text:
        raise ValueError("it is empty")
    if text.startswith(b"{"):
        return text
    try:
        inner = from_base64url(text.decode("ascii").rstrip("="))
    except ValueError:
        inner = b""
    # Any plain word is base64url of something.
    if not inner.lstrip().startswith(b"{"):
        raise ValueError("neither a JSON object, nor base64url of one, nor PEM")
    return inner


def _is_pair(members: Mapping[str, Any]) -> bool:
    """Whether a JWK brings a private half."""
    return members.get("kty") != "oct" and members.get("d") is not None


def _dropped(members: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """What to say of a key that was read without its private half."""
    line = f"{name}: the key{_called(members)} came with its private half, dropped"
    return (line,) if _is_pair(members) else ()


def _read_set(listed: object, name: str, halved: bool) -> KeySet:
    """The usable keys of a JWK set in a file. Raises `ValueError` when there is not one."""
    read = _read_listed(listed, name, halved)
    if not read.keys:
        raise ValueError("; ".join(read.skipped[:3]) or "the set is empty")
    return read


def _read_listed(listed: object, name: str, halved: bool, published: bool = False) -> KeySet:
    """The usable keys of a JWK set (RFC 7517, 5), which may hold keys for other purposes."""
    if not isinstance(listed, list):
        raise ValueError("keys is not a list")
    if len(listed) > MAX_KEYS:
        raise ValueError(f"{len(listed)} keys (at most {MAX_KEYS})")
    keys: list[tuple[str, Key]] = []
    skipped: list[str] = []
    dropped: list[str] = []
    for number, members in enumerate(listed, start=1):
        called = f"{name}: key {number}{_called(members)} is not used"
        try:
            key = _read_member(members, published, halved)
        except ValueError as error:
            skipped.append(f"{called}: {error}")
            continue
        if key.kid is not None and any(key.kid == other.kid for _, other in keys):
            skipped.append(f"{called}: its kid is taken by a key before it")
        else:
            keys.append((called, key))
            dropped += _dropped(members, name) if halved else ()
    if len(keys) > 1:
        skipped += [f"{called}: it has no kid" for called, key in keys if key.kid is None]
        keys = [(called, key) for called, key in keys if key.kid is not None]
    return KeySet(tuple(key for _, key in keys), (*skipped, *dropped))


def _read_member(members: object, published: bool, halved: bool) -> Key:
    if not isinstance(members, Mapping):
        raise ValueError("it is not an object")
    if members.get("use") == "enc":
        raise ValueError("it is for encryption")
    if members.get("alg") is None:
        members = {**members, "alg": material.infer_algorithm(members)}
    if published and (members.get("kty") == "oct" or members.get("k") is not None):
        raise ValueError("it is a shared secret, and everybody can read it there")
    return read_jwk(members, foreign=published, halved=halved)


def _called(members: object) -> str:
    kid = members.get("kid") if isinstance(members, Mapping) else None
    return f" ({kid})" if is_foreign_kid(kid) else ""
