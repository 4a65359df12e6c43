"""What the document says of a route follows from the route: its refusals by kind and by name, what it takes, what it answers."""

from typing import Any

import orjson
import pytest
from openapi_pydantic import OpenAPI

from common.errors import InsufficientCredits, TaskNotFound, WorkNotFound
from common.web import HTML, Answer, Model, Request, Route
from common.web.openapi import document_of

ALWAYS = {"400", "429", "503"}
ENTERED = ALWAYS | {"401", "403"}


class Wish(Model):
    word: str


class Form(Model):
    file: bytes
    word: str = ""


class Told(Model):
    word: str


async def act(_request: Request[Any]) -> Answer:
    return Answer(None)


def described(path: str, method: str = "GET", **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The operation with its references to responses resolved, and the document."""
    document: dict[str, Any] = orjson.loads(document_of([Route(method, path, act, **options)], name="x", title="x"))
    OpenAPI.model_validate(document)
    [operations] = document["paths"].values()
    operation = operations[method.lower()]
    responses = operation["responses"]
    for status, answer in responses.items():
        if "$ref" in answer:
            responses[status] = document["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    return operation, document


def refusals(operation: dict[str, Any]) -> dict[str, list[int]]:
    """The codes by status."""
    return {
        status: answer["headers"]["X-Error-Code"]["schema"]["enum"]
        for status, answer in operation["responses"].items()
        if "X-Error-Code" in answer.get("headers", {})
    }


@pytest.mark.parametrize(
    ("options", "statuses"),
    [
        pytest.param({"auth": "none"}, ALWAYS, id="anybody's"),
        pytest.param({}, ENTERED, id="a user's"),
        pytest.param({"auth": "optional"}, ENTERED, id="with or without a token, but no bad one"),
        pytest.param({"method": "POST", "body": Wish}, ENTERED | {"413", "415"}, id="with a body"),
        pytest.param({"method": "POST", "reads": {"application/json": Wish}}, ENTERED | {"413", "415"}, id="with a body it reads itself"),
        pytest.param({"method": "POST", "body": Wish, "keyed": True}, ENTERED | {"413", "415", "422"}, id="with a key"),
        pytest.param({"path": "/v1/things/{thing_id}"}, ENTERED | {"404"}, id="of one thing"),
        pytest.param({"refusals": (TaskNotFound, InsufficientCredits)}, ENTERED | {"404", "402"}, id="with refusals of its own"),
    ],
)
def test_a_route_can_refuse_with_what_its_kind_can_and_with_what_it_names(options: dict[str, Any], statuses: set[str]) -> None:
    operation, _ = described(**{"path": "/v1/things", **options})
    assert set(refusals(operation)) == statuses
    assert not {"500", "502", "504"} & set(operation["responses"])


def test_codes_of_one_status_stand_together_and_are_named() -> None:
    operation, _ = described("/v1/works/{work_id}", refusals=(WorkNotFound,))
    assert refusals(operation)["404"] == [10008, 30000]
    assert "30000 work-not-found" in operation["responses"]["404"]["description"]


def test_a_refusal_has_the_status_of_the_routes_dialect() -> None:
    song, _ = described("/music/tasks", "POST", refusals=(InsufficientCredits,))
    photo, _ = described("/api/tasks/create", "POST", refusals=(InsufficientCredits,))
    assert (refusals(song)["402"], refusals(song)["400"], refusals(song)["403"]) == ([40000], [10001], [10003, 20003])
    # What is short of credits and who is disabled have statuses of their own there.
    assert (refusals(photo)["400"], refusals(photo)["401"], refusals(photo)["403"]) == ([10001, 40000], [10002, 20003], [10003])


@pytest.mark.parametrize(("path", "shape"), [("/api/scenes", "PhotoError"), ("/works", "SongError"), ("/v1/things", "Problem")])
def test_a_refusal_has_the_shape_of_its_dialect_and_a_problem_for_who_accepts_one(path: str, shape: str) -> None:
    operation, document = described(path)
    content = operation["responses"]["400"]["content"]
    shapes = {kind: media["schema"]["$ref"].rpartition("/")[2] for kind, media in content.items()}
    assert shapes == ({} if shape == "Problem" else {"application/json": shape}) | {"application/problem+json": "Problem"}
    assert {shape, "Problem"} <= set(document["components"]["schemas"])


@pytest.mark.parametrize("status", ["429", "503"])
def test_what_passes_says_when_to_come_again(status: str) -> None:
    operation, _ = described("/v1/things")
    assert operation["responses"][status]["headers"]["Retry-After"]["required"] is True


def test_a_key_is_a_header_of_who_takes_one() -> None:
    keyed, _ = described("/v1/things", "POST", keyed=True)
    assert [(one["in"], one["name"], one["required"]) for one in keyed["parameters"]] == [("header", "Idempotency-Key", False)]
    assert "parameters" not in described("/v1/things", "POST")[0]


def test_an_answer_is_json_or_another_kind_or_nothing() -> None:
    operation, _ = described("/v1/things", answers={200: Told, 201: HTML, 204: None})
    content = {status: list(operation["responses"][status].get("content", {})) for status in ("200", "201", "204")}
    assert content == {"200": ["application/json"], "201": ["text/html"], "204": []}


def test_a_form_is_described_by_its_parts() -> None:
    operation, document = described("/v1/things", "POST", body=Wish, multipart=True, reads={"multipart/form-data": Form})
    content = operation["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
    form = document["components"]["schemas"][content["multipart/form-data"]["schema"]["$ref"].rpartition("/")[2]]
    assert (form["properties"]["file"]["format"], form["required"]) == ("binary", ["file"])


@pytest.mark.parametrize(
    ("path", "auth", "asked"),
    [
        ("/v1/things", "user", [{"bearer": []}]),
        ("/v1/things", "admin", [{"bearer": ["admin"]}]),
        ("/v1/things", "optional", [{"bearer": []}, {}]),
        ("/works", "user", [{"bearer": []}, {"session": []}]),
        ("/v1/things", "none", None),
    ],
)
def test_who_may_ask_is_said(path: str, auth: Any, asked: Any) -> None:
    assert described(path, auth=auth)[0].get("security") == asked


def test_routes_that_refuse_alike_share_what_is_said_of_it() -> None:
    alike = [Route("GET", f"/v1/{name}", act, refusals=(WorkNotFound,)) for name in ("one", "other")]
    document = orjson.loads(document_of(alike, name="x", title="x"))
    one, other = (document["paths"][f"/v1/{name}"]["get"]["responses"] for name in ("one", "other"))
    assert one == other
    assert len(document["components"]["responses"]) == len(one) - 1
