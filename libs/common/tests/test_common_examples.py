"""Every route in the documentation has something to try."""

from typing import Any

import orjson
import pytest
from pydantic import ConfigDict

from common.ids import UserId
from common.web import Answer, Model, Moment, Request, Route
from common.web.openapi import document_of


class Wish(Model):
    email: str
    kind: str = "large"
    note: str | None = None


class Told(Model):
    model_config = ConfigDict(json_schema_extra={"examples": [{"word": "its own"}]})
    word: str


class Shown(Model):
    user_id: UserId
    made_at: Moment
    wish: Wish
    told: list[Told]


async def act(_request: Request[Any]) -> Answer:
    return Answer(None)


def operation(**options: Any) -> dict[str, Any]:
    document = orjson.loads(document_of([Route("POST", "/v1/things/{thing_id}", act, auth="none", **options)], name="x", title="x"))
    found: dict[str, Any] = document["paths"]["/v1/things/{thing_id}"]["post"]
    return found


def body_of(made: dict[str, Any]) -> Any:
    return made["requestBody"]["content"]["application/json"]["example"]


def test_an_example_is_made_from_the_schema() -> None:
    assert body_of(operation(body=Wish)) == {"email": "ana@example.com"}


def test_a_models_own_example_and_then_the_routes_own_come_first() -> None:
    assert body_of(operation(body=Told)) == {"word": "its own"}
    assert body_of(operation(body=Told, example={"word": "the route's"})) == {"word": "the route's"}


@pytest.mark.parametrize("field", ["user_id", "made_at", "wish", "told"])
def test_an_answer_is_shown_whole(field: str) -> None:
    shown = operation(answers={200: Shown})["responses"]["200"]["content"]["application/json"]["example"]
    assert shown[field]
    assert Shown.model_validate(shown).wish.kind == "large"


def test_a_path_parameter_has_an_example() -> None:
    assert operation()["parameters"][0]["example"]
