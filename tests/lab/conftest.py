"""Fixtures of the lab's tests: a network that is gone when the test is over.

Where there can be no network namespaces the tests are skipped and say why, except in CI, where
nothing may be missing.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

import absent

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from fleet import Fleet  # noqa: E402
from netlab import Lab, clock, missing  # noqa: E402

FIGURES = HERE.parents[1] / "build" / "lab"

_fleets: list[Fleet] = []


@pytest.fixture
def networks() -> None:
    """This machine can have labs."""
    if (what := missing()) is not None:
        absent.missing(what)


@pytest.fixture
def faketime() -> None:
    """This machine can have clocks that are wrong."""
    if clock.library() is None:
        absent.missing("libfaketime")


@pytest.fixture
def lab(networks: None) -> Iterator[Lab]:
    """A lab for one test."""
    with Lab(seed=7) as made:
        yield made


@pytest.fixture
def fleet(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """Relays in that lab; a test that fails shows what each had to say."""
    # Who stood still for two seconds must not have been silent until a relay gave up (`IDLE`).
    monkeypatch.setattr("relay.client.KEEP_ALIVE", 1.0)
    with Fleet(lab, tmp_path) as made:
        _fleets.append(made)
        try:
            yield made
        finally:
            _fleets.remove(made)


@pytest.fixture
def figures(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Iterator[dict[str, Any]]:
    """What a test measured: properties of its report, and a file below ``build/lab``."""
    made: dict[str, Any] = {}
    yield made
    for name, value in made.items():
        made[name] = round(value, 4) if isinstance(value, float) else value
        record_property(name, made[name])
    FIGURES.mkdir(parents=True, exist_ok=True)
    title = re.sub(r"\W+", "-", request.node.name).strip("-")
    (FIGURES / f"{title}.json").write_text(json.dumps(made, indent=1) + "\n")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failing test shows what its relays had to say."""
    report = yield
    if report.failed and HERE in item.path.parents:
        for made in _fleets:
            report.sections += [(f"end of {name}", text) for name, text in made.logs().items()]
    return report
