"""All workers of this process, as the rest of it knows them."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from uuid import UUID

from generation.domain import Claim, Seats
from generation.progress import Progress
from generation.worker.batch import BatchWorker
from generation.worker.single import SingleWorker

OWN_MAX = 8192
"""How many ids of tasks created here are remembered, to know one's own news when it comes back."""


class Crew:
    """Either one worker for pictures and one for songs, or one that makes batches of both, or none."""

    def __init__(
        self, progress: Progress, *, pictures: SingleWorker | None = None, songs: SingleWorker | None = None, batch: BatchWorker | None = None
    ) -> None:
        self._progress = progress
        self._single = {False: pictures, True: songs}
        self._batch = batch
        self._own: tuple[set[UUID], set[UUID]] = (set(), set())

    @property
    def loops(self) -> list[Callable[[asyncio.Event], Coroutine[Any, Any, None]]]:
        """What the service has to run."""
        workers = [worker.run for worker in (*self._single.values(), self._batch) if worker is not None]
        return [self._progress.run, *workers] if workers else []

    def created(self, task_ids: Sequence[UUID]) -> None:
        """These tasks were created in this process."""
        young, _ = self._own
        young.update(task_ids)
        if len(young) > OWN_MAX:
            self._own = set(), young

    def heard_of(self, task_ids: Sequence[UUID], *, songs: bool) -> None:
        """Tasks were created somewhere; those created here are known already."""
        young, old = self._own
        if not set(task_ids) - young <= old:
            self.wake(songs=songs)

    def wake(self, *, songs: bool) -> None:
        """There may be something to claim."""
        if (single := self._single[songs]) is not None:
            single.wake()
        if self._batch is not None:
            self._batch.wake(songs=songs)

    def reserve(self, count: int) -> Seats | None:
        """Room for tasks that may begin at once, if there is any and nobody waits longer."""
        return self._batch.reserve(count) if self._batch is not None else None

    def seat(self, seats: Seats, claims: Sequence[Claim]) -> None:
        """Give reserved room back, some of it filled."""
        if self._batch is not None:
            self._batch.seat(seats, claims)

    def drop(self, task_ids: Sequence[UUID]) -> None:
        """Stop making these tasks: they have ended."""
        for worker in self._single.values():
            if worker is not None:
                worker.drop(task_ids)

    def percent_of(self, task_id: UUID) -> int | None:
        """How far a task is, where it is made in this process."""
        return self._progress.percent_of(task_id)
