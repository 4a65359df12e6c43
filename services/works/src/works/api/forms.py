"""Parts of a form as they arrive."""

from collections.abc import AsyncIterator

from aiohttp import BodyPartReader

_CHUNK_BYTES = 64 * 1024


async def chunks_of(part: BodyPartReader) -> AsyncIterator[bytes]:
    """The bytes of a part, never whole in memory."""
    while chunk := await part.read_chunk(_CHUNK_BYTES):
        yield chunk
