"""What the operator may write, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from relay.auth.settings import AuthSettings
from relay.path import Path


def test_defaults() -> None:
    auth = AuthSettings()
    assert auth.key_files == ()
    assert not auth.public
    assert (auth.leeway, auth.max_token_bytes, auth.audience) == (0.0, 8192, None)
    assert AuthSettings(key="a", keys=("b", "c")).key_files == ("a", "b", "c")


@pytest.mark.parametrize(
    ("public", "subscribe", "publish"),
    [
        ("demo", ["demo"], ["demo"]),
        ("", [""], [""]),
        (["/b/", "a", "a/x"], ["a", "b"], ["a", "b"]),
        ([], [], []),
        ({}, [], []),
        ({"subscribe": ""}, [""], []),
        ({"publish": ["x"], "subscribe": "y"}, ["y"], ["x"]),
    ],
)
def test_public(public: Any, subscribe: list[str], publish: list[str]) -> None:
    read = AuthSettings.model_validate({"public": public}).public
    assert (list(read.subscribe), list(read.publish)) == (subscribe, publish)
    assert all(isinstance(prefix, Path) for prefix in (*read.subscribe, *read.publish))
    assert bool(read) is bool(subscribe or publish)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("public", 5),
        ("public", [5]),
        ("public", {"subscribe": 5}),
        ("public", {"subscribe": ["a/" * 33]}),
        ("public", {"watch": "x"}),
        ("leeway", -1),
        ("leeway", 3601),
        ("leeway", float("nan")),
        ("max_token_bytes", 0),
        ("max_token_bytes", 1 << 20),
        ("keys", "a"),
        ("keys", ["a"] * 65),
        ("key", "http://"),
        ("key", "https://user@id.example/"),
        ("key", "https://id.example/#x"),
        ("key_dir", "https://id.example/ x"),
        ("jwks", "https://id.example/"),
        ("jwks", [5]),
        ("jwks", [{}]),
        ("jwks", [{"url": "id.example"}]),
        ("jwks", [{"url": "file:///etc/passwd"}]),
        ("jwks", [{"url": "https://id.example/" + "x" * 2048}]),
        ("jwks", [{"url": "https://id.example/", "file": "x"}]),
        ("jwks", [{"audience": "x"}]),
        ("jwks", [{"issuer": "x"}]),
        ("issuers", ["id.example"]),
        ("issuers", ["https://id.example/?a=b"]),
        ("issuers", [{"issuer": "https://id.example", "file": "x"}]),
        ("max_ttl", 0),
        ("max_ttl", float("inf")),
        ("on_key_removed", "drop"),
        ("claims", {"root": ""}),
        ("claims", {"root": "a."}),
        ("claims", {"tenant": "sub"}),
        ("claims", {"tenant": "root"}),
        ("claims", {"tenant": "moq.put", "put": "moq.put"}),
        ("claims", {"root": "x" * 257}),
        ("claims", {"exp": "e"}),
        ("fetch", {"timeout": 0}),
        ("fetch", {"max_bytes": 2 << 20}),
        ("fetch", {"min_interval": 0}),
        ("fetch", {"allow": True}),
        ("unknown", 1),
    ],
)
def test_refused(name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=name):
        AuthSettings.model_validate({name: value})


def test_frozen() -> None:
    with pytest.raises(ValidationError):
        AuthSettings().leeway = 5.0  # type: ignore[misc]


def test_key_sources() -> None:
    auth = AuthSettings.model_validate(
        {
            "key": "https://id.example/key",
            "keys": ["a", "HTTPS://id.example/other"],
            "jwks": ["https://id.example/jwks", "file", {"issuer": "https://id.example"}],
            "issuers": ["https://else.example"],
        }
    )
    assert auth.key_places == ("https://id.example/key", "a", "HTTPS://id.example/other")
    assert auth.key_files == ("a",)
    assert [(each.url, each.file, each.issuer) for each in auth.key_sets] == [
        ("https://id.example/jwks", None, None),
        (None, "file", None),
        (None, None, "https://id.example"),
        (None, None, "https://else.example"),
    ]
    assert auth.names_keys
    assert not AuthSettings().names_keys
    assert AuthSettings(key_dir="x").names_keys
