"""What a judgement at the door is made of, and whose a grant is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from relay.auth.decide import Decision
from relay.auth.grant import Grant
from relay.auth.reason import Reason
from relay.errors import BadRequest, Forbidden, Unauthorized, Unavailable
from relay.path import Path
from relay.peer.judgement import (
    Held,
    Judgement,
    address,
    asked,
    ending,
    is_same_holder,
    refusal,
    what_ends,
)
from relay.session.transport import Knock, PeerCertificate

ONE = Grant(Path("demo"), subject="alice", jti="t1", issuer="https://id", tenant="acme")
NAMELESS = replace(ONE, subject=None)
SHOWN = PeerCertificate("CN=cam", "CN=authority", ("cam",), "ab" * 32, 0.0, 100.0)


@pytest.mark.parametrize(
    ("one", "changes", "is_same"),
    [
        (ONE, {}, True),
        (ONE, {"root": Path("elsewhere"), "jti": "t2", "kid": "k2"}, True),
        (ONE, {"subject": "bob"}, False),
        (ONE, {"subject": None}, False),
        (ONE, {"tenant": "other"}, False),
        (ONE, {"tenant": None}, False),
        (ONE, {"issuer": "https://other"}, False),
        (ONE, {"issuer": None}, False),
        (ONE, {"cluster": True}, False),
        (ONE, {"anonymous": True}, False),
        (NAMELESS, {}, True),
        (NAMELESS, {"jti": "t2"}, False),
        (NAMELESS, {"jti": None}, False),
        (replace(NAMELESS, jti=None), {}, False),
        (replace(ONE, anonymous=True), {}, False),
    ],
)
def test_whose_place_another_grant_may_take(
    one: Grant, changes: dict[str, Any], is_same: bool
) -> None:
    other = replace(one, **changes)
    assert is_same_holder(one, other) is is_same
    assert is_same_holder(other, one) is is_same


@pytest.mark.parametrize(
    ("grant", "shown", "named"),
    [
        (None, None, "the token"),
        (replace(ONE, expires=90.0), None, "the token"),
        (replace(ONE, expires=90.0), SHOWN, "the token"),
        (replace(ONE, expires=100.0), SHOWN, "the client certificate"),
        (replace(ONE, expires=None), SHOWN, "the token"),
        (replace(ONE, expires=90.0, credential="api_key"), None, "the API key"),
    ],
)
def test_what_is_over_is_what_ends_first(
    grant: Grant | None, shown: PeerCertificate | None, named: str
) -> None:
    assert what_ends(grant, shown) == named


def test_what_is_held_is_in_force_until_it_ends_or_is_taken_back() -> None:
    held = Held(replace(ONE, expires=100.0), "id", "192.0.2.1")
    assert held.over(99.9) == ""
    assert held.over(100.0) == "the grant has ended"
    held.why = "sub alice"
    assert held.over(0.0) == held.over(200.0) == "sub alice"
    assert Held(ONE, "id", "").over(1e12) == ""


def test_whoever_granted_it_is_told_once_that_nobody_comes_in() -> None:
    class Lent:
        ended: list[str] = []  # noqa: RUF012

        def end(self, reason: str, sent: int = 0, received: int = 0) -> None:
            self.ended.append(reason)

    restored: list[str] = []
    decision = Decision(True, ONE, (), Reason("allowed", ""), 200)
    loan: Any = Lent()
    Judgement(decision, "id", loan, lambda: restored.append("ticket")).forgo("over_quota")
    Judgement(decision, "id").forgo("gone")
    assert (loan.ended, restored) == (["over_quota"], ["ticket"])


@pytest.mark.parametrize(
    ("header", "bearer"),
    [
        ("Bearer a.b.c", "a.b.c"),
        ("bearer  a.b.c ", "a.b.c"),
        ("Basic dTpw", None),
        ("", None),
    ],
)
def test_a_knock_asks_with_the_bearer_token_that_it_brings(header: str, bearer: str | None) -> None:
    headers = {"authorization": header} if header else {}
    request = asked(Knock("webtransport", "/demo", headers=headers), "/demo?x=1")
    assert (request.bearer, request.target, request.transport) == (
        bearer,
        "/demo?x=1",
        "webtransport",
    )


def test_where_a_peer_is_is_its_address_or_which_process_it_is() -> None:
    assert address(Knock("quic", None, remote=("2001:db8::1", 4443))) == "[2001:db8::1]:4443"
    assert address(Knock("unix", None, process="uid 5")) == "uid 5"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, BadRequest), (401, Unauthorized), (403, Forbidden), (503, Unavailable), (414, None)],
)
def test_a_session_is_closed_with_the_word_for_the_status_and_the_id(
    status: int, kind: type[Exception] | None
) -> None:
    decision = Decision(False, None, (), Reason("x", "a secret reason"), status)
    error = refusal(Judgement(decision, "d-1"))
    wanted = kind or Unauthorized
    assert type(error) is wanted
    assert str(error) == f"{wanted.__name__.lower()} (id d-1)"


def test_the_audit_log_tells_what_ended_from_what_was_taken_back() -> None:
    assert [ending(each) for each in ("expired", "refused", "invalid")] == [
        "expire",
        "revoke",
        "revoke",
    ]
