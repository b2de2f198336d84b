"""Subdomains as places: which path a host and a path mean together."""

from __future__ import annotations

import pytest

from relay.auth.dialling import dialled
from relay.auth.domains import MAX_DOMAINS, placed, read_domains

DOMAINS = read_domains(["cdn.example.com", "eu.cdn.example.com"])


@pytest.mark.parametrize(
    ("host", "place"),
    [
        ("cdn.example.com", "/live"),
        ("acme.cdn.example.com", "/acme/live"),
        ("team.acme.cdn.example.com", "/acme/team/live"),
        ("Acme.CDN.example.com:4443", "/acme/live"),
        ("acme.cdn.example.com.", "/acme/live"),
        ("acme.eu.cdn.example.com", "/acme/live"),  # the longest counts
        ("eu.cdn.example.com", "/live"),
        ("us.cdn.example.com", "/us/live"),
        ("notcdn.example.com", "/live"),
        ("example.com", "/live"),
        ("", "/live"),
        ("[::1]:4443", "/live"),
        ("127.0.0.1", "/live"),
        ("..cdn.example.com", "/live"),
        (".cdn.example.com", "/live"),
        ("a/b.cdn.example.com", "/live"),
        ("a%2fb.cdn.example.com", "/live"),
        ("*.cdn.example.com", "/live"),
        ("a..b.cdn.example.com", "/live"),
        ("acme.cdn.example.com\n", "/live"),
    ],
)
def test_what_a_host_stands_for(host: str, place: str) -> None:
    assert placed("/live?jwt=x", host, DOMAINS) == f"{place}?jwt=x"
    assert placed("/live", host, ()) == "/live"


@pytest.mark.parametrize("target", ["/", "", "?jwt=x"])
def test_whoever_dials_no_path_is_at_the_place_itself(target: str) -> None:
    assert placed(target, "acme.cdn.example.com", DOMAINS).startswith("/acme/")


@pytest.mark.parametrize(
    "value", [1, [1], "", ".", "a b", "*.x.com", "x.com:1", "-x.com", ["a"] * (MAX_DOMAINS + 1)]
)
def test_what_is_no_domain_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        read_domains(value)


@pytest.mark.parametrize(
    ("url", "transport", "path"),
    [
        ("https://acme.cdn.example.com/live?jwt=x", None, "/acme/live"),
        ("wss://acme.cdn.example.com:8443/live", None, "/acme/live"),
        ("moqt://acme.cdn.example.com/live", None, "/live"),
        ("https://acme.cdn.example.com/live", "http", "/live"),
        ("/live", None, "/live"),
    ],
)
def test_only_where_a_client_says_which_host_it_dialled(
    url: str, transport: str | None, path: str
) -> None:
    assert dialled(url, transport, DOMAINS).dialled == path
