"""The closed list of refusals and what may be quoted in them."""

from __future__ import annotations

import pytest

from relay.auth.reason import MAX_QUOTED, PLACES, Reason, Refusal, Step, Trail, quoted
from relay.errors import Refused


@pytest.mark.parametrize("code", list(PLACES))
def test_every_code_has_a_step_and_a_status(code: str) -> None:
    refusal = Refusal(code, "text", "hint")
    assert isinstance(refusal, Refused)
    assert refusal.reason == Reason(code, "text", "hint")
    assert refusal.status in (400, 401, 403, 414, 431, 503)
    assert refusal.step


def test_no_other_code() -> None:
    with pytest.raises(KeyError):
        Refusal("whatever", "text")


def test_trail() -> None:
    trail = Trail()
    trail.note("form", "fine")
    trail.note("time", "odd", warning=True)
    trail.refuse(Refusal("root_mismatch", "elsewhere"))
    assert trail.steps == [
        Step("form", True, "fine"),
        Step("time", True, "odd", True),
        Step("reach", False, "elsewhere"),
    ]


def test_quoted() -> None:
    assert quoted("demo") == "'demo'"
    assert quoted("café") == "'café'"
    assert quoted("a\nb\x1b[31m\u202e") == r"'a\nb\x1b[31m\u202e'"
    assert quoted("\ud800") == r"'\ud800'"
    assert quoted("x" * 500) == "'" + "x" * (MAX_QUOTED - 1) + "…'"
