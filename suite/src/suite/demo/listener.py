"""The visitor's socket: every frame that came and when, and a call for each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from suite.demo.visitor import Visitor
from suite.home import SuiteError

Frame = dict[str, Any]

AUTH_SECONDS = 10


@dataclass
class Listener:
    """What was heard so far. `seq` of the start tells where the feed stood before."""

    on_frame: Callable[[Frame], None]
    started_at: float = field(default_factory=time.monotonic)
    first_seq: int = 0
    frames: list[tuple[float, Frame]] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def of(self, kind: str, task_id: str | None = None) -> list[tuple[float, Frame]]:
        """The frames of a type (and task), with the seconds since the start at which each came."""
        return [(at, frame) for at, frame in self.frames if frame.get("type") == kind and (task_id is None or frame.get("task_id") == task_id)]

    def ended(self, task_id: str) -> bool:
        return any(self.of(kind, task_id) for kind in ("task_complete", "task_failed", "task_cancelled"))

    async def wait_for(self, condition: Callable[[], bool], *, within_seconds: float) -> bool:
        """Until frames came that make it true; False when the time ran out."""
        try:
            async with asyncio.timeout(within_seconds):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    def take(self, frame: Frame) -> None:
        self.frames.append((time.monotonic() - self.started_at, frame))
        self._news.set()
        self.on_frame(frame)


@asynccontextmanager
async def listening(visitor: Visitor, on_frame: Callable[[Frame], None]) -> AsyncIterator[Listener]:
    """An authenticated socket that is read until the end of the block."""
    async with visitor.open_socket() as socket:
        await socket.send_json({"type": "auth", "token": visitor.token})
        async with asyncio.timeout(AUTH_SECONDS):
            hello = orjson.loads((await socket.receive()).data)
        if hello.get("type") != "auth_success":
            raise SuiteError(f"The socket did not let the visitor in: {hello}")
        listener = Listener(on_frame, first_seq=int(hello.get("seq") or 0))
        reading = asyncio.create_task(_read(socket, listener), name="demo socket")
        try:
            yield listener
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _read(socket: aiohttp.ClientWebSocketResponse, listener: Listener) -> None:
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            listener.take(orjson.loads(message.data))
