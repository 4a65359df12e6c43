"""Both buses pass the one contract suite; the real broker also shows what only it can."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.bus import Bus, BusUnavailable, MemoryBus
from common.bus.dead_letters import DeadLetterLimit, TooManyDeadLetters
from common.bus.envelope import seal
from common.events import FACTS, Fact, UserRegistered
from common.ids import new_id
from common.testing.bus_contract import BusContract, Receipted, Rig, created, read_all, until


class TestMemoryBus(BusContract):
    """The bus inside one process."""

    @pytest.fixture
    async def rig(self, service_database: Any) -> Rig:
        bus = MemoryBus()
        missing = False

        async def connect() -> Bus:
            return MemoryBus(topics=["task.created", "credits.changed"], groups=lambda _topic: ()) if missing else bus

        @asynccontextmanager
        async def missing_topic() -> AsyncIterator[None]:
            nonlocal missing
            missing = True
            yield

        return Rig(connect, service_database, outage_seconds=0, missing_topic=missing_topic)


@pytest.mark.kafka
class TestKafkaBus(BusContract):
    """The bus on a real Kafka."""

    @pytest.fixture
    async def rig(self, service_database: Any, kafka: Any) -> AsyncIterator[Rig]:
        from aiokafka.admin import AIOKafkaAdminClient

        from common.bus.kafka import KafkaBus, KafkaOptions, apply_topics

        options = KafkaOptions(servers=kafka.bootstrap)
        await apply_topics(options, FACTS)
        opened: list[Bus] = []

        async def connect() -> Bus:
            bus = KafkaBus(options)
            await bus.start()
            opened.append(bus)
            return bus

        @asynccontextmanager
        async def away() -> AsyncIterator[None]:
            await kafka.kill()
            try:
                yield
            finally:
                await kafka.start()

        @asynccontextmanager
        async def missing_topic() -> AsyncIterator[None]:
            admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
            await admin.start()
            await admin.delete_topics(["user.registered"])
            try:
                # The answer comes before the topic has gone, and a record told meanwhile would be taken.
                while "user.registered" in await admin.list_topics():
                    await asyncio.sleep(0.05)
                yield
            finally:
                await admin.close()
                await apply_topics(options, FACTS)

        yield Rig(connect, service_database, outage_seconds=60, away=away, missing_topic=missing_topic)
        for bus in opened:
            await bus.stop()

    async def test_publishing_into_an_outage_ends_in_time_and_claims_nothing(self, rig: Rig) -> None:
        assert rig.away is not None
        bus = await rig.connect()
        receipts = Receipted()
        record = seal(created(), _now(), None)
        async with rig.away():
            async with asyncio.timeout(60):
                try:
                    await bus.publish([record], receipts)
                    await until(lambda: receipts.unknown, seconds=50)
                except BusUnavailable:
                    pass
            assert not receipts.taken
            async with asyncio.timeout(60):
                await bus.stop()

    @pytest.mark.parametrize("group", [True, False])
    async def test_a_reader_that_leaves_a_hanging_broker_leaves_nothing_behind(self, rig: Rig, kafka: Any, group: bool) -> None:
        bus = await rig.connect()
        before = asyncio.all_tasks()
        reader = bus.group(f"works-{new_id().hex[:6]}", ["task.created"]) if group else bus.broadcast(["task.created"])
        await reader.start()
        while await reader.lagging():
            await reader.fetch(records_max=500, wait_seconds=0.2)
        kafka.pause()
        try:
            async with asyncio.timeout(15):
                await reader.stop()
        finally:
            kafka.resume()
        await until(lambda: asyncio.all_tasks() <= before, seconds=10)

    async def test_records_that_no_one_batch_holds_come_in_order_and_one_that_is_too_large_is_refused_by_itself(self, rig: Rig) -> None:
        bus = await rig.connect()
        reader = bus.group(f"works-{new_id().hex[:6]}", ["task.created"])
        await reader.start()
        task, receipts = new_id(), Receipted()
        facts = [created(task, sequence=n + 1) for n in range(41)]
        records = [seal(fact.model_copy(update={"title": "x" * (1_100_000 if n == 20 else 20_000)}), _now(), None) for n, fact in enumerate(facts)]
        await bus.publish(records, receipts)
        too_large = records.pop(20)
        await until(lambda: len(receipts.taken) == 40)
        assert receipts.refusals == [too_large.event_id]
        found = await read_all(reader, {str(task).encode()}, 40)
        assert [record.value for record in found] == [record.value for record in records]
        await reader.stop()


def test_every_option_of_kafka_whose_default_loses_or_slows_is_set() -> None:
    from common.bus.kafka import KafkaOptions

    options = KafkaOptions(servers="127.0.0.1:1")
    producer, consumer = options.producer(), options.consumer()
    assert producer["enable_idempotence"] is True
    assert (producer["acks"], producer["linger_ms"], producer["max_batch_size"]) == ("all", 0, 256 * 1024)
    assert (consumer["enable_auto_commit"], consumer["auto_offset_reset"], consumer["isolation_level"]) == (False, "earliest", "read_committed")
    assert 5000 <= producer["request_timeout_ms"] <= 10000
    assert (consumer["session_timeout_ms"], consumer["heartbeat_interval_ms"]) == (6000, 500)
    assert consumer["rebalance_timeout_ms"] is not None


@pytest.mark.parametrize("microsecond", [0, 1, 120_000, 999_999])
def test_a_record_says_its_moment_in_iso_format(microsecond: int) -> None:
    moment = datetime(2026, 3, 1, 23, 59, 59, microsecond, UTC)
    assert dict(seal(created(), moment, None).headers())["ce_time"].decode() == moment.isoformat()


@pytest.mark.parametrize("fact_type", [fact for fact in FACTS if fact.owner in ("works", "generation")])
def test_facts_about_tasks_works_and_scenes_are_keyed_by_what_they_are_about(fact_type: type[Fact]) -> None:
    fact = fact_type.model_validate(fact_type.example)
    assert fact.subject.partition("/")[2] == fact.key


@given(st.lists(st.lists(st.booleans(), max_size=8), max_size=40))
def test_dead_letters_are_counted_alike_one_by_one_and_in_batches(batches: list[list[bool]]) -> None:
    def stops(parts: list[list[bool]]) -> str:
        limit = DeadLetterLimit(in_a_row=5, share=0.5, window=10)
        try:
            for part in parts:
                limit.count_all(part)
        except TooManyDeadLetters as error:
            return str(error)
        return ""

    assert stops(batches) == stops([[died] for batch in batches for died in batch])


def _now() -> Any:
    from datetime import UTC, datetime

    return datetime.now(UTC)


@pytest.mark.parametrize(("named", "seconds"), [({"task.created"}, 10), (set(), 60)])
def test_a_topic_is_missing_only_after_it_was_not_named_for_long(named: set[str], seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that has just come back names nothing for seconds: what waits for it then would be set aside until an operator looks."""
    from common.bus import kafka

    told: list[str] = []
    moments = iter((1000.0, 1000.0 + seconds, 1000.1 + seconds))
    clock = [0.0]
    monkeypatch.setattr(kafka, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    bus = kafka.KafkaBus(kafka.KafkaOptions(servers="nowhere:1"))
    producer: Any = SimpleNamespace(client=SimpleNamespace(cluster=SimpleNamespace(topics=lambda: named)))
    receipts: Any = SimpleNamespace(lost=lambda _record, _error: told.append("lost"), refused=lambda _record, _error: told.append("refused"))
    fact = seal(UserRegistered(sequence=1, user_id=new_id(), name="ada", source="email"), datetime.now(UTC), None)
    for clock[0] in moments:
        bus._absent(producer, fact, receipts)
    assert told == ["lost", "lost", "refused"]


async def test_a_fact_of_a_newer_version_is_refused_by_itself() -> None:
    from common.bus.kafka import KafkaBus, KafkaOptions

    async def send(*_args: Any, **_more: Any) -> "asyncio.Future[None]":
        sent = asyncio.get_running_loop().create_future()
        sent.set_result(None)
        return sent

    bus = KafkaBus(KafkaOptions(servers="127.0.0.1:1"))
    client: Any = SimpleNamespace(cluster=SimpleNamespace(partitions_for_topic=lambda _topic: {0}))
    bus._producer = SimpleNamespace(client=client, send=send)  # type: ignore[assignment]
    newer, ours, receipts = seal(created(), _now(), None), seal(created(), _now(), None), Receipted()
    newer.topic = "task.dreamt"
    await bus.publish([newer, ours], receipts)
    await until(lambda: receipts.taken == [ours.event_id], seconds=5)
    assert receipts.refusals == [newer.event_id]


async def test_what_a_forgotten_producer_still_says_does_not_spoil_its_successor() -> None:
    from aiokafka.errors import ProducerClosed

    from common.bus.kafka import KafkaBus, KafkaOptions

    async def send(*_args: Any, **_more: Any) -> None:
        bus._producer = successor
        raise ProducerClosed

    bus = KafkaBus(KafkaOptions(servers="127.0.0.1:1"))
    client: Any = SimpleNamespace(cluster=SimpleNamespace(partitions_for_topic=lambda _topic: {0}))
    successor: Any = SimpleNamespace()
    bus._producer = SimpleNamespace(client=client, send=send)  # type: ignore[assignment]
    with pytest.raises(BusUnavailable):
        await bus.publish([seal(created(), _now(), None)], Receipted())
    assert bus._producer is successor
