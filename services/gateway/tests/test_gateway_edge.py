"""What never gets in."""

import asyncio
import time
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.edge import canonical
from gateway.routes import ROUTES, Route, RouteTable

SNEAKY = [
    "/internal/holds", "/internal", "/internal/", "//internal/holds", "/./internal/holds", "/api/../internal/holds", "/api/works/../../internal/holds",
    "/api/works/%2e%2e/%2e%2e/internal/holds", "/api/works/%2E%2E%2F%2E%2E%2Finternal", "/api/works/..%2f..%2finternal", "/%69nternal/holds",
    "/INTERNAL/holds", "/api//works/../internal", "/api/works/..;/..;/internal", "/api/works\\..\\..\\internal", "/api/works/%5c..%5c..%5cinternal",
    "/api/works/%252e%252e/internal", "/files/%00/../internal", "/works/1/../../internal", "/api/works/%c0%ae%c0%ae/internal", "/metrics", "/healthz",
    "/readyz", "/api/internal/x", "/users/../internal/holds", "/;/internal", "/internal;x=1/holds", "/internal%20",
    "/internal?x=/api/works", "/internal#/api/works", "//",
]  # fmt: skip


@pytest.mark.parametrize("target", SNEAKY)
@pytest.mark.parametrize("careful_only", [False, True])
async def test_no_spelling_reaches_what_is_internal(open_door: Any, echo: Any, target: str, careful_only: bool) -> None:
    async with open_door(echo.url, careful_only=careful_only) as door:
        for method in ("GET", "POST"):
            answers = await door.ask(f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode(), wait_seconds=1)
            assert [one.status for one in answers] in ([404], [400]), answers
            assert answers[0].code() in (10008, 10001)
    assert all(not seen["target"].lower().lstrip("/").startswith("internal") for seen in echo.seen)
    assert not echo.seen


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("/api/works", ("/api/works", "")), ("/api/works/", ("/api/works", "")), ("/api/works/?a=%2F..", ("/api/works", "?a=%2F..")),
        ("/api/scenes/%E5%B7%B4%E9%BB%8E", ("/api/scenes/%E5%B7%B4%E9%BB%8E", "")), ("/files/a/b.webp", ("/files/a/b.webp", "")),
        ("/api//works", None), ("/api/./works", None), ("/api/%2e/works", None), ("/a%2fb", None), ("/a%ff", None), ("/a%0d%0ab", None), ("/a b", None),
        ("a", None), ("*", None),
        ("/a%zz", None), ("/.well-known/jwks.json", ("/.well-known/jwks.json", "")),
        ("/", ("/", "")), ("/?a=b", ("/", "?a=b")), ("//", None), ("", None), ("?a", None),
    ],
)  # fmt: skip
def test_a_path_has_one_spelling_or_none(target: str, expected: tuple[str, str] | None) -> None:
    assert canonical(target) == expected


def test_the_longest_row_wins_and_no_row_is_there_twice() -> None:
    table = RouteTable()
    for path, service in {
        "/api/tasks/create": "generation",
        "/api/tasks/1/cancel": "generation",
        "/api/upload/single": "works",
        "/works/1": "works",
        "/users": "identity",
        "/ws": "notify",
    }.items():
        found = table.find(path)
        assert found is not None
        assert found.service == service
    for path in ("/api", "/api/task", "/workshop", "/users/1", "/ws/1", "/files"):
        assert table.find(path) is None
    with pytest.raises(ValueError, match="two rows"):
        RouteTable([*ROUTES, Route("/users", "works")])


READ_HERE_OR_THERE = (
    "authorization", "X-LC-Session", "idempotency-key", "content-type", "Content-Length", "x-request-id", "traceparent", "cookie", "host", "accept",
    "accept-language", "origin", "transfer-encoding", "content-encoding", "x-signature", "X-Signature-Key", "x-signature-timestamp", "x-signature-nonce",
    "x-signature-content-sha256", "keep-alive, Idempotency-Key", "x-a,,authorization ,close", "close\r\nConnection: Authorization",
)  # fmt: skip


@pytest.mark.parametrize("careful_only", [False, True])
async def test_nothing_that_a_request_is_judged_or_understood_by_ends_at_the_door(open_door: Any, echo: Any, careful_only: bool) -> None:
    asked = "Host: x\r\nX-LC-Session: t\r\nIdempotency-Key: k\r\nContent-Length: 0\r\n"
    async with open_door(echo.url, careful_only=careful_only) as door:
        for option in READ_HERE_OR_THERE:
            for path, kind in (("/points/purchase", b'"code":10001'), ("/api/credits/recharge", b'"success":false'), ("/v1/sessions", b'"title"')):
                (answer,) = await door.ask(f"POST {path} HTTP/1.1\r\n{asked}Connection: {option}\r\n\r\n".encode())
                assert (answer.status, answer.code(), kind in answer.body) == (400, 10001, True), option
        assert not echo.seen
        (answer,) = await door.ask(f"POST /points/purchase HTTP/1.1\r\n{asked}Connection: close, X-Mine, TE\r\nX-Mine: 1\r\n\r\n".encode())
        assert answer.status == 200
    headers = {name.lower() for name, _ in echo.seen[0]["headers"]}
    assert {"x-lc-session", "idempotency-key"} < headers
    assert "x-mine" not in headers


async def test_a_head_that_never_ends_is_cut_off_and_others_do_not_notice(open_door: Any, echo: Any) -> None:
    async with open_door(echo.url, head_seconds=0.5) as door:
        begun = time.monotonic()
        head = b"GET /works/1 HTTP/1.1\r\nHost: x\r\nX-A: "
        drip = asyncio.create_task(door.say(head, *[b"b"] * 60, pause_seconds=0.05))
        idle = asyncio.create_task(door.say(wait_seconds=60))
        (answer,) = await door.ask(b"GET /works/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.status == 200
        assert await idle == b""
        assert time.monotonic() - begun < 30
        assert await drip == b""


@pytest.mark.parametrize("careful_only", [False, True])
async def test_a_body_that_stops_coming_is_refused(open_door: Any, echo: Any, careful_only: bool) -> None:
    async with open_door(echo.url, careful_only=careful_only, progress_seconds=0.3) as door:
        (answer,) = await door.ask(b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    assert (answer.status, answer.code()) == (400, 10001)
    assert not echo.seen


async def test_a_connection_of_the_careful_path_ends_with_its_answer_so_that_the_next_begins_on_the_short_one(open_door: Any, echo: Any) -> None:
    async with open_door(echo.url) as door:
        (answer,) = await door.ask(b"POST /login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert (answer.status, answer.headers["connection"]) == (200, "close")


async def test_a_large_head_that_never_ends_is_cut_off_too(open_door: Any, echo: Any) -> None:
    async with open_door(echo.url, head_seconds=0.5) as door:
        lines = b"".join(b"X-%d: " % number + b"y" * 300 + b"\r\n" for number in range(60))
        await door.say(b"GET /works/1 HTTP/1.1\r\nHost: x\r\n" + lines, *[b"X-A: b\r\n"] * 80, pause_seconds=0.05, wait_seconds=60)
        assert door.ended
    assert not echo.seen


async def test_chunks_beyond_the_limit_are_refused_while_they_come(open_door: Any, echo: Any) -> None:
    async with open_door(echo.url) as door:
        head = b"POST /login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        answers = await door.ask(head, *[b"10000\r\n" + b"x" * 65536 + b"\r\n"] * 8)
    assert (answers[0].status, answers[0].code()) == (413, 10001)
    assert not echo.seen


@pytest.mark.parametrize("careful_only", [False, True])
async def test_no_cache_keeps_what_the_gateway_says_itself(open_door: Any, echo: Any, careful_only: bool) -> None:
    async with open_door(echo.url, careful_only=careful_only) as door:
        for path in (b"/health", b"/works/../x", b"/nowhere", b"/api/auth/me", b"/api/admin/config"):
            (answer,) = await door.ask(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert answer.headers["cache-control"] == "no-store", path


async def test_health_is_always_an_answer_and_names_what_is_away(open_door: Any, echo: Any) -> None:
    away = "http://127.0.0.1:1"
    async with open_door(away) as door, aiohttp.ClientSession() as session:
        for path in ("/health", "/api/health"):
            async with session.get(door.url + path) as answer:
                told = await answer.json()
                assert answer.status == 200
        assert told["status"] == "degraded"
        assert told["away"] == ["billing", "generation", "identity", "notify", "works"]
        assert told["parts"]["gateway"] == "up"


async def test_health_is_healthy_when_one_replica_of_each_part_is_ready(open_door: Any, serve: Any) -> None:
    async def ready(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=200 if request.path == "/readyz" else 404)

    async with serve(ready) as url, aiohttp.ClientSession() as session:
        replicas = {name: ["http://127.0.0.1:1", url] for name in ("identity", "works", "generation", "billing", "notify")}
        async with open_door(replicas, ready_port_offset=0) as door, session.get(door.url + "/health") as answer:
            told = await answer.json()
    assert (told["status"], told["away"]) == ("healthy", [])


async def test_too_many_connections_are_told_so(open_door: Any, echo: Any) -> None:
    async with open_door(echo.url, connections_max=2) as door:
        waiting = [await asyncio.open_connection("127.0.0.1", door.port) for _ in range(2)]
        await asyncio.sleep(0.05)
        (answer,) = await door.ask(wait_seconds=1)
        for _, writer in waiting:
            writer.close()
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")


async def test_a_client_that_asks_and_never_reads_is_not_read_either(open_door: Any, echo: Any) -> None:
    async with open_door(echo.url) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=1024)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" * 500_000)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await writer.drain()
        (front,) = door.hall.fronts
        assert len(front._buffer) < 1 << 20
        assert front._transport.get_write_buffer_size() < 4 << 20
        writer.transport.abort()


async def test_a_thousand_refusals_in_one_piece_do_not_exhaust_the_stack(open_door: Any, echo: Any) -> None:
    async with open_door(echo.url) as door:
        raw = b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" * 3000 + b"GET /works/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        answers = await door.ask(raw, wait_seconds=20)
    assert [one.status for one in answers] == [404] * 3000 + [200]
