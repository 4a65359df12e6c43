"""The load generator: creates tasks over kept connections and waits for each one's end on its owner's socket.

Raw protocols on uvloop and requests built beforehand keep its own cost per task far below that of the systems it drives.
"""

import asyncio
import base64
import gc
import json
import os
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

from lab.side import User

CREATE_PATH = "/api/tasks/create"
CONNECTIONS_MAX = 1024
"""Of the paced mode; a task that finds none free waits, and its waiting counts."""
RETRY_AFTER_SECONDS = 0.05
_ENDS = {b"task_complete": "completed", b"task_failed": "failed", b"task_cancelled": "cancelled"}


@dataclass(frozen=True)
class Shape:
    """How to load: `in_flight` tasks at any time, or `rate` tasks a second whatever happens; for a time or a number of tasks."""

    in_flight: int | None = None
    rate: float | None = None
    seconds: float | None = None
    tasks: int | None = None
    drain_seconds_max: float = 30.0

    def __str__(self) -> str:
        return f"{self.in_flight} in flight" if self.in_flight else f"{self.rate:g}/s"


@dataclass
class Run:
    """What happened: every created task is completed, failed or lost."""

    created: int = 0
    completed: int = 0
    failed: int = 0
    lost: int = 0
    repeated: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    generator_cpu_seconds: float = 0.0
    late_ms_max: float = 0.0
    create_seconds: list[float] = field(default_factory=list)
    notify_seconds: list[float] = field(default_factory=list)

    @property
    def tasks_per_second(self) -> float:
        """Completed tasks over the time from the first request to the last end."""
        return self.completed / self.seconds if self.seconds else 0.0

    @property
    def generator_us_per_task(self) -> float:
        """What driving one task cost us."""
        return self.generator_cpu_seconds / self.completed * 1e6 if self.completed else 0.0


def percentile_ms(seconds: Sequence[float], share: float) -> float:
    """The value below which this share of the samples lies, in milliseconds."""
    if not seconds:
        return float("nan")
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3


class LoadFailed(Exception):
    """The system under test cannot be driven at all; the text is for the console."""


async def drive(url: str, users: Sequence[User], shape: Shape) -> Run:
    """Connect every user's socket, apply the load, drain; needs an event loop of its own kind (uvloop) to be cheap."""
    session = await Load.connect(url, users)
    try:
        return await session.apply(shape)
    finally:
        session.close()


class Load:
    """Open sockets of many users, and the tasks now in flight."""

    def __init__(self, url: str, users: Sequence[User]) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        self.loop = asyncio.get_running_loop()
        self._users = users
        self._requests = [build_request(f"{self.host}:{self.port}", user) for user in users]
        self._sockets: list[Socket] = []
        self._connections: list[Connection] = []
        self._reopening: set[asyncio.Task[None]] = set()
        self._broken: str | None = None
        self._start(Shape())

    def _start(self, shape: Shape) -> None:
        self.run = Run()
        self._shape = shape
        self._sent = 0
        self._sent_max = shape.tasks if shape.tasks is not None else -1
        self._stop_at = time.perf_counter() + shape.seconds if shape.seconds is not None else float("inf")
        self._waiting: dict[bytes, tuple[Connection | None, float]] = {}
        self._early: dict[bytes, tuple[bytes, float]] = {}
        self._ended: set[bytes] = set()
        self._answering = 0
        self._last_end_at = 0.0
        self._idle: deque[Connection] = deque()
        self._due: deque[float] = deque()
        self._drained = asyncio.Event()

    @classmethod
    async def connect(cls, url: str, users: Sequence[User]) -> "Load":
        """Open and authenticate one socket per user."""
        session = cls(url, users)
        for begin in range(0, len(users), 50):
            sockets = await asyncio.gather(*(session._open_socket(user) for user in users[begin : begin + 50]))
            session._sockets += sockets
        return session

    async def _open_socket(self, user: User) -> "Socket":
        _, socket = await self.loop.create_connection(lambda: Socket(self, user.token), self.host, self.port)
        try:
            async with asyncio.timeout(15):
                await socket.admitted
        except TimeoutError:
            raise LoadFailed("a socket was not authenticated within 15 s") from None
        return socket

    async def _open_connections(self, count: int) -> None:
        while len(self._connections) < count:
            _, connection = await self.loop.create_connection(lambda: Connection(self), self.host, self.port)
            self._connections.append(connection)

    async def apply(self, shape: Shape) -> Run:
        """One measured run."""
        await self._open_connections(shape.in_flight or 32)
        gc.collect()
        gc.disable()  # nothing here makes cycles, and a collection would count as the other side's latency
        self._start(shape)
        cpu_before, began = time.process_time(), time.perf_counter()
        try:
            await (self._closed_loop(shape.in_flight) if shape.in_flight else self._paced())
            await self._drain(shape)
        finally:
            gc.enable()
        if self._broken:
            raise LoadFailed(self._broken)
        self.run.seconds = max(self._last_end_at, began) - began
        self.run.generator_cpu_seconds = time.process_time() - cpu_before
        return self.run

    async def _drain(self, shape: Shape) -> None:
        """Wait for the end of the load and of every task; what is missing after a time without any end is lost."""
        while not self._drained.is_set():
            seen = self.run.completed + self.run.failed + self.run.created
            try:
                async with asyncio.timeout(shape.drain_seconds_max):
                    await self._drained.wait()
            except TimeoutError:
                if seen == self.run.completed + self.run.failed + self.run.created:
                    self.run.lost = len(self._waiting)
                    if self._answering:
                        self.run.errors["no answer"] += self._answering
                    return

    async def _closed_loop(self, in_flight: int) -> None:
        for connection in self._connections[:in_flight]:
            self._next(connection)
        self._check_drained()

    async def _paced(self) -> None:
        shape = self._shape
        assert shape.rate is not None
        self._idle.extend(self._connections)
        began, number = time.perf_counter(), 0
        while True:
            now = time.perf_counter()
            if now >= self._stop_at or number == self._sent_max:
                break
            due_at = began + number / shape.rate
            if due_at > now:
                await asyncio.sleep(max(due_at - now, 0.001))  # uvloop's timers count milliseconds; less would spin
                continue
            self.run.late_ms_max = max(self.run.late_ms_max, (now - due_at) * 1e3)
            number += 1
            if self._idle:
                self._send(self._idle.popleft(), now)
            else:
                self._due.append(now)
                if len(self._connections) < CONNECTIONS_MAX:
                    await self._open_one_more()
        self._stop_at = 0.0
        self._check_drained()

    async def _open_one_more(self) -> None:
        await self._open_connections(len(self._connections) + 1)
        self._has_room(self._connections[-1])

    # The hot path: four callbacks per task.

    def _send(self, connection: "Connection", began: float) -> None:
        request = self._requests[self._sent % len(self._requests)]
        self._sent += 1
        self._answering += 1
        connection.send(request, began)

    def _next(self, connection: "Connection") -> None:
        """Closed loop: this connection's task has ended, begin another."""
        now = time.perf_counter()
        if now < self._stop_at and self._sent != self._sent_max:
            self._send(connection, now)
        else:
            self._check_drained()

    def _has_room(self, connection: "Connection") -> None:
        """Paced: this connection's request is answered, it can take another."""
        if self._due:
            self._send(connection, self._due.popleft())
        else:
            self._idle.append(connection)
            self._check_drained()

    def on_created(self, connection: "Connection", task_id: bytes, began: float) -> None:
        """A create was accepted."""
        run = self.run
        run.created += 1
        run.create_seconds.append(time.perf_counter() - began)
        self._answering -= 1
        closed = self._shape.in_flight is not None
        self._waiting[task_id] = (connection if closed else None, began)
        if task_id in self._early:
            self.on_end(*self._early.pop(task_id), task_id)
        if not closed:
            self._has_room(connection)

    def on_refused(self, connection: "Connection", status: str) -> None:
        """A create was not accepted: count it, and go on after a breath."""
        self.run.errors[status] += 1
        self._answering -= 1
        again = self._next if self._shape.in_flight is not None else self._has_room
        self.loop.call_later(RETRY_AFTER_SECONDS, again, connection)

    def on_end(self, kind: bytes, now: float, task_id: bytes) -> None:
        """A task's end was told, perhaps before its create was answered."""
        known = self._waiting.pop(task_id, None)
        run = self.run
        if known is None:
            if task_id in self._ended or task_id in self._early:
                run.repeated += 1
            else:
                self._early[task_id] = (kind, now)
            return
        connection, began = known
        self._ended.add(task_id)
        self._last_end_at = max(self._last_end_at, now)
        if kind == b"task_complete":
            run.completed += 1
            run.notify_seconds.append(now - began)
        else:
            run.failed += 1
            run.errors[kind.decode()] += 1
        if connection is not None:
            self._next(connection)
        elif not self._waiting:
            self._check_drained()

    def on_socket_lost(self, why: str) -> None:
        """A socket was closed by the other side; the ends of its user's tasks will be missing."""
        self.run.errors[why] += 1

    def on_connection_lost(self, connection: "Connection", *, was_answering: bool) -> None:
        """A connection was closed by the other side; one that is idle may be."""
        if was_answering:
            self.run.errors["connection lost"] += 1
            self._answering -= 1
        reopening = self.loop.create_task(self._reopen(connection, was_answering=was_answering))
        self._reopening.add(reopening)
        reopening.add_done_callback(self._reopening.discard)

    async def _reopen(self, connection: "Connection", *, was_answering: bool) -> None:
        while True:
            try:
                await self.loop.create_connection(lambda: connection, self.host, self.port)
                break
            except OSError:
                await asyncio.sleep(RETRY_AFTER_SECONDS)
        if was_answering:
            (self._next if self._shape.in_flight is not None else self._has_room)(connection)

    def abort(self, why: str) -> None:
        """Nothing sensible can be measured."""
        self._broken = why
        self._drained.set()

    def _check_drained(self) -> None:
        over = time.perf_counter() >= self._stop_at or self._sent == self._sent_max
        if over and not self._waiting and not self._answering and not self._due:
            self._drained.set()

    def close(self) -> None:
        """Close everything."""
        for task in self._reopening:
            task.cancel()
        for socket in self._sockets:
            socket.close()
        for connection in self._connections:
            connection.close()


def build_request(host: str, user: User) -> bytes:
    """One create, ready to be written again and again."""
    body = json.dumps({"type": "photography", "batch_count": 1, "images": [user.image_url]}, separators=(",", ":")).encode()
    head = (
        f"POST {CREATE_PATH} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {user.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def quoted_after(data: bytes, name: bytes, begin: int, end: int) -> bytes:
    """The string value that follows a JSON name; empty when there is none."""
    at = data.find(name, begin, end)
    if at < 0:
        return b""
    first = data.find(b'"', at + len(name), end) + 1
    last = data.find(b'"', first, end)
    return data[first:last] if first and last > 0 else b""


class Connection(asyncio.Protocol):
    """One kept HTTP connection with at most one request under way; it is opened again when the other side closes it."""

    __slots__ = ("_answering", "_began", "_buffer", "_closing", "_load", "_queued", "_transport")

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._queued = b""
        self._began = 0.0
        self._answering = False
        self._closing = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = opened = cast(asyncio.Transport, transport)  # uvloop's are not asyncio's by class
        if self._queued:
            opened.write(self._queued)
            self._queued = b""

    def send(self, request: bytes, began: float) -> None:
        """Write a whole request, now or when the connection is back."""
        self._began = began
        self._answering = True
        if self._transport is None:
            self._queued = request
        else:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        head_end = data.find(b"\r\n\r\n")
        if head_end < 0:
            self._buffer = data
            return
        head = data[: head_end + 2].lower()
        at = head.find(b"\r\ncontent-length:")
        if at < 0:
            self._load.abort(f"an answer without Content-Length: {data[:200]!r}")
            return
        end = head_end + 4 + int(head[at + 17 : head.find(b"\r\n", at + 17)])
        if len(data) < end:
            self._buffer = data
            return
        self._buffer = b""
        self._answering = False
        status = data[9:12]
        if status[0] == 0x32:  # 2xx
            self._load.on_created(self, quoted_after(data, b'"task_id"', head_end, end), self._began)
        else:
            self._load.on_refused(self, status.decode())

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self._closing:
            was_answering = self._answering and not self._queued
            self._answering, self._buffer = False, b""
            self._load.on_connection_lost(self, was_answering=was_answering)

    def close(self) -> None:
        """Close on purpose."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()


class Socket(asyncio.Protocol):
    """One user's WebSocket: signs in, then looks only for ends of tasks."""

    __slots__ = ("_buffer", "_closing", "_load", "_token", "_transport", "_upgraded", "admitted")

    def __init__(self, load: Load, token: str) -> None:
        self._load = load
        self._token = token
        self._buffer = b""
        self._upgraded = False
        self._closing = False
        self._transport: asyncio.Transport
        self.admitted: asyncio.Future[None] = load.loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are not asyncio's by class
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET /ws HTTP/1.1\r\nHost: {self._load.host}:{self._load.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        at = 0
        if not self._upgraded:
            at = data.find(b"\r\n\r\n") + 4
            if at < 4:
                self._buffer = data
                return
            self._upgrade(data[:at])
        size = len(data)
        while size - at >= 2:
            length, begin = data[at + 1], at + 2
            if length == 126:
                length, begin = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4
            elif length == 127:
                length, begin = int.from_bytes(data[at + 2 : at + 10], "big"), at + 10
            end = begin + length
            if end > size:
                break
            opcode = data[at] & 0x0F
            if opcode == 1:
                self._read_frame(data, begin, end)
            elif opcode == 9:
                self._transport.write(mask_frame(0xA, data[begin:end]))
            elif opcode == 8:
                code = int.from_bytes(data[begin : begin + 2], "big")
                self._load.on_socket_lost(f"socket closed with {code}")
                self._refuse(f"a socket was closed with {code} before it was authenticated")
            at = end
        self._buffer = data[at:]

    def _upgrade(self, head: bytes) -> None:
        self._upgraded = True
        if head[9:12] == b"101":
            self._transport.write(mask_frame(0x1, json.dumps({"type": "auth", "token": self._token}).encode()))
        else:
            self._refuse(f"no upgrade to a WebSocket: {head[:200]!r}")

    def _refuse(self, why: str) -> None:
        if not self.admitted.done():
            self.admitted.set_exception(LoadFailed(why))
        self.close()

    def _read_frame(self, data: bytes, begin: int, end: int) -> None:
        kind = quoted_after(data, b'"type"', begin, end)
        if kind in _ENDS:
            self._load.on_end(kind, time.perf_counter(), quoted_after(data, b'"task_id"', begin, end))
        elif kind == b"auth_success":
            if not self.admitted.done():
                self.admitted.set_result(None)
        elif kind == b"error":
            self._refuse(f"a socket was refused: {data[begin:end]!r}")

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closing:
            self._load.on_socket_lost("socket lost")
            self._refuse("a socket was closed before it was authenticated")

    def close(self) -> None:
        """Close on purpose."""
        self._closing = True
        self._transport.close()


def mask_frame(opcode: int, payload: bytes) -> bytes:
    """A client's frame under 64 KiB; the mask is zero, which the format allows and costs nothing."""
    length = len(payload)
    head = bytes([0x80 | opcode, 0x80 | length]) if length < 126 else bytes([0x80 | opcode, 0x80 | 126]) + length.to_bytes(2, "big")
    return head + b"\0\0\0\0" + payload
