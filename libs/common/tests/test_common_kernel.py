"""The transaction that speaks, the relay, the lane and the consumer, on a real PostgreSQL and the memory bus."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from common.bus import BusUnavailable, MemoryBus, Reader, Record, TopicPartition
from common.bus.consumer import ConsumerLimits, GroupConsumer, Subscriptions
from common.bus.dead_letters import count_dead_letters
from common.bus.envelope import Outgoing, seal
from common.bus.outbox import claim_rows, count_rows
from common.bus.relay import Relay
from common.clock import FakeClock
from common.db import Database, OutcomeUnknown, Tx
from common.errors import Conflict, Overloaded, ServiceError, Unavailable
from common.events import Event, TaskCreated, UserRegistered
from common.ids import new_id
from common.lane import Lane

FAST = ConsumerLimits(wait_seconds=0.2, retry_seconds=0.01, commit_seconds=0.05)


@pytest.fixture
async def db(service_database: Any) -> Database:
    return await service_database("common")


def created(task_id: UUID | None = None, *, sequence: int = 1) -> TaskCreated:
    return TaskCreated(sequence=sequence, task_id=task_id or new_id(), user_id=new_id(), kind="travel", asked=1, price=1, work_id=new_id())


@asynccontextmanager
async def running(*loops: Any) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Any, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.01)


class Hearing:
    """A consumer group whose handler notes what it hears."""

    def __init__(self, db: Database, bus: MemoryBus, *, fails: Any = None, group: str = "works", limits: ConsumerLimits = FAST) -> None:
        self.heard: list[UUID] = []
        self.batches: list[int] = []
        self.draining = asyncio.Event()
        subscriptions = Subscriptions(group)

        @subscriptions.hear(TaskCreated)
        async def on_task_created(deps: Any, tx: Tx, events: Sequence[Event[TaskCreated]]) -> None:
            self.batches.append(len(events))
            for event in events:
                if fails is not None:
                    fails(event)
            tx.after_commit(lambda: self.heard.extend(event.fact.task_id for event in events))

        self.consumer = GroupConsumer(subscriptions, bus=bus, db=db, deps=None, limits=limits)

    def run(self) -> Any:
        return self.consumer.run(self.draining)


async def test_a_fact_is_told_only_if_the_transaction_commits(db: Database) -> None:
    with pytest.raises(Conflict):
        async with db.transaction() as tx:
            tx.emit(created())
            raise Conflict
    assert await count_rows(db) == 0
    async with db.transaction() as tx:
        tx.emit(created(), created())
    assert await count_rows(db) == 2


async def test_functions_after_commit_do_not_run_after_a_rollback(db: Database) -> None:
    ran: list[str] = []
    with pytest.raises(Conflict):
        async with db.transaction() as tx:
            tx.after_commit(lambda: ran.append("rolled back"))
            raise Conflict
    async with db.transaction() as tx:
        tx.after_commit(lambda: ran.append("committed"))
    assert ran == ["committed"]


async def test_a_swallowed_sql_error_cannot_pass_for_a_commit(db: Database) -> None:
    with pytest.raises(RuntimeError, match="swallowed"):
        async with db.transaction() as tx:
            tx.emit(created())
            with pytest.raises(asyncpg.PostgresError):
                await tx.conn.execute("SELECT 1/0")
            tx._outgoing.clear()
    assert await count_rows(db) == 0


async def test_a_commit_whose_answer_is_lost_is_unknown_and_not_rolled_back(db: Database, superuser_url: Any) -> None:
    killer = await asyncpg.connect(await superuser_url("common"))
    try:
        with pytest.raises((OutcomeUnknown, Unavailable)):
            async with db.transaction() as tx:
                await killer.execute("SELECT pg_terminate_backend($1)", tx.conn.get_server_pid())
                await asyncio.sleep(0.1)
    finally:
        await killer.close()
    assert await db.fetchval("SELECT 1") == 1


async def test_a_cancelled_transaction_leaves_a_usable_pool(db: Database) -> None:
    async def slow() -> None:
        async with db.transaction() as tx:
            await tx.conn.execute("SELECT pg_sleep(3)")

    for _ in range(10):
        task = asyncio.create_task(slow())
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await db.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("left", [False, True])
async def test_a_connection_that_hangs_ends_as_its_question_does(service_databases: Any, left: bool) -> None:
    db = await Database.open((await service_databases.get("common")).role_url, name="test-hung", size=1, statement_seconds=1.1)
    pid = await db.fetchval("SELECT pg_backend_pid()")
    os.kill(pid, signal.SIGSTOP)
    try:
        asking = asyncio.create_task(db.fetchval("SELECT 1"))
        await asyncio.sleep(0.05)
        if left:
            asking.cancel()
        with pytest.raises(asyncio.CancelledError if left else Unavailable):
            await asking
    finally:
        os.kill(pid, signal.SIGCONT)
    assert await db.fetchval("SELECT 1") == 1
    await db.close()


async def test_committed_facts_reach_the_group_and_leave_the_outbox(db: Database) -> None:
    bus = MemoryBus()
    relay = db.relay = Relay(db, bus)
    hearing = Hearing(db, bus)
    facts = [created() for _ in range(300)]
    async with running(relay.run(), hearing.run()):
        for start in range(0, 300, 50):
            async with db.transaction() as tx:
                tx.emit(*facts[start : start + 50])
        await until(lambda: len(hearing.heard) == 300)
        await until(lambda: _is_zero(count_rows(db)))
    assert sorted(hearing.heard) == sorted(fact.task_id for fact in facts)


async def test_rows_a_crash_left_behind_are_swept_and_heard_once(db: Database) -> None:
    facts = [created() for _ in range(20)]
    async with db.transaction() as tx:  # no relay: as if the process died after its commit
        tx.emit(*facts)
    bus = MemoryBus()
    relay = db.relay = Relay(db, bus, sweep_seconds=0.05)
    hearing = Hearing(db, bus)
    async with running(relay.run(), hearing.run()):
        await until(lambda: _is_zero(count_rows(db)))
    assert sorted(hearing.heard) == sorted(fact.task_id for fact in facts)


async def test_rows_leased_before_the_clock_was_put_back_do_not_wait_for_it(service_database: Any) -> None:
    clock = FakeClock()
    db = await service_database("common", clock=clock)
    bus = MemoryBus(groups=lambda _topic: ())
    db.relay = Relay(db, bus)  # never runs: its process is gone
    async with db.transaction() as tx:
        tx.emit(created())
    assert await claim_rows(db, 10, timedelta(seconds=5)) == []
    clock.move(seconds=-3600)
    async with running(Relay(db, bus, sweep_seconds=0.02).run()):
        await until(lambda: _is(count_rows(db), 0), seconds=10)


async def test_a_group_that_is_not_there_keeps_its_rows_until_it_has_heard_them(db: Database) -> None:
    bus = MemoryBus()
    relay = db.relay = Relay(db, bus, lease_seconds=0.3, sweep_seconds=0.1)
    fact = created()
    async with running(relay.run()):
        async with db.transaction() as tx:
            tx.emit(fact)
        await asyncio.sleep(1)
        assert await count_rows(db) == 1
    bus = MemoryBus()  # the process died and was started again
    relay = db.relay = Relay(db, bus, lease_seconds=0.3, sweep_seconds=0.1)
    hearing = Hearing(db, bus)
    async with running(relay.run(), hearing.run()):
        await until(lambda: _is_zero(count_rows(db)))
    assert hearing.heard == [fact.task_id]


async def test_a_fact_heard_twice_even_in_one_fetch_has_one_effect(db: Database) -> None:
    bus = MemoryBus()
    hearing = Hearing(db, bus)
    sealed = seal(created(), db.clock.now(), None)
    async with running(hearing.run()):
        await asyncio.sleep(0.05)
        await bus.publish([sealed, sealed, sealed], _Silent())
        await until(lambda: hearing.heard)
        await bus.publish([sealed], _Silent())
        await asyncio.sleep(0.3)
    assert len(hearing.heard) == 1


async def test_a_record_that_can_never_be_handled_becomes_one_dead_letter_and_others_go_on(db: Database) -> None:
    bus = MemoryBus()
    bad = created()

    def fails(event: Event[TaskCreated]) -> None:
        if event.fact.task_id == bad.task_id:
            raise ValueError("poison")

    hearing = Hearing(db, bus, fails=fails)
    good = [created() for _ in range(30)]
    sealed = [seal(fact, db.clock.now(), None) for fact in [*good[:15], bad, *good[15:]]]
    async with running(hearing.run()):
        await bus.publish(sealed, _Silent())
        await until(lambda: len(hearing.heard) == 30)
        await until(lambda: _is(count_dead_letters(db), 1))
        await bus.publish([sealed[15]], _Silent())
        await asyncio.sleep(0.3)
    assert await count_dead_letters(db) == 1
    letter = await db.fetchrow("SELECT * FROM dead_letter")
    assert letter is not None
    assert "poison" in letter["cause"]
    assert letter["tries"] == 5


async def test_an_undecodable_record_is_a_dead_letter_at_once(db: Database) -> None:
    bus = MemoryBus()
    hearing = Hearing(db, bus)
    fine = seal(created(), db.clock.now(), None)
    broken = seal(created(), db.clock.now(), None)
    broken.value = b'{"task_id": 3}'
    async with running(hearing.run()):
        await bus.publish([broken, fine], _Silent())
        await until(lambda: hearing.heard)
        await until(lambda: _is(count_dead_letters(db), 1))
    assert len(hearing.heard) == 1


@pytest.mark.parametrize("header", [("ce_id", None), ("ce_type", None), ("ce_time", b"\x00"), ("a\x00b", b"\x00\xff")])
async def test_a_record_with_headers_like_nothing_of_ours_stops_nobody(db: Database, header: tuple[str, bytes | None]) -> None:
    class Strange(Outgoing):
        def headers(self) -> list[tuple[str, bytes]]:
            return [*((name, value) for name, value in super().headers() if name != header[0]), header]  # type: ignore[list-item]

    bus = MemoryBus()
    hearing = Hearing(db, bus)
    fine = seal(created(), db.clock.now(), None)
    sealed = seal(created(), db.clock.now(), None)
    strange = Strange(sealed.event_id, sealed.topic, sealed.key, b"{}", sealed.subject, sealed.sequence, sealed.time)
    async with running(hearing.run()):
        await bus.publish([strange, fine], _Silent())
        await until(lambda: hearing.heard and _is(count_dead_letters(db), 1), seconds=10)


async def test_a_cause_that_no_table_can_hold_is_kept_without_what_it_cannot(db: Database) -> None:
    bus = MemoryBus()

    def fails(event: Event[TaskCreated]) -> None:
        raise ValueError("half a\x00cause")

    hearing = Hearing(db, bus, fails=fails)
    async with running(hearing.run()):
        await bus.publish([seal(created(), db.clock.now(), None)], _Silent())
        await until(lambda: _is(count_dead_letters(db), 1), seconds=10)


async def test_a_group_stops_after_too_many_dead_letters_in_a_row(db: Database) -> None:
    bus = MemoryBus()

    def fails(event: Event[TaskCreated]) -> None:
        raise ValueError("a bad release")

    hearing = Hearing(db, bus, fails=fails, limits=ConsumerLimits(wait_seconds=0.2, retry_seconds=0.001, commit_seconds=0.05, tries_max=1, dead_in_a_row=5))
    async with running(hearing.run()):
        await bus.publish([seal(created(), db.clock.now(), None) for _ in range(40)], _Silent())
        await until(lambda: hearing.consumer.stopped_by_dead_letters)
        buried = await count_dead_letters(db)
        await asyncio.sleep(0.2)
        assert await count_dead_letters(db) == buried
    assert 5 < buried < 10


async def test_the_weather_is_waited_for_and_never_counted(db: Database) -> None:
    bus = MemoryBus()
    storms = 8

    def fails(event: Event[TaskCreated]) -> None:
        nonlocal storms
        storms -= 1
        if storms > 0:
            raise Unavailable("the database is away")

    hearing = Hearing(db, bus, fails=fails)
    async with running(hearing.run()):
        await bus.publish([seal(created(), db.clock.now(), None)], _Silent())
        await until(lambda: hearing.heard)
    assert await count_dead_letters(db) == 0


async def test_a_reader_that_never_answers_again_is_made_anew(db: Database) -> None:
    class Stuck(MemoryBus):
        readers = 0

        def group(self, name: str, topics: Sequence[str], *, gather_seconds: float = 0) -> Reader:
            reader = super().group(name, topics, gather_seconds=gather_seconds)
            self.readers += 1
            if self.readers == 1:
                reader.fetch = _never  # type: ignore[method-assign]
            return reader

    bus = Stuck()
    hearing = Hearing(db, bus, limits=ConsumerLimits(wait_seconds=0.05, stuck_seconds=0.1))
    async with running(hearing.run()):
        await bus.publish([seal(created(), db.clock.now(), None)], _Silent())
        await until(lambda: hearing.heard, seconds=10)


@pytest.mark.parametrize("why", ["the broker was away", "the drain came between"])
async def test_an_offset_that_was_not_committed_is_committed_next(db: Database, why: str) -> None:
    class Slow(MemoryBus):
        commits = 0

        def group(self, name: str, topics: Sequence[str], *, gather_seconds: float = 0) -> Reader:
            reader = super().group(name, topics, gather_seconds=gather_seconds)
            commit = reader.commit

            async def slowly(cursors: Mapping[TopicPartition, int]) -> None:
                self.commits += 1
                if self.commits == 1:
                    if why == "the broker was away":
                        raise BusUnavailable
                    hearing.draining.set()
                    await asyncio.sleep(5)
                await commit(cursors)

            reader.commit = slowly  # type: ignore[method-assign]
            return reader

    bus = Slow()
    hearing = Hearing(db, bus)
    async with running(hearing.run()):
        await bus.publish([seal(created(), db.clock.now(), None)], _Silent())
        await until(lambda: any(bus._groups["works"].committed.values()) if hearing.heard else False, seconds=10)


async def test_a_drain_in_which_a_letter_cannot_be_kept_ends_in_good_order(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_args: Any) -> None:
        hearing.draining.set()
        raise Unavailable("the database is away")

    def fails(event: Event[TaskCreated]) -> None:
        raise ValueError("poison")

    monkeypatch.setattr("common.bus.consumer.insert_dead_letters", away)
    bus = MemoryBus()
    hearing = Hearing(db, bus, fails=fails)
    await bus.publish([seal(created(), db.clock.now(), None)], _Silent())
    await hearing.run()
    assert not bus._groups["works"].committed  # it is heard again, and buried then


async def test_two_members_share_a_group_and_what_one_leaves_the_other_hears(db: Database) -> None:
    bus = MemoryBus()
    first, second = Hearing(db, bus), Hearing(db, bus)
    facts = [created() for _ in range(200)]
    async with running(second.run()):
        async with running(first.run()):
            await asyncio.sleep(0.05)
            await bus.publish([seal(fact, db.clock.now(), None) for fact in facts[:100]], _Silent())
            await until(lambda: len(first.heard) + len(second.heard) == 100)
            assert first.heard
            assert second.heard
        await bus.publish([seal(fact, db.clock.now(), None) for fact in facts[100:]], _Silent())
        await until(lambda: len(first.heard) + len(second.heard) == 200)
    assert sorted(first.heard + second.heard) == sorted(fact.task_id for fact in facts)


async def test_a_lane_answers_each_caller_and_refuses_one_without_spoiling_the_rest() -> None:
    batches: list[int] = []

    async def run(asks: Sequence[int]) -> list[int | ServiceError]:
        batches.append(len(asks))
        await asyncio.sleep(0.01)
        return [Conflict(str(ask)) if ask == 13 else ask * 2 for ask in asks]

    async with Lane(run) as lane:
        answers = await asyncio.gather(*(lane(number) for number in range(50)), return_exceptions=True)
    assert isinstance(answers[13], Conflict)
    assert [answer for number, answer in enumerate(answers) if number != 13] == [number * 2 for number in range(50) if number != 13]
    assert len(batches) <= 3


async def test_a_lane_splits_a_batch_to_find_the_ask_that_breaks_it() -> None:
    async def run(asks: Sequence[int]) -> list[int | ServiceError]:
        if 7 in asks:
            raise ValueError("seven")
        return list(asks)

    async with Lane(run) as lane:
        answers = await asyncio.gather(*(lane(number) for number in range(20)), return_exceptions=True)
    assert isinstance(answers[7], ValueError)
    assert [number for number in answers if isinstance(number, int)] == [number for number in range(20) if number != 7]


async def test_a_lane_outlives_a_batch_that_was_answered_wrongly() -> None:
    answers: list[list[int]] = [[], [1]]

    async def run(_asks: Sequence[int]) -> Sequence[int | ServiceError]:
        return answers.pop(0)

    async with Lane(run) as lane, asyncio.timeout(5):
        with pytest.raises(ValueError, match="shorter"):
            await lane(1)
        assert await lane(1) == 1


async def test_a_lane_that_was_cut_short_may_be_stopped_again() -> None:
    async def run(_asks: Sequence[int]) -> Sequence[int | ServiceError]:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    lane = Lane(run)
    await lane.start()
    asking = asyncio.create_task(lane(1))
    await asyncio.sleep(0.02)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await lane.stop()
    await lane.stop()
    with pytest.raises(Unavailable):
        await asking


async def test_a_full_lane_refuses_with_a_time_to_come_back() -> None:
    gate = asyncio.Event()

    async def run(asks: Sequence[int]) -> list[int | ServiceError]:
        await gate.wait()
        return list(asks)

    async with Lane(run, batch_max=1, waiting_max=2) as lane:
        callers = [asyncio.create_task(lane(number)) for number in range(3)]
        await asyncio.sleep(0.01)
        callers.append(asyncio.create_task(lane(4)))
        await asyncio.sleep(0.01)
        gate.set()
        answers = await asyncio.gather(*callers, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, Overloaded)]
    assert refused
    assert all(answer.retry_after_seconds for answer in refused)


async def test_a_lane_repeats_a_batch_whose_outcome_is_unknown() -> None:
    runs = 0

    async def run(asks: Sequence[int]) -> list[int | ServiceError]:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise OutcomeUnknown
        return list(asks)

    async with Lane(run) as lane:
        assert await lane(1) == 1
    assert runs == 3


async def test_a_caller_that_goes_away_does_not_cancel_the_batch() -> None:
    done: list[int] = []

    async def run(asks: Sequence[int]) -> list[int | ServiceError]:
        await asyncio.sleep(0.05)
        done.extend(asks)
        return list(asks)

    async with Lane(run) as lane:
        leaving = asyncio.create_task(lane(1))
        staying = asyncio.create_task(lane(2))
        await asyncio.sleep(0.01)
        leaving.cancel()
        assert await staying == 2
    assert done == [1, 2]


async def test_an_unknown_topic_is_parked_and_the_rest_goes_on(db: Database) -> None:
    bus = MemoryBus(topics=["task.created"])
    relay = db.relay = Relay(db, bus)
    hearing = Hearing(db, bus)
    async with running(relay.run(), hearing.run()):
        async with db.transaction() as tx:
            tx.emit(UserRegistered(sequence=1, user_id=new_id(), name="ada", source="email"), created())
        await until(lambda: hearing.heard)
        await until(lambda: _is(db.fetchval("SELECT count(*) FROM outbox_fact WHERE parked_at IS NOT NULL"), 1))
        await until(lambda: _is(count_rows(db), 1))


class _Silent:
    def acked(self, record: Outgoing) -> None: ...

    def refused(self, record: Outgoing, error: str) -> None: ...

    def lost(self, record: Outgoing, error: str) -> None: ...


async def _never(**_limits: Any) -> list[Record]:
    return await asyncio.get_running_loop().create_future()


async def _is(found: Any, wanted: Any) -> bool:
    return bool(await found == wanted)


async def _is_zero(found: Any) -> bool:
    return bool(await found == 0)
