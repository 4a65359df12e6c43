"""What the gateway itself answers when it lets nobody in, in the caller's dialect."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from common.errors import MethodNotAllowed, NotFound, ServiceError
from common.web.dialects import dialect_of, language_of, render_error, wants_problem
from common.web.ready import NO_STORE
from gateway.gate import WrongMethod


@dataclass(frozen=True, slots=True)
class Refusal:
    """A whole answer: status, headers and body."""

    status: int
    body: bytes
    headers: dict[str, str]

    def to_bytes(self, *, head_only: bool, close: bool) -> bytes:
        """As it goes over the wire."""
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if close:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if head_only else self.body)


def refusal(
    error: ServiceError, *, path: str, request_id: str, own_headers: Mapping[str, str], accept_language: str | None = None, accept: str | None = None
) -> Refusal:
    """This error as the dialect of `path` says it. `own_headers` are what the gateway says on every answer."""
    dialect = dialect_of(path)
    allow = error.allow if isinstance(error, WrongMethod) else None
    if allow is not None:
        error = MethodNotAllowed()
    status, body, headers = render_error(
        error,
        dialect=dialect,
        lang=language_of(accept_language, dialect),
        path=path,
        request_id=request_id,
        problem=wants_problem(accept),
        unknown_route=isinstance(error, NotFound),
    )
    said = {**headers, "Cache-Control": NO_STORE, "X-Request-Id": request_id, **own_headers}
    if allow is not None:
        said["Allow"] = allow
    return Refusal(status, body, said)
