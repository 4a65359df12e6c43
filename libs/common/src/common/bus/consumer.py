"""What a service hears: a declarative table of subscriptions, and the loops that carry them out."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

import structlog

from common.bus.broker import Bus, BusUnavailable, Reader, Record, TopicPartition
from common.bus.dead_letters import DeadLetter, DeadLetterLimit, TooManyDeadLetters, insert_dead_letters
from common.bus.envelope import Undecodable, open_envelope
from common.bus.inbox import insert_heard
from common.db import Database, Tx, passes
from common.events.base import Event, Fact
from common.trace import Trace, current_trace

log = structlog.get_logger()

Handler = Callable[[Any, Tx, Sequence[Event[Any]]], Awaitable[None]]
BroadcastHandler = Callable[[Any, Sequence[Event[Any]]], Awaitable[None]]
HandlerT = TypeVar("HandlerT", bound=Callable[..., Awaitable[None]])


class Subscriptions:
    """Topic -> handler, for one group. A table, like routes: it holds no resource."""

    def __init__(self, group: str) -> None:
        self.group = group
        self.heard: dict[str, Handler] = {}
        self.overheard: dict[str, BroadcastHandler] = {}

    def hear(self, *facts: type[Fact]) -> Callable[[HandlerT], HandlerT]:
        """Group mode: each fact once per group, in one transaction with the inbox mark."""

        def register(handler: HandlerT) -> HandlerT:
            for fact in facts:
                if fact.topic in self.heard:
                    raise ValueError(f"{self.group} already hears {fact.topic}")
                self.heard[fact.topic] = handler
            return handler

        return register

    def overhear(self, *facts: type[Fact]) -> Callable[[HandlerT], HandlerT]:
        """Broadcast mode: every process, from now on; a hint, never the only source."""

        def register(handler: HandlerT) -> HandlerT:
            for fact in facts:
                self.overheard[fact.topic] = handler
            return handler

        return register


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerLimits:
    """How a consumer behaves; times in seconds.

    `pace_seconds`: batches begin at least so far apart, so that under load they grow instead of becoming more; an idle consumer never waits.
    `gather_seconds`: the broker itself may hold records back for so long; for what nobody waits for. The same for broadcasts.
    """

    records_max: int = 500
    wait_seconds: float = 5
    tries_max: int = 5
    retry_seconds: float = 0.05
    commit_seconds: float = 0.25
    stuck_seconds: float = 60
    rebuilds_max: int = 3
    dead_in_a_row: int = 20
    dead_share: float = 0.2
    pace_seconds: float = 0.005
    gather_seconds: float = 0
    broadcast_gather_seconds: float = 0.05


UNHURRIED = ConsumerLimits(pace_seconds=0.05, gather_seconds=0.1)
"""For a service that hears what nobody waits for: a tenth of a second later, in far fewer batches."""


@dataclass(slots=True)
class _Heard:
    record: Record
    event: Event[Fact] | None
    fault: str = ""


class GroupConsumer:
    """Hears a group's topics: fetch, decode, one transaction per handler, remember offsets, commit them lazily.

    An offset is committed only after the transaction; what is heard again, the inbox absorbs.
    """

    def __init__(self, subscriptions: Subscriptions, *, bus: Bus, db: Database, deps: Any, limits: ConsumerLimits | None = None) -> None:
        self._subscriptions = subscriptions
        self._bus = bus
        self._db = db
        self._deps = deps
        self._limits = limits or ConsumerLimits()
        self._dead = DeadLetterLimit(in_a_row=self._limits.dead_in_a_row, share=self._limits.dead_share)
        self._cursors: dict[TopicPartition, int] = {}
        self._progress_at = time.monotonic()
        self._rebuilds = 0
        self._draining = asyncio.Event()
        self.stopped_by_dead_letters = False

    @property
    def alive(self) -> bool:
        """False when rebuilding did not help: the process should be restarted."""
        return self._rebuilds <= self._limits.rebuilds_max

    async def run(self, draining: asyncio.Event) -> None:
        """Consume until draining; a broker that is away is waited for."""
        self._draining = draining
        while not draining.is_set():
            reader = self._bus.group(self._subscriptions.group, sorted(self._subscriptions.heard), gather_seconds=self._limits.gather_seconds)
            try:
                await reader.start()
                await self._consume(reader)
            except BusUnavailable as error:
                log.warning("consumer.unavailable", group=self._subscriptions.group, error=str(error)[:200])
                await _sleep(draining, random.uniform(0.2, 1.0))
            except TooManyDeadLetters as error:
                self.stopped_by_dead_letters = True
                log.error("consumer.stopped", group=self._subscriptions.group, error=str(error))
                await draining.wait()
            finally:
                await reader.stop()

    async def _consume(self, reader: Reader) -> None:
        self._cursors = {}
        self._progress_at = time.monotonic()
        drained = asyncio.create_task(self._draining.wait(), name="consumer drained")
        committing = asyncio.create_task(self._commit_for_ever(reader), name="consumer commits")
        try:
            while not self._draining.is_set():
                records = await _fetch(reader, drained, self._limits)
                if records:
                    began = time.monotonic()
                    await self._hear(records)
                    self._progress_at = time.monotonic()
                    self._rebuilds = 0
                    await _keep_pace(began + self._limits.pace_seconds - self._progress_at)
                elif records is not None:
                    await self._check_stuck(reader)
        finally:
            drained.cancel()
            committing.cancel()
            await asyncio.gather(drained, committing, return_exceptions=True)
            await self._commit(reader)

    async def _check_stuck(self, reader: Reader) -> None:
        if time.monotonic() - self._progress_at < self._limits.stuck_seconds:
            return
        self._progress_at = time.monotonic()
        if await reader.lagging():
            self._rebuilds += 1
            raise BusUnavailable("there is something to read and nothing comes: rebuilding")

    async def _commit_for_ever(self, reader: Reader) -> None:
        while True:
            await asyncio.sleep(self._limits.commit_seconds)
            await self._commit(reader)

    async def _commit(self, reader: Reader) -> None:
        if not self._cursors:
            return
        cursors, self._cursors = self._cursors, {}
        try:
            await reader.commit(cursors)
        except BaseException as error:
            self._cursors = {**cursors, **self._cursors}
            if not isinstance(error, BusUnavailable):
                raise
            log.warning("consumer.commit_failed", group=self._subscriptions.group, error=str(error)[:200])

    async def _hear(self, records: Sequence[Record]) -> None:
        by_handler: dict[Handler | None, list[_Heard]] = {}
        for record in records:
            heard = _decode(record)
            by_handler.setdefault(self._subscriptions.heard.get(record.topic), []).append(heard)
        for handler, batch in by_handler.items():
            if not await self._handle(handler, batch):
                return  # draining: what is not handled is heard again
            last = {(heard.record.topic, heard.record.partition): heard.record.cursor for heard in batch}
            self._cursors.update((TopicPartition(*where), cursor + 1) for where, cursor in last.items())

    async def _handle(self, handler: Handler | None, batch: list[_Heard]) -> bool:
        """One transaction for the batch; splits it to find what fails. False when draining cut it short."""
        tries = 0
        weather = 0
        while True:
            try:
                await self._transact(handler, batch)
                self._count(batch)
                return True
            except TooManyDeadLetters:
                raise
            except Exception as error:
                if passes(error):
                    weather += 1
                    self._progress_at = time.monotonic()
                    log.warning("consumer.waits", group=self._subscriptions.group, error=type(error).__name__)
                    if await _sleep(self._draining, min(5.0, 0.05 * 2 ** min(weather, 7)) * random.uniform(0.5, 1)):
                        return False
                    continue
                if len(batch) > 1:
                    middle = len(batch) // 2
                    return await self._handle(handler, batch[:middle]) and await self._handle(handler, batch[middle:])
                tries += 1
                log.warning(
                    "consumer.failed", group=self._subscriptions.group, topic=batch[0].record.topic, tries=tries, error=f"{type(error).__name__}: {error}"[:300]
                )
                if tries >= self._limits.tries_max:
                    batch[0].fault = f"{type(error).__name__}: {error}"
                    return await self._bury(batch[0], tries)
                if await _sleep(self._draining, self._limits.retry_seconds * tries):
                    return False

    async def _transact(self, handler: Handler | None, batch: Sequence[_Heard]) -> None:
        events: dict[UUID, Event[Fact]] = {}
        letters = []
        for heard in batch:
            event = heard.event
            if event is None or handler is None:
                letters.append(DeadLetter(heard.record, None, heard.fault or "no handler for this topic", 1))
            else:
                events.setdefault(event.event_id, event)
        async with self._db.transaction() as tx:
            if letters:
                await insert_dead_letters(tx, self._subscriptions.group, letters)
            if events and handler is not None:
                fresh = await insert_heard(tx, self._subscriptions.group, list(events))
                # Hardly ever is one heard again: then nothing is looked up.
                new = list(events.values()) if len(fresh) == len(events) else [event for event_id, event in events.items() if event_id in fresh]
                if new:
                    token = current_trace.set(_trace_of(new))
                    try:
                        await handler(self._deps, tx, new)
                    finally:
                        current_trace.reset(token)

    async def _bury(self, heard: _Heard, tries: int) -> bool:
        """Keep it as a dead letter. False when draining cut it short."""
        while True:
            try:
                async with self._db.transaction() as tx:
                    event_id = heard.event.event_id if heard.event else None
                    if event_id is not None:
                        await insert_heard(tx, self._subscriptions.group, [event_id])
                    await insert_dead_letters(tx, self._subscriptions.group, [DeadLetter(heard.record, event_id, heard.fault, tries)])
                log.error("consumer.dead_letter", group=self._subscriptions.group, topic=heard.record.topic, cause=heard.fault[:300])
                self._dead.count(died=True)
                return True
            except Exception as error:
                if not passes(error):
                    raise
                if await _sleep(self._draining, 0.5):
                    return False

    def _count(self, batch: Sequence[_Heard]) -> None:
        self._dead.count_all([heard.event is None for heard in batch])


class BroadcastConsumer:
    """Hears every record of its topics from now on; a handler's failure is logged and forgotten, for it was only a hint."""

    def __init__(self, subscriptions: Subscriptions, *, bus: Bus, deps: Any, limits: ConsumerLimits | None = None) -> None:
        self._subscriptions = subscriptions
        self._bus = bus
        self._deps = deps
        self._limits = limits or ConsumerLimits()

    async def run(self, draining: asyncio.Event) -> None:
        """Listen until draining."""
        while not draining.is_set():
            reader = self._bus.broadcast(sorted(self._subscriptions.overheard), gather_seconds=self._limits.broadcast_gather_seconds)
            try:
                await reader.start()
                await self._listen(reader, draining)
            except BusUnavailable as error:
                log.warning("broadcast.unavailable", group=self._subscriptions.group, error=str(error)[:200])
                await _sleep(draining, random.uniform(0.2, 1.0))
            finally:
                await reader.stop()

    async def _listen(self, reader: Reader, draining: asyncio.Event) -> None:
        drained = asyncio.create_task(draining.wait(), name="broadcast drained")
        quiet_since = time.monotonic()
        try:
            while not draining.is_set():
                records = await _fetch(reader, drained, self._limits)
                if records:
                    quiet_since = time.monotonic()
                    await self._hear(records)
                    await _keep_pace(quiet_since + self._limits.pace_seconds - time.monotonic())
                elif time.monotonic() - quiet_since > self._limits.stuck_seconds:
                    quiet_since = time.monotonic()
                    if await reader.lagging():
                        raise BusUnavailable("there is something to read and nothing comes: rebuilding")
        finally:
            drained.cancel()
            await asyncio.gather(drained, return_exceptions=True)

    async def _hear(self, records: Sequence[Record]) -> None:
        by_handler: dict[BroadcastHandler, list[Event[Fact]]] = {}
        for record in records:
            heard = _decode(record)
            if heard.event is None:
                log.warning("broadcast.undecodable", topic=record.topic, error=heard.fault[:200])
            else:
                by_handler.setdefault(self._subscriptions.overheard[record.topic], []).append(heard.event)
        for handler, events in by_handler.items():
            try:
                await handler(self._deps, events)
            except Exception as error:
                log.warning("broadcast.failed", group=self._subscriptions.group, error=f"{type(error).__name__}: {error}"[:300])


def _decode(record: Record) -> _Heard:
    try:
        return _Heard(record, open_envelope(record.topic, record.value, record.headers))
    except Undecodable as error:
        return _Heard(record, None, str(error))


def _trace_of(events: Sequence[Event[Fact]]) -> Trace | None:
    # A batch of several requests has no one trace; a batch of one keeps its own.
    return Trace(events[0].correlation_id, events[0].traceparent) if len(events) == 1 else None


async def _fetch(reader: Reader, drained: "asyncio.Task[Any]", limits: ConsumerLimits) -> list[Record] | None:
    """What came; None when draining began meanwhile. Nothing, too, from a reader that did not even say that nothing came: it may hang for ever."""
    fetching = asyncio.create_task(reader.fetch(records_max=limits.records_max, wait_seconds=limits.wait_seconds), name="consumer fetch")
    try:
        await asyncio.wait({fetching, drained}, timeout=limits.wait_seconds + limits.stuck_seconds, return_when=asyncio.FIRST_COMPLETED)
        if fetching.done():
            return fetching.result()
        return None if drained.done() else []
    finally:
        if not fetching.done():
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)


async def _keep_pace(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)


async def _sleep(draining: asyncio.Event, seconds: float) -> bool:
    """Sleep; True when draining began."""
    try:
        async with asyncio.timeout(seconds):
            await draining.wait()
        return True
    except TimeoutError:
        return False
