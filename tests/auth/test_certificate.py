"""What the bearer of a certificate is called."""

from __future__ import annotations

from relay.auth.certificate import Certificate


def test_the_first_alternative_name_goes_before_the_subject() -> None:
    plain = Certificate("f" * 64, 0.0, "CN=plant")
    named = Certificate("f" * 64, 0.0, "CN=plant", ("plant.example.com", "10.0.0.1"))
    assert (plain.name, named.name) == ("CN=plant", "plant.example.com")


def test_what_a_rule_may_name_is_told_as_rules_have_it() -> None:
    names = tuple(f"n{number}" for number in range(9))
    told = Certificate("ab" * 32, 0.0, "CN=plant", names, "CN=ca,C=DE").traits
    assert told == (
        f"san 'n0', san 'n1', san 'n2', san 'n3', fingerprint '{'ab' * 32}', issuer 'CN=ca,C=DE'"
    )
    assert Certificate("", 0.0).traits == ""
