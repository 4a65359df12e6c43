"""Routes as data, and what a handler is given and gives back."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

from aiohttp import BodyPartReader, MultipartReader, web
from pydantic import BaseModel

from common.auth import Principal
from common.errors import InvalidParameter, PayloadTooLarge, ServiceError, Unauthorized, UnsupportedMediaType
from common.ids import UserId
from common.messages import Lang
from common.web.body import INTEGER_MAX, check_text
from common.web.dialects import Dialect, language_of

D = TypeVar("D")

Auth = Literal["user", "optional", "admin", "service", "none"]

BODY_BYTES_MAX = 256 * 1024
DEADLINE_SECONDS = 15.0

_NO_PARAMS: Mapping[str, str] = {}
_KEY_LENGTH_MAX = 255
_PARTS_MAX = 200
_FIELD_BYTES_MAX = 64 * 1024
_PIECE_BYTES = 64 * 1024


class Request(Generic[D]):
    """One request as a handler sees it."""

    __slots__ = ("_lang", "_principal", "body", "deadline", "deps", "dialect", "http", "params", "query", "request_id")

    def __init__(self, deps: D, http: web.Request, dialect: Dialect, request_id: str, principal: Principal | None, deadline: float) -> None:
        self.deps = deps
        self.http = http
        self.dialect = dialect
        self.request_id = request_id
        self.deadline = deadline
        """When the answer must be out, in the loop's time."""
        # A path without parameters may have come past aiohttp's router, and then there is no match.
        self.params: Mapping[str, str] = http._match_info or _NO_PARAMS
        self.body: Any = None
        self.query: Any = None
        self._principal = principal
        self._lang: Lang | None = None

    @property
    def principal(self) -> Principal:
        """Who asks; raises Unauthorized when nobody said."""
        if self._principal is None:
            raise Unauthorized("no token was sent")
        return self._principal

    @property
    def maybe_principal(self) -> Principal | None:
        return self._principal

    @property
    def user_id(self) -> UserId:
        """Which user asks; raises Unauthorized when nobody or a service does."""
        user_id = self.principal.user_id
        if user_id is None:
            raise Unauthorized("a service is not a user")
        return user_id

    @property
    def lang(self) -> Lang:
        """The language of sentences."""
        if self._lang is None:
            self._lang = language_of(self.http.headers.get("Accept-Language"), self.dialect)
        return self._lang

    @property
    def idempotency_key(self) -> str | None:
        """The caller's name for this attempt, quoted or bare, 1 to 255 visible characters; raises InvalidParameter when it is none."""
        given = self.http.headers.getall("Idempotency-Key", ())
        if not given:
            return None
        key = given[0].strip()
        if len(key) >= 2 and key[0] == key[-1] == '"':
            key = key[1:-1]
        if len(given) > 1 or not 0 < len(key) <= _KEY_LENGTH_MAX or not key.isascii() or not key.isprintable():
            raise InvalidParameter.of("Idempotency-Key", "idempotency-key", most=_KEY_LENGTH_MAX)
        return key

    def id(self, name: str, missing: type[ServiceError]) -> UUID:
        """A path parameter as an id; what is none is answered like an unknown one."""
        given = self.params[name]
        if len(given) != 36:
            raise missing()
        try:
            return UUID(given)
        except ValueError:
            raise missing() from None

    async def parts(self, *, bytes_max: int, parts_max: int = _PARTS_MAX) -> AsyncIterator[BodyPartReader]:
        """The parts of a multipart body, as they arrive. Read each (`read_part`, `pieces`) before taking the next.

        Raises InvalidParameter for a broken body, PayloadTooLarge past the limits.
        """
        declared = self.http.content_length
        if declared is not None and declared > bytes_max:
            raise PayloadTooLarge(f"the body may have at most {bytes_max} bytes")
        if not self.http.content_type.startswith("multipart/"):
            raise UnsupportedMediaType("the body is not multipart/form-data")
        try:
            reader = await self.http.multipart()
            for _ in range(parts_max):
                part = await reader.next()
                if part is None:
                    return
                if isinstance(part, MultipartReader):
                    raise InvalidParameter.of("body", "multipart-nested")
                yield part
                if self.http.content.total_bytes > bytes_max:
                    raise PayloadTooLarge(f"the body may have at most {bytes_max} bytes")
        except (ValueError, AssertionError, LookupError, RuntimeError, web.HTTPException) as error:
            raise InvalidParameter.of("body", "multipart") from error
        raise PayloadTooLarge(f"the body may have at most {parts_max} parts")

    async def pieces(self, part: BodyPartReader, *, bytes_max: int = INTEGER_MAX) -> AsyncIterator[bytes]:
        """One part's bytes as they arrive; raises PayloadTooLarge past the limit, InvalidParameter when the part is broken off."""
        size = 0
        while True:
            try:
                piece = await part.read_chunk(_PIECE_BYTES)
            except (ValueError, AssertionError, LookupError) as error:
                raise InvalidParameter.of(part.name or "body", "unreadable") from error
            if not piece:
                return
            size += len(piece)
            if size > bytes_max:
                raise PayloadTooLarge(f"{part.name or 'part'}: at most {bytes_max} bytes")
            yield piece

    async def read_part(self, part: BodyPartReader, *, bytes_max: int = _FIELD_BYTES_MAX) -> bytes:
        """One part's bytes; raises as `pieces` does."""
        return b"".join([piece async for piece in self.pieces(part, bytes_max=bytes_max)])

    async def read_text(self, part: BodyPartReader, *, bytes_max: int = _FIELD_BYTES_MAX) -> str:
        """One part's text; raises InvalidParameter when it is none that could be stored."""
        name = part.name or "part"
        try:
            value = (await self.read_part(part, bytes_max=bytes_max)).decode()
        except UnicodeDecodeError as error:
            raise InvalidParameter.of(name, "utf-8") from error
        check_text(value, name)
        return value


@dataclass(slots=True)
class Answer:
    """What goes back. Bytes are ready JSON unless a Content-Type says otherwise."""

    body: BaseModel | bytes | None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request[Any]], Awaitable[Answer | web.StreamResponse]]


class Media:
    """An answer's body that is not JSON, by the media types it may have."""

    __slots__ = ("kinds",)

    def __init__(self, *kinds: str) -> None:
        self.kinds = kinds


HTML, SCRIPT, STYLE = Media("text/html"), Media("text/javascript"), Media("text/css")


@dataclass(frozen=True, kw_only=True)
class _RouteOptions:
    auth: Auth = "user"
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    answers: Mapping[int, type[BaseModel] | Media | None] = field(default_factory=dict)
    refusals: tuple[type[ServiceError], ...] = ()
    keyed: bool = False
    reads: Mapping[str, type[BaseModel]] = field(default_factory=dict)
    summary: str = ""
    body_bytes_max: int = BODY_BYTES_MAX
    multipart: bool = False
    deadline_seconds: float = DEADLINE_SECONDS
    raw: bool = False
    limits: str = "default"
    example: Any = None


@dataclass(frozen=True)
class Route(_RouteOptions):
    """One route. `raw` handlers (sockets, streams) have no deadline and answer a StreamResponse themselves.

    For the documentation only: `answers` are the good answers by status, None where there is no body; `refusals` what this route refuses with besides what
    every route of its kind does; `keyed` says that it takes an Idempotency-Key, `reads` what a handler that reads the body itself takes, by media type.
    `example` is a body for the documentation; without one the model's own (`json_schema_extra={"examples": [...]}`) or a made one is shown.
    `multipart` says that the body may also be a form: with Content-Type multipart/* it is left to `request.parts()`, `request.body` is None.
    """

    method: str
    path: str
    handler: Handler
