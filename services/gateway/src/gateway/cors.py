"""Which pages of other sites may read our answers: all of them, or those in the settings. Never with credentials: there are no cookies."""

from collections.abc import Mapping, Sequence

EXPOSED = "X-Request-Id, X-Error-Code, RateLimit, RateLimit-Policy, Retry-After, Idempotent-Replayed, ETag, Location"
_PREFLIGHT: Mapping[str, str] = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
    "Access-Control-Allow-Headers": (
        "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Range, Accept-Language, X-LC-Session, X-LC-Id, X-Request-Id, traceparent, "
        "X-Signature, X-Signature-Key, X-Signature-Timestamp, X-Signature-Nonce, X-Signature-Content-SHA256"
    ),
    "Access-Control-Max-Age": "86400",
}


class Cors:
    """Says on every answer who may read it. `origins` is empty for everybody."""

    def __init__(self, origins: Sequence[str] = ()) -> None:
        self._open: dict[str, str] = {"Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": EXPOSED}
        self._closed: dict[str, str] = {"Vary": "Origin"}
        self._listed = {one: {"Access-Control-Allow-Origin": one, "Access-Control-Expose-Headers": EXPOSED, "Vary": "Origin"} for one in origins}
        self.asks_origin = bool(origins)
        """Whether the answer depends on who asks, so that the request's Origin must be known."""

    def headers(self, origin: str | None) -> Mapping[str, str]:
        """The headers of any answer to a page of this origin."""
        return self._listed.get(origin or "", self._closed) if self.asks_origin else self._open

    def lines(self, origin: str | None) -> bytes:
        """The same, as lines that follow a head."""
        return b"".join(f"\r\n{name}: {value}".encode("latin-1") for name, value in self.headers(origin).items())

    def preflight(self, origin: str | None) -> Mapping[str, str]:
        """The headers that answer an OPTIONS request."""
        said = self.headers(origin)
        return {**said, **_PREFLIGHT} if "Access-Control-Allow-Origin" in said else said
