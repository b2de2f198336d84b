"""Questions about sessions: upstream's letters in and out, and nothing but them."""

from __future__ import annotations

import json
import math
from pathlib import Path as File

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.auth.certificate import Certificate
from relay.session.transport import Knock
from relay.sidecar.inquiry import (
    ClientCertificate,
    Ending,
    Inquiry,
    SetupToken,
    fresh_id,
    inquire,
    read_inquiry,
    tell_certificate,
)

VECTORS = json.loads((File(__file__).parents[1] / "vectors/sidecar.json").read_text())
GOOD = {"id": "00ff", "event": "connect", "node": "n", "transport": "quic", "path": "/demo"}
END = {"event": "end", "reason": "done", "duration": 1, "bytes": {"sent": 1, "received": 2}}
TLS = {"name": "edge0", "fingerprint": "ab" * 32, "issuer": "CN=x"}


@pytest.mark.parametrize("row", VECTORS["requests"], ids=lambda row: row["name"])
def test_upstreams_letters_in_and_out(row):
    members = json.loads(row["text"])
    told = read_inquiry(members).dump()
    assert json.dumps(told, separators=(",", ":")) == row["text"]


def test_what_is_read():
    found = read_inquiry(GOOD | END | {"query": "jwt=a", "role": "subscriber", "tls": TLS})
    assert found.ending == Ending("done", 1.0, 1, 2)
    assert found.certificate == ClientCertificate("edge0", "ab" * 32, "CN=x")
    request = found.request()
    assert request.target == "/demo?jwt=a"
    assert (request.publishes, request.subscribes) == (False, True)
    assert request.transport == "quic"


def test_a_path_that_could_be_taken_for_one_with_a_query_is_decided_by_nobody():
    with pytest.raises(ValueError, match="question mark"):
        Inquiry("00ff", "n", "http", "/demo?jwt=x").request()


def test_a_certificates_name_is_no_alternative_name():
    fact = read_inquiry(GOOD | {"tls": TLS}).fact()
    assert (fact.fingerprint, fact.issuer, fact.subject) == ("ab" * 32, "CN=x", "edge0")
    assert fact.sans == ()
    assert fact.not_after == math.inf
    assert read_inquiry(GOOD | {"tls": TLS | {"expires": 7}}).fact().not_after == 7
    assert read_inquiry(GOOD).fact() is None


def test_a_certificate_is_told_of():
    fact = Certificate("ab" * 32, 99.9, "CN=edge", ("edge.example",), "CN=ca")
    told = tell_certificate(fact)
    assert told == ClientCertificate("edge.example", "ab" * 32, "CN=ca", 99)
    bare = tell_certificate(Certificate("ab" * 32, math.inf))
    assert (bare.name, bare.expires) == ("ab" * 32, None)


def test_a_token_in_setup():
    found = read_inquiry(GOOD | {"token": {"kind": 0, "value": "YWJj"}})
    assert found.token == SetupToken(0, b"abc")
    assert found.request().bearer == "abc"
    with pytest.raises(ValueError, match="kind 1"):
        read_inquiry(GOOD | {"token": {"kind": 1, "value": "YWJj"}}).request()
    with pytest.raises(ValueError, match="no text"):
        read_inquiry(GOOD | {"token": {"kind": 0, "value": "_w"}}).request()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"id": None}, "id is missing"),
        ({"id": "a b"}, "id is not of the form"),
        ({"id": "x" * 65}, "id is not of the form"),
        ({"event": "hello"}, "event is not"),
        ({"event": 1}, "event is not a string"),
        ({"node": "a\nb"}, "node holds"),
        ({"transport": "QUIC!"}, "transport"),
        ({"path": None}, "path is missing"),
        ({"path": "/a?jwt=x"}, "path holds a query"),
        ({"path": "x" * 20_000}, "path is longer"),
        ({"query": ["jwt"]}, "query is not a string"),
        ({"query": "x" * 70_000}, "query is longer"),
        ({"remote": "203.0.113.9"}, "remote is not an address"),
        ({"remote": "host:1"}, "remote is not an address"),
        ({"remote": "1.2.3.4:99999"}, "remote is not an address"),
        ({"local": "[::1:443"}, "local is not an address"),
        ({"role": "both"}, "role is not"),
        ({"token": "abc"}, "token is not an object"),
        ({"token": {"kind": 0, "value": "a=="}}, "token"),
        ({"token": {"kind": True, "value": "YWJj"}}, "kind is not a whole number"),
        ({"token": {"kind": -1, "value": "YWJj"}}, "kind is below zero"),
        ({"tls": TLS | {"fingerprint": "abc"}}, "tls.fingerprint"),
        ({"tls": TLS | {"issuer": None}}, "issuer is missing"),
        ({"tls": TLS | {"expires": 1.5}}, "expires is not a whole number"),
        (END | {"reason": None}, "reason is missing"),
        (END | {"duration": -1}, "duration is no span"),
        (END | {"duration": True}, "duration is not a number"),
        (END | {"bytes": None}, "bytes is missing"),
        (END | {"bytes": {"sent": 1}}, "received is missing"),
        (END | {"bytes": {"sent": -1, "received": 1}}, "sent is below zero"),
    ],
)
def test_what_is_malformed(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        read_inquiry(GOOD | change)


def test_unknown_members_mean_nothing():
    assert read_inquiry(GOOD | {"new": {"x": 1}}) == read_inquiry(GOOD)


def test_a_knock_becomes_a_question():
    knock = Knock(
        "webtransport",
        "/demo?jwt=a",
        ("moq-lite-05",),
        ("::1", 99),
        "relay.example:4443",
        headers={"authorization": "Bearer  tok"},
    )
    found = inquire(knock, "/demo?jwt=a", fresh_id(), "node-1")
    assert len(found.id) == 32
    assert found.transport == "quic"
    assert (found.path, found.query) == ("/demo", "jwt=a")
    assert (found.remote, found.server_name, found.alpn) == (
        "[::1]:99",
        "relay.example",
        "moq-lite-05",
    )
    assert found.token == SetupToken(0, b"tok")
    assert read_inquiry(found.dump()) == found


def test_a_bare_knock():
    found = inquire(Knock("http", None, authority="[::1]:80"), "/", "1", "n")
    assert found == Inquiry("1", "n", "http", "/", server_name="::1")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
names = st.sampled_from(
    ["id", "event", "node", "path", "query", "remote", "role", "token", "tls", "bytes", "duration"]
)


@given(st.dictionaries(names, values, max_size=6), st.booleans())
@settings(max_examples=200, deadline=None)
def test_anything_is_a_question_or_a_value_error(change, over):
    try:
        found = read_inquiry(GOOD | END | change if over else GOOD | change)
    except ValueError:
        return
    assert read_inquiry(found.dump()) == found
