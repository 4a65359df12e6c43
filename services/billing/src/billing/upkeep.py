"""Loops that repair: holds open for long, grants that ran out."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from billing import commands
from billing.deps import Deps
from billing.domain import Finding
from billing.domain.entry import microseconds
from billing.store import accounts, holds
from common.errors import Internal, Unavailable
from common.log import get_logger

log = get_logger()

_LOTS_BATCH = 200


async def look_at_open_holds(deps: Deps, *, batch_max: int) -> None:
    """Ask generation about the holds that are due for a look and decide each by its answer; batches until nothing is due."""
    while True:
        asked_at = deps.db.clock.now()
        async with deps.db.read() as conn:
            due = await holds.list_due_holds(conn, asked_at, batch_max)
        if due:
            await _look(deps, due, asked_at)
        if len(due) < batch_max:
            return


async def _look(deps: Deps, task_ids: Sequence[UUID], asked_at: datetime) -> None:
    findings = await _find(deps, task_ids, asked_at)
    async with deps.db.transaction() as tx:
        decided = await commands.look_at_holds(tx, findings, deps.hold_terms)
    for hold in decided:
        if hold.state in ("released", "expired"):
            log.warning(f"hold.{hold.state}_by_upkeep", task_id=hold.task_id, amount=hold.amount, extensions=hold.extensions)


async def _find(deps: Deps, task_ids: Sequence[UUID], asked_at: datetime) -> list[Finding]:
    try:
        tasks = await deps.generation.list_tasks(task_ids)
    except (Unavailable, Internal) as error:
        log.warning("holds.nobody_answered", holds=len(task_ids), error=str(error)[:200])
        return [Finding(task_id, "unreachable", asked_at) for task_id in task_ids]
    findings = []
    for task_id in task_ids:
        task = tasks.get(task_id)
        if task is None:
            findings.append(Finding(task_id, "unknown", asked_at))
        else:
            findings.append(Finding(task_id, "ended" if task.is_ended else "running", asked_at, task.delivered))
    return findings


async def expire_lots(deps: Deps) -> None:
    """Take out of the accounts what has run out, a batch at a time."""
    while True:
        async with deps.db.read() as conn:
            due = await accounts.list_expiring_accounts(conn, microseconds(deps.db.clock.now()), _LOTS_BATCH)
        if due:
            async with deps.db.transaction() as tx:
                await commands.expire_lots(tx, due)
        if len(due) < _LOTS_BATCH:
            return


async def count_open_holds(deps: Deps) -> None:
    """Keep the gauges of open holds."""
    async with deps.db.read() as conn:
        open_holds, oldest_at = await accounts.sum_open_holds(conn)
    deps.numbers.open_holds.set(open_holds)
    deps.numbers.oldest_hold_seconds.set((deps.db.clock.now() - oldest_at).total_seconds() if oldest_at else 0)
