"""Whether the books agree with themselves: what changed every minute, everything every night."""

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from billing.domain import Findings
from billing.numbers import Numbers
from billing.store import audit
from common.db import Database
from common.log import get_logger

log = get_logger()

_SECONDS_MAX = 600
# A transaction's moment is when it began; this is longer than any of them lives.
_OVERLAP = timedelta(seconds=60)
_FIRST_REACH = timedelta(hours=1)
# A hold past its deadline gets a look within a sweep; two more are patience for a busy machine.
_OVERDUE_SWEEPS = 3


class Auditor:
    """Compares the books with themselves: every round what changed since the last one, every night everything."""

    def __init__(self, db: Database, numbers: Numbers, *, sweep_seconds: float, full_hour_utc: int) -> None:
        self._db = db
        self._numbers = numbers
        self._overdue = timedelta(seconds=_OVERDUE_SWEEPS * sweep_seconds)
        self._full_hour_utc = full_hour_utc
        self._checked_until: datetime | None = None
        self._full_at = self._next_night(db.clock.now())
        self._one_at_a_time = asyncio.Lock()

    async def check(self) -> None:
        """One round of the loop."""
        now = self._db.clock.now()
        if now >= self._full_at:
            await self.check_everything()
            self._full_at = self._next_night(now)
        else:
            since = self._checked_until or now - _FIRST_REACH
            await self._compare(since - _OVERLAP)
        self._checked_until = now

    async def check_everything(self) -> Findings:
        """All of the books, whatever it takes."""
        return await self._compare(None)

    async def _compare(self, since: datetime | None) -> Findings:
        async with self._one_at_a_time, self._db.transaction() as tx:
            overdue_before = tx.now - self._overdue
            found = await audit.find_disagreements(tx.conn, since=since, overdue_before=overdue_before, seconds=_SECONDS_MAX)
        for name, number in asdict(found).items():
            self._numbers.disagreements.labels(name).set(number)
        if any(asdict(found).values()):
            log.error("audit.disagrees", since=since, **asdict(found))
        return found

    def _next_night(self, now: datetime) -> datetime:
        tonight = now.astimezone(UTC).replace(hour=self._full_hour_utc, minute=0, second=0, microsecond=0)
        return tonight if tonight > now else tonight + timedelta(days=1)
