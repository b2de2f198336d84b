"""Keys made for the occasion, and a forger that signs whatever it is given."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from judged import named_keys
from relay.auth.compact import to_base64url
from relay.auth.keys import Key

Forge = Callable[..., str]


@pytest.fixture(scope="session")
def keys() -> dict[str, Key]:
    return named_keys()


@pytest.fixture(scope="session")
def forge() -> Forge:
    def sign(
        key: Key,
        claims: dict[str, Any] | None = None,
        header: dict[str, Any] | None = None,
        payload: bytes | None = None,
        signature: bytes | None = None,
    ) -> str:
        members = {"alg": key.algorithm, "typ": "JWT", "kid": key.kid} | (header or {})
        members = {name: value for name, value in members.items() if value is not None}
        body = json.dumps(claims).encode() if payload is None else payload
        signed = f"{to_base64url(json.dumps(members).encode())}.{to_base64url(body)}"
        made = key.material.sign(signed.encode()) if signature is None else signature
        return f"{signed}.{to_base64url(made)}"

    return sign
