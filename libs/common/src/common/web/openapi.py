"""The OpenAPI 3.1 document of a service, made from the same routes it serves."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from common.web.dialects import dialect_of
from common.web.examples import body_example, example_of, parameter_example
from common.web.openapi_refusals import ERRORS, Problem, Responses
from common.web.route import Media, Route

_Schemas = Mapping[tuple[type[BaseModel], str], dict[str, Any]]

_PARAM = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::[^{}]*(?:\{[^{}]*\}[^{}]*)*)?\}")
_REF = "#/components/schemas/{model}"
_JSON = "application/json"
_FORM = "multipart/form-data"
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "A user's token; routes marked `admin` want an operator's"},
    "session": {"type": "apiKey", "in": "header", "name": "X-LC-Session", "description": "The same token, as clients of the song dialect send it"},
}
_DONE = {101: "The socket is open", 206: "The part that was asked for", 302: "It lies there", 304: "Nothing changed since"}
_KEY = {
    "name": "Idempotency-Key", "in": "header", "required": False, "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "description": "The caller's name for this attempt: the same key and body are the same thing again, not another",
}  # fmt: skip


def document_of(routes: Sequence[Route], *, name: str, title: str) -> bytes:
    """The document as JSON. Raises ValidationError when a route cannot be described."""
    shown = [route for route in routes if not route.path.startswith("/internal/")] or list(routes)
    schemas, components = _schemas(shown)
    spoken: set[type[BaseModel]] = {Problem, *(ERRORS[dialect_of(route.path)] for route in shown)}
    refusals = Responses({model: schemas[(model, "serialization")] for model in spoken})
    paths = _paths(shown, schemas, components, refusals)
    document = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": "1", "summary": f"What {name} answers"},
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": refusals.made,
            "securitySchemes": _SECURITY,
        },
    }
    from openapi_pydantic import OpenAPI  # a sixth of all that a service imports, and seldom asked for

    checked = OpenAPI.model_validate(document)
    return orjson.dumps(checked.model_dump(by_alias=True, exclude_unset=True, mode="json"))


def _schemas(routes: Sequence[Route]) -> tuple[_Schemas, dict[str, Any]]:
    wanted: dict[Any, None] = {}
    for route in routes:
        for taken in (*([route.body] if route.body is not None else []), *route.reads.values()):
            wanted[(taken, "validation")] = None
        for answer in route.answers.values():
            if isinstance(answer, type):
                wanted[(answer, "serialization")] = None
        wanted[(ERRORS[dialect_of(route.path)], "serialization")] = None
    wanted[(Problem, "serialization")] = None
    made, definitions = models_json_schema(list(wanted), by_alias=True, ref_template=_REF)
    found: dict[Any, dict[str, Any]] = dict(made)
    return found, definitions.get("$defs", {})


def _paths(routes: Sequence[Route], schemas: _Schemas, components: Mapping[str, Any], refusals: Responses) -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(_PARAM.sub(r"{\1}", route.path), {})[route.method.lower()] = _operation(route, schemas, components) | {
            "responses": _answers(route, schemas, components) | refusals.of(route)
        }
    return paths


def _operation(route: Route, schemas: _Schemas, components: Mapping[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": _operation_id(route)}
    if route.summary:
        operation["summary"] = route.summary
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "example": parameter_example(name)} for name in _PARAM.findall(route.path)
    ]
    if route.query is not None:
        parameters.extend(_query_parameters(route.query))
    if route.keyed:
        parameters.append(_KEY)
    if parameters:
        operation["parameters"] = parameters
    taken = _taken(route, schemas, components)
    if taken:
        operation["requestBody"] = {"required": True, "content": taken}
    if route.auth != "none":
        operation["security"] = _security(route)
    return operation


def _taken(route: Route, schemas: _Schemas, components: Mapping[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if route.body is not None:
        schema = schemas[(route.body, "validation")]
        content[_JSON] = {"schema": schema, "example": body_example(schema, components, route.example)}
    for kind, model in route.reads.items():
        schema = schemas[(model, "validation")]
        content[kind] = {"schema": schema} | ({"example": body_example(schema, components, route.example)} if kind == _JSON else {})
    if route.multipart:
        content.setdefault(_FORM, {"schema": {"type": "object"}})
    return content


def _security(route: Route) -> list[dict[str, list[str]]]:
    schemes = ["bearer", "session"] if dialect_of(route.path) == "song" else ["bearer"]
    # OpenAPI names a needed role where another kind of scheme would name a scope.
    asked: list[dict[str, list[str]]] = [{scheme: ["admin"] if route.auth == "admin" else []} for scheme in schemes]
    return [*asked, {}] if route.auth == "optional" else asked


def _answers(route: Route, schemas: _Schemas, components: Mapping[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, answer in sorted(route.answers.items()) or [(200, None)]:
        responses[str(status)] = {"description": _DONE.get(status, "Done")}
        if isinstance(answer, Media):
            responses[str(status)]["content"] = {kind: {"schema": {"type": "string"}} for kind in answer.kinds}
        elif answer is not None:
            schema = schemas[(answer, "serialization")]
            responses[str(status)]["content"] = {_JSON: {"schema": schema, "example": example_of(schema, components, whole=True)}}
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
