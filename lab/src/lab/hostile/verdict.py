"""Whether an answer to something hostile is one: never our fault, in the dialect's envelope, and silent about what we are made of."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from common.web.dialects import dialect_of

# Words that only somebody who looks inside could know. The addresses of links are ours to give away, so they are cut out first.
_LEAKS = re.compile(
    rb"Traceback|File \"|\.py\b|site-packages|asyncpg|pydantic|orjson|aiohttp|psycopg|starlette|Pillow|\bPIL\b|"
    rb"SELECT |INSERT |UPDATE |DELETE FROM|violates|constraint|postgres|kafka|localhost|127\.0\.0\.1|0x[0-9a-f]{8,}|Error\(|Exception",
    re.IGNORECASE,
)
_SERVERS = ("", "darkroom")
_PROBLEM_NAMES = {"type", "title", "status", "detail", "instance", "code", "request_id", "retryable", "errors"}
_ECHOES = {"path", "instance"}


@dataclass(frozen=True, slots=True)
class Expected:
    """What is right: one of these statuses (any below 500 when empty), one of these codes, a field named that begins so."""

    statuses: Collection[int] = ()
    codes: Collection[int] = ()
    field: str | None = None

    @property
    def is_refusal(self) -> bool:
        """Whether nothing but a refusal is right."""
        return bool(self.statuses) and min(self.statuses) >= 400


REFUSED = Expected(tuple(status for status in range(400, 500)))
INVALID = Expected((400,), (10001,))
UNAUTHORIZED = Expected((401,), (10002,))
NOT_FOUND = Expected((404,))
ANYTHING = Expected()


@dataclass(frozen=True, slots=True)
class Case:
    """One request, its target already escaped as it goes over the wire."""

    name: str
    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    expected: Expected = ANYTHING

    def __str__(self) -> str:
        return f"{self.method} {self.target[:80]} [{self.name}]"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float = 0.0

    def json(self) -> Any:
        return orjson.loads(self.body)


def judge(case: Case, answer: Answer) -> list[str]:
    """One sentence per thing that is wrong with an answer."""
    wrong = list(_own_faults(answer))
    expected = case.expected
    if expected.statuses and answer.status not in expected.statuses:
        wrong.append(f"status {answer.status}, not one of {sorted(expected.statuses)[:6]}")
    if answer.status >= 400:
        path = case.target.partition("?")[0]
        wrong += judge_refusal(answer, path, is_head=case.method == "HEAD", problem="problem+json" in case.headers.get("Accept", ""))
        if dialect_of(path) != "v1" and "Accept-Language" not in case.headers and case.method != "HEAD":
            wrong += [f"English to somebody who reads Chinese: {said!r}" for said in _sentences(answer) if said.isascii()]
        if expected.codes and answer.headers.get("x-error-code") not in {str(code) for code in expected.codes}:
            wrong.append(f"code {answer.headers.get('x-error-code')}, not one of {sorted(expected.codes)}")
        if expected.field is not None and not wrong and not _names(answer, expected.field):
            wrong.append(f"no error names the field {expected.field}")
    return [f"{case}: {sentence}; it said {answer.status} {answer.body[:200]!r}" for sentence in wrong]


def judge_refusal(answer: Answer, path: str, *, is_head: bool = False, problem: bool = False) -> list[str]:
    """What is wrong with a refusal's headers and envelope."""
    wrong: list[str] = []
    code = answer.headers.get("x-error-code", "")
    if not code.isdecimal():
        wrong.append("no X-Error-Code")
    if "x-request-id" not in answer.headers:
        wrong.append("no X-Request-Id")
    if answer.status == 401 and "www-authenticate" not in answer.headers:
        wrong.append("401 without WWW-Authenticate")
    if answer.status == 405 and "allow" not in answer.headers:
        wrong.append("405 without Allow")
    if is_head:
        return wrong + (["a body for HEAD"] if answer.body else [])
    if "json" not in answer.headers.get("content-type", ""):
        return [*wrong, f"the envelope is {answer.headers.get('content-type')!r}"]
    try:
        body = orjson.loads(answer.body)
    except ValueError:
        return [*wrong, "the envelope is no JSON"]
    dialect = "v1" if problem else dialect_of(path)
    shape = {"photo": _photo, "song": _song, "v1": _problem}[dialect](body, answer.status, code)
    found = _LEAKS.search(orjson.dumps({name: value for name, value in body.items() if name not in _ECHOES})) if isinstance(body, dict) else None
    return wrong + ([f"{dialect}: {shape}"] if shape else []) + ([f"tells too much: {found[0]!r}"] if found else [])


def _sentences(answer: Answer) -> Iterator[str]:
    """What a refusal says to people; nothing of one that has no envelope, which is said elsewhere."""
    try:
        body = orjson.loads(answer.body)
        details = body.get("details") or body
        yield from (str(said) for said in (body.get("message"), body.get("title"), body.get("detail")) if said is not None)
        yield from (str(one["message"]) for one in details.get("errors") or ())
    except (ValueError, AttributeError, LookupError, TypeError):
        return


def _own_faults(answer: Answer) -> list[str]:
    wrong: list[str] = []
    if answer.status >= 500 and not (answer.status == 503 and "retry-after" in answer.headers):
        wrong.append(f"our fault ({answer.status})")
    if answer.headers.get("server", "") not in _SERVERS or "x-powered-by" in answer.headers:
        wrong.append(f"Server: {answer.headers.get('server')}")
    return wrong


def _photo(body: Any, _status: int, _code: str) -> str:
    if not isinstance(body, dict) or body.get("success") is not False or not _is_sentence(body.get("message")):
        return "not {success: false, message}"
    if not set(body) <= {"success", "message", "data", "errors", "path"}:
        return f"unknown names {sorted(body)}"
    return "" if _are_fields(body.get("errors", [])) and isinstance(body.get("data", {}), dict) else "errors or data of another shape"


def _song(body: Any, _status: int, code: str) -> str:
    if not isinstance(body, dict) or set(body) != {"code", "message", "details", "timestamp"}:
        return "not {code, message, details, timestamp}"
    if str(body["code"]) != code or not _is_sentence(body["message"]) or not isinstance(body["details"], dict):
        return "code, message or details of another shape"
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(body["timestamp"])):
        return "timestamp of another shape"
    return "" if _are_fields(body["details"].get("errors", [])) else "errors of another shape"


def _problem(body: Any, status: int, code: str) -> str:
    if not isinstance(body, dict) or not set(body) >= _PROBLEM_NAMES or not set(body) <= {*_PROBLEM_NAMES, "data"}:
        return "not the names of a problem"
    same = body["status"] == status and str(body["code"]) == code and isinstance(body["retryable"], bool)
    return "" if same and _is_sentence(body["title"]) and _is_sentence(body["detail"]) and _are_fields(body["errors"]) else "a problem of another shape"


def _is_sentence(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 2000


def _are_fields(errors: Any) -> bool:
    return isinstance(errors, list) and all(isinstance(one, dict) and set(one) == {"field", "message"} and _is_sentence(one["message"]) for one in errors)


def _names(answer: Answer, field_name: str) -> bool:
    body = answer.json()
    errors = body.get("errors") or body.get("details", {}).get("errors") or []
    return any(one["field"] == field_name or one["field"].startswith(f"{field_name}.") for one in errors)
