"""Parts of a form as they arrive."""

from aiohttp import BodyPartReader

from common.errors import InvalidParameter
from common.web import Request
from works.deps import Deps


async def pass_over(request: Request[Deps], part: BodyPartReader, *, expected: str) -> None:
    """Leave out a field that nobody asked for. Raises InvalidParameter for a file, unread, with the name that a file is expected under."""
    if part.filename is not None:
        raise InvalidParameter.of(expected, "file-part", given=(part.name or "")[:80])
    await request.read_part(part)
