"""Whom a reverse proxy may speak for: what the setting takes, and whose word counts."""

from __future__ import annotations

import pytest

from relay.control.proxies import as_seen, read_proxies


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("127.0.0.1", ("127.0.0.1/32",)),
        (["10.0.0.0/8", "fd00::/8", "::1"], ("10.0.0.0/8", "fd00::/8", "::1/128")),
        ([], ()),
    ],
)
def test_addresses_and_networks(value: object, read: tuple[str, ...]) -> None:
    assert read_proxies(value) == read


@pytest.mark.parametrize(
    "value", [1, [1], "*", "proxy", "10.0.0.1/8", "10.0.0.1:80", "0.0.0.0/0", ["::/0"], ""]
)
def test_what_is_neither_or_everybody_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"expected|anybody"):
        read_proxies(value)


def test_one_of_ipv4_is_known_in_ipv6_as_well() -> None:
    assert as_seen(read_proxies(["127.0.0.1", "::1"])) == [
        "127.0.0.1/32",
        "::ffff:127.0.0.1/128",
        "::1/128",
    ]
