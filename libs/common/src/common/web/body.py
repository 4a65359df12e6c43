"""From bytes on the wire to a validated model; everything broken is one refusal, InvalidParameter, that names the field."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from common.errors import FieldError, InvalidParameter, PayloadTooLarge, UnsupportedMediaType
from common.messages import field_slug

INTEGER_MAX = 2**63 - 1

_ERRORS_SHOWN_MAX = 20
_ERRORS_LISTED_MAX = 500
_JSON_TYPES = ("application/json", "text/json")

M = TypeVar("M", bound=BaseModel)


async def read_body(http: web.Request, bytes_max: int) -> bytes:
    """The whole body; raises PayloadTooLarge as soon as it is known to be over the limit, whatever its encoding."""
    declared = http.headers.get("Content-Length")
    if declared is not None and int(declared) > bytes_max:
        raise PayloadTooLarge(f"the body may have at most {bytes_max} bytes")
    content = http.content
    first = await content.readany()
    if content.at_eof() and len(first) <= bytes_max:
        return first
    parts, size = [first], len(first)
    while True:
        if size > bytes_max:
            raise PayloadTooLarge(f"the body may have at most {bytes_max} bytes")
        more = await content.readany()
        if not more:
            return b"".join(parts)
        parts.append(more)
        size += len(more)


def check_json_type(content_type: str | None) -> None:
    """A body that says it is something else than JSON is refused; one that says nothing is taken for JSON."""
    if content_type is None or content_type.startswith("application/json"):
        return
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in _JSON_TYPES and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedMediaType(f"the body is {kind[:80]!r}, not application/json")


def parse_body(model: type[M], raw: bytes, *, checked: bool = False) -> M:
    """The body as a model. JSON is looked at by stricter eyes than pydantic's first, unless it is known to come from pydantic itself."""
    if not checked:
        check_json(raw)
    try:
        return model.__pydantic_validator__.validate_json(raw)  # type: ignore[no-any-return]
    except ValidationError as error:
        raise invalid(error) from None


def parse_query(model: type[M], given: Mapping[str, str]) -> M:
    """The query string as a model: an empty value is an absent one, of a repeated name the first counts."""
    values: dict[str, str] = {}
    for name, value in given.items():
        if value and name not in values:
            check_text(value, name)
            values[name] = value
    try:
        return model.__pydantic_validator__.validate_python(values)  # type: ignore[no-any-return]
    except ValidationError as error:
        raise invalid(error) from None


def parse_fields(model: type[M], given: Mapping[str, Any]) -> M:
    """The text fields of a form as a model; numbers and truths come as text and are read as such."""
    for name, value in given.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str):
                check_text(one, name)
    try:
        return model.__pydantic_validator__.validate_python(dict(given))  # type: ignore[no-any-return]
    except ValidationError as error:
        raise invalid(error) from None


def invalid(error: ValidationError) -> InvalidParameter:
    """What pydantic found, field by field; never with the value that was sent."""
    if error.error_count() > _ERRORS_LISTED_MAX:
        return InvalidParameter.of("body", "too_many_faults")
    return InvalidParameter(errors=[_fault(one) for one in error.errors(include_url=False, include_input=False)[:_ERRORS_SHOWN_MAX]])


def check_text(value: str, field: str) -> None:
    """Refuse text that PostgreSQL could not store: NUL and lone surrogates."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise InvalidParameter.of(field, "utf-8") from error
    if "\x00" in value:
        raise InvalidParameter.of(field, "nul")


def check_json(raw: bytes) -> None:
    """Refuse JSON that pydantic would take or stumble over.

    orjson refuses NaN, 1e999, invalid UTF-8, a BOM, lone surrogates, trailing text and nesting beyond 1024. What it lets pass (repeated
    names, numbers beyond 64 bits, escaped NUL) is not in a body that it writes back just as it was; any other body is looked at closely.
    """
    try:
        tree = orjson.loads(raw)
        if _write(tree) != raw and _count_keys(tree) != raw.translate(None, b" \t\r\n").count(b'":'):
            # Without white space every name in the text is followed by `":`; so equal counts would mean that no name was dropped as a repeat.
            _read_slowly(raw)
    except (ValueError, RecursionError) as error:
        raise InvalidParameter.of("body", "json") from error
    if b"\\u0000" in raw and _has_nul(tree):
        raise InvalidParameter.of("body", "nul")


def _write(tree: Any) -> bytes | None:
    try:
        return orjson.dumps(tree, option=orjson.OPT_STRICT_INTEGER)
    except TypeError:
        return None


def _count_keys(node: Any) -> int:
    """How many names all objects of a tree have; -1 (never equal to a count) when a number needs a closer look."""
    keys, waiting = 0, [[node]]
    for node in waiting:
        if type(node) is dict:
            keys += len(node)
            node = node.values()
        for value in node:
            kind = type(value)
            if kind is dict or kind is list:
                waiting.append(value)
            elif (kind is int or kind is float) and not -INTEGER_MAX <= value <= INTEGER_MAX:
                return -1
    return keys


def _read_slowly(raw: bytes) -> None:
    json.loads(raw, object_pairs_hook=_distinct, parse_int=_small)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidParameter.of("body", "field-twice")
    return found


def _small(digits: str) -> int:
    value = int(digits) if len(digits) <= 20 else INTEGER_MAX + 1
    if abs(value) > INTEGER_MAX:
        raise InvalidParameter.of("body", "number-too-large")
    return value


def _has_nul(node: Any) -> bool:
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            waiting.extend(node.keys())
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
        elif isinstance(node, str) and "\x00" in node:
            return True
    return False


def _place(loc: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in loc)[:200] or "body"


def _fault(error: Any) -> FieldError:
    params = error.get("ctx") or {}
    return FieldError(_place(error["loc"]), field_slug(error["type"], params), params)
