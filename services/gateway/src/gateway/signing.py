"""Requests signed by a client's key: what is signed, whether it holds, and that it is taken once.

The signed text is these lines, joined by line feeds: `v1`, the method, the path as it was sent, the query with its escapes in one spelling and
sorted by name (equal names keep their order), the time in whole seconds, the nonce, the SHA-256 of the body in hexadecimal digits, the key's id.
The signature is its HMAC-SHA256 under the key's secret, in hexadecimal digits.
"""

import base64
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal
from urllib.parse import quote_from_bytes, unquote_to_bytes

import orjson

from common.errors import Unauthorized, Unavailable
from gateway.counts import SharedNames, StoreAway
from gateway.routes import READ, Route

SKEW_SECONDS = 300
NONCE_SECONDS = 2 * SKEW_SECONDS + 1
_NONCES_MAX = 200_000

_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TIME = re.compile(r"[0-9]{10}")
_NONCE = re.compile(r"[A-Za-z0-9._-]{16,64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SIGNED_ELSEWHERE = frozenset({"callback", "payment"})

HEADERS = ("X-Signature", "X-Signature-Key", "X-Signature-Timestamp", "X-Signature-Nonce", "X-Signature-Content-SHA256")


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A client's secret, and the users whose requests it signs (all, if none is named)."""

    secret: bytes
    users: frozenset[str]


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that holds, if the body is the one it names."""

    nonce_name: str
    body_sha256: str


class Nonces:
    """Remembers what was signed, so that it is taken once: here, or in the store that all replicas share."""

    def __init__(self, shared: SharedNames | None, *, now: Callable[[], float]) -> None:
        self._shared = shared
        self._now = now
        self._ends: dict[str, float] = {}

    async def claim(self, name: str, *, changes: bool) -> bool:
        """Whether this is its first use. Raises Unavailable when that cannot be known and something would change."""
        if self._shared is None:
            return self._claim_here(name)
        try:
            return await self._shared.claim(name)
        except StoreAway:
            if changes:
                raise Unavailable("signed requests cannot be checked for repeats at the moment", retry_after_seconds=2) from None
            return self._claim_here(name)

    def _claim_here(self, name: str) -> bool:
        now = self._now()
        if self._ends.get(name, 0.0) > now:
            return False
        if len(self._ends) >= _NONCES_MAX:
            for old in [one for one, ends in self._ends.items() if ends <= now]:
                del self._ends[old]
            if len(self._ends) >= _NONCES_MAX:
                raise Unavailable("too many signed requests")
        self._ends[name] = now + NONCE_SECONDS
        return True


class Signing:
    """Checks signatures, and that nobody leaves one out who must sign."""

    def __init__(self, keys: Mapping[str, ClientKey], *, required: Literal["servers", "writes"], names: SharedNames | None, now: Callable[[], float]) -> None:
        self._keys = keys
        self._all_writes = required == "writes"
        self._servers = frozenset(user for key in keys.values() for user in key.users)
        self._nonces = Nonces(names, now=now)
        self._now = now
        # What was taken before this process began is forgotten, unless the store remembers it.
        self._not_before = int(now()) if names is None else 0
        self.is_on = self._all_writes or bool(self._servers)
        """Whether anybody must sign."""

    def require(self, route: Route, method: str, token: str | None) -> None:
        """Raises Unauthorized for a request without a signature that needs one."""
        if self._all_writes and method not in READ and route.limits not in _SIGNED_ELSEWHERE:
            raise Unauthorized("this request must be signed")
        if self._servers and token is not None and _user_of(token) in self._servers:
            raise Unauthorized("the requests of this user must be signed")

    def verify(self, given: Mapping[str, str], *, method: str, path: str, query: str, token: str | None) -> Signed:
        """The signature of these headers (names in lower case); raises Unauthorized when it does not hold."""
        key_id, time, nonce, digest, signature = (given.get(name.lower(), "") for name in HEADERS[1:] + HEADERS[:1])
        shapes = (_KEY_ID, key_id), (_TIME, time), (_NONCE, nonce), (_DIGEST, digest), (_DIGEST, signature)
        for shape, value in shapes:
            if not shape.fullmatch(value):
                raise Unauthorized("a signature has five headers, each of one shape")
        self._check_time(int(time))
        key = self._keys.get(key_id)
        text = signed_text(method=method, path=path, query=query, time=time, nonce=nonce, body_sha256=digest, key_id=key_id)
        expected = hmac.new(key.secret if key else b"nobody", text, sha256).hexdigest()
        if not hmac.compare_digest(expected, signature) or key is None:
            raise Unauthorized("the signature does not hold")
        user = _user_of(token) if token is not None else None
        if (key.users or user in self._servers) and user not in key.users:
            raise Unauthorized("this key does not sign for this user")
        return Signed(f"{key_id}/{nonce}", digest)

    async def take(self, signed: Signed, method: str) -> None:
        """Take it once; raises Unauthorized the second time, Unavailable when that cannot be known."""
        if not await self._nonces.claim(signed.nonce_name, changes=method not in READ):
            raise Unauthorized("this signature was used before")

    def _check_time(self, time: int) -> None:
        now = int(self._now())
        if abs(now - time) > SKEW_SECONDS or time < self._not_before:
            raise Unauthorized("the time of the signature is not now", data={"server_time": now})


def signed_text(*, method: str, path: str, query: str, time: str, nonce: str, body_sha256: str, key_id: str) -> bytes:
    """What a client signs; `query` as it was sent, with or without its question mark."""
    return "\n".join(("v1", method, path, canonical_query(query), time, nonce, body_sha256, key_id)).encode()


def canonical_query(query: str) -> str:
    """One spelling for all queries that mean the same: sorted by name, equal names in their order, escapes as RFC 3986 has them."""
    pairs = [tuple(_spelled(half) for half in one.partition("=")[::2]) for one in query.removeprefix("?").split("&") if one]
    return "&".join(f"{name}={value}" for name, value in sorted(pairs, key=lambda pair: pair[0]))


def _spelled(text: str) -> str:
    return quote_from_bytes(unquote_to_bytes(text.replace("+", " ")), safe="-._~")


def _user_of(token: str) -> str | None:
    """Whom a token names. Not verified: a good token names its user, and a bad one is refused by whoever is asked."""
    try:
        payload = token.split(".")[1]
        claims = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return str(claims["sub"])
    except (IndexError, KeyError, TypeError, ValueError):
        return None
