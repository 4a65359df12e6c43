"""What an edge tells about itself: its OpenAPI document, its admin listener, its log lines and its numbers."""

import asyncio
import errno
import io
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import aiohttp
import orjson
import pytest
import structlog
from aiohttp.test_utils import TestServer
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import Field

from common import log as logs
from common.errors import Conflict, FieldError, InvalidParameter, every_error
from common.messages import Lang, field_slug, field_text, known_field_slugs, known_slugs, text, wrong
from common.metrics import Metrics
from common.testing.doors import Door, open_door
from common.trace import Trace, current_trace
from common.web import Answer, Model, Moment, Request, Route, build_application
from common.web.admin import build_admin
from common.web.dialects import Dialect, dialect_of, language_of, render_error
from common.web.photo import Ok, PageQuery
from common.web.song import SongPage


class Picture(Model):
    url: str
    at: Moment


class Made(Model):
    task_id: str
    pictures: list[Picture]
    kind: str = Field(description="fitting, photography or travel")


class Ask(Model):
    kind: str = Field(alias="type")
    pictures: list[Picture] = Field(default_factory=list, max_length=50)


class Filters(PageQuery):
    kind: str | None = Field(default=None, alias="type")


async def act(_request: Request[Any]) -> Answer:
    return Answer(b"{}")


async def fail(_request: Request[Any]) -> Answer:
    raise RuntimeError("could not reach postgresql://billing:hunter22@db/billing with eyJhbGciOi.eyJzdWIi.c2ln")


ROUTES = [
    Route("POST", "/api/tasks/create", act, body=Ask, answers={200: Ok[Made]}, summary="Ask for pictures"),
    Route("GET", "/api/tasks/{task_id}", act, answers={200: Ok[Made]}),
    Route("GET", "/api/tasks/user/list", act, query=Filters, answers={200: Ok[Made]}),
    Route("POST", "/works", act, body=Ask, multipart=True, answers={201: Made}),
    Route("GET", "/works", act, auth="optional", answers={200: SongPage[Made]}),
    Route("GET", r"/files/{key:.+}", act, auth="none"),
    Route("POST", "/api/upload/single", act, multipart=True),
    Route("GET", "/v1/broken", fail, auth="none"),
    Route("POST", "/internal/holds", act, auth="service", body=Ask),
    Route("GET", "/internal/revocations", act, auth="service"),
]


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with open_door(ROUTES, name="generation") as opened:
        yield opened


async def test_the_openapi_document_is_valid_and_made_from_the_routes(door: Door) -> None:
    async with door.http.get(f"{door.url}/openapi.json") as answer:
        document = await answer.json()
    OpenAPIV31SpecValidator(document).validate()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {route.path.replace(":.+", "") for route in ROUTES if not route.path.startswith("/internal/")}
    create = document["paths"]["/api/tasks/create"]["post"]
    assert create["security"] == [{"bearer": []}]
    assert "type" in document["components"]["schemas"]["Ask"]["properties"]
    assert set(create["responses"]) >= {"200", "400", "401", "403", "429", "503"}
    assert "404" in document["paths"]["/api/tasks/{task_id}"]["get"]["responses"]
    listed = document["paths"]["/api/tasks/user/list"]["get"]["parameters"]
    assert {one["name"] for one in listed} == {"page", "pageSize", "type"}
    assert set(document["paths"]["/works"]["post"]["requestBody"]["content"]) == {"application/json", "multipart/form-data"}
    operations = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(set(operations)) == len(operations)


async def test_a_document_of_no_routes_is_valid_too() -> None:
    async with open_door([], name="notify") as door, door.http.get(f"{door.url}/openapi.json") as answer:
        OpenAPIV31SpecValidator(await answer.json()).validate()


@pytest.fixture
async def admin() -> AsyncIterator[tuple[str, dict[str, bool]]]:
    state = {"alive": True, "ready": True}

    async def ready() -> bool:
        return state["ready"]

    metrics = Metrics("billing")
    metrics.counter("holds_placed", "Holds placed", ["asset"]).labels("credit").inc(3)
    server = TestServer(build_admin(metrics=metrics, alive=lambda: state["alive"], ready=ready))
    await server.start_server()
    yield str(server.make_url("")), state
    await server.close()


async def test_the_admin_listener_says_alive_ready_and_numbers(admin: tuple[str, dict[str, bool]]) -> None:
    url, state = admin
    async with aiohttp.ClientSession() as http:
        for path, name in (("healthz", "alive"), ("readyz", "ready")):
            async with http.get(f"{url}/{path}") as answer:
                assert answer.status == 200
            state[name] = False
            async with http.get(f"{url}/{path}") as answer:
                assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        async with http.get(f"{url}/metrics") as answer:
            said = await answer.text()
    assert 'darkroom_holds_placed_total{asset="credit"} 3.0' in said
    assert "darkroom_loop_lag_seconds" in said


async def test_registries_of_two_services_do_not_meet() -> None:
    one, other = Metrics("billing"), Metrics("works")
    one.gauge("outbox_age_seconds", "Age").set(3)
    other.gauge("outbox_age_seconds", "Age").set(4)
    assert b"darkroom_outbox_age_seconds 3.0" in one.render()
    assert b"darkroom_outbox_age_seconds 4.0" in other.render()


async def test_request_times_add_up() -> None:
    metrics = Metrics("works")
    for seconds in (0.001, 0.004, 0.03, 99):
        metrics.requests.add("GET", "/works", 200, seconds)
    said = metrics.render().decode()
    labels = 'method="GET",route="/works",status="200"'
    assert f'darkroom_http_request_seconds_bucket{{le="0.005",{labels}}} 2.0' in said
    assert f'darkroom_http_request_seconds_bucket{{le="+Inf",{labels}}} 4.0' in said
    assert f"darkroom_http_request_seconds_sum{{{labels}}} 99.035" in said


async def test_the_loop_lag_gauge_stops_when_draining() -> None:
    metrics, draining = Metrics("works"), asyncio.Event()
    watch = asyncio.ensure_future(metrics.watch_loop_lag(draining))
    draining.set()
    async with asyncio.timeout(60):
        await watch


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    output = io.BytesIO()
    monkeypatch.setattr(logs, "_bound", ContextVar("bound", default=MappingProxyType({})))
    before, level, handlers = structlog.get_config(), logging.getLogger().level, list(logging.getLogger().handlers)
    logs.configure(level="info", to=output)
    yield lambda: [orjson.loads(line) for line in output.getvalue().splitlines()]
    structlog.configure(**before)
    logging.getLogger().setLevel(level)
    logging.getLogger().handlers[:] = handlers


def test_a_log_line_is_json_with_its_context(lines: Callable[[], list[dict[str, Any]]]) -> None:
    logs.bind(service="billing", task_id="t-1")
    token = current_trace.set(Trace("request-1", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
    logs.get_logger().info("hold.placed", amount=4)
    logs.get_logger().debug("not.shown")
    current_trace.reset(token)
    (line,) = lines()
    assert line["event"] == "hold.placed"
    assert (line["service"], line["task_id"], line["amount"], line["level"]) == ("billing", "t-1", 4, "info")
    assert (line["request_id"], line["trace_id"]) == ("request-1", "0af7651916cd43dd8448eb211c80319c")
    assert line["at"].endswith("Z")


async def test_a_quick_line_says_what_any_other_line_says(lines: Callable[[], list[dict[str, Any]]]) -> None:
    logs.bind(service="billing")
    token = current_trace.set(Trace("request-1", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
    logs.say_quickly("http.answered", {"status": 200})
    logs.get_logger().info("http.answered", status=200)
    current_trace.reset(token)
    quick, other = lines()
    moments = [datetime.fromisoformat(one.pop("at")) for one in (quick, other)]
    assert quick == other == {**other, "service": "billing", "request_id": "request-1"}
    assert moments[0].utcoffset() == moments[1].utcoffset() == timedelta(0)


def test_secrets_do_not_get_into_a_line(lines: Callable[[], list[dict[str, Any]]]) -> None:
    log = logs.get_logger()
    log.info("a", password="hunter22", access_token="hunter22", headers={"Authorization": "Bearer hunter22", "Cookie": "hunter22"})
    log.info("b", url="postgresql://billing:hunter22@db/billing", said="Authorization: Bearer hunter22.x-y", body=b"hunter22")
    log.info("c", why="token eyJhbGciOiJFUzI1NiJ9.hunter22.c2lnbmF0dXJl was refused", many=["kafka://u:hunter22@a:1"])
    try:
        raise RuntimeError("cannot connect to postgresql://billing:hunter22@db/billing")
    except RuntimeError as error:
        log.error("d", exc_info=error)
    assert "hunter22" not in str(lines())
    assert "RuntimeError" in lines()[3]["exception"]


def test_what_libraries_say_becomes_a_line(lines: Callable[[], list[dict[str, Any]]]) -> None:
    logging.getLogger("library.consumer").warning("lost %s", "broker")
    logging.getLogger("asyncio").debug("noise")
    (line,) = lines()
    assert (line["event"], line["logger"], line["said"], line["level"]) == ("library.said", "library.consumer", "lost broker", "warning")


def test_a_value_that_json_does_not_know_is_still_logged(lines: Callable[[], list[dict[str, Any]]]) -> None:
    logs.get_logger().info("odd", value=object(), model=PageQuery(), number=10**40, text="\udcff")
    assert lines()[0]["event"] == "odd"


async def test_what_services_read_from_each_other_is_a_line_only_when_it_is_refused(lines: Callable[[], list[dict[str, Any]]]) -> None:
    async with open_door(ROUTES, name="generation") as door:
        for token, status in ((door.passes.service("works", "generation"), 200), ("nonsense", 401)):
            async with door.http.get(f"{door.url}/internal/revocations", headers={"Authorization": f"Bearer {token}"}) as answer:
                assert answer.status == status
    (refused,) = [line for line in lines() if line["event"].startswith("http.")]
    assert (refused["route"], refused["status"]) == ("/internal/revocations", 401)


async def test_each_request_is_one_line_and_a_fault_has_its_cause(lines: Callable[[], list[dict[str, Any]]]) -> None:
    async with open_door(ROUTES, name="generation") as door:
        headers = {"Authorization": f"Bearer {door.passes.user()}", "X-Request-Id": "request-0001"}
        async with door.http.get(f"{door.url}/api/tasks/1", headers=headers) as answer:
            assert answer.status == 200
        async with door.http.get(f"{door.url}/v1/broken", headers=headers) as answer:
            assert answer.status == 500
    answered, failed = [line for line in lines() if line["event"].startswith("http.")]
    assert (answered["event"], answered["route"], answered["status"]) == ("http.answered", "/api/tasks/{task_id}", 200)
    assert (answered["request_id"], answered["method"]) == ("request-0001", "GET")
    assert (failed["event"], failed["level"], failed["status"]) == ("http.failed", "error", 500)
    assert "RuntimeError" in failed["exception"]
    assert "hunter22" not in str(failed)
    assert "eyJ" not in str(lines())


@pytest.mark.usefixtures("lines")
async def test_lines_that_find_no_room_are_lost_and_nothing_else_is() -> None:
    class FullDisk(io.BytesIO):
        def write(self, _line: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    logs.configure(to=FullDisk())
    async with open_door(ROUTES, name="generation") as door:
        headers = {"Authorization": f"Bearer {door.passes.user()}"}
        async with door.http.get(f"{door.url}/api/tasks/1", headers=headers) as answer:
            assert answer.status == 200
        async with door.http.get(f"{door.url}/v1/broken", headers=headers) as answer:
            assert (answer.status, answer.content_type) == (500, "application/problem+json")


def test_every_refusal_has_a_sentence_in_both_languages() -> None:
    for error in every_error().values():
        assert error.slug in known_slugs()
        assert text(error.slug, "zh") != text(error.slug, "en")


def test_codes_and_slugs_belong_together() -> None:
    codes: dict[int, str] = {}
    for error in every_error().values():
        assert codes.setdefault(error.code, error.slug) == error.slug


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/api/tasks", "photo"), ("/api", "photo"), ("/apiary", "v1"), ("/users", "song"), ("/users/1", "song"), ("/login", "song"), ("/works/a", "song"),
        ("/music/tasks", "song"), ("/points/history", "song"), ("/requestPasswordReset", "song"), ("/worksheet", "v1"), ("/v1/tasks", "v1"),
        ("/internal/holds", "v1"), ("/", "v1"), ("", "v1"), ("/files/x", "v1"),
    ],
)  # fmt: skip
def test_a_path_decides_its_dialect(path: str, dialect: str) -> None:
    assert dialect_of(path) == dialect


@pytest.mark.parametrize(
    ("wanted", "photo", "v1"),
    [
        (None, "zh", "en"), ("", "zh", "en"), ("zh-CN,zh;q=0.9,en;q=0.8", "zh", "zh"), ("en", "en", "en"), ("EN-us", "en", "en"),
        ("fr, zh", "zh", "zh"), ("*", "zh", "en"), ("," * 300, "zh", "en"),
    ],
)  # fmt: skip
def test_the_language_is_the_first_known_one_asked_for(wanted: str | None, photo: str, v1: str) -> None:
    assert language_of(wanted, "photo") == photo
    assert language_of(wanted, "v1") == v1


def test_odd_field_errors_still_have_a_sentence() -> None:
    assert field_slug("something_new", {}) == "invalid"
    assert field_slug("string_too_long", {}) == "invalid"
    assert field_slug("uuid_parsing", {}) == "uuid"
    assert field_slug("literal_error", {"expected": "'a'"}) == "choice"


def test_a_sentence_about_a_field_names_the_same_in_both_languages() -> None:
    for slug in known_field_slugs():
        params = _Every()
        chinese, english = field_text(slug, "zh", params), field_text(slug, "en", params)
        assert not chinese.isascii(), slug
        assert english.isascii(), slug
        half = len(params.asked) // 2
        assert sorted(params.asked[:half]) == sorted(params.asked[half:]), slug


class _Every(dict[str, Any]):
    """Has every name, and knows which were asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __missing__(self, name: str) -> str:
        self.asked.append(name)
        return name


@pytest.mark.parametrize(("slug", "params"), [("no-such-sentence", {}), ("bytes", {}), ("bytes", {"least": 3})])
def test_a_sentence_that_the_catalogue_does_not_have_cannot_be_said(slug: str, params: dict[str, int]) -> None:
    with pytest.raises(LookupError):
        InvalidParameter.of("file", slug, **params)
    with pytest.raises(LookupError):
        wrong(slug, **params)


DIALECTS: tuple[tuple[str, Dialect, bool], ...] = (("/api/x", "photo", False), ("/users", "song", False), ("/api/x", "photo", True), ("/v1/x", "v1", False))


@pytest.mark.parametrize(("path", "dialect", "problem"), DIALECTS)
@pytest.mark.parametrize(("lang", "sentence"), [("zh", "不能超过 9 字节"), ("en", "must have at most 9 bytes")])
def test_a_refusal_is_rendered_in_the_language_of_its_reader(path: str, dialect: Dialect, problem: bool, lang: Lang, sentence: str) -> None:
    error = InvalidParameter.of("file", "bytes", most=9)
    assert (error.detail, str(error)) == ("file: must have at most 9 bytes",) * 2
    _, body, _ = render_error(error, dialect=dialect, lang=lang, path=path, request_id="r", problem=problem)
    said = orjson.loads(body)
    assert (said.get("errors") or said["details"]["errors"]) == [{"field": "file", "message": sentence}]
    assert said.get("detail", f"file: {sentence}") == f"file: {sentence}"


_BOTH: tuple[tuple[Lang, str], ...] = (("en", "the name is taken"), ("zh", text("conflict", "zh")))


def test_a_detail_without_a_sentence_is_for_those_who_read_english() -> None:
    error = Conflict("the name is taken")
    for lang, detail in _BOTH:
        _, body, _ = render_error(error, dialect="v1", lang=lang, path="/v1/x", request_id="r", problem=False)
        assert orjson.loads(body)["detail"] == detail


@pytest.mark.parametrize(("kind", "bound", "thing"), [("too_short", "min_length", "item"), ("too_long", "max_length", "item")])
def test_one_is_one_and_not_several(kind: str, bound: str, thing: str) -> None:
    word = "least" if bound == "min_length" else "most"
    for each, name in ((kind, thing), (f"string_{kind}", "character")):
        assert field_text(each, "en", {bound: 1}) == f"must have at {word} 1 {name}"
        assert field_text(each, "en", {bound: 2}) == f"must have at {word} 2 {name}s"
        assert "1 " in field_text(each, "zh", {bound: 1})


def test_a_refusal_with_text_that_is_no_unicode_is_still_rendered() -> None:
    error = InvalidParameter("x", errors=[FieldError("\udcff", "invalid")])
    _, body, _ = render_error(error, dialect="photo", lang="zh", path="/api/x", request_id="r", problem=False)
    assert orjson.loads(body)["errors"][0]["field"] == "?"


async def test_a_plain_aiohttp_runner_serves_the_same_application() -> None:
    server = TestServer(build_application([Route("GET", "/v1/a", act, auth="none")], None, name="works"))
    await server.start_server()
    async with aiohttp.ClientSession() as http, http.get(server.make_url("/v1/a")) as answer:
        assert answer.status == 200
    await server.close()
