"""Workers around engines that succeed, fail, hang, get lost and come back."""

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from PIL import Image

from common.clock import FakeClock
from common.db import Database
from common.events import TaskProgressed
from common.ids import new_id
from generation import commands
from generation.domain import Brief, Cancel, Placed, Seats, Task
from generation.providers.base import Attempt, Description, Failed, Finished, Lost, NotFound, NotSent, Refused, Result, Running, Submitted
from generation.providers.instant import InstantProvider
from generation.settings import GenerationSettings
from generation.worker import BatchWorker, Crew, SingleWorker

ReadTask = Callable[[UUID], Awaitable[Task]]
Said = Callable[[], Awaitable[list[tuple[str, dict[str, Any]]]]]


def a_picture(shade: int = 0) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (8, 6), (shade, 90, 30)).save(written, "WEBP")
    return written.getvalue()


class Engine:
    """An engine that does what the test says, attempt after attempt; says nothing, it makes what was asked."""

    name = "engine"
    kinds = frozenset({"fitting", "photography", "travel", "song"})
    look_up = False
    calls_back = False

    def __init__(self, *script: Any, repeatable: bool = True, batches: bool = False, look_up: bool = False, checks: tuple[Any, ...] = ()) -> None:
        self.repeatable, self.batches, self.look_up = repeatable, batches, look_up
        self.script = list(script)
        self.checks = list(checks)
        self.submitted: list[Attempt] = []
        self.checked: list[Attempt] = []
        self.cancelled: list[Attempt] = []

    async def submit(self, attempt: Attempt, report: Any) -> Submitted | Finished:
        self.submitted.append(attempt)
        report(1, 2, "halfway")
        step = self.script.pop(0) if self.script else None
        if callable(step):
            step = await step(attempt)
        if isinstance(step, Exception):
            raise step
        return step if step is not None else self.made(attempt)

    def made(self, attempt: Attempt) -> Finished:
        return Finished(results=tuple(Result(index=index, body=a_picture(index), content_type="image/webp") for index in attempt.items), description="seen")

    async def check(self, attempt: Attempt) -> Running | Finished | Failed | NotFound:
        self.checked.append(attempt)
        step = self.checks.pop(0) if self.checks else self.made(attempt)
        if isinstance(step, Exception):
            raise step
        return step

    async def cancel(self, attempt: Attempt) -> None:
        self.cancelled.append(attempt)


@asynccontextmanager
async def working(shop: Any, *, slots: int = 2, songs: bool = False) -> AsyncIterator[SingleWorker]:
    """A worker that runs, and drains at the end."""
    draining = asyncio.Event()
    worker = SingleWorker(shop.studio, songs=songs, slots=slots)
    crew = Crew(shop.progress, pictures=None if songs else worker, songs=worker if songs else None)
    async with asyncio.TaskGroup() as group:
        for loop in crew.loops:
            group.create_task(loop(draining))
        try:
            yield worker
        finally:
            draining.set()


async def until(read_task: ReadTask, task_id: UUID, *states: str, seconds: float = 60) -> Task:
    """Wait until the task is in one of these states."""
    async with asyncio.timeout(seconds):
        while (task := await read_task(task_id)).state not in states:
            await asyncio.sleep(0.01)
    return task


async def journal(db: Database, task_id: UUID) -> list[tuple[int, int | None, str]]:
    rows = await db.fetch("SELECT attempt_no, item_index, state FROM attempt WHERE task_id = $1 ORDER BY attempt_no", task_id)
    return [tuple(row) for row in rows]


async def journal_submitted(db: Database, task_id: UUID, clock: FakeClock, *, attempt_no: int, item_index: int) -> None:
    """As the first claim would have, just before its process died."""
    await db.fetch(
        """
        INSERT INTO attempt (task_id, attempt_no, item_index, claim_no, created_at, state, provider, provider_id)
        VALUES ($1, $2, $3, 1, $4, 'submitted', 'engine', 'job-9')
        """,
        task_id, attempt_no, item_index, clock.now(),
    )  # fmt: skip


async def test_a_task_is_made_kept_under_its_hash_and_told(
    db: Database, ask: Any, write: Any, workshop: Any, read_task: ReadTask, said: Said, tmp_path: Path
) -> None:
    engine = Engine()
    async with workshop(engine) as shop, working(shop):
        task = await write(ask(asked=3))
        ended = await until(read_task, task.task_id, "completed", "failed")
    assert (ended.state, ended.delivered, ended.version) == ("completed", 3, 3)
    topic, data = (await said())[-1]
    assert (topic, data["engine"], data["description"]) == ("task.completed", "engine", "seen")
    assert [item["index"] for item in data["items"]] == [0, 1, 2]
    for item in data["items"]:
        body = (tmp_path / "objects" / item["key"]).read_bytes()
        assert hashlib.sha256(body).hexdigest() == item["sha256"]
        assert item["key"] == f"results/{task.task_id}/{item['index']}-{item['sha256']}.webp"
        assert (item["width"], item["height"], item["size_bytes"]) == (8, 6, len(body))
    assert sorted(await journal(db, task.task_id), key=lambda one: one[1] or 0) == [
        (no, index, "succeeded") for no, index in zip((1, 2, 3), (0, 1, 2), strict=True)
    ]
    told = [fact for fact in shop.told if isinstance(fact, TaskProgressed)]
    assert told
    assert [(fact.claim_no, fact.n, fact.progress) for fact in told] == sorted((fact.claim_no, fact.n, fact.progress) for fact in told)
    assert {fact.sequence for fact in told} == {2}


async def test_an_engine_that_makes_batches_gets_one_attempt_for_all_items(db: Database, ask: Any, write: Any, workshop: Any, read_task: ReadTask) -> None:
    engine = Engine(batches=True)
    async with workshop(engine) as shop, working(shop):
        task = await write(ask(asked=3))
        await until(read_task, task.task_id, "completed")
    assert [attempt.items for attempt in engine.submitted] == [(0, 1, 2)]
    assert await journal(db, task.task_id) == [(1, None, "succeeded")]


async def test_what_was_proven_unsent_is_tried_again_at_most_three_times(
    db: Database, clock: FakeClock, ask: Any, write: Any, workshop: Any, read_task: ReadTask, said: Said
) -> None:
    engine = Engine(*[NotSent("no route")] * 5)
    async with workshop(engine) as shop, working(shop):
        task = await write(ask())
        async with asyncio.timeout(60):
            while (await read_task(task.task_id)).state != "failed":
                clock.move(seconds=0.05)
                await asyncio.sleep(0.01)
    assert await journal(db, task.task_id) == [(1, 0, "failed"), (2, 0, "failed"), (3, 0, "failed")]
    topic, data = (await said())[-1]
    assert (topic, data["reason"], data["message"]) == ("task.failed", "provider_error", "no route")
    assert (await read_task(task.task_id)).claim_no == 5


async def test_only_what_did_not_arrive_is_repeated_and_the_rest_is_kept(
    db: Database, clock: FakeClock, ask: Any, write: Any, workshop: Any, read_task: ReadTask
) -> None:
    async def half(attempt: Attempt) -> Finished:
        return Finished(results=(Result(index=1, body=a_picture(1), content_type="image/webp"),), failures={0: "out of paint"})

    engine = Engine(half, batches=True)
    async with workshop(engine) as shop, working(shop):
        task = await write(ask(asked=2))
        async with asyncio.timeout(60):
            while not (await read_task(task.task_id)).is_ended:
                clock.move(seconds=0.05)
                await asyncio.sleep(0.01)
    assert [attempt.items for attempt in engine.submitted] == [(0, 1), (0,)]
    assert (await read_task(task.task_id)).delivered == 2
    assert await journal(db, task.task_id) == [(1, None, "succeeded"), (2, None, "succeeded")]


async def test_a_retry_waits_its_time_and_holds_no_slot(clock: FakeClock, ask: Any, write: Any, workshop: Any, read_task: ReadTask) -> None:
    engine = Engine(NotSent("busy"))
    async with workshop(engine) as shop, working(shop, slots=1):
        slow = await write(ask())
        while (await read_task(slow.task_id)).due_at >= slow.due_at + shop.studio.settings.lease or not engine.submitted:
            await asyncio.sleep(0.01)
        other = await write(ask())
        await until(read_task, other.task_id, "completed")
        assert (await read_task(slow.task_id)).state == "running"
        clock.move(seconds=0.1)
        await until(read_task, slow.task_id, "completed")


async def test_an_idle_place_is_soon_filled_by_the_one_who_waits_behind_hundreds_who_have_enough(
    db: Database, clock: FakeClock, ask: Any, write: Any, claim: Any, workshop: Any, settings: GenerationSettings, read_task: ReadTask
) -> None:
    """One claim looks behind some tens of them, and the next ones come as soon after it."""
    patient = settings.model_copy(update={"idle_poll_seconds": 600.0, "running_tasks_per_user_max": 1})
    enough = [new_id() for _ in range(400)]
    await write(*[ask(user_id=user_id) for user_id in enough * 2])
    assert {one.user_id for one in await claim(limit=400)} == set(enough)
    clock.move(seconds=1)
    last = await write(ask())
    async with workshop(Engine(), settings=patient) as shop, working(shop, slots=1):
        assert (await until(read_task, last.task_id, "completed", "failed")).state == "completed"
    assert await db.fetchval("SELECT count(*) FROM task WHERE state = 'queued'") == 400


async def test_where_all_have_enough_the_worker_looks_again_ever_less_often(
    db: Database, ask: Any, write: Any, claim: Any, workshop: Any, settings: GenerationSettings
) -> None:
    patient = settings.model_copy(update={"idle_poll_seconds": 600.0, "running_tasks_per_user_max": 1})
    users = [new_id() for _ in range(5)]
    await write(*[ask(user_id=user_id) for user_id in users * 2])
    assert len(await claim(limit=5)) == 5
    looked = 0

    def look() -> int:
        nonlocal looked
        looked += 1
        return 100

    async with workshop(Engine(), settings=patient, running_max=look) as shop, working(shop):
        await asyncio.sleep(1)
        assert 2 <= looked <= 7


async def test_a_refusal_is_final_for_its_item_only(db: Database, ask: Any, write: Any, workshop: Any, read_task: ReadTask, said: Said) -> None:
    engine = Engine(Refused("not this one"))
    async with workshop(engine) as shop, working(shop, slots=1):
        task = await write(ask(asked=2))
        ended = await until(read_task, task.task_id, "completed", "failed")
    assert (ended.state, ended.delivered) == ("completed", 1)
    assert [item["index"] for item in (await said())[-1][1]["items"]] == [1]
    assert await db.fetchval("SELECT failure FROM item WHERE index = 0") == "refused: not this one"


async def test_output_that_does_not_decode_is_never_delivered(clock: FakeClock, ask: Any, write: Any, workshop: Any, read_task: ReadTask, said: Said) -> None:
    junk = Finished(results=(Result(index=0, body=b"RIFF not a picture", content_type="image/webp"),))
    async with workshop(Engine(junk, junk, junk)) as shop, working(shop):
        task = await write(ask())
        async with asyncio.timeout(60):
            while not (await read_task(task.task_id)).is_ended:
                clock.move(seconds=0.1)
                await asyncio.sleep(0.01)
    topic, data = (await said())[-1]
    assert (topic, data["reason"]) == ("task.failed", "invalid_output")


async def test_a_photo_that_is_gone_refuses_the_task_without_an_attempt(
    db: Database, ask: Any, write: Any, workshop: Any, read_task: ReadTask, said: Said
) -> None:
    engine = Engine()
    async with workshop(engine) as shop, working(shop):
        task = await write(ask(brief=Brief(photos=(f"uploads/x/{'ab' * 32}.webp",))))
        await until(read_task, task.task_id, "failed")
    assert engine.submitted == []
    assert (await said())[-1][1]["reason"] == "refused"


async def test_a_song_of_a_photo_is_described_first_as_one_job(ask: Any, write: Any, workshop: Any, read_task: ReadTask, said: Said) -> None:
    class Eye:
        async def describe(self, photo: bytes) -> Description:
            return Description(title="Harbour at dusk", tags=("calm",), prompt="slow waves", negative_tags=("drums",))

    engine = Engine()
    key = f"uploads/x/{'ab' * 32}.webp"
    async with workshop(engine, vision=Eye()) as shop, working(shop, songs=True):
        await shop.studio.objects.put(key, a_picture(), "image/webp")
        song = await write(ask(kind="song", scene_id=None, brief=Brief(photos=(key,), tags=("mine",))))
        await until(read_task, song.task_id, "running", "failed", "completed")
        while not engine.submitted:
            await asyncio.sleep(0.01)
    told = engine.submitted[0]
    assert (told.prompt, told.title, told.tags, told.negative_tags) == ("slow waves", "Harbour at dusk", ("mine",), ("drums",))
    assert told.photos == [a_picture()]


# --- lost, adopted, stale ---


async def test_a_lost_answer_is_never_submitted_again_and_ends_by_the_deadline(
    db: Database, clock: FakeClock, ask: Any, write: Any, workshop: Any, read_task: ReadTask, said: Said
) -> None:
    engine = Engine(Lost("cut"), repeatable=False)
    async with workshop(engine) as shop, working(shop):
        task = await write(ask())
        while (await read_task(task.task_id)).due_at != task.deadline_at:
            await asyncio.sleep(0.01)
        clock.move(seconds=600)
        await asyncio.sleep(0.1)
        clock.move(seconds=600)
        async with db.transaction() as tx:
            await commands.end_overdue_tasks(tx, limit=5)
    assert len(engine.submitted) == 1
    assert await journal(db, task.task_id) == [(1, 0, "unknown")]
    assert (await said())[-1][1]["reason"] == "provider_unknown"


async def test_a_lost_answer_is_looked_up_where_the_engine_can_be_asked(db: Database, ask: Any, write: Any, workshop: Any, read_task: ReadTask) -> None:
    engine = Engine(Lost("cut"), repeatable=False, look_up=True, checks=(Running(40), NotSent("away"), NotFound()))
    async with workshop(engine) as shop, working(shop):
        task = await write(ask())
        await until(read_task, task.task_id, "completed")
    assert len(engine.submitted) == 1
    assert len(engine.checked) == 4
    assert {attempt.attempt_id for attempt in engine.checked} == {engine.submitted[0].attempt_id}


async def test_not_found_counts_only_after_the_acceptance_delay(
    db: Database, clock: FakeClock, ask: Any, write: Any, workshop: Any, read_task: ReadTask
) -> None:
    engine = Engine(Lost("cut"), repeatable=False, look_up=True, checks=(NotFound(),) * 1000)
    async with workshop(engine) as shop, working(shop):
        task = await write(ask())
        while len(engine.checked) < 5:
            await asyncio.sleep(0.01)
        assert len(engine.submitted) == 1
        engine.checks.clear()
        engine.checks.extend([NotFound()] * 1000)
        clock.move(seconds=1)
        while len(engine.submitted) < 2:
            clock.move(seconds=0.05)
            await asyncio.sleep(0.01)
        await until(read_task, task.task_id, "completed")
    assert await journal(db, task.task_id) == [(1, 0, "failed"), (2, 0, "succeeded")]


async def test_a_job_that_was_taken_is_asked_for_until_it_is_done(db: Database, ask: Any, write: Any, workshop: Any, read_task: ReadTask) -> None:
    engine = Engine(Submitted("job-7"), repeatable=False, checks=(Running(10), Running(None)))
    async with workshop(engine) as shop, working(shop):
        task = await write(ask())
        await until(read_task, task.task_id, "completed")
    assert [attempt.provider_id for attempt in engine.checked] == ["job-7"] * 3
    assert await db.fetchval("SELECT provider_id FROM attempt") == "job-7"


async def test_a_new_claim_adopts_the_open_attempt_of_an_engine_that_can_repeat(
    db: Database, clock: FakeClock, ask: Any, write: Any, workshop: Any, read_task: ReadTask
) -> None:
    stuck = asyncio.Event()

    async def hang(attempt: Attempt) -> Finished:
        await stuck.wait()
        return engine.made(attempt)

    engine = Engine(hang)
    async with workshop(engine) as shop:
        task = await write(ask())
        first = SingleWorker(shop.studio, songs=False, slots=1)
        running = asyncio.get_running_loop().create_task(first.run(asyncio.Event()))
        while not engine.submitted:
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert await journal(db, task.task_id) == [(1, 0, "submitting")]
        clock.move(seconds=60)
        async with working(shop):
            await until(read_task, task.task_id, "completed")
    assert await journal(db, task.task_id) == [(1, 0, "succeeded")]
    assert [attempt.attempt_id for attempt in engine.submitted] == [task.task_id] * 2
    assert (await read_task(task.task_id)).claim_no == 2


async def test_a_new_claim_asks_for_the_job_that_the_old_one_submitted(
    db: Database, clock: FakeClock, ask: Any, write: Any, claim: Any, workshop: Any, read_task: ReadTask
) -> None:
    engine = Engine(repeatable=False)
    task = await write(ask())
    await claim()
    await journal_submitted(db, task.task_id, clock, attempt_no=1, item_index=0)
    clock.move(seconds=60)
    async with workshop(engine) as shop, working(shop):
        await until(read_task, task.task_id, "completed")
    assert engine.submitted == []
    assert [attempt.provider_id for attempt in engine.checked] == ["job-9"]
    assert await journal(db, task.task_id) == [(1, 0, "succeeded")]


async def test_a_number_that_a_crash_left_out_gives_no_attempt_anothers_name(
    db: Database, clock: FakeClock, ask: Any, write: Any, claim: Any, workshop: Any, read_task: ReadTask
) -> None:
    """Attempts at several items are journaled at once: the second was written, the first was not."""
    engine = Engine(repeatable=False)
    task = await write(ask(asked=2))
    await claim()
    await journal_submitted(db, task.task_id, clock, attempt_no=2, item_index=1)
    clock.move(seconds=60)
    async with workshop(engine) as shop, working(shop):
        assert (await until(read_task, task.task_id, "completed")).delivered == 2
    assert [(attempt.items, attempt.attempt_no) for attempt in engine.submitted] == [((0,), 3)]
    assert [(attempt.items, attempt.attempt_no) for attempt in engine.checked] == [((1,), 2)]
    assert await journal(db, task.task_id) == [(2, 1, "succeeded"), (3, 0, "succeeded")]


async def test_a_stalled_worker_can_neither_end_nor_spoil_what_another_has(
    db: Database, clock: FakeClock, ask: Any, write: Any, claim: Any, workshop: Any, read_task: ReadTask, said: Said, settings: GenerationSettings
) -> None:
    go = asyncio.Event()

    async def stall(attempt: Attempt) -> Finished:
        await go.wait()
        return engine.made(attempt)

    engine = Engine(stall)
    calm = settings.model_copy(update={"heartbeat_seconds": 3600})
    async with workshop(engine, settings=calm) as shop, working(shop, slots=1):
        task = await write(ask())
        while not engine.submitted:
            await asyncio.sleep(0.01)
        clock.move(seconds=60)
        (other,) = await claim()
        assert other.claim_no == 2
        go.set()
        async with asyncio.timeout(60):
            while await db.fetchval("SELECT note FROM attempt WHERE task_id = $1", task.task_id) != "discarded: it came too late":
                await asyncio.sleep(0.01)
    assert (await read_task(task.task_id)).state == "running"
    assert [topic for topic, _ in await said()] == ["task.created"]
    assert await db.fetchval("SELECT count(*) FROM item") == 0


# --- leases, deadlines, cancel, drain ---


async def test_a_heartbeat_keeps_a_long_task_and_drops_what_was_lost(
    db: Database, clock: FakeClock, ask: Any, write: Any, workshop: Any, read_task: ReadTask
) -> None:
    async def for_ever(attempt: Attempt) -> Finished:
        await asyncio.Event().wait()
        raise AssertionError

    engine = Engine(for_ever)
    async with workshop(engine) as shop, working(shop):
        task = await write(ask())
        while not engine.submitted:
            await asyncio.sleep(0.01)
        clock.move(seconds=50)
        due = clock.now() + shop.studio.settings.lease
        async with asyncio.timeout(60):
            while (await read_task(task.task_id)).due_at != due:
                await asyncio.sleep(0.01)
        async with db.transaction() as tx:
            await commands.cancel_tasks(tx, [Cancel(task.task_id, None)])
        async with asyncio.timeout(60):
            while not engine.cancelled:
                await asyncio.sleep(0.01)
    assert len(engine.submitted) == 1


async def test_a_task_dropped_here_is_called_off_at_once(db: Database, ask: Any, write: Any, workshop: Any, settings: GenerationSettings) -> None:
    async def for_ever(attempt: Attempt) -> Finished:
        await asyncio.Event().wait()
        raise AssertionError

    engine = Engine(for_ever)
    async with workshop(engine, settings=settings.model_copy(update={"heartbeat_seconds": 3600})) as shop, working(shop) as worker:
        task = await write(ask())
        while not engine.submitted:
            await asyncio.sleep(0.01)
        worker.drop([task.task_id])
        async with asyncio.timeout(60):
            while not engine.cancelled:
                await asyncio.sleep(0.01)


async def test_the_deadline_ends_a_task_under_its_worker_and_what_arrived_counts(
    db: Database, clock: FakeClock, ask: Any, write: Any, workshop: Any, read_task: ReadTask
) -> None:
    """The worker's own timer runs on real time: the task has a second and a half."""

    async def for_ever(attempt: Attempt) -> Finished:
        if attempt.items == (0,):
            return engine.made(attempt)
        await asyncio.Event().wait()
        raise AssertionError

    engine = Engine(for_ever, for_ever)
    async with workshop(engine) as shop:
        task = await write(ask(asked=2))
        await db.fetch("UPDATE task SET deadline_at = $1", task.created_at + timedelta(seconds=1.5))
        async with working(shop):
            async with asyncio.timeout(60):
                while not await db.fetchval("SELECT count(*) FROM item"):
                    await asyncio.sleep(0.01)
            clock.move(seconds=1.5)
            ended = await until(read_task, task.task_id, "completed", "failed")
    assert (ended.state, ended.delivered) == ("completed", 1)
    assert engine.cancelled


async def test_a_drain_lets_running_work_end_and_gives_the_rest_back(
    db: Database, clock: FakeClock, ask: Any, write: Any, workshop: Any, read_task: ReadTask, settings: GenerationSettings
) -> None:
    async def a_moment(attempt: Attempt) -> Finished:
        await asyncio.sleep(0.2)
        return engine.made(attempt)

    async def for_ever(attempt: Attempt) -> Finished:
        await asyncio.Event().wait()
        raise AssertionError

    engine = Engine(a_moment, for_ever)
    async with workshop(engine, settings=settings.model_copy(update={"record_seconds": 5.0})) as shop:
        quick = await write(ask())
        clock.move(seconds=1)
        slow = await write(ask())
        async with working(shop):
            while len(engine.submitted) < 2:
                await asyncio.sleep(0.01)
        assert (await read_task(quick.task_id)).state == "completed"
        left = await read_task(slow.task_id)
        assert (left.state, left.due_at) == ("running", clock.now())
        async with working(shop):
            await until(read_task, slow.task_id, "completed")
    assert await journal(db, slow.task_id) == [(1, 0, "succeeded")]


async def test_an_engine_that_breaks_in_an_unforeseen_way_fails_the_task_not_the_worker(
    clock: FakeClock, ask: Any, write: Any, workshop: Any, read_task: ReadTask, said: Said
) -> None:
    engine = Engine(*[ZeroDivisionError("oops")] * 3)
    async with workshop(engine) as shop, working(shop):
        task = await write(ask())
        async with asyncio.timeout(60):
            while not (await read_task(task.task_id)).is_ended:
                clock.move(seconds=0.1)
                await asyncio.sleep(0.01)
        other = await write(ask())
        await until(read_task, other.task_id, "completed")
    failed = next(data for topic, data in await said() if topic == "task.failed")
    assert (failed["reason"], "oops" in failed["message"]) == ("internal", False)


# --- batches ---


@asynccontextmanager
async def working_in_batches(shop: Any, *, batch_max: int = 256) -> AsyncIterator[BatchWorker]:
    draining = asyncio.Event()
    worker = BatchWorker(shop.studio, batch_max=batch_max)
    async with asyncio.TaskGroup() as group:
        for loop in Crew(shop.progress, batch=worker).loops:
            group.create_task(loop(draining))
        try:
            yield worker
        finally:
            draining.set()


async def test_an_instant_engine_makes_whole_batches_and_keeps_its_results_once(
    db: Database, ask: Any, write: Any, workshop: Any, said: Said, tmp_path: Path
) -> None:
    instant = InstantProvider(allowed=True)
    async with workshop(instant, known=instant.known_results()) as shop, working_in_batches(shop, batch_max=16):
        await write(*[ask(asked=1 + place % 3, kind="song" if place % 10 == 9 else "travel") for place in range(50)])
        async with asyncio.timeout(60):
            while await db.fetchval("SELECT count(*) FROM task WHERE state <> 'completed'"):
                await asyncio.sleep(0.01)
    ends = [data for topic, data in await said() if topic == "task.completed"]
    assert len(ends) == 50
    assert all(data["delivered"] == data["asked"] == len(data["items"]) for data in ends)
    keys = {item["key"] for data in ends for item in data["items"]}
    assert len(keys) == 2
    assert all(key.startswith("results/instant/") and (tmp_path / "objects" / key).is_file() for key in keys)
    assert await db.fetchval("SELECT count(*) FROM attempt WHERE state = 'succeeded'") == 50
    told = {fact.task_id for fact in shop.told if isinstance(fact, TaskProgressed)}
    assert len(told) == 50


async def test_seats_are_given_only_while_nobody_waits(db: Database, ask: Any, write: Any, workshop: Any) -> None:
    instant = InstantProvider(allowed=True)
    async with workshop(instant, known=instant.known_results()) as shop, working_in_batches(shop, batch_max=4) as worker:
        async with asyncio.timeout(60):
            while (seats := worker.reserve(100)) is None:
                await asyncio.sleep(0.01)
        assert seats.count == 8
        assert worker.reserve(1) is None
        worker.seat(seats, [])
        worker.wake(songs=False)
        assert worker.reserve(1) is None


async def test_a_batch_takes_over_what_another_worker_left(
    db: Database, clock: FakeClock, ask: Any, write: Any, claim: Any, workshop: Any, read_task: ReadTask
) -> None:
    instant = InstantProvider(allowed=True)
    task = await write(ask())
    await claim()
    clock.move(seconds=60)
    async with workshop(instant, known=instant.known_results()) as shop, working_in_batches(shop):
        await until(read_task, task.task_id, "completed")
    assert (await read_task(task.task_id)).claim_no == 2


async def test_a_task_a_batch_cannot_make_goes_its_own_way(db: Database, clock: FakeClock, ask: Any, write: Any, workshop: Any, read_task: ReadTask) -> None:
    engine = Engine(Refused("not this one"), Refused("not this one"), batches=True)
    async with workshop(engine) as shop, working_in_batches(shop):
        task = await write(ask())
        ended = await until(read_task, task.task_id, "completed", "failed")
    assert ended.outcome is not None
    assert (ended.state, ended.outcome.reason) == ("failed", "refused")
    assert await journal(db, task.task_id) == [(1, None, "failed")]


@pytest.mark.parametrize("seated", [True, False])
async def test_a_drain_makes_what_is_seated(db: Database, ask: Any, settings: GenerationSettings, workshop: Any, seated: bool) -> None:
    instant = InstantProvider(allowed=True)
    async with workshop(instant, known=instant.known_results()) as shop, working_in_batches(shop) as worker:
        async with asyncio.timeout(60):
            while (seats := worker.reserve(5)) is None:
                await asyncio.sleep(0.01)
        placed = [Placed(ask=ask(), price=1, limits=settings.limits_of("travel")) for _ in range(5)]
        async with db.transaction() as tx:
            _, claims = await commands.create_tasks(tx, placed, seats=Seats(count=seats.count, provider="instant", lease=timedelta(seconds=60)))
        worker.seat(seats, claims if seated else [])
    assert await db.fetchval("SELECT count(*) FROM task WHERE state = 'completed'") == (5 if seated else 0)


async def test_a_drain_waits_for_tasks_that_are_being_written(db: Database, ask: Any, settings: GenerationSettings, workshop: Any) -> None:
    instant = InstantProvider(allowed=True)
    draining = asyncio.Event()
    async with workshop(instant, known=instant.known_results()) as shop:
        worker = BatchWorker(shop.studio, batch_max=16)
        running = asyncio.create_task(worker.run(draining))
        async with asyncio.timeout(60):
            while (seats := worker.reserve(2)) is None:
                await asyncio.sleep(0.01)
        draining.set()
        while (more := worker.reserve(1)) is not None:
            worker.seat(more, [])
            await asyncio.sleep(0.01)
        placed = [Placed(ask=ask(), price=1, limits=settings.limits_of("travel")) for _ in range(2)]
        async with db.transaction() as tx:
            _, claims = await commands.create_tasks(tx, placed, seats=seats)
        worker.seat(seats, claims)
        async with asyncio.timeout(60):
            await running
    assert await db.fetchval("SELECT count(*) FROM task WHERE state = 'completed'") == 2
