"""What tasks tell becomes works: once, whatever is told twice, late, or in one batch with much else."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from common.bus.inbox import insert_heard
from common.db import Database
from common.events import Event, UserRegistered
from common.ids import new_id
from works import commands, store
from works.domain import NewWork

Tell = Callable[[Sequence[Event[Any]]], Awaitable[None]]


@pytest.fixture
async def db(service_database: Any) -> Database:
    database: Database = await service_database("works")
    return database


@pytest.fixture
def tell(db: Database) -> Tell:
    """One batch, as the consumer hands it over."""

    async def tell_batch(events: Sequence[Event[Any]]) -> None:
        async with db.transaction() as tx:
            await commands.keep_told(tx, events)

    return tell_batch


async def everything(db: Database) -> dict[str, list[Any]]:
    """All that was kept and said, without what depends on when it was heard."""
    works = await db.fetch("SELECT work_id, user_id, kind, status, task_sequence, version, is_public, body, created_at FROM work ORDER BY 1")
    songs = await db.fetch("SELECT task_id, work_id, user_id, status, task_sequence, body, created_at FROM song ORDER BY 1")
    shelves = await db.fetch("SELECT * FROM shelf ORDER BY 1, 2")
    said = await db.fetch("SELECT topic, key, payload FROM outbox_fact ORDER BY key")
    return {"works": list(map(tuple, works)), "songs": list(map(tuple, songs)), "shelves": list(map(tuple, shelves)), "said": list(map(tuple, said))}


async def empty(db: Database) -> None:
    for table in ("work", "song", "shelf", "outbox", "inbox"):
        await db.fetch(f"DELETE FROM {table}")


async def test_a_task_that_ended_well_is_a_work_with_its_items(db: Database, tell: Tell, facts: Any) -> None:
    task, user = new_id(), new_id()
    await tell([facts.created(task, user)])
    async with db.read() as conn:
        work = await store.load_work(conn, task)
    assert work is not None
    assert (work.status, work.pictures) == ("processing", [])

    await tell([facts.completed(task, user, description="a warm evening", tags=("warm",))])
    async with db.read() as conn:
        work = await store.load_work(conn, task)
    assert work is not None
    assert (work.status, work.body["description"], work.body["tags"]) == ("completed", "a warm evening", ["warm"])
    assert [item["index"] for item in work.pictures] == [0, 1]
    assert await db.fetchval("SELECT count(*) FROM outbox_fact WHERE topic = 'work.created'") == 1


@pytest.mark.parametrize("end", ["failed", "cancelled"])
async def test_a_task_that_delivered_nothing_is_kept_and_not_announced(db: Database, tell: Tell, facts: Any, end: str) -> None:
    task, user = new_id(), new_id()
    await tell([facts.created(task, user)])
    await tell([getattr(facts, end)(task, user)])
    assert await db.fetchval("SELECT status FROM work WHERE work_id = $1", task) == end
    assert await db.fetchval("SELECT count(*) FROM outbox_fact") == 0
    assert await db.fetchval(f"SELECT {end} FROM shelf WHERE user_id = $1", user) == 1


async def test_an_end_that_overtook_its_creation_is_not_undone_and_takes_its_time(db: Database, tell: Tell, facts: Any) -> None:
    task, user = new_id(), new_id()
    created = facts.created(task, user, minutes=0)
    await tell([facts.completed(task, user, minutes=3)])
    await tell([created])
    row = await db.fetchrow("SELECT status, created_at FROM work WHERE work_id = $1", task)
    assert row is not None
    assert (row["status"], row["created_at"]) == ("completed", created.time)
    assert await db.fetchval("SELECT count(*) FROM outbox_fact") == 1


async def test_a_fact_about_anothers_work_changes_nothing(db: Database, tell: Tell, facts: Any) -> None:
    task, user, thief = new_id(), new_id(), new_id()
    await tell([facts.created(task, user)])
    await tell([facts.completed(task, thief)])
    assert await db.fetchval("SELECT (status, user_id) = ('processing', $2) FROM work WHERE work_id = $1", task, user)
    assert await db.fetchval("SELECT count(*) FROM shelf") == 0


async def photo_work(db: Database, user: Any) -> Any:
    """A photo kept by hand."""
    ask = NewWork(work_id=new_id(), user_id=user, is_public=False, body={"title": "Photo", "image": "uploads/x/y.jpg"}, body_hash=b"x")
    async with db.transaction() as tx:
        await commands.create_works(tx, [ask])
    return ask.work_id


async def test_a_song_for_a_photo_adds_audio_to_that_work(db: Database, tell: Tell, facts: Any) -> None:
    user, first, second = new_id(), new_id(), new_id()
    work_id = await photo_work(db, user)
    await tell([facts.created(first, user, kind="song", work_id=work_id)])
    assert await db.fetchval("SELECT status FROM work WHERE work_id = $1", work_id) == "created"
    await tell([facts.completed(first, user, kind="song", work_id=work_id, lyrics="la")])
    await tell([facts.completed(second, user, kind="song", work_id=work_id, minutes=9)])
    async with db.read() as conn:
        work = await store.load_work(conn, work_id)
    assert work is not None
    assert work.status == "completed"
    assert [item["key"] for item in work.audios] == [facts.song(second).key, facts.song(first).key]
    assert work.image_key == "uploads/x/y.jpg"
    assert await db.fetchval("SELECT count(*) FROM work") == 1
    assert await db.fetchval("SELECT count(*) FROM outbox_fact") == 1, "the work was announced when it was made, and once"
    assert tuple((await db.fetch("SELECT created, completed FROM shelf"))[0]) == (0, 1)


async def test_a_failed_song_leaves_its_photo_as_it_was(db: Database, tell: Tell, facts: Any) -> None:
    user, task = new_id(), new_id()
    work_id = await photo_work(db, user)
    await tell([facts.created(task, user, kind="song", work_id=work_id), facts.failed(task, user, kind="song", work_id=work_id)])
    async with db.read() as conn:
        work = await store.load_work(conn, work_id)
    assert work is not None
    assert (work.status, work.audios) == ("created", [])


async def test_a_song_for_anothers_photo_stays_out_of_it(db: Database, tell: Tell, facts: Any) -> None:
    work_id = await photo_work(db, new_id())
    await tell([facts.completed(new_id(), new_id(), kind="song", work_id=work_id)])
    async with db.read() as conn:
        work = await store.load_work(conn, work_id)
    assert work is not None
    assert (work.status, work.audios) == ("created", [])


async def test_a_strangers_song_in_the_same_batch_does_not_hide_the_owners(db: Database, tell: Tell, facts: Any) -> None:
    user, stranger = new_id(), new_id()
    work_id = await photo_work(db, user)
    own, strange = [facts.completed(new_id(), one, kind="song", work_id=work_id) for one in (user, stranger)]
    await tell(sorted([own, strange], key=lambda event: event.fact.task_id))
    await tell([facts.completed(new_id(), stranger, kind="song", work_id=work_id)])
    assert await db.fetchval("SELECT status FROM work WHERE work_id = $1", work_id) == "completed"
    assert [tuple(row) for row in await db.fetch("SELECT user_id, created, completed FROM shelf")] == [(user, 0, 1)]


async def test_a_song_heard_before_the_work_it_was_made_for_is_found_once_the_work_is_there(db: Database, tell: Tell, facts: Any) -> None:
    user, photos, song = new_id(), new_id(), new_id()
    await tell([facts.completed(song, user, kind="song", work_id=photos, minutes=9)])
    await tell([facts.completed(photos, user)])
    async with db.read() as conn:
        work = await store.load_work(conn, photos)
    assert work is not None
    assert (len(work.pictures), len(work.audios)) == (2, 1)


def a_busy_hour(facts: Any, luck: random.Random) -> list[Event[Any]]:
    """Many tasks of few users, some with songs added to their pictures."""
    users = [new_id() for _ in range(3)]
    events = []
    for number in range(12):
        task, user = new_id(), luck.choice(users)
        events.append(facts.created(task, user, minutes=number))
        end = luck.choice([facts.completed, facts.completed, facts.failed, facts.cancelled, None])
        if end is not None:
            events.append(end(task, user, minutes=number + 1))
        if end is facts.completed:
            song = new_id()
            events.append(facts.created(song, user, kind="song", work_id=task, minutes=number + 2))
            events.append(facts.completed(song, user, kind="song", work_id=task, minutes=number + 3))
    return events


@pytest.mark.parametrize("seed", range(12))
async def test_any_order_any_batching_and_every_fact_twice_end_in_the_same_rows(db: Database, tell: Tell, facts: Any, seed: int) -> None:
    luck = random.Random(seed)
    events = a_busy_hour(facts, luck)
    for event in events:
        await tell([event])
    expected = await everything(db)
    await empty(db)

    shuffled = events + events
    luck.shuffle(shuffled)
    while shuffled:
        size = luck.randint(1, 20)
        await tell(shuffled[:size])
        del shuffled[:size]
    assert await everything(db) == expected


async def test_two_replicas_that_hear_the_two_topics_of_the_same_tasks_agree(db: Database, tell: Tell, facts: Any) -> None:
    user = new_id()
    tasks = [new_id() for _ in range(60)]
    created = [facts.created(task, user) for task in tasks]
    completed = [facts.completed(task, user) for task in reversed(tasks)]

    async def hear(events: Sequence[Event[Any]]) -> None:
        for start in range(0, len(events), 7):
            await tell(events[start : start + 7])

    await asyncio.gather(hear(created), hear(completed), hear(created[::-1]))
    assert await db.fetchval("SELECT count(*) FROM work WHERE status = 'completed' AND created_at = $1", created[0].time) == 60
    assert await db.fetchval("SELECT completed FROM shelf WHERE user_id = $1", user) == 60
    assert await db.fetchval("SELECT count(DISTINCT key) FROM outbox_fact") == await db.fetchval("SELECT count(*) FROM outbox_fact") == 60


async def test_names_follow_the_newest_fact(db: Database) -> None:
    user = new_id()
    newer, older = (UserRegistered(sequence=n, user_id=user, name=name, source="email") for n, name in ((2, "Ada"), (1, "ada")))
    for batch in ([newer], [older], [older, newer]):
        async with db.transaction() as tx:
            await commands.keep_names(tx, [Event(new_id(), fact, tx.now) for fact in batch])
    assert await db.fetchval("SELECT name FROM person WHERE user_id = $1", user) == "Ada"


async def test_a_batch_of_ended_tasks_costs_few_statements_however_large_it_is(db: Database, tell: Tell, facts: Any) -> None:
    async def statements(tasks: int) -> int:
        counted = 0

        def count(_query: Any) -> None:
            nonlocal counted
            counted += 1

        ids = [(new_id(), new_id()) for _ in range(tasks)]
        events = [facts.created(*one) for one in ids] + [facts.completed(*one) for one in ids]
        async with db.transaction() as tx:
            with tx.conn.query_logger(count):
                await insert_heard(tx, "works", [event.event_id for event in events])
                await commands.keep_told(tx, events)
        return counted

    await statements(1)  # a new connection asks for its types first
    # The inbox, the works with their numbers; the outbox and the commit come from outside.
    assert await statements(1) == await statements(200) == 2
