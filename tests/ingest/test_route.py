"""What an address means."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import BadRequest
from relay.ingest.route import Declared, read

DECLARED = [
    Declared.parse("plant/*/temperature/v1"),
    Declared.parse("plant/*/temperature/v10"),
    Declared.parse("lab/**:a/b"),
    Declared.parse("my lab/*:deep/er"),
    Declared.parse("caf%C3%A9/é:deep/er"),
]


@pytest.mark.parametrize(
    ("path", "track", "meant"),
    [
        ("/demo/cam", None, ("demo", "cam", None)),
        ("/demo/v1", None, ("demo", "v1", None)),
        ("/demo/cam/v1.2", None, ("demo", "cam", "v1.2")),
        ("/demo/cam/v", None, ("demo/cam", "v", None)),
        ("/demo/x%20y/a%2Fb", None, ("demo/x%20y", "a/b", None)),
        ("/my%20lab/100%25/deep/v1", None, ("my%20lab/100%25", "deep", "v1")),
        ("/my%20lab/100%25/deep/er/v1", None, ("my%20lab/100%25", "deep/er", "v1")),
        ("/caf%C3%A9/%C3%A9/deep/er/v1", None, ("caf%C3%A9/%C3%A9", "deep/er", "v1")),
        ("/caf%25C3%25A9/x/deep/er", None, ("caf%25C3%25A9/x/deep", "er", None)),
        ("/plant/p/temperature", None, ("plant/p", "temperature", None)),
        ("/lab/deep/er/a/b", None, ("lab/deep/er", "a/b", None)),
        ("/lab/a/b/v2", None, ("lab", "a/b", "v2")),
        ("/plant/p/temperature/v1.dlq", None, ("plant/p", "temperature/v1.dlq", None)),
        ("/plant/p/temperature.dlq", None, ("plant/p", "temperature.dlq", None)),
        ("/lab/deep/er/a/b.dlq", None, ("lab/deep/er", "a/b.dlq", None)),
        ("/lab/a/b/v2.dlq", None, ("lab", "a/b/v2.dlq", None)),
        ("/demo/cam/v1.dlq", None, ("demo/cam", "v1.dlq", None)),
        ("/demo/cam/v1", "v1", ("demo/cam/v1", "v1", None)),
        # A whole name is taken apart however it is said, or the rules of v1 would not hold for it.
        ("/plant/p", "temperature/v1", ("plant/p", "temperature", "v1")),
        ("/plant/p/temperature%2Fv1", None, ("plant/p", "temperature", "v1")),
        ("/demo/cam", "/v1", ("demo/cam", "/v1", None)),
    ],
)
def test_the_order_of_meanings(path, track, meant):
    assert tuple(read(path, DECLARED, track)) == meant


@pytest.mark.parametrize(
    ("path", "track"),
    [
        ("", None),
        ("/", None),
        ("/one", None),
        ("/a/%FF", None),
        ("/a/%FF/v1", None),
        ("/%FF/a/b", None),
        ("/a/%0A", None),
        ("/a/b%", None),
        ("/a", "\udcff"),
    ],
)
def test_what_means_nothing(path, track):
    with pytest.raises(BadRequest):
        read(path, DECLARED, track)


@pytest.mark.parametrize("text", ["", "cam", "a/**/b/cam", "a/c*m", ":x", "a:"])
def test_what_cannot_be_declared(text):
    with pytest.raises(ValueError, match="expected"):
        Declared.parse(text)


@given(st.text(max_size=60), st.none() | st.text(max_size=10))
def test_any_address_has_one_meaning_or_none(path, track):
    try:
        address = read(path, DECLARED, track)
    except BadRequest:
        return
    segments = [each for each in path.split("/") if each]
    assert address.broadcast
    assert segments[: address.broadcast.count("/") + 1] == address.broadcast.split("/")
    assert address.track


def test_a_long_address_is_read_in_no_time():
    began = time.process_time()
    assert read("/a" * 8000, DECLARED).track == "a"
    assert time.process_time() - began < 2.0
