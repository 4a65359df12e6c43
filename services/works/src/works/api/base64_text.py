"""Pictures that come as text: everything is refused that can be before a byte is decoded."""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator

from common.errors import FileTooLarge, InvalidParameter

_HEADS = tuple(f"data:image/{name};base64," for name in ("jpeg", "jpg", "png", "webp"))
_HEAD_LENGTH_MAX = max(len(head) for head in _HEADS)
_IN_THREAD_LENGTH_MIN = 256 * 1024
_CHUNK_BYTES = 64 * 1024


async def read_picture_text(text: str, *, field: str, bytes_max: int, may_be_bare: bool = False) -> bytes:
    """The bytes of a data URL of a picture, or of bare base64 where that is taken. Raises InvalidParameter, FileTooLarge."""
    start = text[:_HEAD_LENGTH_MAX].lower()
    head = next((head for head in _HEADS if start.startswith(head)), None)
    if head is None and (not may_be_bare or ":" in start):
        raise InvalidParameter.of(field, "picture-data-url")
    skipped = len(head or "")
    # Two bytes more than the text could mean, for the padding; intake counts exactly.
    if (len(text) - skipped) * 3 // 4 > bytes_max + 2:
        raise FileTooLarge.of(field, "bytes", most=bytes_max)
    body = text[skipped:]
    try:
        if len(body) < _IN_THREAD_LENGTH_MIN:
            return base64.b64decode(body, validate=True)
        return await asyncio.to_thread(base64.b64decode, body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidParameter.of(field, "base64") from error


async def in_chunks(content: bytes) -> AsyncIterator[bytes]:
    """Bytes that are there already, as an upload comes."""
    for start in range(0, len(content), _CHUNK_BYTES):
        yield content[start : start + _CHUNK_BYTES]
