"""Every row of the decision table against a live relay: all ways in come to one verdict.

A row is judged by `decide` as the way in can say it, and the running relay must answer the same:
the status, the word or the rights. What a way in cannot say, and what is turned away before
anything is decided, stands here by name with the reason.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import pathlib
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import SplitResult

import pytest

from judged import named_keys
from relay.auth.compact import to_base64url
from relay.auth.decide import Decision, Request, decide
from relay.auth.grant import Grant
from relay.auth.keys import Key, KeySet
from relay.auth.settings import AuthSettings
from relay.errors import SessionLost
from relay.net import udp
from relay.net.asking import DialledQuic, DialledWeb, Outcome, Terms
from relay.net.connection import H3, Connection
from relay.net.endpoint import Endpoint
from relay.net.engine import configure
from relay.net.quic import QuicTransport
from relay.net.settings import ListenSettings, QuicLimits
from relay.wire.messages import Uni
from relay.wire.setup import Setup, encode_setup

VECTORS = pathlib.Path(__file__).parent.parent / "vectors" / "decisions.json"
TABLE = json.loads(VECTORS.read_text(encoding="utf-8"))
NOW = TABLE["now"]
ROWS: dict[str, dict[str, Any]] = {row["id"]: row for row in TABLE["rows"]}
WAYS = ("webtransport", "quic", "http")
VERSION = "moq-lite-05"
EVERYBODY = ["k1", "r1", "e1", "d1", "s1"]

BASE = """
[server]
listen = "127.0.0.1:0"
[server.tls]
generate = ["localhost", "127.0.0.1"]
[auth]
"""

ROLE = "CONNECT does not say what the guest is there for, so it is decided for both"
HEADER = "SETUP has a path and a query and no headers"
LONG = "no request of 1 MiB leaves our own HTTP/3 client"
VIEWER = "a GET can only ask to see"

UNSAYABLE = {
    "webtransport": dict.fromkeys(("84", "84b", "84c", "84d", "84e"), ROLE) | {"15": LONG},
    "quic": dict.fromkeys(("15b", "83", "83b", "83c"), HEADER),
    "http": dict.fromkeys(("84", "84d", "84e"), VIEWER),
}
"""Rows that a way in cannot express, each with the reason."""

EARLY = {
    ("webtransport", "63d"): (0, "HTTP/3: a NUL in a field is malformed"),
    ("webtransport", "63e"): (0, "HTTP/3: a line end in a field is malformed"),
    ("quic", "15"): (0, "SETUP: longer than max_message"),
    ("http", "68b"): (400, "HTTP/1.1: letters beyond ASCII in the request line are malformed"),
    ("http", "15"): (None, "HTTP/1.1: longer than a request's line and headers may be"),
    ("http", "63d"): (400, "HTTP/1.1: a NUL in the request line is malformed"),
    ("http", "63e"): (400, "HTTP/1.1: a line end ends the request line"),
}
"""Rows that are turned away by a parser before there is anything to decide: status and reason.

A status of ``None``: 400, or cut off while the rest of the request is still on its way.
"""


@dataclass(frozen=True)
class Answer:
    """What came of a request: a status (0 for none), words, and the rights the relay noted."""

    status: int
    words: str = ""
    grant: Grant | None = None


class Silent:
    """Somebody who only notes the end of a session."""

    def __init__(self) -> None:
        self.lost: str | None = None

    def stream_received(self, stream: int, data: bytes, fin: bool) -> None: ...
    def stream_reset(self, stream: int, code: int) -> None: ...
    def stream_stopped(self, stream: int, code: int) -> None: ...
    def datagram_received(self, data: bytes) -> None: ...
    def flush(self) -> None: ...
    def connection_lost(self, code: int, reason: str) -> None:
        self.lost = reason


class BearingWeb(DialledWeb):
    """A CONNECT request with a bearer."""

    def __init__(
        self, connection: Connection, terms: Terms, outcome: Outcome, bearer: str | None
    ) -> None:
        super().__init__(connection, terms, outcome)
        send = self.http3.headers
        extra = [] if bearer is None else [("authorization", f"Bearer {bearer}")]

        def headers(stream: int, fields: Any, *more: Any) -> None:
            send(stream, [*fields, *extra], *more)

        self.http3.headers = headers  # type: ignore[method-assign]


class Stranger:
    """Asks a relay in every way, with paths that no URL parser has tidied up."""

    def __init__(self, relay: Any) -> None:
        self.relay = relay
        self.trouble: list[Exception] = []
        self.address = ("127.0.0.1", relay.quic_address[1])

    async def ask(self, way: str, request: Request) -> Answer:
        """The answer to a request by one of `WAYS`."""
        self.endpoint = Endpoint(ListenSettings(), on_error=self.trouble.append)
        self.sock = udp.connect(socket.AF_INET, self.address, 1 << 20)
        self.endpoint.add_socket(self.sock)
        try:
            async with asyncio.timeout(20):
                answer: Answer = await getattr(self, way)(request)
                return answer
        finally:
            await self.endpoint.close(linger=0.0)
            assert self.trouble == []

    def dial(self, alpn: str, begin: Callable[[Connection, Outcome], Any]) -> Outcome:
        configuration = configure(QuicLimits(), True, (alpn,))
        configuration.server_name = "127.0.0.1"
        configuration.verify_mode = ssl.CERT_NONE
        outcome: Outcome = asyncio.get_running_loop().create_future()
        self.endpoint.connect(
            self.sock, self.address, configuration, lambda line, _: begin(line, outcome)
        )
        return outcome

    async def webtransport(self, request: Request) -> Answer:
        path, _, query = request.target.partition("?")
        terms = Terms(SplitResult("https", "127.0.0.1", path, query, ""), (VERSION,), frozenset())
        dialled = self.dial(
            H3, lambda line, outcome: BearingWeb(line, terms, outcome, request.bearer)
        )
        try:
            transport = await dialled
        except SessionLost as refused:
            return Answer(refused.status, str(refused))
        return await self.leave(transport, Answer(200, grant=self.noted()))

    async def quic(self, request: Request) -> Answer:
        terms = Terms(SplitResult("moqt", "127.0.0.1", "/", "", ""), (VERSION,), frozenset())
        transport = await self.dial(VERSION, lambda line, out: DialledQuic(line, terms, out))
        transport.start(silent := Silent())
        role = 2 if not request.publishes else 1 if not request.subscribes else 0
        stream = transport.open_uni()
        assert stream is not None
        setup = Setup(path=request.target, role=role)
        transport.send(stream, bytes([Uni.SETUP]) + encode_setup(setup), True)
        while silent.lost is None and self.noted() is None:
            await asyncio.sleep(0.002)
        if silent.lost is not None:
            return Answer(0, silent.lost)
        return await self.leave(transport, Answer(200, grant=self.noted()))

    def noted(self) -> Grant | None:
        """The rights of the one guest there is."""
        return next((guest.grant for guest in self.relay.door.guests.values()), None)

    async def leave(self, transport: QuicTransport, answer: Answer) -> Answer:
        transport.close(0)
        while self.relay.door.guests:
            await asyncio.sleep(0.002)
        return answer

    async def http_line(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A TCP connection; the relay takes them a moment after those of QUIC."""
        while True:
            try:
                return await asyncio.open_connection(*self.relay.http_addresses[0])
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)

    async def http(self, request: Request) -> Answer:
        reader, writer = await self.http_line()
        bearer = f"Authorization: Bearer {request.bearer}\r\n" if request.bearer else ""
        head = f"GET /announced{request.target} HTTP/1.1\r\nHost: x\r\n{bearer}"
        writer.write(f"{head}Connection: close\r\n\r\n".encode())
        try:
            answer = await reader.read()
        except ConnectionResetError:
            return Answer(0, "cut off")
        finally:
            writer.close()
        head, _, body = answer.decode().partition("\r\n\r\n")
        return Answer(int(head.split(" ")[1]), body)


@pytest.fixture(scope="module")
def keys() -> dict[str, Key]:
    return named_keys()


def forged(key: Key, row: dict[str, Any], claims: Any) -> str:
    """A token as the row has it, sound or not."""
    members = {"alg": key.algorithm, "typ": "JWT", "kid": key.kid} | row.get("header", {})
    members = {name: value for name, value in members.items() if value is not None}
    body = json.dumps(claims).encode()
    if "payload" in row:
        body = row["payload"].encode()
    if "payload_hex" in row:
        body = bytes.fromhex(row["payload_hex"])
    signed = f"{to_base64url(json.dumps(members).encode())}.{to_base64url(body)}"
    return f"{signed}.{to_base64url(key.material.sign(signed.encode()))}"


def request_of(row: dict[str, Any], keys: dict[str, Key]) -> Request:
    key = keys[row.get("key", "k1")]
    words = {
        "token": forged(key, row, row.get("claims")),
        "other": forged(key, {}, {"get": "", "jti": "other"}),
        "medium": "x" * 9000,
        "long": "x" * 1024 * 1024,
    }
    query = row.get("query", "jwt={token}").format(**words)
    bearer = row.get("bearer")
    return Request(
        row["path"] + (f"?{query}" if query else ""),
        bearer=None if bearer is None else bearer.format(**words),
        publishes=row.get("publishes", True),
        subscribes=row.get("subscribes", True),
    )


def setting(value: Any) -> str:
    """A value in TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {setting(one)}" for name, one in value.items()) + "}"
    return json.dumps(value)


def circumstances(row: dict[str, Any]) -> str:
    """What a relay must be told to be in the row's place."""
    named = row.get("keys", EVERYBODY)
    return json.dumps([named, row.get("single", False), row.get("settings", {})])


def grouped() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for place, rows in itertools.groupby(sorted(ROWS.values(), key=circumstances), circumstances):
        yield place, list(rows)


GROUPS = list(grouped())


def written(place: str, keys: dict[str, Key], folder: pathlib.Path) -> str:
    """The settings as TOML, with the keys in a file."""
    named, single, settings = json.loads(place)
    listed = [keys[name].to_jwk() for name in named]
    if listed:
        (folder / "keys.jwk").write_text(json.dumps(listed[0] if single else {"keys": listed}))
        (folder / "keys.jwk").chmod(0o600)
        settings = settings | {"key": "keys.jwk"}
    return "".join(f"{name} = {setting(value)}\n" for name, value in settings.items())


def judged(row: dict[str, Any], request: Request, keys: dict[str, Key]) -> Decision:
    named = row.get("keys", EVERYBODY)
    key_set = KeySet(tuple(keys[name] for name in named), single=row.get("single", False))
    return decide(request, key_set, AuthSettings.model_validate(row.get("settings", {})), NOW)


def agrees(way: str, decision: Decision, answer: Answer) -> None:
    """The answer says of the decision what may be said of it."""
    if decision:
        assert answer.status == 200
        assert way == "http" or answer.grant == decision.grant
        return
    assert answer.grant is None
    if way == "quic":
        word = {400: "badrequest", 403: "forbidden"}.get(decision.status, "unauthorized")
        assert answer.words.startswith(f"{word} (id ")
    else:
        assert answer.status == decision.status
        assert '"id":' in answer.words if way == "http" else "(id " in answer.words


async def try_row(stranger: Stranger, way: str, row: dict[str, Any], keys: dict[str, Key]) -> None:
    request = replace(request_of(row, keys), transport=way)
    if way == "http":
        request = replace(request, publishes=False)
    decision = judged(row, request, keys)
    before = dict(stranger.relay.judge.refusals.counts)
    answer = await stranger.ask(way, request)
    after = stranger.relay.judge.refusals.counts
    if (way, row["id"]) in EARLY:
        assert not decision
        status, _ = EARLY[way, row["id"]]
        assert answer.status in ((0, 400) if status is None else (status,))
        assert (answer.grant, after) == (None, before)
        return
    agrees(way, decision, answer)
    if not decision:
        before[decision.reason.code] = before.get(decision.reason.code, 0) + 1
    assert after == before


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("place", "rows"), GROUPS, ids=[group[1][0]["id"] for group in GROUPS])
def test_every_way_in_comes_to_the_verdict_of_decide(
    running: Any,
    folder: pathlib.Path,
    keys: dict[str, Key],
    place: str,
    rows: list[dict[str, Any]],
    way: str,
) -> None:
    async def main() -> list[str]:
        async with running(written(place, keys, folder), BASE) as relay:
            relay.judge.wall = lambda: NOW
            stranger = Stranger(relay)
            wrong = []
            for row in rows:
                assert judged(row, request_of(row, keys), keys).reason.code == row["code"]
                if row["id"] in UNSAYABLE[way]:
                    continue
                try:
                    await try_row(stranger, way, row, keys)
                except (AssertionError, TimeoutError, OSError) as error:
                    wrong.append(f"{row['id']} {row['name']}: {error!r}"[:600])
            return wrong

    assert asyncio.run(main()) == []


def test_only_what_cannot_be_said_is_left_out() -> None:
    roles = {id for id, row in ROWS.items() if "publishes" in row or "subscribes" in row}
    mute = {id for id, row in ROWS.items() if not row.get("subscribes", True)}
    bearing = {id for id, row in ROWS.items() if "bearer" in row}
    found = {way: set(rows) for way, rows in UNSAYABLE.items()}
    assert found == {"webtransport": roles | {"15"}, "quic": bearing, "http": mute}
    assert {id for _, id in EARLY} <= set(ROWS)
