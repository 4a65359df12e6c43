"""The short path and the careful one, side by side: whatever is asked, however it arrives, both give the same answer."""

import asyncio
import contextlib
import io
import itertools
import json
from typing import Any

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

TOKEN = b"Authorization: Bearer t\r\n"
JSON = b"Content-Type: application/json\r\n"


def _request(line: str, headers: bytes = b"", body: bytes | None = None) -> bytes:
    length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
    return line.encode() + b" HTTP/1.1\r\nHost: darkroom.example\r\n" + headers + length + b"\r\n" + (body or b"")


PLAIN = {
    "a read": _request("GET /api/works/1"),
    "a query": _request("GET /api/works?page=2&tag=%E6%97%85&empty="),
    "a slash at the end": _request("GET /api/works/"),
    "an escape": _request("GET /api/scenes/paris%20street"),
    "headers of others": _request(
        "GET /works", b"X-User-Id: 7\r\nx-internal-secret: s\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX_User_Id: 7\r\n"
    ),
    "a method override": _request("POST /points/purchase", TOKEN + b"X-HTTP-Method-Override: DELETE\r\n", b"{}"),
    "a body": _request("POST /api/tasks/create", TOKEN + JSON + b"Idempotency-Key: k\r\n", b'{"type":"travel"}'),
    "an empty body": _request("POST /api/tasks/7/cancel", TOKEN, b""),
    "a body of 64 KiB": _request("POST /api/tasks/create", TOKEN + JSON, b"x" * 65536),
    "a larger body": _request("POST /api/tasks/create", TOKEN + JSON, b"x" * 65537),
    "a put": _request("PUT /api/works/1", TOKEN + JSON, b'{"is_public":true}'),
    "a delete": _request("DELETE /api/works/1", TOKEN),
    "chunks sent": _request("POST /api/tasks/create", TOKEN + b"Transfer-Encoding: chunked\r\n") + b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n",
    "chunks answered": _request("GET /works/chunks"),
    "nothing answered": _request("DELETE /works/none", TOKEN),
    "not modified": _request("GET /works/same"),
    "a refusal of the service": _request("PUT /works/refused", TOKEN, b"{}"),
    "a large answer": _request("GET /files/large"),
    "an unknown path": _request("GET /nowhere"),
    "an unknown path of the photo dialect": _request("GET /api/nowhere", b"Accept-Language: en\r\n"),
    "a wrong method": _request("DELETE /users", TOKEN),
    "no token": _request("GET /api/auth/me"),
    "a song token": _request("GET /points/history", b"X-LC-Session: t\r\n"),
    "a language": _request("GET /points/history", b"accept-language: en-GB,zh;q=0.5\r\n"),
    "a problem": _request("GET /points/history", b"Accept: application/problem+json\r\n"),
    "too large": _request("POST /login", JSON, b"x" * (256 * 1024 + 1)),
    "preflight": _request("OPTIONS /api/works", b"Origin: https://app.example\r\nAccess-Control-Request-Method: PUT\r\n"),
    "its own request id": _request("GET /works/1", b"X-Request-Id: my-id-1\r\n"),
    "a bad request id": _request("GET /works/1", b"X-Request-Id: <script>\r\n"),
    "its own trace": _request("GET /works/1", b"traceparent: 00-0123456789abcdef0123456789abcdef-0123456789abcdef-01\r\n"),
    "a bad trace": _request("GET /works/1", b"traceparent: 00-00000000000000000000000000000000-0123456789abcdef-01\r\n"),
    "continue first": _request("POST /login", JSON + b"Expect: 100-continue\r\n", b'{"a":1}'),
    "a foreign upgrade": _request("GET /works/1", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
    "a header that is named": _request("GET /works/1", b"Connection: X-Secret\r\nX-Secret: s\r\n"),
    "a token that the connection names": _request("GET /points/history", b"X-LC-Session: t\r\nAuthorization: Bearer a.b.c\r\nConnection: Authorization\r\n"),
    "two tokens": _request("GET /points/history", TOKEN + b"authorization: Bearer u\r\n"),
    "two sessions": _request("GET /points/history", b"X-LC-Session: t\r\nX-LC-Session: u\r\n"),
    "two tokens in two ways": _request("GET /points/history", TOKEN + b"X-LC-Session: u\r\n"),
    "no bearer, and a session": _request("POST /users", b"Authorization: Basic dDp0\r\nX-LC-Session: t\r\n", b"{}"),
    "one token in two ways": _request("GET /points/history", TOKEN + b"X-LC-Session: t\r\n"),
    "a token with a space that only some know": _request("GET /points/history", b"Authorization: Bearer t\xc2\xa0\r\n"),
    "a session that is no text": _request("GET /points/history", b"X-LC-Session: t\xff\r\n"),
    "two keys": _request("POST /points/purchase", TOKEN + b"Idempotency-Key: a\r\nIdempotency-Key: b\r\n", b"{}"),
    "a key that is no text": _request("POST /points/purchase", TOKEN + b"Idempotency-Key: k\xff\r\n", b"{}"),
    "an encoded body": _request("POST /login", JSON + b"Content-Encoding: br\r\n", b"xx"),
    "two hosts": _request("GET /works/1", b"Host: other.example\r\n"),
    "no host": b"GET /works/1 HTTP/1.1\r\n\r\n",
    "two lengths": _request("POST /login", b"Content-Length: 5\r\n", b"abc"),
    "a length and chunks": _request("POST /login", b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n"),
    "an unknown coding": _request("POST /login", b"Transfer-Encoding: gzip\r\n"),
    "a signed length": b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
    "a folded header": _request("GET /works/1", b"X-A: b\r\n c\r\n"),
    "a space before the colon": _request("GET /works/1", b"X-A : b\r\n"),
    "a control character": _request("GET /works/1", b"X-A: b\x01c\r\n"),
    "a bare line feed": b"GET /works/1 HTTP/1.1\r\nHost: x\nX-A: b\r\n\r\n",
    "TRACE": _request("TRACE /users"),
    "CONNECT": b"CONNECT /users HTTP/1.1\r\nHost: x\r\n\r\n",
    "an absolute target": _request("GET http://darkroom.example/works/1"),
    "an older version": b"GET /works/1 HTTP/1.0\r\nHost: x\r\n\r\n",
    "nonsense": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is not HTTP\r\n\r\n",
    "many headers": _request("GET /works/1", b"".join(b"X-%d: y\r\n" % number for number in range(10_000))),
    "one long header": _request("GET /works/1", b"X-A: " + b"y" * 20_000 + b"\r\n"),
}
REFUSED = {
    "two hosts",
    "no host",
    "a token that the connection names",
    "two tokens",
    "two sessions",
    "two tokens in two ways",
    "no bearer, and a session",
    "a token with a space that only some know",
    "a session that is no text",
    "two keys",
    "a key that is no text",
    "two lengths",
    "a length and chunks",
    "an unknown coding",
    "a signed length",
    "a folded header",
    "a space before the colon",
    "a control character",
    "a bare line feed",
    "nonsense",
    "many headers",
    "one long header",
}
NOBODYS = {"a token with a space that only some know", "a session that is no text"}
CAREFUL = {
    "an encoded body",
    "an escape",
    "a larger body",
    "chunks sent",
    "too large",
    "an older version",
    "TRACE",
    "CONNECT",
    "an absolute target",
    "continue first",
    "preflight",
    "a header that is named",
    "a bad trace",
    "one token in two ways",
}
SHORT = sorted(set(PLAIN) - REFUSED - CAREFUL)
WITHOUT_COMPARISON = {"date", "x-request-id", "server", "connection", "keep-alive"}
CLOSING = _request("GET /works/bye", b"Connection: close\r\n")


def _plain(answer: Any) -> tuple[int, dict[str, str], Any]:
    headers = {name: value for name, value in answer.headers.items() if name not in WITHOUT_COMPARISON}
    body = answer.body
    if body.startswith(b'{"method"') or b'"timestamp"' in body or b'"request_id"' in body:
        told = json.loads(body)
        headers.pop("content-length", None)
        told.pop("timestamp", None)
        told.pop("request_id", None)
        told["headers"] = sorted(
            [name.lower(), "" if name.lower() in ("traceparent", "x-request-id") else value]
            for name, value in told.get("headers", [])
            if (name.lower(), value) != ("content-length", "0")  # a body of nothing, said or not
        )
        body = told
    return answer.status, headers, body


@pytest.fixture
async def doors(open_door: Any, echo: Any) -> Any:
    async with open_door(echo.url) as short, open_door(echo.url, careful_only=True) as careful:
        yield short, careful


@pytest.mark.parametrize("name", PLAIN)
async def test_both_paths_answer_alike(doors: Any, name: str) -> None:
    raw = PLAIN[name] + (CLOSING if name in SHORT else b"")
    short = await doors[0].ask(raw, wait_seconds=2)
    careful = await doors[1].ask(PLAIN[name], wait_seconds=2) + (await doors[1].ask(CLOSING) if name in SHORT else [])
    assert [_plain(one) for one in short] == [_plain(one) for one in careful]
    assert short
    assert all(one.status < 500 for one in short)
    if name in REFUSED:
        assert (short[0].status, short[0].code()) == ((401, 10002) if name in NOBODYS else (400, 10001))


@pytest.mark.parametrize("version", ["0.9", "2.0"])
async def test_a_version_that_is_not_spoken_is_refused_in_one_that_is(doors: Any, echo: Any, version: str) -> None:
    for door in doors:
        head, _, body = (await door.say(f"GET /api/works/1 HTTP/{version}\r\nHost: x\r\n\r\n".encode())).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert b"\r\nX-Error-Code: 10001\r\n" in head
        assert b"\r\nConnection: close" in head
        assert (json.loads(body)["success"], door.ended) == (False, True)
    assert not echo.seen


@pytest.mark.parametrize("name", ["a body", "chunks answered", "an unknown path", "no token", "its own request id", "chunks sent"])
async def test_a_request_may_arrive_byte_by_byte_or_cut_anywhere(doors: Any, name: str) -> None:
    whole = PLAIN[name] + (CLOSING if name in SHORT else b"")
    for door in doors:
        expected = [_plain(one) for one in await door.ask(whole)]
        by_byte = await door.ask(*(whole[at : at + 1] for at in range(len(whole))))
        assert [_plain(one) for one in by_byte] == expected
        for cut in range(1, len(whole), 7):
            assert [_plain(one) for one in await door.ask(whole[:cut], whole[cut:], pause_seconds=0.001)] == expected


@given(names=st.lists(st.sampled_from(SHORT), max_size=12), last=st.sampled_from(sorted(PLAIN)), cuts=st.lists(st.integers(0, 4000), max_size=4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_requests_sent_in_one_go_are_answered_in_their_order(doors: Any, names: list[str], last: str, cuts: list[int]) -> None:
    short, careful = doors
    requests = [PLAIN[name] for name in names] + [PLAIN[last] + (CLOSING if last in SHORT else b"")]
    raw = b"".join(requests)
    edges = sorted({0, len(raw), *(cut % len(raw) for cut in cuts)})
    chained = await short.ask(*(raw[start:end] for start, end in itertools.pairwise(edges)))
    one_by_one = [answer for request in requests for answer in _final(await careful.ask(request))[:1]]
    if last in SHORT:
        one_by_one += await careful.ask(CLOSING)
    assert [_plain(one) for one in _final(chained)] == [_plain(one) for one in one_by_one]


def _final(answers: list[Any]) -> list[Any]:
    """Without the interim ones: whoever said Expect is told to go on first."""
    return [one for one in answers if one.status >= 200]


@pytest.mark.parametrize("path", ["/works/1", "/works/large", "/works/chunks", "/works/none", "/nowhere"])
async def test_a_head_has_no_body_and_the_next_answer_follows(doors: Any, path: str) -> None:
    short, careful = doors
    answers = await short.ask(_request(f"HEAD {path}") + CLOSING, heads=1)
    assert [one.body == b"" for one in answers] == [True, False]
    assert answers[1].status == 200
    assert [_plain(one) for one in await careful.ask(_request(f"HEAD {path}"), heads=1)] == [_plain(answers[0])]


async def test_an_answer_that_breaks_off_breaks_off_for_the_client_too(doors: Any) -> None:
    for door in doors:
        raw = await door.say(_request("GET /works/broken"))
        assert raw.startswith(b"HTTP/1.1 200")
        assert b"Content-Length: 1000" in raw
        assert len(raw) < 1000


async def test_what_the_client_says_is_what_the_service_hears(doors: Any, echo: Any) -> None:
    for door in doors:
        (answer,) = await door.ask(_request("POST /api/tasks/create?x=%2C", TOKEN + JSON + b'Idempotency-Key: "k 1"\r\nConnection: close\r\n', b'{"a":1}'))
        told = json.loads(answer.body)
        headers = {name.lower(): value for name, value in told["headers"]}
        assert (told["method"], told["target"], told["size"]) == ("POST", "/api/tasks/create?x=%2C", 7)
        assert headers["authorization"] == "Bearer t"
        assert headers["idempotency-key"] == '"k 1"'
        assert headers["host"] == "darkroom.example"
        assert answer.headers["x-request-id"] == headers["x-request-id"] or len(answer.headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    "asked",
    ["a read", "a body", "a larger body", "chunks sent", "an escape", "no token", "two tokens", "a large answer"],
)
async def test_whoever_asks_and_then_says_no_more_is_answered(doors: Any, asked: str) -> None:
    for door in doors:
        expected = [_plain(one) for one in (await door.ask(PLAIN[asked] + (CLOSING if asked in SHORT else b"")))[:1]]
        assert [_plain(one) for one in await door.ask(PLAIN[asked], half_close=True)] == expected
        assert door.ended


async def test_all_that_was_asked_before_the_end_is_answered_in_its_order(doors: Any) -> None:
    asked = [PLAIN["a read"], *[PLAIN["an unknown path"]] * 50, PLAIN["a query"], PLAIN["a larger body"]]
    for wanted in (asked, asked[:-1]):
        answers = await doors[0].ask(b"".join(wanted), half_close=True)
        assert ([one.status for one in answers], doors[0].ended) == ([200] + [404] * 50 + [200] * (len(wanted) - 51), True)


@pytest.mark.parametrize("half", [b"", b"GET /works/1 HT", PLAIN["a body"][:-3], PLAIN["a larger body"][:-3], PLAIN["chunks sent"][:-3]])
async def test_half_a_request_and_then_the_end_is_no_request(doors: Any, echo: Any, half: bytes) -> None:
    for door in doors:
        assert await door.say(half, half_close=True, wait_seconds=3) == b""
        assert door.ended
    assert not echo.seen


@pytest.mark.parametrize("asked", ["continue first", "a larger body", "chunks sent", "a body"])
async def test_who_leaves_in_the_middle_of_a_request_is_no_fault_of_ours(doors: Any, asked: str) -> None:
    with capture_logs() as logs:
        for door in doors:
            assert b"HTTP/1.1 5" not in await door.say(PLAIN[asked][:-3], wait_seconds=0.2)
        await asyncio.sleep(0.2)
    assert [one for one in logs if one["log_level"] == "error"] == []


async def test_a_large_upload_streams_through_without_being_kept(open_door: Any, echo: Any) -> None:
    body = b"0123456789abcdef" * 65536
    async with open_door(echo.url) as door:
        (answer,) = await door.ask(_request("POST /api/upload/single", TOKEN + b"Connection: close\r\n", body), wait_seconds=10)
    assert json.loads(answer.body)["size"] == len(body)


async def test_a_client_that_reads_slowly_is_waited_for_and_one_that_stops_is_not(open_door: Any, serve: Any) -> None:
    async def large(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=io.BytesIO(bytes(64 << 20)))

    async with serve(large) as url, open_door(url, progress_seconds=0.6) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=1024)
        try:
            writer.write(_request("GET /files/x"))
            for _ in range(8):
                await reader.readexactly(2 << 20)
                await asyncio.sleep(0.2)
            assert len(door.hall.fronts) == 1
            async with asyncio.timeout(60):
                while door.hall.fronts:
                    await asyncio.sleep(0.05)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def test_a_client_that_reads_slowly_slows_the_service_down_instead_of_filling_memory(open_door: Any, serve: Any) -> None:
    sent = 0

    async def flood(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Length": str(64 << 20)})
        await response.prepare(request)
        for _ in range(1024):
            await response.write(bytes(65536))
            sent += 65536
        return response

    for careful_only in (False, True):
        sent = 0
        async with serve(flood) as url, open_door(url, careful_only=careful_only) as door:
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=1024)
            writer.write(_request("GET /files/x"))
            await asyncio.sleep(0.5)
            assert sent < 24 << 20
            total = 0
            while total < 64 << 20:
                chunk = await reader.read(1 << 20)
                assert chunk
                total += len(chunk)
            writer.close()
