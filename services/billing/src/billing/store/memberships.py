"""Periods of membership. Those of one user are guarded by the lock of their account of points."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from billing.domain import Period


async def insert_periods(conn: asyncpg.Connection, user_ids: Sequence[UUID], kind: str, starts_at: datetime, ends_at: datetime) -> None:
    """Grant each of these users one period, once per kind and user."""
    await conn.execute(
        """
        INSERT INTO membership_period (user_id, kind, source, starts_at, ends_at)
        SELECT u, $2, u::text, $3, $4 FROM unnest($1::uuid[]) AS u ON CONFLICT (kind, source) DO NOTHING
        """,
        user_ids, kind, starts_at, ends_at,
    )  # fmt: skip


async def insert_period(conn: asyncpg.Connection, user_id: UUID, kind: str, source: str, period: Period) -> None:
    """Grant one period, named by what it was granted for."""
    await conn.execute("INSERT INTO membership_period (user_id, kind, source, starts_at, ends_at) VALUES ($1, $2, $3, $4, $5)", user_id, kind, source, *period)


async def list_ends(conn: asyncpg.Connection, user_ids: Sequence[UUID]) -> dict[UUID, datetime]:
    """Until when these users are, or were, members."""
    rows = await conn.fetch("SELECT user_id, max(ends_at) AS ends_at FROM membership_period WHERE user_id = ANY($1::uuid[]) GROUP BY user_id", user_ids)
    return {row["user_id"]: row["ends_at"] for row in rows}


async def cut_period(conn: asyncpg.Connection, now: datetime, user_id: UUID, source: str) -> timedelta:
    """Take back what is left of the period an order granted; those after it move forward. Answers how much that was."""
    row = await conn.fetchrow("SELECT starts_at, ends_at FROM membership_period WHERE kind = 'order' AND source = $1 AND user_id = $2", source, user_id)
    if row is None or row["ends_at"] <= now:
        return timedelta(0)
    cut: timedelta = row["ends_at"] - max(now, row["starts_at"])
    if row["starts_at"] >= now:
        await conn.execute("DELETE FROM membership_period WHERE kind = 'order' AND source = $1", source)
    else:
        await conn.execute("UPDATE membership_period SET ends_at = $2 WHERE kind = 'order' AND source = $1", source, now)
    await conn.execute(
        "UPDATE membership_period SET starts_at = starts_at - $3::interval, ends_at = ends_at - $3::interval WHERE user_id = $1 AND starts_at >= $2",
        user_id, row["ends_at"], cut,
    )  # fmt: skip
    return cut
