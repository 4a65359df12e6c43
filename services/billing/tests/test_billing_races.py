"""Real second connections at once: nobody spends what is not there, nothing resolves twice, nobody waits in a ring."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg

from billing import commands, lanes
from billing.domain import CaptureHold, Held, Hold
from common.db import Database
from common.errors import Conflict, InsufficientCredits
from common.ids import new_id

BATCH = 25
OpenDatabase = Callable[..., Awaitable[Database]]


async def test_fifty_creates_at_once_on_a_balance_of_one_accept_one_each_of_fifty_rounds(bank, service_database: OpenDatabase) -> None:
    """Over two processes' lanes, as generation's requests come in: single asks, each a request of its own."""
    other = await service_database("billing", clock=bank.clock)
    async with lanes.holds_lane(bank.db, bank.terms, bank.signup) as first, lanes.holds_lane(other, bank.terms, bank.signup) as second:
        for _ in range(50):
            user_id = new_id()
            await bank.adjust(user_id, -9)
            answers = await asyncio.gather(*((first, second)[number % 2]([bank.ask(user_id)]) for number in range(50)))
            outcomes = [outcome for answer in answers for outcome in answer]
            assert sum(isinstance(outcome, Held) for outcome in outcomes) == 1
            assert sum(isinstance(outcome, InsufficientCredits) for outcome in outcomes) == 49
            assert await bank.available(user_id) == 0
    await bank.check()


async def test_transactions_of_one_ask_each_do_not_overspend_either(bank, user_id: UUID) -> None:
    """Eight connections that hold nothing back: the row lock alone decides."""
    await bank.open(user_id)
    outcomes = await asyncio.gather(*(bank.place(bank.ask(user_id, 3)) for _ in range(8)))
    assert sum(isinstance(outcome, Held) for [outcome] in outcomes) == 3
    assert await bank.available(user_id) == 1
    await bank.check()


async def test_first_touches_at_once_open_one_account_with_one_gift(bank, service_database: OpenDatabase) -> None:
    other = await service_database("billing", clock=bank.clock)
    for _ in range(10):
        users = [new_id() for _ in range(3)]
        shuffled = [random.Random(seed).sample(users, 3) for seed in range(6)]
        await asyncio.gather(*(lanes.read_balances((bank.db, other)[number % 2], bank.signup, users) for number, users in enumerate(shuffled)))
        for user_id in users:
            assert await bank.available(user_id) == 10
    await bank.check()


async def test_capture_and_release_of_ten_thousand_holds_race_and_exactly_one_wins(bank, service_database: OpenDatabase) -> None:
    other = await service_database("billing", clock=bank.clock)
    users = [new_id() for _ in range(25)]
    for user_id in users:
        await bank.adjust(user_id, 1000)
    won: Counter[str] = Counter()
    for round_no in range(20):
        asks = [bank.ask(user_id, 2) for user_id in users for _ in range(20)]
        tasks = [ask.task_id for ask in asks]
        assert all(isinstance(outcome, Held) for outcome in await bank.place(*asks))
        outcomes = await asyncio.gather(
            _end(bank.db, _shuffled(tasks, round_no), 2), _end(other, _shuffled(tasks, -round_no), 0), _end(other, _shuffled(tasks, round_no + 99), 2)
        )
        for row in await bank.db.fetch("SELECT task_id, state FROM hold WHERE task_id = ANY($1::uuid[])", tasks):
            told = [type(outcome.pop(row["task_id"])) for outcome in outcomes]
            assert told == {"captured": [Hold, Conflict, Hold], "released": [Conflict, Hold, Conflict]}[row["state"]]
            won[row["state"]] += 1
        assert not any(outcomes)
    assert won.total() == 10_000
    assert min(won["captured"], won["released"]) > 100, f"neither side wins as a rule: {won}"
    await bank.check()


def _shuffled(tasks: list[UUID], seed: int) -> list[UUID]:
    return random.Random(seed).sample(tasks, len(tasks))


async def _end(db: Database, tasks: list[UUID], delivered: int) -> dict[UUID, object]:
    """In batches, each of other holds than the other side's, so that the two sides interleave."""
    outcomes: dict[UUID, object] = {}
    while tasks:
        batch, tasks = tasks[:BATCH], tasks[BATCH:]
        async with db.transaction() as tx:
            outcomes |= dict(zip(batch, await commands.capture_holds(tx, [CaptureHold(task_id, delivered) for task_id in batch]), strict=True))
    return outcomes


async def test_placing_and_capturing_the_same_accounts_at_once_never_deadlocks(bank, service_database: OpenDatabase) -> None:
    other = await service_database("billing", clock=bank.clock)
    users = [new_id() for _ in range(12)]
    for user_id in users:
        await bank.adjust(user_id, 1000)
    tasks: list[UUID] = []

    async def place(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(8):
            asks = [bank.ask(chance.choice(users)) for _ in range(20)]
            await bank.place(*asks)
            tasks.extend(ask.task_id for ask in asks)

    async def capture(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(12):
            await _end(other, chance.sample(tasks, min(len(tasks), 30)), 1)

    try:
        async with asyncio.TaskGroup() as group:
            for seed in range(3):
                group.create_task(place(seed))
                group.create_task(capture(seed))
    except* asyncpg.DeadlockDetectedError as error:
        raise AssertionError("two transactions waited in a ring") from error
    await bank.check()


async def test_one_key_a_hundred_times_at_once_is_one_hold(bank, user_id: UUID, service_database: OpenDatabase) -> None:
    other = await service_database("billing", clock=bank.clock)
    ask = bank.ask(user_id, 4)
    async with lanes.holds_lane(bank.db, bank.terms, bank.signup) as first, lanes.holds_lane(other, bank.terms, bank.signup) as second:
        answers = await asyncio.gather(*((first, second)[number % 2]([ask]) for number in range(100)))
    assert {outcome.available for [outcome] in answers} == {6}
    assert [record.kind for record in await bank.history(user_id)] == ["gift", "consume"]
    await bank.check()
