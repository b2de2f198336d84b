"""Numbers of refusals and of ends, between moq-transport and the house.

Streams are broken off with the numbers that moq-lite-06 took over (`relay.wire.codes.REGISTERED`),
sessions end with the house's own; what is here is said in messages. This module must not know why
anything is refused.
"""

from __future__ import annotations

from relay.errors import (
    Cancelled,
    Dropped,
    Expired,
    Forbidden,
    NotFound,
    OverQuota,
    RelayError,
    Unroutable,
)

INTERNAL, UNAUTHORIZED, TIMEOUT, NOT_SUPPORTED = 0, 1, 2, 3
"""Of errors that answer a request, in all drafts (moq-transport-14, 13.1.3; -16, 14.4.4)."""

TRACK_ENDED, SUBSCRIPTION_ENDED = 2, 3
"""Of PUBLISH_DONE where nothing went wrong (moq-transport-14, 13.1.4)."""

_DONE_UNAUTHORIZED = 1

FINE = frozenset((TRACK_ENDED, SUBSCRIPTION_ENDED, 200))
"""Of PUBLISH_DONE after which nothing is missing; 200 is what moq-dev's stack says."""

_MISSING = frozenset((4, 16, 404))
"""What may say of a track that there is none: -14, -15 and later, moq-dev's stack."""

_WORDS = {
    Cancelled.code: "cancelled",
    Expired.code: "it was not there in time",
    NotFound.code: "no such track",
    Unroutable.code: "no such broadcast",
    Forbidden.code: "not permitted",
    Dropped.code: "the publisher is gone",
    OverQuota.code: "over quota",
}

_NUMBERS = {Forbidden.code: UNAUTHORIZED, Expired.code: TIMEOUT}
"""Of refusals, where they are not `INTERNAL`."""


def refusal(code: int, missing: int) -> tuple[int, str]:
    """The number and the words that answer a request which the house breaks off with ``code``;
    ``missing`` is the draft's number for what does not exist."""
    words = _WORDS.get(code, f"code {code}")
    if code in (NotFound.code, Unroutable.code):
        return missing, words
    return _NUMBERS.get(code, INTERNAL), words


def refused(code: int) -> int:
    """The house's number for an error that answers a request of ours."""
    if code in _MISSING:
        return NotFound.code
    return Forbidden.code if code == UNAUTHORIZED else RelayError.code


def end(code: int) -> tuple[int, str]:
    """The number and the words of a PUBLISH_DONE for a subscription that the house breaks off."""
    number = _DONE_UNAUTHORIZED if code == Forbidden.code else INTERNAL
    return number, _WORDS.get(code, f"code {code}")
