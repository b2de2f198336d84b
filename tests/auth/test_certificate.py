"""What the bearer of a certificate is called."""

from __future__ import annotations

from relay.auth.certificate import Certificate


def test_the_first_alternative_name_goes_before_the_subject() -> None:
    plain = Certificate("f" * 64, 0.0, "CN=plant")
    named = Certificate("f" * 64, 0.0, "CN=plant", ("plant.example.com", "10.0.0.1"))
    assert (plain.name, named.name) == ("CN=plant", "plant.example.com")
