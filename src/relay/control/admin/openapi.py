"""The counter described for machines: an OpenAPI 3.1 document made from its table.

The law: nothing stands here that the table or the shapes do not say, so that the document cannot
drift from what is served. This module must not know requests.
"""

from __future__ import annotations

import functools
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from relay.control.admin.counter import BASE, OPERATIONS, Operation

REF = "#/components/schemas/{model}"

ALWAYS = (400, 401, 405, 413, 429, 503)
"""Statuses that every operation may refuse with."""

_PROBLEM = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}


@functools.cache
def document() -> dict[str, Any]:
    """The whole document. Must not be changed."""
    shapes = _schemas()
    places: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        described = _operation(operation, shapes)
        places.setdefault(operation.place, {})[operation.method.lower()] = described
    for operation in OPERATIONS:
        if operation.takes_body and operation.in_place:
            shapes[operation.asked.__name__] = _body(operation, shapes)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Relay, operator's counter", "version": version("moq-relay")},
        "servers": [{"url": BASE}],
        "security": [{"operator": []}],
        "paths": places,
        "components": {
            "schemas": {**shapes, "Problem": _PROBLEM},
            "securitySchemes": {"operator": {"type": "http", "scheme": "bearer"}},
        },
    }


def _answers() -> set[type[BaseModel]]:
    return {
        each.answer
        for each in OPERATIONS
        if isinstance(each.answer, type) and issubclass(each.answer, BaseModel)
    }


def _schemas() -> dict[str, Any]:
    wanted: list[tuple[type[BaseModel], Any]] = [
        *((each.asked, "validation") for each in OPERATIONS),
        *(
            (answer, "serialization")
            for answer in sorted(_answers(), key=lambda each: each.__name__)
        ),
    ]
    _, made = models_json_schema(wanted, ref_template=REF)
    schemas: dict[str, Any] = made["$defs"]
    return schemas


def _operation(operation: Operation, shapes: dict[str, Any]) -> dict[str, Any]:
    refusals = {status: _refusal(status) for status in sorted({*ALWAYS, *operation.refusals})}
    success = {
        "description": HTTPStatus(operation.status).phrase,
        "content": {"application/json": {"schema": _answer(operation)}},
    }
    described: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.place.split("/")[1]],
        "summary": operation.summary,
        "responses": {
            f"{operation.status}": success,
            **{f"{status}": refusal for status, refusal in refusals.items()},
        },
    }
    if parameters := _parameters(operation, shapes[operation.asked.__name__]):
        described["parameters"] = parameters
    if operation.takes_body:
        schema = {"$ref": REF.format(model=operation.asked.__name__)}
        described["requestBody"] = {"content": {"application/json": {"schema": schema}}}
    return described


def _answer(operation: Operation) -> dict[str, Any]:
    answer = operation.answer
    if isinstance(answer, type) and issubclass(answer, BaseModel):
        return {"$ref": REF.format(model=answer.__name__)}
    return {"type": "object"}


def _refusal(status: int) -> dict[str, Any]:
    problem = {"schema": {"$ref": REF.format(model="Problem")}}
    return {
        "description": HTTPStatus(status).phrase,
        "content": {"application/problem+json": problem},
    }


def _parameters(operation: Operation, shape: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for name, member in shape.get("properties", {}).items():
        in_place = name in operation.in_place
        if in_place or not operation.takes_body:
            found.append(
                {
                    "name": name,
                    "in": "path" if in_place else "query",
                    "required": in_place or name in shape.get("required", []),
                    "schema": _one_kind(member),
                    **({"description": text} if (text := member.get("description")) else {}),
                }
            )
    return found


def _one_kind(member: dict[str, Any]) -> dict[str, Any]:
    """The schema without ``null``, which no path or query can say."""
    kinds = [each for each in member.get("anyOf", [member]) if each.get("type") != "null"]
    said = {name: value for name, value in member.items() if name not in ("anyOf", "title")}
    if said.get("default", ...) is None:
        del said["default"]
    said.update(kinds[0])
    return said


def _body(operation: Operation, shapes: dict[str, Any]) -> dict[str, Any]:
    """The shape of a body: the question without what stands in the path."""
    shape = dict(shapes[operation.asked.__name__])
    members = shape.get("properties", {})
    shape["properties"] = {
        name: member for name, member in members.items() if name not in operation.in_place
    }
    required = [name for name in shape.pop("required", []) if name not in operation.in_place]
    return shape | ({"required": required} if required else {})
