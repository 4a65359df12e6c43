"""What the commands do to real rows, and what they say."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from common.clock import FakeClock
from common.db import Database
from common.errors import TaskNotCancellable, TaskNotFound
from common.events import BY_TOPIC, Item
from common.ids import new_id
from generation import commands
from generation.domain import (
    Arrival,
    Attempt,
    AttemptEnd,
    Brief,
    Cancel,
    Claim,
    Failure,
    Fairness,
    Finish,
    Finished,
    ItemRow,
    Outcome,
    Placed,
    Seats,
    Stale,
    Task,
)
from generation.settings import GenerationSettings
from generation.store import attempts, items, tallies, tasks

ReadTask = Callable[[UUID], Awaitable[Task]]
Said = Callable[[], Awaitable[list[tuple[str, dict[str, Any]]]]]

SHA256 = "ab" * 32


def an_item(index: int = 0) -> Item:
    return Item(
        index=index, key=f"results/x/{index}-{SHA256}.webp", sha256=SHA256, size_bytes=9, content_type="image/webp", width=8, height=6, duration_seconds=None
    )


def delivered(claim: Claim, *indexes: int) -> list[ItemRow]:
    return [ItemRow(claim.task_id, index, an_item(index)) for index in indexes]


async def finish(db: Database, *asks: Finish) -> list[Finished | Stale]:
    async with db.transaction() as tx:
        return await commands.finish_tasks(tx, asks)


async def arrive(db: Database, *asks: Arrival) -> list[bool]:
    async with db.transaction() as tx:
        return await commands.save_arrivals(tx, asks)


async def cancel(db: Database, *asks: Cancel) -> list[Any]:
    async with db.transaction() as tx:
        return await commands.cancel_tasks(tx, asks)


async def history(db: Database, task_id: UUID) -> list[tuple[int, str, str, str | None]]:
    return [tuple(row) for row in await db.fetch("SELECT version, from_state, to_state, reason FROM history WHERE task_id = $1 ORDER BY version", task_id)]


# --- create ---


async def test_a_new_task_is_written_with_its_brief_and_announced(db: Database, ask: Any, write: Any, read_task: ReadTask, said: Said) -> None:
    brief = Brief(
        photos=("uploads/u/a.webp",), title='a "quoted" \\ title', prompt="日落 {sea}", tags=("warm", "slow"), parameters={"depth": [1, {"x": None}]},
        destination={"name": "Nice", "country": "FR", "prompt": ""}, scene_version=2,
    )  # fmt: skip
    created = await write(ask(asked=4, brief=brief))
    task = await read_task(created.task_id)
    assert task == created
    assert task.brief == brief
    assert (task.state, task.version, task.claim_no, task.price) == ("queued", 1, 0, 4)
    ((topic, data),) = await said()
    assert topic == "task.created"
    assert BY_TOPIC[topic].model_validate(data).sequence == 1
    assert (data["asked"], data["price"], data["title"], data["scene"]) == (4, 4, 'a "quoted" \\ title', "beach-sunset")


async def test_writing_a_task_twice_changes_and_says_nothing(db: Database, ask: Any, write: Any, settings: GenerationSettings, said: Said) -> None:
    one, other = ask(), ask()
    await write(one)
    placed = [Placed(ask=each, price=1, limits=settings.limits_of("travel")) for each in (other, one)]
    async with db.transaction() as tx:
        made, claims = await commands.create_tasks(tx, placed)
    assert [task is not None for task in made] == [True, False]
    assert claims == []
    assert [data["task_id"] for _, data in await said()] == [str(one.task_id), str(other.task_id)]


async def test_seats_make_the_first_tasks_begin_at_once(db: Database, ask: Any, settings: GenerationSettings, read_task: ReadTask, said: Said) -> None:
    asks = sorted((ask(kind=kind) for kind in ("travel", "song", "fitting")), key=lambda one: one.task_id)
    placed = [Placed(ask=one, price=1, limits=settings.limits_of(one.kind)) for one in asks]
    async with db.transaction() as tx:
        _, claims = await commands.create_tasks(tx, placed, seats=Seats(count=2, provider="instant", lease=timedelta(seconds=60)))
    assert [claim.task_id for claim in claims] == [one.task_id for one in asks[:2]]
    first, last = await read_task(asks[0].task_id), await read_task(asks[2].task_id)
    assert (first.state, first.version, first.claim_no, last.state) == ("running", 2, 1, "queued")
    assert first.due_at == first.created_at + timedelta(seconds=60)
    assert await history(db, first.task_id) == [(2, "queued", "running", None)]
    async with db.read() as conn:
        journal = await attempts.list_attempts(conn, [asks[0].task_id, asks[2].task_id])
    assert [(one.attempt_no, one.state, one.provider) for one in journal[asks[0].task_id]] == [(1, "submitting", "instant")]
    assert journal[asks[2].task_id] == []
    assert [data["sequence"] for _, data in await said()] == [1, 1, 1]
    assert await finish(db, Finish(claims[0], [an_item()], unsaved=delivered(claims[0], 0))) == [Finished("completed", 3)]


# --- claim ---


async def test_the_oldest_are_claimed_first_and_each_once(clock: FakeClock, ask: Any, write: Any, claim: Any) -> None:
    written = []
    for _ in range(3):
        written.append((await write(ask())).task_id)
        clock.move(seconds=1)
    first = await claim(limit=2)
    assert [one.task_id for one in first] == written[:2]
    assert [one.task_id for one in await claim()] == written[2:]
    assert await claim() == []


async def test_songs_and_pictures_are_claimed_apart(ask: Any, write: Any, claim: Any) -> None:
    picture, song = await write(ask()), await write(ask(kind="song", scene_id=None))
    assert [one.task_id for one in await claim(songs=True)] == [song.task_id]
    assert [one.task_id for one in await claim()] == [picture.task_id]


async def test_a_claim_whose_lease_ran_out_is_claimed_again_with_the_next_number(
    db: Database, clock: FakeClock, ask: Any, write: Any, claim: Any, read_task: ReadTask
) -> None:
    task = await write(ask())
    (first,) = await claim(lease_seconds=60)
    clock.move(seconds=59)
    assert await claim() == []
    clock.move(seconds=1)
    (second,) = await claim()
    assert (first.claim_no, second.claim_no) == (1, 2)
    assert first.version == second.version == 2
    assert await history(db, task.task_id) == [(2, "queued", "running", None)]
    assert (await read_task(task.task_id)).started_at == task.created_at


async def test_a_heartbeat_renews_only_what_a_claim_still_has(db: Database, clock: FakeClock, ask: Any, write: Any, claim: Any) -> None:
    kept, lost = await write(ask()), await write(ask())
    await claim()
    async with db.read() as conn:
        renewed = await tasks.renew_leases(conn, {kept.task_id: 1, lost.task_id: 7}, now=clock.now() + timedelta(seconds=50), lease=timedelta(seconds=60))
    assert renewed == {kept.task_id}
    clock.move(seconds=60)
    assert [one.task_id for one in await claim()] == [lost.task_id]


async def test_two_workers_claiming_at_once_share_and_never_overlap(db: Database, clock: FakeClock, ask: Any, write: Any) -> None:
    await write(*[ask() for _ in range(60)])

    async def take() -> list[Claim]:
        async with db.read() as conn:
            lease = timedelta(seconds=60)
            return (await commands.claim_tasks(conn, songs=False, now=clock.now(), lease=lease, limit=15, provider=None, fairness=Fairness())).claims

    taken = [one.task_id for claims in await asyncio.gather(*(take() for _ in range(6))) for one in claims]
    assert len(taken) == len(set(taken)) == 60


async def test_what_is_overdue_is_not_claimed(clock: FakeClock, ask: Any, write: Any, claim: Any) -> None:
    await write(ask())
    clock.move(seconds=600)
    assert await claim() == []


# --- finish ---


async def test_a_partial_delivery_is_completed_with_what_arrived(db: Database, ask: Any, write: Any, claim: Any, read_task: ReadTask, said: Said) -> None:
    task = await write(ask(asked=8))
    (mine,) = await claim()
    failures = {index: Failure("provider_error", "broken") for index in (5, 6, 7)}
    await arrive(db, Arrival(task.task_id, 1, delivered(mine, 0, 1, 2), None))
    unsaved = [*delivered(mine, 3, 4), *(ItemRow(task.task_id, index, None, failure) for index, failure in failures.items())]
    ended = await finish(db, Finish(mine, [an_item(index) for index in range(5)], failures, Outcome(engine="local", description="a beach"), unsaved))
    assert ended == [Finished("completed", 3)]
    topic, data = (await said())[-1]
    assert topic == "task.completed"
    assert (data["delivered"], data["asked"], [item["index"] for item in data["items"]]) == (5, 8, [0, 1, 2, 3, 4])
    assert (data["sequence"], data["description"], data["seed"]) == (3, "a beach", task.seed)
    async with db.read() as conn:
        assert [item.index for item in (await items.list_items(conn, [task.task_id]))[task.task_id]] == [0, 1, 2, 3, 4]
        assert await items.list_failures(conn, task.task_id) == failures
        assert await tallies.sum_tallies(conn) == {("travel", "completed"): 1}
    assert (await read_task(task.task_id)).delivered == 5


async def test_a_finish_with_nothing_is_a_failure_with_its_reason(db: Database, ask: Any, write: Any, claim: Any, said: Said) -> None:
    task = await write(ask())
    (mine,) = await claim()
    await finish(db, Finish(mine, [], {0: Failure("invalid_output", "does not decode")}, Outcome(engine="local")))
    topic, data = (await said())[-1]
    assert (topic, data["reason"], data["message"], data["delivered"]) == ("task.failed", "invalid_output", "does not decode", 0)
    assert await history(db, task.task_id) == [(2, "queued", "running", None), (3, "running", "failed", "invalid_output")]


async def test_a_batch_of_finishes_gives_each_its_own_answer(db: Database, clock: FakeClock, ask: Any, write: Any, claim: Any, said: Said) -> None:
    await write(*[ask() for _ in range(4)])
    good, stale, gone, twice = await claim()
    await cancel(db, Cancel(gone.task_id, None))
    clock.move(seconds=60)
    again = {one.task_id: one for one in await claim()}
    ended = await finish(
        db,
        Finish(again[good.task_id], [an_item()], unsaved=delivered(good, 0)),
        Finish(stale, [an_item()], unsaved=delivered(stale, 0)),
        Finish(gone, [an_item()], unsaved=delivered(gone, 0)),
        Finish(again[twice.task_id], [], {0: Failure("refused")}),
        Finish(again[twice.task_id], [], {0: Failure("refused")}),
        Finish(twice, [an_item()], unsaved=delivered(twice, 0)),
    )
    assert ended == [Finished("completed", 3), Stale("running"), Stale("cancelled"), Finished("failed", 3), Finished("failed", 3), Stale("failed")]
    told = [(topic, data["task_id"]) for topic, data in await said() if topic != "task.created"]
    assert sorted(told) == sorted([
        ("task.cancelled", str(gone.task_id)), ("task.completed", str(good.task_id)), ("task.failed", str(twice.task_id)),
    ])  # fmt: skip
    async with db.read() as conn:
        arrived = await items.list_items(conn, [good.task_id, stale.task_id, gone.task_id, twice.task_id])
    assert {task_id: len(found) for task_id, found in arrived.items()} == {good.task_id: 1, stale.task_id: 0, gone.task_id: 0, twice.task_id: 0}


async def test_a_finish_repeated_is_answered_by_the_same_end(db: Database, ask: Any, write: Any, claim: Any, said: Said) -> None:
    await write(ask())
    (mine,) = await claim()
    end = Finish(mine, [an_item()], unsaved=delivered(mine, 0))
    assert await finish(db, end) == await finish(db, end) == [Finished("completed", 3)]
    assert [topic for topic, _ in await said()] == ["task.created", "task.completed"]


async def test_a_batch_gives_the_same_as_one_by_one(db: Database, ask: Any, write: Any, claim: Any, read_task: ReadTask) -> None:
    await write(*[ask(asked=2) for _ in range(6)])
    claims = await claim()
    ends = [
        Finish(mine, [an_item()] if place % 2 else [], {1: Failure("refused")}, unsaved=delivered(mine, 0) if place % 2 else ())
        for place, mine in enumerate(claims)
    ]
    together = await finish(db, *ends[:3])
    alone = [outcome for end in ends[3:] for outcome in await finish(db, end)]
    assert together == [Finished("failed", 3), Finished("completed", 3), Finished("failed", 3)]
    assert alone == [Finished("completed", 3), Finished("failed", 3), Finished("completed", 3)]


# --- arrivals and attempts ---


async def test_an_attempt_is_journaled_only_while_the_claim_holds(db: Database, clock: FakeClock, ask: Any, write: Any, claim: Any) -> None:
    task = await write(ask())
    (mine,) = await claim()
    first = Attempt(attempt_no=1, item_index=0, claim_no=1, state="submitting", provider="far", created_at=clock.now())
    async with db.transaction() as tx:
        assert await commands.open_attempt(tx, mine, first)
        assert await commands.open_attempt(tx, mine, first)
    await cancel(db, Cancel(task.task_id, None))
    async with db.transaction() as tx:
        assert not await commands.open_attempt(
            tx, mine, Attempt(attempt_no=2, item_index=0, claim_no=1, state="submitting", provider="far", created_at=clock.now())
        )
    async with db.read() as conn:
        (kept,) = (await attempts.list_attempts(conn, [task.task_id]))[task.task_id]
    assert (kept.attempt_no, kept.state) == (1, "failed")


async def test_what_arrives_after_a_cancel_is_noted_as_discarded_and_never_delivered(db: Database, clock: FakeClock, ask: Any, write: Any, claim: Any) -> None:
    task = await write(ask())
    (mine,) = await claim()
    async with db.transaction() as tx:
        await commands.open_attempt(tx, mine, Attempt(attempt_no=1, item_index=0, claim_no=1, state="submitting", provider="far", created_at=clock.now()))
    await arrive(db, Arrival(task.task_id, 1, [], AttemptEnd(1, "unknown")))
    await cancel(db, Cancel(task.task_id, None))
    assert await arrive(db, Arrival(task.task_id, 1, delivered(mine, 0), AttemptEnd(1, "succeeded"))) == [False]
    row = await db.fetchrow("SELECT state, note FROM attempt WHERE task_id = $1", task.task_id)
    assert row is not None
    assert (row["state"], row["note"]) == ("succeeded", "discarded: it came too late")
    assert await db.fetchval("SELECT count(*) FROM item WHERE task_id = $1", task.task_id) == 0


async def test_an_arrival_of_an_older_claim_saves_nothing(db: Database, clock: FakeClock, ask: Any, write: Any, claim: Any) -> None:
    task = await write(ask())
    (old,) = await claim()
    clock.move(seconds=60)
    (new,) = await claim()
    assert await arrive(db, Arrival(task.task_id, old.claim_no, delivered(old, 0), None), Arrival(task.task_id, new.claim_no, [], None)) == [False, True]
    assert await db.fetchval("SELECT count(*) FROM item") == 0


async def test_an_item_delivered_stays_as_it_was_delivered(db: Database, ask: Any, write: Any, claim: Any) -> None:
    task = await write(ask())
    (mine,) = await claim()
    failed = ItemRow(task.task_id, 0, None, Failure("provider_error", "broken"))
    await arrive(db, Arrival(task.task_id, 1, [failed], None))
    await arrive(db, Arrival(task.task_id, 1, delivered(mine, 0), None), Arrival(task.task_id, 1, delivered(mine, 0), None))
    await arrive(db, Arrival(task.task_id, 1, [failed], None))
    assert await db.fetchval("SELECT state FROM item WHERE task_id = $1", task.task_id) == "delivered"


# --- cancel ---


async def test_a_cancel_keeps_what_had_arrived(db: Database, ask: Any, write: Any, claim: Any, said: Said, read_task: ReadTask) -> None:
    one = ask(asked=3)
    task = await write(one)
    (mine,) = await claim()
    await arrive(db, Arrival(task.task_id, 1, delivered(mine, 1), None))
    (cancelled,) = await cancel(db, Cancel(task.task_id, one.user_id))
    assert (cancelled.state, cancelled.delivered, cancelled.version) == ("cancelled", 1, 3)
    topic, data = (await said())[-1]
    assert (topic, data["by"], data["delivered"], [item["index"] for item in data["items"]]) == ("task.cancelled", "owner", 1, [1])
    assert await history(db, task.task_id) == [(2, "queued", "running", None), (3, "running", "cancelled", "owner")]
    assert (await cancel(db, Cancel(task.task_id, one.user_id)))[0].version == 3
    assert len(await said()) == 2


async def test_cancels_in_one_batch_each_get_the_truth(db: Database, ask: Any, write: Any, claim: Any, said: Said) -> None:
    mine, ended, foreign = ask(), ask(), ask()
    await write(ended)
    (claimed,) = await claim()
    await finish(db, Finish(claimed, [an_item()], unsaved=delivered(claimed, 0)))
    await write(mine, foreign)
    outcomes = await cancel(
        db, Cancel(mine.task_id, mine.user_id), Cancel(mine.task_id, mine.user_id), Cancel(ended.task_id, ended.user_id), Cancel(foreign.task_id, mine.user_id),
        Cancel(new_id(), mine.user_id),
    )  # fmt: skip
    assert outcomes[0].state == outcomes[1].state == "cancelled"
    assert isinstance(outcomes[2], TaskNotCancellable)
    assert isinstance(outcomes[3], TaskNotFound)
    assert isinstance(outcomes[4], TaskNotFound)
    assert [topic for topic, _ in await said()].count("task.cancelled") == 1


@pytest.mark.parametrize("_round", range(5))
async def test_a_cancel_and_a_finish_racing_end_the_task_once(db: Database, ask: Any, write: Any, claim: Any, said: Said, _round: int) -> None:
    await write(*[ask() for _ in range(20)])
    claims = await claim(limit=20)

    async def cancel_some() -> None:
        for mine in claims[::2]:
            await cancel(db, Cancel(mine.task_id, None))

    async def finish_all() -> None:
        for start in range(0, 20, 5):
            await finish(db, *[Finish(mine, [an_item()], unsaved=delivered(mine, 0)) for mine in claims[start : start + 5]])

    outcomes = await asyncio.gather(cancel_some(), finish_all(), return_exceptions=True)
    assert all(outcome is None for outcome in outcomes)
    ends: dict[str, list[str]] = {}
    for topic, data in await said():
        if topic != "task.created":
            ends.setdefault(data["task_id"], []).append(topic)
    assert len(ends) == 20
    assert all(len(topics) == 1 for topics in ends.values())
    rows = await db.fetch("SELECT task.task_id, state, delivered, (SELECT count(*) FROM item WHERE item.task_id = task.task_id) AS items FROM task")
    for row in rows:
        assert ends[str(row["task_id"])] == [f"task.{row['state']}"]
        assert row["items"] == row["delivered"] == (1 if row["state"] == "completed" else 0)


# --- deadlines ---


async def test_upkeep_ends_what_is_overdue_and_counts_what_arrived(db: Database, clock: FakeClock, ask: Any, write: Any, claim: Any, said: Said) -> None:
    async def sweep() -> set[UUID]:
        async with db.transaction() as tx:
            return {task.task_id for task in await commands.end_overdue_tasks(tx, limit=10)}

    async def told() -> dict[str, tuple[str, str | None, int]]:
        return {data["task_id"]: (topic, data.get("reason"), data["delivered"]) for topic, data in await said() if topic != "task.created"}

    partly, nothing, never_started = ask(asked=2), ask(asked=2), ask(asked=2)
    await write(partly, nothing)
    claims = {one.task_id: one for one in await claim()}
    await arrive(db, Arrival(partly.task_id, 1, delivered(claims[partly.task_id], 1), None))
    clock.move(seconds=700)
    await write(never_started)
    clock.move(seconds=499)
    assert await sweep() == set()
    clock.move(seconds=1)
    assert await sweep() == {partly.task_id, nothing.task_id}
    assert await sweep() == set()
    assert await told() == {str(partly.task_id): ("task.completed", None, 1), str(nothing.task_id): ("task.failed", "timeout", 0)}
    clock.move(seconds=100)
    assert await sweep() == {never_started.task_id}
    assert (await told())[str(never_started.task_id)] == ("task.failed", "timeout", 0)
    assert await history(db, never_started.task_id) == [(2, "queued", "failed", "timeout")]


async def test_a_finish_after_the_deadline_is_told_how_the_task_ended(db: Database, clock: FakeClock, ask: Any, write: Any, claim: Any) -> None:
    await write(ask())
    (mine,) = await claim()
    clock.move(seconds=1200)
    async with db.transaction() as tx:
        await commands.end_overdue_tasks(tx, limit=10)
    assert await finish(db, Finish(mine, [an_item()], unsaved=delivered(mine, 0))) == [Finished("failed", 3)]
    assert await db.fetchval("SELECT count(*) FROM item") == 0


async def test_upkeep_takes_no_more_than_a_batch_at_a_time(db: Database, clock: FakeClock, ask: Any, write: Any) -> None:
    await write(*[ask() for _ in range(7)])
    clock.move(seconds=600)
    found = []
    for _ in range(4):
        async with db.transaction() as tx:
            found.append(len(await commands.end_overdue_tasks(tx, limit=3)))
    assert found == [3, 3, 1, 0]


# --- numbers ---


async def test_tallies_stay_true_when_folded(db: Database, ask: Any, write: Any, claim: Any) -> None:
    for _ in range(5):
        await write(ask(), ask(kind="fitting"))
        for mine in await claim():
            await finish(db, Finish(mine, [an_item()], unsaved=delivered(mine, 0)))
    async with db.read() as conn:
        before = await tallies.sum_tallies(conn)
    for _ in range(2):
        async with db.transaction() as tx:
            await commands.fold_tallies(tx, rows_min=3)
    async with db.read() as conn:
        assert await tallies.sum_tallies(conn) == before == {("travel", "completed"): 5, ("fitting", "completed"): 5}
    assert await db.fetchval("SELECT count(*) FROM tally") == 2


async def test_history_can_be_written_and_not_rewritten(db: Database, ask: Any, write: Any, claim: Any) -> None:
    import asyncpg

    await write(ask())
    await claim()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await db.fetch("UPDATE history SET reason = 'other'")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await db.fetch("DELETE FROM history")
