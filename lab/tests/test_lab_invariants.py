"""The checker: silent about a sound world, and one sentence for each thing that is broken in it."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from billing import commands as billing_commands
from billing.domain import CaptureHold, HoldTerms, PlaceHold, SignUp
from common.db import Database
from common.events import Event, Item, TaskCompleted, TaskCreated, TaskEnded, TaskFailed
from common.objects import FolderObjects
from lab.invariants import Places, check
from notify import commands as notify_commands
from notify.domain import News, NoticeType
from works import commands as works_commands

SERVICES = ("works", "generation", "billing", "notify")
PICTURE = b"a very small picture"
SHA256 = hashlib.sha256(PICTURE).hexdigest()
Urls = Callable[[str], Awaitable[str]]
Open = Callable[[str], Awaitable[Database]]


@dataclass
class World:
    """Four databases and a folder in which two tasks of one user ended: one with a picture, one with nothing."""

    places: Places
    supers: dict[str, asyncpg.Connection]
    folder: Path
    user_id: UUID
    done: UUID
    lost: UUID

    async def spoil(self, service: str, statement: str, *args: object) -> None:
        """Change what no service would."""
        await self.supers[service].execute(statement, *args)

    async def findings(self) -> str:
        """Everything the checker says."""
        return "\n".join(await check(self.places))


@pytest_asyncio.fixture(loop_scope="session")
async def world(service_database: Open, superuser_url: Urls, tmp_path: Path) -> AsyncIterator[World]:
    databases = {service: await service_database(service) for service in SERVICES}
    urls = {service: await superuser_url(service) for service in SERVICES}
    supers = {service: await asyncpg.connect(url, server_settings={"session_replication_role": "replica"}) for service, url in urls.items()}
    async with FolderObjects(tmp_path) as objects:
        made = World(Places(urls, objects), supers, tmp_path, uuid4(), uuid4(), uuid4())
        item = Item(index=0, key=f"results/{made.done}/0-{SHA256}.webp", sha256=SHA256, size_bytes=len(PICTURE), content_type="image/webp", width=8, height=8)
        await objects.put(item.key, PICTURE, item.content_type)
        await plant_tasks(supers["generation"], made, item)
        await plant_holds(databases["billing"], made)
        facts = ends(made, item)
        await plant_works(databases["works"], made, facts)
        await plant_notices(databases["notify"], made, facts)
        for connection in supers.values():
            await connection.execute("DELETE FROM outbox")  # no relay runs here
        yield made
    for connection in supers.values():
        await connection.close()


async def plant_tasks(generation: asyncpg.Connection, world: World, item: Item) -> None:
    now = datetime.now(UTC)
    for task_id, end, delivered in ((world.done, "completed", 1), (world.lost, "failed", 0)):
        await generation.execute(
            """
            INSERT INTO task (task_id, user_id, work_id, created_at, due_at, start_by, deadline_at, started_at, ended_at, version, claim_no, price,
                asked, delivered, kind, state, body_hash, brief)
            VALUES ($1, $2, $1, $3, $3, $4, $4, $3, $3, 3, 1, 1, 1, $5, 'travel', $6, '\\x00', '{}')
            """,
            task_id,
            world.user_id,
            now,
            now + timedelta(minutes=10),
            delivered,
            end,
        )
        steps = [(2, "queued", "running"), (3, "running", end)]
        await generation.executemany(
            "INSERT INTO history (task_id, version, at, from_state, to_state) VALUES ($1, $2, $3, $4, $5)",
            [(task_id, version, now, before, after) for version, before, after in steps],
        )
    await generation.execute(
        "INSERT INTO item (task_id, index, size_bytes, state, key, content_type) VALUES ($1, 0, $2, 'delivered', $3, 'image/webp')",
        world.done,
        item.size_bytes,
        item.key,
    )
    await generation.execute("INSERT INTO item (task_id, index, state) VALUES ($1, 0, 'failed')", world.lost)
    await generation.execute("INSERT INTO tally (kind, state, amount) VALUES ('travel', 'completed', 1), ('travel', 'failed', 1)")


async def plant_holds(billing: Database, world: World) -> None:
    async with billing.transaction() as tx:
        await billing_commands.open_accounts(tx, [world.user_id], SignUp())
    asks = [
        PlaceHold(task_id=task_id, user_id=world.user_id, asset="credit", price=1, items=1, body_hash=b"\0", expires_in_seconds=600)
        for task_id in (world.done, world.lost)
    ]
    async with billing.transaction() as tx:
        await billing_commands.place_holds(tx, asks, HoldTerms())
    async with billing.transaction() as tx:
        await billing_commands.capture_holds(tx, [CaptureHold(world.done, 1), CaptureHold(world.lost, 0)])


def ends(world: World, item: Item) -> list[TaskEnded]:
    return [
        TaskCompleted(
            sequence=3,
            task_id=world.done,
            user_id=world.user_id,
            kind="travel",
            work_id=world.done,
            asked=1,
            delivered=1,
            items=(item,),
            engine="local",
            seed=7,
        ),
        TaskFailed(
            sequence=3,
            task_id=world.lost,
            user_id=world.user_id,
            kind="travel",
            work_id=world.lost,
            asked=1,
            delivered=0,
            reason="timeout",
            message="late",
        ),
    ]


async def plant_works(works: Database, world: World, facts: list[TaskEnded]) -> None:
    now = datetime.now(UTC)
    events: list[Event[TaskCreated | TaskEnded]] = [Event(uuid4(), fact, now) for fact in facts]
    async with works.transaction() as tx:
        await works_commands.keep_told(tx, events)


async def plant_notices(notify: Database, world: World, facts: list[TaskEnded]) -> None:
    news = [News(world.user_id, uuid4(), "work_created", {"work_id": str(world.done), "task_id": str(world.done)})]
    for fact in facts:
        kind: NoticeType = "task_complete" if isinstance(fact, TaskCompleted) else "task_failed"
        news.append(News(world.user_id, uuid4(), kind, {"task_id": str(fact.task_id)}))
    async with notify.transaction() as tx:
        await notify_commands.store_notices(tx, news)


async def test_a_sound_world_is_sound(world: World) -> None:
    assert await check(world.places, accepted=[world.done, world.lost]) == []


async def test_a_promised_task_that_is_not_there_is_named(world: World) -> None:
    promised = uuid4()
    assert await check(world.places, accepted=[promised]) == [f"tasks were accepted but are not stored: {promised}"]


SPOILED = [
    ("generation", "UPDATE task SET state = 'running', ended_at = NULL WHERE task_id = $1", "tasks have not ended"),
    ("generation", "INSERT INTO history (task_id, version, at, from_state, to_state) VALUES ($1, 4, now(), 'completed', 'failed')", "ended more than once"),
    ("generation", "INSERT INTO history (task_id, version, at, from_state, to_state) VALUES ($1, 4, now(), 'completed', 'failed')", "does not exist"),
    ("generation", "DELETE FROM history WHERE task_id = $1 AND version = 2", "histories have gaps"),
    ("generation", "DELETE FROM history WHERE task_id = $1 AND version = 2", "do not continue"),
    ("generation", "UPDATE history SET to_state = 'failed' WHERE task_id = $1 AND version = 3", "end in another state"),
    ("generation", "UPDATE item SET state = 'failed', key = NULL WHERE task_id = $1", "as many as they say"),
    ("generation", "UPDATE item SET key = 'results/x/0-' || repeat('0', 64) || '.webp' WHERE task_id = $1", "do not have what was delivered"),
    ("generation", "UPDATE item SET key = 'results/x/0-' || repeat('0', 64) || '.webp' WHERE task_id = $1", "objects that are missing"),
    ("generation", "UPDATE item SET index = 1 WHERE task_id = $1", "items that nobody asked for"),
    (
        "generation",
        "INSERT INTO attempt (task_id, attempt_no, claim_no, created_at, provider) VALUES ($1, 1, 1, now(), 'local')",
        "attempts left open by tasks that ended",
    ),
    ("generation", "UPDATE tally SET amount = 2 WHERE state = 'completed' AND $1::uuid IS NOT NULL", "tallies that are not"),
    ("generation", "UPDATE item SET size_bytes = 1 WHERE task_id = $1", "not what their key says"),
    ("generation", "DELETE FROM task WHERE task_id = $1", "holds without a task that took something"),
    ("generation", "DELETE FROM task WHERE task_id = $1", "works of no task"),
    ("generation", "DELETE FROM task WHERE task_id = $1", "ends told that did not happen"),
    ("billing", "UPDATE account SET posted = posted + 1 WHERE asset = 'credit' AND $1::uuid IS NOT NULL", "balance is not the sum of their entries"),
    ("billing", "UPDATE account SET posted = posted + 1 WHERE asset = 'credit' AND $1::uuid IS NOT NULL", "do not sum to zero"),
    ("billing", "UPDATE account SET held = 1 WHERE asset = 'credit' AND $1::uuid IS NOT NULL", "another amount than their open holds"),
    ("billing", "UPDATE account SET lots = '[]' WHERE asset = 'credit' AND $1::uuid IS NOT NULL", "lots are not what is available"),
    ("billing", "UPDATE account SET consumed = 5 WHERE asset = 'credit' AND $1::uuid IS NOT NULL", "consumed another amount"),
    ("billing", "UPDATE entry SET reason = 'a gift' WHERE kind = 'signup' AND $1::uuid IS NOT NULL", "chain of entries is broken"),
    ("billing", "DELETE FROM entry WHERE kind = 'capture' AND source = $1::uuid::text", "captured amount is not in the ledger once"),
    ("billing", "DELETE FROM entry WHERE kind = 'capture' AND source = $1::uuid::text", "head is not their last entry's hash"),
    ("billing", "DELETE FROM entry WHERE kind = 'capture' AND source = $1::uuid::text", "entries have gaps"),
    ("billing", "DELETE FROM record WHERE ref_id = $1", "records do not add up to what they took"),
    ("billing", "DELETE FROM record WHERE ref_id = $1", "running number is wrong"),
    ("billing", "UPDATE hold SET state = 'released', captured_amount = 0 WHERE task_id = $1", "holds that do not match their task"),
    ("billing", "UPDATE hold SET state = 'open' WHERE task_id = $1", "holds that are still open"),
    ("billing", "DELETE FROM hold WHERE task_id = $1", "tasks without a hold"),
    ("works", "DELETE FROM work WHERE work_id = $1", "ended tasks without a work"),
    ("works", "DELETE FROM work WHERE work_id = $1", "shelves that count wrong"),
    ("works", "UPDATE work SET status = 'failed' WHERE work_id = $1", "works that do not match their task"),
    ("works", "UPDATE work SET body = '{}' WHERE work_id = $1", "do not have what was delivered"),
    (
        "works",
        "INSERT INTO outbox (facts, created_at, leased_until) "
        "VALUES (json_build_array(json_build_array($1::uuid, 'a.topic', '', '', 1, null, null, ''))::text, now(), now())",
        "works's outbox still has: 1 of a.topic",
    ),
    (
        "works",
        "INSERT INTO dead_letter (group_name, topic, partition, record_offset, event_id, headers, cause, tries, failed_at)"
        " VALUES ('works', 'a.topic', 0, 0, $1, '{}', 'it broke', 5, now())",
        "works gave up on: 1 of a.topic (it broke)",
    ),
    ("notify", "DELETE FROM notice WHERE payload::jsonb ->> 'task_id' = $1::uuid::text AND type = 'task_complete'", "owner was not told"),
    ("notify", "DELETE FROM notice WHERE payload::jsonb ->> 'task_id' = $1::uuid::text AND type = 'task_complete'", "feeds with gaps"),
    ("notify", "DELETE FROM notice WHERE payload::jsonb ->> 'work_id' = $1::uuid::text", "works whose owner was not told"),
    ("notify", "UPDATE notice SET type = 'task_failed' WHERE payload::jsonb ->> 'task_id' = $1::uuid::text", "ends told as another end"),
    (
        "notify",
        "INSERT INTO notice SELECT user_id, 4, gen_random_uuid(), 'task_complete', payload, now() FROM notice"
        " WHERE payload::jsonb ->> 'task_id' = $1::uuid::text AND type = 'task_complete'",
        "ends told more than once",
    ),
    ("notify", "UPDATE notice SET user_id = $1 WHERE seq = 2", "told to somebody else"),
]


@pytest.mark.parametrize(("service", "statement", "sentence"), SPOILED, ids=[f"{service}-{sentence}" for service, _, sentence in SPOILED])
async def test_what_is_broken_is_said(world: World, service: str, statement: str, sentence: str) -> None:
    await world.spoil(service, statement, world.done)
    assert sentence in await world.findings()


async def test_a_work_that_its_owner_deleted_was_rightly_told(world: World) -> None:
    await world.spoil("works", "UPDATE work SET status = 'deleted' WHERE work_id = $1", world.done)
    assert "works told that are not there" not in await world.findings()


async def test_an_object_with_other_bytes_is_named(world: World) -> None:
    stored = next(path for path in world.folder.rglob("*.webp"))
    stored.write_bytes(b"something else")
    assert "objects that are not what their key says" in await world.findings()


async def test_a_song_added_to_a_work_is_expected_there_and_not_as_a_work(world: World) -> None:
    await world.spoil("generation", "UPDATE task SET kind = 'song', work_id = $2 WHERE task_id = $1", world.done, uuid4())
    findings = await world.findings()
    assert f"ended tasks without a work: {world.done}" in findings
    assert json.dumps(str(world.done)) not in findings
