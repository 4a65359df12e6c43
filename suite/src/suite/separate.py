"""Each service in a process of its own, started again when it dies, stopped in order."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from suite.embedded.parts import Process, last_lines, spawn, write_secretly
from suite.foundation import Foundation, Tell
from suite.home import SuiteError
from suite.leftovers import children_file, end_process
from suite.members import NAMES, STOP_ORDER
from suite.ports import ADMIN_OFFSET

READY_SECONDS_MAX = 60
WATCH_SECONDS = 0.2
QUICK_DEATH_SECONDS = 5
QUICK_DEATHS_MAX = 3


@dataclass
class Child:
    """One service process."""

    name: str
    replica: int
    process: Process
    started_at: float
    quick_deaths: int = 0

    @property
    def title(self) -> str:
        return self.name if self.replica == 0 else f"{self.name}-{self.replica + 1}"


@dataclass
class Children:
    """The service processes of one suite, and who wants to know their pids."""

    foundation: Foundation
    tell: Tell
    on_change: Callable[[dict[str, list[int]]], None]
    children: list[Child] = field(default_factory=list)

    async def start(self) -> None:
        """Start all and wait until each says it is ready; raises SuiteError with the last words of one that does not."""
        for name in NAMES:
            for replica in range(len(self.foundation.ports.services[name])):
                self.children.append(Child(name, replica, self._spawn(name, replica), time.monotonic()))
        self._changed()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            await asyncio.gather(*(self._wait_ready(child, session) for child in self.children))

    async def watch(self) -> None:
        """Start again what died; raises SuiteError about one that dies at once, again and again."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            for child in self.children:
                if not child.process.is_running:
                    self._restart(child)

    async def stop(self) -> None:
        """SIGTERM in order, each stage at most 25 s."""
        for stage in STOP_ORDER:
            staged = [child for child in self.children if child.name in stage]
            for child in staged:
                child.process.send(signal.SIGTERM)
            await asyncio.gather(*(end_process(child.process) for child in staged))
        children_file(self.foundation.home).unlink(missing_ok=True)

    def _restart(self, child: Child) -> None:
        quick = time.monotonic() - child.started_at < QUICK_DEATH_SECONDS
        child.quick_deaths = child.quick_deaths + 1 if quick else 0
        if child.quick_deaths >= QUICK_DEATHS_MAX:
            raise SuiteError(f"{child.title} ends as soon as it starts: {self._last_words(child)}")
        child.process.untie()
        self.tell(f"{child.title} ended and is started again.")
        child.process, child.started_at = self._spawn(child.name, child.replica), time.monotonic()
        self._changed()

    def _spawn(self, name: str, replica: int) -> Process:
        log = self.foundation.home.logs / (f"{name}.log" if replica == 0 else f"{name}-{replica + 1}.log")
        # -P keeps the working folder off the import path.
        process = spawn([sys.executable, "-P", "-m", name, "serve"], log=log, environment=self.foundation.environment(name, replica))
        process.tie(signal.SIGTERM)
        return process

    async def _wait_ready(self, child: Child, session: aiohttp.ClientSession) -> None:
        port = self.foundation.ports.services[child.name][child.replica] + ADMIN_OFFSET
        until = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < until:
            if not child.process.is_running:
                raise SuiteError(f"{child.title} did not start: {self._last_words(child)}")
            try:
                async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
                    if answer.status == 200:
                        return
            except (aiohttp.ClientError, OSError, TimeoutError):
                pass
            await asyncio.sleep(0.05)
        raise SuiteError(f"{child.title} is not ready after {READY_SECONDS_MAX} s; its log is in {self.foundation.home.logs}.")

    def _last_words(self, child: Child) -> str:
        log = self.foundation.home.logs / f"{child.title}.log"
        return f"{' '.join(last_lines(log, lines_max=3)) or 'it said nothing'} (its log: {log})"

    def _changed(self) -> None:
        pids: dict[str, list[int]] = {}
        for child in self.children:
            pids.setdefault(child.name, []).append(child.process.pid)
        write_secretly(children_file(self.foundation.home), json.dumps(pids))
        self.on_change(pids)


@asynccontextmanager
async def serving_separately(foundation: Foundation, tell: Tell, on_change: Callable[[dict[str, list[int]]], None]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Run the six as processes; yields the task that watches over them."""
    children = Children(foundation, tell, on_change)
    watching: asyncio.Task[None] | None = None
    try:
        await children.start()
        watching = asyncio.create_task(children.watch(), name="children watch")
        yield [watching]
    finally:
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        await children.stop()
