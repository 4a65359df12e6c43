"""A worker for engines that answer at once: whole batches are claimed, made and finished together, each by one statement."""

import asyncio
from collections import deque
from collections.abc import Sequence

from common.db import passes
from common.errors import Unavailable
from common.events import Item
from common.log import get_logger
from generation import commands
from generation.bell import Bell
from generation.domain import Claim, Finish, ItemRow, Outcome, Seats, Stale
from generation.providers.base import Finished, NotSent, Refused, Result
from generation.results import InvalidOutput
from generation.worker.making import STARTED_PERCENT, Making
from generation.worker.studio import Studio, patiently, provider_attempt

log = get_logger()

SHELF_MAX = 4096
AGAIN_SECONDS = 0.02
"""How soon what others had in hand is looked for again."""


class BatchWorker:
    """Makes everything, a batch at a time. While nobody waits longer, tasks created in this process are seated at once.

    Its engine is repeatable, makes all items of a task in one attempt, looks at no photo and always makes the same bytes: they are kept
    once, under a key that all results share.
    """

    def __init__(self, studio: Studio, *, batch_max: int) -> None:
        self._studio = studio
        self._batch_max = batch_max
        self._bell = Bell()
        self._seated: deque[Claim] = deque()
        self._reserved = 0
        self._to_claim = {True, False}
        """Songs, or not: where something may wait to be claimed."""
        self._shelf: dict[tuple[bytes, int], Item] = {}
        self._semaphore = asyncio.Semaphore(1)
        self._is_draining = False

    def wake(self, *, songs: bool) -> None:
        """Something waits to be claimed, and goes before what comes now."""
        self._to_claim.add(songs)
        self._bell.ring()

    def reserve(self, count: int) -> Seats | None:
        """Seats for so many new tasks at most; none while others wait to be claimed."""
        room = min(count, 2 * self._batch_max - self._reserved - len(self._seated))
        if room <= 0 or self._is_draining or self._to_claim:
            return None
        self._reserved += room
        return Seats(count=room, provider=self._studio.provider.name, lease=self._studio.settings.lease)

    def seat(self, seats: Seats, claims: Sequence[Claim]) -> None:
        """Give the seats back; the claims that came with them are made next."""
        self._reserved -= seats.count
        self._seated.extend(claims)
        if claims:
            self._bell.ring()

    async def run(self, draining: asyncio.Event) -> None:
        """Make batches until draining; what is seated by then, or was given seats by then and is being written, is still made."""
        async with self._bell.rings_on(draining):
            while not draining.is_set():
                claims = self._unseat() or await self._claim()
                if claims:
                    await self._make(claims)
                elif self._to_claim:
                    await self._bell.wait(AGAIN_SECONDS)
                elif not await self._bell.wait(self._studio.settings.idle_poll_seconds):
                    self._to_claim = {True, False}
        self._is_draining = True
        while self._seated or self._reserved:
            if claims := self._unseat():
                await self._make(claims)
            else:
                await self._bell.wait(AGAIN_SECONDS)

    def _unseat(self) -> list[Claim]:
        return [self._seated.popleft() for _ in range(min(self._batch_max, len(self._seated)))]

    async def _claim(self) -> list[Claim]:
        """What waits, turn by turn."""
        for songs in sorted(self._to_claim):
            try:
                claimed, more = await self._studio.claim(songs=songs, limit=self._batch_max, at_once=True)
            except Exception as error:
                if not passes(error):
                    raise
                log.warning("claim.waits", cause=str(error)[:200])
                await asyncio.sleep(self._studio.settings.idle_poll_seconds)
                return []
            if not more:
                self._to_claim.discard(songs)
            if claimed.claims:
                return claimed.claims
        return []

    async def _make(self, claims: Sequence[Claim]) -> None:
        """Make and finish a batch; what was begun before, or fails, goes the way of single tasks."""
        studio = self._studio
        ends: list[Finish] = []
        others: list[Claim] = []
        studio.progress.report_once(claims, STARTED_PERCENT, "started")
        for claim in claims:
            end = await self._end_of(claim) if claim.claim_no == 1 else None
            if end is not None:
                ends.append(end)
            else:
                others.append(claim)
        try:
            if ends:
                await patiently(lambda: self._finish(ends))
            for claim in others:
                await Making(studio, claim, self._semaphore, has_past=True, is_draining=lambda: False).see_through()
        except Exception as fault:
            # Their leases run out, and then each goes its own way, so that one that cannot be finished does not hold up the rest.
            log.error("batch.faulted", tasks=len(claims), exc_info=fault)
        for claim in others:
            studio.progress.forget(claim)

    async def _end_of(self, claim: Claim) -> Finish | None:
        """Make one task; None when that did not go well at once."""
        try:
            answer = await self._studio.provider.submit(provider_attempt(claim, 1, tuple(range(claim.asked))), _ignore)
            if not isinstance(answer, Finished) or len(answer.results) != claim.asked:
                return None
            items = [await self._shelved(claim, result) for result in answer.results]
        except (NotSent, Refused, InvalidOutput, Unavailable, OSError) as fault:
            log.warning("batch.set_aside", task_id=str(claim.task_id), cause=repr(fault))
            return None
        said = Outcome(engine=self._studio.provider.name, title=answer.title, description=answer.description, tags=answer.tags, lyrics=answer.lyrics)
        return Finish(claim, items, {}, said, [ItemRow(claim.task_id, item.index, item) for item in items])

    async def _shelved(self, claim: Claim, result: Result) -> Item:
        known = self._shelf.get((result.body, result.index))
        if known is None:
            if len(self._shelf) >= SHELF_MAX:
                self._shelf.clear()
            known = await self._studio.keep_under(f"results/{self._studio.provider.name}", claim, result, named="")
            self._shelf[(result.body, result.index)] = known
        return known

    async def _finish(self, ends: Sequence[Finish]) -> None:
        async with self._studio.db.transaction() as tx:
            outcomes = await commands.finish_tasks(tx, ends)
        stale = sum(isinstance(outcome, Stale) for outcome in outcomes)
        log.debug("tasks.ended", tasks=len(ends) - stale, stale=stale)


def _ignore(_done: int, _planned: int, _doing: str) -> None:
    """It is over before anybody could look."""
