"""The public face: what it asks the house, and what a stranger gets to see."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.control.problems import Denied
from relay.control.public import public_app
from relay.control.settings import PublicLimits
from relay.errors import Forbidden, Lagged, NotFound, OverQuota, RelayError, RemoteError, Unroutable
from relay.path import MAX_LENGTH
from relay.peer.reading import MAX_FRAMES, OVERHEAD


def ask(house, path, method="GET", limits=None, **options):
    """One request to the app, the path sent byte for byte as written."""

    async def run():
        app = public_app(house, house, limits or PublicLimits())
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://relay") as client:
            return await client.request(method, f"http://relay{path}", **options)

    return asyncio.run(run())


def test_health_says_ok(house):
    answer = ask(house, "/health")
    assert (answer.status_code, answer.text.strip()) == (200, "ok")
    assert house.asked == []


@pytest.mark.parametrize(
    ("path", "kind"), [("/fetch/demo/video", "fetches"), ("/announced/demo", "lists")]
)
def test_who_has_its_share_already_is_told_so(house, path, kind):
    first, second = asyncio.Event(), asyncio.Event()

    async def decide(asked):
        first.set()
        await second.wait()

    house.decide = decide if kind == "lists" else house.decide
    house.fetch = (lambda *asked: decide(asked)) if kind == "fetches" else house.fetch

    async def run():
        app = public_app(house, house, PublicLimits(max_fetches_per_address=1))

        async def asked(client):
            transport = httpx.ASGITransport(app=app, client=(client, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://relay") as web:
                return await web.get(path)

        async with asyncio.TaskGroup() as tasks, asyncio.timeout(5):
            waiting = tasks.create_task(asked("192.0.2.1"))
            await first.wait()
            answer = await asked("192.0.2.1")
            first.clear()
            other = tasks.create_task(asked("192.0.2.2"))
            await first.wait()  # it came so far
            for each in (waiting, other):
                each.cancel()
        return answer

    answer, setting = asyncio.run(run()), "web.limits.max_fetches_per_address"
    why = f"more than 1 {kind} at a time from one address ({setting})"
    assert answer.status_code == 429
    assert answer.json() == {"error": "too_many_requests", "detail": why}
    assert ("crowded", why, "192.0.2.1") in house.asked


def test_the_certificate_hash_is_bare_text_for_any_origin(house):
    answer = ask(house, "/certificate.sha256", headers={"origin": "http://localhost:3000"})
    assert answer.text == "ab" * 32
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["access-control-allow-origin"] == "*"


def test_the_certificate_hash_is_that_for_the_host_that_is_asked(house):
    ask(house, "/certificate.sha256", headers={"host": "b.example:4443"})
    assert house.asked == [("hash", "b.example:4443")]


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/announced", "/"),
        ("/announced/", "/"),
        ("/announced/demo", "/demo"),
        ("/announced/demo/room?jwt=a.b.c", "/demo/room?jwt=a.b.c"),
        ("/announced/100%25/caf%C3%A9", "/100%25/caf%C3%A9"),
        ("/announced?jwt=a.b.c", "/?jwt=a.b.c"),
    ],
)
def test_a_listing_is_decided_for_its_prefix(house, path, target):
    house.names = ["x"]
    ask(house, path)
    assert house.asked == [("decide", target, None), ("announced", target)]


def test_a_listing_is_sorted_text(house):
    house.names = ["b", "a/c", "a"]
    assert ask(house, "/announced/demo").text == "a\na/c\nb\n"


def test_an_announced_path_cannot_forge_another_line(house):
    house.names = ["a\nb/c", "\x1b[2Jd", "e f", "g\x7f\x85\u2028", "h%0Aé"]
    lines = ask(house, "/announced/demo").text.splitlines()
    assert lines == ["%1B[2Jd", "a%0Ab/c", "e f", "g%7F%C2%85%E2%80%A8", "h%0Aé"]


@pytest.mark.parametrize("path", ["/fetch/demo/cam/video", "/announced/demo"])
def test_what_was_decided_and_is_over_by_then_is_not_answered(house, path):
    house.is_over, house.names = True, ["cam"]
    answer = ask(house, path)
    assert answer.status_code == 401
    assert answer.json() == {"error": "unauthorized", "id": "beef"}
    assert house.paid == []


def test_an_empty_listing_is_empty(house):
    answer = ask(house, "/announced/demo")
    assert (answer.status_code, answer.text) == (200, "")


def test_a_group_is_its_frames_in_a_row(house):
    answer = ask(house, "/fetch/demo/cam/video?group=7&jwt=a.b.c")
    assert answer.content == b"onethree"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-moq-group"] == "7"
    assert answer.headers["x-moq-frames"] == "3"
    assert answer.headers["cache-control"] == "no-store"
    target = "/demo/cam?group=7&jwt=a.b.c"
    assert house.asked == [("decide", target, None), ("fetch", target, "video", 7)]
    assert house.paid == [(target, 8)]


@pytest.mark.parametrize(
    ("method", "query", "status"), [("HEAD", "group=7", 200), ("GET", "group=7&decrypt=1", 413)]
)
def test_what_does_not_leave_is_not_paid_for(house, method, query, status):
    limits = PublicLimits(max_fetch_bytes=9)
    answer = ask(house, f"/fetch/demo/cam/video?{query}", method, limits=limits)
    assert answer.status_code == status
    assert house.paid == []


@pytest.mark.parametrize("query", ["", "?group=latest"])
def test_without_a_number_the_latest_group_is_meant(house, query):
    ask(house, f"/fetch/demo/video{query}")
    assert house.asked[-1][-1] is None


@pytest.mark.parametrize(
    "query",
    [
        "group=-1",
        "group=",
        "group=x",
        "group=1.5",
        "group=1&group=2",
        "group=%EF%BC%91",
        "group=99999999999999999999",
    ],
)
def test_a_group_that_is_no_number_is_malformed(house, query):
    answer = ask(house, f"/fetch/demo/video?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"] == "bad_request"
    assert answer.json()["detail"]
    assert house.asked == []


@pytest.mark.parametrize("path", ["/fetch/video", "/fetch/", "/fetch/demo/", "/fetch//video"])
def test_a_fetch_without_broadcast_or_track_is_malformed(house, path):
    assert ask(house, path).status_code == 400
    assert house.asked == []


def test_a_track_name_may_be_escaped_and_a_broadcast_is_decided_about_escaped(house):
    ask(house, "/fetch/a%20b/video%2Fhd%20%C3%A9")
    assert house.asked[-1] == ("fetch", "/a%20b", "video/hd é", None)


MALFORMED = ["a%", "a%4", "a%zz", "a%FF", "%ED%A0%80", "a%0Ab", "%00", "%C2%85"]


@pytest.mark.parametrize("segment", MALFORMED)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/announced/demo/{}"),
        ("GET", "/fetch/demo/{}/t"),
        ("GET", "/fetch/demo/{}/t?track=x"),
        ("GET", "/watch/demo/{}/t"),
        ("GET", "/routes/demo/{}"),
        ("POST", "/publish/demo/{}/t"),
        ("POST", "/publish/demo/x/{}?track=t"),
    ],
)
def test_what_no_broadcast_is_named_is_malformed_and_said_so(house, method, path, segment):
    answer = ask(house, path.format(segment), method)
    assert answer.status_code == 400
    said = answer.json()
    assert any(word in said["detail"] for word in ("escape", "control characters")), said
    assert house.asked == []


@pytest.mark.parametrize("path", ["/fetch%2Fdemo/x/t", "/%66etch/demo/x/t", "/fetch%2Fx/demo/x/t"])
def test_what_is_routed_only_by_its_escapes_is_malformed(house, path):
    assert ask(house, path).status_code in (400, 404)
    assert house.asked == []


def test_a_fetch_looks_last_for_a_path_that_was_dialled_with_its_escapes(house):
    house.holds = ("/a%2520b/c", "t")
    answer = ask(house, "/fetch/a%20b/c/t")
    assert answer.status_code == 200
    assert [each[1] for each in house.asked if each[0] == "decide"] == ["/a%20b/c", "/a%2520b/c"]
    house.denies = {"/a%2520b/c"}
    assert ask(house, "/fetch/a%20b/c/t").status_code == 404


def test_a_listing_looks_last_below_a_path_that_was_dialled_with_its_escapes(house):
    ask(house, "/announced/a%20b")
    assert house.asked[-1] == ("announced", "/a%2520b")
    house.denies = {"/a%2520b"}
    answer = ask(house, "/announced/a%20b")
    assert (answer.status_code, answer.text) == (200, "")
    house.denies = {"/a%20b"}
    assert ask(house, "/announced/a%20b").status_code == 403


def test_what_no_session_can_have_dialled_is_looked_for_once(house):
    name = "%E4%B8%AD" * (MAX_LENGTH // 9 + 1)
    answer = ask(house, f"/announced/{name}")
    assert (answer.status_code, answer.text) == (200, "")
    house.error = NotFound("nothing there")
    assert ask(house, f"/fetch/{name}/video").status_code == 404


def test_a_track_name_that_is_not_utf8_is_malformed(house):
    assert ask(house, "/fetch/demo/%FF").status_code == 400


def reads(house, path, holds, **options):
    """What is decided and fetched for a path, where the house holds one track only; the answer."""
    house.asked.clear()
    house.holds = holds
    answer = ask(house, path, **options)
    return [each[1] if each[0] == "decide" else each[1:] for each in house.asked], answer


@pytest.mark.parametrize(
    ("path", "holds", "asked"),
    [
        ("/a/b/c", ("/a/b", "c"), ["/a/b", ("/a/b", "c", None)]),
        ("/a/b/v1", ("/a/b", "v1"), ["/a/b", ("/a/b", "v1", None)]),
        (
            "/a/b/v1",
            ("/a", "b/v1"),
            ["/a/b", ("/a/b", "v1", None), "/a", ("/a", "b/v1", None)],
        ),
        (
            "/demo/cam/video",
            ("/demo/cam", "video/v2"),
            ["/demo/cam", ("/demo/cam", "video", None), ("/demo/cam", "video/v2", None)],
        ),
        (
            "/a/b?track=c/v1&group=3",
            ("/a/b?track=c/v1&group=3", "c/v1"),
            ["/a/b?track=c/v1&group=3", ("/a/b?track=c/v1&group=3", "c/v1", 3)],
        ),
        ("/a/?track=c", ("/a?track=c", "c"), ["/a?track=c", ("/a?track=c", "c", None)]),
    ],
)
def test_the_last_segment_is_the_track_and_else_the_address_means_what_it_does_to_watch(
    house, path, holds, asked
):
    seen, answer = reads(house, f"/fetch{path}", holds)
    assert (seen, answer.status_code) == (asked, 200)


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/a/b/c", ["/a/b", ("/a/b", "c", None)]),
        ("/a/b/v1", ["/a/b", ("/a/b", "v1", None), "/a", ("/a", "b/v1", None)]),
        ("/a?track=b", ["/a?track=b", ("/a?track=b", "b", None)]),
    ],
)
def test_each_reading_of_an_address_is_tried_once(house, path, asked):
    seen, answer = reads(house, f"/fetch{path}", ("nowhere", ""))
    assert (seen, answer.status_code) == (asked, 404)


def test_where_the_other_reading_is_denied_nothing_was_found(house):
    house.denies = {"/a"}
    seen, answer = reads(house, "/fetch/a/b/v1", ("/a", "b/v1"))
    assert (seen, answer.status_code) == (["/a/b", ("/a/b", "v1", None), "/a"], 404)
    house.denies = {"/a/b"}
    seen, answer = reads(house, "/fetch/a/b/v1", ("/a", "b/v1"))
    assert (seen, answer.status_code) == (["/a/b"], 403)


def test_what_breaks_off_was_found(house):
    house.error = Lagged("too slow")
    seen, answer = reads(house, "/fetch/a/b/v1", None)
    assert (len(seen), answer.status_code) == (2, 404)


@pytest.mark.parametrize("query", ["track=", "track=a&track=b"])
def test_a_track_that_is_named_badly_is_malformed(house, query):
    assert reads(house, f"/fetch/a/b?{query}", None)[1].status_code == 400
    assert house.asked == []


def test_the_other_reading_is_decrypted_by_its_own_grant(house):
    _, answer = reads(house, "/fetch/a/b/v1?decrypt=1", ("/a?decrypt=1", "b/v1"))
    assert answer.content == b"one!!three!"


@pytest.mark.parametrize("path", ["/announced/demo?jwt=secret", "/fetch/demo/video?jwt=secret"])
@pytest.mark.parametrize(("status", "word"), [(401, "unauthorized"), (403, "forbidden")])
def test_a_refusal_tells_the_stranger_a_word_and_an_id(house, path, status, word):
    house.denial = Denied(status, "d-1")
    answer = ask(house, path)
    assert answer.status_code == status
    assert answer.json() == {"error": word, "id": "d-1"}
    assert answer.headers["x-request-id"] == "d-1"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert [question[0] for question in house.asked] == ["decide"]


def test_the_bearer_token_reaches_the_decision(house):
    ask(house, "/announced", headers={"authorization": "bearer a.b.c"})
    assert house.asked[0] == ("decide", "/", "a.b.c")


def test_another_authorization_scheme_is_not_ignored(house):
    assert ask(house, "/announced", headers={"authorization": "Basic eDp5"}).status_code == 401
    assert house.asked == []


def test_two_different_bearers_are_malformed(house):
    headers = [("authorization", "Bearer a"), ("authorization", "Bearer b")]
    assert ask(house, "/announced", headers=headers).status_code == 400


@pytest.mark.parametrize(
    ("error", "status", "word"),
    [
        (NotFound("secret"), 404, "not_found"),
        (Unroutable("secret"), 404, "not_found"),
        (Forbidden("secret"), 403, "forbidden"),
        (TimeoutError("secret"), 504, "timeout"),
        (RelayError("secret"), 500, "internal_error"),
        (ZeroDivisionError("secret"), 500, "internal_error"),
    ],
)
def test_an_error_becomes_a_status_and_says_nothing_more(house, error, status, word):
    house.error = error
    answer = ask(house, "/fetch/demo/video")
    assert answer.status_code == status
    assert answer.json() == {"error": word}
    assert answer.headers["access-control-allow-origin"] == "*"


def test_a_slow_group_is_given_up(house):
    house.delay = 5
    answer = ask(house, "/fetch/demo/video", limits=PublicLimits(fetch_timeout=0.05))
    assert answer.status_code == 504


def test_a_large_group_is_not_handed_out(house):
    limits = PublicLimits(max_fetch_bytes=7)
    assert ask(house, "/fetch/demo/video", limits=limits).status_code == 413
    house.group = (1, [b"seven", b"ty"])
    assert ask(house, "/fetch/demo/video", limits=limits).status_code == 200


def test_a_group_of_the_most_frames_has_room(house, monkeypatch):
    limits = PublicLimits(max_fetch_bytes=MAX_FRAMES)

    async def fetch(grant, track, group, hold):
        for _ in range(MAX_FRAMES // 1024):
            hold(1024 * (OVERHEAD + 1))
        return 7, [bytes(MAX_FRAMES)]

    monkeypatch.setattr(house, "fetch", fetch)
    assert ask(house, "/fetch/demo/video", limits=limits).status_code == 200


def test_what_a_reading_of_an_address_took_in_vain_is_free_for_the_next_one(house, monkeypatch):
    limits = PublicLimits(max_fetched_bytes=4 << 20, max_fetched_bytes_per_address=4 << 20)

    async def fetch(grant, track, group, hold):
        hold(3 << 20)
        if track == "v1":
            raise RemoteError(7)
        return 7, [b"whole"]

    monkeypatch.setattr(house, "fetch", fetch)
    answer = ask(house, "/fetch/demo/video/v1", limits=limits)
    assert (answer.status_code, answer.content) == (200, b"whole")


def test_a_long_url_is_refused_before_any_decision(house):
    limits = PublicLimits(max_url=40)
    assert ask(house, f"/announced/demo?jwt={'x' * 40}", limits=limits).status_code == 414
    assert house.asked == []


@pytest.mark.parametrize("path", ["/health", "/certificate.sha256", "/announced/demo"])
def test_head_answers_like_get_without_a_body(house, path):
    house.names = ["a"]
    assert ask(house, path, "HEAD").status_code == 200
    assert ask(house, path, "HEAD").content == b""


@pytest.mark.parametrize(
    "path", ["/announced/demo", "/fetch/demo/video", "/certificate.sha256", "/sesion/1/refresh"]
)
def test_a_preflight_is_answered_without_a_decision(house, path):
    answer = ask(house, path, "OPTIONS", headers={"origin": "https://x.test"})
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "*"
    allowed = answer.headers["access-control-allow-headers"].split(", ")
    assert {"authorization", "*"} <= set(allowed)  # the star does not stand for that one
    assert house.asked == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        *(("GET", "/x", 404), ("POST", "/health", 405)),
        *(("GET", "/health%0A", 404), ("GET", "/session%0A", 404), ("GET", "/announced%0A", 404)),
    ],
)
def test_what_is_not_served_is_refused_plainly(house, method, path, status):
    answer = ask(house, path, method)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("path", ["/", "/anon/room?jwt=x"])
def test_a_websocket_is_refused_so_that_what_quic_answered_counts(house, path):
    headers = {"connection": "Upgrade", "upgrade": "WebSocket"}
    assert ask(house, path, headers=headers).status_code == 403
    assert house.asked == []


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(raw=st.text(st.characters(codec="latin-1"), max_size=40))
def test_no_path_whatever_breaks_the_face(house, raw):
    house.asked.clear()
    path = "/fetch/" + "".join(c if c.isalnum() or c in "/%.-" else "-" for c in raw)
    answer = ask(house, path.encode("ascii", "ignore").decode())
    # the test's client resolves dot segments itself, and may then ask for another route
    assert answer.status_code in ((200, 400, 404) if "." in path else (200, 400))
    if answer.status_code == 200:
        decided, fetched = house.asked
        assert decided[1] == fetched[1]


def test_a_ticket_takes_its_credential_from_the_header_only(house):
    assert ask(house, "/ticket?jwt=a.b.c", "POST").status_code == 401
    answer = ask(house, "/ticket", "POST", headers={"authorization": "Bearer a.b.c"})
    assert (answer.status_code, answer.json()["ticket"]) == (201, "t")
    assert answer.headers["cache-control"] == "no-store"
    assert house.asked == [("ticket", "a.b.c")]


@pytest.mark.parametrize("path", ["/ticket", "/auth/login", "/session/s1/refresh", "/session"])
def test_who_shows_no_credential_is_told_where_it_belongs(house, path):
    method = "GET" if path == "/session" else "POST"
    for headers, why in (
        ({}, "the credential belongs in the Authorization header"),
        ({"authorization": "Basic eDp5"}, "an Authorization header that is no bearer token"),
    ):
        answer = ask(house, path, method, headers=headers)
        told = {"error": "unauthorized", "detail": why}
        assert (answer.status_code, answer.json(), house.asked) == (401, told, [])


def test_sessions_and_refresh_are_asked_for_by_their_holder(house):
    bearer = {"authorization": "Bearer a.b.c"}
    answer = ask(house, "/session", headers=bearer)
    assert answer.json()["sessions"][0]["id"] == "s1"
    assert answer.headers["relay-silent-workers"] == "2"
    assert "relay-silent-workers" in answer.headers["access-control-expose-headers"]
    assert ask(house, "/session").status_code == 401
    answer = ask(house, "/session/s1/refresh", "POST", headers=bearer)
    assert (answer.status_code, answer.json()["publish"]) == (200, [""])
    house.error = Unroutable("no such session")
    assert ask(house, "/session/s1/refresh", "POST", headers=bearer).status_code == 404


OPERATOR = {"authorization": "Bearer operator"}


def test_only_the_operator_may_have_decisions_explained(house):
    question = {"url": "/demo?jwt=x", "token": "t", "publish": "a", "subscribe": ["b", "c"]}
    assert ask(house, "/admin/explain", "POST", json=question).status_code == 401
    wrong = {"authorization": "Bearer somebody"}
    assert ask(house, "/admin/explain", "POST", json=question, headers=wrong).status_code == 401
    assert house.asked == []
    other = ask(house, "/%61dmin/explain", "POST", json=question, headers=OPERATOR)
    assert other.status_code == 400  # a proxy that lets nobody in there would not know it
    answer = ask(house, "/admin/explain", "POST", json=question, headers=OPERATOR)
    assert (answer.status_code, answer.json()) == (200, {"verdict": True})
    assert house.asked == [("explain", "/demo?jwt=x", "t", ["a"], ["b", "c"], "webtransport")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"nonsense",
        b'{"url": 5}',
        b'{"publish": [1]}',
        b'{"transport": "bus"}',
        b'{"url": "/", "url": "/demo"}',
        b"[" * 30_000,
    ],
)
def test_an_explanation_needs_a_question(house, body):
    answer = ask(house, "/admin/explain", "POST", content=body, headers=OPERATOR)
    assert answer.status_code == 400


def test_a_question_is_understood_whole(house):
    question = {"url": "/demo", "tokn": "t", "to": "x"}
    answer = ask(house, "/admin/explain", "POST", json=question, headers=OPERATOR)
    assert answer.status_code == 400
    assert "'to', 'tokn'" in answer.text
    assert house.asked == []


def test_a_question_has_a_limit(house):
    body = b'{"url": "' + b"x" * 70_000 + b'"}'
    answer = ask(house, "/admin/explain", "POST", content=body, headers=OPERATOR)
    assert answer.status_code == 413


def test_the_relays_own_keys_are_shown_to_everybody(house):
    answer = ask(house, "/.well-known/jwks.json")
    assert (answer.status_code, answer.json()) == (200, {"keys": [{"kid": "k1"}]})
    assert answer.headers["content-type"] == "application/jwk-set+json"
    assert answer.headers["cache-control"] == "public, max-age=60"
    house.error = NotFound("none")
    assert ask(house, "/.well-known/jwks.json").status_code == 404


def test_a_login_takes_its_credential_from_the_header_only(house):
    bearer = {"authorization": "Bearer a.b.c"}
    assert ask(house, "/auth/login?jwt=a.b.c", "POST").status_code == 401
    assert house.asked == []
    answer = ask(house, "/auth/login", "POST", headers=bearer, json={"root": "demo"})
    assert (answer.status_code, answer.json()["token"]) == (201, "t")
    assert answer.headers["cache-control"] == "no-store"
    assert ask(house, "/auth/login", "POST", headers=bearer).status_code == 201
    assert house.asked == [("login", "a.b.c", {"root": "demo"}), ("login", "a.b.c", {})]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        *((b"[]", 400), (b"{", 400), (b"\xff", 400), (b'"x"', 400), (b"x" * 70_000, 413)),
        *((b'{"root": "a", "root": ""}', 400), (b'{"ttl": NaN}', 400)),
    ],
)
def test_a_login_with_a_body_without_sense_is_refused(house, body, status):
    bearer = {"authorization": "Bearer a.b.c"}
    answer = ask(house, "/auth/login", "POST", headers=bearer, content=body)
    assert (answer.status_code, house.asked) == (status, [])


def test_a_refusal_that_has_an_id_tells_it(house):
    house.error = Forbidden("more than was granted")
    house.error.denial_id = "abc123"
    answer = ask(house, "/auth/login", "POST", headers={"authorization": "Bearer a.b.c"})
    assert (answer.status_code, answer.json()) == (403, {"error": "forbidden", "id": "abc123"})
    assert answer.headers["x-request-id"] == "abc123"


def test_who_is_over_a_quota_hears_when_to_come_again(house):
    house.error = OverQuota("over", 2.2)
    answer = ask(house, "/ticket", "POST", headers={"authorization": "Bearer a.b.c"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    house.error = OverQuota("too large", status=413)
    answer = ask(house, "/ticket", "POST", headers={"authorization": "Bearer a.b.c"})
    assert (answer.status_code, "retry-after" in answer.headers) == (413, False)


def test_who_is_over_a_quota_hears_of_which_where_there_is_no_id(house):
    house.error = OverQuota("over quotas.egress_bits", 2.2)
    assert ask(house, "/fetch/demo/cam/video").json()["detail"] == "over quotas.egress_bits"
    house.error = OverQuota("over quotas.egress_bits", 2.2).known_as("d-1")
    answer = ask(house, "/fetch/demo/cam/video").json()
    assert (answer["id"], "detail" in answer) == ("d-1", False)


@pytest.mark.parametrize("path", ["/auth/login", "/admin/explain"])
def test_a_body_that_never_ends_is_not_waited_for(house, path, monkeypatch):
    monkeypatch.setattr("relay.control.body.SECONDS", 0.05)

    async def slow():
        yield b"{"
        await asyncio.sleep(5)

    answer = ask(house, path, "POST", content=slow(), headers=OPERATOR)
    assert (answer.status_code, answer.json()["error"]) == (408, "request_timeout")


def test_half_a_surrogate_pair_is_no_text(house):
    answer = ask(house, "/auth/login", "POST", content=b'{"root":"\\ud800"}', headers=OPERATOR)
    assert answer.status_code == 400
