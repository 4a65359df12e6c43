"""What stands between a hold and its task; and statements that stay quick when tables grow."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import asyncpg
import pytest

from common.client import ServiceClient
from common.clock import FakeClock
from common.db import Database, OutcomeUnknown, Tx
from common.errors import Unavailable
from common.events import Item
from common.ids import new_id
from common.testing.doors import Passes
from generation import commands, lanes
from generation.clients import Billing
from generation.domain import Created, Fairness, Finish, ItemRow, Outcome, Placed, Seats
from generation.settings import GenerationSettings
from generation.store import tasks

SHA256 = "ab" * 32


class Workers:
    """One worker's seats, as the creator sees them."""

    def __init__(self, seats: int = 0) -> None:
        self.free = seats
        self.seated: list[Any] = []
        self.woken: list[bool] = []

    def created(self, task_ids: Any) -> None: ...

    def heard_of(self, task_ids: Any, *, songs: bool) -> None: ...

    def wake(self, *, songs: bool) -> None:
        self.woken.append(songs)

    def reserve(self, count: int) -> Seats | None:
        taken = min(count, self.free)
        self.free -= taken
        return Seats(count=taken, provider="instant", lease=timedelta(seconds=60)) if taken else None

    def seat(self, seats: Seats, claims: Any) -> None:
        self.free += seats.count
        self.seated.extend(claims)

    def drop(self, task_ids: Any) -> None: ...

    def percent_of(self, task_id: Any) -> int | None:
        return None


@pytest.fixture
def settings_here(passes: Passes, neighbours: Any, tmp_path: Any) -> GenerationSettings:
    return passes.settings(GenerationSettings, "generation", tmp_path, {"BILLING_URL": neighbours.url.split(" ")[0]})


async def create(db: Database, settings: GenerationSettings, workers: Workers, *asks: Any, times: Iterator[float] | None = None) -> list[Any]:
    async with ServiceClient("billing", settings, "generation") as client:
        monotonic = {"monotonic": lambda: next(times)} if times is not None else {}
        return await lanes.Creator(db, Billing(client, call_seconds=5), workers, settings, **monotonic).run(asks)


async def test_a_hold_that_grew_old_on_the_way_is_renewed_before_the_task_is_written(
    db: Database, ask: Any, neighbours: Any, settings_here: GenerationSettings
) -> None:
    one = ask()
    (made,) = await create(db, settings_here, Workers(), one, times=iter([0, 31, 31, 60]))
    assert isinstance(made, Created)
    assert neighbours.asked == [[one.task_id], [one.task_id]]
    assert len(neighbours.holds) == 1


async def test_a_hold_that_never_stays_young_is_given_up_and_nothing_is_written(
    db: Database, ask: Any, neighbours: Any, settings_here: GenerationSettings
) -> None:
    workers = Workers(seats=5)
    with pytest.raises(Unavailable):
        await create(db, settings_here, workers, ask(), times=iter(range(0, 1000, 31)))
    assert await db.fetchval("SELECT count(*) FROM task") == await db.fetchval("SELECT count(*) FROM outbox_fact") == 0
    assert workers.free == 5


async def test_seats_are_filled_first_and_the_rest_is_woken_for(db: Database, ask: Any, settings_here: GenerationSettings) -> None:
    workers = Workers(seats=2)
    asks = [ask(keyed=False) for _ in range(3)]
    made = await create(db, settings_here, workers, *asks)
    assert [one.replayed for one in made] == [False] * 3
    assert len(workers.seated) == 2
    assert workers.woken == [False]
    assert await db.fetchval("SELECT count(*) FROM task WHERE state = 'running'") == 2
    await create(db, settings_here, workers, ask(keyed=False))
    assert workers.woken == [False]


async def test_a_batch_repeated_after_a_lost_commit_answers_what_is_there(db: Database, ask: Any, neighbours: Any, settings_here: GenerationSettings) -> None:
    asks = [ask(keyed=False), ask(), ask()]
    first = await create(db, settings_here, Workers(), *asks)
    again = await create(db, settings_here, Workers(seats=9), *asks)
    assert [one.task.task_id for one in again] == [one.task.task_id for one in first]
    assert [one.replayed for one in again] == [False, True, True]
    assert await db.fetchval("SELECT count(*) FROM task") == len(neighbours.holds) == 3
    assert await db.fetchval("SELECT count(*) FROM outbox_fact") == 3


async def test_two_processes_with_the_same_key_at_once_write_one_task(db: Database, ask: Any, settings_here: GenerationSettings) -> None:
    one = ask()
    answers = await asyncio.gather(*(create(db, settings_here, Workers(seats=place % 2), one) for place in range(8)))
    assert {answer.task.task_id for (answer,) in answers} == {one.task_id}
    assert sum(not answer.replayed for (answer,) in answers) == 1
    assert await db.fetchval("SELECT count(*) FROM task") == await db.fetchval("SELECT count(*) FROM outbox_fact") == 1


class BadLine:
    """A database whose first commit is done and its answer lost."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.commits = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        async with self._db.transaction() as tx:
            yield tx
        self.commits += 1
        if self.commits == 1:
            raise OutcomeUnknown("the answer was lost")


async def test_finishes_meet_in_the_lane_and_survive_a_lost_answer(db: Database, ask: Any, write: Any, claim: Any) -> None:
    await write(*[ask() for _ in range(10)])
    line = BadLine(db)
    async with lanes.finish_lane(cast(Database, line)) as lane:
        ended = await asyncio.gather(*(lane(Finish(mine, [], {}, Outcome())) for mine in await claim()))
    assert {one.state for one in ended} == {"failed"}
    assert line.commits == 2
    assert await db.fetchval("SELECT count(*) FROM outbox_fact WHERE topic = 'task.failed'") == 10


async def test_no_statement_of_the_hot_path_reads_whole_tables_after_growth(
    db: Database, clock: FakeClock, ask: Any, settings: GenerationSettings, superuser_url: Any
) -> None:
    """The plans are made on empty tables and kept until the first ANALYZE, which autovacuum would do."""
    item = Item(index=0, key=f"results/x/0-{SHA256}.webp", sha256=SHA256, size_bytes=9, content_type="image/webp", width=8, height=6)
    users = [new_id() for _ in range(10)]

    async def one_round(place: int) -> None:
        placed = [Placed(ask=ask(user_id=users[one % 10]), price=1, limits=settings.limits_of("travel")) for one in range(40)]
        async with db.transaction() as tx:
            seats = Seats(count=40, provider="x", lease=timedelta(seconds=60)) if place % 2 else None
            _, claims = await commands.create_tasks(tx, placed, seats=seats)
        async with db.read() as conn:
            lease = timedelta(seconds=60)
            claims += (await commands.claim_tasks(conn, songs=False, now=clock.now(), lease=lease, limit=50, provider="x", fairness=Fairness())).claims
            await tasks.list_known(conn, [one.task_id for one in claims])
            await tasks.count_waiting(conn, users)
            await tasks.renew_leases(conn, {one.task_id: one.claim_no for one in claims}, now=clock.now(), lease=timedelta(seconds=60))
        assert len(claims) == 40
        async with db.transaction() as tx:
            await commands.finish_tasks(tx, [Finish(one, [item], {}, Outcome(), [ItemRow(one.task_id, 0, item)]) for one in claims])
        async with db.transaction() as tx:
            await commands.end_overdue_tasks(tx, limit=500)
        async with db.read() as conn:
            await tasks.list_views(conn, [one.task_id for one in claims[:5]])
            await tasks.list_owner_tasks(conn, users[0], kinds=["travel"], states=["completed"], limit=20, offset=0)
        clock.move(seconds=30)

    async def read_whole() -> dict[str, int]:
        await db.fetchval("SELECT pg_stat_force_next_flush()")
        return dict(await db.fetch("SELECT relname, seq_tup_read FROM pg_stat_user_tables WHERE relname IN ('task', 'item', 'attempt', 'history')"))

    for place in range(60):
        await one_round(place)
    autovacuum = await asyncpg.connect(await superuser_url("generation"))
    await autovacuum.execute("ANALYZE task, item, attempt, history")
    await autovacuum.close()
    before = await read_whole()
    for place in range(20):
        await one_round(place)
    after = await read_whole()
    assert {name: after[name] - before[name] for name in after} == dict.fromkeys(after, 0), "some statement reads a whole table every time"
