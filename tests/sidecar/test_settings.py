"""What the operator may say about deciding for others."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from relay.sidecar.settings import SidecarSettings


def test_renewal_needs_an_end():
    with pytest.raises(ValidationError, match="expected expires beside revalidate"):
        SidecarSettings(revalidate=60)
    assert SidecarSettings(revalidate=60, expires=3600).revalidate == 60


def test_a_certificate_needs_its_key():
    with pytest.raises(ValidationError, match="cert and key"):
        SidecarSettings(cert="cert.pem")


@pytest.mark.parametrize(
    "wrong", [{"expires": 0}, {"expires": 2**40}, {"max_body": 1}, {"request_timeout": 0}, {"x": 1}]
)
def test_ceilings(wrong):
    with pytest.raises(ValidationError):
        SidecarSettings(**wrong)
