"""Counters of the decision service."""

from relay.sidecar.tally import Tally


def test_what_was_decided_is_counted():
    tally = Tally()
    tally.count("connect", "allow")
    tally.refuse("connect", "expired")
    tally.refuse("lookup", "expired")
    text = tally.text().decode()
    assert 'relay_sidecar_decisions_total{asked="connect",outcome="allow"} 1.0' in text
    assert 'relay_sidecar_decisions_total{asked="lookup",outcome="deny"} 1.0' in text
    assert 'relay_sidecar_refused_total{reason="expired"} 2.0' in text
