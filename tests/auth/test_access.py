"""Who may reach a path: every rule that could let somebody in, and no other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from relay.auth.access import Way, ways
from relay.auth.credentials import make_key
from relay.auth.decide import Request, decide
from relay.auth.facts import StoredToken
from relay.auth.keys import Key, KeySet, generate
from relay.auth.scope import Scope
from relay.auth.settings import AuthSettings
from relay.path import ROOT, Path
from relay.reserve import Reserve

HASH = str(make_key(100_000).hash)
FREE = ("v1.jwk", generate("HS256", "v1"))
SCOPED = (
    "team.jwk",
    generate("HS256", "team", Scope(Path("demo"), (Path("live"),), (Path("live"), Path("talk")))),
)


def settings(**values: object) -> AuthSettings:
    return AuthSettings.model_validate(values)


def seen(found: tuple[Way, ...], verb: str) -> list[tuple[str, str, bool]]:
    return [(way.rule, way.prefix, way.whole) for way in found if way.verb == verb]


def test_public_prefixes_and_keys() -> None:
    found = ways(
        Path("demo/live/a"),
        settings(public={"subscribe": ["demo", "other"], "publish": ["demo/live/a/b"]}),
        [FREE, SCOPED],
    )
    assert seen(found, "publish") == [
        ("auth.public.publish", "demo/live/a/b", False),
        ("v1.jwk: the key has no scope", "", True),
        ("team.jwk: scope.put", "demo/live", True),
    ]
    assert seen(found, "subscribe") == [
        ("auth.public.subscribe", "demo", True),
        ("v1.jwk: the key has no scope", "", True),
        ("team.jwk: scope.get", "demo/live", True),
    ]


def test_api_tokens_of_the_store() -> None:
    token = StoredToken("a" * 12, "", "cam", Path("plant"), (Path("cams"),), (Path("x"), ROOT))
    row = f"mq_{'a' * 12} in the store"
    found = ways(Path("plant/cams/1"), settings(), [], [token])
    assert seen(found, "publish") == [(row, "plant/cams", True)]
    assert seen(found, "subscribe") == [(row, "plant", True)]
    assert ways(Path("plan"), settings(), [], [token]) == ()
    barred = settings(ingest={"accept": ["jwt"]}, consumption={"enforce_jwt": True})
    assert ways(Path("plant/cams/1"), barred, [], [token]) == ()


def test_another_server_may_let_anybody_in() -> None:
    token = StoredToken("a" * 12, "", "cam", publish=(ROOT,))
    server = "http://127.0.0.1:9/"
    found = ways(Path("x"), settings(url=server), [], [token])
    assert [(way.verb, way.rule, way.whole) for way in found] == [
        ("publish", "auth.url", True),
        ("subscribe", "auth.url", True),
    ]
    by_key = ways(Path("x"), settings(url=server, contract="api"), [], [token])
    assert [way.rule for way in by_key] == ["auth.url", f"{token.id} in the store", "auth.url"]


def test_segments_end_where_they_end() -> None:
    public = settings(public="demo")
    assert ways(Path("demofoo"), public, [SCOPED]) == ()
    assert [way.whole for way in ways(ROOT, public, [])] == [False, False]


def test_keys_that_cannot_vouch_are_left_out() -> None:
    signing = Key(FREE[1].material, "s", ("sign",))
    assert ways(Path("x"), settings(), [("s.jwk", signing)]) == ()


def test_api_keys_and_certificates() -> None:
    auth = settings(
        api_keys={"cam": {"hash": HASH, "root": "demo", "publish": ["cam"]}},
        certificates={"ops": {"full_access": True}, "lab": {"san": "lab", "subscribe": ["demo"]}},
    )
    found = ways(Path("demo/cam/1"), auth, [])
    assert seen(found, "publish") == [
        ("auth.api_keys.cam.publish", "demo/cam", True),
        ("auth.certificates.ops.full_access", "", True),
    ]
    assert seen(found, "subscribe") == [
        ("auth.certificates.ops.full_access", "", True),
        ("auth.certificates.lab.subscribe", "demo", True),
    ]


def test_where_only_relays_may_nobody_else_is_listed() -> None:
    auth = settings(
        public="",
        api_keys={"cam": {"hash": HASH, "publish": [".stats/x"], "subscribe": [""]}},
        certificates={
            "ops": {"full_access": True},
            "west": {"san": "west", "publish": ["demo"], "cluster": True},
            "east": {"san": "east", "full_access": True, "cluster": True},
        },
    )
    token = StoredToken("a" * 12, "", "cam", publish=(ROOT,), subscribe=(ROOT,))
    wide = ("wide.jwk", generate("HS256", "wide", Scope(ROOT, (ROOT,), (ROOT,))))

    def found(path: str) -> tuple[Way, ...]:
        keys = [FREE, SCOPED, wide]
        return ways(Path(path), auth, keys, [token], Reserve((Path(".stats"),)))

    by_key = [
        ("v1.jwk: the key has no scope", "", True),
        ("wide.jwk: scope.put", "", True),
    ]
    east = ("auth.certificates.east.full_access", "", True)
    assert seen(found(".stats/node/vm"), "publish") == [*by_key, east]
    assert len(seen(found(".stats/node/vm"), "subscribe")) == 7
    west = ("auth.certificates.west.cluster", ".internal", True)
    assert seen(found(".internal/x"), "publish") == [*by_key, west, east]
    assert len(seen(found(".internal/x"), "subscribe")) == 4
    below = {rule for rule, *_ in seen(found(""), "publish")}
    assert "auth.api_keys.cam.publish" not in below
    assert {"auth.public.publish", "auth.certificates.west.cluster"} <= below


@pytest.mark.parametrize(
    ("values", "publish", "subscribe"),
    [
        ({"ingest": {"enforce_jwt": True}}, 1, 2),
        ({"consumption": {"accept": ["api_key"]}}, 2, 1),
        ({"session": {"enforce_jwt": True}}, 2, 2),
        ({"session": {"enforce_jwt": True}, "http": {"enforce_jwt": True}}, 1, 1),
    ],
)
def test_what_is_not_taken_is_no_way(values: object, publish: int, subscribe: int) -> None:
    auth = settings(public="demo", **values)  # type: ignore[arg-type]
    found = ways(Path("demo"), auth, [FREE])
    assert len(seen(found, "publish")) == publish
    assert len(seen(found, "subscribe")) == subscribe


SEGMENTS = st.lists(st.sampled_from(["a", "b", "ab"]), max_size=3).map("/".join).map(Path)


@examples(max_examples=100, deadline=None)
@given(path=SEGMENTS, publish=st.lists(SEGMENTS, max_size=3), subscribe=st.lists(SEGMENTS))
def test_the_public_ways_are_those_of_the_decision(
    path: Path, publish: list[Path], subscribe: list[Path]
) -> None:
    auth = settings(public={"publish": publish, "subscribe": subscribe})
    found = ways(path, auth, [])
    grant = decide(Request(f"/{path}"), KeySet(), auth, 0.0).grant
    for verb in ("publish", "subscribe"):
        granted = () if grant is None else getattr(grant, verb)
        assert bool(seen(found, verb)) is bool(granted)
        assert any(whole for *_, whole in seen(found, verb)) is (ROOT in granted)
