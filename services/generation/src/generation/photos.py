"""Pictures that come inside a request, as data URLs: taken apart, decoded within limits, stripped, encoded again, stored."""

import asyncio
import base64
import binascii
import hashlib
import io
import re
from collections.abc import Mapping
from uuid import UUID

from common.errors import FileTooLarge, FileTypeRefused, FileUnreadable, InvalidParameter, Unavailable
from common.objects import ObjectStore, content_type_of
from generation.providers.base import NotSent
from generation.providers.local.child import OverLimit
from generation.providers.local.pool import Pool, PoolBroken

SIDE_PX_MAX = 12_000
PIXELS_MAX = 40_000_000
JPEG_SCANS_MAX = 100
"""Each scan is a pass over the whole picture: thousands in a small file cost minutes."""
PNG_PIXELS_MAX = 8_000_000
"""Deflating more takes tens of seconds; what is opaque becomes a JPEG instead."""
QUALITY = 90
IN_THREAD_BYTES_MIN = 256 * 1024
COVERS_FOLDER = "scenes/"
"""What lies here is nobody's upload and is not removed: versions of scenes that are gone name it still."""

_HEAD = re.compile(r"data:image/(jpeg|jpg|png|webp);base64,", re.IGNORECASE)
_TYPES: Mapping[str, tuple[str, str]] = {"JPEG": ("image/jpeg", "jpg"), "PNG": ("image/png", "png"), "WEBP": ("image/webp", "webp")}
_MAGIC: tuple[tuple[bytes, int, str], ...] = ((b"\xff\xd8\xff", 0, "JPEG"), (b"\x89PNG\r\n\x1a\n", 0, "PNG"), (b"WEBP", 8, "WEBP"))


class PhotoRefused(Exception):
    """Not a picture we take; `reason` is `too_large`, `type` or `unreadable`. Travels between processes."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def is_picture(start: bytes) -> bool:
    """Whether bytes begin as a picture that we take does."""
    return any(start[place : place + len(magic)] == magic for magic, place, _ in _MAGIC)


async def read_data_url(url: str, *, field: str, bytes_max: int) -> bytes:
    """The bytes of a data URL; what is too long or no picture is refused before it is decoded."""
    head = _HEAD.match(url[:40])
    if head is None:
        raise InvalidParameter.of(field, "must be a link to an upload or a data URL of a JPEG, PNG or WebP picture")
    if (len(url) - head.end()) * 3 // 4 > bytes_max + 2:
        raise FileTooLarge(f"{field}: a picture may have at most {bytes_max} bytes")
    text = url[head.end() :]
    try:
        if len(text) < IN_THREAD_BYTES_MIN:
            return base64.b64decode(text, validate=True)
        return await asyncio.to_thread(base64.b64decode, text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidParameter.of(field, "is not valid base64") from error


class PhotoKeeper:
    """Keeps pictures under the key their cleaned bytes give them, so that the same picture is kept once."""

    def __init__(self, objects: ObjectStore, pool: Pool) -> None:
        self._objects = objects
        self._pool = pool

    async def keep(self, user_id: UUID, body: bytes) -> str:
        """Check, clean and store one; answers its key. Raises FileTooLarge, FileTypeRefused or FileUnreadable."""
        try:
            cleaned, content_type, extension = await self._pool.run(clean_photo, body)
        except PhotoRefused as refusal:
            raise {"too_large": FileTooLarge, "type": FileTypeRefused}.get(refusal.reason, FileUnreadable)(refusal.detail) from None
        except OverLimit as error:
            raise FileUnreadable("decoding takes too much memory or time") from error
        except (NotSent, PoolBroken) as error:
            raise Unavailable("pictures cannot be decoded now") from error
        key = f"uploads/{user_id}/{hashlib.sha256(cleaned).hexdigest()}.{extension}"
        await self._objects.put(key, cleaned, content_type)
        return key

    async def keep_cover(self, key: str) -> str:
        """A scene's own copy of a picture that lies under another key, whose owner may delete it; answers the copy's. Raises FileNotFound."""
        if key.startswith(COVERS_FOLDER):
            return key
        body = await self._objects.read(key)
        copy = f"{COVERS_FOLDER}{hashlib.sha256(body).hexdigest()}.{key.rpartition('.')[2]}"
        await self._objects.put(copy, body, content_type_of(copy))
        return copy


def clean_photo(body: bytes) -> tuple[bytes, str, str]:
    """The picture upright and without anything but its pixels: (bytes, content type, extension). Runs in a process that may die of it."""
    from PIL import Image, ImageOps

    name = next((name for magic, place, name in _MAGIC if body[place : place + len(magic)] == magic), None)
    if name is None:
        raise PhotoRefused("type", "only JPEG, PNG and WebP pictures are taken")
    if name == "JPEG" and body.count(b"\xff\xda") > JPEG_SCANS_MAX:
        raise PhotoRefused("unreadable", "the JPEG has too many scans")
    Image.MAX_IMAGE_PIXELS = None  # our own limits are checked before anything is decoded
    try:
        with Image.open(io.BytesIO(body), formats=[name]) as opened:
            width, height = opened.size
            if max(width, height) > SIDE_PX_MAX or width * height > PIXELS_MAX:
                raise PhotoRefused("too_large", f"{width} x {height} pixels are too many")
            if name != "JPEG" and getattr(opened, "n_frames", 1) > 1:
                raise PhotoRefused("unreadable", "animated pictures are not taken")
            upright = ImageOps.exif_transpose(opened)
            picture = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    except PhotoRefused:
        raise
    except MemoryError:
        raise
    except Exception as error:
        # Whatever a decoder trips over, the file is at fault.
        raise PhotoRefused("unreadable", f"cannot be decoded ({type(error).__name__})") from None
    picture.info = {}  # some encoders carry comments, profiles and XMP over from here
    if picture.mode == "RGB" and name == "PNG" and width * height > PNG_PIXELS_MAX:
        name = "JPEG"
    if picture.mode == "RGBA" and name == "JPEG":
        picture = picture.convert("RGB")
    written = io.BytesIO()
    options = {"compress_level": 3} if name == "PNG" else {"quality": QUALITY}
    picture.save(written, name, **options)
    return written.getvalue(), *_TYPES[name]
