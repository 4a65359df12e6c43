"""What works hears: tasks and people."""

from collections.abc import Sequence
from functools import partial

from common.bus.consumer import Subscriptions
from common.db import Tx
from common.events import (
    Event,
    SessionRevoked,
    TaskCancelled,
    TaskCompleted,
    TaskCreated,
    TaskFailed,
    UserRegistered,
    UserUpdated,
    WorkDeleted,
    WorkLiked,
    WorkPlayed,
    WorkUpdated,
)
from common.revocations import on_session_revoked
from works import commands
from works.deps import Deps
from works.domain import TaskFact, adds_to_another

subscriptions = Subscriptions(group="works")
subscriptions.overhear(SessionRevoked)(on_session_revoked)


@subscriptions.hear(TaskCreated, TaskCompleted, TaskFailed, TaskCancelled)
async def on_task_told(deps: Deps, tx: Tx, events: Sequence[Event[TaskFact]]) -> None:
    """Keep a work per task. One handler for all four, so that a fetch costs one transaction. Safe twice: only what is newer changes a row."""
    nobodys = await commands.keep_told(tx, events)
    await commands.loosen_objects(tx, nobodys, deps.storage)
    if grown := {event.fact.work_id for event in events if adds_to_another(event.fact)}:
        tx.after_commit(partial(deps.public_works.drop, *grown))


@subscriptions.hear(UserRegistered, UserUpdated)
async def on_user_told(deps: Deps, tx: Tx, events: Sequence[Event[UserRegistered | UserUpdated]]) -> None:
    """Remember names. Safe twice: only what is newer changes a row."""
    await commands.loosen_objects(tx, await commands.keep_names(tx, events), deps.storage)
    tx.after_commit(deps.public_works.drop_all)


@subscriptions.overhear(WorkUpdated, WorkDeleted, WorkPlayed, WorkLiked)
async def on_work_changed(deps: Deps, events: Sequence[Event[WorkUpdated | WorkDeleted | WorkPlayed | WorkLiked]]) -> None:
    """Another process changed a work: what is remembered of it is old."""
    deps.public_works.drop(*(event.fact.work_id for event in events))
