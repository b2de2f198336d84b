"""All sources together: what is there, what is waited for, what a stranger can make it cost."""

from __future__ import annotations

import asyncio
import json
import math
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pace import until, within
from relay.auth.keys import Key, KeySet, generate
from relay.auth.settings import AuthSettings
from relay.errors import ConfigError
from relay.keyring import Change, Keyring
from relay.keyring.remote_folder import MAX_MISSES
from relay.net.tls import write_pair

Keys = dict[str, Key]
QUICK = {
    "allow_private": True,
    "timeout": 5.0,
    "min_interval": 0.05,
    "default_age": 30.0,
    "unknown_age": 5.0,
}


class Running:
    """A keyring that runs, and what it said."""

    def __init__(
        self,
        auth: dict[str, Any],
        fetch: dict[str, Any],
        every: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        settings = AuthSettings.model_validate(auth | {"fetch": QUICK | fetch})
        self.changes: list[Change] = []
        self.ring = Keyring(settings, self.log, tls, every=every)
        self.ring.on_change(self.changes.append)

    def log(self, event: str, **facts: Any) -> None:
        self.events.append((event, facts))

    def said(self, event: str) -> list[dict[str, Any]]:
        return [facts for name, facts in self.events if name == event]

    @property
    def kids(self) -> set[str | None]:
        return {key.kid for key in self.ring.keys.keys}


@asynccontextmanager
async def running(
    auth: dict[str, Any],
    every: float = 0.02,
    tls: ssl.SSLContext | None = None,
    **fetch: Any,
) -> AsyncIterator[Running]:
    one = Running(auth, fetch, every, tls)
    task = asyncio.ensure_future(one.ring.run())
    await asyncio.sleep(0)
    try:
        yield one
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# -- files -----------------------------------------------------------------------------------------


def write(folder: Path, *keys: Key) -> list[str]:
    names = []
    for key in keys:
        path = folder / f"{key.kid}.jwk"
        path.write_bytes(key.dump())
        names.append(str(path))
    return names


def test_files_at_once_and_as_they_change(tmp_path: Path, keys: Keys) -> None:
    async def main() -> None:
        names = write(tmp_path, keys["one"], keys["two"])
        async with running({"keys": names}) as one:
            assert one.kids == {"one", "two"}
            (tmp_path / "two.jwk").write_bytes(keys["three"].dump())
            await until(lambda: one.kids == {"one", "three"})
            (tmp_path / "one.jwk").unlink()
            await until(lambda: one.kids == {"three"})
            assert one.changes == [
                Change(frozenset({"three"}), frozenset({"two"})),
                Change(frozenset(), frozenset({"one"})),
            ]

    asyncio.run(main())


def test_another_key_of_the_same_name_is_a_change(tmp_path: Path, keys: Keys) -> None:
    async def main() -> None:
        (name,) = write(tmp_path, keys["one"])
        async with running({"key": name}) as one:
            (tmp_path / "one.jwk").write_bytes(keys["one"].dump(base64=True))
            await asyncio.sleep(0.1)
            assert one.changes == [Change(frozenset(), frozenset())]
            (tmp_path / "one.jwk").write_bytes(generate("EdDSA", "one").dump())
            await until(lambda: len(one.changes) > 1)
            assert one.changes[1:] == [Change(frozenset({"one"}), frozenset({"one"}))]

    asyncio.run(main())


@pytest.mark.parametrize("policy", ["close", "keep"])
def test_a_removed_key_is_remembered_where_sessions_end_with_it(
    tmp_path: Path, keys: Keys, policy: str
) -> None:
    async def main() -> None:
        names = write(tmp_path, keys["one"], keys["two"])
        async with running({"keys": names, "on_key_removed": policy}) as one:
            assert not one.ring.keys.retired
            (tmp_path / "two.jwk").write_bytes(keys["three"].dump())
            await until(lambda: one.kids == {"one", "three"})
            assert set(one.ring.keys.retired) == ({"two"} if policy == "close" else set())
            write(tmp_path, keys["two"])
            await until(lambda: one.kids == {"one", "two"})
            assert set(one.ring.keys.retired) == ({"three"} if policy == "close" else set())

    asyncio.run(main())


def test_since_when_another_key_has_the_name_of_one_that_is_gone(
    tmp_path: Path, keys: Keys
) -> None:
    async def main() -> None:
        names = write(tmp_path, keys["one"], keys["two"])
        async with running({"keys": names, "on_key_removed": "close"}) as one:
            (tmp_path / "two.jwk").write_bytes(keys["three"].dump())
            await until(lambda: "two" in one.ring.keys.retired)
            assert one.ring.keys.retired["two"] == math.inf
            before = time.time()
            (tmp_path / "two.jwk").write_bytes(generate("EdDSA", "two").dump())
            await until(lambda: one.kids == {"one", "two"})
            assert before <= one.ring.keys.retired["two"] <= time.time()

    asyncio.run(main())


def test_two_files_with_one_name_stop_the_start(tmp_path: Path, keys: Keys) -> None:
    names = write(tmp_path, keys["one"])
    with pytest.raises(ConfigError, match="two keys have the kid one"):
        Keyring(AuthSettings(keys=(*names, *names)))
    with pytest.raises(ConfigError) as caught:
        Keyring(AuthSettings(key=names[0], key_dir=str(tmp_path)))
    where = f"in {names[0]} and {tmp_path}"
    assert str(caught.value) == f"two keys have the kid one, {where}: each needs one of its own"
    with pytest.raises(ConfigError, match=r"none\.jwk: No such file"):
        Keyring(AuthSettings(key=str(tmp_path / "none.jwk")))
    bare = tmp_path / "bare"
    bare.write_bytes(keys["two"].dump().replace(b'"kid":"two",', b""))
    auth = AuthSettings.model_validate({"key": str(bare), "jwks": ["https://id.example/"]})
    with pytest.raises(ConfigError, match="without kid"):
        Keyring(auth)


def test_two_files_that_come_to_have_one_name(tmp_path: Path, keys: Keys) -> None:
    async def main() -> None:
        names = write(tmp_path, keys["one"], keys["two"])
        async with running({"keys": names}) as one:
            (tmp_path / "two.jwk").write_bytes(generate("EdDSA", "one").dump())
            await until(lambda: one.said("key not used"))
            assert one.kids == {"one"}
            assert one.changes == [Change(frozenset(), frozenset({"two"}))]

    asyncio.run(main())


def test_a_file_binds_its_keys_to_an_issuer(tmp_path: Path, keys: Keys) -> None:
    (name,) = write(tmp_path, keys["one"])
    auth = AuthSettings.model_validate(
        {"jwks": [{"file": name, "issuer": "me", "audience": "you"}]}
    )
    (key,) = Keyring(auth).keys.keys
    assert (key.issuer, key.audience) == ("me", "you")


# -- published sets --------------------------------------------------------------------------------


def test_a_set_is_asked_for_at_once_and_in_time(tools: Any, keys: Keys) -> None:
    async def main() -> None:
        async with tools.server() as server:
            server.show("/jwks", keys["one"], cache_control="max-age=1")
            source = {"url": server.url("/jwks?secret=x"), "issuer": "me", "audience": "you"}
            async with running({"jwks": [source]}) as one:
                assert not one.ring.keys.keys
                assert one.ring.keys
                await one.ring.need("one")
                (key,) = one.ring.keys.keys
                assert (key.issuer, key.audience) == ("me", "you")
                shown = time.monotonic()
                server.show("/jwks", keys["one"], keys["two"], cache_control="max-age=1")
                await within(1.0, lambda: one.kids == {"one", "two"})
                (found,) = one.ring.sources
                assert (len(found.keys), found.failures, found.problem) == (2, 0, None)
                assert found.fetches == 2
                assert found.confirmed is not None
                assert found.confirmed >= shown
                assert "secret" not in f"{found.name} {one.events}"

    asyncio.run(main())


@pytest.mark.parametrize("setting", ["key", "key_dir"])
def test_who_is_trusted_for_the_operators_keys_is_not_for_those_of_others(
    tools: Any, keys: Keys, tmp_path: Path, setting: str
) -> None:
    pair = tmp_path / "cert.pem", tmp_path / "key.pem"
    write_pair(*pair, ["127.0.0.1"])
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(*pair)
    trust = ssl.create_default_context(cafile=str(pair[0]))

    async def main() -> None:
        async with tools.server(served) as server:
            url = f"https://127.0.0.1:{server.port}"
            server.show("/keys/one.jwk", keys["one"])
            server.show("/jwks", keys["two"])
            own = {"key": f"{url}/keys/one.jwk", "key_dir": f"{url}/keys"}[setting]
            auth = {setting: own, "jwks": [{"url": f"{url}/jwks"}]}
            async with running(auth, tls=trust) as one:
                await one.ring.need("one")
                await until(lambda: one.kids == {"one"})
                ours, theirs = one.ring.sources
                assert ours.problem is None
                await until(lambda: theirs.problem is not None)
                assert "CERTIFICATE_VERIFY_FAILED" in theirs.problem

    asyncio.run(main())


def test_what_did_not_change_is_not_read_again(tools: Any, keys: Keys) -> None:
    async def main() -> None:
        async with tools.server() as server:

            def answer(headers: dict[str, str]) -> Any:
                said = {"etag": '"7"', "cache-control": "max-age=0"}
                if headers.get("if-none-match") == '"7"':
                    return tools.Answer(status=304, headers=said)
                return tools.Answer(tools.jwks(keys["one"]), headers=said)

            server.answers["/jwks"] = answer
            async with running({"jwks": [server.url("/jwks")]}, default_age=0.05) as one:
                await until(lambda: server.count("/jwks") > 3)
                assert one.kids == {"one"}
                assert len(one.changes) == 1
                assert "if-none-match" not in server.requests[0][1]
                assert server.requests[3][1]["if-none-match"] == '"7"'

    asyncio.run(main())


def test_what_holds_still_and_was_forgotten_meanwhile_is_asked_for_in_full(
    tools: Any, keys: Keys
) -> None:
    async def main() -> None:
        async with tools.server() as server:

            def answer(headers: dict[str, str]) -> Any:
                said = {"etag": '"7"', "cache-control": "max-age=0"}
                if "if-none-match" not in headers:
                    return tools.Answer(tools.jwks(keys["one"]), headers=said)
                known.append(headers["if-none-match"])
                if len(known) == 1:
                    return tools.Answer(status=500)
                return tools.Answer(status=304, headers=said, pause=0.3)

            known: list[str] = []
            server.answers["/jwks"] = answer
            times = {"default_age": 0.1, "max_stale": 0.15}
            async with running({"jwks": [server.url("/jwks")]}, **times) as one:
                await until(lambda: one.said("keys forgotten"))
                assert len(known) == 2
                await within(2.0, lambda: one.kids == {"one"})

    asyncio.run(main())


def test_a_new_key_is_found_by_its_name_at_once(tools: Any, keys: Keys) -> None:
    async def main() -> None:
        async with tools.server() as server:
            server.show("/jwks", keys["one"])
            async with running({"jwks": [server.url("/jwks")]}) as one:
                await one.ring.need("one")
                server.show("/jwks", keys["two"])
                await asyncio.gather(*(one.ring.need("two") for _ in range(50)))
                assert one.kids == {"two"}
                assert server.count("/jwks") == 2
                await asyncio.gather(*(one.ring.need("two") for _ in range(50)))
                await one.ring.need(None)
                assert server.count("/jwks") == 2
                assert one.changes[-1] == Change(frozenset({"two"}), frozenset({"one"}))

    asyncio.run(main())


def test_a_thousand_unknown_names_cost_a_handful_of_fetches(tools: Any, keys: Keys) -> None:
    async def main() -> None:
        async with tools.server() as server:
            server.show("/jwks", keys["one"])
            server.answers["/dir/one.jwk"] = tools.Answer(keys["one"].public().dump())
            auth = {"jwks": [server.url("/jwks")], "key_dir": server.url("/dir")}
            async with running(auth, min_interval=0.4) as one:
                await one.ring.need("one")
                before = len(server.requests)
                began = time.monotonic()
                waiting: list[int] = []

                async def stranger(number: int) -> None:
                    await asyncio.sleep(number / 1000)
                    waiting.append(one.ring.waiting)
                    await one.ring.need(f"stranger-{number}")

                await asyncio.gather(*(stranger(number) for number in range(1000)))
                seconds = time.monotonic() - began
                rounds = int(seconds / 0.4) + 2
                assert server.count("/jwks") <= 1 + rounds
                assert len(server.requests) - before <= rounds * (1 + 8 + 1)
                assert max(waiting) == one.ring.settings.max_waiting
                assert one.ring.waiting == 0
                assert one.kids == {"one"}

    asyncio.run(main())


def test_a_name_asked_for_in_vain_is_remembered(tools: Any, keys: Keys) -> None:
    async def main() -> None:
        async with tools.server() as server:
            server.show("/jwks", keys["one"])
            async with running({"jwks": [server.url("/jwks")]}, unknown_age=0.3) as one:
                await one.ring.need("two")
                asked = len(server.requests)
                for _ in range(20):
                    await one.ring.need("two")
                assert len(server.requests) == asked
                await asyncio.sleep(0.35)
                server.show("/jwks", keys["two"])
                await one.ring.need("two")
                assert one.kids == {"two"}

    asyncio.run(main())


@pytest.mark.parametrize(
    "kid", ["../../etc/passwd", "a/b", "a b", "", "k" * 257, "k\x00", "ä", "..", "a?b", "a#b"]
)
def test_a_name_that_is_none_is_never_asked_for(tools: Any, kid: str) -> None:
    async def main() -> None:
        async with tools.server() as server:
            async with running({"key_dir": server.url("/dir")}) as one:
                await one.ring.need(kid)
                await one.ring.need("one")
            assert [path for path, _ in server.requests] == ["/dir/one.jwk"]

    asyncio.run(main())


def test_names_of_others_are_compared_and_nothing_else(tools: Any) -> None:
    async def main() -> None:
        async with tools.server() as server:
            jwk = generate("EdDSA", "x").public().to_jwk()
            kid = "https://id.example/k+1=:../.."
            listed = [jwk | {"kid": kid}, jwk | {"kid": "a b"}, jwk | {"kid": "k" * 257}]
            server.answers["/jwks"] = tools.Answer(json.dumps({"keys": listed}).encode())
            async with running({"jwks": [server.url("/jwks")]}) as one:
                await one.ring.need(kid)
                assert one.kids == {kid}
                assert len(one.said("key not used")) == 2
                assert {path for path, _ in server.requests} == {"/jwks"}

    asyncio.run(main())


def test_one_bad_key_is_skipped_and_named(tools: Any, keys: Keys, secret: Key) -> None:
    async def main() -> None:
        async with tools.server() as server:
            rsa = generate("RS256", "rsa").public().to_jwk()
            listed = [
                keys["one"].to_jwk(),
                secret.to_jwk(),
                rsa | {"use": "enc"},
                {"kty": "oct", "k": secret.to_jwk()["k"]},
                keys["one"].public().to_jwk(),
                {name: v for name, v in keys["two"].public().to_jwk().items() if name != "alg"},
                5,
            ]
            server.answers["/jwks"] = tools.Answer(json.dumps({"keys": listed}).encode())
            async with running({"jwks": [server.url("/jwks")]}) as one:
                await one.ring.need("two")
                assert one.kids == {"one", "two"}
                assert not any(key.can_sign for key in one.ring.keys.keys)
                lines = " | ".join(facts["why"] for facts in one.said("key not used"))
                for words in (
                    "(one) came with its private half",
                    "(secret) is not used: it is a shared secret",
                    "(rsa) is not used: it is for encryption",
                    "several would fit",
                    "its kid is taken",
                    "not an object",
                ):
                    assert words in lines
                d = keys["one"].to_jwk()["d"]
                assert d not in str(one.events)
                assert secret.to_jwk()["k"] not in str(one.events)

    asyncio.run(main())


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 500},
        {"body": b"<html>"},
        {"body": b'{"keys":[],"keys":[]}'},
        {"status": 302, "headers": {"location": "http://localhost/"}},
        {"endless": True, "length": False},
        {"pause": 9.0},
        {"body": b"{" * 99, "drip": 1.0},
        {"raw": b""},
    ],
    ids=str,
)
def test_a_source_that_goes_bad_is_believed_for_a_while(
    tools: Any, keys: Keys, answer: dict[str, Any]
) -> None:
    async def main() -> None:
        async with tools.server() as server:
            server.show("/jwks", keys["one"], cache_control="max-age=0")
            times = {"default_age": 0.1, "max_stale": 1.5, "timeout": 0.2}
            async with running({"jwks": [server.url("/jwks")]}, **times) as one:
                await until(lambda: one.kids == {"one"})
                one.events.clear()
                server.answers["/jwks"] = tools.Answer(**answer)
                held, gone = one.ring.sources[0].confirmed, list[float]()
                one.ring.on_change(lambda change: gone.append(time.monotonic()))
                await until(lambda: one.said("keys not fetched"))
                await within(5.0, lambda: not one.kids)
                assert held is not None
                assert gone[0] - held >= times["max_stale"]
                assert one.said("keys forgotten")
                assert one.changes[-1] == Change(frozenset(), frozenset({"one"}))
                assert one.ring.keys.open_ended
                assert one.ring.sources[0].problem
                server.show("/jwks", keys["one"], cache_control="max-age=0")
                await until(lambda: one.kids == {"one"})
                assert one.said("keys fetched again")

    asyncio.run(main())


def test_a_source_that_takes_its_time_is_none_that_fails(tools: Any, keys: Keys) -> None:
    async def main() -> None:
        async with tools.server() as server:
            server.show("/jwks", keys["one"], cache_control="max-age=0")
            server.answers["/jwks"].pause = 0.3
            times = {"default_age": 0.05, "max_stale": 0.0}
            async with running({"jwks": [server.url("/jwks")]}, **times) as one:
                await until(lambda: one.ring.sources[0].fetches > 4)
                assert one.kids == {"one"}
                assert one.changes == [Change(frozenset({"one"}), frozenset())]
                server.answers["/jwks"].status = 500
                await until(lambda: not one.kids)

    asyncio.run(main())


def test_who_answers_about_one_key_has_not_answered_about_another(tools: Any) -> None:
    async def main() -> None:
        async with tools.server() as server:
            server.answers["/keys/two.jwk"] = tools.Answer(status=503)
            async with running({"key_dir": server.url("/keys")}) as one:
                await one.ring.need("two")
                await one.ring.need("made-up")
                assert "503" in one.ring.silence_about("two")
                assert one.ring.silence_about("made-up") == ""
                server.answers["/keys/third.jwk"] = tools.Answer(status=503)
                await one.ring.need("third")
                assert one.ring.silence_about("made-up") == ""

    asyncio.run(main())


def test_an_empty_set_is_an_answer(tools: Any, keys: Keys) -> None:
    async def main() -> None:
        async with tools.server() as server:
            server.show("/jwks", keys["one"], cache_control="max-age=0")
            async with running({"jwks": [server.url("/jwks")]}, default_age=0.1) as one:
                await one.ring.need("one")
                server.show("/jwks")
                await until(lambda: not one.kids)
                assert not one.said("keys not fetched")
                assert not one.ring.keys

    asyncio.run(main())


def test_a_source_that_is_down_at_the_start(tools: Any, keys: Keys, tmp_path: Path) -> None:
    async def main() -> None:
        async with tools.server() as server:
            server.answers["/jwks"] = tools.Answer(status=503)
            (name,) = write(tmp_path, keys["one"])
            async with running({"key": name, "jwks": [server.url("/jwks")]}) as one:
                await one.ring.need("two")
                assert one.kids == {"one"}
                assert one.ring.keys.open_ended
                assert not one.ring.keys.single
                assert "503" in one.ring.silence
                await until(lambda: server.count("/jwks") > 2)
                server.show("/jwks", keys["two"])
                await until(lambda: one.kids == {"one", "two"})
                assert one.ring.silence == ""
                waits = [facts["retry"] for facts in one.said("keys not fetched")]
                assert waits == sorted(waits)
                assert not one.ring.keys.open_ended

    asyncio.run(main())


def test_a_published_key_takes_no_name_from_a_file(tools: Any, keys: Keys, tmp_path: Path) -> None:
    async def main() -> None:
        async with tools.server() as server:
            server.show("/jwks", generate("EdDSA", "one"), keys["two"])
            (name,) = write(tmp_path, keys["one"])
            async with running({"key": name, "jwks": [server.url("/jwks")]}) as one:
                await one.ring.need("two")
                assert (
                    one.ring.keys.find("one").material.members() == keys["one"].material.members()
                )
                (line,) = one.said("key not used")
                both = f"that of {name} is, that of {server.url('/jwks')} is not"
                assert line["why"] == f"a second key named one is not used: {both}"

    asyncio.run(main())


def test_a_key_by_url_is_what_a_key_file_is(tools: Any, keys: Keys, secret: Key) -> None:
    async def main() -> None:
        async with tools.server() as server:
            server.answers["/a"] = tools.Answer(secret.dump(base64=True))
            server.answers["/b"] = tools.Answer(keys["one"].dump())
            async with running({"keys": [server.url("/a"), server.url("/b")]}) as one:
                await asyncio.gather(one.ring.need("secret"), one.ring.need("one"))
                assert one.kids == {"secret", "one"}
                assert not one.ring.keys.find("one").can_sign

    asyncio.run(main())


# -- folders at URLs -------------------------------------------------------------------------------


def test_a_folder_at_a_url(tools: Any, keys: Keys, secret: Key) -> None:
    async def main() -> None:
        async with tools.server() as server:
            said = {"cache-control": "max-age=0"}
            server.answers["/dir/one.jwk"] = tools.Answer(keys["one"].dump(), headers=said)
            server.answers["/dir/secret.jwk"] = tools.Answer(secret.dump())
            server.answers["/dir/two.jwk"] = tools.Answer(keys["three"].dump())
            url = server.url("/dir/?k=v")
            async with running({"key_dir": url}, default_age=0.1) as one:
                assert one.ring.keys
                assert not server.requests
                for kid in ("one", "secret", "two", "none"):
                    await one.ring.need(kid)
                assert one.kids == {"one", "secret"}
                assert not one.ring.keys.find("one").can_sign
                assert one.ring.keys.open_ended
                assert server.requests[0][0] == "/dir/one.jwk?k=v"
                assert "its kid is three" in one.said("keys not fetched")[0]["why"]
                asked = server.count("/dir/one.jwk?k=v")
                await until(lambda: server.count("/dir/one.jwk?k=v") > asked)
                del server.answers["/dir/one.jwk"]
                await until(lambda: one.kids == {"secret"})
                assert one.changes[-1] == Change(frozenset(), frozenset({"one"}))
                (found,) = one.ring.sources
                assert len(found.keys) == 1
                # A fetch counts when it begins, a request when it has come.
                await until(lambda: found.fetches == len(server.requests))

    asyncio.run(main())


def test_many_good_names_of_a_folder_come_in_a_row(tools: Any) -> None:
    async def main() -> None:
        made = [generate("EdDSA", f"k{number}") for number in range(30)]
        async with tools.server() as server:
            for key in made:
                server.answers[f"/{key.kid}.jwk"] = tools.Answer(key.public().dump())
            async with running({"key_dir": server.url("/")}, min_interval=60.0) as one:
                for key in made:
                    await asyncio.gather(*(one.ring.need(key.kid) for _ in range(3)))
                assert len(one.kids) == 30
                assert len(server.requests) == 30

    asyncio.run(main())


# -- issuers ---------------------------------------------------------------------------------------


def discovery(server: Any, **changes: Any) -> bytes:
    return json.dumps(
        {"issuer": server.url("/id"), "jwks_uri": server.url("/jwks")} | changes
    ).encode()


WELL_KNOWN = "/id/.well-known/openid-configuration"


def test_an_issuer_says_where_its_keys_are(tools: Any, keys: Keys) -> None:
    async def main() -> None:
        async with tools.server() as server:
            server.answers[WELL_KNOWN] = tools.Answer(discovery(server))
            server.show("/jwks", keys["one"])
            source = {"issuer": server.url("/id"), "audience": "me"}
            async with running({"issuers": [source]}) as one:
                await one.ring.need("one")
                (key,) = one.ring.keys.keys
                assert (key.issuer, key.audience) == (server.url("/id"), "me")
                server.show("/jwks", keys["two"])
                await one.ring.need("two")
                assert one.kids == {"two"}
                assert (server.count(WELL_KNOWN), server.count("/jwks")) == (1, 2)

    asyncio.run(main())


def test_an_issuer_whose_keys_moved_is_asked_where_they_are(tools: Any, keys: Keys) -> None:
    async def main() -> None:
        async with tools.server() as server:
            server.answers[WELL_KNOWN] = tools.Answer(discovery(server))
            server.show("/jwks", keys["one"])
            async with running({"issuers": [server.url("/id")]}) as one:
                await one.ring.need("one")
                server.answers[WELL_KNOWN] = tools.Answer(
                    discovery(server, jwks_uri=server.url("/new"))
                )
                del server.answers["/jwks"]
                server.show("/new", keys["two"])
                await one.ring.need("two")  # the old place has none
                await until(lambda: one.kids == {"two"})
                assert server.count("/new") == 1

    asyncio.run(main())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"issuer": "https://else.example"}, "that of 'https://else.example'"),
        ({"issuer": None}, "that of nobody"),
        ({"jwks_uri": None}, "no jwks_uri"),
        ({"jwks_uri": "file:///etc/passwd"}, "expected a URL"),
        ({"jwks_uri": "http://u:p@127.0.0.1/"}, "without user name"),
    ],
)
def test_an_issuer_that_is_not_believed(tools: Any, changes: dict[str, Any], words: str) -> None:
    async def main() -> None:
        async with tools.server() as server:
            server.answers[WELL_KNOWN] = tools.Answer(discovery(server, **changes))
            async with running({"issuers": [server.url("/id")]}) as one:
                await until(lambda: one.said("keys not fetched"))
                assert words in one.said("keys not fetched")[0]["why"]
                assert "discovery: " in one.said("keys not fetched")[0]["why"]
                assert server.count("/jwks") == 0

    asyncio.run(main())


def test_who_waits_is_let_go_at_the_end(tools: Any) -> None:
    async def main() -> None:
        async with tools.server() as server:
            server.answers["/jwks"] = tools.Answer(pause=9.0)
            async with running({"jwks": [server.url("/jwks")]}) as one:
                waiting = asyncio.ensure_future(one.ring.need("one"))
                await until(lambda: one.ring.waiting)
            async with asyncio.timeout(5.0):
                await waiting
            await one.ring.need("one")

    asyncio.run(main())


def test_a_key_that_nobody_was_asked_for_may_be_good(tools: Any, keys: Keys) -> None:
    async def main() -> None:
        async with tools.server() as server:
            server.show("/jwks", keys["one"])
            server.answers["/jwks"].pause = 0.2
            async with running({"jwks": [server.url("/jwks")]}, max_waiting=1) as one:
                assert "no answer yet" in one.ring.silence_about(None)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(one.ring.need("made-up"))
                    await until(lambda: one.ring.waiting)
                    await one.ring.need("one")
                    assert "no answer yet" in one.ring.silence_about("one")
                assert one.ring.silence_about(None) == one.ring.silence_about("made-up") == ""
                server.show("/jwks", keys["two"])
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(one.ring.need("other"))
                    await until(lambda: one.ring.waiting)
                    await one.ring.need("two")
                    assert "was not asked for" in one.ring.silence_about("two")
                    assert one.ring.silence_about("a b") == ""  # which no source could have
                assert one.kids == {"two"}
                server.answers["/jwks"] = tools.Answer(pause=9.0)
                waiting = asyncio.ensure_future(one.ring.need("late"))
                await until(lambda: one.ring.waiting)
            await waiting
            assert "was not asked for" in one.ring.silence_about("late")

    asyncio.run(main())


def test_a_key_that_no_source_could_have_is_not_one_that_nobody_was_asked_for(tools: Any) -> None:
    """A folder has only names that are safe in those of files."""

    async def main() -> None:
        async with tools.server() as server, running({"key_dir": server.url("/keys")}) as one:
            await one.ring.need("a/b.c")
            assert one.ring.silence_about("a/b.c") == ""

    asyncio.run(main())


def test_what_one_source_does_not_have_another_that_was_not_asked_may_have(
    tools: Any, keys: Keys
) -> None:
    async def main() -> None:
        async with tools.server() as server:
            server.show("/jwks", keys["one"])
            server.answers["/keys/two.jwk"] = tools.Answer(keys["two"].public().dump())
            auth = {"jwks": [server.url("/jwks")], "key_dir": server.url("/keys")}
            slow = {f"made-up-{number}": tools.Answer(pause=9.0) for number in range(MAX_MISSES)}
            server.answers |= {f"/keys/{name}.jwk": answer for name, answer in slow.items()}
            async with running(auth) as one:
                others = asyncio.gather(*map(one.ring.need, slow))
                await until(lambda: all(server.count(f"/keys/{name}.jwk") for name in slow))
                await one.ring.need("two")
                assert "was not asked for" in one.ring.silence_about("two")
                assert one.ring.may_come("two")
            await others

    asyncio.run(main())


def test_nothing_is_asked_for_once_it_is_about_to_end(tools: Any) -> None:
    async def main() -> None:
        async with tools.server() as server:
            server.answers["/keys/first.jwk"] = tools.Answer(pause=9.0)
            one = Running({"key_dir": server.url("/keys")}, {}, 0.02)
            task = asyncio.ensure_future(one.ring.run())
            await asyncio.sleep(0)
            waiting = asyncio.ensure_future(one.ring.need("first"))
            await until(lambda: server.count("/keys/first.jwk"))
            server.show("/keys/second.jwk", generate("ES256", "second"))
            task.cancel()
            await asyncio.sleep(0)  # it has been told, and others are letting go
            late = asyncio.ensure_future(one.ring.need("second"))
            done, _ = await asyncio.wait((task, waiting, late), timeout=3.0)
            assert done == {task, waiting, late}
            assert not server.count("/keys/second.jwk")

    asyncio.run(main())


class Own:
    """A source that somebody else keeps."""

    name = "own"
    keys = KeySet()
    problem = None
    fetches = failures = 0
    confirmed = None

    def look(self, now: float) -> None:
        """Nothing changes by itself."""


def test_keys_that_somebody_else_keeps_are_believed_as_well(tmp_path: Path) -> None:
    ours, theirs = generate("ES256", "ours"), generate("HS256", "theirs")
    (tmp_path / "a.jwk").write_bytes(theirs.dump())
    ring = Keyring(AuthSettings(key=str(tmp_path / "a.jwk")))
    changes: list[Change] = []
    ring.on_change(changes.append)
    own = Own()
    ring.adopt(own)
    own.keys = KeySet((ours.public(),))
    ring.turn()
    assert {key.kid for key in ring.keys.keys} == {"ours", "theirs"}
    own.keys = KeySet()
    ring.turn()
    assert [change.removed for change in changes if change.removed] == [frozenset({"ours"})]
    (tmp_path / "b.jwk").write_bytes(replace(theirs, kid=None).dump())
    nameless = Keyring(AuthSettings(key=str(tmp_path / "b.jwk")))
    with pytest.raises(ConfigError, match="a key without kid"):
        nameless.adopt(own)


def test_a_published_key_takes_no_name_from_one_that_is_kept_here(tools: Any, keys: Keys) -> None:
    async def main() -> None:
        async with tools.server() as server:
            server.show("/jwks", generate("EdDSA", "one"), keys["two"])
            async with running({"jwks": [server.url("/jwks")]}) as one:
                await one.ring.need("two")
                own = Own()
                own.keys = KeySet((keys["one"].public(),))
                one.ring.adopt(own)
                found = one.ring.keys.find("one")
                assert found.material.members() == keys["one"].public().material.members()

    asyncio.run(main())
