"""Which dialect a path speaks, and how each says no."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from common.errors import FieldError, MethodNotAllowed, PayloadTooLarge, RateLimited, ServiceError, UnsupportedMediaType
from common.messages import Lang, text

Dialect = Literal["photo", "song", "v1"]

_SONG_ROOTS = frozenset({"users", "login", "requestPasswordReset", "works", "music", "points"})
_PROBLEM = "application/problem+json"
_JSON = "application/json; charset=utf-8"
_SENTENCES: Mapping[type[ServiceError], str] = {
    PayloadTooLarge: "payload-too-large", MethodNotAllowed: "method-not-allowed", UnsupportedMediaType: "media-type-refused",
}  # fmt: skip


def dialect_of(path: str) -> Dialect:
    """The dialect of a path: `/api/` photo, the six song roots song, everything else v1."""
    if path.startswith("/api/") or path == "/api":
        return "photo"
    return "song" if path[1:].partition("/")[0] in _SONG_ROOTS else "v1"


def language_of(accept_language: str | None, dialect: Dialect) -> Lang:
    """The language of sentences: what is asked for first, else Chinese in photo and song, English in v1."""
    if accept_language:
        for wish in accept_language[:200].split(","):
            name = wish.partition(";")[0].strip().lower()[:2]
            if name == "zh":
                return "zh"
            if name == "en":
                return "en"
    return "en" if dialect == "v1" else "zh"


def wants_problem(accept: str | None) -> bool:
    """Whether the caller asked for RFC 9457 whatever the path."""
    return accept is not None and _PROBLEM in accept


def status_of(error: ServiceError, dialect: Dialect) -> int:
    """The HTTP status of a refusal in a dialect."""
    return error.photo_status if dialect == "photo" and error.photo_status is not None else error.status


def render_error(
    error: ServiceError, *, dialect: Dialect, lang: Lang, path: str, request_id: str, problem: bool, unknown_route: bool = False
) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of a refusal."""
    status = status_of(error, dialect)
    headers = {"Content-Type": _JSON, "X-Error-Code": str(error.code)}
    if status in (429, 503) or isinstance(error, RateLimited):
        headers["Retry-After"] = str(error.retry_after_seconds or 1)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    sentence = text("route-not-found" if unknown_route else _SENTENCES.get(type(error), error.slug), lang)
    if problem or dialect == "v1":
        headers["Content-Type"] = _PROBLEM
        body = _problem(error, status=status, sentence=sentence, lang=lang, path=path, request_id=request_id)
    elif dialect == "photo":
        body = _photo(error, sentence=sentence, lang=lang, path=path if unknown_route else None)
    else:
        body = _song(error, sentence=sentence, lang=lang)
    return status, _to_json(body), headers


def _to_json(body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body, default=str)
    except TypeError:
        # A name that the caller sent may hold what is no Unicode; it becomes a question mark.
        return json.dumps(body, default=str, ensure_ascii=False).encode(errors="replace")


def _fields(errors: tuple[FieldError, ...], lang: Lang) -> list[dict[str, str]]:
    return [{"field": one.field, "message": one.text(lang)} for one in errors]


def _photo(error: ServiceError, *, sentence: str, lang: Lang, path: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {"success": False, "message": sentence}
    if error.data is not None:
        body["data"] = error.data
    if error.errors:
        body["errors"] = _fields(error.errors, lang)
    if path is not None:
        body["path"] = path
    return body


def _song(error: ServiceError, *, sentence: str, lang: Lang) -> dict[str, Any]:
    details: dict[str, Any] = dict(error.data or {})
    if error.errors:
        details["errors"] = _fields(error.errors, lang)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"
    return {"code": error.code, "message": sentence, "details": details, "timestamp": now}


def _problem(error: ServiceError, *, status: int, sentence: str, lang: Lang, path: str, request_id: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "type": f"urn:darkroom:error:{error.slug}",
        "title": sentence,
        "status": status,
        "detail": (error.detail if lang == "en" else error.fields_text(lang)) or sentence,
        "instance": path,
        "code": error.code,
        "request_id": request_id,
        "retryable": error.retryable,
        "errors": [one.to_wire() for one in error.errors] if path.startswith("/internal/") else _fields(error.errors, lang),
    }
    if error.data is not None:
        body["data"] = error.data
    return body
