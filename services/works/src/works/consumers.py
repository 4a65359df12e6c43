"""What works hears: tasks and people."""

from collections.abc import Sequence

from common.bus.consumer import Subscriptions
from common.db import Tx
from common.events import Event, SessionRevoked, TaskCancelled, TaskCompleted, TaskCreated, TaskFailed, UserRegistered, UserUpdated
from common.revocations import on_session_revoked
from works import commands
from works.deps import Deps
from works.domain import TaskFact

subscriptions = Subscriptions(group="works")
subscriptions.overhear(SessionRevoked)(on_session_revoked)


@subscriptions.hear(TaskCreated, TaskCompleted, TaskFailed, TaskCancelled)
async def on_task_told(_deps: Deps, tx: Tx, events: Sequence[Event[TaskFact]]) -> None:
    """Keep a work per task. One handler for all four, so that a fetch costs one transaction. Safe twice: only what is newer changes a row."""
    await commands.keep_told(tx, events)


@subscriptions.hear(UserRegistered, UserUpdated)
async def on_user_told(_deps: Deps, tx: Tx, events: Sequence[Event[UserRegistered | UserUpdated]]) -> None:
    """Remember names. Safe twice: only what is newer changes a row."""
    await commands.keep_names(tx, events)
