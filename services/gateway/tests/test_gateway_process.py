"""The gateway as it really runs: a process of its own, on uvloop, stopped by a signal."""

import asyncio
import io
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from gateway.app import UPSTREAMS


@asynccontextmanager
async def _running(url: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        port, admin_port = one.getsockname()[1], other.getsockname()[1]
    env = {
        **os.environ,
        "DARKROOM_OBJECTS_URL": "file:///tmp",
        "DARKROOM_FILES_SECRET": secrets.token_hex(32),
        "DARKROOM_SERVICE_JWKS_PATH": "/dev/null",
        "GATEWAY_KEY_PATH": "/dev/null",
        "GATEWAY_PORT": str(port),
        "GATEWAY_ADMIN_PORT": str(admin_port),
        "GATEWAY_NOT_READY_SECONDS": "0.2",
        **{f"{name.upper()}_URL": url for name in UPSTREAMS},
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "gateway", "serve", env=env, stdout=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(60), aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(f"http://127.0.0.1:{admin_port}/readyz") as answer:
                        if answer.status == 200:
                            break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.1)
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_sigterm_answers_what_was_asked_closes_sockets_with_1001_and_ends_well(serve: Any) -> None:
    async def service(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/ws":
            socket_ = web.WebSocketResponse()
            await socket_.prepare(request)
            async for message in socket_:
                await socket_.send_str(message.data)
            return socket_
        size = sum([len(chunk) async for chunk in request.content.iter_any()])
        await asyncio.sleep(0.6 if request.path.endswith("slow") else 0)
        return web.Response(text=str(size))

    async with serve(service) as url, _running(url) as (process, door), aiohttp.ClientSession() as session:

        async def ask(method: str, path: str, **given: Any) -> tuple[int, str]:
            async with session.request(method, door + path, **given) as answer:
                return answer.status, await answer.text()

        assert await ask("GET", "/works/1") == (200, "0")
        assert await ask("POST", "/api/upload/single", data=io.BytesIO(bytes(5 << 20)), headers={"Authorization": "Bearer t"}) == (200, str(5 << 20))
        sockets = [await session.ws_connect(door + "/ws") for _ in range(3)]
        for one in sockets:
            await one.send_str("hello")
            assert await one.receive_str() == "hello"
        slow = [asyncio.create_task(ask("POST", "/works/slow", data=b"12", headers={"Idempotency-Key": "k"})) for _ in range(5)]
        closes = [asyncio.create_task(one.receive()) for one in sockets]
        await asyncio.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert [await one for one in slow] == [(200, "2")] * 5
        assert [(await one).data for one in closes] == [1001] * 3
        for one in sockets:
            await one.close()
        async with asyncio.timeout(60):
            assert await process.wait() == 0
