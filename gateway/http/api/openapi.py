"""Describes the API in OpenAPI 3.1, from the table of endpoints."""

import re
from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import models_json_schema

from gateway import __version__
from gateway.http.api.endpoint import Endpoint, Nothing

_ERROR = {
    "type": "object",
    "required": ["ok", "error"],
    "properties": {
        "ok": {"const": False},
        "error": {
            "type": "object",
            "required": ["code", "message", "problems"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "problems": {"type": "array", "items": {"type": "object"}},
            },
        },
    },
}
_REFUSALS = ("400", "401", "403", "404", "409", "412", "413", "422", "428", "500", "503")


def describe(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The description that ``/openapi.json`` serves."""
    table = list(endpoints)
    bodies = [(one.body, "validation") for one in table if one.body is not None]
    _, schemas = models_json_schema(bodies, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    paths: dict[str, dict[str, Any]] = {}
    for one in table:
        paths.setdefault("/api/v1" + one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Call gateway", "version": __version__},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {**schemas.get("$defs", {}), "Error": _ERROR},
        },
    }


def _operation(one: Endpoint) -> dict[str, Any]:
    doc = (one.handler.__doc__ or "").strip()
    good = {"description": "Done", "content": {"application/json": {"schema": {"type": "object"}}}}
    bad = {
        "description": "Refused",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    operation: dict[str, Any] = {
        "summary": doc.splitlines()[0],
        "operationId": f"{one.method.lower()}{re.sub('[^a-zA-Z]+', '_', one.path)}",
        "x-role": one.role,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"\{(\w+)\}", one.path)
        ],
        "responses": {"200": good, "201": good} | dict.fromkeys(_REFUSALS, bad),
    }
    if one.query is not Nothing:
        for name, schema in one.query.model_json_schema()["properties"].items():
            operation["parameters"].append({"name": name, "in": "query", "required": False, "schema": schema})
    taken: dict[str, Any] = {}
    if one.body is not None:
        taken["application/json"] = {"schema": {"$ref": f"#/components/schemas/{one.body.__name__}"}}
    if one.takes_csv:
        taken["text/csv"] = {"schema": {"type": "string"}}
    if taken:
        operation["requestBody"] = {"content": taken}
    return operation
