"""Websockets pass through, and their close codes with them."""

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.tunnel import FrameEnds


class Notify:
    """A stand-in for the service with the sockets."""

    def __init__(self) -> None:
        self.closed_with: list[int | None] = []
        self.headers: dict[str, str] = {}

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Origin") == "https://evil.example":
            return web.Response(status=403, text='{"success":false}')
        self.headers = dict(request.headers)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.data == "close":
                await socket.close(code=4500, message=b"bad token")
            elif message.data == "flood":
                for _ in range(200):
                    await socket.send_bytes(bytes(100_000))
            else:
                await socket.send_str(f"heard {message.data}")
        self.closed_with.append(socket.close_code)
        return socket


@pytest.fixture
async def notify(serve: Any) -> Any:
    told = Notify()
    async with serve(told.answer) as url:
        told.url = url  # type: ignore[attr-defined]
        yield told


async def test_frames_pass_both_ways(open_door: Any, notify: Any) -> None:
    async with open_door(notify.url) as door, aiohttp.ClientSession() as session:
        async with session.ws_connect(f"{door.url}/ws", headers={"X-User-Id": "7"}) as socket:
            for number in range(50):
                await socket.send_str(f"{number}")
                assert await socket.receive_str() == f"heard {number}"
            await socket.send_bytes(bytes(70_000))
            assert (await socket.receive_str()).startswith("heard b")
        assert "X-User-Id" not in notify.headers
        assert {"x-request-id", "traceparent"} <= {name.lower() for name in notify.headers}


async def test_close_codes_are_kept_both_ways(open_door: Any, notify: Any) -> None:
    async with open_door(notify.url) as door, aiohttp.ClientSession() as session:
        async with session.ws_connect(f"{door.url}/ws") as socket:
            await socket.send_str("close")
            message = await socket.receive()
            assert (message.type, message.data, message.extra) == (aiohttp.WSMsgType.CLOSE, 4500, "bad token")
        async with session.ws_connect(f"{door.url}/ws") as socket:
            await socket.close(code=4000)
        async with asyncio.timeout(60):
            while notify.closed_with[-1:] != [4000] or door.hall.tunnels:
                await asyncio.sleep(0.02)


async def test_a_refused_handshake_is_the_services_own_answer(open_door: Any, notify: Any) -> None:
    async with open_door(notify.url) as door, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{door.url}/ws", origin="https://evil.example")
        assert refused.value.status == 403


async def test_without_the_service_the_handshake_is_503(open_door: Any) -> None:
    async with open_door("http://127.0.0.1:1") as door, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"{door.url}/ws")
        assert refused.value.status == 503


async def test_a_drain_says_1001_to_every_socket(open_door: Any, notify: Any) -> None:
    async with open_door(notify.url) as door, aiohttp.ClientSession() as session:
        sockets = [await session.ws_connect(f"{door.url}/ws") for _ in range(5)]
        readers = [asyncio.create_task(socket.receive()) for socket in sockets]
        await asyncio.sleep(0.05)
        async with asyncio.timeout(60):
            await door.drain()
        for reader in readers:
            message = await reader
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
            assert "retry in" in message.extra
        for socket in sockets:
            await socket.close()
        assert not door.hall.tunnels


async def test_a_service_that_dies_ends_the_clients_connection(open_door: Any, serve: Any) -> None:
    async def dies(request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        assert request.transport is not None
        request.transport.abort()
        return socket

    async with serve(dies) as url, open_door(url) as door, aiohttp.ClientSession() as session:
        socket = await session.ws_connect(f"{door.url}/ws")
        await socket.send_str("x")
        message = await socket.receive(timeout=3)
        assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSE)
        await socket.close()


async def test_a_socket_that_reads_slowly_holds_the_service_back(open_door: Any, notify: Any) -> None:
    async with open_door(notify.url) as door, aiohttp.ClientSession() as session, session.ws_connect(f"{door.url}/ws") as socket:
        await socket.send_str("flood")
        await asyncio.sleep(0.2)
        (tunnel,) = door.hall.tunnels
        assert tunnel._client.transport.get_write_buffer_size() < 4 << 20
        for _ in range(200):
            assert len(await socket.receive_bytes()) == 100_000


HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
MASKED, UNMASKED = b"\x81\x82\x00\x00\x00\x00hi", b"\x81\x02ho"


async def test_what_follows_the_handshake_in_the_same_piece_is_not_lost(open_door: Any, notify: Any) -> None:
    async with open_door(notify.url) as door:
        raw = await door.say(HANDSHAKE + MASKED, wait_seconds=0.5)
    assert raw.startswith(b"HTTP/1.1 101")
    assert raw.endswith(b"\x81\x08heard hi")


@pytest.mark.parametrize("pieces", [(HANDSHAKE + UNMASKED,), (HANDSHAKE, MASKED, UNMASKED[:1], UNMASKED[1:])])
async def test_a_client_that_does_not_mask_is_not_heard_and_told_so(open_door: Any, notify: Any, pieces: tuple[bytes, ...]) -> None:
    async with open_door(notify.url) as door:
        raw = await door.say(*pieces, pause_seconds=0.1)
        assert door.ended
        assert not door.hall.tunnels
    assert b"heard ho" not in raw
    assert (b"heard hi" in raw) == (len(pieces) > 1)
    assert raw.endswith(b"\x88\x1b\x03\xeaa client masks its frames")


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 70_000), st.booleans()), max_size=8), st.integers(1, 4000))
def test_the_ends_of_frames_are_found_wherever_the_bytes_are_cut(frames: list[tuple[int, bool]], step: int) -> None:
    raw, ends = b"", {0}
    for length, masked in frames:
        mask = 128 if masked else 0
        code, width = (length, 0) if length < 126 else (126, 2) if length < 65536 else (127, 8)
        size = bytes([mask | code]) + (length.to_bytes(width, "big") if width else b"")
        raw += b"\x82" + size + (b"mask" if masked else b"") + bytes(length)
        ends.add(len(raw))
    found, at = FrameEnds(), 0
    while at < len(raw):
        found.feed(raw[at : at + step])
        at = min(at + step, len(raw))
        assert found.at_end == (at in ends)
    assert found.masked == all(masked for _, masked in frames)
