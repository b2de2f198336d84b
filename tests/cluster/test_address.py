from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.cluster.address import (
    MAX_ADDRESS,
    MAX_COST,
    advertised,
    is_place,
    near,
    parse,
    written,
)
from relay.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("relay.example.com:4443", "https://relay.example.com:4443/"),
        ("https://Relay.Example.com", "https://relay.example.com/"),
        ("https://relay.example.com:443//", "https://relay.example.com/"),
        ("https://a/b/?jwt=secret&cost=3", "https://a/b"),
        ("moqt://[::1]:4443", "moqt://[::1]:4443/"),
        ("MOQL://a:443/x", "moql://a/x"),
        ("tcp://a:443/x?jwt=secret", "tcp://a:443/x"),
    ],
)
def test_one_relay_one_key(text: str, key: str) -> None:
    assert parse(text).key == key


@pytest.mark.parametrize("text", ["a", "https://a//?jwt=t", "wss://a:1", "tcp://a:1/"])
def test_the_top_of_a_relay(text: str) -> None:
    assert not is_place(parse(text).url)
    assert not is_place(near(1, "/run/link-1").url)
    assert is_place(parse("https://a/b/?jwt=t").url)


def test_price_is_ours_and_the_rest_is_dialled() -> None:
    address = parse("https://a:1/x?cost=7&jwt=t&register=b")
    assert (address.cost, address.url) == (7, "https://a:1/x?jwt=t&register=b")
    assert parse("https://a").cost is None


def test_what_is_said_beside_a_bare_host_is_not_part_of_a_path() -> None:
    assert parse("a:4443?jwt=t&cost=2") == ("https://a:4443/", "https://a:4443/?jwt=t", 2)
    assert parse("a/x?jwt=https://b").url == "https://a/x/?jwt=https%3A%2F%2Fb"
    table = {"url": "a:4443", "token": "t", "cost": 2}
    assert parse(written(table)) == parse("a:4443?jwt=t&cost=2")


def test_a_token_of_its_own_wins() -> None:
    assert parse("https://a/?jwt=own").with_token("file") == "https://a/?jwt=own"
    assert parse("https://a/?x=1").with_token("file") == "https://a/?x=1&jwt=file"
    assert parse("https://a/?jwt=").with_token("file") == "https://a/?jwt=file"
    assert parse("https://a/").with_token("") == "https://a/"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://a/",
        "ftp://a",
        "https://",
        "https://a:0/",
        "tcp://a/",
        "unix:///run/r.sock",
        "https://a:99999/",
        "https://user:pw@a/",
        "50%",
        "https://a|b/",
        "https://[::1/",
        "https://a/?cost=-1",
        "https://a/?cost=1.5",
        f"https://a/?cost={MAX_COST + 1}",
        "https://a/?cost=" + "9" * 5000,
        "https://a/?cost=٣",
        "https://a b/",
        "https://a\n/",
        "https://\ud800/",
        "https://a/?x=\ud800",
        "https://a/" + "x" * MAX_ADDRESS,
    ],
)
def test_what_cannot_be_dialled_is_said(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text)


def test_a_complaint_repeats_no_token() -> None:
    with pytest.raises(ConfigError) as error:
        parse("https://a:0/?jwt=secret")
    assert "secret" not in str(error.value)


@given(st.text())
def test_anything_is_read_or_refused(text: str) -> None:
    try:
        address = parse(text)
    except ConfigError:
        return
    assert parse(address.key).key == address.key
    assert parse(address.url).key == address.key


def test_what_became_of_a_url_as_a_path() -> None:
    assert advertised("https:/a:1/x") == "https://a:1/x"
    assert advertised("a:1") == "a:1"


@pytest.mark.parametrize(
    ("table", "url"),
    [
        ({"url": "https://a/"}, "https://a/"),
        ({"url": "https://a/", "cost": 0}, "https://a/?cost=0"),
        ({"url": "https://a/?x=1", "cost": 7, "egress": 7}, "https://a/?x=1&cost=7"),
        ({"url": "https://a/", "egress": 1, "token": "a.b"}, "https://a/?jwt=a.b"),
        ({"url": "https://a/?jwt=T", "cost": 2}, "https://a/?jwt=T&cost=2"),
        ({"url": "https://a/?cost=3", "token": ""}, "https://a/?cost=3"),
    ],
)
def test_a_relay_may_be_a_table(table: dict[str, object], url: str) -> None:
    assert written(table) == url


@pytest.mark.parametrize(
    "table",
    [
        5,
        {},
        {"url": 5},
        {"url": "https://a/", "price": 2},
        {"url": "https://a/", "cost": "2"},
        {"url": "https://a/", "cost": True},
        {"url": "https://a/", "cost": 2, "egress": 3},
        {"url": "https://a/", "egress": 3},
        {"url": "https://a/?cost=2", "cost": 2},
        {"url": "https://a/?jwt=T", "token": "T"},
        {"url": "https://a/", "token": 5},
        {"url": "https://a/#x", "token": "T"},
        {"url": "https://[a"},
        {"url": "https://a\u2100b/"},
        {"url": "https://a/", "token": "\ud800"},
    ],
)
def test_a_table_that_is_no_relay(table: object) -> None:
    with pytest.raises(ConfigError):
        written(table)
