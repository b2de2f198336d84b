"""The door: who is let in, how a refusal looks from both sides, and when a grant ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest

from dialogue import Wire
from relay.auth import keys, mint
from relay.auth.claims import Claims
from relay.auth.decide import Decision
from relay.auth.facts import NO_FACTS, Facts
from relay.auth.grant import Grant
from relay.auth.mending import MENDINGS
from relay.auth.reason import Reason
from relay.auth.scope import Scope
from relay.auth.settings import AuthSettings
from relay.auth.trust import ClaimNames
from relay.errors import Forbidden, OverQuota, Unauthorized, Unroutable
from relay.model.origin import Origin
from relay.path import Path
from relay.peer.door import Door
from relay.peer.house import House
from relay.peer.judge import Judge
from relay.peer.judgement import HEARING, NoClerk, Rules
from relay.peer.settings import NEAR
from relay.quota import Account, Limits, QuotaSettings
from relay.session.settings import SessionSettings
from relay.session.transport import Knock, PeerCertificate
from relay.wire.version import IDENTIFIERS

KEY = keys.generate("HS256", kid="k1")
NOW = 1_800_000_000.0


class Visit:
    """A knock and what became of it."""

    def __init__(self, target: str | None, *offered: str, **more: Any) -> None:
        kind = "webtransport" if target is not None else "quic"
        self.knock = Knock(kind, target, offered, ("192.0.2.1", 1234), **more)
        self.wire = Wire()
        self.transport = self.wire.server
        self.accepted: list[tuple[Any, str | None]] = []
        self.refused: list[tuple[int, tuple[tuple[str, str], ...]]] = []
        self.too_late: Any = None

    def accept(self, receiver: Any, protocol: str | None) -> None:
        self.accepted.append((receiver, protocol))
        self.wire.server.receiver = receiver

    def refuse(self, status: int, headers: Any = ()) -> None:
        self.refused.append((status, tuple(headers)))


class Bench:
    def __init__(self, public: Any = "anon", versions: tuple[str, ...] = IDENTIFIERS) -> None:
        self.now = 50.0
        self.wall = NOW
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.kept: list[tuple[str, dict[str, Any]]] = []
        house = House(
            Origin(99),
            lambda: self.now,
            log=lambda event, **facts: self.said.append((event, facts)),
            audit=lambda action, **facts: self.kept.append((action, facts)),
        )
        rules = Rules(keys.KeySet.load(KEY.dump(), "k1"), AuthSettings(public=public))
        self.judge = Judge(house, rules, lambda: self.wall)
        self.door = Door(house, self.judge, SessionSettings(), versions)

    def knock(self, target: str | None, *offered: str, **more: Any) -> Visit:
        visit = Visit(target, *(offered or ("moq-lite-05",)), **more)
        self.door.answer(visit)
        return visit

    def events(self, name: str) -> list[dict[str, Any]]:
        return [facts for event, facts in self.said if event == name]

    def refusal(self) -> dict[str, Any]:
        """The one refusal there was, as the log has it; it was counted and is in the audit log."""
        (line,) = self.events("refused")
        (entry,) = [facts for action, facts in self.kept if action == "deny"]
        assert (entry["id"], entry["reason"]) == (line["id"], line["reason"])
        assert entry["remote"] == line["remote"] == "192.0.2.1:1234"
        assert self.judge.refusals.counts == {line["reason"]: 1}
        return line


def token(root: str = "demo", ttl: float = 60, **more: Any) -> str:
    claims = Claims(Path(root), (Path(""),), (Path(""),), int(NOW + ttl), **more)
    return mint.sign(claims, KEY, NOW)


def setup(visit: Visit, target: str) -> None:
    """The client's SETUP with a path, over raw QUIC."""
    body = b"\x01\x02" + bytes([0x40 | len(target) >> 8, len(target) & 255]) + target.encode()
    message = b"\x01" + bytes([0x40 | len(body) >> 8, len(body) & 255]) + body
    visit.accepted[0][0].stream_received(2, message, True)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (("moq-lite-05",), "moq-lite-05"),
        (("moq-lite-06", "moq-lite-05"), "moq-lite-06"),
        (("moq-lite-07", "moq-lite-04", "moq-lite-05"), "moq-lite-04"),
        (("moqt-13", "moql"), "moql"),
    ],
)
def test_first_version_of_the_offer_that_we_speak(offered: tuple[str, ...], chosen: str) -> None:
    assert Bench().knock("/anon", *offered).accepted[0][1] == chosen


def test_no_common_version_is_refused() -> None:
    bench = Bench()
    visit = bench.knock("/anon", "moqt-13", "moq-07")
    assert visit.refused == [(400, (("x-request-id", bench.refusal()["id"]),))]
    assert bench.refusal()["offered"] == ["moqt-13", "moq-07"]


def test_no_offer_is_the_in_band_handshake_unless_that_is_off() -> None:
    bench = Bench()
    visit = Visit("/anon")
    bench.door.answer(visit)
    assert visit.accepted[0][1] is None
    bench = Bench(versions=("moq-lite-05",))
    visit = Visit("/anon")
    bench.door.answer(visit)
    assert visit.refused == [(400, (("x-request-id", bench.refusal()["id"]),))]


def test_a_refusal_has_an_id_that_the_log_knows_and_no_detail() -> None:
    bench = Bench()
    visit = bench.knock("/demo?jwt=rubbish.token.here")
    ((status, headers),) = visit.refused
    line = bench.refusal()
    assert status == line["status"] == 401
    assert headers == (("x-request-id", line["id"]),)
    assert line["path"] == "/demo"
    assert "rubbish" not in repr(bench.said)
    assert bench.door.guests == {}


class Slow:
    """An authority that answers later, and lets everybody in."""

    async def ask(self, request: Any, knock: Any, facts: Any) -> Any:
        grant = Grant(Path("demo"), (Path(""),))
        return Decision(True, grant, (), Reason("allowed", ""), 200), None


class Undecided(Bench):
    """A door whose decisions are made when `decide` is called."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Coroutine[Any, Any, None]] = []
        self.judge.authority = Slow()
        self.judge.spawn = self.waiting.append

    def decide(self) -> None:
        (decision,) = self.waiting
        with pytest.raises(StopIteration):
            decision.send(None)


def test_whoever_waits_for_a_decision_too_long_is_turned_away_with_a_reason() -> None:
    bench = Undecided()
    visit = bench.knock("/demo?jwt=a.b.c")
    ((name, id),) = visit.too_late()
    line = bench.refusal()
    assert (name, id) == ("x-request-id", line["id"])
    assert (line["status"], line["reason"], line["path"]) == (503, "unavailable", "/demo")
    assert "limits.visit_timeout" in line["why"]
    bench.decide()
    assert bench.refusal() == line
    assert (visit.accepted, visit.refused, len(bench.kept)) == ([], [], 1)


def test_a_peer_that_is_not_decided_on_is_not_blamed_for_silence() -> None:
    bench = Undecided()
    visit = bench.knock(None)
    setup(visit, "/demo?jwt=a.b.c")
    bench.now += 60
    bench.door.tick(bench.now)
    line = bench.refusal()
    assert (line["status"], line["reason"], line["path"]) == (503, "unavailable", "/demo")
    assert "peer.setup_timeout" in line["why"]
    assert visit.wire.server.closed is not None
    assert visit.wire.server.closed[1] == f"unavailable (id {line['id']})"
    assert bench.door.guests == {}
    bench.decide()
    assert bench.refusal() == line
    assert len(bench.kept) == 1


@pytest.mark.parametrize("target", ["/anon", None])
def test_who_is_given_up_while_the_quota_is_looked_up_is_not_seated(
    target: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[Callable[[], None]] = []
    monkeypatch.setattr(Account, "when_known", lambda self, needs, now, go: waiting.append(go))
    bench = Bench()
    visit = bench.knock(target)
    if target is None:
        visit.accepted[0][0].start()
        setup(visit, "/anon")
        bench.now += 60
        bench.door.tick(bench.now)
    else:
        visit.too_late()
    accepted = list(visit.accepted)
    line = bench.refusal()
    bench.door.recheck(lambda grant: "taken back meanwhile")
    waiting.pop()()
    assert bench.refusal() == line
    assert (visit.accepted, bench.door.guests) == (accepted, {})


def test_a_session_over_raw_quic_has_the_id_of_its_decision() -> None:
    bench = Bench()
    setup(bench.knock(None), f"/demo?jwt={token()}")
    bench.wall += 61
    bench.door.tick(bench.now)
    assert [action for action, _ in bench.kept] == ["allow", "expire"]
    assert len({facts["id"] for _, facts in bench.kept}) == 1


def test_a_token_over_raw_quic_is_judged_when_it_comes() -> None:
    bench = Bench()
    good, bad = bench.knock(None), bench.knock(None)
    setup(good, f"/demo?jwt={token()}")
    setup(bad, f"/other?jwt={token()}")
    assert good.accepted[0][0].grant.root == "demo"
    (line,) = bench.events("refused")
    assert bad.wire.server.closed == (2, f"unauthorized (id {line['id']})")
    assert line["hint"] == "connect to the root of the token, or below"
    assert list(bench.door.guests.values()) == [good.accepted[0][0]]


def test_the_log_says_of_every_refusal_how_to_mend_it() -> None:
    bench = Bench()
    bench.knock("/demo?jwt=no.token")
    assert bench.refusal()["hint"] == MENDINGS["malformed"]


def test_versions_that_carry_no_path_come_in_at_the_root() -> None:
    bench = Bench(public="")
    visit = bench.knock(None, "moq-lite-04")
    assert visit.accepted[0][0].grant.root == ""
    assert Bench().knock(None, "moq-lite-03").accepted[0][0].gone is False  # anon is below it


@pytest.mark.parametrize("clock", ["monotonic", "wall"])
def test_a_grant_ends_by_either_clock(clock: str) -> None:
    bench = Bench()
    visit = bench.knock(None)
    setup(visit, f"/demo?jwt={token(ttl=60)}")
    bench.door.tick(bench.now)
    assert len(bench.door.guests) == 1
    if clock == "monotonic":
        bench.now += 60.1
        bench.wall -= 3600
    else:
        bench.wall += 60.1
    bench.door.tick(bench.now)
    assert bench.door.guests == {}
    assert visit.wire.server.closed is not None
    assert visit.wire.server.closed[0] == 2
    assert "the token expired" in visit.wire.server.closed[1]


def test_a_closing_door_lets_nobody_in() -> None:
    bench = Bench()
    bench.door.close()
    for target in ("/anon", None):
        bench.said.clear()
        bench.kept.clear()
        visit = bench.knock(target)
        (line,) = bench.events("refused")
        assert visit.refused == [(503, (("x-request-id", line["id"]),))]
        assert (line["reason"], line["remote"]) == ("leaving", "192.0.2.1:1234")
        assert [(action, facts["id"]) for action, facts in bench.kept] == [("deny", line["id"])]


@pytest.mark.parametrize("target", ["/demo?jwt=a.b.c", None])
def test_nor_whoever_was_being_decided_on_when_it_was_closed(target: str | None) -> None:
    bench = Undecided()
    visit = bench.knock(target)
    if target is None:
        setup(visit, "/demo?jwt=a.b.c")
    bench.door.close()
    bench.decide()
    assert bench.door.guests == {}
    if target is None:
        assert visit.wire.server.closed == (1, "the relay is stopping")
    else:
        assert [status for status, _ in visit.refused] == [503]


def test_the_bearer_header_is_a_credential_too() -> None:
    visit = Bench().knock("/demo", headers={"authorization": f"Bearer {token()}"})
    assert len(visit.accepted) == 1


def test_a_refreshed_session_ends_with_the_certificate_that_it_showed() -> None:
    bench = Bench()
    ends = NOW + 30
    shown = PeerCertificate("CN=cam", "CN=ours", ("cam.example",), "ab" * 32, NOW - 60, ends)
    visit = bench.knock(f"/demo?jwt={token(sub='me')}", certificate=shown)
    ((id, guest),) = bench.door.guests.items()
    assert guest.grant is not None
    assert guest.grant.expires == ends

    longer = asyncio.run(bench.door.refresh(id, token(ttl=600, sub="me"), "192.0.2.1"))

    assert longer.grant is not None
    assert (longer.grant.expires, longer.grant.subject) == (ends, "me")
    assert guest.grant.beside is not None
    bench.now += 31
    bench.door.tick(bench.now)
    assert visit.wire.server.closed[1] == f"the client certificate expired (id {id})"
    action, facts = bench.kept[-1]
    assert (action, facts["why"]) == ("expire", "the client certificate expired")


def test_a_role_that_is_not_granted_ends_the_session() -> None:
    bench = Bench(public={"subscribe": ["anon"]})
    visit = bench.knock("/anon")
    assert len(visit.accepted) == 1  # CONNECT does not say what the guest came for
    visit.accepted[0][0].stream_received(2, bytes.fromhex("010401030101"), True)
    assert visit.wire.server.closed is not None
    assert visit.wire.server.closed[0] == 2
    assert bench.door.guests == {}
    line = bench.refusal()
    assert (line["reason"], line["status"], line["path"]) == ("role_not_granted", 403, "/anon")
    assert line["hint"] == MENDINGS["role_not_granted"]
    assert visit.wire.server.closed[1] == f"forbidden (id {line['id']})"


def test_one_guests_trouble_does_not_stop_the_clock_for_others() -> None:
    bench = Bench()
    bad, good = bench.knock("/anon"), bench.knock("/anon")

    def broken(now: float) -> None:
        raise ZeroDivisionError

    ticked: list[float] = []
    bad.accepted[0][0].tick = broken
    good.accepted[0][0].tick = ticked.append
    bench.door.tick(60.0)
    assert ticked == [60.0]
    assert bad.wire.server.closed is not None
    assert list(bench.door.guests.values()) == [good.accepted[0][0]]


def _expire(bench: Bench) -> None:
    bench.wall += 61
    bench.door.tick(bench.now)


@pytest.mark.parametrize(
    "end",
    [
        _expire,
        lambda bench: bench.door.recheck(lambda grant: "struck"),
        lambda bench: bench.door.empty(Unauthorized("all out")),
    ],
    ids=["expired", "revoked", "stopping"],
)
def test_one_guests_trouble_keeps_nobody_in(end: Callable[[Bench], None]) -> None:
    bench = Bench()
    visits = [bench.knock(f"/demo?jwt={token()}") for _ in range(2)]

    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    guest = visits[0].accepted[0][0]
    guest.session.fail = guest.announcements.leave = broken
    end(bench)
    assert bench.door.guests == {}
    assert bench.door.house.ledger.accounts["demo"].sessions == 0
    assert visits[1].wire.server.closed is not None
    assert "ZeroDivisionError" in bench.events("internal error")[0]["error"]


def test_what_those_who_are_gone_announced_is_lost_although_nobody_has_a_turn() -> None:
    bench, ticked = Bench(), list[float]()
    bench.door.house.orphans.tick = ticked.append  # type: ignore[method-assign]
    bench.door.tick(60.0)
    assert ticked == [60.0]


def quota(**said: int) -> Limits:
    return Limits(QuotaSettings(**said))


def test_a_tenant_with_too_many_sessions_is_told_so_at_the_door() -> None:
    bench = Bench()
    bench.door.house.ledger.obey(quota(sessions=1), bench.now)
    first = bench.knock(f"/demo?jwt={token()}")
    second = bench.knock(f"/demo?jwt={token()}")
    assert (len(first.accepted), second.accepted) == (1, [])
    (refused,) = second.refused
    assert refused[0] == 429
    assert "retry-after" not in dict(refused[1])
    assert bench.knock("/anon").accepted
    assert bench.judge.refusals.counts == {"over_quota": 1}
    first.accepted[0][0].connection_lost(0, "bye")
    assert bench.knock(f"/demo?jwt={token()}").accepted


def test_new_sessions_beyond_the_rate_hear_when_to_come_again() -> None:
    bench = Bench()
    bench.door.house.ledger.obey(quota(sessions_per_second=2), bench.now)
    assert all(bench.knock("/anon").accepted for _ in range(2))
    (refused,) = bench.knock("/anon").refused
    assert refused[0] == 429
    assert dict(refused[1])["retry-after"] == "1"
    bench.now += 0.6
    assert bench.knock("/anon").accepted


def test_a_session_refreshed_is_one_more_request_of_its_tenant() -> None:
    bench = Bench()
    bench.knock(f"/demo?jwt={token(sub='me')}")
    ((id, guest),) = bench.door.guests.items()
    bench.door.house.ledger.obey(quota(sessions_per_second=1), bench.now)
    wider = token(ttl=600, sub="me")
    with pytest.raises(Forbidden):  # who may not is not counted
        asyncio.run(bench.door.refresh(id, token(sub="you"), "192.0.2.1"))
    asyncio.run(bench.door.refresh(id, wider, "192.0.2.1"))
    before = guest.grant
    with pytest.raises(OverQuota) as over:
        asyncio.run(bench.door.refresh(id, token(ttl=900, sub="me"), "192.0.2.1"))
    assert guest.grant is before
    told, kept = bench.events("refused")[-1], bench.kept[-1][1]
    assert told["id"] == kept["id"] == over.value.denial_id != ""
    assert told["reason"] == kept["reason"] == "over_quota"
    assert "quotas.sessions_per_second" in told["why"]
    assert "quotas set" in told["hint"]


def test_a_tenant_over_its_quota_is_closed_where_it_introduces_itself() -> None:
    bench = Bench()
    bench.door.house.ledger.obey(quota(sessions=1), bench.now)
    bench.knock("/anon")
    visit = bench.knock(None)
    visit.accepted[0][0].start()
    setup(visit, "/anon")
    code, reason = visit.wire.server.closed
    assert code == OverQuota.session_code
    assert reason.endswith(f"(id {bench.refusal()['id']})")
    account = bench.door.house.ledger.accounts["anon"]
    assert account.sessions == 1


@pytest.mark.parametrize("is_raw", [False, True])
@pytest.mark.parametrize("why", ["revoked", "ended", "nothing"])
def test_who_waits_for_a_quota_comes_in_with_what_is_still_in_force(
    is_raw: bool, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench()
    account = bench.door.house.ledger.account("demo")
    waiting: list[Callable[[], None]] = []
    wait = lambda account, needs, now, go: waiting.append(go)  # noqa: E731
    monkeypatch.setattr(Account, "when_known", wait)
    target = f"/demo?jwt={token(ttl=5)}"
    visit = bench.knock(None if is_raw else target)
    if is_raw:
        visit.accepted[0][0].start()
        setup(visit, target)
    (go,) = waiting
    if why == "revoked":
        bench.door.recheck(lambda grant: "kid k1" if grant.kid == "k1" else None)
    bench.wall += 6 * (why == "ended")
    go()
    if why == "nothing":
        assert visit.accepted[0][0].grant is not None
        return
    assert account.sessions == 0
    (said,) = bench.events("refused")
    assert (said["reason"], said["status"]) == ("revoked", 401)
    if is_raw:
        told = (Unauthorized.session_code, f"revoked (id {said['id']})")
        assert visit.wire.server.closed == told
    else:
        assert visit.refused == [(401, (("x-request-id", said["id"]),))]


def test_who_was_let_in_turned_away_and_shown_out_is_kept() -> None:
    bench = Bench()
    kept: list[tuple[str, dict[str, Any]]] = []
    bench.door.house.audit = lambda action, **facts: kept.append((action, facts))
    bench.knock(f"/demo?jwt={token()}")
    bench.knock("/private?jwt=nonsense")
    bench.knock(f"/demo?jwt={token(ttl=5)}")
    bench.now += 6
    bench.wall += 6
    bench.door.tick(bench.now)
    bench.door.recheck(lambda grant: "kid k1")
    assert [action for action, _ in kept] == ["allow", "deny", "allow", "expire", "revoke"]
    assert kept[0][1]["grant"].kid == "k1"
    assert kept[1][1]["target"] == "/private"
    assert all(facts["remote"] == "192.0.2.1:1234" for _, facts in kept)
    assert "nonsense" not in repr(kept)


class Asking(NoClerk):
    """A clerk who has to look everything up, until it is ``told``."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    def at_once(self, request: Any, certificate: Any) -> None:
        return None

    async def gather(self, request: Any, certificate: Any) -> Facts:
        await self.told.wait()
        return NO_FACTS


def test_a_session_that_left_while_its_new_rights_were_decided_on_has_none() -> None:
    async def main() -> None:
        bench = Bench()
        bench.knock(f"/demo?jwt={token()}")
        ((id, guest),) = bench.door.guests.items()
        bench.judge.clerk = clerk = Asking()
        refresh = asyncio.ensure_future(bench.door.refresh(id, token(), "192.0.2.1"))
        await asyncio.sleep(0)
        guest.connection_lost(0, "")
        clerk.told.set()
        with pytest.raises(Unroutable):
            await refresh

    asyncio.run(main())


def test_a_relay_hears_what_struck_it_and_is_shown_out_then() -> None:
    bench = Bench()
    claims = Claims(Path(""), (Path(""),), (Path(""),), exp=int(NOW + 60), cluster=True)
    link = bench.knock(f"/?jwt={mint.sign(claims, KEY, NOW)}")
    guest = bench.knock(f"/demo?jwt={token()}")
    bench.door.recheck(lambda grant: "kid k1")
    assert guest.wire.server.closed is not None
    bench.now += HEARING - 0.1
    bench.door.tick(bench.now)
    assert link.wire.server.closed is None
    bench.now += 0.1
    bench.door.tick(bench.now)
    ((id, closed),) = [
        (facts["id"], link.wire.server.closed) for facts in bench.events("revoked")[1:]
    ]
    assert closed == (Unauthorized.session_code, f"revoked (id {id})")
    assert [action for action, _ in bench.kept] == ["allow", "allow", "revoke", "revoke"]
    assert bench.door.guests == bench.door._parting == {}


class NoLoan:
    """A loan that never begins."""

    def begin(self, changed: Any, over: Any) -> None:
        raise AssertionError("nobody came in")


class Lent:
    """A loan whose lender says what becomes of it by `changed` and `over`."""

    def __init__(self) -> None:
        self.ended: list[tuple[int, int]] = []

    def begin(self, changed: Any, over: Any) -> None:
        self.changed, self.over = changed, over

    def end(self, reason: str, sent: int = 0, received: int = 0) -> None:
        self.ended.append((sent, received))


@pytest.mark.parametrize("target", ["/demo", None])
def test_a_session_follows_what_its_lender_says(
    target: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    loan = Lent()

    async def ask(self: Slow, request: Any, knock: Any, facts: Any) -> Any:
        grant = Grant(Path("demo"), (Path(""),), expires=int(NOW + 5))
        return Decision(True, grant, (), Reason("allowed", ""), 200), loan

    monkeypatch.setattr(Slow, "ask", ask)
    bench = Undecided()
    visit = bench.knock(target)
    if target is None:
        setup(visit, "/demo")
    bench.decide()
    ((id, guest),) = bench.door.guests.items()
    loan.changed(Grant(Path("demo"), (), (Path("a"),), expires=int(NOW + 60)))
    bench.now += 6
    bench.wall += 6
    bench.door.tick(bench.now)
    assert guest.grant == Grant(Path("demo"), (), (Path("a"),), expires=int(NOW + 60))
    loan.over("revoked", "they said so")
    assert visit.wire.server.closed == (Unauthorized.session_code, f"revoked (id {id})")
    assert (bench.door.guests, loan.ended) == ({}, [guest.transport.traffic()])
    assert loan.ended[0][0] > 0
    assert bench.kept[-1][0] == "revoke"
    (line,) = bench.events("no longer granted")
    assert line["why"] == "they said so"


def test_who_has_left_by_the_time_of_the_decision_takes_no_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loan = Lent()

    async def ask(self: Slow, request: Any, knock: Any, facts: Any) -> Any:
        grant = Grant(Path("demo"), (Path(""),), tenant="demo")
        return Decision(True, grant, (), Reason("allowed", ""), 200), loan

    monkeypatch.setattr(Slow, "ask", ask)
    bench = Undecided()
    visit = bench.knock(None)
    setup(visit, "/demo")
    bench.now += 2.5
    visit.accepted[0][0].connection_lost(0, "bye")
    (line,) = bench.events("left")
    assert (line["reason"], line["seconds"]) == ("bye", 2.5)
    bench.decide()
    assert bench.door.house.ledger.accounts["demo"].sessions == 0
    assert (bench.door.guests, loan.ended) == ({}, [(0, 0)])
    assert bench.kept == []


def test_a_session_is_nobody_elses_to_refresh_and_the_log_says_so() -> None:
    bench = Bench()
    bench.knock(f"/demo?jwt={token(sub='me')}")
    ((id, guest),) = bench.door.guests.items()
    before = guest.grant
    with pytest.raises(Forbidden):
        asyncio.run(bench.door.refresh(id, token(sub="you"), "192.0.2.1:1234"))
    line = bench.refusal()
    assert (line["reason"], line["status"]) == ("not_the_holder", 403)
    assert guest.grant is before
    asyncio.run(bench.door.refresh(id, token(sub="me"), "192.0.2.1:1234"))
    assert [facts["id"] for facts in bench.events("refreshed")] == [id]


def test_a_session_is_not_refreshed_by_a_key_of_another_part_of_the_tree() -> None:
    """Which may sign any subject, and where tokens name their tenant any tenant as well."""
    bench = Bench()
    scope = Scope(Path("acme"), (Path(""),), (Path(""),))
    narrow = keys.generate("HS256", kid="k2", scope=scope)
    known = keys.KeySet.gather(
        *(keys.KeySet.load(each.dump(), each.kid or "") for each in (KEY, narrow))
    )
    names = ClaimNames(tenant="tenant")
    bench.judge.rules = Rules(known, AuthSettings(claims=names))
    claims = Claims(Path(""), (Path(""),), (Path(""),), int(NOW + 60), sub="me", tenant="other")
    bench.knock(f"/?jwt={mint.sign(claims, KEY, NOW, names)}")
    ((id, guest),) = bench.door.guests.items()
    before = guest.grant
    theirs = mint.sign(replace(claims, put=(Path("acme"),), get=()), narrow, NOW, names)
    with pytest.raises(Forbidden):
        asyncio.run(bench.door.refresh(id, theirs, "192.0.2.1:1234"))
    assert guest.grant is before
    asyncio.run(bench.door.refresh(id, mint.sign(claims, KEY, NOW, names), "192.0.2.1:1234"))
    assert len(bench.events("refreshed")) == 1


def test_a_closing_door_has_relays_hear_of_no_way_that_leads_on() -> None:
    bench, told = Bench(), list[tuple[str, Any]]()
    claims = Claims(Path(""), (Path(""),), (Path(""),), exp=int(NOW + 60), cluster=True)
    link = bench.knock(f"/?jwt={mint.sign(claims, KEY, NOW)}").accepted[0][0]
    link.session.goaway = lambda uri: told.append(("goaway", uri))
    link.withdraw = lambda near: told.append(("withdraw", near))
    bench.door.close("https://elsewhere/", (5,))
    assert told == [("goaway", "https://elsewhere/"), ("withdraw", (5,))]


def test_only_sessions_that_are_there_are_refreshed() -> None:
    bench = Bench()
    undecided = bench.knock(None)
    for id in ("nobody", undecided.accepted[0][0].id):
        with pytest.raises(Unroutable, match="no session"):
            asyncio.run(bench.door.refresh(id, token(), "192.0.2.1"))


@pytest.mark.parametrize("surface", ["http", "session"])
def test_a_session_is_refreshed_by_what_http_and_sessions_take(surface: str) -> None:
    bench = Bench()
    bench.knock(f"/demo?jwt={token(sub='me')}")
    ((id, guest),) = bench.door.guests.items()
    before = guest.grant
    rules = bench.judge.rules
    taken = AuthSettings.model_validate({surface: {"accept": ["api_key", "token"]}})
    bench.judge.rules = Rules(rules.keys, taken)
    judgement = asyncio.run(bench.door.refresh(id, token(ttl=600, sub="me"), "192.0.2.1"))
    assert judgement.grant is None
    assert judgement.decision.reason.code == "not_accepted"
    assert f"auth.{surface}" in judgement.decision.reason.hint
    assert guest.grant is before


def test_another_relay_is_no_tenant() -> None:
    bench = Bench()
    bench.door.house.ledger.obey(quota(sessions=1), bench.now)
    claims = Claims(Path("demo"), (Path(""),), (Path(""),), exp=int(NOW + 60), cluster=True)
    link = mint.sign(claims, KEY, NOW)
    assert all(bench.knock(f"/demo?jwt={link}").accepted for _ in range(3))
    assert bench.knock(f"/demo?jwt={token()}").accepted
    assert bench.knock(f"/demo?jwt={token()}").refused


@pytest.mark.parametrize("target", ["/demo", None], ids=["at the door", "in SETUP"])
@pytest.mark.parametrize(
    "why", ["over_quota", "stopping", "revoked", "given up"], ids=lambda why: why.replace(" ", "_")
)
def test_whoever_lent_a_grant_is_told_that_nobody_comes_in_on_it(
    target: str | None, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    class Lent(NoLoan):
        def end(self, reason: str, sent: int = 0, received: int = 0) -> None:
            told.append(reason)

    async def ask(self: Slow, request: Any, knock: Any, facts: Any) -> Any:
        grant = Grant(Path("demo"), (Path(""),), tenant="demo", subject="me")
        return Decision(True, grant, (), Reason("allowed", ""), 200), Lent()

    waiting: list[Callable[[], None]] = []
    monkeypatch.setattr(Account, "when_known", lambda self, needs, now, go: waiting.append(go))
    monkeypatch.setattr(Slow, "ask", ask)
    bench = Undecided()
    house = bench.door.house
    visit = bench.knock(target)
    if target is None:
        setup(visit, "/demo")
    bench.decide()
    if why == "over_quota":
        house.ledger.obey(quota(sessions=1), bench.now)
        house.ledger.enter("demo", bench.now)
    elif why == "stopping":
        bench.door.close()
    elif why == "revoked":
        bench.door.recheck(lambda grant: "sub me")
    elif target is None:
        bench.now += 60
        bench.door.tick(bench.now)
    else:
        visit.too_late()
    waiting.pop()()
    line = bench.refusal()
    statuses = {"over_quota": 429, "stopping": 503, "revoked": 401, "given up": 503}
    assert (line["status"], told) == (statuses[why], [why])
    assert not any(guest.opened for guest in bench.door.guests.values())
    assert house.ledger.accounts["demo"].sessions == (why == "over_quota")


def test_other_rights_are_in_force_kept_and_last_as_long_as_the_new_credential() -> None:
    bench = Bench()
    visit = bench.knock(f"/demo?jwt={token(sub='me')}")
    ((id, guest),) = bench.door.guests.items()
    claims = Claims(Path("demo"), (), (Path("a"),), exp=int(NOW + 600), sub="me")
    asyncio.run(bench.door.refresh(id, mint.sign(claims, KEY, NOW), "192.0.2.1:1234"))
    assert (guest.grant.publish, guest.grant.subscribe) == ((), (Path("a"),))
    assert [action for action, _ in bench.kept] == ["allow", "refresh"]
    bench.wall += 599
    bench.door.tick(bench.now)
    assert visit.wire.server.closed is None
    bench.wall += 1
    bench.door.tick(bench.now)
    assert visit.wire.server.closed is not None


def test_where_somebody_else_decides_nobody_is_refreshed_by_a_credential() -> None:
    bench = Undecided()
    bench.knock("/demo")
    bench.decide()
    ((id, guest),) = bench.door.guests.items()
    before = guest.grant
    with pytest.raises(Forbidden, match="authorization server"):
        asyncio.run(bench.door.refresh(id, token(sub="me"), "192.0.2.1:1234"))
    assert [facts["id"] for facts in bench.events("refresh refused")] == [id]
    assert guest.grant is before


def test_who_came_and_left_is_counted_and_leaves_no_deadline_behind() -> None:
    bench = Bench()
    visits = [bench.knock(f"/demo?jwt={token()}", "moq-lite-04") for _ in range(2)]
    guests = [visit.accepted[0][0] for visit in visits]
    assert (bench.door.admitted, bench.door.visitors, bench.door.staying) == (2, 2, 2)
    assert [facts["root"] for facts in bench.events("welcome")] == ["demo"] * 2
    guests[0].watching.queue.dropped = 3
    guests[0].connection_lost(0, "bye")
    bench.door.adopt(guests[1])
    assert bench.door.links == {guests[1].id: guests[1]}
    guests[1].watching.queue.dropped = 4
    bench.door.release(guests[1])
    assert (bench.door.links, bench.door.dropped) == ({}, 7)
    assert list(bench.door._deadlines._ends) == [guests[1].id]


def test_relays_are_no_visitors_and_stay_as_long_as_something_passes_through_us() -> None:
    bench = Bench()
    claims = Claims(Path(""), (Path(""),), (Path(""),), exp=int(NOW + 60), cluster=True)
    link = bench.knock(f"/?jwt={mint.sign(claims, KEY, NOW)}", "moq-lite-04").accepted[0][0]
    bench.knock("/anon")
    assert link.is_relay
    assert (bench.door.visitors, bench.door.staying) == (1, 1)

    class Passing(type(link.watching)):  # type: ignore[misc]
        is_passed_on_to = True

    link.watching.__class__ = Passing
    assert (bench.door.visitors, bench.door.staying) == (1, 2)
    link.via = NEAR
    assert bench.door.staying == 1, "another process of ours leaves when we do"
