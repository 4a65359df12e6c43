"""What the load generator sees, driven against a small system that behaves well, early, twice, never or badly."""

import asyncio
import base64
import contextlib
import hashlib
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from lab.load import LoadFailed, Run, Shape, drive
from lab.side import User

USERS = [User(f"token-{number}", "https://files.example/photo.jpg") for number in range(5)]


def frame(payload: dict[str, object]) -> bytes:
    """A server's text frame."""
    data = json.dumps(payload, separators=(",", ":")).encode()
    head = bytes([0x81, len(data)]) if len(data) < 126 else bytes([0x81, 126]) + len(data).to_bytes(2, "big")
    return head + data


@dataclass
class System:
    """Answers creates and tells their ends, as `tell` decides."""

    tell: Callable[["System", str, str], None]
    status: Callable[[int], int] = lambda number: 200
    admits: bool = True
    close_after_answer: bool = False
    byte_by_byte: bool = False
    creates: int = 0
    sockets: dict[str, asyncio.StreamWriter] = field(default_factory=dict)

    def push(self, token: str, payload: dict[str, object]) -> None:
        """Write one frame, at once or in single bytes."""
        for chunk in [frame(payload)] if not self.byte_by_byte else [bytes([byte]) for byte in frame(payload)]:
            self.sockets[token].write(chunk)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, of either kind, until its client leaves."""
        try:
            await self.serve_requests(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def serve_requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:] if line)
            if lines[0].startswith("GET /ws"):
                await self.serve_socket(headers["Sec-WebSocket-Key"], reader, writer)
                return
            await reader.readexactly(int(headers["Content-Length"]))
            self.answer(headers["Authorization"].removeprefix("Bearer "), writer)
            if self.close_after_answer:
                return

    def answer(self, token: str, writer: asyncio.StreamWriter) -> None:
        """A task, or the refusal planned for this one."""
        self.creates += 1
        status, task_id = self.status(self.creates), str(uuid.uuid4())
        body = json.dumps({"success": True, "data": {"task_id": task_id, "type": "photography"}}).encode()
        if status == 200:
            self.tell(self, token, task_id)
        writer.write(f"HTTP/1.1 {status} Whatever\r\ncontent-Length: {len(body)}\r\n\r\n".encode() + body)

    async def serve_socket(self, key: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Upgrade, hear who it is, then say only what `push` is told."""
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        upgrade = f"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        writer.write(upgrade.encode())
        first = await reader.readexactly(2)
        length = first[1] & 0x7F
        mask = await reader.readexactly(4)
        token = json.loads(bytes(byte ^ mask[at % 4] for at, byte in enumerate(await reader.readexactly(length))))["token"]
        self.sockets[token] = writer
        self.push(token, {"type": "auth_success" if self.admits else "error", "message": "ok", "session": "s", "seq": 0})
        await reader.read()


def completed(task_id: str) -> dict[str, object]:
    return {"type": "task_complete", "task_id": task_id, "result": {"images": ["x" * 200]}, "seq": 1}


def later(seconds: float, system: System, token: str, payload: dict[str, object]) -> None:
    asyncio.get_running_loop().call_later(seconds, lambda: system.push(token, payload))


def soon(system: System, token: str, task_id: str) -> None:
    """Other frames first, then the end, after the answer."""
    system.push(token, {"type": "credits_changed", "task_id": task_id, "available": 3})
    later(0.001, system, token, completed(task_id))
    later(0.002, system, token, {"type": "work_created", "task_id": task_id})


def at_once(system: System, token: str, task_id: str) -> None:
    system.push(token, completed(task_id))


def never(system: System, token: str, task_id: str) -> None:
    return None


def twice(system: System, token: str, task_id: str) -> None:
    soon(system, token, task_id)
    soon(system, token, task_id)


def as_failed(system: System, token: str, task_id: str) -> None:
    later(0.001, system, token, {"type": "task_failed", "task_id": task_id, "error": "x"})


@asynccontextmanager
async def listening(system: System) -> AsyncIterator[str]:
    """The system on a port of its own."""
    server = await asyncio.start_server(system.serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.sleep(0.05)  # the connections hear that their clients are gone, and close


async def load(system: System, shape: Shape) -> Run:
    async with listening(system) as url:
        return await drive(url, USERS, shape)


async def test_every_task_of_a_closed_loop_is_completed_and_timed_once() -> None:
    run = await load(System(soon), Shape(in_flight=8, tasks=100))
    assert (run.created, run.completed, run.lost, run.repeated, run.failed, dict(run.errors)) == (100, 100, 0, 0, 0, {})
    assert len(run.create_seconds) == len(run.notify_seconds) == 100
    assert min(run.notify_seconds) >= 0.001


async def test_frames_that_arrive_in_single_bytes_are_understood() -> None:
    run = await load(System(soon, byte_by_byte=True), Shape(in_flight=4, tasks=20))
    assert (run.completed, dict(run.errors)) == (20, {})


async def test_an_end_told_before_the_answer_counts() -> None:
    run = await load(System(at_once), Shape(in_flight=8, tasks=50))
    assert (run.created, run.completed, run.repeated) == (50, 50, 0)


async def test_tasks_whose_end_is_never_told_are_lost() -> None:
    run = await load(System(never), Shape(in_flight=3, tasks=10, drain_seconds_max=0.2))
    assert (run.created, run.completed, run.lost) == (3, 0, 3)


async def test_an_end_told_twice_is_seen() -> None:
    run = await load(System(twice), Shape(in_flight=1, tasks=10))
    assert run.completed == 10
    assert run.repeated >= 9  # the last repeat may come after the end of the run


async def test_failed_tasks_are_counted_apart() -> None:
    run = await load(System(as_failed), Shape(in_flight=2, tasks=6))
    assert (run.completed, run.failed, dict(run.errors)) == (0, 6, {"task_failed": 6})


async def test_refusals_are_counted_and_the_rest_goes_on() -> None:
    run = await load(System(soon, status=lambda number: 503 if number % 5 == 0 else 200), Shape(in_flight=4, tasks=50))
    assert (run.completed, dict(run.errors)) == (40, {"503": 10})


async def test_a_paced_load_keeps_its_rate_and_waits_for_every_end() -> None:
    run = await load(System(soon), Shape(rate=200, seconds=0.5))
    assert run.completed == run.created
    assert 90 <= run.completed <= 101


async def test_connections_that_the_other_side_closes_are_opened_again() -> None:
    run = await load(System(soon, close_after_answer=True), Shape(in_flight=4, tasks=40))
    assert run.completed > 10
    assert run.completed + run.errors["connection lost"] == 40  # a request that crossed the close on its way is an error, not a task that hangs
    assert run.lost == 0


async def test_a_refused_token_stops_the_load_with_a_sentence() -> None:
    with pytest.raises(LoadFailed, match="refused"):
        await load(System(soon, admits=False), Shape(in_flight=1, tasks=1))
