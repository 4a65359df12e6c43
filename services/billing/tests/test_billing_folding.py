"""A batch that names one account or task several times leaves what the same asks one by one leave."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.domain import Held, Hold
from common.errors import ServiceError
from common.ids import new_id

# (which user, which task of theirs, items, price, body)
places = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(1, 4), st.sampled_from((1, 2)), st.sampled_from("aab")), min_size=1, max_size=8)
# (which user, which task of theirs, delivered)
ends = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=10)
Place = tuple[int, int, int, int, str]
End = tuple[int, int, int]


class World:
    """Two users and four tasks each: the same story can be told in several worlds, and what is left of it compared."""

    def __init__(self, bank: Any) -> None:
        self.bank = bank
        self.users = [new_id(), new_id()]
        self.tasks = [[new_id() for _ in range(4)] for _ in range(2)]
        self.names = {task_id: (user, number) for user, tasks in enumerate(self.tasks) for number, task_id in enumerate(tasks)}

    def ask(self, place: Place) -> Any:
        user, task, items, price, body = place
        return self.bank.ask(self.users[user], items, task_id=self.tasks[user][task], price=price, body=body)

    def end(self, end: End) -> tuple[UUID, int]:
        user, task, delivered = end
        return self.tasks[user][task], delivered

    async def left(self) -> list[Any]:
        """Everything that is stored or told, with names instead of ids."""
        numbers = await self.bank.db.fetch(
            """
            SELECT array_position($1, user_id) AS user_no, posted, held, consumed, version, entries, records, lots #>> '{}' AS lots
            FROM account WHERE user_id = ANY($1::uuid[]) AND asset = 'credit' ORDER BY 1
            """,
            self.users,
        )
        holds = await self.bank.db.fetch(
            "SELECT task_id, state, captured_amount, price, items, draws #>> '{}' AS draws, body_hash FROM hold WHERE task_id = ANY($1::uuid[])",
            list(self.names),
        )
        histories = [
            [(one.number, one.kind, one.amount, one.available_after, self.names.get(one.ref_id)) for one in await self.bank.history(user)]
            for user in self.users
        ]
        facts = [
            (self.users.index(fact.user_id), fact.sequence, fact.kind, fact.amount, fact.available, fact.held, self.names.get(fact.task_id))
            for fact in await self.bank.facts()
            if fact.user_id in self.users and fact.asset == "credit"
        ]
        return [[tuple(row) for row in numbers], sorted((self.names[row["task_id"]], *list(row)[1:]) for row in holds), histories, sorted(facts)]


def told(outcome: object) -> object:
    """An outcome without its ids and with the numbers its caller was told."""
    if isinstance(outcome, Held):
        return outcome.available, outcome.hold.amount
    if isinstance(outcome, ServiceError):
        return type(outcome), outcome.data
    assert isinstance(outcome, Hold)
    return outcome.state, outcome.captured_amount


async def tell(bank: Any, story: Sequence[Place], endings: Sequence[End]) -> None:
    at_once, one_by_one = World(bank), World(bank)
    for world in (at_once, one_by_one):
        await bank.open(*world.users)
    together = await bank.place(*[at_once.ask(place) for place in story])
    alone = [(await bank.place(one_by_one.ask(place)))[0] for place in story]
    assert [told(outcome) for outcome in together] == [told(outcome) for outcome in alone]
    assert await at_once.left() == await one_by_one.left()
    together = await bank.capture(*[at_once.end(end) for end in endings])
    # In a batch an outcome is the hold as the batch left it; a hold resolves once, so that is also what it was then.
    alone = [(await bank.capture(one_by_one.end(end)))[0] for end in endings]
    assert [told(outcome) for outcome in together] == [told(outcome) for outcome in alone]
    assert await at_once.left() == await one_by_one.left()
    await bank.check()


async def test_a_batch_equals_its_asks_one_by_one(bank) -> None:
    loop = asyncio.get_running_loop()

    def wait(work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result(timeout=30)

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(places, ends)
    def story(placed: list[Place], ended: list[End]) -> None:
        wait(tell(bank, placed, ended))

    await asyncio.to_thread(story)
