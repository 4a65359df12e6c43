"""Ends of tasks, as the bus brings them: twice, out of order, several of one user in one fetch."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from billing.consumers import subscriptions
from billing.deps import Deps
from common.bus.consumer import ConsumerLimits, GroupConsumer
from common.bus.dead_letters import count_dead_letters
from common.bus.envelope import Outgoing, seal
from common.bus.memory import MemoryBus
from common.events import TaskCancelled, TaskCompleted, TaskEnded, TaskFailed
from common.ids import new_id

LIMITS = ConsumerLimits(wait_seconds=0.2, retry_seconds=0.01, commit_seconds=0.05)


class NoReceipts:
    def acked(self, record: Outgoing) -> None: ...
    def refused(self, record: Outgoing, error: str) -> None: ...
    def lost(self, record: Outgoing, error: str) -> None: ...


def ended(task_id: UUID, user_id: UUID, delivered: int, *, asked: int = 4) -> TaskEnded:
    """An end as generation says it."""
    common = {"sequence": 3, "task_id": task_id, "user_id": user_id, "kind": "travel", "work_id": task_id, "asked": asked, "delivered": delivered}
    if delivered == asked:
        return TaskCompleted(**common, engine="instant", seed=1)
    if delivered:
        return TaskCancelled(**common, by="owner")
    return TaskFailed(**common, reason="timeout", message="the deadline passed")


async def hear(deps: Deps, records: Sequence[Outgoing]) -> GroupConsumer:
    """Publish these records, let the consumer hear them all, stop it."""
    bus, draining = MemoryBus(), asyncio.Event()
    consumer = GroupConsumer(subscriptions, bus=bus, db=deps.db, deps=deps, limits=LIMITS)
    await bus.publish(records, NoReceipts())
    running = asyncio.create_task(consumer.run(draining))
    ids = {record.event_id for record in records}
    async with asyncio.timeout(60):
        while await deps.db.fetchval("SELECT count(*) FROM inbox WHERE event_id = ANY($1::uuid[])", list(ids)) < len(ids):
            await asyncio.sleep(0.02)
    draining.set()
    await running
    return consumer


def count_of(deps: Deps, outcome: str) -> float:
    return deps.numbers.ends.labels(outcome)._value.get()


async def test_each_end_is_captured_as_delivered(bank, deps: Deps, user_id: UUID) -> None:
    await bank.adjust(user_id, 20)
    whole, part, none = [await bank.hold(user_id, 4) for _ in range(3)]
    now = datetime.now(UTC)
    await hear(deps, [seal(ended(task_id, user_id, delivered), now, None) for task_id, delivered in ((whole, 4), (part, 1), (none, 0))])
    states = [((await bank.hold_of(task_id))["state"], (await bank.hold_of(task_id))["captured_amount"]) for task_id in (whole, part, none)]
    assert states == [("captured", 4), ("captured", 1), ("released", 0)]
    assert await bank.available(user_id) == 25
    assert [count_of(deps, outcome) for outcome in ("captured", "released", "conflict", "unknown")] == [2, 1, 0, 0]
    await bank.check()


async def test_facts_heard_twice_in_any_order_have_one_effect(bank, deps: Deps) -> None:
    users = [new_id() for _ in range(3)]
    for user_id in users:
        await bank.adjust(user_id, 90)
    chance = random.Random(7)
    delivered = {await bank.hold(user_id, 4): (user_id, chance.choice((0, 1, 4))) for user_id in users for _ in range(10)}
    now = datetime.now(UTC)
    once = [seal(ended(task_id, user_id, number), now, None) for task_id, (user_id, number) in delivered.items()]
    told_again = [seal(ended(task_id, user_id, number), now, None) for task_id, (user_id, number) in delivered.items()]
    records = [*once, *once, *told_again]
    chance.shuffle(records)
    await hear(deps, records)
    await hear(deps, once)
    for task_id, (_, number) in delivered.items():
        assert (await bank.hold_of(task_id))["captured_amount"] == number
    for user_id in users:
        assert await bank.available(user_id) == 100 - sum(number for owner, number in delivered.values() if owner == user_id)
    assert await count_dead_letters(deps.db) == 0
    await bank.check()


async def test_an_unknown_hold_and_a_contradiction_are_no_dead_letters(bank, deps: Deps, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 4)
    await bank.capture((task_id, 0))
    now = datetime.now(UTC)
    await hear(deps, [seal(ended(new_id(), user_id, 4), now, None), seal(ended(task_id, user_id, 4), now, None)])
    assert [count_of(deps, outcome) for outcome in ("unknown", "conflict")] == [1, 1]
    assert await count_dead_letters(deps.db) == 0
    assert await bank.available(user_id) == 10


async def test_what_was_written_off_is_counted(bank, deps: Deps, user_id: UUID) -> None:
    task_id = await bank.hold(user_id, 4)
    await bank.plant("UPDATE hold SET extensions = 3, expires_at = placed_at WHERE task_id = $1", task_id)
    await bank.look(bank.finding(task_id, "running"))
    assert (await bank.hold_of(task_id))["state"] == "expired"
    await bank.adjust(user_id, -8)
    await hear(deps, [seal(ended(task_id, user_id, 4), datetime.now(UTC), None)])
    assert deps.numbers.written_off._value.get() == 1
    assert (await bank.hold_of(task_id))["written_off_amount"] == 4
    assert await bank.available(user_id) == 2
    await bank.check()
