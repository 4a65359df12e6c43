"""From a stranger's bytes to a stored picture: spool, sniff, decode elsewhere, store, and only then say that it is there."""

import asyncio
import errno
import hashlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import filetype

from common.errors import FileTooLarge, FileTypeRefused, FileUnreadable, InvalidParameter, Unavailable
from common.ids import new_id
from common.objects import ObjectStore, content_type_of
from common.settings import SettingsError
from works.domain import StoredFile, upload_key
from works.pictures.pool import PicturePool

_FORMATS: Mapping[str, str] = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}
_HEAD_BYTES = 8192
_WRITE_BYTES = 256 * 1024
_LEFT_OVER_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Spooled:
    """What was received, on disk: `picture_format` is what its first bytes say, whatever its sender said."""

    path: Path
    sha256: bytes
    picture_format: str


@dataclass(frozen=True, slots=True)
class Ready:
    """A picture as it will be stored, still on disk."""

    path: Path
    file: StoredFile


class Intake:
    """Takes pictures in. What it has not stored yet lies in `spool`, never whole in memory. `bytes_max` may change while we run."""

    def __init__(self, spool: Path, *, pool: PicturePool, objects: ObjectStore, bytes_max: int | Callable[[], int]) -> None:
        self._spool = spool
        self._pool = pool
        self._objects = objects
        self._bytes_max = bytes_max

    @property
    def bytes_max(self) -> int:
        """How many bytes a file may have now."""
        return self._bytes_max if isinstance(self._bytes_max, int) else self._bytes_max()

    def open(self) -> None:
        """Make the spool and remove what a killed process left there. Raises SettingsError for a folder that cannot be written to."""
        try:
            self._spool.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError([f"WORKS_SPOOL_FOLDER: the folder {self._spool} cannot be made: {error.strerror}"]) from error
        if not os.access(self._spool, os.R_OK | os.W_OK | os.X_OK):
            raise SettingsError([f"WORKS_SPOOL_FOLDER: the folder {self._spool} cannot be written to"])
        for path in self._spool.glob("*.part"):
            if time.time() - path.stat().st_mtime > _LEFT_OVER_SECONDS:
                path.unlink(missing_ok=True)

    @asynccontextmanager
    async def receive(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[Spooled]:
        """Write what comes to the spool; it is gone afterwards. Raises FileTooLarge past the limit, FileTypeRefused for other formats."""
        path = self._spool / f"{new_id()}.part"
        try:
            with _room():
                spooled = await self._write(path, chunks)
            yield spooled
        finally:
            path.unlink(missing_ok=True)

    @asynccontextmanager
    async def cleaned(self, spooled: Spooled, *, file_id: UUID, user_id: UUID) -> AsyncIterator[Ready]:
        """Decode, strip and encode again, on disk; it is gone afterwards. Raises FileTooLarge, FileUnreadable, InvalidParameter, Unavailable."""
        target = spooled.path.with_name(f"{new_id()}.part")
        try:
            clean = await self._pool.clean(spooled.path, target, picture_format=spooled.picture_format)
            yield Ready(
                target,
                StoredFile(
                    file_id=file_id,
                    user_id=user_id,
                    key=upload_key(user_id, clean.sha256, clean.extension),
                    content_type=clean.content_type,
                    size_bytes=clean.size_bytes,
                    width=clean.width,
                    height=clean.height,
                    md5=bytes.fromhex(clean.md5),
                    body_hash=spooled.sha256,
                ),
            )
        finally:
            target.unlink(missing_ok=True)

    async def put(self, ready: Ready) -> None:
        """Put it into the object store; the row is the caller's to save. Same bytes, same key: safe twice."""
        with _room():
            await self._objects.put_file(ready.file.key, ready.path, ready.file.content_type)

    async def keep_small(self, source: str, key: str, *, side_px: int) -> None:
        """Make the small picture of a stored one and store it. Raises FileNotFound where there is no such picture. Safe twice."""
        name = _FORMATS[content_type_of(source)]
        original = self._spool / f"{new_id()}.part"
        target = original.with_name(f"{new_id()}.part")
        try:
            with _room():
                self._spool.mkdir(mode=0o700, parents=True, exist_ok=True)
                await asyncio.to_thread(original.write_bytes, await self._objects.read(source))
                await self._pool.shrink(original, target, picture_format=name, side_px=side_px)
                await self._objects.put_file(key, target, "image/webp")
        finally:
            original.unlink(missing_ok=True)
            target.unlink(missing_ok=True)

    async def take_raw(self, chunks: AsyncIterator[bytes], key: str, *, size_bytes: int) -> None:
        """Put exactly so many bytes into the store, whatever they are; nobody is served them. Raises FileTooLarge, InvalidParameter."""
        path = self._spool / f"{new_id()}.part"
        size = 0
        try:
            with _room():
                self._spool.mkdir(mode=0o700, parents=True, exist_ok=True)
                with path.open("xb") as file:
                    async for chunk in chunks:
                        size += len(chunk)
                        if size > size_bytes:
                            raise FileTooLarge.of("body", "bytes-announced", announced=size_bytes)
                        await asyncio.to_thread(file.write, chunk)
                if size != size_bytes:
                    raise InvalidParameter.of("body", "bytes-announced", announced=size_bytes)
                await self._objects.put_file(key, path, "application/octet-stream")
        finally:
            path.unlink(missing_ok=True)

    async def _write(self, path: Path, chunks: AsyncIterator[bytes]) -> Spooled:
        self._spool.mkdir(mode=0o700, parents=True, exist_ok=True)  # those who tidy temporary folders may have been here
        digest, size, head, waiting, bytes_max = hashlib.sha256(), 0, b"", bytearray(), self.bytes_max
        with path.open("xb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > bytes_max:
                    raise FileTooLarge.of("body", "bytes", most=bytes_max)
                digest.update(chunk)
                waiting += chunk
                if not head and len(waiting) >= _HEAD_BYTES:
                    head = bytes(waiting[:_HEAD_BYTES])
                    _format_of(head)  # what is no picture is not read to its end
                if len(waiting) >= _WRITE_BYTES:
                    written, waiting = waiting, bytearray()
                    await asyncio.to_thread(file.write, written)
            head = head or bytes(waiting)
            await asyncio.to_thread(file.write, waiting)
        return Spooled(path, digest.digest(), _format_of(head))


@contextmanager
def _room() -> Iterator[None]:
    """A full disk is not the sender's fault, and may pass."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise Unavailable("there is no room for files now", retry_after_seconds=30) from error
        raise


def _format_of(head: bytes) -> str:
    """JPEG, PNG or WEBP by the first bytes; raises FileTypeRefused for everything else, FileUnreadable for nothing at all."""
    if not head:
        raise FileUnreadable.of("body", "empty")
    found = filetype.guess(head)
    picture_format = _FORMATS.get(found.mime) if found is not None else None
    if picture_format is None:
        raise FileTypeRefused.of("body", "picture-kind")
    return picture_format
