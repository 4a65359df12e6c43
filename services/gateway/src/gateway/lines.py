"""Connections to the services: one HTTP/1.1 client protocol, and the pool that keeps such lines open to one replica."""

import asyncio
import re
from collections import deque
from enum import IntEnum
from typing import Protocol

import httptools

from common.errors import Overloaded, ServiceError, Unavailable
from gateway import edge
from gateway.upstreams import Address

ANSWER_HEAD_BYTES_MAX = 64 * 1024

_STATUS = re.compile(rb"HTTP/1\.[01] [1-5][0-9][0-9](?: |\r|$)")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,15})[ \t]*(?:\r\n|$)")
_CHUNKED_CODING = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*(?:\r\n|$)")
_CONNECTION = re.compile(rb"\r\nconnection:([^\r\n]*)")
# `Server: darkroom` is what our services say; any other name tells what they are made of.
_UNUSUAL = re.compile(rb"\r\n(?:(?:" + b"|".join(edge.NOT_RELAYED - {b"server"}) + rb"):|server:(?! darkroom\r))")


class Mode(IntEnum):
    """What a line expects to read next."""

    IDLE = 0
    HEAD = 1
    COUNTED = 2
    CHUNKED = 3
    UNTIL_END = 4


class Caller(Protocol):
    """Whoever borrows a line: told of the line, then of the answer piece by piece, or of what went wrong."""

    gone: bool
    expects_no_body: bool
    upgrades: bool

    def line_lent(self, line: "Line") -> None: ...
    def line_missing(self, error: ServiceError, address: Address) -> None: ...
    def answer_begun(self, status: int, head: bytes, first: bytes, *, until_end: bool) -> None: ...
    def answer_data(self, data: bytes) -> None: ...
    def answer_ended(self) -> None: ...
    def answer_broken(self, line: "Line") -> None: ...
    def upgraded(self, line: "Line", head: bytes, rest: bytes) -> None: ...


_HEAD, _COUNTED, _CHUNKED, _UNTIL_END, _IDLE = Mode.HEAD, Mode.COUNTED, Mode.CHUNKED, Mode.UNTIL_END, Mode.IDLE


class Line(asyncio.Protocol):
    """One connection to a replica; carries one request at a time."""

    __slots__ = ("_buffer", "_caller", "_chunks", "_mode", "_paused", "_remaining", "_reusable", "closed", "idle_since", "pool", "transport")

    def __init__(self, pool: "Pool") -> None:
        self.pool = pool
        self.transport: asyncio.Transport
        self.closed = False
        self.idle_since = 0.0
        self._mode = _IDLE
        self._caller: Caller | None = None
        self._buffer = b""
        self._remaining = 0
        self._reusable = True
        self._paused = False
        self._chunks: _ChunkEnd | None = None

    def ask(self, caller: Caller, request: bytes) -> None:
        """Send a whole request; the answer goes to the caller."""
        self._caller = caller
        self._mode = _HEAD
        self.transport.write(request)

    def pause(self) -> None:
        """The caller cannot take more now."""
        if not self._paused and not self.closed:
            self._paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            if not self.closed:
                self.transport.resume_reading()

    def drop(self) -> None:
        """Give up: nobody wants the answer any more."""
        self._caller = None
        self.transport.abort()

    def leave(self) -> None:
        """The connection became something else (a websocket) and is none of the pool's any more."""
        self.closed = True
        self.pool.lost(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.pool.lost(self)
        caller, self._caller = self._caller, None
        if caller is None:
            return
        if self._mode is _UNTIL_END and exc is None:
            caller.answer_ended()
        else:
            caller.answer_broken(self)

    def data_received(self, data: bytes) -> None:
        mode = self._mode
        if mode is _HEAD:
            self._buffer = self._buffer + data if self._buffer else data
            self._read_head()
        elif mode is _COUNTED:
            self._take_counted(data)
        elif mode is _CHUNKED:
            self._take_chunked(data)
        elif mode is _UNTIL_END and self._caller is not None:
            self._caller.answer_data(data)
        else:
            self.transport.abort()  # nobody asked

    def _read_head(self) -> None:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(buffer) > ANSWER_HEAD_BYTES_MAX:
                self.transport.abort()
            return
        self._buffer = b""
        head, rest = buffer[:end], buffer[end + 4 :]
        status = int(head[9:12]) if _STATUS.match(head) else 0
        if 100 <= status < 200:
            self._read_interim(head, status, rest)
        elif status == 0 or not self._begin(head, status, rest):
            self.transport.abort()

    def _read_interim(self, head: bytes, status: int, rest: bytes) -> None:
        caller = self._caller
        if status != 101:
            self._buffer = rest
            if rest:
                self._read_head()
        elif caller is None or not caller.upgrades:
            self.transport.abort()
        else:
            self._caller = None
            caller.upgraded(self, _relayed(head), rest)

    def _begin(self, head: bytes, status: int, rest: bytes) -> bool:
        """Take in a head and what came with it; False when its framing cannot be trusted."""
        caller = self._caller
        framing = self._read_framing(head)
        if caller is None or framing is None:
            return False
        length, chunked, relayed = framing
        if caller.expects_no_body or status in (204, 304):
            length, chunked = 0, False
        if chunked:
            self._chunks = _ChunkEnd()
            if rest and not self._chunks.feed(rest):
                return False
            self._mode = _CHUNKED
        elif length >= 0:
            self._remaining = length - len(rest)
            if self._remaining < 0:
                return False
            self._mode = _COUNTED
        else:
            self._mode, self._reusable = _UNTIL_END, False
        caller.answer_begun(status, relayed, rest, until_end=self._mode is _UNTIL_END)
        if (self._mode is _COUNTED and self._remaining == 0) or (self._chunks is not None and self._chunks.ended):
            self._end()
        return True

    def _read_framing(self, head: bytes) -> tuple[int, bool, bytes] | None:
        """(length or -1, chunked, the head to relay), or None when two readers could disagree."""
        lower = head.lower()
        self._reusable = lower.startswith(b"http/1.1")
        if not self._reusable:
            head = b"HTTP/1.1" + head[8:]
        if _UNUSUAL.search(lower):
            self._reusable = self._reusable and b"close" not in b",".join(_CONNECTION.findall(lower))
            head = _relayed(head)
            lower = head.lower()
        lengths = lower.count(b"\r\ncontent-length:")
        codings = lower.count(b"\r\ntransfer-encoding:")
        if lengths + codings != 1:
            return None if lengths + codings else (-1, False, head)
        if codings:
            return (-1, True, head) if _CHUNKED_CODING.search(lower) else None
        found = _LENGTH.search(lower)
        return (int(found[1]), False, head) if found else None

    def _take_counted(self, data: bytes) -> None:
        self._remaining -= len(data)
        caller = self._caller
        if caller is None or self._remaining < 0:
            self.transport.abort()
            return
        caller.answer_data(data)
        if self._remaining == 0:
            self._end()

    def _take_chunked(self, data: bytes) -> None:
        chunks, caller = self._chunks, self._caller
        if caller is None or chunks is None or not chunks.feed(data):
            self.transport.abort()
            return
        caller.answer_data(data)
        if chunks.ended:
            self._end()

    def _end(self) -> None:
        caller, self._caller = self._caller, None
        self._mode, self._chunks = _IDLE, None
        self.resume()
        if self._reusable:
            self.pool.take_back(self)
        else:
            self.transport.close()
        if caller is not None:
            caller.answer_ended()


class _ChunkEnd:
    """Finds where a chunked body ends; the bytes themselves are relayed as they are."""

    __slots__ = ("_parser", "ended")

    def __init__(self) -> None:
        self.ended = False
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

    def feed(self, data: bytes) -> bool:
        """False when this is no chunked body, or one with something behind its end."""
        if self.ended:
            return False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            return False
        return True

    def on_message_complete(self) -> None:
        self.ended = True


def _relayed(head: bytes) -> bytes:
    """A head without what belongs to one connection only, or is said by the gateway itself."""
    first, *lines = head.split(b"\r\n")
    return b"\r\n".join([first, *(line for line in lines if line.partition(b":")[0].lower() not in edge.NOT_RELAYED)])


class Pool:
    """The lines to one replica: kept open, lent out, made when more callers wait than lines are free."""

    def __init__(self, address: Address, *, connect_seconds: float, idle_seconds: float, connections_max: int, waiting_max: int) -> None:
        self.address = address
        self._connect_seconds = connect_seconds
        self._idle_seconds = idle_seconds
        self._connections_max = connections_max
        self._waiting_max = waiting_max
        self._idle: deque[Line] = deque()
        self._open = 0
        self._waiting: deque[Caller] = deque()
        self._wanted = asyncio.Event()
        self._now = asyncio.get_running_loop().time

    def lend(self, caller: Caller) -> None:
        """Give the caller a line now, or as soon as there is one; it hears `line_missing` when there will be none."""
        idle = self._idle
        while idle:
            line = idle.pop()
            if not line.closed and not line.transport.is_closing():
                caller.line_lent(line)
                return
        if len(self._waiting) >= self._waiting_max:
            caller.line_missing(Overloaded("too many are waiting"), self.address)
            return
        self._waiting.append(caller)
        self._wanted.set()

    def take_back(self, line: Line) -> None:
        """A line is free again."""
        waiting = self._waiting
        while waiting:
            caller = waiting.popleft()
            if not caller.gone:
                caller.line_lent(line)
                return
        line.idle_since = self._now()
        self._idle.append(line)

    def lost(self, line: Line) -> None:
        """A line was closed."""
        self._open -= 1
        if self._waiting:
            self._wanted.set()

    def close_idle(self, *, all_of_them: bool = False) -> None:
        """Close lines nobody used for a while, before the service does."""
        before = self._now() - self._idle_seconds
        while self._idle and (all_of_them or self._idle[0].idle_since < before):
            line = self._idle.popleft()
            if not line.closed:
                line.transport.close()

    async def run(self) -> None:
        """Make lines while callers wait; runs until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._waiting and self._open < self._connections_max:
                if self._waiting[0].gone:
                    self._waiting.popleft()
                else:
                    await self._connect()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, line = await loop.create_connection(lambda: Line(self), self.address.host, self.address.port)
        except (OSError, TimeoutError):
            waiting, self._waiting = self._waiting, deque()
            for caller in waiting:
                if not caller.gone:
                    caller.line_missing(Unavailable("the service is away"), self.address)
            return
        self._open += 1
        self.take_back(line)
