"""Stand-ins for n8n and WeChat beside the suite: the laboratory's simulator in a process of its own."""

from __future__ import annotations

import asyncio
import importlib.util
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from suite.embedded.parts import EmbeddedError, OneProcess, PortTaken, is_port_taken, last_lines, listens, plain_environment, size_of, spawn, wait_until

PART = "The simulator"
MODULE = "lab.simulator"
APP_ID = "wx0000000000000000"
START_SECONDS_MAX = 20.0
LEFT_OVER_SECONDS_MAX = 3.0


class EmbeddedSimulator(OneProcess):
    """One process. It dies with us, however we end, and keeps nothing."""

    def __init__(self, log: Path, port: int, *, secret: str, signing_secret: str, app_secret: str) -> None:
        self.log = log
        self.port = port
        self._secrets = {
            "SIMULATOR_SECRET": secret, "SIMULATOR_SIGNING_SECRET": signing_secret, "SIMULATOR_APP_ID": APP_ID, "SIMULATOR_APP_SECRET": app_secret,
        }  # fmt: skip

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> Mapping[str, str]:
        """What the services need to know to use it."""
        return {
            "DARKROOM_SIMULATOR_URL": self.url,
            "GENERATION_PROVIDER": "n8n", "GENERATION_N8N_URL": f"{self.url}/webhook", "GENERATION_N8N_SECRET": self._secrets["SIMULATOR_SECRET"],
            "GENERATION_CALLBACK_SECRET": self._secrets["SIMULATOR_SIGNING_SECRET"],
            "IDENTITY_WECHAT": "weixin", "IDENTITY_WECHAT_URL": self.url, "IDENTITY_WECHAT_APP_ID": APP_ID,
            "IDENTITY_WECHAT_APP_SECRET": self._secrets["SIMULATOR_APP_SECRET"],
        }  # fmt: skip

    async def start(self) -> None:
        """Returns when it listens. Raises EmbeddedError when it cannot be had."""
        if importlib.util.find_spec("lab") is None:
            raise EmbeddedError("The simulator cannot be had: the package darkroom-lab is missing. `make install` brings it.")
        if not await wait_until(lambda: not is_port_taken(self.port), within_seconds=LEFT_OVER_SECONDS_MAX):
            raise PortTaken(PART, self.port)
        log_start = size_of(self.log)
        self._process = spawn([sys.executable, "-m", MODULE, "--port", str(self.port)], log=self.log, environment={**plain_environment(), **self._secrets})
        self._process.tie(signal.SIGKILL)
        until = asyncio.get_running_loop().time() + START_SECONDS_MAX
        while self._process.is_running and asyncio.get_running_loop().time() < until:
            if listens(self.port):
                return
            await asyncio.sleep(0.02)
        await self.stop()
        raise EmbeddedError(f"{PART} did not start: {'; '.join(last_lines(self.log, after_byte=log_start)) or 'it said nothing'} (its log: {self.log})")

    async def stop(self) -> None:
        """End it; what was under way is lost, as outside."""
        if self._process is None:
            return
        self._process.send(signal.SIGTERM)
        if not await self._process.wait_gone(within_seconds=5):
            self._process.send(signal.SIGKILL)
            await self._process.wait_gone(within_seconds=5)
        self._process = None
