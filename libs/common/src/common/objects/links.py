"""Signed links to objects: whoever holds a good one is served, whatever store the bytes lie in."""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from urllib.parse import parse_qsl, unquote, urlsplit

from common.errors import FileNotFound, Forbidden
from common.objects.keys import is_key
from common.settings import SharedSettings

OWNER_LINK_SECONDS = 3600
OTHERS_LINK_SECONDS = 300

_OWNER_STEP_SECONDS = 300
_OTHERS_STEP_SECONDS = 60
_LINK_PATH = "/files/"
_KNOWN_LINK_LENGTH_MAX = 1024


class UrlSigner:
    """Links that whoever holds them may follow until they end.

    They end on fixed steps, so that rendering twice gives the same link and caches work: an owner's link on five-minute steps at most an
    hour from now, another's on one-minute steps at most five minutes from now (a coarser step would let it be dead at birth).
    """

    def __init__(self, secret: str | bytes, base_url: str) -> None:
        self._secret = secret.encode() if isinstance(secret, str) else secret
        self._base = base_url.rstrip("/")
        # The same link comes again with every task made of one photo.
        self._read_known = lru_cache(maxsize=4096)(self._read)

    @classmethod
    def of_settings(cls, shared: SharedSettings) -> "UrlSigner":
        return cls(shared.files_secret.get_secret_value(), shared.public_url)

    def sign(self, key: str, *, now: datetime, owner: bool = True) -> str:
        """The link to an object."""
        expires = _expiry(int(now.timestamp()), owner=owner)
        return f"{self._base}{_LINK_PATH}{key}?exp={expires}&sig={self._signature(key, expires)}"

    def verify(self, path: str, query: Mapping[str, str], now: datetime) -> str:
        """The key that a link is good for; raises FileNotFound for one we did not make, Forbidden for one that ended."""
        key = unquote(path.removeprefix(_LINK_PATH)) if path.startswith(_LINK_PATH) else ""
        expires = self._genuine(key, query.get("exp"), query.get("sig"))
        if expires is None:
            raise FileNotFound()
        if expires < now.timestamp():
            raise Forbidden("the link has expired")
        return key

    def key_of(self, url: str, *, good_at: datetime | None = None) -> str | None:
        """The key in a link of ours; None when we did not make it, or when it had ended at a given time.

        Without a time its age does not matter. The host may be any: nothing is fetched from it.
        """
        found = self._read_known(url) if len(url) <= _KNOWN_LINK_LENGTH_MAX else self._read(url)
        if found is None:
            return None
        key, expires = found
        return key if good_at is None or expires >= good_at.timestamp() else None

    def link_to(self, path: str) -> str:
        """A path of ours as clients reach it."""
        return self._base + path

    def ticket(self, words: str, expires: int) -> str:
        """A signature that lets its bearer do what the words say until then. Words hold a space, which no key does, so it opens no object."""
        if " " not in words:
            raise ValueError("words without a space could be an object's key")
        return self._signature(words, expires)

    def is_ticket(self, words: str, expires: str, signature: str, *, now: datetime) -> bool:
        """Whether we signed these words and the time has not come yet."""
        if not expires.isascii() or not expires.isdigit() or len(expires) > 12 or int(expires) < now.timestamp():
            return False
        return hmac.compare_digest(self.ticket(words, int(expires)).encode(), signature.encode("utf-8", "replace"))

    def _read(self, url: str) -> tuple[str, int] | None:
        """What a link of ours says, which never changes: its key and when it ends."""
        try:
            parts = urlsplit(url)
            query = dict(parse_qsl(parts.query, max_num_fields=8))
        except ValueError:
            return None
        _, found, tail = parts.path.partition(_LINK_PATH)
        key = unquote(tail)
        expires = self._genuine(key, query.get("exp"), query.get("sig")) if found else None
        return None if expires is None else (key, expires)

    def _genuine(self, key: str, expires: str | None, signature: str | None) -> int | None:
        if not expires or not signature or not expires.isascii() or not expires.isdigit() or len(expires) > 12 or not is_key(key):
            return None
        wanted = self._signature(key, int(expires))
        return int(expires) if hmac.compare_digest(wanted.encode(), signature.encode("utf-8", "replace")) else None

    def _signature(self, key: str, expires: int) -> str:
        digest = hmac.digest(self._secret, f"{key}\n{expires}".encode(), hashlib.sha256)
        return urlsafe_b64encode(digest[:24]).decode()


def _expiry(now: int, *, owner: bool) -> int:
    lifetime, step = (OWNER_LINK_SECONDS, _OWNER_STEP_SECONDS) if owner else (OTHERS_LINK_SECONDS, _OTHERS_STEP_SECONDS)
    return (now + lifetime) // step * step
