"""Being dialled: how a packet of nobody's becomes a connection, and what runs on that.

An endpoint that only dials has none of this. The law: nothing is kept of a stranger before the gate
has let them in and their first packet was worth it. This module must not know sockets, nor why a
visit is accepted.
"""

from __future__ import annotations

from collections.abc import Sequence

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.packet import QuicHeader, QuicPacketType

from relay.net.authority import Authorities, examine
from relay.net.connection import H3, Application, Connection, Host
from relay.net.engine import Engine, configure
from relay.net.gate import CID_LENGTH, VERSIONS, Admitted, Gate
from relay.net.quic import QuicTransport
from relay.net.resets import Resets
from relay.net.settings import ListenSettings
from relay.net.steer import WHOLE, Share
from relay.net.tls import Choice, Pair
from relay.net.udp import Address
from relay.net.visit import Door, OpenVisit, ServedWebTransport, knock_raw, offer


class Serving:
    """What an endpoint has that takes sessions of others."""

    def __init__(
        self,
        door: Door,
        settings: ListenSettings,
        certificates: Choice,
        protocols: Sequence[str],
        authorities: Authorities | None = None,
        share: Share = WHOLE,
    ) -> None:
        """``protocols`` are the identifiers spoken over raw QUIC, best first; HTTP/3 is added.

        ``authorities`` vouch for client certificates; without them nobody is asked for one.
        ``share`` are the connection ids that are ours where several processes have one port.
        """
        self.gate = Gate(settings, share)
        self._door = door
        self._settings = settings
        self._certificates = certificates
        self._pair_for = certificates.pair_for if len(certificates.all) > 1 else None
        self._protocols = (*protocols, H3)
        self._authorities = authorities
        self._share = share
        self._made: tuple[Pair, QuicConfiguration, Resets] | None = None

    @property
    def resets(self) -> Resets:
        """Those of the first certificate's key, which whoever comes after us finds in its place.
        What a connection was told at its beginning stays."""
        return self._of_now()[1]

    def knock(
        self, host: Host, header: QuicHeader, data: bytes, address: Address, now: float
    ) -> Connection | bytes | None:
        """Somebody's first packet: a connection that has heard it, or what to answer instead;
        ``None`` is silence.

        Handshake packets are of somebody whose server has died. Who sends them has the token for a
        reset, as a rule, and would go on until a timeout (RFC 9000, 10.3).
        """
        if header.packet_type == QuicPacketType.HANDSHAKE and header.version in VERSIONS:
            return self.resets.answer(data, now, header.destination_cid)
        verdict = self.gate.judge(header, len(data), address, now)
        if not isinstance(verdict, Admitted):
            return verdict
        limits = self._settings.limits
        ids = verdict.original_cid, verdict.retry_cid
        configuration, resets = self._of_now()
        engine = Engine(configuration, limits, *ids, self._share, resets.token, self._pair_for)
        connection = Connection(host, engine, limits, address, self._begin)
        connection.feed([data], address, now)
        if engine.is_untouched:
            return None
        connection.deadline = now + self._settings.handshake_timeout
        self.gate.enter(address)
        return connection

    def examine(self, connection: Connection) -> None:
        """Look at the client certificate, if there is one. Raises `BadCertificate`."""
        shown = connection.engine.peer_chain
        if self._authorities is not None and shown:
            connection.certificate = examine(shown[0], shown[1:], self._authorities.pem)

    def _begin(self, connection: Connection, alpn: str) -> Application:
        settings, door = self._settings, self._door
        if alpn == H3:
            return ServedWebTransport(
                connection, door, settings.request_timeout, settings.visit_timeout
            )
        return QuicTransport(
            connection,
            lambda transport: offer(
                door,
                OpenVisit(knock_raw(transport), transport),
                connection,
                settings.visit_timeout,
            ),
        )

    def _of_now(self) -> tuple[QuicConfiguration, Resets]:
        """What goes by the first certificate in use."""
        pair = self._certificates.first.current
        if self._made is None or self._made[0] is not pair:
            made = configure(self._settings.limits, False, self._protocols)
            made.certificate, made.certificate_chain = pair.chain[0], list(pair.chain[1:])
            made.private_key = pair.key
            made.cadata = self._authorities.pem if self._authorities else None
            self._made = (pair, made, Resets.of(pair, CID_LENGTH))
        return self._made[1:]
