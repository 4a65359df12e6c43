"""From the outbox to the bus: what a commit produced is published from memory at once, and a sweep takes what was left behind."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import groupby
from operator import attrgetter

import structlog

from common.bus import outbox
from common.bus.broker import Bus, BusUnavailable
from common.bus.envelope import Outgoing
from common.db import Database, passes

log = structlog.get_logger()

_PACE_SECONDS = 0.003
_BUSY_ROWS = 4
_SWEEP_ROWS_MAX = 100
_RETRIED_ROWS_MAX = 10_000


class _InFlight:
    """An outbox row in flight: which of its facts have no answer yet, and which the broker will never take."""

    __slots__ = ("errors", "open", "refused", "since")

    def __init__(self, since: float, facts: Iterable[Outgoing]) -> None:
        self.since = since
        self.open = {fact.place for fact in facts}
        self.refused: list[Outgoing] = []
        self.errors: list[str] = []


class Relay:
    """Publishes committed facts; one per process and database.

    A row belongs to the process whose lease it carries; rows are deleted after the broker's acknowledgement, and whatever
    nobody holds (a crash, an overflow, a broker that was away) is taken by the sweep of any replica.
    """

    def __init__(
        self,
        db: Database,
        bus: Bus,
        *,
        lease_seconds: float = 5,
        sweep_seconds: float = 1,
        batch_max: int = 500,
        in_flight_max: int = 20_000,
        delete_every_seconds: float = 0.2,
        retry_parked_seconds: float = 600,
    ) -> None:
        self._db = db
        self._bus = bus
        self.lease = timedelta(seconds=lease_seconds)
        self._sweep_seconds = sweep_seconds
        self._batch_max = batch_max
        self._in_flight_max = in_flight_max
        self._delete_every_seconds = delete_every_seconds
        self._retry_parked_seconds = retry_parked_seconds
        self._waiting: deque[Outgoing] = deque()
        self._in_flight: dict[int, _InFlight] = {}
        self._open = 0
        self._told: list[int] = []
        self._parked: list[tuple[list[Outgoing], str]] = []
        self._wake = asyncio.Event()
        self._done = asyncio.Event()
        self._settling = asyncio.Lock()
        self._table_mode = False
        self.oldest_seconds = 0.0
        """Age of the oldest row not yet told, as of the last sweep."""
        self.parked = 0
        """How many rows hold facts that the broker would not take, as of the last sweep."""
        self.dead_letters = 0
        """How many facts this service could not take and nobody gave back, as of the last sweep."""
        self.told_by_topic: Counter[str] = Counter()
        """How many facts this process has told, by topic."""

    def offer(self, facts: Sequence[Outgoing]) -> None:
        """Take the facts just committed. What does not fit stays in the table for the sweep."""
        if self._table_mode or self._open + len(facts) > self._in_flight_max:
            return
        for _, row in groupby(facts, key=attrgetter("position")):
            self._track(list(row))
        self._waiting.extend(facts)
        self._wake.set()

    def _track(self, row: Sequence[Outgoing]) -> None:
        self._in_flight[row[0].position] = _InFlight(time.monotonic(), row)
        self._open += len(row)

    async def run(self) -> None:
        """Publish, sweep, delete and renew until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._publish_for_ever(), name="relay publish")
            group.create_task(self._sweep_for_ever(), name="relay sweep")
            group.create_task(self._settle_for_ever(), name="relay settle")

    async def drain(self, seconds: float) -> None:
        """A last pass: wait until what this process holds has been acknowledged and deleted, at most so long."""
        until = time.monotonic() + seconds
        while (self._in_flight or self._told) and time.monotonic() < until:
            await asyncio.sleep(0.02)
        await self._settle()

    def acked(self, record: Outgoing) -> None:
        flight = self._in_flight.get(record.position)
        if flight is not None and record.place in flight.open:
            self.told_by_topic[record.topic] += 1
            self._answered(record, flight)

    def refused(self, record: Outgoing, error: str) -> None:
        flight = self._in_flight.get(record.position)
        if flight is not None and record.place in flight.open:
            log.error("relay.parked", topic=record.topic, event_id=str(record.event_id), error=error)
            flight.refused.append(record)
            flight.errors.append(error[:500])
            self._answered(record, flight)

    def lost(self, record: Outgoing, error: str) -> None:
        # The whole row is told again once its lease has run out; hearers know the facts that they have heard.
        flight = self._in_flight.pop(record.position, None)
        if flight is not None:
            self._open -= len(flight.open)

    def _answered(self, record: Outgoing, flight: _InFlight) -> None:
        flight.open.discard(record.place)
        self._open -= 1
        if flight.open:
            return
        del self._in_flight[record.position]
        if flight.refused:
            self._parked.append((flight.refused, "; ".join(dict.fromkeys(flight.errors))[:500]))
        else:
            self._told.append(record.position)
        self._done.set()

    async def _publish_for_ever(self) -> None:
        while True:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            batch = [self._waiting.popleft() for _ in range(min(self._batch_max, len(self._waiting)))]
            began = time.monotonic()
            await self._publish(batch)
            if len(batch) >= _BUSY_ROWS:
                # What several commits produce under load goes in one request; a quiet relay never waits.
                await asyncio.sleep(max(0.0, began + _PACE_SECONDS - time.monotonic()))

    async def _publish(self, batch: Sequence[Outgoing]) -> None:
        try:
            await self._bus.publish(batch, self)
        except BusUnavailable as error:
            self._table_mode = True
            for record in [*batch, *self._waiting]:
                self.lost(record, str(error))
            self._waiting.clear()

    async def _sweep_for_ever(self) -> None:
        retried_at = float("-inf")
        while True:
            try:
                if time.monotonic() - retried_at > self._retry_parked_seconds:
                    # What a broker would not take it may take by now: a topic was made, a limit raised.
                    await outbox.unpark_rows(self._db, _RETRIED_ROWS_MAX)
                    retried_at = time.monotonic()
                more = await self._sweep()
            except Exception as error:
                if not passes(error):
                    raise
                more = False
            if not more:
                await asyncio.sleep(self._sweep_seconds)

    async def _sweep(self) -> bool:
        """Publish what nobody holds; True while there is more than a batch of it."""
        oldest_at, self.parked, self.dead_letters = await outbox.read_backlog(self._db)
        self.oldest_seconds = max((self._db.clock.now() - oldest_at).total_seconds(), 0.0) if oldest_at else 0.0
        room = self._in_flight_max - self._open
        if room <= 0:
            return False
        limit = min(_SWEEP_ROWS_MAX, self._batch_max, room)
        rows = await outbox.claim_rows(self._db, limit, self.lease)
        self._table_mode = len(rows) == limit
        mine = [row for row in rows if row[0].position not in self._in_flight]
        for row in mine:
            self._track(row)
        if mine:
            await self._publish([fact for row in mine for fact in row])
        return self._table_mode

    async def _settle_for_ever(self) -> None:
        renewed_at = time.monotonic()
        while True:
            try:
                async with asyncio.timeout(self.lease.total_seconds() / 3):
                    await self._done.wait()
            except TimeoutError:
                pass
            self._done.clear()
            try:
                await self._settle()
                if time.monotonic() - renewed_at > self.lease.total_seconds() / 3:
                    renewed_at = time.monotonic()
                    await self._renew(renewed_at)
            except Exception as error:
                if not passes(error):
                    raise
                await asyncio.sleep(0.5)
                self._done.set()
            # Deletes are gathered for a moment: a row deleted late costs nothing, a commit does.
            await asyncio.sleep(self._delete_every_seconds)

    async def _settle(self) -> None:
        # One at a time: the last one of a drain must not end before the one that is under way.
        async with self._settling:
            told, self._told = self._told, []
            parked, self._parked = self._parked, []
            try:
                if told:
                    await outbox.delete_rows(self._db, told)
                if parked:
                    await outbox.park_rows(self._db, parked)
            except Exception:
                self._told.extend(told)
                self._parked.extend(parked)
                raise

    async def _renew(self, now: float) -> None:
        old = [position for position, flight in self._in_flight.items() if now - flight.since > self.lease.total_seconds() / 3]
        if old:
            await outbox.renew_rows(self._db, old, self.lease)
