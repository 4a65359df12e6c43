"""Parts of a form as they arrive."""

import warnings
from collections.abc import AsyncIterator

from aiohttp import BodyPartReader

_CHUNK_BYTES = 64 * 1024


def name_of(part: BodyPartReader) -> str | None:
    """The field a part belongs to; a head that names none, or cannot be read, belongs to none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # aiohttp warns of strange file names, which nobody here looks at
        return part.name


async def chunks_of(part: BodyPartReader) -> AsyncIterator[bytes]:
    """The bytes of a part, never whole in memory."""
    while chunk := await part.read_chunk(_CHUNK_BYTES):
        yield chunk
