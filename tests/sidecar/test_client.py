"""Asking a server by either contract: only a clear yes is a yes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from relay.auth.certificate import Certificate
from relay.auth.facts import Facts
from relay.auth.revocation import Revocation, Revocations
from relay.auth.settings import AuthSettings
from relay.path import ROOT, Path
from relay.sidecar.client import AuthClient
from relay.sidecar.inquiry import JWT, ClientCertificate, Ending, Inquiry, SetupToken
from relay.sidecar.link import Link, Unreachable

GUEST = Inquiry("00ff", "n1", "quic", "/demo/room")


def asked(oracle, now, contract="events", inquiry=GUEST, settings=None, facts=None, **told):
    """What a server that was told so lets somebody do, and the server."""

    async def run():
        async with (
            oracle(**told) as server,
            Link(server.url, deadline=1.0 if told.get("silent") else 10.0) as link,
        ):
            obeyed = (settings or AuthSettings()).model_copy(update={"contract": contract})
            client = AuthClient(link, obeyed, lambda: now)
            return await client.connect(inquiry, *([facts] if facts else [])), server

    return asyncio.run(run())


def test_terms_admit(oracle, now):
    terms = {
        "publish": ["alice/**"],
        "subscribe": ["**"],
        "expires": int(now) + 60,
        "revalidate": 5,
        "tier": "gold",
        "peer": True,
    }
    admission, server = asked(oracle, now, body=terms)
    assert admission
    grant = admission.grant
    assert (grant.root, grant.publish, grant.subscribe) == (GUEST.path[1:], ("alice",), ("",))
    assert (grant.expires, grant.cluster, grant.tenant) == (now + 60, True, "demo")
    assert admission.revalidate == 5.0
    assert admission.decision.status == 200
    assert server.asked == [GUEST.dump()]


def test_terms_with_another_root(oracle, now):
    admission, _ = asked(oracle, now, body={"subscribe": ["**"], "root": "/pid//x/"})
    assert admission.grant.root == "pid/x"


@pytest.mark.parametrize(
    ("entry", "unavailable", "code", "status"),
    [
        (Revocation("tenant", "demo"), "", "revoked", 401),
        (Revocation("jti", "ab" * 32), "", "revoked", 401),  # the certificate's
        (Revocation("tenant", "other"), "", None, 200),
        (Revocation("tenant", "other"), "nobody answers", "unavailable", 503),
    ],
)
def test_what_the_relay_knows_counts_beside_the_servers_word(
    oracle, now, entry, unavailable, code, status
):
    shown = Certificate("ab" * 32, now + 60, "CN=cam")
    facts = Facts(Revocations([entry]).check, certificate=shown, unavailable=unavailable)
    admission, server = asked(oracle, now, body={"publish": ["**"]}, facts=facts)
    assert admission.decision.status == status
    assert (admission.grant is None) == (code is not None)
    assert code is None or admission.decision.reason.code == code
    assert admission.grant is None or admission.grant.beside.jti == shown.fingerprint
    assert len(server.asked) == 1


def test_patterns_left_out_are_a_warning(oracle, now):
    admission, _ = asked(oracle, now, body={"publish": ["a/**", "b"]})
    assert admission.grant.publish == (Path("a"),)
    assert "'b'" in admission.decision.warnings[0]


@pytest.mark.parametrize(
    ("body", "code", "status"),
    [
        ({}, "server_refused", 403),
        ({"publish": [], "subscribe": []}, "server_refused", 403),
        ({"publish": ["**"], "revalidate": 5}, "server_invalid", 503),
        ({"publish": ["**"], "revalidate": 0, "expires": 2**40}, "server_invalid", 503),
        ({"publish": ["**"], "expires": 1}, "server_invalid", 503),
        ({"publish": ["**"], "expires": 1_900_000_000}, "server_invalid", 503),
        ({"publish": ["**"], "mounts": {"a": "b"}}, "server_invalid", 503),
        ({"publish": ["alice"]}, "server_invalid", 503),
        ({"publish": ["a*b*c"]}, "server_invalid", 503),
        ({"publish": ["a/" * 40]}, "server_invalid", 503),
        ({"publish": "**"}, "unavailable", 503),
        ({"publish": ["**"], "expires": "soon"}, "unavailable", 503),
        ({"publish": ["**"], "peer": 1}, "unavailable", 503),
        (b"nope", "unavailable", 503),
        ([], "unavailable", 503),
    ],
)
def test_nothing_else_admits(oracle, now, body, code, status):
    admission, _ = asked(oracle, now, body=body)
    assert not admission
    assert admission.grant is None
    assert (admission.decision.reason.code, admission.decision.status) == (code, status)
    assert admission.is_outage is (code == "unavailable")
    assert admission.decision.steps[-1].ok is False


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_keeps_its_status_and_its_word(oracle, now, status):
    admission, _ = asked(oracle, now, status=status, body=b"expired 12ab")
    assert admission.decision.status == status
    assert admission.decision.reason.code == "server_refused"
    assert "expired 12ab" in admission.decision.reason.text
    assert not admission.is_outage


@pytest.mark.parametrize("contract", ["events", "api"])
@pytest.mark.parametrize("told", [{"status": 500}, {"status": 429}, {"silent": True}, {"raw": b""}])
def test_a_server_that_is_down_lets_nobody_in(oracle, now, contract, told):
    admission, _ = asked(oracle, now, contract, **told)
    assert admission.is_outage
    assert admission.decision.status == 503


@pytest.mark.parametrize("contract", ["events", "api"])
@pytest.mark.parametrize("path", ["/a/../b", "/a\nb", "/a?b", "/" + "x/" * 40])
def test_a_bad_path_is_not_even_asked_about(oracle, now, contract, path):
    admission, server = asked(oracle, now, contract, replace(GUEST, path=path))
    assert (admission.decision.reason.code, admission.decision.status) == ("bad_path", 400)
    assert server.asked == []


@pytest.mark.parametrize("contract", ["events", "api"])
def test_what_is_no_text_is_refused(oracle, now, contract):
    admission, server = asked(oracle, now, contract, replace(GUEST, transport="\ud800"))
    assert (admission.decision.reason.code, admission.decision.status) == ("bad_query", 400)
    assert server.asked == []


def test_the_role_narrows(oracle, now):
    both = {"publish": ["**"], "subscribe": ["**"]}
    admission, _ = asked(oracle, now, inquiry=replace(GUEST, role="subscriber"), body=both)
    assert (admission.grant.publish, admission.grant.subscribe) == ((), (ROOT,))
    admission, _ = asked(
        oracle, now, inquiry=replace(GUEST, role="publisher"), body={"subscribe": ["**"]}
    )
    assert admission.decision.reason.code == "role_not_granted"


def test_the_events_of_a_life(oracle, now):
    async def run():
        async with oracle() as server, Link(server.url) as link:
            client = AuthClient(link, AuthSettings(), lambda: now)
            await client.connect(GUEST)
            assert await client.revalidate(GUEST)
            server.status, server.body = 204, b""
            await client.end(GUEST, Ending("disconnected", 1.5, 7, 11))
            server.status = 500
            with pytest.raises(Unreachable):
                await client.end(GUEST, Ending("x", 0))
            return server.asked

    connect, revalidate, end, _ = asyncio.run(run())
    assert [each["event"] for each in (connect, revalidate, end)] == [
        "connect",
        "revalidate",
        "end",
    ]
    assert end["bytes"] == {"sent": 7, "received": 11}
    assert (end["reason"], end["duration"]) == ("disconnected", 1.5)
    assert "reason" not in revalidate


# -- the older contract ----------------------------------------------------------------------


def test_a_key_and_a_token(oracle, now, made, token):
    jwt = token(root="demo", get=["room"], exp=int(now) + 5)
    guest = replace(GUEST, query=f"jwt={jwt}")
    body = {"alias": "pid/room", "key": made["e1"].public().to_jwk(), "tier": "t"}
    admission, server = asked(oracle, now, "api", guest, body=body)
    assert admission, admission.decision.reason
    assert admission.grant.root == "pid/room"
    assert admission.grant.subscribe == (ROOT,)
    assert (admission.grant.kid, admission.grant.expires) == ("e1", now + 5)
    assert admission.revalidate is None
    assert server.targets == ["/auth?root=demo%2Froom&kid=e1&transport=quic"]
    assert jwt not in str(server.targets)


def test_a_token_in_a_header_is_found_too(oracle, now, made, token):
    jwt = token(root="demo", get=[""])
    guest = replace(GUEST, token=SetupToken(JWT, jwt.encode()))
    admission, _ = asked(oracle, now, "api", guest, body={"key": made["e1"].public().to_jwk()})
    assert admission


@pytest.mark.parametrize(
    ("query", "code"),
    [("jwt=a&jwt=b", "token_conflict"), ("&".join("x" for _ in range(99)), "bad_query")],
)
def test_a_bad_request_is_not_even_asked_about(oracle, now, query, code):
    admission, server = asked(oracle, now, "api", replace(GUEST, query=query))
    assert admission.decision.reason.code == code
    assert server.asked == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "no_token"),
        ({"public": {"publish": ["**"]}, "key": "x"}, "unavailable"),
        ({"public": {"subscribe": "x"}}, "unavailable"),
        ({"public": {"subscribe": [""]}, "alias": "too/deep/by/far"}, "server_invalid"),
    ],
)
def test_answers_that_admit_nobody(oracle, now, body, code):
    admission, _ = asked(oracle, now, "api", body=body)
    assert admission.decision.reason.code == code
    assert not admission


def test_a_certificate_is_mentioned_and_decided_on_here(oracle, now):
    guest = replace(GUEST, certificate=ClientCertificate("edge0", "ab" * 32, "CN=x"))
    facts = Facts(certificate=Certificate("ab" * 32, now + 60))
    rule = {"certificates": {"edge": {"fingerprint": "ab" * 32, "publish": [""]}}}
    settings = AuthSettings.model_validate(rule)
    told = {"inquiry": guest, "settings": settings, "facts": facts, "body": {}}
    admission, server = asked(oracle, now, "api", **told)
    assert admission.grant.publish == (ROOT,)
    assert "mtls=true" in server.targets[0]
    refused, _ = asked(oracle, now, "api", **(told | {"body": b"certificate 1", "status": 403}))
    assert refused.decision.reason.code == "server_refused"


def test_the_older_contract_has_no_end(oracle, now):
    async def run():
        async with oracle() as server, Link(server.url) as link:
            client = AuthClient(link, AuthSettings(contract="api"), lambda: now)
            await client.end(GUEST, Ending("x", 1))
            return server.asked

    assert asyncio.run(run()) == []
