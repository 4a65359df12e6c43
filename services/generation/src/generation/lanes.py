"""Waiting callers -> batches. Create is the one place where generation asks billing before its own transaction."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from common.db import Database
from common.errors import IdempotencyKeyReused, ServiceError, TooManyTasks, Unavailable
from common.lane import Lane
from generation import commands
from generation.clients import Billing, Held, HoldAsk, Identity, Works
from generation.deps import Workers
from generation.domain import Arrival, Claim, Create, Created, Finish, Finished, Known, OwnedWork, Person, Placed, Stale, Task, View, rank_of
from generation.settings import GenerationSettings
from generation.store import tasks, turns

FinishLane = Lane[Finish, Finished | Stale]
ArrivalLane = Lane[Arrival, bool]

RENEWALS_MAX = 3
RETRY_AFTER_SECONDS = 10


class Creator:
    """Runs a batch of creates. Safe twice: every ask has its id, its hold is renewed, a task that is there is the answer."""

    def __init__(
        self, db: Database, billing: Billing, workers: Workers, settings: GenerationSettings, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._db = db
        self._billing = billing
        self._workers = workers
        self._settings = settings
        self._handicaps = settings.fairness.handicaps
        self._monotonic = monotonic

    async def run(self, asks: Sequence[Create]) -> list[Created | ServiceError]:
        """Answer what is known, refuse what is too much, hold and write the rest. Two asks with one id are one task."""
        firsts: dict[UUID, Create] = {}
        for ask in asks:
            firsts.setdefault(ask.task_id, ask)
        known = await self._known([ask for ask in firsts.values() if ask.keyed])
        fresh = [ask for ask in firsts.values() if not known or ask.task_id not in known]
        made: dict[UUID, Task] = {}
        refused = await self._over_cap(fresh)
        try:
            await self._hold_and_write([ask for ask in fresh if not refused or ask.task_id not in refused], made, refused)
        except ServiceError as error:
            if not known:
                raise
            refused |= {ask.task_id: error for ask in fresh if ask.task_id not in refused}
        # A twin may have finished meanwhile, here or elsewhere: its hold is resolved, and its task is the answer.
        if len(made) < len(fresh):
            known |= await self._known([ask for ask in fresh if ask.task_id not in made])
        return [_answer(ask, first=firsts[ask.task_id], made=made, known=known, refused=refused) for ask in asks]

    async def _known(self, asks: Sequence[Create]) -> dict[UUID, Known]:
        if not asks:
            return {}
        async with self._db.read() as conn:
            return await tasks.list_known(conn, [ask.task_id for ask in asks])

    async def _over_cap(self, asks: Sequence[Create]) -> dict[UUID, ServiceError]:
        """Refusals for asks beyond what their user may have waiting; asks of one batch count for each other."""
        capped = [(ask, ask.waiting_max) for ask in asks if ask.waiting_max is not None]
        if not capped:
            return {}
        coming = Counter(ask.user_id for ask, _ in capped)
        async with self._db.read() as conn:
            waiting = Counter(await tasks.count_waiting(conn, coming))
            # Billing says with the hold who is a member, and that is remembered with whose turn it is: who has something waiting has a turn.
            crowded = {ask.user_id for ask, most in capped if waiting[ask.user_id] + coming[ask.user_id] > most}
            members = await turns.list_members(conn, crowded) if crowded else set()
        refused: dict[UUID, ServiceError] = {}
        for ask, most in capped:
            limit = max(most, self._settings.waiting_tasks_per_member_max) if ask.user_id in members else most
            if waiting[ask.user_id] >= limit:
                refused[ask.task_id] = TooManyTasks(data={"waiting": waiting[ask.user_id], "limit": limit}, retry_after_seconds=RETRY_AFTER_SECONDS)
            else:
                waiting[ask.user_id] += 1
        return refused

    async def _hold_and_write(self, asks: Sequence[Create], made: dict[UUID, Task], refused: dict[UUID, ServiceError]) -> None:
        """Hold, then write; a hold that grew old on the way is renewed first, because billing gives up holds without a task."""
        waiting = list(asks)
        for _ in range(RENEWALS_MAX):
            if not waiting:
                return
            asked_at = self._monotonic()
            placed = await self._place(waiting, refused)
            if not placed or await self._write(placed, made, until=asked_at + self._settings.hold_age_seconds_max):
                return
            waiting = [one.ask for one in placed]
        raise Unavailable("the holds grew old before the tasks could be written")

    async def _place(self, asks: Sequence[Create], refused: dict[UUID, ServiceError]) -> list[Placed]:
        limits = {kind: self._settings.limits_of(kind) for kind in {ask.kind for ask in asks}}
        margin = self._settings.hold_margin_seconds
        seconds = {kind: int(one.total.total_seconds() + margin) for kind, one in limits.items()}
        outcomes = await self._billing.place_holds([
            HoldAsk(
                task_id=ask.task_id, user_id=ask.user_id, kind=ask.kind, items=ask.asked, body_hash=ask.body_hash.hex(),
                expires_in_seconds=seconds[ask.kind],
            )
            for ask in asks
        ])  # fmt: skip
        placed: list[Placed] = []
        for ask, outcome in zip(asks, outcomes, strict=True):
            if isinstance(outcome, Held):
                rank = rank_of(is_admin=ask.is_admin, is_member=outcome.member)
                placed.append(Placed(ask=ask, price=outcome.amount, limits=limits[ask.kind], rank=rank, handicap=self._handicaps[rank]))
            else:
                refused[ask.task_id] = outcome.refusal()
        return placed

    async def _write(self, placed: Sequence[Placed], made: dict[UUID, Task], *, until: float) -> bool:
        """One transaction for all; False when it began too late, and then nothing is written."""
        seats = self._workers.reserve(len(placed))
        claims: list[Claim] = []
        written: list[Task | None] = []
        try:
            async with self._db.transaction() as tx:
                if self._monotonic() > until:
                    return False
                written, claims = await commands.create_tasks(tx, placed, seats=seats)
        except BaseException:
            claims = []  # perhaps committed all the same: their leases run out, and somebody claims them
            raise
        finally:
            if seats is not None:
                self._workers.seat(seats, claims)
        new = {task.task_id: task for task in written if task is not None}
        made |= new
        self._workers.created(list(new))
        if len(claims) < len(new):
            seated = {claim.task_id for claim in claims}
            for songs in {task.kind == "song" for task_id, task in new.items() if task_id not in seated}:
                self._workers.wake(songs=songs)
        return True


def _answer(
    ask: Create, *, first: Create, made: Mapping[UUID, Task], known: Mapping[UUID, Known], refused: Mapping[UUID, ServiceError]
) -> Created | ServiceError:
    if (task := made.get(ask.task_id)) is not None:
        return Created(task, replayed=ask is not first) if ask.body_hash == first.body_hash else IdempotencyKeyReused()
    if (there := known.get(ask.task_id)) is not None:
        return Created(there.task, replayed=ask.keyed) if there.body_hash == ask.body_hash else IdempotencyKeyReused()
    return refused.get(ask.task_id) or Unavailable("the task could not be written")


def create_lane(creator: Creator, *, flushers: int = 1) -> Lane[Create, Created]:
    """Asks for tasks."""
    return Lane(creator.run, name="create", flushers=flushers)


def finish_lane(db: Database) -> FinishLane:
    """Ends of claims."""

    async def run(asks: Sequence[Finish]) -> list[Finished | Stale]:
        async with db.transaction() as tx:
            return await commands.finish_tasks(tx, asks)

    return Lane(run, name="finish", deadline_seconds=60)


def arrival_lane(db: Database) -> ArrivalLane:
    """What attempts brought."""

    async def run(asks: Sequence[Arrival]) -> list[bool]:
        async with db.transaction() as tx:
            return await commands.save_arrivals(tx, asks)

    return Lane(run, name="arrival", deadline_seconds=60)


def view_lane(db: Database) -> Lane[UUID, View | None]:
    """Reads of one task; what is asked at the same time is one statement."""

    async def run(task_ids: Sequence[UUID]) -> list[View | None]:
        async with db.read() as conn:
            views = await tasks.list_views(conn, set(task_ids))
        return [views.get(task_id) for task_id in task_ids]

    return Lane(run, name="view", flushers=2)


def work_lane(works: Works) -> Lane[UUID, OwnedWork | None]:
    """Questions to works about one work."""

    async def run(work_ids: Sequence[UUID]) -> list[OwnedWork | None]:
        found = await works.list_works(list(set(work_ids)))
        return [found.get(work_id) for work_id in work_ids]

    return Lane(run, name="work", flushers=2)


def person_lane(identity: Identity) -> Lane[UUID, Person | None]:
    """Questions to identity about one person; what is asked at the same time is one call."""

    async def run(user_ids: Sequence[UUID]) -> list[Person | None]:
        found = await identity.find(user_ids)
        return [found.get(user_id) for user_id in user_ids]

    return Lane(run, name="person", flushers=2)
