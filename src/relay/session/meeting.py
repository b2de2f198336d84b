"""What each kind of stream is met with when the peer opens one.

This module must not know what is said on any of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.session.announcing import Announcer
from relay.session.arriving import GoawayArrival, GroupArrival, ProbeAnswer
from relay.session.fetching import FetchAnswer
from relay.session.flow import Flow, turn_away
from relay.session.opening import SetupAnswer, SetupArrival
from relay.session.subscribing import Publication, TrackAnswer
from relay.session.transport import is_uni
from relay.wire.messages import Bidi, Uni

if TYPE_CHECKING:
    from relay.session.lite import LiteSession

ANSWERS: dict[int, type[Flow]] = {
    Bidi.ANNOUNCE: Announcer,
    Bidi.SUBSCRIBE: Publication,
    Bidi.TRACK: TrackAnswer,
    Bidi.FETCH: FetchAnswer,
    Bidi.PROBE: ProbeAnswer,
    Bidi.GOAWAY: GoawayArrival,
}
"""What the peer may open towards us, where its version has it."""


def meet(session: LiteSession, stream: int, kind: int, in_use: int) -> Flow | None:
    """Who handles a new stream, one of ``in_use`` like it; ``None`` when nobody does."""
    if in_use > session.settings.max_requests:
        turn_away(session, "max_requests")
        return None
    if is_uni(stream):
        return _meet_uni(session, stream, kind)
    if session.agreed is None:
        return SetupAnswer(session, stream) if kind == Bidi.CLIENT_SETUP else None
    return ANSWERS[kind](session, stream) if kind in session.dialect.bidi else None


def _meet_uni(session: LiteSession, stream: int, kind: int) -> Flow | None:
    if kind == Uni.GROUP and session.agreed is not None:
        return GroupArrival(session, stream)
    if kind == Uni.SETUP and session.agreed is not None and session.agreed.setup_stream:
        return SetupArrival(session, stream)
    return None
