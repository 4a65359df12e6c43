"""A worker for engines that take their time: a few tasks at once, each with its lease renewed while it is made."""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from common.db import passes
from common.log import get_logger
from generation import commands
from generation.bell import Bell
from generation.domain import Claim
from generation.store import tasks
from generation.worker.making import Making
from generation.worker.studio import Studio, patiently

log = get_logger()

DRAIN_SHARE = 0.8
"""Of the time a loop has for its end, what running work gets to finish; the rest is for giving leases back."""
AGAIN_SECONDS = 0.05
"""How soon what could not be had is looked for again, at first."""


class SingleWorker:
    """Makes pictures, or songs. `slots` items are made at once, and as many tasks are held."""

    def __init__(self, studio: Studio, *, songs: bool, slots: int) -> None:
        self._studio = studio
        self._songs = songs
        self._slots = slots
        self._semaphore = asyncio.Semaphore(slots)
        self._bell = Bell()
        self._claims: dict[UUID, Claim] = {}
        self._running: dict[UUID, asyncio.Task[None]] = {}
        self._dropped: set[asyncio.Task[None]] = set()
        self._is_draining = False
        self._again_seconds = AGAIN_SECONDS
        self._passed: frozenset[UUID] = frozenset()

    def wake(self) -> None:
        """There may be something to claim."""
        self._bell.ring()

    def drop(self, task_ids: Sequence[UUID]) -> None:
        """Stop making these tasks: they have ended, or another claim has them."""
        for task_id in task_ids:
            running = self._running.get(task_id)
            if running is not None and running not in self._dropped:
                self._dropped.add(running)
                running.cancel()

    async def run(self, draining: asyncio.Event) -> None:
        """Claim and make until draining; then finish what is nearly done and give the other leases back."""
        async with asyncio.TaskGroup() as group, self._bell.rings_on(draining):
            beating = group.create_task(self._beat(), name="heartbeat")
            try:
                while not draining.is_set():
                    if await self._bell.wait(await self._claim(group)):
                        self._again_seconds, self._passed = AGAIN_SECONDS, frozenset()
                await self._drain()
            finally:
                beating.cancel()

    async def _claim(self, group: asyncio.TaskGroup) -> float | None:
        """Fill the free slots; answers when it is worth looking again, None when only a free slot is.

        What waits and was not to be had, because others have it in hand or its user has enough, is looked for soon, and then ever less often; but as soon
        as before while something was had, or users have enough whose turn was not passed over yet: behind them may be one who has not.
        """
        idle_seconds = self._studio.settings.idle_poll_seconds
        room = self._slots - len(self._running)
        if room <= 0:
            return None
        try:
            claimed, more = await self._studio.claim(songs=self._songs, limit=room)
        except Exception as error:
            if not passes(error):
                raise
            log.warning("claim.waits", cause=str(error)[:200])
            return idle_seconds
        claims = claimed.claims
        if claims or not claimed.passed <= self._passed:
            self._again_seconds = AGAIN_SECONDS
        self._passed = claimed.passed if claims else self._passed | claimed.passed
        self.drop([claim.task_id for claim in claims])  # an older claim of ours on the same task is fenced off
        for claim in claims:
            self._claims[claim.task_id] = claim
            self._running[claim.task_id] = group.create_task(self._see_through(claim), name=f"task {claim.task_id}")
            log.info("task.claimed", task_id=str(claim.task_id), claim_no=claim.claim_no, kind=claim.kind)
        if len(claims) == room:
            return None
        again_seconds = min(self._again_seconds, idle_seconds) if more else idle_seconds
        self._again_seconds *= 2
        return again_seconds

    async def _see_through(self, claim: Claim) -> None:
        making = Making(self._studio, claim, self._semaphore, has_past=claim.claim_no > 1, is_draining=lambda: self._is_draining)
        try:
            await making.see_through()
        except asyncio.CancelledError:
            if asyncio.current_task() not in self._dropped:
                raise
            log.info("task.dropped", task_id=str(claim.task_id))
            await making.call_off()
        except Exception as fault:
            log.error("task.faulted", task_id=str(claim.task_id), exc_info=fault)
            await self._give_back([claim], after_seconds=self._studio.settings.back_off_seconds * (1 + random.random()))
        finally:
            if self._claims.get(claim.task_id) is claim:
                del self._running[claim.task_id], self._claims[claim.task_id]
            self._dropped -= {running for running in self._dropped if running is asyncio.current_task()}
            self._studio.progress.forget(claim)
            self._bell.ring()

    async def _beat(self) -> None:
        """Renew all leases at once; drop what is ours no more."""
        settings = self._studio.settings
        while True:
            await asyncio.sleep(settings.heartbeat_seconds)
            if not self._claims:
                continue
            mine = {task_id: claim.claim_no for task_id, claim in self._claims.items()}
            try:
                async with self._studio.db.read() as conn:
                    kept = await tasks.renew_leases(conn, mine, now=self._studio.now(), lease=settings.lease)
            except Exception as error:
                if not passes(error):
                    raise
                log.warning("heartbeat.waits", cause=str(error)[:200])
                continue
            # What was given back meanwhile may be ours again under the next number.
            self.drop([task_id for task_id, claim_no in mine.items() if task_id not in kept and self._has(task_id, claim_no)])

    def _has(self, task_id: UUID, claim_no: int) -> bool:
        claim = self._claims.get(task_id)
        return claim is not None and claim.claim_no == claim_no

    async def _drain(self) -> None:
        self._is_draining = True
        running = list(self._running.values())
        if running:
            await asyncio.wait(running, timeout=self._studio.settings.record_seconds * DRAIN_SHARE)
        left = list(self._claims.values())
        for task in list(self._running.values()):
            task.cancel()
        if left:
            await self._give_back(left)

    async def _give_back(self, claims: Sequence[Claim], *, after_seconds: float = 0) -> None:
        due_at = self._studio.now() + timedelta(seconds=after_seconds)

        async def give_back() -> None:
            async with self._studio.db.read() as conn:
                for claim in claims:
                    await commands.give_back(conn, claim, due_at)

        await patiently(give_back)
