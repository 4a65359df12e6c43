"""One claim, seen through: attempts journaled, submitted, adopted or repeated; results kept; the end told or the task given back."""

import asyncio
import contextlib
import hashlib
import random
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from common.errors import FileNotFound, Unavailable
from common.events import Item
from common.log import get_logger
from generation import commands, queries
from generation.domain import Arrival, Attempt, AttemptEnd, AttemptState, Claim, Failure, Finish, ItemRow, Outcome, Stale, attempts_at, back_off
from generation.providers import base
from generation.providers.base import Failed, Finished, Lost, NotFound, NotSent, Refused, Running, Submitted
from generation.results import InvalidOutput
from generation.worker.studio import Studio, patiently, provider_attempt

log = get_logger()

STARTED_PERCENT = 5
MADE_PERCENT = 95


class Unusable(Exception):
    """Nothing can be made of what was asked."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Making:
    """Makes what one claim still lacks. `see_through` returns when the task has ended, was given back, or is ours no more."""

    def __init__(self, studio: Studio, claim: Claim, slots: asyncio.Semaphore, *, has_past: bool, is_draining: Callable[[], bool]) -> None:
        self._studio = studio
        self._provider = studio.provider
        self._claim = claim
        self._slots = slots
        self._has_past = has_past
        self._is_draining = is_draining
        self._items: dict[int, Item] = {}
        self._failures: dict[int, Failure] = {}
        self._journal: list[Attempt] = []
        self._due: list[datetime] = []
        self._said = Outcome(engine=studio.provider.name)
        self._steps: dict[int, float] = {}
        self._calls: dict[int, base.Attempt] = {}
        self._tokens: dict[int, str] = {}
        self._is_stale = False

    async def see_through(self) -> None:
        """Until the deadline at most."""
        seconds_left = (self._claim.deadline_at - self._studio.now()).total_seconds()
        try:
            async with asyncio.timeout(max(seconds_left, 0)) as deadline:
                await self._make()
        except TimeoutError:
            if not deadline.expired():
                raise
            await self._studio.end_if_overdue(self._claim.task_id)
            await self.call_off()

    async def call_off(self) -> None:
        """Tell the provider of every attempt without an end that nobody waits any more. Best effort."""
        for call in list(self._calls.values()):
            with contextlib.suppress(Exception):
                async with asyncio.timeout(5):
                    await self._provider.cancel(call)

    async def _make(self) -> None:
        await self._remember()
        self._tell_step("started")
        try:
            lacking = self._lacking()
            call = await self._prepare() if lacking else None
        except Unusable as fault:
            self._failures |= dict.fromkeys(self._lacking(), fault.failure)
            call = None
        if call is not None:
            groups = [tuple(lacking)] if self._provider.batches else [(index,) for index in lacking]
            async with asyncio.TaskGroup() as group:
                for indexes in groups:
                    group.create_task(self._make_items(call, indexes), name=f"items {indexes} of {self._claim.task_id}")
        await self._conclude()

    async def _remember(self) -> None:
        """What is known of the task already; a first claim finds nothing."""
        if self._has_past:
            past = await patiently(lambda: queries.read_past(self._studio.db, self._claim.task_id))
            self._items = {item.index: item for item in past.items}
            self._failures = past.failures
            self._journal = past.journal

    def _lacking(self) -> list[int]:
        return [index for index in range(self._claim.asked) if index not in self._items and index not in self._failures]

    async def _prepare(self) -> base.Attempt:
        """The call to the provider, with the photos fetched; a song without words gets them from its photo first."""
        claim = self._claim
        if self._provider.calls_back:
            # It fetches the photos by itself; and what it made of them counts whether or not they are still there.
            return provider_attempt(claim, 1, ())
        try:
            photos = [await self._studio.objects.read(key) for key in claim.brief.photos]
        except FileNotFound:
            raise Unusable(Failure("refused", "an input photo is no longer there")) from None
        call = replace(provider_attempt(claim, 1, ()), photos=photos)
        if claim.is_song and photos and not claim.brief.prompt and self._studio.vision is not None:
            self._tell_step("looking at the photo")
            try:
                seen = await self._studio.vision.describe(photos[0])
            except Refused as refusal:
                raise Unusable(Failure("refused", str(refusal))) from refusal
            call = replace(
                call, prompt=seen.prompt, title=call.title or seen.title, tags=call.tags or seen.tags, negative_tags=call.negative_tags or seen.negative_tags
            )
            self._said = replace(self._said, title=seen.title, description=seen.prompt, tags=seen.tags)
        return call

    async def _conclude(self) -> None:
        """End the task when every item is decided, else give it back until one can be."""
        claim = self._claim
        if self._is_stale:
            return
        if not self._lacking():
            items = [self._items[index] for index in sorted(self._items)]
            unsaved = [ItemRow(claim.task_id, index, None, failure) for index, failure in self._failures.items()]
            ended = await patiently(lambda: self._studio.finish(Finish(claim, items, self._failures, self._said, unsaved)))
            log.info("task.ended" if not isinstance(ended, Stale) else "task.lost", task_id=str(claim.task_id), state=ended.state, delivered=len(items))
            return
        due_at = min(self._due, default=self._studio.now())

        async def give_back() -> None:
            async with self._studio.db.read() as conn:
                await commands.give_back(conn, claim, due_at)

        await patiently(give_back)
        log.info("task.given_back", task_id=str(claim.task_id), due_at=due_at.isoformat())

    # --- one group of items: a single one, or all of a task where the provider makes batches ---

    async def _make_items(self, call: base.Attempt, indexes: tuple[int, ...]) -> None:
        async with self._slots:
            if self._is_draining():
                self._due.append(self._studio.now())
                return
            if self._is_stale:
                return
            place = None if self._provider.batches else indexes[0]
            earlier = await self._earlier(place)
            attempt = next((one for one in earlier if one.is_open), None)
            if attempt is None:
                attempt = await self._open_attempt(place, earlier)
                answer = await self._submit(call, attempt, indexes) if attempt is not None else None
            elif attempt.provider in self._studio.repeatable or (attempt.provider == self._provider.name and self._provider.repeatable):
                answer = await self._submit(call, attempt, indexes)
            else:
                answer = Submitted(attempt.provider_id or "")
        if attempt is None or answer is None:
            return
        if isinstance(answer, Submitted):
            attempt = replace(attempt, state="submitted", provider_id=answer.provider_id or attempt.provider_id)
            waits = self._hear_back if self._provider.calls_back and attempt.provider == self._provider.name else self._wait_for
            answer = await waits(call, attempt, indexes)
        if answer is not None:
            await self._take(attempt, indexes, answer)

    async def _earlier(self, place: int | None) -> list[Attempt]:
        """Attempts there were. Open ones of an engine that costs nothing are over where one that is paid has taken its place: that call is journaled anew."""
        free = self._studio.repeatable if not self._provider.repeatable else frozenset()
        for number, one in enumerate(self._journal):
            if one.is_open and one.provider in free:
                self._journal[number] = replace(one, state="failed")
                await self._save(one, "failed", note=f"{self._provider.name} took over")
        return attempts_at(self._journal, place)

    async def _open_attempt(self, place: int | None, earlier: Sequence[Attempt]) -> Attempt | None:
        """Journal the next attempt; None when it has to wait, or the task is ours no more."""
        settings, now = self._studio.settings, self._studio.now()
        if earlier:
            ended_at = max(one.ended_at or one.created_at for one in earlier)
            may_at = ended_at + back_off(len(earlier), timedelta(seconds=settings.back_off_seconds), 0)
            if may_at > now:
                self._due.append(may_at)
                return None
        attempt_no = max((one.attempt_no for one in self._journal), default=0) + 1
        token = self._tokens[attempt_no] = secrets.token_urlsafe(32) if self._provider.calls_back else ""
        attempt = Attempt(
            attempt_no=attempt_no, item_index=place, claim_no=self._claim.claim_no, state="submitting", provider=self._provider.name, created_at=now,
            token_hash=hashlib.sha256(token.encode()).digest() if token else None,
        )  # fmt: skip
        self._journal.append(attempt)

        async def journal() -> bool:
            async with self._studio.db.transaction() as tx:
                return await commands.open_attempt(tx, self._claim, attempt)

        if not await patiently(journal):
            self._is_stale = True
            return None
        return attempt

    async def _submit(self, call: base.Attempt, attempt: Attempt, indexes: tuple[int, ...]) -> Finished | Submitted | None:
        """Call the provider; None when there is nothing to wait for."""
        call = self._call(call, attempt, indexes)
        try:
            answer = await self._provider.submit(call, lambda done, planned, doing: self._hear_step(indexes, done, planned, doing))
        except NotSent as fault:
            await self._retry(attempt, indexes, Failure("provider_error", str(fault)))
        except Refused as refusal:
            await self._give_up(attempt, indexes, Failure("refused", str(refusal)))
        except Lost as fault:
            await self._lose(attempt, str(fault))
            return Submitted("") if self._provider.look_up or self._provider.calls_back else None
        except Exception as fault:
            log.error("provider.faulted", provider=self._provider.name, task_id=str(self._claim.task_id), exc_info=fault)
            if self._provider.repeatable:
                await self._retry(attempt, indexes, Failure("internal"))
            else:
                await self._lose(attempt, type(fault).__name__)
        else:
            if isinstance(answer, Submitted):
                await self._save(attempt, "submitted", provider_id=answer.provider_id)
            return answer
        return None

    def _call(self, call: base.Attempt, attempt: Attempt, indexes: tuple[int, ...]) -> base.Attempt:
        named = provider_attempt(self._claim, attempt.attempt_no, indexes, provider_id=attempt.provider_id)
        self._calls[attempt.attempt_no] = found = replace(
            call, attempt_id=named.attempt_id, attempt_no=attempt.attempt_no, items=indexes, provider_id=named.provider_id,
            token=self._tokens.get(attempt.attempt_no, ""),
        )  # fmt: skip
        return found

    async def _wait_for(self, call: base.Attempt, attempt: Attempt, indexes: tuple[int, ...]) -> Finished | None:
        """Ask until the provider has an answer. What it never tells is ended by the deadline."""
        settings = self._studio.settings
        if attempt.provider != self._provider.name or not (attempt.provider_id or self._provider.look_up):
            await self._lose(attempt, "nobody can be asked")
            return None
        call, pause = self._call(call, attempt, indexes), settings.poll_seconds
        while not self._is_draining():
            await asyncio.sleep(pause * (1 + 0.1 * random.random()))
            pause = min(pause * 1.5, settings.poll_seconds_max)
            try:
                answer = await self._provider.check(call)
            except NotSent:
                continue
            if isinstance(answer, Finished):
                return answer
            if isinstance(answer, Failed):
                await self._retry(attempt, indexes, Failure("provider_error", answer.message))
                return None
            if isinstance(answer, NotFound) and (self._studio.now() - attempt.created_at).total_seconds() > settings.acceptance_seconds:
                await self._retry(attempt, indexes, Failure("provider_error", "the engine never got it"))
                return None
            if isinstance(answer, Running) and answer.percent is not None:
                self._hear_step(indexes, answer.percent, 100, "being made")
        self._due.append(self._studio.now())
        return None

    async def _hear_back(self, call: base.Attempt, attempt: Attempt, indexes: tuple[int, ...]) -> Finished | None:
        """What the provider called back with. Until it does, nobody holds the task: the call itself makes it due, and the deadline ends it."""
        call = self._call(call, attempt, self._counted())
        try:
            answer = await patiently(lambda: self._provider.check(call))
        except NotSent as fault:
            log.warning("callback.waits", task_id=str(self._claim.task_id), cause=str(fault)[:200])
            self._come_back_soon()
            return None
        if isinstance(answer, Finished):
            return answer
        if isinstance(answer, Failed):
            failure = Failure("provider_error", answer.message)
            await (self._give_up if answer.is_final else self._retry)(attempt, indexes, failure)
            return None
        self._due.append(self._claim.deadline_at)
        return None

    def _counted(self) -> tuple[int, ...]:
        """The items that an attempt at the whole task was to make, kept by now or not: a call back numbers its pictures by them."""
        singly = {one.item_index for one in self._journal if one.state == "succeeded"}
        return tuple(index for index in range(self._claim.asked) if index not in self._failures and index not in singly)

    def _come_back_soon(self) -> None:
        self._due.append(self._studio.now() + back_off(1, timedelta(seconds=self._studio.settings.back_off_seconds), random.random()))

    async def _take(self, attempt: Attempt, indexes: tuple[int, ...], answer: Finished) -> None:
        """Keep what came; what did not come is tried again while attempts are left."""
        self._calls.pop(attempt.attempt_no, None)
        self._said = _merge(self._said, answer)
        missing = {index: Failure("provider_error", answer.failures.get(index, "")) for index in indexes}
        rows: list[ItemRow] = []
        is_unfinished = False
        for result in answer.results:
            if result.index not in missing:
                continue
            try:
                item = await self._studio.keep(self._claim, result)
            except InvalidOutput as fault:
                missing[result.index] = Failure("invalid_output", str(fault))
            except (NotSent, Unavailable, OSError) as fault:
                log.error("result.not_kept", task_id=str(self._claim.task_id), index=result.index, cause=repr(fault))
                missing[result.index] = Failure("internal")
                is_unfinished |= answer.is_final
            else:
                del missing[result.index]
                rows.append(ItemRow(self._claim.task_id, result.index, item))
        for row in rows:
            if row.item is not None:
                self._items[row.index] = row.item
        if is_unfinished:
            # What was made is still there to be taken: only keeping it failed.
            self._come_back_soon()
            await self._arrive(rows, None)
            return
        if answer.is_final:
            self._failures |= missing
        rows += [ItemRow(self._claim.task_id, index, None, failure) for index, failure in (missing if answer.is_final else self._for_good(missing)).items()]
        note = "; ".join(sorted({failure.message for failure in missing.values() if failure.message}))[:500] or None
        await self._arrive(rows, AttemptEnd(attempt.attempt_no, "succeeded" if len(missing) < len(indexes) else "failed", note=note))
        self._tell_step("kept")

    async def _retry(self, attempt: Attempt, indexes: tuple[int, ...], failure: Failure) -> None:
        """The attempt failed in a way that may pass."""
        self._calls.pop(attempt.attempt_no, None)
        final = self._for_good(dict.fromkeys(indexes, failure))
        rows = [ItemRow(self._claim.task_id, index, None, why) for index, why in final.items()]
        await self._arrive(rows, AttemptEnd(attempt.attempt_no, "failed", note=failure.message[:500] or failure.reason))

    async def _give_up(self, attempt: Attempt, indexes: tuple[int, ...], failure: Failure) -> None:
        """The attempt failed and another would too."""
        self._calls.pop(attempt.attempt_no, None)
        self._failures |= dict.fromkeys(indexes, failure)
        rows = [ItemRow(self._claim.task_id, index, None, failure) for index in indexes]
        await self._arrive(rows, AttemptEnd(attempt.attempt_no, "failed", note=failure.message[:500]))

    def _for_good(self, missing: dict[int, Failure]) -> dict[int, Failure]:
        """Of what did not come, that which had its last attempt; the rest is due again after the back-off."""
        settings = self._studio.settings
        final: dict[int, Failure] = {}
        for index, failure in missing.items():
            tried = len(attempts_at(self._journal, index))
            if tried >= settings.attempts_max:
                final[index] = failure
            else:
                self._due.append(self._studio.now() + back_off(tried, timedelta(seconds=settings.back_off_seconds), random.random()))
        self._failures |= final
        return final

    async def _lose(self, attempt: Attempt, why: str) -> None:
        """Nobody knows what became of the attempt, so nothing may be submitted again; the deadline decides."""
        self._due.append(self._claim.deadline_at)
        await self._save(attempt, "unknown", note=why[:500])

    async def _save(self, attempt: Attempt, state: AttemptState, *, provider_id: str | None = None, note: str | None = None) -> None:
        await self._arrive([], AttemptEnd(attempt.attempt_no, state, provider_id, note))

    async def _arrive(self, rows: Sequence[ItemRow], end: AttemptEnd | None) -> None:
        claim = self._claim
        if not await patiently(lambda: self._studio.arrive(Arrival(claim.task_id, claim.claim_no, rows, end))):
            self._is_stale = True

    # --- progress ---

    def _hear_step(self, indexes: tuple[int, ...], done: int, planned: int, doing: str) -> None:
        for index in indexes:
            self._steps[index] = min(done / planned, 1) if planned > 0 else 0
        self._tell_step(doing)

    def _tell_step(self, doing: str) -> None:
        made = sum(1.0 if index in self._items else self._steps.get(index, 0) for index in range(self._claim.asked))
        percent = STARTED_PERCENT + int((MADE_PERCENT - STARTED_PERCENT) * made / self._claim.asked)
        self._studio.progress.report(self._claim, percent, doing)


def _merge(said: Outcome, answer: Finished) -> Outcome:
    """The first to say something is believed."""
    return replace(
        said, title=said.title or answer.title, description=said.description or answer.description, tags=said.tags or answer.tags,
        lyrics=said.lyrics or answer.lyrics,
    )  # fmt: skip
