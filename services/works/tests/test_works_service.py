"""The whole service as it runs: facts off the bus, works on the wire, nothing left behind."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from common.bus import Bus, open_bus
from common.bus.envelope import Outgoing, seal
from common.events import UserRegistered
from common.ids import new_id
from common.testing.doors import Passes
from works.app import open_service
from works.settings import WorksSettings


class NobodyAsks:
    """Takes receipts and forgets them."""

    def acked(self, record: Outgoing) -> None: ...

    def refused(self, record: Outgoing, error: str) -> None: ...

    def lost(self, record: Outgoing, error: str) -> None: ...


@asynccontextmanager
async def running(service_databases: Any, folder: Path) -> AsyncIterator[tuple[str, Bus, Any]]:
    """A service on a memory bus; yields its address, its bus and its parts."""
    urls = await service_databases.get("works")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    more = {
        "WORKS_DATABASE_URL": urls.role_url, "WORKS_PORT": str(port), "WORKS_ADMIN_PORT": "0", "WORKS_NOT_READY_SECONDS": "0",
        "WORKS_SPOOL_FOLDER": str(folder / "spool"),
    }  # fmt: skip
    settings = Passes().settings(WorksSettings, "works", folder, more)
    bus = open_bus("memory://")
    await bus.start()
    stop, ready = asyncio.Event(), asyncio.Event()
    async with open_service(settings, bus) as service:
        life = asyncio.create_task(service.run(stop, on_ready=ready.set))
        try:
            async with asyncio.timeout(60):
                await ready.wait()
            yield f"http://127.0.0.1:{port}", bus, service.deps
        finally:
            stop.set()
            await life
    await bus.stop()


async def test_a_running_service_hears_every_fact_twice_and_keeps_one_work(service_database: Any, service_databases: Any, tmp_path: Path, facts: Any) -> None:
    db = await service_database("works")
    user, task = new_id(), new_id()
    registered = UserRegistered(sequence=1, user_id=user, name="ada", source="email")
    told = [seal(fact, datetime.now(UTC), None) for fact in (registered, facts.created(task, user).fact, facts.completed(task, user).fact)]
    async with running(service_databases, tmp_path) as (url, bus, _):
        for _ in range(2):
            await bus.publish(told[::-1], NobodyAsks())
        async with asyncio.timeout(60):
            while not await db.fetchval("SELECT (SELECT count(*) FROM person) = 1 AND (SELECT count(*) FROM work WHERE status = 'completed') = 1"):
                await asyncio.sleep(0.02)
        async with aiohttp.ClientSession() as http, http.get(f"{url}/works/{task}") as answer:
            assert (answer.status, (await answer.json())["code"]) == (404, 30000)
    assert await db.fetchval("SELECT count(*) FROM inbox") == 3
    assert await db.fetchval("SELECT completed FROM shelf WHERE user_id = $1", user) == 1
    assert await db.fetchval("SELECT count(*) FROM dead_letter") == 0


async def test_a_stopped_service_leaves_no_process_behind(service_database: Any, service_databases: Any, tmp_path: Path, pictures: Any) -> None:
    await service_database("works")
    async with running(service_databases, tmp_path) as (_, _, deps):
        source = tmp_path / "one.in"
        source.write_bytes(pictures.png())
        await deps.intake._pool.clean(source, tmp_path / "one.out", picture_format="PNG")
        (child,) = deps.intake._pool._idle
        assert child._process.returncode is None
    assert child._process.returncode is not None


def test_settings_name_their_units_and_refuse_nonsense(tmp_path: Path) -> None:
    from common.settings import SettingsError

    settings = Passes().settings(WorksSettings, "works", tmp_path)
    assert (settings.port, settings.upload_bytes_max) == (8102, 50 * 1024**2)
    with pytest.raises(SettingsError, match="WORKS_PICTURE_PROCESSES"):
        Passes().settings(WorksSettings, "works", tmp_path, {"WORKS_PICTURE_PROCESSES": "0"})
