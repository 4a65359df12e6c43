"""Answers that need not be sent again: validators, and who may keep them for how long."""

import base64
import hashlib
import re

from pydantic import BaseModel

from common.errors import InvalidParameter
from common.web import Answer, Request
from works.deps import Deps

_EDITION = re.compile(r'(?:W/)?"(\d{1,9})(?:-[A-Za-z0-9_-]{16})?"')
_ANYBODYS = "public, max-age=30, s-maxage=60, stale-while-revalidate=30"
"""Together shorter than the links inside are good, which is four minutes at least."""
_ONES_OWN = "private, no-cache"
# A failed work says why in a language (photo), a creator is a pointer for clients of the old backend (song and the gallery).
_VARY = {"photo": "Authorization, Accept-Language", "song": "Authorization, X-LC-Session, X-LC-Id", "v1": "Authorization, X-LC-Id"}


def shown(request: Request[Deps], body: BaseModel, *, edition: int | None = None) -> Answer:
    """An answer with its validator, or the news that nothing changed. What is shown to whoever asks without a token is anybody's to keep."""
    content = body.__pydantic_serializer__.to_json(body, by_alias=True)
    digest = base64.urlsafe_b64encode(hashlib.blake2b(content, digest_size=12).digest()).decode()
    etag = f'"{edition}-{digest}"' if edition is not None else f'"{digest}"'
    headers = {
        "ETag": etag,
        "Cache-Control": _ANYBODYS if request.maybe_principal is None else _ONES_OWN,
        "Vary": _VARY[request.dialect],
    }
    if names(request.http.headers.get("If-None-Match"), etag):
        return Answer(None, status=304, headers=headers)
    return Answer(content, headers=headers)


def names(header: str | None, etag: str) -> bool:
    """Whether If-None-Match names what would be sent."""
    if header is None:
        return False
    return header.strip() == "*" or etag in (one.strip().removeprefix("W/") for one in header.split(","))


def edition_seen(request: Request[Deps]) -> int | None:
    """The edition of a work that If-Match names. Only that part of a validator counts: links in an answer change by themselves."""
    given = request.http.headers.get("If-Match", "").strip()
    if given in ("", "*"):
        return None
    found = _EDITION.fullmatch(given)
    if found is None:
        raise InvalidParameter.of("If-Match", "etag")
    return int(found[1])
