"""What became of items."""

from collections.abc import Collection, Sequence
from uuid import UUID

from asyncpg import Connection

from common.events.tasks import Item
from generation.domain import Failure, ItemRow
from generation.store.rows import ITEM, item_columns, item_of, saved_items, unpack_failure


async def save_items(conn: Connection, rows: Sequence[ItemRow]) -> None:
    """Write what became of items; a delivered one stays as it is. The caller holds the lock of their task."""
    await conn.execute(saved_items(1), *item_columns(rows))


async def list_items(conn: Connection, task_ids: Collection[UUID]) -> dict[UUID, list[Item]]:
    """What each of these tasks delivered, in order."""
    rows = await conn.fetch(f"SELECT task_id, {ITEM} FROM item WHERE task_id = ANY($1::uuid[]) AND state = 'delivered' ORDER BY task_id, index", list(task_ids))
    found: dict[UUID, list[Item]] = {task_id: [] for task_id in task_ids}
    for row in rows:
        found[row[0]].append(item_of(row[1:]))
    return found


async def list_failures(conn: Connection, task_id: UUID) -> dict[int, Failure]:
    """The items of a task that will not arrive."""
    rows = await conn.fetch("SELECT index, failure FROM item WHERE task_id = $1 AND state = 'failed'", task_id)
    return {row[0]: unpack_failure(row[1]) for row in rows}
