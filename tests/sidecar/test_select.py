"""Filters over sessions: an unknown field is never a filter that fits everybody."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.errors import BadRequest
from relay.sidecar.inquiry import ClientCertificate, Inquiry, SetupToken
from relay.sidecar.select import Selector, read_selector, shown

HERE = Inquiry(
    "00ff",
    "n1",
    "quic",
    "/demo/room",
    query="jwt=secret",
    remote="203.0.113.9:4433",
    role="publisher",
    token=SetupToken(0, b"secret"),
    certificate=ClientCertificate("edge0", "ab" * 32, "CN=x"),
)
BARE = Inquiry("1", "n2", "unix", "/other")


@pytest.mark.parametrize(
    ("query", "here", "bare"),
    [
        ("", True, True),
        ("id=00ff", True, False),
        ("id=00FF", False, False),
        ("node=n1&transport=quic", True, False),
        ("node=n1&transport=unix", False, False),
        ("role=publisher", True, False),
        ("path=demo/**", True, False),
        ("path=/demo/room/", True, False),
        ("path=demo", False, False),
        ("path=*/*", True, False),
        ("path=**", True, True),
        ("remote=203.0.113.9", True, False),
        ("remote=203.0.113.0/24", True, False),
        ("remote=203.0.113.1/24", True, False),
        ("remote=198.51.100.0/24", False, False),
        ("remote=::/0", False, False),
        ("tls.name=edge0", True, False),
        ("tls.fingerprint=" + "ab" * 32, True, False),
        ("tls.issuer=CN=x", True, False),
        ("local=127.0.0.1:443", False, False),
    ],
)
def test_who_is_meant(query, here, bare):
    selector = read_selector(query)
    assert selector.matches(HERE) is here
    assert selector.matches(BARE) is bare


@pytest.mark.parametrize("remote", ["[::ffff:203.0.113.9]:1", "203.0.113.9:1"])
def test_an_address_by_either_spelling(remote):
    guest = Inquiry("1", "n", "quic", "/", remote=remote)
    assert read_selector("remote=203.0.113.0/24").matches(guest)


@pytest.mark.parametrize(
    "query",
    [
        "query=jwt",
        "token=x",
        "idd=1",
        "id=1&id=2",
        "path=a//b",
        "path=**/**",
        "remote=here",
        "remote=1.2.3.4/99",
        "x",
        "&".join(f"f{n}=1" for n in range(20)),
    ],
)
def test_what_is_no_filter(query):
    with pytest.raises(BadRequest):
        read_selector(query)


def test_a_path_too_long_is_in_no_pattern():
    guest = Inquiry("1", "n", "quic", "/x" * 40)
    assert not read_selector("path=**").matches(guest)


def test_no_credential_is_shown():
    (told,) = shown([HERE])
    assert "secret" not in str(told)
    assert told["id"] == "00ff"
    assert "event" not in told


@given(st.text(max_size=40))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_filter_or_a_bad_request(query):
    try:
        found = read_selector(query)
    except BadRequest:
        return
    assert isinstance(found, Selector)
    assert found.matches(HERE) in (True, False)
