"""Reading holds."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from billing.domain import HoldState


class HoldView(NamedTuple):
    """A hold as other services see it."""

    task_id: UUID
    state: HoldState
    amount: int
    captured_amount: int


async def list_views(conn: asyncpg.Connection, task_ids: Sequence[UUID]) -> list[HoldView]:
    """The holds of these tasks; those without one are absent."""
    rows = await conn.fetch(
        "SELECT task_id, state, price * items AS amount, captured_amount FROM hold WHERE task_id = ANY($1::uuid[]) ORDER BY task_id", task_ids
    )
    return [HoldView(*row) for row in rows]


async def list_due_holds(conn: asyncpg.Connection, now: datetime, limit: int) -> list[UUID]:
    """Open holds that upkeep should have a look at, the longest waiting first."""
    rows = await conn.fetch("SELECT task_id FROM hold WHERE state = 'open' AND look_at <= $1 ORDER BY look_at LIMIT $2", now, limit)
    return [row["task_id"] for row in rows]
