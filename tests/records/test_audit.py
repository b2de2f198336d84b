"""The audit log: one chain that shows every change, and no credential in it, whoever says it."""

from __future__ import annotations

import asyncio
import string
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from relay.auth import keys, mint
from relay.auth.claims import Claims
from relay.auth.credentials import make_key, make_moose_key, make_ticket, make_token
from relay.errors import BadRequest
from relay.path import Path
from relay.records import opening, sql_audit
from relay.records.address import read_address
from relay.records.audit import (
    FIRST,
    MAX_TEXT,
    PRUNED,
    Entry,
    Fact,
    Query,
    Walk,
    hidden,
    linked,
    read_query,
)
from relay.records.opening import open_records
from relay.records.store import Records, StoreError
from stores import run

NOW = 1_000_000.0


def walked(entries: list[Entry], length: int | None = None) -> str | None:
    walk = Walk()
    for entry in entries:
        walk.see(entry)
    walk.end(entries[-1].number if length is None else length)
    return walk.broken


FACTS = [Fact("allow", f"u{number}", f"/t/{number}", at=NOW + number) for number in range(6)]
CHAIN = linked(FACTS, 1, FIRST)


# -- the chain ---------------------------------------------------------------------------------


def test_a_whole_chain() -> None:
    assert walked(CHAIN) is None
    assert [entry.number for entry in CHAIN] == [1, 2, 3, 4, 5, 6]
    assert CHAIN[0].previous == FIRST


@pytest.mark.parametrize("name", [field.name for field in fields(Entry)])
def test_every_change_of_a_member_is_noticed(name: str) -> None:
    old = getattr(CHAIN[2], name)
    new = old + 1 if isinstance(old, int) else f"{old}x"
    chain = [*CHAIN[:2], replace(CHAIN[2], **{name: new}), *CHAIN[3:]]
    broken = walked(chain)
    assert broken is not None
    assert "entry 3" in broken


def test_what_is_no_text_is_a_change_as_well() -> None:
    entries = linked(FACTS, 1, FIRST)
    changed = replace(entries[1], actor=b"\xff")  # type: ignore[arg-type]
    assert walked([entries[0], changed]) == "entry 2 was changed"


def test_an_entry_made_anew_breaks_what_follows() -> None:
    forged = Entry.of(replace(FACTS[2], actor="somebody else"), 3, CHAIN[2].previous)
    assert walked([*CHAIN[:2], forged, *CHAIN[3:]]) == "entry 4 does not follow entry 3"


def test_what_is_missing_is_named() -> None:
    assert walked([*CHAIN[:2], *CHAIN[3:]]) == "entry 3 is missing (the next is 4)"
    assert walked(CHAIN[:4], 6) == "entries after 4 are missing, up to 6"
    assert walked(CHAIN[2:]) == "entries before 3 are missing, and none says why"
    assert walked([CHAIN[1], CHAIN[0]], 2) is not None
    pruned = linked([Fact(PRUNED, target="2")], 7, CHAIN[-1].hash)
    assert walked([*CHAIN[2:], *pruned]) is None
    assert walked([*CHAIN[3:], *pruned]) is not None


FIRST_FORMAT = [
    Entry(
        *(1, 1_000_000_250_000, "n1", "alice", "allow", "/demo", "127.0.0.1", "k1", "t1"),
        *("0f1e2d3c4b5a", "over webtransport", FIRST),
        "d2aac1ded9db4deb2c860cb2c883f37d10200f27367e3e9ccf7ca6a8b8f5f4bc",
    ),
    Entry(
        *(2, 1_000_001_000_000, "n1", "", "deny", "/demo", "127.0.0.1", "", ""),
        *("a1b2c3d4e5f6", "over quic, expired"),
        "d2aac1ded9db4deb2c860cb2c883f37d10200f27367e3e9ccf7ca6a8b8f5f4bc",
        "4c069fdc1769d0ce867c387efd30c7ead4f7eddeeb8f0663a4c9e44c581e975f",
    ),
]
"""Written by relays of before there were words."""


def test_entries_of_the_first_format_stay_good_and_new_ones_follow_them() -> None:
    new = linked([Fact("deny", reason="expired", id="x")], 3, FIRST_FORMAT[-1].hash)
    assert new[0].format == 2
    assert walked([*FIRST_FORMAT, *new]) is None


@pytest.mark.parametrize(
    "change", [{"tenant": "a"}, {"id": "a"}, {"format": 2}, {"format": 0}, {"reason": "expired"}]
)
def test_nothing_is_slipped_into_an_old_entry(change: dict[str, Any]) -> None:
    changed = replace(FIRST_FORMAT[1], **change)
    assert walked([FIRST_FORMAT[0], changed]) == "entry 2 was changed"


def test_a_log_of_before_is_whole_after_its_store_was_brought_up_to_date(lasting: str) -> None:
    config = Config()
    config.set_main_option("script_location", "relay.records:migrations")
    config.set_main_option("path_separator", "os")

    def begin(connection: Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        columns = [field.name for field in fields(Entry)[:13]]
        said = ", ".join(f":{name}" for name in columns)
        for entry in FIRST_FORMAT:
            row = {name: getattr(entry, name) for name in columns}
            connection.execute(text(f"INSERT INTO audit VALUES ({said})"), row)
        connection.execute(text("UPDATE counters SET value = 2 WHERE name = 'audit'"))

    async def scenario() -> None:
        engine = opening._engine(read_address(lasting))
        async with engine.begin() as connection:
            await connection.run_sync(begin)
        await engine.dispose()
        store = await open_records(lasting)
        assert await store.audit.after(0, 10) == FIRST_FORMAT
        await store.audit.append([Fact("deny", reason="expired", id="x")])
        kept = await store.audit.after(0, 10)
        assert [entry.format for entry in kept] == [1, 1, 2]
        assert walked(kept, await store.audit.length()) is None
        assert [each.number for each in await store.audit.entries(Query(reason="expired"))] == [3]
        await store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("said", [{}, {"tenant": "a"}, {"id": "a"}])
def test_a_new_entry_does_not_pass_for_an_old_one(said: dict[str, Any]) -> None:
    (entry,) = linked([replace(Fact("x"), **said)], 1, FIRST)
    assert walked([entry]) is None
    assert walked([replace(entry, format=1)]) == "entry 1 was changed"
    assert walked([replace(entry, format=1, tenant="", id="")]) == "entry 1 was changed"


# -- no credentials ----------------------------------------------------------------------------

KEYS = [keys.generate(algorithm) for algorithm in ("HS256", "ES256")]


def jwt(number: int) -> str:
    claims = Claims(root=Path("demo"), put=(Path(""),), sub="alice")
    return mint.sign(claims, KEYS[number % 2], NOW)


CREDENTIALS: list[Callable[[], list[str]]] = [
    lambda: [jwt(0)],
    lambda: [jwt(1)],
    lambda: [str(token := make_token()), token.secret],
    lambda: [make_ticket()],
    lambda: [bearer := make_key(1000).bearer, bearer.partition(".")[0]],
    lambda: [bearer := make_moose_key().bearer, bearer.partition(".")[0]],
]
around = st.text(alphabet=string.printable, max_size=20).filter(
    lambda text: not text or not (text[-1].isalnum() or text[-1] in "_-.=+/")
)


@given(
    kind=st.integers(0, len(CREDENTIALS) - 1),
    field=st.sampled_from([field.name for field in fields(Fact) if field.name != "at"]),
    before=around,
    after=around,
    form=st.sampled_from(["{}", "?jwt={}", "/demo?ticket={}&x=1", "Bearer {}", "token={}"]),
)
def test_no_credential_gets_in(kind: int, field: str, before: str, after: str, form: str) -> None:
    secret_texts = CREDENTIALS[kind]()
    credential = secret_texts[0]
    said = f"{before} {form.format(credential)} {after}"
    if field in ("kid", "jti") and kind == 3:
        return  # a ticket there is a name like any other: nothing tells them apart
    entry = Entry.of(replace(Fact("x"), **{field: said}), 1, FIRST)
    stored = "\n".join(str(getattr(entry, each.name)) for each in fields(Entry))
    for secret in secret_texts:
        assert secret not in stored
    for part in credential.split("."):
        assert len(part) < 24 or part not in stored


def test_what_is_no_credential_stays() -> None:
    names = ["alice@example.com", "mq_abcdefABCDEF", "k1", "/demo/room one", "[2001:db8::1]:4443"]
    names += ["1b4e28ba-2fa1-11d2-883f-0016d3cca427", "quotas.sessions", "über"]
    names += [
        *("relay-frankfurt-01.example.com", "https://relay-eu-1.example.com:4443/"),
        *("/plant/frankfurt/hall-3/line-7/camera-12/video", "/cameras01.site.north/video"),
        *("firstname.lastname.role", "/anon/hockey-championship-finals"),
        "revocation.withdraw.failed",
    ]
    assert [hidden(name) for name in names] == names
    fingerprint = "ab" * 32
    assert hidden(fingerprint, is_name=True) == fingerprint


@pytest.mark.parametrize(
    "credential",
    [
        f"KeT3PYoTnUCey{'x' * 30}.HUobMF7wkgDEDJ95kRSIhT",
        f"mq_{'Q' * 12}_{'z' * 8}ey{'x' * 30}",
        f"mq_Qey{'Q' * 9}_{'z' * 40}",
        f"{'ab' * 16}.{'cd' * 16}",
        f"IHsiYWxnIjoiSFMyNTYifQ.eyJyb290.{'s' * 43}",
    ],
    ids=[
        *("api key", "secret of an api token", "prefix of an api token"),
        *("api key of another make", "jwt that begins with a blank"),
    ],
)
def test_letters_that_look_like_a_jwt_do_not_save_the_rest(credential: str) -> None:
    assert hidden(f"/a/{credential}/b") == "/a/(credential)/b"


def test_a_key_in_base64() -> None:
    assert hidden(f"the key {'x+/y' * 10}xyz= was") == "the key (credential) was"


@given(st.text())
def test_any_text_becomes_one_short_line(said: str) -> None:
    kept = hidden(said)
    assert len(kept) <= MAX_TEXT
    assert kept.isprintable()
    kept.encode()
    entry = Entry.of(Fact("x", detail=said), 1, FIRST)
    assert entry.digest() == entry.hash


# -- kept in a store ---------------------------------------------------------------------------


def test_entries_in_a_store(address: str | None) -> None:
    async def scenario(store: Records) -> None:
        assert await store.audit.append([]) == []
        assert await store.audit.length() == 0
        first = await store.audit.append(FACTS[:2])
        second = await store.audit.append(FACTS[2:])
        assert [*first, *second] == CHAIN
        assert await store.audit.length() == 6
        assert await store.audit.after(0, 100) == CHAIN
        assert await store.audit.after(2, 2) == CHAIN[2:4]
        assert walked(await store.audit.after(0, 100)) is None

    run(address, scenario)


def test_queries(address: str | None) -> None:
    facts = [
        Fact("quota.set", "alice", "a", at=NOW),
        Fact("quota.clear", "bob", "a", at=NOW + 10.5),
        Fact("quotas", "bob", "ab", at=NOW + 20),
        Fact("deny", "", "/a_b/c", at=NOW + 30),
        Fact("deny", "", "/axb/c", reason="expired", tenant="acme", id="f1", at=NOW + 40),
    ]

    async def scenario(store: Records) -> None:
        await store.audit.append(facts)

        async def found(**asked: Any) -> list[int]:
            return [entry.number for entry in await store.audit.entries(Query(**asked))]

        assert await found() == [5, 4, 3, 2, 1]
        assert await found(action="quota") == [2, 1]
        assert await found(action="quota.set") == [1]
        assert await found(actor="bob") == [3, 2]
        assert await found(target="a") == [2, 1]
        assert await found(target="a*") == [3, 2, 1]
        assert await found(target="/a_b*") == [4]
        assert await found(target="A*") == await found(target="/A_b*") == []
        assert await found(action="Quota") == []
        assert await found(since=NOW + 10.5, until=NOW + 30) == [3, 2]
        assert await found(reason="expired") == await found(tenant="acme") == [5]
        assert await found(id="f1", reason="expired", action="deny") == [5]
        assert await found(id="f") == await found(reason="expired", action="quota") == []
        assert await found(limit=2) == [5, 4]
        assert await found(limit=2, before=4) == [3, 2]
        assert await found(limit=9999) == [5, 4, 3, 2, 1]

    run(address, scenario)


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_what_is_too_old_goes_and_the_log_says_so(
    address: str | None, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_audit, "PRUNED_AT_ONCE", at_once)

    async def pruned(store: Records, before: float) -> list[int]:
        """How many went each time; the chain holds in between, as it does if nobody goes on."""
        counts: list[int] = []
        while count := await store.audit.prune(before, Fact(PRUNED, at=NOW + 100)):
            counts.append(count)
            kept = await store.audit.after(0, 100)
            assert walked(kept, await store.audit.length()) is None
        return counts

    async def scenario(store: Records) -> None:
        most = at_once if address is not None else 100
        await store.audit.append(FACTS)
        assert await pruned(store, NOW) == []
        assert await store.audit.length() == 6
        assert await pruned(store, NOW + 3) == {1: [1, 1, 1], 2: [2, 1]}.get(most, [3])
        kept = [entry.number for entry in await store.audit.after(0, 100)]
        assert kept[:3] == [4, 5, 6]
        assert sum(await pruned(store, NOW + 50)) == 3
        await store.audit.append(FACTS[:1])
        rest = await store.audit.after(0, 100)
        assert walked(rest, await store.audit.length()) is None

    run(address, scenario)


def test_an_entry_of_a_wrong_clock_takes_no_others_with_it(address: str | None) -> None:
    times = [NOW, NOW + 1000, NOW + 1, NOW + 8, NOW, NOW + 9]  # of the second and fifth: wrong

    async def scenario(store: Records) -> None:
        await store.audit.append([Fact("deny", at=at) for at in times])
        said = Fact(PRUNED, at=NOW + 10)
        assert await store.audit.prune(NOW + 5, said) == 3
        kept = await store.audit.after(0, 100)
        assert [entry.number for entry in kept] == [4, 5, 6, 7]
        assert walked(kept, await store.audit.length()) is None
        assert await store.audit.prune(NOW + 5, said) == 0
        assert await store.audit.prune(NOW + 20, replace(said, at=NOW + 30)) == 4

    run(address, scenario)


def test_many_writers_make_one_chain(lasting: str) -> None:
    async def main() -> list[Entry]:
        stores = [await open_records(lasting) for _ in range(4)]

        async def write(store: Records, node: str) -> None:
            for turn in range(10):
                size = turn % 3 + 1
                await store.audit.append([Fact("x", f"{turn}", node=node)] * size)

        async with asyncio.TaskGroup() as tasks:
            for number, store in enumerate(stores):
                tasks.create_task(write(store, f"n{number}"))
        entries = await stores[0].audit.after(0, 1000)
        for store in stores:
            await store.close()
        return entries

    entries = asyncio.run(main())
    assert len(entries) == 4 * 19
    assert walked(entries) is None
    for number in range(4):
        turns = [int(entry.actor) for entry in entries if entry.node == f"n{number}"]
        assert turns == sorted(turns)


def test_tampering_with_the_store_is_found(lasting: str) -> None:
    async def scenario(store: Any) -> None:
        await store.audit.append(FACTS)
        async with store._engine.begin() as connection:
            await connection.execute(text("UPDATE audit SET actor='nobody' WHERE number=4"))
        entries = await store.audit.after(0, 100)
        assert walked(entries, await store.audit.length()) == "entry 4 was changed"
        async with store._engine.begin() as connection:
            await connection.execute(text("DELETE FROM audit WHERE number>=4"))
        entries = await store.audit.after(0, 100)
        assert walked(entries, await store.audit.length()) == (
            "entries after 3 are missing, up to 6"
        )

    run(lasting, scenario)


@pytest.mark.parametrize(
    ("set", "said"),
    [
        ("at = 'soon' WHERE number = 2", "column at, number 2: a whole number was expected"),
        ("target = x'ff' WHERE number = 2", "column target, number 2: text was expected"),
        ("number = 'x' WHERE number = 2", "column number, number 'x': a whole number was"),
    ],
)
def test_what_is_of_another_type_is_named_and_not_listed(
    set: str, said: str, tmp_path: Path
) -> None:
    async def scenario(store: Any) -> None:
        await store.audit.append(FACTS)
        async with store._engine.begin() as connection:
            await connection.execute(text(f"UPDATE audit SET {set}"))
        with pytest.raises(StoreError, match=f"relay.db: table audit, {said}"):
            await store.audit.entries(Query())
        assert len(await store.audit.entries(Query(before=2))) == 1
        await store.audit.prune(NOW + 200, Fact(PRUNED, at=NOW + 300))
        assert (await store.audit.after(0, 1))[0].number == 7

    run(f"sqlite:///{tmp_path}/relay.db", scenario)


# -- questions ---------------------------------------------------------------------------------


def test_nothing_is_asked_for_that_is_older_than_1970() -> None:
    assert read_query({"from": "now-999999999w", "to": "now-999999999w"}, 1000.0).since == 0.0


def test_a_question_is_read() -> None:
    asked = {"from": "now-1h", "to": "now", "actor": "a", "action": "deny", "target": "/x*"}
    asked |= {"reason": "expired", "tenant": "t", "id": "f1"}
    read = read_query(asked | {"cursor": "17", "limit": "200"}, NOW)
    assert read == Query(NOW - 3600, NOW, "a", "deny", "/x*", "expired", "t", "f1", 17, 200)
    assert read_query({"from": "12.5"}, NOW).since == 12.5
    assert read_query({}, NOW) == Query()


@pytest.mark.parametrize(
    "asked",
    [
        {"limit": "201"},
        {"limit": "0"},
        {"limit": "-1"},
        {"cursor": "x"},
        {"from": "yesterday"},
        {"from": "now-1y"},
        {"from": "now+1h"},
        {"to": "nan"},
        {"who": "alice"},
    ],
)
def test_a_question_without_sense_is_refused(asked: dict[str, str]) -> None:
    with pytest.raises(BadRequest):
        read_query(asked, NOW)
