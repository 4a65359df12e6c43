"""The documentation to click through at `/docs`: Swagger UI, served from the package, with nothing from outside."""

import gzip
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from common.errors import NotFound
from gateway.own import OwnAnswer, OwnAsk

FOLDER = Path(__file__).with_name("docs")
_TYPES: Mapping[str, str] = {
    "index.html": "text/html; charset=utf-8",
    "start.js": "text/javascript; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "narrow.css": "text/css; charset=utf-8",
    "favicon-32x32.png": "image/png",
    "LICENSE.txt": "text/plain; charset=utf-8",
    "NOTICE.txt": "text/plain; charset=utf-8",
    "swagger-ui-bundle.js.LICENSE.txt": "text/plain; charset=utf-8",
}
# Swagger UI sets styles by script, which no policy minds, and draws its icons from data: URLs.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def show_front(_ask: OwnAsk) -> OwnAnswer:
    """Who opens the address alone wants to see what there is."""
    return OwnAnswer(b"", "text/plain; charset=utf-8", {"Location": "/docs", "Cache-Control": "no-cache"}, 302)


async def show_page(ask: OwnAsk) -> OwnAnswer:
    """One of the files, small if the client can unpack it."""
    name = ask.path.removeprefix("/docs").strip("/") or "index.html"
    if name not in _TYPES:
        raise NotFound()
    plain, packed, etag = _file(name)
    said = {
        "Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Vary": "Accept-Encoding",
        "Cache-Control": "no-cache", "ETag": etag,
    }  # fmt: skip
    if ask.said("if-none-match") == etag:
        return OwnAnswer(b"", _TYPES[name], said, 304)
    if "gzip" in ask.said("accept-encoding"):
        return OwnAnswer(packed, _TYPES[name], {**said, "Content-Encoding": "gzip"})
    return OwnAnswer(plain, _TYPES[name], said)


@lru_cache(maxsize=len(_TYPES))
def _file(name: str) -> tuple[bytes, bytes, str]:
    plain = (FOLDER / name).read_bytes()
    return plain, gzip.compress(plain, 6, mtime=0), f'W/"{sha256(plain).hexdigest()[:20]}"'
