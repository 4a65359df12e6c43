"""Periods of membership."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg


async def insert_periods(conn: asyncpg.Connection, user_ids: Sequence[UUID], kind: str, starts_at: datetime, ends_at: datetime) -> None:
    """Grant each of these users one period, once per kind and user."""
    await conn.execute(
        """
        INSERT INTO membership_period (user_id, kind, source, starts_at, ends_at)
        SELECT u, $2, u::text, $3, $4 FROM unnest($1::uuid[]) AS u ON CONFLICT (kind, source) DO NOTHING
        """,
        user_ids, kind, starts_at, ends_at,
    )  # fmt: skip
