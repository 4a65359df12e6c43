"""What may come in through the door: paths in one spelling, headers that are a client's to send."""

import random
import re
from enum import IntEnum
from urllib.parse import unquote_to_bytes

HEAD_BYTES_MAX = 16 * 1024
HEADERS_MAX = 100
SMALL_BODY_BYTES_MAX = 64 * 1024

_TARGET = re.compile(r"(?=/)((?:/[A-Za-z0-9\-._~!$&'()*+,=:@%]+)*)/?(\?[!-~]*)?")
_DOTS = re.compile(r"/\.{1,2}(?:/|$)")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._\-]{1,64}")
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class Name(IntEnum):
    """What a request header is to the gateway."""

    PASSES = 0
    DROPPED = 1
    FRAMING = 2  # changes how the message is read: never on the short path
    HOST = 3
    CONTENT_LENGTH = 4
    CONNECTION = 5
    UPGRADE = 6
    TOKEN = 7
    IDEMPOTENCY_KEY = 8
    REQUEST_ID = 9
    TRACEPARENT = 10
    INVALID = 11
    SIGNATURE = 12  # checked by the gateway alone, on the careful path


_NAMES: dict[bytes, Name] = {
    b"transfer-encoding": Name.FRAMING,
    b"expect": Name.FRAMING,
    b"trailer": Name.FRAMING,
    b"content-encoding": Name.FRAMING,
    b"host": Name.HOST,
    b"content-length": Name.CONTENT_LENGTH,
    b"connection": Name.CONNECTION,
    b"upgrade": Name.UPGRADE,
    b"authorization": Name.TOKEN,
    b"x-lc-session": Name.TOKEN,
    b"idempotency-key": Name.IDEMPOTENCY_KEY,
    b"x-request-id": Name.REQUEST_ID,
    b"traceparent": Name.TRACEPARENT,
    b"keep-alive": Name.DROPPED,
    b"proxy-connection": Name.DROPPED,
    b"proxy-authorization": Name.DROPPED,
    b"te": Name.DROPPED,
    b"http2-settings": Name.DROPPED,
    b"forwarded": Name.DROPPED,
    b"via": Name.DROPPED,
    b"x-real-ip": Name.DROPPED,
    b"x-client-ip": Name.DROPPED,
    b"true-client-ip": Name.DROPPED,
    b"x-method-override": Name.DROPPED,
    b"x-signature": Name.SIGNATURE,
    b"x-signature-key": Name.SIGNATURE,
    b"x-signature-timestamp": Name.SIGNATURE,
    b"x-signature-nonce": Name.SIGNATURE,
    b"x-signature-content-sha256": Name.SIGNATURE,
}
# Besides what is not passed as it is, these say what a request means wherever it is read.
_END_TO_END = frozenset({b"accept", b"accept-language", b"content-type", b"cookie", b"origin"})
# Whole families speak for somebody else, or ask for another method or path than the one that was checked.
_DROPPED_FAMILIES = (b"x-forwarded-", b"x-internal-", b"x-user-", b"x-original-", b"x-rewrite-", b"x-http-method")

NOT_RELAYED = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"server", b"te", b"trailer", b"upgrade",
        b"access-control-allow-origin", b"access-control-allow-credentials", b"access-control-expose-headers", b"access-control-allow-methods",
        b"access-control-allow-headers", b"access-control-max-age", b"ratelimit", b"ratelimit-policy",
    }
)  # fmt: skip
"""Headers of a service's answer that belong to its own connection, or that the gateway says itself."""


def name_of(header: bytes) -> Name:
    """What this header is, whatever its case; names with an underscore are dropped, for some readers take it for a dash."""
    if not _TOKEN.fullmatch(header):
        return Name.INVALID
    lower = header.lower()
    if lower.startswith(_DROPPED_FAMILIES) or b"_" in lower:
        return Name.DROPPED
    return _NAMES.get(lower, Name.PASSES)


def is_hop_by_hop(option: bytes) -> bool:
    """Whether `Connection` may name this, so that it goes no further: never what a request is judged or understood by."""
    return option.lower() not in _END_TO_END and name_of(option) in (Name.PASSES, Name.DROPPED, Name.CONNECTION, Name.UPGRADE, Name.INVALID)


def canonical(target: str) -> tuple[str, str] | None:
    """(path, query with its `?`) in the one spelling that is looked up and sent on, or None when no route can be meant.

    One slash at the end is dropped. Empty and dot segments, backslashes, and escapes that stand for a delimiter are not
    repaired: whatever two readers could take for different paths is no path of ours.
    """
    match = _TARGET.fullmatch(target)
    if match is None:
        return None
    path, query = match[1] or "/", match[2] or ""
    if "/." in path and _DOTS.search(path):
        return None
    if "%" in path and not _escapes_are_plain(path):
        return None
    return path, query


def _escapes_are_plain(path: str) -> bool:
    plain = unquote_to_bytes(path)
    if plain.count(b"/") != path.count("/") or b"%" in plain or b"\\" in plain:
        return False
    try:
        text = plain.decode()
    except UnicodeDecodeError:
        return False
    return text.isprintable() and not _DOTS.search(text)


def is_request_id(given: str) -> bool:
    """Whether a client's own request id is modest enough to be logged."""
    return _REQUEST_ID.fullmatch(given) is not None


def is_traceparent(given: str) -> bool:
    """Whether this is a W3C traceparent we can pass on."""
    return _TRACEPARENT.fullmatch(given) is not None


def new_trace() -> tuple[str, str]:
    """(trace id, traceparent) for a request that brought none; names, not secrets."""
    bits = random.getrandbits(192)
    trace_id = f"{bits & ((1 << 128) - 1) | 1:032x}"
    return trace_id, f"00-{trace_id}-{bits >> 128 | 1:016x}-01"
