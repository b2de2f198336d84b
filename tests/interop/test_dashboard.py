"""The dashboard looked at in a real Chromium: what an operator sees, does, and must not suffer.

Pictures of it are kept in ``build/screenshots``.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import structlog
from rig.chromium import Browser
from rig.dashboard import Sight, sight

import asked
from relay.auth import keys, mint
from relay.auth.claims import Claims
from relay.auth.credentials import NewKey, make_key
from relay.auth.keys import Key
from relay.client import Client, SessionLost, connect
from relay.config import load
from relay.control import page as page_files
from relay.model.demand import TrackInfo
from relay.net.trust import DialTls
from relay.path import Path as Name
from relay.quota import Override
from relay.records.office import Operator
from relay.server.relay import Relay
from relay.wire.buffer import encode_varint

pytestmark = [pytest.mark.interop, pytest.mark.browser]

SETTINGS = """
[server]
listen = "127.0.0.1:0"
[server.tls]
generate = ["localhost", "127.0.0.1"]
[auth]
key = "key.jwk"
public = "anon"
[records]
url = "sqlite:///relay.db"
[issuer]
enabled = true
[cluster]
node = "fra-1"
[quotas.tenants.plant]
sessions = 4
tracks = 20
egress_bits = 50000000
[admin]
api_key = "{hash}"
"""
TRUST = DialTls(disable_verify=True)
EVIL = "<img src=x onerror=window.harmed=1>"
"""A name that would be an element if anybody took it for markup."""

LOGGED_IN = "#house:not([hidden])"


@dataclass
class Stage:
    """One relay with its operator's key, and who comes to it."""

    relay: Relay
    operator: NewKey
    signer: Key
    browser: Browser

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.relay.http_addresses[0][1]}/admin/"

    def token(
        self,
        root: str,
        subject: str | None = None,
        ttl: float = 600.0,
        put: tuple[str, ...] = ("",),
        get: tuple[str, ...] = ("",),
    ) -> str:
        now = time.time()
        claims = Claims(
            root=Name(root),
            put=tuple(map(Name, put)),
            get=tuple(map(Name, get)),
            exp=int(now + ttl),
            sub=subject,
        )
        return mint.sign(claims, self.signer, now)

    @asynccontextmanager
    async def guest(self, root: str, subject: str | None = None) -> AsyncIterator[Client]:
        """A session of our own client, once the relay has heard who it is."""
        query = "" if root.startswith("anon") else f"?jwt={self.token(root, subject)}"
        before = sum(each.opened for each in self.relay.door.guests.values())
        url = f"https://127.0.0.1:{self.relay.quic_address[1]}/{root}{query}"
        async with connect(url, tls=TRUST) as client:
            while sum(each.opened for each in self.relay.door.guests.values()) <= before:
                await asyncio.sleep(0.01)
            yield client

    async def refused(self, token: str) -> None:
        """Somebody is turned away."""
        url = f"https://127.0.0.1:{self.relay.quic_address[1]}/plant?jwt={token}"
        with pytest.raises(SessionLost):
            await connect(url, tls=TRUST).__aenter__()

    @asynccontextmanager
    async def operating(self, **window: Any) -> AsyncIterator[Sight]:
        """A page whose operator has logged in; it must not have complained when it is left."""
        async with sight(self.browser, self.url, **window) as page:
            await page.fill("#key", self.operator.bearer)
            await page.click("#login button")
            await page.see(LOGGED_IN)
            await page.see("#pulse-text", "up")
            yield page
            assert await page.complaints() == []
            assert await page.foreign() == []


@pytest.fixture(scope="module")
def operator() -> NewKey:
    return make_key(100_000)


@pytest.fixture
def stage(
    tmp_path: Path, operator: NewKey, eyes: Browser, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], Any]:
    """``async with stage() as s``: a relay in this loop."""
    monkeypatch.setenv("MOQ_MASTER_KEY", base64.b64encode(bytes(32)).decode())
    signer = keys.generate("HS256", kid="page")
    (tmp_path / "key.jwk").write_bytes(signer.dump())
    (tmp_path / "key.jwk").chmod(0o600)

    @asynccontextmanager
    async def opened() -> AsyncIterator[Stage]:
        file = tmp_path / "relay.toml"
        text = SETTINGS.replace("relay.db", f"{tmp_path}/relay.db")
        file.write_text(text.replace("{hash}", str(operator.hash)))
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
        relay = Relay(load(file, environ=asked.settings()).settings)
        async with relay.running():
            yield Stage(relay, operator, signer, eyes)

    return opened


async def broadcasting(client: Client, path: str) -> None:
    """Ten groups a second, for as long as this is not cancelled."""
    info = TrackInfo(timescale=1000, max_latency=1000)
    track = client.create_broadcast(path).create_track("video", info)
    at = 0
    while True:
        track.append_group()
        for _ in range(4):
            track.write_frame(bytes(3000), at)
            at += 25
        await asyncio.sleep(0.1)


async def watching(client: Client, path: str) -> None:
    """Read every frame."""
    async for _ in client.frames(await client.find(path), "video").frames():
        pass


@asynccontextmanager
async def busy(here: Stage) -> AsyncIterator[None]:
    """A relay on an ordinary day: two tenants, some viewers, somebody with a bad token."""
    async with AsyncExitStack() as guests, asyncio.TaskGroup() as tasks:
        camera = await guests.enter_async_context(here.guest("plant", "camera-7"))
        mic = await guests.enter_async_context(here.guest("studio", "mic"))
        viewers = [
            await guests.enter_async_context(here.guest("plant", name)) for name in ("ann", "bob")
        ]
        await guests.enter_async_context(here.guest("anon/lobby"))
        working = [
            tasks.create_task(broadcasting(camera, "hall/east")),
            tasks.create_task(broadcasting(mic, "talk")),
            *(tasks.create_task(watching(each, "hall/east")) for each in viewers),
        ]
        await here.refused("not.a.token")
        await here.refused(here.token("plant", ttl=-100))
        await here.refused(here.token("plant", ttl=-100))
        try:
            yield
        finally:
            for each in working:
                each.cancel()


def test_an_operator_sees_what_happens(stage: Callable[[], Any]) -> None:
    async def main() -> None:
        async with stage() as here, busy(here), here.operating() as page:
            await page.see("#sessions tr", "camera-7")
            await page.see("#broadcasts tr", "plant/hall/east")
            await page.see("#reasons .bar", "expired")
            await page.see("#denials tr", "127.0.0.1")
            await page.see("#quotas .tenant", "3 of 4")
            await page.until(f"/[0-9] [kM]bit/.test({RATE})")
            assert await page.text("#tile-sessions") == "5"
            assert await page.text("#tile-refused") == "3"
            await page.until(f"{FILL} > 70")
            await asyncio.sleep(2.5)
            await page.shot("live-light", full=True)
            await page.fill("#filter", "studio")
            await page.gone("#sessions tr", "camera-7")
            assert (
                await page.evaluate("document.querySelectorAll('#sessions tbody tr').length") == 1
            )
            await page.fill("#filter", "stud")
            await page.see("#sessions .empty", "Nobody of the tenant stud is connected.")
            await page.click('nav a[href="#audit"]')
            await page.see("#entries tr", "deny")
            await page.shot("audit-light")
            for scheme, name, width, height in (
                ("dark", "live-dark", 1440, 900),
                ("light", "live-narrow", 360, 1400),
                ("dark", "live-narrow-dark", 360, 1400),
            ):
                async with here.operating(scheme=scheme, width=width, height=height) as other:
                    await other.see("#sessions tr", "camera-7")
                    await other.see("#quotas .tenant", "3 of 4")
                    await asyncio.sleep(2.5)
                    await other.shot(name)
                    for view in ("access", "audit", "try", "live"):
                        await other.click(f'nav a[href="#{view}"]')
                        await other.see(f"#view-{view}")
                        assert await other.evaluate(SIDEWAYS) == 0

    asyncio.run(main())


LINES = """Math.max(...[...document.querySelectorAll("#entries td:nth-child(9)")].map((cell) => {
  const within = document.createRange();
  within.selectNodeContents(cell);
  return within.getClientRects().length;
}))"""
"""Lines that the longest id of the audit log is broken into."""


def test_the_audit_log_is_read_in_a_window_of_any_width(stage: Callable[[], Any]) -> None:
    async def main() -> None:
        async with stage() as here:
            await here.refused(here.token("plant", ttl=-100))
            for width in (360, 730, 890, 910, 1100):
                async with here.operating(width=width) as page:
                    await page.click('nav a[href="#audit"]')
                    await page.see("#entries tr", "expired")
                    assert await page.evaluate(LINES) == 1
                    assert await page.evaluate(SIDEWAYS) == 0

    asyncio.run(main())


RATE = "document.querySelector('#broadcasts tbody tr td:nth-child(4)').textContent"

FILL = """parseFloat(
  document.querySelector('#quotas [data-tenant="plant"] .track i').style.width
)"""
"""Percent of the tenant's first quota that is used."""

LATE = "parseFloat(document.querySelector('#try-latency').textContent)"

SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
"""CSS pixels by which the page is wider than its window."""


def test_it_publishes_a_moving_picture_and_watches_it(stage: Callable[[], Any]) -> None:
    async def main() -> None:
        async with stage() as here, here.operating() as page:
            for kind in ("video", "still"):
                await page.click('nav a[href="#try"]')
                await page.choose("#try-kind", kind)
                await page.click("#try-start")
                await page.see("#try-state", "On air")
                await page.until("Number(document.querySelector('#try-frames').textContent) > 60")
                assert int(await page.text("#try-groups")) >= 2
                # Of the last seconds: a machine that stood still has nothing to show yet.
                await page.until("parseFloat(document.querySelector('#try-fps').textContent) > 5")
                await page.until(f"0 < {LATE} && {LATE} < 1000")
                assert "anon/picture" in {each.path for each in here.relay.house.origin.on_air()}
                # What is seen is what was drawn, not a black rectangle.
                assert await page.evaluate(BRIGHT) > 20
                await page.shot(f"try-{kind}")
                await page.click("#try-start")
                await page.see("#try-state", "Stopped.")
                async with asyncio.timeout(20):
                    while here.relay.door.guests:
                        await asyncio.sleep(0.05)

    asyncio.run(main())


def test_slashes_too_many_in_a_name_do_not_matter(stage: Callable[[], Any]) -> None:
    async def main() -> None:
        async with stage() as here, here.operating() as page:
            await page.click('nav a[href="#try"]')
            await page.fill("#try-root", "/anon/")
            await page.fill("#try-name", "/room//picture/")
            await page.click("#try-start")
            await page.see("#try-state", "On air")
            assert "anon/room/picture" in {each.path for each in here.relay.house.origin.on_air()}

    asyncio.run(main())


BRIGHT = """(() => {
  const seen = document.querySelector("#try-seen");
  const { data } = seen.getContext("2d").getImageData(0, 0, seen.width, seen.height);
  return data.reduce((sum, each, at) => sum + (at % 4 === 1 ? each : 0), 0) / (data.length / 4);
})()"""


def test_an_operator_kicks_and_revokes(stage: Callable[[], Any]) -> None:
    async def main() -> None:
        async with (
            stage() as here,
            here.guest("plant", "ann") as ann,
            here.guest("plant", "bob") as bob,
            here.operating() as page,
        ):
            await page.click('button[aria-label="Kick ann at plant"]')
            await page.fill("#asked-reason", "too loud")
            await page.shot("kick-light")
            await page.click("dialog button.grave")
            await page.see("#notice.seen", "Kicked ann")
            await page.gone("#sessions tr", "ann")
            await asyncio.wait_for(ann.lost, 5)
            await page.click('button[aria-label="Revoke bob at plant"]')
            await page.click("dialog button.grave")
            await page.gone("#sessions tr", "bob")
            await asyncio.wait_for(bob.lost, 5)
            await here.refused(here.token("plant", "bob"))
            await page.see("#reasons .bar", "revoked")
            await page.click('nav a[href="#access"]')
            await page.see("#revocations tr", "bob")
            await page.click('button[aria-label="Withdraw revocation 1"]')
            await page.click("dialog button.main")
            await page.gone("#revocations tr", "bob")
            async with here.guest("plant", "bob"):
                await page.click('nav a[href="#audit"]')
                for action in ("session.kick", "too loud", "revoke"):
                    await page.see("#entries tr", action)
                await page.fill("#reason", "revoked")
                await page.gone("#entries tr", "session.kick")
                await page.see("#entries tr", "revoked")

    asyncio.run(main())


def test_an_operator_mints_a_token_that_works_until_it_is_revoked(
    stage: Callable[[], Any],
) -> None:
    async def main() -> None:
        async with stage() as here, here.operating() as page:
            await page.click('nav a[href="#access"]')
            await page.click("#mint")
            await page.fill("#asked-name", "stand")
            await page.fill("#asked-root", "fair")
            await page.fill("#asked-publish", "picture")
            await page.click("dialog button.main")
            token = await page.text("#minted-token")
            await page.see("#tokens tr", "stand")
            await page.see("#keys tr", "active")
            await page.shot("access-light")
            url = f"https://127.0.0.1:{here.relay.quic_address[1]}/fair?jwt={token}"
            async with connect(url, tls=TRUST):
                async with asyncio.timeout(20):
                    while not here.relay.door.guests:
                        await asyncio.sleep(0.05)
                (guest,) = here.relay.door.guests.values()
                assert (guest.grant.root, guest.grant.publish) == ("fair", ("picture",))
            await page.click("#minted button:has-text('Use in Try it')")
            await page.click("#try-start")
            await page.see("#try-state", "On air")
            await page.until("Number(document.querySelector('#try-frames').textContent) > 10")
            assert token not in await page.evaluate("document.body.innerText")
            # It goes on in the background, is seen by itself, and ends with its token.
            await page.click('nav a[href="#live"]')
            await page.see("#broadcasts tr", "fair/picture")
            await page.click('nav a[href="#access"]')
            await page.click('button[aria-label="Revoke token stand"]')
            await page.click("dialog button.grave")
            await page.see("#tokens tr", "revoked")
            await page.click('nav a[href="#try"]')
            await page.see("#try-state.bad", "The relay ended the session")
            assert await page.text("#try-start") == "Start"

    asyncio.run(main())


def test_a_quota_is_set_and_its_bar_moves(stage: Callable[[], Any]) -> None:
    async def main() -> None:
        async with (
            stage() as here,
            here.guest("plant", "ann"),
            here.operating() as page,
        ):
            await page.see('[data-tenant="plant"] .bar', "1 of 4")
            assert await page.evaluate(FILL) == 25
            async with here.guest("plant", "bob"):
                await page.see('[data-tenant="plant"] .bar', "2 of 4")
                await page.until(f"{FILL} === 50")
                await page.click('button[aria-label="Set quota of plant"]')
                await page.choose("#asked-name", "sessions")
                await page.fill("#asked-limit", "2")
                await page.click("dialog button.main")
                await page.see('[data-tenant="plant"] .bar', "2 of 2")
                assert here.relay.house.ledger.limits.of("plant").sessions == 2
                assert here.relay.house.ledger.limits.of("plant").tracks == 20
                await here.refused(here.token("plant"))
                await page.see("#reasons .bar", "quota")
                await page.click('button[aria-label="Reset quota of plant"]')
                await page.click("dialog button.main")
                await page.see('[data-tenant="plant"] .bar', "2 of 4")

    asyncio.run(main())


def test_who_is_refused_in_try_it_finds_the_reason_under_denials(stage: Callable[[], Any]) -> None:
    async def main() -> None:
        async with stage() as here, sight(here.browser, here.url) as page:
            await page.fill("#key", "mk_wrong.key")
            await page.click("#login button")
            await page.see("#refused", "not the operator's key")
            await page.shot("door-light")
            await page.fill("#key", f"\u201c{here.operator.bearer}\u201d")  # as some paste it
            await page.click("#login button")
            await page.see("#refused", "not the operator's key")
            await page.type(here.operator.bearer)  # in place of what was wrong
            await page.press("Enter")
            await page.see(LOGGED_IN)
            await page.click('nav a[href="#try"]')
            await page.fill("#try-root", "plant")
            await page.fill("#try-token", here.token("plant", ttl=-100))
            await page.click("#try-start")
            await page.see("#try-state.bad", "Refused")
            assert await page.text("#try-start") == "Start"
            await page.click('nav a[href="#live"]')
            await page.see("#denials tr", "expired")
            await page.see("#denials tr", "wrong_operator_key · once")
            assert await page.text("#denials tr:has-text('wrong_operator_key') .dim") == "/admin"

    asyncio.run(main())


def test_try_it_says_what_it_may_not_where_the_relay_lets_it_in(stage: Callable[[], Any]) -> None:
    async def main() -> None:
        async with stage() as here, here.operating() as page:
            await page.click('nav a[href="#try"]')
            for name, put, get in (("sent", ("",), ()), ("seen", (), ("",))):
                await page.fill("#try-root", "plant")
                await page.fill("#try-name", name)
                await page.fill("#try-token", here.token("plant", put=put, get=get))
                await page.click("#try-start")
                await page.see("#try-state.bad", "allowed to publish and to watch")
                assert await page.text("#try-start") == "Start"
            await here.relay.desk.office.set_quota(
                Operator("test", "test"), "plant", Override(tracks=1)
            )
            async with (
                here.guest("plant") as camera,
                here.guest("plant") as viewer,
                asyncio.TaskGroup() as tasks,
            ):
                working = [
                    tasks.create_task(broadcasting(camera, "hall")),
                    tasks.create_task(watching(viewer, "hall")),
                ]
                while not here.relay.house.ledger.usage()["plant"]["tracks"]:
                    await asyncio.sleep(0.05)
                await page.fill("#try-token", here.token("plant"))
                await page.click("#try-start")
                await page.see("#try-state.bad", "refused it with code 93")
                for each in working:
                    each.cancel()

    asyncio.run(main())


NAMELESS = """
window.WebTransport = class extends WebTransport {
  constructor(url, { protocols, ...options }) {
    super(url, options);
  }
}
"""
"""A browser that cannot name versions while it connects, as Firefox."""

LATENCY = "document.querySelector('#try-latency').textContent"


def test_try_it_works_in_a_browser_that_names_no_version(stage: Callable[[], Any]) -> None:
    async def main() -> None:
        async with stage() as here, here.operating() as page:
            await page.evaluate(NAMELESS)
            await page.click('nav a[href="#try"]')
            await page.click("#try-start")
            await page.see("#try-state", "On air")
            await page.until("Number(document.querySelector('#try-frames').textContent) > 10")
            await page.until(f"/^[0-9]{{1,3}} ms$/.test({LATENCY})")
            versions = {each.session.version for each in here.relay.door.guests.values()}
            assert versions == {"moq-lite-02"}

    asyncio.run(main())


def test_names_that_would_be_markup_are_text(stage: Callable[[], Any]) -> None:
    async def main() -> None:
        async with stage() as here, here.guest("plant", EVIL) as client, here.operating() as page:
            publishing = asyncio.ensure_future(broadcasting(client, EVIL))
            try:
                await here.relay.desk.office.set_quota(Operator("test", EVIL), EVIL, Override())
                await page.see("#sessions tr", EVIL)
                await page.see("#broadcasts tr", EVIL)
                await page.see("#quotas .tenant", EVIL)
                await page.click("#sessions button.ends")
                await page.see("dialog h2", EVIL)
                await page.click("dialog button.quiet")
                await page.click('nav a[href="#access"]')
                await page.click("#mint")
                await page.fill("#asked-name", EVIL)
                await page.click("dialog button.main")
                await page.see("#minted strong", EVIL)
                await page.see("#tokens tr", EVIL)
                await page.click('nav a[href="#audit"]')
                await page.see("#entries tr", EVIL)
                assert await page.evaluate("window.harmed === undefined")
                assert await page.evaluate("document.querySelectorAll('#main img').length") == 0
            finally:
                publishing.cancel()

    asyncio.run(main())


def test_names_read_as_what_they_are(stage: Callable[[], Any]) -> None:
    backwards = "hall\u202eeast\nx \u0915\u094d\u200d\u0937"
    seen = "hall%E2%80%AEeast%0Ax \u0915\u094d\u200d\u0937"

    async def main() -> None:
        async with (
            stage() as here,
            here.guest("plant", backwards) as client,
            here.operating() as page,
        ):
            publishing = asyncio.ensure_future(broadcasting(client, backwards))
            try:
                await here.relay.desk.office.set_quota(
                    Operator("test", backwards), backwards, Override()
                )
                for place in ("#sessions tr", "#broadcasts tr", "#quotas .tenant"):
                    await page.see(place, seen)
                await page.click("#sessions button.ends")
                await page.see("dialog h2", seen)
                await page.click("dialog button.quiet")
            finally:
                publishing.cancel()

    asyncio.run(main())


FOCUSED = """(() => {
  const here = document.activeElement;
  return {
    name: here.getAttribute("aria-label") ?? here.innerText ?? here.id,
    inDialog: here.closest("dialog") !== null,
    isSeen: getComputedStyle(here).outlineStyle !== "none",
  };
})()"""
"""Where the keyboard is, and whether one sees that."""


def test_everything_is_done_with_the_keyboard_alone(stage: Callable[[], Any]) -> None:
    async def main() -> None:
        async with (
            stage() as here,
            here.guest("plant", "ann") as ann,
            sight(here.browser, here.url) as page,
        ):
            await page.type(here.operator.bearer)  # the field has the focus already
            await page.press("Enter")
            await page.see("#sessions tr", "ann")
            passed = await tab_until(page, "Kick ann at plant")
            assert passed[0]["name"] == ""  # the field to filter sessions by
            assert all(each["isSeen"] for each in passed)
            await page.press("Enter")
            await page.see("dialog[open]")
            for _ in range(8):
                assert not (await page.evaluate(FOCUSED))["name"].startswith("Kick ann")
                await page.press("Tab")
            await page.press("Escape")
            await page.gone("dialog")
            assert (await page.evaluate(FOCUSED))["name"] == "Kick ann at plant"
            await page.press("Enter")
            await page.type("by hand")
            await page.press("Enter")
            await asyncio.wait_for(ann.lost, 5)
            await page.gone("#sessions tr", "ann")
            # Whoever kicked goes on where the row was, not from the top.
            await page.until(f"{FOCUSED}.name === 'Nobody is connected.'")
            await page.click('nav a[href="#access"]')
            await page.evaluate("document.activeElement.blur()")
            await tab_until(page, "Skip to content")
            await page.press("Enter", "Tab")
            assert (await page.evaluate(FOCUSED))["name"] == "Mint a token"
            await page.see("#view-access")

    asyncio.run(main())


async def tab_until(page: Sight, name: str) -> list[dict[str, Any]]:
    """Press Tab until something of that name has the focus; answers every stop on the way."""
    passed = []
    for _ in range(40):
        await page.press("Tab")
        passed.append(await page.evaluate(FOCUSED))
        if passed[-1]["name"] == name:
            return passed
    raise AssertionError(f"{name} is not among {passed}")


NUMBERS = [0, 1, 63, 64, 16_383, 16_384, 2**30 - 1, 2**30, 2**40 + 7, 2**53 - 1]

WRITER = """
import { Fields, Reader, message, text, unzigzag, varint, zigzag } from "./wire.mjs";
const hex = (bytes) => [...bytes].map((each) => each.toString(16).padStart(2, "0")).join("");
const numbers = %s;
const back = [];
for (const each of numbers) {
  const bytes = varint(each);
  back.push(new Fields(bytes).varint());
  // One byte at a time, as a network may have it.
  const parts = new ReadableStream({ start(line) {
    for (const byte of bytes) line.enqueue(Uint8Array.of(byte));
    line.close();
  } });
  back.push(await new Reader(parts).varint());
}
console.log(JSON.stringify({
  varints: numbers.map((each) => hex(varint(each))),
  zigzags: [0, -1, 1, -2, 2 ** 51].map((each) => [hex(zigzag(each)), unzigzag(2 * each)]),
  message: hex(message(text("h\u00e4"), varint(7))),
  back,
}));
"""


def test_the_page_writes_numbers_as_the_relay_does(tmp_path: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is missing")
    (tmp_path / "wire.mjs").write_text(files(page_files).joinpath("wire.js").read_text())
    (tmp_path / "run.mjs").write_text(WRITER % NUMBERS)
    command = ["node", str(tmp_path / "run.mjs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    said = json.loads(done.stdout)
    assert said["varints"] == [encode_varint(each).hex() for each in NUMBERS]
    assert said["back"] == [each for each in NUMBERS for _ in range(2)]
    assert [each for each, _ in said["zigzags"]] == [
        encode_varint(each).hex() for each in (0, 1, 2, 3, 2**52)
    ]
    assert said["message"] == "0503" + "68c3a4" + "07"
