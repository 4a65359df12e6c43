"""The one place every request passes: id, deadline, principal, body, answer or refusal, one log line, one metric."""

import asyncio
import re
import secrets
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from aiohttp import BadContentDispositionHeader, BadContentDispositionParam, http_exceptions, web
from aiohttp.client_exceptions import ClientPayloadError
from aiohttp.web_exceptions import HTTPException
from multidict import istr
from uuid_utils import uuid7

from common.auth import Authenticator, Principal
from common.errors import (
    Forbidden,
    Internal,
    InvalidParameter,
    MethodNotAllowed,
    NotFound,
    PayloadTooLarge,
    ServiceError,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from common.log import enabled, get_logger, say_quickly
from common.metrics import Metrics
from common.trace import Trace, current_trace
from common.web.body import check_json_type, check_text, parse_body, parse_query, read_body
from common.web.dialects import Dialect, dialect_of, language_of, render_error, wants_problem
from common.web.openapi import document_of
from common.web.ready import JSON, SERVER_NAME, ReadyResponse
from common.web.route import Answer, Auth, Request, Route
from common.web.runner import STRAIGHT, AioHandler, Straight

log = get_logger()

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{8,64}")
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_PROBE_HEADERS = tuple(istr(name) for name in ("X-Request-Id", "traceparent", "Authorization", "X-LC-Session", "Content-Type"))
_X_REQUEST_ID, _X_TRACEPARENT, _AUTHORIZATION, _SESSION, _CONTENT_TYPE = _PROBE_HEADERS
_SWEEP_SECONDS = 0.2
_CLIENT_GONE = 499
_SOCKET_OPENED = 101
_PATH_SHOWN_MAX = 500

_BY_STATUS: Mapping[int, type[ServiceError]] = {
    401: Unauthorized, 403: Forbidden, 404: NotFound, 405: MethodNotAllowed, 413: PayloadTooLarge, 415: UnsupportedMediaType, 503: Unavailable,
}  # fmt: skip


class Deadlines:
    """Ends requests that take too long, within a fifth of a second. One timer for all: a timer each costs more than reading the body."""

    def __init__(self) -> None:
        self._due: dict[asyncio.Task[Any], float] = {}
        self._ended: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def start(self, task: asyncio.Task[Any], due: float) -> None:
        """From now on the task is cancelled once the monotonic clock passes `due`."""
        self._due[task] = due
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)

    def stop(self, task: asyncio.Task[Any]) -> None:
        self._due.pop(task, None)

    def ended(self, task: asyncio.Task[Any]) -> bool:
        """Whether the task's cancellation was ours and nobody else's; takes it back if so."""
        if task not in self._ended:
            return False
        self._ended.discard(task)
        return task.uncancel() <= 0

    def _sweep(self) -> None:
        now = time.monotonic()
        for task in [task for task, due in self._due.items() if due <= now]:
            del self._due[task]
            if not task.done():
                self._ended.add(task)
                task.add_done_callback(self._ended.discard)
                task.cancel()
        self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep) if self._due else None


def build_application(
    routes: Sequence[Route],
    deps: object,
    *,
    name: str,
    authenticator: Authenticator | None = None,
    metrics: Metrics | None = None,
    title: str | None = None,
) -> web.Application:
    """An aiohttp application of these routes. Without an authenticator only routes with auth="none" may exist.

    Serve it with `WebRunner`, which adds what aiohttp lacks: an end to slow clients, and our envelope for requests that cannot be parsed.
    """
    if authenticator is None and any(route.auth != "none" for route in routes):
        raise ValueError("routes that ask who is there need an authenticator")
    # Each strange file name in a form would be printed, and kept for ever so as not to be printed twice.
    for strange in (BadContentDispositionHeader, BadContentDispositionParam):
        warnings.filterwarnings("ignore", category=strange)
    document = cache(partial(document_of, routes, name=name, title=title or f"Darkroom {name}"))
    edge = _Edge(deps, authenticator, metrics or Metrics(name))
    application = web.Application(client_max_size=1024**3)
    straight: dict[str, dict[str, AioHandler]] = {}
    for route in (*routes, _openapi_route(document)):
        handler = edge.wrap(route)
        for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
            application.router.add_route(method, route.path, handler, expect_handler=_expect)
            if "{" not in route.path and not route.raw:
                straight.setdefault(route.path, {})[method] = handler
    nobody = edge.nobody(application)
    application.router.add_route("*", "/{tail:.*}", nobody, expect_handler=_expect)
    application[STRAIGHT] = Straight(straight, nobody)
    return application


class _Edge:
    """What the wrapped routes of one application share."""

    def __init__(self, deps: object, authenticator: Authenticator | None, metrics: Metrics) -> None:
        self._deps = deps
        self._authenticator = authenticator
        self._requests = metrics.requests
        self._deadlines = Deadlines()
        self._logs_all = enabled("info")

    def wrap(self, route: Route) -> AioHandler:
        """The route's handler with everything around it. One closure instead of a chain, because this is the hot path of every service."""
        act = route.handler
        dialect = dialect_of(route.path)
        body_model, query_model, bytes_max, may_be_form = route.body, route.query, route.body_bytes_max, route.multipart
        deadline_seconds, raw, auth = route.deadline_seconds, route.raw, route.auth
        deps, deadlines, requests = self._deps, self._deadlines, self._requests
        has_params = "{" in route.path
        # Services send what pydantic wrote, and what is in it passed a public edge before.
        from_service = auth == "service"
        # What services read from each other every two seconds is worth a line only when it was refused.
        logs_good = self._logs_all and not (from_service and route.method == "GET")
        monotonic, current_task, check_role = time.monotonic, asyncio.current_task, _check_role
        known, verify = (self._authenticator.known, self._authenticator.principal_of) if self._authenticator is not None else (_nobody, _no_verifying)

        async def handle(http: web.Request) -> web.StreamResponse:
            started = monotonic()
            headers = http.headers
            request_id, trace = _trace_of(headers)
            current_trace.set(trace)
            due = started + deadline_seconds
            task = current_task()
            if not raw and task is not None:
                deadlines.start(task, due)
            response: web.StreamResponse | None = None
            fault: BaseException | None = None
            refusal: ServiceError | None = None
            try:
                principal = None
                if auth != "none":
                    token = _token_of(headers, dialect)
                    if token is not None:
                        principal = known(token) or await verify(token)
                    check_role(auth, principal)
                request: Request[Any] = Request(deps, http, dialect, request_id, principal, due)
                if has_params:
                    for param, value in request.params.items():
                        check_text(value, param)
                if query_model is not None:
                    request.query = parse_query(query_model, http.rel_url.query)
                if body_model is not None and not (may_be_form and _is_form(headers)):
                    check_json_type(headers.get(_CONTENT_TYPE))
                    payload = http.content
                    raw_body = payload.read_nowait() if payload.is_eof() and payload.total_bytes <= bytes_max else await read_body(http, bytes_max)
                    request.body = parse_body(body_model, raw_body, checked=from_service)
                answer = await act(request)
                response = _render(answer, request_id) if isinstance(answer, Answer) else _adopt(answer, request_id)
            except ServiceError as error:
                refusal = error
                fault = error if error.status >= 500 and not error.retryable else None
            except asyncio.CancelledError:
                if task is None or not deadlines.ended(task):
                    raise
                refusal = Unavailable("the answer took too long", retry_after_seconds=2)
            except Exception as error:
                if isinstance(error, HTTPException) and error.status < 400:
                    raise
                if isinstance(error, ConnectionResetError) and _is_gone(http):
                    requests.add(http.method, route.path, _CLIENT_GONE, monotonic() - started)
                    raise
                refusal = _translate(error)
                fault = error if refusal.status >= 500 else None
            finally:
                if not raw and task is not None:
                    deadlines.stop(task)
            if response is None:
                assert refusal is not None
                response = _refuse(refusal, http, dialect, request_id)
                if _has_begun(http):
                    _log_line(http, route.path, response.status, monotonic() - started, refusal, fault)
                    raise ConnectionResetError("the answer had begun already")
            seconds = monotonic() - started
            if response.status != _SOCKET_OPENED:
                requests.add(http.method, route.path, response.status, seconds)
            if fault is not None or response.status >= 500 or logs_good or (refusal is not None and self._logs_all):
                _log_line(http, route.path, response.status, seconds, refusal, fault)
            return response

        return handle

    def nobody(self, application: web.Application) -> AioHandler:
        """Answers what no route answers: 404, or 405 with the methods that would have been right."""

        async def handle(http: web.Request) -> web.StreamResponse:
            started = time.monotonic()
            request_id, trace = _trace_of(http.headers)
            current_trace.set(trace)
            allowed = await _allowed(application, http)
            dialect = dialect_of(http.path)
            if allowed:
                response = _refuse(MethodNotAllowed(), http, dialect, request_id, allowed=allowed)
            else:
                response = _refuse(NotFound(), http, dialect, request_id, unknown_route=True)
            seconds = time.monotonic() - started
            self._requests.add("*", "*", response.status, seconds)
            if self._logs_all:
                _log_line(http, "*", response.status, seconds, None, None)
            return response

        return handle


def _check_role(auth: Auth, principal: Principal | None) -> None:
    if principal is None:
        if auth != "optional":
            raise Unauthorized("no token was sent")
    elif auth == "user" or auth == "optional":
        if principal.role == "service":
            raise Forbidden("this is for users")
    elif auth != principal.role:
        raise Forbidden(f"this is for {auth}s")


def _nobody(_token: str) -> None:
    return None


async def _no_verifying(_token: str) -> Principal:
    raise Unauthorized("no token can be checked here")


def _is_gone(http: web.Request) -> bool:
    transport = http.transport
    return transport is None or transport.is_closing()


def _has_begun(http: web.Request) -> bool:
    """Whether bytes of an answer are out, so that only closing the connection can say that it is not whole."""
    return http._payload_writer.output_size > 0


def _trace_of(headers: Any) -> tuple[str, Trace]:
    request_id, traceparent = headers.get(_X_REQUEST_ID), headers.get(_X_TRACEPARENT)
    made = None
    if request_id is None or _REQUEST_ID.fullmatch(request_id) is None:
        made = uuid7().hex
        request_id = made
    if traceparent is None or _TRACEPARENT.fullmatch(traceparent) is None:
        made = made or uuid7().hex
        traceparent = f"00-{made}-{made[16:]}-01"
    return request_id, Trace(request_id, traceparent)


def _token_of(headers: Any, dialect: Dialect) -> str | None:
    given = headers.get(_AUTHORIZATION)
    if given is not None:
        if given[:7] == "Bearer " or given[:7].lower() == "bearer ":
            return str(given[7:].strip())
        raise Unauthorized("only bearer tokens are taken")
    return headers.get(_SESSION) if dialect == "song" else None


def _is_form(headers: Any) -> bool:
    return bool(headers.get(_CONTENT_TYPE, "").lower().startswith("multipart/"))


def _render(answer: Answer, request_id: str) -> ReadyResponse:
    body, more, kind = answer.body, answer.headers, JSON
    if body is not None and type(body) is not bytes:
        body = body.__pydantic_serializer__.to_json(body, by_alias=True)  # type: ignore[union-attr]
    if more and "Content-Type" in more:
        kind = more["Content-Type"]
        more = {name: value for name, value in more.items() if name != "Content-Type"}
    return ReadyResponse(answer.status, request_id, body, content_type=kind, headers=more)


def _adopt(response: web.StreamResponse, request_id: str) -> web.StreamResponse:
    if not response.prepared:
        response.headers["X-Request-Id"] = request_id
        response.headers["Server"] = SERVER_NAME
    return response


def _refuse(
    error: ServiceError, http: web.BaseRequest, dialect: Dialect, request_id: str, *, unknown_route: bool = False, allowed: Sequence[str] = ()
) -> ReadyResponse:
    headers = http.headers
    lang = language_of(headers.get("Accept-Language"), dialect)
    problem = wants_problem(headers.get("Accept"))
    status, body, said = render_error(
        error, dialect=dialect, lang=lang, path=http.rel_url.raw_path[:_PATH_SHOWN_MAX], request_id=request_id, problem=problem, unknown_route=unknown_route
    )
    if allowed:
        said["Allow"] = ", ".join(allowed)
    response = ReadyResponse(status, request_id, body, content_type=said.pop("Content-Type"), headers=said)
    if status == 413:
        # The rest of a body that is too large is not worth reading.
        response.force_close()
    return response


def _translate(error: Exception) -> ServiceError:
    """The refusal for what is not one: a broken body, a peer that is away, else a fault of ours without any detail."""
    if isinstance(error, (http_exceptions.HttpProcessingError, ClientPayloadError, web.RequestPayloadError)):
        return InvalidParameter.of("body", "unreadable")
    if isinstance(error, HTTPException):
        return _BY_STATUS.get(error.status, InvalidParameter if error.status < 500 else Internal)()
    if isinstance(error, (TimeoutError, ConnectionError)):
        return Unavailable()
    return Internal()


def _log_line(http: web.BaseRequest, route: str, status: int, seconds: float, refusal: ServiceError | None, fault: BaseException | None) -> None:
    fields: dict[str, Any] = {"method": http.method, "route": route, "status": status, "ms": round(seconds * 1000, 2)}
    if refusal is not None:
        fields["code"] = refusal.code
        fields["why"] = refusal.detail
    if fault is not None:
        log.error("http.failed", **fields, exc_info=fault)
    elif status >= 500:
        log.warning("http.refused", **fields)
    elif refusal is None:
        say_quickly("http.answered", fields)
    else:
        log.info("http.answered", **fields)


async def _allowed(application: web.Application, http: web.Request) -> list[str]:
    found: set[str] = set()
    for resource in application.router.resources():
        if resource.canonical != "/{tail}":
            _match, methods = await resource.resolve(http)
            found |= methods
    return sorted(found)


async def _expect(http: web.Request) -> web.StreamResponse | None:
    expectation = http.headers.get("Expect", "")
    if expectation.lower() != "100-continue":
        request_id, _trace = _trace_of(http.headers)
        return _refuse(InvalidParameter.of("Expect", "extra_forbidden"), http, dialect_of(http.path), request_id)
    if http.version >= (1, 1):
        await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        http.writer.output_size = 0
    return None


def _openapi_route(document: Callable[[], bytes]) -> Route:
    etag = f'"{secrets.token_hex(8)}"'

    async def show(_request: Request[Any]) -> Answer:
        # Made when first asked for, which costs a start nothing, and beside the loop, because it takes as long as a hundred requests.
        return Answer(await asyncio.to_thread(document), headers={"ETag": etag, "Cache-Control": "no-cache"})

    return Route("GET", "/openapi.json", show, auth="none", summary="This document")
