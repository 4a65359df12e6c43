"""Every change generation makes to tasks, for a batch: lock, decide, save, announce. Each is safe to repeat."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from asyncpg import Connection

from common.db import Tx
from common.errors import IdempotencyKeyReused, SceneNotFound, ServiceError, TaskNotFound, Unauthorized
from common.events import Item, SceneChanged, TaskCancelled, TaskCompleted, TaskCreated, TaskFailed
from generation import domain
from generation.domain import (
    Arrival,
    Attempt,
    AttemptEnd,
    Callback,
    CallbackState,
    Cancel,
    Claim,
    Claimed,
    EndRow,
    Fairness,
    Finish,
    Finished,
    Outcome,
    Placed,
    Scene,
    Seats,
    Stale,
    Task,
)
from generation.store import attempts, callbacks, claims, items, scenes, tallies, tasks, turns


async def create_tasks(tx: Tx, asks: Sequence[Placed], *, seats: Seats | None = None) -> tuple[list[Task | None], list[Claim]]:
    """Write tasks whose credits are held; None stands for a task that is there already. The first of them take the seats and come back as claims.

    Safe twice: a task that is there stays as it is, whatever became of it. All are written before any turn, pictures first, in the order of ids, because two
    writers of one id wait for each other.
    """
    new = [_new_task(placed, tx.now) for placed in asks]
    in_order = sorted(range(len(new)), key=lambda place: new[place].task_id.int)
    seated = set(in_order[: seats.count]) if seats is not None else set()
    written: set[UUID] = set()
    queued: dict[bool, set[UUID]] = {}
    for songs in (False, True):
        places = [place for place in in_order if (new[place].kind == "song") == songs]
        if seats is not None:
            written |= await _seat(tx, new, asks, [place for place in places if place in seated], seats)
        queued[songs] = await _queue(tx, new, asks, [place for place in places if place not in seated])
        written |= queued[songs]
    for songs, waiting in queued.items():
        if waiting:
            wishes = {one.ask.user_id: (one.rank, tx.now + one.handicap) for one in asks if one.ask.task_id in waiting}
            await turns.give_turns(tx.conn, wishes, songs=songs)
    made = [task if task.task_id in written else None for task in new]
    for task in made:
        if task is not None:
            tx.emit(_created(task), trace=task.trace)
    return made, [_born_claim(task) for place, task in enumerate(made) if task is not None and place in seated]


async def _seat(tx: Tx, new: Sequence[Task], asks: Sequence[Placed], places: Sequence[int], seats: Seats) -> set[UUID]:
    if not places:
        return set()
    rows, hashes = [new[place] for place in places], [asks[place].ask.body_hash for place in places]
    return await tasks.insert_claimed_tasks(tx.conn, rows, hashes, lease=seats.lease, provider=seats.provider)


async def _queue(tx: Tx, new: Sequence[Task], asks: Sequence[Placed], places: Sequence[int]) -> set[UUID]:
    if not places:
        return set()
    return await tasks.insert_tasks(tx.conn, [new[place] for place in places], [asks[place].ask.body_hash for place in places])


def _new_task(placed: Placed, now: datetime) -> Task:
    ask = placed.ask
    return domain.new_task(
        task_id=ask.task_id, user_id=ask.user_id, work_id=ask.work_id, kind=ask.kind, asked=ask.asked, price=placed.price, scene_id=ask.scene_id,
        brief=ask.brief, limits=placed.limits, now=now, trace=ask.trace,
    )  # fmt: skip


def _created(task: Task) -> TaskCreated:
    return TaskCreated(
        sequence=1, task_id=task.task_id, user_id=task.user_id, kind=task.kind, asked=task.asked, price=task.price, scene=task.scene_id, title=task.title,
        work_id=task.work_id,
    )  # fmt: skip


def _born_claim(task: Task) -> Claim:
    return Claim(
        task.task_id, task.user_id, task.work_id, task.kind, 2, 1, task.asked, task.scene_id, task.deadline_at, task.brief, task.trace
    )  # fmt: skip


async def claim_tasks(conn: Connection, *, songs: bool, now: datetime, lease: timedelta, limit: int, provider: str | None, fairness: Fairness) -> Claimed:
    """Take what nobody has: lapsed claims, then waiting tasks turn by turn. One statement, no fact: progress tells that a task began.

    Safe twice: whoever lost the answer lets the leases run out. With a provider, the first attempt of a fresh task is journaled as well.
    """
    return await claims.claim_tasks(
        conn, songs=songs, now=now, lease=lease, limit=limit, provider=provider, fairness=fairness, running_max=None, silent_since=None
    )  # fmt: skip


async def claim_few_tasks(
    tx: Tx, *, songs: bool, lease: timedelta, limit: int, provider: str | None, fairness: Fairness, running_max: int, silence: timedelta
) -> Claimed:
    """The same where so many may run at once in all, in every process together: claims wait for each other, to count what is true.

    One whose engine has been silent for so long has lost its place, not its life: a late call back still counts.
    """
    await turns.lock_queue(tx.conn, songs=songs)
    return await claims.claim_tasks(
        tx.conn, songs=songs, now=tx.now, lease=lease, limit=limit, provider=provider, fairness=fairness, running_max=running_max,
        silent_since=tx.now - silence,
    )  # fmt: skip


async def restore_turns(tx: Tx, fairness: Fairness) -> int:
    """Turns for what waits without one. Safe twice: who has a turn keeps it."""
    return await turns.restore_turns(tx.conn, now=tx.now, handicap=fairness.handicaps["normal"])


async def finish_tasks(tx: Tx, asks: Sequence[Finish]) -> list[Finished | Stale]:
    """End tasks whose claim still has them, with what arrived. Safe twice: a finish that names the claim that ended the task is answered by that end."""
    latest = {ask.claim.task_id: ask for ask in sorted(asks, key=lambda ask: ask.claim.claim_no)}
    in_order = sorted(latest.values(), key=lambda ask: ask.claim.task_id.int)
    ends = [_end_row(ask) for ask in in_order]
    versions = await tasks.finish_tasks(tx.conn, ends, [row for ask in in_order for row in ask.unsaved], now=tx.now)
    ended: dict[int, Finished] = {}
    for place, version in versions.items():
        ask, end = in_order[place], ends[place]
        tx.emit(_ended(ask, end, version), trace=ask.claim.trace)
        ended[id(ask)] = Finished(end.state, version)
    return [ended[id(ask)] for ask in asks] if len(ended) == len(asks) else await _truths(tx, asks, ended)


def _end_row(ask: Finish) -> EndRow:
    delivered = len(ask.items)
    outcome = domain.verdict(delivered, ask.failures, ask.said)
    return EndRow(ask.claim.task_id, ask.claim.claim_no, "completed" if delivered else "failed", delivered, outcome)


async def _truths(tx: Tx, asks: Sequence[Finish], ended: Mapping[int, Finished]) -> list[Finished | Stale]:
    """What became of each ask; those that ended nothing are told how the task really stands."""
    there = await tasks.list_known(tx.conn, {ask.claim.task_id for ask in asks if id(ask) not in ended})
    return [ended.get(id(ask)) or _truth(ask, there[ask.claim.task_id].task) for ask in asks]


def _truth(ask: Finish, task: Task) -> Finished | Stale:
    return Finished(task.state, task.version) if domain.is_same_end(task, ask.claim.claim_no) else Stale(task.state)


def _ended(ask: Finish, end: EndRow, version: int) -> TaskCompleted | TaskFailed:
    claim, outcome = ask.claim, end.outcome
    title = claim.brief.title or outcome.title
    if end.state == "completed":
        return TaskCompleted(
            sequence=version, task_id=claim.task_id, user_id=claim.user_id, kind=claim.kind, title=title, scene=claim.scene_id, work_id=claim.work_id,
            asked=claim.asked, delivered=end.delivered, items=tuple(ask.items), description=outcome.description, engine=outcome.engine, seed=claim.seed,
            tags=outcome.tags, lyrics=outcome.lyrics,
        )  # fmt: skip
    return TaskFailed(
        sequence=version, task_id=claim.task_id, user_id=claim.user_id, kind=claim.kind, title=title, scene=claim.scene_id, work_id=claim.work_id,
        asked=claim.asked, delivered=0, items=(), reason=outcome.reason or "internal", message=outcome.message,
    )  # fmt: skip


async def cancel_tasks(tx: Tx, asks: Sequence[Cancel]) -> list[Task | ServiceError]:
    """Give tasks up, keeping what had arrived. Safe twice: a cancelled task stays cancelled and that is the answer.

    Another's task is answered like an unknown one.
    """
    locked = await tasks.lock_tasks(tx.conn, {ask.task_id for ask in asks})
    arrived = await items.list_items(tx.conn, locked)
    now = dict(locked)
    outcomes: list[Task | ServiceError] = []
    for ask in asks:
        task = now.get(ask.task_id)
        if task is None or ask.user_id not in (None, task.user_id):
            outcomes.append(TaskNotFound())
            continue
        try:
            now[ask.task_id] = domain.cancel(task, "owner" if ask.user_id else "admin", len(arrived[ask.task_id]), tx.now)
            outcomes.append(now[ask.task_id])
        except ServiceError as refusal:
            outcomes.append(refusal)
    await _save_ends(tx, locked, now, arrived)
    return outcomes


async def end_overdue_tasks(tx: Tx, *, limit: int) -> list[Task]:
    """End tasks whose time is up; what arrived counts. Safe twice: an ended task is not overdue."""
    locked = await tasks.lock_overdue(tx.conn, now=tx.now, limit=limit)
    return await _expire(tx, locked)


async def end_tasks_if_overdue(tx: Tx, task_ids: Collection[UUID]) -> list[Task]:
    """The same for tasks whose worker saw the deadline pass."""
    return await _expire(tx, await tasks.lock_tasks(tx.conn, task_ids))


async def _expire(tx: Tx, locked: dict[UUID, Task]) -> list[Task]:
    if not locked:
        return []
    arrived = await items.list_items(tx.conn, locked)
    journal = await attempts.list_attempts(tx.conn, locked)
    now = {task_id: domain.expire(task, len(arrived[task_id]), journal[task_id], tx.now) for task_id, task in locked.items()}
    return await _save_ends(tx, locked, now, arrived)


async def _save_ends(tx: Tx, before: dict[UUID, Task], after: dict[UUID, Task], arrived: dict[UUID, list[Item]]) -> list[Task]:
    changed = [(before[task_id], task) for task_id, task in sorted(after.items()) if task is not before[task_id]]
    if changed:
        await tasks.save_ends(tx.conn, changed, attempt_state="failed")
    for _, task in changed:
        tx.emit(_end_fact(task, tuple(arrived[task.task_id])), trace=task.trace)
    return [task for _, task in changed]


def _end_fact(task: Task, arrived: tuple[Item, ...]) -> TaskCompleted | TaskFailed | TaskCancelled:
    outcome = task.outcome or Outcome()
    told: dict[str, Any] = {
        "sequence": task.version, "task_id": task.task_id, "user_id": task.user_id, "kind": task.kind, "title": task.title, "scene": task.scene_id,
        "work_id": task.work_id, "asked": task.asked, "delivered": task.delivered, "items": arrived,
    }  # fmt: skip
    if task.state == "cancelled":
        return TaskCancelled(**told, by=outcome.by or "owner")
    if task.state == "completed":
        return TaskCompleted(**told, description=outcome.description, engine=outcome.engine, seed=task.seed, tags=outcome.tags, lyrics=outcome.lyrics)
    return TaskFailed(**told, reason=outcome.reason or "internal", message=outcome.message)


async def save_arrivals(tx: Tx, asks: Sequence[Arrival]) -> list[bool]:
    """Save what attempts brought; False where the claim has the task no more, and then only the attempt's end is noted: it came too late.

    Safe twice: a delivered item and an ended attempt stay as they are.
    """
    locked = await tasks.lock_tasks(tx.conn, {ask.task_id for ask in asks})
    kept = [domain.holds_claim(locked[ask.task_id], ask.claim_no) for ask in asks]
    rows = {(row.task_id, row.index): row for ask, keeps in zip(asks, kept, strict=True) if keeps for row in ask.items}
    if rows:
        await items.save_items(tx.conn, list(rows.values()))
    ends = [(ask.task_id, ask.attempt if keeps else _too_late(ask.attempt)) for ask, keeps in zip(asks, kept, strict=True) if ask.attempt is not None]
    # Who was fenced off by a call back may not end the attempt that it answers: whoever applies it does, and finds the attempt open.
    answered = {
        (ask.task_id, ask.attempt.attempt_no)
        for ask, keeps in zip(asks, kept, strict=True)
        if not keeps and ask.attempt is not None and await callbacks.has_taken(tx.conn, ask.task_id, ask.attempt.attempt_no)
    }
    ends = [(task_id, end) for task_id, end in ends if (task_id, end.attempt_no) not in answered]
    if ends:
        await attempts.save_attempts(tx.conn, ends, now=tx.now)
    return kept


async def take_callbacks(tx: Tx, asks: Sequence[Callback]) -> list[CallbackState | Unauthorized]:
    """Keep what providers called back with. The first call for an awaited attempt gives its task back to whoever claims it next, who applies it.

    The claim before is fenced off with that, wherever it was: it may still be submitting. Safe twice: the same bytes are kept once.
    """
    locked = await tasks.lock_tasks(tx.conn, {ask.task_id for ask in asks})
    outcomes: list[CallbackState | Unauthorized] = []
    for ask in asks:
        task, attempt = locked.get(ask.task_id), await callbacks.find_attempt(tx.conn, ask.task_id, ask.token_hash)
        if task is None or attempt is None:
            outcomes.append(Unauthorized("no such attempt"))
            continue
        attempt_no, is_open = attempt
        state = domain.callback_state(task, is_open=is_open, has_taken=await callbacks.has_taken(tx.conn, ask.task_id, attempt_no), now=tx.now)
        is_new = await callbacks.insert_callback(tx.conn, ask, attempt_no=attempt_no, state=state, now=tx.now)
        if is_new and state == "taken":
            await tasks.give_back(tx.conn, ask.task_id, task.claim_no, tx.now)
            locked[ask.task_id] = replace(task, claim_no=task.claim_no + 1, due_at=tx.now)
        outcomes.append(state)
    return outcomes


async def forget_callbacks(tx: Tx, *, before: datetime, limit: int) -> int:
    """Drop the bodies of old calls back. Safe twice."""
    return await callbacks.forget_bodies(tx.conn, before=before, limit=limit)


def _too_late(end: AttemptEnd) -> AttemptEnd:
    return AttemptEnd(end.attempt_no, end.state, end.provider_id, f"discarded: {end.note or 'it came too late'}")


async def open_attempt(tx: Tx, claim: Claim, attempt: Attempt) -> bool:
    """Journal an attempt before the provider is called; False where the claim has the task no more, and then nothing may be submitted.

    Safe twice: only the claim that has the task gives out numbers, so the same number is the same attempt.
    """
    task = (await tasks.lock_tasks(tx.conn, [claim.task_id]))[claim.task_id]
    if not domain.holds_claim(task, claim.claim_no):
        return False
    await attempts.insert_attempt(tx.conn, claim.task_id, attempt)
    return True


async def give_back(conn: Connection, claim: Claim, due_at: datetime) -> bool:
    """Let another claim the task from then on. One statement. Safe twice: the second time the claim is no more."""
    return await tasks.give_back(conn, claim.task_id, claim.claim_no, due_at)


async def fold_tallies(tx: Tx, *, rows_min: int) -> int:
    """Keep the tallies few. Safe twice: what is folded folds to itself."""
    return await tallies.fold_tallies(tx.conn, rows_min=rows_min)


async def create_scenes(tx: Tx, asks: Sequence[Scene]) -> list[Scene | ServiceError]:
    """New scenes; one that was made before is answered as it is, unless it was to be another then."""
    firsts = {ask.scene_id: await scenes.lock_first(tx.conn, ask.scene_id) for ask in sorted(asks, key=lambda ask: ask.scene_id)}
    known = await scenes.lock_scenes(tx.conn, list(firsts))
    reused = {ask.scene_id for ask in asks if firsts[ask.scene_id] not in (None, scenes.noted(ask))}
    for ask in asks:
        if ask.scene_id not in known and ask.scene_id not in reused:
            made = replace(ask, version=await scenes.last_version(tx.conn, ask.scene_id) + 1)
            await scenes.save_scene(tx.conn, made)
            tx.emit(SceneChanged(sequence=made.version, scene_id=made.scene_id, change="created"))
            known[made.scene_id] = made
    return [IdempotencyKeyReused() if ask.scene_id in reused else known[ask.scene_id] for ask in asks]


async def change_scenes(tx: Tx, asks: Mapping[str, Callable[[Scene], Scene]]) -> list[Scene | ServiceError]:
    """Scenes as operators want them; a change that changes nothing makes no version."""
    known = await scenes.lock_scenes(tx.conn, list(asks))
    outcomes: list[Scene | ServiceError] = []
    for scene_id, change in asks.items():
        before = known.get(scene_id)
        if before is None:
            outcomes.append(SceneNotFound())
            continue
        after = change(before)
        if after != before:
            after = replace(after, version=before.version + 1, updated_at=tx.now)
            await scenes.save_scene(tx.conn, after)
            tx.emit(SceneChanged(sequence=after.version, scene_id=scene_id, change="changed"))
        outcomes.append(after)
    return outcomes


async def delete_scenes(tx: Tx, scene_ids: Sequence[str]) -> list[Scene | ServiceError]:
    """Gone for new tasks; what it said in each version stays."""
    known = await scenes.lock_scenes(tx.conn, scene_ids)
    outcomes: list[Scene | ServiceError] = []
    for scene_id in scene_ids:
        scene = known.pop(scene_id, None)
        if scene is None:
            outcomes.append(SceneNotFound())
            continue
        await scenes.delete_scene(tx.conn, scene, tx.now)
        tx.emit(SceneChanged(sequence=scene.version + 1, scene_id=scene_id, change="deleted"))
        outcomes.append(scene)
    return outcomes
