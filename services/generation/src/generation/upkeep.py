"""The loops that repair: tasks whose time is up are ended, forgotten turns given, tallies kept few. Expired leases need no loop: claiming finds them."""

from datetime import datetime, timedelta

from common.db import Database
from common.log import get_logger
from generation import commands
from generation.deps import Workers
from generation.settings import GenerationSettings

log = get_logger()

TALLIES_MIN = 200
TURNS_EVERY = timedelta(minutes=5)
"""Forgotten turns are looked for at the start and then so often: only a process of an older version forgets them, and all that waits is read for it.
Sooner than anything may wait for its start."""


class Upkeep:
    """Sweeps, each one batch at a time until nothing is left."""

    def __init__(self, db: Database, workers: Workers, settings: GenerationSettings) -> None:
        self._db = db
        self._workers = workers
        self._settings = settings
        self._turns_due_at: datetime | None = None

    async def sweep(self) -> None:
        """End overdue tasks, give forgotten turns, fold tallies, forget the bytes of old calls back."""
        limit = self._settings.upkeep_batch_max
        while await self._end_overdue(limit) >= limit:
            pass
        async with self._db.transaction() as tx:
            restored = 0
            if is_due := self._turns_due_at is None or self._turns_due_at <= tx.now:
                restored = await commands.restore_turns(tx, self._settings.fairness)
            await commands.fold_tallies(tx, rows_min=TALLIES_MIN)
            await commands.forget_callbacks(tx, before=tx.now - timedelta(days=self._settings.callback_kept_days), limit=limit)
        if is_due:
            self._turns_due_at = tx.now + TURNS_EVERY
        if restored:
            log.warning("turns.restored", users=restored)
            for songs in (True, False):
                self._workers.wake(songs=songs)

    async def _end_overdue(self, limit: int) -> int:
        async with self._db.transaction() as tx:
            ended = await commands.end_overdue_tasks(tx, limit=limit)
        for task in ended:
            log.warning("task.overdue", task_id=str(task.task_id), state=task.state, delivered=task.delivered, kind=task.kind)
        if ended:
            self._workers.drop([task.task_id for task in ended])
        return len(ended)
