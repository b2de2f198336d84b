"""The document of the counter: it says what the table says, no more and no less."""

from __future__ import annotations

import inspect
import json
from typing import Any

from relay.control.admin.counter import OPERATIONS, Counter
from relay.control.admin.openapi import document
from relay.control.admin.shape import MEANT


def references(said: Any) -> set[str]:
    if isinstance(said, dict):
        own = {said["$ref"]} if isinstance(said.get("$ref"), str) else set()
        return own.union(*map(references, said.values()))
    return set().union(*map(references, said)) if isinstance(said, list) else set()


def test_every_operation_is_described_once() -> None:
    described = {
        (method.upper(), place)
        for place, methods in document()["paths"].items()
        for method in methods
    }
    assert described == {(each.method, each.place) for each in OPERATIONS}
    assert len(described) == len(OPERATIONS)


def test_everything_the_relay_can_be_asked_has_a_place() -> None:
    methods = {name for name, _ in inspect.getmembers(Counter, inspect.isfunction)}
    offered = {name for name in methods if not name.startswith("_")}
    assert offered == {each.name for each in OPERATIONS}


def test_every_reference_leads_somewhere() -> None:
    schemas = document()["components"]["schemas"]
    for reference in references(document()):
        assert reference.rpartition("/")[2] in schemas


def test_members_of_the_path_are_not_in_the_body() -> None:
    kick = document()["components"]["schemas"]["Kick"]
    assert set(kick["properties"]) == {"reason"}
    parameters = document()["paths"]["/sessions/{id}/kick"]["post"]["parameters"]
    assert [(each["name"], each["in"], each["required"]) for each in parameters] == [
        ("id", "path", True)
    ]


def test_every_pattern_is_told_in_words() -> None:
    """Whoever writes something else is told what was expected, and no regular expression."""

    def patterns(said: Any) -> set[str]:
        inner = list(said.values()) if isinstance(said, dict) else said
        if not isinstance(inner, list):
            return set()
        own = {said["pattern"]} if isinstance(said, dict) and "pattern" in said else set()
        return own.union(*map(patterns, inner))

    asked = set().union(*(patterns(each.asked.model_json_schema()) for each in OPERATIONS))
    assert asked == set(MEANT)


def test_it_is_json() -> None:
    assert json.loads(json.dumps(document()))["openapi"] == "3.1.0"
