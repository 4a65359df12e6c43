"""The object store in a folder of this machine."""

import asyncio
import contextlib
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import TracebackType
from typing import Any, BinaryIO, Self, TypeVar

from common.errors import FileNotFound
from common.objects.keys import check_key, check_put, content_type_of, is_key, sha256_of
from common.objects.store import CHUNK_BYTES, ObjectInfo, Shown, WriteLink
from common.settings import SettingsError

T = TypeVar("T")

_THREADS = 8
_CORNER = ".put"
"""Where objects are written; no key begins with a dot."""
_LEFT_OVER_SECONDS = 3600


class FolderObjects:
    """Objects as files in one folder: written in a corner of it, flushed, then moved to their place, so that a reader sees all or nothing.

    The content type follows from the key's extension.
    """

    def __init__(self, folder: Path, *, threads: int = _THREADS) -> None:
        self._folder = folder
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="objects")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError([f"DARKROOM_OBJECTS_URL: the folder {folder} cannot be made: {error.strerror}"]) from error
        _tidy(folder / _CORNER)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for what is being written."""
        await asyncio.to_thread(self._threads.shutdown)

    async def put(self, key: str, body: bytes, content_type: str) -> None:
        check_put(key, content_type)
        path = self._path_of(key)
        await self._in_thread(lambda: _write(path, self._folder, lambda file: file.write(body)))

    async def put_file(self, key: str, path: Path, content_type: str) -> None:
        check_put(key, content_type)
        place = self._path_of(key)

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

    async def list_keys(self, folder: str) -> list[str]:
        path = self._path_of(folder.removesuffix("/"))

        def look() -> list[str]:
            try:
                return [key for entry in os.scandir(path) if entry.is_file() and is_key(key := folder + entry.name)]
            except (FileNotFoundError, NotADirectoryError):
                return []

        return await self._in_thread(look)

    async def link_to_read(self, key: str, shown: Shown, *, seconds: int) -> str | None:
        """Nobody reaches the folder but us."""
        return None

    async def link_to_write(self, key: str, content_type: str, size_bytes: int, *, seconds: int) -> WriteLink | None:
        return None

    def _path_of(self, key: str) -> Path:
        check_key(key)
        return self._folder / key

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _write(place: Path, root: Path, fill: Callable[[BinaryIO], Any]) -> None:
    if place.is_file() and sha256_of(place.name) is not None:
        return
    _make_folders(place.parent, root)
    _make_folders(root / _CORNER, root)
    with NamedTemporaryFile(dir=root / _CORNER, delete=False) as file:
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


def _tidy(corner: Path) -> None:
    """Remove what a killed process was writing; a younger file may be another's who writes it now."""
    with contextlib.suppress(OSError):
        for path in corner.iterdir():
            if time.time() - path.stat().st_mtime > _LEFT_OVER_SECONDS:
                path.unlink(missing_ok=True)


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
