"""The rules and the statements agree: whatever happens to a task, the rows end as the domain says."""

from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from common.clock import FakeClock
from common.db import Database
from common.errors import TaskNotCancellable
from common.events import Item
from generation import commands, domain
from generation.domain import Arrival, Cancel, Claim, Failure, Fairness, Finish, Finished, ItemRow, Outcome, Stale, Task
from generation.store import items, tasks

LEASE = timedelta(seconds=60)
SHA256 = "ab" * 32

STEPS = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([1, 59, 61, 300, 700])),
    st.tuples(st.just("claim"), st.just(0)),
    st.tuples(st.just("arrive"), st.integers(0, 2)),
    st.tuples(st.just("arrive late"), st.integers(0, 2)),
    st.tuples(st.just("renew"), st.integers(0, 1)),
    st.tuples(st.just("give back"), st.sampled_from([0, 5, 5000])),
    st.tuples(st.just("finish"), st.integers(0, 1)),
    st.tuples(st.just("finish late"), st.just(0)),
    st.tuples(st.just("cancel"), st.just(0)),
    st.tuples(st.just("sweep"), st.just(0)),
)


def an_item(index: int) -> Item:
    return Item(index=index, key=f"results/x/{index}-{SHA256}.webp", sha256=SHA256, size_bytes=9, content_type="image/webp", width=8, height=6)


class Pair:
    """One task twice: as the domain has it, and as the rows have it."""

    def __init__(self, db: Database, clock: FakeClock, task: Task) -> None:
        self.db, self.clock, self.task = db, clock, task
        self.arrived: set[int] = set()
        self.claims: list[Claim] = []

    def number(self, back: int = 0) -> int:
        return self.claims[-1 - back].claim_no if len(self.claims) > back else self.task.claim_no + 7

    def claim_named(self, claim_no: int) -> Claim:
        task = self.task
        return Claim(task.task_id, task.user_id, task.work_id, task.kind, task.version, claim_no, task.asked, None, task.deadline_at, task.brief, None)

    async def wait(self, seconds: int) -> None:
        self.clock.move(seconds=seconds)

    async def claim(self, _: int) -> None:
        async with self.db.read() as conn:
            found = await commands.claim_tasks(conn, songs=False, now=self.clock.now(), lease=LEASE, limit=100, provider=None, fairness=Fairness())
        mine = [one for one in found.claims if one.task_id == self.task.task_id]
        assert bool(mine) == domain.is_claimable(self.task, self.clock.now())
        if mine:
            self.task = domain.claim(self.task, self.clock.now(), LEASE)
            assert (mine[0].claim_no, mine[0].version) == (self.task.claim_no, self.task.version)
            self.claims.append(mine[0])

    async def arrive(self, index: int, *, back: int = 0) -> None:
        claim_no = self.number(back)
        async with self.db.transaction() as tx:
            (kept,) = await commands.save_arrivals(tx, [Arrival(self.task.task_id, claim_no, [ItemRow(self.task.task_id, index, an_item(index))], None)])
        assert kept == domain.holds_claim(self.task, claim_no)
        if kept:
            self.arrived.add(index)

    async def arrive_late(self, index: int) -> None:
        await self.arrive(index, back=1)

    async def renew(self, back: int) -> None:
        claim_no = self.number(back)
        async with self.db.read() as conn:
            kept = await tasks.renew_leases(conn, {self.task.task_id: claim_no}, now=self.clock.now(), lease=LEASE)
        after = domain.renew(self.task, claim_no, self.clock.now(), LEASE)
        assert bool(kept) == isinstance(after, Task)
        self.task = after if isinstance(after, Task) else self.task

    async def give_back(self, seconds: int) -> None:
        claim_no, due_at = self.number(), self.clock.now() + timedelta(seconds=seconds)
        async with self.db.read() as conn:
            given = await commands.give_back(conn, self.claim_named(claim_no), due_at)
        after = domain.give_back(self.task, claim_no, due_at)
        assert given == isinstance(after, Task)
        self.task = after if isinstance(after, Task) else self.task

    async def finish(self, with_one_more: int, *, back: int = 0) -> None:
        claim_no, held = self.number(back), domain.holds_claim(self.task, self.number(back))
        new = [index for index in range(with_one_more) if index not in self.arrived]
        delivered = [an_item(index) for index in sorted(self.arrived | set(new))]
        failures = {2: Failure("refused", "no")}
        end = Finish(self.claim_named(claim_no), delivered, failures, Outcome(engine="x"), [ItemRow(self.task.task_id, index, an_item(index)) for index in new])
        async with self.db.transaction() as tx:
            (outcome,) = await commands.finish_tasks(tx, [end])
        after = domain.finish(self.task, claim_no, len(delivered), failures, Outcome(engine="x"), self.clock.now())
        assert outcome == (after if isinstance(after, Stale) else Finished(after.state, after.version))
        if isinstance(after, Task):
            self.task = after
            self.arrived |= set(new) if held else set()

    async def finish_late(self, _: int) -> None:
        await self.finish(1, back=1)

    async def cancel(self, _: int) -> None:
        async with self.db.transaction() as tx:
            (outcome,) = await commands.cancel_tasks(tx, [Cancel(self.task.task_id, self.task.user_id)])
        if self.task.state in ("completed", "failed"):
            assert isinstance(outcome, TaskNotCancellable)
            assert outcome.data == {"status": self.task.state}
            return
        assert isinstance(outcome, Task)
        self.task = domain.cancel(self.task, "owner", len(self.arrived), self.clock.now())

    async def sweep(self, _: int) -> None:
        async with self.db.transaction() as tx:
            await commands.end_overdue_tasks(tx, limit=1000)
        self.task = domain.expire(self.task, len(self.arrived), [], self.clock.now())

    async def compare(self) -> None:
        """Row, items and history say what the domain says."""
        async with self.db.read() as conn:
            row = (await tasks.list_known(conn, [self.task.task_id]))[self.task.task_id].task
            arrived = (await items.list_items(conn, [self.task.task_id]))[self.task.task_id]
            history = await conn.fetch("SELECT version, to_state FROM history WHERE task_id = $1 ORDER BY version", self.task.task_id)
        assert row == self.task
        assert {item.index for item in arrived} == self.arrived
        assert [one["version"] for one in history] == list(range(2, self.task.version + 1))
        assert not history or history[-1]["to_state"] == self.task.state


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=3, max_size=14))
async def test_any_order_of_events_leaves_the_rows_as_the_rules_say(db: Database, clock: FakeClock, ask: Any, write: Any, steps: list[tuple[str, int]]) -> None:
    pair = Pair(db, clock, await write(ask(asked=3)))
    for what, much in steps:
        await getattr(pair, what.replace(" ", "_"))(much)
        await pair.compare()
    ended = await db.fetchval("SELECT count(*) FROM outbox_fact WHERE key = $1 AND topic <> 'task.created'", str(pair.task.task_id))
    assert ended == int(pair.task.is_ended)
