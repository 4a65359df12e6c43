"""What an answer must look like, written so that a test can compare it and a page can show it.

A dict names the keys that must be there (`"key?"` may be absent); more keys are allowed, because additions never break a client.
A list of one shape means any number of such items; a type or a named form means any such value; everything else means exactly this value.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NUMBER = (int, float)


@dataclass(frozen=True)
class Form:
    """Text of a certain form."""

    name: str
    pattern: str

    def fits(self, value: object) -> bool:
        return isinstance(value, str) and re.fullmatch(self.pattern, value, re.DOTALL) is not None


@dataclass(frozen=True)
class Maybe:
    """The shape, or null."""

    shape: Any


@dataclass(frozen=True)
class OneOf:
    """One of these values."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Some:
    """At least one item of this shape."""

    shape: Any


ID = Form("id", r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
MOMENT = Form("time", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
URL = Form("url", r"https?://\S+|/\S+")
HASH = Form("md5", r"[0-9a-f]{32}")
ORDER_NO = Form("order number", r"ORDER\d{13}[A-Z0-9]{6}")
TOKEN = Form("token", r"[\w-]+\.[\w-]+\.[\w-]+")
WORD = Form("text", r".+")
SENTENCE = Form("sentence", r".*[^\x00-\x7f].*")
"""For people, in Chinese, because nobody here asks for another language."""
_NAMES = {str: "text", int: "number", float: "number", bool: "true or false", object: "anything", dict: "object", list: "list"}


def differences(shape: Any, value: Any, at: str = "answer") -> list[str]:
    """What of the value is not as the shape says; empty when all is well."""
    if isinstance(shape, Maybe):
        return [] if value is None else differences(shape.shape, value, at)
    if isinstance(shape, Form):
        return [] if shape.fits(value) else [f"{at} is {value!r}, not a {shape.name}"]
    if isinstance(shape, OneOf):
        return [] if value in shape.values else [f"{at} is {value!r}, not one of {shape.values}"]
    if isinstance(shape, Some):
        return differences([shape.shape], value, at) if value else [f"{at} is empty"]
    if isinstance(shape, Mapping):
        return _differences_of_keys(shape, value, at)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{at} is {value!r}, not a list"]
        return [said for number, item in enumerate(value) for said in differences(shape[0], item, f"{at}[{number}]")]
    if isinstance(shape, type):
        return [] if _is_of(shape, value) else [f"{at} is {value!r}, not {_NAMES[shape]}"]
    return [] if shape == value and type(shape) is type(value) else [f"{at} is {value!r}, not {shape!r}"]


def _differences_of_keys(shape: Mapping[str, Any], value: Any, at: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{at} is {value!r}, not an object"]
    said = []
    for name, inner in shape.items():
        key = name.removesuffix("?")
        if key in value:
            said += differences(inner, value[key], f"{at}.{key}")
        elif key == name:
            said.append(f"{at}.{key} is missing")
    return said


def _is_of(kind: type, value: Any) -> bool:
    if kind is object:
        return True
    if kind in NUMBER:
        return isinstance(value, NUMBER) and not isinstance(value, bool)
    return isinstance(value, kind)


def shown(shape: Any) -> Any:
    """The shape as JSON-like data for a page."""
    if isinstance(shape, Maybe):
        inner = shown(shape.shape)
        return f"{inner} or null" if isinstance(inner, str) else inner
    if isinstance(shape, Form):
        return f"<{shape.name}>"
    if isinstance(shape, OneOf):
        return " | ".join(str(value) for value in shape.values)
    if isinstance(shape, Some):
        return [shown(shape.shape)]
    if isinstance(shape, Mapping):
        return {key: shown(inner) for key, inner in shape.items()}
    if isinstance(shape, list):
        return [shown(shape[0])]
    if isinstance(shape, type):
        return f"<{_NAMES[shape]}>"
    return shape
