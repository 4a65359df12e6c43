"""How far running tasks are: told at most twice a second each, at least once, numbered within a claim, only ever rising."""

import asyncio
import time
from collections.abc import Callable, Sequence
from uuid import UUID

from common.bus import Bus
from common.events import Fact, TaskProgressed
from generation.bell import Bell
from generation.domain import Claim

PENDING_MAX = 20_000
"""Beyond so many untold tasks news is dropped: progress may be lost, memory may not."""


class _Course:
    """One claim's progress."""

    __slots__ = ("claim", "n", "percent", "told_at")

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.n = 0
        self.percent = 0
        self.told_at = float("-inf")


class Progress:
    """Gathers what workers report and tells it on the bus, without outbox: it may be lost."""

    def __init__(self, bus: Bus, *, every_seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._bus = bus
        self._every_seconds = every_seconds
        self._monotonic = monotonic
        self._courses: dict[UUID, _Course] = {}
        self._untold: dict[UUID, tuple[_Course, str]] = {}
        self._once: list[Fact] = []
        self._bell = Bell()

    def report(self, claim: Claim, percent: int, message: str) -> None:
        """A claim got so far. What comes before the last is told is replaced by it."""
        course = self._courses.get(claim.task_id)
        if course is None or course.claim.claim_no != claim.claim_no:
            course = self._courses[claim.task_id] = _Course(claim)
        course.n += 1
        course.percent = max(course.percent, min(percent, 100))
        if len(self._untold) < PENDING_MAX:
            self._untold[claim.task_id] = (course, message)
            self._bell.ring()

    def report_once(self, claims: Sequence[Claim], percent: int, message: str) -> None:
        """These claims got so far, and will be over before there is more to say."""
        room = PENDING_MAX - len(self._once)
        self._once.extend(_fact(claim, 1, percent, message) for claim in claims[: max(room, 0)])
        self._bell.ring()

    def forget(self, claim: Claim) -> None:
        """The claim is over; only if nothing was told of it yet, its last step still will be."""
        course = self._courses.get(claim.task_id)
        if course is not None and course.claim.claim_no == claim.claim_no:
            del self._courses[claim.task_id]
            if course.told_at > float("-inf"):
                self._untold.pop(claim.task_id, None)

    def percent_of(self, task_id: UUID) -> int | None:
        """How far a task is that is being made here."""
        course = self._courses.get(task_id)
        return course.percent if course is not None else None

    async def run(self, draining: asyncio.Event) -> None:
        """Tell until draining."""
        async with self._bell.rings_on(draining):
            while not draining.is_set():
                await self._tell()
                await self._bell.wait(self._every_seconds / 5 if self._untold else None)
        await self._tell()

    async def _tell(self) -> None:
        now = self._monotonic()
        due = [task_id for task_id, (course, _) in self._untold.items() if now - course.told_at >= self._every_seconds]
        facts, self._once = self._once, []
        for task_id in due:
            course, message = self._untold.pop(task_id)
            course.told_at = now
            facts.append(_fact(course.claim, course.n, course.percent, message))
        if facts:
            await self._bus.tell(facts)


def _fact(claim: Claim, n: int, percent: int, message: str) -> TaskProgressed:
    return TaskProgressed(
        sequence=claim.version, task_id=claim.task_id, user_id=claim.user_id, kind=claim.kind, claim_no=claim.claim_no, n=n, progress=percent,
        stage="running", message=message,
    )  # fmt: skip
