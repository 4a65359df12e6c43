"""A wake-up call for a loop that otherwise sleeps."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Bell:
    """Rung by anybody, heard by one loop; ringing before the loop listens is not lost."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wake the loop."""
        self._rung.set()

    async def wait(self, seconds: float | None = None) -> bool:
        """Until it rings, at most so long; False when it did not ring."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        rang = self._rung.is_set()
        self._rung.clear()
        return rang

    @contextlib.asynccontextmanager
    async def rings_on(self, event: asyncio.Event) -> AsyncIterator[None]:
        """Inside, the bell also rings when the event is set."""

        async def watch() -> None:
            await event.wait()
            self.ring()

        watching = asyncio.get_running_loop().create_task(watch(), name="bell")
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
