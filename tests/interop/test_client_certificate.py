"""Client certificates of foreign clients: who shows one has exactly the rights it is given.

The relay asks everybody for a certificate; who has none is judged by a token as ever. Keys and
authorities are made for the run.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from rig import house
from rig.client import Client, Target
from rig.frames import DEADLINE, Refused
from rig.house import Relay

pytestmark = pytest.mark.interop

TRACK = "video"
DAY = datetime.timedelta(days=1)
Named = Callable[[str], Client]
Run = Callable[[Coroutine[Any, Any, Any]], Any]
Pair = tuple[Path, Path]

RUST = ["moq-rs", "moq-rs-raw"]

RULES = """
[auth.certificates.plant]
san = "edge.example"
root = "plant"
publish = "up"
subscribe = "down"
"""

_numbers = itertools.count(1)


class Authority:
    """A certificate authority of the run's own."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "interop authority")])
        self.root = self._made(self.name, self.key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )

    def _made(self, subject: x509.Name, key: Any) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder(self.name, subject, key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
        )

    def pem(self) -> bytes:
        """The authority's own certificate."""
        return self.root.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def issue(self, folder: Path, san: str) -> Pair:
        """Files of a client's certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, san)])
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        made = (
            self._made(subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(san)]), critical=False)
            .add_extension(purpose, critical=False)
            .sign(self.key, hashes.SHA256())
        )
        folder.mkdir()
        files = folder / "client.pem", folder / "client.key"
        files[0].write_bytes(made.public_bytes(Encoding.PEM))
        form = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        files[1].write_bytes(key.private_bytes(*form))
        return files


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """Certificates by what they are worth, and the authority's under ``authority``."""
    folder = tmp_path_factory.mktemp("certificates")
    ours = Authority()
    (folder / "authority.pem").write_bytes(ours.pem())
    return {
        "authority": (folder / "authority.pem", folder),
        "known": ours.issue(folder / "known", "edge.example"),
        "unnamed": ours.issue(folder / "unnamed", "edge.example.org"),
        "strange": Authority().issue(folder / "strange", "edge.example"),
    }


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory, shown: dict[str, Pair]) -> Iterator[Relay]:
    """A relay that asks for certificates."""
    if house.foreign():
        pytest.skip("the Rust development relay is not told what a certificate allows")
    root = f'root = "{shown["authority"][0]}"'
    with house.running(tmp_path_factory.mktemp("asking"), tls=root, more=RULES) as started:
        yield started


@pytest.fixture
def room() -> str:
    """A path segment that no other test uses."""
    return f"room-{next(_numbers)}"


@pytest.fixture
def bearer(client: Named, shown: dict[str, Pair]) -> Callable[[str, str], Client]:
    """A client by its name that shows a certificate of `shown`, or none for ``""``."""

    def named(name: str, which: str) -> Client:
        made: Any = client(name)
        made.certificate = shown[which] if which else None
        return made

    return named


async def refusal(client: Client, target: Target, within: float = DEADLINE) -> str | None:
    """How ``client`` is turned away; ``None`` when it is not."""
    try:
        async with client.connect(target) as session:
            return await session.ended(within=within)
    except Refused as refused:
        return str(refused)


@pytest.mark.parametrize("name", RUST)
def test_a_certificate_has_exactly_the_rights_of_its_rule(
    asking: Relay, client: Named, bearer: Any, run: Run, room: str, name: str
) -> None:
    edge, other = bearer(name, "known"), client("moq-rs")

    async def scenario() -> tuple[set[str], set[str]]:
        token = asking.key.token("plant")
        async with (
            other.connect(asking.target(other, "plant", token)) as free,
            edge.connect(asking.target(edge, "plant")) as session,
        ):
            at_free, at_edge = await free.listen(), await session.listen()
            for place in ("down", "upper", "", "up"):
                await session.publish(f"{place}/{room}/edge".lstrip("/"), TRACK)
            kept = [
                await free.publish(f"{place}/{room}/free".lstrip("/"), TRACK)
                for place in ("up", "downer", "", "down")
            ]
            await kept[-1].write([(0, b"frame")])
            await at_free.until(f"up/{room}/edge")
            await at_edge.until(f"down/{room}/free")
            watch = await session.watch(f"down/{room}/free", TRACK)
            assert [frame.payload for frame in await watch.collect(groups=1)] == [b"frame"]
            heard = await at_free.heard(), await at_edge.heard()
            at = [{path for path, active in one if active and room in path} for one in heard]
            return {path for path in at[0] if path.endswith("edge")}, at[1]

    # What came last was allowed and has arrived, so what went before would have as well.
    assert run(scenario()) == ({f"up/{room}/edge"}, {f"down/{room}/free"})


@pytest.mark.parametrize(
    ("which", "path"),
    [("", "plant"), ("unnamed", "plant"), ("strange", "plant"), ("known", "plantation")],
    ids=["none", "without a rule", "of a wrong authority", "elsewhere"],
)
@pytest.mark.parametrize("name", RUST)
def test_who_has_no_rights_is_refused(
    asking: Relay, bearer: Any, run: Run, name: str, which: str, path: str
) -> None:
    guest = bearer(name, which)
    assert run(refusal(guest, asking.target(guest, path))) is not None


@pytest.mark.parametrize("name", RUST)
def test_a_strange_certificate_spoils_a_good_token(
    asking: Relay, bearer: Any, run: Run, name: str
) -> None:
    target = asking.target(bearer(name, ""), "demo", asking.key.token("demo"))
    assert run(refusal(bearer(name, ""), target, within=2.0)) is None
    assert run(refusal(bearer(name, "strange"), target)) is not None


@pytest.mark.browser
def test_a_browser_without_a_certificate_comes_in_with_a_token(
    asking: Relay, client: Named, run: Run, room: str
) -> None:
    page, other = client("chromium"), client("moq-rs")

    async def scenario() -> None:
        token = asking.key.token("demo")
        async with (
            other.connect(asking.target(other, "demo", token)) as free,
            page.connect(asking.target(page, "demo", token)) as session,
        ):
            publication = await session.publish(f"{room}/camera", TRACK)
            await publication.write([(0, b"frame")])
            await (await free.listen(room)).until("camera")
            watch = await free.watch(f"{room}/camera", TRACK)
            assert [frame.payload for frame in await watch.collect(groups=1)] == [b"frame"]

    run(scenario())
    assert run(refusal(page, asking.target(page, "demo"))) is not None
