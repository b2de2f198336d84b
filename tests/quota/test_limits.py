"""What holds for a tenant: for all, then the file's word on it, then what was said since."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from relay.quota.limits import Limits, Override, Quota, QuotaSettings


def test_each_word_comes_before_the_more_general_one() -> None:
    settings = QuotaSettings(
        sessions=5, tracks=7, tenants={"plant": Override(sessions=50, tracks=0)}
    )
    limits = Limits(settings, {"plant": Override(sessions=1), "other": Override(tracks=3)})
    assert limits.of("nobody") == Quota(sessions=5, tracks=7)
    assert limits.of("plant") == Quota(sessions=1, tracks=0)
    assert limits.of("other") == Quota(sessions=5, tracks=3)
    assert list(limits) == ["other", "plant"]


@pytest.mark.parametrize("value", [-1, 2**53 + 1, 1.5, True, "-3", "x", ""])
def test_a_limit_is_a_number(value: object) -> None:
    with pytest.raises(ValidationError):
        Quota(sessions=value)  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        Override(sessions=value)  # type: ignore[arg-type]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValidationError):
        Override(sesions=1)  # type: ignore[call-arg]
