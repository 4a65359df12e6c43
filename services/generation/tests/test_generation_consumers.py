"""What generation hears about itself only wakes its workers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

from common.events import Event, TaskCreated
from common.events.tasks import Kind
from common.ids import new_id
from generation import consumers
from generation.deps import Deps
from generation.progress import Progress
from generation.worker import BatchWorker, Crew, SingleWorker


@dataclass
class Bell:
    rung: list[bool] = field(default_factory=list)

    def wake(self, *, songs: bool = False) -> None:
        self.rung.append(songs)


@dataclass
class Workplace:
    workers: Crew


def created(kind: Kind = "travel", task_id: UUID | None = None) -> Event[TaskCreated]:
    task_id = task_id or new_id()
    return Event(new_id(), TaskCreated(sequence=1, task_id=task_id, user_id=new_id(), kind=kind, asked=1, price=1, work_id=task_id), datetime.now(UTC))


def crew_with(bell: Bell) -> Crew:
    return Crew(cast(Progress, None), batch=cast(BatchWorker, bell))


async def hear(crew: Crew, events: Sequence[Event[TaskCreated]]) -> None:
    await consumers.on_task_created(cast(Deps, Workplace(crew)), events)


async def test_news_of_others_wakes_the_workers_of_its_kind_however_often_it_comes() -> None:
    bell = Bell()
    crew = crew_with(bell)
    song, picture = created("song"), created()
    await hear(crew, [song, picture, song])
    await hear(crew, [picture])
    assert sorted(bell.rung) == [False, False, True]


async def test_ones_own_news_wakes_nobody() -> None:
    bell = Bell()
    crew = crew_with(bell)
    own = [created() for _ in range(3)]
    crew.created([event.fact.task_id for event in own])
    await hear(crew, own)
    assert bell.rung == []
    await hear(crew, [*own, created()])
    assert bell.rung == [False]


async def test_a_process_without_workers_hears_and_does_nothing() -> None:
    await hear(Crew(cast(Progress, None)), [created(), created("song")])
    single: Any = Bell()
    crew = Crew(cast(Progress, None), songs=cast(SingleWorker, single))
    await hear(crew, [created()])
    assert single.rung == []
