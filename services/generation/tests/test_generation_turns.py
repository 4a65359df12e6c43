"""Whose turn it is: better ranks first, nobody for ever last, nobody with more than their share, and nothing forgotten."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, Protocol
from uuid import UUID

import asyncpg
import orjson
import pytest

from common.clock import FakeClock
from common.db import Database
from common.errors import Unavailable
from common.ids import new_id
from common.testing.explained import Explained, blocks_of
from generation import commands, lanes
from generation.domain import Attempt, AttemptEnd, Cancel, Claim, Fairness, Finish, Placed, Rank
from generation.settings import GenerationSettings
from generation.store import attempts, tasks, turns
from generation.upkeep import Upkeep

LEASE = timedelta(seconds=60)
SILENCE = timedelta(seconds=240)


class Place(Protocol):
    """`await place(user, 3, "member")`: so many tasks of this user, and their ids."""

    async def __call__(self, user_id: UUID, count: int = 1, rank: Rank = "normal", *, kind: str = "travel") -> list[UUID]: ...


class Take(Protocol):
    """`await take(2)`: a claim of two slots, with the limits that are delivered."""

    async def __call__(self, limit: int, *, songs: bool = False, fairness: Fairness | None = None) -> list[Claim]: ...


@pytest.fixture
def place(db: Database, ask: Any, settings: GenerationSettings) -> Place:
    async def make(user_id: UUID, count: int = 1, rank: Rank = "normal", *, kind: str = "travel") -> list[UUID]:
        asks = [ask(user_id=user_id, kind=kind) for _ in range(count)]
        limits, handicap = settings.limits_of("travel"), settings.fairness.handicaps[rank]
        async with db.transaction() as tx:
            await commands.create_tasks(tx, [Placed(ask=one, price=1, limits=limits, rank=rank, handicap=handicap) for one in asks])
        return [one.task_id for one in asks]

    return make


@pytest.fixture
def take(db: Database, settings: GenerationSettings) -> Take:
    async def claim(limit: int, *, songs: bool = False, fairness: Fairness | None = None) -> list[Claim]:
        async with db.read() as conn:
            terms = fairness or settings.fairness
            return (await commands.claim_tasks(conn, songs=songs, now=db.clock.now(), lease=LEASE, limit=limit, provider=None, fairness=terms)).claims

    return claim


@pytest.fixture
def end(db: Database) -> Callable[..., Awaitable[None]]:
    async def finish(*claims: Claim) -> None:
        async with db.transaction() as tx:
            await commands.finish_tasks(tx, [Finish(one, []) for one in claims])

    return finish


def users_of(claims: list[Claim]) -> list[UUID]:
    return [claim.user_id for claim in claims]


async def test_an_admin_goes_before_a_member_and_a_member_before_everybody_else(clock: FakeClock, place: Place, take: Take) -> None:
    normal, member, admin = new_id(), new_id(), new_id()
    for user_id, rank in ((normal, "normal"), (member, "member"), (admin, "admin")):
        await place(user_id, 2, rank)
        clock.move(seconds=1)
    order = [user_id for _ in range(6) for user_id in users_of(await take(1))]
    assert order == [admin, admin, member, member, normal, normal]
    assert await take(1) == []


async def test_one_claim_of_many_slots_keeps_the_same_order(clock: FakeClock, place: Place, take: Take) -> None:
    normal, member, admin = new_id(), new_id(), new_id()
    for user_id, rank in ((normal, "normal"), (member, "member"), (admin, "admin")):
        await place(user_id, 2, rank)
        clock.move(seconds=1)
    assert users_of(await take(4)) == [admin, admin, member, member]
    assert users_of(await take(4)) == [normal, normal]


async def test_users_of_one_rank_take_turns_however_much_one_of_them_asked_for(clock: FakeClock, place: Place, take: Take, end: Any) -> None:
    greedy, modest, late = new_id(), new_id(), new_id()
    of_greedy = await place(greedy, 4)
    clock.move(seconds=1)
    await place(modest, 2)
    order: list[UUID] = []
    for number in range(7):
        clock.move(seconds=1)
        if number == 2:
            await place(late, 1)
        (claim,) = await take(1)
        order.append(claim.user_id)
        await end(claim)
    assert order == [greedy, modest, greedy, modest, late, greedy, greedy]
    assert len(of_greedy) == 4


async def test_who_waited_long_goes_before_a_better_rank_that_comes_now(clock: FakeClock, place: Place, take: Take, end: Any) -> None:
    normal, member = new_id(), new_id()
    await place(normal, 2)
    clock.move(seconds=50)
    await place(member, 1, "member")
    order: list[str] = []
    for second in range(150):
        await place(new_id(), 1, "admin")  # one a second comes, and one a second is made
        (claim,) = await take(1)
        await end(claim)
        if claim.user_id in (normal, member):
            order.append(f"{'normal' if claim.user_id == normal else 'member'} after {50 + second} s")
        clock.move(seconds=1)
    assert order == ["member after 110 s", "normal after 121 s"]


@pytest.mark.parametrize(("rank", "most"), [("normal", 3), ("member", 6), ("admin", 20)])
async def test_nobody_has_more_running_than_their_rank_may(rank: Rank, most: int, clock: FakeClock, place: Place, take: Take, end: Any) -> None:
    user_id, other = new_id(), new_id()
    await place(user_id, most + 2, rank)
    await place(user_id, 1, rank, kind="song")
    clock.move(seconds=1)
    first = await take(64)
    assert users_of(first) == [user_id] * most
    assert await take(64) == []
    assert len(await take(64, songs=True)) == 1, "pictures and songs are counted apart"
    await place(other)
    assert users_of(await take(64)) == [other], "who has enough holds up nobody"
    await end(first[0])
    assert users_of(await take(64)) == [user_id]
    await end(*first[1:])
    assert users_of(await take(64)) == [user_id]
    assert await take(64) == []


async def test_a_place_is_filled_at_once_however_many_before_have_enough(db: Database, clock: FakeClock, place: Place, take: Take) -> None:
    for _ in range(30):
        await place(new_id(), 4)
    assert len(await take(90)) == 90
    clock.move(seconds=1)
    last = new_id()
    await place(last)
    assert users_of(await take(1)) == [last]
    assert await take(1) == []


async def test_the_places_of_those_who_have_enough_go_to_the_next_in_line(clock: FakeClock, place: Place, take: Take) -> None:
    for _ in range(3):
        await place(new_id(), 4)
    assert len(await take(9)) == 9
    clock.move(seconds=1)
    others = [new_id() for _ in range(4)]
    for user_id in others:
        clock.move(seconds=1)
        await place(user_id, 2)
    assert users_of(await take(4)) == others
    assert set(users_of(await take(8))) == set(others), "and one more each"


async def test_a_claim_names_those_whose_turn_it_passed_over(db: Database, settings: GenerationSettings, place: Place, take: Take) -> None:
    enough, other, over = new_id(), new_id(), new_id()
    await place(enough, 5)
    await place(over, 3)
    assert len(await take(6)) == 6
    await place(other, 5)
    async with db.read() as conn:
        claimed = await commands.claim_tasks(conn, songs=False, now=db.clock.now(), lease=LEASE, limit=9, provider=None, fairness=settings.fairness)
    assert users_of(claimed.claims) == [other] * 3
    assert claimed.passed == {enough}, "of one nothing waits, and one was served"


async def test_tasks_are_all_written_before_any_turn(db: Database, ask: Any, settings: GenerationSettings) -> None:
    placed = [Placed(ask=ask(kind=kind), price=1, limits=settings.limits_of("travel")) for kind in ("song", "travel", "song", "travel")]
    async with db.transaction() as tx:
        await commands.create_tasks(tx, placed)
    last_task = await db.fetchval("SELECT max(cmin::text::bigint) FROM task")
    assert await db.fetchval("SELECT count(*) FROM turn WHERE cmin::text::bigint > $1", last_task) == 4


async def test_what_lapsed_is_taken_over_first_and_whatever_its_user_has_running(clock: FakeClock, place: Place, take: Take) -> None:
    user_id = new_id()
    await place(user_id, 5)
    first = await take(8)
    await place(new_id(), 2, "admin")
    clock.move(seconds=60)
    again = await take(4)
    assert [one.task_id for one in again[:3]] == [one.task_id for one in first]
    assert {one.claim_no for one in again[:3]} == {2}
    assert len(again) == 4
    assert again[3].user_id != user_id


async def test_a_cancelled_task_leaves_a_turn_that_the_next_claim_takes_away(db: Database, place: Place, take: Take) -> None:
    user_id, other = new_id(), new_id()
    (mine,) = await place(user_id)
    async with db.transaction() as tx:
        await commands.cancel_tasks(tx, [Cancel(mine, user_id)])
    await place(other)
    assert users_of(await take(2)) == [other]
    assert await db.fetchval("SELECT count(*) FROM turn") == 0


async def test_a_claim_that_dies_before_it_is_committed_changes_nothing(db: Database, settings: GenerationSettings, place: Place, take: Take) -> None:
    user_id = new_id()
    ids = await place(user_id, 3)
    with pytest.raises(Unavailable):
        async with db.transaction() as tx:
            claimed = await commands.claim_few_tasks(
                tx, songs=False, lease=LEASE, limit=2, provider=None, fairness=settings.fairness, running_max=9, silence=SILENCE
            )
            assert len(claimed.claims) == 2
            await db.fetchval("SELECT pg_terminate_backend($1)", tx.conn.get_server_pid())
            await tx.conn.fetchval("SELECT 1")
    claims = await take(5)
    assert {one.task_id for one in claims} == set(ids)
    assert {one.claim_no for one in claims} == {1}


async def test_a_turn_nobody_remembered_is_given_back_by_upkeep(db: Database, settings: GenerationSettings, edge: Any, place: Place, take: Take) -> None:
    await place(new_id(), 2)
    await place(new_id(), 1, kind="song")
    await db.fetch("DELETE FROM turn")
    assert await take(5) == []
    await Upkeep(db, edge.workers, settings).sweep()
    assert len(await take(5)) == 2
    assert len(await take(5, songs=True)) == 1
    assert sorted(edge.workers.woken) == [False, True]


async def test_upkeep_looks_for_forgotten_turns_every_few_minutes_and_for_what_is_overdue_every_time(
    db: Database, clock: FakeClock, settings: GenerationSettings, edge: Any, place: Place, take: Take
) -> None:
    upkeep = Upkeep(db, edge.workers, settings)
    await upkeep.sweep()
    await place(new_id())
    await db.fetch("DELETE FROM turn")
    clock.move(seconds=299)
    await upkeep.sweep()
    assert await take(5) == []
    clock.move(seconds=1)
    await upkeep.sweep()
    assert await db.fetchval("SELECT count(*) FROM turn") == 1
    clock.move(seconds=300)
    await upkeep.sweep()
    assert await db.fetchval("SELECT state FROM task") == "failed", "it waited for ten minutes"


async def test_so_many_run_at_once_as_are_allowed_in_all_with_two_workers_claiming(db: Database, settings: GenerationSettings, place: Place) -> None:
    for _ in range(20):
        await place(new_id(), 2)

    async def claim() -> int:
        async with db.transaction() as tx:
            claimed = await commands.claim_few_tasks(
                tx, songs=False, lease=LEASE, limit=4, provider=None, fairness=settings.fairness, running_max=5, silence=SILENCE
            )
            return len(claimed.claims)

    assert sum(await asyncio.gather(*(claim() for _ in range(6)))) == 5
    assert await db.fetchval("SELECT count(*) FROM task WHERE state = 'running'") == 5


@pytest.fixture
def start(db: Database, clock: FakeClock, settings: GenerationSettings) -> Callable[..., Awaitable[list[Claim]]]:
    """Has tasks claimed, five at a time in all, and gives each to an engine that will call back, or not."""

    async def begin(*, attempt_no: int = 1) -> list[Claim]:
        async with db.transaction() as tx:
            claimed = await commands.claim_few_tasks(
                tx, songs=False, lease=LEASE, limit=16, provider=None, fairness=settings.fairness, running_max=5, silence=SILENCE
            )  # fmt: skip
        for claim in claimed.claims:
            attempt = Attempt(
                attempt_no=attempt_no, item_index=None, claim_no=claim.claim_no, state="submitting", provider="n8n", created_at=clock.now(),
            )  # fmt: skip
            async with db.transaction() as tx:
                assert await commands.open_attempt(tx, claim, attempt)
                await attempts.save_attempts(tx.conn, [(claim.task_id, AttemptEnd(attempt_no, "submitted"))], now=tx.now)
                assert await commands.give_back(tx.conn, claim, claim.deadline_at)
        return claimed.claims

    return begin


async def test_engines_that_stay_silent_keep_nobody_elses_place_and_are_given_no_more_than_so_many_in_the_time_they_may_be_silent(
    db: Database, clock: FakeClock, place: Place, start: Any
) -> None:
    for _ in range(20):
        await place(new_id())
    begun: list[int] = []
    for _ in range(9):
        begun.append(len(await start()))
        clock.move(seconds=60)
    assert begun == [5, 0, 0, 0, 5, 0, 0, 0, 5]
    assert await db.fetchval("SELECT count(*) FROM task WHERE state = 'running'") == 15, "their tasks live on"


async def test_a_place_is_held_as_long_as_the_last_attempt_may_be_at_work(db: Database, clock: FakeClock, place: Place, start: Any) -> None:
    users = [new_id() for _ in range(6)]
    for user_id in users[:5]:
        await place(user_id)
    first = await start()
    assert len(first) == 5
    clock.move(seconds=200)
    for claim in first:
        async with db.transaction() as tx:
            await attempts.save_attempts(tx.conn, [(claim.task_id, AttemptEnd(1, "failed"))], now=tx.now)
            await commands.give_back(tx.conn, replace(claim, claim_no=claim.claim_no + 1), tx.now)
    again = await start(attempt_no=2)
    assert {one.task_id for one in again} == {one.task_id for one in first}
    await place(users[5])
    clock.move(seconds=239)
    assert await start() == []
    clock.move(seconds=1)
    assert users_of(await start()) == [users[5]]


async def test_what_engines_are_silent_about_is_not_counted_of_its_user_either(clock: FakeClock, place: Place, start: Any) -> None:
    user_id = new_id()
    await place(user_id, 5)
    assert len(await start()) == 3
    clock.move(seconds=239)
    assert await start() == []
    clock.move(seconds=1)
    assert len(await start()) == 2


async def test_who_is_at_work_near_the_deadline_still_holds_a_place(db: Database, clock: FakeClock, place: Place, take: Take, start: Any) -> None:
    for _ in range(5):
        await place(new_id())
    held = await take(5)
    clock.move(seconds=1170)
    async with db.read() as conn:
        assert len(await tasks.renew_leases(conn, {one.task_id: one.claim_no for one in held}, now=clock.now(), lease=LEASE)) == 5
    await place(new_id())
    assert await start() == []


async def test_many_claim_while_others_ask_cancel_and_end_and_nothing_is_forgotten(
    db: Database, settings: GenerationSettings, place: Place, take: Take, end: Any
) -> None:
    """Real races: six claim at once, four ask, one cancels. Nobody ever has more than their share, and all of it is made."""
    chance = random.Random(7)
    users: list[tuple[UUID, Rank]] = [(new_id(), rank) for rank in ("normal", "normal", "normal", "member", "admin")]
    asked: list[UUID] = []
    claimed: Counter[UUID] = Counter()
    is_asking = True
    too_many: list[Any] = []

    async def ask() -> None:
        for _ in range(25):
            user_id, rank = chance.choice(users)
            asked.extend(await place(user_id, chance.randint(1, 3), rank))
            await asyncio.sleep(0)

    async def cancel() -> None:
        while is_asking:
            if asked:
                async with db.transaction() as tx:
                    await commands.cancel_tasks(tx, [Cancel(chance.choice(asked), None)])
            await asyncio.sleep(0.005)

    async def work() -> None:
        idle = 0
        while is_asking or idle < 20:
            claims = await take(chance.randint(1, 4))
            idle = 0 if claims else idle + 1
            claimed.update(one.task_id for one in claims)
            rows = await db.fetch("SELECT user_id, count(*) AS many FROM task WHERE state = 'running' GROUP BY user_id")
            most = {user_id: settings.fairness.running_max[rank] or 0 for user_id, rank in users}
            too_many.extend(dict(row) for row in rows if row["many"] > most[row["user_id"]])
            await asyncio.sleep(0.002)
            if claims:
                await end(*claims)

    async def everybody_asks() -> None:
        nonlocal is_asking
        await asyncio.gather(*(ask() for _ in range(4)))
        is_asking = False

    async with asyncio.timeout(60):
        await asyncio.gather(everybody_asks(), cancel(), *(work() for _ in range(6)))
    states = Counter(dict(await db.fetch("SELECT state, count(*) FROM task GROUP BY state")))
    assert too_many == []
    assert set(states) <= {"failed", "cancelled"}, states
    assert sum(states.values()) == len(asked)
    assert max(claimed.values()) == 1
    assert await db.fetchval("SELECT count(*) FROM turn") == 0


async def test_the_token_says_admin_and_the_hold_says_member(db: Database, edge: Any, neighbours: Any) -> None:
    normal, member, admin = new_id(), new_id(), new_id()
    neighbours.members |= {member, admin}
    for user_id in (normal, member, admin):
        wish = {"type": "travel", "images": [edge.upload(user_id)]}
        assert (await edge.call("POST", "/api/tasks/create", user_id, json=wish, admin=user_id == admin))[0] == 200
    assert (await edge.call("POST", "/music/tasks", member, json={"prompt": "waves"}))[0] == 201
    rows = await db.fetch("SELECT user_id, songs, rank, round(extract(epoch FROM turn_at - $1))::int AS waits FROM turn", edge.deps.db.clock.now())
    assert {(row["user_id"], row["songs"]): (row["rank"], row["waits"]) for row in rows} == {
        (normal, False): ("normal", 120), (member, False): ("member", 60), (admin, False): ("admin", 0), (member, True): ("member", 60),
    }  # fmt: skip


async def test_a_member_may_have_more_waiting_than_others(
    db: Database, ask: Any, place: Place, neighbours: Any, passes: Any, tmp_path: Any, settings: GenerationSettings
) -> None:
    small = settings.model_copy(update={"waiting_tasks_per_user_max": 2, "waiting_tasks_per_member_max": 4})
    member, normal = new_id(), new_id()
    await place(member, 2, "member")
    await place(normal, 2)
    creator = lanes.Creator(db, None, None, small)  # type: ignore[arg-type]
    asks = [ask(user_id=user_id, waiting_max=small.waiting_max(admin=False)) for user_id in (member, normal, member, member)]
    refused = await creator._over_cap(asks)
    assert {task_id: error.data for task_id, error in refused.items()} == {
        asks[1].task_id: {"waiting": 2, "limit": 2}, asks[3].task_id: {"waiting": 4, "limit": 4},
    }  # fmt: skip


async def test_a_member_who_has_not_much_waiting_yet_may_ask_for_it_all_at_once(db: Database, ask: Any, place: Place, settings: GenerationSettings) -> None:
    small = settings.model_copy(update={"waiting_tasks_per_user_max": 4, "waiting_tasks_per_member_max": 8})
    member, normal = new_id(), new_id()
    await place(member, 3, "member")
    await place(normal, 3)
    creator = lanes.Creator(db, None, None, small)  # type: ignore[arg-type]
    asks = [ask(user_id=user_id, waiting_max=small.waiting_max(admin=False)) for user_id in (member, normal) for _ in range(6)]
    refused = await creator._over_cap(asks)
    assert {task_id: error.data for task_id, error in refused.items()} == {
        asks[5].task_id: {"waiting": 8, "limit": 8}, **{one.task_id: {"waiting": 4, "limit": 4} for one in asks[7:]},
    }  # fmt: skip


# --- what a claim costs ---


async def test_a_claim_and_upkeep_read_as_much_when_a_hundred_thousand_tasks_wait_as_when_two_thousand_do(service_database: Any, superuser_url: Any) -> None:
    await service_database("generation")
    conn = await asyncpg.connect(await superuser_url("generation"))
    try:
        await conn.set_type_codec("jsonb", schema="pg_catalog", encoder=lambda value: orjson.dumps(value).decode(), decoder=orjson.loads)
        await conn.execute("SET jit = off")
        now, costs = await conn.fetchval("SELECT now()"), {}
        settings_now = Fairness(running_max={"admin": 20, "member": 6, "normal": 3})
        made = 0
        for many in (2_000, 100_000):
            await conn.execute(WAITING, made + 1, many)
            made = many
            await conn.execute("VACUUM ANALYZE task")
            await conn.execute("VACUUM ANALYZE turn")
            for limit in (1, 16, 256):
                costs[many, limit] = await _cost_of_a_claim(conn, now, limit, settings_now)
            costs[many, 0] = await _cost_of_a_claim(conn, now, 1, settings_now, ahead=30)
            costs[many, -1] = await blocks_of(conn, partial(_look_for_overdue, now=now), rows=0)
        for limit in (1, 16, 256):
            assert costs[100_000, limit] <= 1.5 * costs[2_000, limit] + 30, costs
            assert costs[100_000, limit] <= 60 + 60 * limit, costs
        assert costs[100_000, 0] <= 1.5 * costs[2_000, 0] + 30, costs
        assert costs[100_000, -1] <= 10, costs
    finally:
        await conn.close()


async def _look_for_overdue(conn: Any, now: Any) -> int:
    return len(await tasks.lock_overdue(conn, now=now, limit=500))


async def _cost_of_a_claim(conn: asyncpg.Connection, now: Any, limit: int, fairness: Fairness, *, ahead: int = 0) -> int:
    """Blocks that a claim touched, with the dearer of its two plans, behind so many users who have enough; it is rolled back."""
    costs = []
    for generic in (False, True):
        undo = conn.transaction()
        await undo.start()
        await conn.execute(ENOUGH, ahead)
        explained: Any = Explained(conn, generic)
        await commands.claim_tasks(explained, songs=False, now=now, lease=LEASE, limit=limit, provider=None, fairness=fairness)
        claimed = await conn.fetchval("SELECT count(*) FROM task WHERE state = 'running' AND claim_no = 1")
        await undo.rollback()
        assert claimed == 2 * limit, "explained, and once more"
        costs.append(explained.blocks)
    return max(costs)


ENOUGH = """
INSERT INTO task (task_id, user_id, work_id, created_at, due_at, start_by, deadline_at, price, asked, kind, state, body_hash, brief)
SELECT gen_random_uuid(), user_id, gen_random_uuid(), now(), now() + interval '60 s', now(), now() + interval '900 s', 1, 1, 'travel', 'running', '\\x00', '{}'
FROM (SELECT user_id FROM turn ORDER BY turn_at LIMIT $1) AS ahead, generate_series(1, 3)
"""


WAITING = """
WITH made AS (
    INSERT INTO task (task_id, user_id, work_id, created_at, due_at, start_by, deadline_at, price, asked, kind, body_hash, brief)
    SELECT gen_random_uuid(), md5((n % 2500)::text)::uuid, gen_random_uuid(), t, t, t + interval '600 s', t + interval '900 s', 1, 1, 'travel', '\\x00', '{}'
    FROM generate_series($1::int, $2::int) AS n, LATERAL (SELECT now() - (100001 - n) * interval '1 ms') AS x (t)
    RETURNING user_id, due_at
)
INSERT INTO turn (songs, user_id, rank, turn_at) SELECT false, user_id, 'normal', min(due_at) FROM made GROUP BY user_id ON CONFLICT DO NOTHING
"""


async def test_what_turns_there_are_is_known(db: Database, place: Place) -> None:
    async with db.read() as conn:
        assert not await turns.has_turns(conn, songs=False)
        user_id = new_id()
        await place(user_id, 1, "member")
        assert await turns.has_turns(conn, songs=False)
        assert not await turns.has_turns(conn, songs=True)
        assert await turns.list_members(conn, [user_id, new_id()]) == {user_id}
