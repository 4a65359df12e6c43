"""Services that are away, slow, restarting or broken."""

import asyncio
import dataclasses
import time
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

READ = b"GET /api/scenes HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
PLAIN_POST = b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
KEYED_POST = b"POST /users HTTP/1.1\r\nHost: x\r\nIdempotency-Key: k\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
CHUNKED_POST = b"POST /login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
AWAY = "http://127.0.0.1:1"


def _everywhere(*urls: str) -> dict[str, list[str]]:
    return {name: list(urls) for name in ("identity", "works", "generation", "billing", "notify")}


class Raw:
    """A service that answers with bytes, or misbehaves."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", *, ends: bool = False) -> None:
        self.answer = answer
        self.ends = ends
        self.asked = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if b"Content-Length: 2\r\n" in head:
                    await reader.readexactly(2)
                if b"chunked" in head:
                    await reader.readuntil(b"0\r\n\r\n")
                self.asked += 1
                writer.write(self.answer)
                await writer.drain()
                if self.ends:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def raw_service(raw: Raw) -> Any:
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@pytest.mark.parametrize("careful_only", [False, True])
@pytest.mark.parametrize("raw", [READ, PLAIN_POST, KEYED_POST, CHUNKED_POST])
async def test_a_service_that_is_away_is_503_within_two_seconds(open_door: Any, careful_only: bool, raw: bytes) -> None:
    async with open_door(AWAY, careful_only=careful_only) as door:
        took = []
        for _ in range(3):
            begun = time.monotonic()
            (answer,) = await door.ask(raw)
            took.append(time.monotonic() - begun)
        assert min(took) < 2
    assert (answer.status, answer.code()) == (503, 10007)
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("careful_only", [False, True])
@pytest.mark.parametrize("raw", [READ, PLAIN_POST, KEYED_POST, CHUNKED_POST])
async def test_a_refused_connection_goes_on_to_the_next_replica_whatever_is_asked(open_door: Any, echo: Any, careful_only: bool, raw: bytes) -> None:
    async with open_door(_everywhere(AWAY, echo.url), careful_only=careful_only) as door:
        for _ in range(4):
            assert [one.status for one in await door.ask(raw)] == [200]


@pytest.mark.parametrize("careful_only", [False, True])
@pytest.mark.parametrize(("raw", "status"), [(READ, 200), (KEYED_POST, 200), (PLAIN_POST, 503)])
async def test_a_lost_answer_is_asked_for_again_only_where_asking_twice_is_safe(open_door: Any, echo: Any, careful_only: bool, raw: bytes, status: int) -> None:
    dying = Raw(b"", ends=True)
    async with raw_service(dying) as url, open_door(_everywhere(url, echo.url), careful_only=careful_only) as door:
        answers = [(await door.ask(raw))[0].status for _ in range(4)]
    assert answers.count(status) >= 2
    assert set(answers) <= {200, status}
    assert dying.asked >= 1


@pytest.mark.parametrize("careful_only", [False, True])
@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n", b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", b"",
    ],
)  # fmt: skip
async def test_an_answer_that_cannot_be_read_is_503_and_never_502(open_door: Any, careful_only: bool, answer: bytes) -> None:
    async with raw_service(Raw(answer, ends=True)) as url, open_door(url, careful_only=careful_only) as door:
        for raw in (READ, PLAIN_POST):
            (got,) = await door.ask(raw)
            assert (got.status, got.code()) == (503, 10007)


@pytest.mark.parametrize("careful_only", [False, True])
async def test_an_answer_without_a_length_ends_with_its_connection(open_door: Any, careful_only: bool) -> None:
    raw = Raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end", ends=True)
    async with raw_service(raw) as url, open_door(url, careful_only=careful_only) as door:
        (answer,) = await door.ask(READ.replace(b"Connection: close\r\n", b""), wait_seconds=1)
    assert answer.body == b"until the end"


async def test_bytes_nobody_asked_for_never_become_the_next_answer(open_door: Any) -> None:
    raw = Raw(b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    async with raw_service(raw) as url, open_door(url) as door:
        for _ in range(3):
            (answer,) = await door.ask(READ)
            assert b"evil" not in answer.body
            assert answer.status in (204, 503)


@pytest.mark.parametrize("careful_only", [False, True])
async def test_a_service_that_does_not_answer_in_time_is_503(open_door: Any, echo: Any, careful_only: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_door(echo.url, careful_only=careful_only) as door:
        for routes in (door.hall.reader._table._exact, door.hall.reader._table._below):
            for key, route in list(routes.items()):
                monkeypatch.setitem(routes, key, dataclasses.replace(route, deadline_seconds=0.3))
        begun = time.monotonic()
        (answer,) = await door.ask(b"GET /works/slow HTTP/1.1\r\nHost: x\r\n\r\n", wait_seconds=30)
        assert time.monotonic() - begun < 30
        assert (answer.status, answer.code()) == (503, 10007)
        (answer,) = await door.ask(READ)
        assert answer.status == 200


async def test_a_client_that_retries_once_sees_no_failure_while_a_replica_restarts(open_door: Any, serve: Any) -> None:
    answered: list[str] = []

    def handler(name: str) -> Any:
        async def answer(request: web.BaseRequest) -> web.StreamResponse:
            await request.read()
            await asyncio.sleep(0.002)
            answered.append(name)
            return web.Response(text=name)

        return answer

    port = 0

    async def replica() -> tuple[web.Server, asyncio.Server]:
        server = web.Server(handler("restarting"))
        return server, await asyncio.get_running_loop().create_server(server, "127.0.0.1", port, reuse_address=True)

    server, listener = await replica()
    port = listener.sockets[0].getsockname()[1]
    failures: list[int] = []
    done = asyncio.Event()
    async with serve(handler("steady")) as steady, open_door(_everywhere(f"http://127.0.0.1:{port}", steady)) as door, aiohttp.ClientSession() as session:

        async def load(number: int) -> None:
            while not done.is_set():
                for attempt in range(2):
                    told: Any = {"headers": {"Idempotency-Key": "k"}, "data": b"{}"} if number % 2 else {}
                    async with session.request("POST" if number % 2 else "GET", f"{door.url}/works/{number}", **told) as answer:
                        await answer.read()
                    if answer.status == 200:
                        break
                    if attempt:
                        failures.append(answer.status)

        async with asyncio.TaskGroup() as group:
            for number in range(16):
                group.create_task(load(number))
            for abrupt in (False, True, False, True):
                await asyncio.sleep(0.3)
                listener.close()
                if abrupt:
                    for connection in server.connections:
                        connection.transport.abort()
                await server.shutdown(1)
                await asyncio.sleep(0.2)
                server, listener = await replica()
            await asyncio.sleep(0.3)
            done.set()
    listener.close()
    await server.shutdown(0.1)
    assert failures == []
    assert {"restarting", "steady"} == set(answered)


async def test_connections_to_a_service_are_kept_and_shared(open_door: Any, serve: Any) -> None:
    peers: set[Any] = set()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        await asyncio.sleep(0.005)
        return web.Response(text="ok")

    async with serve(answer) as url, open_door(url, upstream_connections_max=3) as door:
        for _ in range(5):
            answers = await asyncio.gather(*(door.ask(READ) for _ in range(12)))
            assert all(one[0].status == 200 for one in answers)
    assert len(peers) <= 3


async def test_more_waiting_than_allowed_is_refused_at_once(open_door: Any, serve: Any) -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        return web.Response(text="ok")

    async with serve(answer) as url, open_door(url, upstream_connections_max=1, waiting_max=2) as door:
        answers = await asyncio.gather(*(door.ask(READ) for _ in range(8)))
    statuses = sorted(one[0].status for one in answers)
    assert statuses[0] == 200
    assert statuses[-1] == 503
    assert all("retry-after" in one[0].headers for one in answers if one[0].status == 503)


async def test_a_client_that_goes_away_does_not_spoil_the_connection_for_the_next(open_door: Any, echo: Any) -> None:
    async with open_door(echo.url) as door:
        for _ in range(5):
            _, writer = await asyncio.open_connection("127.0.0.1", door.port)
            writer.write(b"GET /works/slow HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.sleep(0.02)
            writer.close()
        (answer,) = await door.ask(READ)
        assert b'"target": "/api/scenes"' in answer.body


async def test_a_drain_answers_what_was_asked_and_takes_nothing_new(open_door: Any, serve: Any) -> None:
    async def slow(request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        return web.Response(text="ok")

    async with serve(slow) as url, open_door(url) as door:
        idle = asyncio.create_task(door.say(wait_seconds=5))
        asked = [asyncio.create_task(door.ask(raw.replace(b"Connection: close\r\n", b""))) for raw in (READ, KEYED_POST, CHUNKED_POST)]
        await asyncio.sleep(0.1)
        async with asyncio.timeout(60):
            await door.drain()
        assert [(await one)[0].status for one in asked] == [200, 200, 200]
        assert (await asked[0])[0].headers["connection"] == "close"
        assert await idle == b""
