"""A suite as a child process, to be killed, stopped and started again by tests."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from common.auth import ServiceTokens, read_private_key
from common.ids import new_id
from common.settings import PORTS
from common.testing.patience import patient_environment
from suite.home import OPERATOR, Home

READY_SECONDS = 120
ASK_SECONDS = 60
SLOW_MACHINE: Mapping[str, str] = {
    # The same for what services wait for each other.
    **{name: seconds for service in PORTS for name, seconds in patient_environment(service).items()},
    "GATEWAY_CONNECT_SECONDS": "5",
    "GENERATION_HOLDS_CALL_SECONDS": "15",
    "GENERATION_WORKS_CALL_SECONDS": "15",
    "BILLING_GENERATION_CALL_SECONDS": "15",
    "BILLING_IDENTITY_CALL_SECONDS": "15",
    "IDENTITY_BALANCES_SECONDS": "15",
}


@dataclass
class Rig:
    """`darkroom up` in a folder of its own. `options` are its command-line options, `env` what its services are told besides."""

    folder: Path
    options: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None
    starts: int = 0

    @property
    def home(self) -> Home:
        return Home(self.folder / ".darkroom")

    @property
    def log(self) -> Path:
        return self.folder / "suite.log"

    @property
    def environment(self) -> dict[str, str]:
        """The addresses of the running suite, as `darkroom status -o env` prints them."""
        return self.home.running_state().environment

    @property
    def url(self) -> str:
        return self.environment["DARKROOM_URL"]

    async def start(self) -> None:
        """Start and wait until all six answer; raises RuntimeError with the end of the log when they do not."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [str(Path(sys.executable).with_name("darkroom")), "up", "--any-ports", *self.options]
        # A whole crowd asks from this one address; the limits have tests of their own.
        env = {**os.environ, "GATEWAY_LIMITS": "off", **SLOW_MACHINE, **self.env}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.starts += 1
        until = asyncio.get_running_loop().time() + READY_SECONDS
        while not await self._healthy():
            if self.process.poll() is not None or asyncio.get_running_loop().time() > until:
                raise RuntimeError(f"the suite did not start ({self.process.poll()}):\n{self.log.read_text(errors='replace')[-3000:]}")
            await asyncio.sleep(0.1)

    async def kill(self) -> None:
        """kill -9 of the suite's own process; parts it started are left to be adopted."""
        assert self.process is not None
        self.process.kill()
        await asyncio.to_thread(self.process.wait)

    async def stop(self, *, seconds: float = 40) -> float:
        """SIGTERM; answers how many seconds it took to go."""
        assert self.process is not None
        began = asyncio.get_running_loop().time()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(self.process.wait, seconds)
        return asyncio.get_running_loop().time() - began

    def pids(self) -> dict[str, list[int]]:
        """The processes of a suite with one process per service."""
        state = self.home.running_state()
        return state.pids

    def part_pid(self, part: str) -> int:
        """The process of `postgres` or `kafka`."""
        folder = self.home.folder
        if part == "postgres":
            return int((folder / "pg" / "data" / "postmaster.pid").read_text().splitlines()[0])
        found = next((folder / "kafka").glob("*.pid"))
        return int(json.loads(found.read_text())["pid"]) if found.read_text().startswith("{") else int(found.read_text().split()[0])

    async def grant(self, user_id: str, amount: int, *, asset: str = "credit") -> int:
        """Credits from nowhere, as `darkroom grant` gives them."""
        adjustment = {"adjustment_id": str(new_id()), "user_id": user_id, "asset": asset, "amount": amount, "reason": "rig", "by": "rig"}
        answer = await self.ask("billing", "/internal/adjustments", {"adjustments": [adjustment]})
        return int(answer["outcomes"][0]["available"])

    async def ask(self, service: str, path: str, body: object, *, method: str = "POST") -> dict[str, Any]:
        """An internal route of a service, with a service token of the operator's."""
        tokens = ServiceTokens(read_private_key(self.home.key_path(OPERATOR)), OPERATOR)
        url = self.environment[f"{service.upper()}_URL"].split(",")[0]
        headers = {"Authorization": f"Bearer {tokens.token_for(service)}"}
        timeout = aiohttp.ClientTimeout(total=ASK_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as http, http.request(method, url + path, json=body, headers=headers) as response:
            answer: dict[str, Any] = await response.json(content_type=None)
            if response.status != 200:
                raise RuntimeError(f"{path}: {response.status} {answer}")
            return answer

    async def _healthy(self) -> bool:
        state = self.home.state()
        if state is None:
            return False
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http, http.get(state.url + "/health") as answer:
                return answer.status == 200 and (await answer.json(content_type=None)).get("status") == "healthy"
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return False


@asynccontextmanager
async def rig_running(folder: Path, *options: str, env: Mapping[str, str] | None = None) -> AsyncIterator[Rig]:
    """A rig that is up, and surely gone afterwards."""
    rig = Rig(folder, options, env or {})
    try:
        await rig.start()
        yield rig
    finally:
        if rig.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                await rig.stop(seconds=30)
            if rig.process.poll() is None:
                os.killpg(rig.process.pid, signal.SIGKILL)
                rig.process.wait()
