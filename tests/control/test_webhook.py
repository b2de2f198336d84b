"""The webhook: signed, tried again, bounded, and never at an address that was not judged."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import math
from pathlib import Path
from typing import Any

import httpx
import pytest

import relay.control.webhook
from relay.control.webhook import SIGNATURE, Webhook
from relay.errors import ConfigError
from relay.records.audit import Entry, Fact, linked
from relay.records.settings import AuditSettings

SECRET = "0123456789abcdef"
ENTRIES = linked([Fact("deny", target=f"/{number}") for number in range(300)], 1, "0" * 64)


class Far:
    """A server somewhere, its name in any number of places."""

    def __init__(self, *answers: int, addresses: tuple[str, ...] = ("93.184.216.34",)) -> None:
        self.answers = list(answers)
        self.addresses = list(addresses)
        self.asked: list[httpx.Request] = []
        self.entries: list[int] = []
        self.missed: list[int] = []
        self.said: list[str] = []
        self.headers: dict[str, str] = {}
        self.times: list[float] = []
        self.silent: tuple[str, ...] = ()

    async def resolve(self, host: str, port: int) -> list[str]:
        assert host == "log.example.com"
        return self.addresses

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        if request.url.host in self.silent:
            raise httpx.ConnectTimeout("")
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            told = json.loads(request.content)
            self.entries += [each["number"] for each in told["entries"]]
            self.missed.append(told["missed"])
        self.times.append(asyncio.get_running_loop().time())
        headers = {"location": "http://127.0.0.1/"} | ({} if status == 200 else self.headers)
        return httpx.Response(status, headers=headers)

    def hook(self, **settings: Any) -> Webhook:
        chosen = {"webhook": "https://log.example.com/relay", "webhook_secret": SECRET, **settings}
        return Webhook(
            AuditSettings(**chosen),
            lambda event, **facts: self.said.append(str(facts)),
            lambda: 1234.5,
            self.resolve,
            httpx.MockTransport(self.answer),
        )


def tell(hook: Webhook, entries: list[Entry], until: Any) -> None:
    async def main() -> None:
        for entry in entries:
            hook.note(entry)
        task = asyncio.ensure_future(hook.run())
        for _ in range(500):
            if until():
                break
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert until()

    asyncio.run(main())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay.control.webhook, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(relay.control.webhook, "LONGEST_PAUSE", 0.002)


def test_entries_are_told_in_order_and_signed() -> None:
    far = Far()
    hook = far.hook()
    tell(hook, ENTRIES[:250], lambda: len(far.entries) == 250)
    assert far.entries == list(range(1, 251))
    assert len(far.asked) == 3
    for request in far.asked:
        assert request.url.host == "93.184.216.34"
        assert request.headers["host"] == "log.example.com"
        assert request.extensions["sni_hostname"] == "log.example.com"
        at, mark = (part.partition("=")[2] for part in request.headers[SIGNATURE].split(","))
        expected = hmac.digest(
            SECRET.encode(), f"{at}.".encode() + request.content, hashlib.sha256
        ).hex()
        assert (at, mark) == ("1234", expected)
        assert SECRET not in str(request.headers) + request.content.decode()


def test_a_failure_is_tried_again() -> None:
    far = Far(500, 503, 302)
    hook = far.hook()
    tell(hook, ENTRIES[:2], lambda: len(far.entries) == 2)
    assert (len(far.asked), far.entries, far.said) == (4, [1, 2], [])


def test_a_busy_server_is_left_alone_as_long_as_it_wishes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay.control.webhook, "LONGEST_PAUSE", 0.2)
    far = Far(429, 503)
    far.headers = {"retry-after": "3600"}
    tell(far.hook(), ENTRIES[:1], lambda: len(far.entries) == 1)
    first, second, third = far.times
    assert min(second - first, third - second) >= 0.19


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("120", 120.0),
        ("9" * 400, math.inf),
        ("Thu, 01 Jan 1970 00:20:00 GMT", 200.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Thu, 01 Jan 1970", 0.0),
        ("", 0.0),
        ("-5", 0.0),
        ("soon", 0.0),
    ],
)
def test_how_long_a_server_wishes_to_be_left_alone(said: str, seconds: float) -> None:
    assert relay.control.webhook.seconds_of(said, 1000.0) == seconds


def test_where_nobody_answers_the_next_address_is_told() -> None:
    far = Far(addresses=("2606:4700::dead", "93.184.216.34"))
    far.silent = ("2606:4700::dead",)
    tell(far.hook(), ENTRIES[:1], lambda: len(far.entries) == 1)
    assert [request.url.host for request in far.asked] == ["2606:4700::dead", "93.184.216.34"]


def test_what_cannot_be_told_is_left_out_and_the_next_post_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay.control.webhook, "BATCH", 2)
    far = Far(*[500] * relay.control.webhook.TRIES)
    hook = far.hook()
    tell(hook, ENTRIES[:4], lambda: len(far.entries) == 2)
    assert (far.entries, far.missed) == ([3, 4], [2])
    assert "HTTP status 500" in far.said[0]


def test_of_too_many_the_oldest_are_left_out() -> None:
    far = Far()
    hook = far.hook(webhook_queue=3)
    tell(hook, ENTRIES[:5], lambda: len(far.entries) == 3)
    assert (far.entries, far.missed) == ([3, 4, 5], [2])


def test_what_still_waits_when_the_relay_stops_is_told_or_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay.control.webhook, "BATCH", 2)
    monkeypatch.setattr(relay.control.webhook, "FAREWELL", 0.1)
    far = Far()

    async def stopped(hook: Webhook, begun: asyncio.Event, entries: list[Entry]) -> None:
        hook.note(entries[0])
        task = asyncio.ensure_future(hook.run())
        await begun.wait()  # and the answer to that is on its way
        for entry in entries[1:]:
            hook.note(entry)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await hook.close()

    def slow(count: int) -> tuple[Webhook, asyncio.Event]:
        """A server that does not answer the first so many."""
        begun, left = asyncio.Event(), count

        async def answer(request: httpx.Request) -> httpx.Response:
            nonlocal left
            left -= 1
            if left >= 0:
                begun.set()
                await asyncio.sleep(3600)
            return await far.answer(request)

        hook = far.hook()
        hook._transport = httpx.MockTransport(answer)
        return hook, begun

    async def main() -> None:
        hook, begun = slow(1)
        await stopped(hook, begun, ENTRIES[:4])
        assert (far.entries, far.said) == ([1, 2, 3, 4], [])
        hook, begun = slow(9)
        await stopped(hook, begun, ENTRIES[4:8])
        assert far.entries == [1, 2, 3, 4]
        assert "4 entries not told" in far.said[0]

    asyncio.run(main())


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1"]
)
def test_a_private_address_is_not_connected_to(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay.control.webhook, "TRIES", 1)
    far = Far(addresses=(address,))
    hook = far.hook()
    tell(hook, ENTRIES[:1], lambda: far.said)
    assert far.asked == []
    assert "webhook_private" in far.said[0]
    allowed = far.hook(webhook_private=True)
    tell(allowed, ENTRIES[:1], lambda: len(far.entries) == 1)


def test_plain_http_goes_to_private_addresses_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay.control.webhook, "TRIES", 1)
    far = Far()
    hook = far.hook(webhook="http://log.example.com/", webhook_private=True)
    tell(hook, ENTRIES[:1], lambda: far.said)
    assert far.asked == []


def test_the_secret_of_a_file(tmp_path: Path) -> None:
    far, file = Far(), tmp_path / "secret"
    with pytest.raises(ConfigError, match="webhook_secret_file: No such file"):
        far.hook(webhook_secret=None, webhook_secret_file=file)
    file.write_text("short")
    with pytest.raises(ConfigError, match="16 characters"):
        far.hook(webhook_secret=None, webhook_secret_file=file)
    file.write_text(f"{SECRET}\n")
    hook = far.hook(webhook_secret=None, webhook_secret_file=file)
    tell(hook, ENTRIES[:1], lambda: len(far.entries) == 1)
    with pytest.raises(ConfigError, match=r"needs audit\.webhook_secret"):
        far.hook(webhook_secret=None)
