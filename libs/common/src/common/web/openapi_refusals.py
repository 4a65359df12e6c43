"""What a route says no with, for its documentation: what every route of its kind can say, and what it names itself."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from common.errors import (
    AccountDisabled,
    Forbidden,
    IdempotencyKeyReused,
    InvalidParameter,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    ServiceError,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    every_error,
)
from common.web.dialects import Dialect, dialect_of, status_of
from common.web.route import Route

_MEANINGS: Mapping[int, str] = {
    400: "The request is not valid", 401: "Nobody, or not who may", 402: "Not paid for", 403: "Not allowed", 404: "There is no such thing",
    409: "Not as things are now", 413: "Too large", 415: "Of a kind that is not taken", 416: "The file ends before", 422: "Understood, and not done",
    429: "Too many requests", 503: "Not available at the moment",
}  # fmt: skip
_PROBLEM = "application/problem+json"
_SLUGS = {error.code: error.slug for error in every_error().values()}
_RETRY_AFTER = {"description": "Seconds to wait", "required": True, "schema": {"type": "integer", "minimum": 0}}


class _FieldFault(BaseModel):
    field: str
    message: str


class PhotoError(BaseModel):
    """How the photo dialect says no."""

    model_config = ConfigDict(extra="allow")
    success: bool
    message: str
    data: dict[str, Any] = {}
    errors: list[_FieldFault] = []


class SongError(BaseModel):
    """How the song dialect says no."""

    code: int
    message: str
    details: dict[str, Any]
    timestamp: str


class Problem(BaseModel):
    """RFC 9457, as v1 says no, and every dialect to whoever accepts application/problem+json."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: int
    request_id: str
    retryable: bool
    errors: list[_FieldFault]
    data: dict[str, Any] = {}


ERRORS: Mapping[Dialect, type[BaseModel]] = {"photo": PhotoError, "song": SongError, "v1": Problem}


def errors_of(route: Route) -> list[type[ServiceError]]:
    """Every refusal of a route, none of them twice."""
    found: list[type[ServiceError]] = [InvalidParameter, RateLimited, Unavailable]
    if route.auth != "none":
        found += [Unauthorized, Forbidden, AccountDisabled]
    if route.body is not None or route.reads or route.multipart:
        found += [PayloadTooLarge, UnsupportedMediaType]
    if route.keyed:
        found.append(IdempotencyKeyReused)
    if "{" in route.path:
        # Of what no name can be the gateway says so itself, whatever the service would have called it.
        found.append(NotFound)
    return list(dict.fromkeys([*found, *route.refusals]))


def refused(route: Route) -> dict[str, list[int]]:
    """The codes of a route's refusals by HTTP status."""
    dialect = dialect_of(route.path)
    found: dict[str, set[int]] = {}
    for error in errors_of(route):
        found.setdefault(str(status_of(error(), dialect)), set()).add(error.code)
    return {status: sorted(codes) for status, codes in sorted(found.items())}


class Responses:
    """Refusals as OpenAPI's reusable responses: one for every dialect, status and set of codes that some route has."""

    def __init__(self, schemas: Mapping[type[BaseModel], dict[str, Any]]) -> None:
        self._schemas = schemas
        self.made: dict[str, Any] = {}

    def of(self, route: Route) -> dict[str, Any]:
        """References to a route's refusals, by status."""
        return {status: {"$ref": f"#/components/responses/{self._name(dialect_of(route.path), status, codes)}"} for status, codes in refused(route).items()}

    def _name(self, dialect: Dialect, status: str, codes: list[int]) -> str:
        name = "_".join([f"{dialect.capitalize()}{status}", *map(str, codes)])
        if name not in self.made:
            self.made[name] = self._response(dialect, int(status), codes)
        return name

    def _response(self, dialect: Dialect, status: int, codes: list[int]) -> dict[str, Any]:
        headers: dict[str, Any] = {"X-Error-Code": {"required": True, "schema": {"type": "integer", "enum": codes}}}
        if status in (429, 503):
            headers["Retry-After"] = _RETRY_AFTER
        content = {} if dialect == "v1" else {"application/json": {"schema": self._schemas[ERRORS[dialect]]}}
        return {
            "description": f"{_MEANINGS[status]}: {', '.join(f'{code} {_SLUGS[code]}' for code in codes)}",
            "headers": headers,
            "content": {**content, _PROBLEM: {"schema": self._schemas[Problem]}},
        }
