"""A dialect: one version of moq-lite as an object that reads, writes and answers questions.

Its facts are named after behaviour, so that nobody above compares versions; its messages are those
of `relay.wire.messages`. Stream types are not part of a message. This module must not know which
dialects there are (`relay.wire.version`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, TypeVar

from relay.errors import DecodeError
from relay.wire.buffer import StreamBuffer, encode_varint
from relay.wire.codes import Codes
from relay.wire.fields import Codecs
from relay.wire.frame import Layout
from relay.wire.messages import Announce, AnnounceLine, Bidi, Message, SubscribeOk, SubscribeReply

M = TypeVar("M", bound=Message)

MAX_KEPT = 1024
"""Messages that are kept written."""


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """One version: facts named after behaviour, and its reading and writing."""

    name: str
    """For people: ``moq-lite-05``."""
    identifier: str
    """What is negotiated (ALPN, ``wt-protocol``); those share one of which a number is agreed on
    in-band, in the handshake of `relay.wire.setup.ClientSetup` on the first two-way stream."""
    announce_reply: Literal["init", "ok"] | None
    """The first message on the publisher's half of an announce stream."""
    stamps_hop: Literal["sender", "receiver"] | None
    """Who appends the sending relay to the chain of an announce; ``None``: there are no chains."""
    restart_in_place: bool
    """A live path can get another chain; elsewhere it has to end first."""
    announce_ids: bool
    """Announces are `AnnounceStart`, `AnnounceEnd` and `AnnounceUpdate`, which count the paths;
    elsewhere they are `Announce`, which names them."""
    costs: bool
    """Announces carry costs, and SETUP that of the link."""
    excludes_hop: bool
    """`AnnounceRequest` can name the asker."""
    subscribe_ack: Literal["ok", "start"]
    """`SubscribeOk` at once and before all groups, or `SubscribeStart` with the first group."""
    subscribe_update: bool
    """`SubscribeUpdate` exists."""
    start_floor: bool
    """A subscription starts with the oldest group that is younger than its ``max_latency``, and
    ``start`` only keeps it from going further back; elsewhere ``start`` names the first group."""
    setup_stream: bool
    """Each side opens a one-way stream with a `relay.wire.setup.Setup`."""
    track_stream: bool
    """`TrackRequest` is to be sent and answered before a subscription."""
    fetch: bool
    """The peer may be asked with `Fetch`."""
    goaway: bool
    """`Goaway` exists."""
    datagrams: bool
    """Groups of one frame may travel in datagrams."""
    layout: Layout
    """How frames are written."""
    codes: Codes = field(repr=False)
    """Numbers with which streams are broken off."""
    bidi: frozenset[Bidi]
    """Two-way streams that are served once the version is settled."""
    typed_replies: tuple[type[SubscribeReply], ...] = field(repr=False)
    """Answers to a subscription by their type number; empty where the only one has no number."""
    typed_announces: tuple[type[AnnounceLine], ...] = field(repr=False)
    """Announces by their type number; empty where the only one has no number."""
    codecs: Codecs = field(repr=False)
    tells_properties: bool = False
    """The answer to `Fetch` begins with a byte: 1 where the objects have properties, else 0."""
    tells_latest: bool = False
    """What accepts a subscription without ``max_latency`` is preceded by `SubscribeLatest`, where
    there is any group."""
    timescale: int = 1000
    """Units a second of timestamps where no `TrackInfo` says it."""

    def encode(self, message: Message) -> bytes:
        """The message with its length, and in front its type where its family has types.

        Raises `ValueError` for a message or a value that this version cannot carry.
        """
        cls = type(message)
        body = self.codecs[cls].encode(message)
        framed = encode_varint(len(body)) + body
        for family in (self.typed_replies, self.typed_announces):
            if cls in family:
                return encode_varint(family.index(cls)) + framed
        return framed

    def encode_shared(self, message: Message) -> bytes:
        """The same as `encode`, kept for a while: what many peers are told is written once."""
        return _written(self, message)

    def decode(self, cls: type[M], body: bytes) -> M:
        """The message whose body, without type and length, is ``body``.

        Raises `DecodeError`; and `ValueError` for a class that this version does not have.
        """
        codec = self.codecs[cls]
        try:
            message: M = codec.decode(body)
            return message
        except DecodeError as error:
            raise DecodeError(f"{cls.__name__}: {error}") from None

    def read_reply(self, buffer: StreamBuffer, limit: int) -> SubscribeReply | None:
        """The next answer to a subscription, ``None`` while it is incomplete.

        Raises `DecodeError` for a body above ``limit`` bytes, an unknown type or a broken body.
        """
        if not self.typed_replies:
            body = buffer.message(limit)
            return None if body is None else self.decode(SubscribeOk, body)
        kind = buffer.peek_varint()
        if kind is not None and kind >= len(self.typed_replies):
            raise DecodeError(f"no answer to a subscription has type {kind}")
        found = buffer.typed_message(limit)
        return None if found is None else self.decode(self.typed_replies[found[0]], found[1])

    def read_announce(self, buffer: StreamBuffer, limit: int) -> AnnounceLine | None:
        """The next line on an announce stream, ``None`` while it is incomplete; such of an unknown
        type are skipped.

        Raises `DecodeError` for a body above ``limit`` bytes or a broken one.
        """
        if not self.typed_announces:
            body = buffer.message(limit)
            return None if body is None else self.decode(Announce, body)
        while (found := buffer.typed_message(limit)) is not None:
            if found[0] < len(self.typed_announces):
                return self.decode(self.typed_announces[found[0]], found[1])
        return None


@lru_cache(MAX_KEPT, typed=True)  # messages are tuples, and those of one shape are equal
def _written(dialect: Dialect, message: Message) -> bytes:
    return dialect.encode(message)
