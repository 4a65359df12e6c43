"""The object store and signed links to what is in it. S3 is added here; nothing else may know which store it is."""

import asyncio
import contextlib
import hashlib
import hmac
import mimetypes
import os
import re
import shutil
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import Any, BinaryIO, Protocol, Self, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from common.errors import FileNotFound, Forbidden
from common.settings import SettingsError, SharedSettings

T = TypeVar("T")

OWNER_LINK_SECONDS = 3600
OTHERS_LINK_SECONDS = 300
CHUNK_BYTES = 256 * 1024

_OWNER_STEP_SECONDS = 300
_OTHERS_STEP_SECONDS = 60
_THREADS = 8
_KEY_LENGTH_MAX = 512
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_TYPES: Mapping[str, str] = {
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".mp3": "audio/mpeg", ".ogg": "audio/ogg",
    ".opus": "audio/ogg", ".flac": "audio/flac", ".wav": "audio/wav", ".m4a": "audio/mp4", ".json": "application/json",
}  # fmt: skip
_OTHER_TYPE = "application/octet-stream"
_LINK_PATH = "/files/"
_KNOWN_LINK_LENGTH_MAX = 1024


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What is known of an object without reading it."""

    size: int
    content_type: str


class ObjectStore(Protocol):
    """Bytes under keys. A key names its bytes for ever (it ends in their sha256), so putting twice is putting once."""

    async def put(self, key: str, body: bytes, content_type: str) -> None:
        """Store; once this returns the bytes survive a power cut."""
        ...

    async def put_file(self, key: str, path: Path, content_type: str) -> None:
        """Store a copy of a file."""
        ...

    async def read(self, key: str) -> bytes:
        """All bytes; raises FileNotFound."""
        ...

    async def stat(self, key: str) -> ObjectInfo | None: ...

    def open(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` on, in pieces; raises FileNotFound at the first piece."""
        ...

    async def delete(self, key: str) -> None:
        """Remove; removing what is not there is done already."""
        ...

    async def close(self) -> None: ...


def open_objects(shared: SharedSettings) -> "FolderObjects":
    """The store that DARKROOM_OBJECTS_URL names; raises SettingsError for one that cannot be used."""
    scheme, _, rest = shared.objects_url.partition("://")
    if scheme == "file" and rest.startswith("/"):
        return FolderObjects(Path(unquote(rest)))
    if scheme == "s3":
        raise SettingsError(["DARKROOM_OBJECTS_URL: s3:// is not supported yet, use file:///<folder>"])
    raise SettingsError([f"DARKROOM_OBJECTS_URL: {scheme}:// is not known, use file:///<folder>"])


class FolderObjects:
    """Objects as files in one folder: written beside their place, flushed, then moved there, so that a reader sees all or nothing.

    The content type follows from the key's extension.
    """

    def __init__(self, folder: Path, *, threads: int = _THREADS) -> None:
        self._folder = folder
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="objects")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError([f"DARKROOM_OBJECTS_URL: the folder {folder} cannot be made: {error.strerror}"]) from error

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for what is being written."""
        await asyncio.to_thread(self._threads.shutdown)

    async def put(self, key: str, body: bytes, content_type: str) -> None:
        path = self._path_of(key, content_type)
        await self._in_thread(lambda: _write(path, self._folder, lambda file: file.write(body)))

    async def put_file(self, key: str, path: Path, content_type: str) -> None:
        place = self._path_of(key, content_type)

        def copy(file: BinaryIO) -> None:
            with path.open("rb") as source:
                shutil.copyfileobj(source, file, CHUNK_BYTES)

        await self._in_thread(lambda: _write(place, self._folder, copy))

    async def read(self, key: str) -> bytes:
        path = self._path_of(key)
        try:
            return await self._in_thread(path.read_bytes)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise FileNotFound() from None

    async def stat(self, key: str) -> ObjectInfo | None:
        path = self._path_of(key)

        def look() -> ObjectInfo | None:
            return ObjectInfo(path.stat().st_size, content_type_of(key)) if path.is_file() else None

        return await self._in_thread(look)

    async def open(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        path = self._path_of(key)
        try:
            file = await self._in_thread(lambda: path.open("rb"))
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise FileNotFound() from None
        try:
            left = length
            await self._in_thread(lambda: file.seek(start))
            while left is None or left > 0:
                wanted = CHUNK_BYTES if left is None else min(CHUNK_BYTES, left)
                piece = await self._in_thread(lambda wanted=wanted: file.read(wanted))  # type: ignore[misc]
                if not piece:
                    return
                if left is not None:
                    left -= len(piece)
                yield piece
        finally:
            file.close()

    async def delete(self, key: str) -> None:
        path = self._path_of(key)
        await self._in_thread(lambda: path.unlink(missing_ok=True))

    def _path_of(self, key: str, content_type: str | None = None) -> Path:
        check_key(key)
        if content_type is not None and content_type_of(key) != content_type:
            raise ValueError(f"the extension of {key} does not say {content_type}")
        return self._folder / key

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


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


def is_key(key: str) -> bool:
    """Whether this may name an object: path segments of letters, digits, `.`, `_`, `-`, none beginning with a dot."""
    return len(key) <= _KEY_LENGTH_MAX and _KEY.fullmatch(key) is not None


def check_key(key: str) -> None:
    """Raises ValueError for a key that may not name an object; keys are made by us, so this is a fault of ours."""
    if not is_key(key):
        raise ValueError(f"{key[:80]!r} may not name an object")


def content_type_of(key: str) -> str:
    """The content type that a key's extension says."""
    extension = os.path.splitext(key)[1].lower()
    return _TYPES.get(extension) or mimetypes.types_map.get(extension, _OTHER_TYPE)


def _expiry(now: int, *, owner: bool) -> int:
    lifetime, step = (OWNER_LINK_SECONDS, _OWNER_STEP_SECONDS) if owner else (OTHERS_LINK_SECONDS, _OTHERS_STEP_SECONDS)
    return (now + lifetime) // step * step


def _write(place: Path, root: Path, fill: Callable[[BinaryIO], Any]) -> None:
    if place.is_file():
        return
    _make_folders(place.parent, root)
    with NamedTemporaryFile(dir=place.parent, prefix=".put-", delete=False) as file:
        try:
            fill(file)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o644)
            os.replace(file.name, place)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(file.name)
            raise
    _flush_folder(place.parent)


def _make_folders(folder: Path, root: Path) -> None:
    """Make the folders of a key; each new name is flushed too, or a power cut could take the folder with what is in it."""
    missing = []
    while folder != root and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir(exist_ok=True)
        _flush_folder(one.parent)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
