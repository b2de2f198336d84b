"""Settings of credentials beside the JWT, as they are written in files and variables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from relay.config import load
from relay.errors import ConfigError

HASH = "d8de8fcd077e81e756e11f0c422463d9e1d4560e"
SAFE = {"server.tls.generate": ["localhost"]}

FILE = f"""
[records]
url = "sqlite:///relay.db"

[auth.api_keys.plant]
hash = "{HASH}"
root = "plant"
publish = ["sensors"]
expires = 2030-01-01T00:00:00Z

[auth.certificates.peer]
san = "peer.example.com"
full_access = true

[auth.ingest]
accept = ["jwt", "api_key"]
enforce_jwt = true
"""


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(FILE)
    settings = load(file, SAFE, {}).settings
    key = settings.auth.api_keys["plant"]
    assert (str(key.hash), key.root, key.publish) == (HASH, "plant", ("sensors",))
    assert key.expires == 1893456000.0
    assert settings.auth.certificates["peer"].full_access
    assert settings.auth.ingest.accept == ("jwt", "api_key")
    assert settings.auth.ingest.enforce_jwt
    assert settings.records.url == f"sqlite:///{tmp_path}/relay.db"


def test_the_environment() -> None:
    keys = json.dumps({"plant": {"hash": HASH, "subscribe": ""}})
    environ = {"MOQ_AUTH__API_KEYS": keys, "MOQ_AUTH__HTTP__ACCEPT": "jwt,token"}
    settings = load(None, SAFE, environ).settings
    assert settings.auth.api_keys["plant"].subscribe == ("",)
    assert settings.auth.http.accept == ("jwt", "token")


@pytest.mark.parametrize(
    "way",
    [
        {"auth.api_keys": {"a": {"hash": HASH, "publish": ""}}},
        {"auth.certificates": {"a": {"full_access": True}}},
        {"records.url": "sqlite:///relay.db"},
    ],
)
def test_each_is_a_way_in(way: dict[str, object]) -> None:
    load(None, SAFE | way, {})


def test_a_bad_one_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(FILE.replace(HASH, "secret"))
    with pytest.raises(ConfigError) as error:
        load(file, SAFE, {})
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{file}:5: auth.api_keys.plant.hash: ")
    assert "expected pbkdf2_sha256$" in line
    assert "secret" not in line


def test_what_is_missing_is_named() -> None:
    flags = {"auth.api_keys": {"plant": {"publish": ""}}}
    with pytest.raises(ConfigError, match=r"auth\.api_keys\.plant: needs hash"):
        load(None, SAFE | flags, {})


def test_not_beside_a_server_that_decides() -> None:
    flags = {"auth.url": "https://x/", "auth.api_keys": {"a": {"hash": HASH, "publish": ""}}}
    with pytest.raises(ConfigError, match=r"auth\.api_keys: not beside auth\.url"):
        load(None, SAFE | flags, {})
