"""The OpenAPI 3.1 document of a service, made from the same routes it serves."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from openapi_pydantic import OpenAPI
from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import models_json_schema

from common.web.dialects import Dialect, dialect_of
from common.web.examples import body_example, example_of, parameter_example
from common.web.route import Route

_Schemas = Mapping[tuple[type[BaseModel], str], dict[str, Any]]

_PARAM = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::[^{}]*(?:\{[^{}]*\}[^{}]*)*)?\}")
_REF = "#/components/schemas/{model}"
_REFUSALS: Mapping[str, str] = {
    "400": "The request is not valid", "401": "No token, or one that is not valid", "403": "Not allowed", "404": "There is no such thing",
    "429": "Too many requests", "503": "Not available at the moment",
}  # fmt: skip


class _FieldFault(BaseModel):
    field: str
    message: str


class PhotoError(BaseModel):
    """How the photo dialect says no."""

    model_config = ConfigDict(extra="allow")
    success: bool
    message: str
    errors: list[_FieldFault] = []


class SongError(BaseModel):
    """How the song dialect says no."""

    code: int
    message: str
    details: dict[str, Any]
    timestamp: str


class Problem(BaseModel):
    """RFC 9457, as v1 says no."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: int
    request_id: str
    retryable: bool
    errors: list[_FieldFault] = []


_ERRORS: Mapping[Dialect, type[BaseModel]] = {"photo": PhotoError, "song": SongError, "v1": Problem}


def document_of(routes: Sequence[Route], *, name: str, title: str) -> bytes:
    """The document as JSON. Raises ValidationError when a route cannot be described."""
    shown = [route for route in routes if not route.path.startswith("/internal/")] or list(routes)
    schemas, components = _schemas(shown)
    document = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": "1", "summary": f"What {name} answers"},
        "paths": _paths(shown, schemas, components),
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }
    checked = OpenAPI.model_validate(document)
    return orjson.dumps(checked.model_dump(by_alias=True, exclude_unset=True, mode="json"))


def _schemas(routes: Sequence[Route]) -> tuple[_Schemas, dict[str, Any]]:
    wanted: dict[Any, None] = {}
    for route in routes:
        if route.body is not None:
            wanted[(route.body, "validation")] = None
        for answer in route.answers.values():
            wanted[(answer, "serialization")] = None
        wanted[(_ERRORS[dialect_of(route.path)], "serialization")] = None
    made, definitions = models_json_schema(list(wanted), by_alias=True, ref_template=_REF)
    found: dict[Any, dict[str, Any]] = dict(made)
    return found, definitions.get("$defs", {})


def _paths(routes: Sequence[Route], schemas: _Schemas, components: Mapping[str, Any]) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(_PARAM.sub(r"{\1}", route.path), {})[route.method.lower()] = _operation(route, schemas, components)
    return paths


def _operation(route: Route, schemas: _Schemas, components: Mapping[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": _operation_id(route), "responses": _responses(route, schemas, components)}
    if route.summary:
        operation["summary"] = route.summary
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "example": parameter_example(name)} for name in _PARAM.findall(route.path)
    ]
    if route.query is not None:
        parameters.extend(_query_parameters(route.query))
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        schema = schemas[(route.body, "validation")]
        content: dict[str, Any] = {"application/json": {"schema": schema, "example": body_example(schema, components, route.example)}}
        if route.multipart:
            content["multipart/form-data"] = {"schema": {"type": "object"}}
        operation["requestBody"] = {"required": True, "content": content}
    elif route.multipart:
        operation["requestBody"] = {"required": True, "content": {"multipart/form-data": {"schema": {"type": "object"}}}}
    if route.auth != "none":
        operation["security"] = [{"bearer": []}, {}] if route.auth == "optional" else [{"bearer": []}]
    return operation


def _responses(route: Route, schemas: _Schemas, components: Mapping[str, Any]) -> dict[str, Any]:
    dialect = dialect_of(route.path)
    kind = "application/problem+json" if dialect == "v1" else "application/json"
    refusal = {kind: {"schema": schemas[(_ERRORS[dialect], "serialization")]}}
    responses: dict[str, Any] = {}
    for status, answer in route.answers.items():
        schema = schemas[(answer, "serialization")]
        content = {"application/json": {"schema": schema, "example": example_of(schema, components, whole=True)}}
        responses[str(status)] = {"description": "Done", "content": content}
    if not responses:
        responses["200"] = {"description": "Done"}
    for status_text, meaning in _REFUSALS.items():
        if status_text in ("401", "403") and route.auth == "none":
            continue
        responses.setdefault(status_text, {"description": meaning, "content": refusal})
    return responses


def _query_parameters(query: type[BaseModel]) -> list[dict[str, Any]]:
    schema = query.model_json_schema(by_alias=True, ref_template=_REF)
    definitions = schema.get("$defs", {})
    required = set(schema.get("required", ()))
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _inlined(one, definitions)} for name, one in schema.get("properties", {}).items()
    ]


def _inlined(schema: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(schema, dict):
        target = schema.get("$ref")
        if isinstance(target, str):
            return _inlined(definitions[target.rpartition("/")[2]], definitions)
        return {name: _inlined(inner, definitions) for name, inner in schema.items()}
    return [_inlined(one, definitions) for one in schema] if isinstance(schema, list) else schema


def _operation_id(route: Route) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", f"{route.method.lower()}_{route.path}").strip("_")
