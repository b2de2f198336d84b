"""Asking a peer for fewer acknowledgements, and being asked (draft-ietf-quic-ack-frequency).

A relay's viewer that acknowledges every frame costs nearly as much as sending it does. Where a peer
offers the extension it is asked for one acknowledgement per quarter of the congestion window,
within a moment; with a small window, when every one of them lets more packets leave, for as many as
ever. The law: no packets and no clock here, only what is to be asked.
"""

from __future__ import annotations

from relay.wire.buffer import encode_varint

ACK_FREQUENCY, IMMEDIATE_ACK = 0xAF, 0x1F
"""Types of frames: an acknowledgement for how many packets is asked for, and one at once."""

_ACK_FREQUENCY = encode_varint(ACK_FREQUENCY)

PATIENCE = 0.08
"""Seconds that an acknowledgement may wait."""

_USUAL_PATIENCE = 0.025
_USUAL = 2
"""Without being asked a peer acknowledges every second packet (RFC 9000, 13.2.2)."""

SHARE = 4
"""Acknowledgements per congestion window."""

MOST = 60
"""Packets that one acknowledgement may be for."""

_WORTH = 8
"""Packets from which on it is worth asking."""

_OVERTAKEN = 3
"""Packets that may overtake one before the gap is told at once; from then on it counts as lost
(RFC 9002, 6.1.1)."""


class Asked:
    """What one peer asks of our acknowledgements."""

    __slots__ = ("_sequence", "every", "patience", "strays")

    def __init__(self, patience: float) -> None:
        self.every = _USUAL
        """Packets that are acknowledged without waiting for more."""
        self.strays = 1
        """What one of them counts for that comes out of its turn: from then on as many, so that
        what is missing is told at once."""
        self.patience = patience
        """Seconds that fewer wait."""
        self._sequence = -1

    def hear(self, sequence: int, threshold: int, delay: int) -> float:
        """It asks for one when more packets than the ``threshold`` have come, and after ``delay``
        microseconds. What it asked for before does not count, whichever arrives first. Answers how
        long fewer wait."""
        if sequence > self._sequence:
            self._sequence = sequence
            self.every = self.strays = min(threshold + 1, MOST)
            self.patience = min(delay / 1e6, PATIENCE)
        return self.patience


class AckRate:
    """What one peer offers, and what it was asked."""

    __slots__ = ("_is_offered", "_least", "_sequence", "asked")

    def __init__(self) -> None:
        self.asked = _USUAL
        """Packets per acknowledgement that were asked for last."""
        self._is_offered = False
        self._least = 0.0
        self._sequence = 0

    def offered(self, least: int) -> None:
        """The peer offers it, and waits for ``least`` microseconds at least."""
        self._is_offered = True
        self._least = least / 1e6

    def wish(self, window: int, size: int) -> int | None:
        """How many packets per acknowledgement to ask for, ``None`` when it is as it should be.

        ``window`` and ``size`` are the bytes of the congestion window and of a packet; a window
        that is wider than what is sent needs counts twice, as nothing waits for room in it.
        """
        if not self._is_offered or self._least > PATIENCE:
            return None
        wanted = min(window // (SHARE * size), MOST)
        if wanted < _WORTH:
            wanted = _USUAL
        return wanted if wanted >= 2 * self.asked or 2 * wanted <= self.asked else None

    def ask(self, packets: int) -> bytes:
        """The frame that asks for it."""
        self.asked = packets
        sequence, self._sequence = self._sequence, self._sequence + 1
        # The threshold is what may come without being acknowledged: the next packet causes it.
        numbers = sequence, packets - 1, round(self.patience * 1e6), _OVERTAKEN
        return _ACK_FREQUENCY + b"".join(map(encode_varint, numbers))

    def lost(self) -> None:
        """What was asked did not arrive, maybe: it will be asked again."""
        self.asked = _USUAL if self.asked != _USUAL else MOST

    @property
    def patience(self) -> float:
        """Seconds that an acknowledgement may wait, as asked last: never less than the peer offers,
        which is an error (the draft, 4)."""
        return max(_USUAL_PATIENCE, self._least) if self.asked == _USUAL else PATIENCE
