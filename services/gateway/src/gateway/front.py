"""The short path: small, plain requests of known routes go to a pooled connection as bytes and come back as bytes.

Only what is written exactly as `gateway.heads` says is read here. Everything else, with every byte received so far, is handed to
aiohttp (`gateway.streamed`), so what is odd is judged by one careful reader and what is common costs a few microseconds.
"""

import asyncio
from collections.abc import Mapping

from aiohttp import web

from common.errors import InvalidParameter, Overloaded, ServiceError, Unavailable
from common.metrics import RequestTimes
from gateway import edge
from gateway.gate import Gate
from gateway.heads import Asked, Headers, HeadReader
from gateway.limits import Visit
from gateway.lines import Line, Pool
from gateway.refusals import refusal
from gateway.tunnel import Tunnel
from gateway.upstreams import Address, Replicas

PIPELINED_BYTES_MAX = 256 * 1024

_METHOD_NAMES = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")}


class Hall:
    """What all connections of the gateway share."""

    def __init__(
        self,
        gate: Gate,
        replicas: Mapping[str, Replicas],
        pools: Mapping[Address, Pool],
        careful: web.Server,
        times: RequestTimes,
        *,
        head_seconds: float,
        progress_seconds: float,
        idle_seconds: float,
        connections_max: int,
    ) -> None:
        self.gate = gate
        self.reader = HeadReader(gate)
        self.own_lines = gate.cors.lines(None)
        self.replicas = replicas
        self.pools = pools
        self.careful = careful
        self.times = times
        self.head_seconds = head_seconds
        self.progress_seconds = progress_seconds
        self.idle_seconds = idle_seconds
        self.connections_max = connections_max
        self.now = asyncio.get_running_loop().time
        self.fronts: set[Front] = set()
        self.tunnels: set[Tunnel] = set()
        self.draining = False

    def open_front(self) -> asyncio.Protocol:
        """A protocol for a new connection."""
        return Front(self)

    def sweep(self) -> None:
        """End what waited too long; called a few times a second, because a timer per request costs more than the request."""
        now = self.now()
        for front in [front for front in self.fronts if front.deadline < now]:
            front.expire()

    def drain(self) -> None:
        """From now on every answer closes its connection, and idle connections close at once."""
        self.draining = True
        for front in list(self.fronts):
            front.close_if_idle()
        for tunnel in list(self.tunnels):
            tunnel.say_goodbye()


class Front(asyncio.Protocol):
    """A client's connection while it asks plain things."""

    __slots__ = (
        "_addresses",
        "_asked",
        "_begun",
        "_body_at",
        "_buffer",
        "_busy",
        "_closing",
        "_ended",
        "_hall",
        "_headers",
        "_line",
        "_peer",
        "_reading",
        "_reading_paused",
        "_request",
        "_retries",
        "_started_at",
        "_status",
        "_transport",
        "_unsent",
        "_visit",
        "_writing_paused",
        "deadline",
        "expects_no_body",
        "gone",
        "upgrades",
    )

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self._transport: asyncio.Transport
        self._buffer = b""
        self._body_at = 0
        self._asked: Asked | None = None
        self._busy = False
        self._reading = False
        self._reading_paused = False
        self._writing_paused = False
        self._closing = False
        self._ended = False
        self._line: Line | None = None
        self._headers: Headers | None = None
        self._addresses: list[Address] = []
        self._request = b""
        self._retries = 0
        self._begun = False
        self._status = 0
        self._started_at = 0.0
        self._unsent = 0
        self._peer = ""
        self._visit: Visit | None = None
        self.deadline = 0.0
        self.expects_no_body = False
        self.upgrades = False
        self.gone = False

    # what the client does

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        hall = self._hall
        hall.fronts.add(self)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if peer else ""
        self.deadline = hall.now() + hall.head_seconds
        if len(hall.fronts) + len(hall.tunnels) + len(hall.careful.connections) > hall.connections_max:
            self._write_refusal(Overloaded("too many connections"), path="/", close=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._hall.fronts.discard(self)
        self._leave()
        if self._line is not None:
            self._line.drop()
            self._line = None

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not self._busy:
            self._read_all()
        if len(self._buffer) > PIPELINED_BYTES_MAX and (self._busy or self._writing_paused) and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Whoever says no more still reads the answers to what was asked whole; a websocket needs both sides."""
        if self._asked is not None and self._asked.upgrades:
            return False
        self._ended = True
        self._read_all()
        return True

    def pause_writing(self) -> None:
        self._writing_paused = True
        if self._line is not None:
            self._line.pause()

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._line is not None:
            self._line.resume()
        elif not self._busy and not self._closing:
            self._go_on()

    # reading requests

    def _read_all(self) -> None:
        # A loop, not a chain of calls: a buffer full of requests that are refused at once would exhaust the stack.
        if self._reading:
            return
        self._reading = True
        while self._buffer and not self._busy and not self._closing and not self._writing_paused and self._read():
            pass
        self._reading = False
        if self._ended and not self._busy and not self._closing and not self._writing_paused:
            self._transport.close()

    def _read(self) -> bool:
        """Take one request out of the buffer; False when it is not all there or not for this path."""
        hall, buffer, asked = self._hall, self._buffer, self._asked
        if asked is None:
            end = buffer.find(b"\r\n\r\n", 0, edge.HEAD_BYTES_MAX)
            if end < 0:
                self._await_head()
                return False
            asked = hall.reader.read(buffer[:end], self._headers)
            if asked is None:
                self._hand_over()
                return False
            self._asked = asked
            self._headers = asked.headers
            self._body_at = end + 4
            self._started_at = hall.now()
        whole = self._body_at + asked.length
        if len(buffer) < whole:
            self.deadline = hall.now() + hall.progress_seconds
            return False
        body = buffer[self._body_at : whole]
        self._buffer = buffer[whole:]
        self._busy = True
        self._begun = False
        head = self._head_for(asked)
        self._request = head + body if body else head
        if hall.gate.limits is None:
            self._act(asked)
        else:
            self._enter(asked)
        return True

    def _head_for(self, asked: Asked) -> bytes:
        """Identity is told where a request comes from, because guesses of passwords are counted by it, too. Nobody else needs to know."""
        if asked.route is None or asked.route.service != "identity":
            return asked.head
        addresses = self._hall.gate.addresses
        forwarded = asked.headers.values_of(b"x-forwarded-for") if addresses.asks_forwarded else ""
        return b"%bX-Forwarded-For: %b\r\n\r\n" % (asked.head[:-2], addresses.key(self._peer, forwarded).encode("latin-1"))

    def _enter(self, asked: Asked) -> None:
        """Count it, here or with the other replicas, before anything is done for it."""
        gate, headers = self._hall.gate, asked.headers
        forwarded = headers.values_of(b"x-forwarded-for") if gate.addresses.asks_forwarded else ""
        visit = self._visit = gate.enter(asked.row, _METHOD_NAMES[asked.method], peer=self._peer, forwarded=forwarded, token=headers.token)
        if visit is None:
            self._act(asked)
        elif gate.shared is None:
            self._decided(visit)
        else:
            self.deadline = self._started_at + self._hall.progress_seconds
            gate.shared.ask(visit, self._decided)

    def _decided(self, visit: Visit) -> None:
        """Whether it may be asked now."""
        asked = self._asked
        if asked is None or self._visit is not visit:
            return  # nobody waits for it any more
        if visit.refusal is not None:
            self._refuse(visit.refusal)
        else:
            self._act(asked)

    def _act(self, asked: Asked) -> None:
        if asked.error is not None:
            self._refuse(asked.error)
        else:
            self._send(asked)

    def _leave(self) -> None:
        visit, self._visit = self._visit, None
        if visit is not None:
            self._hall.gate.leave(visit)

    def _await_head(self) -> None:
        if len(self._buffer) >= edge.HEAD_BYTES_MAX:
            self._hand_over()
        elif self.deadline > self._hall.now() + self._hall.head_seconds:
            self.deadline = self._hall.now() + self._hall.head_seconds

    def _hand_over(self) -> None:
        """The careful reader takes this connection from here on, beginning with the request that was not for us."""
        self._hall.fronts.discard(self)
        self._closing = True
        careful, transport, buffer = self._hall.careful(), self._transport, self._buffer
        self._buffer = b""
        transport.set_protocol(careful)
        careful.connection_made(transport)
        careful.data_received(buffer)

    # asking a service

    def _send(self, asked: Asked) -> None:
        route = asked.route
        assert route is not None
        self.expects_no_body = asked.method == b"HEAD"
        self.upgrades = asked.upgrades
        self.deadline = self._started_at + route.deadline_seconds
        self._retries = 1 if asked.repeatable else 0
        self._addresses = self._hall.replicas[route.service].in_turn()
        self._try_next()

    def _try_next(self) -> None:
        if self._addresses:
            self._hall.pools[self._addresses.pop(0)].lend(self)
        else:
            self._refuse(Unavailable("the service is away"))

    def line_lent(self, line: Line) -> None:
        """A connection to a replica: send the request."""
        self._line = line
        line.ask(self, self._request)

    def line_missing(self, error: ServiceError, address: Address) -> None:
        """No connection to this replica was made, so nothing was asked yet and another may be."""
        if not isinstance(error, Overloaded):
            self._replicas().failed(address)
        if self._addresses:
            self._try_next()
        else:
            self._refuse(error)

    def answer_broken(self, line: Line) -> None:
        """The connection ended before the answer did."""
        self._line = None
        if self._begun:
            self._transport.abort()  # half an answer is out: only a broken connection can say so
        elif self._retries:
            self._retries -= 1
            self._addresses = sorted(self._replicas().in_turn(), key=lambda address: address is line.pool.address)
            self._try_next()
        else:
            self._refuse(Unavailable("the service gave no answer"))

    def _replicas(self) -> Replicas:
        asked = self._asked
        assert asked is not None
        assert asked.route is not None
        return self._hall.replicas[asked.route.service]

    # answering

    def answer_begun(self, status: int, head: bytes, first: bytes, *, until_end: bool) -> None:
        """The head of the answer (without the empty line), and what of its body came with it."""
        asked = self._asked
        assert asked is not None
        self._begun = True
        self._status = status
        self._request = b""
        self.deadline = self._hall.now() + self._hall.progress_seconds
        cors = self._hall.gate.cors
        own = cors.lines(asked.headers.value_of(b"origin")) if cors.asks_origin else self._hall.own_lines
        if self._visit is not None:
            own += self._visit.lines()
        if b"X-Request-Id:" not in head:
            own += b"\r\nX-Request-Id: " + asked.request_id
        if until_end or asked.close or self._hall.draining:
            self._closing = True
            own += b"\r\nConnection: close"
        self._transport.write(b"%b%b\r\n\r\n%b" % (head, own, first))
        if self._writing_paused and self._line is not None:
            self._line.pause()

    def answer_data(self, data: bytes) -> None:
        """More of the body."""
        self.deadline = self._hall.now() + self._hall.progress_seconds
        self._transport.write(data)

    def answer_ended(self) -> None:
        """The answer is complete."""
        self._line = None
        self._finish()

    def upgraded(self, line: Line, head: bytes, rest: bytes) -> None:
        """The service took the websocket: from here on bytes pass both ways."""
        hall, asked = self._hall, self._asked
        assert asked is not None
        self._count(101)
        self._leave()
        self._line = None
        self._closing = True
        hall.fronts.discard(self)
        line.leave()
        self._transport.write(b"%b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Request-Id: %b\r\n\r\n" % (head, asked.request_id))
        tunnel = Tunnel(self._transport, line.transport, closed=hall.tunnels.discard)
        hall.tunnels.add(tunnel)
        tunnel.join(to_client=rest, to_service=self._buffer)
        self._buffer = b""

    def _refuse(self, error: ServiceError, *, close: bool = False) -> None:
        asked = self._asked
        assert asked is not None
        self._status = self._write_refusal(error, path=asked.path, close=close or asked.close or self._hall.draining)
        self._finish()

    def _write_refusal(self, error: ServiceError, *, path: str, close: bool) -> int:
        asked, visit = self._asked, self._visit
        own = self._hall.gate.cors.headers(asked.headers.value_of(b"origin") if asked else None)
        answer = refusal(
            error,
            path=path,
            request_id=asked.request_id.decode() if asked else edge.new_trace()[0],
            own_headers={**own, **visit.headers()} if visit is not None else own,
            accept_language=asked.headers.value_of(b"accept-language") if asked else None,
            accept=asked.headers.value_of(b"accept") if asked else None,
        )
        self._transport.write(answer.to_bytes(head_only=asked is not None and asked.method == b"HEAD", close=close))
        if close:
            self._closing = True
            self._transport.close()
        return answer.status

    def _finish(self) -> None:
        hall = self._hall
        self._count(self._status)
        self._leave()
        self._busy = False
        self._asked = None
        self._request = b""
        self.deadline = hall.now() + hall.idle_seconds
        if self._closing:
            self._transport.close()
            return
        if not self._writing_paused:
            self._go_on()

    def _go_on(self) -> None:
        """Look at what came in meanwhile."""
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()
        if self._buffer or self._ended:
            self._read_all()

    def _count(self, status: int) -> None:
        asked = self._asked
        if asked is not None:
            self._hall.times.add(_METHOD_NAMES[asked.method], asked.route.path if asked.route else "*", status, self._hall.now() - self._started_at)

    # ends

    def expire(self) -> None:
        """The deadline passed: of a head, a body, an answer or of patience with an idle connection."""
        if self._still_reads():
            self.deadline = self._hall.now() + self._hall.progress_seconds
            return
        line, self._line = self._line, None
        if line is not None:
            line.drop()
        asked = self._asked
        if asked is None or self._begun:
            self._transport.abort()
            return
        # Whoever still has this connection in a queue must not lend to it.
        self.gone = True
        if self._busy:
            self._refuse(Unavailable("the service gave no answer in time"), close=True)
        else:
            self._refuse(InvalidParameter("the body stopped coming"), close=True)

    def _still_reads(self) -> bool:
        """Whether the client took something since the last look: who reads slowly is waited for, who does not read is not."""
        unsent = self._transport.get_write_buffer_size()
        moved = 0 < unsent != self._unsent
        self._unsent = unsent
        return moved

    def cut(self) -> None:
        """No more waiting."""
        self._transport.abort()

    def close_if_idle(self) -> None:
        """Close unless a request is under way."""
        if not self._busy and self._asked is None and not self._buffer:
            self._transport.close()
