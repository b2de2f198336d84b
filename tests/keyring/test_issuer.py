"""What a discovery document may say."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.keyring.fetch import Fetched, FetchError
from relay.keyring.issuer import Issuer, jwks_uri

ISSUER = "https://id.example/tenant/"


def document(**members: object) -> bytes:
    return json.dumps({"issuer": ISSUER} | members).encode()


def test_found() -> None:
    assert jwks_uri(document(jwks_uri="https://keys.example/k"), ISSUER) == "https://keys.example/k"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b"[]", "not a JSON object"),
        (document(jwks_uri="http://id.example/k"), "plain HTTP"),
        (document(jwks_uri="k"), "expected a URL"),
        (document(jwks_uri=["https://id.example/k"]), "no jwks_uri"),
        (document(issuer=ISSUER.rstrip("/"), jwks_uri="https://id.example/k"), "that of"),
    ],
)
def test_not_believed(body: bytes, words: str) -> None:
    with pytest.raises(FetchError, match=words):
        jwks_uri(body, ISSUER)


@given(st.binary(max_size=60) | st.dictionaries(st.text(max_size=4), st.text()).map(json.dumps))
@settings(max_examples=60)
def test_any_document(body: bytes | str) -> None:
    with pytest.raises(FetchError):
        jwks_uri(body.encode() if isinstance(body, str) else body, ISSUER)


def test_it_is_asked_again_when_it_grew_old() -> None:
    now = 0.0
    asked: list[tuple[str, str | None]] = []
    answers = [
        Fetched(document(jwks_uri="https://a.example/"), '"1"', 10.0),
        Fetched(None, '"1"', 10.0),
        Fetched(document(jwks_uri="https://b.example/"), None, 10.0),
    ]

    async def fetch(url: str, etag: str | None) -> Fetched:
        asked.append((url, etag))
        if not answers:
            raise FetchError("no more")
        return answers.pop(0)

    async def main() -> None:
        nonlocal now
        issuer = Issuer(ISSUER, fetch, lambda: now)
        found = []
        for now in (0.0, 9.0, 10.0, 20.0, 29.0):  # noqa: B007 - the clock reads it
            found.append((await issuer.locate())[8])
        assert "".join(found) == "aaabb"
        now = 30.0
        with pytest.raises(FetchError, match="discovery: no more"):
            await issuer.locate()

    asyncio.run(main())
    well_known = "https://id.example/tenant/.well-known/openid-configuration"
    assert asked == [(well_known, None), *[(well_known, '"1"')] * 2, (well_known, None)]
