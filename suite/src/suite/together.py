"""All six services in this process: the same code as alone, each with its own ports, registry and pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from common.bus import Bus, open_bus
from common.service import Service
from suite.foundation import Foundation
from suite.home import SuiteError
from suite.members import MEMBERS, STOP_ORDER

READY_SECONDS_MAX = 60
STOP_SECONDS_MAX = 12


@asynccontextmanager
async def serving_together(foundation: Foundation) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Open and run the six; yields their tasks once all are ready, and drains them in order at the end."""
    bus = open_bus(foundation.bus_url)
    await bus.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(bus.stop)
        services = await _open_all(foundation, bus, stack)
        stops = {name: asyncio.Event() for name in services}
        readies = {name: asyncio.Event() for name in services}
        tasks = {name: asyncio.create_task(service.run(stops[name], on_ready=readies[name].set), name=f"service {name}") for name, service in services.items()}
        try:
            await _wait_ready(tasks, readies)
            yield list(tasks.values())
        finally:
            await _drain(tasks, stops)


async def _open_all(foundation: Foundation, bus: Bus, stack: AsyncExitStack) -> dict[str, Service]:
    services: dict[str, Service] = {}
    for member in MEMBERS:
        settings = foundation.settings(member)
        services[member.name] = await stack.enter_async_context(member.open_service(settings, bus))
    return services


async def _wait_ready(tasks: Mapping[str, asyncio.Task[None]], readies: Mapping[str, asyncio.Event]) -> None:
    """Until every service is ready; raises what one of them died of, or a sentence when one takes too long."""
    everybody = asyncio.create_task(_all_set(readies), name="services ready")
    try:
        done, _ = await asyncio.wait([everybody, *tasks.values()], timeout=READY_SECONDS_MAX, return_when=asyncio.FIRST_COMPLETED)
    finally:
        everybody.cancel()
    for name, task in tasks.items():
        if task in done:
            task.result()
            raise SuiteError(f"{name} ended at its start.")
    if not done:
        late = ", ".join(name for name, ready in readies.items() if not ready.is_set())
        raise SuiteError(f"Not ready after {READY_SECONDS_MAX} s: {late}.")


async def _all_set(readies: Mapping[str, asyncio.Event]) -> None:
    for ready in readies.values():
        await ready.wait()


async def _drain(tasks: Mapping[str, asyncio.Task[None]], stops: Mapping[str, asyncio.Event]) -> None:
    """Stop those that ask others before those they ask; what does not end in time is cut."""
    try:
        for stage in STOP_ORDER:
            for name in stage:
                stops[name].set()
            await asyncio.wait([tasks[name] for name in stage], timeout=STOP_SECONDS_MAX)
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
