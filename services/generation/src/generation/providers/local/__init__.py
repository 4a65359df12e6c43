"""The local engine: pictures and songs made here, with craft instead of a model; honest about it."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from generation.providers.base import (
    Attempt,
    Description,
    Failed,
    Finished,
    Kind,
    NotFound,
    NotSent,
    Refused,
    ReportStep,
    Result,
    Running,
    Submitted,
)
from generation.providers.local import jobs
from generation.providers.local.child import OverLimit
from generation.providers.local.pool import Pool, PoolBroken

T = TypeVar("T")

__all__ = ["LocalProvider", "Pool"]


class LocalProvider:
    """Runs in the given pool; heavy libraries are imported there and never in this process."""

    name = "local"
    kinds: frozenset[Kind] = frozenset({"fitting", "photography", "travel", "song"})
    repeatable = True
    look_up = False
    batches = False
    calls_back = False

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def warm(self) -> None:
        await self._pool.warm()

    async def close(self) -> None:
        await self._pool.close()

    async def submit(self, attempt: Attempt, report: ReportStep) -> Submitted | Finished:
        """Do the job. Raises Refused when no item could be made, NotSent when the engine is closed, overloaded or died under it."""
        if attempt.kind == "song":
            return await self._song(attempt, report)
        return await self._pictures(attempt, report)

    async def check(self, attempt: Attempt) -> Running | Finished | Failed | NotFound:
        """Nothing is kept between calls: an attempt that did not finish is simply run again."""
        return NotFound()

    async def cancel(self, attempt: Attempt) -> None:
        """A picture takes half a second; nobody needs to stop it."""

    async def describe(self, photo: bytes) -> Description:
        """Colours, light and mood in words. Raises Refused for a photo that does not decode."""
        return await self._ask(jobs.describe, photo)

    async def _song(self, attempt: Attempt, report: ReportStep) -> Finished:
        photo = attempt.photos[0] if attempt.photos else None
        song = await self._ask(
            jobs.song,
            photo,
            title=attempt.title,
            tags=attempt.tags,
            prompt=attempt.prompt,
            negative_tags=attempt.negative_tags,
            instrumental=attempt.instrumental,
            seed=attempt.seed,
            index=attempt.items[0],
            produce_id=f"{attempt.task_id}-{attempt.items[0]}",
            report=report,
        )
        return Finished(results=(song.result,), description=song.description, title=song.title, tags=song.tags, lyrics=song.lyrics)

    async def _pictures(self, attempt: Attempt, report: ReportStep) -> Finished:
        if not attempt.photos:
            raise Refused("a picture needs a photo")
        steps = _SumOfSteps(report, attempt.items)
        made = await asyncio.gather(*(self._picture(attempt, index, steps.of(index)) for index in attempt.items))
        results = tuple(each for each in made if isinstance(each, Result))
        failures = {index: str(each) for index, each in zip(attempt.items, made, strict=True) if isinstance(each, Refused)}
        if not results:
            raise Refused(next(iter(failures.values()), "nothing was asked"))
        return Finished(results=results, failures=failures)

    async def _picture(self, attempt: Attempt, index: int, report: ReportStep) -> Result | Refused:
        try:
            return await self._ask(
                jobs.picture,
                attempt.photos[index % len(attempt.photos)],
                kind=attempt.kind,
                scene=attempt.scene,
                seed=attempt.seed,
                index=index,
                caption=str(attempt.parameters.get("caption", "")),
                produce_id=f"{attempt.task_id}-{index}",
                report=report,
            )
        except Refused as refusal:
            return refusal

    async def _ask(self, job: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        try:
            return await self._pool.run(job, *args, **kwargs)
        except OverLimit as error:
            raise Refused(str(error)) from error
        except PoolBroken as error:
            raise NotSent(str(error)) from error


class _SumOfSteps:
    """Progress of several items as one: all steps done of all steps planned."""

    def __init__(self, report: ReportStep, items: tuple[int, ...]) -> None:
        self._report = report
        self._steps = dict.fromkeys(items, (0, 1))

    def of(self, index: int) -> ReportStep:
        def report(done: int, planned: int, doing: str) -> None:
            self._steps[index] = (done, planned)
            self._report(sum(one for one, _ in self._steps.values()), sum(all_ for _, all_ in self._steps.values()), doing)

        return report
