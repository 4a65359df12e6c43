"""One suite for every bus: what broker.py promises, shown by each implementation with the same tests.

A test module derives from `BusContract` and gives a `rig` fixture. Records of other tests may share the broker: every test looks
at its own keys only, in a group of its own.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from common.bus.broker import Bus, BusUnavailable, Reader, Record, TopicPartition
from common.bus.consumer import BroadcastConsumer, ConsumerLimits, GroupConsumer, Subscriptions
from common.bus.dead_letters import count_dead_letters
from common.bus.envelope import Outgoing, open_envelope, seal
from common.bus.outbox import count_rows
from common.bus.relay import Relay
from common.db import Database, Tx
from common.events import CreditsChanged, Event, TaskCreated, UserRegistered
from common.ids import new_id

LIMITS = ConsumerLimits(wait_seconds=0.5, retry_seconds=0.01, commit_seconds=0.1, tries_max=3)


@dataclass
class Rig:
    """A broker under test. `connect` opens the bus as another process would; `away` takes the broker away for a while."""

    connect: Callable[[], Awaitable[Bus]]
    databases: Callable[[str], Awaitable[Database]]
    outage_seconds: float
    away: Callable[[], AbstractAsyncContextManager[None]] | None = None
    missing_topic: Callable[[], AbstractAsyncContextManager[None]] | None = None


@dataclass
class Receipted:
    """Receipts that remember."""

    taken: list[UUID] = field(default_factory=list)
    refusals: list[UUID] = field(default_factory=list)
    unknown: list[UUID] = field(default_factory=list)

    def acked(self, record: Outgoing) -> None:
        self.taken.append(record.event_id)

    def refused(self, record: Outgoing, error: str) -> None:
        self.refusals.append(record.event_id)

    def lost(self, record: Outgoing, error: str) -> None:
        self.unknown.append(record.event_id)


# Any service's row that a fact's version guards would do; this one is works'.
_KEEP_VERSION = """
    INSERT INTO person (user_id, name, sequence) VALUES ($1, '', $2)
    ON CONFLICT (user_id) DO UPDATE SET sequence = excluded.sequence WHERE person.sequence < excluded.sequence
"""


class Hearer:
    """A consumer group that notes, per fact, how often its handler's effect happened. With `projecting` it keeps a row of works' per subject."""

    def __init__(self, bus: Bus, db: Database, *, group: str, mine: set[UUID], poison: set[UUID] | None = None, projecting: bool = False) -> None:
        self.db = db
        self.heard: list[tuple[UUID, int]] = []
        self.draining = asyncio.Event()
        subscriptions = Subscriptions(group)

        @subscriptions.hear(TaskCreated)
        async def on_task_created(_deps: Any, tx: Tx, events: Sequence[Event[TaskCreated]]) -> None:
            ours = [event.fact for event in events if event.fact.task_id in mine]
            for fact in ours:
                if poison and fact.task_id in poison:
                    raise ValueError("poison")
            if projecting:
                await tx.conn.executemany(_KEEP_VERSION, [(fact.task_id, fact.sequence) for fact in ours])
            tx.after_commit(lambda: self.heard.extend((fact.task_id, fact.sequence) for fact in ours))

        self.consumer = GroupConsumer(subscriptions, bus=bus, db=db, deps=None, limits=LIMITS)

    async def versions(self) -> dict[UUID, int]:
        """Where the projection is, by subject."""
        return {row["user_id"]: row["sequence"] for row in await self.db.fetch("SELECT user_id, sequence FROM person")}

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Hearer"]:
        self.draining.clear()
        task = asyncio.create_task(self.consumer.run(self.draining))
        try:
            yield self
        finally:
            self.draining.set()
            await asyncio.wait({task}, timeout=15)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def created(task_id: UUID | None = None, *, sequence: int = 1) -> TaskCreated:
    """A fact of no consequence."""
    return TaskCreated(sequence=sequence, task_id=task_id or new_id(), user_id=new_id(), kind="travel", asked=1, price=1, work_id=new_id())


async def until(condition: Callable[[], Any], *, seconds: float = 60) -> None:
    """Wait for a condition, which may be a coroutine function; TimeoutError when it never holds."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)


async def read_all(reader: Reader, mine: set[bytes], count: int, *, seconds: float = 60) -> list[Record]:
    """The next `count` records of these keys."""
    found: list[Record] = []
    async with asyncio.timeout(seconds):
        while len(found) < count:
            found += [record for record in await reader.fetch(records_max=500, wait_seconds=0.5) if record.key in mine]
    return found


class BusContract:
    """The promises. Each test is one sentence of them."""

    async def _relayed(self, rig: Rig, service: str, bus: Bus) -> tuple[Database, Relay, "asyncio.Task[None]"]:
        db = await rig.databases(service)
        relay = Relay(db, bus, sweep_seconds=0.2)
        db.relay = relay
        return db, relay, asyncio.create_task(relay.run())

    async def test_what_is_published_is_acknowledged_and_heard_with_its_envelope(self, rig: Rig) -> None:
        bus = await rig.connect()
        reader = bus.group(f"works-{new_id().hex[:6]}", ["task.created"])
        await reader.start()
        fact = created()
        sealed = seal(fact, _now(), None)
        sealed.traceparent, sealed.correlation_id = "00-" + "1" * 32 + "-" + "2" * 16 + "-01", "request-1"
        receipts = Receipted()
        await bus.publish([sealed], receipts)
        (record,) = await read_all(reader, {sealed.key.encode()}, 1)
        event = open_envelope(record.topic, record.value, record.headers)
        assert (event.event_id, event.fact) == (sealed.event_id, fact)
        assert (event.traceparent, event.correlation_id) == (sealed.traceparent, sealed.correlation_id)
        assert abs((event.time - sealed.time).total_seconds()) < 0.001
        await reader.stop()
        await bus.stop()

    async def test_records_of_one_key_come_in_order(self, rig: Rig) -> None:
        bus = await rig.connect()
        reader = bus.group(f"works-{new_id().hex[:6]}", ["task.created"])
        await reader.start()
        ids = [new_id() for _ in range(5)]
        records = [seal(created(ids[n % 5], sequence=n + 1), _now(), None) for n in range(100)]
        await bus.publish(records, Receipted())
        found = await read_all(reader, {str(one).encode() for one in ids}, 100)
        for one in ids:
            sequences = [int(dict(record.headers)["ce_sequence"]) for record in found if record.key == str(one).encode()]
            assert sequences == sorted(sequences)
        await reader.stop()
        await bus.stop()

    async def test_committed_records_are_not_heard_again_and_others_are(self, rig: Rig) -> None:
        bus = await rig.connect()
        group = f"works-{new_id().hex[:6]}"
        reader = bus.group(group, ["task.created"])
        await reader.start()
        task = new_id()
        records = [seal(created(task, sequence=n + 1), _now(), None) for n in range(10)]
        await bus.publish(records, Receipted())
        found = await read_all(reader, {str(task).encode()}, 10)
        fifth = found[4]
        await reader.commit({TopicPartition(fifth.topic, fifth.partition): fifth.cursor + 1})
        await reader.stop()
        again = bus.group(group, ["task.created"])
        await again.start()
        rest = await read_all(again, {str(task).encode()}, 5)
        assert [int(dict(record.headers)["ce_sequence"]) for record in rest] == [6, 7, 8, 9, 10]
        await again.stop()
        await bus.stop()

    async def test_every_group_hears_every_record(self, rig: Rig) -> None:
        bus = await rig.connect()
        readers = [bus.group(f"g{n}-{new_id().hex[:6]}", ["task.created"]) for n in range(3)]
        for reader in readers:
            await reader.start()
        records = [seal(created(), _now(), None) for _ in range(20)]
        await bus.publish(records, Receipted())
        keys = {record.key.encode() for record in records}
        for reader in readers:
            assert {record.key for record in await read_all(reader, keys, 20)} == keys
            await reader.stop()
        await bus.stop()

    async def test_a_broadcast_hears_from_now_on_in_every_process(self, rig: Rig) -> None:
        bus = await rig.connect()
        early = [seal(created(), _now(), None) for _ in range(3)]
        await bus.publish(early, Receipted())
        heard: list[list[UUID]] = [[], []]
        draining = asyncio.Event()

        def listener(place: int) -> BroadcastConsumer:
            subscriptions = Subscriptions("generation")

            @subscriptions.overhear(TaskCreated, CreditsChanged)
            async def on_any(_deps: Any, events: Sequence[Event[Any]]) -> None:
                heard[place].extend(event.fact.task_id for event in events if isinstance(event.fact, TaskCreated))

            return BroadcastConsumer(subscriptions, bus=bus, deps=None, limits=LIMITS)

        tasks = [asyncio.create_task(listener(place).run(draining)) for place in range(2)]
        async with asyncio.timeout(60):
            while not all(heard):  # when it is that they listen, only what they hear tells
                await bus.publish([seal(created(), _now(), None)], Receipted())
                await asyncio.sleep(0.2)
        late = [seal(created(), _now(), None) for _ in range(3)]
        mine = {UUID(record.key) for record in late}
        await bus.publish(late, Receipted())
        await until(lambda: all(mine <= set(ears) for ears in heard))
        assert not {UUID(record.key) for record in early} & set(heard[0] + heard[1])
        draining.set()
        await asyncio.gather(*tasks)
        await bus.stop()

    async def test_two_members_share_a_group_and_one_takes_over_from_the_other(self, rig: Rig) -> None:
        bus = await rig.connect()
        db = await rig.databases("works")
        group = f"works-{new_id().hex[:6]}"
        mine = {new_id() for _ in range(300)}
        ids = sorted(mine)
        first, second = Hearer(bus, db, group=group, mine=mine), Hearer(await rig.connect(), db, group=group, mine=mine)

        def publish(part: Sequence[UUID]) -> Awaitable[None]:
            return bus.publish([seal(created(one), _now(), None) for one in part], Receipted())

        async with second.running():
            async with first.running():
                await _settled(rig)
                await publish(ids[:150])
                await until(lambda: len(first.heard) + len(second.heard) == 150)
                assert first.heard
                assert second.heard
                await publish(ids[150:200])
            await publish(ids[200:])
            await until(lambda: len(first.heard) + len(second.heard) == 300)
        assert sorted(one for one, _ in first.heard + second.heard) == ids
        await bus.stop()

    async def test_what_is_heard_twice_has_one_effect(self, rig: Rig) -> None:
        bus = await rig.connect()
        db = await rig.databases("works")
        facts = [created() for _ in range(20)]
        records = [seal(fact, _now(), None) for fact in facts]
        hearer = Hearer(bus, db, group=f"works-{new_id().hex[:6]}", mine={fact.task_id for fact in facts})
        async with hearer.running():
            await bus.publish([*records, *records], Receipted())
            await until(lambda: len(hearer.heard) == 20)
            await bus.publish(records, Receipted())
            last = seal(created(facts[0].task_id, sequence=2), _now(), None)
            await bus.publish([last], Receipted())
            await until(lambda: (facts[0].task_id, 2) in hearer.heard)
            await asyncio.sleep(0.3)
        assert len(hearer.heard) == 21
        await bus.stop()

    async def test_poison_becomes_one_dead_letter_and_the_rest_goes_on(self, rig: Rig) -> None:
        bus = await rig.connect()
        db = await rig.databases("works")
        facts = [created() for _ in range(40)]
        bad = facts[17]
        records = [seal(fact, _now(), None) for fact in facts]
        broken = seal(created(), _now(), None)
        broken.value = b"\xff not json"
        hearer = Hearer(bus, db, group=f"works-{new_id().hex[:6]}", mine={fact.task_id for fact in facts}, poison={bad.task_id})
        async with hearer.running():
            await bus.publish([*records, broken], Receipted())
            await until(lambda: len(hearer.heard) == 39)
            await until(lambda: _equals(_letters_of(db, [bad.task_id, UUID(broken.key)]), 2))
            await bus.publish([records[17]], Receipted())
            await asyncio.sleep(0.5)
        assert await _letters_of(db, [bad.task_id, UUID(broken.key)]) == 2
        assert await count_dead_letters(db) >= 2
        await bus.stop()

    async def test_a_stopped_group_loses_nothing_and_holds_nobody_up(self, rig: Rig) -> None:
        bus = await rig.connect()
        db = await rig.databases("works")
        mine = {new_id() for _ in range(100)}
        stopped = Hearer(bus, db, group=f"stopped-{new_id().hex[:6]}", mine=mine)
        going = Hearer(bus, await rig.databases("billing"), group=f"going-{new_id().hex[:6]}", mine=mine)
        async with going.running():
            async with stopped.running():
                await _settled(rig)
                await bus.publish([seal(created(one), _now(), None) for one in sorted(mine)[:50]], Receipted())
                await until(lambda: len(stopped.heard) == 50)
            await bus.publish([seal(created(one), _now(), None) for one in sorted(mine)[50:]], Receipted())
            await until(lambda: len(going.heard) == 100)
            assert len(stopped.heard) == 50
            async with stopped.running():
                await until(lambda: len(stopped.heard) == 100)
        assert {one for one, _ in stopped.heard} == mine
        await bus.stop()

    async def test_a_missing_topic_parks_its_own_rows_only(self, rig: Rig) -> None:
        assert rig.missing_topic is not None
        async with rig.missing_topic():
            bus = await rig.connect()
            db, _relay, running = await self._relayed(rig, "identity", bus)
            fact = created()
            hearer = Hearer(bus, await rig.databases("works"), group=f"works-{new_id().hex[:6]}", mine={fact.task_id})
            try:
                async with hearer.running():
                    async with db.transaction() as tx:
                        tx.emit(UserRegistered(sequence=1, user_id=new_id(), name="ada", source="email"), fact)
                    await until(lambda: hearer.heard, seconds=15)
                    await until(lambda: _equals(db.fetchval("SELECT count(*) FROM outbox_fact WHERE parked_at IS NOT NULL"), 1), seconds=40)
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                await bus.stop()

    async def test_commits_go_on_through_an_outage_and_nothing_is_lost(self, rig: Rig) -> None:
        """Every sequence arrives complete, and a projection that follows the version ends at the highest."""
        if rig.away is None:
            return await self._outage_of_the_group(rig)
        bus = await rig.connect()
        db, _relay, running = await self._relayed(rig, "generation", bus)
        tasks = [new_id() for _ in range(10)]
        hearer = Hearer(await rig.connect(), await rig.databases("works"), group=f"works-{new_id().hex[:6]}", mine=set(tasks), projecting=True)
        sequence, slowest = 0, 0.0
        loop = asyncio.get_running_loop()

        async def commit_one() -> None:
            nonlocal sequence, slowest
            sequence += 1
            began = loop.time()
            async with db.transaction() as tx:
                tx.emit(*(created(task, sequence=sequence) for task in tasks))
            slowest = max(slowest, loop.time() - began)

        try:
            async with hearer.running():
                for _ in range(5):
                    await commit_one()
                await until(lambda: len(hearer.heard) == 50)
                async with rig.away():
                    ends = loop.time() + rig.outage_seconds
                    while loop.time() < ends:
                        await commit_one()
                        await asyncio.sleep(0.2)
                    assert slowest < rig.outage_seconds / 4, "no commit waits for the broker"
                for _ in range(5):
                    await commit_one()
                await until(lambda: len(set(hearer.heard)) == 10 * sequence, seconds=180)
                await until(lambda: _equals(count_rows(db), 0))
                assert sorted(hearer.heard) == sorted((task, number) for task in tasks for number in range(1, sequence + 1))
                await _hear_late(bus, hearer, tasks)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert await hearer.versions() == dict.fromkeys(tasks, sequence)
        await bus.stop()
        return None

    async def _outage_of_the_group(self, rig: Rig) -> None:
        # A bus inside the process cannot be away; what can is every hearer, and then the outbox keeps all of it.
        bus = await rig.connect()
        db, _relay, running = await self._relayed(rig, "generation", bus)
        task = new_id()
        hearer = Hearer(bus, await rig.databases("works"), group="works", mine={task}, projecting=True)
        for sequence in range(1, 101):
            async with db.transaction() as tx:
                tx.emit(created(task, sequence=sequence))
        await asyncio.sleep(0.3)
        assert await count_rows(db) == 100
        async with hearer.running():
            await until(lambda: len(hearer.heard) == 100)
            await until(lambda: _equals(count_rows(db), 0))
            assert sorted(hearer.heard) == [(task, number) for number in range(1, 101)]
            await _hear_late(bus, hearer, [task])
        assert await hearer.versions() == {task: 100}
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _hear_late(bus: Bus, hearer: Hearer, tasks: Sequence[UUID]) -> None:
    """What is older than all that was heard comes last, as it may after an outage."""
    heard = len(hearer.heard)
    await bus.publish([seal(created(task, sequence=2), _now(), None) for task in tasks], Receipted())
    await until(lambda: len(hearer.heard) == heard + len(tasks))


async def _settled(rig: Rig) -> None:
    # A real group takes a moment to agree on who reads what.
    await asyncio.sleep(4 if rig.away else 0.1)


async def _letters_of(db: Database, keys: Sequence[UUID]) -> int:
    count: int = await db.fetchval("SELECT count(*) FROM dead_letter WHERE key = ANY($1::bytea[])", [str(key).encode() for key in keys])
    return count


async def _equals(found: Awaitable[Any], wanted: Any) -> bool:
    return bool(await found == wanted)


def _now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)


__all__ = ["BusContract", "BusUnavailable", "Hearer", "Receipted", "Rig", "created", "until"]
