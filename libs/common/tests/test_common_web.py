"""The HTTP edge: routes, principals, deadlines, ids, and what each dialect says."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

import orjson
import pytest
from aiohttp import WSMsgType, web
from pydantic import Field, ValidationError

from common.errors import AccountDisabled, Conflict, InsufficientCredits, Overloaded, RateLimited, TaskNotFound, WorkNotFound
from common.metrics import Metrics
from common.testing.doors import Door, Passes, open_door
from common.trace import current_trace
from common.web import Answer, Model, Moment, Request, Route, WebRunner, Whole, build_application
from common.web.photo import Ok, Page, PageQuery
from common.web.song import SongPage, SongPageQuery


class Ask(Model):
    kind: str = Field(min_length=1, max_length=20)
    count: int = Field(default=1, ge=1, le=50)
    note: str | None = None


class Thing(Model):
    thing_id: str
    count: int
    at: Moment


class Filters(PageQuery):
    kind: str | None = None


ThingOk = Ok[Thing]
AT = datetime(2026, 3, 4, 5, 6, 7, 891234, UTC)


@dataclass
class Seen:
    """What the handlers saw."""

    asks: list[Any] = field(default_factory=list)
    traces: list[Any] = field(default_factory=list)


async def create(request: Request[Seen]) -> Answer:
    request.deps.asks.append(request.body)
    request.deps.traces.append(current_trace.get())
    return Answer(ThingOk(data=Thing(thing_id=str(request.user_id), count=request.body.count, at=AT)))


async def listed(request: Request[Seen]) -> Answer:
    query = request.query
    return Answer(Ok[Page](message=query.kind, data=Page.of(query, total=41)))


async def listed_for_song(request: Request[Seen]) -> Answer:
    return Answer(SongPage[int](results=[1], page=request.query.page, limit=request.query.limit, total=1))


async def named(request: Request[Seen]) -> Answer:
    return Answer(orjson.dumps({"id": str(request.id("task_id", TaskNotFound))}))


async def who(request: Request[Seen]) -> Answer:
    principal = request.maybe_principal
    return Answer(orjson.dumps({"name": principal.name if principal else None, "key": request.idempotency_key}))


async def broken(_request: Request[Seen]) -> Answer:
    raise RuntimeError("SELECT secret FROM vault; postgres://user:hunter22@db")


async def slow(_request: Request[Seen]) -> Answer:
    await asyncio.sleep(5)
    raise AssertionError("the deadline did not come")


async def stream_then_break(request: Request[Seen]) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = 1000
    await response.prepare(request.http)
    await response.write(b"half")
    raise RuntimeError("in the middle")


async def socket(request: Request[Seen]) -> web.StreamResponse:
    ws = web.WebSocketResponse()
    await ws.prepare(request.http)
    async for message in ws:
        if message.type is WSMsgType.TEXT:
            await ws.send_str(message.data.upper())
    return ws


async def made(_request: Request[Seen]) -> Answer:
    return Answer(b'{"a":1}', status=201, headers={"Location": "/works/1", "ETag": '"1"'})


async def nothing(_request: Request[Seen]) -> Answer:
    return Answer(None, status=204)


async def injected(_request: Request[Seen]) -> Answer:
    return Answer(b"{}", headers={"Location": "/a\r\nSet-Cookie: b=c"})


def refusing(error: Exception) -> Any:
    async def refuse(_request: Request[Seen]) -> Answer:
        raise error

    return refuse


def routes() -> list[Route]:
    return [
        Route("POST", "/api/things", create, body=Ask, answers={200: ThingOk}, summary="Make a thing"),
        Route("POST", "/v1/things", create, body=Ask),
        Route("POST", "/music/things", create, body=Ask),
        Route("GET", "/api/things", listed, auth="none", query=Filters),
        Route("GET", "/works", listed_for_song, auth="none", query=SongPageQuery),
        Route("GET", "/api/tasks/{task_id}", named, auth="none"),
        Route("GET", "/api/scenes/{scene_id}", made, auth="none"),
        Route("GET", "/api/who", who, auth="optional"),
        Route("GET", "/music/who", who),
        Route("GET", "/api/admin/who", who, auth="admin"),
        Route("POST", "/internal/who", who, auth="service"),
        Route("GET", "/api/broken", broken, auth="none"),
        Route("GET", "/works/broken", broken, auth="none"),
        Route("GET", "/v1/broken", broken, auth="none"),
        Route("GET", "/api/slow", slow, auth="none", deadline_seconds=0.2),
        Route("GET", "/v1/stream", stream_then_break, auth="none", raw=True),
        Route("GET", "/ws", socket, auth="none", raw=True),
        Route("POST", "/works", made, auth="none"),
        Route("DELETE", "/v1/nothing", nothing, auth="none"),
        Route("GET", "/v1/injected", injected, auth="none"),
        Route("GET", "/api/poor", refusing(InsufficientCredits.lacking(required=4, current=1)), auth="none"),
        Route("GET", "/music/poor", refusing(InsufficientCredits.lacking(required=100, current=1)), auth="none"),
        Route("GET", "/api/disabled", refusing(AccountDisabled()), auth="none"),
        Route("GET", "/v1/disabled", refusing(AccountDisabled()), auth="none"),
        Route("GET", "/works/missing", refusing(WorkNotFound()), auth="none"),
        Route("GET", "/v1/full", refusing(Overloaded(retry_after_seconds=7)), auth="none"),
        Route("GET", "/v1/limited", refusing(RateLimited()), auth="none"),
        Route("GET", "/v1/conflict", refusing(Conflict("changed since")), auth="none"),
        Route("GET", "/v1/lost", refusing(ConnectionResetError("upstream")), auth="none"),
        Route("GET", "/v1/late", refusing(TimeoutError()), auth="none"),
        Route("GET", "/v1/aio-missing", refusing(web.HTTPNotFound()), auth="none"),
        Route("GET", "/v1/moved", refusing(web.HTTPFound("/v1/there")), auth="none", raw=True),
    ]


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics("works")


@pytest.fixture
async def door(seen: Seen, metrics: Metrics) -> AsyncIterator[Door]:
    async with open_door(routes(), seen, metrics=metrics) as opened:
        yield opened


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def ask(door: Door, method: str, path: str, *, token: str | None = None, status: int, **options: Any) -> Any:
    headers = {**options.pop("headers", {}), **(bearer(token) if token else {})}
    async with door.http.request(method, door.url + path, headers=headers, allow_redirects=False, **options) as answer:
        content = await answer.read()
        assert answer.status == status, content
        assert answer.headers["Server"] == "darkroom"
        assert answer.headers["X-Request-Id"]
        if status >= 400:
            assert answer.headers["X-Error-Code"].isdigit()
        if status in (429, 503):
            assert int(answer.headers["Retry-After"]) >= 1
        return orjson.loads(content) if content else None


async def test_a_post_is_parsed_acted_on_and_rendered(door: Door, seen: Seen) -> None:
    user = uuid4()
    token = door.passes.signer.sign_user_token(user, session_id="s")  # type: ignore[arg-type]
    found = await ask(door, "POST", "/api/things", token=token, status=200, json={"kind": "fitting", "count": 3, "points": 10**6})
    assert found == {"success": True, "data": {"thing_id": str(user), "count": 3, "at": "2026-03-04T05:06:07.891Z"}}
    assert seen.asks[0].kind == "fitting"
    assert not hasattr(seen.asks[0], "points")


async def test_a_faulty_field_is_named_in_each_dialect_and_language(door: Door) -> None:
    token = door.passes.user()
    body = {"count": 51}
    photo = await ask(door, "POST", "/api/things", token=token, status=400, json=body)
    assert photo == {
        "success": False,
        "message": "请求参数有误",
        "errors": [{"field": "kind", "message": "不能为空"}, {"field": "count", "message": "不能大于 50"}],
    }
    english = await ask(door, "POST", "/api/things", token=token, status=400, json=body, headers={"Accept-Language": "en-GB,en;q=0.9,zh;q=0.1"})
    assert english["errors"][1] == {"field": "count", "message": "must be at most 50"}
    song = await ask(door, "POST", "/music/things", token=token, status=400, json=body)
    assert set(song) == {"code", "message", "details", "timestamp"}
    assert song["code"] == 10001
    assert song["details"]["errors"][0]["field"] == "kind"
    v1 = await ask(door, "POST", "/v1/things", token=token, status=400, json=body)
    assert v1["type"] == "urn:darkroom:error:invalid-parameter"
    assert (v1["code"], v1["status"], v1["retryable"], v1["instance"]) == (10001, 400, False, "/v1/things")
    problem = await ask(door, "POST", "/api/things", token=token, status=400, json=body, headers={"Accept": "application/problem+json"})
    assert problem["code"] == 10001


async def test_a_validation_answer_never_repeats_the_value_sent(door: Door) -> None:
    async with door.http.post(f"{door.url}/v1/things", json={"kind": "hunter22" * 9}, headers=bearer(door.passes.user())) as answer:
        assert answer.status == 400
        assert "hunter22" not in await answer.text()


@pytest.mark.parametrize(
    ("path", "status", "part"),
    [
        ("/api/poor", 400, {"success": False, "message": "积分不足", "data": {"required": 4, "current": 1, "shortage": 3}}),
        ("/music/poor", 402, {"code": 40000, "message": "积分不足", "details": {"required": 100, "current": 1, "shortage": 99}}),
        ("/api/disabled", 401, {"success": False, "message": "账号已被禁用"}),
        ("/v1/disabled", 403, {"code": 20003, "title": "This account is disabled."}),
        ("/works/missing", 404, {"code": 30000, "message": "作品不存在", "details": {}}),
        ("/v1/full", 503, {"code": 10007, "retryable": True}),
        ("/v1/limited", 429, {"code": 10004, "retryable": True}),
        ("/v1/conflict", 409, {"code": 10005, "detail": "changed since"}),
        ("/v1/lost", 503, {"code": 10007}),
        ("/v1/late", 503, {"code": 10007}),
        ("/v1/aio-missing", 404, {"code": 10008}),
    ],
)
async def test_a_refusal_has_the_status_and_shape_of_its_dialect(door: Door, path: str, status: int, part: dict[str, Any]) -> None:
    found = await ask(door, "GET", path, status=status)
    assert found | part == found


async def test_a_redirect_passes(door: Door) -> None:
    async with door.http.get(f"{door.url}/v1/moved", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "/v1/there")


@pytest.mark.parametrize("path", ["/api/broken", "/works/broken", "/v1/broken"])
async def test_a_fault_of_ours_says_nothing_about_itself(door: Door, path: str) -> None:
    found = await ask(door, "GET", path, status=500)
    assert not any(word in str(found) for word in ("SELECT", "hunter22", "RuntimeError", "Traceback", ".py"))
    assert found.get("code", 10000) == 10000


async def test_an_unknown_route_is_refused_in_the_dialect_of_its_path(door: Door) -> None:
    assert await ask(door, "GET", "/api/nope?x=1", status=404) == {"success": False, "message": "请求的接口不存在", "path": "/api/nope"}
    assert (await ask(door, "GET", "/works/a/b", status=404))["code"] == 10008
    assert (await ask(door, "POST", "/nowhere", status=404))["instance"] == "/nowhere"
    assert (await ask(door, "GET", "/api/%ff%00/" + "x" * 3000, status=404))["success"] is False


async def test_a_wrong_method_is_told_the_right_ones(door: Door) -> None:
    for method in ("PUT", "TRACE", "PROPFIND", "OPTIONS"):
        async with door.http.request(method, f"{door.url}/api/things") as answer:
            assert answer.status == 405
            assert answer.headers["Allow"] == "GET, HEAD, POST"
            assert (await answer.json())["success"] is False


@pytest.mark.parametrize("path", ["/api/admin/who/", "//api/admin/who", "/API/admin/who", "/api//admin/who", "/api/admin/../admin/who/"])
async def test_a_path_in_disguise_is_no_route(door: Door, path: str) -> None:
    answer = await door.send_raw(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")


async def test_head_is_get_without_the_body(door: Door) -> None:
    async with door.http.head(f"{door.url}/api/things") as answer:
        assert answer.status == 200
        assert int(answer.headers["Content-Length"]) > 0
        assert await answer.read() == b""
    raw = await door.send_raw(b"HEAD /api/nope HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert raw.startswith(b"HTTP/1.1 404 ")
    assert raw.endswith(b"\r\n\r\n")


async def test_status_headers_and_empty_answers_go_out_as_told(door: Door) -> None:
    async with door.http.post(f"{door.url}/works") as answer:
        assert (answer.status, answer.headers["Location"], answer.headers["ETag"]) == (201, "/works/1", '"1"')
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    async with door.http.delete(f"{door.url}/v1/nothing") as answer:
        assert answer.status == 204
        assert "Content-Length" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "kept"),
    [("GET", "/api/who", "no-store"), ("POST", "/works", "no-store"), ("GET", "/v1/nope", "no-store"), ("GET", "/openapi.json", "no-cache")],
)
async def test_no_cache_keeps_what_does_not_say_for_whom_it_is(door: Door, method: str, path: str, kept: str) -> None:
    async with door.http.request(method, door.url + path) as answer:
        assert answer.headers.getall("Cache-Control") == [kept]


async def test_a_line_break_in_a_header_is_a_fault_and_never_goes_out(door: Door) -> None:
    answer = await door.send_raw(b"GET /v1/injected HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert b"Set-Cookie" not in answer


async def test_an_empty_filter_is_an_absent_one(door: Door) -> None:
    found = await ask(door, "GET", "/api/things?kind=&page=&pageSize=2", status=200)
    assert found == {"success": True, "data": {"page": 1, "pageSize": 2, "total": 41, "totalPages": 21}}


@pytest.mark.parametrize(
    "query", ["page=-1", "page=0", "page=1.5", "page=abc", "page=1e3", "page=99999999", "pageSize=101", "pageSize=1000000000", "kind=%00a"]
)
async def test_a_page_that_cannot_be_is_refused(door: Door, query: str) -> None:
    found = await ask(door, "GET", f"/api/things?{query}", status=400)
    assert found["errors"][0]["field"] == query.partition("=")[0]


async def test_song_pages_have_their_own_names(door: Door) -> None:
    assert await ask(door, "GET", "/works?page=2&limit=5", status=200) == {"results": [1], "page": 2, "limit": 5, "total": 1}
    assert (await ask(door, "GET", "/works?limit=101", status=400))["details"]["errors"][0]["field"] == "limit"


async def test_a_path_parameter_that_is_no_id_is_an_unknown_thing(door: Door) -> None:
    task_id = UUID("01890000-0000-7000-8000-000000000001")
    assert await ask(door, "GET", f"/api/tasks/{task_id}", status=200) == {"id": str(task_id)}
    for name in ("1", "not-an-id", "x" * 36, "%F0%9F%8D%95"):
        assert (await ask(door, "GET", f"/api/tasks/{name}", status=404))["message"] == "任务不存在"
    for name in ("a%00b", "%00"):
        await ask(door, "GET", f"/api/scenes/{name}", status=400)


async def test_roles_decide_who_may_ask(door: Door) -> None:
    passes = door.passes
    user, admin, service = passes.user(), passes.user(role="admin"), passes.service("billing", "works")
    assert (await ask(door, "GET", "/api/who", status=200))["name"] is None
    assert (await ask(door, "GET", "/api/who", token=user, status=200))["name"]
    for token, status in ((None, 401), (user, 403), (service, 403), (admin, 200), ("x.y.z", 401)):
        await ask(door, "GET", "/api/admin/who", token=token, status=status)
    for token, status in ((None, 401), (user, 403), (admin, 403), (service, 200), (passes.service("billing", "notify"), 401)):
        await ask(door, "POST", "/internal/who", token=token, status=status)
    await ask(door, "GET", "/api/who", token=service, status=403)
    await ask(door, "GET", "/api/who", token="bad", status=401)
    await ask(door, "GET", "/api/who", status=401, headers={"Authorization": "Basic YTpi"})


async def test_a_song_session_header_is_a_bearer_on_song_paths_only(door: Door) -> None:
    token = door.passes.user()
    assert (await ask(door, "GET", "/music/who", status=200, headers={"X-LC-Session": token}))["name"]
    assert (await ask(door, "GET", "/api/who", status=200, headers={"X-LC-Session": token}))["name"] is None


@pytest.mark.parametrize(("sent", "key"), [("abc", "abc"), ('"abc def"', "abc def"), ("x" * 255, "x" * 255), ('"' + "y" * 255 + '"', "y" * 255)])
async def test_an_idempotency_key_may_be_quoted_or_bare(door: Door, sent: str, key: str) -> None:
    assert (await ask(door, "GET", "/api/who", status=200, headers={"Idempotency-Key": sent}))["key"] == key


@pytest.mark.parametrize("sent", ["", '""', "x" * 256, "caf\u00e9", "a\tb"])
async def test_a_key_that_is_none_is_refused(door: Door, sent: str) -> None:
    found = await ask(door, "GET", "/api/who", status=400, headers={"Idempotency-Key": sent})
    assert found["errors"][0]["field"] == "Idempotency-Key"


async def test_two_idempotency_keys_are_refused(door: Door) -> None:
    answer = await door.send_raw(b"GET /api/who HTTP/1.1\r\nHost: a\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_a_sane_request_id_and_trace_are_kept_and_others_are_replaced(door: Door, seen: Seen) -> None:
    token, parent = door.passes.user(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for sent, kept in (("client-request-1", True), ("short", False), ("a b c d e f g h", False), ("x" * 65, False), ("<script>alert(1)", False)):
        headers = {**bearer(token), "X-Request-Id": sent, "traceparent": parent}
        async with door.http.post(f"{door.url}/v1/things", json={"kind": "a"}, headers=headers) as answer:
            assert (answer.headers["X-Request-Id"] == sent) is kept
            assert seen.traces[-1].correlation_id == answer.headers["X-Request-Id"]
            assert seen.traces[-1].traceparent == parent
    async with door.http.post(f"{door.url}/v1/things", json={"kind": "a"}, headers={**bearer(token), "traceparent": "00-" + "0" * 32}) as answer:
        assert answer.status == 200
        assert len(seen.traces[-1].traceparent) == 55


async def test_a_request_past_its_deadline_is_answered_503_and_the_connection_goes_on(door: Door) -> None:
    async with asyncio.timeout(60):
        found = await ask(door, "GET", "/api/slow", status=503)
    assert found == {"success": False, "message": "服务暂时不可用，请稍后再试"}
    await ask(door, "GET", "/api/who", status=200)


async def test_an_error_after_the_answer_began_closes_the_connection(door: Door) -> None:
    answer = await door.send_raw(b"GET /v1/stream HTTP/1.1\r\nHost: a\r\n\r\n", seconds=2)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\nhalf")


async def test_a_socket_is_a_raw_route(door: Door) -> None:
    async with door.http.ws_connect(f"{door.url}/ws") as ws:
        await ws.send_str("hello")
        assert (await ws.receive()).data == "HELLO"


async def test_requests_are_counted_by_route_pattern(door: Door, metrics: Metrics) -> None:
    await ask(door, "GET", "/api/tasks/1", status=404)
    await ask(door, "GET", "/api/tasks/2", status=404)
    text = metrics.render().decode()
    assert 'darkroom_http_request_seconds_count{method="GET",route="/api/tasks/{task_id}",status="404"} 2.0' in text


async def test_expect_continue_is_answered_and_other_expectations_are_refused(door: Door) -> None:
    head = f"POST /v1/things HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {door.passes.user()}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    answer = await door.send_raw(f'{head}Expect: 100-continue\r\nContent-Length: 12\r\n\r\n{{"kind":"a"}}'.encode())
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")
    answer = await door.send_raw(f'{head}Expect: miracles\r\nContent-Length: 12\r\n\r\n{{"kind":"a"}}'.encode(), seconds=1)
    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_http_1_0_is_answered_and_closed(door: Door) -> None:
    answer = await door.send_raw(b"GET /api/things HTTP/1.0\r\n\r\n", seconds=2)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"Connection: close\r\n" in answer


async def test_many_requests_on_one_connection_are_answered_in_order(door: Door) -> None:
    one = b"GET /works?page=%d HTTP/1.1\r\nHost: a\r\n\r\n"
    last = b"GET /works?page=21 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answer = await door.send_raw(b"".join(one % page for page in range(1, 21)) + last)
    assert [b'"page":%d,' % page in part for page, part in enumerate(answer.split(b"HTTP/1.1 200")[1:], 1)] == [True] * 21


async def test_a_draining_edge_asks_its_clients_to_connect_anew() -> None:
    runner = WebRunner(build_application([Route("GET", "/v1/who", who, auth="none")], Seen(), name="works"))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    reader, writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])
    writer.write(b"GET /v1/who HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"Connection:" not in await reader.readuntil(b"}")
    runner.begin_drain()
    writer.write(b"GET /v1/who HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"Connection: close\r\n" in await reader.read()
    writer.close()
    await runner.cleanup()


def test_routes_that_ask_who_is_there_need_an_authenticator() -> None:
    with pytest.raises(ValueError, match="authenticator"):
        build_application([Route("GET", "/v1/a", who)], None, name="works")


async def test_several_edges_share_a_process_without_sharing_anything() -> None:
    passes = Passes()
    async with open_door(routes(), Seen(), name="works", passes=passes) as one, open_door([], name="billing", passes=passes) as other:
        await ask(one, "GET", "/api/things", status=200)
        await ask(other, "GET", "/api/things", status=404)


class Counted(Model):
    """As bodies count: with a default, and bounded."""

    count: Whole = Field(default=1, ge=-5, le=5)
    change: Annotated[Whole, Field(ge=-5)] | None = None


@pytest.mark.parametrize("body", ['{"count": true}', '{"count": false}', '{"change": true}'])
def test_true_and_false_are_no_numbers(body: str) -> None:
    with pytest.raises(ValidationError, match="must be a whole number"):
        Counted.model_validate_json(body)


def test_a_number_is_taken_as_before() -> None:
    assert Counted.model_validate_json('{"count": 3, "change": "-2"}') == Counted(count=3, change=-2)
    with pytest.raises(ValidationError):
        Counted.model_validate_json('{"count": 6}')
