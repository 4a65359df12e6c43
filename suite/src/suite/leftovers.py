"""What a killed suite leaves running: its service processes, which drain by themselves and are waited for."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

from suite.embedded.parts import Process, command_of, is_alive
from suite.home import Home

STOP_SECONDS_MAX = 25


def children_file(home: Home) -> Path:
    """Where the pids of the service processes are kept, by service."""
    return home.folder / "children.json"


async def end_leftovers(home: Home) -> None:
    """End service processes whose suite is gone."""
    try:
        pids: dict[str, list[int]] = json.loads(children_file(home).read_text())
    except (OSError, ValueError):
        return
    left = [Process(pid) for name, many in pids.items() for pid in many if is_alive(pid) and f"-m {name} serve" in command_of(pid)]
    for process in left:
        process.send(signal.SIGTERM)
    await asyncio.gather(*(end_process(process) for process in left))
    children_file(home).unlink(missing_ok=True)


async def end_process(process: Process) -> None:
    """Wait for a process that was asked to end; one that does not is killed."""
    if not await process.wait_gone(within_seconds=STOP_SECONDS_MAX):
        process.send(signal.SIGKILL)
        await process.wait_gone(within_seconds=5)
