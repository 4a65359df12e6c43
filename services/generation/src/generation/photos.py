"""Pictures that come inside a request, as data URLs."""

import asyncio
import base64
import binascii
import hashlib
import re
from uuid import UUID

from common.errors import FileTooLarge, InvalidParameter
from common.objects import ObjectStore, content_type_of
from generation.clients import Pictures

IN_THREAD_BYTES_MIN = 256 * 1024
COVERS_FOLDER = "scenes/"
"""What lies here is nobody's upload and is not removed: versions of scenes that are gone name it still."""

_HEAD = re.compile(r"data:image/(jpeg|jpg|png|webp);base64,", re.IGNORECASE)
_MAGIC: tuple[tuple[bytes, int], ...] = ((b"\xff\xd8\xff", 0), (b"\x89PNG\r\n\x1a\n", 0), (b"WEBP", 8))
_HEAD_LENGTH_MAX = 64


def is_picture(start: bytes) -> bool:
    """Whether bytes begin as a picture that we take does."""
    return any(start[place : place + len(magic)] == magic for magic, place in _MAGIC)


async def read_data_url(url: str, *, field: str, bytes_max: int) -> bytes:
    """The bytes of a data URL; what is too long or no picture is refused before it is decoded."""
    head = _HEAD.match(url[:40])
    if head is None:
        raise InvalidParameter.of(field, "picture-data-url")
    if (len(url) - head.end()) * 3 // 4 > bytes_max + 2:
        raise FileTooLarge.of(field, "bytes", most=bytes_max)
    text = url[head.end() :]
    try:
        if len(text) < IN_THREAD_BYTES_MIN:
            return base64.b64decode(text, validate=True)
        return await asyncio.to_thread(base64.b64decode, text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidParameter.of(field, "base64") from error


class PhotoKeeper:
    """Has pictures kept: photos by works, which cleans whatever people send; covers of scenes as copies of what was cleaned before."""

    def __init__(self, objects: ObjectStore, pictures: Pictures, *, photo_bytes_max: int) -> None:
        self._objects = objects
        self._pictures = pictures
        self._photo_bytes_max = photo_bytes_max

    async def keep(self, user_id: UUID, url: str, *, field: str) -> str:
        """The key of a data URL's picture, kept for as long as any task may need it.

        Raises what works refuses: InvalidParameter, FileTooLarge, FileTypeRefused, FileUnreadable; Unavailable when it cannot be asked.
        """
        if (len(url) - _HEAD_LENGTH_MAX) * 3 // 4 > self._photo_bytes_max:
            raise FileTooLarge.of(field, "bytes", most=self._photo_bytes_max)
        return await self._pictures.keep(user_id, url, field=field)

    async def keep_cover(self, key: str) -> str:
        """A scene's own copy of a picture that lies under another key, whose owner may delete it; answers the copy's. Raises FileNotFound."""
        if key.startswith(COVERS_FOLDER):
            return key
        body = await self._objects.read(key)
        copy = f"{COVERS_FOLDER}{hashlib.sha256(body).hexdigest()}.{key.rpartition('.')[2]}"
        await self._objects.put(copy, body, content_type_of(copy))
        return copy
