"""The rows of ``vectors/doctor.json`` made real: the tokens they mean, and the key files."""

from __future__ import annotations

import json
import pathlib
from typing import Any

from relay.auth.compact import to_base64url
from relay.auth.keys import read_jwk

TABLE = json.loads((pathlib.Path(__file__).parent / "vectors" / "doctor.json").read_text("utf-8"))
JWK = {
    "kty": "oct",
    "alg": "HS256",
    "kid": "k1",
    "k": to_base64url(bytes(range(32))),
    "key_ops": ["sign", "verify"],
}
OTHER = JWK | {"k": to_base64url(bytes(32)), "kid": "other"}
FILES: dict[str, Any] = {
    "plain": JWK,
    "no_ops": {name: value for name, value in JWK.items() if name != "key_ops"},
    "no_kty": {name: value for name, value in JWK.items() if name != "kty"},
    "sign_only": JWK | {"key_ops": ["sign"]},
    "short": JWK | {"k": to_base64url(bytes(16))},
    "scoped": JWK | {"scope": {"root": "demo", "put": ["a"], "get": ["w"]}},
    "set": {"keys": [JWK]},
    "two": {"keys": [JWK, OTHER]},
    "other": OTHER | {"kid": "k1"},
}


def resolved(value: Any, now: float) -> Any:
    """The table's own words made values."""
    if isinstance(value, dict):
        if "$now" in value:
            return now + value["$now"] if value["$now"] % 1 else int(now) + int(value["$now"])
        if "$now_ms" in value:
            return int((now + value["$now_ms"]) * 1000)
        return {name: resolved(each, now) for name, each in value.items() if each != "$absent"}
    return [resolved(each, now) for each in value] if isinstance(value, list) else value


def token_of(row: dict[str, Any], now: float) -> str:
    """The token of a row, signed at unix second ``now``."""
    members = {"alg": "HS256", "typ": "JWT", "kid": "k1"} | row.get("header", {})
    header = json.dumps(resolved(members, now))
    payload = row.get("payload") or json.dumps(resolved(row["claims"], now))
    signed = f"{to_base64url(header.encode())}.{to_base64url(payload.encode())}"
    signature = read_jwk(JWK).sign(signed.encode())
    return f"{signed}.{to_base64url(signature)}{row.get('suffix', '')}"


def key_file_of(row: dict[str, Any]) -> bytes:
    """What is in the key file of a row."""
    name = row.get("key", "plain")
    if name == "encoded":
        return to_base64url(json.dumps(JWK).encode()).encode()
    return json.dumps(FILES[name]).encode()
