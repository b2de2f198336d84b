from __future__ import annotations

from relay.cluster.address import parse
from relay.cluster.roster import MAX_RELAYS, Roster, Wish


def listed(*urls: str) -> dict:
    return {each.key: each for each in map(parse, urls)}


def test_the_most_important_wish_has_its_way() -> None:
    roster = Roster()
    roster.want(Wish.SERVED, listed("https://a/?cost=5", "https://b/"))
    roster.add(Wish.GOSSIPED, parse("https://c/"))
    roster.want(Wish.LISTED, listed("https://a/?cost=2"))
    wanted = roster.wanted()
    assert [(key, each.cost) for key, each in wanted.items()] == [
        ("https://a/", 2),
        ("https://b/", None),
        ("https://c/", None),
    ]
    assert [roster.is_hearsay(key) for key in wanted] == [False, False, True]
    roster.want(Wish.LISTED, {})
    assert roster.wanted()["https://a/"].cost == 5
    roster.drop(Wish.GOSSIPED, "https://c/")
    roster.drop(Wish.GOSSIPED, "https://never/")
    assert set(roster.wanted()) == {"https://a/", "https://b/"}


def test_a_relay_is_not_dialled_by_itself() -> None:
    roster = Roster("https://me/")
    roster.want(Wish.LISTED, listed("https://me/", "https://a/"))
    roster.add(Wish.GOSSIPED, parse("https://ME:443"))
    assert set(roster.wanted()) == {"https://a/"}


def test_those_that_others_told_of_are_left_out_first() -> None:
    roster = Roster()
    for number in range(MAX_RELAYS):
        roster.add(Wish.GOSSIPED, parse(f"https://g{number}/"))
    roster.want(Wish.LISTED, listed("https://a/"))
    wanted = roster.wanted()
    assert len(wanted) == MAX_RELAYS
    assert "https://a/" in wanted
