"""Congestion control by a model of the path: BBR, version 3 (draft-ietf-ccwg-bbr-06).

It learns how fast the path delivers and how long a round trip takes, paces what leaves at that rate
and keeps about what the path holds under way; a loss counts as far as it says that this was too
much. Sections of the draft stand beside what follows them. The law: no clock but what is told, and
never less than four packets under way. This module must not know packets.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from enum import Enum, auto
from math import inf

from aioquic.quic.congestion.base import register_congestion_control

from relay.net.delivery import Aggregation, Delivery, Packet, Ticket

NAME = "bbr"

LOSS_THRESH, BETA, HEADROOM = 0.02, 0.7, 0.15
"""Share of a round trip's bytes that may be lost while probing; what is left of a bound after a
round trip with losses; what others are left of a bound that loss has shown (2.8)."""

MIN_PIPE = 4
"""Packets that may always be under way (2.8)."""

MIN_RTT_FILTER, PROBE_RTT_INTERVAL, PROBE_RTT_DURATION = 10.0, 5.0, 0.2
"""Seconds (2.16)."""

_EXTRA_ACKED_FILTER = 10
"""Round trips (2.12)."""

_MARGIN = 0.99
"""Share of the rate at which packets are paced (5.6.2)."""

QUANTUM_TIME, QUANTUM_MOST = 0.001, 64 << 10
"""Seconds of the rate that leave at once, and bytes at most (5.6.3)."""

_STARTUP_LOSSES = 6
"""Gaps in one round trip with which Startup may end (5.3.1.3)."""

_PROBE_EVERY = 63
"""Round trips without a probe at most (5.3.3.8)."""


class Phase(Enum):
    """What it does at the moment (5.1)."""

    STARTUP = auto()
    DRAIN = auto()
    DOWN = auto()
    CRUISE = auto()
    REFILL = auto()
    UP = auto()
    PROBE_RTT = auto()


class Acks(Enum):
    """What acknowledgements tell of the last probe (2.14)."""

    INIT = auto()
    REFILLING = auto()
    STARTING = auto()
    FEEDBACK = auto()
    STOPPING = auto()


GAINS = {
    Phase.STARTUP: (2.77, 2.0),
    Phase.DRAIN: (0.5, 2.0),
    Phase.DOWN: (0.9, 2.0),
    Phase.CRUISE: (1.0, 2.0),
    Phase.REFILL: (1.0, 2.0),
    Phase.UP: (1.25, 2.25),
    Phase.PROBE_RTT: (1.0, 0.5),
}
"""The pace, as times the rate, and the window, as times what the path holds (5.6.1)."""

_CYCLE = frozenset((Phase.DOWN, Phase.CRUISE, Phase.REFILL, Phase.UP))
_PROBING = frozenset((Phase.STARTUP, Phase.REFILL, Phase.UP))


class Bbr(Delivery):
    """BBR for one connection."""

    def __init__(
        self, *, max_datagram_size: int, dice: Callable[[], float] = random.random
    ) -> None:
        """``dice`` throws a number from 0 to 1 (5.3.3.8); as of 5.2.1 for the rest."""
        super().__init__(max_datagram_size=max_datagram_size)
        self._dice = dice
        self._initial_window = self.congestion_window
        self.phase = Phase.STARTUP
        self.pacing_rate = 0.0
        """Bytes per second; 0.0 until the first round-trip time is known."""
        # The path's rate, in bytes per second, and its round trip, in seconds (5.5).
        self.max_bw = self.bw = 0.0
        self.bw_shortterm = inf
        self._bw_cycles = [0.0, 0.0]
        self.min_rtt = inf
        self._min_rtt_at = self._probe_rtt_at = 0.0
        self._probe_rtt_min = inf
        self._probe_rtt_expired = False
        self._probe_rtt_done_at: float | None = None
        self._probe_rtt_round_done = False
        self._updated_at: float | None = None
        # Bytes in flight: whole ones, as the window has, which must reach a bound to raise it.
        self.inflight_longterm: float = inf
        self.inflight_shortterm: float = inf
        self._prior_cwnd = 0
        self._aggregation = Aggregation()
        # Round trips, and what was lost in them.
        self.round_count = self._next_round = 0
        self._is_round_start = self._is_loss_round_start = False
        self._loss_round = self._gaps_before = 0
        self._is_loss_in_round = False
        self._bw_latest = self._inflight_latest = 0.0
        # Whether the pipe is full.
        self.is_full = False
        self._is_full_now = False
        self._full_bw = 0.0
        self._full_count = self._drain_round = 0
        # Probing.
        self._acks = Acks.INIT
        self._is_probe_sample = False
        self._up_acked = self._up_rounds = self._rounds_since_up = 0
        self._up_acked_per_inc: float = inf
        self._cycle_at = self._probe_wait = 0.0
        self._was_too_high = self._was_precautionary = False
        self._idle_restart = False
        # What a loss changed, should it turn out to be none (5.5.11).
        self._undo: tuple[float, float, float] | None = None
        self._undo_phase: Phase | None = None

    @property
    def bandwidth(self) -> float:
        """Bytes per second that the path carries, 0.0 while unknown."""
        return self.bw

    # What is told (5.2.2 to 5.2.5)

    def restarted(self, now: float) -> None:
        """After nothing was under way for want of data (5.4.1)."""
        self._idle_restart = True
        self._aggregation.begin(now)
        if self.phase in _CYCLE:
            self._pace(1.0)
        elif self.phase is Phase.PROBE_RTT:
            self._look_whether_probe_rtt_is_done(now)

    def update(self, now: float) -> None:
        """An acknowledgement has come (5.2.3)."""
        if self._updated_at is None or now < self._updated_at:
            # The first one; or the clock was set back, and all that was to happen has to wait anew.
            self._min_rtt_at = self._probe_rtt_at = self._cycle_at = now
            self._aggregation.begin(now)
            self._probe_rtt_done_at = now if self._probe_rtt_done_at is not None else None
        self._updated_at = now
        sample = self.sample
        self._is_loss_round_start = False
        self._bw_latest = max(self._bw_latest, sample.rate)
        self._inflight_latest = max(self._inflight_latest, sample.delivered)
        if sample.prior_delivered >= self._loss_round:
            self._loss_round = self.delivered
            self._is_loss_round_start = True
        self._heed_rate()
        had_loss = self._is_loss_in_round
        if self._is_loss_round_start:
            self._heed_losses()
        keep = _EXTRA_ACKED_FILTER if self.is_full else 1
        self._aggregation.add(
            sample.newly_acked, now, self.bw, self.congestion_window, self.round_count, keep
        )
        self._see_whether_full()
        if self.phase is Phase.STARTUP:
            if self._is_loss_round_start and had_loss:
                self._look_whether_startup_loses()
            if self.is_full:
                self.phase = Phase.DRAIN
                self._drain_round = self.round_count
        if self.phase is Phase.DRAIN and (
            self.bytes_in_flight <= self._inflight(self.bw)
            or self.round_count > self._drain_round + 3
        ):
            self._go_down(now)
        if self.is_full:
            self._advance(now)
        self._heed_round_trip(now)
        self._look_at_probe_rtt(now)
        if self._is_loss_round_start:
            self._bw_latest, self._inflight_latest = sample.rate, sample.delivered
            self._gaps_before = self.gaps
        self.bw = min(self.max_bw, self.bw_shortterm)
        if not self.pacing_rate and self.min_rtt < inf:
            self.pacing_rate = GAINS[Phase.STARTUP][0] * self._initial_window / self.min_rtt
        self._pace(GAINS[self.phase][0])
        self._set_window()

    def lose(self, packet: Packet, now: float) -> None:
        """A packet was lost (5.5.10.2)."""
        if not self._is_loss_in_round:
            self._loss_round = self.delivered
            self._save()
            self._is_loss_in_round = True
        if not self._is_probe_sample:
            return
        ticket: Ticket = packet.ticket
        lost, in_flight = self.lost - ticket.lost, ticket.in_flight
        if lost <= in_flight * LOSS_THRESH:
            return
        before = in_flight - packet.sent_bytes
        prefix = (LOSS_THRESH * before - (lost - packet.sent_bytes)) / (1 - LOSS_THRESH)
        self._was_too_high = True
        self._is_probe_sample = False
        if not ticket.is_app_limited:
            self.inflight_longterm = int(max(before + prefix, self._target() * BETA))
        if self.phase is Phase.UP:
            self._undo_phase = Phase.UP
            self._go_down(now)

    def on_persistent_congestion(self) -> None:
        """Nothing arrived for long (5.6.4.4; RFC 9002, 7.6)."""
        self._save()
        self.congestion_window = MIN_PIPE * self._max_datagram_size

    def unlost(self) -> None:
        """What counted as lost has arrived after all (5.5.11.2)."""
        if self._undo is None:
            return
        self.congestion_window = max(self.congestion_window, self._prior_cwnd)
        self._is_loss_in_round = False
        self._reset_full(0.0)
        bw, shortterm, longterm = self._undo
        self.bw_shortterm = max(self.bw_shortterm, bw)
        self.inflight_shortterm = max(self.inflight_shortterm, shortterm)
        self.inflight_longterm = max(self.inflight_longterm, longterm)
        phase, self._undo_phase = self._undo_phase, None
        if phase is Phase.STARTUP and self.phase is not Phase.STARTUP:
            self.is_full = False
            if self.phase is not Phase.PROBE_RTT:
                self.phase = Phase.STARTUP
        elif phase is Phase.UP and self.phase not in (Phase.UP, Phase.PROBE_RTT):
            self._refill()

    def _save(self) -> None:
        """Remember how it was before a loss (5.5.11.1)."""
        self._save_window()
        self._undo = self.bw_shortterm, self.inflight_shortterm, self.inflight_longterm
        self._undo_phase = None

    # The rate, and whether it still grows

    def _heed_rate(self) -> None:
        """Count round trips (5.5.1), and keep the highest rate of two cycles (5.5.3 to 5.5.6)."""
        sample = self.sample
        self._is_round_start = sample.prior_delivered >= self._next_round
        if self._is_round_start:
            self._next_round = self.delivered
            self.round_count += 1
            self._rounds_since_up += 1
        if sample.rate > 0.0 and (sample.rate >= self.max_bw or not sample.is_app_limited):
            self._bw_cycles[1] = max(self._bw_cycles[1], sample.rate)
            self.max_bw = max(self._bw_cycles)

    def _heed_losses(self) -> None:
        """After each round trip with losses, unless it probes: be more modest (5.5.10.3)."""
        if self._is_loss_in_round and self.phase not in _PROBING:
            if self.bw_shortterm == inf:
                self.bw_shortterm = self.max_bw
            if self.inflight_shortterm == inf:
                self.inflight_shortterm = self.congestion_window
            self.bw_shortterm = max(self._bw_latest, BETA * self.bw_shortterm)
            self.inflight_shortterm = max(self._inflight_latest, BETA * self.inflight_shortterm)
        self._is_loss_in_round = False

    def _reset_full(self, rate: float) -> None:
        self._full_bw, self._full_count, self._is_full_now = rate, 0, False

    def _see_whether_full(self) -> None:
        """Three round trips in which the rate hardly grew: the pipe is full (5.3.1.2)."""
        sample = self.sample
        if self._is_full_now or not self._is_round_start or sample.is_app_limited:
            return
        if sample.rate >= self._full_bw * 1.25:
            self._reset_full(sample.rate)
            return
        self._full_count += 1
        self._is_full_now = self._full_count >= 3
        self.is_full = self.is_full or self._is_full_now

    def _look_whether_startup_loses(self) -> None:
        """So much was lost in a round trip that the pipe must be full (5.3.1.3)."""
        sample, gaps = self.sample, self.gaps - self._gaps_before
        if gaps >= _STARTUP_LOSSES and sample.lost > sample.in_flight * LOSS_THRESH:
            self._undo_phase = Phase.STARTUP
            self.is_full = True
            self.inflight_longterm = int(max(self._held(self.bw, 1.0), self._inflight_latest))

    # Probing for more (5.3.3.9)

    def _advance(self, now: float) -> None:
        """Go through the phases of a cycle."""
        if self._adapt() or self.phase not in _CYCLE:
            return
        phase = self.phase
        if phase is Phase.REFILL:
            if self._is_round_start:
                self._is_probe_sample = True
                self._go_up()
        elif phase is Phase.UP:
            if self._is_high_enough():
                self._was_too_high = False
                self._go_down(now)
        elif now > self._cycle_at + self._probe_wait or (
            self._rounds_since_up >= min(self._target() // self._max_datagram_size, _PROBE_EVERY)
        ):
            self._refill()
        elif phase is Phase.DOWN and self.bytes_in_flight <= min(
            self._with_headroom(), self._inflight(self.max_bw)
        ):
            self.phase = Phase.CRUISE

    def _adapt(self) -> bool:
        """Follow what acknowledgements tell of the last probe. Answers whether it is the next
        one's turn."""
        sample = self.sample
        if self._acks is Acks.STARTING and self._is_round_start:
            self._acks = Acks.FEEDBACK
        elif self._acks is Acks.STOPPING and self._is_round_start:
            self._is_probe_sample = False
            self._acks = Acks.INIT
            if self.phase in _CYCLE:
                if not sample.is_app_limited and self._bw_cycles[1]:
                    self._bw_cycles = [self._bw_cycles[1], 0.0]
                    self.max_bw = self._bw_cycles[0]
                if self._was_precautionary and not self._was_too_high:
                    self._refill()
                    return True
        if self.inflight_longterm < inf and sample.lost <= sample.in_flight * LOSS_THRESH:
            self.inflight_longterm = max(self.inflight_longterm, sample.in_flight)
            if self.phase is Phase.UP:
                self._raise_longterm()
        return False

    def _raise_longterm(self) -> None:
        """Allow more, ever faster, where that is what is in the way."""
        if not self.is_window_limited or self.congestion_window < self.inflight_longterm:
            return
        self._up_acked += self.sample.newly_acked
        if self._up_acked >= self._up_acked_per_inc:
            times = int(self._up_acked / self._up_acked_per_inc)
            self._up_acked -= int(times * self._up_acked_per_inc)
            self.inflight_longterm += times * self._max_datagram_size
        if self._is_round_start:
            self._raise_slope()

    def _raise_slope(self) -> None:
        growth = 1 << self._up_rounds
        self._up_rounds = min(self._up_rounds + 1, 30)
        self._up_acked_per_inc = max(self.congestion_window / growth, self._max_datagram_size)

    def _is_high_enough(self) -> bool:
        """Whether more would be too much, as the last probe showed (5.3.3.6), or does not get
        through faster."""
        if self._was_too_high and self.bytes_in_flight >= self.inflight_longterm:
            self._was_precautionary = True
            return True
        if self.is_window_limited and self.congestion_window >= self.inflight_longterm:
            self._reset_full(self.sample.rate)
            return False
        return self._is_full_now

    def _go_down(self, now: float) -> None:
        self._is_loss_in_round = False
        self._bw_latest = self._inflight_latest = 0.0
        self._up_acked_per_inc = inf
        self._rounds_since_up = int(self._dice() * 2)
        self._probe_wait = 2.0 + self._dice()
        self._cycle_at = now
        self._acks = Acks.STOPPING
        self._next_round = self.delivered
        self.phase = Phase.DOWN

    def _refill(self) -> None:
        self.bw_shortterm = self.inflight_shortterm = inf
        self._up_rounds = self._up_acked = 0
        self._was_precautionary = False
        self._acks = Acks.REFILLING
        self._next_round = self.delivered
        self.phase = Phase.REFILL

    def _go_up(self) -> None:
        self._acks = Acks.STARTING
        self._next_round = self.delivered
        self._reset_full(self.sample.rate)
        self.phase = Phase.UP
        self._raise_slope()

    # The round trip (5.3.4)

    def _heed_round_trip(self, now: float) -> None:
        """Keep the shortest of the last seconds."""
        self._probe_rtt_expired = now > self._probe_rtt_at + PROBE_RTT_INTERVAL
        rtt = self.sample.rtt
        if rtt >= 0.0 and (rtt < self._probe_rtt_min or self._probe_rtt_expired):
            self._probe_rtt_min, self._probe_rtt_at = rtt, now
        if self._probe_rtt_min < self.min_rtt or now > self._min_rtt_at + MIN_RTT_FILTER:
            self.min_rtt, self._min_rtt_at = max(self._probe_rtt_min, 1e-6), self._probe_rtt_at

    def _look_at_probe_rtt(self, now: float) -> None:
        """Every few seconds, unless it was idle, let queues drain to see how short it is."""
        if self.phase is not Phase.PROBE_RTT and self._probe_rtt_expired and not self._idle_restart:
            self._save_window()
            self.phase = Phase.PROBE_RTT
            self._probe_rtt_done_at = None
            self._acks = Acks.STOPPING
            self._next_round = self.delivered
        if self.phase is Phase.PROBE_RTT:
            self.limit_by_application()
            if self._probe_rtt_done_at is None:
                if self.bytes_in_flight <= self._probe_rtt_window():
                    self._probe_rtt_done_at = now + PROBE_RTT_DURATION
                    self._probe_rtt_round_done = False
                    self._next_round = self.delivered
            else:
                self._probe_rtt_round_done = self._probe_rtt_round_done or self._is_round_start
                if self._probe_rtt_round_done:
                    self._look_whether_probe_rtt_is_done(now)
        self._idle_restart = False

    def _look_whether_probe_rtt_is_done(self, now: float) -> None:
        if self._probe_rtt_done_at is None or now <= self._probe_rtt_done_at:
            return
        self._probe_rtt_at = now
        self.congestion_window = max(self.congestion_window, self._prior_cwnd)
        self.bw_shortterm = self.inflight_shortterm = inf
        if self.is_full:
            self._go_down(now)
            self.phase = Phase.CRUISE
        else:
            self.phase = Phase.STARTUP

    # How much may leave (5.6)

    def _pace(self, gain: float) -> None:
        rate = gain * self.bw * _MARGIN
        if rate > self.pacing_rate or (self.is_full and rate):
            self.pacing_rate = rate

    def _held(self, bw: float, gain: float) -> float:
        """Bytes that the path holds at this rate, times so many (5.6.4.2)."""
        return self._initial_window if self.min_rtt == inf else gain * bw * self.min_rtt

    def _with_budget(self, most: float) -> float:
        """No less than what leaves at once (5.5.8.2), or keeps acknowledgements coming."""
        size = self._max_datagram_size
        quantum = max(min(self.pacing_rate * QUANTUM_TIME, QUANTUM_MOST), 2 * size)
        most = max(most, quantum, MIN_PIPE * size)
        return most + 2 * size if self.phase is Phase.UP else most

    def _inflight(self, bw: float) -> float:
        return self._with_budget(self._held(bw, 1.0))

    def _target(self) -> float:
        return min(self._held(self.bw, 1.0), self.congestion_window)

    def _with_headroom(self) -> float:
        most, size = self.inflight_longterm, self._max_datagram_size
        return most if most == inf else max(most - max(size, HEADROOM * most), MIN_PIPE * size)

    def _probe_rtt_window(self) -> float:
        held = self._held(self.bw, GAINS[Phase.PROBE_RTT][1])
        return max(held, MIN_PIPE * self._max_datagram_size)

    def _save_window(self) -> None:
        prior = self._prior_cwnd if self.phase is Phase.PROBE_RTT else 0
        self._prior_cwnd = max(prior, self.congestion_window)

    def _set_window(self) -> None:
        """As much as the path holds, grown by what arrives, within bounds (5.6.4.6, 5.6.4.7)."""
        phase, window, newly = self.phase, self.congestion_window, self.sample.newly_acked
        most = self._with_budget(self._held(self.bw, GAINS[phase][1]) + self._aggregation.extra)
        if self.is_full:
            window = int(min(window + newly, most))
        elif window < most or self.delivered < self._initial_window:
            window += newly
        least = MIN_PIPE * self._max_datagram_size
        bound = inf
        if phase is Phase.PROBE_RTT:
            window = min(window, int(self._probe_rtt_window()))
            bound = self._with_headroom()
        elif phase in _CYCLE:
            bound = self._with_headroom() if phase is Phase.CRUISE else self.inflight_longterm
        bound = min(bound, self.inflight_shortterm)
        self.congestion_window = int(max(min(window, bound), least))


register_congestion_control(NAME, Bbr)
