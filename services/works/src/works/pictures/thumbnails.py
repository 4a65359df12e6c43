"""Small pictures, each made once, when somebody first looks at it."""

import asyncio
from dataclasses import dataclass, field

from common.errors import FileNotFound
from common.objects import ObjectInfo, ObjectStore, source_of_thumbnail
from works.pictures.intake import Intake


@dataclass(slots=True)
class _Turn:
    """Who makes one picture, and how many wait for it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class Thumbnails:
    """Makes small pictures; many who ask for the same one wait for the same work."""

    def __init__(self, intake: Intake, objects: ObjectStore, *, side_px: int) -> None:
        self._intake = intake
        self._objects = objects
        self._side_px = side_px
        self._turns: dict[str, _Turn] = {}

    async def look(self, key: str) -> ObjectInfo:
        """What lies under this key, made from its picture where it is a small one that is not there yet. Raises FileNotFound."""
        info = await self._objects.stat(key)
        if info is not None:
            return info
        source = source_of_thumbnail(key)
        if source is None:
            raise FileNotFound()
        turn = self._turns.setdefault(key, _Turn())
        turn.waiting += 1
        try:
            async with turn.lock:
                info = await self._objects.stat(key)  # whoever had the turn before us may have made it
                if info is None:
                    await self._intake.keep_small(source, key, side_px=self._side_px)
                    info = await self._objects.stat(key)
        finally:
            turn.waiting -= 1
            if not turn.waiting:
                del self._turns[key]
        if info is None:
            raise FileNotFound()
        return info
