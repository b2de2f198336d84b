"""The decision service: what it answers, what it keeps to itself, and our own client against it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import httpx
import pytest

from relay.auth.keys import KeySet
from relay.auth.settings import AuthSettings
from relay.path import ROOT, Path
from relay.sidecar import app
from relay.sidecar.app import sidecar_app
from relay.sidecar.client import AuthClient
from relay.sidecar.inquiry import ClientCertificate, Ending, Inquiry, SetupToken, read_inquiry
from relay.sidecar.link import Link
from relay.sidecar.settings import SidecarSettings
from relay.sidecar.terms import read_terms

GUEST = Inquiry("00ff", "n1", "quic", "/demo", remote="203.0.113.9:1")
CERTIFIED = ClientCertificate("edge0", "ab" * 32, "CN=cluster")


def served(desk, visit, settings=None):
    """Whatever ``visit`` finds at the service, without a network."""

    async def run():
        face = httpx.ASGITransport(sidecar_app(desk, settings or SidecarSettings()))
        async with httpx.AsyncClient(transport=face, base_url="http://sidecar") as http:
            return await visit(http)

    return asyncio.run(run())


def posted(desk, members, settings=None, **told):
    async def visit(http):
        return await http.post("/", json=members, **told)

    return served(desk, visit, settings)


def got(desk, settings=None, **query):
    async def visit(http):
        return await http.get("/", params=query)

    return served(desk, visit, settings)


# -- session events --------------------------------------------------------------------------


def test_a_token_gets_its_terms(desk, token, now):
    guest = replace(GUEST, query=f"jwt={token(put=['alice'], get=[''], exp=int(now) + 60)}")
    answer = posted(desk, guest.dump())
    assert answer.status_code == 200
    assert answer.json() == {
        "publish": ["alice/**"],
        "subscribe": ["**"],
        "expires": int(now) + 60,
    }
    assert answer.headers["cache-control"] == "no-store"
    line = desk.said("allow")
    assert (line["session"], line["asked"], line["kid"]) == ("00ff", "connect", "e1")
    assert guest.query[4:] not in str(desk.lines)


def test_the_operators_terms(desk, now):
    settings = SidecarSettings(expires=3600, revalidate=60, tier="edge")
    told = replace(GUEST, path="/anon", event="revalidate").dump()
    answer = posted(desk, told, settings)
    assert answer.json() == {
        "publish": ["**"],
        "subscribe": ["**"],
        "expires": int(now) + 3600,
        "revalidate": 60,
        "tier": "edge",
    }
    assert desk.said("renew")["asked"] == "revalidate"


def test_public_rules_are_rooted_at_the_top(desk):
    assert posted(desk, replace(GUEST, path="/").dump()).json()["publish"] == ["anon/**"]
    assert posted(desk, GUEST.dump()).status_code == 401


def test_the_role_narrows(desk):
    told = replace(GUEST, path="/anon", role="subscriber").dump()
    assert posted(desk, told).json() == {"subscribe": ["**"]}


@pytest.mark.parametrize(
    ("path", "claims", "status", "word"),
    [
        ("/demo", {"get": [""], "exp": 1}, 401, "expired"),
        ("/other", {"get": [""]}, 401, "root_mismatch"),
        ("/demo/x", {"get": ["y"]}, 403, "no_access"),
    ],
)
def test_a_refusal_is_one_word_and_an_id(desk, token, path, claims, status, word):
    guest = replace(GUEST, path=path, query=f"jwt={token(**claims)}")
    answer = posted(desk, guest.dump())
    line = desk.said("deny")
    assert answer.status_code == status
    assert answer.text == f"{word} {line['id']}\n"
    assert answer.headers["x-request-id"] == line["id"]
    assert answer.headers["content-type"].startswith("text/plain")
    assert (line["reason"], line["session"]) == (word, "00ff")
    assert line["hint"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"query": "jwt=a&jwt=b"}, "token_conflict"),
        ({"path": "/a/../b"}, "bad_path"),
        ({"query": "jwt=" + "x" * 9000}, "token_too_long"),
        ({"token": SetupToken(1, b"x")}, "unsupported_token"),
        ({"certificate": CERTIFIED, "path": "/x"}, "certificate_not_granted"),
    ],
)
def test_a_guests_fault_is_a_refusal_and_never_an_outage(desk, change, word):
    answer = posted(desk, replace(GUEST, **change).dump())
    assert answer.status_code == 403
    assert answer.text.split()[0] == word


def test_the_log_says_what_was_told_of_a_certificate(desk):
    posted(desk, replace(GUEST, certificate=CERTIFIED, path="/x").dump())
    hint = desk.said("deny")["hint"]
    assert hint.endswith(f"fingerprint '{CERTIFIED.fingerprint}', issuer '{CERTIFIED.issuer}'")


def test_what_could_not_be_found_out_is_an_outage(desk, token):
    desk.unavailable = "the store does not answer"
    guest = replace(GUEST, query=f"jwt={token(get=[''])}")
    assert posted(desk, guest.dump()).status_code == 503


def test_a_setup_token_equal_to_the_querys_is_one_token(desk, token):
    jwt = token(get=[""])
    guest = replace(GUEST, query=f"jwt={jwt}", token=SetupToken(0, jwt.encode()))
    assert posted(desk, guest.dump()).status_code == 200
    other = replace(guest, token=SetupToken(0, token(get=["x"]).encode()))
    assert posted(desk, other.dump()).text.startswith("token_conflict ")


def test_a_certificate_by_its_fingerprint(desk, now):
    rule = {"certificates": {"edge": {"fingerprint": "ab" * 32, "publish": ["in"]}}}
    desk.settings = AuthSettings.model_validate(rule)
    until = replace(CERTIFIED, expires=int(now) + 9)
    answer = posted(desk, replace(GUEST, path="/", certificate=until).dump())
    assert answer.json() == {"publish": ["in/**"], "expires": int(now) + 9}
    forever = posted(desk, replace(GUEST, path="/", certificate=CERTIFIED).dump())
    assert forever.json() == {"publish": ["in/**"]}
    desk.settings = AuthSettings.model_validate(
        {"certificates": {"edge": {"san": "edge0", "publish": ["in"]}}}
    )
    answer = posted(desk, replace(GUEST, path="/", certificate=CERTIFIED).dump())
    assert answer.status_code == 403, "a name that may have been a common name is no SAN"


def test_the_end_is_written_down(desk):
    ending = Ending("disconnected", 12.5, 700, 11)
    answer = posted(desk, replace(GUEST, event="end", ending=ending).dump())
    assert (answer.status_code, answer.content) == (204, b"")
    line = desk.said("end")
    assert (line["seconds"], line["sent"], line["received"]) == (12.5, 700, 11)
    assert line["reason"] == "disconnected"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nope",
        b"[]",
        b'{"id":"1"}',
        b'{"id":"1","id":"2"}',
        b"\xff" * 9,
        b"[" * 3000,
        json.dumps(GUEST.dump() | {"event": "hello"}).encode(),
    ],
)
def test_what_is_malformed(desk, body):
    async def visit(http):
        return await http.post("/", content=body, headers={"content-type": "application/json"})

    answer = served(desk, visit)
    assert answer.status_code == 400
    assert answer.text.split() == ["malformed", desk.said("malformed")["id"]]


def test_other_bodies_and_too_large_ones(desk):
    async def visit(http):
        form = await http.post("/", data=GUEST.dump() | {"remote": "x"})
        large = await http.post("/", json=GUEST.dump() | {"x": "y" * 5000})
        return form.status_code, large.status_code, large.text.split()[0]

    settings = SidecarSettings(max_body=4096)
    assert served(desk, visit, settings) == (400, 413, "too_large")


def test_a_slow_question_and_a_slow_decision(desk):
    async def drip():
        yield b"{"
        await asyncio.sleep(1)
        yield b"}"

    async def visit(http):
        kind = {"content-type": "application/json"}
        slow = await http.post("/", content=drip(), headers=kind)
        desk.delay = 5
        return slow.status_code, (await http.post("/", json=GUEST.dump())).status_code

    settings = SidecarSettings(request_timeout=0.3)
    assert served(desk, visit, settings) == (408, 408)


def test_a_page_in_a_browser_gets_nothing(desk):
    there = {"origin": "https://evil.example"}
    answer = posted(desk, replace(GUEST, path="/anon").dump(), headers=there)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_a_page_whose_name_was_made_to_point_here_gets_nothing(desk):
    async def visit(host):
        face = httpx.ASGITransport(sidecar_app(desk, SidecarSettings()))
        async with httpx.AsyncClient(transport=face, base_url="http://127.0.0.1") as http:
            headers = {"host": host}
            return [
                (await http.get(path, headers=headers)).status_code for path in ("/", "/health")
            ]

    assert asyncio.run(visit("rebound.example:4440")) == [403, 403]
    for host in ("127.0.0.1:4440", "[::1]:4440", "localhost:4440"):
        assert asyncio.run(visit(host)) == [200, 200]


def test_other_addresses_and_methods(desk):
    async def visit(http):
        asked = ("GET", "/x"), ("PUT", "/"), ("GET", "/revalidate")
        answers = [await http.request(method, path) for method, path in asked]
        assert not any("x-request-id" in each.headers for each in answers)
        return [each.text for each in answers] + [(await http.get("/health")).text]

    told = ["not_found\n", "method_not_allowed\n", "method_not_allowed\n", "ok\n"]
    assert served(desk, visit) == told
    assert desk.lines == []


UNHEARD = [
    (403, "browser", "Sec-Fetch-Site", {"headers": {"origin": "https://evil.example"}}),
    (403, "browser", "another Host", {"headers": {"host": "rebound.example:4440"}}),
    (403, "not_from_here", "this machine", {"method": "GET", "url": "/metrics"}),
    (413, "too_large", "sidecar.max_body", {"json": {"x": "y" * 5000}}),
    (408, "timeout", "sidecar.request_timeout", {"json": GUEST.dump()}),
]


def asked_from_far(desk, visit):
    """Whatever ``visit`` finds at loopback's service, where it is a stranger and in no hurry."""
    settings = SidecarSettings(max_body=4096, request_timeout=0.1)
    desk.delay = 5

    async def run():
        face = httpx.ASGITransport(sidecar_app(desk, settings), client=("192.0.2.1", 7))
        async with httpx.AsyncClient(transport=face, base_url="http://127.0.0.1") as http:
            return await visit(http)

    return asyncio.run(run())


@pytest.mark.parametrize(("status", "word", "why", "asked"), UNHEARD)
def test_every_id_that_is_told_is_in_the_log(desk, status, word, why, asked):
    async def visit(http):
        return await http.request(**{"method": "POST", "url": "/"} | asked)

    answer = asked_from_far(desk, visit)
    line = desk.said("refused")
    assert (answer.status_code, answer.text) == (status, f"{word} {line['id']}\n")
    assert answer.headers["x-request-id"] == line["id"]
    assert (line["reason"], line["status"], line["remote"]) == (word, status, "192.0.2.1")
    assert why in line["why"]


def test_many_that_nobody_looks_at_are_one_line_and_one_id(desk, monkeypatch):
    async def visit(http):
        async def three():
            return [(await http.get("/", headers={"origin": "x"})).text for _ in range(3)]

        first = await three()
        assert (await http.get("/metrics")).text.startswith("not_from_here ")
        monkeypatch.setattr(app, "TOLD_SECONDS", 0.0)
        return first + await three()

    texts = asked_from_far(desk, visit)
    lines = [told for event, told in desk.lines if told["reason"] == "browser"]
    assert [line["count"] for line in lines] == [1, 3, 1, 1]
    ids = [line["id"] for line in lines]
    assert texts == [f"browser {ids[0]}\n", *["browser\n"] * 2] + [
        f"browser {id}\n" for id in ids[1:]
    ]


# -- the older contract ----------------------------------------------------------------------


def test_a_path_and_a_key_id(desk, made):
    answer = got(desk, root="anon/room", kid="e1", transport="quic")
    assert answer.status_code == 200
    told = answer.json()
    assert told["public"] == {"subscribe": [""], "publish": [""]}
    assert told["key"] == made["e1"].public().to_jwk()
    assert "d" not in told["key"]


def test_a_shared_secret_is_told_only_on_the_operators_word(desk, made):
    answer = got(desk, root="demo", kid="k1")
    assert answer.json() == {}
    assert "secret" in desk.said("warning")["why"]
    answer = got(desk, SidecarSettings(share_secrets=True), root="demo", kid="k1")
    assert answer.json()["key"] == made["k1"].to_jwk() | {"key_ops": ["verify"]}


def test_nothing_known_is_an_empty_answer(desk):
    assert got(desk, root="demo", kid="unknown").json() == {}
    assert got(desk, SidecarSettings(tier="t")).json() == {
        "public": {"subscribe": ["anon"], "publish": ["anon"]},
        "tier": "t",
    }


def test_a_certificate_of_which_nothing_is_known(desk):
    assert got(desk, root="anon", mtls="true").status_code == 200, "open to anybody"
    assert got(desk, root="demo", mtls="true").text.startswith("certificate ")
    rule = {"certificates": {"edge": {"issuer": "CN=cluster", "full_access": True}}}
    desk.settings = AuthSettings.model_validate(rule)
    assert got(desk, root="demo", mtls="true").status_code == 403
    rule = {"certificates": {"any": {"full_access": True}}}
    desk.settings = AuthSettings.model_validate(rule)
    assert got(desk, root="demo", mtls="true").json() == {}


@pytest.mark.parametrize(
    "query",
    ["root=a/../b", "root=a%3Fjwt=x", "root=a&root=b", "mtls=yes", "transport=Q%20C", "root=%00"],
)
def test_malformed_questions(desk, query):
    async def visit(http):
        return await http.get(f"/?{query}")

    assert served(desk, visit).status_code == 400


# -- asking again ----------------------------------------------------------------------------


def test_the_word_to_ask_again_is_passed_on(desk):
    async def visit(http):
        good = await http.post("/revalidate?id=00ff&path=demo/**")
        bad = await http.post("/revalidate?idd=1")
        return good.status_code, good.json(), bad.status_code

    assert served(desk, visit) == (202, {"relays": 1}, 400)
    assert desk.pushed == ["id=00ff&path=demo/**"]


# -- our client against our service ----------------------------------------------------------


@pytest.mark.parametrize("contract", ["events", "api"])
def test_both_contracts_agree_with_the_decision_itself(serving, desk, token, now, contract):
    """The same guests, decided on directly and by way of the service."""
    guests = [
        replace(GUEST, path=path, query=f"jwt={jwt}" if jwt else None)
        for path in ("/", "/demo", "/demo/a", "/anon/x", "/other")
        for jwt in (
            "",
            "garbage",
            token(get=[""]),
            token(put=["a"], get=["b"]),
            token(root="", put=["demo/a"], exp=int(now) + 60),
            token(get=[""], exp=int(now)),
        )
    ]

    async def run():
        async with serving(desk) as url, Link(url) as link:
            client = AuthClient(link, AuthSettings(contract=contract), desk.wall)
            return [await client.connect(guest) for guest in guests]

    for guest, admission in zip(guests, asyncio.run(run()), strict=True):
        direct = asyncio.run(desk.judge(guest.request(), None))
        assert bool(admission) is bool(direct), (guest, admission.decision.reason)
        assert not admission.is_outage
        if direct:
            ours, theirs = direct.grant, admission.grant
            for name in ("root", "publish", "subscribe", "expires"):
                assert getattr(ours, name) == getattr(theirs, name), (guest, name)


def test_a_key_that_goes_takes_the_session_along(serving, desk, token):
    guest = replace(GUEST, query=f"jwt={token(get=[''])}")

    async def run():
        async with (
            serving(desk, SidecarSettings(expires=60, revalidate=1)) as url,
            Link(url) as link,
        ):
            client = AuthClient(link, AuthSettings(), desk.wall)
            first = await client.connect(guest)
            assert first.revalidate == 1.0
            assert await client.revalidate(guest)
            desk.keys = KeySet((desk.keys.find("k1"),))
            gone = await client.revalidate(guest)
            await client.end(guest, Ending("refused", 1.0))
            return gone

    gone = asyncio.run(run())
    assert not gone
    assert not gone.is_outage
    assert desk.said("deny")["asked"] == "revalidate"
    assert desk.said("end")["reason"] == "refused"


def test_every_answer_of_the_service_is_one_the_client_reads(desk, token):
    guest = replace(GUEST, query=f"jwt={token(put=[''])}", path="/demo")
    answer = posted(desk, guest.dump(), SidecarSettings(expires=5, revalidate=1))
    terms = read_terms(answer.json())
    assert terms.granted(Path("demo")).grant.publish == (ROOT,)
    assert read_inquiry(guest.dump()) == guest


# -- what is kept ------------------------------------------------------------------------------


def test_every_decision_is_noted(desk, token, now):
    good = replace(GUEST, query=f"jwt={token(put=['a'], exp=int(now) + 60)}")
    assert posted(desk, good.dump()).status_code == 200
    assert posted(desk, replace(good, event="revalidate").dump()).status_code == 200
    late = posted(desk, replace(GUEST, query=f"jwt={token(put=['a'], exp=int(now) - 9)}").dump())
    assert got(desk, root="demo", kid="e1").status_code == 200
    assert [action for action, _, _ in desk.noted] == ["allow", "renew", "deny", "lookup"]
    assert desk.noted[0][2].publish == (Path("a"),)
    told = desk.noted[2][1]
    assert (told["reason"], told["id"], told["path"]) == (
        "expired",
        late.text.split()[1],
        "/demo",
    )
    ended = replace(GUEST, event="end", ending=Ending("dropped", 1.0))
    posted(desk, ended.dump())
    assert len(desk.noted) == 4


def test_only_this_machine_is_told_the_counts(desk):
    async def visit(host):
        face = httpx.ASGITransport(sidecar_app(desk, SidecarSettings()), client=(host, 1))
        async with httpx.AsyncClient(transport=face, base_url="http://sidecar") as http:
            return await http.get("/metrics")

    for near in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        assert asyncio.run(visit(near)).content == b"# numbers\n"
    for far in ("192.0.2.1", "", "host"):
        assert asyncio.run(visit(far)).status_code == 403
