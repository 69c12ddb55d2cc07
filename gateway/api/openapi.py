"""The OpenAPI document, made from the same table of operations that serves them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path: what it takes, what it answers, and what does it."""

    method: str
    path: str
    "In OpenAPI's spelling: /v1/calls/{id}."
    name: str
    summary: str
    handler: Callable[..., Awaitable[Any]]
    status: HTTPStatus = HTTPStatus.OK
    takes: type[BaseModel] | None = None
    gives: type[BaseModel] | None = None
    refuses: Sequence[HTTPStatus] = ()


class Problem(BaseModel):
    """Every refusal of the API."""

    code: str
    "A slug that programs can tell apart."
    text: str
    "What is wrong and what to do, for people."


def build_document(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """An OpenAPI 3.1 document of the operations."""
    models: set[type[BaseModel]] = {Problem}
    for operation in operations:
        models.update(m for m in (operation.takes, operation.gives) if m is not None)
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema(
        [(model, "serialization") for model in ordered],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Voice gateway", "version": version},
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"bearer": []}],
    }


def _describe(operation: Operation) -> dict[str, Any]:
    responses = {
        str(operation.status.value): _content(operation.status, operation.gives),
        **{str(refusal.value): _content(refusal, Problem) for refusal in operation.refuses},
        "default": {"description": "Refused", "content": _schema(Problem)},
    }
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": responses,
    }
    parameters = [part[1:-1] for part in operation.path.split("/") if part.startswith("{")]
    if parameters:
        described["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in parameters
        ]
    if operation.takes is not None:
        described["requestBody"] = {"required": True, "content": _schema(operation.takes)}
    return described


def _content(status: HTTPStatus, model: type[BaseModel] | None) -> dict[str, Any]:
    described: dict[str, Any] = {"description": status.phrase}
    if model is not None:
        described["content"] = _schema(model)
    return described


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
