"""The shape of all settings together: one section per room that obeys them.

The law: a default stands in the room's own settings or here, once. Sections whose rooms have none
of their own (logging, addresses, TLS files, outgoing connections) are spelled here. This module
must not know where values come from.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    field_validator,
)

from relay.auth.issue import IssuerSettings
from relay.auth.prefixes import Root
from relay.auth.rules import Hash
from relay.auth.settings import AuthSettings
from relay.cluster.settings import ClusterSettings
from relay.control.proxies import Proxies
from relay.control.settings import PublicLimits
from relay.hosts import with_port
from relay.ingest.settings import IngestSettings
from relay.model.settings import CacheSettings
from relay.net.detour import HEAD_START
from relay.net.settings import ListenSettings, QuicLimits
from relay.net.steer import MAX_WORKERS
from relay.path import Path as Name
from relay.peer.settings import PeerSettings
from relay.quota import QuotaSettings
from relay.records.settings import AuditSettings, RecordsSettings
from relay.reserve import INTERNAL, NOTHING_MORE, Reserve
from relay.session.settings import SessionSettings
from relay.sidecar.settings import SidecarSettings
from relay.sinks.settings import SinkSettings
from relay.wire.version import IDENTIFIERS

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([A-Za-z0-9.-]+)):([0-9]{1,5})")


class Address(NamedTuple):
    """Where to listen: a host (IPv6 without brackets) and a port; 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """``[::]:4443``, ``0.0.0.0:4443``, ``localhost:4443``. Raises `ValueError`."""
        found = _ADDRESS.fullmatch(text)
        if not found or int(found[3]) > 65535 or (found[1] and ":" not in found[1]):
            raise ValueError(
                "expected address:port with a port up to 65535, such as [::]:4443 or 127.0.0.1:0"
            )
        return cls(found[1] or found[2], int(found[3]))

    def __str__(self) -> str:
        return with_port(*self)


def _address(value: Any) -> Any:
    return value if isinstance(value, Address) else Address.parse(str(value))


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str | int | Path) else value


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


Listen = Annotated[Address, BeforeValidator(_address), PlainSerializer(str)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Files = Annotated[tuple[Path, ...], BeforeValidator(_listed)]
Numbers = Annotated[tuple[Annotated[int, Field(ge=0)], ...], BeforeValidator(_listed)]
Level = Annotated[
    Literal["trace", "debug", "info", "warn", "error"],
    BeforeValidator(_lower),
]


class Section(BaseModel):
    """Part of the settings: fixed once read, unknown names refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class LogSettings(Section):
    """``[log]``: what is written to standard error."""

    level: Level = "info"
    """The least important kind of line that is still written."""

    format: Literal["text", "json"] = "text"
    """``text`` for people, ``json`` (one object per line) for collectors."""


class ServerTls(Section):
    """``[server.tls]``: pairs from files, or one made at the start; not both."""

    cert: Files = ()
    """Certificate chain (PEM). Of several each client is shown the first that names the host it
    asks for, else the first."""

    key: Files = ()
    """Its private key (PEM); of several in the same order."""

    generate: Texts = ()
    """Host names and addresses for a self-signed pair that lives as long as the process, with a new
    certificate every 12 days, since browsers pin none for long; unset and without ``cert``: those
    of this machine (``localhost``)."""

    root: Files = ()
    """Authorities (PEM) for client certificates: guests are asked for one and may show none."""


class TcpSettings(Section):
    """``[server.tcp]``: sessions over plain TCP, for networks that can be trusted."""

    listen: Listen | None = None
    """TCP address and port; unset: none. Nothing is encrypted there."""


class UnixAllow(Section):
    """``[server.unix.allow]``: who may dial the socket; each list on its own, none asks nothing."""

    uid: Numbers = ()
    """User ids."""

    gid: Numbers = ()
    """Group ids of the process itself."""

    pid: Numbers = ()
    """Process ids."""


class UnixSettings(Section):
    """``[server.unix]``: the same at a unix socket, for programs on this machine."""

    listen: Path | None = None
    """Where the socket is made; unset: none. Whoever can enter its folder may dial."""

    allow: UnixAllow = UnixAllow()


class ServerSettings(Section):
    """``[server]``: where QUIC is taken, and sessions without it."""

    drain: float = Field(default=5.0, ge=0.0, le=3600.0, allow_inf_nan=False)
    """Most seconds for which sessions are left to go by themselves after SIGTERM, SIGHUP or
    relay drain; a second SIGTERM ends them at once, and so does SIGINT. Clients of `moq-rs` 0.5 try
    for ten seconds from when they are told to go, and then never again."""

    goaway: str = ""
    """Where peers are sent when the relay stops, a URL; empty: nowhere in particular."""

    @field_validator("goaway")
    @classmethod
    def _leads_somewhere(cls, url: str) -> str:
        try:
            is_url = url.isprintable() and bool(urlsplit(url).scheme and urlsplit(url).hostname)
        except ValueError:
            is_url = False
        if url and not is_url:
            raise ValueError("expected a URL with a host")
        return url

    listen: Listen = Address("::", 4443)
    """UDP address and port."""

    loop: Literal["auto", "asyncio", "uvloop"] = "auto"
    """The event loop: uvloop's, which is the quicker one, has to be installed; ``auto``: where it
    is."""

    versions: Texts = IDENTIFIERS
    """Protocol identifiers spoken, best first; ``moql`` stands for moq-lite-02 and -01, ``moqt-…``
    and ``moq-00`` for drafts of moq-transport."""

    workers: Annotated[int, Field(ge=1, le=MAX_WORKERS)] | Literal["auto"] = 1
    """Processes that share the port, each with its own part of the sessions; ``auto``: one for each
    core. Ceilings in ``[limits]`` and ``[cache]`` hold for each of them."""

    tls: ServerTls = ServerTls()
    tcp: TcpSettings = TcpSettings()
    unix: UnixSettings = UnixSettings()

    @property
    def count(self) -> int:
        """How many processes that is here."""
        cores = min(os.cpu_count() or 1, MAX_WORKERS)
        return cores if self.workers == "auto" else self.workers


class HttpSettings(Section):
    """``[web.http]``: the public face over plain HTTP."""

    listen: Listen | None = None
    """TCP address and port; unset: that of QUIC, unless HTTPS has one; then no plain HTTP."""


class HttpsSettings(Section):
    """``[web.https]``: the same face over TLS."""

    listen: Listen | None = None
    """TCP address and port; unset: no HTTPS."""

    cert: Files = ()
    """Certificate chain (PEM); several as in ``[server.tls]``."""

    key: Files = ()
    """Its private key (PEM)."""


class WebSettings(Section):
    """``[web]``: HTTP over TCP."""

    ws: bool = True
    """Sessions over WebSocket, for browsers without WebTransport and networks without UDP."""

    trusted_proxies: Proxies = ()
    """Addresses and networks whose ``X-Forwarded-For`` says who asks; default none."""

    http: HttpSettings = HttpSettings()
    https: HttpsSettings = HttpsSettings()
    limits: PublicLimits = PublicLimits()


class ClientTls(Section):
    """``[client.tls]``: whom to trust when this relay dials another."""

    disable_verify: bool = False
    """Trust anybody. For a laptop only; every start warns."""

    root: Files = ()
    """Authorities (PEM) to trust instead of the system's; for keys of auth.key, auth.keys and
    auth.key_dir that come by URL beside the system's."""

    fingerprint: Texts = ()
    """SHA-256 of certificates to trust whoever signed them, hex."""

    cert: Path | None = None
    """Client certificate (PEM), shown to relays that are dialled, to the servers of auth.url and
    cluster.connect_api and where these keys come from. A change of these files counts with the next
    connection, and running links are replaced."""

    key: Path | None = None
    """Its private key (PEM)."""


class ClientWebsocket(Section):
    """``[client.websocket]``: the second way of an https:// URL, where no UDP gets through."""

    enabled: bool = True
    """Whether it is tried. Never with a client certificate: servers ask for one over QUIC only."""

    delay: float = Field(default=HEAD_START, ge=0.0, allow_inf_nan=False)
    """Seconds that QUIC has alone; none where it was WebSocket the last time."""


class ClientSettings(Section):
    """``[client]``: connections this relay opens."""

    bind: Listen | None = None
    """Local UDP address; unset: any."""

    timeout: float = Field(default=30.0, ge=0.0, allow_inf_nan=False)
    """Seconds until a dial is given up; 0: when QUIC or TCP gives up."""

    tls: ClientTls = ClientTls()

    websocket: ClientWebsocket = ClientWebsocket()


class SidecarSection(SidecarSettings):
    """``[sidecar]``: deciding for other relays, with ``relay sidecar``."""

    listen: Listen = Address("127.0.0.1", 4440)
    """TCP address and port."""


class AdminSettings(Section):
    """``[admin]``: what only the operator may ask over HTTP."""

    api_key: Hash | None = Field(default=None, repr=False)
    """Hash of the operator's key, from ``relay hash-token``; unset: whoever has the key in the
    relay's own MOQ_ADMIN_TOKEN, else nobody is the operator."""


class StatsSettings(Section):
    """``[stats]``: the relay's numbers as broadcasts, ``.stats/node/<node>``."""

    enabled: bool = False
    """Whether they are published; whoever may watch the prefix sees paths and roots of everybody.
    """

    prefix: Root = Name(".stats")
    """Path below which they are published, and nobody but a relay publishes anything else."""

    @field_validator("prefix")
    @classmethod
    def _apart(cls, prefix: Name) -> Name:
        if not prefix or prefix.is_under(INTERNAL):
            raise ValueError("expected a path of its own, such as .stats")
        return prefix

    interval: float = Field(default=1.0, ge=0.1, le=3600.0, allow_inf_nan=False)
    """Seconds between two snapshots."""

    depth: int = Field(default=0, ge=0, le=16)
    """0 is one broadcast for everything; else one for each beginning of so many segments of the
    paths, ``.stats/<segments>/node/<node>``, so that a grant can open one tenant's numbers."""

    node: str | None = None
    """Name of this relay there, with slashes if need be; unset: cluster.node, else the machine's.
    """

    @property
    def reserve(self) -> Reserve:
        """Where only relays publish or watch."""
        return Reserve((self.prefix,)) if self.enabled else NOTHING_MORE


class InternalSettings(Section):
    """``[internal]``: numbers and the mesh, and what only this machine may ask."""

    listen: Listen | None = None
    """TCP address and port; unset: none. Nobody is authenticated there: whoever reaches another
    address than loopback may read ``/health``, ``/metrics`` and ``/nodes``."""


class Settings(Section):
    """Everything the operator may say. Sections are named as in the file."""

    log: LogSettings = LogSettings()
    server: ServerSettings = ServerSettings()
    web: WebSettings = WebSettings()
    auth: AuthSettings = AuthSettings()
    records: RecordsSettings = RecordsSettings()
    quotas: QuotaSettings = QuotaSettings()
    issuer: IssuerSettings = IssuerSettings()
    audit: AuditSettings = AuditSettings()
    limits: ListenSettings = ListenSettings()
    quic: QuicLimits = QuicLimits()
    session: SessionSettings = SessionSettings()
    peer: PeerSettings = PeerSettings()
    cache: CacheSettings = CacheSettings()
    client: ClientSettings = ClientSettings()
    cluster: ClusterSettings = ClusterSettings()
    admin: AdminSettings = AdminSettings()
    stats: StatsSettings = StatsSettings()
    ingest: IngestSettings = IngestSettings()
    sinks: Annotated[dict[str, SinkSettings], Field(max_length=16)] = {}
    """Where copies of tracks go, by names of the operator's; ``[sinks.<name>]``, default none."""

    internal: InternalSettings = InternalSettings()
    sidecar: SidecarSection = SidecarSection()

    @property
    def endpoint(self) -> ListenSettings:
        """What a listening endpoint obeys: ``[limits]``, and ``[quic]`` for its connections."""
        return replace(self.limits, limits=self.quic)
