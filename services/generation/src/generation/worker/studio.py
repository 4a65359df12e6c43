"""What workers work with, and what all of them do: keep results, save, end."""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import UUID

from common.db import Database, passes
from common.events import Item
from common.ids import derived_id
from common.lane import Lane
from common.objects import ObjectStore
from generation import commands
from generation.domain import Arrival, Claim, Claimed, Fairness, Finish, Finished, Stale
from generation.progress import Progress
from generation.providers.base import Attempt, Description, Provider, Result
from generation.results import Checker
from generation.settings import GenerationSettings
from generation.store import turns

T = TypeVar("T")

_EXTENSIONS: Mapping[str, str] = {
    "image/webp": "webp", "image/jpeg": "jpg", "image/png": "png", "audio/ogg": "ogg", "audio/mpeg": "mp3", "audio/wav": "wav",
}  # fmt: skip
_PAUSE_SECONDS_MAX = 2.0


def _no_limit() -> int | None:
    return None


class Vision(Protocol):
    """Says what is on a photo."""

    async def describe(self, photo: bytes) -> Description:
        """Raises Refused for a photo it cannot read, NotSent when it cannot be asked now."""
        ...


@dataclass(frozen=True, kw_only=True)
class Studio:
    """The provider and everything around it."""

    settings: GenerationSettings
    db: Database
    objects: ObjectStore
    provider: Provider
    vision: Vision | None
    checker: Checker
    progress: Progress
    finish: Lane[Finish, Finished | Stale]
    arrive: Lane[Arrival, bool]
    running_max: Callable[[], int | None] = _no_limit
    """How many tasks the provider is given at a time, in all processes together, but for those it has long been silent about; asked before every claim."""
    repeatable: frozenset[str] = frozenset()
    """Names of engines whose open attempts may simply be run again, also after the settings changed the engine."""

    def now(self) -> datetime:
        """The database's moment."""
        return self.db.clock.now()

    async def claim(self, *, songs: bool, limit: int, at_once: bool = False) -> tuple[Claimed, bool]:
        """Tasks nobody has, turn by turn; and whether there may be more that could not be had just now.

        What is made at once is over in a moment: its first attempt is journaled with the claim, and nobody is kept from having more running than others.
        """
        most, fairness, lease = self.running_max(), self.settings.fairness, self.settings.lease
        if at_once:
            fairness = Fairness(handicaps=fairness.handicaps)
        provider = self.provider.name if at_once else None
        if most is not None:
            async with self.db.transaction() as tx:
                claimed = await commands.claim_few_tasks(
                    tx, songs=songs, lease=lease, limit=limit, provider=provider, fairness=fairness, running_max=most, silence=self.settings.silence
                )  # fmt: skip
        else:
            async with self.db.read() as conn:
                claimed = await commands.claim_tasks(conn, songs=songs, now=self.now(), lease=lease, limit=limit, provider=provider, fairness=fairness)
        if len(claimed.claims) >= limit:
            return claimed, True
        async with self.db.read() as conn:
            return claimed, await turns.has_turns(conn, songs=songs)

    async def keep(self, claim: Claim, result: Result) -> Item:
        """Check a result and store it under our key. Raises InvalidOutput."""
        return await self.keep_under(f"results/{claim.task_id}", claim, result, named=f"{result.index}-")

    async def keep_under(self, folder: str, claim: Claim, result: Result, *, named: str) -> Item:
        """Check a result and store it in this folder. Raises InvalidOutput, NotSent."""
        sha256 = hashlib.sha256(result.body).hexdigest()
        found = await self.checker.check(result.body, result.content_type, kind=claim.kind, sha256=sha256)
        key = f"{folder}/{named}{sha256}.{_EXTENSIONS[result.content_type]}"
        await self.objects.put(key, result.body, result.content_type)
        return Item(
            index=result.index, key=key, sha256=sha256, size_bytes=len(result.body), content_type=result.content_type, width=found.width, height=found.height,
            duration_seconds=found.duration_seconds, cover_key=await self._keep_cover(folder, result.cover) if result.cover else None,
        )  # fmt: skip

    async def _keep_cover(self, folder: str, cover: bytes) -> str:
        sha256 = hashlib.sha256(cover).hexdigest()
        await self.checker.check(cover, "image/webp", kind="photography", sha256=sha256)
        key = f"{folder}/cover-{sha256}.webp"
        await self.objects.put(key, cover, "image/webp")
        return key

    async def end_if_overdue(self, task_id: UUID) -> None:
        """Its worker saw the deadline pass."""

        async def end() -> None:
            async with self.db.transaction() as tx:
                await commands.end_tasks_if_overdue(tx, [task_id])

        await patiently(end)


async def patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Again and again while the database is away or busy with others, because what was made must not be lost; only for work that is safe to repeat."""
    pause = 0.1
    while True:
        try:
            return await work()
        except Exception as error:
            if not passes(error):
                raise
            await asyncio.sleep(pause * (0.5 + random.random()))
            pause = min(pause * 2, _PAUSE_SECONDS_MAX)


def provider_attempt(claim: Claim, attempt_no: int, indexes: tuple[int, ...], *, provider_id: str | None = None) -> Attempt:
    """What the provider is told, but for the photos."""
    brief = claim.brief
    return Attempt(
        # The first attempt goes by its task's id, which is as unique and costs nothing.
        attempt_id=claim.task_id if attempt_no == 1 else derived_id("attempt", claim.task_id, attempt_no),
        task_id=claim.task_id, kind=claim.kind, items=indexes, photos=(), scene=claim.scene_id, seed=claim.seed, prompt=brief.prompt, title=brief.title,
        tags=brief.tags, negative_tags=brief.negative_tags, instrumental=brief.instrumental, parameters=brief.parameters, provider_id=provider_id,
        attempt_no=attempt_no, user_id=claim.user_id, photo_keys=brief.photos, custom_description=brief.custom_description, destination=brief.destination,
        deadline_at=claim.deadline_at,
    )  # fmt: skip
