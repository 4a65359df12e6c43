"""A suite up and answering: its services in this process or in one each, and what to wait for."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from suite.foundation import Foundation, Tell, laid
from suite.home import Home, State
from suite.leftovers import end_leftovers
from suite.options import Options
from suite.ports import choose_ports
from suite.separate import serving_separately
from suite.surroundings import admin_addresses, public_environment
from suite.together import serving_together


@dataclass
class Running:
    """A suite that is up."""

    foundation: Foundation
    options: Options
    state: State
    tasks: list[asyncio.Task[None]]

    async def wait(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; raises what a part or a service died of, if that comes first."""
        asked = asyncio.create_task(stop.wait(), name="stop asked")
        try:
            done, _ = await asyncio.wait([asked, *self.tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
        for task in done:
            if task is not asked:
                task.result()


@asynccontextmanager
async def suite_running(home: Home, options: Options, tell: Tell) -> AsyncIterator[Running]:
    """Bring everything up and tell other commands; take it down in order at the end."""
    home.make()
    with home.locked():
        await end_leftovers(home)
        ports = choose_ports(home, any_ports=options.any_ports, replicas=options.replicas if options.separate else {})
        ports.check()
        async with laid(home, ports, options, tell) as foundation:
            state = State(
                pid=os.getpid(), mode=options.mode, profile=options.profile, started_at=time.time(),
                environment=public_environment(foundation.shared, foundation.databases), admin_urls=admin_addresses(ports),
            )  # fmt: skip
            async with _serving(foundation, options, state, tell) as tasks:
                watching = asyncio.create_task(foundation.watch(tell), name="parts watch")
                try:
                    home.tell(state)
                    yield Running(foundation, options, state, [watching, *tasks])
                finally:
                    watching.cancel()
                    await asyncio.gather(watching, return_exceptions=True)


def _serving(foundation: Foundation, options: Options, state: State, tell: Tell) -> AbstractAsyncContextManager[list[asyncio.Task[None]]]:
    if not options.separate:
        return serving_together(foundation)

    def remember(pids: dict[str, list[int]]) -> None:
        state.pids = pids
        foundation.home.tell_again(state)

    return serving_separately(foundation, tell, remember)
