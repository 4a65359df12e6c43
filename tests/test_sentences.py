"""Every sentence that the code can say about a field is in the catalogue, in both languages, with what it names."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from common.errors import every_error
from common.messages import field_text, known_field_slugs, step_text
from generation.providers.local.songs import PARTS
from lab.hostile import Answer, Case, judge

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*ROOT.glob("services/*/src/**/*.py"), *(ROOT / "libs/common/src/common").rglob("*.py")])
SHAPES = [path for path in SOURCES if "schemas" in path.parts or path.name == "model.py"]


def calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


REFUSALS = frozenset(every_error())


def slug_of(call: ast.Call) -> ast.expr | None:
    """Where a call says by a slug what is wrong with a field."""
    match call:
        case ast.Call(func=ast.Name(id="wrong"), args=[slug]):
            return slug
        case ast.Call(func=ast.Attribute(value=ast.Name(id=refusal), attr="of"), args=[_, slug]) if refusal in REFUSALS:
            return slug
        case ast.Call(func=ast.Name(id="Refused"), args=[ast.Constant(value="unreadable" | "too-large"), slug]):
            return slug
    return None


def sentences() -> Iterator[tuple[str, str, dict[str, str]]]:
    """Each slug that stands in the code: where, and what is named beside it."""
    for path in SOURCES:
        for call in calls(path):
            slug = slug_of(call)
            choices = [slug.body, slug.orelse] if isinstance(slug, ast.IfExp) else [slug]
            for one in choices:
                if isinstance(one, ast.Constant):
                    yield f"{path.relative_to(ROOT)}:{call.lineno}", one.value, {said.arg: "9" for said in call.keywords if said.arg}


def test_every_slug_in_the_code_has_its_sentence() -> None:
    found = list(sentences())
    assert len(found) > 60
    for place, slug, params in found:
        assert slug in known_field_slugs(), place
        assert field_text(slug, "zh", params) != field_text(slug, "en", params), place


def test_every_sentence_of_our_own_is_said_somewhere() -> None:
    ours = {slug for slug in known_field_slugs() if "_" not in slug}
    constants = (node for path in SOURCES if path.name != "messages.py" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
    by_pydantic = {"null", "string", "number", "boolean", "list", "object", "uuid", "time", "choice", "url", "invalid"}
    assert ours - {node.value for node in constants} - by_pydantic == set()


def test_every_step_that_people_see_has_a_word_in_both_languages() -> None:
    """Of what works in a task; engines of others may say what they like."""
    steps = {name for name, _, _ in PARTS}
    for path in (ROOT / "services/generation/src/generation").rglob("*.py"):
        for call in calls(path):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""
            if name in ("Step", "report", "report_once", "_tell_step"):
                steps |= {one.value for arg in call.args for one in ast.walk(arg) if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    assert {"started", "film stock", "melody", "look at the photo"} <= steps
    assert {step for step in steps if step_text(step, "zh").isascii()} == set()
    assert {step for step in steps if step_text(step, "en") != step} == set()


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_validator_says_what_is_wrong_by_a_slug(path: Path) -> None:
    """The sentence of a plain ValueError would be lost: nobody knows it in another language."""
    assert [call.lineno for call in calls(path) if isinstance(call.func, ast.Name) and call.func.id in ("ValueError", "PydanticCustomError")] == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/x", {"success": False, "message": "No."}),
        ("/api/x", {"success": False, "message": "请求参数有误", "errors": [{"field": "x", "message": "is bad"}]}),
        (
            "/users",
            {"code": 10001, "message": "请求有误", "details": {"errors": [{"field": "x", "message": "bad"}]}, "timestamp": "2026-01-01T00:00:00.000Z"},
        ),
    ],
)
def test_the_onslaught_notices_english_for_who_did_not_ask_for_it(path: str, body: dict[str, Any]) -> None:
    answer = Answer(400, {"x-error-code": "10001", "x-request-id": "r", "content-type": "application/json"}, orjson.dumps(body))
    assert ["English" in said for said in judge(Case("x", "POST", path), answer)] == [True]
    assert judge(Case("x", "POST", path, {"Accept-Language": "en"}), answer) == []
