"""A body read into records, and each record checked and made ready for its track.

The law: a record is published as one compact JSON object or not at all, and what a schema refuses
can be kept beside the track. This module must not know broadcasts or who publishes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend, validator_for
from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012, specification_with

from relay.auth.compact import parse_value
from relay.errors import BadRequest, ConfigError, TooLarge
from relay.ingest.cipher import CipherKeys, encrypt

MAX_DEPTH = 64
"""Objects and lists inside one another in a body."""

MAX_SAID = 300
"""Characters of a complaint about a record."""


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

    Raises `Unavailable` when a cipher key does not exist.
    """
    error = _complaint(record, schema)
    if isinstance(record, dict):
        encrypt(record, fields, keys, owner)
    elif fields:
        record = None
    return Ready(_dump(record), None) if error is None else dead_letter(record, error, now)


def dead_letter(record: Any, error: str, now: float) -> Ready:
    """What did not fit, as it is kept: record, error, unix milliseconds."""
    letter = {"record": record, "error": error, "timestamp": int(now * 1000)}
    return Ready(_dump(letter), error)


def load_schema(file: Path) -> Validator:
    """The validator of a JSON Schema, which may refer to itself only. Raises `ConfigError`."""
    try:
        schema = json.loads(file.read_bytes())
        kind = validator_for(schema)
        kind.check_schema(schema)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except SchemaError as error:
        raise ConfigError(f"{file}: no JSON Schema: {error.message[:MAX_SAID]}") from None
    except (ValueError, RecursionError):
        raise ConfigError(f"{file}: not JSON") from None
    # An empty registry: nothing is ever fetched because a schema names it.
    kind = extend(kind, {"uniqueItems": _unique})  # type: ignore[no-untyped-call]
    validator: Validator = kind(schema, registry=Registry())
    dialect = specification_with(kind.ID_OF(kind.META_SCHEMA), default=DRAFT202012)
    whole = dialect.create_resource(schema)
    try:
        lost = next(_lost(whole, REGISTRY.resolver_with_root(whole)), None)
    except RecursionError:
        raise ConfigError(f"{file}: too deep") from None
    if lost is not None:
        raise ConfigError(f"{file}: $ref {lost[:MAX_SAID]!r} is not in this file")
    return validator


def _lost(part: Resource[Any], resolver: Any) -> Iterator[str]:
    """References in ``part`` that lead nowhere, by which no record could be checked."""
    members = part.contents if isinstance(part.contents, dict) else {}
    for keyword in ("$ref", "$dynamicRef"):
        reference = members.get(keyword)
        if isinstance(reference, str):
            try:
                resolver.lookup(reference)
            except Unresolvable:
                yield reference
    for inner in part.subresources():
        yield from _lost(inner, resolver.in_subresource(inner))


def _unique(
    validator: Validator, wanted: bool, items: Any, schema: Any
) -> Iterator[ValidationError]:
    """``uniqueItems`` in linear time; the library compares each with each, for minutes in all."""
    if wanted and isinstance(items, list):
        # Texts, since numbers of one hash are easily chosen.
        texts = {json.dumps(_plain(each), sort_keys=True) for each in items}
        if len(texts) != len(items):
            yield ValidationError("items are not unique")


def _plain(value: Any) -> Any:
    """A value of which equal ones are written the same: 1.0 is 1 (JSON Schema core, 4.2.2)."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return value


def _complaint(record: Any, schema: Validator | None) -> str | None:
    if not isinstance(record, dict):
        return "not a JSON object"
    if schema is None:
        return None
    try:
        error: ValidationError | None = next(iter(schema.iter_errors(record)), None)
    except (Unresolvable, RecursionError):
        return "the schema cannot be followed"
    except OverflowError:  # multipleOf divides, and an integer of JSON may be above every float
        return "a number is too large for the schema"
    if error is None:
        return None
    return f"{error.json_path}: does not fit {error.validator} of the schema"[:MAX_SAID]


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
