"""Progress: numbered, rising, throttled, at least once."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from common.events import Fact, TaskProgressed
from common.ids import new_id
from generation.domain import Brief, Claim
from generation.progress import Progress


class Ear:
    """A bus that only listens."""

    def __init__(self) -> None:
        self.told: list[TaskProgressed] = []

    async def tell(self, facts: Sequence[Fact]) -> None:
        self.told.extend(fact for fact in facts if isinstance(fact, TaskProgressed))


def a_claim(claim_no: int = 1) -> Claim:
    task_id = new_id()
    return Claim(task_id, new_id(), task_id, "travel", 2, claim_no, 4, None, datetime.now(UTC), Brief(), None)


async def test_many_steps_of_one_task_are_told_at_most_twice_a_second_and_only_rise() -> None:
    ear, now = Ear(), 100.0
    progress = Progress(ear, every_seconds=0.5, monotonic=lambda: now)  # type: ignore[arg-type]
    claim = a_claim()
    for percent in (5, 30, 20, 60):
        progress.report(claim, percent, f"at {percent}")
        await progress._tell()
    now += 0.5
    await progress._tell()
    await progress._tell()
    assert [(fact.n, fact.progress, fact.message) for fact in ear.told] == [(1, 5, "at 5"), (4, 60, "at 60")]
    assert progress.percent_of(claim.task_id) == 60


async def test_a_task_that_ends_at_once_is_still_told_once() -> None:
    ear, draining = Ear(), asyncio.Event()
    progress = Progress(ear, every_seconds=0.01)  # type: ignore[arg-type]
    claims = [a_claim() for _ in range(100)]
    for claim in claims:
        progress.report(claim, 5, "started")
        progress.forget(claim)
    draining.set()
    await progress.run(draining)
    assert sorted(fact.task_id for fact in ear.told) == sorted(claim.task_id for claim in claims)
    assert progress.percent_of(claims[0].task_id) is None


async def test_a_new_claim_counts_from_the_start_under_its_own_number() -> None:
    ear, now = Ear(), 0.0
    progress = Progress(ear, every_seconds=0.5, monotonic=lambda: now)  # type: ignore[arg-type]
    first = a_claim()
    second = Claim(first.task_id, first.user_id, first.work_id, "travel", 2, 2, 4, None, first.deadline_at, Brief(), None)
    progress.report(first, 80, "nearly")
    await progress._tell()
    progress.report(second, 5, "again")
    progress.forget(first)
    await progress._tell()
    assert [(fact.claim_no, fact.n, fact.progress) for fact in ear.told] == [(1, 1, 80), (2, 1, 5)]
