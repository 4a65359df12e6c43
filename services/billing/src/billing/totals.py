"""The numbers operators look at, counted at most every few seconds whoever asks."""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from billing.store import ledger, orders
from billing.store.ledger import LedgerSums
from billing.store.orders import DaySums
from common.db import Database


@dataclass(frozen=True, slots=True)
class TotalsShown:
    """Sales by currency, and the ledger of credits."""

    days: list[DaySums]
    credits: LedgerSums
    at: datetime


class Totals:
    """Kept for a moment, because an overview is looked at by several people at once."""

    def __init__(self, db: Database, *, kept_seconds: float) -> None:
        self._db = db
        self._kept = timedelta(seconds=kept_seconds)
        self._last: TotalsShown | None = None
        self._one_at_a_time = asyncio.Lock()

    async def read(self) -> TotalsShown:
        """As they are, or were a moment ago."""
        async with self._one_at_a_time:
            now = self._db.clock.now()
            if self._last is None or now - self._last.at >= self._kept:
                async with self._db.read() as conn:
                    days = await orders.sum_days(conn, now)
                    self._last = TotalsShown(days, await ledger.sum_ledger(conn, now, "credit"), now)
            return self._last

    async def close_days(self) -> None:
        """Sum up the days that are over, so that only today's entries are left to be counted."""
        async with self._db.transaction() as tx:
            await ledger.close_days(tx.conn, tx.now)
