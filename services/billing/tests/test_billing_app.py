"""The whole service, opened as it is in production, on the memory bus."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from billing.app import open_service
from billing.settings import BillingSettings
from common.bus.envelope import Outgoing, open_envelope, seal
from common.bus.memory import MemoryBus
from common.events import CreditsChanged, TaskFailed
from common.testing.doors import Passes, open_identity


class NoReceipts:
    def acked(self, record: Outgoing) -> None: ...
    def refused(self, record: Outgoing, error: str) -> None: ...
    def lost(self, record: Outgoing, error: str) -> None: ...


async def test_the_service_starts_hears_an_end_tells_what_changed_and_stops(bank, service_databases, passes: Passes, tmp_path: Path, user_id: UUID) -> None:
    database = await service_databases.get("billing")
    no_waits = {"BILLING_PORT": "0", "BILLING_NOT_READY_SECONDS": "0", "BILLING_RECORD_SECONDS": "2", "BILLING_DATABASE_URL": database.role_url}
    task_id = await bank.hold(user_id, 4)
    bus, stop, ready = MemoryBus(), asyncio.Event(), asyncio.Event()
    listener = bus.broadcast(["credits.changed"])
    await listener.start()
    end = TaskFailed(sequence=2, task_id=task_id, user_id=user_id, kind="travel", work_id=task_id, asked=4, delivered=0, reason="timeout", message="")
    async with asyncio.timeout(60), AsyncExitStack() as opened:
        identity = await opened.enter_async_context(open_identity(passes))
        settings = passes.settings(BillingSettings, "billing", tmp_path, {**no_waits, "IDENTITY_URL": identity.url})
        service = await opened.enter_async_context(open_service(settings, bus))
        running = asyncio.create_task(service.run(stop, on_ready=ready.set))
        await ready.wait()
        while not await service.check_ready():
            await asyncio.sleep(0.05)
        await bus.publish([seal(end, datetime.now(UTC), None)], NoReceipts())
        told: list[CreditsChanged] = []
        while len([fact for fact in told if fact.asset == "credit"]) < 3:
            for record in await listener.fetch(records_max=100, wait_seconds=5):
                fact = open_envelope(record.topic, record.value, record.headers).fact
                assert isinstance(fact, CreditsChanged)
                told.append(fact)
        stop.set()
        await running
    # What was there before the service is told by its sweep, perhaps after what it says itself: only the sequence is in order.
    assert sorted((fact.sequence, fact.kind, fact.available, fact.held) for fact in told if fact.asset == "credit") == [
        (1, "granted", 10, 0), (2, "held", 6, 4), (3, "released", 10, 0),
    ]  # fmt: skip
    assert (await bank.hold_of(task_id))["state"] == "released"


def test_a_hold_outlives_the_renewals_generation_allows() -> None:
    """Generation inserts no task on a hold older than 30 s; only later may a hold without a task be an orphan."""
    assert BillingSettings.model_fields["hold_orphan_seconds"].default > 30
