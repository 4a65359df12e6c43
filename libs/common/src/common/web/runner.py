"""What aiohttp's server lacks: an end to slow clients, and our envelope for requests that cannot even be parsed."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy
from aiohttp.web_protocol import RequestHandler, _ErrInfo
from multidict import istr
from uuid_utils import uuid7

from common.errors import Internal, InvalidParameter
from common.log import get_logger
from common.web.dialects import dialect_of, language_of, render_error
from common.web.ready import ReadyResponse

HEADER_SECONDS = 10.0
BODY_SECONDS = 30.0
KEEPALIVE_SECONDS = 75.0
HEAD_LINE_BYTES_MAX = 16 * 1024
"""A line may be as long as a whole head may be at the gateway, so that what it lets in is answered by a route."""

_LOOK_EVERY_SECONDS = 1.0
_CUT_SECONDS = 1.0
"""What a request that outlasts the drain gets after its body was taken away."""
_FIRST_LINE = re.compile(rb"[A-Z]{1,20} (/[!-~]{0,512})")

log = get_logger()


class Connection(RequestHandler):
    """One client's connection, which remembers when it last heard something."""

    __slots__ = ("_unreadable", "heard_at", "silent_since")

    def __init__(self, manager: web.Server, *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(manager, loop=loop, **options)
        self.heard_at = loop.time()
        self.silent_since: float | None = self.heard_at
        """Since when bytes of a request's head are owed: from the connection on, or from the first bytes of a next request."""
        self._unreadable = b""

    def data_received(self, data: bytes) -> None:
        RequestHandler.data_received(self, data)
        if data:
            self.heard_at = self._loop.time()
            if self._messages and type(self._messages[-1][0]) is _ErrInfo:
                self._unreadable = data[:1024]
            if self._messages or self._request_in_progress or self._upgraded:
                self.silent_since = None
            elif self.silent_since is None and self._waiter is not None:
                self.silent_since = self.heard_at

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """Wait for the answer, once. aiohttp alone waits as long again after it took the rest of the request's body away."""
        try:
            async with asyncio.timeout(None if timeout is None else timeout + _CUT_SECONDS):
                await super().shutdown(timeout)
        except TimeoutError:
            if self._task_handler is not None:
                self._task_handler.cancel()
            self.force_close()

    def resume_reading(self, resume_parser: bool = True) -> None:
        # aiohttp asks for this after every body it has read; when nothing was paused, nothing has to be resumed.
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def is_too_slow(self, now: float, *, header_seconds: float, body_seconds: float) -> bool:
        """Whether the client owes bytes for longer than it may. What waits because we do not read is our fault, not the client's."""
        if self._upgraded or self.transport is None or self._reading_paused or self._buffer_paused:
            return False
        request = self._current_request
        if request is not None:
            return not request.content.is_eof() and request.content._waiter is not None and now - self.heard_at > body_seconds
        return self.silent_since is not None and not self._messages and now - self.silent_since > header_seconds

    def log_exception(self, *args: Any, **options: Any) -> None:
        """What aiohttp has to say; a body that stayed unreadable after its refusal is no fault of ours."""
        error = options.get("exc_info")
        if isinstance(error, (web.RequestPayloadError, HttpProcessingError)):
            log.info("http.unreadable", cause=type(error).__name__)
        else:
            log.error("http.escaped", said=str(args[0]) if args else None, exc_info=error)

    def handle_error(self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None) -> web.StreamResponse:
        """What could not be parsed, or escaped every handler: an envelope without any detail, then the connection is closed."""
        if isinstance(exc, ConnectionError):
            raise exc
        if request.writer.output_size > 0:
            raise ConnectionError("an answer had begun already")
        unreadable = status == 400 or isinstance(exc, HttpProcessingError)
        if not unreadable:
            log.error("http.escaped", exc_info=exc)
        error = InvalidParameter("the request could not be read") if unreadable else Internal()
        request_id = uuid7().hex
        # aiohttp lost the request line of what it could not read, so the dialect is looked up in the bytes.
        line = _FIRST_LINE.match(self._unreadable)
        path = line[1].decode().partition("?")[0] if line else "/"
        dialect = dialect_of(path)
        status, body, headers = render_error(error, dialect=dialect, lang=language_of(None, dialect), path=path, request_id=request_id, problem=False)
        response = ReadyResponse(status, request_id, body, content_type=headers.pop("Content-Type"), headers=headers)
        response.force_close()
        return response


AioHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Straight:
    """Handlers of paths without parameters, by path and method: found without aiohttp's router, which walks the path part by part."""

    handlers: Mapping[str, Mapping[str, AioHandler]]
    nobody: AioHandler
    """Answers what no route answers."""


STRAIGHT = web.AppKey("straight", Straight)

_EXPECT = istr("Expect")


class _Server(web.Server):
    draining = False

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=self._loop, **self._kwargs)


def _with_shortcut(routed: Any, application: web.Application) -> Any:
    straight = application.get(STRAIGHT)
    if straight is None:
        return routed
    by_path, nobody = straight.handlers, straight.nobody

    def dispatch(http: Any) -> Awaitable[web.StreamResponse]:
        handlers = by_path.get(http._message.path)
        handler = handlers.get(http.method) if handlers is not None else None
        if handler is not None and _EXPECT not in http.headers:
            return handler(http)
        # `OPTIONS *` and `CONNECT host:port` name no path, and aiohttp's router would answer them in words of its own.
        return routed(http) if http.rel_url.raw_path.startswith("/") else nobody(http)

    return dispatch


class WebRunner(web.AppRunner):
    """aiohttp's runner with watched connections: 10 s for a request's head, 30 s for the next bytes of its body, no access log."""

    __slots__ = ("_body_seconds", "_header_seconds", "_watch")

    def __init__(
        self,
        application: web.Application,
        *,
        shutdown_timeout: float = 8.0,
        header_seconds: float = HEADER_SECONDS,
        body_seconds: float = BODY_SECONDS,
        keepalive_timeout: float = KEEPALIVE_SECONDS,
    ) -> None:
        super().__init__(
            application, handle_signals=False, access_log=None, shutdown_timeout=shutdown_timeout, keepalive_timeout=keepalive_timeout,
            max_line_size=HEAD_LINE_BYTES_MAX, max_field_size=HEAD_LINE_BYTES_MAX,
        )  # fmt: skip
        self._header_seconds = header_seconds
        self._body_seconds = body_seconds
        self._watch: asyncio.Task[None] | None = None

    async def setup(self) -> None:
        if HttpRequestParser is HttpRequestParserPy:
            raise RuntimeError("aiohttp runs without its compiled parser: the lenient one in Python is not for the open network")
        await super().setup()
        self._watch = asyncio.get_running_loop().create_task(self._watch_clients(), name="slow clients")

    def begin_drain(self) -> None:
        """From now on every answer asks its client to connect anew, so that the connections are empty when they are closed."""
        if isinstance(self.server, _Server):
            self.server.draining = True

    async def finish(self, seconds: float) -> None:
        """Clean up, with at most so long for the requests that are being answered."""
        self._shutdown_timeout = seconds
        await self.cleanup()

    async def cleanup(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None
        await super().cleanup()

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(_with_shortcut(made.request_handler, self.app), request_factory=made.request_factory, loop=made._loop, **made._kwargs)

    async def _watch_clients(self) -> None:
        loop = asyncio.get_running_loop()
        every = min(_LOOK_EVERY_SECONDS, self._header_seconds / 4, self._body_seconds / 4)
        while True:
            await asyncio.sleep(every)
            server, now = self.server, loop.time()
            if server is None:
                continue
            for one in server.connections:
                if isinstance(one, Connection) and one.is_too_slow(now, header_seconds=self._header_seconds, body_seconds=self._body_seconds):
                    log.info("http.too_slow")
                    one.force_close()
