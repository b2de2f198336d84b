"""Fields of a JSON record encrypted and decrypted, each under a named key.

The law: a field that was to be encrypted never passes in the clear, and what cannot be decrypted
stays as it is. A field reads ``kid:<name>:v<n>:<base64(nonce 12 bytes, ciphertext, tag)>``, AES-256
in GCM; the name, the version and whose record it is are bound to it, so that nobody has it
decrypted by publishing it as his own. This module must not know where keys are kept.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Mapping
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from relay.auth.cipher_names import CIPHER_NAME
from relay.errors import Unavailable
from relay.path import Path

NONCE = 12
"""Bytes of a nonce (NIST SP 800-38D, 8.2)."""

MAX_DEPTH = 64
"""Levels of a record that are looked through for encrypted fields."""

_SEALED = re.compile(rf"kid:({CIPHER_NAME.pattern}):v([0-9]{{1,9}}):([A-Za-z0-9+/]+={{0,2}})")


CipherKey = Mapping[int, bytes]
"""The versions of one key by number, 32 bytes each; the newest encrypts."""


class CipherKeys(Protocol):
    """Keys by name."""

    def get(self, name: str, /) -> CipherKey | None:
        """The key of that name, if there is one."""


def owner_of(path: Path) -> str:
    """Whose the records at a path are: its first segment."""
    return path.first or ""


def read_pointer(text: str) -> tuple[str, ...]:
    """The steps of a JSON pointer (RFC 6901, 3). Raises `ValueError`; the whole record is none."""
    if not text.startswith("/") or re.search(r"~(?![01])", text):
        raise ValueError(f"expected a JSON pointer such as /user/mail, not {text!r}")
    return tuple(
        step.replace("~1", "/").replace("~0", "~") for step in text.removeprefix("/").split("/")
    )


def encrypt(
    record: dict[str, Any],
    fields: Mapping[str, str],
    keys: CipherKeys,
    owner: str,
) -> None:
    """Encrypt ``fields`` (pointer to key name) in place; fields that are not there are no error.

    What stands where a field should be found is encrypted whole when it cannot hold one: a list or
    a text for an object. ``owner`` is the first segment of the record's path: whose it is.

    Raises `Unavailable` when a key does not exist, before anything was changed.
    """
    plan = []
    for pointer, name in fields.items():
        key = keys.get(name)
        if key is None:
            raise Unavailable(f"no cipher key {name!r}")
        newest = max(key)
        plan.append((read_pointer(pointer), name, newest, key[newest]))
    done = set()
    # The deepest first: a field within one that is encrypted as well stays reachable.
    for steps, name, version, key_bytes in sorted(plan, key=lambda each: -len(each[0])):
        place = _place(record, steps)
        if place is None or (id(place[0]), place[1], name) in done:
            continue
        holder, last = place
        done.add((id(holder), last, name))
        nonce, label = os.urandom(NONCE), f"kid:{name}:v{version}"
        plain = json.dumps(holder[last], separators=(",", ":"), ensure_ascii=False).encode()
        sealed = nonce + AESGCM(key_bytes).encrypt(nonce, plain, _bound(label, owner))
        holder[last] = f"{label}:{base64.b64encode(sealed).decode()}"


def decrypt(
    value: Any, keys: CipherKeys, allowed: frozenset[str], owner: str, depth: int = 0
) -> Any:
    """``value`` with every field decrypted that is ``owner``'s and whose key is ``allowed`` and
    known."""
    if depth > MAX_DEPTH:
        return value
    if isinstance(value, dict):
        return {
            name: decrypt(each, keys, allowed, owner, depth + 1) for name, each in value.items()
        }
    if isinstance(value, list):
        return [decrypt(each, keys, allowed, owner, depth + 1) for each in value]
    if not isinstance(value, str) or not (found := _SEALED.fullmatch(value)):
        return value
    name, version = found[1], int(found[2])
    key = keys.get(name) if name in allowed else None
    key_bytes = key.get(version) if key is not None else None
    if key_bytes is None:
        return value
    try:
        sealed = base64.b64decode(found[3], validate=True)
        label = _bound(f"kid:{name}:v{version}", owner)
        plain = AESGCM(key_bytes).decrypt(sealed[:NONCE], sealed[NONCE:], label)
        return decrypt(json.loads(plain), keys, allowed, owner, depth + 1)
    except (ValueError, InvalidTag):
        return value


def decrypt_frame(payload: bytes, keys: CipherKeys, allowed: frozenset[str], owner: str) -> bytes:
    """A frame as `decrypt` leaves it; one that is no JSON object, or holds nothing that could be
    decrypted, stays as it is to the letter."""
    if not allowed or b"kid:" not in payload:
        return payload
    try:
        record = json.loads(payload)
    except (ValueError, RecursionError):
        return payload
    if not isinstance(record, dict):
        return payload
    plain = decrypt(record, keys, allowed, owner)
    if plain == record:
        return payload
    try:
        text = json.dumps(plain, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode()
    except ValueError:  # sessions publish what they like: half a surrogate pair, 1e999
        return payload


def _bound(label: str, owner: str) -> bytes:
    return f"{label}\n{owner}".encode(errors="surrogatepass")


def _place(record: dict[str, Any], steps: tuple[str, ...]) -> tuple[Any, Any] | None:
    """The object or list that holds the field and its name there, or holds what cannot have such a
    field; ``None`` when there is nothing."""
    place: tuple[Any, Any] | None = None
    value: Any = record
    for step in steps:
        name: Any = step
        if isinstance(value, list) and re.fullmatch(r"0|[1-9][0-9]{0,8}", step):
            name = int(step)
            if name >= len(value):
                return None
        elif not isinstance(value, dict):
            return None if value is None else place
        elif step not in value:
            return None
        place, value = (value, name), value[name]
    return place
