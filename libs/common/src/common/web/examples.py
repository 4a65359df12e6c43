"""Examples for the documentation: a route's own, its model's, or one made from the schema, so that every route has one to try."""

from collections.abc import Mapping
from typing import Any

_ID = "0199c2a4-7b1e-7c3a-9f52-3d6f0a1b2c4d"
_DEPTH_MAX = 6
_PICTURE = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
_BY_NAME: Mapping[str, Any] = {
    "username": "ana",
    "nickname": "Ana",
    "name": "Ana",
    "email": "ana@example.com",
    "password": "correct horse battery staple",
    "avatar": "https://example.com/ana.jpg",
    "avatar_url": "https://example.com/ana.jpg",
    "title": "Sea at dusk",
    "description": "Waves, a lighthouse, the last light",
    "prompt": "slow guitar, waves",
    "style": "folk",
    "tags": ["folk"],
    "negative_tags": ["drums"],
    "image": "https://example.com/sea.jpg",
    "images": [_PICTURE],
    "cover_image": "https://example.com/paris.jpg",
    "base64": _PICTURE,
    "code": "081Kq4Ga1mPl",
    "package_id": "basic",
    "packageId": "basic",
    "reason": "asked for by the customer",
    "adjustment_reason": "a gift",
    "content": "We are back at noon.",
    "scene_id": "paris-street",
    "scene_name": "Paris street",
    "config_key": "site_name",
    "config_value": "Darkroom",
    "url": "https://example.com/photo.jpg",
    "currency": "CNY",
    "lang": "en",
    "fileName": "photo.jpg",
    "file_name": "photo.jpg",
    "order_no": "ORDER1767323045678A1B2C3",
    "message": "Done",
}
_BY_FORMAT: Mapping[str, str] = {
    "uuid": _ID,
    "date-time": "2026-01-02T03:04:05.678Z",
    "date": "2026-01-02",
    "email": "ana@example.com",
    "uri": "https://example.com/photo.jpg",
}


def body_example(schema: Mapping[str, Any], definitions: Mapping[str, Any], given: Any = None) -> Any:
    """What a client may send: the route's own example, or the model's (`json_schema_extra={"examples": [...]}`), or one made from its schema."""
    if given is not None:
        return given
    # Where nothing is required, an empty body says nothing.
    least = example_of(schema, definitions, whole=False)
    whole = least or example_of(schema, definitions, whole=True)
    # An id that nobody has is no good example of what may be left out.
    return least or ({name: value for name, value in whole.items() if not name.endswith(("_id", "Id"))} if isinstance(whole, dict) else whole)


def example_of(schema: Mapping[str, Any], definitions: Mapping[str, Any], *, whole: bool, name: str = "", depth: int = 0) -> Any:
    """One value of this JSON schema. `whole` shows optional fields too, as answers do."""
    if schema.get("examples"):
        return schema["examples"][0]
    if "const" in schema or schema.get("enum"):
        return schema["const"] if "const" in schema else schema["enum"][0]
    if schema.get("default") not in (None, "", [], {}):
        return schema["default"]
    if "$ref" in schema:
        target = definitions.get(schema["$ref"].rpartition("/")[2], {})
        return example_of(target, definitions, whole=whole, name=name, depth=depth + 1) if depth < _DEPTH_MAX else {}
    for words in ("anyOf", "oneOf", "allOf"):
        if schema.get(words):
            choices = [one for one in schema[words] if one.get("type") != "null"] or schema[words]
            return example_of(choices[0], definitions, whole=whole, name=name, depth=depth)
    return _of_type(schema, definitions, whole=whole, name=name, depth=depth)


def _of_type(schema: Mapping[str, Any], definitions: Mapping[str, Any], *, whole: bool, name: str, depth: int) -> Any:
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        required = set(schema.get("required", ()))
        return {
            field: example_of(one, definitions, whole=whole, name=field, depth=depth)
            for field, one in schema.get("properties", {}).items()
            if whole or field in required or one.get("examples")
        }
    if kind == "array":
        if isinstance(_BY_NAME.get(name), list):
            return _BY_NAME[name]
        items = schema.get("items")
        return [example_of(items, definitions, whole=whole, name=name.rstrip("s"), depth=depth + 1)] if items and depth < _DEPTH_MAX else []
    if kind == "string":
        return _text(schema, name)
    if kind in ("integer", "number"):
        return max(schema.get("minimum", 1), schema.get("exclusiveMinimum", 0) + 1)
    if kind == "boolean":
        return True
    return None if kind == "null" else _BY_NAME.get(name, {})


def _text(schema: Mapping[str, Any], name: str) -> str:
    known = _BY_FORMAT.get(schema.get("format", ""), _BY_NAME.get(name))
    if not isinstance(known, str):
        known = _ID if name.endswith(("_id", "Id", "_ids")) else name or "text"
    return known.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength", len(known) + 999)]


def parameter_example(name: str) -> str:
    """What may stand for a path parameter."""
    return _text({}, name)
