"""A body read into records, and what becomes of each."""

from __future__ import annotations

import itertools
import json
import re
import tempfile
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, _keywords

from relay.errors import BadRequest, ConfigError, TooLarge, Unavailable
from relay.ingest import records
from relay.ingest.records import STEPS, TakesLong, bounded, load_schema, prepare, split

UNIQUE = {"properties": {"c": {"uniqueItems": True}}}
VALUES = st.recursive(
    st.none() | st.booleans() | st.sampled_from([0, 1, 0.0, -0.0, 1.0, 1.5, "", "1", 2**70]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=4,
)
KEYS = {"pii": {1: b"k" * 32}}
SCHEMA = {"type": "object", "required": ["c"], "properties": {"c": {"type": "number"}}}
DRAFTS = ["draft-03/", "draft-04/", "draft-06/", "draft-07/", "draft/2019-09/", "draft/2020-12/"]


def named(draft):
    return f"http{'s' if '20' in draft else ''}://json-schema.org/{draft}schema"


@pytest.fixture
def schema(tmp_path):
    def make(value):
        file = tmp_path / "schema.json"
        file.write_text(value if isinstance(value, str) else json.dumps(value))
        return load_schema(file)

    return make


def test_an_object_is_one_record_and_an_array_many():
    assert split(b'{"a":1}', 1) == ([{"a": 1}], False)
    assert split(b'[{"a":1},2]', 2) == ([{"a": 1}, 2], True)
    with pytest.raises(TooLarge, match=r"max_records"):
        split(b"[1,2,3]", 2)


@given(st.binary(max_size=64) | st.text(max_size=64).map(str.encode))
def test_any_body_is_records_or_a_bad_request(body):
    try:
        records, many = split(body, 10)
    except (BadRequest, TooLarge):
        return
    assert many or isinstance(records[0], dict)
    assert records


def test_a_record_is_checked_before_it_is_encrypted(schema):
    good = prepare({"c": 1, "mail": "m"}, schema(SCHEMA), {"/mail": "pii"}, KEYS, "plant", 2.0)
    assert good.error is None
    assert json.loads(good.payload)["mail"].startswith("kid:pii:v1:")
    assert b" " not in good.payload


@pytest.mark.parametrize(
    ("record", "error"),
    [
        ({"mail": "m"}, "$: does not fit required of the schema ('c' is a required property)"),
        ({"c": "secret", "mail": "m"}, "$.c: does not fit type of the schema"),
        (["m"], "not a JSON object"),
    ],
)
def test_what_does_not_fit_is_a_letter_with_nothing_in_the_clear(schema, record, error):
    ready = prepare(record, schema(SCHEMA), {"/mail": "pii"}, KEYS, "plant", 2.0)
    letter = json.loads(ready.payload)
    assert (ready.error, letter["error"], letter["timestamp"]) == (error, error, 2000)
    kept = letter["record"]
    assert kept is None or kept["mail"].startswith("kid:pii:")


@pytest.mark.parametrize(
    ("pointer", "user", "place"),
    [
        ("/user", {"anna@a.example": "x"}, "$.user"),
        ("/user/mail", {"anna@a.example": "x"}, "$.user['anna@a.example']"),
        ("/user/mail", [{"anna@a.example": "x"}], "$.user"),
        ("/user/mail", {"mail": {"anna@a.example": "x"}}, "$.user.mail"),
        ("/user/0", [{"anna@a.example": "x"}, 1], "$.user[0]"),
    ],
)
def test_what_is_said_of_a_record_names_nothing_within_an_encrypted_field(
    schema, pointer, user, place
):
    deep = {"anyOf": [{"type": "number"}, {"type": "array"}, {"type": "object"}]}
    deep |= {"items": {"$ref": "#/$defs/deep"}, "additionalProperties": {"$ref": "#/$defs/deep"}}
    found = schema({"$defs": {"deep": deep}, "properties": {"user": {"$ref": "#/$defs/deep"}}})
    ready = prepare({"user": user}, found, {pointer: "pii"}, KEYS, "plant", 2.0)
    assert ready.error == f"{place}: does not fit anyOf of the schema"


@pytest.mark.parametrize("part", [{"required": ["vat"]}, {"dependentRequired": {"mail": ["vat"]}}])
@pytest.mark.parametrize("pointer", ["/user", "/user/mail"])
def test_what_is_missing_within_an_encrypted_field_stays_within_it(schema, part, pointer):
    found = schema({"properties": {"user": part}})
    said = prepare({"user": {"mail": "m"}}, found, {pointer: "pii"}, KEYS, "plant", 2.0).error
    assert said.startswith(f"$.user: does not fit {next(iter(part))} of the schema")
    assert ("vat" in said) == (pointer == "/user/mail")


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (False, "$: does not fit false of the schema"),
        (
            {
                "$schema": "http://json-schema.org/draft-03/schema#",
                "properties": {"d": {"required": True}},
            },
            "$.d: does not fit required of the schema ('d' is a required property)",
        ),
    ],
)
def test_what_is_said_of_a_record_is_said_of_what_it_has_not(schema, part, said):
    assert prepare({"c": 1}, schema(part), {}, KEYS, "plant", 2.0).error == said


def test_without_its_key_a_record_is_not_made():
    with pytest.raises(Unavailable):
        prepare({"mail": "m"}, None, {"/mail": "none"}, KEYS, "plant", 2.0)


@pytest.mark.parametrize(
    ("named", "part"),
    [
        ("http://127.0.0.1:9/x.json", {"$ref": "http://127.0.0.1:9/x.json"}),
        ("schema.json", {"properties": {"c": {"$ref": "schema.json"}}}),
        ("#/$defs/y", {"anyOf": [{"$ref": "#/$defs/y"}], "$defs": {"x": {}}}),
    ],
)
def test_nothing_is_fetched_because_a_schema_names_it(schema, named, part):
    """No record could be checked: the start is the time to say so."""
    with pytest.raises(ConfigError, match=re.escape(f"$ref '{named}' is not in this file")):
        schema(part)


@pytest.mark.parametrize(
    "part",
    [
        {"properties": {"c": {"$ref": "#/$defs/y"}}, "$defs": {"y": {"type": "number"}}},
        {"$id": "https://a.example/x", "$ref": "y", "$defs": {"y": {"$id": "y"}}},
        {"$ref": "https://json-schema.org/draft/2020-12/schema"},
        {"properties": {"c": {"enum": [{"$ref": "no reference"}, 1]}, "$ref": {}}},
        True,
    ],
)
def test_what_a_schema_has_within_itself_is_followed(schema, part):
    assert prepare({"c": 1}, schema(part), {}, KEYS, "plant", 2.0).error is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ('{"multipleOf": 1e400}', "a number that is too large"),
        ('{"multipleOf": NaN}', "not JSON"),
        ({"type": 7}, "no JSON Schema"),
        ("5", "no JSON Schema"),
        ("null", "no JSON Schema"),
        ({"x": 5, "$ref": "#/x"}, "no JSON Schema"),
        ({"x": {"pattern": "("}, "properties": {"c": {"$ref": "#/x"}}}, "no JSON Schema"),
        ({"$schema": named("draft-04/"), "patternProperties": {"(": {}}}, "missing \\)"),
        ({"properties": {"c": {"pattern": "^(?=.*x)y"}}}, "'.*' is not one of RE2: .*operator"),
        ({"x": {"patternProperties": {r"(a)\1": {}}}, "$ref": "#/x"}, "not one of RE2: .*escape"),
        ({"x": {"y": {"$ref": "#/z"}, "$ref": "#/x/y"}, "$ref": "#/x"}, "'#/z' is not in this"),
        ({"allOf": [{}], "$ref": "#/allOf/first"}, "'#/allOf/first' is not in this file"),
        ({"$schema": named("draft-03/"), "extends": {"type": "object"}}, "cannot be followed"),
        ({"$schema": named("draft-04/"), "id": "http://[", "items": {"id": "x"}}, "be followed"),
        ({"$schema": 5}, "5 is not known"),
        ({"$schema": []}, r"\[\] is not known"),
        ({"$schema": "https://json-schema.org/draft-07/schema#"}, "draft-07/schema#' is not known"),
    ],
)
def test_what_is_no_schema(schema, text, said):
    with pytest.raises(ConfigError, match=said):
        schema(text)


@pytest.mark.parametrize("draft", DRAFTS)
def test_every_draft_is_read_by_its_own_rules(schema, draft):
    found = schema({"$schema": named(draft), "$ref": named(draft)})
    assert prepare({"type": "object"}, found, {}, KEYS, "plant", 2.0).error is None
    assert prepare({"type": 7}, found, {}, KEYS, "plant", 2.0).error is not None


def test_what_an_older_draft_leaves_open_costs_the_record_and_not_the_answer(schema):
    found = schema({"$schema": "http://json-schema.org/draft-04/schema#", "$ref": 5})
    ready = prepare({"c": 1}, found, {}, KEYS, "plant", 2.0)
    assert ready.error == "the schema cannot be followed"


CATASTROPHE = "^(a+)+$"


@pytest.mark.parametrize("draft", DRAFTS)
@pytest.mark.parametrize(
    "words",
    [
        {"properties": {"c": {"pattern": CATASTROPHE}}},
        {"patternProperties": {CATASTROPHE: {}}},
        {"patternProperties": {CATASTROPHE: {}, "x": {}}, "additionalProperties": {}},
        {"patternProperties": {CATASTROPHE: {}}, "unevaluatedProperties": {}},
    ],
)
def test_no_pattern_takes_long(schema, draft, words):
    found = schema({"$schema": named(draft)} | words)
    text = "a" * 27 + "!"
    began = time.process_time()
    fits = prepare({"c": text, text: 1}, found, {}, KEYS, "plant", 2.0).error is None
    assert time.process_time() - began < 1.0
    assert fits == ("properties" not in words)
    assert prepare({"c": "aa", "aa": 1}, found, {}, KEYS, "plant", 2.0).error is None


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("b", "abc", True),
        (r"^\u00e9$", "é", True),
        (r"^\\u00e9$", r"\u00e9", True),
        (r"^[\u4e00-\u9fa5]+$", "中文", True),
        ("^x$", "x\n", False),
        (r"^\/\-\.$", "/-.", True),
        ("", "", True),
    ],
)
def test_patterns_mean_what_the_standard_says(schema, pattern, text, fits):
    found = schema({"properties": {"c": {"pattern": pattern}}})
    assert (prepare({"c": text}, found, {}, KEYS, "plant", 2.0).error is None) == fits


def test_a_schema_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        load_schema(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("number", "step", "fits"),
    [
        (19.99, 0.01, True),
        (19.995, 0.01, False),
        (1e-7, 1e-8, True),
        (4.0, 2, True),
        (1e308, 0.123456789, False),
        (10**400, 0.5, True),
        (10**4299 + 1, 2, False),
        ("19.995", 0.01, True),
        (True, 2, True),
    ],
)
def test_a_multiple_is_one_by_the_digits_that_were_written(schema, number, step, fits):
    found = schema({"properties": {"c": {"multipleOf": step}}})
    assert (prepare({"c": number}, found, {}, KEYS, "plant", 2.0).error is None) == fits


@pytest.mark.parametrize("draft", DRAFTS)
def test_digits_count_wherever_a_schema_says_which_draft_it_is_in(schema, draft):
    word = "divisibleBy" if "03" in draft else "multipleOf"
    parts = {"c": {word: 0.01}, "in": {"$ref": "#"}}
    found = schema({"$schema": named(draft), "properties": parts})
    assert prepare({"in": {"c": 19.99}}, found, {}, KEYS, "plant", 2.0).error is None
    told = prepare({"in": {"in": {"c": 19.995}}}, found, {}, KEYS, "plant", 2.0).error
    assert told == f"$.in.in.c: does not fit {word} of the schema"


def test_the_oldest_draft_knows_no_multiples(schema):
    found = schema({"$schema": named("draft-03/"), "properties": {"c": {"multipleOf": "x"}}})
    assert prepare({"c": 1}, found, {}, KEYS, "plant", 2.0).error is None


@given(st.lists(VALUES, max_size=4))
@example([[0, True], [False, True], [0, True]])  # the library itself compares neighbours only
def test_unique_means_that_no_two_are_the_same_to_the_library(items):
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "schema.json"
        file.write_text(json.dumps(UNIQUE))
        found = prepare({"c": items}, load_schema(file), {}, {}, "plant", 0.0)
    pairs = itertools.combinations(items, 2)
    same = any(Draft202012Validator({"const": one}).is_valid(other) for one, other in pairs)
    assert (found.error is None) == (not same)


@pytest.mark.parametrize("names", [{}, {"$schema": named("draft/2020-12/")}])
def test_many_items_are_compared_in_no_time(schema, names):
    found = schema({"properties": UNIQUE["properties"] | {"in": {"$ref": "#"}}} | names)
    record = {"in": {"c": [{"a": number * (2**61 - 1)} for number in range(20_000)]}}
    began = time.process_time()
    assert prepare(record, found, {}, KEYS, "plant", 0.0).error is None
    assert time.process_time() - began < 5.0


@pytest.mark.parametrize("draft", ["draft/2019-09/", "draft/2020-12/"])
def test_what_a_schema_leaves_over_is_sought_for_some_seconds_at_most(schema, draft):
    """The library looks for each item and each member among all of them."""
    left_over = {"contains": {"type": "number"}, "unevaluatedItems": False}
    members = {"patternProperties": {"^x": {}}, "unevaluatedProperties": False}
    found = schema({"$schema": named(draft), "properties": {"xx": left_over}} | members)

    def told(record):
        with bounded():
            return prepare(record, found, {}, KEYS, "plant", 0.0).error

    assert told({"xx": [1] * 1000} | {f"x{number}": 1 for number in range(1000)}) is None
    assert told({"y": 1}) == "$: does not fit unevaluatedProperties of the schema"
    began = time.process_time()
    assert told({f"x{number}": 1 for number in range(25_000)}) == "too much to check at a time"
    assert told({"xx": [1] * 25_000}) == "too much to check at a time"
    assert time.process_time() - began < 1.5


@pytest.mark.parametrize("draft", [*DRAFTS[1:], None])
def test_the_ways_through_a_schema_are_counted_for_a_body(schema, monkeypatch, draft):
    """Both are tried at each level: 2**50 of them."""
    monkeypatch.setattr(records, "MAX_REFERENCES", 1000)
    ways = [{"properties": {"in": {"$ref": "#"}}, "required": [word]} for word in ("and", "or")]
    names = {"$schema": named(draft)} if draft else {}
    found = schema({"oneOf": [{"required": ["leaf"]}, *ways]} | names)
    deep = {"leaf": 1}
    for _ in range(50):
        deep = {"in": deep, "and": 1, "or": 1}
    shallow = {"and": 1, "in": {"or": 1, "in": {"leaf": 1}}}

    def told(record):
        return prepare(json.loads(json.dumps(record)), found, {}, KEYS, "plant", 0.0).error

    with bounded():
        assert told(shallow) is None
        assert told(deep) == told(shallow) == "too much to check at a time"
    with bounded():
        assert told(shallow) is None


@pytest.mark.parametrize("draft", [*DRAFTS, None])
@pytest.mark.parametrize("items", [{"type": "number"}, {"enum": [1]}, {"allOf": [{}]}])
def test_who_is_waited_for_takes_few_steps(schema, draft, items):
    names = {"$schema": named(draft)} if draft else {}
    found = schema({"properties": {"c": {"items": items, "minItems": 1}}} | names)

    def told(record, at_once):
        with bounded(at_once):
            return prepare(record, found, {}, KEYS, "plant", 0.0).error

    long = {"c": [1] * (STEPS + 1)}
    assert told({"c": [1, 1]}, True) is None
    if draft != DRAFTS[0] or "allOf" not in items:  # which did not know it
        with pytest.raises(TakesLong):
            told(long, True)
    assert told(long, False) is None
    assert told({"c": [1]}, True) is None


@pytest.mark.parametrize("word", ["anyOf", "oneOf"])
def test_what_is_wrong_with_each_way_is_not_kept(schema, monkeypatch, word):
    """The library quotes at each level what is below it, once for each way that leads there."""
    monkeypatch.setattr(records, "MAX_REFERENCES", 2000)
    found = schema({"properties": {"in": {word: [{"$ref": "#"}] * 2}, "c": {"type": "number"}}})
    record = {"c": "x" * 20_000}
    for _ in range(40):
        record = {"in": record}
    tracemalloc.start()
    with bounded():
        told = prepare(record, found, {}, KEYS, "plant", 0.0).error
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert told == "too much to check at a time"
    assert peak < 5_000_000


def test_complaints_cost_by_their_length(schema, monkeypatch):
    monkeypatch.setattr(records, "MAX_REFERENCES", 500)
    found = schema({"properties": {"c": {"anyOf": [{"type": "number"}] * 100}}})

    def told(text):
        with bounded():
            return prepare({"c": text}, found, {}, KEYS, "plant", 0.0).error

    assert told("x" * 10_000) == "too much to check at a time"
    assert told("x" * 2_000) == "$.c: does not fit anyOf of the schema"


@pytest.mark.parametrize("draft", [*DRAFTS[1:], None])
@given(value=VALUES, picks=st.lists(st.integers(0, 5), min_size=1, max_size=4))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ways_mean_what_they_mean_to_the_library(schema, draft, value, picks):
    kinds = [{"type": "number"}, {"type": "array"}, {}, {"enum": [1]}, {"not": {}}, {"minItems": 2}]
    names = {"$schema": named(draft)} if draft else {}
    for word in ("anyOf", "oneOf"):
        said = {"properties": {"c": {word: [kinds[pick] for pick in picks]}}}
        found = prepare({"c": value}, schema(said | names), {}, {}, "plant", 0.0)
        plain = getattr(_keywords, word)
        ways = said["properties"]["c"][word]
        right = not list(plain(Draft202012Validator({}), ways, value, {}))
        assert (found.error is None) == right
