"""A real Redis for what several gateways count together. The program is the machine's own; it keeps nothing on disk."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from pathlib import Path

from suite.embedded.parts import EmbeddedError, OneProcess, free_port, last_lines, plain_environment, size_of, spawn

START_SECONDS_MAX = 10.0
GONE_SECONDS_MAX = 10.0


class EmbeddedRedis(OneProcess):
    """One redis-server, that can be killed, stopped in its tracks and started again, empty, on the same port. It dies with us, however we end."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        """`port` 0 takes a free one."""
        self.folder = folder.absolute()
        self.port = port

    @property
    def url(self) -> str:
        """As `DARKROOM_LIMITS_URL` wants it."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def log(self) -> Path:
        return self.folder / "redis.log"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    async def start(self) -> None:
        """Returns when it answers. Raises EmbeddedError when it cannot be had."""
        program = shutil.which("redis-server")
        if program is None:
            raise EmbeddedError("Redis cannot be had: there is no redis-server on this machine.")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.port = self.port or free_port()
        log_start = size_of(self.log)
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self.folder)]
        self._process = spawn(command, log=self.log, environment=plain_environment())
        self._process.tie(signal.SIGKILL)
        until = asyncio.get_running_loop().time() + START_SECONDS_MAX
        while self._process.is_running and asyncio.get_running_loop().time() < until:
            if await self._answers():
                return
            await asyncio.sleep(0.02)
        await self.kill()
        raise EmbeddedError(f"Redis did not start: {'; '.join(last_lines(self.log, after_byte=log_start)) or 'it said nothing'} (its log: {self.log})")

    async def kill(self) -> None:
        """kill -9; what it knew is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.send(signal.SIGKILL)
            await process.wait_gone(within_seconds=GONE_SECONDS_MAX)

    async def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(b"PING\r\n")
                async with asyncio.timeout(1):
                    return (await reader.readline()).startswith(b"+PONG")
            finally:
                writer.close()
        return False
