"""The table of drafts: every difference between them that is not a field of a message.

One row per draft, facts only, named after behaviour, so that nobody above compares numbers: the
newest whole, each earlier one by what differs. This module must not know how an identifier travels.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from relay.errors import DecodeError
from relay.moqt.fetched import NEWEST, Fetched
from relay.moqt.messages import Message, Unknown
from relay.moqt.subgroups import Heads, SubgroupHead
from relay.moqt.tables import Codecs, compiled
from relay.moqt.varint import LEADING, LEADING_17, QUIC, Varint
from relay.wire.buffer import StreamBuffer

_MAX_BODY = 0xFFFF

SETUP = 0x2F00
"""How a stream begins on which SETUP comes, where that is not the first two-way one."""

FETCHED = b"\x05"
"""How one begins on which comes what was fetched (draft-16, 10.4.4)."""

__all__ = ["DRAFTS", "Draft", "SubgroupHead"]


@dataclass(frozen=True, slots=True)
class Draft:
    """One version: facts named after behaviour, and its reading and writing."""

    number: int
    version: int
    """What it is in a handshake that offers versions."""
    name: str
    """For people: ``moq-transport-16``."""
    identifiers: tuple[str, ...]
    """What is negotiated (ALPN, ``wt-protocol``)."""
    request_streams: bool
    """Each request has its own two-way stream, and each side sends its SETUP on a one-way stream;
    elsewhere both travel on the first two-way stream."""
    half_closes: bool
    """Who asked may have said all, and still wants what it asked for (draft-19, 3.3.2); elsewhere
    the end of its half takes a request back. A namespace it takes back in all drafts: that is how
    moq-net 0.3 does it."""
    namespace_streams: bool
    """A `SubscribeNamespace` has its own two-way stream, and is answered there with
    `NamespaceFound` and `NamespaceGone`; elsewhere with a `PublishNamespace` for each."""
    timestamps: bool
    """A track says what the timestamps of its objects count, and so they are read and written."""
    answers_updates: bool
    """A `SubscribeUpdate` has an answer."""
    missing: int
    """What a `RequestError` says of a track that does not exist."""
    varint: Varint = field(repr=False)
    """How integers are written."""
    heads: Heads = field(repr=False)
    """How streams of objects begin."""
    codecs: Codecs = field(repr=False, compare=False)
    property_steps: bool = True
    """Numbers of an object's properties ascend, and each is written as the difference to the one
    before."""
    ok_forwards: bool = False
    """A `RequestOk` for a `Publish` has the track sent from then on, whatever that said; elsewhere
    one that is held back waits for a `SubscribeUpdate`."""
    ends_with_last: bool = False
    """A subscription is over with its last group; elsewhere an update may name a later one."""
    fetched: Fetched = NEWEST
    """How fetches are answered."""

    def encode(self, message: Message) -> bytes:
        """The message with its type and its length.

        Raises `ValueError` for a message or a value that this draft cannot carry.
        """
        found = self.codecs.written.get((type(message), getattr(message, "to", None)))
        if found is None:
            raise ValueError(f"{self.name} has no {message}")
        kind, codec = found
        body = codec.encode(message, self.varint.encode)
        if len(body) > _MAX_BODY:
            raise ValueError(f"a message of {len(body)} bytes (at most {_MAX_BODY})")
        return self.varint.encode(kind) + len(body).to_bytes(2, "big") + body

    def read(self, buffer: StreamBuffer, limit: int) -> Message | None:
        """The next message of a stream, ``None`` while it is incomplete; `Unknown` for such of an
        unknown type, whose body is skipped.

        Raises `DecodeError` for a body above ``limit`` bytes or a broken one.
        """
        found = buffer.typed_message16(limit, self.varint.scan)
        if found is None:
            return None
        kind, body = found
        codec = self.codecs.read.get(kind)
        if codec is None:
            return Unknown(kind)
        try:
            message: Message = codec.decode(body, self.varint.scan)
            return message
        except DecodeError as error:
            raise DecodeError(f"{self.name}, message {kind}: {error}") from None

    def encode_varint(self, value: int) -> bytes:
        """The shortest encoding of ``value``. Raises `ValueError` for one that does not fit."""
        return self.varint.encode(value)

    def scan_varint(self, data: bytes | bytearray, pos: int = 0) -> tuple[int, int] | None:
        """The integer at ``pos`` and the position after it, ``None`` when ``data`` ends before.

        Raises `DecodeError` for bytes that are none.
        """
        return self.varint.scan(data, pos)

    def begins_setup(self, data: bytes) -> bool:
        """Whether a stream that begins so has the other side's SETUP."""
        return self.request_streams and data[:1] == self.varint.encode(SETUP)[:1]

    def fetch_head(self, request: int) -> bytes:
        """What a stream begins with on which comes what was fetched."""
        return FETCHED + self.varint.encode(request)

    def subgroup_head(self, alias: int, group: int, priority: int, has_properties: bool) -> bytes:
        """What a stream that we open begins with: subgroup 0, which ends its group; each object
        says its properties where it ``has_properties``; ``priority`` is 0 to 255, the lower is sent
        first."""
        return self.heads.encode(alias, group, priority, has_properties)

    def scan_subgroup_head(self, data: bytes | bytearray) -> tuple[SubgroupHead, int] | None:
        """What a stream of objects begins with and the position after it, ``None`` while it is
        incomplete. Raises `DecodeError` for a stream of another type, as those of fetches are."""
        return self.heads.scan(data)


DRAFT_22 = Draft(
    number=22,
    version=0xFF000016,
    name="moq-transport-22",
    identifiers=("moqt-22",),
    request_streams=True,
    half_closes=True,
    namespace_streams=True,
    timestamps=True,
    answers_updates=True,
    missing=0x10,
    varint=LEADING,
    heads=Heads(LEADING, may_omit_priority=True, marks_start=True),
    codecs=compiled(22),
)


def _earlier(later: Draft, **facts: Any) -> Draft:
    """The draft before ``later``, whose messages are its own and whose facts differ in these."""
    number = later.number - 1
    own: dict[str, Any] = {
        "number": number,
        "version": 0xFF000000 | number,
        "name": f"moq-transport-{number}",
        "identifiers": (f"moqt-{number}",),
        "codecs": compiled(number),
    }
    return replace(later, **(own | facts))


DRAFT_21 = _earlier(DRAFT_22)

DRAFT_20 = _earlier(DRAFT_21)

DRAFT_19 = _earlier(DRAFT_20, ok_forwards=True, ends_with_last=True)

DRAFT_18 = _earlier(DRAFT_19, half_closes=False)

DRAFT_17 = _earlier(
    DRAFT_18,
    varint=LEADING_17,
    heads=Heads(LEADING_17, may_omit_priority=True, marks_start=False),
    fetched=Fetched(counts_groups=False),
)

DRAFT_16 = _earlier(
    DRAFT_17,
    request_streams=False,
    timestamps=False,
    varint=QUIC,
    heads=Heads(QUIC, may_omit_priority=True, marks_start=False),
    fetched=Fetched(counts_groups=False, joins_paused=True),
)

DRAFT_15 = _earlier(
    DRAFT_16,
    namespace_streams=False,
    property_steps=False,
    fetched=Fetched(counts_groups=False, has_status=True, joins_paused=True, says_unknown=False),
)

DRAFT_14 = _earlier(
    DRAFT_15,
    # moq-00 is what clients say; moxygen says the other one too.
    identifiers=("moq-00", "moqt-14"),
    answers_updates=False,
    missing=0x04,
    heads=Heads(QUIC, may_omit_priority=False, marks_start=False),
    fetched=Fetched(
        has_flags=False,
        counts_groups=False,
        has_status=True,
        out_of_range=0x05,
        not_joined=0x07,
        joins_paused=True,
        nothing=0x06,
        says_unknown=False,
    ),
)

DRAFTS: tuple[Draft, ...] = (
    DRAFT_22,
    DRAFT_21,
    DRAFT_20,
    DRAFT_19,
    DRAFT_18,
    DRAFT_17,
    DRAFT_16,
    DRAFT_15,
    DRAFT_14,
)
"""All drafts that are spoken, newest first."""

_BY_IDENTIFIER = {each: draft for draft in DRAFTS for each in draft.identifiers}


def by_identifier(identifier: str) -> Draft:
    """The draft that an identifier fixes. Raises `KeyError` for others."""
    return _BY_IDENTIFIER[identifier]
