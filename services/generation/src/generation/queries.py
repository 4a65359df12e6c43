"""Reads that are more than one statement, or kept for a moment."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar, get_args
from uuid import UUID

from common.db import Database
from common.events import Item
from common.events.tasks import Kind
from common.objects.keys import task_of
from generation.domain import Attempt, Failure, QueueNumbers, Scene, Task
from generation.store import attempts, callbacks, items, scenes, tallies, tasks

T = TypeVar("T")

KINDS: tuple[Kind, ...] = get_args(Kind)


class Kept(Generic[T]):
    """One answer kept for a moment; who comes while it is being found waits for it."""

    def __init__(self, find: Callable[[], Awaitable[T]], *, seconds: float) -> None:
        self._find = find
        self._seconds = seconds
        self._found: tuple[T, float] | None = None
        self._finding = asyncio.Lock()
        self._forgotten = 0

    async def get(self) -> T:
        """The answer, found anew when it is too old."""
        async with self._finding:
            if self._found is not None and time.monotonic() < self._found[1]:
                return self._found[0]
            forgotten, found = self._forgotten, await self._find()
            if forgotten == self._forgotten:
                self._found = (found, time.monotonic() + self._seconds)
            return found

    def forget(self) -> None:
        """The next asker gets a new answer, not one that is being found now either."""
        self._found = None
        self._forgotten += 1


class KeptScenes:
    """All scenes, a few seconds old at most: there are few, and every create looks at one."""

    def __init__(self, db: Database, *, seconds: float) -> None:
        self._db = db
        self._kept = Kept(self._load, seconds=seconds)

    async def list(self) -> Sequence[Scene]:
        """All, in the order shown."""
        return list((await self._kept.get()).values())

    async def find(self, scene_id: str) -> Scene | None:
        """One by its id."""
        return (await self._kept.get()).get(scene_id)

    def forget(self) -> None:
        """They are other ones now."""
        self._kept.forget()

    async def _load(self) -> Mapping[str, Scene]:
        async with self._db.read() as conn:
            return {scene.scene_id: scene for scene in await scenes.list_scenes(conn)}


class KeptQueue:
    """The queue's statistics, a moment old at most: what is open is counted, what ended is summed from tallies."""

    def __init__(self, db: Database, *, seconds: float) -> None:
        self._db = db
        self._kept = Kept(self._count, seconds=seconds)

    async def numbers(self) -> dict[Kind, QueueNumbers]:
        """Per kind."""
        return await self._kept.get()

    async def _count(self) -> dict[Kind, QueueNumbers]:
        async with self._db.read() as conn:
            open_ones = await tasks.count_open(conn)
            ended = await tallies.sum_tallies(conn)
        return {
            kind: QueueNumbers(*open_ones.get(kind, (0, 0, 0)), completed=ended.get((kind, "completed"), 0), failed=ended.get((kind, "failed"), 0))
            for kind in KINDS
        }


async def list_page(db: Database, user_id: UUID, *, kinds: Sequence[Kind], states: Sequence[str], limit: int, offset: int) -> tuple[list[Task], int]:
    """A page of one owner's tasks and how many there are in all."""
    async with db.read() as conn:
        page = await tasks.list_owner_tasks(conn, user_id, kinds=kinds, states=states, limit=limit, offset=offset)
        total = len(page) if offset == 0 and len(page) < limit else await tasks.count_owner_tasks(conn, user_id, kinds=kinds, states=states)
    return page, total


async def list_everybodys(
    db: Database, *, kinds: Sequence[Kind], states: Sequence[str], user_id: UUID | None, limit: int, offset: int
) -> tuple[list[Task], int]:
    """A page of all tasks, for operators, and how many there are in all."""
    if user_id is not None:
        return await list_page(db, user_id, kinds=kinds, states=states, limit=limit, offset=offset)
    async with db.read() as conn:
        page = await tasks.list_all_tasks(conn, kinds=kinds, states=states, limit=limit, offset=offset)
        return page, await tasks.count_all_tasks(conn, kinds=kinds, states=states)


async def list_lent(db: Database, user_id: UUID, page: Sequence[Task]) -> frozenset[str]:
    """Photos of this user's tasks that are somebody else's. A good link let them be used once; it is not theirs to be given new ones for ever."""
    own = f"uploads/{user_id}/"
    others = {key: task_of(key) for task in page for key in task.brief.photos if not key.startswith(own)}
    if not others:
        return frozenset()
    async with db.read() as conn:
        mine = await tasks.list_owned(conn, user_id, [task_id for task_id in others.values() if task_id is not None])
    return frozenset(key for key, task_id in others.items() if task_id not in mine)


@dataclass(frozen=True, slots=True)
class Past:
    """What earlier claims of a task left: items that arrived, items that never will, the journal."""

    items: list[Item]
    failures: dict[int, Failure]
    journal: list[Attempt]


async def read_past(db: Database, task_id: UUID) -> Past:
    """For a worker that takes over a task."""
    async with db.read() as conn:
        return Past(
            (await items.list_items(conn, [task_id]))[task_id],
            await items.list_failures(conn, task_id),
            (await attempts.list_attempts(conn, [task_id]))[task_id],
        )


async def read_callback(db: Database, task_id: UUID, attempt_no: int) -> tuple[str, bytes] | None:
    """(what it says, body) of the call that answers an attempt."""
    async with db.read() as conn:
        return await callbacks.read_taken(conn, task_id, attempt_no)
