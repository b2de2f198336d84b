from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pace import until, within
from relay.auth.revocation import MAX_REASON, MAX_VALUE, Revocation, key_of
from relay.cluster.news import (
    KEEP_WITHDRAWN,
    LINES,
    MAX_FRAME,
    PAGE,
    REVOCATIONS,
    News,
    Register,
    dump,
    load,
)
from relay.errors import BadRequest
from relay.model.demand import TrackInfo
from relay.model.origin import Origin
from relay.peer import local
from relay.peer.local import LocalBroadcast
from relay.reserve import NEWS

WALL = 1_700_000_000.0

times = st.integers(0, 9).map(float)
entries = st.builds(
    Revocation,
    dimension=st.sampled_from(["jti", "sub"]),
    value=st.sampled_from("ab"),
    expires=st.sampled_from([None, 50.0]),
    created=times,
)
said = st.lists(st.one_of(entries, st.tuples(entries.map(key_of), times)), max_size=12)


def told(register: Register, items: list[Any]) -> list[bool]:
    return [
        register.add(item) if isinstance(item, Revocation) else register.withdraw(*item)
        for item in items
    ]


def state(register: Register) -> tuple[Any, ...]:
    return (
        {key: entry.created for key, entry in register.entries.items()},
        register.withdrawn,
    )


@given(said, st.randoms(use_true_random=False))
def test_the_order_of_news_does_not_matter(items: list[Any], random: Any) -> None:
    one, other = Register(), Register()
    told(one, items)
    shuffled = [*items, *items]
    random.shuffle(shuffled)
    told(other, shuffled)
    assert state(one) == state(other)
    assert not any(told(one, items))  # heard again, nothing is new


@given(said, said)
def test_only_what_is_told_on_is_needed(first: list[Any], then: list[Any]) -> None:
    """A relay that hears only what another found new ends up knowing the same."""
    near, far = Register(), Register()
    items = first + then
    told(far, [item for item, new in zip(items, told(near, items), strict=True) if new])
    assert state(near) == state(far)


@given(st.lists(entries), st.lists(st.tuples(entries.map(key_of), times)))
def test_a_frame_says_what_was_meant(revoked: list[Any], withdrawn: list[Any]) -> None:
    assert load(dump(revoked, withdrawn)) == (revoked, withdrawn)


def test_the_fullest_frame_is_not_too_long() -> None:
    widest = "\U0001f600"
    entry = Revocation("sub", widest * MAX_VALUE, 1.5e9, 1.6e9, widest * MAX_REASON, 1.7e9)
    assert len(dump([entry] * PAGE, [(key_of(entry), 1.7e9)] * PAGE)) <= MAX_FRAME


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(
            st.sampled_from(
                [
                    "revoked",
                    "withdrawn",
                    "dimension",
                    "value",
                    "issued_before",
                    "expires",
                    "created",
                ]
            ),
            inner,
        )
    ),
)


@given(st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_frame_is_read_or_refused(frame: bytes) -> None:
    with contextlib.suppress(BadRequest):
        load(frame)


GOOD = {
    "dimension": "jti",
    "value": "t",
    "issued_before": None,
    "expires": None,
    "reason": "",
    "created": 5.0,
}


def frame(withdrawn: Any = (), **changes: Any) -> bytes:
    return json.dumps({"revoked": [GOOD | changes], "withdrawn": withdrawn}).encode()


@pytest.mark.parametrize(
    "bad",
    [
        b"[]",
        b"{}",
        b'{"revoked": 5, "withdrawn": []}',
        frame(created=float("inf")),
        frame(created=float("nan")),
        frame(created="5"),
        frame(created=True),
        frame(expires=float("-inf")),
        frame(dimension="everything"),
        frame(dimension="all"),
        frame(value="x" * (MAX_VALUE + 1)),
        frame(reason=5),
        frame(value="\ud800"),
        frame(reason="\udfff"),
        frame([["jti", "\ud800", None, None, 5.0]]),
        frame([["jti", "t", None, None, "nan"]]),
        frame([["jti", "t", None, None, float("nan")]]),
        frame([["jti", "t", None, None, float("inf")]]),
        frame([["jti", "x" * (MAX_VALUE + 1), None, None, 5.0]]),
        frame([["jti", "t", None, 5.0]]),
        frame([{}]),
        frame(created=0).replace(b'"created": 0', b'"created": 1' + b"0" * 5000),
        b"[" * 100_000,
    ],
)
def test_news_that_make_no_sense(bad: bytes) -> None:
    assert load(frame())[0][0].value == "t"
    with pytest.raises(BadRequest):
        load(bad)


def test_what_has_ended_is_forgotten() -> None:
    register = Register()
    register.add(Revocation("jti", "a", expires=10.0, created=1.0))
    register.add(Revocation("jti", "b", created=1.0))
    register.withdraw(("jti", "c", None, None), 5.0)
    register.forget(10.0)
    assert [entry.value for entry in register.entries.values()] == ["b"]
    assert len(register.withdrawn) == 1
    register.forget(5.0 + KEEP_WITHDRAWN + 1)
    assert register.withdrawn == {}
    assert register._made.keys() == register.entries.keys()


class Relay:
    """One relay's news, and what came of them."""

    def __init__(self, id: int, wall: float = WALL) -> None:
        self.origin = Origin(id)
        self.wall = wall
        self.learnt: list[str] = []
        self.unlearnt: list[tuple[Any, float]] = []
        self.said: list[tuple[str, dict[str, Any]]] = []
        self.news = News(
            self.origin,
            lambda: asyncio.get_running_loop().time(),
            lambda: self.wall,
            lambda event, **facts: self.said.append((event, facts)),
            lambda entry: self.learnt.append(entry.value),
            lambda key, at: self.unlearnt.append((key, at)),
        )

    @property
    def source(self) -> LocalBroadcast:
        return self.news._broadcast

    def hear(self, source: Any, id: int) -> Any:
        """Have a relay's broadcast announced here, as a link would."""
        now = asyncio.get_running_loop().time()
        return self.origin.announce(NEWS.join(str(id)), source, (id,), now)

    def knows(self) -> set[str]:
        return {entry.value for entry in self.news.register.entries.values()}


@contextlib.asynccontextmanager
async def running(*relays: Relay, known: Any = ()) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(relay.news.run(known)) for relay in relays]
    await asyncio.sleep(0)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def revoked(value: str, created: float = WALL, **more: Any) -> Revocation:
    return Revocation("jti", value, created=created, **more)


def test_news_travel_both_what_was_and_what_comes() -> None:
    async def main() -> None:
        one, other = Relay(1), Relay(2)
        async with running(one, known=[revoked("old")]), running(other):
            other.hear(one.source, 1)
            await until(lambda: other.learnt == ["old"])
            one.news.revoked(revoked("new"))
            await until(lambda: other.learnt == ["old", "new"])
            one.news.withdrawn(revoked("new"), WALL + 1)
            await until(lambda: other.unlearnt)
            assert other.unlearnt == [(key_of(revoked("new")), WALL + 1)]
            assert other.knows() == {"old"}

    asyncio.run(main())


def test_what_was_heard_is_told_on() -> None:
    async def main() -> None:
        one, middle, other = Relay(1), Relay(2), Relay(3)
        async with running(one, middle, other):
            middle.hear(one.source, 1)
            other.hear(middle.source, 2)
            one.news.revoked(revoked("a"))
            await until(lambda: other.learnt == ["a"])
            one.news.withdrawn(revoked("a"), WALL + 1)
            await until(lambda: other.unlearnt)
            assert other.knows() == middle.knows() == set()

    asyncio.run(main())


def test_many_entries_come_in_pages_and_long_groups_begin_anew() -> None:
    async def main() -> None:
        one, other = Relay(1), Relay(2)
        many = [revoked(f"t{n}") for n in range(PAGE * 3 + 1)]
        async with running(one, known=many), running(other):
            other.hear(one.source, 1)
            await until(lambda: len(other.learnt) == len(many))
            for n in range(LINES + 5):
                one.news.revoked(revoked(f"n{n}"))
            await until(lambda: len(other.learnt) == len(many) + LINES + 5)
            late = Relay(3)
            async with running(late):
                late.hear(one.source, 1)
                await until(lambda: late.knows() == one.knows())

    asyncio.run(main())


def test_more_than_one_group_holds_goes_on_in_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        one, other = Relay(1), Relay(2)
        many = [revoked(f"t{n}") for n in range(PAGE * 3)]
        monkeypatch.setattr(local, "MAX_GROUP", len(dump(many)) // 2)
        async with running(one, known=many), running(other):
            assert {event for event, _ in one.said} == {"warning"}
            other.hear(one.source, 1)
            await until(lambda: other.learnt)
            for n in range(PAGE * 3):
                one.news.revoked(revoked(f"n{n}"))
            await until(lambda: {f"n{n}" for n in range(PAGE * 3)} <= other.knows())

    asyncio.run(main())


def test_a_relay_that_was_started_anew_is_heard_at_once() -> None:
    """With the number it had before, and while what it told before is still waited for."""

    async def main() -> None:
        before, other = Relay(1), Relay(2)
        async with running(other):
            async with running(before):
                route = other.hear(before.source, 1)
                before.news.revoked(revoked("a"))
                await until(lambda: other.learnt == ["a"])
            route.lose(asyncio.get_running_loop().time())
            after = Relay(1, WALL + 1)
            async with running(after, known=[revoked("b")]):
                other.hear(after.source, 1)
                await within(1.0, lambda: other.learnt == ["a", "b"])

    asyncio.run(main())


def test_nonsense_is_said_once_each_and_costs_nothing_else() -> None:
    async def main() -> None:
        relay = Relay(2)
        clock = asyncio.get_running_loop().time
        source = LocalBroadcast(clock)
        track = source.create_track(REVOCATIONS, TrackInfo(), keep=1)
        track.append_group()
        for payload in (b"nonsense", b"x" * (MAX_FRAME + 1), dump([revoked("a")])):
            track.write_frame(payload, 0)
        async with running(relay):
            relay.hear(source, 1)
            await until(lambda: relay.learnt == ["a"])
            assert [event for event, _ in relay.said] == ["warning", "warning"]

    asyncio.run(main())


def test_a_relay_without_such_a_track_is_asked_again_calmly() -> None:
    async def main() -> None:
        relay = Relay(2)
        source = LocalBroadcast(asyncio.get_running_loop().time)
        async with running(relay):
            relay.hear(source, 1)
            await asyncio.sleep(0.05)
            track = source.create_track(REVOCATIONS, TrackInfo(), keep=1)
            track.append_group()
            track.write_frame(dump([revoked("a")]), 0)
            await until(lambda: relay.learnt == ["a"])

    asyncio.run(main())


def test_a_withdrawal_by_a_clock_that_was_turned_back_holds() -> None:
    async def main() -> None:
        one, other = Relay(1), Relay(2)
        async with running(one, other):
            other.hear(one.source, 1)
            one.news.revoked(revoked("a"))
            one.news.withdrawn(revoked("a"), WALL - 3600)
            await until(lambda: other.unlearnt)
            assert one.knows() == other.knows() == set()

    asyncio.run(main())


def test_what_is_revoked_again_is_told_although_the_withdrawal_was_by_a_clock_ahead() -> None:
    async def main() -> None:
        ahead, here = Relay(1, WALL + 3600), Relay(2)
        async with running(ahead, here):
            here.hear(ahead.source, 1)
            ahead.hear(here.source, 2)
            first, again = revoked("a", WALL + 3600), revoked("a", WALL + 60)
            ahead.news.revoked(first)
            await until(lambda: here.learnt == ["a"])
            here.news.withdrawn(first, WALL + 30)
            await until(lambda: ahead.unlearnt)
            here.news.revoked(first)  # an echo: it was being kept meanwhile
            assert here.knows() == set()
            here.news.revoked(again)
            await until(lambda: ahead.learnt == ["a"])
            kept = here.news.register.entries[key_of(again)]
            assert kept.created > WALL + 3600
            assert here.learnt == ["a", "a"]  # to be kept as of that time
            here.news.revoked(again)
            here.news.revoked(kept)
            assert here.news.register.entries[key_of(again)] == kept
            here.news.withdrawn(kept, WALL + 90)
            await until(lambda: len(ahead.unlearnt) == 2)
            assert ahead.knows() == here.knows() == set()

    asyncio.run(main())


def test_what_was_told_anew_is_an_echo_the_second_time() -> None:
    register, entry = Register(), revoked("bob")
    key = key_of(entry)
    register.withdraw(key, WALL + 60)
    assert (later := register.anew(entry)).created > WALL + 60
    assert register.add(later)
    assert register.withdraw(key, WALL + 90)
    assert register.anew(entry) is entry
    assert not register.add(entry)


def test_following_a_withdrawal_does_not_undo_what_was_revoked_since() -> None:
    async def main() -> None:
        relay = Relay(1)
        async with running(relay):
            relay.news.revoked(revoked("a", WALL))
            relay.news.revoked(revoked("a", WALL + 2))
            relay.news.withdrawn(revoked("a", WALL), WALL + 5)  # of the first, only now kept
            assert relay.knows() == {"a"}
            relay.news.withdrawn(revoked("a", WALL + 2), WALL + 6)
            relay.news.withdrawn(revoked("a", WALL + 2), WALL + 9)  # an echo
            assert relay.news.register.withdrawn == {key_of(revoked("a")): WALL + 6}

    asyncio.run(main())


def test_readers_end_with_the_relays_they_read() -> None:
    async def main() -> None:
        relay = Relay(2)
        async with running(relay):
            for _ in range(20):
                source = LocalBroadcast(asyncio.get_running_loop().time)
                source.create_track(REVOCATIONS, TrackInfo(), keep=1).append_group()
                route = relay.hear(source, 1)
                await asyncio.sleep(0)
                route.withdraw(asyncio.get_running_loop().time())
            await until(lambda: len(asyncio.all_tasks()) == 2)  # the news, and this
            assert relay.news._readers == {}
            assert relay.origin.routes == 1  # its own

    asyncio.run(main())


def test_who_comes_when_all_is_over_is_not_read() -> None:
    """At the end of a relay others speak for a moment longer."""

    async def main() -> None:
        relay = Relay(2)
        async with running(relay):
            pass
        relay.hear(LocalBroadcast(asyncio.get_running_loop().time), 1)

    asyncio.run(main())
