"""Reads the head of a small, plain request, strictly: what is not exactly in this grammar is for the careful reader."""

import itertools
import re
import secrets

from common.errors import ServiceError
from gateway import edge
from gateway.edge import Name
from gateway.gate import Gate, check, token_of
from gateway.routes import Route

_LEARNED_MAX = 4096
# Paths without escapes and without segments that begin with a dot have one spelling only.
_FIRST_LINE = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE) ((?:/[A-Za-z0-9_~:@!$&'()*+,=-][A-Za-z0-9._~:@!$&'()*+,=-]*)+)/?(\?[!\"$-~]*)? HTTP/1\.1")
_CONNECTION_WORDS = frozenset({b"keep-alive", b"close", b"upgrade", b"http2-settings", b"te"})
_DIGITS_MAX = 6
_READS = frozenset({b"GET", b"HEAD"})

# Bits, because the loop over the headers is the gateway's hottest: what passes is 0, what is only noted is below _ACTED_ON.
_TOKEN, _KEY, _HOST, _ACTED_ON, _LENGTH, _CONNECTION, _UPGRADE, _REQUEST_ID, _TRACEPARENT, _DROPPED, _CAREFUL = (1 << bit for bit in range(11))
_BITS = {
    Name.PASSES: 0, Name.TOKEN: _TOKEN, Name.IDEMPOTENCY_KEY: _KEY, Name.HOST: _HOST, Name.CONTENT_LENGTH: _LENGTH, Name.CONNECTION: _CONNECTION,
    Name.UPGRADE: _UPGRADE, Name.REQUEST_ID: _REQUEST_ID, Name.TRACEPARENT: _TRACEPARENT, Name.DROPPED: _DROPPED, Name.FRAMING: _CAREFUL,
    Name.INVALID: _CAREFUL, Name.SIGNATURE: _CAREFUL,
}  # fmt: skip
_PRINTABLE = bytes((9, *range(32, 127), *range(128, 256)))


class Headers:
    """What the headers of a request say, and which of them are sent on."""

    __slots__ = ("_token", "block", "connection", "kept", "length", "request_id", "seen", "upgrades")

    def __init__(self, block: bytes) -> None:
        self.block = block
        self.kept = block
        self.seen = 0
        self.length = 0
        self.connection: frozenset[bytes] = frozenset()
        self.upgrades = False
        self.request_id = b""
        self._token: str | None = None

    @property
    def token(self) -> str | None:
        """The token it brings, whatever it is worth."""
        if self._token is None and self.seen & _TOKEN:
            self._token = token_of(self.value_of(b"authorization"), self.value_of(b"x-lc-session"))
        return self._token

    def value_of(self, name: bytes) -> str | None:
        """A header's value, for the rare answer that depends on one."""
        for line in self.block.split(b"\r\n"):
            found, _, value = line.partition(b":")
            if found.lower() == name:
                return value.strip().decode("latin-1")
        return None

    def values_of(self, name: bytes) -> str:
        """All values of a header as one list."""
        lines = (line.partition(b":") for line in self.block.split(b"\r\n"))
        return ",".join(value.strip().decode("latin-1") for found, _, value in lines if found.lower() == name)

    def act(self, bit: int, value: bytes) -> bool | None:
        """What a header asks of the gateway itself: whether the service gets it too, or None for the careful reader."""
        if self.seen & bit and bit is not _DROPPED:
            return None
        given = value.strip(b" \t")
        if bit is _LENGTH:
            if not given.isdigit() or len(given) > _DIGITS_MAX or int(given) > edge.SMALL_BODY_BYTES_MAX:
                return None
            self.length = int(given)
            return True
        if bit is _CONNECTION:
            self.connection = frozenset(word.strip() for word in given.lower().split(b","))
            return None if self.connection - _CONNECTION_WORDS else False
        if bit is _UPGRADE:
            # Offers of other protocols are not taken up.
            self.upgrades = given.lower() == b"websocket"
        elif bit is _REQUEST_ID and edge.is_request_id(given.decode("latin-1")):
            self.request_id = given
        elif bit is _TRACEPARENT:
            # One that cannot be passed on is dropped, and the careful reader knows how to make another.
            return True if edge.is_traceparent(given.decode("latin-1")) else None
        return None if bit is _CAREFUL else False


class Asked:
    """A request whose head was read: where it goes, what is sent on, or why it is refused."""

    __slots__ = ("close", "error", "head", "headers", "length", "method", "path", "repeatable", "request_id", "route", "row", "upgrades")

    def __init__(self, method: bytes, path: str, headers: Headers, request_id: bytes) -> None:
        self.method = method
        self.path = path
        self.headers = headers
        self.request_id = request_id
        self.length = headers.length
        self.close = b"close" in headers.connection
        self.repeatable = method in _READS or bool(headers.seen & _KEY)
        self.upgrades = False
        self.row: Route | None = None
        self.route: Route | None = None
        self.error: ServiceError | None = None
        self.head = b""


class HeadReader:
    """Knows the rules and the spellings of header names seen so far."""

    def __init__(self, gate: Gate) -> None:
        self._table = gate.table
        self._signing = gate.signing
        self._learned: dict[bytes, int] = {}
        self._prefix = secrets.token_hex(8).encode()
        self._numbers = itertools.count(1)

    def read(self, head: bytes, before: Headers | None) -> Asked | None:
        """The request of this head (without the empty line), or None for the careful reader.

        `before` are the headers of the same connection's last request: clients mostly send the same ones again.
        """
        cut = head.find(b"\r\n")
        first = _FIRST_LINE.fullmatch(head, 0, cut if cut >= 0 else len(head))
        if first is None or cut < 0:
            return None
        block = head[cut:]
        headers = before if before is not None and before.block == block else self._read_headers(block)
        if headers is None:
            return None
        path = first[2].decode("ascii")
        number = next(self._numbers)
        asked = Asked(first[1], path, headers, headers.request_id or b"%b%016x" % (self._prefix, number))
        return asked if self._judge(asked, first, number) else None

    def _judge(self, asked: Asked, first: re.Match[bytes], number: int) -> bool:
        """Decide where it goes; False when it needs the careful reader after all."""
        headers = asked.headers
        asked.row = route = self._table.find(asked.path)
        method = first[1].decode("ascii")
        try:
            asked.route = check(route, method, length=headers.length, has_token=headers.seen & _TOKEN != 0)
            if self._signing.is_on:
                self._signing.require(asked.route, method, headers.token)
        except ServiceError as error:
            asked.error = error
            return True
        if asked.route.service == "gateway":
            return False
        ending = b""
        if asked.route.websocket:
            if not headers.upgrades or b"upgrade" not in headers.connection or headers.length:
                return False
            asked.upgrades = True
            ending = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        if not headers.seen & _TRACEPARENT:
            ending += b"traceparent: 00-%b%016x-%016x-01\r\n" % (self._prefix, number, number)
        asked.head = b"%b %b%b HTTP/1.1%b\r\nX-Request-Id: %b\r\n%b\r\n" % (first[1], first[2], first[3] or b"", headers.kept, asked.request_id, ending)
        return True

    def _read_headers(self, block: bytes) -> Headers | None:
        lines = block.split(b"\r\n")
        del lines[0]
        if len(lines) > edge.HEADERS_MAX or block.translate(None, _PRINTABLE) != b"\r\n" * len(lines):
            return None
        headers = Headers(block)
        learned = self._learned
        seen, dropped = 0, []
        for line in lines:
            name, colon, value = line.partition(b":")
            bit = learned.get(name)
            if bit is None:
                bit = self._learn(name)
            if not colon:
                return None
            if bit > _ACTED_ON:
                headers.seen = seen
                passes = headers.act(bit, value)
                if passes is None:
                    return None
                if not passes:
                    dropped.append(line)
            elif bit and (seen & bit or not value.isascii()):
                return None  # who asks, and whom, is said once and in letters that all read alike
            seen |= bit
        headers.seen = seen
        if dropped:
            headers.kept = b"\r\n".join([b"", *(line for line in lines if line not in dropped)])
        return headers if seen & _HOST else None

    def _learn(self, name: bytes) -> int:
        bit = _BITS[edge.name_of(name)]
        if len(self._learned) < _LEARNED_MAX:
            self._learned[name] = bit
        return bit
