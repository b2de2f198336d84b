"""What the operator may say about publishing by HTTP."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from relay.ingest.settings import IngestSettings


@pytest.mark.parametrize(
    "tracks",
    [
        {"a/t": {"encrypt": {"mail": "pii"}}},
        {"a/t": {"encrypt": {"/mail": "p:i"}}},
        {"a/t": {"encrypt": {"/mail": ""}}},
        {"a/t": {"schem": "x.json"}},
        {"t": {}},
        {"a/**/b/t": {}},
        {"a/*/t/v1": {"schema": "x.json"}, "a/*:t/v1": {}},
    ],
)
def test_what_cannot_be_obeyed_is_refused(tracks):
    with pytest.raises(ValidationError):
        IngestSettings.model_validate({"tracks": tracks})


@pytest.mark.parametrize("name", ["max_broadcasts", "max_tracks", "max_kept_bytes", "linger"])
def test_no_limit_is_nothing(name):
    with pytest.raises(ValidationError):
        IngestSettings.model_validate({name: 0})


def test_a_track_goes_by_its_rules():
    rules = {"schema": "s.json", "dead_letters": True, "encrypt": {"/a~1b/0": "k"}}
    said = IngestSettings.model_validate({"tracks": {"plant/*:t": rules}})
    assert said.tracks["plant/*:t"].schema_file.name == "s.json"
