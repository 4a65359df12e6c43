"""A gateway in front of stand-in services, by its short path or by the careful one alone."""

import asyncio
import contextlib
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from aiohttp import web

from common.metrics import Metrics
from common.settings import load
from gateway.app import UPSTREAMS, drain
from gateway.app import opened as opened_parts
from gateway.front import Hall
from gateway.settings import GatewaySettings
from gateway.streamed import Streamed


class Door:
    """A running gateway: its port, and what a test may want to look at."""

    def __init__(self, hall: Hall, careful: Streamed, port: int, server: asyncio.Server) -> None:
        self.hall = hall
        self.careful = careful
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.server = server
        self.ended = False
        """Whether the gateway ended the connection of the last `say`."""

    async def drain(self) -> None:
        self.server.close()
        await drain(self.hall, self.careful)

    async def say(self, *pieces: bytes, wait_seconds: float = 5, pause_seconds: float = 0.0, half_close: bool = False) -> bytes:
        """Send these bytes on one connection, with `half_close` say that there are no more, and read until it ends or for a while."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        heard: list[bytes] = []

        async def hear() -> None:
            with contextlib.suppress(ConnectionError):
                while chunk := await reader.read(65536):
                    heard.append(chunk)

        hearing = asyncio.create_task(hear())
        with contextlib.suppress(ConnectionError, RuntimeError):  # refused before all was said; uvloop says so with a RuntimeError
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause_seconds)
            if half_close:
                writer.write_eof()
        self.ended = hearing in (await asyncio.wait([hearing], timeout=wait_seconds))[0]
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        return b"".join(heard)

    async def ask(self, *pieces: bytes, heads: int = 0, **options: Any) -> list["Answer"]:
        """The answers to these bytes, in their order; the first `heads` answered HEAD requests."""
        return split_answers(await self.say(*pieces, **options), heads=heads)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def code(self) -> int:
        return int(self.headers["x-error-code"])


def split_answers(raw: bytes, *, heads: int = 0) -> list[Answer]:
    answers: list[Answer] = []
    while raw:
        head, _, raw = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split()[1])
        body = b""
        if len(answers) < heads or status in (204, 304) or status < 200:
            pass
        elif headers.get("transfer-encoding") == "chunked":
            body, raw = _join_chunks(raw)
        elif "content-length" in headers:
            length = int(headers["content-length"])
            body, raw = raw[:length], raw[length:]
        else:
            body, raw = raw, b""
        answers.append(Answer(status, headers, body))
    return answers


def _join_chunks(raw: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        size, _, raw = raw.partition(b"\r\n")
        length = int(size, 16)
        body += raw[:length]
        raw = raw[length + 2 :]
        if not length:
            return body, raw


OpenDoor = Callable[..., Any]


@pytest.fixture
def open_door() -> OpenDoor:
    """`async with open_door({"works": [url], ...}, careful_only=False, **settings) as door`."""

    @asynccontextmanager
    async def opened(
        urls: str | dict[str, list[str]], *, careful_only: bool = False, env_more: dict[str, str] | None = None, **given: object
    ) -> AsyncIterator[Door]:
        addresses = {name: [urls] for name in UPSTREAMS} if isinstance(urls, str) else urls
        env = {
            "DARKROOM_OBJECTS_URL": "file:///tmp",
            "DARKROOM_FILES_SECRET": secrets.token_hex(32),
            "DARKROOM_SERVICE_JWKS_PATH": "/dev/null",
            "GATEWAY_KEY_PATH": "/dev/null",
            **{f"{name.upper()}_URL": ",".join(found) for name, found in addresses.items()},
            "GATEWAY_LIMITS": "off",  # the tests of limits turn them on
            **{f"GATEWAY_{name.upper()}": str(value) for name, value in given.items()},
            **(env_more or {}),
        }
        async with opened_parts(load(GatewaySettings, env), Metrics("gateway")) as parts:
            hall, careful = parts.hall, parts.careful
            done = asyncio.Event()
            lines = asyncio.gather(*(loop(done) for loop in parts.loops))
            sweeper = asyncio.create_task(_sweep(hall))
            server = await asyncio.get_running_loop().create_server(careful.server if careful_only else hall.open_front, "127.0.0.1", 0)
            try:
                yield Door(hall, careful, server.sockets[0].getsockname()[1], server)
            finally:
                server.close()
                for front in list(hall.fronts):
                    front.cut()
                for tunnel in list(hall.tunnels):
                    tunnel.cut()
                sweeper.cancel()
                done.set()
                await asyncio.gather(lines, sweeper, return_exceptions=True)
                await careful.server.shutdown(0.1)

    return opened


async def _sweep(hall: Hall) -> None:
    while True:
        await asyncio.sleep(0.05)
        hall.sweep()


class Echo:
    """A stand-in service that tells what reached it."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[dict[str, Any]] = []

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        told = {
            "method": request.method,
            "target": request.raw_path,
            "headers": [[name, value] for name, value in request.headers.items()],
            "size": len(body),
            "sha": hashlib.sha256(body).hexdigest(),
        }
        self.seen.append(told)
        last = request.raw_path.partition("?")[0].rpartition("/")[2]
        act = getattr(self, f"_{last.replace('-', '_')}", None)
        if act is not None:
            made: web.StreamResponse = await act(request)
            return made
        return web.Response(text=json.dumps(told), content_type="application/json")

    async def _none(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=204)

    async def _same(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=304, headers={"ETag": '"x"'})

    async def _refused(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=409, text='{"success":false}', content_type="application/json", headers={"X-Error-Code": "10005"})

    async def _large(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=bytes(range(256)) * 8192)

    async def _chunks(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        for number in range(20):
            await response.write(f"part {number};".encode() * 50)
            if number % 7 == 0:
                await asyncio.sleep(0.001)
        return response

    async def _slow(self, request: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async def _broken(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"only this")
        assert request.transport is not None
        request.transport.abort()
        return response


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    told = Echo()
    async with serving(told.answer) as url:
        told.url = url
        yield told


@asynccontextmanager
async def serving(handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """A server of one handler on a free port."""
    server = web.Server(handler, auto_decompress=False, handler_cancellation=True)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        await server.shutdown(0.1)


@pytest.fixture
def serve() -> Callable[..., Any]:
    """`async with serve(handler) as url`."""
    return serving
