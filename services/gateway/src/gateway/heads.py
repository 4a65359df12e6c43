"""Reads the head of a small, plain request, strictly: what is not exactly in this grammar is for the careful reader."""

import re

from common.errors import ServiceError
from gateway import edge
from gateway.edge import Name
from gateway.gate import admit
from gateway.routes import HEALTH, Route, RouteTable

_LEARNED_MAX = 4096
_METHODS = {name.encode(): name for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")}
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_DIGITS = re.compile(rb"[0-9]{1,6}")

_PASSES, _DROPPED, _HOST, _LENGTH, _CONNECTION, _UPGRADE = Name.PASSES, Name.DROPPED, Name.HOST, Name.CONTENT_LENGTH, Name.CONNECTION, Name.UPGRADE
_TOKEN, _KEY, _REQUEST_ID, _TRACEPARENT = Name.TOKEN, Name.IDEMPOTENCY_KEY, Name.REQUEST_ID, Name.TRACEPARENT
_FRAMING, _INVALID = Name.FRAMING, Name.INVALID


class Asked:
    """A request whose head was read: where it goes, what is sent on, or why it is refused."""

    __slots__ = ("close", "error", "head", "length", "lines", "method", "path", "repeatable", "request_id", "route", "upgrades")

    def __init__(self) -> None:
        self.method = ""
        self.path = ""
        self.route: Route | None = None
        self.error: ServiceError | None = None
        self.head = b""
        self.lines: list[bytes] = []
        self.length = 0
        self.close = False
        self.repeatable = False
        self.upgrades = False
        self.request_id = ""

    def header(self, name: bytes) -> str | None:
        """A header's value, for the rare answer that depends on one."""
        for line in self.lines:
            found, _, value = line.partition(b":")
            if found.lower() == name:
                return value.strip().decode("latin-1")
        return None


class HeadReader:
    """Knows the routes and the spellings of header names seen so far."""

    def __init__(self, table: RouteTable) -> None:
        self._table = table
        self._learned: dict[bytes, Name] = {}

    def read(self, head: bytes) -> Asked | None:
        """The request of this head (without the empty line), or None for the careful reader."""
        lines = head.split(b"\r\n")
        first = lines[0].split(b" ")
        count = len(lines)
        if len(first) != 3 or first[2] != b"HTTP/1.1" or count > edge.HEADERS_MAX or head.count(b"\n") != count - 1 or head.count(b"\r") != count - 1:
            return None
        method = _METHODS.get(first[0])
        target = first[1]
        if method is None or not target.isascii() or target[:1] != b"/" or b"#" in target or _CONTROL.search(head):
            return None
        asked = Asked()
        asked.method = method
        asked.lines = lines
        return asked if self._judge(asked, target.decode("ascii"), self._keep(asked, lines)) else None

    def _keep(self, asked: Asked, lines: list[bytes]) -> "_Found | None":
        """Sorts the headers; None when they say something about framing that needs the careful reader."""
        found = _Found()
        keep = found.kept.append
        learned = self._learned
        for line in lines[1:]:
            name, colon, value = line.partition(b":")
            kind = learned.get(name)
            if kind is None:
                kind = self._learn(name)
            if not colon:
                return None
            if kind is _PASSES:
                keep(line)
            elif kind is not _DROPPED and not found.take(kind, line, value):
                return None
        return found

    def _judge(self, asked: Asked, target: str, found: "_Found | None") -> bool:
        if found is None or found.hosts != 1:
            return False
        path = target.partition("?")[0]
        if path in HEALTH:
            return False
        connection = found.connection
        asked.length = found.length
        asked.path = path
        asked.close = connection == b"close"
        asked.repeatable = found.has_key or asked.method in ("GET", "HEAD")
        trace_id = ""
        if found.traceparent is None:
            trace_id, traceparent = edge.new_trace()
            found.kept.append(b"traceparent: " + traceparent.encode())
        asked.request_id = found.request_id or trace_id or edge.new_trace()[0]
        try:
            asked.route, sent_on = admit(self._table, asked.method, target, length=found.length, has_token=found.has_token)
        except ServiceError as error:
            asked.error = error
            return True
        if found.upgrade:
            if not asked.route.websocket or b"upgrade" not in connection or found.length:
                return False
            asked.upgrades = True
            found.kept += (b"Connection: Upgrade", b"Upgrade: websocket")
        elif asked.route.websocket or connection not in (b"", b"close", b"keep-alive"):
            return False
        asked.head = b"%b %b HTTP/1.1\r\n%b\r\nX-Request-Id: %b\r\n\r\n" % (
            asked.method.encode(), sent_on.encode(), b"\r\n".join(found.kept), asked.request_id.encode(),
        )
        return True

    def _learn(self, name: bytes) -> Name:
        kind = edge.name_of(name)
        if len(self._learned) < _LEARNED_MAX:
            self._learned[name] = kind
        return kind


class _Found:
    """What the headers said."""

    __slots__ = ("connection", "has_key", "has_token", "hosts", "kept", "length", "lengths", "request_id", "traceparent", "upgrade")

    def __init__(self) -> None:
        self.kept: list[bytes] = []
        self.hosts = 0
        self.length = 0
        self.lengths = 0
        self.connection = b""
        self.upgrade = False
        self.has_token = False
        self.has_key = False
        self.request_id: str | None = None
        self.traceparent: bytes | None = None

    def take(self, kind: Name, line: bytes, value: bytes) -> bool:
        """One header that is not simply kept; False for the careful reader."""
        if kind is _TOKEN or kind is _KEY or kind is _HOST or kind is Name.LANGUAGE:
            self.kept.append(line)
            self.has_token = self.has_token or kind is _TOKEN
            self.has_key = self.has_key or kind is _KEY
            self.hosts += kind is _HOST
        elif kind is _LENGTH:
            digits = value.strip(b" \t")
            if self.lengths or not _DIGITS.fullmatch(digits) or int(digits) > edge.SMALL_BODY_BYTES_MAX:
                return False
            self.lengths, self.length = 1, int(digits)
            self.kept.append(line)
        elif kind is _CONNECTION:
            if self.connection:
                return False
            self.connection = value.strip(b" \t").lower()
        elif kind is _UPGRADE:
            self.upgrade = value.strip(b" \t").lower() == b"websocket"
            return self.upgrade
        elif kind is _REQUEST_ID:
            given = value.strip(b" \t").decode("latin-1")
            self.request_id = given if edge.is_request_id(given) else None
        elif kind is _TRACEPARENT:
            given = value.strip(b" \t").decode("latin-1")
            if edge.is_traceparent(given):
                self.traceparent = line
                self.kept.append(line)
        else:
            return False
        return True
