"""Breaches: all counted, few told."""

from __future__ import annotations

import relay.quota.breach
from relay.quota.breach import BREACH_SECONDS, Breach, Breaches


def test_the_first_is_told_at_once_and_the_rest_together() -> None:
    breaches = Breaches()
    assert breaches.hit("a", "tracks", 3, 0.0) == Breach("a", "tracks", 3, 1)
    assert [breaches.hit("a", "tracks", 3, 0.1) for _ in range(99)] == [None] * 99
    assert breaches.hit("b", "tracks", 9, 0.1) == Breach("b", "tracks", 9, 1)
    assert list(breaches.due(BREACH_SECONDS - 0.1)) == []
    assert list(breaches.due(BREACH_SECONDS)) == [Breach("a", "tracks", 3, 99)]
    assert list(breaches.due(2 * BREACH_SECONDS + 0.2)) == []
    assert breaches.hit("a", "tracks", 3, 99.0) == Breach("a", "tracks", 3, 1)
    assert breaches.counts == {"tracks": 102}


def test_what_is_watched_has_a_ceiling(monkeypatch) -> None:
    monkeypatch.setattr(relay.quota.breach, "MAX_KINDS", 2)
    breaches = Breaches()
    told = [breaches.hit(str(n), "tracks", 1, 0.0) for n in range(5)]
    assert [breach is not None for breach in told] == [True, True, False, False, False]
    assert breaches.counts == {"tracks": 5}
