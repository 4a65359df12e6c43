"""The path for everything that is not small and plain: bodies streamed both ways, odd heads, refusals; aiohttp on both sides."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp
import structlog
from aiohttp import web
from aiohttp.http import SERVER_SOFTWARE
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler
from multidict import CIMultiDict
from yarl import URL

from common.errors import Internal, InvalidParameter, PayloadTooLarge, ServiceError, Unauthorized, Unavailable, UnsupportedMediaType
from common.web.dialects import dialect_of, language_of
from common.web.ready import NO_STORE
from gateway import edge
from gateway.edge import Name
from gateway.gate import Gate, check, token_of
from gateway.limits import Visit
from gateway.own import Own, OwnAsk
from gateway.refusals import Refusal, refusal
from gateway.routes import Route
from gateway.signing import Signed
from gateway.upstreams import Address, Replicas

log = structlog.get_logger()

_FIRST_LINE = re.compile(rb"[A-Za-z]{1,20} (/[!-~]{0,512})")
_LANGUAGE = re.compile(rb"\naccept-language:[ \t]*([!-~ ]{0,64})", re.IGNORECASE)
_VERSION = web.RequestKey("version", aiohttp.HttpVersion)
_SPOKEN = (aiohttp.HttpVersion10, aiohttp.HttpVersion11)
_NOT_RELAYED = frozenset(name.decode() for name in edge.NOT_RELAYED) | {"transfer-encoding"}


@dataclass(slots=True)
class Asked:
    """A request as it was read: what decides its way, and what is sent on."""

    method: str
    path: str
    request_id: str
    headers: CIMultiDict[str]
    length: int | None
    token: str | None
    signature: dict[str, str]
    repeatable: bool
    upgrades: bool
    own_headers: dict[str, str] = field(default_factory=dict)
    """What the gateway says on the answer, whatever it is."""


class Streamed:
    """Answers requests one coroutine each; the reference for what the short path may do faster."""

    def __init__(
        self,
        gate: Gate,
        replicas: Mapping[str, Replicas],
        own: Own,
        *,
        connect_seconds: float,
        progress_seconds: float,
        idle_seconds: float,
    ) -> None:
        self._gate = gate
        self._replicas = replicas
        self._own = own
        self._connect_seconds = connect_seconds
        self._progress_seconds = progress_seconds
        self._idle_seconds = idle_seconds

    async def __aenter__(self) -> Self:
        self._pooled = _session(aiohttp.TCPConnector(limit=0, keepalive_timeout=self._idle_seconds))
        # What is streamed cannot be sent twice, so it never meets a connection that may just be closing.
        self._fresh = _session(aiohttp.TCPConnector(limit=0, force_close=True))
        self.server = _Server(self._answer, self._gate, idle_seconds=self._idle_seconds)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._pooled.close()
        await self._fresh.close()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        response = await self._answer_unclosed(request)
        # The next request is most likely plain again (or wants a websocket), and only a new connection begins on the short path.
        response.force_close()
        return response

    async def _answer_unclosed(self, request: web.BaseRequest) -> web.StreamResponse:
        asked = _read(request)
        asked.own_headers = {"X-Request-Id": asked.request_id, **self._gate.cors.headers(request.headers.get("Origin"))}
        visit = None
        try:
            _check_framing(request)
            _check_names(request)
            spelled = edge.canonical(request.raw_path)
            if asked.method == "OPTIONS" and spelled:
                return web.Response(status=204, headers={**self._gate.cors.preflight(request.headers.get("Origin")), "X-Request-Id": asked.request_id})
            row = self._gate.table.find(spelled[0]) if spelled else None
            visit = await self._enter(request, asked, row)
            route = check(row, asked.method, length=asked.length or 0, has_token=asked.token is not None)
            if route.service == "identity":
                asked.headers["X-Forwarded-For"] = self._address_of(request)
            signed = self._check_signature(request, asked, route)
            if route.service == "gateway":
                return await self._answer_itself(request, asked, route, signed)
            return await _Passage(self, request, asked, route, "".join(spelled or ()), signed).go()
        except ServiceError as error:
            return _refused(error, asked, request)
        finally:
            if visit is not None:
                self._gate.leave(visit)

    async def _enter(self, request: web.BaseRequest, asked: Asked, row: Route | None) -> Visit | None:
        """Count it, here or with the other replicas; raises RateLimited."""
        gate = self._gate
        forwarded, peer = self._hops_of(request)
        visit = gate.enter(row, asked.method, peer=peer, forwarded=forwarded, token=asked.token)
        if visit is None:
            return None
        try:
            if gate.shared is not None:
                await gate.shared.decide(visit)
            asked.own_headers.update(visit.headers())
            if visit.refusal is not None:
                raise visit.refusal
        except BaseException:
            gate.leave(visit)
            raise
        return visit

    def _address_of(self, request: web.BaseRequest) -> str:
        """Where a request comes from. Identity is told, because guesses of passwords are counted by it, too; nobody else needs to know."""
        forwarded, peer = self._hops_of(request)
        return self._gate.addresses.key(peer, forwarded)

    def _hops_of(self, request: web.BaseRequest) -> tuple[str, str]:
        """What proxies say, where any is believed, and who is connected to us."""
        forwarded = ",".join(request.headers.getall("X-Forwarded-For", ())) if self._gate.addresses.asks_forwarded else ""
        peer = request.transport.get_extra_info("peername") if request.transport is not None else None
        return forwarded, peer[0] if peer else ""

    def _check_signature(self, request: web.BaseRequest, asked: Asked, route: Route) -> Signed | None:
        """The signature that holds for everything but the body; None where none is needed. Raises Unauthorized."""
        signing = self._gate.signing
        if not asked.signature:
            signing.require(route, asked.method, asked.token)
            return None
        path, _, query = request.raw_path.partition("?")
        return signing.verify(asked.signature, method=asked.method, path=path, query=query, token=asked.token)

    async def _answer_itself(self, request: web.BaseRequest, asked: Asked, route: Route, signed: Signed | None) -> web.Response:
        await _say_continue(request)
        body = await _Body(request, route.body_bytes_max, self._progress_seconds, signed).whole()
        if signed is not None:
            await self._gate.signing.take(signed, asked.method)
        lang = language_of(request.headers.get("Accept-Language"), dialect_of(asked.path))
        answer = await self._own.answer(route.path, OwnAsk(asked.method, asked.path, asked.headers, body, lang))
        headers = CIMultiDict({"Content-Type": answer.content_type, "Cache-Control": NO_STORE, **answer.headers})
        return web.Response(status=answer.status, body=answer.body, headers=_with_own(headers, asked))


def _read(request: web.BaseRequest) -> Asked:
    seen: dict[Name, str] = {}
    signature: dict[str, str] = {}
    headers: CIMultiDict[str] = CIMultiDict()
    listed = {name.strip().lower() for value in request.headers.getall("Connection", ()) for name in value.split(",")}
    for name, value in request.headers.items():
        kind = edge.name_of(name.encode("latin-1", "replace"))
        seen[kind] = value
        if kind in (Name.PASSES, Name.HOST, Name.TOKEN, Name.IDEMPOTENCY_KEY) and name.lower() not in listed:
            headers.add(name, value)
        elif kind is Name.SIGNATURE:
            # Said twice, it is no signature: two readers could take different ones.
            signature[name.lower()] = value if name.lower() not in signature else ""
    trace_id, traceparent = edge.new_trace()
    if edge.is_traceparent(seen.get(Name.TRACEPARENT, "")):
        traceparent = seen[Name.TRACEPARENT]
    given = seen.get(Name.REQUEST_ID, "")
    request_id = given if edge.is_request_id(given) else trace_id
    headers["X-Request-Id"] = request_id
    headers["traceparent"] = traceparent
    length = seen.get(Name.CONTENT_LENGTH, "0" if "Transfer-Encoding" not in request.headers else "")
    return Asked(
        method=request.method,
        path=request.raw_path.partition("?")[0],
        request_id=request_id,
        headers=headers,
        length=int(length) if length.isdecimal() else None,
        token=token_of(request.headers.get("Authorization"), request.headers.get("X-LC-Session")),
        signature=signature,
        repeatable=request.method in ("GET", "HEAD") or Name.IDEMPOTENCY_KEY in seen,
        upgrades="websocket" in request.headers.get("Upgrade", "").lower(),
    )


def _check_framing(request: web.BaseRequest) -> None:
    """Raises InvalidParameter, or Unauthorized, where two readers could disagree about where a request ends or whom it is for."""
    headers = request.headers
    if request[_VERSION] not in _SPOKEN:
        raise InvalidParameter("this version of HTTP is not spoken here")
    hosts = headers.getall("Host", ())
    if len(hosts) > 1 or (not hosts and request.version >= aiohttp.HttpVersion11):
        raise InvalidParameter.of("Host", "exactly-one")
    lengths = headers.getall("Content-Length", ())
    if len(lengths) > 1 or (lengths and "Transfer-Encoding" in headers):
        raise InvalidParameter.of("Content-Length", "two-lengths")
    if not all(edge.is_hop_by_hop(name.strip().encode("latin-1", "replace")) for value in headers.getall("Connection", ()) for name in value.split(",")):
        # What we judge by would not be what the service sees.
        raise InvalidParameter.of("Connection", "connection-header")
    if any(coding.strip().lower() not in ("", "identity") for value in headers.getall("Content-Encoding", ()) for coding in value.split(",")):
        # What is small here may be large where it is unpacked.
        raise UnsupportedMediaType("an encoded body is not taken")
    if not request.raw_path.startswith("/"):
        raise InvalidParameter("the target must be a path")


def _check_names(request: web.BaseRequest) -> None:
    """Raises InvalidParameter where two readers could take different users, or different attempts, from one request."""
    given = {name: request.headers.getall(name, ()) for name in ("Authorization", "X-LC-Session", "Idempotency-Key")}
    for name, values in given.items():
        if len(values) > 1:
            raise InvalidParameter.of(name, "twice")
        if not all(value.isascii() for value in values):
            raise InvalidParameter.of(name, "ascii") if name == "Idempotency-Key" else Unauthorized("a token is ASCII")
    authorization, session, _ = (values[0] if values else None for values in given.values())
    if authorization is not None and session and token_of(authorization, None) != session:
        raise InvalidParameter.of("X-LC-Session", "other-token")


async def _say_continue(request: web.BaseRequest) -> None:
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


def _refused(error: ServiceError, asked: Asked, request: web.BaseRequest) -> web.Response:
    answer = refusal(
        error,
        path=asked.path,
        request_id=asked.request_id,
        own_headers=asked.own_headers,
        accept_language=request.headers.get("Accept-Language"),
        accept=request.headers.get("Accept"),
    )
    return web.Response(status=answer.status, body=answer.body, headers=answer.headers)


def _with_own(headers: CIMultiDict[str], asked: Asked) -> CIMultiDict[str]:
    """With what the gateway says itself: instead of what was said before, but what an answer varies by is more with each who says it."""
    for name, value in asked.own_headers.items():
        if name == "Vary":
            headers.add(name, value)
        else:
            headers[name] = value
    return headers


class _Passage:
    """One request on its way to a service and the answer on its way back."""

    def __init__(self, ways: Streamed, request: web.BaseRequest, asked: Asked, route: Route, target: str, signed: Signed | None) -> None:
        self._ways = ways
        self._request = request
        self._asked = asked
        self._route = route
        self._target = target
        self._replicas = ways._replicas[route.service]
        self._signed = signed
        self._body = _Body(request, route.body_bytes_max, ways._progress_seconds, signed)

    async def go(self) -> web.StreamResponse:
        if self._asked.upgrades and self._route.websocket:
            raise InvalidParameter("a websocket must be asked for plainly")
        await _say_continue(self._request)
        length = self._asked.length
        if length is not None and length <= edge.SMALL_BODY_BYTES_MAX:
            body = await self._body.whole() if length or self._signed else b""
            await self._take_signature()
            return await self._relay(await self._send(body))
        await self._take_signature()
        return await self._relay(await self._stream())

    async def _take_signature(self) -> None:
        if self._signed is not None:
            await self._ways._gate.signing.take(self._signed, self._asked.method)

    async def _send(self, body: bytes) -> aiohttp.ClientResponse:
        """A small body, kept: asked again elsewhere when the connection was never made, or once when asking twice is safe."""
        addresses = self._replicas.in_turn()
        retries = 1 if self._asked.repeatable else 0
        for address in [*addresses, *addresses[:retries]]:
            try:
                async with asyncio.timeout(self._route.deadline_seconds):
                    return await self._ask(self._ways._pooled, address, body)
            except aiohttp.ClientConnectorError:
                self._replicas.failed(address)
            except (aiohttp.ClientError, ConnectionError) as error:
                if not retries:
                    raise Unavailable("the service gave no answer") from error
                retries -= 1
            except TimeoutError as error:
                raise Unavailable("the service gave no answer in time") from error
        raise Unavailable("the service is away")

    async def _stream(self) -> aiohttp.ClientResponse:
        """A large or unmeasured body: sent on as it comes, once."""
        for address in self._replicas.in_turn():
            try:
                async with asyncio.timeout(self._route.deadline_seconds) as limit:
                    self._body.start_clock(limit, self._route.deadline_seconds)
                    return await self._ask(self._ways._fresh, address, self._body.chunks())
            except aiohttp.ClientConnectorError as error:
                self._replicas.failed(address)
                if self._body.begun:
                    raise Unavailable("the service gave no answer") from error
            except (aiohttp.ClientError, ConnectionError, ServiceError) as error:
                raise self._body.refusal or Unavailable("the service gave no answer") from error
            except TimeoutError as error:
                raise self._body.refusal or self._body.stall() or Unavailable("the service gave no answer in time") from error
            finally:
                self._body.stop_clock()
        raise Unavailable("the service is away")

    async def _ask(self, session: aiohttp.ClientSession, address: Address, body: bytes | AsyncIterator[bytes]) -> aiohttp.ClientResponse:
        headers = self._asked.headers.copy()
        if self._asked.length is not None and "Content-Length" in self._request.headers:
            headers["Content-Length"] = str(self._asked.length)
        wait = max(self._ways._progress_seconds, self._route.deadline_seconds)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._ways._connect_seconds, sock_read=wait)
        url = _url(address, self._target)
        answer = await session.request(self._asked.method, url, headers=headers, data=body or None, allow_redirects=False, timeout=timeout)
        self._replicas.answered(address)
        if not 200 <= answer.status < 600:
            answer.close()
            raise Unavailable("the service gave an answer that is none")
        return answer

    async def _relay(self, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        async with answer:
            response = web.StreamResponse(status=answer.status, reason=answer.reason)
            for name, value in answer.headers.items():
                if name.lower() not in _NOT_RELAYED:
                    response.headers.add(name, value)
            _with_own(response.headers, self._asked)
            response.force_close()
            await response.prepare(self._request)
            if self._asked.method != "HEAD":
                await self._copy(answer, response)
            return response

    async def _copy(self, answer: aiohttp.ClientResponse, response: web.StreamResponse) -> None:
        try:
            async for chunk in answer.content.iter_any():
                async with asyncio.timeout(self._ways._progress_seconds):
                    await response.write(chunk)
        except (aiohttp.ClientError, TimeoutError) as error:
            # Half an answer is out: only a broken connection can say so.
            raise ConnectionAbortedError("the answer broke off") from error


def _url(address: Address, target: str) -> URL:
    return URL(address.url + target, encoded=True)


class _Body:
    """A request's body as it arrives: counted against the route's limit, never stalled for longer than allowed.

    Of a signed body the last piece is kept back until the whole is known to be what was signed, so that nothing else is ever complete.
    """

    def __init__(self, request: web.BaseRequest, bytes_max: int, progress_seconds: float, signed: Signed | None) -> None:
        self._signed = signed
        self._request = request
        self._bytes_max = bytes_max
        self._progress_seconds = progress_seconds
        self._limit: asyncio.Timeout | None = None
        self._answer_seconds = 0.0
        self.refusal: ServiceError | None = None
        self.begun = False
        self._awaited = False

    def start_clock(self, limit: asyncio.Timeout, answer_seconds: float) -> None:
        """The answer's deadline runs from the last piece of body."""
        self._limit, self._answer_seconds = limit, answer_seconds

    def stop_clock(self) -> None:
        self._limit = None

    def stall(self) -> ServiceError | None:
        """What to say when the time is over while everybody waits for more of the body: it is not the service that is late."""
        return InvalidParameter("the body stopped coming") if self._awaited else None

    async def whole(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])

    async def chunks(self) -> AsyncIterator[bytes]:
        count = 0
        self.begun = True
        digest = sha256() if self._signed is not None else None
        kept = b""
        while chunk := await self._next():
            count += len(chunk)
            if count > self._bytes_max:
                raise self._refuse(PayloadTooLarge())
            if digest is not None:
                digest.update(chunk)
                kept, chunk = chunk, kept
            if chunk:
                yield chunk
            if self._limit is not None:
                self._limit.reschedule(asyncio.get_running_loop().time() + self._answer_seconds)
        if self._signed is not None and digest is not None and digest.hexdigest() != self._signed.body_sha256:
            raise self._refuse(Unauthorized("the body is not the one that was signed"))
        if kept:
            yield kept

    async def _next(self) -> bytes:
        # Cancelled, it stays awaited: that is how the deadline learns whom it waited for.
        self._awaited = True
        try:
            async with asyncio.timeout(self._progress_seconds):
                chunk = await self._request.content.readany()
        except TimeoutError as error:
            raise self._refuse(InvalidParameter("the body stopped coming")) from error
        except web.RequestPayloadError as error:
            raise self._refuse(InvalidParameter("the body cannot be read")) from error
        self._awaited = False
        return chunk

    def _refuse(self, error: ServiceError) -> ServiceError:
        self.refusal = error
        return error


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        read_bufsize=edge.SMALL_BODY_BYTES_MAX,
    )


class _Request(web.BaseRequest):
    """A request whose answers do not name the software behind them."""

    async def _prepare_hook(self, resp: web.StreamResponse) -> None:
        if resp.headers.get("Server") == SERVER_SOFTWARE:
            del resp.headers["Server"]


class _Connection(RequestHandler):
    """aiohttp's connection, with refusals in our dialects where it would answer plain text."""

    __slots__ = ("_beginning", "payload")

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.payload: StreamReader | None = None
        """The body of the request that is being answered."""

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whoever says no more still reads the answer to what was asked whole."""
        payload = self._messages[0][1] if self._messages else self.payload
        return payload is not None and payload.is_eof()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.payload = None

    def data_received(self, data: bytes) -> None:
        if _FIRST_LINE.match(data):
            self._beginning = data[:2048]
        super().data_received(data)

    def handle_error(self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None) -> web.StreamResponse:
        """An unreadable request is the caller's fault (400), anything else is ours."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun already")
        if isinstance(exc, ConnectionError) and request.transport is None:
            raise exc  # the client left in the middle of its request: nobody's fault that needs looking at
        answer = self._own_refusal(InvalidParameter("the request cannot be read") if status == HTTPStatus.BAD_REQUEST else Internal())
        if status != HTTPStatus.BAD_REQUEST:
            log.error("gateway.failed", exc_info=exc)
        response = web.Response(status=answer.status, body=answer.body, headers=answer.headers)
        response.force_close()
        return response

    def _own_refusal(self, error: ServiceError) -> Refusal:
        # aiohttp lost the request line of what it could not read, so its dialect is looked up in the bytes.
        beginning = getattr(self, "_beginning", b"")
        line, language = _FIRST_LINE.match(beginning), _LANGUAGE.search(beginning)
        path = line[1].decode().partition("?")[0] if line else "/"
        said = self._manager.own_headers if isinstance(self._manager, _Server) else {}
        return refusal(error, path=path, request_id=edge.new_trace()[0], own_headers=said, accept_language=language[1].decode() if language else None)


class _Server(web.Server):
    """Makes connections that read what we read and say what we say."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], gate: Gate, *, idle_seconds: float) -> None:
        super().__init__(handler, request_factory=self._request)
        self.own_headers = gate.cors.headers(None)
        # The keep-alive timer runs from the last answer, so it also bounds how long the next head may take.
        self._options: dict[str, Any] = {
            "keepalive_timeout": idle_seconds,
            "access_log": None,
            "auto_decompress": False,
            "lingering_time": 2.0,
            "max_headers": edge.HEADERS_MAX,
        }

    def __call__(self) -> RequestHandler:
        return _Connection(self, loop=self._loop, **self._options)

    def _request(self, message: Any, payload: StreamReader, protocol: Any, writer: Any, task: "asyncio.Task[None]") -> web.BaseRequest:
        protocol.payload = payload
        # An answer is in the version of its request, so one that is not spoken here must not be seen where answers are made.
        spoken = message if message.version in _SPOKEN else message._replace(version=aiohttp.HttpVersion11)
        request = _Request(spoken, payload, protocol, writer, task, self._loop)
        request[_VERSION] = message.version
        return request
