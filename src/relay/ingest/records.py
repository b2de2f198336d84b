"""A body read into records, and each record checked and made ready for its track.

The law: a record is published as one compact JSON object or not at all, and what a schema refuses
can be kept beside the track. This module must not know broadcasts or who publishes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import (
    Draft3Validator,
    Draft4Validator,
    Draft6Validator,
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
    extend,
    validates,
    validator_for,
)
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012, specification_with

from relay.auth.compact import parse_value
from relay.errors import BadRequest, ConfigError, TooLarge
from relay.ingest.cipher import CipherKeys, encrypt
from relay.ingest.patterns import require_linear

MAX_DEPTH = 64
"""Objects and lists inside one another in a body."""

MAX_SAID = 300
"""Characters of a complaint about a record."""

MAX_REFERENCES = 50_000
"""References of schemas that are followed for the records of one body, some seconds' worth."""

SQUARE = 10_000
"""Comparisons that cost as much as following a reference, where the library looks for each item or
member of a record among all of them."""

LETTERS = 1000
"""Letters of a complaint that cost as much as following a reference: the library quotes all that
does not fit, for each way through a schema anew."""

STEPS = 1000
"""Words of schemas that are looked at for the records of one body where the loop waits for it: some
milliseconds' worth. A few bytes may have very many looked at."""

_left: ContextVar[Iterator[int]] = ContextVar("references left")
_steps: ContextVar[Iterator[int]] = ContextVar("words left")

_MISSING = ("required", "dependentRequired")
"""What a schema says of members that are not there."""


class TakesLong(Exception):
    """More than `STEPS`: to be done where nobody waits for it."""


class Ready(NamedTuple):
    """One record on its way."""

    payload: bytes
    """What the track gets, or the track of dead letters."""
    error: str | None
    """Why it does not fit; ``None`` = it fits."""


def split(body: bytes, max_records: int) -> tuple[list[Any], bool]:
    """The records of a body and whether it was an array.

    Raises `BadRequest` for what is neither an object nor an array, or has bad manners; `TooLarge`.
    """
    try:
        value = parse_value(body, MAX_DEPTH)
    except ValueError as error:
        raise BadRequest(f"the body is {error}") from None
    if isinstance(value, dict):
        return [value], False
    if not isinstance(value, list) or not value:
        raise BadRequest("the body is neither a JSON object nor an array of them")
    if len(value) > max_records:
        raise TooLarge(f"more than {max_records} records (ingest.max_records)")
    return value, True


def prepare(
    record: Any,
    schema: Validator | None,
    fields: Mapping[str, str],
    keys: CipherKeys,
    owner: str,
    now: float,
) -> Ready:
    """Check one record of ``owner``'s and encrypt its ``fields``; ``now`` is unix seconds.

    Raises `Unavailable` when a cipher key does not exist; see `bounded`.
    """
    error = _misfit(record, schema)
    if isinstance(record, dict):
        encrypt(record, fields, keys, owner)
    elif fields:
        record = None
    if error is None:
        return Ready(_dump(record), None)
    said = error if isinstance(error, str) else _complaint(error, record)
    return dead_letter(record, said, now)


def dead_letter(record: Any, error: str, now: float) -> Ready:
    """What did not fit, as it is kept: record, error, unix milliseconds."""
    letter = {"record": record, "error": error, "timestamp": int(now * 1000)}
    return Ready(_dump(letter), error)


@contextmanager
def bounded(at_once: bool = False) -> Iterator[None]:
    """All records that are prepared within may have `MAX_REFERENCES` followed together: where a
    schema has several ways on at each level, they double with each level of a record. ``at_once``
    they may have `STEPS` taken, and `TakesLong` is raised for more."""
    before = _left.set(iter(range(MAX_REFERENCES)))
    taken = _steps.set(iter(range(STEPS))) if at_once else None
    try:
        yield
    finally:
        _left.reset(before)
        if taken is not None:
            _steps.reset(taken)


def load_schema(file: Path) -> Validator:
    """The validator of a JSON Schema, which may refer to itself only. Raises `ConfigError`."""
    try:
        schema = json.loads(file.read_bytes())
        json.dumps(schema, allow_nan=False)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise ConfigError(f"{file}: not JSON, or with a number that is too large") from None
    try:
        kind = _dialect(schema)
        kind.check_schema(schema)
        _require_whole(schema, kind)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None
    except SchemaError as error:
        raise ConfigError(f"{file}: no JSON Schema: {error.message[:MAX_SAID]}") from None
    except RecursionError:
        raise ConfigError(f"{file}: too deep") from None
    except Exception as error:  # the library trips over what older drafts allow, or leave open
        raise ConfigError(f"{file}: cannot be followed: {str(error)[:MAX_SAID]}") from None
    # An empty registry: nothing is ever fetched because a schema names it.
    validator: Validator = kind(schema, registry=Registry())
    return validator


def _dialect(schema: Any) -> Any:
    """What a schema is read by. Raises `ConfigError` for what says that it is something else: by
    other rules than its own it would let through what it forbids."""
    named = schema.get("$schema") if isinstance(schema, dict) else None
    if named is None:
        return _NEWEST
    kind = validator_for(schema, None) if isinstance(named, str) else None  # type: ignore[arg-type]
    if kind is None:
        known = _NEWEST.META_SCHEMA["$id"]
        raise ConfigError(f"$schema {named!r:.{MAX_SAID}} is not known here, such as {known} is")
    return kind


def _require_whole(schema: Any, kind: Any) -> None:
    """Look at all that records are checked by, also where but a reference says that it is a schema.

    Raises `ConfigError`, `SchemaError`.
    """
    dialect = specification_with(kind.ID_OF(kind.META_SCHEMA), default=DRAFT202012)
    whole = dialect.create_resource(schema)
    waiting = [(whole, REGISTRY.resolver_with_root(whole))]
    known: set[int] = set()
    while waiting:
        parts = list(_parts(*waiting.pop()))
        known |= {id(contents) for contents, _ in parts}
        for contents, resolver in parts:
            require_linear(contents)
            for reference in _references(contents):
                try:
                    found = resolver.lookup(reference)
                except (Unresolvable, ValueError):  # the latter where it counts by a word
                    said = f"$ref {reference[:MAX_SAID]!r} is not in this file"
                    raise ConfigError(said) from None
                if id(found.contents) not in known:
                    kind.check_schema(found.contents)
                    known.add(id(found.contents))
                    waiting.append((dialect.create_resource(found.contents), found.resolver))


def _parts(whole: Resource[Any], resolver: Any) -> Iterator[tuple[Any, Any]]:
    """A schema and all within it that are known to be ones, each with what resolves there."""
    yield whole.contents, resolver
    for inner in whole.subresources():
        yield from _parts(inner, resolver.in_subresource(inner))


def _references(contents: Any) -> Iterator[str]:
    members = contents if isinstance(contents, dict) else {}
    for keyword in ("$ref", "$dynamicRef"):
        if isinstance(reference := members.get(keyword), str):
            yield reference


def _unique(
    validator: Validator, wanted: bool, items: Any, schema: Any
) -> Iterator[ValidationError]:
    """``uniqueItems`` in linear time; the library compares each with each, for minutes in all."""
    if wanted and isinstance(items, list):
        # Texts, since numbers of one hash are easily chosen.
        texts = {json.dumps(_plain(each), sort_keys=True) for each in items}
        if len(texts) != len(items):
            yield ValidationError("items are not unique")


def _multiple(
    validator: Validator, step: Any, value: Any, schema: Any
) -> Iterator[ValidationError]:
    """``multipleOf`` by the digits that were written; the library divides in binary, where 19.99 is
    no multiple of 0.01."""
    if validator.is_type(value, "number"):
        (number, of), (whole, parts) = _ratio(value), _ratio_once(step)
        if number * parts % (whole * of):
            yield ValidationError("not a multiple")


def _ratio(number: float) -> tuple[int, int]:
    """A number as it was written, as a fraction."""
    return Decimal(repr(number)).as_integer_ratio()


_ratio_once = cache(_ratio)
"""The same for numbers of schemas."""


class _TooMuch(Exception):
    """No reference is left."""


def _one(value: Any) -> int:
    return 1


def _squared(value: Any) -> int:
    """What ``unevaluatedItems`` and ``unevaluatedProperties`` cost."""
    return len(value) ** 2 // SQUARE if isinstance(value, list | dict) else 0


def _spend(many: int) -> None:
    """What costs as much as following so many references."""
    left = _left.get(None)
    if left is not None and many and next(islice(left, many - 1, None), None) is None:
        raise _TooMuch


def _counted(follow: Any, cost: Callable[[Any], int] = _one) -> Callable[..., Any]:
    def check(validator: Validator, word: Any, value: Any, schema: Any) -> Iterator[Any]:
        _spend(cost(value))
        yield from follow(validator, word, value, schema) or ()

    return check


def _fits(validator: Any, value: Any, way: Any) -> bool:
    return next(iter(validator.descend(value, way)), None) is None


def _any(validator: Validator, ways: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    """``anyOf``; the library keeps all that is wrong with each way, and so on at each level."""
    if not any(_fits(validator, value, way) for way in ways):
        yield ValidationError("fits none")


def _only(validator: Validator, ways: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
    """``oneOf``, the same."""
    fitting = (way for way in ways if _fits(validator, value, way))
    if len(list(islice(fitting, 2))) != 1:
        yield ValidationError("fits none, or several")


def _stepped(follow: Any) -> Callable[..., Any]:
    """A word as one step, and its complaints by their length, once."""

    def check(validator: Validator, word: Any, value: Any, schema: Any) -> Iterator[Any]:
        left = _steps.get(None)
        if left is not None and next(left, None) is None:
            raise TakesLong
        for error in follow(validator, word, value, schema) or ():
            if "is_counted" not in vars(error):
                vars(error)["is_counted"] = True
                _spend(len(error.message) // LETTERS)
            yield error

    return check


def _with_own_words(kind: Any) -> Any:
    """A dialect with what is checked in our way, from now on by its name as well: the library goes
    by that wherever a schema says which dialect it is in, at a reference to its own root too."""
    own: dict[str, Any] = {"uniqueItems": _unique, "multipleOf": _multiple}
    own |= {"anyOf": _any, "oneOf": _only}
    own["divisibleBy"] = _multiple
    for word in ("$ref", "$dynamicRef", "$recursiveRef"):
        own[word] = _counted(kind.VALIDATORS.get(word))
    for word in ("unevaluatedItems", "unevaluatedProperties"):
        own[word] = _counted(kind.VALIDATORS.get(word), _squared)
    known = {word: _stepped(own.get(word, check)) for word, check in kind.VALIDATORS.items()}
    return validates(kind.__name__)(extend(kind, known))  # type: ignore[no-untyped-call]


_OLDER = (
    Draft3Validator,
    Draft4Validator,
    Draft6Validator,
    Draft7Validator,
    Draft201909Validator,
)
for _kind in _OLDER:
    _with_own_words(_kind)
_NEWEST = _with_own_words(Draft202012Validator)


def _plain(value: Any) -> Any:
    """A value of which equal ones are written the same: 1.0 is 1 (JSON Schema core, 4.2.2)."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value


def _misfit(record: Any, schema: Validator | None) -> ValidationError | str | None:
    """Why a record does not fit, if it does not."""
    if not isinstance(record, dict):
        return "not a JSON object"
    if schema is None:
        return None
    try:
        return next(iter(schema.iter_errors(record)), None)
    except TakesLong:
        raise
    except _TooMuch:
        return "too much to check at a time"
    except Exception:  # it has no end, or the library trips over what older drafts leave open
        return "the schema cannot be followed"


def _complaint(error: ValidationError, record: Any) -> str:
    """What is said of a record that does not fit: where, as far as that can be read in the
    ``record`` as it is kept, and which word of the schema, without any value."""
    steps: list[Any] = list(error.absolute_path)
    known = 0
    while known < len(steps) and isinstance(record, dict | list):  # or encrypted, names and all
        step, known = steps[known], known + 1
        record = record[step] if isinstance(record, list) else record.get(step)
    place = ValidationError("", path=steps[:known]).json_path
    # Those name what is missing, which the schema names as well; others quote the record. A text
    # cannot miss anything: it is what was encrypted.
    names = error.validator in _MISSING and not isinstance(record, str)
    missed = f" ({error.message})" if names else ""
    return f"{place}: does not fit {error.validator or 'false'} of the schema{missed}"[:MAX_SAID]


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
