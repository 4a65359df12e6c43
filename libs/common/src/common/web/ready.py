"""An answer whose bytes are all known: written in one piece, because aiohttp's general way costs as much as everything else of a request."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web
from aiohttp.client_exceptions import ClientConnectionResetError
from aiohttp.helpers import rfc822_formatted_time

SERVER_NAME = "darkroom"
JSON = "application/json; charset=utf-8"

_STATUS_LINES: Mapping[int, str] = {one.value: f"HTTP/1.1 {one.value} {one.phrase}\r\nServer: {SERVER_NAME}\r\nX-Request-Id: " for one in HTTPStatus}
# An answer that says nothing about it is its asker's alone; a cache that knows nothing of X-LC-Session would give it to the next.
NO_STORE = "no-store"
_NOT_KEPT = f"Cache-Control: {NO_STORE}\r\n"
_WITHOUT_BODY = frozenset({204, 304})


class ReadyResponse(web.StreamResponse):
    """Status, headers and body in one write. Takes no cookies and no compression; a handler that needs them answers a web.Response."""

    # aiohttp's own constructor is left out on purpose: it builds what is not needed here.
    def __init__(self, status: int, request_id: str, body: bytes | None, *, content_type: str = JSON, headers: Mapping[str, str] | None = None) -> None:
        self._state = {}
        self._status = status
        self._request_id = request_id
        self._ready_body = body
        self._ready_type = content_type
        self._ready_headers = headers

    @property
    def body(self) -> bytes | None:
        return self._ready_body

    async def prepare(self, request: web.BaseRequest) -> Any:
        """Write everything; raises ConnectionResetError when the client has gone."""
        if self._eof_sent:
            return None
        self._eof_sent = True
        protocol = request.protocol
        transport = protocol.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("the client has gone")
        if self._keep_alive is None:
            self._keep_alive = request.keep_alive and not getattr(protocol._manager, "draining", False)
        body = self._ready_body or b""
        data = self._head(request, len(body)).encode()
        if body and request.method != "HEAD":
            data += body
        request._payload_writer.output_size = len(data)
        transport.write(data)
        if protocol.writing_paused:
            await protocol._drain_helper()
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to write."""

    def _head(self, request: web.BaseRequest, length: int) -> str:
        connection = "" if self._keep_alive and request.version >= (1, 1) else f"Connection: {'keep-alive' if self._keep_alive else 'close'}\r\n"
        content = "" if self._status in _WITHOUT_BODY else f"Content-Length: {length}\r\n"
        kind = f"Content-Type: {self._ready_type}\r\n" if self._ready_body is not None else ""
        said = self._ready_headers
        more = (_lines(said) if "Cache-Control" in said else _lines(said) + _NOT_KEPT) if said else _NOT_KEPT
        return f"{_STATUS_LINES[self._status]}{self._request_id}\r\n{kind}{content}{more}{connection}Date: {rfc822_formatted_time()}\r\n\r\n"


def _lines(headers: Mapping[str, str]) -> str:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if lines.count("\r") + lines.count("\n") != 2 * len(headers) or "\x00" in lines:
        raise ValueError("a header of an answer holds a line break")
    return lines
