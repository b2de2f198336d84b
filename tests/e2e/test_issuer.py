"""Tokens of the relay's own: two relays on one store agree on keys, and follow every rotation."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import jwt
import pytest

from pace import until, within
from relay.auth import keys, mint
from relay.auth.claims import Claims
from relay.auth.compact import split
from relay.auth.credentials import make_token, secret_digest
from relay.auth.facts import StoredToken
from relay.auth.lifecycle import signer
from relay.auth.revocation import Revocation
from relay.client import connect
from relay.errors import ConfigError, SessionLost
from relay.net.trust import DialTls
from relay.path import Path
from relay.records.audit import Query
from relay.records.kept import OtherRoot
from relay.records.office import Operator
from relay.records.sealing import Seal
from serving import serving

TRUST = DialTls(disable_verify=True)
WHO = Operator("test")
SERVER = '[server]\nlisten = "127.0.0.1:0"\n[server.tls]\ngenerate = ["localhost", "127.0.0.1"]\n'
ISSUER = '[records]\nurl = "sqlite:///relay.db"\n[issuer]\nenabled = true\nttl = 60\n'
TOKEN = make_token()


@pytest.fixture(autouse=True)
def master(monkeypatch: pytest.MonkeyPatch) -> str:
    text = base64.b64encode(os.urandom(32)).decode()
    monkeypatch.setenv("MOQ_MASTER_KEY", text)
    return text


def stored() -> StoredToken:
    return StoredToken(
        TOKEN.prefix,
        secret_digest(TOKEN.secret),
        "camera",
        Path("plant"),
        (Path("cam"),),
        (Path(""),),
        created=time.time(),
    )


def web(relay: Any, path: str) -> str:
    return f"http://127.0.0.1:{relay.http_addresses[0][1]}{path}"


def quic(relay: Any, token: str, root: str = "plant") -> str:
    return f"https://127.0.0.1:{relay.quic_address[1]}/{root}?jwt={token}"


async def login(relay: Any, bearer: str, **wish: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {bearer}"}
    async with httpx.AsyncClient() as client:
        return await client.post(web(relay, "/auth/login"), json=wish or None, headers=headers)


async def gets_in(relay: Any, token: str) -> bool:
    try:
        async with connect(quic(relay, token), tls=TRUST):
            return True
    except SessionLost:
        return False


def shown(relay: Any) -> set[str]:
    return {key["kid"] for key in relay.issuer.jwks()["keys"]}


def test_a_token_is_exchanged_for_one_of_the_relays_own(running: Any, token: Any) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running(ISSUER))
            two = await stack.enter_async_context(running(ISSUER))
            assert shown(one) == shown(two)
            assert len(shown(one)) == 2
            await one.desk.office.create_token(WHO, stored())

            made = await login(one, str(TOKEN))
            assert made.status_code == 201
            assert made.headers["cache-control"] == "no-store"
            answer = made.json()
            assert (answer["root"], answer["publish"], answer["subscribe"]) == (
                "plant",
                ["cam"],
                [""],
            )
            assert 0 < answer["expires"] - time.time() <= 60
            assert await gets_in(one, answer["token"])
            assert await gets_in(two, answer["token"])

            narrow = await login(
                two, answer["token"], root="plant/cam", publish=["a"], subscribe=[]
            )
            assert narrow.json()["publish"] == ["a"]
            claims = json.loads(split(narrow.json()["token"]).payload)
            assert claims["jti"] == f"mq_{TOKEN.prefix}"
            assert claims["exp"] <= answer["expires"]

            wider = await login(one, str(TOKEN), root="plant", publish=[""])
            assert wider.status_code == 403
            assert wider.json()["id"] == wider.headers["x-request-id"]
            found = await one.desk.records.audit.length()
            await one.desk.scribe.flush()
            assert await one.desk.records.audit.length() >= found
            other = await login(one, str(TOKEN), root="other")
            assert other.status_code == 403
            assert one.judge.refusals.counts == {"no_access": 2}
            await one.desk.scribe.flush()
            denied = await one.desk.records.audit.entries(Query(action="deny"))
            assert [each.id for each in denied] == [other.json()["id"], wider.json()["id"]]
            assert (await login(one, "mq_nonsense")).status_code == 401
            assert (await login(one, str(TOKEN), ttl="x")).status_code == 400
            by_jwt = await login(one, token("demo"), root="demo/a")
            assert by_jwt.status_code == 201

            async with httpx.AsyncClient() as client:
                published = await client.get(web(two, "/.well-known/jwks.json"))
                naked = await client.post(web(two, "/auth/login"))
            assert naked.status_code == 401
            assert published.headers["cache-control"] == "public, max-age=60"
            key_set = jwt.PyJWKSet.from_dict(published.json())
            assert not any("d" in key for key in published.json()["keys"])
            kid = jwt.get_unverified_header(answer["token"])["kid"]
            (key,) = [each for each in key_set.keys if each.key_id == kid]
            assert jwt.decode(answer["token"], key, ["ES256"])["root"] == "plant"

    asyncio.run(main())


def test_a_rotation_is_followed_by_every_relay(running: Any) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running(ISSUER))
            two = await stack.enter_async_context(running(ISSUER))
            await one.desk.office.create_token(WHO, stored())
            old = (await login(one, str(TOKEN))).json()["token"]
            before = shown(two)
            await one.issuer.signing.rotate(one.desk.office, WHO, 3600.0, False)
            assert len(shown(one)) == 3
            await within(1.0, lambda: shown(two) == shown(one))
            assert before < shown(two)
            new = (await login(two, str(TOKEN))).json()["token"]
            kids = [jwt.get_unverified_header(each)["kid"] for each in (old, new)]
            assert kids[0] != kids[1]
            assert kids[1] in before
            for relay in (one, two):
                assert await gets_in(relay, old)
                assert await gets_in(relay, new)

    asyncio.run(main())


def test_a_compromised_key_ends_its_sessions_everywhere(running: Any) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(running(ISSUER))
            two = await stack.enter_async_context(running(ISSUER))
            await one.desk.office.create_token(WHO, stored())
            old = (await login(one, str(TOKEN))).json()["token"]
            async with connect(quic(two, old), tls=TRUST):
                await until(lambda: len(two.door.guests) == 1)
                await one.issuer.signing.rotate(one.desk.office, WHO, 3600.0, True)
                await within(1.0, lambda: not two.door.guests)
            for relay in (one, two):
                assert not await gets_in(relay, old)
            # The revocation is heard of before the new keys are.
            await until(lambda: shown(two) == shown(one))
            new = (await login(two, str(TOKEN))).json()["token"]
            assert await gets_in(one, new)

    asyncio.run(main())


def test_a_compromised_key_ends_what_was_made_from_its_tokens(running: Any, token: Any) -> None:
    """Whoever has it would sign a token that names another parent, and exchange that."""

    async def main() -> None:
        async with running(ISSUER) as one:
            first = (await login(one, token("plant"))).json()["token"]
            kid = jwt.get_unverified_header(first)["kid"]
            await one.issuer.signing.rotate(one.desk.office, WHO, 3600.0, False)
            second = (await login(one, first)).json()["token"]
            assert jwt.get_unverified_header(second)["kid"] != kid
            assert await gets_in(one, second)
            await one.issuer.signing.rotate(one.desk.office, WHO, 3600.0, True, kid)
            assert not await gets_in(one, first)
            assert not await gets_in(one, second)

    asyncio.run(main())


def test_revoking_the_api_token_ends_what_was_made_from_it(running: Any) -> None:
    async def main() -> None:
        async with running(ISSUER) as one:
            await one.desk.office.create_token(WHO, stored())
            made = (await login(one, str(TOKEN))).json()["token"]
            async with connect(quic(one, made), tls=TRUST):
                await until(lambda: len(one.door.guests) == 1)
                await one.desk.office.revoke_token(WHO, TOKEN.prefix, "lost")
                await until(lambda: not one.door.guests)
            assert not await gets_in(one, made)

    asyncio.run(main())


def test_what_is_revoked_stays_so_for_the_leeway_of_what_was_made_from_it(running: Any) -> None:
    base = f"""{SERVER}[auth]
leeway = 60
public = "anon"
"""

    async def main() -> None:
        async with running(ISSUER, base) as one:
            ends = time.time() + 5.0
            await one.desk.office.create_token(WHO, replace(stored(), expires=ends))
            made = (await login(one, str(TOKEN))).json()["token"]
            assert json.loads(split(made).payload)["exp"] <= ends
            assert await gets_in(one, made)
            await one.desk.office.revoke_token(WHO, TOKEN.prefix, "lost")
            assert not await gets_in(one, made)
            await asyncio.sleep(ends + 0.5 - time.time())
            assert not await gets_in(one, made)

    asyncio.run(main())


def test_a_key_that_is_revoked_signs_no_more(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    async def main() -> None:
        async with running(ISSUER) as one:
            await one.desk.office.create_token(WHO, stored())
            kid = signer(each.key for each in one.issuer.source.stored).kid
            monkeypatch.setattr(one.issuer, "_log", lambda event, **facts: said.append(str(facts)))
            await one.desk.office.revoke(WHO, Revocation("kid", kid, issued_before=time.time() - 1))
            assert (await login(one, str(TOKEN))).status_code == 201
            await one.desk.office.revoke(WHO, Revocation("kid", kid))
            assert (await login(one, str(TOKEN))).status_code == 503
            (line,) = said
            assert f"the signing key {kid} is revoked: relay keys rotate" in line
            await one.issuer.signing.rotate(one.desk.office, WHO, 60.0, False)
            assert await gets_in(one, (await login(one, str(TOKEN))).json()["token"])

    asyncio.run(main())


def test_a_retiring_key_retires_when_its_time_is_over(running: Any) -> None:
    async def main() -> None:
        async with running(ISSUER) as one:
            await one.desk.office.create_token(WHO, stored())
            old = (await login(one, str(TOKEN))).json()["token"]
            await one.issuer.signing.rotate(one.desk.office, WHO, 4.0, False)
            assert await gets_in(one, old)
            await until(lambda: len(shown(one)) == 2)
            assert not await gets_in(one, old)

    asyncio.run(main())


def test_claims_by_other_names_and_an_audience(running: Any) -> None:
    base = f"""{SERVER}[auth]
audience = "relay"
max_ttl = 30
[auth.claims]
root = "moq.root"
put = "moq.put"
"""

    async def main() -> None:
        async with running(ISSUER.replace("enabled", 'name = "us"\nenabled'), base) as one:
            await one.desk.office.create_token(WHO, stored())
            made = (await login(one, str(TOKEN))).json()["token"]
            claims = json.loads(split(made).payload)
            assert (claims["iss"], claims["aud"], claims["moq.root"]) == ("us", "relay", "plant")
            assert await gets_in(one, made)

    asyncio.run(main())


def test_keys_survive_a_restart_and_their_root_key_is_needed(
    running: Any, monkeypatch: pytest.MonkeyPatch, master: str
) -> None:
    async def start(extra: str = ISSUER) -> tuple[set[str], str]:
        async with running(extra) as one:
            active = signer(each.key for each in one.issuer.source.stored)
            return shown(one), active.kid if active else ""

    async def refused(said: str, extra: str = ISSUER) -> None:
        with pytest.raises((ConfigError, ExceptionGroup), match=said):
            async with running(extra):
                pass

    async def main() -> None:
        first = await start()
        assert await start() == first
        monkeypatch.delenv("MOQ_MASTER_KEY")
        await refused("MOQ_MASTER_KEY: not set, and the store is sealed under the key")
        await refused("MOQ_MASTER_KEY: not set", '[records]\nurl = "sqlite:///relay.db"\n')
        monkeypatch.setenv("MOQ_MASTER_KEY", base64.b64encode(bytes(32)).decode())
        await refused("the store is sealed under the key")
        monkeypatch.setenv("MOQ_MASTER_KEY", "short")
        await refused("MOQ_MASTER_KEY: ")
        monkeypatch.setenv("MOQ_MASTER_KEY", master)
        assert await start() == first

    asyncio.run(main())


def test_a_relay_goes_on_after_its_store_was_sealed_anew(running: Any) -> None:
    async def main() -> None:
        async with running(ISSUER) as one:
            await one.desk.office.create_token(WHO, stored())
            old, new = one.seal, Seal(os.urandom(32))
            await one.desk.records.reseal(lambda each: new.again(old, each))
            await one.desk.refresh()
            made = await login(one, str(TOKEN))
            assert made.status_code == 201
            assert await gets_in(one, made.json()["token"])
            with pytest.raises(ConfigError, match="sealed under the root key"):
                one.issuer.signing.opened((await one.desk.records.keys.all())[0])
            with pytest.raises(OtherRoot):
                await one.issuer.signing.rotate(one.desk.office, WHO, 3600.0, False)
            assert (await login(one, str(TOKEN))).status_code == 201

    asyncio.run(main())


def test_without_an_issuer_there_is_no_such_thing(running: Any) -> None:
    async def main() -> None:
        async with running() as one, httpx.AsyncClient() as client:
            assert (await client.get(web(one, "/.well-known/jwks.json"))).status_code == 404
            assert (await login(one, str(TOKEN))).status_code == 404

    asyncio.run(main())


@pytest.mark.parametrize(
    "entry",
    [Revocation("kid", "e2e"), Revocation("sub", "me", issued_before=time.time() + 30)],
    ids=lambda entry: entry.dimension,
)
def test_what_strikes_a_credential_strikes_what_it_was_exchanged_for(
    running: Any, minted: Any, entry: Revocation
) -> None:
    async def main() -> None:
        async with running(ISSUER) as relay:
            # Issued a while ago, without an id.
            first = minted("plant", sub="me", iat=int(time.time() - 100))
            is_timed = entry.issued_before is not None
            said = replace(entry, issued_before=time.time() - 50) if is_timed else entry
            second = (await login(relay, first)).json()["token"]
            third = (await login(relay, second)).json()["token"]
            async with connect(quic(relay, third), tls=TRUST) as client:
                await relay.desk.office.revoke(WHO, said)
                await within(2.0, client.lost.done)
                assert "revoked" in client.lost.result()
            for token in (first, second, third):
                assert not await gets_in(relay, token)
            fresh = minted("plant", sub="you") if entry.dimension == "sub" else None
            if fresh is not None:
                assert await gets_in(relay, (await login(relay, fresh)).json()["token"])

    asyncio.run(main())


def test_a_session_goes_with_the_key_of_what_its_token_was_exchanged_for(
    running: Any, folder: Any
) -> None:
    gone = keys.generate("HS256", kid="gone")
    (folder / "gone.jwk").write_bytes(gone.dump())
    extra = 'keys = ["gone.jwk"]\non_key_removed = "close"\n' + ISSUER

    async def main() -> None:
        async with running(extra) as relay:
            now = time.time()
            claims = Claims(root=Path("plant"), get=(Path(""),), exp=int(now + 600))
            first = mint.sign(claims, gone, now)
            second = (await login(relay, first)).json()["token"]
            third = (await login(relay, second)).json()["token"]
            ticket = await relay.face.ticket(first, "")
            async with connect(quic(relay, third), tls=TRUST) as client:
                (folder / "gone.jwk").write_bytes(keys.generate("HS256", kid="new").dump())
                assert "revoked" in await asyncio.wait_for(client.lost, 10)
            for token in (first, second, third):
                assert not await gets_in(relay, token)
            by_ticket = web(relay, f"/announced/plant?ticket={ticket['ticket']}")
            async with httpx.AsyncClient() as http:
                assert (await http.get(by_ticket)).status_code == 401
            (folder / "gone.jwk").write_bytes(gone.dump())
            await within(5.0, lambda: relay.keyring.keys.find("gone") is not None)
            assert await gets_in(relay, third)

    asyncio.run(main())


def test_what_a_key_was_exchanged_for_goes_though_another_has_its_name(
    running: Any, folder: Any
) -> None:
    old, new = (keys.generate("HS256", kid="same") for _ in range(2))
    (folder / "same.jwk").write_bytes(old.dump())
    extra = 'keys = ["same.jwk"]\non_key_removed = "close"\n' + ISSUER

    async def main() -> None:
        async with running(extra) as relay:
            now = time.time()
            claims = Claims(root=Path("plant"), get=(Path(""),), exp=int(now + 600))
            first, other = (mint.sign(claims, key, now) for key in (old, new))
            made = (await login(relay, first)).json()["token"]
            ticket = await relay.face.ticket(first, "")
            (folder / "same.jwk").write_bytes(new.dump())
            await until(lambda: relay.keyring.keys.retired)
            assert not await gets_in(relay, made)
            by_ticket = web(relay, f"/announced/plant?ticket={ticket['ticket']}")
            async with httpx.AsyncClient() as http:
                assert (await http.get(by_ticket)).status_code == 401
            assert await gets_in(relay, other)
            # What is made now is of this second as far as it tells.
            since = relay.keyring.keys.retired["same"]
            await until(lambda: time.time() >= int(since) + 1)
            assert await gets_in(relay, (await login(relay, other)).json()["token"])

    asyncio.run(main())


def test_what_was_exchanged_is_refused_though_its_key_was_removed_before_the_start(
    running: Any, folder: Any
) -> None:
    """The folder of keys is asked for the name of the key, which no token shows any more."""
    gone = keys.generate("HS256", kid="gone")
    kept = {"/gone.jwk": gone.dump()}

    class Folder(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in kept else 404)
            self.end_headers()
            self.wfile.write(kept.get(self.path, b""))

        def log_message(self, *args: Any) -> None:
            """Not on the terminal."""

    async def main(port: int) -> None:
        extra = f'key_dir = "http://127.0.0.1:{port}"\non_key_removed = "close"\n' + ISSUER
        extra += "[auth.fetch]\nallow_private = true\n"
        async with running(extra) as relay:
            now = time.time()
            claims = Claims(root=Path("plant"), get=(Path(""),), exp=int(now + 600))
            made = (await login(relay, mint.sign(claims, gone, now))).json()["token"]
            tickets = [await relay.face.ticket(made, "") for _ in range(2)]
        by_ticket = [f"/announced/plant?ticket={ticket['ticket']}" for ticket in tickets]
        for status in (200, 401):
            async with running(extra) as relay, httpx.AsyncClient() as http:
                assert (await http.get(web(relay, by_ticket.pop()))).status_code == status
            async with running(extra) as relay:
                assert await gets_in(relay, made) is (status == 200)
            kept.clear()

    with serving(HTTPServer(("127.0.0.1", 0), Folder)) as port:
        asyncio.run(main(port))


@pytest.mark.parametrize("opened", ["theirs", "exchanged"])
def test_who_goes_by_a_name_at_another_issuer_is_somebody_else(
    running: Any, folder: Any, opened: str
) -> None:
    signers = {name: keys.generate("ES256", kid=name) for name in ("a", "b")}
    for name, key in signers.items():
        (folder / f"{name}.json").write_bytes(key.public().dump())
    listed = ", ".join(
        f'{{ file = "{name}.json", issuer = "https://{name}.test" }}' for name in signers
    )

    def of(name: str) -> str:
        now = time.time()
        claims = Claims(
            root=Path("plant"),
            get=(Path(""),),
            exp=int(now + 600),
            sub="42",
            iss=f"https://{name}.test",
        )
        return mint.sign(claims, signers[name], now)

    async def main() -> None:
        async with running(f"jwks = [{listed}]\n" + ISSUER) as relay, httpx.AsyncClient() as http:
            theirs, others = of("a"), of("b")
            exchanged = (await login(relay, theirs)).json()["token"]
            session = theirs if opened == "theirs" else exchanged
            async with connect(quic(relay, session), tls=TRUST):
                await within(5.0, lambda: relay.door.guests)
                (id,) = relay.door.guests
                made = (await login(relay, others)).json()["token"]
                asked = {others: 403, made: 403, theirs: 200, exchanged: 200}
                for token, status in asked.items():
                    bearer = {"authorization": f"Bearer {token}"}
                    found = await http.get(web(relay, "/session"), headers=bearer)
                    assert len(found.json()["sessions"]) == (status == 200)
                    address = web(relay, f"/session/{id}/refresh")
                    assert (await http.post(address, headers=bearer)).status_code == status

    asyncio.run(main())
