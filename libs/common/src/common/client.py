"""Calls between services: a deadline, one repeat of what may be repeated, a breaker per address, our token and the trace."""

import asyncio
import io
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import orjson
from pydantic import BaseModel, ValidationError

from common.auth import ServiceTokens
from common.errors import FieldError, Internal, NotAsked, ServiceError, Unavailable, every_error
from common.log import get_logger
from common.settings import ServiceSettings
from common.trace import current_trace

T = TypeVar("T", bound=BaseModel)

CALL_SECONDS = 2.0

_CONNECT_SECONDS = 1.0
_CONNECTIONS_MAX = 64
_ANSWER_BYTES_MAX = 16 * 1024 * 1024
_BODY_BYTES_AT_ONCE = 1024 * 1024
"""A larger body goes piece by piece, so that others have their turn."""
_BREAKER_CALLS = 20
_BREAKER_FAILURES = 5
_BREAKER_OPEN_SECONDS = 30.0
_OURS_TO_MEND = frozenset({401, 403, 404, 405, 413, 415})

log = get_logger()


class Breaker:
    """Stops asking an address where 5 of the last 20 calls failed, for 30 s; then one call may try.

    A refused connection does not count: it costs nothing to find out, and a restarted service must not be shunned for half a minute.
    """

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._failed: deque[bool] = deque(maxlen=_BREAKER_CALLS)
        self._open_until: float | None = None
        self._probing = False

    @property
    def is_closed(self) -> bool:
        return self._open_until is None

    def may_call(self) -> bool:
        """Whether a call may go; after the pause only one at a time may."""
        if self._open_until is None:
            return True
        if self._probing or self._monotonic() < self._open_until:
            return False
        self._probing = True
        return True

    def succeeded(self) -> None:
        if self._open_until is not None:
            self._failed.clear()
        self._open_until, self._probing = None, False
        self._failed.append(False)

    def failed(self) -> None:
        self._failed.append(True)
        if self._open_until is not None or sum(self._failed) >= _BREAKER_FAILURES:
            self._open_until = self._monotonic() + _BREAKER_OPEN_SECONDS
        self._probing = False

    def did_not_answer(self) -> None:
        """The call ended without saying anything about the address (refused, cancelled)."""
        self._probing = False


class _Refused(Exception):
    """Nobody listens at that address."""


class _Lost(Exception):
    """The connection broke or the answer did not come in time: the call may have had its effect."""


@dataclass(frozen=True, slots=True)
class _Said:
    status: int
    content: bytes
    retry_after: str | None


class ServiceClient:
    """Asks one other service. Open it in `app.py` with `async with`, or `close()` it.

    Every call raises the callee's own refusal by its class, or Unavailable: the callee is away, too slow, or its breaker is open.
    Of these NotAsked says that no call can have had its effect.
    """

    def __init__(
        self,
        callee: str,
        settings: ServiceSettings,
        caller: str,
        *,
        tokens: ServiceTokens | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.callee = callee
        self._addresses = [(url, Breaker(monotonic=monotonic)) for url in settings.shared.url_of(callee)]
        self._tokens = tokens or ServiceTokens.of_settings(settings, caller)
        self._session: aiohttp.ClientSession | None = None
        self._first = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def post(self, path: str, body: BaseModel | bytes, answer: type[T], *, deadline_seconds: float = CALL_SECONDS, repeatable: bool = True) -> T:
        """POST a model or ready JSON, get a model. `repeatable` says that sending it twice has the effect of sending it once."""
        raw = body if isinstance(body, bytes) else body.__pydantic_serializer__.to_json(body, by_alias=True)
        return await self._ask("POST", path, raw, answer, deadline_seconds=deadline_seconds, repeatable=repeatable)

    async def get(self, path: str, answer: type[T], *, deadline_seconds: float = CALL_SECONDS) -> T:
        """GET a model."""
        return await self._ask("GET", path, None, answer, deadline_seconds=deadline_seconds, repeatable=True)

    async def _ask(self, method: str, path: str, raw: bytes | None, answer: type[T], *, deadline_seconds: float, repeatable: bool) -> T:
        said = await self._send(method, path, raw, deadline_seconds=deadline_seconds, repeatable=repeatable)
        if said.status >= 300:
            raise self._refusal(said)
        try:
            return answer.__pydantic_validator__.validate_json(said.content)  # type: ignore[no-any-return]
        except ValidationError as error:
            log.error("client.answer_not_understood", callee=self.callee, path=path, faults=error.error_count())
            raise Internal(f"{self.callee} answered something else than expected") from error

    async def _send(self, method: str, path: str, raw: bytes | None, *, deadline_seconds: float, repeatable: bool) -> "_Said":
        """Try the addresses in turn: a refused connection goes on to the next, a lost one is repeated once if it may be."""
        until = asyncio.get_running_loop().time() + deadline_seconds
        repeats_left = 1 if repeatable else 0
        why, lost = "its breaker is open", False
        for url, breaker in self._in_turn(again=repeatable):
            if not breaker.may_call():
                continue
            try:
                found = await self._try(method, url + path, raw, until=until, breaker=breaker)
            except _Refused:
                why = "nobody listens"
            except _Lost as error:
                why, lost = str(error), True
                if not repeats_left or asyncio.get_running_loop().time() >= until:
                    break
                repeats_left -= 1
            else:
                return found
        raise (Unavailable if lost else NotAsked)(f"{self.callee} cannot be asked now: {why}")

    def _in_turn(self, *, again: bool) -> list[tuple[str, Breaker]]:
        """The addresses, each call beginning at another; a second round when repeats are allowed."""
        self._first = (self._first + 1) % len(self._addresses)
        order = self._addresses[self._first :] + self._addresses[: self._first]
        return order * 2 if again else order

    async def _try(self, method: str, url: str, raw: bytes | None, *, until: float, breaker: Breaker) -> "_Said":
        known = False
        try:
            headers = self._headers(raw is not None)
            data = io.BytesIO(raw) if raw is not None and len(raw) > _BODY_BYTES_AT_ONCE else raw
            async with asyncio.timeout_at(until), self._open().request(method, url, data=data, headers=headers, allow_redirects=False) as answer:
                content = await _read(answer)
            known = True
        except aiohttp.ClientConnectorError as error:
            raise _Refused from error
        except TimeoutError as error:
            known = True
            breaker.failed()
            raise _Lost("it did not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            known = True
            breaker.failed()
            raise _Lost("the connection was lost") from error
        finally:
            if not known:
                breaker.did_not_answer()
        if answer.status >= 500 and answer.status != 503:
            breaker.failed()
        else:
            breaker.succeeded()
        return _Said(answer.status, content, answer.headers.get("Retry-After"))

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS_MAX, keepalive_timeout=30),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                raise_for_status=False,
            )
        return self._session

    def _headers(self, has_body: bool) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self._tokens.token_for(self.callee)}", "Accept": "application/json"}
        if has_body:
            headers["Content-Type"] = "application/json"
        trace = current_trace.get()
        if trace is not None:
            if trace.correlation_id:
                headers["X-Request-Id"] = trace.correlation_id
            if trace.traceparent:
                headers["traceparent"] = trace.traceparent
        return headers

    def _refusal(self, said: "_Said") -> ServiceError:
        status, problem = said.status, _problem_of(said.content)
        code = problem.get("code")
        known = _by_code().get((code, status)) if isinstance(code, int) else None
        detail = problem.get("detail")
        if known is None or (status in _OURS_TO_MEND and code in (10001, 10002, 10003, 10008)):
            log.error("client.not_accepted", callee=self.callee, status=status, code=code, why=detail)
            return Unavailable(f"{self.callee} answered {status}") if status >= 500 else Internal(f"{self.callee} answered {status}")
        if known is Internal:
            return Unavailable(f"{self.callee} failed")
        data = problem.get("data")
        fields = [FieldError.from_wire(one) for one in problem.get("errors") or () if isinstance(one, dict)]
        return known(
            str(detail) if detail is not None else None,
            data=data if isinstance(data, dict) else None,
            errors=fields,
            retry_after_seconds=int(said.retry_after) if said.retry_after and said.retry_after.isdecimal() else None,
        )


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    content = await answer.content.read(_ANSWER_BYTES_MAX)
    while not answer.content.at_eof():
        if len(content) > _ANSWER_BYTES_MAX:
            raise aiohttp.ClientPayloadError("the answer is too long")
        content += await answer.content.read(_ANSWER_BYTES_MAX)
    return content


def _problem_of(content: bytes) -> Mapping[str, Any]:
    try:
        found = orjson.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _by_code() -> Mapping[tuple[int, int], type[ServiceError]]:
    """Refusals by code and status. Of several with the same pair the first declared stands for all (Unavailable for Overloaded)."""
    found: dict[tuple[int, int], type[ServiceError]] = {}
    for error in every_error().values():
        if error is not ServiceError:
            found.setdefault((error.code, error.status), error)
    return found
