"""How a conversation begins: SETUP on streams of their own, or a handshake inside the first one.

Newer versions are fixed by the transport's identifier and exchange SETUP on one unidirectional
stream per side; older ones agree in-band on the client's first stream (moq-transport draft-14
framing), which then stays open for the life of the session. This module must not know what the
target or the role lead to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.errors import Cancelled, ProtocolViolation
from relay.session.events import Opened
from relay.session.flow import Flow
from relay.wire.messages import Bidi, Uni
from relay.wire.setup import (
    ClientSetup,
    Setup,
    decode_client_setup,
    decode_server_setup,
    decode_setup,
    encode_client_setup,
    encode_server_setup,
    encode_setup,
)
from relay.wire.version import INBAND_CODES, by_code

if TYPE_CHECKING:
    from relay.session.lite import LiteSession

PUBLISHER_ONLY = 1
SUBSCRIBER_ONLY = 2

UNEXPECTED_STREAM = 10
"""With what a stream is broken off that nobody is there for (see `relay.wire.codes`)."""


class Greeting(Flow):
    """A stream of the peer's whose purpose has not been read yet."""

    __slots__ = ()

    @property
    def is_early(self) -> bool:
        """Whether the peer knows the version, and its word for it has yet to come."""
        return self.session.client and self.session.agreed is None

    def read(self) -> None:
        """Learn the purpose. What comes before the version waits, up to `session.max_early`."""
        if self.is_early:
            return
        kind = self.buffer.varint()
        if kind is None or self.stream is None:
            return
        flow = self.session.meet(self.stream, kind)
        if flow is None:
            self.drop(UNEXPECTED_STREAM)
            return
        self.deaf = True
        self.session.replace(self.stream, flow)
        flow.received(self.buffer.take(), self.heard)

    def go_on(self) -> None:
        """The version is there: learn the purpose of what came before it, if it has one."""
        self.read()
        if self.heard and not self.deaf:
            self.leave()

    def ended(self) -> None:
        if not self.is_early:
            self.leave()

    def broken(self, code: int) -> None:
        self.drop(Cancelled.code)


class SetupArrival(Flow):
    """The peer's SETUP (moq-lite-05, "Setup")."""

    __slots__ = ()

    def __init__(self, session: LiteSession, stream: int) -> None:
        super().__init__(session, stream)
        self.said = True

    def read(self) -> None:
        body = self.buffer.message(self.session.settings.max_message)
        if body is None:
            return
        if self.session.opened:
            raise ProtocolViolation("a second SETUP")
        setup = decode_setup(body)
        self.session.open(
            Opened(
                setup.path,
                publishes=setup.role != SUBSCRIBER_ONLY,
                subscribes=setup.role != PUBLISHER_ONLY,
                origin=setup.origin,
                cost=setup.cost,
            )
        )

    def ended(self) -> None:
        if not self.session.opened:
            raise ProtocolViolation("the SETUP stream ended before SETUP")


def setup_stream(target: str | None, origin: int, cost: int | None) -> bytes:
    """The whole SETUP stream of our side; ``target`` only as a client on raw QUIC."""
    setup = Setup(probe=1, path=target, cost=cost, origin=origin)
    return bytes([Uni.SETUP]) + encode_setup(setup)


class _Handshake(Flow):
    """The client's first stream where no identifier fixed the version; it lives as long as the
    session."""

    __slots__ = ("agreed",)

    def __init__(self, session: LiteSession, stream: int | None = None) -> None:
        super().__init__(session, stream)
        self.agreed = False

    def read(self) -> None:
        if self.agreed:
            self.buffer.take()  # SESSION_INFO: an estimate nobody here needs
        else:
            self.agree()

    def agree(self) -> None:
        """Take the other side's message once it is complete."""
        raise NotImplementedError

    def ended(self) -> None:
        self.session.close(0, "the peer ended the session stream")

    def broken(self, code: int) -> None:
        self.session.close(0, "the peer broke off the session stream")


class SetupAnswer(_Handshake):
    """The peer's, as a client: we choose."""

    __slots__ = ()

    def agree(self) -> None:
        body = self.buffer.message16(self.session.settings.max_message)
        if body is None:
            return
        if self.session.opened:
            raise ProtocolViolation("a second CLIENT_SETUP")
        setup = decode_client_setup(body)
        for code in setup.versions:
            if (dialect := by_code(code)) is not None:
                self.agreed = True
                self.send(encode_server_setup(code))
                self.session.agreed = dialect
                self.session.open(Opened(setup.path, True, True, 0))
                return
        raise ProtocolViolation(f"no common version in {[hex(v) for v in setup.versions]}")


class SetupQuestion(_Handshake):
    """Ours, as a client."""

    __slots__ = ("target", "typed")

    def __init__(self, session: LiteSession, target: str | None) -> None:
        super().__init__(session)
        self.typed = False
        self.target = target

    def request(self) -> bytes:
        """CLIENT_SETUP with its own stream type; the framing counts it as part of the message."""
        return encode_client_setup(ClientSetup(INBAND_CODES, self.target))

    def agree(self) -> None:
        if not self.typed:
            kind = self.buffer.varint()
            if kind is None:
                return
            if kind != Bidi.SERVER_SETUP:
                raise ProtocolViolation(f"the answer to CLIENT_SETUP is of type {kind}")
            self.typed = True
        body = self.buffer.message16(self.session.settings.max_message)
        if body is None:
            return
        dialect = by_code(decode_server_setup(body))
        if dialect is None:
            raise ProtocolViolation("the server chose a version that was not offered")
        self.agreed = True
        self.session.agreed = dialect
        self.session.open(Opened(None, True, True, 0))
        self.session.greet()
